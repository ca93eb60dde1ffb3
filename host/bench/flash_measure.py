"""One row of ``instinfer bench flash``: a stream of reads through the compiled channel, timed."""

import random
from dataclasses import dataclass
from functools import cache

import numpy as np

from rtl.ecc.placement import strongest

from .channel import CompiledChannel
from .flash_bound import ChannelClocks, turnaround_ns
from .parts import in_turn, runs

__all__ = ["DEPTH", "Stream", "measure_flash", "planned_clocks", "stream"]

DEPTH = 256
"""Most page reads that the controller takes ahead."""

_strongest = cache(strongest)

BINS = 40
WORD = 8


@dataclass(frozen=True)
class Stream:
    """Reads of one channel.

    Parameters
    ----------
    reads : list of (die, row, column, words)
    wanted : ndarray
        User bytes of each read.
    pages : int
    in_flight : int
        Most reads on their way at a time.
    warm : int
        Reads at each end that are left out of the rates: the pipe fills and empties.
    """

    reads: list
    wanted: np.ndarray
    pages: int
    in_flight: int
    warm: int


def stream(case, pages, seed=0):
    """The reads of a case; the same for the same seed.

    Parameters
    ----------
    case : FlashCase
    pages : int
        Pages that they are of.
    seed : int
    """
    geometry, rng = case.flash.geometry, random.Random(seed)
    if case.pattern == "single":
        words = (geometry.page_bytes // WORD // 2, geometry.page_bytes // WORD)
        reads = [(0, row, 0, words[row % 2]) for row in range(pages)]
        return Stream(reads, np.array([WORD * read[3] for read in reads]), pages, 1, 0)
    if case.planes > 1:
        places = _stripes(case, pages, rng)
    elif case.pattern == "random":
        places = [(rng.randrange(case.dies), rng.randrange(geometry.rows)) for _ in range(pages)]
    else:
        places = [(n % case.dies, n // case.dies % geometry.rows) for n in range(pages)]
    if case.codeword_bytes is None:
        reads = [(*place, 0, geometry.page_words) for place in places]
        wanted = np.full(pages, geometry.page_bytes)
        dies = case.dies * case.planes
        return Stream(reads, wanted, pages, _in_flight(dies), 2 * dies)

    code = _strongest(geometry, case.codeword_bytes)
    number = geometry.page_bytes // case.codeword_bytes
    share = 1 if case.pattern == "codeword" else number // 4
    parts = [runs(sorted(rng.sample(range(number), share))) for _ in places]
    chosen = [
        ((*places[page], first * code.words, count * code.words), count * case.codeword_bytes)
        for page, (first, count) in in_turn(parts, [die for die, _ in places])
    ]
    in_flight = _in_flight(case.dies, -(-len(chosen) // pages))
    wanted = np.array([size for _, size in chosen])
    return Stream([read for read, _ in chosen], wanted, pages, in_flight, in_flight)


def _stripes(case, pages, rng):
    """Places of pages: all planes of a die one behind the other, with one number in their blocks.

    Sequential: of dies in turn, in one block of each plane as long as it has pages. At random: of
    any die, page number and blocks.
    """
    geometry = case.flash.geometry
    groups = geometry.blocks // geometry.planes  # blocks of a plane
    places = []
    while len(places) < pages:
        if case.pattern == "random":
            die, page = rng.randrange(case.dies), rng.randrange(geometry.pages)
            blocks = [rng.randrange(groups) for _ in range(case.planes)]
        else:
            number, die = divmod(len(places) // case.planes, case.dies)
            group, page = divmod(number, geometry.pages)
            blocks = [group % groups] * case.planes
        places += [
            (die, (block * geometry.planes + plane) * geometry.pages + page)
            for plane, block in enumerate(blocks)
        ]
    return places[:pages]


def _in_flight(dies, reads_of_a_page=1):
    """Two pages for each die, one in each of its registers, and the read that is being moved."""
    return min(DEPTH, 2 * dies * reads_of_a_page) + 1


def planned_clocks(case, pages):
    """About how many clocks so many pages take: for progress, and to choose their number."""
    clocks = ChannelClocks(case.flash, case.clock_hz)
    sample = stream(case, pages)
    if case.pattern == "single":
        return sum(clocks.turnaround(read[3]) for read in sample.reads)
    words = case.flash.geometry.page_words
    arrays = clocks.arrays(pages, case.dies, case.planes, words)
    return int(max(clocks.paid(sample.reads, case.planes), arrays))


def measure_flash(case, pages, bar=None, announce=print, seed=0):
    """Runs a case; returns its row as plain data.

    Parameters
    ----------
    case : FlashCase
    pages : int
        Pages to read.
    bar : callable, optional
        Called with the channel before it runs and with None after: for progress.
    announce : callable
        Called with a line of text when something has to be compiled.
    seed : int
        Of the choice of dies, rows and codewords.

    Returns
    -------
    dict
        The fields of the case; ``rate_mts``, ``clock_hz``; ``pages``, ``reads``,
        ``senses`` (of the arrays) and ``in_flight`` of the whole run. In full flow (a read alone:
        all of the run): ``cycles``, ``bound_cycles`` (`ChannelClocks.bus`; a read alone:
        `ChannelClocks.turnaround`), ``bus_fraction``, the bound over the cycles, ``paid_cycles``
        (`ChannelClocks.paid`), ``arrays_cycles`` and ``wanted_fraction_of_peak``, user bytes at the
        bus's data rate over the cycles. From a read's being taken to its last word:
        ``latency_p50_ns``, ``latency_p99_ns`` and ``latencies``, a histogram.
    """
    flash, hz = case.flash, case.clock_hz
    clocks = ChannelClocks(flash, hz)
    todo = stream(case, pages, seed)
    channel = CompiledChannel(flash, hz, DEPTH, announce=announce)
    # A read alone finds the channel as after a reset: nothing of another is on its bus.
    runs = [[read] for read in todo.reads] if case.pattern == "single" else [todo.reads]
    latencies, senses = [], 0
    for reads in runs:
        if bar:
            bar(channel)
        try:
            takes, lasts = channel.timed(reads, todo.in_flight)
        finally:
            if bar:
                bar(None)
        latencies.append(lasts - takes)
        senses += channel.senses
    taken = np.concatenate(latencies)
    row = {
        **case.as_dict(),
        "rate_mts": float(flash.timing.rate_mts),
        "clock_hz": hz,
        "pages": pages,
        "reads": len(todo.reads),
        "senses": senses,
        "in_flight": todo.in_flight,
    }
    latency = taken * (1e9 / hz)
    if case.pattern == "single":
        row |= _alone(clocks, todo, taken)
    else:
        row |= _in_full_flow(clocks, todo, lasts, case)
        latency = latency[todo.warm : -todo.warm]
    counts, edges = np.histogram(latency, BINS)
    peak = float(flash.timing.bytes_per_clock(hz)) * row["cycles"]
    return row | {
        "bus_fraction": row["bound_cycles"] / row["cycles"],
        "wanted_fraction_of_peak": row["wanted_bytes"] / peak,
        "latency_p50_ns": float(np.percentile(latency, 50)),
        "latency_p99_ns": float(np.percentile(latency, 99)),
        "latencies": {"edges_ns": edges.tolist(), "reads": counts.tolist()},
    }


def _in_full_flow(clocks, todo, lasts, case):
    """Between the last word of one read near the start and that of one near the end."""
    start, end = todo.warm, len(todo.reads) - todo.warm
    before, until = todo.reads[:start], todo.reads[:end]
    pages = todo.pages * (end - start) / len(todo.reads)
    return {
        "cycles": int(lasts[end - 1] - lasts[start - 1]),
        "bound_cycles": clocks.bus(until, case.planes) - clocks.bus(before, case.planes),
        "paid_cycles": clocks.paid(until, case.planes) - clocks.paid(before, case.planes),
        "arrays_cycles": clocks.arrays(
            pages, case.dies, case.planes, case.flash.geometry.page_words
        ),
        "wanted_bytes": int(todo.wanted[start:end].sum()),
    }


def _alone(clocks, todo, taken):
    """From being taken to the last word, all reads together, and each by itself."""
    forms = [clocks.turnaround(read[3]) for read in todo.reads]
    return {
        "cycles": int(taken.sum()),
        "bound_cycles": sum(forms),
        "paid_cycles": sum(forms),
        "arrays_cycles": clocks.arrays(todo.pages, 1),
        "wanted_bytes": int(todo.wanted.sum()),
        "turnarounds": [
            {
                "bytes": WORD * words,
                "cycles": int(cycles),
                "closed_form_cycles": form,
                "closed_form_ns": float(turnaround_ns(clocks.timing, WORD * words)),
                "mqsim_count_ns": float(turnaround_ns(clocks.timing, WORD * words, 6)),
            }
            for (_, _, _, words), cycles, form in zip(todo.reads, taken, forms, strict=True)
        ],
    }
