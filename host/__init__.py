"""The host's side of the drive: runtime, driver, firmware, reports."""

from cosim.reference import Partial, merge_partials
from rtl.commands import ResultFlag, Status
from rtl.config import ConfigError, DriveConfig

from .drive import KvDrive
from .errors import DriveError, DriveTypeError, DriveValueError, DriveWarning
from .sparse import Bounds, Sparf

__all__ = [
    "Bounds",
    "ConfigError",
    "DriveConfig",
    "DriveError",
    "DriveTypeError",
    "DriveValueError",
    "DriveWarning",
    "KvDrive",
    "Partial",
    "ResultFlag",
    "Sparf",
    "Status",
    "merge_partials",
]
