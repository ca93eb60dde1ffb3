"""Accumulators: the products of the V pass, added exactly over tokens.

One memory per head and lane, a row per beat of the unit, two banks. A row is read, added to and
written back within two clocks; it comes again a whole unit later.
"""

from amaranth.hdl import Array, Cat, Module, Mux, Signal, signed
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from .beat_front import PRODUCT_BITS
from .beats import LANES_FP16
from .messages import SUM_BITS, beat_meta_layout

__all__ = ["Accumulators"]


class Accumulators(wiring.Component):
    """Output sums of one channel, and a port to read them.

    Parameters
    ----------
    config : EngineConfig

    Members
    -------
    i_valid, i_meta, i_products : In
        From the beat front; beats of the K pass are ignored.
    o_ended : Out(2)
        Pulse: the sums of this bank are complete.
    o_empty, o_poisoned : Out(1)
        With ``o_ended``: the pass had no token; some beat was bad.
    r_en, r_bank, r_head, r_row, r_lane : In
        What to read.
    r_data : Out(signed(64))
        The sum, one clock after ``r_en``, until the next read.
    busy : Out(1)
    """

    def __init__(self, config):
        self._config = config
        super().__init__(
            {
                "i_valid": In(1),
                "i_meta": In(beat_meta_layout(config)),
                "i_products": In(signed(PRODUCT_BITS)).array(config.max_heads, LANES_FP16),
                "o_ended": Out(2),
                "o_empty": Out(1),
                "o_poisoned": Out(1),
                "r_en": In(1),
                "r_bank": In(1),
                "r_head": In(range(config.max_heads)),
                "r_row": In(range(config.max_beats)),
                "r_lane": In(range(LANES_FP16)),
                "r_data": Out(signed(SUM_BITS)),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        meta = self.i_meta
        enter, valid, first_token = Signal(), Signal(), Signal()
        heads = Signal(self._config.max_heads)
        address = Signal(range(2 << (self._config.max_beats - 1).bit_length()))
        m.d.comb += enter.eq(self.i_valid & meta.pass_v)
        m.d.sync += [valid.eq(enter), self.o_ended.eq(0)]
        with m.If(enter):
            m.d.sync += [
                first_token.eq(meta.first_token),
                heads.eq(meta.heads),
                address.eq(Cat(meta.row, meta.bank)),
            ]
            with m.If(meta.last_of_pass):
                # Written back a clock before a read that this pulse sets off.
                m.d.sync += [
                    self.o_ended.eq(Mux(meta.bank, 0b10, 0b01)),
                    self.o_empty.eq(meta.null & meta.first_token),
                    self.o_poisoned.eq(meta.poisoned),
                ]
        m.d.comb += self.busy.eq(valid | self.o_ended.any())

        asked_head, asked_lane = Signal.like(self.r_head), Signal.like(self.r_lane)
        with m.If(self.r_en):
            m.d.sync += [asked_head.eq(self.r_head), asked_lane.eq(self.r_lane)]
        sums = []
        for head in range(self._config.max_heads):
            for lane in range(LANES_FP16):
                rows = memory.Memory(shape=signed(SUM_BITS), depth=1 << len(address), init=[])
                m.submodules[f"rows_{head}_{lane}"] = rows
                write, old, drain = rows.write_port(), rows.read_port(), rows.read_port()
                product = Signal(signed(PRODUCT_BITS), name=f"product_{head}_{lane}")
                with m.If(enter & meta.heads[head]):
                    m.d.sync += product.eq(self.i_products[head][lane])
                m.d.comb += [
                    old.en.eq(enter & meta.heads[head]),
                    old.addr.eq(Cat(meta.row, meta.bank)),
                    write.en.eq(valid & heads[head]),
                    write.addr.eq(address),
                    write.data.eq(Mux(first_token, 0, old.data) + product),
                    drain.en.eq(self.r_en & (self.r_head == head) & (self.r_lane == lane)),
                    drain.addr.eq(Cat(self.r_row, self.r_bank)),
                ]
                sums.append(drain.data)
        m.d.comb += self.r_data.eq(Array(sums)[Cat(asked_lane, asked_head)])
        return m
