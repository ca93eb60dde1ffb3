"""The append path's states that gather a unit of K by channel, and its transposer's requests.

::

    K words that come for it ------------------------> transposer --> column buffer
    K words of an append, on their way to their slots -----^               |
                                          pages, see `rtl.append.page` <---'

A unit of bounds is gathered likewise, with the bounder in place of the transposer.
"""

from amaranth.hdl import Mux, Signal

from hls_attention.streams import moves

from ..memory_port import ADDRESS_BITS
from ..sparse.transposer import pages_together
from ..tables import column_buffer

__all__ = ["Unit", "unit_shape", "unit_states"]


def unit_shape(m, path, group_words, columns):
    """Pages and tokens of a unit of the sequence, and words of the page at hand, which is one of a
    unit if ``columns`` is 1."""
    sequence = path.sequence
    if not path.bounds:
        return sequence.unit_groups, path.unit_tokens, group_words
    pages, tokens = Signal.like(sequence.unit_groups), Signal(24, name="unit_tokens")
    words = Signal.like(group_words, name="page_words")
    m.d.sync += tokens.eq(sequence.unit_groups * sequence.group_tokens)
    m.d.comb += [
        pages.eq(Mux(sequence.bounds, 1, sequence.unit_groups)),
        words.eq(group_words),
    ]
    for shift in range(3):  # a byte of each word of K; of 8 groups they fill the page
        with m.If(columns & sequence.bounds & sequence.unit_groups[shift]):
            m.d.comb += words.eq(group_words >> 3 - shift)
    return pages, tokens, words


class Unit:
    """The unit of K by channel, or of bounds, that is being gathered, some groups at a time.

    Parameters
    ----------
    path : AppendPath
    buffer : Value
        Address of the column buffer.
    group_words : Value
        Words of K of a group.

    Attributes
    ----------
    open : Signal
        One is.
    groups_left : Signal(16)
        Groups of it that have not come, those of a request that the transposer has not taken
        included.
    asked : Signal
        The transposer is asked for some.
    last : Signal
        They are the unit's last ones.
    """

    def __init__(self, path, buffer, group_words):
        self._path, self._buffer, self._group_words = path, buffer, group_words
        self.open = Signal(name="unit_open")
        self.groups_left = Signal(16, name="unit_groups_left")
        self.asked = Signal(name="unit_asked")
        self.last = Signal(name="unit_last")
        self._address = Signal(ADDRESS_BITS, name="unit_address")

    def begin(self, m):
        """The next group is a unit's first."""
        m.d.sync += [
            self._address.eq(self._buffer),
            self.groups_left.eq(self._path.sequence.unit_groups),
        ]

    def elaborate(self, m):
        """The transposer's requests."""
        sequence, pages = self._path.sequence, self._path.o_transpose
        most = pages_together(self._path.geometry.page_bytes)
        together = Signal(range(most + 1), name="unit_together")
        step = (together * sequence.group_tokens) << 1
        if self._path.bounds:  # a byte of each word of K
            step = Mux(sequence.bounds, together * self._group_words, step)
        m.d.comb += [
            together.eq(Mux(sequence.unit_groups < most, sequence.unit_groups, most)),
            self.last.eq(self.groups_left == together),
            pages.valid.eq(self.asked),
            pages.payload.address.eq(self._address),
            pages.payload.beats.eq(sequence.head_dim >> 2),
            pages.payload.quads.eq((together * sequence.group_tokens) >> 2),
        ]
        with m.If(moves(pages)):
            m.d.sync += [
                self.asked.eq(0),
                self.groups_left.eq(self.groups_left - together),
                self._address.eq(self._address + step),
            ]


def unit_states(m, path, x):
    """Adds the states; entered at COLUMNS, or at UNIT_SETTLE with the unit gathered; left at
    ALLOCATE, or at ANSWER.

    Parameters
    ----------
    m : Module
        In the path's state machine.
    path : AppendPath
    x : namespace
        The path's registers that a unit needs.
    """
    with m.State("COLUMNS"):
        m.d.sync += [x.unit.open.eq(1), x.unit.asked.eq(1)]
        x.unit.begin(m)
        m.next = "UNIT_WORDS"
    with m.State("UNIT_WORDS"):
        m.d.comb += [
            path.o_transpose_words.valid.eq(path.i_words.valid),
            path.o_transpose_words.payload.eq(path.i_words.payload),
            path.i_words.ready.eq(path.o_transpose_words.ready),
            x.waits.eq(~moves(path.o_transpose_words)),
        ]
        with m.If(moves(path.o_transpose)):
            m.d.sync += x.unit.asked.eq(~x.unit.last)
            with m.If(x.unit.last):
                m.next = "UNIT_SETTLE"
    with m.State("UNIT_SETTLE"):
        m.d.comb += x.waits.eq(~path.transposed)
        m.d.sync += [
            x.pages_left.eq(x.unit_pages),
            x.unit_page.eq(column_buffer(path.buffer, path.geometry)),
        ]
        with m.If(path.transposed):
            m.d.sync += x.unit.open.eq(0)
            with m.If(x.request.columns & (x.failed | path.spoiled)):
                m.next = "ANSWER"
            with m.Else():
                m.d.sync += x.columns.eq(1)
                m.next = "ALLOCATE"
