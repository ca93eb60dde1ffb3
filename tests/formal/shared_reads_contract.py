"""The contract of a shared memory port, reads: data come back to the reader that asked, in order.

::

    reader 0 ar --.                              .--> r  reader 0
    reader 1 ar --+--> ar --> memory --> r ------+--> r  reader 1
          ...   --'                              '--> ...

- A burst leaves to the memory once, unchanged, in order; ``ar`` is valid in the next clock, and
  held until taken.
- The memory's words go to the reader of the oldest burst without an answer, up to ``last``, and to
  no other; each reader's ``r`` is held until taken.
- It moves on: a burst is taken while fewer than `IN_FLIGHT` are out and ``ar`` is free; a word
  shows at its reader within 2 clocks.
- After two quiet clocks nothing is in flight.

Assumed: the memory answers bursts in order, and none before the clock after it was asked.
Not promised: a place for every reader; the lowest index goes first.
"""

from amaranth.hdl import Assert, Assume, Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from tests.formal import contents
from tests.formal.contents import Contents
from tests.formal.observers import Passage, Patience, assert_held, assume_held, taken
from tests.formal.probe import Probe

__all__ = ["SharedReadsContract"]

IN_FLIGHT = 64
"""Bursts that are remembered."""


def word_layout():
    """One bit of data, and what ends a burst."""
    return data.StructLayout({"data": 1, "last": 1})


class SharedReadsContract(wiring.Component):
    """The readers of a port arbiter and the assertions around them.

    Parameters
    ----------
    component : rtl.memory.PortArbiter
    readers : int
    inside : bool
        Add the invariants.

    Members
    -------
    ask : In(stream) array
        ``ar`` of the readers: one bit of the address.
    get : Out(stream) array
        ``r`` of the readers.
    ar : Out(stream), r : In(stream)
        The memory.
    choose_burst, choose_answer : In(1)
        Choose the transfers that are followed.
    """

    def __init__(self, component, *, readers, inside=True):
        self._component = component
        self._readers = readers
        self._inside = inside
        super().__init__(
            {
                "ask": In(stream.Signature(1)).array(readers),
                "get": Out(stream.Signature(word_layout())).array(readers),
                "ar": Out(stream.Signature(1)),
                "r": In(stream.Signature(word_layout())),
                "choose_burst": In(1),
                "choose_answer": In(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        component = self._component
        probe = Probe(component)
        m.submodules.component = probe.fragment
        self._connect(m, component)
        for ask, get in zip(self.ask, self.get):
            assume_held(m, ask)
            assert_held(m, get)
        assume_held(m, self.r)
        assert_held(m, self.ar)

        asks = Cat(taken(ask) for ask in self.ask)
        shown = Cat(get.valid for get in self.get)
        asked, answered = taken(self.ar), taken(self.r) & self.r.payload.last
        out = Signal(range(IN_FLIGHT + 2))  # bursts that the memory has not answered
        m.d.sync += out.eq(out + asked - answered)
        m.d.comb += Assume(~self.r.valid | (out != 0))

        m.submodules.bursts = bursts = Passage(1, capacity=1)
        m.submodules.answers = answers = Passage(self._readers, capacity=IN_FLIGHT)
        address = sum(taken(ask) & ask.payload for ask in self.ask)
        m.d.comb += [
            bursts.choose.eq(self.choose_burst),
            bursts.enters.eq(asks.any()),
            bursts.i_payload.eq(address),
            bursts.o_valid.eq(self.ar.valid),
            bursts.leaves.eq(asked),
            bursts.o_payload.eq(self.ar.payload),
            Assert(self.ar.valid == bursts.inside),
            answers.choose.eq(self.choose_answer),
            answers.enters.eq(asks.any()),
            answers.i_payload.eq(asks),  # one of them
            answers.o_valid.eq(shown.any()),
            answers.leaves.eq(answered),
            answers.o_payload.eq(shown),  # the same one, and no other
            Assert(_at_most_one(asks)),
        ]
        got = Cat(taken(get) for get in self.get)
        m.d.comb += [
            Assert(taken(self.r) == got.any()),
            Assert(~shown.any() | self.r.valid),
            *[Assert(~get.valid | (get.payload == self.r.payload)) for get in self.get],
        ]

        wanted = Cat(ask.valid for ask in self.ask).any()
        m.submodules.speaks = speaks = Patience(1)
        m.d.comb += [
            Assert(asks.any() | ~wanted | self.ar.valid | (answers.inside == IN_FLIGHT)),
            speaks.waits.eq(self.r.valid & ~shown.any()),
        ]
        was_quiet = Signal()
        m.d.sync += was_quiet.eq(component.quiet)
        m.d.comb += Assert(~(was_quiet & component.quiet) | (answers.inside == 0))
        if self._inside:
            self._remembered(m, probe, bursts, answers, out)
        return m

    def _connect(self, m, component):
        m.d.comb += [
            self.ar.valid.eq(component.port.ar.valid),
            self.ar.payload.eq(component.port.ar.payload.address[0]),
            component.port.ar.ready.eq(self.ar.ready),
            component.port.r.valid.eq(self.r.valid),
            component.port.r.payload.data.eq(self.r.payload.data),
            component.port.r.payload.last.eq(self.r.payload.last),
            self.r.ready.eq(component.port.r.ready),
        ]
        for reader, ask, get in zip(component.readers, self.ask, self.get):
            m.d.comb += [
                reader.ar.valid.eq(ask.valid),
                reader.ar.payload.address.eq(ask.payload),
                ask.ready.eq(reader.ar.ready),
                get.valid.eq(reader.r.valid),
                get.payload.data.eq(reader.r.payload.data),
                get.payload.last.eq(reader.r.payload.last),
                reader.r.ready.eq(get.ready),
            ]

    def _remembered(self, m, probe, bursts, answers, out):
        """Whose the bursts are: a queue of those asked, then the one in the register."""
        order = contents.queue(probe.inside("read_order"))
        held = probe["held"]
        who, _writer = probe.named("who")
        m.d.comb += Assert(order.level == out)
        m.d.comb += Assert(~held | probe.inside("read_order").component.i.ready)
        for reader in (who, *probe.rows("read_order.rows.storage")):
            m.d.comb += Assert(reader < self._readers)
        oldest = probe.inside("read_order").component.o
        m.d.comb += Assert(~oldest.valid | (oldest.payload < self._readers))
        bursts.agrees(m, contents.ranks([(held, probe["asks"][0])]))
        answers.agrees(
            m,
            Contents(
                level=order.level + held,
                at=lambda place: 1 << Mux(place < order.level, order.at(place), who),
                sound=order.sound,
            ),
        )


def _at_most_one(bits):
    return (bits & (bits - 1)) == 0
