"""Reference: waits until every channel has seen all K of a job, then gives M to all of them."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .messages import REFERENCE_BITS, merge_facts_layout, reference_layout, report_layout

__all__ = ["LEAST", "Reference"]

LEAST = -(1 << REFERENCE_BITS - 1)
"""Reference of a pass without tokens, as sparse attention may leave them."""


class Reference(wiring.Component):
    """Largest M of all channels, one channel a clock.

    Parameters
    ----------
    config : EngineConfig

    Members
    -------
    i : In(stream(report_layout)) array
        One report per channel and job.
    o : Out(stream(reference_layout), always ready)
        To all channels. ``o.valid`` is also the sign that the K pass is complete everywhere.
    o_facts : Out(stream(merge_facts_layout))
    active : Out(1)
        Something changes in this clock.
    """

    def __init__(self, config):
        self._config = config
        super().__init__(
            {
                "i": In(stream.Signature(report_layout(config))).array(config.channels),
                "o": Out(stream.Signature(reference_layout(config), always_ready=True)),
                "o_facts": Out(stream.Signature(merge_facts_layout(config))),
                "active": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        channel = Signal(range(config.channels))
        complete, parity = Signal(), Signal()
        known = Signal()  # some channel so far had a token
        facts = self.o_facts.payload
        flags = Signal(data.StructLayout({"saturated": config.max_heads, "poisoned": 1}))

        report = Signal(report_layout(config))
        valid, take = Signal(), Signal()
        m.d.comb += take.eq(valid & ~complete)
        with m.Switch(channel):
            for index, port in enumerate(self.i):
                with m.Case(index):
                    m.d.comb += [
                        report.eq(port.payload),
                        valid.eq(port.valid),
                        port.ready.eq(~complete),
                    ]
        with m.If((channel == 0) & ~complete):  # of a pass without any token
            m.d.sync += [m_.eq(LEAST) for m_ in self.o.payload.m]
        with m.If(take):
            m.d.sync += channel.eq(channel + 1)
            with m.If(channel == config.channels - 1):
                m.d.sync += [channel.eq(0), complete.eq(1)]
            m.d.sync += [
                flags.saturated.eq(flags.saturated | report.saturated),
                flags.poisoned.eq(flags.poisoned | report.poisoned),
            ]
            with m.If(~report.empty):
                m.d.sync += known.eq(1)
                for head in range(config.max_heads):
                    reference = self.o.payload.m[head]
                    with m.If(~known | (report.m[head] > reference)):
                        m.d.sync += reference.eq(report.m[head])

        m.d.comb += [
            self.o_facts.valid.eq(complete),
            self.o.valid.eq(complete & self.o_facts.ready),
            self.o.payload.bank.eq(parity),
            facts.saturated.eq(flags.saturated),
            facts.poisoned.eq(flags.poisoned),
            facts.m.eq(self.o.payload.m),
            self.active.eq(take | self.o.valid),
        ]
        with m.If(self.o.valid):
            m.d.sync += [complete.eq(0), known.eq(0), flags.eq(0), parity.eq(~parity)]
        return m
