"""Bring-up of the dies: each is reset, and what is said of those that do not answer."""

from rtl.commands import Status

from ..errors import DriveError
from .device import RESET

__all__ = ["reset_dies"]


def reset_dies(device, geometry, pause):
    """Resets every die; all are needed (``DriveError`` that names those that do not answer).

    Parameters
    ----------
    device : Device
    geometry : flash_model.geometry.Geometry
    pause : int
        Clocks between two looks.
    """
    missing = [
        f"die {die} of channel {channel}{_seen(device.phy_state(channel, die))}"
        for die in range(geometry.dies)
        for channel in range(geometry.channels)
        if not device.flash(RESET, channel, die, pause=pause)
    ]
    if missing:
        verb = "does" if len(missing) == 1 else "do"
        raise DriveError(
            Status.INTERNAL_ERROR,
            f"{', '.join(missing)} {verb} not answer a reset. Tokens are spread over all "
            f"{geometry.dies} dies of all {geometry.channels} channels: look at power, sockets and "
            "pins, or build the drive with fewer dies or channels",
        )


def _seen(state):
    """What the PHY has seen of a die that does not answer, if it tells."""
    if not state["tells"] or state["usable"]:
        return ""
    if not state["answers"]:
        return " (its R/B_n did not follow the PHY's own reset)"
    if not state["width"]:
        return " (the PHY reset it and read no ID at any time)"
    return (
        f" (its ID is right at {state['first']} half clocks, {state['width']} of them, but its "
        f"channel's data are taken at {state['offset']})"
    )
