"""What may be wrong between a PHY and its dies."""

import dataclasses

__all__ = ["Wires"]

FLOATS = (1 << 64) - 1
"""What pulled-up lines read as."""


@dataclasses.dataclass(frozen=True)
class Wires:
    """A board, as it is.

    Parameters
    ----------
    missing : dict of int to int
        Dies that are not there, and what their R/B_n is: 1 with its pull-up, 0 shorted.
    mute : collection of int
        Dies that take all cycles, but of whose data nothing comes back.
    late : dict of int to float
        Die -> ns that its data come later than the others'.
    swapped : collection of int
        Two dies whose R/B_n are exchanged.
    hangs : collection of int
        Dies whose first program does not end until they are reset.
    """

    missing: dict = dataclasses.field(default_factory=dict)
    mute: tuple = ()
    late: dict = dataclasses.field(default_factory=dict)
    swapped: tuple = ()
    hangs: tuple = ()

    @property
    def deaf(self):
        """Dies whose answer to a reset is not seen."""
        return {*self.missing, *self.swapped}

    def ready(self, levels):
        """R/B_n at the PHY, of what the dies make of them."""
        for die, level in self.missing.items():
            levels = levels & ~(1 << die) | level << die
        if self.swapped:
            one, other = self.swapped
            if (levels >> one ^ levels >> other) & 1:
                levels ^= 1 << one | 1 << other
        return levels

    def word(self, die, word):
        """What a die's word reads as."""
        return FLOATS if die in self.missing or die in self.mute else word
