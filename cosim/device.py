"""A simulated drive, ready to be driven: the native lane with flash of its own."""

from flash_model.array import NandArray
from flash_model.parameter_page import parameter_page

from .native_lane import NativeLane

__all__ = ["simulated_drive"]


def simulated_drive(config, *, faults=None, **options):
    """`NativeLane` of a configuration with erased flash.

    Parameters
    ----------
    config : DriveConfig
    faults : flash_model.faults.Faults, optional
        Of ``config.flash.geometry``.
    **options
        The lane's own.
    """
    array = NandArray(config.flash.geometry, parameters=parameter_page(config.flash), faults=faults)
    return NativeLane(config, array, **options)
