"""One run of ``instinfer bench prefill``: a prompt written to the simulated drive, layer by layer.

::

    host    | layer 0 | layer 1 | layer 2 | ...          `KvDrive.elapse` for each
    link              | K, V of 0 | K, V of 1 | ...      doorbell (or the answer before) to answer
    dies                 | pages of 0 | pages of 1 ...   first program's begin to last one's end

Without overlap the host begins a layer when it has the answer to the layer before, with overlap
when it has rung the doorbell.
"""

import time

import numpy as np

from rtl.tables import unit_groups

from ..drive import KvDrive
from ..generate.timeline import intervals

__all__ = ["hidden", "measure", "pages_of_layer", "program_clocks"]


def pages_of_layer(decoder, tokens, config, index="none"):
    """Pages that a layer fills, K and V of all KV heads, with index "channel" whole units of K once
    more; what is left stays in device DRAM."""
    page = config.flash.geometry.page_bytes
    groups = tokens // (page // (2 * decoder.head_dim))
    pages = 2 * groups
    if index == "channel":
        unit = unit_groups(decoder.head_dim, page, config.codeword_bytes)
        pages += groups // unit * unit
    return decoder.kv_heads * pages


def program_clocks(pages, config):
    """Clocks in which the dies program so many pages at best: all dies, all the time."""
    t_prog = config.flash.timing.t_prog_ns * config.clock_hz / 1e9
    return pages * t_prog / (config.channels * config.dies)


def hidden(host, drive, total):
    """Part of the shorter of two, host and drive alone, that is hidden behind the longer.

    All in clocks; ``total`` is both together. None if one of them is nothing.
    """
    return (host + drive - total) / min(host, drive) if min(host, drive) else None


def measure(
    config,
    decoder,
    *,
    layers,
    tokens,
    host_seconds,
    overlap,
    index="none",
    bar=None,
    announce=print,
):
    """Runs a prefill; returns what it took as plain data.

    Parameters
    ----------
    config : DriveConfig
    decoder : host.time_models.Decoder
    layers, tokens : int
    host_seconds : float
        That the host computes a layer.
    overlap : bool
        Whether it goes on when it has given a layer to the drive, or waits.
    index : str
        "channel": K is written a second time.
    bar : callable, optional
        Called with the simulated drive before it runs and with None after.
    announce : callable
        Called with a line of text when something has to be compiled.

    Returns
    -------
    dict
        ``rows``, one a layer, in clocks from the begin: ``host_start``, ``host_end``,
        ``link_start``, ``link_end``, ``programs_start``, ``programs_end`` (None without pages;
        programs by order: the first pages of a layer may begin before the last of the one before);
        ``programs``, begin and end of each; ``answered``, the host has all answers; ``programmed``,
        all pages are on flash; ``host``, clocks of all layers on the host; ``bound``,
        `program_clocks`; ``of_dies``, the bound over the time from the first doorbell to the last
        program's end, and ``steady``, the same from the first layer's last program on.
    """
    pages = pages_of_layer(decoder, tokens, config, index)
    bound = program_clocks(pages * layers, config)
    kv = np.random.default_rng(0).standard_normal((2, tokens, decoder.kv_heads, decoder.head_dim))
    k, v = kv.astype(np.float16)
    began = time.perf_counter()
    with KvDrive(config, trace=True, announce=announce) as drive:
        lane = drive.backend.lane
        sequence = drive.open(
            layers=layers,
            kv_heads=decoder.kv_heads,
            head_dim=decoder.head_dim,
            max_tokens=tokens,
            index=index,
        )
        lane.trace()  # forgotten: only what comes now counts
        if bar:
            bar(lane)
        rows, tickets, begin = [], [], lane.cycle
        for layer in range(layers):
            start = lane.cycle
            drive.elapse(host_seconds)
            rows.append({"layer": layer, "host_start": start - begin})
            rows[-1]["host_end"] = lane.cycle - begin
            tickets.append(drive.submit_append(sequence, layer, k, v))
            if not overlap:
                drive.wait(tickets[-1])
        for ticket in tickets if overlap else ():
            drive.wait(ticket)
        answered = lane.cycle - begin
        programs = _programs(drive, pages * layers, config) - begin
        if bar:
            bar(None)
    _add_link(rows, tickets, begin)
    ends = _add_programs(rows, programs, pages)
    first, programmed = rows[0]["link_start"], ends[-1] if pages else answered
    return {
        "host_seconds": host_seconds,
        "overlap": overlap,
        "host": layers * round(host_seconds * config.clock_hz),
        "answered": answered,
        "programmed": programmed,
        "pages": pages * layers,
        "bound": bound,
        "of_dies": bound / (programmed - first),
        "steady": bound * (1 - 1 / layers) / (ends[-1] - ends[0]) if len(ends) > 1 else None,
        "rows": rows,
        "programs": programs.tolist(),
        "seconds": time.perf_counter() - began,
    }


def _programs(drive, count, config):
    """Begin and end of all programs, by begin; waits until the last one has ended."""
    events = []
    step = config.flash.timing.t_prog_ns / 1e9
    most = 8 + count  # a program at a time would take no longer
    for _ in range(most):
        trace = drive.backend.lane.trace()
        begin, end, _, _, kind = intervals(trace, config)
        chosen = kind == "program"
        events.append(np.stack([begin[chosen], end[chosen]], 1))
        if sum(map(len, events)) >= count:
            break
        drive.elapse(step)
    found = np.concatenate(events)
    if len(found) != count:
        raise RuntimeError(f"{len(found)} pages were programmed, {count} were expected")
    return found[np.argsort(found[:, 0], kind="stable")]


def _add_link(rows, tickets, begin):
    """When the drive had each layer's append: its commands come one after another."""
    before = 0
    for row, ticket in zip(rows, tickets, strict=True):
        commands = [command for command, _ in ticket.part.commands]
        row["link_start"] = max(before, commands[0].rung - begin)
        row["link_end"] = before = commands[-1].answered - begin


def _add_programs(rows, programs, pages):
    """Gives each layer its number of programs, in their order; returns where each layer ends."""
    ends = []
    for number, row in enumerate(rows):
        mine = programs[number * pages : (number + 1) * pages]
        row["programs_start"] = int(mine[:, 0].min()) if pages else None
        row["programs_end"] = int(mine[:, 1].max()) if pages else None
        if pages:
            ends.append(row["programs_end"])
    return ends
