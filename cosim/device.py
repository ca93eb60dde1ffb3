"""A simulated drive, ready to be driven: the native lane with flash of its own."""

from flash_model.array import NandArray

from .native_lane import NativeLane

__all__ = ["simulated_drive"]


def simulated_drive(config, **options):
    """`NativeLane` of a configuration with erased flash; ``options`` are the lane's."""
    return NativeLane(config, NandArray(config.flash.geometry), **options)
