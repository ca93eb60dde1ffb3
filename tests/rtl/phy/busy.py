"""R/B_n of dies as pins, and what it says."""

__all__ = ["LONG_AGO", "Busy", "PinError"]

LONG_AGO = -(10**9)


class PinError(AssertionError):
    """Pins that ONFI does not allow."""


class Busy:
    """Follows R/B# of the dies.

    Attributes
    ----------
    confirmed, ready_since : dict
        Die -> when it was made busy, and when it was ready again.
    """

    def __init__(self):
        self.confirmed, self.ready_since = {}, {}
        self._was = -1

    def see(self, now, ready, latched):
        """R/B# of the dies themselves; ``latched`` is when they took their last cycle."""
        changed, self._was = ready ^ self._was, ready
        for die in range(8):
            if changed >> die & 1:
                if ready >> die & 1:
                    self.ready_since[die] = now
                else:
                    self.confirmed[die] = latched

    def pin(self, now, ready, dies, t_wb):
        """The pins: they fall as late as they may."""
        late = sum(1 << die for die, when in self.confirmed.items() if now < when + t_wb)
        return (ready | late) & ((1 << dies) - 1)
