"""Selector: which tokens of a head are attended, from its queries and from estimated scores.

::

    i_jobs, i_q --+--> top channels --> o_mask (once estimators are free)
                  |        '--> temperature --> scales --.
                  '--> query loader --queries, exponents-+--> o_writes, o_estimate   (all channels)

    i_reports --> references M --> o_sum --> i_sums --> 1 / Z --> o_select --> i_keys
                                                                                 |
                                          verdicts <--------- radix select <-----'

While the tokens of one head are chosen, the queries of the next are looked at; its estimate begins
when the last scores of the one before have been read for their keys.
"""

from amaranth.hdl import Array, Cat, Module, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from . import selection_kernels as sparse
from .activity import Activity
from .beats import BEATS_BITS, EXPONENT_BITS, Format
from .estimator import sums_layout
from .hls import Pipeline
from .kernels import TERM_BITS, WEIGHT_BITS
from .messages import (
    SCALE_BITS,
    SCALE_EXP_BITS,
    WEIGHT_SUM_BITS,
    estimate_layout,
    query_write_layout,
    report_layout,
)
from .query_loader import QueryLoader
from .radix_select import RadixSelect
from .reference import Reference
from .select_config import select_job_layout
from .selection_keys import inverse_layout
from .streams import Queue, moves
from .top_channels import TopChannels, mask_layout
from .verdicts import Verdicts, VerdictSignature

__all__ = ["Selector", "selection_layout"]

_SELECT_FIELDS = (
    "tokens",
    "sinks",
    "window",
    "group_tokens",
    "first_channel",
    "in_units",
    "unit_channel",
)


def selection_layout(config):
    """A head whose tokens are to be chosen: see `select_job_layout`, `beats.job_layout`."""
    select = select_job_layout(config.select)
    return data.StructLayout(
        {
            "heads": range(config.max_heads + 1),
            "beats": BEATS_BITS,
            "format": Format,
            "q_format": Format,
            "channels": range(config.max_head_dim + 1),  # r, 1..head_dim
            "kept": select["k"].shape,
            **{name: select[name].shape for name in _SELECT_FIELDS},
            # scores are estimated from bounds of K: channels are all, and units of another size
            **({"bounds": 1, "unit_tokens": select["unit_tokens"].shape} if config.bounds else {}),
            "scale_mant": SCALE_BITS,
            "scale_exp": signed(SCALE_EXP_BITS),
            "k_exp": data.ArrayLayout(EXPONENT_BITS, config.max_passes),
        }
    )


class Selector(wiring.Component):
    """Chooses tokens, one head after the other.

    Parameters
    ----------
    config : EngineConfig

    Members
    -------
    i_jobs : In(stream(selection_layout))
    i_q : In(stream(64))
        For each job ``heads * beats`` words of q, head after head.
    o_mask : Out(stream(mask_layout))
        ``beats`` payloads a job: channels whose columns are wanted now.
    o_writes : Out(stream(query_write_layout), always ready)
        To all channels.
    o_estimate, o_inverses : Out
        To all channels, see `hls_attention.estimator`.
    o_sum, o_select : Out(1)
    i_reports, i_sums, i_keys : In(stream) array
    i_free : In(channels)
    verdicts : In(VerdictSignature)
    busy : Out(1)
        Something is being computed here.
    quiet : Out(1)
        Nothing changes until an input does.
    """

    def __init__(self, config):
        self._config = config
        select, channels = config.select, config.channels
        writes = stream.Signature(query_write_layout(config), always_ready=True)
        super().__init__(
            {
                "i_jobs": In(stream.Signature(selection_layout(config))),
                "i_q": In(stream.Signature(64)),
                "o_mask": Out(stream.Signature(mask_layout(config))),
                "o_writes": Out(writes),
                "o_estimate": Out(estimate_layout(config)),
                "o_inverses": Out(inverse_layout(config)),
                "o_sum": Out(1),
                "o_select": Out(1),
                "i_reports": In(stream.Signature(report_layout(config))).array(channels),
                "i_sums": In(stream.Signature(sums_layout(config))).array(channels),
                "i_keys": In(stream.Signature(sparse.KEY_BITS)).array(channels),
                "i_free": In(channels),
                "verdicts": In(VerdictSignature(channels, select.lane_rows)),
                "busy": Out(1),
                "quiet": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        connect, flipped = wiring.connect, wiring.flipped
        m.submodules.loader = loader = QueryLoader(config)
        m.submodules.top = top = TopChannels(config)
        m.submodules.reference = reference = Reference(config)
        m.submodules.select = select = RadixSelect(config.select)
        m.submodules.kept = kept = Verdicts(config.select)
        m.submodules.activity = activity = Activity()
        connect(m, flipped(self.verdicts), kept.o)
        for index in range(config.channels):
            connect(m, flipped(self.i_reports[index]), reference.i[index])
            connect(m, flipped(self.i_keys[index]), select.i[index])
            connect(m, select.o[index], kept.i[index])

        # An estimate is open from its mask until its last score has been read for a key.
        following = Signal(selection_layout(config))
        opens, opened = Signal(), Signal()
        looking = self._prepare(m, loader, top, following, opens, opened)
        choosing = self._choose(m, reference, select, kept, following, opens, opened)
        m.d.comb += [
            loader.i_done.eq(reference.o.valid),
            self.busy.eq(looking | loader.busy | choosing),
            activity.active.eq(
                loader.active
                | reference.active
                | moves(self.i_jobs)
                | moves(self.i_q)
                | moves(self.o_mask)
                | choosing
                | self.verdicts.release
                | opens
                | Cat(moves(port) for port in [*self.i_reports, *self.i_sums, *self.i_keys]).any()
            ),
            self.quiet.eq(activity.quiet & ~looking),
        ]
        return m

    def _prepare(self, m, loader, top, job, opens, opened):
        """Looks at the queries of a head, and opens its estimate once estimators are free.

        Returns whether queries are being looked at.
        """
        config = self._config
        estimate = Signal(estimate_layout(config))
        asked, queries = self.i_jobs.payload, self.i_q
        m.submodules.masks = masks = Queue(mask_layout(config), depth=2 * config.max_beats)
        wiring.connect(m, top.o_mask, masks.i)
        loaded, scaled, sends = Signal(), Signal(), Signal()
        m.d.comb += [
            loader.i_jobs.payload.heads.eq(asked.heads),
            loader.i_jobs.payload.beats.eq(asked.beats),
            loader.i_jobs.payload.format.eq(asked.format),
            loader.i_jobs.payload.q_format.eq(asked.q_format),
            top.i_jobs.payload.heads.eq(asked.heads),
            top.i_jobs.payload.beats.eq(asked.beats),
            top.i_jobs.payload.bf16.eq(asked.q_format == Format.BF16),
            top.i_jobs.payload.r.eq(asked.channels),
            loader.i_q.payload.eq(queries.payload),
            top.i_q.payload.eq(queries.payload),
            loader.i_q.valid.eq(queries.valid & top.i_q.ready),
            top.i_q.valid.eq(queries.valid & loader.i_q.ready),
            queries.ready.eq(loader.i_q.ready & top.i_q.ready),
            loader.o_merge.ready.eq(1),
            self.o_writes.valid.eq(loader.o_writes.valid),
            self.o_writes.payload.eq(loader.o_writes.payload),
        ]
        self._scale(m, top, job, estimate, scaled)

        descriptor = loader.o_descriptor
        mask = masks.o.payload
        with m.If(moves(masks.i)):
            row = masks.i.payload
            m.d.sync += estimate.mask.word_select(row.row, len(row.mask)).eq(row.mask)
        with m.If(descriptor.valid):
            m.d.sync += [
                loaded.eq(1),
                *[estimate[name].eq(descriptor.payload[name]) for name in ("bank", "q_exp")],
            ]
        with m.FSM(name="prepare") as state:
            with m.State("IDLE"):
                ready = loader.i_jobs.ready & top.i_jobs.ready
                m.d.comb += [
                    self.i_jobs.ready.eq(ready),
                    loader.i_jobs.valid.eq(self.i_jobs.valid & top.i_jobs.ready),
                    top.i_jobs.valid.eq(self.i_jobs.valid & loader.i_jobs.ready),
                ]
                with m.If(self.i_jobs.valid & ready):
                    m.d.sync += [
                        job.eq(asked),
                        estimate.heads.eq(asked.heads),
                        estimate.channels.eq(asked.channels),
                        estimate.k_bf16.eq(asked.format == Format.BF16),
                        estimate.q_bf16.eq(asked.q_format == Format.BF16),
                        estimate.k_exp.eq(asked.k_exp),
                        estimate.mask.eq(0),
                        *([estimate.bounds.eq(asked.bounds)] if config.bounds else []),
                        loaded.eq(0),
                        scaled.eq(0),
                    ]
                    m.next = "LOOK"
            with m.State("LOOK"):
                with m.If(loaded & scaled):
                    m.next = "OPEN"
            with m.State("OPEN"):
                m.d.comb += opens.eq(~opened)
                with m.If(opens):
                    m.d.sync += self.o_estimate.eq(estimate)
                    m.next = "MASKS"
            with m.State("MASKS"):
                m.d.comb += sends.eq(1)
                with m.If(moves(self.o_mask) & mask.last):
                    m.next = "IDLE"
        m.d.comb += [
            self.o_mask.payload.eq(mask),
            self.o_mask.valid.eq(masks.o.valid & sends),
            masks.o.ready.eq(self.o_mask.ready & sends),
        ]
        return state.ongoing("LOOK")

    def _scale(self, m, top, job, estimate, scaled):
        """Scales of the estimated scores of each head."""
        norms = top.o_norms
        tags = data.StructLayout({"head": norms.payload.head.shape(), "last": 1})
        m.submodules.temperature = scale = Pipeline(
            sparse.temperature, clock_hz=self._config.clock_hz, meta=tags
        )
        m.d.comb += [
            norms.ready.eq(scale.i.ready),
            scale.i.valid.eq(norms.valid),
            scale.i.payload.q.eq(norms.payload.q),
            scale.i.payload.q_r.eq(norms.payload.q_r),
            scale.i.payload.scale_mant.eq(job.scale_mant),
            scale.i.payload.scale_exp.eq(job.scale_exp),
            scale.i.payload.meta.head.eq(norms.payload.head),
            scale.i.payload.meta.last.eq(norms.payload.last),
            scale.o.ready.eq(1),
        ]
        result = scale.o.payload
        with m.If(scale.o.valid):
            m.d.sync += [
                estimate.scale_mant[result.meta.head].eq(result.mant),
                estimate.scale_exp[result.meta.head].eq(result.exp),
            ]
            with m.If(result.meta.last):
                m.d.sync += scaled.eq(1)

    def _choose(self, m, reference, select, kept, following, opens, opened):
        """From reports to verdicts; returns whether something goes on."""
        config = self._config
        heads, channels = config.max_heads, config.channels
        job = Signal(selection_layout(config))
        with m.If(opens):
            m.d.sync += [job.eq(following), opened.eq(1)]
        facts = reference.o_facts
        poisoned = Signal()
        channel, head = Signal(range(channels)), Signal(range(heads))
        totals = Array(
            Signal(WEIGHT_SUM_BITS + (channels - 1).bit_length(), name=f"total_{n}")
            for n in range(heads)
        )
        sums = Signal(sums_layout(config))
        present = Signal()
        m.submodules.reciprocal = reciprocal = Pipeline(
            sparse.reciprocal,
            clock_hz=config.clock_hz,
            meta=data.StructLayout({"head": head.shape()}),
        )
        spare = TERM_BITS + WEIGHT_BITS - sparse.Z_FRACTION_BITS
        asked = select.i_jobs.payload
        m.d.comb += [
            reciprocal.i.payload.z.eq(totals[head] >> spare),
            reciprocal.i.payload.meta.head.eq(head),
            reciprocal.o.ready.eq(1),
            *[asked[name].eq(job[name]) for name in _SELECT_FIELDS],
            asked.k.eq(job.kept),
            asked.passes.eq(1),
            asked.unit_tokens.eq(job.unit_tokens if config.bounds else config.unit_tokens),
        ]
        with m.Switch(channel):
            for index, port in enumerate(self.i_sums):
                with m.Case(index):
                    m.d.comb += [sums.eq(port.payload), present.eq(port.valid)]
        result = reciprocal.o.payload
        with m.If(reciprocal.o.valid):
            for n in range(heads):
                with m.If(result.meta.head == n):
                    m.d.sync += [
                        self.o_inverses[n].r_mant.eq(result.r_mant),
                        self.o_inverses[n].r_exp.eq(result.r_exp),
                    ]
        goes_on = Signal()
        with m.FSM(name="choose"):
            with m.State("REPORTS"):
                m.d.comb += facts.ready.eq(1)
                m.d.sync += [channel.eq(0), head.eq(0)]
                m.d.sync += [total.eq(0) for total in totals]
                with m.If(reference.o.valid):
                    m.d.comb += goes_on.eq(1)
                    m.d.sync += poisoned.eq(facts.payload.poisoned)
                    for n in range(heads):
                        m.d.sync += [
                            self.o_inverses[n].m.eq(facts.payload.m[n]),
                            self.o_inverses[n].r_mant.eq(1 << sparse.R_MANT_BITS - 1),
                            self.o_inverses[n].r_exp.eq(0),
                        ]
                    m.next = "SELECT"
                    with m.If(job.heads > 1):
                        m.next = "SUM"
            with m.State("SUM"):
                m.d.comb += [goes_on.eq(1), self.o_sum.eq(1)]
                m.next = "SUMS"
            with m.State("SUMS"):
                m.d.comb += [
                    goes_on.eq(present),
                    *[port.ready.eq(channel == n) for n, port in enumerate(self.i_sums)],
                ]
                with m.If(present):
                    m.d.sync += [totals[n].eq(totals[n] + sums[n]) for n in range(heads)]
                    m.d.sync += channel.eq(channel + 1)
                    with m.If(channel == channels - 1):
                        m.next = "DIVIDE"
            with m.State("DIVIDE"):
                m.d.comb += [goes_on.eq(1), reciprocal.i.valid.eq(1)]
                m.d.sync += head.eq(head + 1)
                with m.If(head == job.heads - 1):
                    m.next = "DIVIDED"
            with m.State("DIVIDED"):
                m.d.comb += goes_on.eq(1)
                with m.If(~reciprocal.busy):
                    m.next = "SELECT"
            with m.State("SELECT"):
                m.d.comb += [
                    goes_on.eq(1),
                    select.i_jobs.valid.eq(1),
                    self.o_select.eq(select.i_jobs.ready),
                ]
                with m.If(select.i_jobs.ready):
                    m.next = "SELECTED"
            with m.State("SELECTED"):
                m.d.comb += goes_on.eq(1)
                m.next = "KEYS"
            with m.State("KEYS"):
                with m.If(self.i_free.all()):
                    m.d.comb += goes_on.eq(1)
                    m.d.sync += opened.eq(0)
                    m.next = "VERDICTS"
            with m.State("VERDICTS"):
                with m.If(~select.busy):
                    m.d.comb += [
                        goes_on.eq(1),
                        kept.complete.eq(1),
                        kept.poisoned.eq(poisoned),
                    ]
                    m.next = "REPORTS"
        return goes_on | select.busy
