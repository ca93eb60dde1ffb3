"""Movers between streams and a memory port: burst reader, burst writer, and the port arbiter.

::

    request {address, words} -> BurstReader -> o {data, last}    (never blocks the shared r stream)
    request {address, words} + data -> BurstWriter -> done {error}
    port 0, port 1, ... -> PortArbiter -> port                   (responses in order)

A `BurstReader` asks only for what its queue has room for, so readers that share a port cannot block
each other: a stalled consumer stalls itself alone.
"""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import ceil_log2, exact_log2

from hls_attention.streams import Queue

from .memory_port import ADDRESS_BITS, BURST_BEATS, MemoryPortSignature, burst_layout

__all__ = [
    "WORDS_BITS",
    "BurstReader",
    "BurstWriter",
    "PortArbiter",
    "request_layout",
    "word_layout",
]

WORDS_BITS = 20
"""Words of one request, at most 2**20 - 1 (8 MiB)."""


def request_layout():
    """A transfer: byte address (8-byte aligned) and 64-bit words (1 or more)."""
    return data.StructLayout({"address": ADDRESS_BITS, "words": WORDS_BITS})


def word_layout():
    """One word read; ``last`` ends its request."""
    return data.StructLayout({"data": 64, "last": 1, "error": 1})


def _chunk(m, address, words, limit):
    """Words up to the next 4096-byte boundary, ``limit`` at most; words of the next burst."""
    bits = exact_log2(limit)
    place = address[3:12]
    bounded = Signal(range(limit + 1))
    chunk = Signal(9)
    # The boundary can be too near only in the last ``limit`` words before it.
    m.d.comb += bounded.eq(Mux(place[bits:].all(), limit - place[:bits], limit))
    m.d.comb += chunk.eq(Mux(words < bounded, words, bounded))
    return bounded, chunk


class BurstReader(wiring.Component):
    """Reads requests, one after the other, as a stream of words.

    Parameters
    ----------
    depth : int
        Words of the queue; bursts in flight never exceed its free space.
    burst : int
        Longest burst in words, a power of 2.

    Members
    -------
    i : In(stream), ``request_layout()``
    o : Out(stream), ``word_layout()``
    port : Out(MemoryPortSignature), only ``ar`` and ``r`` are used
    still : Out(1), as ``quiet`` if no word is taken; known before ``o.ready``
    quiet : Out(1), nothing in flight and nothing to ask for
    """

    def __init__(self, *, depth, burst=64):
        most = min(depth, BURST_BEATS)
        if not 1 <= burst <= most or burst & (burst - 1):
            raise ValueError(f"burst must be a power of 2, 1..{most}, not {burst}")
        self._depth = depth
        self._burst = burst
        super().__init__(
            {
                "i": In(stream.Signature(request_layout())),
                "o": Out(stream.Signature(word_layout())),
                "port": Out(MemoryPortSignature()),
                "still": Out(1),
                "quiet": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.words = words = Queue(word_layout(), depth=self._depth)
        # per burst in flight: is it its request's last
        m.submodules.ends = ends = Queue(1, depth=32)

        address = Signal(ADDRESS_BITS)
        left = Signal(WORDS_BITS)
        reserved = Signal(range(self._depth + 1))
        bounded, chunk = _chunk(m, address, left, self._burst)
        free = Signal.like(reserved)

        m.d.comb += [
            self.i.ready.eq(left == 0),
            self.port.ar.payload.address.eq(address),
            self.port.ar.payload.beats.eq(chunk),
            ends.i.payload.eq(left == chunk),
        ]
        asking = Signal()  # holds ar valid, as the stream rules want, once it was raised
        room = Signal()
        m.d.comb += [  # for `chunk`, the smaller of the two
            free.eq(self._depth - reserved),
            room.eq((left <= free) | (bounded <= free)),
        ]
        m.d.comb += self.port.ar.valid.eq((left != 0) & (asking | (room & ends.i.ready)))
        m.d.sync += asking.eq(self.port.ar.valid & ~self.port.ar.ready)
        issued = Signal()
        m.d.comb += [issued.eq(self.port.ar.valid & self.port.ar.ready), ends.i.valid.eq(issued)]

        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [address.eq(self.i.payload.address), left.eq(self.i.payload.words)]
        with m.If(issued):
            m.d.sync += [address.eq(address + (chunk << 3)), left.eq(left - chunk)]

        taken = Signal()
        m.d.comb += [
            words.i.valid.eq(self.port.r.valid),
            words.i.payload.data.eq(self.port.r.payload.data),
            words.i.payload.error.eq(self.port.r.payload.error),
            words.i.payload.last.eq(self.port.r.payload.last & ends.o.payload),
            self.port.r.ready.eq(words.i.ready),
            ends.o.ready.eq(self.port.r.valid & words.i.ready & self.port.r.payload.last),
            taken.eq(self.o.valid & self.o.ready),
        ]
        with m.If(issued | taken):
            m.d.sync += reserved.eq(reserved + Mux(issued, chunk, 0) - taken)
        connect(m, words.o, flipped(self.o))
        m.d.comb += [
            self.still.eq(
                ~self.port.ar.valid
                & (reserved == words.level)
                & ~(self.i.valid & self.i.ready)
                & ((reserved == 0) | self.o.valid)
            ),
            self.quiet.eq(self.still & ~taken),
        ]
        return m


class BurstWriter(wiring.Component):
    """Writes requests, one after the other, from a stream of words.

    Parameters
    ----------
    burst : int
        Most words of a burst, a power of 2.
    posted : bool
        Take the next request before this one's bursts are answered; there is no ``done`` then, but
        ``settled``.

    Members
    -------
    i : In(stream), ``request_layout()`` and ``strobe`` (byte enables of every word)
    i_data : In(stream), 64 bits
    done : Out(stream), {error}: all bursts of the request are answered
    settled : Out(1), every burst sent so far is answered
    failed : Out(1), the answer of this clock says that a write failed
    port : Out(MemoryPortSignature), only ``aw``, ``w`` and ``b`` are used
    quiet : Out(1)
    """

    def __init__(self, *, burst=64, posted=False):
        if not 1 <= burst <= BURST_BEATS or burst & (burst - 1):
            raise ValueError(f"burst must be a power of 2, 1..{BURST_BEATS}, not {burst}")
        self._burst = burst
        self._posted = posted
        super().__init__(
            {
                "i": In(
                    stream.Signature(
                        data.StructLayout(
                            {"address": ADDRESS_BITS, "words": WORDS_BITS, "strobe": 8}
                        )
                    )
                ),
                "i_data": In(stream.Signature(64)),
                "done": Out(stream.Signature(data.StructLayout({"error": 1}))),
                "settled": Out(1),
                "failed": Out(1),
                "port": Out(MemoryPortSignature()),
                "quiet": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        address = Signal(ADDRESS_BITS)
        left = Signal(WORDS_BITS)
        strobe = Signal(8)
        beats = Signal(9)
        pending = Signal(8)
        error = Signal()
        _, chunk = _chunk(m, address, left, self._burst)
        port = self.port

        m.d.comb += [
            port.aw.payload.address.eq(address),
            port.aw.payload.beats.eq(chunk),
            port.w.payload.data.eq(self.i_data.payload),
            port.w.payload.strobe.eq(strobe),
            port.w.payload.last.eq(beats == 1),
            port.b.ready.eq(1),
            self.done.payload.error.eq(error),
        ]
        issued = Signal()
        with m.FSM(name="state"):
            with m.State("IDLE"):
                m.d.comb += self.i.ready.eq(1)
                m.d.comb += self.quiet.eq(~self.i.valid & (pending == 0))
                with m.If(self.i.valid):
                    m.d.sync += [
                        address.eq(self.i.payload.address),
                        left.eq(self.i.payload.words),
                        strobe.eq(self.i.payload.strobe),
                        error.eq(0),
                    ]
                    m.next = "ADDRESS"
            with m.State("ADDRESS"):
                # Only with its data at hand, so that a shared port is not held by a waiting writer.
                m.d.comb += [
                    port.aw.valid.eq(self.i_data.valid),
                    self.quiet.eq(~self.i_data.valid & (pending == 0)),
                ]
                with m.If(port.aw.valid & port.aw.ready):
                    m.d.comb += issued.eq(1)
                    m.d.sync += [
                        address.eq(address + (chunk << 3)),
                        left.eq(left - chunk),
                        beats.eq(chunk),
                    ]
                    m.next = "DATA"
            with m.State("DATA"):
                m.d.comb += [
                    port.w.valid.eq(self.i_data.valid),
                    self.i_data.ready.eq(port.w.ready),
                ]
                with m.If(self.i_data.valid & port.w.ready):
                    m.d.sync += beats.eq(beats - 1)
                    with m.If(beats == 1):
                        with m.If(left == 0):
                            m.next = "IDLE" if self._posted else "RESPONSE"
                        with m.Else():
                            m.next = "ADDRESS"
            with m.State("RESPONSE"):
                with m.If(pending == 0):
                    m.d.comb += self.done.valid.eq(1)
                    with m.If(self.done.ready):
                        m.next = "IDLE"
        with m.If(issued | port.b.valid):
            m.d.sync += pending.eq(pending + issued - port.b.valid)
        m.d.comb += [
            self.settled.eq(pending == 0),
            self.failed.eq(port.b.valid & port.b.payload.error),
        ]
        with m.If(self.failed):
            m.d.sync += error.eq(1)
        return m


class PortArbiter(wiring.Component):
    """Lets several askers share one memory port; fixed priority, lowest index first.

    Parameters
    ----------
    readers, writers : int
        Ports of which only the read (or only the write) streams are used.

    Members
    -------
    readers : In(MemoryPortSignature).array(readers)
    writers : In(MemoryPortSignature).array(writers)
    port : Out(MemoryPortSignature)
    quiet : Out(1), no read in flight
    """

    def __init__(self, *, readers, writers):
        self._readers = readers
        self._writers = writers
        super().__init__(
            {
                "readers": In(MemoryPortSignature()).array(readers),
                "writers": In(MemoryPortSignature()).array(writers),
                "port": Out(MemoryPortSignature()),
                "quiet": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        self._reads(m)
        self._writes(m)
        return m

    def _reads(self, m):
        port = self.port
        bits = max(1, ceil_log2(self._readers))
        m.submodules.read_order = order = Queue(bits, depth=64)
        asks = Signal(burst_layout())
        held = Signal()
        who = Signal(bits)
        # One register between the askers and the port keeps ar stable and cuts the ready chain.
        with m.If(~held & order.i.ready):
            for index in reversed(range(self._readers)):
                ar = self.readers[index].ar
                with m.If(ar.valid):
                    m.d.sync += [asks.eq(ar.payload), who.eq(index), held.eq(1)]
            for index in range(self._readers):
                earlier = Cat(self.readers[i].ar.valid for i in range(index))
                m.d.comb += self.readers[index].ar.ready.eq(~earlier.any() if index else 1)
        m.d.comb += [
            port.ar.valid.eq(held),
            port.ar.payload.eq(asks),
            order.i.valid.eq(held & port.ar.ready),
            order.i.payload.eq(who),
        ]
        with m.If(held & port.ar.ready):
            m.d.sync += held.eq(0)
        for index in range(self._readers):
            r = self.readers[index].r
            m.d.comb += r.payload.eq(port.r.payload)
            with m.If(order.o.valid & (order.o.payload == index)):
                m.d.comb += [r.valid.eq(port.r.valid), port.r.ready.eq(r.ready)]
        m.d.comb += order.o.ready.eq(port.r.valid & port.r.ready & port.r.payload.last)
        m.d.comb += self.quiet.eq(~held & ~order.o.valid)

    def _writes(self, m):
        port = self.port
        bits = max(1, ceil_log2(self._writers))
        m.submodules.write_order = order = Queue(bits, depth=64)
        who = Signal(bits)
        with m.FSM(name="write_state"):
            with m.State("FREE"):
                with m.If(order.i.ready):
                    for index in reversed(range(self._writers)):
                        with m.If(self.writers[index].aw.valid):
                            m.d.sync += who.eq(index)
                            m.next = "ADDRESS"
            with m.State("ADDRESS"):
                for index in range(self._writers):
                    with m.If(who == index):
                        aw = self.writers[index].aw
                        m.d.comb += [
                            port.aw.valid.eq(aw.valid),
                            port.aw.payload.eq(aw.payload),
                            aw.ready.eq(port.aw.ready),
                        ]
                with m.If(port.aw.valid & port.aw.ready):
                    m.d.comb += [order.i.valid.eq(1), order.i.payload.eq(who)]
                    m.next = "DATA"
            with m.State("DATA"):
                for index in range(self._writers):
                    with m.If(who == index):
                        w = self.writers[index].w
                        m.d.comb += [
                            port.w.valid.eq(w.valid),
                            port.w.payload.eq(w.payload),
                            w.ready.eq(port.w.ready),
                        ]
                with m.If(port.w.valid & port.w.ready & port.w.payload.last):
                    m.next = "FREE"
        for index in range(self._writers):
            b = self.writers[index].b
            m.d.comb += b.payload.eq(port.b.payload)
            with m.If(order.o.valid & (order.o.payload == index)):
                m.d.comb += [b.valid.eq(port.b.valid), port.b.ready.eq(b.ready)]
        m.d.comb += order.o.ready.eq(port.b.valid & port.b.ready)
