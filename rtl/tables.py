"""Tables in device DRAM: what the firmware writes and the read and append paths walk.

::

    SEQUENCE_TABLE + 64 * sequence          -> SEQUENCE   (written by firmware)
      .heads  + 16 * (layer * kv_heads + h)  -> HEAD       (kept by the append path)
      .map    +  8 * (... * groups + group)  -> MAP_ENTRY  (kept by the append path)
      .passes +  8 * (... * pass_entries + n)-> PASS       (kept by the append path)
      .columns + 4 * (... * groups + page)   -> COLUMN_ENTRY's half (kept by the append path)
      .tail   + 2 * page_bytes * (...)       -> K page, V page of tokens not yet on flash

A *token group* is what fits one page: ``page_bytes // (2 * head_dim)`` tokens, its K in one page
and its V in another page of the same channel. Group ``g`` of head ``h`` in ``layer`` lives on
channel ``(g + 3 * (layer * kv_heads + h) + first_channel) mod channels``: one head's scan uses
every channel, and what a number of groups leaves over lies on other channels for the next head than
for this one. Within a channel, pages are wanted on dies by `page_die`, so that those which are read
together can be sensed at the same time however they came to be written. ``first_channel`` and
``first_die`` of a sequence (`place_of`) keep those of a batch apart.

A sequence opened for it has its K a second time, *by channel* (of the head, not of the flash), in
units of as many tokens as elements fit a codeword::

    K page of group g      | t0: c0 c1 .. c127 | t1: c0 c1 .. c127 | ...    16 tokens, d = 128
    column page p of a unit| c(4p): t0 .. t511 | c(4p+1): t0 .. t511 | ...  4 codewords of 1 KiB

so that a codeword holds one channel of ``unit_tokens`` consecutive tokens, and a reader that wants
few channels moves few codewords. A unit takes as many pages as it has token groups, a power of two;
all lie on one flash channel (`column_channel`), on the dies of `column_die`. It is made of the
K words of an append that brings it whole, else of the K pages once all of them are on flash: tokens
beyond the last whole unit are in the K pages alone, and no second tail is needed.

Or it has, instead, *bounds* of its K (``bounds``): what `hls_attention.bounds_code` makes of the K
of a unit is one page, an eighth of its K pages; a unit is 8 groups, which fill it, or fewer. All
else of units is as for K by channel; ``column_pages`` of a head are then as many as its units, and
their COLUMN_ENTRY's begin with ``... * groups / unit_groups``, rounded down.

A *pass* is ``pass_tokens`` consecutive tokens of a sequence, a power of two, and has block
exponents of its own. Passes need not begin with a group: a page may hold the end of one and the
beginning of the next.
"""

from hls_attention.bounds_code import BLOCK_TOKENS

from .layout import Layout

__all__ = [
    "COLUMN_ENTRY",
    "SEQUENCE",
    "HEAD",
    "MAP_ENTRY",
    "PAGE_META",
    "PASS",
    "SLOT_HEADER",
    "PageKind",
    "SequenceState",
    "HEAD_STRIDE",
    "bounds_groups",
    "column_buffer",
    "column_channel",
    "column_die",
    "group_channel",
    "page_die",
    "place_of",
    "program_slots",
    "slot_bytes",
    "unit_groups",
]


class SequenceState:
    """Values of ``SEQUENCE.state``."""

    FREE = 0
    OPEN = 1
    CLOSED = 2


class PageKind:
    """Values of ``PAGE_META.kind``."""

    K = 0
    V = 1
    STATE = 2  # of the drive's state table
    TAILS = 3  # saved tails of a sequence; ``group`` numbers the pages
    COLUMNS = 4  # K by channel, or bounds of K; ``group`` numbers the pages of a head


# fmt: off
SEQUENCE = Layout("SEQUENCE", 64, [
    ("state", 0, 0, 8, "SequenceState"),
    ("format", 1, 0, 8, "element format"),
    ("head_dim", 2, 0, 16, "elements of one vector"),
    ("kv_heads", 4, 0, 16, "KV heads"),
    ("layers", 6, 0, 16, "layers"),
    ("max_tokens", 8, 0, 32, "capacity in tokens"),
    ("groups", 12, 0, 32, "map entries per head: ceil(max_tokens / group_tokens)"),
    ("heads", 16, 0, 48, "DRAM address of the HEAD table"),
    ("group_tokens", 22, 0, 16, "tokens of a full group, page_bytes // (2 * head_dim)"),
    ("map", 24, 0, 48, "DRAM address of the map"),
    ("pass_groups", 30, 0, 16, "whole groups of a pass: pass_tokens // group_tokens"),
    ("tail", 32, 0, 48, "DRAM address of the tails"),
    ("pass_rest", 38, 0, 16, "tokens of a pass beyond these"),
    ("passes", 40, 0, 48, "DRAM address of the PASS table"),
    ("pass_entries", 46, 0, 16, "PASS entries per head: ceil(max_tokens / pass_tokens)"),
    ("columns", 48, 0, 48, "DRAM address of the COLUMN_ENTRY table"),
    ("unit_groups", 54, 0, 15, "groups of a unit of K by channel, or of bounds; 0: none is kept"),
    ("bounds", 55, 7, 1, "units are of bounds of K, one page each, not of K by channel"),
    ("number", 56, 0, 16, "the sequence: its place in this table"),
    ("first_channel", 58, 0, 8, "channel of group 0 of head 0"),
    ("first_die", 59, 0, 8, "added, modulo DIES, to the die that each of its pages is wanted on"),
    ("segment", 60, 0, 24, "what its pages are marked with, see PAGE_META"),
    ("stream", 63, 0, 8, "append stream that its pages come from"),
])

HEAD = Layout("HEAD", 16, [
    ("tokens", 0, 0, 32, "tokens stored, tail included"),
    ("flash_groups", 4, 0, 32, "full groups on flash"),
    ("tail_tokens", 8, 0, 16, "tokens in the tail; group_tokens: it is to be flushed"),
    ("k_exp", 10, 0, 8, "block exponent of K in the pass that the next token belongs to"),
    ("v_exp", 11, 0, 8, "the same of V"),
    ("k_bad", 12, 0, 1, "K of that pass holds an infinity or NaN"),
    ("v_bad", 12, 1, 1, "V of that pass holds an infinity or NaN"),
    ("spoiled", 12, 2, 1, "an append failed: of the last tokens some are wrong"),
    ("torn", 12, 3, 1, "of a layer's first head: an append ended early, and takes no more"),
    ("column_pages", 13, 0, 24, "pages of K by channel, or of bounds, on flash, whole units"),
])

PASS = Layout("PASS", 8, [
    ("k_exp", 0, 0, 8, "block exponent of K: largest max(exponent field, 1) - 1"),
    ("k_bad", 1, 0, 1, "K holds an infinity or NaN"),
    ("v_exp", 4, 0, 8, "block exponent of V"),
    ("v_bad", 5, 0, 1, "V holds an infinity or NaN"),
])
"""A full pass of one head."""

MAP_ENTRY = Layout("MAP_ENTRY", 8, [
    ("k_row", 0, 0, 24, "row address of the K page: block * pages + page"),
    ("k_die", 3, 0, 8, "its die"),
    ("v_row", 4, 0, 24, "row address of the V page"),
    ("v_die", 7, 0, 8, "its die"),
])

COLUMN_ENTRY = Layout("COLUMN_ENTRY", 8, [
    ("even_row", 0, 0, 24, "row address of a page of K by channel with an even number"),
    ("even_die", 3, 0, 8, "its die"),
    ("odd_row", 4, 0, 24, "row address of the page after it"),
    ("odd_die", 7, 0, 8, "its die"),
])
"""Entries of two pages; those of a head begin with entry ``index * groups`` of 4 bytes, of bounds
with ``index * groups // unit_groups``."""

PAGE_META = Layout("PAGE_META", 8, [
    ("group", 0, 0, 18, "token group"),
    ("kind", 2, 2, 3, "PageKind"),
    ("index", 2, 5, 19, "layer * kv_heads + KV head"),
    ("segment", 5, 0, 24, "who wrote it: a number that no other pages of this place have; 0: what "
     "it holds may be wrong"),
])
"""What a page of flash says of itself, in the check words of its codewords.

A *segment* is a number that a sequence marks its pages with from OPEN, FORK or a truncation on; it
is not given twice. So after a loss of power the pages say by themselves whose they are
(`host.firmware.recovery`).
"""

SLOT_HEADER = Layout("SLOT_HEADER", 16, [
    ("row", 0, 0, 24, "row address that the page was given"),
    ("die", 3, 0, 8, "its die"),
    ("channel", 4, 0, 8, "its channel"),
    ("words", 5, 0, 12, "its user words of 8 bytes"),
    ("meta", 8, 0, 64, "its PAGE_META"),
])
"""The head of a program slot (`rtl.program_slots`); the page's user bytes follow."""
# fmt: on


HEAD_STRIDE = 3
"""Channels from the first group of one head to that of the next; odd, so that all come round."""


def group_channel(group, layer, kv_heads, head, channels, first=0):
    """Channel that holds token group ``group`` of one head (both K and V).

    ``first`` is the sequence's ``first_channel``.
    """
    return (group + HEAD_STRIDE * (layer * kv_heads + head) + first) % channels


def place_of(number, channels, dies):
    """``first_channel`` and ``first_die`` of a sequence that has ``number`` others beside it.

    The bits of a number, reversed: 2, 4, 8 ... sequences begin as far apart as channels allow, so
    that sequences of a few groups, which lie on channels in a row or three apart, do not meet. Once
    the channels are used up, the same for the dies. There are ``channels * dies`` places.
    """
    around, channel = divmod(number, channels)
    return _reversed(channel, channels) % channels, _reversed(around, dies) % dies


def _reversed(number, count):
    """The bits of a number below ``count``, the last first, and 0 for those beyond."""
    bits = (count - 1).bit_length()
    apart = 0
    for bit in range(bits):
        apart |= (number >> bit & 1) << (bits - 1 - bit)
    return apart


def page_die(number, index, head, kind, kv_heads, dies, first=0):
    """Die that a page is wanted on.

    The passes of a layer are read in the order K(0) K(1) V(0) K(2) V(1) ... V(last); each begins
    one die on from the pass before, over all layers, and once around the dies another one on, so
    that what a number of pages leaves over is not on the same dies in every layer. The pages of a
    pass lie apart as the bits of their number, reversed: 2, 4, 8 ... of them as far as possible,
    so that the passes between fill the dies between them and the bus meets each die again as late
    as can be, however many pages a pass has.

    Parameters
    ----------
    number : int
        The how manieth group of this head on its channel: ``group // channels``.
    index : int
        ``layer * kv_heads + head``
    head, kind : int
        KV head within its layer; 0 K, 1 V.
    kv_heads, dies : int
    first : int
        The sequence's ``first_die``.

    All may be integers, numpy arrays, or values of the gateware, but for ``dies``.
    """
    bits = (dies - 1).bit_length()
    not_first, last = (head == 0) ^ 1, head + 1 == kv_heads
    turn = 2 * (index + kind) - ((kind ^ 1) & not_first) - (kind & last)
    around = 2 * (index - head) >> bits
    return (turn + around + _reversed(number, dies) + first & 0xFFFF) % dies


def column_channel(page, unit_pages, index, channels, first=0):
    """Flash channel of page ``page`` of K by channel, or of bounds, of head ``index``.

    That of the token group with its unit's number: a unit lies on one channel, so that the scores
    of its tokens are summed there. A unit of K by channel has ``unit_groups`` pages, one of bounds
    one.
    """
    return group_channel(page // unit_pages, 0, 0, index, channels, first)


def column_die(page, unit_pages, index, head, kv_heads, channels, dies, first=0):
    """Die that page ``page`` of K by channel, or of bounds, is wanted on.

    Those of a unit lie apart, half around from where the head's first K page is. An estimate reads
    the same pages of all units, so each unit begins one die on from the one before it on its
    channel. Parameters as of `page_die`.
    """
    before = page // unit_pages // channels  # units on this channel
    number = before * (unit_pages | 1) + page % unit_pages
    return page_die(number, index, head, 0, kv_heads, dies, first + dies // 2)


def unit_groups(head_dim, page_bytes, codeword_bytes):
    """Token groups of a unit of K by channel; 0 where it cannot be kept.

    A unit must be whole groups that fill their pages, and a group whole words of four tokens.
    """
    group, unit = page_bytes // (2 * head_dim), codeword_bytes // 2
    possible = page_bytes % (2 * head_dim) == 0 and group % 4 == 0 and unit % group == 0
    return unit // group if possible else 0


def bounds_groups(head_dim, page_bytes, codeword_bytes):
    """Token groups of a unit of bounds (`hls_attention.bounds_code`); 0 where it cannot be kept.

    A unit's bounds are one page: of 8 groups they fill it. It is no larger than one of K by channel
    would be, has whole blocks, and a codeword has whole blocks, too.
    """
    groups = min(8, unit_groups(head_dim, page_bytes, codeword_bytes))
    tokens = groups * (page_bytes // (2 * head_dim))
    return groups if tokens % BLOCK_TOKENS == codeword_bytes % (8 * head_dim) == 0 else 0


def program_slots(geometry):
    """Program slots of a drive: two for each die, 256 at most, a power of two."""
    return min(256, 1 << (2 * geometry.channels * geometry.dies - 1).bit_length())


def slot_bytes(geometry):
    """Bytes from one program slot to the next."""
    return SLOT_HEADER.size + geometry.page_bytes


def column_buffer(program_buffer, geometry):
    """DRAM address of the unit of K by channel, or of bounds, that is being made, behind the
    program slots: ``max_head_dim`` codewords."""
    return program_buffer + program_slots(geometry) * slot_bytes(geometry)
