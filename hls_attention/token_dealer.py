"""Token dealer: where each channel begins, of a job that says how tokens are dealt."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .select_config import select_job_layout
from .token_order import dealing_ports

__all__ = ["TokenDealer"]


class TokenDealer(wiring.Component):
    """Gives each channel what its `TokenOrder` must know.

    It takes a clock a channel, and another one where the configuration has units. No multiplier:
    it goes round the channels once, and adds.

    Parameters
    ----------
    config : SelectConfig

    Members
    -------
    job : In(select_job_layout)
        Steady from the clock after ``start`` on.
    start : In(1)
        Pulse.
    done : Out(1)
        In the last clock.
    base, skip, unit_base, unit_skip : Out
        See `token_order.dealing_ports`; bases are arrays, one per channel. From the clock after
        ``done`` to the next ``start``.
    """

    def __init__(self, config):
        self._config = config
        ports = {
            name: Out(width).array(config.channels) if name.endswith("base") else Out(width)
            for name, width in dealing_ports(config).items()
        }
        super().__init__(
            {"job": In(select_job_layout(config)), "start": In(1), "done": Out(1), **ports}
        )

    def elaborate(self, platform):
        m = Module()
        job, channels = self.job, self._config.channels
        dealt, channel = Signal(range(max(2, channels))), Signal(range(max(2, channels)))
        offset = Signal.like(self.skip)
        groups = (job.group_tokens, job.first_channel, self.base, self.skip)
        if self._config.max_unit:
            kinds = {
                "UNITS": (0, job.unit_tokens, job.unit_channel, self.unit_base, self.unit_skip),
                "GROUPS": (job.in_units, *groups),
            }
        else:
            kinds = {"GROUPS": (0, *groups)}
        names = [*kinds, "IDLE"]
        with m.FSM(init="IDLE"):
            with m.State("IDLE"):
                m.d.sync += [dealt.eq(0), offset.eq(0)]
                with m.If(self.start):
                    m.next = names[0]
            for (name, kind), following in zip(kinds.items(), names[1:]):
                begins, size, first, bases, skip = kind
                with m.State(name):
                    here = Signal.like(channel, name=f"{name.lower()}_channel")
                    after = Signal.like(channel, name=f"{name.lower()}_after")
                    m.d.comb += [
                        here.eq(Mux(dealt == 0, first, channel)),
                        after.eq(Mux(here == channels - 1, 0, here + 1)),
                    ]
                    for index in range(channels):
                        with m.If(here == index):
                            m.d.sync += bases[index].eq(begins + offset)
                    m.d.sync += [
                        channel.eq(after),
                        dealt.eq(dealt + 1),
                        offset.eq(offset + size),
                        skip.eq(offset),
                    ]
                    with m.If(dealt == channels - 1):
                        m.d.comb += self.done.eq(following == "IDLE")
                        m.d.sync += [dealt.eq(0), offset.eq(0)]
                        m.next = following
        return m
