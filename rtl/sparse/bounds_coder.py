"""The bounds coder: smallest and largest elements of a block in, its bytes out.

::

    rows, channel by channel --> lanes --> which codes do not fit? --> scale of each channel
    rows, unit by unit --------> lanes <-------------------------------'
                                   '--> bytes

`hls_attention.bounds_code` says what the bytes are. A row is four channels of a unit; all rows of a
block are read twice, at one a clock.
"""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from hls_attention.beats import BEATS_BITS
from hls_attention.bounds_code import BLOCK_UNITS

from .bounds_lane import BOUNDS_LATENCY, BoundsLane

__all__ = ["LANES", "BoundsCoder", "row_layout"]

LANES = 4

FETCHED = 2  # clocks from the question for a row to the row in a register
CODED = FETCHED + BOUNDS_LATENCY


def row_layout():
    """Four channels: smallest and largest element as keys, largest exponent field."""
    keys = data.ArrayLayout(signed(16), LANES)
    return data.StructLayout({"low": keys, "high": keys, "field": data.ArrayLayout(8, LANES)})


class BoundsCoder(wiring.Component):
    """Makes the bytes of one block after the other.

    Parameters
    ----------
    beats : int
        Rows of a unit, at most.

    Members
    -------
    i : In(stream)
        A block: its rows of a unit (4 or more, an even number), and whether they are BF16. Taken
        with the question for its last row.
    r_en, r_unit, r_beat : Out
        Asks for a row.
    row : In(``row_layout()``)
        The row, a clock later; ``field`` is that of all units.
    o_valid, o_last, o : Out
        Eight bytes, which cannot wait, and whether they are the block's last.
    busy : Out(1)
    """

    def __init__(self, beats):
        self._beats = beats
        super().__init__(
            {
                "i": In(stream.Signature(data.StructLayout({"beats": BEATS_BITS, "bf16": 1}))),
                "r_en": Out(1),
                "r_unit": Out(range(BLOCK_UNITS)),
                "r_beat": Out(range(beats)),
                "row": In(row_layout()),
                "o_valid": Out(1),
                "o_last": Out(1),
                "o": Out(64),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        tag = data.StructLayout(
            {
                "valid": 1,
                "codes": 1,  # bytes are wanted of the row, else whether they fit
                "last": 1,
                "bf16": 1,
                "unit": len(self.r_unit),
                "beat": len(self.r_beat),
            }
        )
        ranks = [Signal(tag, name=f"rank_{clocks}") for clocks in range(CODED + 1)]
        m.d.sync += [rank.eq(before) for rank, before in zip(ranks[1:], ranks)]
        m.d.comb += self.busy.eq(self.i.valid | Cat(rank.valid for rank in ranks).any())
        self._ask(m, ranks[0])

        row = Signal(row_layout())
        m.d.sync += row.eq(self.row)
        m.submodules.scales = scales = memory.Memory(
            shape=2 * LANES, depth=1 << ceil_log2(self._beats), init=[]
        )
        agreed, agree = scales.read_port(), scales.write_port()
        coded = ranks[CODED]
        m.d.comb += [
            agreed.en.eq(1),
            agreed.addr.eq(ranks[CODED - 2].beat),
            agree.en.eq(coded.valid & ~coded.codes & (coded.unit == BLOCK_UNITS - 1)),
            agree.addr.eq(coded.beat),
        ]
        octets = []
        for number in range(LANES):
            m.submodules[f"lane_{number}"] = lane = BoundsLane()
            misfits = Signal.like(lane.misfits, name=f"misfits_{number}")  # of units before, too
            before = Signal.like(lane.misfits, name=f"misfits_before_{number}")
            m.d.sync += before.eq(misfits)
            m.d.comb += [
                lane.low.eq(row.low[number]),
                lane.high.eq(row.high[number]),
                lane.field.eq(row.field[number]),
                lane.bf16.eq(ranks[FETCHED].bf16),
                lane.unit.eq(ranks[CODED - 1].unit),
                lane.scale.eq(agreed.data.word_select(number, 2)),
                misfits.eq(lane.misfits | Mux(coded.unit == 0, 0, before)),
                agree.data.word_select(number, 2).eq(Mux(misfits[0], Mux(misfits[1], 2, 1), 0)),
            ]
            octets.append(lane.o)
        even = Signal(8 * LANES)
        m.d.sync += even.eq(Cat(octets))
        m.d.comb += [
            self.o_valid.eq(coded.valid & coded.codes & coded.beat[0]),
            self.o_last.eq(coded.last),
            self.o.eq(Cat(even, octets)),
        ]
        return m

    def _ask(self, m, asked):
        """For all rows of a block, channel by channel and then unit by unit."""
        block = self.i.payload
        unit, beat = Signal.like(self.r_unit), Signal.like(self.r_beat)
        last_beat = beat == block.beats - 1
        last_unit = unit == BLOCK_UNITS - 1
        m.d.comb += [
            self.r_en.eq(asked.valid),
            self.r_unit.eq(unit),
            self.r_beat.eq(beat),
            asked.bf16.eq(block.bf16),
            asked.unit.eq(unit),
            asked.beat.eq(beat),
        ]
        with m.FSM(name="state"):
            with m.State("FIT"):
                m.d.comb += asked.valid.eq(self.i.valid)
                with m.If(self.i.valid):
                    m.d.sync += [unit.eq(unit + 1), beat.eq(beat + last_unit)]
                    with m.If(last_unit & last_beat):
                        m.d.sync += beat.eq(0)
                        m.next = "CODE"
            with m.State("CODE"):
                m.d.comb += [asked.valid.eq(1), asked.codes.eq(1)]
                m.d.sync += beat.eq(beat + 1)
                with m.If(last_beat):
                    m.d.sync += [beat.eq(0), unit.eq(unit + 1)]
                    with m.If(last_unit):
                        m.d.comb += [asked.last.eq(1), self.i.ready.eq(1)]
                        m.next = "FIT"
