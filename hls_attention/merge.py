"""Merge: the channels' sums added exactly, passes added up, divided and rounded once.

::

    i[0] --.
    i[1] --+--> adder tree --> flags, l, o --> chain of passes --> output --> o
     ...  -'

One number a clock: a pass takes ``1 + heads * (1 + head_dim)`` clocks, and the last one of a chain
of n passes ``n * heads * (1 + head_dim)`` more.
"""

from amaranth.hdl import Array, Cat, Module, Mux, Signal, signed
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from .adder_tree import AdderTree
from .chain import Chain
from .drain import Item
from .messages import SUM_BITS, merge_facts_layout, merge_job_layout, result_layout
from .output import Output
from .streams import Queue

__all__ = ["Merge"]

JOBS_IN_FLIGHT = 8
"""Jobs between the query loader and the merge: at most 6 by the order of passes."""


class Merge(wiring.Component):
    """Makes results of sums.

    Parameters
    ----------
    config : EngineConfig

    Members
    -------
    i_jobs : In(stream(merge_job_layout))
    i_facts : In(stream(merge_facts_layout))
    i : In(stream(signed(64))) array
        For each channel and job the items of `hls_attention.drain.Drain`.
    o : Out(stream(result_layout))
    busy : Out(1)
        Numbers are on their way.
    active : Out(1)
        Something may change in this clock.
    """

    def __init__(self, config):
        self._config = config
        super().__init__(
            {
                "i_jobs": In(stream.Signature(merge_job_layout(config))),
                "i_facts": In(stream.Signature(merge_facts_layout(config))),
                "i": In(stream.Signature(signed(SUM_BITS))).array(config.channels),
                "o": Out(stream.Signature(result_layout())),
                "busy": Out(1),
                "active": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        connect, flipped = wiring.connect, wiring.flipped
        m.submodules.jobs = jobs = Queue(merge_job_layout(config), depth=JOBS_IN_FLIGHT)
        m.submodules.facts = facts = Queue(merge_facts_layout(config), depth=JOBS_IN_FLIGHT)
        m.submodules.tree = tree = AdderTree(config.channels)
        m.submodules.chain = chain = Chain(config)
        m.submodules.output = output = Output(config)
        connect(m, flipped(self.i_jobs), jobs.i)
        connect(m, flipped(self.i_facts), facts.i)
        connect(m, chain.o, output.i)
        connect(m, output.o, flipped(self.o))
        for index in range(config.channels):
            connect(m, flipped(self.i[index]), tree.i[index])

        job, found = jobs.o.payload, facts.o.payload
        m.d.comb += [
            chain.job.eq(job),
            *[port.eq(found.m[head]) for head, port in enumerate(chain.m)],
            jobs.o.ready.eq(chain.done),
            facts.o.ready.eq(chain.done),
        ]
        poisoned = self._number(m, tree.o, jobs.o.valid & facts.o.valid, job, chain)
        self._gather_facts(m, job, found, poisoned, chain, output)
        m.d.comb += [
            self.busy.eq(tree.busy | chain.busy | output.busy),
            self.active.eq(
                self.busy
                | self.o.valid
                | (self.i_jobs.valid & self.i_jobs.ready)
                | (self.i_facts.valid & self.i_facts.ready)
                | Cat(port.valid for port in self.i).all()
            ),
        ]
        return m

    def _number(self, m, sums, known, job, chain):
        """Takes the flags out of a job's items; tells the chain which number the others are."""
        config, numbers = self._config, chain.i
        item = Signal(Item)
        head = Signal(range(config.max_heads))
        element = Signal(range(config.max_head_dim))
        poisoned = Signal()
        last_element = element == Cat(0, 0, job.beats) - 1
        last = (item == Item.OUTPUT_SUM) & last_element & (head == job.heads - 1)
        m.d.comb += [
            numbers.payload.number.eq(sums.payload),
            numbers.payload.head.eq(head),
            numbers.payload.weight_sum.eq(item == Item.WEIGHT_SUM),
            numbers.payload.last.eq(last),
        ]
        with m.If(item == Item.FLAGS):
            m.d.comb += sums.ready.eq(~chain.busy)  # those of the chain are still wanted
        with m.Else():
            m.d.comb += [
                numbers.valid.eq(sums.valid & known),
                sums.ready.eq(numbers.ready & known),
            ]
        with m.If(sums.valid & sums.ready):
            with m.Switch(item):
                with m.Case(Item.FLAGS):
                    m.d.sync += [
                        item.eq(Item.WEIGHT_SUM),
                        head.eq(0),
                        poisoned.eq(sums.payload != 0),
                    ]
                with m.Case(Item.WEIGHT_SUM):
                    m.d.sync += [item.eq(Item.OUTPUT_SUM), element.eq(0)]
                with m.Case(Item.OUTPUT_SUM):
                    m.d.sync += element.eq(element + 1)
                    with m.If(last_element):
                        m.d.sync += [head.eq(head + 1), item.eq(Item.WEIGHT_SUM)]
                    with m.If(last):
                        m.d.sync += item.eq(Item.FLAGS)
        return poisoned

    def _gather_facts(self, m, job, found, poisoned, chain, output):
        """What holds for the number at the output: of its job, or of all jobs of its chain."""
        heads = self._config.max_heads
        nan, nan_before = Signal(heads), Signal(heads)
        saturated, saturated_before = Signal(heads), Signal(heads)
        bad, bad_before = Signal(), Signal()
        m.d.comb += [
            nan.eq(job.nan | nan_before),
            saturated.eq(found.saturated | saturated_before),
            bad.eq(poisoned | found.poisoned | bad_before),
        ]
        with m.If(chain.done):
            for now, before in (
                (nan, nan_before),
                (saturated, saturated_before),
                (bad, bad_before),
            ):
                with m.If(job.last):
                    m.d.sync += before.eq(0)
                with m.Else():
                    m.d.sync += before.eq(now)
        facts, head = output.facts, chain.o.payload.head
        of_pass = job.partial
        head_nan = Array([Mux(of_pass, a, b) for a, b in zip(job.nan, nan)])[head]
        m.d.comb += [
            facts.exponent.eq(chain.exponent),
            facts.m.eq(Array(chain.m)[head]),
            facts.nan.eq(head_nan),
            facts.clipped.eq(found.saturated.bit_select(head, 1) & ~head_nan),
            facts.bf16.eq(job.bf16),
            facts.partial.eq(job.partial),
            facts.ends.eq(job.last),
            facts.job.eq(job.tag),
            facts.saturated.eq((saturated & ~nan).any()),
            facts.nonfinite.eq(nan.any()),
            facts.poisoned.eq(bad),
        ]
