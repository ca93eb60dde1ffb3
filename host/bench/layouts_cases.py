"""Cases of ``instinfer bench layouts``: where K and V of a token group lie in its two pages.

Pages of four codewords, four tokens' K or V in each, as of head_dim 128 with 4 KiB and 1 KiB::

             first page of the group               second page
    apart    | K0-3  | K4-7  | K8-11  | K12-15  |  | V0-3  | V4-7   | V8-11   | V12-15  |
    halves   | K0-3  | K4-7  | V0-3   | V4-7    |  | K8-11 | K12-15 | V8-11   | V12-15  |
    pairs    | K0-3  | V0-3  | K4-7   | V4-7    |  | K8-11 | V8-11  | K12-15  | V12-15  |
    mixed    | KV0-1 | KV2-3 | KV4-5  | KV6-7   |  | KV8-9 | KV10-11| KV12-13 | KV14-15 |

A group has two pages and one map entry in each of them. Within a codeword of ``mixed`` the order is
that of tokens, K and V of each: K0 V0 K1 V1.
"""

import itertools
from dataclasses import asdict, dataclass

from rtl.ecc.placement import strongest

from .flash_cases import FlashCase
from .selection import LARGEST, SMALLEST

__all__ = [
    "ACCESSES", "AXES", "BASE", "LAYOUTS", "LayoutCase", "codeword_of", "crossed", "full_sweep",
    "quick_sweep",
]  # fmt: skip

LAYOUTS = {
    "apart": "a page of K, a page of V",
    "halves": "half of the tokens in a page, all their K before their V",
    "pairs": "half of the tokens in a page, codewords of K and V by turns",
    "mixed": "half of the tokens in a page, K and V of each in one codeword",
}

ACCESSES = {
    "dense": "all tokens: a pass of K, then one of V",
    "sparse": "codewords touched: K and V of a page in one go, apart: in passes",
    "passes": "codewords touched: a pass of K, then one of V",
}

K, V = "K", "V"


@dataclass(frozen=True)
class LayoutCase:
    """Attention of heads of one layout, on one channel.

    Parameters
    ----------
    profile : str
        See `host.bench.flash_cases.flash_profile`.
    layout, access : str
        Of `LAYOUTS` and `ACCESSES`.
    dies : int
        Of the channel, that hold pages.
    head_dim, codeword_bytes : int
    tokens : int
        Of the sequence.
    """

    profile: str = "paper"
    layout: str = "apart"
    access: str = "dense"
    dies: int = 16
    head_dim: int = 128
    codeword_bytes: int = 1024
    tokens: int = 8192

    def __post_init__(self):
        page = self.geometry.page_bytes
        if page % (2 * self.codeword_bytes) or page % (4 * self.head_dim):
            raise ValueError(
                f"pages of profile {self.profile} have {page} bytes: choose codewords and vectors "
                f"that half of it is a multiple of, not {self.codeword_bytes} bytes and "
                f"head_dim {self.head_dim}"
            )
        least = SMALLEST * (2 if self.layout == "mixed" else 1)
        if not least <= self.codeword_tokens <= LARGEST:
            raise ValueError(
                f"codewords of {self.codeword_bytes} bytes with head_dim {self.head_dim} are not "
                f"possible with layout {self.layout}: they hold {self.codeword_tokens} vectors, "
                f"and it needs {least}..{LARGEST}"
            )
        each = max(LARGEST, self.group_tokens) * self.channels
        if self.tokens < each or self.tokens % each:
            raise ValueError(
                f"tokens = {self.tokens} is not possible: choose a multiple of {each}, so that "
                "all channels have the same"
            )

    @property
    def channel(self):
        """The channel's profile and clock: a `FlashCase`."""
        return FlashCase(self.profile, dies=self.dies)

    @property
    def geometry(self):
        """Of the profile."""
        return self.channel.flash.geometry

    @property
    def channels(self):
        """Of the drive, which the sequence's groups are dealt to."""
        return self.geometry.channels

    @property
    def code(self):
        """Of the codewords: the strongest that fits the spare bytes."""
        return strongest(self.geometry, self.codeword_bytes)

    @property
    def codeword_tokens(self):
        """Vectors in a codeword, of K or of V."""
        return self.codeword_bytes // (2 * self.head_dim)

    @property
    def group_tokens(self):
        """Tokens of a group: as many vectors as fit a page."""
        return self.geometry.page_bytes // (2 * self.head_dim)

    @property
    def reads(self):
        """What is read together: a tuple of the kinds of each pass."""
        together = self.access == "sparse" and self.layout != "apart"
        return ((K, V),) if together else ((K,), (V,))

    @property
    def title(self):
        """For progress bars."""
        return f"{self.profile} {self.layout} {self.access}, {self.dies} dies"

    def as_dict(self):
        """Plain dict."""
        return asdict(self)


def codeword_of(case, kind, token):
    """Where K or V of a token of a group lies: page of the group and codeword of that page.

    Parameters
    ----------
    case : LayoutCase
    kind : str
        "K" or "V".
    token : int
        Its place in the group.
    """
    each = case.codeword_tokens
    if case.layout == "apart":
        return (K, V).index(kind), token // each
    page, token = divmod(token, case.group_tokens // 2)
    if case.layout == "mixed":
        return page, 2 * token // each
    codeword = token // each
    if case.layout == "pairs":
        return page, 2 * codeword + (K, V).index(kind)
    half = case.geometry.page_bytes // case.codeword_bytes // 2
    return page, codeword + half * (K, V).index(kind)


BASE = LayoutCase()

AXES = ("profile", "layout", "access", "dies", "head_dim", "codeword_bytes", "tokens")

SWEEP = {
    "profile": ("paper", "tlc_onfi5@800", "znand"),
    "layout": tuple(LAYOUTS),
    "access": tuple(ACCESSES),
    "dies": (4, 8, 16),
}


def crossed(given):
    """Every combination of the values given by field, the rest as in `BASE`.

    Without those that are another one by a different name: passes of K and V are what every sparse
    access is with layout apart, and mixed codewords are not read twice for a few tokens.
    """
    values = {name: given.get(name) or [getattr(BASE, name)] for name in AXES}
    cases = [
        LayoutCase(**dict(zip(AXES, choice, strict=True)))
        for choice in itertools.product(*values.values())
    ]
    return [c for c in cases if not (c.access == "passes" and c.layout in ("apart", "mixed"))]


def full_sweep():
    """Every layout and access, over dies, of three profiles."""
    return crossed(SWEEP)


def quick_sweep():
    """The paper's flash, fewer tokens."""
    return crossed(SWEEP | {"profile": ["paper"], "tokens": [2048]})
