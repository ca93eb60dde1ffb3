"""The attention engine: jobs, queries and beats in, FP16 attention outputs out.

::

    i_jobs, i_q --> query loader --queries, descriptors--> channel engine 0 .. n - 1 <-- i_beats
                          |                                   |        ^        |
                          |                                reports     M       sums
                          |                                   v        |        v
                          '------------ jobs -------------> reference -----> merge --> o

See `hls_attention.beats` for the order in which beats come, and `hls_attention.twin` for the same
arithmetic in numpy: results are equal bit for bit, whatever the channels and the order of pages.
"""

from amaranth.hdl import Cat, Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from .activity import Activity
from .beats import beat_layout, job_layout
from .channel_engine import ChannelEngine
from .merge import Merge
from .messages import result_layout
from .query_loader import QueryLoader
from .reference import Reference
from .selector import Selector, selection_layout
from .top_channels import mask_layout
from .verdicts import VerdictSignature
from .verilog import Shared

__all__ = ["Engine"]


def selector_ports(config):
    """Ports of an engine with sparse attention."""
    return {
        "i_selections": In(stream.Signature(selection_layout(config))),
        "i_selection_q": In(stream.Signature(64)),
        "o_mask": Out(stream.Signature(mask_layout(config))),
        "verdicts": In(VerdictSignature(config.channels, config.select.lane_rows)),
    }


class Engine(wiring.Component):
    """Attention over any number of beat streams: dense, or over tokens that it chooses first.

    Each channel takes a beat a clock in both passes. Between the K and the V pass of a job a
    channel waits for the slowest one; the K pass of the next job fits in there. One output a clock
    leaves the merge, while the next job runs.

    Parameters
    ----------
    config : EngineConfig

    Members
    -------
    i_jobs : In(stream(job_layout))
        1..max_heads heads, 16..max_beats beats. Tags count jobs from reset, modulo 16.
    i_q : In(stream(64))
        For each job ``heads * beats`` words of FP16 q, head after head, lane 0 in the low bits.
    i_beats : In(stream(beat_layout)) array
        One per channel.
    i_selections, i_selection_q, o_mask, verdicts
        With sparse attention: ``i_jobs``, ``i_q``, ``o_mask`` and ``verdicts`` of `Selector`.
    o : Out(stream(result_layout))
        For each job ``heads * beats`` words of FP16, head after head.
    busy : Out(1)
        Some arithmetic holds work.
    quiet : Out(1)
        Nothing changes until an input does.
    """

    def __init__(self, config):
        self._config = config
        super().__init__(
            {
                "i_jobs": In(stream.Signature(job_layout(config.max_heads))),
                "i_q": In(stream.Signature(64)),
                "i_beats": In(stream.Signature(beat_layout())).array(config.channels),
                "o": Out(stream.Signature(result_layout())),
                **(selector_ports(config) if config.sparse_tokens else {}),
                "busy": Out(1),
                "quiet": Out(1),
            }
        )

    @property
    def config(self):
        """The configuration it was built with."""
        return self._config

    def elaborate(self, platform):
        m = Module()
        config = self._config
        connect, flipped = wiring.connect, wiring.flipped
        m.submodules.loader = loader = QueryLoader(config)
        m.submodules.reference = reference = Reference(config)
        m.submodules.merge = merge = Merge(config)
        m.submodules.activity = activity = Activity()

        connect(m, flipped(self.i_jobs), loader.i_jobs)
        connect(m, flipped(self.i_q), loader.i_q)
        connect(m, loader.o_merge, merge.i_jobs)
        connect(m, reference.o_facts, merge.i_facts)
        connect(m, merge.o, flipped(self.o))
        m.d.comb += loader.i_done.eq(reference.o.valid)

        channels = []
        for index in range(config.channels):
            channel = Shared("channel_engine", lambda: ChannelEngine(config), apart=True)
            m.submodules[f"channel_{index}"] = channel
            channels.append(channel)
            connect(m, flipped(self.i_beats[index]), channel.i_beats)
            connect(m, channel.o_report, reference.i[index])
            connect(m, channel.o_sums, merge.i[index])
            for source, sink in (
                (loader.o_writes, channel.i_writes),
                (loader.o_descriptor, channel.i_descriptor),
                (reference.o, channel.i_reference),
            ):
                m.d.comb += [sink.valid.eq(source.valid), sink.payload.eq(source.payload)]

        selecting, selector_quiet = 0, 1
        if config.sparse_tokens:
            selecting, selector_quiet = self._select(m, channels)
        m.d.comb += [
            activity.active.eq(loader.active | reference.active | merge.active),
            self.quiet.eq(
                activity.quiet & selector_quiet & Cat(channel.quiet for channel in channels).all()
            ),
            self.busy.eq(
                loader.busy
                | merge.busy
                | selecting
                | Cat(channel.busy for channel in channels).any()
            ),
        ]
        return m

    def _select(self, m, channels):
        """The selector and its ways to the channels; returns ``busy`` and ``quiet`` of it."""
        connect, flipped = wiring.connect, wiring.flipped
        m.submodules.selector = selector = Selector(self._config)
        connect(m, flipped(self.i_selections), selector.i_jobs)
        connect(m, flipped(self.i_selection_q), selector.i_q)
        connect(m, selector.o_mask, flipped(self.o_mask))
        connect(m, flipped(self.verdicts), selector.verdicts)
        m.d.comb += selector.i_free.eq(Cat(channel.free for channel in channels))
        for index, channel in enumerate(channels):
            connect(m, channel.o_estimates, selector.i_reports[index])
            connect(m, channel.o_sums_of_weights, selector.i_sums[index])
            connect(m, channel.o_keys, selector.i_keys[index])
            m.d.comb += [
                channel.i_estimate_writes.valid.eq(selector.o_writes.valid),
                channel.i_estimate_writes.payload.eq(selector.o_writes.payload),
                channel.estimate.eq(selector.o_estimate),
                channel.inverses.eq(selector.o_inverses),
                channel.sum.eq(selector.o_sum),
                channel.select.eq(selector.o_select),
            ]
        return selector.busy, selector.quiet
