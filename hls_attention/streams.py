"""Stream building blocks: queues, register slices, arbiters, packers.

Every component here keeps the stream contract: once valid, a payload is held until it is taken, and
valid never waits for ready (proved, see docs/formal.md). Payloads may have any shape.
"""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Arbiter", "Packer", "Queue", "SkidBuffer", "moves"]

DEEPEST_QUEUE = 512
"""Deeper queues are `hls_attention.verilog.Ram` business: each row costs conversion time."""


def moves(port):
    """A transfer takes place on a stream in this clock."""
    return port.valid & port.ready


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


class Packer(wiring.Component):
    """Packs consecutive payloads into one wide one. Latency 1 from the last, one narrow a clock.

    ::

        i.item  a b c d e f g h        o.items  [a b c d] [e f g h]
        i.meta  . . . 1 . . . 2        o.meta        1         2

    The wide payload waits in a register of its own while the next one is packed, so ``i`` runs at
    full rate if each is taken within ``count - 1`` clocks.

    Parameters
    ----------
    shape : ShapeLike
        One item.
    count : int
        Items of a wide payload, 2 or more.
    meta : ShapeLike, optional
        Shape of data that travel beside the items; those of the last item leave.

    Members
    -------
    i : In(stream), {item} and ``meta`` if given
        ``i.ready`` comes from registers.
    o : Out(stream), {items} and ``meta`` if given
        ``items`` is an array, the first in the lowest bits. ``o.valid`` and ``o.payload`` come from
        registers.
    """

    def __init__(self, shape, *, count, meta=None):
        if count < 2:
            raise ValueError(f"a packer of {count} items is not possible: it takes 2 or more")
        self._shape = shape
        self._count = count
        self._meta = meta
        beside = {} if meta is None else {"meta": meta}
        items = data.ArrayLayout(shape, count)
        super().__init__(
            {
                "i": In(stream.Signature(data.StructLayout({"item": shape, **beside}))),
                "o": Out(stream.Signature(data.StructLayout({"items": items, **beside}))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        place = Signal(range(self._count))
        packed = Signal(data.ArrayLayout(self._shape, self._count - 1))
        completes = Signal()
        items = Cat(packed, self.i.payload.item)
        m.d.comb += [
            completes.eq(place == self._count - 1),
            self.i.ready.eq(~completes | ~self.o.valid),
        ]
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(self.i.valid & self.i.ready):
            with m.If(completes):
                m.d.sync += [place.eq(0), self.o.valid.eq(1), self.o.payload.items.eq(items)]
                if self._meta is not None:
                    m.d.sync += self.o.payload.meta.eq(self.i.payload.meta)
            with m.Else():
                m.d.sync += [
                    place.eq(place + 1),
                    packed.eq(items[len(Value.cast(self.i.payload.item)) :]),
                ]
        return m
