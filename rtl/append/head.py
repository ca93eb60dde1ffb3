"""The append path's states for the records of a head: read first, written last.

::

    ADDRESSES --> READ_HEAD --> what is asked for ... --> WRITE_HEAD --> HEAD_WORDS --> ANSWER
                      '--> it cannot be read: LOST --> DISCARD, the words that come ------^
    a pass ended: END_PASS --> END_PASS_WORD --> the next chunk
"""

from amaranth.hdl import Cat, Mux, Signal

from hls_attention.beats import EXPONENT_BITS

from ..tables import HEAD, HEAD_STRIDE
from .records import block_exponent

__all__ = ["follow_exponents", "read_states", "write_states"]


def read_states(m, path, x):
    """Adds the states; entered at ADDRESSES, LOST or DISCARD; left at FLUSH, COLUMNS, KIND, ANSWER.

    Parameters
    ----------
    m : Module
        In the path's state machine.
    path : AppendPath
    x : namespace
        The path's registers that a head's records need.
    """
    sequence, reader = path.sequence, x.reader
    with m.State("ADDRESSES"):
        entries = Signal(40)  # of the heads before this one
        places = entries
        if path.bounds:  # of units of a page
            for shift in range(1, 4):
                fewer = sequence.bounds & sequence.unit_groups[shift]
                places = Mux(fewer, entries >> shift, places)
        m.d.comb += entries.eq(x.index * sequence.groups)
        m.d.sync += [
            x.map_address.eq(sequence.map + (entries << 3)),
            x.columns_address.eq(sequence.columns + (places << 2)),
            x.tail_address.eq(sequence.tail + x.index * (2 * path.geometry.page_bytes)),
            x.passes_address.eq(sequence.passes + x.index * (sequence.pass_entries << 3)),
            x.first_channel.eq(x.index * HEAD_STRIDE + sequence.first_channel),
        ]
        m.d.comb += [
            reader.i.valid.eq(1),
            reader.i.payload.words.eq(HEAD.words),
            reader.i.payload.address.eq(sequence.heads + (x.index << 4)),
        ]
        with m.If(reader.i.ready):
            m.next = "READ_HEAD"
    with m.State("READ_HEAD"):
        m.d.comb += reader.o.ready.eq(1)
        with m.If(reader.o.valid):
            m.d.sync += x.head.eq(Cat(x.head.as_value()[64:], reader.o.payload.data))
            with m.If(reader.o.payload.last):
                with m.If(x.failed | reader.o.payload.error):
                    m.next = "ANSWER"
                    with m.If(x.request.columns | (x.request.tokens != 0)):
                        m.next = "LOST"
                with m.Elif(x.request.flush):
                    m.next = "FLUSH"
                with m.Elif(x.request.columns):
                    m.next = "COLUMNS"
                with m.Elif(x.request.tear):
                    m.d.sync += x.head.torn.eq(1)
                    m.next = "WRITE_HEAD"
                with m.Elif(x.request.tokens == 0):
                    m.next = "ANSWER"
                with m.Else():
                    m.next = "KIND"
    with m.State("LOST"):
        m.d.sync += [
            x.failed.eq(1),
            x.words.eq(0),
            x.left.eq(Mux(x.request.columns, x.unit_tokens, x.request.tokens)),
            x.kind.eq(x.request.columns),  # only K comes for a unit
        ]
        m.next = "DISCARD"
    with m.State("DISCARD"):
        m.d.comb += [path.i_words.ready.eq(1), x.waits.eq(~path.i_words.valid)]
        with m.If(path.i_words.valid):
            m.d.sync += x.words.eq(x.words + 1)
            with m.If(x.words == sequence.head_dim[2:10] - 1):
                m.d.sync += [x.words.eq(0), x.left.eq(x.left - 1)]
                with m.If(x.left == 1):
                    m.d.sync += [x.kind.eq(1), x.left.eq(x.request.tokens)]
                    with m.If(x.kind):
                        m.next = "ANSWER"


def write_states(m, path, x):
    """Adds the states; entered at WRITE_HEAD, ANSWER or END_PASS, left at IDLE or CHUNK_DONE.

    Parameters as of `read_states`.
    """
    writer, words = x.writer, x.words
    wrong = x.failed | path.spoiled
    with m.State("WRITE_HEAD"):
        undone = Mux(
            x.request.tokens == 0,
            Mux(x.request.tear, x.failed, wrong),
            x.failed & ~x.overwritten,
        )
        m.d.comb += [
            writer.i.valid.eq(~undone),
            writer.i.payload.words.eq(HEAD.words),
            writer.i.payload.address.eq(path.sequence.heads + (x.index << 4)),
            writer.i.payload.strobe.eq(0xFF),
        ]
        with m.If(wrong & ~x.request.tear):
            m.d.sync += x.head.spoiled.eq(1)
        with m.If(undone):
            m.next = "ANSWER"
        with m.Elif(writer.i.ready):
            m.d.sync += [words.eq(0), x.begun.eq(1)]
            m.next = "HEAD_WORDS"
    with m.State("HEAD_WORDS"):
        m.d.comb += [
            writer.i_data.valid.eq(words < 2),
            writer.i_data.payload.eq(
                Mux(words == 0, x.head.as_value()[:64], x.head.as_value()[64:])
            ),
            writer.done.ready.eq(1),
        ]
        with m.If(writer.i_data.valid & writer.i_data.ready):
            m.d.sync += words.eq(words + 1)
        with m.If(writer.done.valid):
            m.next = "ANSWER"
    with m.State("ANSWER"):
        m.d.comb += [path.o.valid.eq(1), x.waits.eq(~path.o.ready)]
        with m.If(path.o.ready):
            m.next = "IDLE"

    with m.State("END_PASS"):
        m.d.comb += [
            writer.i.valid.eq(1),
            writer.i.payload.words.eq(1),
            writer.i.payload.address.eq(x.passes_address + (x.pass_number << 3)),
            writer.i.payload.strobe.eq(Mux(x.kind, 0xF0, 0x0F)),
        ]
        with m.If(writer.i.ready):
            m.next = "END_PASS_WORD"
    with m.State("END_PASS_WORD"):
        m.d.comb += [
            writer.i_data.valid.eq(1),
            writer.i_data.payload.eq(x.ended.as_value()),
            writer.done.ready.eq(1),
        ]
        with m.If(writer.done.valid):
            m.d.sync += [x.ends.eq(0), x.pass_number.eq(x.pass_number + 1)]
            m.next = "CHUNK_DONE"


def follow_exponents(m, head, kind, last, field, bf16):
    """Follows the block exponent and non-finite mark of the pass; returns both, with this word, of
    which the largest exponent field is given.

    They begin anew after the ``last`` word of a pass.
    """
    top, bad = Signal(EXPONENT_BITS), Signal()
    here, bad_here = block_exponent(field, bf16)
    before = Mux(kind, head.v_exp, head.k_exp)
    m.d.comb += [
        top.eq(Mux(here > before, here, before)),
        bad.eq(Mux(kind, head.v_bad, head.k_bad) | bad_here),
    ]
    for name, mine in (("k", ~kind), ("v", kind)):
        with m.If(mine):
            m.d.sync += [
                head[f"{name}_exp"].eq(Mux(last, 0, top)),
                head[f"{name}_bad"].eq(Mux(last, 0, bad)),
            ]
    return top, bad
