"""What a selection unit is built as, and the layouts of its streams."""

from dataclasses import dataclass

from amaranth.hdl import Shape
from amaranth.lib import data

from .selection_kernels import KEY_BITS

__all__ = ["SelectConfig", "keep_layout", "select_job_layout"]


@dataclass(frozen=True, kw_only=True)
class SelectConfig:
    """The size of a `RadixSelect`.

    Parameters
    ----------
    channels : int
        Streams of keys side by side, 1..16.
    max_tokens : int
        Most tokens of a job, over all channels, 2..131072.
    max_group : int
        Largest group in which tokens are dealt to the channels, 1..4096.
    max_unit : int
        Largest unit in which tokens may be dealt before those in groups, 1..4096; 0: none are.
    key_bits : int
        Width of a key, 1..48.
    digit_bits : int
        Bits of a key settled in a round, 2..12: a round's sweep takes ``2**digit_bits`` clocks.
    """

    channels: int = 8
    max_tokens: int = 8192
    max_group: int = 64
    max_unit: int = 0
    key_bits: int = KEY_BITS
    digit_bits: int = 8

    def __post_init__(self):
        for name, low, high in (
            ("channels", 1, 16),
            ("max_tokens", 2, 131072),
            ("max_group", 1, 4096),
            ("max_unit", 0, 4096),
            ("key_bits", 1, 48),
            ("digit_bits", 2, 12),
        ):
            value = getattr(self, name)
            if not isinstance(value, int) or not low <= value <= high:
                raise ValueError(f"{name} = {value!r} is not possible: choose {low}..{high}")

    @property
    def token_bits(self):
        """A token's number."""
        return (self.max_tokens - 1).bit_length()

    @property
    def lane_rows(self):
        """Most tokens that one channel may get, however they are dealt, whatever their number."""
        spare = (self.max_group + self.max_unit) * (self.channels - 1)
        return max(2, min(self.max_tokens, (self.max_tokens + spare) // self.channels))

    @property
    def rank_bits(self):
        """A *rank*: forced, key, token number inverted; no two tokens have the same."""
        return 1 + self.key_bits + self.token_bits

    @property
    def rounds(self):
        """Digits of a rank."""
        return -(-self.rank_bits // self.digit_bits)

    @property
    def padded_bits(self):
        """A rank with zeros below, so that it is whole digits."""
        return self.rounds * self.digit_bits


def select_job_layout(config):
    """Layout of a selection: which of ``tokens`` tokens are kept."""
    count = Shape(config.max_tokens.bit_length())
    channel = range(max(2, config.channels))
    units = {
        "in_units": count,  # tokens dealt in units, whole ones, before those in groups
        "unit_tokens": range(config.max_unit + 1),  # at least 1
        "unit_channel": channel,  # that of the first unit
    }
    return data.StructLayout(
        {
            "k": count,  # tokens to keep, at least 1; all if there are not more
            "tokens": count,  # tokens to choose from, at least 1
            "sinks": count,  # the first so many come before all others,
            "window": count,  # and so do the last so many; both count within k
            "group_tokens": range(config.max_group + 1),  # at least 1
            "first_channel": channel,  # that of the first group
            "passes": 2,  # times that the verdicts are given, 1..3
            **(units if config.max_unit else {}),
        }
    )


def keep_layout(config):
    """Layout of the verdict on a token, in the order of a channel's tokens."""
    return data.StructLayout({"token": config.token_bits, "keep": 1, "last": 1})
