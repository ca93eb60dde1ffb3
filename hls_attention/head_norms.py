"""Head norms: the sum of |q| of every query head, over all channels and over the chosen ones.

::

    i --> four magnitudes, masked and not --> two sums --> one --> + sum of the head so far --> o
"""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from . import selection_kernels as sparse
from .beats import LANES_FP16
from .query_magnitudes import magnitudes_layout
from .streams import moves

__all__ = ["HeadNorms", "chosen_layout", "norms_layout"]


def chosen_layout(config):
    """Magnitudes of four channels of a head, and which of these channels are chosen."""
    return data.StructLayout({"number": magnitudes_layout(config), "mask": LANES_FP16})


def norms_layout(config):
    """|q|_1 of a head over all and over the chosen channels: inputs of `temperature`."""
    return data.StructLayout(
        {
            "head": range(config.max_heads),
            "q": sparse.NORM_BITS,
            "q_r": sparse.NORM_BITS,
            "last": 1,
        }
    )


class HeadNorms(wiring.Component):
    """Adds up magnitudes. Takes a payload a clock; waits between jobs until all sums are taken.

    Parameters
    ----------
    config : EngineConfig

    Members
    -------
    i : In(stream(chosen_layout))
        Rows in order, in each the heads in order.
    o : Out(stream(norms_layout))
        Heads in order, after the last row.
    """

    def __init__(self, config):
        self._config = config
        super().__init__(
            {
                "i": In(stream.Signature(chosen_layout(config))),
                "o": Out(stream.Signature(norms_layout(config))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        heads = self._config.max_heads
        number = self.i.payload.number
        place = data.StructLayout({"head": range(heads), "first": 1, "last_head": 1, "last_row": 1})
        full = Signal()
        m.d.comb += self.i.ready.eq(~full)
        with m.If(moves(self.i) & number.last_head & number.last_row):
            m.d.sync += full.eq(1)

        pair_valid, pair_place = Signal(), Signal(place)
        whole_valid, whole_place = Signal(), Signal(place)
        m.d.sync += [pair_valid.eq(moves(self.i)), whole_valid.eq(pair_valid)]
        m.d.sync += [
            pair_place.head.eq(number.head),
            pair_place.first.eq(number.row == 0),
            pair_place.last_head.eq(number.last_head),
            pair_place.last_row.eq(number.last_row),
            whole_place.eq(pair_place),
        ]
        magnitudes = list(number.mag)
        masked = [Mux(bit, mag, 0) for bit, mag in zip(self.i.payload.mask, magnitudes)]
        wholes = []
        for name, numbers in (("q", magnitudes), ("q_r", masked)):
            pairs = [Signal(sparse.MAGNITUDE_BITS + 1, name=f"{name}_{n}") for n in range(2)]
            whole = Signal(sparse.MAGNITUDE_BITS + 2, name=f"{name}_whole")
            m.d.sync += [pairs[n].eq(numbers[2 * n] + numbers[2 * n + 1]) for n in range(2)]
            m.d.sync += whole.eq(pairs[0] + pairs[1])
            wholes.append(whole)

        # One adder for all heads; a row of the memory is {|q_r|_1, |q|_1} of a head.
        rows = 1 << (heads - 1).bit_length()
        m.submodules.sums = sums = memory.Memory(
            shape=data.ArrayLayout(sparse.NORM_BITS, 2), depth=rows, init=[]
        )
        write, before = sums.write_port(), sums.read_port(domain="comb")
        out = sums.read_port(domain="comb")
        m.d.comb += [
            before.addr.eq(whole_place.head),
            write.addr.eq(whole_place.head),
            write.en.eq(whole_valid),
            *[
                write.data[n].eq(whole + Mux(whole_place.first, 0, before.data[n]))
                for n, whole in enumerate(wholes)
            ],
        ]

        head, last_head = Signal(range(heads)), Signal(range(heads))
        sends = Signal()
        with m.If(whole_valid & whole_place.last_head & whole_place.last_row):
            m.d.sync += [sends.eq(1), head.eq(0), last_head.eq(whole_place.head)]
        m.d.comb += [
            out.addr.eq(head),
            self.o.valid.eq(sends),
            self.o.payload.head.eq(head),
            Cat(self.o.payload.q, self.o.payload.q_r).eq(out.data),
            self.o.payload.last.eq(head == last_head),
        ]
        with m.If(moves(self.o)):
            m.d.sync += head.eq(head + 1)
            with m.If(self.o.payload.last):
                m.d.sync += [sends.eq(0), full.eq(0)]
        return m
