"""One row of ``instinfer bench dense``: an attention on the simulated drive, timed and judged."""

import time
from dataclasses import dataclass

import numpy as np
import torch

from cosim.golden import attend, round_once, sdpa
from cosim.native_lane import TRACE_KINDS

from ..drive import KvDrive
from ..stats import difference
from .bound import dense_bound

__all__ = ["PARTS", "measure"]

PARTS = {
    "command": "command, q, map",
    "latency": "first page: sense",
    "data": "bus: data",
    "addressing": "bus: commands, addresses",
    "gaps": "bus: turnarounds, waits",
    "drain": "engine, merge, results",
}
"""Where the time of an attention goes, in order; together they are all of its cycles."""

_KIND = {name: number for number, name in TRACE_KINDS.items()}


def measure(case, bar=None, announce=print, seed=0):
    """Runs a case; returns its row as plain data.

    Parameters
    ----------
    case : Case
    bar : callable, optional
        Called with the simulated drive before it runs and with None after: for progress.
    announce : callable
        Called with a line of text when something has to be compiled.
    seed : int
        Of q, K and V, which are normally distributed.

    Returns
    -------
    dict
        The fields of the case; ``clock_hz``, ``cycles`` (from the host's doorbell to its having the
        results), ``bound_cycles``, ``bus_fraction``, ``peak_cycles``, ``peak_fraction``, ``pages``;
        ``parts`` (cycles, see `PARTS`); ``accuracy``; ``seconds`` and ``clocks_per_second`` of the
        simulation.
    """
    config = case.config
    bound = dense_bound(config, kv_heads=case.kv_heads, head_dim=case.head_dim, tokens=case.tokens)
    q, k, v = _tensors(case, np.random.default_rng(seed))
    with KvDrive(config, trace=True, announce=announce) as drive:
        lane = drive.backend.lane
        sequence = drive.open(
            layers=1, kv_heads=case.kv_heads, head_dim=case.head_dim, max_tokens=case.tokens
        )
        drive.preload(sequence, 0, k, v)
        before = drive.stats()
        lane.trace()  # forgotten: only what comes now counts
        if bar:
            bar(lane)
        began, start = time.perf_counter(), lane.cycle
        out = drive.attend(sequence, 0, q)
        seconds, cycles = time.perf_counter() - began, lane.cycle - start
        parts = _parts(lane.trace(), start, cycles, bound)
        stats = difference(drive.stats(), before)
        if bar:
            bar(None)
    return {
        **case.as_dict(),
        "clock_hz": config.clock_hz,
        "cycles": cycles,
        "bound_cycles": bound.cycles,
        "bus_fraction": bound.cycles / cycles,
        "peak_cycles": bound.peak,
        "peak_fraction": bound.peak / cycles,
        "user_bytes": bound.user_bytes,
        "bytes_flash": stats["bytes_flash"],
        "bytes_link": stats["bytes_link"],
        "pages": bound.pages,
        "pages_read": stats["pages_read"],
        "parts": parts,
        "accuracy": _accuracy(out, q, k, v),
        "seconds": seconds,
        "clocks_per_second": stats["simulated_clocks"] / seconds,
    }


def _tensors(case, rng):
    def normal(*shape):
        return rng.standard_normal(shape, dtype=np.float32).astype(np.float16)

    kv = (case.tokens, case.kv_heads, case.head_dim)
    return normal(case.kv_heads * case.queries_per_kv, case.head_dim), normal(*kv), normal(*kv)


def _parts(trace, start, cycles, bound):
    """Cycles by `PARTS`, seen at the channel whose data end last."""
    moves = trace[trace["kind"] == _KIND["data out"]]
    if not len(moves):
        return {**dict.fromkeys(PARTS, 0), "command": cycles}
    ends = moves["cycle"].astype(np.int64) + moves["clocks"]
    channel = moves["channel"][np.argmax(ends)]
    senses = trace[(trace["kind"] == _KIND["sense"]) & (trace["channel"] == channel)]
    mine = moves["channel"] == channel
    first, last = int(moves["cycle"][mine].min()), int(ends[mine].max())
    sensed = int(senses["cycle"].min())
    data = int(moves["clocks"][mine].sum())
    addressing = min(bound.command, last - first - data)
    return {
        "command": sensed - start,
        "latency": first - sensed,
        "data": data,
        "addressing": addressing,
        "gaps": last - first - data - addressing,
        "drain": start + cycles - last,
    }


@dataclass
class _Worst:
    error: float = 0.0
    ideal: float = 0.0
    sdpa: float = 0.0
    ratio: float = 0.0


def _accuracy(out, q, k, v):
    """Relative L2 errors per query head against float64; the worst head of each."""
    group = len(q) // k.shape[1]
    worst, exact_bits = _Worst(), 0
    for head in range(k.shape[1]):
        rows = slice(head * group, (head + 1) * group)
        tensors = (q[rows], k[:, head : head + 1], v[:, head : head + 1])
        exact = attend(*tensors)
        ideal, got = round_once(exact), torch.from_numpy(out[rows])
        errors, ideals, torchs = (_errors(x, exact) for x in (got, ideal, sdpa(*tensors)))
        worst.error = max(worst.error, float(errors.max()))
        worst.ideal = max(worst.ideal, float(ideals.max()))
        worst.sdpa = max(worst.sdpa, float(torchs.max()))
        worst.ratio = max(worst.ratio, float((errors / ideals).max()))
        exact_bits += int((got == ideal).sum())
    return {
        "error": worst.error,
        "ideal_error": worst.ideal,
        "error_over_ideal": worst.ratio,
        "torch_sdpa_error": worst.sdpa,
        "correctly_rounded": exact_bits / out.size,
    }


def _errors(x, exact):
    return (x.double() - exact).norm(dim=1) / exact.norm(dim=1)
