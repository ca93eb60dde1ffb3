"""Measuring one case of ``instinfer bench sparse``: dense and sparse attention on one drive.

Commands of the first layer and of both::

    alone  |fill| heads of layer 0 |drain|
    both   |fill| heads of layer 0 | heads of layer 1 |drain|
                                   '--- in full flow: both - alone
"""

import time
from typing import NamedTuple

import numpy as np

from cosim.native_lane import TRACE_KINDS
from cosim.reference import UNIT_TOKENS

from ..drive import KvDrive
from ..sparse import DENSE, Bounds, Sparf
from ..sparse_traffic import sparse_traffic
from ..stats import difference
from .sparse_inputs import kept_units, layers_of

__all__ = ["FORCED", "SHARES", "attention_of", "measure_sparse", "planned_cycles", "with_dense"]

LAYERS = 2
FORCED = 0
"""First and last tokens that come before others: touched units are stated of all tokens wanted."""

SHARES = ("data", "command", "waiting", "idle")
"""Of a channel's time, see `rtl.nand.operations.Activity`."""


_SENSE = next(number for number, name in TRACE_KINDS.items() if name == "sense")


def planned_cycles(case):
    """About how many clocks it takes: for progress."""
    config = case.config
    user = 4 * case.held * case.head_dim * case.kv_heads / case.channels
    dense = user / float(config.flash.timing.bytes_per_clock(config.clock_hz))
    return int((1 + LAYERS) * dense * (1 + len(case.ratios) / 2))


def measure_sparse(case, bar=None, announce=print, text=None, check=True):
    """Runs a case; returns its rows as plain data.

    Parameters
    ----------
    case : SparseCase
    bar : callable, optional
        Called with the simulated drive before it runs and with None after: for progress.
    announce : callable
        Called with a line of text when something has to be compiled.
    text : str, optional
        That a model has read.
    check : bool
        Whether results are compared with those of backend ``twin``.

    Returns
    -------
    list of dict
        One for each of ``case.modes``: the fields of the case, ``head_dim``, ``mode``, ``ratio``,
        ``clock_hz``, ``kept`` (tokens of a KV head); of one layer in full flow, all channels that
        are simulated together: ``cycles``, ``reads`` (page operations, one or more of a page),
        ``pages_sensed``, ``bytes_sensed``, ``bytes_moved`` (user bytes of whole codewords),
        ``shares`` (of the channels' time, see `SHARES`); ``cycles_alone``, of a command of one
        layer; ``as_twin``, results are bit for bit the twin's, None if not compared;
        ``pages_planned`` and ``bytes_planned``, of the tokens and channels that were to be
        selected, None if these are not known; ``seconds`` of simulation.
    """
    layers = layers_of(case, LAYERS, text)
    with KvDrive(case.config, preload_dies=case.dies, trace=True, announce=announce) as drive:
        sequence = _filled(drive, case, layers)
        if bar:
            bar(drive.backend.lane)
        try:
            found = [_run(drive, sequence, layers, case, ratio) for ratio in case.modes]
        finally:
            if bar:
                bar(None)
    expected = _twin(case, layers) if check else [None] * len(case.modes)
    plans = _plans(case, layers[-1])
    rows = [
        {
            **case.as_dict(),
            "head_dim": case.head_dim,
            "kv_heads": case.kv_heads,
            "queries": case.queries,
            "held": case.held,
            "mode": DENSE if ratio is None else case.attention,
            "ratio": ratio,
            "clock_hz": case.config.clock_hz,
            "kept": case.held
            if ratio is None
            else attention_of(case, ratio).selection(case.head_dim, case.held).kept,
            **row,
            "as_twin": None if output is None else bool(np.array_equal(output, out)),
            **dict(zip(PLANNED, plans[ratio], strict=True)),
        }
        for ratio, (row, out), output in zip(case.modes, found, expected, strict=True)
    ]
    return with_dense(rows)


def attention_of(case, ratio):
    """What attends at a ratio; by bounds of whole units."""
    if ratio is None:
        return DENSE
    if case.attention == "sparf":
        return Sparf(ratio, sinks=FORCED, window=FORCED)
    kept = UNIT_TOKENS * kept_units(ratio, case.held)
    return Bounds(kept=kept, sinks=FORCED, window=FORCED)


def _filled(drive, case, layers):
    """A sequence that holds the layers, with what the case's attention needs."""
    sequence = drive.open(
        layers=len(layers),
        kv_heads=case.kv_heads,
        head_dim=case.head_dim,
        max_tokens=case.held,
        index=attention_of(case, case.ratios[0]).index,
    )
    for number, layer in enumerate(layers):
        drive.preload(sequence, number, layer.k, layer.v)
    return sequence


def _run(drive, sequence, layers, case, ratio):
    """What one mode takes, and the first layer's result."""
    jobs = [(sequence, number, layer.q[ratio]) for number, layer in enumerate(layers)]
    begin = time.perf_counter()
    alone = _command(drive, jobs[:1], attention_of(case, ratio))
    both = _command(drive, jobs, attention_of(case, ratio))
    flow = difference(both.stats, alone.stats)
    channels = flow["channel_counters"]
    times = {name: sum(channel[name] for channel in channels) for name in SHARES}
    senses = both.senses - alone.senses
    row = {
        "cycles": both.cycles - alone.cycles,
        "cycles_alone": alone.cycles,
        "reads": flow["pages_read"],
        "pages_sensed": senses,
        "bytes_sensed": senses * drive.config.flash.geometry.page_bytes,
        "bytes_moved": flow["bytes_flash"],
        "shares": {name: clocks / sum(times.values()) for name, clocks in times.items()},
        "seconds": time.perf_counter() - begin,
    }
    return row, alone.outputs[0]


class _Command(NamedTuple):
    outputs: list
    cycles: int
    senses: int
    stats: dict


def _command(drive, jobs, attention):
    lane, before = drive.backend.lane, drive.stats()
    lane.trace()  # forgotten: only what comes now counts
    start = lane.cycle
    outputs = drive.attend_batch(jobs, attention=attention)
    cycles = lane.cycle - start
    senses = int((lane.trace()["kind"] == _SENSE).sum())
    return _Command(outputs, cycles, senses, difference(drive.stats(), before))


def _twin(case, layers):
    """The first layer's result in each mode, of the arithmetic alone."""
    with KvDrive(case.config, backend="twin") as drive:
        sequence = _filled(drive, case, layers)
        return [
            drive.attend(sequence, 0, layers[0].q[ratio], attention=attention_of(case, ratio))
            for ratio in case.modes
        ]


PLANNED = ("pages_planned", "bytes_planned")


def _plans(case, layer):
    """Ratio -> pages and bytes of what is to be selected of a layer, by the twin's count."""
    plans = dict.fromkeys(case.modes, (None, None))
    with KvDrive(case.config, backend="twin") as drive:
        shape = drive.backend.shape(_filled(drive, case, [layer]))
    full = case.held // shape.group_tokens
    for ratio, (channels, tokens) in layer.wanted.items():
        found = sparse_traffic(
            shape, case.codeword_bytes, full, channels, tokens, case.attention == "bounds"
        )
        plans[ratio] = found["pages_read"], found["bytes_flash"]
    return plans


def with_dense(rows):
    """Rows of one case with ``speedup_vs_dense``, ``moved_share`` and ``sensed_share``."""
    dense = next(row for row in rows if row["ratio"] is None)
    return [
        row
        | {
            "speedup_vs_dense": dense["cycles"] / row["cycles"],
            "moved_share": row["bytes_moved"] / dense["bytes_moved"],
            "sensed_share": row["bytes_sensed"] / dense["bytes_sensed"],
        }
        for row in rows
    ]
