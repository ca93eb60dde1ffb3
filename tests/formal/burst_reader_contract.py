"""The contract of a burst reader: requests in, bursts to the memory, their words out.

::

    i {address, words} --> reader --> ar {address, beats} --> memory
                              |                                 |
                o {data, last, error} <---------- r <-----------+

- The bursts of a request add up to it (`tests.formal.bursts`). ``ar`` is held until taken.
- A word that the memory offers is taken in the same clock: the reader never blocks its port.
- Every word leaves once, in order, unchanged; ``last`` is on the last word of a request, and on no
  other. ``o`` is held until taken and shows a word within 2 clocks.
- It moves on: ``i`` is ready when all is asked for; what is wanted is asked for in the same clock,
  while there is room for a longest burst and fewer than `IN_FLIGHT` bursts are out.

Assumed of the memory: it answers each burst's beats in order with ``last`` on the last of them, the
first 2 clocks after the burst was taken or later (behind a port arbiter, 3).
"""

from dataclasses import dataclass

from amaranth.hdl import Assert, Assume, Cat, Cover, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from rtl.memory import request_layout
from rtl.memory_port import burst_layout
from tests.formal import contents
from tests.formal.bursts import bursts_add_up
from tests.formal.contents import Contents
from tests.formal.observers import Passage, Patience, assert_held, assume_held, taken
from tests.formal.probe import Probe

__all__ = ["BurstReaderContract"]

IN_FLIGHT = 32
"""Bursts that are remembered."""

WORD = data.StructLayout({"data": 1, "last": 1, "error": 1})


@dataclass
class _Followed:
    """The followed word, until it comes from the memory.

    Attributes
    ----------
    followed : Value
    words_ahead, bursts_ahead : Value
        What the memory answers before it, of its own burst the words alone.
    nth : Value
        Words before it in its burst.
    is_last, final : Value
        It is the last of its burst; its burst is the last of its request.
    """

    followed: Value
    words_ahead: Value
    bursts_ahead: Value
    nth: Value
    is_last: Value
    final: Value


class BurstReaderContract(wiring.Component):
    """A burst reader and the assertions around it. One word of one burst is followed.

    Parameters
    ----------
    component : rtl.memory.BurstReader
    depth, burst : int
        Of the component.
    inside : bool
        Add the invariants.

    Members
    -------
    i : In(stream), ar : Out(stream)
        Of the component.
    o : Out(stream), r : In(stream)
        With one bit of data.
    choose : In(1), nth : In
        Follows the ``nth`` word of the burst that is taken now.
    """

    def __init__(self, component, *, depth, burst, inside=True):
        self._component = component
        self._depth = depth
        self._burst = burst
        self._inside = inside
        super().__init__(
            {
                "i": In(stream.Signature(request_layout())),
                "ar": Out(stream.Signature(burst_layout())),
                "r": In(stream.Signature(WORD)),
                "o": Out(stream.Signature(WORD)),
                "choose": In(1),
                "nth": In(range(burst)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        component = self._component
        probe = Probe(component)
        m.submodules.component = probe.fragment
        self._connect(m, component)
        assume_held(m, self.i)
        assume_held(m, self.r)
        assert_held(m, self.ar)
        assert_held(m, self.o)

        address, todo = bursts_add_up(m, self.i, self.ar, self._burst)
        # what the memory owes: words, bursts, and the words of a burst taken in the last clock
        owed, bursts = Signal(range(2 * self._depth)), Signal(range(2 * IN_FLIGHT))
        fresh = Signal.like(self.ar.payload.beats)
        beats = Mux(taken(self.ar), self.ar.payload.beats, 0)
        last = self.r.payload.last
        m.d.sync += [
            owed.eq(owed + beats - taken(self.r)),
            bursts.eq(bursts + taken(self.ar) - (taken(self.r) & last)),
            fresh.eq(beats),
        ]
        m.d.comb += [
            Assume(~self.r.valid | (owed > fresh)),
            Assume(~self.r.valid | (bursts != 0)),
            Assume(~self.r.valid | Mux(last & (bursts == 1), owed == 1, owed > bursts - last)),
            Assert((owed >= bursts) & ((owed == 0) == (bursts == 0))),
            Assert(~self.r.valid | self.r.ready),
        ]
        word = self._follow(m, todo, owed, bursts)
        m.submodules.passage = passage = Passage(len(Cat(self.o.payload)), capacity=self._depth)
        m.d.comb += [
            passage.choose.eq(word.followed & (word.words_ahead == 0)),
            passage.enters.eq(taken(self.r)),
            passage.i_payload.eq(
                Cat(self.r.payload.data, word.final & word.is_last, self.r.payload.error)
            ),
            passage.o_valid.eq(self.o.valid),
            passage.leaves.eq(taken(self.o)),
            passage.o_payload.eq(self.o.payload),
            Cover(passage.chosen & taken(self.o) & self.o.payload.last),
        ]
        room = owed + passage.inside + self._burst <= self._depth
        m.submodules.speaks = speaks = Patience(1)
        m.d.comb += [
            speaks.waits.eq((passage.inside != 0) & ~self.o.valid),
            Assert((todo == 0) | self.ar.valid | ~room | (bursts >= IN_FLIGHT - 1)),
            Assert(self.i.ready == (todo == 0)),
        ]
        if self._inside:
            m.d.comb += [Assert(probe["address"] == address), Assert(probe["left"] == todo)]
            self._accounts(m, probe, passage, owed, bursts, fresh, word)
        return m

    def _connect(self, m, component):
        wiring.connect(m, wiring.flipped(self.i), component.i)
        wiring.connect(m, component.port.ar, wiring.flipped(self.ar))
        r, o = component.port.r, component.o
        m.d.comb += [
            r.valid.eq(self.r.valid),
            r.payload.data.eq(self.r.payload.data),
            r.payload.last.eq(self.r.payload.last),
            r.payload.error.eq(self.r.payload.error),
            self.r.ready.eq(r.ready),
            self.o.valid.eq(o.valid),
            self.o.payload.data.eq(o.payload.data[0]),
            self.o.payload.last.eq(o.payload.last),
            self.o.payload.error.eq(o.payload.error),
            o.ready.eq(self.o.ready),
        ]

    def _follow(self, m, todo, owed, bursts):
        """A word of a burst, from when the burst is asked for; the memory keeps its place."""
        word = _Followed(
            followed=Signal(name="followed"),
            words_ahead=Signal.like(owed, name="words_ahead"),
            bursts_ahead=Signal.like(bursts, name="bursts_ahead"),
            nth=Signal.like(self.nth, name="nth_followed"),
            is_last=Signal(name="is_last"),
            final=Signal(name="final"),
        )
        asked, last, comes = self.ar.payload, self.r.payload.last, taken(self.r)
        with m.If(~word.followed & taken(self.ar) & self.choose & (self.nth < asked.beats)):
            m.d.sync += [
                word.followed.eq(1),
                word.words_ahead.eq(owed - comes + self.nth),
                word.bursts_ahead.eq(bursts - (comes & last)),
                word.nth.eq(self.nth),
                word.is_last.eq(self.nth == asked.beats - 1),
                word.final.eq(asked.beats == todo),
            ]
        before = Signal(range(-(1 << len(word.nth)), 1 << len(owed)))  # words of bursts ahead
        m.d.comb += before.eq(word.words_ahead - word.nth)
        with m.If(word.followed):
            m.d.comb += [
                Assert(word.words_ahead < owed),
                Assert(word.bursts_ahead < bursts),
                Assert((word.bursts_ahead == 0) == (before <= 0)),
                Assert((before <= 0) | (word.bursts_ahead <= before)),
            ]
            with m.If(comes):
                m.d.sync += word.words_ahead.eq(word.words_ahead - 1)
                m.d.sync += word.bursts_ahead.eq(word.bursts_ahead - last)
            with m.If(self.r.valid):
                with m.If(before > 0):
                    # each burst ahead has a last word, and words left until then
                    ends_them = last & (word.bursts_ahead == 1)
                    m.d.comb += Assume(ends_them == (before == 1))
                    m.d.comb += Assume(last | (before > word.bursts_ahead))
                with m.Elif(word.words_ahead != 0):
                    m.d.comb += Assume(~last)
                with m.Else():
                    m.d.comb += Assume(last == word.is_last)
                    m.d.sync += word.followed.eq(~comes)
        return word

    def _accounts(self, m, probe, passage, owed, bursts, fresh, word):
        """Words are reserved when asked for; the ends of requests wait in a queue of bursts."""
        words = contents.queue(probe.inside("words"))
        ends = contents.queue(probe.inside("ends"))

        def at(place):
            contained = words.at(place)
            return Cat(contained[0], contained[64:])

        passage.agrees(m, Contents(words.level, at, words.sound))
        m.d.comb += [
            *map(Assert, ends.sound),
            Assert(ends.level == bursts),
            Assert(probe["reserved"] == owed + passage.inside),
            Assert(probe["reserved"] <= self._depth),
            Assert(~word.followed | (ends.at(word.bursts_ahead)[0] == word.final)),
            # an end shows by the time its words may come
            Assert(probe.inside("ends").component.o.valid | (bursts == (fresh != 0))),
        ]
        with m.If(probe["asking"]):
            m.d.comb += Assert(probe["reserved"] + self.ar.payload.beats <= self._depth)
            m.d.comb += Assert((probe["left"] != 0) & (bursts < IN_FLIGHT))
