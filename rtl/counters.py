"""Performance counters: where every cycle went, and what was moved.

The drive's time is one exclusive partition: each clock is charged to the first of `BREAKDOWN` that
is active. Each channel has a partition of its own (`Activity`). Simulation may let ``skip`` idle
clocks pass at once; time counters advance by ``skip + 1``.

What blocks and channels say goes into registers first: it comes a long way, and a long way is still
to go. So all counters but ``cycles`` are a clock behind, and the first clock is charged as idle.
The sums stay exact, those of skipped clocks too: what is skipped is like the clock before it.
"""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .nand.operations import Activity
from .registers import BREAKDOWN, CHANNEL_COUNTERS, COUNTERS

__all__ = ["Counters", "EVENTS"]

EVENTS = tuple(n for n in COUNTERS if n != "cycles" and not n.startswith("time_"))
"""Counters that count events, each by the amount at its input."""


class Counters(wiring.Component):
    """All counters of a drive behind one read port.

    Parameters
    ----------
    channels : int

    Members
    -------
    skip : In(32)
        Clocks that pass in this one besides itself; only if the flags of this clock are those of
        the one before.
    engine, dma : In(1)
        Busy flags of the partition; data, command and arrays follow from the channels.
    activity : In(Activity).array(channels)
    page_read, page_programmed : In(1).array(channels)
    add : In, one 16-bit amount for each of `EVENTS`
    address : In(12)
        Byte offset from 3000h: drive counters, from 1000h on channel counters.
    read : In(1)
        A read of ``address`` takes place (freezes the high word).
    value : Out(32)
        Combinational.
    """

    def __init__(self, channels):
        self._channels = channels
        super().__init__(
            {
                "skip": In(32),
                "engine": In(1),
                "dma": In(1),
                "activity": In(Activity).array(channels),
                "page_read": In(1).array(channels),
                "page_programmed": In(1).array(channels),
                **{f"add_{name}": In(16) for name in EVENTS},
                "address": In(13),
                "read": In(1),
                "value": Out(32),
            }
        )

    def elaborate(self, platform):
        m = Module()
        step = Signal(33)
        m.d.comb += step.eq(self.skip + 1)

        cycles = Signal(64, name="count_cycles")
        m.d.sync += cycles.eq(cycles + step)
        values = {"cycles": cycles}

        activities = [
            Signal(Activity, name=f"activity_{channel}") for channel in range(self._channels)
        ]
        engine, dma = Signal(), Signal()
        m.d.sync += [
            *(activity.eq(said) for activity, said in zip(activities, self.activity)),
            engine.eq(self.engine),
            dma.eq(self.dma),
        ]
        any_of = {name: Signal(name=f"any_{name.name.lower()}") for name in Activity}
        for kind, signal in any_of.items():
            m.d.comb += signal.eq(Cat(activity == kind for activity in activities).any())
        active = {
            "data": any_of[Activity.DATA],
            "command": any_of[Activity.COMMAND],
            "engine": engine,
            "arrays": any_of[Activity.WAITING],
            "dma": dma,
        }
        earlier = Const(0)
        for name in BREAKDOWN:
            count = Signal(64, name=f"count_time_{name}")
            mine = (active[name] if name in active else 1) & ~earlier
            with m.If(mine):
                m.d.sync += count.eq(count + step)
            values[f"time_{name}"] = count
            earlier = earlier | active[name] if name in active else earlier
        for name in EVENTS:
            count = Signal(64, name=f"count_{name}")
            amount = Signal(16, name=f"amount_{name}")
            m.d.sync += amount.eq(getattr(self, f"add_{name}"))
            with m.If(amount != 0):
                m.d.sync += count.eq(count + amount)
            values[name] = count

        words = {8 * COUNTERS.index(name): count for name, count in values.items()}
        partition = {
            Activity.DATA: "data",
            Activity.COMMAND: "command",
            Activity.WAITING: "waiting",
            Activity.IDLE: "idle",
        }
        for channel in range(self._channels):
            for kind, name in partition.items():
                count = Signal(64, name=f"count_{channel}_{name}")
                with m.If(activities[channel] == kind):
                    m.d.sync += count.eq(count + step)
                words[0x1000 + 64 * channel + 8 * CHANNEL_COUNTERS.index(name)] = count
            for name, pulse in (
                ("pages_read", self.page_read[channel]),
                ("pages_programmed", self.page_programmed[channel]),
            ):
                count = Signal(32, name=f"count_{channel}_{name}")
                happened = Signal(name=f"happened_{channel}_{name}")
                m.d.sync += happened.eq(pulse)
                with m.If(happened):
                    m.d.sync += count.eq(count + 1)
                words[0x1000 + 64 * channel + 8 * CHANNEL_COUNTERS.index(name)] = count

        whole = Signal(64)
        frozen = Signal(32)
        with m.Switch(self.address[3:]):
            for address, count in words.items():
                with m.Case(address >> 3):
                    m.d.comb += whole.eq(count)
        m.d.comb += self.value.eq(Mux(self.address[2], frozen, whole[:32]))
        with m.If(self.read & ~self.address[2]):
            m.d.sync += frozen.eq(whole[32:])
        return m
