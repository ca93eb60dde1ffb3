"""What is not a read of an attend, to and from its channel.

::

    AppendPath --orders--> channel of the order --done--+--> ProgramSlots
    FlashPort --operations, words--> its channel -------+--> FlashPort
    channel that is read back --words--> Executor
"""

from amaranth.hdl import Mux
from amaranth.lib.wiring import connect

from hls_attention.streams import Arbiter

from ..nand.operations import TAG_BITS, done_layout
from ..program_slots import PROGRAM_TAG

__all__ = ["connect_flash"]


def connect_flash(m, config, append, executor, slots, flash_port, channels):
    """Places them in the drive's module; returns the arbiter of what has ended.

    Parameters
    ----------
    m : Module
        The drive's.
    config : rtl.config.DriveConfig
    append : rtl.append.path.AppendPath
    executor : rtl.executor.executor.Executor
    slots : rtl.program_slots.ProgramSlots
    flash_port : rtl.flash_port.FlashPort
    channels : list of rtl.channel.Channel
    """
    connect(m, slots.o, append.slot)
    m.d.comb += slots.ask.eq(append.ask_slot)
    done = Arbiter(done_layout(config.dies), inputs=len(channels))
    m.submodules.done = done
    order = append.o_order.payload
    for index, channel in enumerate(channels):
        connect(m, channel.done, done.i[index])
        m.d.comb += [
            channel.i_management.payload.eq(flash_port.o_ops.payload),
            channel.i_management_words.payload.eq(flash_port.o_words.payload),
            *[
                channel.i_order.payload[name].eq(order[name])
                for name in ("die", "row", "slot", "spoiled")
            ],
        ]
        with m.If(flash_port.channel == index):
            m.d.comb += [
                channel.i_management.valid.eq(flash_port.o_ops.valid),
                flash_port.o_ops.ready.eq(channel.i_management.ready),
                channel.i_management_words.valid.eq(flash_port.o_words.valid),
                flash_port.o_words.ready.eq(channel.i_management_words.ready),
                flash_port.i_words.valid.eq(channel.o_management.valid),
                flash_port.i_words.payload.eq(channel.o_management.payload),
                channel.o_management.ready.eq(flash_port.i_words.ready),
            ]
        with m.If(order.channel == index):
            m.d.comb += [
                channel.i_order.valid.eq(append.o_order.valid),
                append.o_order.ready.eq(channel.i_order.ready),
            ]
    with m.Switch(executor.readback_channel):
        for index, channel in enumerate(channels):
            with m.Case(index):
                connect(m, channel.o_readback, executor.i_readback)
    is_program = done.o.payload.tag[-1]
    assert PROGRAM_TAG == 1 << TAG_BITS - 1
    m.d.comb += [
        slots.i_done.payload.eq(done.o.payload),
        flash_port.i_done.payload.eq(done.o.payload),
        slots.i_done.valid.eq(done.o.valid & is_program),
        flash_port.i_done.valid.eq(done.o.valid & ~is_program),
        done.o.ready.eq(Mux(is_program, slots.i_done.ready, flash_port.i_done.ready)),
    ]
    return done
