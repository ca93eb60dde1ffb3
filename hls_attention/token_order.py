"""Token order: which token comes next on a channel.

Tokens are dealt to the channels in groups, group after group to channel after channel::

    group_tokens = 2, 3 channels, first_channel = 1

    channel 0              4 5            10 11
    channel 1     0 1             6 7             12
    channel 2         2 3             8 9

The first ``in_units`` of them may be dealt in units instead, which are larger: K by channel lies so
as far as its units are whole.
"""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["TokenOrder", "dealing_ports", "reach_bits"]


def reach_bits(config):
    """Width of a token's number, those beyond the last one that a channel may come to included."""
    most = max(config.max_group, config.max_unit)
    return (config.max_tokens + (config.channels - 1) * most).bit_length()


def dealing_ports(config):
    """What a channel must know of the dealing beside the job: names -> widths.

    ``base`` is its first token in groups, ``skip`` the tokens of the other channels between two of
    its groups; ``unit_base`` and ``unit_skip`` the same of units.
    """
    names = ("base", "skip", *(("unit_base", "unit_skip") if config.max_unit else ()))
    return dict.fromkeys(names, reach_bits(config))


class TokenOrder(wiring.Component):
    """Counts through the tokens of a channel.

    Parameters
    ----------
    config : SelectConfig

    Members
    -------
    tokens, group_tokens : In
        As in `select_job_layout`; steady from ``restart`` on, like all that follow.
    in_units, unit_tokens : In
        The same, if the configuration has units.
    base, skip, unit_base, unit_skip : In
        See `dealing_ports`.
    restart : In(1)
        Pulse: begin with the first token in the next clock.
    step : In(1)
        The present token is done with. Only while not ``over``.
    token : Out
        The present one.
    last, over : Out(1)
        No more tokens after this one; no more tokens.
    """

    def __init__(self, config):
        self._config = config
        count = config.max_tokens.bit_length()
        units = {"in_units": In(count), "unit_tokens": In(range(config.max_unit + 1))}
        super().__init__(
            {
                "tokens": In(count),
                "group_tokens": In(range(config.max_group + 1)),
                **(units if config.max_unit else {}),
                **{name: In(width) for name, width in dealing_ports(config).items()},
                "restart": In(1),
                "step": In(1),
                "token": Out(reach_bits(config)),
                "last": Out(1),
                "over": Out(1, init=1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        has_units = bool(self._config.max_unit)
        size, skip, first = self.group_tokens, self.skip, self.base
        in_unit = Signal()  # the present token is one of a unit
        if has_units:
            size = Mux(in_unit, self.unit_tokens, self.group_tokens)
            skip = Mux(in_unit, self.unit_skip, self.skip)
            first = Mux(self.unit_base < self.in_units, self.unit_base, self.base)
        within = Signal(range(max(self._config.max_group, self._config.max_unit) + 1))
        ends = Signal()
        beside, following = Signal.like(self.token), Signal.like(self.token)
        m.d.comb += [
            ends.eq(within == size - 1),
            beside.eq(self.token + Mux(ends, skip, 0) + 1),
            following.eq(beside),
            self.last.eq(following >= self.tokens),
        ]
        if has_units:
            leaves = in_unit & (beside >= self.in_units)
            with m.If(leaves):
                m.d.comb += following.eq(self.base)
            with m.If(self.restart):
                m.d.sync += in_unit.eq(self.unit_base < self.in_units)
            with m.Elif(self.step & leaves):
                m.d.sync += in_unit.eq(0)
        with m.If(self.restart):
            m.d.sync += [self.token.eq(first), self.over.eq(first >= self.tokens), within.eq(0)]
        with m.Elif(self.step):
            m.d.sync += [
                self.token.eq(following),
                self.over.eq(self.last),
                within.eq(Mux(ends, 0, within + 1)),
            ]
        return m
