"""What goes wrong in the cells: by address, or drawn from a seed. The same run has the same faults.

==============  ===================================================================================
factory bad     erases and programs of the block fail; its first page has 00h in its first spare
                byte (its last user byte, if there is no spare), as the maker marks such blocks
weak block      its erases fail once it was erased so often; contents stay
weak page       its programs fail once it was programmed so often
grave page      reads as noise once it was read so often since its block's last erase
bit flips       so many bits of the page read wrong, always the same ones until it is erased
bit error rate  of every programmed page, by `flash_model.bit_errors`
==============  ===================================================================================

A failure is told in the status byte (FAIL). A program that fails leaves each bit that it should
have cleared as it was with probability 1/2. Errors of a read are in the registers only, the cells
keep what they hold. What was done to a page or block, and when, is the array's to remember.

Wrong bits of a page are a fixed sequence of places, drawn anew at each erase of its block. A page
of b bits shows those of the sequence that have come when b * RBER has passed a Poisson process of
rate 1: their number is Poisson with mean b * RBER, bits that are wrong stay wrong as the rate
grows, and come right again only when it falls (a better read-retry level). Above a quarter of all
bits the places are drawn afresh.

Faults are carried out by the array in numpy, in every lane: the native lane hands the page
operations of an array with faults over to it.
"""

import math

import numpy as np

from .draws import Draws

__all__ = ["Faults"]

_BITS = np.uint8(1) << np.arange(8, dtype=np.uint8)


class Faults:
    """Faults of a drive.

    Parameters
    ----------
    geometry : Geometry
    seed : int
        0..2^64 - 1. Everything random follows from it, the addresses below and the number of the
        operation.
    bad_blocks : iterable of (int, int, int)
        Factory bad blocks: channel, die, block.
    weak_blocks : dict of (int, int, int) to int
        Channel, die, block -> erases after which they fail, 0 or more.
    weak_pages, grave_pages : dict of (int, int, int) to int
        Channel, die, row -> programs, or reads, after which they fail, 0 or more.
    bit_flips : dict of (int, int, int) to int
        Channel, die, row -> wrong bits, 0 to those of the page.
    rate : BitErrorRate, optional
        Raw bit error rate of programmed pages.
    """

    def __init__(
        self,
        geometry,
        *,
        seed=0,
        bad_blocks=(),
        weak_blocks=None,
        weak_pages=None,
        grave_pages=None,
        bit_flips=None,
        rate=None,
    ):
        self._rng = Draws(seed)
        self.geometry = geometry
        self.seed = seed
        self.rate = rate
        g = geometry
        bits = 8 * g.page_total
        self.bad_blocks = {self._index("bad block", at, g.blocks) for at in bad_blocks}
        self.weak_blocks = self._limits("weak block", weak_blocks, g.blocks)
        self.weak_pages = self._limits("weak page", weak_pages, g.rows)
        self.grave_pages = self._limits("grave page", grave_pages, g.rows)
        self.bit_flips = self._limits("bit flips", bit_flips, g.rows, most=bits)

    @classmethod
    def drawn(
        cls,
        geometry,
        *,
        seed,
        bad_blocks=0.0,
        weak_blocks=0.0,
        weak_erases=(1, 100),
        weak_pages=0.0,
        weak_programs=(0, 3),
        rate=None,
    ):
        """Faults drawn from ``seed``.

        Parameters
        ----------
        geometry : Geometry
        seed : int
        bad_blocks, weak_blocks, weak_pages : float
            Probability of each block or page, 0..1. Block 0 of a die is good when delivered.
        weak_erases, weak_programs : (int, int)
            Least and most erases or programs after which they fail.
        rate : BitErrorRate, optional
        """
        for name, share in (
            ("bad_blocks", bad_blocks),
            ("weak_blocks", weak_blocks),
            ("weak_pages", weak_pages),
        ):
            if not 0 <= share <= 1:
                raise ValueError(f"{name} = {share!r} is no probability: choose 0..1")
        g = geometry
        rng = np.random.default_rng([seed, 0])
        units = g.channels * g.dies

        def some(share, count, first=0):
            """Places (channel, die, number), each with probability ``share``."""
            total = units * (count - first)
            chosen = np.sort(rng.choice(total, rng.binomial(total, share), replace=False))
            return [
                (*divmod(int(at) // (count - first), g.dies), first + int(at) % (count - first))
                for at in chosen
            ]

        def limited(places, limits):
            return {at: int(rng.integers(limits[0], limits[1] + 1)) for at in places}

        return cls(
            geometry,
            seed=seed,
            bad_blocks=some(bad_blocks, g.blocks, first=1),
            weak_blocks=limited(some(weak_blocks, g.blocks), weak_erases),
            weak_pages=limited(some(weak_pages, g.rows), weak_programs),
            rate=rate,
        )

    def _index(self, what, place, count):
        """Number of a block or page in the drive."""
        g = self.geometry
        channel, die, number = place
        if not (0 <= channel < g.channels and 0 <= die < g.dies and 0 <= number < count):
            raise ValueError(
                f"{what} {tuple(place)} does not exist: choose channel 0..{g.channels - 1}, "
                f"die 0..{g.dies - 1}, number 0..{count - 1}"
            )
        return (channel * g.dies + die) * count + number

    def _limits(self, what, table, count, most=None):
        limits = {}
        for place, limit in (table or {}).items():
            if limit < 0 or (most is not None and limit > most):
                allowed = "0 or more" if most is None else f"0..{most}"
                raise ValueError(
                    f"{what} {tuple(place)}: {limit} is not possible: choose {allowed}"
                )
            limits[self._index(what, place, count)] = limit
        return limits

    # The array asks with numbers of blocks and pages in the drive.

    def marks(self):
        """Pages that carry a bad-block mark, and the byte of the page that holds it."""
        g = self.geometry
        byte = g.page_bytes if g.spare_bytes else g.page_bytes - 1
        return [(block * g.pages, byte) for block in sorted(self.bad_blocks)]

    def erase_fails(self, block, erases):
        """Whether an erase fails of a block that was erased so often."""
        return block in self.bad_blocks or erases >= self.weak_blocks.get(block, math.inf)

    def program(self, page, erases, programs):
        """A program: None, or a mask of the bits that it leaves as they are if it fails.

        Parameters
        ----------
        page : int
        erases, programs : int
            Erases of its block, and programs of the page before this one.
        """
        fails = page // self.geometry.pages in self.bad_blocks
        if not fails and programs < self.weak_pages.get(page, math.inf):
            return None
        return self._rng(1, page, erases, programs).bytes(self.geometry.page_total)

    def sense(self, page, data, *, programmed, erases, reads, page_reads, kept_s, level):
        """Put a read's errors into ``data``.

        Parameters
        ----------
        page : int
        data : numpy.ndarray
            uint8, what the cells hold; changed in place.
        programmed : bool
            Since the block's last erase.
        erases, reads : int
            Erases of the block, reads of its pages since the last one.
        page_reads : int
            Reads of this page since then, before this one.
        kept_s : float
            Seconds since the block was last programmed.
        level : int
            The die's read-retry level.
        """
        if page_reads >= self.grave_pages.get(page, math.inf):
            noise = self._rng(2, page, erases, page_reads).bytes(len(data))
            data[:] = np.frombuffer(noise, np.uint8)
            return
        wrong = self.bit_flips.get(page, 0)
        if self.rate is not None and programmed:
            rate = self.rate(erases, kept_s, reads, level)
            wrong = min(8 * len(data), wrong + self._arrived(page, erases, 8 * len(data) * rate))
        if wrong:
            places = self._places(page, erases, 8 * len(data), wrong)
            np.bitwise_xor.at(data, places >> 3, _BITS[places & 7])

    def _arrived(self, page, erases, mean):
        """Events of a Poisson process of rate 1 until ``mean``."""
        rng = self._rng(3, page, erases, 0)
        gaps = rng.exponential(size=int(mean + 10 * math.sqrt(mean) + 32))
        return int(gaps.cumsum().searchsorted(mean))

    def _places(self, page, erases, bits, count):
        """The first ``count`` of the page's sequence of different bits."""
        if count > bits // 4:
            return self._rng(4, page, erases, 1).permutation(bits)[:count]
        drawn = self._rng(4, page, erases, 0).integers(0, bits, size=count + count // 2 + 32)
        return np.array(list(dict.fromkeys(drawn.tolist()))[:count])
