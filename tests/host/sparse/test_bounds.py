"""Attention by bounds through `KvDrive`, Transformers and the command line: what is asked for, what
comes back, what is read, what is refused. On twin, golden and the behavioural lane."""

import numpy as np
import pytest
import torch

from cosim.golden_bounds import bounds_attention
from host import Bounds, DriveConfig, DriveError, DriveValueError, KvDrive, Sparf, Status
from host.attention import attach
from host.cli import main
from host.support import UnsupportedModel
from rtl.commands import AttendMode
from tests.host.conftest import SEED, make_drive
from tests.host.small_models import greedy, make

CONFIG = DriveConfig.preset("tiny", sparse_tokens=512, bounds=True)
BACKENDS = ("twin", "golden", "fake")
FEW = Bounds(kept=48)
UNIT = 32
"""Tokens whose bounds are a page of 512 bytes."""


def filled(drive, rng, tokens=300, kv_heads=2, **shape):
    """A sequence with one layer of random tokens, and these."""
    k, v = rng.standard_normal((2, tokens, kv_heads, 64)).astype(np.float16)
    spread = {"layers": 1, "kv_heads": kv_heads, "head_dim": 64, "max_tokens": 512}
    number = drive.open(**{**spread, "index": "bounds", **shape})
    drive.append(number, 0, k, v)
    return number, k, v


def queries(rng, heads=4):
    return (2 * rng.standard_normal((heads, 64))).astype(np.float16)


def golden(q, k, v, attention, on_flash):
    """``on_flash``: tokens of whole groups on flash."""
    _, kept, sinks, window = attention.selection(64, len(k))
    return bounds_attention(
        *map(torch.from_numpy, (q, k, v)), kept=kept, sinks=sinks, window=window,
        bounded=on_flash // UNIT * UNIT,
    ).out.numpy()  # fmt: skip


def close(out, expected):
    error = np.linalg.norm(out.astype(float) - expected, axis=1)
    return (error < 1e-3 * np.linalg.norm(expected, axis=1)).all()


@pytest.mark.parametrize(
    ("bounds", "head_dim", "tokens", "selection"),
    [
        (Bounds(3 / 16), 64, 2048, (64, 256, 4, 32)),
        (Bounds(0.1), 128, 1000, (128, 37, 4, 32)),
        (Bounds(0.1), 128, 300, (128, 36, 4, 32)),  # 11, but 36 are forced
        (Bounds(0.1, forced="besides"), 128, 1000, (128, 73, 4, 32)),
        (Bounds(1, sinks=0, window=0), 64, 160, (64, 150, 0, 0)),
        (Bounds(kept=7, window=0), 64, 100, (64, 7, 4, 0)),
    ],
)
def test_selection(bounds, head_dim, tokens, selection):
    assert bounds.selection(head_dim, tokens) == selection
    assert (bounds.kind, bounds.mode, bounds.index) == ("bounds", AttendMode.BOUNDS, "bounds")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "kept = None: give it, or a ratio"),
        ({"ratio": 1 / 16}, "0.0625 is not possible by bounds, which alone are 1/16 of K and V"),
        ({"ratio": 1.5}, "ratio = 1.5 is not possible"),
        ({"ratio": 0.5, "kept": 3}, "ratio = 0.5 with kept = 3"),
        ({"kept": 0}, "kept = 0 is not possible"),
        ({"ratio": 0.5, "forced": "beside"}, "forced = 'beside'"),
    ],
)
def test_impossible_selections(fields, message):
    with pytest.raises(DriveValueError, match=message) as info:
        Bounds(**fields)
    assert info.value.status == Status.INVALID_SELECTION


@pytest.mark.parametrize("backend", BACKENDS)
def test_attend_and_steps(backend):
    """Through the end of a unit, and in a fork; a step's token is not on flash yet."""
    rng = np.random.default_rng(SEED)
    with make_drive(backend, CONFIG) as drive:
        sequence, k, v = filled(drive, rng, tokens=286)
        for attention in (FEW, Bounds(1 / 4), Bounds(1 / 2, sinks=0, window=0)):
            q = queries(rng)
            found = drive.attend(sequence, 0, q, attention=attention)
            assert close(found, golden(q, k, v, attention, 284))
        for _ in range(4):
            q, new = queries(rng), rng.standard_normal((2, 2, 64)).astype(np.float16)
            on_flash = len(k) // 4 * 4
            k, v = (np.concatenate([x, y[None]]) for x, y in zip((k, v), new, strict=True))
            found = drive.step(sequence, 0, q, *new, attention=FEW)
            assert close(found, golden(q, k, v, FEW, on_flash))
        fork, q = drive.fork(sequence), queries(rng)
        assert close(drive.attend(fork, 0, q, attention=FEW), golden(q, k, v, FEW, 288))
        drive.truncate(fork, 270)
        found = drive.attend(fork, 0, q, attention=FEW)
        assert close(found, golden(q, k[:270], v[:270], FEW, 268))


def test_the_lane_gives_the_twin():
    outputs = []
    for backend in ("twin", "fake"):
        draw = np.random.default_rng(SEED)
        with make_drive(backend, CONFIG) as drive:
            sequence, *_ = filled(drive, draw)
            q = queries(draw)
            kinds = (FEW, Bounds(0.1, sinks=1, window=1), Bounds(0.9))
            outputs.append([drive.attend(sequence, 0, q, attention=x, scale=0.2) for x in kinds])
    assert all(np.array_equal(a, b) for a, b in zip(*outputs, strict=True))


@pytest.mark.parametrize("backend", BACKENDS)
def test_dense_where_all_is_kept(backend, rng):
    with make_drive(backend, CONFIG) as drive:
        sequence, *_ = filled(drive, rng)
        q = queries(rng)
        found = drive.attend(sequence, 0, q, attention=Bounds(kept=300))
        assert np.array_equal(found, drive.attend(sequence, 0, q))


def test_traffic_by_hand():
    """Pages of 512 bytes with 4 tokens of 64 or the bounds of 32; codewords of 512."""
    with KvDrive(CONFIG, backend="twin") as drive:
        sequence, k, v = filled(drive, np.random.default_rng(SEED), 300 + 2, kv_heads=1)
        q = queries(np.random.default_rng(1), 1)
        attention = Bounds(kept=48, sinks=0, window=0)
        before = drive.stats()
        drive.attend(sequence, 0, q, attention=attention)
        after = drive.stats()
        found = {n: after[n] - before[n] for n in ("pages_read", "bytes_flash", "bytes_tail")}
        tokens = bounds_attention(*map(torch.from_numpy, (q, k, v)), kept=48, bounded=288).tokens[0]
        groups = len({int(t) // 4 for t in torch.nonzero(tokens) if t < 300})
        tail = 2 if tokens[300:].any() else 0
        pages = 9 + (300 - 288) // 4 + 2 * groups
        assert found["pages_read"] == pages and found["bytes_flash"] == 512 * pages
        assert found["bytes_tail"] == (2 + 2 * tail) * 128


@pytest.mark.parametrize("backend", BACKENDS)
def test_refused_before_anything_happens(backend, rng):
    with make_drive(backend, CONFIG) as drive:
        sequences = {index: filled(drive, rng, index=index, kv_heads=1)[0]
                     for index in ("none", "channel", "bounds")}  # fmt: skip
        q = queries(rng, 1)
        for index, attention in (("none", FEW), ("channel", FEW), ("bounds", Sparf(1 / 4))):
            with pytest.raises(DriveError, match=f"opened with index='{index}'") as info:
                drive.attend(sequences[index], 0, q, attention=attention)
            assert info.value.status == Status.NO_INDEX
        with pytest.raises(DriveError, match="partial=True with sparse"):
            drive.attend(sequences["bounds"], 0, q, attention=FEW, partial=True)
        assert drive.attend(sequences["bounds"], 0, q, attention=FEW).shape == q.shape
    with (
        make_drive(backend, DriveConfig.preset("tiny", sparse_tokens=512)) as drive,
        pytest.raises(DriveError, match="no attention by bounds: give its configuration bounds"),
    ):
        drive.attend(filled(drive, rng, index="channel")[0], 0, q, attention=FEW)


def test_models():
    """Twin and lane give the same, golden the same tokens; a head_dim without bounds is refused."""
    model, attention = make("Llama"), Bounds(1 / 4, sinks=1, window=4)
    prompt = torch.from_numpy(np.random.default_rng(3).integers(2, 299, (1, 90)))
    config, found = DriveConfig.preset("tiny", sparse_tokens=128, bounds=True), {}
    for backend in BACKENDS:
        with (
            make_drive(backend, config) as drive,
            attach(model, drive, 128, attention=attention) as cache,
        ):
            run = greedy(model, prompt, new=8, cache=cache)
        found[backend] = run.sequences, torch.stack(run.logits)
    for one, other in zip(found["twin"], found["fake"], strict=True):
        assert torch.equal(one, other)
    assert torch.equal(found["twin"][0], found["golden"][0])
    assert (found["twin"][1] - found["golden"][1]).abs().max() < 2e-2
    other = make("Llama", head_dim=80)
    with (
        KvDrive(config, backend="twin") as drive,
        pytest.raises(UnsupportedModel, match="head_dim 80: bounds, which its attention reads"),
        attach(other, drive, attention=attention),
    ):
        pass


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--ratio", "1/16"], "--ratio 1/16: a ratio of 0.0625 is not possible by bounds"),
        (["--ratio", "2"], "--ratio 2 is not possible: choose 0 < X <= 1"),
        (["--set", "bounds=maybe"], "--set bounds=maybe: give true or false"),
        (["--set", "bounds=true"], "bounds = True is not possible: choose False, or give"),
    ],
)
def test_the_command_line_refuses(options, message, capsys):
    assert main(["generate", "--attention", "bounds", "--prompt", "sea", *options]) == 2
    assert message in capsys.readouterr().err
