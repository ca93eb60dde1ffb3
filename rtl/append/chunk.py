"""The tokens of an append, chunk by chunk: what one group of tokens takes of K, then of V.

::

    KIND -> CHUNK --group not full, or to stay in the tail--> TO_TAIL --> CHUNK_DONE -> CHUNK ...
               +---- a whole group --------> ALLOCATE ... (`page`) ----------^   +-> KIND of V
                                                                                 +-> WRITE_HEAD

A group that the tail's tokens fill goes from TO_TAIL onto flash, too. CHUNK_DONE is where every
page comes back to, those of a unit and of a flush as well.
"""

from amaranth.hdl import Mux

__all__ = ["chunk_done", "chunk_states"]


def chunk_states(m, path, x):
    """States that divide the words given into chunks, and bring those of the tail there."""
    with m.State("KIND"):
        in_pass = x.head.tokens[: x.pass_shift]
        m.d.sync += [
            x.group.eq(x.head.flash_groups),
            x.in_group.eq(x.head.tail_tokens),
            x.left.eq(x.request.tokens),
            x.pass_number.eq(x.head.tokens >> x.pass_shift),
            x.pass_left.eq(((1 << x.pass_shift) - in_pass) * x.token_words),
            x.whole_units.eq(x.gathers),
            x.unit.open.eq(x.gathers & (x.request.tokens >= x.unit_tokens)),
        ]
        x.unit.begin(m)
        m.d.comb += x.gathers.eq(
            ~x.kind
            & (path.sequence.unit_groups != 0)
            & (x.head.tail_tokens == 0)
            & (x.head.flash_groups == x.in_units)
        )
        m.next = "CHUNK"
        with m.If(x.head.tail_tokens == path.sequence.group_tokens):  # its flush failed
            m.next = "LOST"
    with m.State("CHUNK"):
        m.d.sync += x.flushing.eq(0)
        crosses = x.group != x.head.flash_groups
        with m.If(x.whole):
            m.next = "ALLOCATE"
        with m.Elif(x.failed & crosses & ~x.kind):
            m.d.sync += x.words.eq(0)
            m.next = "DISCARD"
        with m.Else():
            m.d.comb += [
                x.writer.i.valid.eq(1),
                x.writer.i.payload.address.eq(x.tail_page + ((x.in_group * x.token_words) << 3)),
                x.writer.i.payload.words.eq(x.take * x.token_words),
                x.writer.i.payload.strobe.eq(0xFF),
            ]
            with m.If(x.writer.i.ready):
                m.d.sync += x.overwritten.eq(x.overwritten | crosses)
                m.next = "TO_TAIL"
    with m.State("TO_TAIL"):
        m.d.comb += [
            x.writer.i_data.valid.eq(path.i_words.valid),
            x.writer.i_data.payload.eq(path.i_words.payload),
            path.i_words.ready.eq(x.writer.i_data.ready),
            x.scanned.eq(path.i_words.valid & x.writer.i_data.ready),
            x.writer.done.ready.eq(1),
        ]
        with m.If(x.writer.done.valid):
            with m.If(x.fills & x.ends_deferred):
                m.d.sync += x.due.eq(1)
                m.next = "CHUNK_DONE"
            with m.Elif(x.fills):
                m.d.sync += x.flushing.eq(1)
                m.next = "ALLOCATE"
            with m.Else():
                m.next = "CHUNK_DONE"


def chunk_done(m, path, x):
    """The state after a chunk or page: the next one of its kind, the other kind, or the end."""
    with m.State("CHUNK_DONE"):
        with m.If(x.columns):
            m.d.sync += [
                x.pages_left.eq(x.pages_left - 1),
                x.head.column_pages.eq(x.head.column_pages + 1),
                x.unit_page.eq(x.unit_page + path.geometry.page_bytes),
            ]
            m.next = "ALLOCATE"
            with m.If(x.pages_left == 1):
                m.d.sync += x.columns.eq(0)
                m.next = "CHUNK_DONE"
                with m.If(x.request.columns):
                    m.next = "WRITE_HEAD"
        with m.Elif(x.ends):
            m.next = "END_PASS"
        with m.Elif(x.unit.open & (x.unit.groups_left == 0)):
            m.next = "UNIT_SETTLE"
        with m.Elif(~x.request.flush & (x.left != x.take)):
            m.d.sync += [
                x.left.eq(x.left - x.take),
                x.in_group.eq(Mux(x.fills, 0, x.in_group + x.take)),
                x.group.eq(x.group + x.fills),
                x.unit.open.eq(x.unit.open | (x.whole_units & (x.left - x.take >= x.unit_tokens))),
            ]
            with m.If(~x.unit.open):
                x.unit.begin(m)
            m.next = "CHUNK"
        with m.Elif(~x.kind):
            m.d.sync += x.kind.eq(1)
            with m.If(x.request.flush):
                m.next = "ALLOCATE"
            with m.Else():
                m.next = "KIND"
        with m.Else():
            with m.If(x.request.flush):
                m.d.sync += [x.head.flash_groups.eq(x.group + 1), x.head.tail_tokens.eq(0)]
            with m.Else():
                m.d.sync += [
                    x.head.tokens.eq(x.head.tokens + x.request.tokens),
                    x.head.flash_groups.eq(x.group + (x.fills & ~x.due)),
                    x.head.tail_tokens.eq(Mux(x.fills & ~x.due, 0, x.in_group + x.take)),
                ]
            m.next = "WRITE_HEAD"
