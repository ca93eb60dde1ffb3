"""A memory port as an AXI4 manager.

::

    port.ar --> SkidBuffer --> ar...        port.aw --> SkidBuffer --> aw...
    port.r  <-- SkidBuffer <-- r...         port.w  --> SkidBuffer --> w...
                                            port.b  <-- SkidBuffer <-- b...

What the port promises is what AXI4 asks for: bursts of 1 to 256 beats within 4096 bytes, ``last``
with the last beat, payloads held while valid. One ID serves for all, as answers come in order then.
The buffers do the rest:

- no output depends on an input of the same clock (A3.2.1 of the standard);
- a writer behind the port sends data only once its address was taken. The buffer takes it, so that
  a memory may wait for ``wvalid`` before it takes ``aw`` (A3.3.1).

Latency 1 clock each way, one beat a clock.
"""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import exact_log2

from hls_attention.streams import SkidBuffer

from ..memory_port import MemoryPortSignature, burst_layout
from .signatures import DATA_BITS, AxiSignature

__all__ = ["AxiManager"]

INCREMENTING = 1
MODIFIABLE_BUFFERABLE = 0b0011
"""Of ``awcache`` and ``arcache``: interconnects may split and merge; no cache is asked for."""


class AxiManager(wiring.Component):
    """AXI4 manager behind a memory port.

    Members
    -------
    port : In(MemoryPortSignature)
    axi : Out(AxiSignature)
        SLVERR and DECERR are the port's ``error``: of the beat, or of the whole write burst.
    """

    port: In(MemoryPortSignature())
    axi: Out(AxiSignature())

    def elaborate(self, platform):
        m = Module()
        self._ask(m, "ar")
        self._ask(m, "aw")

        m.submodules.w = w = SkidBuffer(self.port.w.payload.shape())
        connect(m, flipped(self.port.w), w.i)
        m.d.comb += [
            self.axi.wdata.eq(w.o.payload.data),
            self.axi.wstrb.eq(w.o.payload.strobe),
            self.axi.wlast.eq(w.o.payload.last),
            self.axi.wvalid.eq(w.o.valid),
            w.o.ready.eq(self.axi.wready),
        ]

        m.submodules.b = b = SkidBuffer(self.port.b.payload.shape())
        connect(m, b.o, flipped(self.port.b))
        m.d.comb += [
            b.i.payload.error.eq(self.axi.bresp[1]),
            b.i.valid.eq(self.axi.bvalid),
            self.axi.bready.eq(b.i.ready),
        ]

        m.submodules.r = r = SkidBuffer(self.port.r.payload.shape())
        connect(m, r.o, flipped(self.port.r))
        m.d.comb += [
            r.i.payload.data.eq(self.axi.rdata),
            r.i.payload.last.eq(self.axi.rlast),
            r.i.payload.error.eq(self.axi.rresp[1]),
            r.i.valid.eq(self.axi.rvalid),
            self.axi.rready.eq(r.i.ready),
        ]
        return m

    def _ask(self, m, name):
        """An address channel."""
        m.submodules[name] = buffer = SkidBuffer(burst_layout())
        connect(m, flipped(getattr(self.port, name)), buffer.i)
        values = {
            "addr": buffer.o.payload.address,
            "len": buffer.o.payload.beats - 1,
            "size": exact_log2(DATA_BITS // 8),
            "burst": INCREMENTING,
            "cache": MODIFIABLE_BUFFERABLE,
            "valid": buffer.o.valid,
        }
        m.d.comb += [getattr(self.axi, name + field).eq(value) for field, value in values.items()]
        m.d.comb += buffer.o.ready.eq(getattr(self.axi, f"{name}ready"))
