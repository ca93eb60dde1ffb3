"""What is compared: methods by name, at the ratios asked for."""

from dataclasses import dataclass

from ..options import BadOption
from .methods import Bounds, Local, Method, Sparf
from .names import METHODS
from .ratio import BOUNDS_SHARE, bounds_of, nominal_of, sparf_of

__all__ = ["Case", "Settings", "make_cases"]


@dataclass(frozen=True)
class Settings:
    """What all cases share.

    Attributes
    ----------
    head_dim : int
    window, sinks : int
        Last and first tokens that are always attended.
    unit : int
        Tokens whose bounds are written together.
    besides : bool
        Whether these come besides what a ratio pays for, not within it.
    """

    head_dim: int
    window: int
    sinks: int
    unit: int
    besides: bool = False

    @property
    def forced(self):
        """What methods are told of tokens that are always attended."""
        return {"window": self.window, "sinks": self.sinks, "besides": self.besides}


@dataclass(frozen=True)
class Case:
    """A row of the table.

    Attributes
    ----------
    name : str
        Of `METHODS`.
    ratio : float
        Nominal.
    method : Method
        Equal for cases that attend the same tokens: these are run once.
    """

    name: str
    ratio: float
    method: Method

    @property
    def elements(self):
        """Whether single elements are what is moved."""
        return self.name.startswith("sparq")


def make_cases(names, ratios, settings, channels=None, kept=None, tokens=0):
    """The cases of some methods, in order.

    Parameters
    ----------
    names : list of str
        Of `METHODS`.
    ratios : list of float
        Nominal.
    settings : Settings
    channels, kept : int, optional
        r and k of SparF, instead of ratios.
    tokens : int
        Length at which such k counts.

    Returns
    -------
    tuple
        list of Case, and a list of str: what is left out, and why.

    Raises
    ------
    BadOption
        Unknown or impossible; or nothing is left.
    """
    for name in names:
        if name not in METHODS:
            raise BadOption(f"--methods {name} is not known: choose of {', '.join(METHODS)}")
    names = list(dict.fromkeys(names))
    if channels is not None or kept is not None:
        return _explicit(names, settings, channels, kept, tokens), []
    pairs = [(name, ratio) for name in names for ratio in ratios]
    dear = [(name, ratio) for name, ratio in pairs if name == "bounds" and ratio <= BOUNDS_SHARE]
    left_out = [f"bounds at {ratio:g}, as bounds alone are 1/16" for _, ratio in dear]
    if dear == pairs:
        raise BadOption(f"--ratios: nothing can be run; {'; '.join(left_out)}")
    return [_case(*pair, settings) for pair in pairs if pair not in dear], left_out


def _case(name, ratio, settings):
    if name == "local":
        return Case(name, ratio, Local(ratio, settings.sinks))
    if name == "bounds":
        return Case(name, ratio, Bounds(bounds_of(ratio), settings.unit, **settings.forced))
    channels, share = sparf_of(ratio, settings.head_dim)
    mean_value = _mean_value(name)
    return Case(name, ratio, Sparf(channels, share, mean_value=mean_value, **settings.forced))


def _explicit(names, settings, channels, kept, tokens):
    if channels is None or kept is None:
        raise BadOption("--channels and --kept go together: give both, or --ratios")
    if not 1 <= channels <= settings.head_dim:
        raise BadOption(
            f"--channels {channels} is not possible: the model's heads have {settings.head_dim}, "
            f"choose 1..{settings.head_dim}"
        )
    if kept < 1:
        raise BadOption(f"--kept {kept} is not possible: keep 1 token or more")
    ratio = nominal_of(channels, kept / tokens, settings.head_dim)
    cases = [
        Case(
            name,
            ratio,
            Sparf(channels, kept=kept, mean_value=_mean_value(name), **settings.forced),
        )
        for name in names
        if name.startswith("spar")
    ]
    if not cases:
        raise BadOption("--channels and --kept are of sparf and sparq: give one with --methods")
    return cases


def _mean_value(name):
    return not name.endswith("plain")
