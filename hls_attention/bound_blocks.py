"""Bound blocks: bytes of `hls_attention.bounds_code` to bounds of units.

::

    i --+--> block, 8 channels a row --------+--> kernel x 4 --> o
        '--> exponents of 8 channels a row --'

Each unit of a block says one bit of its channels' exponents: a block is given out when it is whole,
4 channels a clock, while the next one comes.
"""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from . import selection_kernels as sparse
from .beats import BEAT_BITS, JOB_BITS, LANES_FP16, Format, Kind, beat_layout, pair_layout
from .bounds_code import UNIT_TOKENS
from .hls import Pipeline
from .streams import moves
from .verilog import Ram, Shared

__all__ = ["BoundBlocks"]

OCTET = 8
"""Channels of a beat of bytes."""


class BoundBlocks(wiring.Component):
    """Decodes blocks of one channel; two of them are here at most.

    Parameters
    ----------
    config : EngineConfig

    Members
    -------
    channels : In
        head_dim, a multiple of 8; steady while something is here.
    i : In(stream(beat_layout))
        Whole blocks, ``channels`` beats each: units in order, channels within.
    o : Out(stream(pair_layout))
        The error of any beat is one of its whole block.
    empty : Out(1)
        No block is here, but for the one that comes.
    busy : Out(1)
        Something moves.
    """

    def __init__(self, config):
        self._config = config
        super().__init__(
            {
                "channels": In(range(config.max_head_dim + 1)),
                "i": In(stream.Signature(beat_layout())),
                "o": Out(stream.Signature(pair_layout())),
                "empty": Out(1),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config, beat = self._config, self.i.payload
        rows = 1 << (config.max_head_dim - 1).bit_length()
        octets = rows // OCTET
        m.submodules.bytes = codes = Ram(width=BEAT_BITS, depth=2 * rows)
        store = memory.Memory(shape=BEAT_BITS, depth=2 * octets, init=[])
        m.submodules.exponents = store
        write, exponents = store.write_port(), store.read_port()
        old = store.read_port(domain="comb")
        last_octet = Signal(range(octets))
        m.d.comb += last_octet.eq(self.channels // OCTET - 1)

        source = data.StructLayout({"job": JOB_BITS, "format": Format, "error": 1})
        sources = [Signal(source, name=f"source_{half}") for half in range(2)]
        full, filled, freed = Signal(2), Signal(2), Signal(2)
        m.d.sync += full.eq((full & ~freed) | filled)

        # Into a half.
        half, row, octet = Signal(), Signal(range(rows)), Signal(range(octets))
        m.d.comb += [
            self.i.ready.eq(~full.bit_select(half, 1)),
            codes.w_en.eq(moves(self.i)),
            codes.w_addr.eq(Cat(row, half)),
            codes.w_data.eq(beat.data),
            old.addr.eq(Cat(octet, half)),
            write.en.eq(moves(self.i)),
            write.addr.eq(old.addr),
            # the bit of the first unit is the lowest after that of the last one has come
            *[
                write.data.word_select(n, 8).eq(
                    Cat(old.data.word_select(n, 8)[1:], beat.data.word_select(n, 8)[7])
                )
                for n in range(OCTET)
            ],
        ]
        with m.If(moves(self.i)):
            m.d.sync += [row.eq(row + 1), octet.eq(Mux(octet == last_octet, 0, octet + 1))]
            for n, of_half in enumerate(sources):
                with m.If(half == n):
                    m.d.sync += [
                        of_half.job.eq(beat.job),
                        of_half.format.eq(beat.format),
                        of_half.error.eq(beat.error | ((row != 0) & of_half.error)),
                    ]
            with m.If(row == self.channels - 1):
                m.d.sync += [row.eq(0), half.eq(~half)]
                m.d.comb += filled.bit_select(half, 1).eq(1)

        # Out of the other, each row twice: four channels, then the other four.
        tags = data.StructLayout({"source": source, "first": 1, "last": 1})
        out, out_row, out_octet = Signal(), Signal(range(rows)), Signal(range(octets))
        others = Signal()
        asks, read, advance = Signal(), Signal(), Signal()
        read_others, read_tags = Signal(), Signal(tags)
        ends_row = asks & others
        m.d.comb += [
            asks.eq(full.bit_select(out, 1) & advance),
            codes.r_en.eq(asks),
            codes.r_addr.eq(Cat(out_row, out)),
            exponents.en.eq(asks),
            exponents.addr.eq(Cat(out_octet, out)),
        ]
        with m.If(advance):
            m.d.sync += read.eq(asks)
        with m.If(asks):
            m.d.sync += [
                others.eq(~others),
                read_others.eq(others),
                read_tags.source.eq(Mux(out, *sources[::-1])),
                read_tags.first.eq((out_octet == 0) & ~others),
                read_tags.last.eq((out_octet == last_octet) & others),
            ]
        with m.If(ends_row):
            m.d.sync += [
                out_row.eq(out_row + 1),
                out_octet.eq(Mux(out_octet == last_octet, 0, out_octet + 1)),
            ]
            with m.If(out_row == self.channels - 1):
                m.d.sync += [out_row.eq(0), out.eq(~out)]
                m.d.comb += freed.bit_select(out, 1).eq(1)

        pair = self.o.payload
        for lane in range(LANES_FP16):
            unit = Shared(
                "bounds", lambda: Pipeline(sparse.bounds, clock_hz=config.clock_hz, meta=tags)
            )
            m.submodules[f"bounds_{lane}"] = unit
            m.d.comb += [
                unit.i.valid.eq(read),
                unit.i.payload.code.eq(
                    Mux(read_others, *(codes.r_data.word_select(n, 8) for n in (lane + 4, lane)))
                ),
                unit.i.payload.exponent.eq(
                    Mux(read_others, *(exponents.data.word_select(n, 8) for n in (lane + 4, lane)))
                ),
                unit.i.payload.bf16.eq(read_tags.source.format == Format.BF16),
                unit.i.payload.meta.eq(read_tags),
                unit.o.ready.eq(self.o.ready),
                pair.data.word_select(lane, 16).eq(unit.o.payload.low),
                pair.high.word_select(lane, 16).eq(unit.o.payload.high),
            ]
            if lane == 0:
                given = unit.o.payload.meta
                m.d.comb += [
                    advance.eq(~read | unit.i.ready),
                    self.o.valid.eq(unit.o.valid),
                    pair.lanes.eq(-1),
                    pair.kind.eq(Kind.ESTIMATE),
                    *[pair[name].eq(given.source[name]) for name, _ in source],
                    pair.first_of_unit.eq(given.first),
                    pair.last_of_unit.eq(given.last),
                    pair.more.eq(UNIT_TOKENS - 1),
                    self.empty.eq((full == 0) & ~read & ~unit.busy),
                    self.busy.eq(moves(self.i) | asks | (unit.busy & unit.i.ready)),
                ]
        return m
