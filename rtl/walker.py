"""The map walker: passes in, page requests out, one stream per channel, well ahead of use.

For each pass of a head it walks the head's map twice, for K and for V, and deals the groups to the
channels they live on; the tail follows as the group after the last on flash. Of the first and the
last group, the pass may want a part only. The order of passes is::

    K(0)  K(1) V(0)  K(2) V(1)  ...  K(n-1) V(n-2)  V(n-1)

so that the wait for a pass's reference score is covered by the next one's K.
"""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import ceil_log2

from hls_attention.beats import BEATS_BITS, JOB_BITS, TOKEN_BITS, Format, Kind
from hls_attention.streams import Queue

from .memory import WORDS_BITS, BurstReader
from .memory_port import ADDRESS_BITS, MemoryPortSignature
from .pages.requests import Source, page_request_layout
from .tables import MAP_ENTRY

__all__ = ["Walker", "offer", "walk_layout", "tail_request_layout"]


def walk_layout():
    """One pass for the walker, or the end of a list, or pages to be read back."""
    return data.StructLayout(
        {
            "end": 1,  # nothing follows: finish what is open
            "readback": 1,  # pages of ``kind`` for nobody's pass, groups ``first`` to ``last``
            "kind": Kind,
            "tag": JOB_BITS,
            "format": Format,
            "beats": BEATS_BITS,
            "channel": 8,  # of the head's group 0
            "map": ADDRESS_BITS,
            "tail": ADDRESS_BITS,
            "flash_groups": 24,  # full groups on flash: the next one is in the tail
            "group_tokens": 12,
            "first": 24,  # group of the pass's first token
            "skip": 12,  # tokens of that group before it
            "last": 24,  # group of its last token
            "end_tokens": 12,  # tokens of that group up to it
        }
    )


def tail_request_layout(channels):
    """Tail words for a channel."""
    return data.StructLayout(
        {
            "address": ADDRESS_BITS,
            "words": WORDS_BITS,
            "channel": max(1, ceil_log2(channels)),
        }
    )


def offer(m, ports, channel, request, offered):
    """Offers a request to one of the channels' streams; whether it is taken in this clock."""
    taken = Signal()
    for index, port in enumerate(ports):
        chosen = Signal(name=f"chosen_{index}")
        m.d.comb += [
            chosen.eq(channel == index if len(ports) > 1 else 1),
            port.payload.eq(request),
            port.valid.eq(offered & chosen),
        ]
        with m.If(chosen):
            m.d.comb += taken.eq(offered & port.ready)
    return taken


class Walker(wiring.Component):
    """Turns jobs into page requests.

    Parameters
    ----------
    geometry : flash_model.geometry.Geometry

    Members
    -------
    i : In(stream), ``walk_layout()``
    o : Out(stream).array(channels), ``page_request_layout()``
    o_tail : Out(stream), ``tail_request_layout()``
    read : Out(MemoryPortSignature)
        Device DRAM.
    quiet : Out(1)
    """

    def __init__(self, geometry):
        self._geometry = geometry
        super().__init__(
            {
                "i": In(stream.Signature(walk_layout())),
                "o": Out(stream.Signature(page_request_layout(geometry.dies))).array(
                    geometry.channels
                ),
                "o_tail": Out(stream.Signature(tail_request_layout(geometry.channels))),
                "read": Out(MemoryPortSignature()),
                "quiet": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        channels = self._geometry.channels
        page_bytes = self._geometry.page_bytes
        channel_bits = max(1, ceil_log2(channels))
        m.submodules.entries = entries = BurstReader(depth=64, burst=32)
        connect(m, entries.port, flipped(self.read))

        m.submodules.jobs = jobs = Queue(walk_layout(), depth=4)
        connect(m, flipped(self.i), jobs.i)

        job = Signal(walk_layout())  # the job of this pass
        previous = Signal(walk_layout())  # the job whose V pass is still to come
        owed = Signal()  # previous is valid
        kind = Signal(Kind)
        group = Signal(24)
        beyond = Signal(24)  # where dealing ends: after the last group, and after every channel
        token = Signal(TOKEN_BITS)
        channel = Signal(channel_bits)

        request = Signal(page_request_layout(self._geometry.dies))
        entry = MAP_ENTRY.struct(entries.o.payload.data)
        on_flash = Signal()
        on_tail = Signal()
        k_kind = Signal()
        skip = Signal(12)
        stop = Signal(12)  # tokens of the group up to the last one wanted
        m.d.comb += [
            k_kind.eq(kind == Kind.K),
            on_flash.eq((group <= job.last) & (group != job.flash_groups)),
            on_tail.eq((group <= job.last) & (group == job.flash_groups)),
            skip.eq(Mux(group == job.first, job.skip, 0)),
            stop.eq(Mux(group == job.last, job.end_tokens, job.group_tokens)),
            request.source.eq(
                Mux(
                    on_flash,
                    Mux(job.readback, Source.READBACK, Source.FLASH),
                    Mux(on_tail, Source.TAIL, Source.NULL),
                )
            ),
            request.die.eq(Mux(k_kind, entry.k_die, entry.v_die)),
            request.row.eq(Mux(k_kind, entry.k_row, entry.v_row)),
            request.kind.eq(kind),
            request.format.eq(job.format),
            request.job.eq(job.tag),
            request.token.eq(token),
            request.skip.eq(skip),
            request.tokens.eq(stop - skip),
            request.beats.eq(job.beats),
            request.error.eq(on_flash & entries.o.payload.error),
            request.last.eq(group + channels >= beyond),
            self.o_tail.payload.address.eq(
                job.tail + Mux(k_kind, 0, page_bytes) + ((skip * job.beats) << 3)
            ),
            self.o_tail.payload.words.eq(request.tokens * job.beats),
            self.o_tail.payload.channel.eq(channel),
        ]
        offered = Signal()
        taken = offer(m, self.o, channel, request, offered)

        waits = Signal()
        m.d.comb += self.quiet.eq(waits & entries.still)  # nothing is taken while it waits
        first_channel = Signal(8)
        with m.FSM(name="state"):
            with m.State("NEXT"):
                m.d.comb += waits.eq(~jobs.o.valid)
                with m.If(jobs.o.valid):
                    with m.If(jobs.o.payload.end & owed):
                        m.d.sync += [job.eq(previous), kind.eq(Kind.V), owed.eq(0)]
                        m.next = "START"
                    with m.Else():
                        m.d.comb += jobs.o.ready.eq(1)
                        with m.If(~jobs.o.payload.end):
                            m.d.sync += [
                                job.eq(jobs.o.payload),
                                kind.eq(Mux(jobs.o.payload.readback, jobs.o.payload.kind, Kind.K)),
                            ]
                            m.next = "START"
            with m.State("START"):
                m.d.sync += [
                    group.eq(job.first),
                    token.eq(0),
                    first_channel.eq(job.channel + job.first),
                ]
                m.next = "ASK"
            with m.State("ASK"):
                end = job.last + 1
                least = job.first + channels  # every channel is told that the pass ends
                stored = Mux(job.last < job.flash_groups, end, job.flash_groups)
                m.d.sync += [
                    beyond.eq(Mux(job.readback | (end > least), end, least)),
                    channel.eq(first_channel[:channel_bits] if channels > 1 else 0),
                ]
                with m.If(job.first < job.flash_groups):
                    m.d.comb += [
                        entries.i.valid.eq(1),
                        entries.i.payload.address.eq(job.map + (job.first << 3)),
                        entries.i.payload.words.eq(stored - job.first),
                    ]
                    with m.If(entries.i.ready):
                        m.next = "DEAL"
                with m.Else():
                    m.next = "DEAL"
            with m.State("DEAL"):
                m.d.comb += [
                    offered.eq(~on_flash | entries.o.valid),
                    waits.eq(offered & ~taken),
                    entries.o.ready.eq(on_flash & taken),
                ]
                with m.If(taken):
                    with m.If(on_tail):
                        m.next = "TAIL"
                    with m.Else():
                        m.d.sync += token.eq(token + request.tokens)
                        self._advance(m, group, channel, beyond, job.readback)
            with m.State("TAIL"):
                m.d.comb += [self.o_tail.valid.eq(1), waits.eq(~self.o_tail.ready)]
                with m.If(self.o_tail.ready):
                    self._advance(m, group, channel, beyond, job.readback)
            with m.State("TURN"):
                # After K(n): V(n-1), if one is owed; after V(n-1): on with the next job.
                with m.If(kind == Kind.K):
                    m.d.sync += [previous.eq(job), owed.eq(1)]
                    with m.If(owed):
                        m.d.sync += [job.eq(previous), kind.eq(Kind.V)]
                        m.next = "START"
                    with m.Else():
                        m.next = "NEXT"
                with m.Else():
                    m.next = "NEXT"
        return m

    def _advance(self, m, group, channel, beyond, readback):
        m.d.sync += group.eq(group + 1)
        if self._geometry.channels > 1:
            m.d.sync += channel.eq(channel + 1)
        with m.If(group + 1 == beyond):
            m.next = "TURN"
            with m.If(readback):
                m.next = "NEXT"
        with m.Else():
            m.next = "DEAL"
