"""Channel engine: everything that one beat stream needs, K pass and V pass.

::

               .-- score path --> score memory --> weights --.
    i_beats --> front                                        |
       ^       '-- accumulators --> drain --> o_sums         |
       '-----------------------------------------------------'

With bounds of K, beats come to the front by way of `hls_attention.bounds_pairs`.

All ports are registered inside, so that a channel can be placed, and its Verilog compiled, on its
own.
"""

from amaranth.hdl import Cat, Module, Signal, signed
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from .accumulators import Accumulators
from .activity import Activity
from .beat_front import BeatFront
from .beats import LANES_FP16, beat_layout
from .bounds_pairs import BoundsPairs
from .drain import Drain
from .estimator import Estimator, sums_layout
from .messages import (
    REFERENCE_BITS,
    SCORE_BITS,
    SUM_BITS,
    descriptor_layout,
    estimate_layout,
    query_write_layout,
    reference_layout,
    report_layout,
)
from .score_path import ScorePath
from .selection_kernels import KEY_BITS
from .selection_keys import inverse_layout
from .streams import SkidBuffer, moves
from .verilog import Ram
from .weights import Weights

__all__ = ["ChannelEngine", "estimator_ports"]


def estimator_ports(config):
    """Ports of a channel engine with sparse attention."""
    return {
        "i_estimate_writes": In(stream.Signature(query_write_layout(config), always_ready=True)),
        "estimate": In(estimate_layout(config)),
        "inverses": In(inverse_layout(config)),
        "sum": In(1),
        "select": In(1),
        "o_estimates": Out(stream.Signature(report_layout(config))),
        "o_sums_of_weights": Out(stream.Signature(sums_layout(config))),
        "o_keys": Out(stream.Signature(KEY_BITS)),
        "free": Out(1),
    }


class ChannelEngine(wiring.Component):
    """The engine of one channel.

    Parameters
    ----------
    config : EngineConfig

    Members
    -------
    i_beats : In(stream(beat_layout))
    i_writes : In(stream(query_write_layout), always ready)
    i_descriptor : In(stream(descriptor_layout), always ready)
    i_reference : In(stream(reference_layout), always ready)
    o_report : Out(stream(report_layout))
        At the end of each K pass.
    o_sums : Out(stream(signed(64)))
        At the end of each V pass: see `hls_attention.drain`.
    i_estimate_writes, estimate, inverses, sum, select : In
    o_sums_of_weights, o_keys : Out(stream); free : Out(1)
        With sparse attention, as of `hls_attention.estimator`.
    o_estimates : Out(stream(report_layout))
        At the end of each estimate.
    busy : Out(1)
        Work is going on.
    quiet : Out(1)
        Nothing changes until an input does.
    """

    def __init__(self, config):
        self._config = config
        always = {"always_ready": True}
        super().__init__(
            {
                "i_beats": In(stream.Signature(beat_layout())),
                "i_writes": In(stream.Signature(query_write_layout(config), **always)),
                "i_descriptor": In(stream.Signature(descriptor_layout(config), **always)),
                "i_reference": In(stream.Signature(reference_layout(config), **always)),
                "o_report": Out(stream.Signature(report_layout(config))),
                "o_sums": Out(stream.Signature(signed(SUM_BITS))),
                **(estimator_ports(config) if config.sparse_tokens else {}),
                "busy": Out(1),
                "quiet": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        connect, flipped = wiring.connect, wiring.flipped

        m.submodules.beats = beats = SkidBuffer(beat_layout())
        m.submodules.sums = sums = SkidBuffer(signed(SUM_BITS))
        m.submodules.front = front = BeatFront(config)
        m.submodules.scores = scores = ScorePath(config)
        m.submodules.memory = memory = Ram(width=SCORE_BITS, depth=2 * config.score_rows)
        m.submodules.weights = weights = Weights(config)
        m.submodules.accumulators = accumulators = Accumulators(config)
        m.submodules.drain = drain = Drain(config)
        m.submodules.activity = activity = Activity()

        connect(m, flipped(self.i_beats), beats.i)
        pairing = 0
        if config.bounds:
            m.submodules.pairs = pairs = BoundsPairs(config)
            connect(m, beats.o, pairs.i)
            connect(m, pairs.o, front.i)
            m.d.comb += pairs.estimate.eq(self.estimate)
            pairing = pairs.busy
        else:
            connect(m, beats.o, front.i)
        connect(m, weights.o, front.i_weights)
        connect(m, scores.o_report, flipped(self.o_report))
        connect(m, drain.o, sums.i)
        connect(m, sums.o, flipped(self.o_sums))

        messages = self._messages(m, front, scores, weights, drain)

        for sink in (scores, accumulators):
            m.d.comb += [sink.i_valid.eq(front.o_valid), sink.i_meta.eq(front.o_meta)]
            m.d.comb += [
                sink.i_products[head][lane].eq(front.o_products[head][lane])
                for head in range(config.max_heads)
                for lane in range(LANES_FP16)
            ]
        m.d.comb += [
            accumulators.i_early.eq(front.o_early),
            accumulators.i_early_meta.eq(front.o_early_meta),
            memory.w_en.eq(scores.w_en),
            memory.w_addr.eq(scores.w_addr),
            memory.w_data.eq(scores.w_data),
            memory.r_en.eq(weights.r_en),
            memory.r_addr.eq(weights.r_addr),
            weights.r_data.eq(memory.r_data),
            weights.l_bank.eq(drain.l_bank),
            weights.l_head.eq(drain.l_head),
            drain.l_data.eq(weights.l_data),
            *[
                getattr(accumulators, name).eq(getattr(drain, name))
                for name in ("r_en", "r_bank", "r_head", "r_row", "r_lane")
            ],
            drain.r_free.eq(accumulators.r_free),
            drain.r_data.eq(accumulators.r_data),
            drain.i_ended.eq(accumulators.o_ended),
            drain.i_empty.eq(accumulators.o_empty),
            drain.i_poisoned.eq(accumulators.o_poisoned),
        ]
        estimator_busy = self._estimate(m, front) if config.sparse_tokens else 0
        for bank in range(2):
            m.d.comb += weights.i_count[bank].eq(scores.o_count[bank])

        m.d.comb += [
            self.busy.eq(
                front.busy
                | pairing
                | scores.busy
                | weights.busy
                | accumulators.busy
                | drain.active
                | estimator_busy
            ),
            activity.active.eq(
                self.busy
                | messages
                | (self.i_beats.valid & self.i_beats.ready)
                | (self.o_report.valid & self.o_report.ready)
                | (self.o_sums.valid & self.o_sums.ready)
            ),
            self.quiet.eq(activity.quiet),
        ]
        return m

    def _estimate(self, m, front):
        """Estimates of the channel; returns whether something goes on in there."""
        m.submodules.estimator = estimator = Estimator(self._config)
        pulses = Signal(2)  # registered, as all that comes from outside
        m.d.sync += pulses.eq(Cat(self.sum, self.select))
        for port, of in (
            (self.o_estimates, estimator.o_report),
            (self.o_sums_of_weights, estimator.o_sums),
            (self.o_keys, estimator.o_keys),
        ):
            wiring.connect(m, of, wiring.flipped(port))
        m.d.comb += [
            estimator.estimate.eq(self.estimate),
            front.estimate.eq(self.estimate),
            front.drained.eq(estimator.drained),
            estimator.inverses.eq(self.inverses),
            estimator.i_valid.eq(front.o_valid),
            estimator.i_meta.eq(front.o_meta),
            estimator.i_early.eq(front.o_early),
            estimator.i_early_meta.eq(front.o_early_meta),
            *[
                estimator.i_products[head][lane].eq(front.o_products[head][lane])
                for head in range(self._config.max_heads)
                for lane in range(LANES_FP16)
            ],
            estimator.sum.eq(pulses[0]),
            estimator.select.eq(pulses[1]),
            self.free.eq(estimator.free & (pulses == 0)),
        ]
        return (
            estimator.busy
            | (pulses != 0)
            | moves(self.o_estimates)
            | moves(self.o_keys)
            | self.sum
            | self.select
        )

    def _messages(self, m, front, scores, weights, drain):
        """Take in what the query loader and the reference send; banks of descriptors and of M."""
        config = self._config
        writing = _registered(m, "writes", self.i_writes, front.i_writes)
        if config.sparse_tokens:
            writing |= _registered(m, "estimates", self.i_estimate_writes, front.i_estimate_writes)

        # The K pass of job n + 2 may be set up while the V pass of job n runs, hence two sets.
        k_set = [Signal(descriptor_layout(config), name=f"k_{bank}") for bank in range(2)]
        v_set = [Signal(descriptor_layout(config), name=f"v_{bank}") for bank in range(2)]
        loaded, begun = Signal(2), Signal(2)
        descriptor, reference = self.i_descriptor, self.i_reference
        m.d.sync += [
            loaded.eq(descriptor.valid << descriptor.payload.bank),
            begun.eq(reference.valid << reference.payload.bank),
        ]
        references = weights.i_m
        for bank in range(2):
            with m.If(descriptor.valid & (descriptor.payload.bank == bank)):
                m.d.sync += k_set[bank].eq(descriptor.payload)
            kept = [
                Signal(signed(REFERENCE_BITS), name=f"m_{bank}_{head}")
                for head in range(config.max_heads)
            ]
            with m.If(reference.valid & (reference.payload.bank == bank)):
                m.d.sync += v_set[bank].eq(k_set[bank])
                m.d.sync += [
                    kept[head].eq(reference.payload.m[head]) for head in range(config.max_heads)
                ]
            m.d.comb += [references[bank][head].eq(kept[head]) for head in range(config.max_heads)]
            m.d.comb += [
                front.i_k[bank].eq(k_set[bank]),
                scores.i_k[bank].eq(k_set[bank]),
                front.i_v[bank].eq(v_set[bank]),
                weights.i_v[bank].eq(v_set[bank]),
                drain.i_v[bank].eq(v_set[bank]),
            ]

        # A bank of sums is taken from the end of its V pass until it is read out.
        pending, taken = Signal(2), Signal(2)
        m.d.sync += [
            pending.eq((pending & ~front.o_closed) | begun),
            taken.eq((taken & ~drain.o_freed) | front.o_closed),
        ]
        m.d.comb += [
            front.i_loaded.eq(loaded),
            front.i_open.eq(pending & ~taken),
            weights.i_start.eq(begun),
            weights.i_free.eq(~taken),
        ]
        return writing | descriptor.valid | reference.valid


def _registered(m, name, source, sink):
    """A stream that is always ready, through a register; returns whether something moves."""
    payload = Signal.like(source.payload, name=name)
    valid = Signal(name=f"{name}_valid")
    m.d.sync += valid.eq(source.valid)
    with m.If(source.valid):
        m.d.sync += payload.eq(source.payload)
    m.d.comb += [sink.valid.eq(valid), sink.payload.eq(payload)]
    return valid | source.valid
