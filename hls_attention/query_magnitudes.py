"""Query magnitudes: |q| of the query heads that share a KV head, as aligned integers, twice.

::

    i_q --> buffer, largest exponents --> magnitude x 4 --> o

    i_q   head 0: row 0 1 2 ..   head 1: row 0 1 2 ..
    o     row 0: head 0 1 ..  row 1: head 0 1 ..  ..   aligned to the largest exponent of all heads,
          row 0: head 0 1 ..  row 1: head 0 1 ..  ..   then once more, each head to its own

A row is four channels: lane 0 of row 0 is channel 0. A word a clock each way.
"""

from amaranth.hdl import Array, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from . import selection_kernels as sparse
from .beats import BEATS_BITS, EXPONENT_BITS, LANES_FP16
from .hls import Pipeline
from .streams import moves
from .verilog import Ram, Shared
from .words import exponent_field

__all__ = ["QueryMagnitudes", "magnitudes_job_layout", "magnitudes_layout"]


def magnitudes_job_layout(config):
    """The queries of a KV head."""
    return data.StructLayout(
        {
            "heads": range(config.max_heads + 1),  # at least 1
            "beats": BEATS_BITS,  # head_dim / 4, 1..max_beats
            "bf16": 1,  # format of q
        }
    )


def magnitudes_layout(config):
    """Four channels of a head."""
    return data.StructLayout(
        {"mag": data.ArrayLayout(sparse.MAGNITUDE_BITS, LANES_FP16), **_place(config)}
    )


def _place(config):
    return {
        "own": 1,  # second time: aligned to the head's own exponent
        "head": range(config.max_heads),
        "row": range(config.max_beats),
        "last_head": 1,
        "last_row": 1,
    }


class QueryMagnitudes(wiring.Component):
    """Aligns the magnitudes of queries.

    Parameters
    ----------
    config : EngineConfig

    Members
    -------
    i_jobs : In(stream(magnitudes_job_layout))
    i_q : In(stream(64))
        For each job ``heads * beats`` words of q, head after head.
    o : Out(stream(magnitudes_layout))
        For each job ``2 * heads * beats`` payloads.
    """

    def __init__(self, config):
        self._config = config
        super().__init__(
            {
                "i_jobs": In(stream.Signature(magnitudes_job_layout(config))),
                "i_q": In(stream.Signature(64)),
                "o": Out(stream.Signature(magnitudes_layout(config))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        place_layout = data.StructLayout(_place(config))
        job = Signal(magnitudes_job_layout(config))
        place, read_place = Signal(place_layout), Signal(place_layout)
        m.submodules.buffer = buffer = Ram(width=64, depth=config.max_heads * config.max_beats)
        address, of_row = Signal.like(buffer.r_addr), Signal.like(buffer.r_addr)
        tops = Array(Signal(EXPONENT_BITS, name=f"top_{head}") for head in range(config.max_heads))
        top, word_top = Signal(EXPONENT_BITS), Signal(EXPONENT_BITS)

        fields = [
            exponent_field(word, job.bf16)
            for word in (self.i_q.payload.word_select(lane, 16) for lane in range(LANES_FP16))
        ]
        pairs = [Mux(a > b, a, b) for a, b in (fields[:2], fields[2:])]
        field = Mux(pairs[0] > pairs[1], *pairs)
        m.d.comb += [
            word_top.eq(Mux(field == 0, 0, field - 1)),
            place.last_head.eq(place.head == job.heads - 1),
            place.last_row.eq(place.row == job.beats - 1),
            buffer.w_addr.eq(address),
            buffer.w_data.eq(self.i_q.payload),
            buffer.r_addr.eq(address),
        ]

        advance, asks, read = Signal(), Signal(), Signal()
        m.d.comb += buffer.r_en.eq(asks)
        with m.If(advance):
            m.d.sync += read.eq(asks)
            with m.If(asks):
                m.d.sync += read_place.eq(place)
        with m.FSM(name="state"):
            with m.State("IDLE"):
                m.d.comb += self.i_jobs.ready.eq(1)
                m.d.sync += [address.eq(0), of_row.eq(0), top.eq(0)]
                m.d.sync += [place[name].eq(0) for name in ("own", "head", "row")]
                m.d.sync += [own.eq(0) for own in tops]
                with m.If(self.i_jobs.valid):
                    m.d.sync += job.eq(self.i_jobs.payload)
                    m.next = "LOAD"
            with m.State("LOAD"):
                m.d.comb += [self.i_q.ready.eq(1), buffer.w_en.eq(self.i_q.valid)]
                with m.If(moves(self.i_q)):
                    m.d.sync += [address.eq(address + 1), place.row.eq(place.row + 1)]
                    with m.If(word_top > top):
                        m.d.sync += top.eq(word_top)
                    with m.If(word_top > tops[place.head]):
                        m.d.sync += tops[place.head].eq(word_top)
                    with m.If(place.last_row):
                        m.d.sync += [place.row.eq(0), place.head.eq(place.head + 1)]
                        with m.If(place.last_head):
                            m.d.sync += [place.head.eq(0), address.eq(0)]
                            m.next = "REPLAY"
            with m.State("REPLAY"):
                m.d.comb += asks.eq(advance)
                with m.If(asks):
                    m.d.sync += [address.eq(address + job.beats), place.head.eq(place.head + 1)]
                    with m.If(place.last_head):
                        m.d.sync += [
                            place.head.eq(0),
                            place.row.eq(place.row + 1),
                            of_row.eq(of_row + 1),
                            address.eq(of_row + 1),
                        ]
                        with m.If(place.last_row):
                            m.d.sync += [place.row.eq(0), of_row.eq(0), address.eq(0)]
                            m.d.sync += place.own.eq(1)
                            with m.If(place.own):
                                m.next = "FLUSH"
            with m.State("FLUSH"):
                # Job and exponents stay until the last word has entered the kernels.
                with m.If(~read):
                    m.next = "IDLE"

        for lane in range(LANES_FP16):
            unit = Shared(
                f"magnitude_{config.max_heads}_{config.max_beats}",
                lambda: Pipeline(sparse.magnitude, clock_hz=config.clock_hz, meta=place_layout),
            )
            m.submodules[f"magnitude_{lane}"] = unit
            m.d.comb += [
                unit.i.valid.eq(read),
                unit.i.payload.x.eq(buffer.r_data.word_select(lane, 16)),
                unit.i.payload.top.eq(Mux(read_place.own, tops[read_place.head], top)),
                unit.i.payload.bf16.eq(job.bf16),
                unit.i.payload.meta.eq(read_place),
                unit.o.ready.eq(self.o.ready),
                self.o.payload.mag[lane].eq(unit.o.payload.mag),
            ]
            if lane == 0:
                m.d.comb += [
                    advance.eq(~read | unit.i.ready),
                    self.o.valid.eq(unit.o.valid),
                    *[
                        self.o.payload[name].eq(unit.o.payload.meta[name])
                        for name in _place(config)
                    ],
                ]
        return m
