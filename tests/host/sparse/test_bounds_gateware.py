"""Attention by bounds on the gateware against its twin, bit for bit; what it has in common with
SparF is in `test_gateware`."""

import numpy as np
import pytest
import torch

from host import Bounds, DriveConfig, DriveError, KvDrive, ResultFlag, Sparf, Status
from rtl.commands import AttendMode
from tests.host.conftest import SEED
from tests.host.sparse.jobs import submit_jobs
from tests.host.sparse.pair import (
    BF16,
    FP16,
    PAPER,
    TINY,
    Exactly,
    JustBounds,
    Pair,
    random_attends,
    spread,
)

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
