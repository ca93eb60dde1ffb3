"""The verdict reader: verdicts on the tokens of a pass, four at a time, in the order of the pass.

Verdicts are kept by the channel that scored their token; see `hls_attention.token_order`::

                       flash channel               quad among the verdicts of that channel
    in unit u          (channel + u) mod channels  (u // channels) * unit_quads + quad of the unit
    in a group beyond  (channel + g) mod channels  whole units of that channel * unit_quads
                                                   + groups beyond before it * group_quads + quad
"""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import ceil_log2, exact_log2

from hls_attention.streams import Queue, moves

from ..sparse.selection_ports import token_walk_layout
from .codeword_masks import quad_layout

__all__ = ["VerdictReader"]

DEPTH = 8
"""Quads queued: more than the clocks that one takes from here to the queue's output."""


class VerdictReader(wiring.Component):
    """Reads verdicts ahead of their use, a quad a clock.

    Parameters
    ----------
    channels, rows : int
        As of `rtl.sparse.selection_ports.VerdictSignature`.
    unit_tokens : int
        Most tokens of an index unit; all sizes are powers of two.

    Members
    -------
    i : In(stream), ``token_walk_layout()``
        A pass, taken when all of its quads are asked for.
    lane, quad : Out
    keep : In(4)
        See `VerdictSignature`.
    o : Out(stream), ``quad_layout()``
        Each group begins with a quad of its own.
    quiet : Out(1)
    """

    def __init__(self, channels, rows, unit_tokens):
        self._channels = channels
        self._unit_quads = unit_tokens // 4
        super().__init__(
            {
                "i": In(stream.Signature(token_walk_layout())),
                "lane": Out(max(1, ceil_log2(channels))),
                "quad": Out(range(-(-rows // 4))),
                "keep": In(4),
                "o": Out(stream.Signature(quad_layout())),
                "quiet": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        channels = self._channels
        lane_bits = exact_log2(channels)
        walk = self.i.payload
        m.submodules.quads = quads = Queue(quad_layout(), depth=DEPTH)
        connect(m, quads.o, flipped(self.o))

        group = Signal(24)
        index = Signal(10)  # quad of the group
        unit, within = Signal(24), Signal(range(self._unit_quads))  # a quad in units: whose, which
        below = Signal(24)  # quads of the units before it on its channel
        unit_quads = Signal(range(self._unit_quads + 1))
        whole = Signal(24)  # quads of the units that all channels have
        in_units = Signal(24)  # groups in units
        around = Signal(range(max(2, channels)))  # groups beyond since all channels had as many
        beyond = Signal(24)  # quads of the groups beyond that a channel had till then
        group_quads, end_quads, last_group, ends = Signal(10), Signal(10), Signal(), Signal()
        ends_unit, over = Signal(), Signal(24)
        m.d.comb += [
            group_quads.eq(walk.group_tokens >> 2),
            end_quads.eq((walk.end_tokens + 3) >> 2),
            last_group.eq(group == walk.last),
            ends.eq(index + 1 == Mux(last_group, end_quads, group_quads)),
            ends_unit.eq(within + 1 == unit_quads),
            over.eq(walk.first - in_units),
        ]

        issue = Signal()
        asked, here = Signal(), Signal()  # the address is out; its verdicts are here
        ended, last_here = Signal(), Signal()  # of a group, likewise
        reserved = Signal(range(DEPTH + 1))
        m.d.sync += [asked.eq(issue), here.eq(asked), ended.eq(ends), last_here.eq(ended)]
        m.d.comb += [
            quads.i.valid.eq(here),
            quads.i.payload.keep.eq(self.keep),
            quads.i.payload.last.eq(last_here),
        ]
        with m.If(issue | moves(self.o)):
            m.d.sync += reserved.eq(reserved + issue - moves(self.o))

        waits = Signal()
        m.d.comb += self.quiet.eq(
            waits & (reserved == quads.level) & ((reserved == 0) | (self.o.valid & ~self.o.ready))
        )
        with m.FSM(name="state"):
            with m.State("NEXT"):
                m.d.comb += waits.eq(~self.i.valid)
                with m.If(self.i.valid):
                    m.d.sync += [
                        in_units.eq(walk.units * walk.unit_groups),
                        unit_quads.eq(group_quads * walk.unit_groups),
                        unit.eq(self._unit(walk.first)),
                    ]
                    m.next = "BEGIN"
            with m.State("BEGIN"):
                m.d.sync += [
                    group.eq(walk.first),
                    index.eq(0),
                    within.eq((walk.first & (walk.unit_groups - 1)) * group_quads),
                    below.eq((unit >> lane_bits) * unit_quads),
                    whole.eq((walk.units >> lane_bits) * unit_quads),
                    around.eq(0),
                    beyond.eq(0),
                ]
                with m.If(walk.first > in_units):
                    m.d.sync += [
                        around.eq(over[:lane_bits]),
                        beyond.eq((over >> lane_bits) * group_quads),
                    ]
                m.next = "READ"
            with m.State("READ"):
                m.d.comb += [issue.eq(reserved != DEPTH), waits.eq(~issue)]
                with m.If(issue):
                    m.d.sync += [index.eq(index + 1), within.eq(within + 1)]
                    with m.If(ends_unit):
                        m.d.sync += [within.eq(0), unit.eq(unit + 1)]
                        with m.If(unit[:lane_bits] == channels - 1):
                            m.d.sync += below.eq(below + unit_quads)
                    with m.If(group < in_units):
                        m.d.sync += [
                            self.lane.eq(self._lane(walk.channel + unit)),
                            self.quad.eq(below + within),
                        ]
                    with m.Else():
                        # a channel among the first ones has a unit more
                        more = group[:lane_bits] < walk.units[:lane_bits]
                        m.d.sync += [
                            self.lane.eq(self._lane(walk.channel + group)),
                            self.quad.eq(whole + Mux(more, unit_quads, 0) + beyond + index),
                        ]
                    with m.If(ends):
                        m.d.sync += [index.eq(0), group.eq(group + 1)]
                        with m.If(group >= in_units):
                            m.d.sync += around.eq(around + 1)
                            with m.If(around == channels - 1):
                                m.d.sync += [around.eq(0), beyond.eq(beyond + group_quads)]
                        with m.If(last_group):
                            m.d.comb += self.i.ready.eq(1)
                            m.next = "NEXT"
        return m

    def _lane(self, number):
        return number[: len(self.lane)] if self._channels > 1 else 0

    def _unit(self, group):
        """Unit of a group: units have a power of two of them."""
        unit = group
        for bit in range(1, self._unit_quads.bit_length()):
            unit = Mux(self.i.payload.unit_groups[bit], group >> bit, unit)
        return unit
