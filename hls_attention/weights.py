"""Weights: scores back from memory, to one weight per token and head, a few tokens ahead of V.

::

    score memory --> weight kernel, one head after the other --> vector of a token --> queue --> o
                                                          '--> sum of weights l per head (exact)
"""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from . import kernels
from .hls import Pipeline
from .messages import (
    COUNT_BITS,
    REFERENCE_BITS,
    SCORE_BITS,
    WEIGHT_SUM_BITS,
    descriptor_layout,
    of_bank,
    weight_layout,
)
from .score_path import next_score_row
from .streams import Queue

__all__ = ["Weights"]

TOKENS_AHEAD = 4
"""Tokens between reading a score and using its weight: covers the latency of the way."""


class Weights(wiring.Component):
    """Makes weights of scores once the reference of the pass is known.

    Parameters
    ----------
    config : EngineConfig

    Members
    -------
    i_start : In(2)
        Pulse: the scores and the reference of this bank are complete.
    i_free : In(2)
        The sums of this bank are no longer needed.
    i_v : In(descriptor_layout) array
    i_m : In(signed(17)) array
        Reference of each bank and head.
    i_count : In array
        Scores of each bank.
    r_en, r_addr, r_data : Out, Out, In
        Read port of the score memory.
    o : Out(stream(weight_layout))
    l_bank, l_head : In; l_data : Out(63)
        Sum of weights of a bank and head, in the same clock; not meaningful for a bank without
        scores.
    busy : Out(1)
    """

    def __init__(self, config):
        self._config = config
        rows = 2 * config.score_rows
        super().__init__(
            {
                "i_start": In(2),
                "i_free": In(2),
                "i_v": In(descriptor_layout(config)).array(2),
                "i_m": In(signed(REFERENCE_BITS)).array(2, config.max_heads),
                "i_count": In(COUNT_BITS).array(2),
                "r_en": Out(1),
                "r_addr": Out(range(rows)),
                "r_data": In(SCORE_BITS),
                "o": Out(stream.Signature(weight_layout(config))),
                "l_bank": In(1),
                "l_head": In(range(config.max_heads)),
                "l_data": Out(WEIGHT_SUM_BITS),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        tags = data.StructLayout(
            {
                "head": range(config.max_heads),
                "bank": 1,
                "first_token": 1,
                "last_head": 1,
            }
        )

        # Read: a token's heads one after the other, as long as the queue will have room for it.
        started = Signal(2)
        bank, first_token = Signal(), Signal(init=1)
        head = Signal(range(config.max_heads))
        row, count = Signal(range(2 * config.score_rows)), Signal(COUNT_BITS)
        ahead = Signal(range(TOKENS_AHEAD + 1))
        runs, over, read, last_head = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            runs.eq((started & self.i_free).bit_select(bank, 1)),
            over.eq(runs & (count == Mux(bank, self.i_count[1], self.i_count[0]))),
            read.eq(runs & ~over & ((head != 0) | (ahead != TOKENS_AHEAD))),
            last_head.eq(head == of_bank(bank, self.i_v, "heads") - 1),
            self.r_en.eq(read),
            self.r_addr.eq(row),
        ]
        m.d.sync += started.eq((started & ~Cat(over & ~bank, over & bank)) | self.i_start)
        with m.If(over):
            m.d.sync += [
                bank.eq(~bank),
                row.eq(Mux(bank, 0, config.score_rows)),
                count.eq(0),
                first_token.eq(1),
            ]
        with m.If(read):
            m.d.sync += [row.eq(next_score_row(config, bank, row)), count.eq(count + 1)]
            m.d.sync += head.eq(Mux(last_head, 0, head + 1))
            m.d.sync += first_token.eq(first_token & ~last_head)
        m.d.sync += ahead.eq(ahead + (read & (head == 0)) - (self.o.valid & self.o.ready))

        # Convert.
        asked, asked_tags = Signal(), Signal(tags)
        m.d.sync += asked.eq(read)
        with m.If(read):
            m.d.sync += [
                asked_tags.head.eq(head),
                asked_tags.bank.eq(bank),
                asked_tags.first_token.eq(first_token),
                asked_tags.last_head.eq(last_head),
            ]
        references = [
            Mux(asked_tags.bank, self.i_m[1][n], self.i_m[0][n]) for n in range(config.max_heads)
        ]
        reference = Signal(signed(REFERENCE_BITS))
        with m.Switch(asked_tags.head):
            for n in range(config.max_heads):
                with m.Case(n):
                    m.d.comb += reference.eq(references[n])
        m.submodules.weight = weight = Pipeline(kernels.weight, clock_hz=config.clock_hz, meta=tags)
        m.d.comb += [
            weight.i.valid.eq(asked),
            weight.i.payload.s.eq(self.r_data.as_signed()),
            weight.i.payload.m.eq(reference),
            weight.i.payload.meta.eq(asked_tags),
            weight.o.ready.eq(1),
        ]

        # Gather a token's heads.
        m.submodules.queue = queue = Queue(weight_layout(config), depth=TOKENS_AHEAD)
        gathered = Signal()
        result, done = weight.o.payload, weight.o.payload.meta
        vector = Signal(weight_layout(config))
        m.d.sync += gathered.eq(weight.o.valid & done.last_head)
        m.d.comb += [queue.i.valid.eq(gathered), queue.i.payload.eq(vector)]
        with m.If(weight.o.valid):
            for n in range(config.max_heads):
                with m.If(done.head == n):
                    m.d.sync += [vector.a[n].eq(result.a), vector.drop[n].eq(result.drop)]

        # Add up the weights, one adder for all heads and banks.
        banks = memory.Memory(
            shape=WEIGHT_SUM_BITS, depth=2 << (config.max_heads - 1).bit_length(), init=[]
        )
        m.submodules.sums = banks
        sums, old, asked_sum = (
            banks.write_port(),
            banks.read_port(domain="comb"),
            banks.read_port(domain="comb"),
        )
        m.d.comb += [
            old.addr.eq(Cat(done.bank, done.head)),
            sums.addr.eq(Cat(done.bank, done.head)),
            sums.en.eq(weight.o.valid),
            sums.data.eq(result.term + Mux(done.first_token, 0, old.data)),
            asked_sum.addr.eq(Cat(self.l_bank, self.l_head)),
            self.l_data.eq(asked_sum.data),
        ]
        wiring.connect(m, queue.o, wiring.flipped(self.o))
        m.d.comb += self.busy.eq(runs & (over | read) | asked | weight.busy | gathered)
        return m
