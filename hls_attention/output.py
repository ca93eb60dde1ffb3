"""Output: l and output sums of a result to words: quotients in fours, or partials as they are.

::

    i --l--> weight sum
      --o--> normalise --> pack 4 --+--> o
      --l, o of partials -----------'

Words of a partial, for each head: a header (`PARTIAL_HEADER`), l, and ``head_dim`` output sums.
"""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from . import kernels
from .beats import JOB_BITS, LANES_FP16
from .chain import EXPONENT_SHAPE, number_layout
from .formats import BF16, FP16
from .hls import Pipeline
from .messages import REFERENCE_BITS, WEIGHT_SUM_BITS, result_layout
from .streams import Packer, SkidBuffer

__all__ = ["Output", "PARTIAL_HEADER", "number_facts_layout"]

PARTIAL_HEADER = data.StructLayout(
    {
        "m": signed(32),  # reference: weights are 2**(score - m)
        "v_exp": signed(16),  # exponent of the output sums: o * 2**(v_exp - 59)
        "poisoned": 1,  # an infinity or NaN went in: the numbers mean nothing
        "saturated": 1,  # some score was clipped
        "reserved": 14,
    }
)
"""First word of a head's partial."""


def number_facts_layout():
    """What holds for a number at ``i``."""
    return data.StructLayout(
        {
            "exponent": EXPONENT_SHAPE,
            "m": signed(REFERENCE_BITS),
            "nan": 1,  # the head's result is NaN
            "clipped": 1,  # a score of the head was clipped
            "bf16": 1,  # format of the result
            "partial": 1,
            "ends": 1,  # the chain ends with this job
            "job": JOB_BITS,
            "saturated": 1,
            "nonfinite": 1,
            "poisoned": 1,
        }
    )


class Output(wiring.Component):
    """Makes result words of numbers. One number a clock.

    Parameters
    ----------
    config : EngineConfig

    Members
    -------
    i : In(stream(number_layout))
    facts : In(number_facts_layout)
    o : Out(stream(result_layout))
    busy : Out(1)
        Numbers are being divided.
    """

    def __init__(self, config):
        self._config = config
        super().__init__(
            {
                "i": In(stream.Signature(number_layout(config))),
                "facts": In(number_facts_layout()),
                "o": Out(stream.Signature(result_layout())),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        facts, number = self.facts, self.i.payload
        tags = data.StructLayout(
            {
                "nan": 1,
                "bf16": 1,
                "last": 1,
                "job": JOB_BITS,
                "saturated": 1,
                "nonfinite": 1,
                "poisoned": 1,
            }
        )
        normalise = Pipeline(kernels.normalise, clock_hz=self._config.clock_hz, meta=tags)
        m.submodules.normalise = normalise
        m.submodules.packer = packer = Packer(16, count=LANES_FP16, meta=tags)
        m.submodules.out = out = SkidBuffer(result_layout())
        wiring.connect(m, out.o, wiring.flipped(self.o))
        m.d.comb += self.busy.eq(normalise.busy | packer.o.valid)

        # Without a token there is nothing to divide by.
        weight_sum = Signal(WEIGHT_SUM_BITS)
        none = Signal()
        m.d.comb += [
            none.eq(weight_sum == 0),
            normalise.i.payload.o.eq(number.number),
            normalise.i.payload.l.eq(weight_sum | none),
            normalise.i.payload.v_exp.eq(facts.exponent),
            normalise.i.payload.bf16.eq(facts.bf16),
            normalise.i.payload.meta.nan.eq(facts.nan | none),
            normalise.i.payload.meta.bf16.eq(facts.bf16),
            normalise.i.payload.meta.last.eq(number.last & facts.ends),
            normalise.i.payload.meta.nonfinite.eq(facts.nonfinite | none),
            *[
                normalise.i.payload.meta[name].eq(facts[name])
                for name in ("job", "saturated", "poisoned")
            ],
        ]
        with m.If(number.weight_sum & self.i.valid):
            m.d.sync += weight_sum.eq(number.number)

        done, packed = normalise.o.payload, packer.o.payload
        m.d.comb += [
            packer.i.valid.eq(normalise.o.valid),
            packer.i.payload.item.eq(
                Mux(done.meta.nan, Mux(done.meta.bf16, BF16.nan, FP16.nan), done.x)
            ),
            packer.i.payload.meta.eq(done.meta),
            normalise.o.ready.eq(packer.i.ready),
        ]

        headed = Signal()  # the header of this head's partial is out
        drained = Signal(init=1)  # no number is being divided; known a clock late
        header = Signal(PARTIAL_HEADER)
        word = out.i.payload
        m.d.comb += [
            header.m.eq(facts.m),
            header.v_exp.eq(facts.exponent),
            header.poisoned.eq(facts.nan),
            header.saturated.eq(facts.clipped),
        ]
        m.d.sync += drained.eq(~normalise.busy & ~normalise.i.valid & ~packer.o.valid)
        m.d.comb += packer.o.ready.eq(out.i.ready)
        with m.If(facts.partial & self.i.valid & drained):
            needs_header = number.weight_sum & ~headed
            m.d.comb += [
                out.i.valid.eq(1),
                word.data.eq(Mux(needs_header, header.as_value(), number.number)),
                word.last.eq(number.last & facts.ends),
                *[
                    word[name].eq(facts[name])
                    for name in ("job", "saturated", "nonfinite", "poisoned")
                ],
                self.i.ready.eq(out.i.ready & ~needs_header),
            ]
            with m.If(out.i.ready):
                m.d.sync += headed.eq(needs_header)
        with m.Else():
            m.d.comb += [
                out.i.valid.eq(packer.o.valid),
                word.data.eq(packed.items),
                *[
                    word[name].eq(packed.meta[name])
                    for name in ("last", "job", "saturated", "nonfinite", "poisoned")
                ],
                normalise.i.valid.eq(self.i.valid & ~number.weight_sum & ~facts.partial),
                self.i.ready.eq(~facts.partial & (number.weight_sum | normalise.i.ready)),
            ]
        return m
