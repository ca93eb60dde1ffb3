"""The contract of a burst writer: requests and their words in, bursts to the memory, one answer.

::

    i {address, words, strobe} --.
    i_data -----------------------+--> writer --> aw, w --> memory --> b --> done {error}

- The bursts of a request add up to it (`tests.formal.bursts`); each is followed by its words.
- A word passes in the clock in which it is taken, with the request's strobe; ``last`` is on the
  last word of each burst. ``aw``, ``w`` and ``done`` are held until taken.
- ``done`` comes once per request, when all its bursts are answered; ``error`` if one of them
  failed.
- It moves on: ``i`` is ready when no request is open; with a word at hand, ``aw`` or ``w`` is
  valid; responses are always taken, and ``done`` is valid when none is missing.

Assumed of the memory: it responds to bursts it has whole, and holds `IN_FLIGHT` at most.
"""

from amaranth.hdl import Assert, Assume, Cover, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from rtl.memory_port import burst_layout
from tests.formal.bursts import bursts_add_up
from tests.formal.observers import assert_held, assume_held, taken
from tests.formal.probe import Probe

__all__ = ["BurstWriterContract"]

IN_FLIGHT = 64
"""What a port arbiter lets through."""


class BurstWriterContract(wiring.Component):
    """A burst writer and the assertions around it.

    Parameters
    ----------
    component : rtl.memory.BurstWriter
    burst : int
    inside : bool
        Add the invariants.

    Members
    -------
    i, aw, done
        Of the component.
    i_data, w, b
        With one bit of data.
    """

    def __init__(self, component, *, burst, inside=True):
        self._component = component
        self._burst = burst
        self._inside = inside
        word = data.StructLayout({"data": 1, "strobe": 8, "last": 1})
        super().__init__(
            {
                "i": In(component.i.signature.flip()),
                "i_data": In(stream.Signature(1)),
                "aw": Out(stream.Signature(burst_layout())),
                "w": Out(stream.Signature(word)),
                "b": In(stream.Signature(1)),
                "done": Out(component.done.signature),
            }
        )

    def elaborate(self, platform):
        m = Module()
        component = self._component
        probe = Probe(component)
        m.submodules.component = probe.fragment
        self._connect(m, component)
        for port in (self.i, self.i_data, self.b):
            assume_held(m, port)
        for port in (self.aw, self.w, self.done):
            assert_held(m, port)

        address, todo = bursts_add_up(m, self.i, self.aw, self._burst)
        open_, strobe, failed = Signal(), Signal(8), Signal()
        beats = Signal.like(self.aw.payload.beats)  # of the open burst, to be sent
        missing, whole = Signal(range(2 * IN_FLIGHT)), Signal(range(2 * IN_FLIGHT))  # responses
        with m.If(taken(self.i)):
            m.d.sync += [open_.eq(1), strobe.eq(self.i.payload.strobe), failed.eq(0)]
        with m.Elif(taken(self.done)):
            m.d.sync += open_.eq(0)
        with m.If(taken(self.aw)):
            m.d.sync += beats.eq(self.aw.payload.beats)
        with m.Elif(taken(self.w)):
            m.d.sync += beats.eq(beats - 1)
        with m.If(taken(self.b) & self.b.payload):
            m.d.sync += failed.eq(1)
        ended = taken(self.w) & self.w.payload.last
        m.d.sync += [
            missing.eq(missing + taken(self.aw) - taken(self.b)),
            whole.eq(whole + ended - taken(self.b)),
        ]
        m.d.comb += [
            Assume(~self.b.valid | (whole != 0)),
            Assume(~self.aw.ready | (missing < IN_FLIGHT)),
            Assert(missing == whole + (beats != 0)),
            Assert(missing <= IN_FLIGHT),
        ]
        asks, puts = todo != 0, beats != 0
        m.d.comb += [
            Assert(self.i.ready == ~open_),
            Assert(open_ | ~(asks | puts)),
            Assert(self.aw.valid == (asks & ~puts & self.i_data.valid)),
            Assert(self.w.valid == (puts & self.i_data.valid)),
            Assert(taken(self.w) == taken(self.i_data)),
            Assert(~self.w.valid | (self.w.payload.data == self.i_data.payload)),
            Assert(~self.w.valid | (self.w.payload.strobe == strobe)),
            Assert(~self.w.valid | (self.w.payload.last == (beats == 1))),
            Assert(self.b.ready),
            Assert(self.done.valid == (open_ & ~asks & ~puts & (missing == 0))),
            Assert(~self.done.valid | (self.done.payload.error == failed)),
            Cover(taken(self.done) & failed),
        ]
        if self._inside:
            sends = probe.state("state", "DATA")
            m.d.comb += [
                Assert(probe.in_a_state("state")),
                Assert(probe.state("state", "IDLE") == ~open_),
                Assert(probe.state("state", "ADDRESS") == (asks & ~puts)),
                Assert(sends == puts),
                Assert(probe["address"] == address),
                Assert(probe["left"] == todo),
                Assert(~sends | (probe["beats"] == beats)),
                Assert(probe["pending"] == missing),
                Assert(~open_ | (probe["strobe"] == strobe)),
                Assert(~open_ | (probe["error"] == failed)),
                Assert(open_ | (missing == 0)),
            ]
        return m

    def _connect(self, m, component):
        wiring.connect(m, wiring.flipped(self.i), component.i)
        wiring.connect(m, component.port.aw, wiring.flipped(self.aw))
        wiring.connect(m, component.done, wiring.flipped(self.done))
        w, b = component.port.w, component.port.b
        m.d.comb += [
            component.i_data.valid.eq(self.i_data.valid),
            component.i_data.payload.eq(self.i_data.payload),
            self.i_data.ready.eq(component.i_data.ready),
            self.w.valid.eq(w.valid),
            self.w.payload.data.eq(w.payload.data[0]),
            self.w.payload.strobe.eq(w.payload.strobe),
            self.w.payload.last.eq(w.payload.last),
            w.ready.eq(self.w.ready),
            b.valid.eq(self.b.valid),
            b.payload.error.eq(self.b.payload),
            self.b.ready.eq(b.ready),
        ]
