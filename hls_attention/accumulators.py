"""Accumulators: the products of the V pass, added exactly over tokens.

::

    o_early_meta --> read a row --> old --.
    products ----------------------------(+)--> write it back        one memory per head and lane

A memory has a row per beat of the unit, in two banks, and one read port: the V pass has it first,
the drain when no beat of a V pass comes. A row is read two clocks before its products are there and
written a clock after; it comes again a whole unit later. A sum has the bits of a product and of the
number of tokens: a product at its top has no rounding bit.
"""

from amaranth.hdl import Array, Cat, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .beats import LANES_FP16
from .messages import PRODUCT_BITS, SUM_BITS, beat_meta_layout, product_layout
from .verilog import Ram

__all__ = ["Accumulators"]


class Accumulators(wiring.Component):
    """Output sums of one channel, and a port to read them.

    Parameters
    ----------
    config : EngineConfig

    Members
    -------
    i_valid, i_meta, i_products, i_early, i_early_meta : In
        From the beat front; beats of the K pass are ignored.
    o_ended : Out(2)
        Pulse: the sums of this bank are complete.
    o_empty, o_poisoned : Out(1)
        With ``o_ended``: the pass had no token; some beat was bad.
    r_en, r_bank, r_head, r_row, r_lane : In
        What to read; only while ``r_free``.
    r_free : Out(1)
    r_data : Out(signed(64))
        The sum, one clock after ``r_en``.
    busy : Out(1)
    """

    def __init__(self, config):
        self._config = config
        super().__init__(
            {
                "i_valid": In(1),
                "i_meta": In(beat_meta_layout(config)),
                "i_products": In(product_layout()).array(config.max_heads, LANES_FP16),
                "i_early": In(1),
                "i_early_meta": In(beat_meta_layout(config)),
                "o_ended": Out(2),
                "o_empty": Out(1),
                "o_poisoned": Out(1),
                "r_en": In(1),
                "r_free": Out(1),
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
        meta, early = self.i_meta, self.i_early_meta
        row_bits = (self._config.max_beats - 1).bit_length()
        rows = 2 << row_bits
        reads, read_heads = Signal(), Signal(self._config.max_heads)
        enters, writes = Signal(), Signal()
        heads = Signal(self._config.max_heads)
        address = Signal(range(rows))
        m.d.comb += [
            reads.eq(self.i_early & early.pass_v),
            read_heads.eq(Mux(reads, early.heads, 0)),
            self.r_free.eq(~reads),
            enters.eq(self.i_valid & meta.pass_v),
        ]
        m.d.sync += [writes.eq(enters), self.o_ended.eq(0)]
        bits = PRODUCT_BITS + (self._config.channel_tokens - 1).bit_length()
        arrived = Signal(self._config.max_heads)  # heads of the row read a clock ago
        m.d.sync += arrived.eq(read_heads)
        with m.If(enters):
            m.d.sync += [heads.eq(meta.heads), address.eq(Cat(meta.row[:row_bits], meta.bank))]
            with m.If(meta.last_of_pass):
                # Written back a clock before a read that this pulse sets off.
                m.d.sync += [
                    self.o_ended.eq(Mux(meta.bank, 0b10, 0b01)),
                    self.o_empty.eq(meta.null & meta.first_token),
                    self.o_poisoned.eq(meta.poisoned),
                ]
        m.d.comb += self.busy.eq(reads | enters | writes | self.o_ended.any())

        asked_head, asked_lane = Signal.like(self.r_head), Signal.like(self.r_lane)
        with m.If(self.r_en):
            m.d.sync += [asked_head.eq(self.r_head), asked_lane.eq(self.r_lane)]
        sums = []
        for head in range(self._config.max_heads):
            for lane in range(LANES_FP16):
                m.submodules[f"rows_{head}_{lane}"] = memory = Ram(width=bits, depth=rows)
                product = self.i_products[head][lane]
                old = Signal(signed(bits), name=f"old_{head}_{lane}")
                new = Signal(signed(bits), name=f"new_{head}_{lane}")
                asked = Signal(name=f"asked_{head}_{lane}")
                with m.If(arrived[head]):
                    m.d.sync += old.eq(memory.r_data)
                with m.If(enters & meta.heads[head]):
                    m.d.sync += new.eq(add_rounded(product, Mux(meta.first_token, 0, old)))
                m.d.comb += [
                    asked.eq(self.r_en & (self.r_head == head) & (self.r_lane == lane)),
                    memory.r_en.eq(read_heads[head] | asked),
                    memory.r_addr.eq(
                        Mux(
                            reads,
                            Cat(early.row[:row_bits], early.bank),
                            Cat(self.r_row, self.r_bank),
                        )
                    ),
                    memory.w_en.eq(writes & heads[head]),
                    memory.w_addr.eq(address),
                    memory.w_data.eq(new),
                ]
                sums.append(memory.r_data.as_signed())
        m.d.comb += self.r_data.eq(Array(sums)[Cat(asked_lane, asked_head)])
        return m


def add_rounded(product, a):
    """``product.p + product.half + a`` on one adder: the rounding is its carry.

    Choices belong into ``a``: a look-up table of the adder takes them, but only of this operand.
    """
    return (Cat(product.half, product.p).as_signed() + Cat(1, a).as_signed()) >> 1
