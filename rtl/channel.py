"""One flash channel of the drive: controller, error correction, page source, program queue.

Everything that there is once per channel, behind registered streams, so that its Verilog is written
once and placed as often as the drive has channels::

    requests ----> PageSource --> PageReader --+                        +--> words --> PageReader
    orders --> ProgramFeeder --> PageWriter ---+--> ChannelController --+--> done
    management --------------------------------+        |
                                                        +--> words --> management

A read of a page, and a management operation of a die, wait until the programs ordered before have
been given to the controller. That is one of dies behind a PHY, or of pages in a memory
(`rtl.page_memory`): nothing else here knows.
"""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hls_attention.beats import beat_layout
from hls_attention.streams import Arbiter, Queue, SkidBuffer, moves

from .drive.pages import channel_ports
from .ecc.decoder import Decoder
from .ecc.decoder_front import DecoderFront, shared_ports
from .flash_port import MANAGEMENT_TAG
from .memory_port import ADDRESS_BITS, MemoryPortSignature
from .nand.controller import ChannelController
from .nand.operations import Activity, Cause, NandOp, done_layout, operation_layout, read_layout
from .page_memory.controller import MemoryController
from .pages.reader import RETRY_TAG, PageReader, again_layout
from .pages.requests import page_request_layout, page_word_layout
from .pages.source import PageSource
from .pages.writer import PageWriter
from .program_feeder import ProgramFeeder, order_layout
from .read_counts import ReadCounts, block_layout, block_of

__all__ = ["Channel"]

PROGRAM_QUEUE = 512
"""Words of program data queued per channel."""


class Channel(wiring.Component):
    """A flash channel.

    Parameters
    ----------
    config : rtl.config.DriveConfig

    Members
    -------
    i_requests : In(stream), ``page_request_layout()``
    i_tail : In(stream), ``page_word_layout()``
    i_order : In(stream), `rtl.program_feeder.order_layout`
    buffer : In(48)
        DRAM address of the program slots.
    read : Out(MemoryPortSignature)
        Device DRAM: the pages ordered.
    i_management : In(stream), ``operation_layout()``
    i_management_words : In(stream), 64 bits; o_management : Out(stream), ``read_layout()``
        Words of its PROGRAMs and READs, as they lie on flash. No word of a PROGRAM comes while
        those of another are on their way.
    o_again : Out(stream), `rtl.pages.reader.again_layout`
    read_limit, o_often, count_ask, count_clear, count_place, count_busy, count_value
        ``limit``, ``o``, ``ask``, ``clear``, ``asked``, ``busy`` and ``value`` of
        `rtl.read_counts.ReadCounts`.
    o : Out(stream), ``beat_layout()``
    o_readback : Out(stream), ``page_word_layout()``
    o_differences, i_fixes
        As in `rtl.ecc.decoder_front.DecoderFront`, if channels share decoders.
    done : Out(stream), ``done_layout()``
    phy : Out(PhySignature)
        With pages on dies.
    pages : Out(MemoryPortSignature), page_base : In(48)
        With pages in a memory: it, and where the channel's pages begin.
    activity, page_read, page_programmed, block_erased, word_read, quiet : Out
    corrected, unrecovered, retried : Out
        As in `rtl.pages.reader.PageReader`.
    skip : In(32), next_event : Out(32)
        As in `rtl.nand.controller.ChannelController`.
    """

    def __init__(self, config):
        self._config = config
        dies = config.dies
        super().__init__(
            {
                "i_requests": In(stream.Signature(page_request_layout(dies))),
                "i_tail": In(stream.Signature(page_word_layout())),
                "i_order": In(stream.Signature(order_layout(config.flash.geometry))),
                "buffer": In(ADDRESS_BITS),
                "read": Out(MemoryPortSignature()),
                "i_management": In(stream.Signature(operation_layout(dies))),
                "i_management_words": In(stream.Signature(64)),
                "o_management": Out(stream.Signature(read_layout())),
                "o_again": Out(stream.Signature(again_layout(dies))),
                "read_limit": In(config.count_bits),
                "o_often": Out(stream.Signature(block_layout(config.flash.geometry))),
                "count_ask": In(1),
                "count_clear": In(1),
                "count_place": In(block_layout(config.flash.geometry)),
                "count_busy": Out(1),
                "count_value": Out(config.count_bits),
                "o": Out(stream.Signature(beat_layout())),
                "o_readback": Out(stream.Signature(page_word_layout())),
                "done": Out(stream.Signature(done_layout(dies))),
                **channel_ports(config),
                "activity": Out(Activity),
                "page_read": Out(1),
                "page_programmed": Out(1),
                "block_erased": Out(1),
                "word_read": Out(1),
                "corrected": Out(range(config.code.t + 1)),
                "unrecovered": Out(1),
                "retried": Out(1),
                "quiet": Out(1),
                "skip": In(32),
                "next_event": Out(32),
                **(shared_ports(config.code) if config.decoder_channels > 1 else {}),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        geometry = config.flash.geometry
        m.submodules.controller = controller = self._controller()
        m.submodules.source = source = PageSource(geometry, depth=config.reads_ahead)
        code, sizes = config.code, config.decoder_sizes
        if config.decoder_channels > 1:
            decoder = DecoderFront(code)
        else:
            decoder = Decoder(code, lanes=sizes.lanes, positions=sizes.positions)
        m.submodules.reader = reader = PageReader(
            config.dies,
            code,
            decoder,
            codewords=geometry.page_bytes // code.data_bytes,
            depth=config.reads_ahead,
        )
        m.submodules.feeder = feeder = ProgramFeeder(geometry)
        m.submodules.writer = writer = PageWriter(config.dies, code)
        m.submodules.counts = counts = ReadCounts(geometry, config.count_bits)
        m.submodules.ops = ops = Arbiter(operation_layout(config.dies), inputs=3)
        m.submodules.program_data = words = Queue(64, depth=PROGRAM_QUEUE)
        m.submodules.readback = readback = SkidBuffer(page_word_layout())

        connect(m, flipped(self.i_requests), source.i)
        connect(m, flipped(self.i_tail), source.i_tail)
        connect(m, source.o, flipped(self.o))
        connect(m, source.o_readback, readback.i)
        connect(m, readback.o, flipped(self.o_readback))
        connect(m, reader.o_ops, ops.i[0])
        connect(m, flipped(self.i_order), feeder.i)
        connect(m, feeder.o, writer.i)
        connect(m, feeder.o_data, writer.i_data)
        connect(m, feeder.read, flipped(self.read))
        asked, management = source.o_ops, flipped(self.i_management)
        m.d.comb += [
            feeder.asked_die.eq(asked.payload.die),
            feeder.asked_row.eq(asked.payload.row),
        ]
        _unless(m, feeder.asked_waits, asked, reader.i)
        waiting = feeder.waiting.bit_select(management.payload.die, 1)
        _unless(m, waiting, management, ops.i[1])
        if config.decoder_channels > 1:
            connect(m, reader.o_differences, flipped(self.o_differences))
            connect(m, flipped(self.i_fixes), reader.i_fixes)
        connect(m, reader.o_again, flipped(self.o_again))
        connect(m, counts.o, flipped(self.o_often))
        m.d.comb += [
            counts.limit.eq(self.read_limit),
            counts.ask.eq(self.count_ask),
            counts.clear.eq(self.count_clear),
            counts.asked.eq(self.count_place),
            self.count_busy.eq(counts.busy),
            self.count_value.eq(counts.value),
        ]
        m.d.sync += [  # a clock later, as whether it is taken is known late
            counts.sensed.eq(moves(reader.o_ops) & (reader.o_ops.payload.op == NandOp.READ)),
            counts.place.die.eq(reader.o_ops.payload.die),
            counts.place.block.eq(block_of(reader.o_ops.payload.row, geometry)),
        ]
        connect(m, words.o, controller.w_data)
        owners = self._share_reads(m, ops, controller, reader)
        with m.If(self.i_management_words.valid):
            connect(m, flipped(self.i_management_words), words.i)
        with m.Else():
            connect(m, writer.o_data, words.i)
        connect(m, reader.o, source.i_words)
        if config.page_store == "memory":
            connect(m, controller.pages, flipped(self.pages))
            m.d.comb += controller.base.eq(self.page_base)
        else:
            connect(m, controller.phy, flipped(self.phy))
        is_retry = controller.done.payload.tag == RETRY_TAG
        m.d.comb += [
            self.done.payload.eq(controller.done.payload),
            reader.i_done.payload.eq(controller.done.payload),
            self.done.valid.eq(controller.done.valid & ~is_retry),
            reader.i_done.valid.eq(controller.done.valid & is_retry),
            controller.done.ready.eq(Mux(is_retry, reader.i_done.ready, self.done.ready)),
        ]

        of_feeder = (controller.done.payload.op == NandOp.PROGRAM) & controller.done.payload.tag[-1]
        with m.If(of_feeder & feeder.done_lost & ~controller.done.payload.failed):
            m.d.comb += [self.done.payload.failed.eq(1), self.done.payload.cause.eq(Cause.MEMORY)]

        program = ops.i[2]
        waits = Signal()
        m.d.comb += [
            program.valid.eq(writer.o.valid),
            writer.o.ready.eq(program.ready),
            program.payload.op.eq(NandOp.PROGRAM),
            *[
                program.payload[name].eq(writer.o.payload[name])
                for name in ("die", "row", "words", "tag")
            ],
            feeder.buffer.eq(self.buffer),
            feeder.done.eq(moves(controller.done) & of_feeder),
            feeder.done_die.eq(controller.done.payload.die),
            self.corrected.eq(reader.corrected),
            self.unrecovered.eq(reader.unrecovered),
            self.retried.eq(reader.retried),
            self.activity.eq(controller.activity),
            self.page_read.eq(controller.page_read),
            self.page_programmed.eq(controller.page_programmed),
            self.block_erased.eq(controller.block_erased),
            self.word_read.eq(moves(reader.o)),
            waits.eq(
                ~moves(ops.o)
                & ~moves(owners.o)
                & ~moves(words.o)
                & ~moves(words.i)
                & ~moves(controller.done)
                & ~moves(self.o_management)
                & ~moves(self.o_again)
            ),
            self.quiet.eq(
                controller.quiet
                & source.quiet
                & reader.quiet
                & feeder.quiet
                & writer.quiet
                & counts.quiet
                & waits
            ),
            controller.skip.eq(self.skip),
            self.next_event.eq(controller.next_event),
        ]
        return m

    def _controller(self):
        config = self._config
        if config.page_store == "memory":
            return MemoryController(config.flash.geometry, config.reads_ahead)
        return ChannelController(config.flash, config.clock_hz, config.reads_ahead)

    def _share_reads(self, m, ops, controller, reader):
        """Words of READ and READ_ID, which come in order, to whom they are of. Returns owners."""
        m.submodules.owners = owners = Queue(1, depth=2 * self._config.reads_ahead)
        op = ops.o.payload.op
        is_read = (op == NandOp.READ) | (op == NandOp.READ_ID)
        word = controller.r_data
        mine = self.o_management
        m.d.comb += [
            controller.ops.payload.eq(ops.o.payload),
            controller.ops.valid.eq(ops.o.valid & (owners.i.ready | ~is_read)),
            ops.o.ready.eq(controller.ops.ready & (owners.i.ready | ~is_read)),
            owners.i.valid.eq(ops.o.valid & is_read & controller.ops.ready),
            owners.i.payload.eq(ops.o.payload.tag == MANAGEMENT_TAG),
            reader.i_words.payload.eq(word.payload),
            mine.payload.eq(word.payload),
            reader.i_words.valid.eq(word.valid & owners.o.valid & ~owners.o.payload),
            mine.valid.eq(word.valid & owners.o.valid & owners.o.payload),
            word.ready.eq(owners.o.valid & Mux(owners.o.payload, mine.ready, reader.i_words.ready)),
            owners.o.ready.eq(moves(word) & word.payload.last),
        ]
        return owners


def _unless(m, waits, asked, to):
    """Operations from one stream to another, held while they have to wait."""
    m.d.comb += [
        to.payload.eq(asked.payload),
        to.valid.eq(asked.valid & ~waits),
        asked.ready.eq(to.ready & ~waits),
    ]
