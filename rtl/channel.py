"""One flash channel of the drive: NAND controller, page source and program queue.

Everything that there is once per channel, behind registered streams, so that its Verilog is written
once and placed as often as the drive has channels::

    requests ---> PageSource --reads--+                        +--> beats, readback
    programs ------------------------>+--> ChannelController --+--> words --> PageSource
    management ----------------------->                        +--> done
"""

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hls_attention.beats import beat_layout
from hls_attention.streams import Arbiter, Queue

from .nand.controller import ChannelController
from .nand.operations import Activity, NandOp, done_layout, operation_layout
from .nand.phy import PhySignature
from .page_requests import page_request_layout
from .page_source import PageSource

__all__ = ["Channel", "PROGRAM_TAG", "program_address_layout"]

PROGRAM_TAG = 2
"""Tag of page programs of the append path."""

PROGRAM_QUEUE = 512
"""Words of program data queued per channel."""


def program_address_layout(dies):
    """Where a page program goes within its channel, and how many words it has."""
    op = operation_layout(dies).members
    return data.StructLayout({name: op[name] for name in ("die", "row", "words")})


class Channel(wiring.Component):
    """A flash channel.

    Parameters
    ----------
    config : rtl.config.DriveConfig

    Members
    -------
    i_requests : In(stream), ``page_request_layout()``
    i_tail : In(stream), 64 bits
    i_program : In(stream), ``program_address_layout()``; i_program_data : In(stream), 64 bits
    i_management : In(stream), ``operation_layout()``
    o : Out(stream), ``beat_layout()``
    o_readback : Out(stream), 64 bits
    done : Out(stream), ``done_layout()``
    phy : Out(PhySignature)
    activity, page_read, page_programmed, block_erased, word_read, quiet : Out
    skip : In(32), next_event : Out(32)
        As in `rtl.nand.controller.ChannelController`.
    """

    def __init__(self, config):
        self._config = config
        dies = config.dies
        super().__init__(
            {
                "i_requests": In(stream.Signature(page_request_layout(dies))),
                "i_tail": In(stream.Signature(64)),
                "i_program": In(stream.Signature(program_address_layout(dies))),
                "i_program_data": In(stream.Signature(64)),
                "i_management": In(stream.Signature(operation_layout(dies))),
                "o": Out(stream.Signature(beat_layout())),
                "o_readback": Out(stream.Signature(64)),
                "done": Out(stream.Signature(done_layout(dies))),
                "phy": Out(PhySignature(dies)),
                "activity": Out(Activity),
                "page_read": Out(1),
                "page_programmed": Out(1),
                "block_erased": Out(1),
                "word_read": Out(1),
                "quiet": Out(1),
                "skip": In(32),
                "next_event": Out(32),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        geometry = config.flash.geometry
        m.submodules.controller = controller = ChannelController(
            config.flash, config.clock_hz, config.operation_depth
        )
        m.submodules.source = source = PageSource(geometry, depth=config.operation_depth)
        m.submodules.ops = ops = Arbiter(operation_layout(config.dies), inputs=3)
        m.submodules.program_data = words = Queue(64, depth=PROGRAM_QUEUE)

        connect(m, flipped(self.i_requests), source.i)
        connect(m, flipped(self.i_tail), source.i_tail)
        connect(m, source.o, flipped(self.o))
        connect(m, source.o_readback, flipped(self.o_readback))
        connect(m, source.o_ops, ops.i[0])
        connect(m, flipped(self.i_management), ops.i[1])
        connect(m, flipped(self.i_program_data), words.i)
        connect(m, words.o, controller.w_data)
        connect(m, ops.o, controller.ops)
        connect(m, controller.r_data, source.i_words)
        connect(m, controller.done, flipped(self.done))
        connect(m, controller.phy, flipped(self.phy))

        program = ops.i[2]
        waits = Signal()
        m.d.comb += [
            program.valid.eq(self.i_program.valid),
            self.i_program.ready.eq(program.ready),
            program.payload.op.eq(NandOp.PROGRAM),
            *[
                program.payload[name].eq(self.i_program.payload[name])
                for name in ("die", "row", "words")
            ],
            program.payload.tag.eq(PROGRAM_TAG),
            self.activity.eq(controller.activity),
            self.page_read.eq(controller.page_read),
            self.page_programmed.eq(controller.page_programmed),
            self.block_erased.eq(controller.block_erased),
            self.word_read.eq(controller.r_data.valid & controller.r_data.ready),
            waits.eq(
                ~(ops.o.valid & ops.o.ready)
                & ~(words.o.valid & words.o.ready)
                & ~(words.i.valid & words.i.ready)
                & ~(controller.done.valid & controller.done.ready)
            ),
            self.quiet.eq(controller.quiet & source.quiet & waits),
            controller.skip.eq(self.skip),
            self.next_event.eq(controller.next_event),
        ]
        return m
