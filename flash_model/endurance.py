"""What a part promises about its cells: bad blocks, erases, the ECC it wants."""

import dataclasses
from dataclasses import dataclass

__all__ = ["Endurance"]


@dataclass(frozen=True, kw_only=True)
class Endurance:
    """Parameters of a part that its parameter page states and its faults follow.

    Parameters
    ----------
    bits_per_cell : int
        1 (SLC) to 4 (QLC).
    bad_blocks : int
        Most bad blocks of a die over its life, factory ones included.
    erases : int
        Program/erase cycles that a block endures.
    ecc_bits : int
        Bits that the ECC shall correct in 1 KiB, 1..254.
    """

    bits_per_cell: int
    bad_blocks: int
    erases: int
    ecc_bits: int

    def __post_init__(self):
        for name, least, most in (
            ("bits_per_cell", 1, 4),
            ("bad_blocks", 0, 65535),
            ("erases", 1, 10**9),
            ("ecc_bits", 1, 254),
        ):
            if not least <= getattr(self, name) <= most:
                raise ValueError(
                    f"{name} = {getattr(self, name)!r} is not possible: choose {least}..{most}"
                )

    @classmethod
    def names(cls):
        """Names of the parameters."""
        return [field.name for field in dataclasses.fields(cls)]
