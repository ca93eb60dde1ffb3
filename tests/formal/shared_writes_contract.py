"""The contract of a shared memory port, writes: a burst is not mixed, responses find their writer.

::

    writer 0 aw, w --.                                .--> b  writer 0
    writer 1 aw, w --+--> aw, w --> memory --> b -----+--> b  writer 1
           ...     --'                                '--> ...

- ``aw`` and then all its ``w`` up to ``last`` pass unchanged from one writer, in the same clock in
  which they are taken; no other writer's ``aw`` or ``w`` passes in between. All are held until
  taken.
- A response goes to the writer of the oldest burst without one, and to no other.
- It moves on: with a burst wanted, none open and fewer than `IN_FLIGHT` out, ``aw`` is valid in
  the next clock; words of an open burst pass at once; a response shows within 2 clocks.

Assumed: the memory responds to bursts that it has whole, once each.
Not promised: a place for every writer; the lowest index goes first.
"""

from amaranth.hdl import Assert, Assume, Cat, Cover, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from tests.formal import contents
from tests.formal.contents import Contents
from tests.formal.observers import Passage, Patience, assert_held, assume_held, taken
from tests.formal.probe import Probe

__all__ = ["SharedWritesContract"]

IN_FLIGHT = 64
"""Bursts that are remembered."""


class SharedWritesContract(wiring.Component):
    """The writers of a port arbiter and the assertions around them.

    Parameters
    ----------
    component : rtl.memory.PortArbiter
    writers : int
    inside : bool
        Add the invariants.

    Members
    -------
    ask : In(stream) array, put : In(stream) array, done : Out(stream) array
        ``aw``, ``w`` and ``b`` of the writers: one bit of the address, of the data, the error.
    aw, w : Out(stream), b : In(stream)
        The memory.
    choose : In(1)
        Chooses the burst whose response is followed.
    """

    def __init__(self, component, *, writers, inside=True):
        self._component = component
        self._writers = writers
        self._inside = inside
        word = data.StructLayout({"data": 1, "last": 1})
        super().__init__(
            {
                "ask": In(stream.Signature(1)).array(writers),
                "put": In(stream.Signature(word)).array(writers),
                "done": Out(stream.Signature(1)).array(writers),
                "aw": Out(stream.Signature(1)),
                "w": Out(stream.Signature(word)),
                "b": In(stream.Signature(1)),
                "choose": In(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        component = self._component
        probe = Probe(component)
        m.submodules.component = probe.fragment
        self._connect(m, component)
        for port in (*self.ask, *self.put, self.b):
            assume_held(m, port)
        for port in (self.aw, self.w, *self.done):
            assert_held(m, port)

        asked, ended = taken(self.aw), taken(self.w) & self.w.payload.last
        asks = Cat(taken(port) for port in self.ask)
        puts = Cat(taken(port) for port in self.put)
        open_, owner = Signal(), Signal(self._writers)
        self._unmixed(m, asks, puts, open_, owner)
        with m.If(asked):
            m.d.sync += [open_.eq(1), owner.eq(asks)]
        with m.Elif(ended):
            m.d.sync += open_.eq(0)

        whole = Signal(range(IN_FLIGHT + 2))  # bursts to be responded to
        m.d.sync += whole.eq(whole + ended - taken(self.b))
        m.d.comb += Assume(~self.b.valid | (whole != 0))

        shown = Cat(port.valid for port in self.done)
        m.submodules.responses = responses = Passage(self._writers, capacity=IN_FLIGHT)
        m.d.comb += [
            responses.choose.eq(self.choose),
            responses.enters.eq(asked),
            responses.i_payload.eq(asks),  # one of them
            responses.o_valid.eq(shown.any()),
            responses.leaves.eq(taken(self.b)),
            responses.o_payload.eq(shown),  # the same one, and no other
            Assert(taken(self.b) == Cat(taken(port) for port in self.done).any()),
            Assert(~shown.any() | self.b.valid),
            *[Assert(~port.valid | (port.payload == self.b.payload)) for port in self.done],
        ]

        wanted = Cat(port.valid for port in self.ask).any()
        room = responses.inside != IN_FLIGHT
        m.submodules.begins = begins = Patience(1)
        m.submodules.speaks = speaks = Patience(1)
        m.d.comb += [
            begins.waits.eq(wanted & ~open_ & room & ~self.aw.valid),
            speaks.waits.eq(self.b.valid & ~shown.any()),
        ]
        if self._inside:
            self._remembered(m, probe, responses, open_, owner, whole)
        return m

    def _connect(self, m, component):
        port = component.port
        m.d.comb += [
            self.aw.valid.eq(port.aw.valid),
            self.aw.payload.eq(port.aw.payload.address[0]),
            port.aw.ready.eq(self.aw.ready),
            self.w.valid.eq(port.w.valid),
            self.w.payload.data.eq(port.w.payload.data[0]),
            self.w.payload.last.eq(port.w.payload.last),
            port.w.ready.eq(self.w.ready),
            port.b.valid.eq(self.b.valid),
            port.b.payload.error.eq(self.b.payload),
            self.b.ready.eq(port.b.ready),
        ]
        for writer, ask, put, done in zip(component.writers, self.ask, self.put, self.done):
            m.d.comb += [
                writer.aw.valid.eq(ask.valid),
                writer.aw.payload.address.eq(ask.payload),
                ask.ready.eq(writer.aw.ready),
                writer.w.valid.eq(put.valid),
                writer.w.payload.data.eq(put.payload.data),
                writer.w.payload.last.eq(put.payload.last),
                put.ready.eq(writer.w.ready),
                done.valid.eq(writer.b.valid),
                done.payload.eq(writer.b.payload.error),
                writer.b.ready.eq(done.ready),
            ]

    def _unmixed(self, m, asks, puts, open_, owner):
        """What passes to the memory comes from one writer at a time."""
        m.d.comb += [
            Assert(taken(self.aw) == asks.any()),
            Assert((asks & (asks - 1)) == 0),
            Assert(taken(self.w) == puts.any()),
            Assert(~asks.any() | ~open_),
            Assert(~puts.any() | (open_ & (puts == owner))),
            Cover(puts.any() & self.w.payload.last & owner[-1]),
        ]
        for ask, put, mine in zip(self.ask, self.put, owner):
            m.d.comb += [
                Assert(~taken(ask) | (ask.payload == self.aw.payload)),
                Assert(~taken(put) | (put.payload == self.w.payload)),
                Assert(~(open_ & mine & put.valid) | self.w.valid),
            ]

    def _remembered(self, m, probe, responses, open_, owner, whole):
        """Whose the bursts are: a queue, the open one the youngest."""
        order = contents.queue(probe.inside("write_order"))
        _reader, who = probe.named("who")
        for writer in (who, *probe.rows("write_order.rows.storage")):
            m.d.comb += Assert(writer < self._writers)
        oldest = probe.inside("write_order").component.o
        m.d.comb += [
            Assert(~oldest.valid | (oldest.payload < self._writers)),
            Assert(order.level == whole + open_),
            Assert(open_ == probe.state("write_state", "DATA")),
            Assert(~open_ | (owner == 1 << who)),
            Assert(probe.in_a_state("write_state")),
        ]
        # decided, the writer waits for the memory: there is room to remember it
        with m.If(probe.state("write_state", "ADDRESS")):
            wanted = Cat(port.valid for port in self.ask)
            m.d.comb += Assert(probe.inside("write_order").component.i.ready)
            m.d.comb += Assert(wanted.bit_select(who, 1))
        responses.agrees(
            m,
            Contents(order.level, lambda place: 1 << order.at(place), order.sound),
        )
