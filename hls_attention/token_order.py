"""Token order: which token comes next on a channel.

Tokens are dealt to the channels in groups, group after group to channel after channel::

    group_tokens = 2, 3 channels, first_channel = 1

    channel 0              4 5            10 11
    channel 1     0 1             6 7             12
    channel 2         2 3             8 9
"""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["TokenOrder", "reach_bits"]


def reach_bits(config):
    """Width of a token's number, those beyond the last one that a channel may come to included."""
    return (config.max_tokens + (config.channels - 1) * config.max_group).bit_length()


class TokenOrder(wiring.Component):
    """Counts through the tokens of a channel.

    Parameters
    ----------
    config : SelectConfig

    Members
    -------
    tokens, group_tokens : In
        Tokens in all, and dealt at a time; steady from ``restart`` on.
    base, skip : In
        First token of the channel; tokens of the other channels between two of its groups,
        ``(channels - 1) * group_tokens``. Steady as well.
    restart : In(1)
        Pulse: begin with ``base`` in the next clock.
    step : In(1)
        The present token is done with. Only while not ``over``.
    token : Out
        The present one.
    last, over : Out(1)
        No more tokens after this one; no more tokens.
    """

    def __init__(self, config):
        self._config = config
        super().__init__(
            {
                "tokens": In(config.max_tokens.bit_length()),
                "group_tokens": In(range(config.max_group + 1)),
                "base": In(reach_bits(config)),
                "skip": In(reach_bits(config)),
                "restart": In(1),
                "step": In(1),
                "token": Out(reach_bits(config)),
                "last": Out(1),
                "over": Out(1, init=1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        within = Signal.like(self.group_tokens)
        ends, following = Signal(), Signal.like(self.token)
        m.d.comb += [
            ends.eq(within == self.group_tokens - 1),
            following.eq(self.token + Mux(ends, self.skip, 0) + 1),
            self.last.eq(following >= self.tokens),
        ]
        with m.If(self.restart):
            m.d.sync += [
                self.token.eq(self.base),
                self.over.eq(self.base >= self.tokens),
                within.eq(0),
            ]
        with m.Elif(self.step):
            m.d.sync += [
                self.token.eq(following),
                self.over.eq(self.last),
                within.eq(Mux(ends, 0, within + 1)),
            ]
        return m
