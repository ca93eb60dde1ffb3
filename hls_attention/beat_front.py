"""Beat front: from beats to products, one multiplier array for both passes.

::

    i --> accept --> element x 4 (shared by the heads) --+--> product x heads x 4 --> o
             |                                           |
             +--> query memories (K pass) --> operand a -+
             '--> weight of the token (V pass) --> a ----'

With sparse attention, beats of estimates go the same way: those of a column with one query element
for all lanes, those of a token as in the K pass, with the lanes whose channel counts.

With bounds, each lane of a beat has two elements: a query element that is less than 0 is multiplied
by the first, any other by the second. Where it is no bound both are the same.

A K beat is accepted once its job's queries are loaded; a V beat once its job's sums have a free
bank and its token's weights are there. From then on nothing stalls: products come a fixed number of
clocks later, with the beat's tags.
"""

from amaranth.hdl import Array, Cat, Module, Mux, Signal, signed
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from . import kernels
from .beats import EXPONENT_BITS, LANES_FP16, Format, Kind, beat_layout, pair_layout
from .config import MIN_HEAD_DIM
from .estimate_gate import EstimateGate
from .hls import Pipeline
from .messages import (
    QUERY_BITS,
    beat_meta_layout,
    descriptor_layout,
    estimate_layout,
    of_bank,
    product_layout,
    query_write_layout,
    weight_layout,
)
from .tag_line import TagLine
from .verilog import Shared

__all__ = ["BeatFront", "EARLY"]

EARLY = 2
"""Clocks by which a beat's tags come before its products at ``o_early``."""


class BeatFront(wiring.Component):
    """Accepts beats and multiplies them.

    Parameters
    ----------
    config : EngineConfig

    Members
    -------
    i : In(stream(beat_layout)), with bounds In(stream(pair_layout))
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
    o_early, o_early_meta : Out
        ``o_valid`` and ``o_meta``, `EARLY` clocks before.
    o_closed : Out(2)
        Pulse: the last beat of this bank's V pass is accepted.
    i_estimate_writes : In(stream(query_write_layout), always ready)
    estimate : In(estimate_layout), drained : In(1)
        With sparse attention: see `EstimateGate` and `hls_attention.estimator`.
    busy : Out(1)
        A beat is being accepted or multiplied.
    """

    def __init__(self, config):
        self._config = config
        self._element_clocks = kernels.element.schedule(config.clock_hz).latency
        self._product_clocks = kernels.product.schedule(config.clock_hz).latency
        writes = stream.Signature(query_write_layout(config), always_ready=True)
        estimates = {
            "i_estimate_writes": In(writes),
            "estimate": In(estimate_layout(config)),
            "drained": In(1),
        }
        super().__init__(
            {
                "i": In(stream.Signature(pair_layout() if config.bounds else beat_layout())),
                "i_writes": In(writes),
                "i_loaded": In(2),
                "i_k": In(descriptor_layout(config)).array(2),
                "i_v": In(descriptor_layout(config)).array(2),
                "i_open": In(2),
                "i_weights": In(stream.Signature(weight_layout(config))),
                "o_valid": Out(1),
                "o_meta": Out(beat_meta_layout(config)),
                "o_products": Out(product_layout()).array(config.max_heads, LANES_FP16),
                "o_early": Out(1),
                "o_early_meta": Out(beat_meta_layout(config)),
                "o_closed": Out(2),
                **(estimates if config.sparse_tokens else {}),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        beat = self.i.payload
        sparse = bool(self._config.sparse_tokens)
        is_v = beat.kind == Kind.V
        is_k = beat.kind == Kind.K if sparse else ~is_v
        null = beat.lanes == 0

        bank_k, bank_v = Signal(), Signal()
        loaded = Signal(2)
        accept, last = Signal(), Signal()
        m.d.comb += [
            self.i.ready.eq(
                Mux(
                    is_v,
                    self.i_open.bit_select(bank_v, 1) & (null | self.i_weights.valid),
                    Mux(is_k, loaded.bit_select(bank_k, 1), self._gate_open(m, null)),
                )
            ),
            accept.eq(self.i.valid & self.i.ready),
            last.eq(accept & beat.last_of_pass),
            self.i_weights.ready.eq(
                self.i.valid & is_v & beat.last_of_unit & ~null & self.i_open.bit_select(bank_v, 1)
            ),
            self.o_closed.eq(Cat(last & is_v & ~bank_v, last & is_v & bank_v)),
        ]
        ended_k = Cat(last & is_k & ~bank_k, last & is_k & bank_k)
        m.d.sync += loaded.eq((loaded & ~ended_k) | self.i_loaded)
        with m.If(last):
            m.d.sync += [bank_v.eq(bank_v ^ is_v), bank_k.eq(bank_k ^ is_k)]

        operands = self._accepted(m, accept, is_v, is_k, null, bank_k, bank_v)
        self._multiply(m, *operands)
        m.d.comb += self.busy.eq(accept | m.submodules.line.busy)
        return m

    def _gate_open(self, m, null):
        """Whether a beat of an estimate may be accepted; its gate."""
        if not self._config.sparse_tokens:
            return 1
        m.submodules.gate = gate = EstimateGate(self._config)
        beat = self.i.payload
        accept = self.i.valid & self.i.ready
        m.d.comb += [
            gate.channels.eq(self.estimate.channels),
            gate.drained.eq(self.drained),
            gate.accept.eq(accept & ((beat.kind == Kind.COLUMN) | (beat.kind == Kind.ESTIMATE))),
            gate.column.eq((beat.kind == Kind.COLUMN) & ~null),
            gate.ends.eq(beat.last_of_unit),
            gate.last.eq(beat.last_of_pass),
            gate.error.eq(beat.error),
        ]
        if self._config.bounds:
            m.d.comb += [gate.heads.eq(self.estimate.heads), gate.bounded.eq(beat.more != 0)]
        return Mux(gate.column, gate.open_column, gate.open_other)

    def _accepted(self, m, accept, is_v, is_k, null, bank_k, bank_v):
        """Registers of an accepted beat: valid, tags, masked words of elements, block exponent,
        format."""
        config = self._config
        beat = self.i.payload

        def of_job(field, field_v=None):
            """A field of the descriptor that the beat at hand belongs to."""
            return Mux(
                is_v,
                of_bank(bank_v, self.i_v, field_v or field),
                of_bank(bank_k, self.i_k, field),
            )

        row = Signal(beat_meta_layout(config)["row"].shape)
        first_token = Signal(2, init=0b11)  # of the K and of the V pass
        poisoned = Signal(2)
        is_first = first_token.bit_select(is_v, 1)
        is_poisoned = Signal()
        m.d.comb += is_poisoned.eq(
            poisoned.bit_select(is_v, 1)
            | beat.error
            | (beat.job != of_job("tag"))
            | (~null & (beat.format.as_value() != of_job("format")))
        )

        valid = Signal()
        meta = Signal(beat_meta_layout(config))
        given = [beat.data, beat.high] if config.bounds else [beat.data]
        words = [Signal(64, name=f"elements_{n}") for n in range(len(given))]
        block_exp = Signal(EXPONENT_BITS)
        bf16 = Signal()
        heads = of_job("heads")
        active = Cat(head < heads for head in range(config.max_heads))
        mask = Cat(beat.lanes[lane].replicate(16) for lane in range(LANES_FP16))
        m.d.sync += valid.eq(accept)
        with m.If(accept):
            with m.If(is_v | is_k):
                m.d.sync += [
                    first_token.bit_select(is_v, 1).eq(
                        beat.last_of_pass | (is_first & ~(beat.last_of_unit & ~null))
                    ),
                    poisoned.bit_select(is_v, 1).eq(is_poisoned & ~beat.last_of_pass),
                ]
            m.d.sync += [
                row.eq(Mux(beat.last_of_unit | null, 0, row + 1)),
                *[word.eq(elements & mask) for word, elements in zip(words, given)],
                block_exp.eq(of_job("k_exp", "v_exp")),
                bf16.eq(beat.format == Format.BF16),
                meta.pass_v.eq(is_v),
                meta.bank.eq(Mux(is_v, bank_v, bank_k)),
                meta.row.eq(row),
                meta.heads.eq(Mux(null, 0, active)),
                meta.null.eq(null),
                meta.first_of_unit.eq(row == 0),
                meta.last_of_unit.eq(beat.last_of_unit & ~null),
                meta.first_token.eq(is_first),
                meta.last_of_pass.eq(beat.last_of_pass),
                meta.poisoned.eq(is_poisoned),
            ]
            if config.sparse_tokens:
                self._accepted_estimate(m, meta, row, is_v | is_k, null, block_exp)
        return valid, meta, words, block_exp, bf16

    def _accepted_estimate(self, m, meta, row, of_pass, null, block_exp):
        """What is different where the beat is one of an estimate."""
        beat, gate, estimate = self.i.payload, m.submodules.gate, self.estimate
        column = beat.kind == Kind.COLUMN
        heads = Cat(head < estimate.heads for head in range(self._config.max_heads))
        m.d.sync += [
            meta.estimate.eq(~of_pass),
            meta.column.eq(column),
            meta.query.eq(Mux(column, beat.token, row << 2)),
            meta.wanted.eq(-1),
            meta.place.eq(beat.job),
            meta.first_column.eq(gate.first),
            meta.completes.eq(gate.completes & beat.last_of_unit),
            meta.sums.eq(gate.bank),
        ]
        if self._config.bounds:
            m.d.sync += meta.more.eq(beat.more)
        with m.If(~of_pass):
            m.d.sync += [
                meta.bank.eq(estimate.bank),
                meta.heads.eq(Mux(null, 0, heads)),
                meta.poisoned.eq(gate.poisoned),
                block_exp.eq(estimate.k_exp[beat.job]),
            ]
            with m.If(~column):
                m.d.sync += meta.wanted.eq(estimate.mask.word_select(row, LANES_FP16))

    def _multiply(self, m, valid, meta, words, block_exp, bf16):
        config = self._config
        # Tags take as long as the elements, a clock for the operands, and the products.
        m.submodules.line = line = TagLine(
            beat_meta_layout(config), self._element_clocks + 1 + self._product_clocks
        )
        m.d.comb += [line.i_valid.eq(valid), line.i_meta.eq(meta)]
        fetch, fetch_meta = line.after(self._element_clocks)
        start, start_meta = line.after(self._element_clocks + 1)
        m.d.comb += [
            self.o_valid.eq(line.after(line.length)[0]),
            self.o_meta.eq(line.after(line.length)[1]),
            self.o_early.eq(line.after(line.length - EARLY)[0]),
            self.o_early_meta.eq(line.after(line.length - EARLY)[1]),
        ]

        # The weights stay at the queue's end until the last beat of the unit is accepted.
        assert self._element_clocks + 1 < MIN_HEAD_DIM // LANES_FP16
        # Of weight and query, the one that is not wanted is 0: they are added.
        weights = Signal(weight_layout(config), reset_less=True)
        with m.If(fetch & ~fetch_meta.pass_v):
            m.d.sync += weights.eq(0)
        with m.Elif(fetch & fetch_meta.first_of_unit):
            m.d.sync += weights.eq(self.i_weights.payload)

        aligned = [
            self._elements(m, n, valid, word, block_exp, bf16) for n, word in enumerate(words)
        ]
        if not config.bounds:
            operands = [
                Signal.like(element, name=f"operand_{lane}")
                for lane, element in enumerate(aligned[0])
            ]
            with m.If(fetch):
                m.d.sync += [x.eq(element) for x, element in zip(operands, aligned[0])]
        for head in range(config.max_heads):
            queries = self._queries(m, head, fetch_meta)
            for lane in range(LANES_FP16):
                query = Signal(signed(QUERY_BITS), name=f"operand_{head}_{lane}", reset_less=True)
                unwanted = fetch_meta.pass_v
                if config.sparse_tokens:
                    unwanted = unwanted | ~fetch_meta.wanted[lane]
                with m.If(fetch):
                    m.d.sync += query.eq(Mux(unwanted, 0, queries[lane]))
                if config.bounds:
                    low, high = (elements[lane] for elements in aligned)
                    operand = Signal.like(low, name=f"element_{head}_{lane}")
                    with m.If(fetch):
                        m.d.sync += operand.eq(Mux(queries[lane] < 0, low, high))
                else:
                    operand = operands[lane]
                product = Shared(
                    "product", lambda: Pipeline(kernels.product, clock_hz=config.clock_hz)
                )
                m.submodules[f"product_{head}_{lane}"] = product
                m.d.comb += [
                    product.i.valid.eq(start & start_meta.heads[head]),
                    product.i.payload.qi.eq(query),
                    product.i.payload.a.eq(weights.a[head]),
                    product.i.payload.sig.eq(operand.sig),
                    product.i.payload.coarse.eq(operand.coarse),
                    product.i.payload.drop.eq(weights.drop[head]),
                    product.o.ready.eq(1),
                    self.o_products[head][lane].eq(product.o.payload),
                ]

    def _elements(self, m, number, valid, word, block_exp, bf16):
        """The aligned elements of one word of a beat."""
        aligned = []
        for lane in range(LANES_FP16):
            element = Shared(
                "element", lambda: Pipeline(kernels.element, clock_hz=self._config.clock_hz)
            )
            m.submodules[f"element_{LANES_FP16 * number + lane}"] = element
            m.d.comb += [
                element.i.valid.eq(valid),
                element.i.payload.x.eq(word.word_select(lane, 16)),
                element.i.payload.block_exp.eq(block_exp),
                element.i.payload.bf16.eq(bf16),
                element.o.ready.eq(1),
            ]
            aligned.append(element.o.payload)
        return aligned

    def _queries(self, m, head, meta):
        """The query elements of a head for each lane of the beat with these tags."""
        row = meta.row[: (self._config.max_beats - 1).bit_length()]
        passes = [
            self._query_memory(m, f"query_{head}_{lane}", head, lane, self.i_writes)
            for lane in range(LANES_FP16)
        ]
        m.d.comb += [port.addr.eq(Cat(row, meta.bank)) for port in passes]
        if not self._config.sparse_tokens:
            return [port.data for port in passes]
        estimates = [
            self._query_memory(m, f"estimate_{head}_{lane}", head, lane, self.i_estimate_writes)
            for lane in range(LANES_FP16)
        ]
        m.d.comb += [port.addr.eq(Cat(meta.query[2:], meta.bank)) for port in estimates]
        of_column = Signal(signed(QUERY_BITS), name=f"column_{head}")
        m.d.comb += of_column.eq(Array(port.data for port in estimates)[meta.query[:2]])
        return [
            Mux(meta.column, of_column, Mux(meta.estimate, estimate.data, query.data))
            for estimate, query in zip(estimates, passes)
        ]

    def _query_memory(self, m, name, head, lane, writes):
        """Two banks of query elements of a head and lane; returns the port to read them."""
        rows = 2 << (self._config.max_beats - 1).bit_length()
        store = memory.Memory(shape=signed(QUERY_BITS), depth=rows, init=[])
        m.submodules[name] = store
        write = store.write_port()
        source = writes.payload
        m.d.comb += [
            write.en.eq(writes.valid & (source.head == head)),
            write.addr.eq(Cat(source.row, source.bank)),
            write.data.eq(source.q[lane]),
        ]
        return store.read_port(domain="comb")
