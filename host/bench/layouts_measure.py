"""One row of ``instinfer bench layouts``: heads of a layout through the compiled channel, timed.

Heads follow each other as in the drive: K(0) K(1) V(0) K(2) V(1) ... within a layer, or one after
another where K and V are read in one go. Pages lie on dies as `rtl.tables.page_die` has them, the
first page of a group where K is wanted and the second where V is, and behind each other in each
die's blocks. A layer has as many KV heads as the drive has channels and all of them select the same
tokens, so that one channel holds every group of the sequence once, of one head or another: what the
channel does for a layer is what all channels do for one head. Each layer has a selection of its
own; those read before and after the layers that are timed have the selections of these.
"""

from dataclasses import dataclass

from rtl.config import DriveConfig
from rtl.tables import group_channel, page_die

from .channel import CompiledChannel
from .flash_bound import ChannelClocks
from .layouts_cases import codeword_of
from .parts import in_turn, runs
from .selection import SMALLEST, touched

__all__ = ["HeadReads", "head_reads", "measure_layout", "planned_clocks", "with_speedups"]

DEPTH = DriveConfig().operation_depth
"""Reads that a drive's channel takes ahead."""

CHANNEL = 0
"""The one that is looked at."""

AHEAD = 2
"""Heads read beyond those that are timed, so that these are in full flow to their end."""


@dataclass(frozen=True)
class HeadReads:
    """Reads of the channel for the heads of some layers and a few more.

    Parameters
    ----------
    reads : list of (die, row, column, words)
    start, end : int
        Those between are the reads that are timed: from the end of head 0 of the first layer to
        that of the layer behind the last.
    layers : int
        Between them.
    """

    reads: list
    start: int
    end: int
    layers: int


def head_reads(case, draws=1, seed=0):
    """The reads of a case; the same for the same seed.

    Parameters
    ----------
    case : LayoutCase
    draws : int
        Selections, and layers; dense attention has one.
    seed : int
        Of the first selection.
    """
    heads, code = case.channels, case.code
    draws = 1 if case.access == "dense" else draws
    drawn = [_wanted(case, seed * draws + number) for number in range(draws)]
    rows: dict = {}
    found: list = []
    ends = {}
    for index, kinds, last in _passes(heads, draws * heads + 1 + AHEAD, case.reads):
        pages = _pages(case, drawn[index // heads % draws], rows, index, kinds)
        parts = [mine for *_, mine in pages]
        found += [
            (*pages[page][:2], first * code.words, count * code.words)
            for page, (first, count) in in_turn(parts, [die for die, *_ in pages])
        ]
        if last:
            ends[index] = len(found)
    return HeadReads(found, ends[0], ends[draws * heads], draws)


def _pages(case, wanted, rows, index, kinds):
    """Pages of a head of which something is wanted: triples (die, row, runs of codewords)."""
    heads = case.channels
    layer, head = divmod(index, heads)
    # Of `heads` groups in a row the channel has one.
    offset = next(g for g in range(heads) if group_channel(g, layer, heads, head, heads) == CHANNEL)
    pages = []
    for number in range(len(wanted) // heads):
        for page in range(2):
            die = page_die(number, index, head, page, heads, case.dies)
            row = _row(rows, die, (index, page, number), case.geometry.rows)
            if mine := wanted[number * heads + offset].get((page, kinds)):
                pages.append((die, row, runs(mine)))
    return pages


def _row(rows, die, page, number):
    """A page's row: behind the page that came to its die before it."""
    mine = rows.setdefault(die, {})
    return mine.setdefault(page, len(mine) % number)


def _passes(heads, number, reads):
    """Triples (head of all layers, kinds read, whether these are the last of it), as read."""
    if len(reads) == 1:
        for index in range(number):
            yield index, reads[0], True
        return
    first, second = reads
    for index in range(number):
        yield index, first, False
        if index % heads:
            yield index - 1, second, True
        if index % heads == heads - 1:
            yield index, second, True


def _wanted(case, seed):
    """Of each group: (page, kinds) -> its codewords in ascending order."""
    size, groups = case.group_tokens, case.tokens // case.group_tokens
    chosen = touched(case.tokens, seed) if case.access != "dense" else None
    wanted = []
    for group in range(groups):
        tokens = [
            t
            for t in range(0, size, SMALLEST)
            if chosen is None or chosen[(group * size + t) // SMALLEST]
        ]
        mine: dict = {}
        for kinds in case.reads:
            for page, codeword in {codeword_of(case, kind, t) for kind in kinds for t in tokens}:
                mine.setdefault((page, kinds), []).append(codeword)
        wanted.append({key: sorted(codewords) for key, codewords in mine.items()})
    return wanted


def _counts(reads):
    """Senses, changes of the column and words of reads, as a running sum: a list of triples."""
    sensed: dict = {}
    senses = columns = total = 0
    sums = [(0, 0, 0)]
    for die, row, column, words in reads:
        further = sensed.get(die) == row
        senses += not further
        columns += bool(further or column)
        total += words
        sensed[die] = row
        sums.append((senses, columns, total))
    return sums


def planned_clocks(case, draws=1, seed=0):
    """About how many clocks it takes: for progress. Parameters as of `head_reads`."""
    clocks = ChannelClocks(case.channel.flash, case.channel.clock_hz)
    reads = head_reads(case, draws, seed).reads
    senses = _counts(reads)[-1][0]
    return int(max(clocks.paid(reads), clocks.arrays(senses, case.dies)))


def measure_layout(case, bar=None, announce=print, draws=1, seed=0):
    """Runs a case; returns its row as plain data.

    Parameters
    ----------
    case : LayoutCase
    bar : callable, optional
        Called with the channel before it runs and with None after: for progress.
    announce : callable
        Called with a line of text when something has to be compiled.
    draws, seed : int
        See `head_reads`.

    Returns
    -------
    dict
        The fields of the case and ``clock_hz``. Of one head on all channels, in full flow, the mean
        over the selections:
        ``senses``, ``codewords`` and ``bytes`` (of these, with check words and parity),
        ``columns`` (changes of the column), ``cycles``, the channels' added, and
        ``cycles_of_channel``, of each of them; ``together``, K and V are read in one go;
        ``bus_cycles`` (`ChannelClocks.bus`) and ``arrays_cycles``, what bus and dies take at least.
        ``v_bytes``: of V, user bytes that one channel moves, on average.
        ``run_senses`` of the arrays and ``run_senses_planned``, in the whole run.
    """
    flash, hz = case.channel.flash, case.channel.clock_hz
    clocks = ChannelClocks(flash, hz)
    todo = head_reads(case, draws, seed)
    channel = CompiledChannel(flash, hz, DEPTH, announce=announce)
    if bar:
        bar(channel)
    try:
        _, lasts = channel.timed(todo.reads)
    finally:
        if bar:
            bar(None)
    sums, layers = _counts(todo.reads), todo.layers
    senses, columns, words = (
        (until - before) / layers
        for until, before in zip(sums[todo.end], sums[todo.start], strict=True)
    )
    codewords = words / case.code.words
    cycles = int(lasts[todo.end - 1] - lasts[todo.start - 1]) / layers
    bus = clocks.bus(todo.reads[: todo.end]) - clocks.bus(todo.reads[: todo.start])
    return {
        **case.as_dict(),
        "clock_hz": hz,
        "draws": layers,
        "together": len(case.reads) == 1,
        "senses": senses,
        "codewords": codewords,
        "bytes": 8 * words,
        "columns": columns,
        "v_bytes": codewords * case.codeword_bytes / 2 / case.channels,
        "cycles": cycles,
        "cycles_of_channel": cycles / case.channels,
        "bus_cycles": bus / layers,
        "arrays_cycles": clocks.arrays(senses, case.dies),
        "run_senses": channel.senses,
        "run_senses_planned": sums[-1][0],
    }


ALIKE = ("profile", "dies", "head_dim", "codeword_bytes", "tokens")


def with_speedups(rows):
    """The rows with ``over_dense``: clocks of dense attention in its fastest layout, of those that
    were measured, over theirs; None if none was.

    Parameters
    ----------
    rows : list of dict
        See `measure_layout`.
    """
    fastest: dict = {}
    for row in rows:
        if row["access"] == "dense":
            key = tuple(row[name] for name in ALIKE)
            fastest[key] = min(row["cycles"], fastest.get(key, row["cycles"]))
    dense = [fastest.get(tuple(row[name] for name in ALIKE)) for row in rows]
    return [
        row | {"over_dense": clocks / row["cycles"] if clocks else None}
        for row, clocks in zip(rows, dense, strict=True)
    ]
