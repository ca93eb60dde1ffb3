"""Attention by bounds on the gateware against its twin: outputs, flags and traffic, bit for bit."""

import numpy as np
import pytest
import torch
from conftest import SEED
from sparse_faulty import Faulty
from sparse_jobs import submit_jobs
from sparse_pair import (
    BF16,
    EDGES,
    FP16,
    PAPER,
    TINY,
    Exactly,
    JustBounds,
    Pair,
    random_attends,
    spread,
)

from cosim.reference import twin_attend
from host import Bounds, DriveConfig, DriveError, KvDrive, ResultFlag, Sparf, Status
from rtl.commands import AttendMode
from rtl.tables import PageKind

pytestmark = pytest.mark.filterwarnings("ignore::host.errors.DriveWarning")


BY_BOUNDS = {"index": "bounds"}


@pytest.fixture(scope="module")
def page_drives():
    """Pages of 4 KiB with four codewords of bounds, 64 or 128 channels."""
    pair = Pair(PAPER[1024])
    yield pair
    pair.shutdown()


OF_PAGES = {"head_dims": (64, 128), "queries": 2, **BY_BOUNDS}


def test_random_attends(tiny_pair):
    random_attends(tiny_pair, SEED, 12, **BY_BOUNDS)


def test_pages_of_many_codewords(page_drives):
    random_attends(page_drives, SEED, 6, most=1500, **OF_PAGES)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(5))
def test_many_random_attends(seed):
    for number in range(10):
        pair = Pair(TINY)
        random_attends(pair, 100 * seed + number, 12, **BY_BOUNDS)
        pair.shutdown()


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(3))
def test_many_attends_of_pages_of_many_codewords(page_drives, seed):
    random_attends(page_drives, seed, 60, most=4096, **OF_PAGES)
    random_attends(page_drives, seed, 6, most=16384, **OF_PAGES)


@pytest.mark.soak
def test_eight_query_heads():
    """Of 64 channels: a unit's scores, 32 of them, take longer than its beats."""
    config = DriveConfig.preset("tiny", sparse_tokens=1024, bounds=True, max_queries_per_kv=8)
    pair = Pair(config)
    for seed in range(4):
        random_attends(pair, seed, 6, queries=8, **BY_BOUNDS)
    pair.shutdown()


def test_lengths(tiny_pair, rng):
    """One sequence that grows from edge to edge."""
    sequence, held = tiny_pair.open(2, index="bounds"), 0
    for number, tokens in enumerate(EDGES):
        new = spread(rng, (2, tokens - held, 2, 64))
        tiny_pair.call("append" if tokens < 300 else "preload", sequence, 0, *new)
        held = tokens
        q = spread(rng, (6, 64))
        attention = (Bounds(1 / 8), JustBounds(max(1, tokens // 2)))[number % 2]
        tiny_pair.attend([(sequence, 0, q)], attention)


@pytest.mark.parametrize("begin", [28, pytest.param(252, marks=pytest.mark.soak)])
def test_steps_through_the_end_of_a_unit(tiny_pair, rng, begin):
    """Of two layers, one a token ahead; then a fork of it, truncated within the unit."""
    sequence = tiny_pair.open(2, layers=2, max_tokens=600, index="bounds")
    for layer in range(2):
        tiny_pair.call("append", sequence, layer, *spread(rng, (2, begin + layer, 2, 64)))
    attention = JustBounds(11, sinks=2, window=5)

    def step(*sequences, count=1):
        for number in range(count):
            jobs = [
                (n, (number + at) % 2, spread(rng, (4, 64)), *spread(rng, (2, 2, 64)))
                for at, n in enumerate(sequences)
            ]
            tiny_pair.attend(jobs, attention)

    step(sequence, sequence, count=5)
    fork = tiny_pair.fork(sequence)
    step(sequence, fork, count=2)
    tiny_pair.call("truncate", fork, begin + 2)
    step(fork, sequence, count=5)
    q = spread(rng, (4, 64))
    tiny_pair.attend([(n, at, q) for n in (fork, sequence) for at in range(2)], attention)


def test_every_kind_of_attention_in_turn(tiny_pair, rng):
    """Heads of sequences by channel, with bounds, and dense ones, of both formats."""
    sequences = {}
    for index, dtype in (("channel", FP16), ("bounds", BF16), ("none", FP16)):
        sequence = tiny_pair.open(2, dtype=dtype, index=index, max_tokens=400)
        tiny_pair.call("preload", sequence, 0, *spread(rng, (2, 333, 2, 64), dtype))
        sequences[index] = sequence
    kinds = {
        "channel": (Sparf(1 / 8), Exactly(9, 50), "dense"),
        "bounds": (Bounds(1 / 8), JustBounds(50), "dense"),
        "none": ("dense",),
    }
    for _ in range(12):
        index = str(rng.choice(list(kinds)))
        attention = kinds[index][rng.integers(len(kinds[index]))]
        q = [spread(rng, (2 * int(rng.integers(1, 5)), 64)) for _ in range(2)]
        tiny_pair.attend([(sequences[index], 0, x) for x in q], attention)


@pytest.mark.parametrize("tokens, kept", [(300, 300), (32, 2000), (513, 513)])
def test_dense_where_all_is_kept(tiny_pair, rng, tokens, kept):
    sequence = tiny_pair.open(index="bounds")
    tiny_pair.call("preload", sequence, 0, *spread(rng, (2, tokens, 1, 64)))
    q = spread(rng, (3, 64))
    [dense] = tiny_pair.attend([(sequence, 0, q)], "dense")
    [found] = tiny_pair.attend([(sequence, 0, q)], JustBounds(kept))
    assert found.tobytes() == dense.tobytes()


@pytest.mark.parametrize(
    ("place", "value"),
    [("q", np.nan), ("k bounds", np.nan), ("k beyond", -np.inf), ("k tail", np.inf), ("v", np.inf)],
)
def test_infinities(tiny_pair, rng, place, value):
    """All query heads of the KV head are NaN, whatever is kept; those of the other are not."""
    tokens = 615
    k, v = spread(rng, (2, tokens, 2, 64))
    q = spread(rng, (6, 64))
    at = {"k bounds": 100, "k beyond": 610, "k tail": 613, "v": 0}.get(place)
    if place == "q":
        q[4, 7] = value
    else:
        (k if place[0] == "k" else v)[at, 1, 7] = value
    sequence = tiny_pair.open(2, index="bounds")
    tiny_pair.call("preload", sequence, 0, k, v)
    for attention in (JustBounds(30), JustBounds(615)):
        [found] = tiny_pair.attend([(sequence, 0, q)], attention)
        assert np.isnan(found[3:]).all() and np.isfinite(found[:3]).all()
        assert tiny_pair.drives[0].last_flags & ResultFlag.NONFINITE


@pytest.mark.parametrize("tokens, kept", [(640, 64), (600, 128), (301, 32), (17, 4), (63, 16)])
def test_the_tokens_kept_are_those_of_torch(tiny_pair, rng, tokens, kept):
    """Two channels of K are opposite, so that all scores are 0 and bounds what they differ by among
    four tokens, an integer; V says which tokens are kept."""
    units = rng.integers(0, 8, -(-tokens // 4))
    size = np.repeat(units, 4)[:tokens] * (np.arange(tokens) % 4 == rng.integers(4, size=1))
    of_unit = np.pad(size, (0, -tokens % 4), mode="edge").reshape(-1, 4)
    ranks = torch.from_numpy(np.ptp(of_unit, axis=1)).repeat_interleave(4)[:tokens]
    q, k, v = np.zeros((1, 64), FP16), np.zeros((tokens, 1, 64), FP16), np.zeros((tokens, 1, 64))
    one, other = rng.permutation(64)[:2]
    q[0, one], q[0, other] = 2, -1
    k[:, 0, one], k[:, 0, other] = size, 2 * size
    classes = np.arange(tokens) % 64
    v[np.arange(tokens), 0, classes] = 2.0 ** (np.arange(tokens) // 64)
    sequence = tiny_pair.open(index="bounds")
    tiny_pair.call("preload", sequence, 0, k, v.astype(FP16))
    for sinks, window in ((0, 0), (kept // 4, kept // 2)):
        forced = ranks.clone()
        forced[:sinks] += 1000
        forced[tokens - window :] += 1000
        wanted = np.zeros(tokens, bool)
        wanted[forced.sort(descending=True, stable=True).indices[:kept].numpy()] = True
        attention = JustBounds(kept, sinks, window)
        [found] = tiny_pair.attend([(sequence, 0, q)], attention, scale=1.0)
        sums = (found[0].astype(float) * kept).astype(int)
        assert np.array_equal((sums[classes] >> np.arange(tokens) // 64) & 1 == 1, wanted)


def test_refusals(tiny_pair, rng):
    drive = tiny_pair.drives[0]
    q, held = spread(rng, (2, 64)), spread(rng, (2, 300, 1, 64))
    names = {
        index: tiny_pair.open(max_tokens=400, index=index)
        for index in ("none", "channel", "bounds")
    }
    for name in names.values():
        tiny_pair.call("preload", name, 0, *held)
    jobs = [
        ({"sequence": names["bounds"][0]}, 0),
        ({"sequence": names["bounds"][0], "channels": 0}, 0),  # they are not looked at
        ({"sequence": names["bounds"][0], "kept": 0}, Status.INVALID_SELECTION),
        ({"sequence": names["channel"][0]}, Status.NO_INDEX),
        ({"sequence": names["none"][0]}, Status.NO_INDEX),
    ]
    listed = [{"q": q, **job} for job, _ in jobs]
    completion, found = submit_jobs(drive, listed, mode=AttendMode.BOUNDS)
    assert [status for status, _ in found] == [status for _, status in jobs]
    assert (completion["status"], completion["index"]) == (Status.INVALID_SELECTION, 2)
    assert found[0] == found[1]
    _, found = submit_jobs(drive, listed, mode=AttendMode.SPARF)
    assert found[0][0] == Status.NO_INDEX and found[3][0] == 0
    for mode, partials in ((AttendMode.BOUNDS, 1), (3, 0)):
        completion, _ = submit_jobs(drive, listed[:1], mode=mode, partials=partials)
        assert completion["status"] == Status.UNSUPPORTED_MODE
    for index, attention in (("channel", Bounds(1 / 8)), ("bounds", Sparf(1 / 8))):
        with pytest.raises(DriveError, match=f"opened with index='{index}', this attention needs"):
            drive.attend(names[index][0], 0, q, attention=attention)
    tiny_pair.attend([(names["bounds"], 0, q)], JustBounds(7))


def test_a_drive_without_bounds(rng):
    with KvDrive(PAPER[512], backend="rtl") as drive:
        number = drive.open(layers=1, kv_heads=1, head_dim=64, index="channel", max_tokens=600)
        drive.preload(number, 0, *spread(rng, (2, 300, 1, 64)))
        q = spread(rng, (1, 64))
        with pytest.raises(DriveError, match="no attention by bounds: give its configuration"):
            drive.attend(number, 0, q, attention=Bounds(1 / 8))
        with pytest.raises(DriveError, match="build it with bounds = True"):
            drive.open(layers=1, kv_heads=1, head_dim=64, index="bounds")
        completion, _ = submit_jobs(drive, [{"sequence": number, "q": q}], mode=AttendMode.BOUNDS)
        assert completion["status"] == Status.UNSUPPORTED_MODE


UNREAD = {
    "bounds": lambda f: (PageKind.COLUMNS, 3, True),
    "K to estimate": lambda f: (PageKind.K, f.in_units // f.group, True),
    "K kept": lambda f: (PageKind.K, f.pages(True)[0], True),
    "V kept": lambda f: (PageKind.V, f.pages(True)[-1], True),
    "K not kept": lambda f: (PageKind.K, f.pages(False)[5], False),
    "V not kept": lambda f: (PageKind.V, f.pages(False)[-1], False),
}
"""Kind and page, and whether its loss is to be noticed."""


@pytest.mark.parametrize("what", UNREAD)
def test_a_page_that_cannot_be_read(rng, what):
    faulty = Faulty(rng, attention=JustBounds(20))
    kind, page, fails = UNREAD[what](faulty)
    faulty.spoil(kind, page)
    assert faulty.attend_both() == (Status.UNRECOVERED_READ if fails else None)
    unread = faulty.drive.stats()["codewords_unrecovered"]
    assert unread >= 2 if fails else unread == 0
    if kind == PageKind.COLUMNS:
        k, v = faulty.k, faulty.v
        dense = twin_attend(faulty.q, k, v, 64**-0.5, pass_tokens=faulty.config.pass_tokens)
        assert faulty.drive.attend(faulty.number, 0, faulty.q).tobytes() == dense.out.tobytes()
    faulty.drive.shutdown()


def timed_run(skip_idle):
    """Cycles and counters after each of some calls, outputs, and the clocks evaluated."""
    rng = np.random.default_rng(SEED)
    trail, outputs = [], []
    with KvDrive(TINY, backend="rtl", skip_idle=skip_idle) as drive:
        shape = {"layers": 1, "kv_heads": 2, "head_dim": 64, "max_tokens": 400}
        sequences = [drive.open(**shape, index="bounds") for _ in range(2)]
        for number, tokens in zip(sequences, (126, 40), strict=True):
            drive.append(number, 0, *spread(rng, (2, tokens, 2, 64)))
        for turn in range(3):
            attention = (Bounds(1 / 8, sinks=1, window=2), JustBounds(30))[turn % 2]
            jobs = [(n, 0, spread(rng, (4, 64)), *spread(rng, (2, 2, 64))) for n in sequences]
            outputs += drive.attend_batch(jobs, attention=attention)
            outputs += drive.attend_batch([job[:3] for job in jobs], attention=attention)
            trail.append(drive.stats())
            del trail[-1]["simulated_clocks"]
        return trail, outputs, drive.backend.lane.cycle, drive.backend.lane.simulated_clocks


def test_skipping_idle_time_changes_nothing():
    skipped, outputs, cycles, clocks = timed_run(True)
    stepped, expected, all_cycles, all_clocks = timed_run(False)
    assert skipped == stepped and cycles == all_cycles and clocks < all_clocks
    assert all(map(np.array_equal, outputs, expected))
