"""Observers of streams: small assertions that the contracts are put together from.

Each watches ports alone, so that none depends on how a component is made.
"""

from amaranth.hdl import Assert, Assume, Cat, Cover, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Passage", "Patience", "assert_held", "assert_latency", "assume_held", "taken"]


def taken(port):
    """A transfer takes place at a stream."""
    return port.valid & port.ready


def assume_held(m, port, *beside):
    """Have the producer keep valid, payload and what comes beside it until ready."""
    _held(m, port, beside, Assume)


def assert_held(m, port, *beside):
    """The component keeps valid, payload and what comes beside it until ready."""
    _held(m, port, beside, Assert)


def _held(m, port, beside, statement):
    payload = Cat(port.payload, *beside)
    pending = Signal(name="pending")
    shown = Signal(len(payload), name="shown")
    m.d.sync += [pending.eq(port.valid & ~port.ready), shown.eq(payload)]
    with m.If(pending):
        m.d.comb += statement(port.valid & (payload == shown))


def assert_latency(m, passage, port, latency):
    """The followed transfer shows at ``port`` after exactly ``latency`` clocks in which it moves.

    All that is inside moves in each clock in which ``port`` is taken or shows nothing. Without
    backpressure, that is in every clock.

    Returns
    -------
    Signal
        Moves since it entered; 1 in the clock after that.
    """
    age = Signal(range(latency + 2))
    with m.If(~passage.chosen):
        m.d.sync += age.eq(1)
    with m.Elif(port.ready | ~port.valid):
        m.d.sync += age.eq(age + 1)
    with m.If(passage.chosen):
        m.d.comb += [
            Assert(age <= latency),
            Assert((port.valid & (passage.ahead == 0)) == (age == latency)),
        ]
    return age


class Passage(wiring.Component):
    """Follows one transfer, chosen freely by the solver, from where it enters to where it leaves.

    As many others must leave before it as were inside when it entered, and then exactly its
    payload. Since any transfer may be the chosen one, nothing is lost, doubled, changed or
    overtaken.

    Parameters
    ----------
    width : int
        Bits of the payload.
    capacity : int
        Most transfers inside.

    Members
    -------
    choose : In(1)
        Free: the transfer that enters now is the one to follow, unless one is followed.
    enters, i_payload : In
        A transfer enters.
    o_valid, leaves, o_payload : In
        The next one to leave is shown; it leaves.
    inside : Out
        Transfers inside.
    chosen, ahead, payload : Out
        One is followed, how many leave before it, its payload.
    """

    def __init__(self, width, *, capacity):
        self._capacity = capacity
        super().__init__(
            {
                "choose": In(1),
                "enters": In(1),
                "i_payload": In(width),
                "o_valid": In(1),
                "leaves": In(1),
                "o_payload": In(width),
                "inside": Out(range(capacity + 2)),
                "chosen": Out(1),
                "ahead": Out(range(capacity + 2)),
                "payload": Out(width),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.d.sync += self.inside.eq(self.inside + self.enters - self.leaves)
        m.d.comb += [
            Assert(self.inside <= self._capacity),
            Assert(~self.o_valid | (self.inside != 0)),
        ]
        with m.If(~self.chosen & self.enters & self.choose):
            m.d.sync += [
                self.chosen.eq(1),
                self.payload.eq(self.i_payload),
                self.ahead.eq(self.inside - self.leaves),
            ]
        with m.If(self.chosen):
            m.d.comb += Assert(self.ahead < self.inside)
            with m.If(self.ahead == 0):
                m.d.comb += [
                    Assert(~self.o_valid | (self.o_payload == self.payload)),
                    Cover(self.leaves),
                ]
                with m.If(self.leaves):
                    m.d.sync += self.chosen.eq(0)
            with m.Elif(self.leaves):
                m.d.sync += self.ahead.eq(self.ahead - 1)
        return m

    def agrees(self, m, contents):
        """Assert that a component holds what the passage says (see `tests.formal.contents`)."""
        m.d.comb += [Assert(self.inside == contents.level), *map(Assert, contents.sound)]
        with m.If(self.chosen):
            m.d.comb += Assert(contents.at(self.ahead) == self.payload)


class Patience(wiring.Component):
    """A condition lasts for at most some clocks.

    Parameters
    ----------
    clocks : int

    Members
    -------
    waits : In(1)
    """

    def __init__(self, clocks):
        self._clocks = clocks
        super().__init__({"waits": In(1)})

    def elaborate(self, platform):
        m = Module()
        waited = Signal(range(self._clocks + 1))
        with m.If(self.waits):
            m.d.sync += waited.eq(waited + 1)
        with m.Else():
            m.d.sync += waited.eq(0)
        m.d.comb += Assert(~self.waits | (waited < self._clocks))
        return m
