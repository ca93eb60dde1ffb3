"""Beat front: from beats to products, one multiplier array for both passes.

::

    i --> accept --+--> data, tags ------------------------.
                   +--> query memories (K pass) --> a --.  |
                   '--> weight of the token (V pass) ---+--+--> product x heads x 4 --> o

A K beat is accepted once its job's queries are loaded; a V beat once its job's sums have a free
bank and its token's weights are there. From then on nothing stalls: products come a fixed number of
clocks later, with the beat's tags.
"""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from . import kernels
from .beats import LANES_FP16, Format, Kind, beat_layout
from .hls import Pipeline
from .messages import (
    EXPONENT_BITS,
    QUERY_BITS,
    beat_meta_layout,
    descriptor_layout,
    of_bank,
    query_write_layout,
    weight_layout,
)
from .verilog import Shared

__all__ = ["BeatFront", "PRODUCT_BITS"]

PRODUCT_BITS = kernels.product.outputs["p"].width
"""An aligned product, signed."""


class BeatFront(wiring.Component):
    """Accepts beats and multiplies them.

    Parameters
    ----------
    config : EngineConfig

    Members
    -------
    i : In(stream(beat_layout))
    i_writes : In(stream(query_write_layout), always ready)
    i_loaded : In(2)
        Pulse: the queries in this bank are complete.
    i_k, i_v : In(descriptor_layout) array
        Descriptor of each bank, for the K and the V pass.
    i_open : In(2)
        The V pass of this bank may run.
    i_weights : In(stream(weight_layout))
        One payload per token, in token order.
    o_valid, o_meta, o_products : Out
        Products ``[head][lane]`` of a beat. Products of heads that the job lacks are old ones.
    o_closed : Out(2)
        Pulse: the last beat of this bank's V pass is accepted.
    busy : Out(1)
        A beat is being accepted or multiplied.
    """

    def __init__(self, config):
        self._config = config
        heads = config.max_heads
        super().__init__(
            {
                "i": In(stream.Signature(beat_layout())),
                "i_writes": In(stream.Signature(query_write_layout(config), always_ready=True)),
                "i_loaded": In(2),
                "i_k": In(descriptor_layout(config)).array(2),
                "i_v": In(descriptor_layout(config)).array(2),
                "i_open": In(2),
                "i_weights": In(stream.Signature(weight_layout(config))),
                "o_valid": Out(1),
                "o_meta": Out(beat_meta_layout(config)),
                "o_products": Out(signed(PRODUCT_BITS)).array(heads, LANES_FP16),
                "o_closed": Out(2),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        beat = self.i.payload
        is_v = beat.kind == Kind.V
        null = beat.lanes == 0

        bank_k, bank_v, bank = Signal(), Signal(), Signal()
        loaded = Signal(2)
        accept, last = Signal(), Signal()
        m.d.comb += [
            bank.eq(Mux(is_v, bank_v, bank_k)),
            self.i.ready.eq(
                Mux(
                    is_v,
                    self.i_open.bit_select(bank_v, 1) & (null | self.i_weights.valid),
                    loaded.bit_select(bank_k, 1),
                )
            ),
            accept.eq(self.i.valid & self.i.ready),
            last.eq(accept & beat.last_of_pass),
            self.i_weights.ready.eq(
                self.i.valid & is_v & beat.last_of_unit & ~null & self.i_open.bit_select(bank_v, 1)
            ),
            self.o_closed.eq(Cat(last & is_v & ~bank_v, last & is_v & bank_v)),
        ]
        ended_k = Cat(last & ~is_v & ~bank_k, last & ~is_v & bank_k)
        m.d.sync += loaded.eq((loaded & ~ended_k) | self.i_loaded)
        with m.If(last):
            m.d.sync += [bank_v.eq(bank_v ^ is_v), bank_k.eq(bank_k ^ ~is_v)]

        def of_job(field):
            """A field of the descriptor that the beat at hand belongs to."""
            return Mux(is_v, of_bank(bank_v, self.i_v, field), of_bank(bank_k, self.i_k, field))

        row = Signal(range(config.max_beats))
        first_token = Signal(2, init=0b11)  # of the K and of the V pass
        poisoned = Signal(2)
        is_first = first_token.bit_select(is_v, 1)
        is_poisoned = Signal()
        m.d.comb += is_poisoned.eq(
            poisoned.bit_select(is_v, 1)
            | beat.error
            | (beat.job != of_job("tag"))
            | (beat.format != Format.FP16)
        )

        # Operands of the multipliers, one clock after acceptance.
        valid = Signal()
        meta = Signal(beat_meta_layout(config))
        elements = Signal(64)
        block_exp = Signal(EXPONENT_BITS)
        weights = Signal(weight_layout(config))
        heads = of_job("heads")
        active = Cat(head < heads for head in range(config.max_heads))
        mask = Cat(beat.lanes[lane].replicate(16) for lane in range(LANES_FP16))
        m.d.sync += valid.eq(accept)
        with m.If(accept):
            m.d.sync += [
                row.eq(Mux(beat.last_of_unit | null, 0, row + 1)),
                first_token.bit_select(is_v, 1).eq(
                    beat.last_of_pass | (is_first & ~(beat.last_of_unit & ~null))
                ),
                poisoned.bit_select(is_v, 1).eq(is_poisoned & ~beat.last_of_pass),
                elements.eq(beat.data & mask),
                block_exp.eq(
                    Mux(
                        is_v,
                        of_bank(bank_v, self.i_v, "v_exp"),
                        of_bank(bank_k, self.i_k, "k_exp"),
                    )
                ),
                meta.pass_v.eq(is_v),
                meta.bank.eq(bank),
                meta.row.eq(row),
                meta.heads.eq(Mux(null, 0, active)),
                meta.null.eq(null),
                meta.first_of_unit.eq(row == 0),
                meta.last_of_unit.eq(beat.last_of_unit & ~null),
                meta.first_token.eq(is_first),
                meta.last_of_pass.eq(beat.last_of_pass),
                meta.poisoned.eq(is_poisoned),
            ]
            with m.If(is_v):
                m.d.sync += weights.eq(self.i_weights.payload)

        busy = [accept, valid]
        for head in range(config.max_heads):
            for lane in range(LANES_FP16):
                query = self._query(m, head, lane, accept & ~is_v, Cat(row, bank_k))
                carries_meta = head == 0 and lane == 0
                product = (
                    Shared("product_meta", lambda: self._pipeline(beat_meta_layout(config)))
                    if carries_meta
                    else Shared("product", lambda: self._pipeline(None))
                )
                m.submodules[f"product_{head}_{lane}"] = product
                m.d.comb += [
                    product.i.valid.eq(valid & (meta.heads[head] | carries_meta)),
                    product.i.payload.a.eq(Mux(meta.pass_v, weights.mant[head], query)),
                    product.i.payload.x.eq(elements.word_select(lane, 16)),
                    product.i.payload.block_exp.eq(block_exp),
                    product.i.payload.drop.eq(Mux(meta.pass_v, weights.drop[head], 0)),
                    product.i.payload.pass_v.eq(meta.pass_v),
                    product.o.ready.eq(1),
                    self.o_products[head][lane].eq(product.o.payload.p),
                ]
                if carries_meta:
                    m.d.comb += [
                        product.i.payload.meta.eq(meta),
                        self.o_valid.eq(product.o.valid),
                        self.o_meta.eq(product.o.payload.meta),
                    ]
                    busy.append(product.busy)
        m.d.comb += self.busy.eq(Cat(busy).any())
        return m

    def _query(self, m, head, lane, enable, address):
        """Memory of one lane of one head's query, both banks; the element a clock later."""
        config = self._config
        rows = 2 << (config.max_beats - 1).bit_length()
        store = memory.Memory(shape=signed(QUERY_BITS), depth=rows, init=[])
        m.submodules[f"query_{head}_{lane}"] = store
        write = store.write_port()
        read = store.read_port()
        source = self.i_writes.payload
        m.d.comb += [
            write.en.eq(self.i_writes.valid & (source.head == head)),
            write.addr.eq(Cat(source.row, source.bank)),
            write.data.eq(source.q[lane]),
            read.en.eq(enable),
            read.addr.eq(address),
        ]
        return read.data

    def _pipeline(self, meta):
        return Pipeline(kernels.product, clock_hz=self._config.clock_hz, meta=meta)
