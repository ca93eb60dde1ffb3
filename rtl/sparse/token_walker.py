"""The token walker: K and V of the tokens kept, pass by pass, as page requests.

::

    MAP_ENTRYs of the pass's groups, twice --------------------------> +----------+
                                                                       | requests | --> channels
    verdicts --> VerdictReader --> CodewordMasks --> CodewordRuns ---> +----------+
                                                                            '--------> tail reader

A request is for codewords of a page that lie side by side, each with a token kept, up to 32 tokens;
it names those that are kept. After the K of a pass each channel gets a null request, after its V
too.

If nobody waits, K and V of a pass take a clock each for

    every codeword wanted, every four tokens without one, every first half of a codeword of 8
    tokens, and every run that the last codeword of a group ends without joining it,

and from the verdicts' being ready to its end a pass takes the memory's latency and some 6 clocks
besides. A request for the tail takes 4 clocks.
"""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import ceil_log2

from hls_attention.beats import BEATS_BITS, TOKEN_BITS, Kind
from hls_attention.streams import Queue, moves

from ..memory import BurstReader
from ..memory_port import MemoryPortSignature
from ..pages.codeword_masks import CodewordMasks
from ..pages.codeword_runs import CodewordRuns
from ..pages.requests import Source, page_request_layout
from ..pages.verdicts import VerdictReader
from ..tables import MAP_ENTRY
from ..walker import offer, tail_request_layout
from .selection_ports import VerdictSignature, token_walk_layout

__all__ = ["TokenWalker"]


class TokenWalker(wiring.Component):
    """Turns passes over the tokens kept of a head into page requests.

    Parameters
    ----------
    config : rtl.config.DriveConfig
    rows : int
        Tokens that a channel may get at most.

    Members
    -------
    i : In(stream), ``token_walk_layout()``
        As many are queued as a sequence has passes at most. Codewords hold 1, 2, 4 or 8 tokens.
    verdicts : Out(VerdictSignature)
    o : Out(stream).array(channels), ``page_request_layout()``
    o_tail : Out(stream), ``tail_request_layout()``
    tail_ask : Out(1)
        Held from before a request for the tail is offered until it and its ``o_tail`` are taken.
    tail_grant : In(1)
        Answers ``tail_ask``: no other walker asks for the tail meanwhile.
    read : Out(MemoryPortSignature)
        Device DRAM.
    quiet : Out(1)
    """

    def __init__(self, config, rows):
        self._config = config
        self._rows = rows
        geometry = config.flash.geometry
        super().__init__(
            {
                "i": In(stream.Signature(token_walk_layout())),
                "verdicts": Out(VerdictSignature(geometry.channels, rows)),
                "o": Out(stream.Signature(page_request_layout(geometry.dies))).array(
                    geometry.channels
                ),
                "o_tail": Out(stream.Signature(tail_request_layout(geometry.channels))),
                "tail_ask": Out(1),
                "tail_grant": In(1),
                "read": Out(MemoryPortSignature()),
                "quiet": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        geometry = self._config.flash.geometry
        channels = geometry.channels
        m.submodules.entries = entries = BurstReader(depth=64, burst=32)
        connect(m, entries.port, flipped(self.read))
        # All passes of a head wait for its verdicts here, so that the next head can be estimated.
        m.submodules.walks = walks = Queue(
            token_walk_layout(), depth=max(2, self._config.max_passes)
        )
        connect(m, flipped(self.i), walks.i)
        walk = Signal(token_walk_layout())
        m.submodules.reader = reader = VerdictReader(channels, self._rows, self._config.unit_tokens)
        m.d.comb += [
            self.verdicts.lane.eq(reader.lane),
            self.verdicts.quad.eq(reader.quad),
            reader.keep.eq(Mux(walk.all, -1, self.verdicts.keep)),
        ]
        m.submodules.masks = masks = CodewordMasks()
        m.submodules.runs = runs = CodewordRuns()
        connect(m, reader.o, masks.i)
        connect(m, masks.o, runs.i)
        m.d.comb += runs.tokens.eq(masks.tokens)

        poisoned = Signal()
        kind = Signal(Kind)
        group = Signal(24)  # then it comes round the channels
        base = Signal(TOKEN_BITS)  # of the pass: the group's first token
        left = Signal(range(channels + 1))  # channels to be told that this is the end
        channel = Signal(max(1, ceil_log2(channels)))
        begins = Signal()
        self._feed(m, walk, begins, entries, reader)
        for bit in range(4, BEATS_BITS):  # vectors have 16, 32 or 64 beats
            with m.If(walk.beats[bit]):
                m.d.comb += masks.tokens.eq(self._config.codeword_bytes // 8 >> bit)

        last_group, on_tail, of_k, wanted = Signal(), Signal(), Signal(), Signal()
        size = Signal(12)  # tokens of the group
        rest = Signal(12)  # tokens of the group from the run on
        run = runs.o.payload
        m.d.comb += [
            last_group.eq(group == walk.last),
            on_tail.eq(group == walk.flash_groups),
            of_k.eq(kind == Kind.K),
            channel.eq((walk.channel + group)[: len(channel)] if channels > 1 else 0),
            size.eq(Mux(last_group, walk.end_tokens, walk.group_tokens)),
            wanted.eq(run.mask.any() & (run.skip < size)),
            rest.eq(size - run.skip),
        ]

        request = Signal(page_request_layout(geometry.dies))
        entry = MAP_ENTRY.struct(entries.o.payload.data)
        tokens = Signal.like(run.tokens)
        m.d.comb += [
            tokens.eq(Mux(rest < run.tokens, rest, run.tokens)),
            request.kind.eq(kind),
            request.format.eq(walk.format),
            request.job.eq(walk.tag),
            self.o_tail.payload.address.eq(
                walk.tail + Mux(of_k, 0, geometry.page_bytes) + ((run.skip * walk.beats) << 3)
            ),
            self.o_tail.payload.words.eq(tokens * walk.beats),
            self.o_tail.payload.channel.eq(channel),
        ]
        of_run = [
            request.source.eq(Mux(on_tail, Source.TAIL, Source.FLASH)),
            request.die.eq(Mux(of_k, entry.k_die, entry.v_die)),
            request.row.eq(Mux(of_k, entry.k_row, entry.v_row)),
            request.token.eq(base + run.skip),
            request.skip.eq(run.skip),
            request.tokens.eq(tokens),
            request.beats.eq(walk.beats),
            request.sparse.eq(1),
            request.mask.eq(run.mask),
            request.error.eq(~on_tail & entries.o.payload.error),
        ]
        offered, served, turns = Signal(), Signal(), Signal()
        taken = offer(m, self.o, channel, request, offered)
        waits = Signal()
        m.d.comb += [
            runs.o.ready.eq(served),
            turns.eq(served & run.last),
            entries.o.ready.eq(turns & ~on_tail),
            self.quiet.eq(waits & entries.quiet & reader.quiet),
        ]
        with m.If(turns):
            m.d.sync += [group.eq(group + 1), base.eq(base + walk.group_tokens)]

        with m.FSM(name="state"):
            with m.State("NEXT"):
                m.d.comb += [walks.o.ready.eq(1), waits.eq(~walks.o.valid)]
                with m.If(walks.o.valid):
                    m.d.sync += [walk.eq(walks.o.payload), kind.eq(Kind.K)]
                    m.next = "READY"
            with m.State("READY"):
                m.d.comb += [begins.eq(walk.all | self.verdicts.ready), waits.eq(~begins)]
                m.d.sync += poisoned.eq(self.verdicts.poisoned & ~walk.all)
                with m.If(begins):
                    m.next = "BEGIN"
            with m.State("BEGIN"):
                m.d.sync += [group.eq(walk.first), base.eq(0), left.eq(channels)]
                m.next = "DEAL"
            with m.State("DEAL"):
                here = Signal()
                m.d.comb += [
                    *of_run,
                    here.eq(runs.o.valid & (on_tail | entries.o.valid)),
                    offered.eq(here & wanted & ~on_tail),
                    served.eq(here & (taken | ~wanted)),
                    waits.eq(offered & ~taken),
                ]
                with m.If(turns & last_group):
                    m.next = "END"
                with m.If(here & wanted & on_tail):
                    m.next = "TAIL"
            with m.State("TAIL"):
                m.d.comb += [
                    *of_run,
                    self.tail_ask.eq(1),
                    offered.eq(self.tail_grant),
                    waits.eq(~taken),
                ]
                with m.If(taken):
                    m.next = "TAIL_WORDS"
            with m.State("TAIL_WORDS"):
                m.d.comb += [
                    self.tail_ask.eq(1),
                    self.o_tail.valid.eq(1),
                    served.eq(self.o_tail.ready),
                    waits.eq(~self.o_tail.ready),
                ]
                with m.If(served):
                    m.next = "DEAL"
                    with m.If(turns & last_group):
                        m.next = "END"
            with m.State("END"):
                m.d.comb += [
                    request.source.eq(Source.NULL),
                    request.error.eq(poisoned & of_k),
                    request.last.eq(1),
                    offered.eq(1),
                    waits.eq(~taken),
                ]
                with m.If(taken):
                    m.d.sync += [group.eq(group + 1), left.eq(left - 1)]
                    with m.If(left == 1):
                        m.d.sync += kind.eq(Kind.V)
                        m.next = "BEGIN"
                        with m.If(~of_k):
                            m.next = "RELEASE"
            with m.State("RELEASE"):
                # A clock without a look at ``ready``, which falls a clock after the pulse.
                m.d.comb += self.verdicts.release.eq(walk.ends & ~walk.all)
                m.next = "NEXT"
        return m

    def _feed(self, m, walk, begins, entries, reader):
        """Reads the pass's map entries and verdicts, for K and then for V."""
        asks, reads = Signal(2), Signal(2)
        stored = Mux(walk.last < walk.flash_groups, walk.last + 1, walk.flash_groups)
        m.d.comb += [
            entries.i.valid.eq(asks != 0),
            entries.i.payload.address.eq(walk.map + (walk.first << 3)),
            entries.i.payload.words.eq(stored - walk.first),
            reader.i.valid.eq(reads != 0),
            reader.i.payload.eq(walk),
        ]
        with m.If(moves(entries.i)):
            m.d.sync += asks.eq(asks - 1)
        with m.If(moves(reader.i)):
            m.d.sync += reads.eq(reads - 1)
        with m.If(begins):
            m.d.sync += [asks.eq(Mux(walk.first == walk.flash_groups, 0, 2)), reads.eq(2)]
