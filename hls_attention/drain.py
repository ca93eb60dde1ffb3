"""Drain: a channel's sums of a job, one number a clock, to the merge.

Items of a job: flags (1 if poisoned), then for each head l and its ``head_dim`` output sums. A
channel without a token sends zeros.
"""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import enum, stream, wiring
from amaranth.lib.wiring import In, Out

from .beats import LANES_FP16
from .messages import SUM_BITS, WEIGHT_SUM_BITS, descriptor_layout

__all__ = ["Drain", "Item"]


class Item(enum.Enum, shape=2):
    """What a number on its way to the merge is."""

    FLAGS = 0
    WEIGHT_SUM = 1
    OUTPUT_SUM = 2


class Drain(wiring.Component):
    """Reads out finished jobs, in order.

    Parameters
    ----------
    config : EngineConfig

    Members
    -------
    i_ended, i_empty, i_poisoned : In
        From the accumulators.
    i_v : In(descriptor_layout) array
        Descriptor of each bank, valid with ``i_ended``.
    l_bank, l_head, l_data
        Weight sum of a bank and head, in the same clock.
    r_en, r_free, r_bank, r_head, r_row, r_lane, r_data
        Read port of the accumulators.
    o : Out(stream(signed(64)))
    o_freed : Out(2)
        Pulse: this bank has been read out.
    active : Out(1)
        Something changes in this clock.
    """

    def __init__(self, config):
        self._config = config
        super().__init__(
            {
                "i_ended": In(2),
                "i_empty": In(1),
                "i_poisoned": In(1),
                "i_v": In(descriptor_layout(config)).array(2),
                "l_bank": Out(1),
                "l_head": Out(range(config.max_heads)),
                "l_data": In(WEIGHT_SUM_BITS),
                "r_en": Out(1),
                "r_free": In(1),
                "r_bank": Out(1),
                "r_head": Out(range(config.max_heads)),
                "r_row": Out(range(config.max_beats)),
                "r_lane": Out(range(LANES_FP16)),
                "r_data": In(signed(SUM_BITS)),
                "o": Out(stream.Signature(signed(SUM_BITS))),
                "o_freed": Out(2),
                "active": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config

        # The descriptor of a bank may be overwritten before its drain is through.
        ready, empty, poisoned = Signal(2), Signal(2), Signal(2)
        heads = [Signal(range(config.max_heads + 1), name=f"heads_{n}") for n in range(2)]
        beats = [Signal(7, name=f"beats_{n}") for n in range(2)]
        for n in range(2):
            with m.If(self.i_ended[n]):
                m.d.sync += [
                    heads[n].eq(self.i_v[n].heads),
                    beats[n].eq(self.i_v[n].beats),
                    empty[n].eq(self.i_empty),
                    poisoned[n].eq(self.i_poisoned),
                ]

        bank = Signal()
        item = Signal(Item)
        head, row, lane = (Signal.like(port) for port in (self.r_head, self.r_row, self.r_lane))
        step, last, reads = Signal(), Signal(), Signal()
        valid = self.o.valid
        m.d.comb += [
            step.eq(ready.bit_select(bank, 1) & (self.o.ready | ~valid) & (~reads | self.r_free)),
            reads.eq(item == Item.OUTPUT_SUM),
            self.r_en.eq(step & reads),
            self.r_bank.eq(bank),
            self.r_head.eq(head),
            self.r_row.eq(row),
            self.r_lane.eq(lane),
        ]
        with m.If(step):
            with m.Switch(item):
                with m.Case(Item.FLAGS):
                    m.d.sync += [item.eq(Item.WEIGHT_SUM), head.eq(0)]
                with m.Case(Item.WEIGHT_SUM):
                    m.d.sync += [item.eq(Item.OUTPUT_SUM), row.eq(0), lane.eq(0)]
                with m.Case(Item.OUTPUT_SUM):
                    m.d.sync += lane.eq(lane + 1)
                    with m.If(lane == LANES_FP16 - 1):
                        m.d.sync += row.eq(row + 1)
                        with m.If(row == Mux(bank, *beats[::-1]) - 1):
                            m.d.sync += [item.eq(Item.WEIGHT_SUM), head.eq(head + 1)]
                            with m.If(head == Mux(bank, *heads[::-1]) - 1):
                                m.d.comb += last.eq(1)
                                m.d.sync += [item.eq(Item.FLAGS), bank.eq(~bank)]
        m.d.comb += self.o_freed.eq(Cat(last & ~bank, last & bank))
        m.d.sync += ready.eq((ready & ~self.o_freed) | self.i_ended)

        # The item asked for is at the output a clock later, and kept there until it is taken.
        m.d.comb += [self.l_bank.eq(bank), self.l_head.eq(head)]
        nothing = empty.bit_select(bank, 1)
        fresh, fresh_nothing = Signal(), Signal()  # the accumulators answer in this clock
        answer, kept = Signal(signed(SUM_BITS)), Signal(signed(SUM_BITS))
        with m.If(self.o.ready | ~valid):
            m.d.sync += valid.eq(step)
        m.d.sync += [fresh.eq(step & reads), fresh_nothing.eq(nothing)]
        m.d.comb += [
            answer.eq(Mux(fresh_nothing, 0, self.r_data)),
            self.o.payload.eq(Mux(fresh, answer, kept)),
        ]
        with m.If(fresh):
            m.d.sync += kept.eq(answer)
        with m.If(step & ~reads):
            m.d.sync += kept.eq(
                Mux(
                    item == Item.FLAGS,
                    poisoned.bit_select(bank, 1),
                    Mux(nothing, 0, self.l_data),
                )
            )
        m.d.comb += self.active.eq(step | (valid & self.o.ready) | self.i_ended.any())
        return m
