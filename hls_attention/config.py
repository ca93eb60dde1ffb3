"""The configuration of an attention engine."""

from dataclasses import dataclass

from .select_config import SelectConfig

__all__ = ["EngineConfig", "MIN_HEAD_DIM"]

MIN_HEAD_DIM = 64
"""Smallest head_dim: units that are shorter would outrun the shared score and weight pipelines."""


@dataclass(frozen=True, kw_only=True)
class EngineConfig:
    """What an engine is built as.

    Parameters
    ----------
    channels : int
        Beat streams served side by side, 1..16.
    max_heads : int
        Most query heads of a job (they share one KV head), 1..8.
    max_head_dim : int
        Largest head_dim, a multiple of 4, 64..256.
    pass_tokens : int
        Most tokens of a job, over all channels, 2..32768.
    max_passes : int
        Most jobs of a chain, 1..16.
    group_tokens : int
        Tokens are dealt to the channels in groups of at most this many, 1..4096. With
        ``pass_tokens`` it bounds what one channel may get.
    sparse_tokens : int
        Most tokens of a head that scores are estimated of, 2..131072; 0: no sparse attention.
    unit_tokens : int
        Tokens of a unit of K by channel, a power of two, 8..4096; units of bounds have as many at
        most.
    bounds : bool
        With sparse attention: scores are estimated from bounds of K, too.
    clock_hz : int
        Clock that the arithmetic is pipelined for.
    """

    channels: int = 8
    max_heads: int = 4
    max_head_dim: int = 128
    pass_tokens: int = 8192
    max_passes: int = 16
    group_tokens: int = 64
    sparse_tokens: int = 0
    unit_tokens: int = 512
    bounds: bool = False
    clock_hz: int = 250_000_000

    def __post_init__(self):
        def check(name, low, high, step=1):
            value = getattr(self, name)
            if not isinstance(value, int) or not low <= value <= high or value % step:
                multiple = f", a multiple of {step}" if step > 1 else ""
                raise ValueError(
                    f"{name} = {value!r} is not possible: choose an integer {low}..{high}{multiple}"
                )

        check("channels", 1, 16)
        check("max_heads", 1, 8)
        check("max_head_dim", MIN_HEAD_DIM, 256, 4)
        check("pass_tokens", 2, 32768)
        check("max_passes", 1, 16)
        check("group_tokens", 1, 4096)
        if self.sparse_tokens:
            check("sparse_tokens", 2, 131072)
        if self.bounds and not self.sparse_tokens:
            raise ValueError("bounds = True is not possible without sparse_tokens: give both")
        if self.unit_tokens not in [1 << n for n in range(3, 13)]:
            raise ValueError(
                f"unit_tokens = {self.unit_tokens!r} is not possible: "
                f"choose a power of two, 8..4096"
            )
        check("clock_hz", 1_000_000, 2_000_000_000)

    @property
    def max_beats(self):
        """Beats of the longest unit."""
        return self.max_head_dim // 4

    @property
    def unit_beats(self):
        """Beats of a column: one channel of a unit of K by channel."""
        return self.unit_tokens // 4

    @property
    def select(self):
        """What chooses among the tokens of a head whose scores are estimated."""
        return SelectConfig(
            channels=self.channels,
            max_tokens=self.sparse_tokens,
            max_group=self.group_tokens,
            max_unit=self.unit_tokens,
        )

    @property
    def estimate_rows(self):
        """Estimated scores that a channel stores for one head."""
        return self.select.lane_rows * self.max_heads

    @property
    def channel_tokens(self):
        """Most tokens of a job that one channel may get: a pass may begin inside a group."""
        if self.channels == 1:
            return self.pass_tokens
        groups = (self.pass_tokens + self.group_tokens - 2) // self.group_tokens + 1
        return min(self.pass_tokens, -(-groups // self.channels) * self.group_tokens)

    @property
    def score_rows(self):
        """Scores that a channel stores for one job."""
        return self.channel_tokens * self.max_heads
