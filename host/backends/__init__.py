"""Backends of `KvDrive`: the gateware (``rtl``), its bit-exact twin, and the golden model."""

from ..errors import DriveValueError
from .base import Backend, Job, Result
from .golden import GoldenBackend
from .rtl import RtlBackend
from .twin import TwinBackend

__all__ = ["BACKENDS", "Backend", "Job", "Result", "make_backend"]

BACKENDS = {backend.name: backend for backend in (RtlBackend, TwinBackend, GoldenBackend)}


def make_backend(name, config, **options):
    """A backend by name; ``options`` are the backend's own (see its docstring)."""
    if name not in BACKENDS:
        raise DriveValueError(f"backend = {name!r} is not one of {', '.join(BACKENDS)}")
    return BACKENDS[name](config, **options)
