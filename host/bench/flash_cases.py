"""Cases of ``instinfer bench flash``: profiles by rate, patterns, dies, codewords; the sweeps."""

import itertools
from dataclasses import asdict, dataclass, replace
from fractions import Fraction

from flash_model.mqsim import T_CS_NS
from flash_model.profiles import PROFILES, Profile
from rtl.nand.planes import planes_of

__all__ = [
    "BASE", "CODEWORDS", "PATTERNS", "RATES", "FlashCase", "crossed", "flash_profile", "full_sweep",
    "planes_together", "quick_sweep",
]  # fmt: skip

PATTERNS = {
    "single": "one read of an idle die at a time, of half a page and of a page, without its spare",
    "sequential": "whole pages with their spare, dies in turn, row after row",
    "random": "whole pages with their spare, any die, any row",
    "codeword": "one codeword of each page, dies in turn",
    "quarter": "a random quarter of the codewords of each page, neighbours in one go, dies in turn",
}
"""Pattern -> what is read."""

BY_CODEWORD = ("codeword", "quarter")
BY_PLANES = ("sequential", "random")
"""Patterns that several planes of a die can be read in."""

CODEWORDS = (512, 1024)
"""Data bytes of a codeword."""

RATES = (200, 333, 800, 1400, 2400)
"""MT/s: NV-DDR, MQSim's NV-DDR2, NV-DDR3, the paper's channels, ONFI 5.0."""

MORE_DIES = {2400: 24}
"""Dies of the sweeps where the profile's cannot sense pages as fast as the bus moves a quarter of
their codewords."""

RATE_LIMITS = (10, 4800)
CLOCK_HZ = 250_000_000
"""Of the channel, unless the bus then brings more than 8 bytes a clock."""

_MQSIM = "simulator: MQSim, its default configuration"


def _mqsim():
    """The page and the times with which MQSim's turnaround is usually quoted."""
    base = PROFILES["mlc_cosmos"]
    geometry = {"channels": 8, "dies": 8, "planes": 2, "blocks": 4096, "page_bytes": 8192,
                "spare_bytes": 448}  # fmt: skip
    timing = {
        "rate_mts": Fraction(1000, 3),  # tDSC: two bytes in 6 ns
        "t_cs_ns": T_CS_NS,
        "t_r_ns": 75_000,
        "t_prog_ns": 750_000,
        "t_bers_ns": 3_800_000,
    }
    return replace(
        base,
        name="mqsim",
        geometry=replace(base.geometry, **geometry),
        timing=replace(base.timing, **timing),
        sources=base.sources | dict.fromkeys([*geometry, *timing], _MQSIM),
    )


KNOWN = {**PROFILES, "mqsim": _mqsim()}


def planes_together(flash):
    """How many planes of a die can be sensed together."""
    planes = planes_of(flash)
    return [1] if planes is None else [1 << bit for bit in range(planes.plane_bits + 1)]


def flash_profile(text) -> Profile:
    """A profile by name; ``name@rate`` is the same with another data rate in MT/s."""
    name, at, rate = text.partition("@")
    if name not in KNOWN:
        raise ValueError(f"profile {text} is not possible: choose of {', '.join(KNOWN)}")
    base = KNOWN[name]
    if not at:
        return base
    low, high = RATE_LIMITS
    if not (rate.isascii() and rate.isdigit() and low <= int(rate) <= high):
        raise ValueError(
            f"profile {text} is not possible: write {name}@RATE with a rate of {low}..{high} MT/s"
        )
    sources = base.sources | {"rate_mts": "assumed: given on the command line"}
    timing = replace(base.timing, rate_mts=int(rate))
    return replace(base, name=text, timing=timing, sources=sources)


@dataclass(frozen=True)
class FlashCase:
    """One stream of reads on one channel.

    Parameters
    ----------
    profile : str
        See `flash_profile`.
    pattern : str
        One of `PATTERNS`.
    dies : int, optional
        Dies that are read; all of the profile's, if not given. If it has not so many, the channel
        gets more.
    codeword_bytes : int, optional
        Data bytes of a codeword; None for whole pages.
    planes : int
        Planes of a die whose pages are read one behind the other, so that they can be sensed
        together: their number of the page is the same. 1: as pattern and rows have it.
    """

    profile: str = "tlc_onfi5"
    pattern: str = "sequential"
    dies: int | None = None
    codeword_bytes: int | None = None
    planes: int = 1

    def __post_init__(self):
        by_codeword = self.pattern in BY_CODEWORD
        geometry = flash_profile(self.profile).geometry
        dies = 1 if self.pattern == "single" else self.dies or geometry.dies
        size = (self.codeword_bytes or CODEWORDS[-1]) if by_codeword else None
        page = geometry.page_bytes
        least = {"codeword": 1, "quarter": 4}.get(self.pattern, 0)
        if size and (page % size or page // size < least):
            raise ValueError(
                f"codewords of {size} bytes are not possible: pages of profile {self.profile} "
                f"have {page} bytes, and pattern {self.pattern} needs {least} in each"
            )
        possible = planes_together(flash_profile(self.profile))
        if self.planes not in possible:
            raise ValueError(
                f"planes = {self.planes} is not possible: of profile {self.profile} choose "
                f"{' or '.join(map(str, possible))}"
            )
        if self.planes > 1 and self.pattern not in BY_PLANES:
            raise ValueError(
                f"planes = {self.planes} is not possible: pattern {self.pattern} reads one at a "
                f"time, choose {' or '.join(BY_PLANES)}"
            )
        object.__setattr__(self, "dies", dies)
        object.__setattr__(self, "codeword_bytes", size)

    @property
    def flash(self):
        """The profile, with the dies that are wanted."""
        base = flash_profile(self.profile)
        assert self.dies is not None  # set when the case was made
        if self.dies <= base.geometry.dies:
            return base
        return replace(base, geometry=replace(base.geometry, dies=self.dies))

    @property
    def clock_hz(self):
        """Clock of the channel: at most 8 bytes of data in each."""
        return max(CLOCK_HZ, int(self.flash.timing.rate_mts * 10**6 / 8))

    @property
    def title(self):
        """For progress bars and tables."""
        size = f", {self.codeword_bytes} B codewords" if self.codeword_bytes else ""
        planes = f", {self.planes} planes" if self.planes > 1 else ""
        return f"{self.profile} {self.pattern}, {self.dies} dies{planes}{size}"

    def as_dict(self):
        """Plain dict."""
        return asdict(self)


BASE = FlashCase()


def _ordered(cases):
    """Without repetitions; those of one profile, which share a compiled channel, together."""
    cases = list(dict.fromkeys(cases))
    profiles = list(dict.fromkeys(case.profile for case in cases))
    return sorted(cases, key=lambda case: profiles.index(case.profile))


def _by_rate(patterns, rates=RATES):
    for rate, pattern, size in itertools.product(rates, patterns, CODEWORDS):
        yield FlashCase(f"{BASE.profile}@{rate}", pattern, MORE_DIES.get(rate), size)


def _by_planes(profile, dies):
    """Few dies: sensing is what such reads wait for."""
    for pattern, planes, number in itertools.product(
        BY_PLANES, planes_together(flash_profile(profile)), dies
    ):
        yield FlashCase(profile, pattern, number, planes=planes)


def quick_sweep():
    """Under a minute with channels that are already compiled."""
    return _ordered(
        [
            FlashCase("mqsim", "single"),
            FlashCase("paper"),
            FlashCase("paper", "random"),
            *_by_rate(("sequential", "quarter")),
            *(FlashCase("tlc_onfi5@1400", "quarter", dies=n) for n in (4, 8)),
            *(FlashCase("tlc_onfi5@1400", "sequential", dies=n) for n in (1, 2, 4, 8)),
            *_by_planes("tlc_onfi5@1400", (1, 2)),
        ]
    )


def full_sweep():
    """Every pattern at every rate, and over dies; the other profiles as they are."""
    dies = (1, 2, 4, 6, 8, 10, 12, 14)
    others = [name for name in KNOWN if name not in ("tiny", BASE.profile)]
    return _ordered(
        [
            *(FlashCase(name, pattern) for name in others for pattern in PATTERNS
              if not (pattern == "quarter" and name == "mqsim")),
            *_by_rate(PATTERNS),
            *(FlashCase(f"tlc_onfi5@{rate}", pattern, dies=n)
              for rate in (1400, 2400) for pattern in ("sequential", "quarter") for n in dies),
            *_by_planes("tlc_onfi5@1400", (1, 2, 3, 4)),
            *_by_planes("tlc_onfi5", (1, 2, 4, 8)),
            *_by_planes("mqsim", (1, 2, 4)),
            *_by_planes("mlc_cosmos", (1, 2)),
        ]
    )  # fmt: skip


AXES = ("profile", "pattern", "dies", "codeword_bytes", "planes")


def crossed(given):
    """Every combination of the values given by field, the rest as in `BASE`.

    Dies are all of a profile's where none are given.
    """
    values = {name: given.get(name) or [_default(name)] for name in AXES}
    return _ordered(
        FlashCase(**dict(zip(AXES, choice, strict=True)))
        for choice in itertools.product(*values.values())
    )


def _default(name):
    return getattr(BASE, name) if name in ("profile", "pattern", "planes") else None
