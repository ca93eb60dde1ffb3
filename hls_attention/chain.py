"""Chain: the sums of several passes, added up to those of one result.

::

    i --+--> (one pass, or partials wanted) ------------------------------------------+--> o
        '--> store [pass][number] --> align to the largest reference --> add up ------'

The passes of a chain are stored until the last is there, and then added in one step, each number
shifted by the distance of its reference to the largest. So the result does not depend on the order
of passes, and is the same as that of `hls_attention.twin.merge` over partials from anywhere.
"""

from amaranth.hdl import Array, Cat, Module, Mux, Signal, signed
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from . import kernels
from .hls import Pipeline
from .messages import REFERENCE_BITS, SUM_BITS, merge_job_layout
from .verilog import Ram

__all__ = ["Chain", "EXPONENT_SHAPE", "number_layout"]

EXPONENT_SHAPE = signed(kernels.normalise.inputs["v_exp"].width)
"""Exponent of an output sum: that of V, less 112 if V is BF16."""

TOP_BITS = REFERENCE_BITS + 1
"""m + v_exp, signed: where the output sums of a pass are aligned."""

MOST_PLACES = 127


def number_layout(config):
    """A number on its way to the result: per head first l, then ``head_dim`` output sums."""
    return data.StructLayout(
        {
            "number": signed(SUM_BITS),
            "head": range(config.max_heads),
            "weight_sum": 1,  # l
            "last": 1,  # last number of the job
        }
    )


class Chain(wiring.Component):
    """Adds up the passes of a chain; lets everything else through.

    Adding up takes a clock for each number of each pass. Meanwhile ``i`` waits.

    Parameters
    ----------
    config : EngineConfig
        ``max_passes`` is the longest chain.

    Members
    -------
    job : In(merge_job_layout)
        The job that numbers at ``i`` belong to, until ``done``.
    m : In(signed(17)) array
        Its references.
    i, o : stream(number_layout)
    exponent : Out(EXPONENT_SHAPE)
        Of the output sum at ``o``.
    done : Out(1)
        Pulse: ``job`` has been dealt with.
    busy : Out(1)
        A chain is being added up.
    """

    def __init__(self, config):
        self._config = config
        super().__init__(
            {
                "job": In(merge_job_layout(config)),
                "m": In(signed(REFERENCE_BITS)).array(config.max_heads),
                "i": In(stream.Signature(number_layout(config))),
                "o": Out(stream.Signature(number_layout(config))),
                "exponent": Out(EXPONENT_SHAPE),
                "done": Out(1),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        job = self.job
        through = Signal()
        m.d.comb += [
            through.eq((job.first & job.last) | job.partial),
            self.exponent.eq(job.v_exp),
        ]
        with m.If(through):
            wiring.connect(m, wiring.flipped(self.i), wiring.flipped(self.o))
            m.d.comb += self.done.eq(self.i.valid & self.i.ready & self.i.payload.last)
        if self._config.max_passes > 1:
            self._chained(m, ~through)
        return m

    def _chained(self, m, chained):
        config, job, number = self._config, self.job, self.i.payload
        stride = config.max_heads * (config.max_head_dim + 1)
        m.submodules.store = store = Ram(width=SUM_BITS, depth=config.max_passes * stride)
        address = store.w_addr.shape()
        base, index = Signal(address), Signal(range(stride))
        slot = Signal(range(config.max_passes))
        count = Signal(range(config.max_passes + 1))  # passes to be added up
        replays = Signal()

        # Store the numbers; keep the largest reference of each head.
        heads = number.head.shape()
        tops = Signal(data.StructLayout({"m": signed(REFERENCE_BITS), "top": signed(TOP_BITS)}))
        kept = memory.Memory(
            shape=tops.shape(),
            depth=config.max_passes << len(number.head),
            init=[],
        )
        m.submodules.references = kept
        largest = [Signal.like(tops, name=f"largest_{head}") for head in range(config.max_heads)]
        takes = Signal()
        m_here = Array(self.m)[number.head]
        keep, seen = kept.write_port(), kept.read_port()
        m.d.comb += [
            takes.eq(chained & self.i.valid & ~replays),
            tops.m.eq(m_here),
            tops.top.eq(m_here + job.v_exp),
            store.w_en.eq(takes),
            store.w_addr.eq(base + index),
            store.w_data.eq(number.number),
            keep.en.eq(takes & number.weight_sum),
            keep.addr.eq(Cat(number.head, slot)),
            keep.data.eq(tops),
        ]
        with m.If(takes):
            m.d.comb += self.i.ready.eq(1)
            m.d.sync += index.eq(index + 1)
            with m.If(number.weight_sum):
                for head, top in enumerate(largest):
                    with m.If(number.head == head):
                        with m.If(job.first | (tops.m > top.m)):
                            m.d.sync += top.m.eq(tops.m)
                        with m.If(job.first | (tops.top > top.top)):
                            m.d.sync += top.top.eq(tops.top)
            with m.If(number.last):
                m.d.sync += [index.eq(0), base.eq(base + stride), slot.eq(slot + 1)]
                with m.If(job.last):
                    m.d.sync += [
                        base.eq(0),
                        slot.eq(0),
                        count.eq(slot + 1),
                        replays.eq(1),
                    ]
                with m.Else():
                    m.d.comb += self.done.eq(1)

        # Read them again, number by number, pass by pass.
        element = Signal(range(config.max_head_dim + 1))  # 0: l
        head = Signal(heads)
        asked, read = Signal(), Signal()
        tags = data.StructLayout(
            {"head": heads, "weight_sum": 1, "last": 1, "first_pass": 1, "last_pass": 1}
        )
        tag, read_tag = Signal(tags), Signal(tags)
        finished = Signal()  # all have been read
        last_element = element == Cat(0, 0, job.beats)
        align = Pipeline(kernels.align, clock_hz=config.clock_hz, meta=tags)
        m.submodules.align = align
        m.d.comb += [
            tag.head.eq(head),
            tag.weight_sum.eq(element == 0),
            tag.last.eq(last_element & (head == job.heads - 1)),
            tag.first_pass.eq(slot == 0),
            tag.last_pass.eq(slot == count - 1),
            asked.eq(replays & ~finished & (align.i.ready | ~read)),
            store.r_en.eq(asked),
            store.r_addr.eq(base + index),
            seen.en.eq(asked),
            seen.addr.eq(Cat(head, slot)),
        ]
        with m.If(align.i.ready | ~read):
            m.d.sync += read.eq(asked)
        with m.If(asked):
            m.d.sync += [read_tag.eq(tag), slot.eq(slot + 1), base.eq(base + stride)]
            with m.If(tag.last_pass):
                m.d.sync += [slot.eq(0), base.eq(0), index.eq(index + 1), element.eq(element + 1)]
                with m.If(last_element):
                    m.d.sync += [element.eq(0), head.eq(head + 1)]
                with m.If(tag.last):
                    m.d.sync += [head.eq(0), index.eq(0), finished.eq(1)]

        reference = Array(largest)[read_tag.head]
        distance = Mux(
            read_tag.weight_sum, reference.m - seen.data.m, reference.top - seen.data.top
        )
        places = Signal(TOP_BITS + 2)
        total = Signal(signed(SUM_BITS))
        whole = Signal()
        sum_ = align.o.payload.y + Mux(align.o.payload.meta.first_pass, 0, total)
        m.d.comb += [
            places.eq(distance + kernels.CHAIN_GUARD_BITS),
            align.i.valid.eq(read),
            align.i.payload.x.eq(store.r_data.as_signed()),
            align.i.payload.places.eq(Mux(places > MOST_PLACES, MOST_PLACES, places)),
            align.i.payload.meta.eq(read_tag),
            whole.eq(align.o.valid & align.o.payload.meta.last_pass),
            align.o.ready.eq(~whole | self.o.ready),
            self.busy.eq(replays),
        ]
        with m.If(align.o.valid & align.o.ready):
            m.d.sync += total.eq(sum_)
        with m.If(replays):
            out = align.o.payload.meta
            top = Array(largest)[out.head]
            m.d.comb += [
                self.o.valid.eq(whole),
                self.o.payload.number.eq(sum_),
                self.o.payload.head.eq(out.head),
                self.o.payload.weight_sum.eq(out.weight_sum),
                self.o.payload.last.eq(out.last),
                self.exponent.eq(top.top - top.m),
                self.done.eq(whole & self.o.ready & out.last),
            ]
            with m.If(self.done):
                m.d.sync += [replays.eq(0), finished.eq(0)]
