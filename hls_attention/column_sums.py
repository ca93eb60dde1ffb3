"""Column sums: the products of K by channel, added exactly over the channels of a unit.

::

    o_early_meta --> read a row --> old --.
    products ----------------------------(+)--> write it back        one memory per head and lane

    row n:  tokens 4 n .. 4 n + 3 of the unit, one in each lane

As in `hls_attention.accumulators`, with columns in place of tokens: a beat holds four tokens of one
channel, and the sums over the channels are the scores of the unit's tokens before their scale. Two
banks: while one unit is summed up, the other is read out, token by token, head by head.
"""

from amaranth.hdl import Array, Cat, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .accumulators import add_rounded
from .beats import JOB_BITS, LANES_FP16
from .messages import PRODUCT_BITS, beat_meta_layout, product_layout
from .streams import moves
from .unit_sums import TOTAL_BITS
from .verilog import Ram

__all__ = ["ColumnSums", "column_sum_layout"]


def column_sum_layout(config):
    """The sum of a token and head; ``place``: the pass of the token."""
    return data.StructLayout(
        {"acc": signed(TOTAL_BITS), "head": range(config.max_heads), "place": JOB_BITS}
    )


class ColumnSums(wiring.Component):
    """Sums of the units of one channel.

    Parameters
    ----------
    config : EngineConfig

    Members
    -------
    heads : In
        Query heads of the estimate.
    i_valid, i_meta, i_products, i_early, i_early_meta : In
        From the beat front; beats of other kinds are ignored.
    o : Out(stream(column_sum_layout))
        The sums of each unit, heads within tokens.
    drained : Out(1)
        Pulse: the last sum of a unit is taken.
    busy : Out(1)
    """

    def __init__(self, config):
        self._config = config
        super().__init__(
            {
                "heads": In(range(config.max_heads + 1)),
                "i_valid": In(1),
                "i_meta": In(beat_meta_layout(config)),
                "i_products": In(product_layout()).array(config.max_heads, LANES_FP16),
                "i_early": In(1),
                "i_early_meta": In(beat_meta_layout(config)),
                "o": Out(stream.Signature(column_sum_layout(config))),
                "drained": Out(1),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        meta, early = self.i_meta, self.i_early_meta
        row_bits = (config.unit_beats - 1).bit_length()
        reads, enters, writes = Signal(), Signal(), Signal()
        address = Signal(row_bits + 1)
        ended = Signal(2)
        places = [Signal(JOB_BITS, name=f"place_{bank}") for bank in range(2)]
        m.d.comb += [
            reads.eq(self.i_early & early.column & ~early.null),
            enters.eq(self.i_valid & meta.column & ~meta.null),
        ]
        m.d.sync += [writes.eq(enters), ended.eq(0)]
        with m.If(enters):
            m.d.sync += address.eq(Cat(meta.row[:row_bits], meta.sums))
            with m.If(meta.completes):
                m.d.sync += ended.eq(Mux(meta.sums, 0b10, 0b01))
                for bank, place in enumerate(places):
                    with m.If(meta.sums == bank):
                        m.d.sync += place.eq(meta.place)

        # Read out: a row of all heads and lanes where no beat wants to read, then number by number.
        ready, bank = Signal(2), Signal()
        row = Signal(row_bits)
        lane, head = Signal(range(LANES_FP16)), Signal(range(config.max_heads))
        fetch, over = Signal(), Signal()
        ends_token = head == self.heads - 1
        with m.FSM() as state:
            with m.State("FETCH"):
                m.d.comb += fetch.eq(ready.bit_select(bank, 1) & ~reads)
                with m.If(fetch):
                    m.next = "HOLD"
            with m.State("HOLD"):
                m.next = "SEND"
            with m.State("SEND"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.d.sync += head.eq(head + 1)
                    with m.If(ends_token):
                        m.d.sync += [head.eq(0), lane.eq(lane + 1)]
                        with m.If(lane == LANES_FP16 - 1):
                            m.d.sync += row.eq(row + 1)
                            m.d.comb += over.eq(row == config.unit_beats - 1)
                            m.next = "FETCH"
        with m.If(over):
            m.d.sync += [row.eq(0), bank.eq(~bank)]
        m.d.sync += ready.eq((ready & ~Cat(over & ~bank, over & bank)) | ended)

        bits = PRODUCT_BITS + (config.max_head_dim - 1).bit_length()
        held = []
        arrived = Signal()
        m.d.sync += arrived.eq(reads)
        for number in range(config.max_heads):
            for place in range(LANES_FP16):
                name = f"{number}_{place}"
                m.submodules[f"sums_{name}"] = memory = Ram(width=bits, depth=2 * config.unit_beats)
                old, new = Signal(signed(bits), name=f"old_{name}"), Signal(signed(bits))
                kept = Signal(signed(bits), name=f"kept_{name}")
                product = self.i_products[number][place]
                with m.If(arrived):
                    m.d.sync += old.eq(memory.r_data)
                with m.If(enters):
                    m.d.sync += new.eq(add_rounded(product, Mux(meta.first_column, 0, old)))
                with m.If(state.ongoing("HOLD")):
                    m.d.sync += kept.eq(memory.r_data)
                m.d.comb += [
                    memory.r_en.eq(reads | fetch),
                    memory.r_addr.eq(
                        Mux(reads, Cat(early.row[:row_bits], early.sums), Cat(row, bank))
                    ),
                    memory.w_en.eq(writes),
                    memory.w_addr.eq(address),
                    memory.w_data.eq(new),
                ]
                held.append(kept)
        m.d.comb += [
            self.o.payload.acc.eq(Array(held)[Cat(lane, head)]),
            self.o.payload.head.eq(head),
            self.o.payload.place.eq(Mux(bank, places[1], places[0])),
            self.drained.eq(over),
            self.busy.eq(
                enters
                | writes
                | ended.any()
                | ready.any()
                | ~state.ongoing("FETCH")
                | moves(self.o)
            ),
        ]
        return m
