"""Stream building blocks: queues, register slices, arbiters.

Every component here keeps the stream contract: once valid, a payload is held until it is taken, and
valid never waits for ready. Payloads may have any shape.
"""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import fifo, stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Arbiter", "Queue", "SkidBuffer"]

DEEPEST_QUEUE = 512
"""Deeper queues are `hls_attention.verilog.Ram` business: each row costs conversion time."""


class SkidBuffer(wiring.Component):
    """Register slice of depth 2: cuts valid, payload and ready. Latency 1, one transfer a clock.

    Parameters
    ----------
    shape : ShapeLike
        Payload.

    Members
    -------
    i : In(stream)
        ``i.ready`` comes from a register.
    o : Out(stream)
        ``o.valid`` and ``o.payload`` come from registers.
    """

    def __init__(self, shape):
        self._shape = shape
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})

    def elaborate(self, platform):
        m = Module()
        held = Signal()
        kept = Signal(self._shape)
        m.d.comb += self.i.ready.eq(~held)
        with m.If(self.o.ready | ~self.o.valid):
            m.d.sync += [self.o.valid.eq(self.i.valid | held), held.eq(0)]
            with m.If(held):
                m.d.sync += self.o.payload.eq(kept)
            with m.Elif(self.i.valid):
                m.d.sync += self.o.payload.eq(self.i.payload)
        with m.Elif(self.i.valid & ~held):
            m.d.sync += [held.eq(1), kept.eq(self.i.payload)]
        return m


class Queue(wiring.Component):
    """First in, first out. Latency 2, one transfer a clock, registered output.

    Parameters
    ----------
    shape : ShapeLike
        Payload.
    depth : int
        Entries, 2..512.

    Members
    -------
    i : In(stream)
    o : Out(stream)
    level : Out(range(depth + 1))
        Entries held, the one at the output included.
    """

    def __init__(self, shape, *, depth):
        if not 2 <= depth <= DEEPEST_QUEUE:
            raise ValueError(
                f"a queue of depth {depth} is not possible: choose 2..{DEEPEST_QUEUE}, "
                f"or build a deeper one from Ram"
            )
        self._shape = shape
        self._depth = depth
        super().__init__(
            {
                "i": In(stream.Signature(shape)),
                "o": Out(stream.Signature(shape)),
                "level": Out(range(depth + 1)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        width = len(Value.cast(self.i.payload))
        m.submodules.rows = rows = fifo.SyncFIFOBuffered(width=width, depth=self._depth)
        m.d.comb += [
            rows.w_data.eq(self.i.payload),
            rows.w_en.eq(self.i.valid),
            self.i.ready.eq(rows.w_rdy),
            Value.cast(self.o.payload).eq(rows.r_data),
            self.o.valid.eq(rows.r_rdy),
            rows.r_en.eq(self.o.ready),
            self.level.eq(rows.level),
        ]
        return m


class Arbiter(wiring.Component):
    """Round robin of several streams into one, with a registered output. Latency 1.

    Parameters
    ----------
    shape : ShapeLike
        Payload.
    inputs : int
        Streams, 1 or more.
    last : callable or None
        Given a payload, tells whether it ends a burst. A port keeps the grant until the end of its
        burst. None: every transfer is a burst.

    Members
    -------
    i : In(stream) array
    o : Out(stream)
    source : Out
        Which port the payload at ``o`` came from.
    """

    def __init__(self, shape, *, inputs, last=None):
        if inputs < 1:
            raise ValueError(f"an arbiter of {inputs} inputs is not possible: it takes 1 or more")
        self._inputs = inputs
        self._last = last
        super().__init__(
            {
                "i": In(stream.Signature(shape)).array(inputs),
                "o": Out(stream.Signature(shape)),
                "source": Out(range(max(2, inputs))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        inputs = self._inputs
        valid = Signal(inputs)
        recent = Signal(range(max(2, inputs)))  # a switch over no bits has no case that matches
        locked = Signal()
        grant = Signal(range(max(2, inputs)))
        free = Signal()
        m.d.comb += [
            valid.eq(Cat(port.valid for port in self.i)),
            free.eq(self.o.ready | ~self.o.valid),
            grant.eq(recent),
        ]
        with m.If(~locked):
            with m.Switch(recent):
                for last_granted in range(inputs):
                    with m.Case(last_granted):
                        # Later assignments win, so the nearest successor comes last.
                        for distance in range(inputs, 0, -1):
                            port = (last_granted + distance) % inputs
                            with m.If(valid[port]):
                                m.d.comb += grant.eq(port)
        with m.If(free):
            m.d.sync += self.o.valid.eq(0)
        with m.Switch(grant):
            for index, port in enumerate(self.i):
                with m.Case(index):
                    m.d.comb += port.ready.eq(free)
                    with m.If(free & port.valid):
                        ends = 1 if self._last is None else self._last(port.payload)
                        m.d.sync += [
                            self.o.valid.eq(1),
                            self.o.payload.eq(port.payload),
                            self.source.eq(index),
                            recent.eq(index),
                            locked.eq(Mux(ends, 0, 1)),
                        ]
        return m
