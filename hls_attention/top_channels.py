"""Top channels: the r channels in which the queries of a KV head are largest.

::

    i_q --> query magnitudes --> sum over heads --> radix select --> o_mask
                  '---- second time, masked and not --> sums per head --> o_norms

The key of a channel is the sum of |q| over the heads: exact for FP16, and for BF16 with 39 bits
below the highest one of the block. Ties go to the lowest channel. From the job's transfer to that
of the last norm it takes, if nobody waits and kernels are cut for 250 MHz,

    beats * (3 * heads + rounds - 1) + 26 * rounds + heads + 8

clocks, with the rounds of `hls_attention.radix_select` for digits of four bits: 538 for 4 heads
of 128 elements and 3 rounds. The next job is taken before that, with the last mask.
"""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from . import selection_kernels as sparse
from .beats import BEATS_BITS, LANES_FP16
from .head_norms import HeadNorms, norms_layout
from .query_magnitudes import QueryMagnitudes
from .radix_select import RadixSelect
from .select_config import SelectConfig
from .streams import moves

__all__ = ["TopChannels", "mask_layout", "top_job_layout"]

DIGIT_BITS = 4


def top_job_layout(config):
    """The queries of a KV head, and how many channels are wanted."""
    return data.StructLayout(
        {
            "heads": range(config.max_heads + 1),  # at least 1
            "beats": BEATS_BITS,  # head_dim / 4, 1..max_beats
            "bf16": 1,  # format of q
            "r": range(config.max_head_dim + 1),  # at least 1; all if not below head_dim
        }
    )


def mask_layout(config):
    """Which of channels ``4 * row .. 4 * row + 3`` are chosen, the first in the low bit."""
    return data.StructLayout({"row": range(config.max_beats), "mask": LANES_FP16, "last": 1})


class TopChannels(wiring.Component):
    """Chooses channels by the magnitude of q.

    Parameters
    ----------
    config : EngineConfig

    Members
    -------
    i_jobs : In(stream(top_job_layout))
    i_q : In(stream(64))
        For each job ``heads * beats`` words of q, head after head, lane 0 in the low bits.
    o_mask : Out(stream(mask_layout))
        ``beats`` payloads a job, rows in order.
    o_norms : Out(stream(norms_layout))
        ``heads`` payloads a job, after the last mask was made.
    """

    def __init__(self, config):
        self._config = config
        self._select = SelectConfig(
            channels=LANES_FP16,
            max_tokens=config.max_head_dim,
            max_group=1,
            key_bits=sparse.MAGNITUDE_BITS + (config.max_heads - 1).bit_length(),
            digit_bits=DIGIT_BITS,
        )
        super().__init__(
            {
                "i_jobs": In(stream.Signature(top_job_layout(config))),
                "i_q": In(stream.Signature(64)),
                "o_mask": Out(stream.Signature(mask_layout(config))),
                "o_norms": Out(stream.Signature(norms_layout(config))),
            }
        )

    @property
    def select(self):
        """What its selection is built as: a token is a channel, a channel is a lane."""
        return self._select

    def elaborate(self, platform):
        m = Module()
        config = self._config
        m.submodules.magnitudes = magnitudes = QueryMagnitudes(config)
        m.submodules.radix = select = RadixSelect(self._select)
        m.submodules.norms = norms = HeadNorms(config)
        wiring.connect(m, wiring.flipped(self.i_q), magnitudes.i_q)
        wiring.connect(m, norms.o, wiring.flipped(self.o_norms))

        # A job is taken by both; the second one's next comes after the end of its last.
        jobs, asked = self.i_jobs, select.i_jobs
        m.d.comb += [
            magnitudes.i_jobs.valid.eq(jobs.valid & asked.ready),
            asked.valid.eq(jobs.valid & magnitudes.i_jobs.ready),
            jobs.ready.eq(magnitudes.i_jobs.ready & asked.ready),
            *[
                magnitudes.i_jobs.payload[name].eq(jobs.payload[name])
                for name in ("heads", "beats", "bf16")
            ],
            asked.payload.k.eq(jobs.payload.r),
            asked.payload.tokens.eq(jobs.payload.beats * LANES_FP16),
            asked.payload.group_tokens.eq(1),
            asked.payload.passes.eq(1),
        ]

        # First time: add up the heads. All lanes of the selection are ready alike.
        number = magnitudes.o.payload
        sums = [Signal(self._select.key_bits, name=f"sum_{lane}") for lane in range(LANES_FP16)]
        wanted, whole = Signal(), Signal()
        m.d.comb += [
            wanted.eq(magnitudes.o.valid & ~number.own),
            whole.eq(wanted & number.last_head),
        ]
        for port, sum_, mag in zip(select.i, sums, number.mag):
            m.d.comb += [port.valid.eq(whole), port.payload.eq(sum_ + mag)]
            with m.If(wanted & magnitudes.o.ready):
                m.d.sync += sum_.eq(Mux(number.last_head, 0, sum_ + mag))

        # Second time: with the verdicts on its row, which wait for the row's last head.
        verdicts = Cat(port.payload.keep for port in select.o)
        judged = Cat(port.valid for port in select.o).all()
        takes = Signal()
        mask = self.o_mask
        m.d.comb += [
            takes.eq(judged & (~number.last_head | mask.ready | ~mask.valid)),
            magnitudes.o.ready.eq(
                Mux(number.own, takes & norms.i.ready, ~number.last_head | select.i[0].ready)
            ),
            *[port.ready.eq(moves(norms.i) & number.last_head) for port in select.o],
        ]
        with m.If(mask.ready):
            m.d.sync += mask.valid.eq(0)
        with m.If(moves(select.o[0])):
            m.d.sync += [
                mask.valid.eq(1),
                mask.payload.row.eq(number.row),
                mask.payload.mask.eq(verdicts),
                mask.payload.last.eq(number.last_row),
            ]
        m.d.comb += [
            norms.i.valid.eq(magnitudes.o.valid & number.own & takes),
            norms.i.payload.number.eq(number),
            norms.i.payload.mask.eq(verdicts),
        ]
        return m
