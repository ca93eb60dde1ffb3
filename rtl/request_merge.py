"""The request merge: requests of three walkers for the channels and for the tail.

::

    dense   --+--> channel 0 .. n-1    in the order in which they are taken
    columns --+
    tokens  --+--> tail reader         likewise; columns and tokens one at a time, by grant

The tail reader gives words to a channel in the order of the tail's requests, and the channel wants
them in the order of its own: so of a request for the tail both halves must be in before another
walker makes one. A walker that asks has the tail until it asks no more. The dense walker does not
ask: it and the others never walk at the same time.
"""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hls_attention.streams import Arbiter, moves

from .pages.requests import page_request_layout
from .walker import tail_request_layout

__all__ = ["RequestMerge"]

WALKERS = ("dense", "columns", "tokens")
ASKERS = ("columns", "tokens")


class RequestMerge(wiring.Component):
    """Merges the requests of walkers. Latency 1, a request a clock.

    Parameters
    ----------
    geometry : flash_model.geometry.Geometry

    Members
    -------
    dense, columns, tokens : In(stream).array(channels), ``page_request_layout()``
    dense_tail, columns_tail, tokens_tail : In(stream), ``tail_request_layout()``
    columns_ask, tokens_ask : In(1)
        The walker wants the tail. Low for a clock between two requests for it.
    columns_grant, tokens_grant : Out(1)
        It has it. From registers; the columns come first.
    o : Out(stream).array(channels), ``page_request_layout()``
    o_tail : Out(stream), ``tail_request_layout()``
    quiet : Out(1)
    """

    def __init__(self, geometry):
        self._pages = page_request_layout(geometry.dies)
        self._tail = tail_request_layout(geometry.channels)
        pages, tail = stream.Signature(self._pages), stream.Signature(self._tail)
        super().__init__(
            {
                **{name: In(pages).array(geometry.channels) for name in WALKERS},
                **{f"{name}_tail": In(tail) for name in WALKERS},
                **{f"{name}_ask": In(1) for name in ASKERS},
                **{f"{name}_grant": Out(1) for name in ASKERS},
                "o": Out(pages).array(geometry.channels),
                "o_tail": Out(tail),
                "quiet": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        moving = []
        for index, port in enumerate(self.o):
            sources = [getattr(self, name)[index] for name in WALKERS]
            moving += self._merge(m, f"channel_{index}", self._pages, sources, port)
        sources = [getattr(self, f"{name}_tail") for name in WALKERS]
        moving += self._merge(m, "tail", self._tail, sources, self.o_tail)

        asks = Cat(getattr(self, f"{name}_ask") for name in ASKERS)
        grants = Cat(getattr(self, f"{name}_grant") for name in ASKERS)
        held = grants & asks
        granted = Signal(len(ASKERS))
        m.d.comb += granted.eq(Mux(held.any(), held, asks & (~asks + 1)))
        m.d.sync += grants.eq(granted)
        m.d.comb += self.quiet.eq((granted == grants) & ~Cat(moving).any())
        return m

    def _merge(self, m, name, layout, sources, port):
        """One output; the transfers at its inputs and at itself."""
        m.submodules[name] = arbiter = Arbiter(layout, inputs=len(sources))
        for source, inlet in zip(sources, arbiter.i):
            connect(m, flipped(source), inlet)
        connect(m, arbiter.o, flipped(port))
        return [moves(stream) for stream in (*arbiter.i, port)]
