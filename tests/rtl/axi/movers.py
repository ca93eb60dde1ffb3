"""What stands between the drive's blocks and an AXI4 bus, alone: movers, arbiter, manager.

::

    i_reads[n] --> BurstReader --+                +-- i_writes[n], i_data[n]
    o[n]       <-- BurstReader   |                v
                                 +-> PortArbiter <-- BurstWriter --> done[n]
                                          |
                                     AxiManager --> axi
"""

from amaranth.hdl import Module
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from rtl.axi.manager import AxiManager
from rtl.axi.signatures import AxiSignature
from rtl.memory import BurstReader, BurstWriter, PortArbiter, request_layout, word_layout
from rtl.memory_port import ADDRESS_BITS

PAIRS = 2
BURSTS = (64, 256)
"""Longest burst of each pair."""

WRITE = data.StructLayout({"address": ADDRESS_BITS, "words": 20, "strobe": 8})


class Movers(wiring.Component):
    """Two readers and two writers behind one AXI4 bus."""

    i_reads: In(stream.Signature(request_layout())).array(PAIRS)
    o: Out(stream.Signature(word_layout())).array(PAIRS)
    i_writes: In(stream.Signature(WRITE)).array(PAIRS)
    i_data: In(stream.Signature(64)).array(PAIRS)
    done: Out(stream.Signature(data.StructLayout({"error": 1}))).array(PAIRS)
    axi: Out(AxiSignature())

    def elaborate(self, platform):
        m = Module()
        m.submodules.arbiter = arbiter = PortArbiter(readers=PAIRS, writers=PAIRS)
        m.submodules.manager = manager = AxiManager()
        connect(m, arbiter.port, manager.port)
        connect(m, manager.axi, flipped(self.axi))
        for index, burst in enumerate(BURSTS):
            reader, writer = BurstReader(depth=256, burst=burst), BurstWriter(burst=burst)
            m.submodules[f"reader_{index}"] = reader
            m.submodules[f"writer_{index}"] = writer
            connect(m, flipped(self.i_reads[index]), reader.i)
            connect(m, reader.o, flipped(self.o[index]))
            connect(m, flipped(self.i_writes[index]), writer.i)
            connect(m, flipped(self.i_data[index]), writer.i_data)
            connect(m, writer.done, flipped(self.done[index]))
            for name in ("ar", "r"):
                connect(m, getattr(reader.port, name), getattr(arbiter.readers[index], name))
            for name in ("aw", "w", "b"):
                connect(m, getattr(writer.port, name), getattr(arbiter.writers[index], name))
        return m
