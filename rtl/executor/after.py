"""States of what a command leaves to be done once its completion is posted.

::

    job --> head --+--> a tail that is full goes onto flash ------------------> head again
      ^            +--> a unit of K by channel, or of bounds, is due: its K pages are
      |            |    read for the append path, which makes it -------------> head again
      '--- next ---'

A STEP leaves tails that its tokens filled, an APPEND only units that it did not bring as a whole.
Until they are done no other command begins, so that nobody moves or gives up the pages meanwhile;
and K is not read while the firmware holds commands back. What fails stays to be done.
"""

from amaranth.hdl import Signal

from hls_attention.beats import Kind
from hls_attention.streams import moves

from ..append.records import groups_in_units
from ..commands import Opcode, Status

__all__ = ["after_states"]


def after_states(m, x):
    """Adds the states to the executor ``x``; entered at AFTER, left at IDLE."""
    appended = x.sqe.opcode == Opcode.APPEND
    job, head, sequence = x.job, x.info.head, x.sequence
    page_words = x.config.flash.geometry.page_bytes // 8  # those of K of a unit are full
    word = Signal(range(page_words), name="unit_word")
    first = groups_in_units(sequence, head, x.config.bounds)

    def leave_lost():
        """On to the next head if the append path has failed."""
        with m.If(x.i_append.payload.failed):
            m.next = "AFTER_NEXT_HEAD"

    with m.State("AFTER"):
        m.d.sync += [x.index.eq(0), x.flush_due.eq(0)]
        with m.If(x.flush_due):
            m.next = "AFTER_JOB"
        with m.Elif(appended & (x.status == Status.SUCCESS) & (sequence.unit_groups != 0)):
            m.next = "AFTER_HEADS"
        with m.Else():
            m.next = "IDLE"
    x.read_job(m, "AFTER_JOB", then="AFTER_SEQUENCE")
    x.look_up(m, job.sequence, job.layer, "AFTER_SEQUENCE", ok="AFTER_HEADS", refused="AFTER_NEXT")
    with m.State("AFTER_HEADS"):
        m.d.sync += x.head.eq(0)
        m.next = "AFTER_LOOK"
    x.ask_append(m, "AFTER_LOOK", then="AFTER_CHECK", check=leave_lost)
    with m.State("AFTER_CHECK"):
        with m.If(head.tail_tokens == sequence.group_tokens):
            m.next = "AFTER_FLUSH"
        with m.Elif(x.info.unit_due):
            m.next = "UNIT_WAIT"
        with m.Else():
            m.next = "AFTER_NEXT_HEAD"
    x.ask_append(m, "AFTER_FLUSH", then="AFTER_CHECK", check=leave_lost, flush=1)

    with m.State("UNIT_WAIT"):
        # The firmware, called for a page before, may still be moving pages.
        m.d.comb += x.waits.eq(x.hold)
        with m.If(~x.hold):
            m.next = "UNIT_WALK"
    with m.State("UNIT_WALK"):
        walk = x.o_walk
        m.d.comb += [
            walk.valid.eq(1),
            walk.payload.readback.eq(1),
            walk.payload.kind.eq(Kind.K),
            walk.payload.channel.eq(x.info.channel),
            walk.payload.map.eq(x.info.map),
            walk.payload.flash_groups.eq(head.flash_groups),
            walk.payload.group_tokens.eq(sequence.group_tokens),
            walk.payload.first.eq(first),
            walk.payload.last.eq(first + sequence.unit_groups - 1),
            walk.payload.end_tokens.eq(sequence.group_tokens),
            walk.payload.beats.eq(sequence.head_dim >> 2),
        ]
        m.d.sync += [
            word.eq(0),
            x.readback_channel.eq(x.info.channel + first),
        ]
        with m.If(walk.ready):
            m.next = "UNIT_ASK"
    with m.State("UNIT_ASK"):
        m.d.comb += [
            x.o_append.valid.eq(1),
            x.o_append.payload.head.eq(x.head),
            x.o_append.payload.columns.eq(1),
        ]
        with m.If(x.o_append.ready):
            m.next = "UNIT_WORDS"
    with m.State("UNIT_WORDS"):
        m.d.comb += [
            x.o_words.valid.eq(x.i_readback.valid),
            x.o_words.payload.eq(x.i_readback.payload.data),
            x.i_readback.ready.eq(x.o_words.ready),
            x.i_append.ready.eq(1),
            x.waits.eq(~moves(x.i_readback) & ~x.i_append.valid),
        ]
        with m.If(moves(x.i_readback)):
            m.d.sync += [
                word.eq(word + 1),
                x.unreadable.eq(x.unreadable | x.i_readback.payload.error),
            ]
            with m.If(word == page_words - 1):
                m.d.sync += [word.eq(0), x.readback_channel.eq(x.readback_channel + 1)]
        with m.If(x.i_append.valid):
            m.d.sync += [x.info.eq(x.i_append.payload), x.unreadable.eq(0)]
            m.next = "AFTER_CHECK"
            leave_lost()

    with m.State("AFTER_NEXT_HEAD"):
        m.d.sync += x.head.eq(x.head + 1)
        with m.If(x.head + 1 == sequence.kv_heads):
            m.next = "AFTER_NEXT"
        with m.Else():
            m.next = "AFTER_LOOK"
    with m.State("AFTER_NEXT"):
        m.d.sync += x.index.eq(x.index + 1)
        with m.If(appended | (x.index + 1 == x.attend.jobs)):
            m.next = "IDLE"
        with m.Else():
            m.next = "AFTER_JOB"
