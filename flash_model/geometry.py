"""Geometry of a drive's NAND: channels, dies, blocks, pages, bytes."""

from dataclasses import dataclass

from .array_port import ROW_BITS

__all__ = ["Geometry"]


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """How the flash of a drive is divided.

    A *row* addresses a page inside its die: ``block * pages + page``.

    Parameters
    ----------
    channels : int
        Channels of the drive, 1..64.
    dies : int
        Dies on each channel, one chip enable each, 1..64.
    planes : int
        Planes of a die. ``blocks`` counts the blocks of all planes; block ``b`` lies in plane
        ``b % planes``. A command is of one plane, or of several with one page number.
    blocks : int
        Blocks of a die, a multiple of ``planes``.
    pages : int
        Pages of a block.
    page_bytes : int
        User bytes of a page, a multiple of 8.
    spare_bytes : int
        Spare bytes behind them, a multiple of 8.
    plane_independent : bool
        A plane may begin to read while others do.
    """

    channels: int
    dies: int
    planes: int
    blocks: int
    pages: int
    page_bytes: int
    spare_bytes: int
    plane_independent: bool = False

    def __post_init__(self):
        def check(name, ok, allowed):
            if not ok:
                raise ValueError(
                    f"{name} = {getattr(self, name)!r} is not possible: choose {allowed}"
                )

        check("channels", 1 <= self.channels <= 64, "1..64 channels")
        check("dies", 1 <= self.dies <= 64, "1..64 dies per channel")
        check("planes", self.planes in (1, 2, 4, 6, 8), "1, 2, 4, 6 or 8 planes")
        check(
            "blocks",
            self.blocks >= 1 and self.blocks % self.planes == 0,
            f"a positive multiple of planes = {self.planes}",
        )
        check("pages", 1 <= self.pages <= 1 << 14, "1..16384 pages per block")
        check(
            "page_bytes",
            64 <= self.page_bytes <= 1 << 15 and self.page_bytes % 8 == 0,
            "a multiple of 8, 64..32768",
        )
        check(
            "spare_bytes",
            0 <= self.spare_bytes <= self.page_bytes and self.spare_bytes % 8 == 0,
            "a multiple of 8 not above page_bytes",
        )
        if self.rows > 1 << ROW_BITS:
            raise ValueError(
                f"blocks * pages = {self.rows} rows do not fit a row address of {ROW_BITS} bits: "
                f"choose at most {1 << ROW_BITS}"
            )
        if self.page_words >= 1 << 12:
            raise ValueError(
                f"page_bytes + spare_bytes = {self.page_total} is {self.page_words} words: "
                "choose at most 4095 words of 8 bytes"
            )

    @property
    def rows(self):
        """Pages of a die."""
        return self.blocks * self.pages

    @property
    def page_total(self):
        """Bytes of a page, spare included."""
        return self.page_bytes + self.spare_bytes

    @property
    def page_words(self):
        """8-byte words of a page, spare included."""
        return self.page_total // 8

    @property
    def block_bytes(self):
        """User bytes of a block."""
        return self.pages * self.page_bytes

    @property
    def die_bytes(self):
        """User bytes of a die."""
        return self.rows * self.page_bytes

    @property
    def total_pages(self):
        """Pages of the drive."""
        return self.channels * self.dies * self.rows

    @property
    def capacity(self):
        """User bytes of the drive."""
        return self.total_pages * self.page_bytes

    def plane(self, row):
        """Plane of a row."""
        return row // self.pages % self.planes

    def row(self, block, page):
        """Row address of a page of a block."""
        if not 0 <= block < self.blocks:
            raise ValueError(f"block = {block} is outside the die: choose 0..{self.blocks - 1}")
        if not 0 <= page < self.pages:
            raise ValueError(f"page = {page} is outside the block: choose 0..{self.pages - 1}")
        return block * self.pages + page
