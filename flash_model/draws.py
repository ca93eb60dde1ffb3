"""Random numbers that belong to a place and a moment, not to the order in which they are drawn.

The generator is counter-based (Philox): the seed and what is drawn are its key, three numbers of
the caller its counter. So each draw stands alone, comes again whenever it is asked for, and none
has to be kept.
"""

import numpy as np

__all__ = ["Draws"]


class Draws:
    """Generators that follow from a seed.

    Parameters
    ----------
    seed : int
        0..2^64 - 1.
    """

    def __init__(self, seed):
        if not 0 <= seed < 1 << 64:
            raise ValueError(f"seed = {seed} is not possible: choose 0..2^64 - 1")
        self.seed = seed
        self._philox = np.random.Philox(0)
        self._generator = np.random.Generator(self._philox)
        self._fresh = self._philox.state  # nothing drawn yet

    def __call__(self, use, *numbers):
        """The generator at the begin of one draw's own sequence; good until the next call.

        Parameters
        ----------
        use : int
            What is drawn: a number of the caller's own.
        *numbers : int
            Three numbers, 0..2^64 - 1: where and when.
        """
        # The lowest word of the counter is the place within the sequence.
        self._fresh["state"]["counter"][1:] = numbers
        self._fresh["state"]["key"][:] = self.seed, use
        self._philox.state = self._fresh
        return self._generator
