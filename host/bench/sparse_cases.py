"""Cases of ``instinfer bench sparse``: flash, drive, tokens; the sweeps.

A drive of 8 channels is looked at through fewer of them, with as many tokens, rows of scores and
dies on each channel: tokens are those of the whole drive, `SparseCase.held` those simulated.
"""

from dataclasses import dataclass

from flash_model.profiles import PROFILES
from rtl.config import DriveConfig

from .flash_cases import CLOCK_HZ, flash_profile

__all__ = [
    "AXES", "BASE", "CONSTRUCTED", "MODEL", "MOST_DIES", "MOST_TOKENS", "RATIOS", "SOURCES",
    "WHOLE_CHANNELS", "SparseCase", "crossed", "full_sweep", "quick_sweep",
]  # fmt: skip

CONSTRUCTED, MODEL = "constructed", "smollm2"

SOURCES = {
    CONSTRUCTED: "head_dim 128, 4 query heads: touched codewords as in host.bench.selection",
    MODEL: "head_dim 64, 3 query heads: SmolLM2 at the end of a text",
}
"""Where q, K and V come from."""

WHOLE_CHANNELS = 8
"""Of the drive that is looked at."""

MOST_DIES, MOST_TOKENS = 64, 16384
"""What its gateware is built for; fewer dies: the others hold nothing and are not read."""

RATIOS = {"sparf": (1 / 4, 1 / 8, 1 / 16), "bounds": (1 / 4, 0.184, 1 / 8)}
"""Of each kind of attention; of bounds 0.184, which loses a model as little as SparF at 1/8."""

CLOCKS = {"paper": 285_000_000}
"""Of the drive, where the clock is not `host.bench.flash_cases.CLOCK_HZ`: preset ``paper``."""


@dataclass(frozen=True)
class SparseCase:
    """Attention of a few layers, dense and sparse.

    Parameters
    ----------
    profile : str
        See `host.bench.flash_cases.flash_profile`.
    source : str
        One of `SOURCES`.
    dies : int
        Of each channel, that hold pages.
    codeword_bytes : int
    tokens : int
        Of a sequence of the whole drive.
    channels : int
        That are simulated, of `WHOLE_CHANNELS`.
    attention : str
        Kind of sparse attention, one of `RATIOS`.
    ratios : tuple of float
        Of it, some of `RATIOS`.
    """

    profile: str = "paper"
    source: str = CONSTRUCTED
    dies: int = 16
    codeword_bytes: int = 1024
    tokens: int = 8192
    channels: int = 2
    attention: str = "sparf"
    ratios: tuple = ()

    def __post_init__(self):
        if not self.ratios:
            object.__setattr__(self, "ratios", RATIOS[self.attention])
        for ratio in self.ratios:
            if ratio not in RATIOS[self.attention]:
                raise ValueError(
                    f"ratio {ratio:g} of {self.attention} is not possible: choose of "
                    f"{', '.join(f'{ratio:g}' for ratio in RATIOS[self.attention])}"
                )
        unit = self.codeword_bytes // 2 * WHOLE_CHANNELS
        if self.tokens % unit or not unit <= self.tokens <= MOST_TOKENS:
            raise ValueError(
                f"tokens = {self.tokens} is not possible: choose a multiple of {unit}, at most "
                f"{MOST_TOKENS}, so that each channel has as many units of K by channel"
            )

    @property
    def config(self):
        """The drive that is simulated."""
        if self.profile not in PROFILES:  # one with another data rate
            PROFILES[self.profile] = flash_profile(self.profile)
        each = self.channels
        return DriveConfig.preset(
            "paper",
            profile=self.profile,
            channels=each,
            dies=MOST_DIES,
            clock_hz=CLOCKS.get(self.profile, CLOCK_HZ),
            codeword_bytes=self.codeword_bytes,
            pass_tokens=8192 * each // WHOLE_CHANNELS,
            max_tokens=MOST_TOKENS * each // WHOLE_CHANNELS,
            sparse_tokens=MOST_TOKENS * each // WHOLE_CHANNELS,
            bounds=self.attention == "bounds",
        )

    @property
    def held(self):
        """Tokens on the channels that are simulated."""
        return self.tokens * self.channels // WHOLE_CHANNELS

    @property
    def head_dim(self):
        """Elements of a vector."""
        return 128 if self.source == CONSTRUCTED else 64

    @property
    def queries(self):
        """Query heads of a KV head."""
        return 4 if self.source == CONSTRUCTED else 3

    @property
    def kv_heads(self):
        """Of a layer."""
        return 4 if self.source == CONSTRUCTED else 3

    @property
    def title(self):
        """For progress bars."""
        return (
            f"{self.attention}, {self.profile} {self.source}, {self.dies} dies, "
            f"{self.tokens} tokens"
        )

    @property
    def modes(self):
        """Ratios that are measured, None first: dense."""
        return None, *self.ratios

    def as_dict(self):
        """Plain dict, of what all rows of a case share."""
        return {name: getattr(self, name) for name in AXES}


BASE = SparseCase()

AXES = ("profile", "source", "dies", "codeword_bytes", "tokens", "channels", "attention")

ONFI = "tlc_onfi5@800"
ONE = (1 / 8,)


def _ordered(cases):
    """Without repetitions, those of one compiled drive together."""
    cases = list(dict.fromkeys(cases))
    drives = list(dict.fromkeys(case.config for case in cases))
    return sorted(cases, key=lambda case: drives.index(case.config))


def crossed(given, ratios=()):
    """Every combination of the values given by field, the rest as in `BASE`; without ratios those
    of `RATIOS`."""
    fields: list[dict] = [{"ratios": tuple(ratios)}]
    for name in AXES:
        fields = [
            {**chosen, name: value}
            for chosen in fields
            for value in given.get(name) or [getattr(BASE, name)]
        ]
    return _ordered(SparseCase(**chosen) for chosen in fields)


def full_sweep():
    """Dies on two profiles; tokens, codewords, a model's keys, a fast flash at one of them each."""
    cases = []
    for profile in ("paper", ONFI):
        for dies in (4, 8, 16, 32, 64):
            ratios = () if dies in (16, 64) else ONE
            cases += crossed({"profile": [profile], "dies": [dies]}, ratios)
        cases += crossed({"profile": [profile], "dies": [16, 32, 64], "attention": ["bounds"]})
    cases += crossed({"source": [MODEL], "dies": [64], "attention": RATIOS})
    cases += crossed({"tokens": (4096, 16384), "dies": [64]}, ONE)
    cases += crossed({"codeword_bytes": [512], "source": SOURCES, "dies": [64]}, ONE)
    cases += crossed({"profile": ["znand"], "dies": [4]}, ONE)
    return _ordered(cases)


def quick_sweep():
    """One compiled drive."""
    return crossed({"source": SOURCES, "dies": (16, 64), "tokens": [4096]}, ONE)
