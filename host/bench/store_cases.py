"""What ``instinfer bench store`` runs: drives, models, fills, and designs of the append path."""

from dataclasses import dataclass
from typing import Any

from flash_model.profiles import profile
from rtl.config import DriveConfig
from rtl.tables import unit_groups

from .store_load import MODELS

__all__ = ["DESIGNS", "Case", "Design", "full_sweep", "quick_sweep"]


@dataclass(frozen=True, kw_only=True)
class Design:
    """How appends are put into block groups.

    Parameters
    ----------
    text : str
    eager : bool
        Groups are erased before a sequence is admitted, for all that open ones may still append.
        If not, when the next one is needed.
    streams : str
        "one": of the append path, for all; "end": by the tokens left to the end of the sequence, in
        powers of 2; "own": one for each sequence that may fill some groups, one for all others.
    """

    text: str
    eager: bool = False
    streams: str = "one"


DESIGNS = {
    "early": Design(text="one stream, room made at OPEN for all that may be appended", eager=True),
    "one": Design(text="one stream, room made when a group is needed"),
    "end": Design(text="streams by the tokens left to each sequence's end", streams="end"),
    "drive": Design(text="as the drive is: groups of its own for each sequence", streams="own"),
}


@dataclass(frozen=True, kw_only=True)
class Case:
    """One run.

    Parameters
    ----------
    profile : str
        Of flash, whose channels, dies and blocks are taken.
    model : str
        Of `host.bench.store_load.MODELS`.
    fill : float
        Live pages that are aimed at, of all usable ones.
    design : str
        Of `DESIGNS`.
    parts : int
        A block group is a block number on one of so many parts of the dies.
    own : int
        Groups that a sequence may fill from which on it has a stream of its own, see
        `DriveConfig.stream_groups`.
    sequences : int
        Open at a time, on average: the drive has as many blocks as they fill. 0: the profile's
        blocks, and as many sequences as fill them.
    kept : float
        Of the live pages, those of sequences that are never closed.
    declared : float
        Answer tokens that a sequence is opened for, over those that come.
    longer : float
        Prompts, answers and the model's context are so many times as long.
    index : str
        Of `host.checks.INDEXES`, that sequences are opened with.
    writes : float
        Times that all usable pages are written.
    """

    profile: str = "paper"
    model: str = "llama3-8b"
    fill: float = 0.8
    design: str = "drive"
    parts: int = 16
    own: int = 0
    sequences: int = 0
    kept: float = 0.0
    declared: float = 1.0
    longer: float = 1.0
    index: str = "none"
    writes: float = 50

    @property
    def geometry(self):
        """Of the profile's drive; `blocks` is not that of the case if ``sequences`` is given."""
        return profile(self.profile).geometry

    @property
    def unit_groups(self):
        """Token groups of a unit of K by channel; 0 if it is not kept."""
        if self.index == "none":
            return 0
        config, head_dim = DriveConfig(profile=self.profile), MODELS[self.model].head_dim
        return unit_groups(head_dim, self.geometry.page_bytes, config.code.data_bytes)

    @property
    def title(self):
        """For a progress bar."""
        return f"{self.profile}, {self.model}, {self.fill:.0%} full, {self.design}"


PAPER: tuple[dict[str, Any], ...] = (
    {"model": "llama3-8b", "sequences": 64},
    {"model": "opt-13b", "sequences": 40},
)
"""Drives with the paper's flash, of as many blocks as these sequences fill: about 64 are open."""


def full_sweep():
    """Cases of a full run."""
    for base in PAPER:
        for design, parts in (("one", 1), ("end", 1), ("end", 16), ("drive", 16)):
            yield Case(design=design, parts=parts, **base)
        for fill in (0.6, 0.7, 0.9):
            for design, parts in (("one", 1), ("drive", 16)):
                yield Case(design=design, fill=fill, parts=parts, **base)
        yield Case(declared=2.0, **base)
    yield Case(parts=4, sequences=64)
    yield Case(parts=8, sequences=64)
    for design, parts in (("one", 1), ("drive", 16)):
        for base in PAPER:
            yield Case(profile="tlc_onfi5", design=design, parts=parts, **base)
            if design == "drive":
                yield Case(profile="tlc_onfi5", parts=parts, own=2, **base)
        yield Case(sequences=64, kept=0.1, design=design, parts=parts)
    yield Case(longer=6.0)
    yield Case(design="early", parts=1, sequences=64)


def quick_sweep():
    """Cases of a quick run."""
    for fill in (0.6, 0.8):
        for design, parts in (("one", 1), ("drive", 16)):
            yield Case(sequences=64, design=design, parts=parts, fill=fill, writes=5)
