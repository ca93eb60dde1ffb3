"""The array port of a channel served in pysim, by the cells in numpy."""

import numpy as np
from amaranth.hdl import Cat

__all__ = ["ArrayServer"]


class ArrayServer:
    """Serves the array port of one channel in pysim: a background testbench.

    Parameters
    ----------
    array : NandArray
    channel : int
        Channel of ``array`` that the port belongs to.
    port : ArrayPortSignature
        The port as the dies have it.

    Attributes
    ----------
    clock : int
        Clocks that have passed; the next one's number for `NandArray.power_cut`.
    """

    def __init__(self, array, channel, port):
        self.array = array
        self.channel = channel
        self.port = port
        self.clock = 0

    async def run(self, ctx):
        """Sample the port before each clock edge, answer right after it."""
        p = self.port
        self.array.settle(self.channel)
        tick = ctx.tick().sample(
            Cat(p.op_valid, p.reg_read, p.reg_write),
            p.op,
            p.op_die,
            p.op_row,
            p.op_plane,
            p.op_planes,
            p.op_clocks,
            p.reg_die,
            p.reg_plane,
            p.reg_column,
            p.reg_w_data,
        )
        shown = 0
        async for _, _, strobes, op, op_die, row, *rest in tick:
            plane, planes, clocks, reg_die, reg_plane, column, w_data = rest
            failed = 0
            if strobes & 1:
                failed = self.array.serve(
                    op,
                    self.channel,
                    op_die,
                    row,
                    plane=plane,
                    planes=planes,
                    clock=self.clock,
                    clocks=clocks,
                )
            self.clock += 1
            if failed != shown:
                ctx.set(p.op_failed, failed)
                shown = failed
            if strobes & 6:
                register = self.array.register(self.channel, reg_die, reg_plane)
                word = register[column : column + 8]
                if strobes & 4:
                    word[:] = np.frombuffer(w_data.to_bytes(8, "little"), np.uint8)
                if strobes & 2:
                    ctx.set(p.reg_r_data, int.from_bytes(word.tobytes(), "little"))
