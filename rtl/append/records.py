"""What goes in and out of the append path, and what is read off the words on the way."""

from amaranth.hdl import Mux
from amaranth.lib import data
from amaranth.utils import ceil_log2

from hls_attention.formats import BF16, FP16
from hls_attention.words import exponent_field

from ..memory_port import ADDRESS_BITS
from ..program_feeder import order_layout
from ..tables import HEAD

__all__ = [
    "append_layout",
    "block_exponent",
    "groups_in_units",
    "head_info_layout",
    "largest_field",
    "program_layout",
]

WORD_LANES = 4


def append_layout():
    """A request. ``tokens`` 0 only reads the head's entry; ``flush`` only flushes a full tail,
    ``columns`` only makes a unit of K by channel, or of bounds, of K words that come for it,
    ``tear`` only marks the entry ``torn``."""
    return data.StructLayout(
        {
            "head": 16,
            "tokens": 24,
            "defer": 1,  # a group that its last token fills stays in the tail
            "flush": 1,
            "columns": 1,
            "tear": 1,
        }
    )


def head_info_layout():
    """The head's table entry after the request, its addresses, what is due (a flush of its tail, a
    unit of K by channel or of bounds), and whether the request failed; if so, whether it had
    ``begun``: pages that a loss of power would find, or the entry itself, may have been written."""
    return data.StructLayout(
        {
            "head": HEAD.struct,
            "channel": 8,  # of its group 0
            "map": ADDRESS_BITS,  # DRAM address of the head's map
            "tail": ADDRESS_BITS,  # DRAM address of its tail
            "passes": ADDRESS_BITS,  # DRAM address of its PASS entries
            "columns": ADDRESS_BITS,  # DRAM address of its pages of K by channel, or of bounds
            "flush_due": 1,
            "unit_due": 1,
            "failed": 1,
            "begun": 1,
        }
    )


def program_layout(geometry):
    """A page to be programmed: its channel, and what `rtl.program_feeder.order_layout` has."""
    return data.StructLayout(
        {
            "channel": max(1, ceil_log2(geometry.channels)),
            **order_layout(geometry).members,
        }
    )


def groups_in_units(sequence, head, bounds):
    """Token groups of a head that are in units: where the next unit begins.

    Parameters
    ----------
    sequence, head : views of `SEQUENCE` and `HEAD`
    bounds : bool
        The drive keeps bounds. A unit of them is 1, 2, 4 or 8 groups and one page.
    """
    pages = groups = head.column_pages
    if bounds:
        for shift in range(1, 4):
            groups = Mux(sequence.bounds & sequence.unit_groups[shift], pages << shift, groups)
    return groups


def largest_field(word, bf16):
    """Largest exponent field of a word's elements.

    Parameters
    ----------
    word : Value, 64 bits
        Four FP16 elements, or BF16 where ``bf16`` is 1.
    """
    fields = []
    for lane in range(WORD_LANES):
        element = word.word_select(lane, 16)
        fields.append(exponent_field(element, bf16))
    pairs = [Mux(a > b, a, b) for a, b in (fields[:2], fields[2:])]
    return Mux(pairs[0] > pairs[1], *pairs)


def block_exponent(field, bf16):
    """max(exponent field, 1) - 1 of the largest of some elements, and whether one is not finite."""
    return Mux(field == 0, 0, field - 1), field == Mux(bf16, BF16.top_field, FP16.top_field)
