"""Merge: the channels' sums added exactly, divided and rounded once, packed into words.

::

    i[0] --.
    i[1] --+--> adder tree --> l, o --> normalise --> pack 4 --> o
     ...  -'

One number a clock: a job takes ``1 + heads * (1 + head_dim)`` clocks.
"""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from . import kernels
from .beats import JOB_BITS, LANES_FP16
from .drain import Item
from .hls import Pipeline
from .messages import SUM_BITS, merge_flags_layout, merge_job_layout, result_layout
from .streams import Queue, SkidBuffer
from .weights import WEIGHT_SUM_BITS

__all__ = ["AdderTree", "Merge"]

JOBS_IN_FLIGHT = 8
"""Jobs between the query loader and the merge: at most 6 by the order of passes."""

NAN = 0x7E00


class AdderTree(wiring.Component):
    """Adds one number of every input, a register per level.

    Parameters
    ----------
    inputs : int

    Members
    -------
    i : In(stream(signed(64))) array
    o : Out(stream(signed(64)))
    busy : Out(1)
        Some level holds a number.
    """

    def __init__(self, inputs):
        self._inputs = inputs
        super().__init__(
            {
                "i": In(stream.Signature(signed(SUM_BITS))).array(inputs),
                "o": Out(stream.Signature(signed(SUM_BITS))),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        advance, complete = Signal(), Signal()
        m.d.comb += [
            advance.eq(self.o.ready | ~self.o.valid),
            complete.eq(Cat(port.valid for port in self.i).all()),
            *[port.ready.eq(complete & advance) for port in self.i],
        ]
        numbers, valid, held = [port.payload for port in self.i], complete, []
        level = 0
        while len(numbers) > 1 or not held:
            sums = [
                Signal(signed(SUM_BITS), name=f"sum_{level}_{n}")
                for n in range((len(numbers) + 1) // 2)
            ]
            next_valid = Signal(name=f"valid_{level}")
            with m.If(advance):
                m.d.sync += next_valid.eq(valid)
                with m.If(valid):
                    m.d.sync += [
                        sum_.eq(sum(numbers[2 * n + 1 : 2 * n + 2], numbers[2 * n]))
                        for n, sum_ in enumerate(sums)
                    ]
            numbers, valid, level = sums, next_valid, level + 1
            held.append(valid)
        m.d.comb += [
            self.o.payload.eq(numbers[0]),
            self.o.valid.eq(valid),
            self.busy.eq(Cat(held).any()),
        ]
        return m


class Merge(wiring.Component):
    """Makes results of sums.

    Parameters
    ----------
    config : EngineConfig

    Members
    -------
    i_jobs : In(stream(merge_job_layout))
    i_flags : In(stream(merge_flags_layout))
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
                "i_flags": In(stream.Signature(merge_flags_layout(config))),
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
        m.submodules.flags = flags = Queue(merge_flags_layout(config), depth=JOBS_IN_FLIGHT)
        m.submodules.tree = tree = AdderTree(config.channels)
        connect(m, flipped(self.i_jobs), jobs.i)
        connect(m, flipped(self.i_flags), flags.i)
        for index in range(config.channels):
            connect(m, flipped(self.i[index]), tree.i[index])

        tags = data.StructLayout(
            {
                "nan": 1,
                "last": 1,
                "job": JOB_BITS,
                "saturated": 1,
                "nonfinite": 1,
                "poisoned": 1,
            }
        )
        m.submodules.normalise = normalise = Pipeline(
            kernels.normalise, clock_hz=config.clock_hz, meta=tags
        )
        job, found = jobs.o.payload, flags.o.payload
        item = Signal(Item)
        head = Signal(range(config.max_heads))
        element = Signal(range(config.max_head_dim))
        weight_sum = Signal(WEIGHT_SUM_BITS)
        poisoned = Signal()
        # Without a token there is nothing to divide by.
        none = Signal()
        number = normalise.i
        last, take = Signal(), Signal()
        is_output = item == Item.OUTPUT_SUM
        m.d.comb += [
            none.eq(weight_sum == 0),
            last.eq((head == job.heads - 1) & (element == Cat(0, 0, job.beats) - 1)),
            number.valid.eq(tree.o.valid & is_output & jobs.o.valid & flags.o.valid),
            tree.o.ready.eq(~is_output | (number.ready & jobs.o.valid & flags.o.valid)),
            take.eq(tree.o.valid & tree.o.ready),
            jobs.o.ready.eq(take & is_output & last),
            flags.o.ready.eq(take & is_output & last),
            number.payload.o.eq(tree.o.payload),
            number.payload.l.eq(weight_sum | none),
            number.payload.v_exp.eq(job.v_exp),
            number.payload.meta.nan.eq(job.nan.bit_select(head, 1) | none),
            number.payload.meta.last.eq(last),
            number.payload.meta.job.eq(job.tag),
            number.payload.meta.saturated.eq((found.saturated & ~job.nan).any()),
            number.payload.meta.nonfinite.eq(job.nan.any() | none),
            number.payload.meta.poisoned.eq(poisoned | found.poisoned),
        ]
        with m.If(take):
            with m.Switch(item):
                with m.Case(Item.FLAGS):
                    m.d.sync += [
                        item.eq(Item.WEIGHT_SUM),
                        head.eq(0),
                        poisoned.eq(tree.o.payload != 0),
                    ]
                with m.Case(Item.WEIGHT_SUM):
                    m.d.sync += [
                        item.eq(Item.OUTPUT_SUM),
                        element.eq(0),
                        weight_sum.eq(tree.o.payload),
                    ]
                with m.Case(Item.OUTPUT_SUM):
                    m.d.sync += element.eq(element + 1)
                    with m.If(element == Cat(0, 0, job.beats) - 1):
                        m.d.sync += [head.eq(head + 1), item.eq(Item.WEIGHT_SUM)]
                    with m.If(last):
                        m.d.sync += item.eq(Item.FLAGS)

        # Pack four elements; the word leaves with the last of them.
        m.submodules.out = out = SkidBuffer(result_layout())
        place = Signal(range(LANES_FP16))
        packed = Signal(16 * (LANES_FP16 - 1))
        x = Mux(normalise.o.payload.meta.nan, NAN, normalise.o.payload.x)
        full = place == LANES_FP16 - 1
        m.d.comb += [
            normalise.o.ready.eq(out.i.ready | ~full),
            out.i.valid.eq(normalise.o.valid & full),
            out.i.payload.data.eq(Cat(packed, x)),
            *[
                out.i.payload[name].eq(normalise.o.payload.meta[name])
                for name in ("last", "job", "saturated", "nonfinite", "poisoned")
            ],
        ]
        with m.If(normalise.o.valid & normalise.o.ready):
            m.d.sync += place.eq(place + 1)
            with m.If(~full):
                m.d.sync += packed.eq(Cat(packed[16:], x))
        connect(m, out.o, flipped(self.o))
        m.d.comb += [
            self.busy.eq(tree.busy | normalise.busy),
            self.active.eq(
                tree.busy
                | normalise.busy
                | self.o.valid
                | (self.i_jobs.valid & self.i_jobs.ready)
                | (self.i_flags.valid & self.i_flags.ready)
                | Cat(port.valid for port in self.i).all()
            ),
        ]
        return m
