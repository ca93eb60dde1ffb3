"""The append path's states for one page: from a slot and a place to its entry in the map.

::

    slot --> place --> header, words --> slot in device DRAM --> program ordered --> map entry
                         ^-- once more, if something went wrong --'

Whether the words are right is known once all have come. Where they may not be, the header is
written again with segment 0: who moves the page takes it from there, too.

The words come from the host or, of a group that became full, from the tail; those of K by channel
and of bounds from the column buffer.
"""

from amaranth.hdl import Cat, Const, Mux, Signal

from hls_attention.streams import moves

from ..tables import PAGE_META, SLOT_HEADER, PageKind, page_die, slot_bytes

__all__ = ["page_states"]


def page_states(m, path, x, number):
    """Adds the states; entered at ALLOCATE, left at CHUNK_DONE.

    Parameters
    ----------
    m : Module
        In the path's state machine.
    path : AppendPath
    x : namespace
        The path's registers and movers that a page needs.
    number : Value
        The how manieth group of its head on its channel the page belongs to; of K by channel, the
        page itself.
    """
    geometry = path.geometry
    header = Signal(SLOT_HEADER.struct, name="slot_header")
    in_slot, in_unit = Signal(name="word_in_slot"), Signal(name="word_in_unit")
    for_unit = Signal(12, name="words_for_unit")  # of the page, that the transposer does not have
    meta = Signal(PAGE_META.struct, name="page_meta")
    columns = x.columns
    stored = Signal(name="from_memory")  # the page comes from device DRAM
    entry_address = Signal(len(x.map_address), name="entry_address")
    lost = Signal(name="slot_lost")  # what it holds is not known
    nobodys = Signal(name="page_nobodys")  # it bears segment 0
    m.d.comb += [
        path.o_order.payload.spoiled.eq(lost),
        stored.eq(x.flushing | x.request.flush | columns),
        entry_address.eq(
            Mux(columns, x.columns_address + (x.number << 2), x.map_address + (x.number << 3))
        ),
        header.row.eq(x.dealt_row),
        header.die.eq(x.dealt_die),
        header.channel.eq(path.o_order.payload.channel),
        header.words.eq(x.page_words),
        header.meta.eq(meta),
        meta.group.eq(x.number),
        meta.kind.eq(Mux(columns, PageKind.COLUMNS, x.kind)),
        meta.index.eq(x.index),
        meta.segment.eq(Mux(nobodys, 0, path.sequence.segment)),
    ]
    with m.State("ALLOCATE"):
        die = page_die(
            number,
            x.index,
            x.request.head,
            x.kind,
            path.sequence.kv_heads,
            geometry.dies,
            path.sequence.first_die + Mux(columns, geometry.dies // 2, 0),  # `column_die`
        )
        m.d.sync += path.o_wish.payload.die.eq(die)
        m.next = "SLOT"
    with m.State("SLOT"):
        m.d.comb += [
            path.ask_slot.eq(1),
            path.slot.ready.eq(1),
            x.waits.eq(~path.slot.valid),
        ]
        with m.If(path.slot.valid):
            m.d.sync += x.slot.eq(path.slot.payload)
            m.next = "WISH"
    with m.State("WISH"):
        m.d.comb += path.o_wish.valid.eq(1)
        with m.If(path.o_wish.ready):
            m.next = "PAGE"
    with m.State("PAGE"):
        m.d.comb += [path.page.ready.eq(1), x.waits.eq(~path.page.valid)]
        with m.If(path.page.valid):
            m.d.sync += [
                x.dealt_die.eq(path.page.payload.die),
                x.dealt_row.eq(path.page.payload.row),
                lost.eq(0),
                nobodys.eq(0),
            ]
            m.next = "ASK_SLOT"
    with m.State("ASK_SLOT"):
        m.d.comb += [
            x.writer.i.valid.eq(stored | ~x.unit.open | path.room),
            x.writer.i.payload.address.eq(path.buffer + x.slot * slot_bytes(geometry)),
            x.writer.i.payload.words.eq(Mux(nobodys, 0, x.page_words) + SLOT_HEADER.words),
            x.writer.i.payload.strobe.eq(0xFF),
        ]
        with m.If(moves(x.writer.i)):
            m.d.sync += x.words.eq(0)
            m.next = "SLOT_HEADER"
    with m.State("SLOT_HEADER"):
        m.d.comb += [
            x.writer.i_data.valid.eq(1),
            x.writer.i_data.payload.eq(
                Mux(x.words == 0, header.as_value()[:64], header.as_value()[64:])
            ),
        ]
        with m.If(x.writer.i_data.ready):
            m.d.sync += x.words.eq(x.words + 1)
            with m.If(x.words == SLOT_HEADER.words - 1):
                with m.If(nobodys):
                    m.next = "HEADER_AGAIN"
                with m.Elif(stored):
                    m.next = "ASK_MEMORY"
                with m.Else():
                    with m.If(x.unit.open):
                        m.d.sync += [x.unit.asked.eq(1), for_unit.eq(x.group_words)]
                    m.next = "TO_SLOT"
    with m.State("ASK_MEMORY"):
        m.d.comb += [
            x.reader.i.valid.eq(1),
            x.reader.i.payload.address.eq(x.source),
            x.reader.i.payload.words.eq(x.page_words),
        ]
        with m.If(x.reader.i.ready):
            m.next = "TO_SLOT"
    with m.State("TO_SLOT"):
        to_slot = x.writer.i_data
        with m.If(stored):
            m.d.comb += [
                to_slot.valid.eq(x.reader.o.valid),
                to_slot.payload.eq(x.reader.o.payload.data),
                x.reader.o.ready.eq(to_slot.ready),
            ]
            with m.If(moves(x.reader.o) & x.reader.o.payload.error):
                m.d.sync += lost.eq(1)
        with m.Else():
            # K of a unit goes to the transposer besides; a word is gone when both have it.
            to_unit = path.o_transpose_words
            m.d.comb += [
                to_slot.valid.eq(path.i_words.valid & ~in_slot),
                to_slot.payload.eq(path.i_words.payload),
                to_unit.valid.eq(path.i_words.valid & x.unit.open & ~in_unit),
                to_unit.payload.eq(path.i_words.payload),
                path.i_words.ready.eq(
                    (in_slot | to_slot.ready) & (~x.unit.open | in_unit | to_unit.ready)
                ),
                x.scanned.eq(moves(path.i_words)),
            ]
            m.d.sync += [
                in_slot.eq((in_slot | moves(to_slot)) & ~x.scanned),
                in_unit.eq((in_unit | moves(to_unit)) & ~x.scanned),
                for_unit.eq(for_unit - (x.unit.open & x.scanned)),
            ]
        m.d.comb += x.writer.done.ready.eq(for_unit == 0)
        with m.If(moves(x.writer.done)):
            m.d.sync += lost.eq(lost | x.writer.done.payload.error)
            m.next = "ORDER"
            with m.If(x.wrong | x.writer.done.payload.error):
                m.d.sync += nobodys.eq(1)
                m.next = "ASK_SLOT"
    with m.State("HEADER_AGAIN"):
        m.d.comb += x.writer.done.ready.eq(1)
        with m.If(x.writer.done.valid):
            m.d.sync += lost.eq(lost | x.writer.done.payload.error)
            m.next = "ORDER"
    with m.State("ORDER"):
        m.d.comb += [path.o_order.valid.eq(1), x.waits.eq(~path.o_order.ready)]
        with m.If(path.o_order.ready):
            m.d.sync += x.begun.eq(x.begun | ~nobodys)
            m.next = "MAP"
    with m.State("MAP"):
        m.d.comb += [
            x.writer.i.valid.eq(1),
            x.writer.i.payload.words.eq(1),
            x.writer.i.payload.address.eq(Cat(Const(0, 3), entry_address[3:])),
            x.writer.i.payload.strobe.eq(Mux(Mux(columns, entry_address[2], x.kind), 0xF0, 0x0F)),
        ]
        with m.If(x.writer.i.ready):
            m.next = "MAP_WORD"
    with m.State("MAP_WORD"):
        entry = Cat(x.dealt_row, x.dealt_die)
        m.d.comb += [
            x.writer.i_data.valid.eq(1),
            x.writer.i_data.payload.eq(Cat(entry, entry)),
            x.writer.done.ready.eq(1),
        ]
        with m.If(x.writer.done.valid):
            m.next = "CHUNK_DONE"
