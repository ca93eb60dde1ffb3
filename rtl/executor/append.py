"""States of APPEND: tokens of one layer from the host to tail and flash, head by head.

What cannot be read of the data is appended as it came, marked in the heads' entries, so that all
heads hold as many tokens. If device DRAM fails, the heads behind that one do not get theirs. After
either, the first head's entry is marked ``torn``, and the layer takes no tokens until the firmware
has truncated it; it is not if the first head failed before anything of it was written.
"""

from amaranth.hdl import Signal

from ..commands import Status

__all__ = ["append_states"]


def append_states(m, x):
    """Adds the states to the executor ``x``; entered at APPEND, left at FINISH."""
    head_bytes = Signal(40, name="append_head_bytes")
    all_bytes = Signal(56, name="append_all_bytes")
    offset = Signal(32, name="append_offset")
    tokens = x.sqe.tokens

    with m.State("APPEND"):
        with m.If(tokens == 0):
            x.refuse(m, Status.ZERO_LENGTH)
        with m.Elif(tokens >> 24 != 0):
            x.refuse(m, Status.CONTEXT_EXCEEDED)
        with m.Else():
            m.next = "APPEND_SEQUENCE"
    x.look_up(
        m, x.sqe.sequence, x.sqe.layer, "APPEND_SEQUENCE", ok="APPEND_FIRST", refused="FINISH"
    )
    x.ask_append(m, "APPEND_FIRST", then="APPEND_CHECK", check=x.refuse_lost(m))
    with m.State("APPEND_CHECK"):
        m.d.sync += [head_bytes.eq((tokens[:24] * x.sequence.head_dim) << 2), offset.eq(0)]
        with m.If(x.info.head.tokens + tokens > x.sequence.max_tokens):
            x.refuse(m, Status.CONTEXT_EXCEEDED)
        with m.Elif(x.info.head.spoiled | x.info.head.torn):
            x.refuse(m, Status.SPOILED_APPEND)
        with m.Else():
            m.next = "APPEND_BYTES"
    with m.State("APPEND_BYTES"):
        m.d.comb += all_bytes.eq(head_bytes * x.sequence.kv_heads)
        m.d.sync += x.bytes.eq(all_bytes)
        with m.If(all_bytes > x.config.max_transfer):
            x.refuse(m, Status.INVALID_FIELD)
        with m.Else():
            m.next = "APPEND_POINTER"
    x.load_pointer(m, "APPEND_POINTER", then="APPEND_RANGE")
    with m.State("APPEND_RANGE"):
        m.d.comb += [
            x.pointer.i.valid.eq(1),
            x.pointer.i.payload.offset.eq(offset),
            x.pointer.i.payload.words.eq(head_bytes >> 3),
        ]
        with m.If(x.pointer.i.ready):
            m.d.sync += offset.eq(offset + head_bytes)
            m.next = "APPEND_HEAD"
    with m.State("APPEND_HEAD"):
        x.read_pieces(m)
        m.d.comb += [
            x.o_append.valid.eq(1),
            x.o_append.payload.head.eq(x.head),
            x.o_append.payload.tokens.eq(tokens),
        ]
        with m.If(x.o_append.ready):
            m.next = "APPEND_WORDS"
    with m.State("APPEND_WORDS"):
        x.read_pieces(m)
        m.d.comb += [
            x.o_words.valid.eq(x.reader.o.valid),
            x.o_words.payload.eq(x.reader.o.payload.data),
            x.reader.o.ready.eq(x.o_words.ready),
            x.i_append.ready.eq(1),
            x.waits.eq(~(x.o_words.valid & x.o_words.ready) & ~x.i_append.valid),
        ]
        with m.If(x.i_append.valid):
            m.d.sync += x.head.eq(x.head + 1)
            with m.If(x.i_append.payload.failed & ~x.link_error):
                x.refuse(m, Status.INTERNAL_ERROR)
                with m.If(x.i_append.payload.begun | (x.head != 0)):
                    m.next = "APPEND_FAILED"
            with m.Elif(x.head + 1 == x.sequence.kv_heads):
                m.next = "FINISH"
                with m.If(x.link_error):
                    m.next = "APPEND_FAILED"
            with m.Else():
                m.next = "APPEND_RANGE"
    with m.State("APPEND_FAILED"):
        m.d.sync += x.head.eq(0)
        m.next = "APPEND_TEAR"
    x.ask_append(m, "APPEND_TEAR", then="FINISH", check=lambda: None, tear=1)
