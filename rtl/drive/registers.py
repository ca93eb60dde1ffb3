"""The drive's registers (`rtl.control.Control`) and the blocks that they are of."""

from amaranth.lib.wiring import connect

__all__ = ["connect_commands", "connect_management"]


def connect_commands(m, control, queue, executor):
    """Queue and executor: where queues lie, what may be named, and the firmware's mailbox."""
    connect(m, queue.o, executor.i)
    connect(m, executor.o, queue.i)
    for name in (
        "enable",
        "sq_base",
        "cq_base",
        "sq_size",
        "cq_size",
        "sq_tail",
        "sq_tail_write",
        "cq_head",
        "cq_head_write",
    ):
        m.d.comb += getattr(queue, name).eq(getattr(control, name))
    for name in (
        "window_base",
        "window_end",
        "read_only",
        "mailbox_done",
        "mailbox_status",
        "mailbox_result",
    ):
        m.d.comb += getattr(executor, name).eq(getattr(control, name))
    m.d.comb += [
        executor.hold.eq(control.program_hold),
        control.mailbox.eq(executor.mailbox),
        control.mailbox_sqe.eq(executor.mailbox_sqe),
        control.executing.eq(executor.executing),
        control.fault.eq(queue.fault),
    ]


def connect_management(m, control, allocator, append, slots, flash_port, health):
    """Block groups, program slots, operations of the firmware, and what has happened to flash."""
    connect(m, slots.failed, health.i_failed)
    m.d.comb += [
        control.starved.eq(allocator.starved),
        control.starved_stream.eq(allocator.starved_stream),
        control.filled.eq(allocator.filled),
        control.ending.eq(allocator.ending),
        allocator.block_write.eq(control.block_write),
        allocator.block_place.eq(control.block_place),
        allocator.push.eq(control.push),
        allocator.push_stream.eq(control.stream),
        allocator.push_columns.eq(control.push_columns),
        allocator.end.eq(control.end),
        allocator.end_stream.eq(control.end_stream),
        allocator.look_stream.eq(control.stream),
        allocator.look_channel.eq(control.look_channel),
        append.buffer.eq(control.program_buffer),
        slots.hold.eq(control.program_hold),
        slots.release.eq(control.program_release),
        slots.released.eq(control.program_released),
        control.program_used.eq(slots.used),
        flash_port.start.eq(control.flash_start),
        flash_port.request.eq(control.flash_request),
        control.flash_status.eq(flash_port.status),
        control.event.eq(health.event),
        health.taken.eq(control.event_taken),
    ]
