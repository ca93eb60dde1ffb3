"""Cases of ``instinfer bench dense``: shapes, the drive for each, the sweeps."""

import itertools
from dataclasses import asdict, dataclass, replace

from flash_model.profiles import PROFILES
from rtl.config import HEAD_DIMS, DriveConfig

__all__ = ["AXES", "BASE", "Case", "crossed", "full_sweep", "quick_sweep"]

CLOCKS = {"tlc_onfi5": 300_000_000}
"""Clock of the drive for a profile, where it is not the preset's: here a bus of 2400 MT/s brings 8
bytes a clock."""

WIDE = {"max_queries_per_kv": 8, "max_head_dim": 256}
"""The drive for shapes beyond the preset's."""


@dataclass(frozen=True)
class Case:
    """One attention, of all tokens of one layer of one sequence.

    Parameters
    ----------
    profile : str
        Flash profile.
    channels, head_dim, queries_per_kv, kv_heads, tokens : int
    """

    profile: str = "paper"
    channels: int = 8
    head_dim: int = 128
    queries_per_kv: int = 4
    kv_heads: int = 8
    tokens: int = 8192

    @property
    def config(self):
        """The drive: the default preset's with this profile and these channels, or a wider one."""
        changes = {"profile": self.profile, "channels": self.channels}
        if self.profile in CLOCKS:
            changes["clock_hz"] = CLOCKS[self.profile]
        usual = DriveConfig.preset("default", **changes)
        fits = (
            self.head_dim <= usual.max_head_dim and self.queries_per_kv <= usual.max_queries_per_kv
        )
        return usual if fits else replace(usual, **WIDE)

    @property
    def title(self):
        """For progress bars."""
        return (
            f"{self.profile} {self.channels} ch, d {self.head_dim}, g {self.queries_per_kv}, "
            f"{self.tokens} tokens"
        )

    def as_dict(self):
        """Plain dict."""
        return asdict(self)


BASE = Case()
"""A Llama-3-8B layer on the paper's flash."""

CHANNELS = (1, 2, 4, 8, 16)
QUERIES = tuple(range(1, 9))

AXES: dict[str, tuple | None] = {
    "profile": tuple(PROFILES),
    "channels": CHANNELS,
    "head_dim": HEAD_DIMS,
    "queries_per_kv": QUERIES,
    "kv_heads": None,
    "tokens": None,
}
"""Fields of a case and their possible values; None: any from 1 on."""


def _ordered(cases):
    """Without repetitions, drives of one kind one after another, short cases first."""
    cases, kinds = list(cases), []
    for case in cases:
        if case.config not in kinds:
            kinds.append(case.config)
    return sorted(set(cases), key=lambda case: (kinds.index(case.config), *case.as_dict().values()))


def full_sweep():
    """Each axis by itself from `BASE`; tokens on both data rates."""
    double = [256 << n for n in range(10)]
    return _ordered(
        [replace(BASE, tokens=tokens) for tokens in double]
        + [replace(BASE, kv_heads=heads) for heads in (1, 2)]
        + [replace(BASE, head_dim=d) for d in HEAD_DIMS]
        + [replace(BASE, queries_per_kv=g) for g in QUERIES]
        + [replace(BASE, channels=channels) for channels in CHANNELS]
        + [replace(BASE, profile="tlc_onfi5", tokens=tokens) for tokens in double[:-1]]
    )


def quick_sweep():
    """Under two minutes with models that are already compiled."""
    return _ordered(
        [replace(BASE, tokens=tokens) for tokens in (256, 1024, 2048, 8192)]
        + [replace(BASE, head_dim=d, tokens=1024) for d in (64, 80, 96, 112)]
        + [replace(BASE, queries_per_kv=g, tokens=1024) for g in (1, 3)]
        + [replace(BASE, channels=channels) for channels in (1, 16)]
        + [replace(BASE, profile="tlc_onfi5", tokens=tokens) for tokens in (1024, 8192)]
    )


def crossed(given):
    """Every combination of the values given by field, the rest as in `BASE`."""
    return _ordered(
        replace(BASE, **dict(zip(given, values, strict=True)))
        for values in itertools.product(*given.values())
    )
