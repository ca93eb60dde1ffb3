"""Sparse attention through `KvDrive`: what is asked for, what comes back, what is refused.

On twin, golden and the behavioural lane, whose drive is driver, firmware and tables.
"""

from fractions import Fraction

import numpy as np
import pytest
import torch

from cosim.golden_sparse import sparf_attention
from host import (
    Bounds,
    DriveConfig,
    DriveError,
    DriveTypeError,
    DriveValueError,
    KvDrive,
    ResultFlag,
    Sparf,
    Status,
)
from host.sparse import Selection, drive_for
from rtl.commands import JOB, AttendMode, Opcode
from tests.host.conftest import SEED, make_drive

CONFIG = DriveConfig.preset("tiny", sparse_tokens=512)
BACKENDS = ("twin", "golden", "fake")
FEW = Sparf(channels=16, kept=48)
"""48 of the tokens that `filled` gives a sequence, 36 of them whatever their scores."""


@pytest.fixture
def rng():
    return np.random.default_rng(SEED)


def filled(drive, rng, tokens=300, kv_heads=2, dtype=np.float16, **shape):
    """A sequence with one layer of random tokens, and these."""
    k, v = rng.standard_normal((2, tokens, kv_heads, 64)).astype(dtype)
    spread = {"layers": 1, "kv_heads": kv_heads, "head_dim": 64, "max_tokens": 512}
    kv_format = "fp16" if dtype == np.float16 else "bf16"
    number = drive.open(**{**spread, "index": "channel", "kv_format": kv_format, **shape})
    drive.preload(number, 0, k, v)
    return number, k, v


def queries(rng, heads=4):
    spread = np.exp(0.7 * rng.standard_normal(64))
    return (rng.standard_normal((heads, 64)) * spread).astype(np.float16)


def golden(q, k, v, selection):
    q, k, v = map(torch.from_numpy, (q, k, v))
    return sparf_attention(q, k, v, **selection._asdict(), mean_value=False).out.numpy()


def close(out, expected):
    error = np.linalg.norm(out.astype(float) - expected, axis=1)
    return (error < 1e-3 * np.linalg.norm(expected, axis=1)).all()


# What is asked for


@pytest.mark.parametrize(
    ("sparf", "head_dim", "tokens", "selection"),
    [
        (Sparf(1 / 8), 64, 2048, (8, 128, 4, 32)),
        (Sparf(1 / 8), 128, 131_072, (16, 8192, 4, 32)),
        (Sparf(1 / 8), 64, 342, (8, 36, 4, 32)),  # 21, but 36 are forced
        (Sparf(1), 64, 100, (64, 50, 4, 32)),
        (Sparf(Fraction(1, 200), sinks=0, window=0), 64, 100, (1, 1, 0, 0)),
        (Sparf(np.float32(0.5), sinks=1, window=2), 80, 9, (40, 3, 1, 2)),
        (Sparf(channels=5, kept=7), 64, 1000, (5, 36, 4, 32)),
        (Sparf(channels=64, kept=700, window=0), 64, 100, (64, 700, 4, 0)),
    ],
)
def test_selection(sparf, head_dim, tokens, selection):
    assert sparf.selection(head_dim, tokens) == Selection(*selection)


def test_a_ratio_is_that_of_the_evaluation():
    from host.accuracy.ratio import kept_of, sparf_of

    for ratio in (0.03, 0.1, 1 / 3, 0.7):
        for tokens in (1, 99, 342, 12_345, 131_072):
            channels, share = sparf_of(ratio, 128)
            kept = max(1, int(kept_of(share, torch.tensor([tokens]))))
            found = Sparf(ratio, sinks=0, window=0).selection(128, tokens)
            assert found == (channels, kept, 0, 0)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "channels = None, kept = None: give both, or a ratio"),
        ({"ratio": 0}, r"ratio = 0 is not possible: give 0 < ratio <= 1"),
        ({"ratio": -0.5}, "ratio = -0.5"),
        ({"ratio": 1.01}, "ratio = 1.01"),
        ({"ratio": float("nan")}, "ratio = nan"),
        ({"ratio": 0.5, "kept": 3}, "ratio = 0.5 with channels = None, kept = 3.*leave one out"),
        ({"channels": 3}, "channels = 3, kept = None: give both"),
        ({"channels": 0, "kept": 3}, r"channels = 0 is not possible: give 1\.\.65535"),
        ({"channels": 3, "kept": 0}, r"kept = 0 is not possible: give 1\.\.4294967295"),
        ({"channels": 3, "kept": -1}, "kept = -1"),
        ({"ratio": 0.5, "sinks": -1}, r"sinks = -1 is not possible: give 0\.\.65535"),
        ({"ratio": 0.5, "window": 65536}, "window = 65536"),
    ],
)
def test_impossible_selections(fields, message):
    with pytest.raises(DriveValueError, match=message) as info:
        Sparf(**fields)
    assert info.value.status == Status.INVALID_SELECTION


@pytest.mark.parametrize("fields", [{"ratio": "1/8"}, {"channels": 1.5, "kept": 3}])
def test_wrong_types(fields):
    with pytest.raises(DriveTypeError, match="give a"):
        Sparf(**fields)


def test_forced_tokens_within_k_or_besides():
    within, besides = (Sparf(1 / 8, forced=how) for how in ("within", "besides"))
    assert within.selection(64, 400) == (8, 36, 4, 32)
    assert besides.selection(64, 400) == (8, 25 + 36, 4, 32)
    assert within.selection(64, 4000) == (8, 250, 4, 32)
    with pytest.raises(DriveValueError, match="forced = 'beside': give one of within, besides"):
        Sparf(1 / 8, forced="beside")


def test_room_to_select_from():
    config = DriveConfig.preset("default")
    for attention in (Sparf(1 / 8), Bounds(1 / 8)):
        fit = [drive_for(attention, config, n) for n in (1, 16384, 16385, 1 << 30)]
        assert [one.sparse_tokens for one in fit] == [16384, 16384, 32768, 131_072]
        assert all(one.bounds == isinstance(attention, Bounds) for one in fit)
    assert drive_for("dense", config, 5) == config
    assert drive_for(Sparf(1 / 8), CONFIG, 5) == CONFIG


# What comes back


@pytest.mark.parametrize("backend", BACKENDS)
def test_dense_where_all_is_kept(backend, rng):
    with make_drive(backend, CONFIG) as drive:
        sequence, *_ = filled(drive, rng)
        q = queries(rng)
        found = drive.attend(sequence, 0, q, attention=Sparf(channels=1, kept=300))
        assert np.array_equal(found, drive.attend(sequence, 0, q))
        assert np.array_equal(found, drive.attend(sequence, 0, q, attention="dense"))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("attention", [FEW, Sparf(1 / 4), Sparf(1 / 2, sinks=0, window=0)])
def test_attend(backend, attention, rng):
    with make_drive(backend, CONFIG) as drive:
        sequence, k, v = filled(drive, rng)
        q = queries(rng)
        expected = golden(q, k, v, attention.selection(64, 300))
        assert close(drive.attend(sequence, 0, q, attention=attention), expected)


def test_the_lane_gives_the_twin(rng):
    """What the driver hands over is what was asked for: results are the same bits."""
    outputs = []
    for backend in ("twin", "fake"):
        draw = np.random.default_rng(SEED)
        with make_drive(backend, CONFIG) as drive:
            sequence, *_ = filled(drive, draw, dtype=np.float16)
            q = queries(draw)
            outputs.append(
                [
                    drive.attend(sequence, 0, q, attention=attention, scale=0.2)
                    for attention in (FEW, Sparf(0.01, sinks=1, window=1), Sparf(0.9))
                ]
            )
    assert all(np.array_equal(a, b) for a, b in zip(*outputs, strict=True))


@pytest.mark.parametrize("backend", BACKENDS)
def test_steps_and_forks(backend, rng):
    with make_drive(backend, CONFIG) as drive:
        sequence, k, v = filled(drive, rng, tokens=254)
        for _ in range(4):  # beyond the first unit and into the second pass
            q, new = queries(rng), rng.standard_normal((2, 2, 64)).astype(np.float16)
            k, v = (np.concatenate([x, y[None]]) for x, y in zip((k, v), new, strict=True))
            found = drive.step(sequence, 0, q, *new, attention=FEW)
            assert close(found, golden(q, k, v, FEW.selection(64, len(k))))
        other, q = drive.fork(sequence), queries(rng)
        new = rng.standard_normal((2, 2, 64)).astype(np.float16)
        found = drive.step(other, 0, q, *new, attention=FEW)
        grown = [np.concatenate([x, y[None]]) for x, y in zip((k, v), new, strict=True)]
        assert close(found, golden(q, *grown, FEW.selection(64, 259)))
        found = drive.attend(sequence, 0, q, attention=FEW)
        assert close(found, golden(q, k, v, FEW.selection(64, 258)))


@pytest.mark.parametrize("backend", BACKENDS)
def test_batches_of_different_lengths(backend, rng):
    """Each job has a selection of its own; a second step of a layer counts the first."""
    attention = Sparf(1 / 2, sinks=1, window=3)
    with make_drive(backend, CONFIG) as drive:
        held = {n: [k, v] for n, k, v in (filled(drive, rng, n) for n in (300, 40, 5))}
        first, second, third = held
        jobs, expected = [], []
        for sequence in (first, second, third, second):
            q, new = queries(rng), rng.standard_normal((2, 2, 64)).astype(np.float16)
            jobs.append((sequence, 0, q, *new))
            pairs = zip(held[sequence], new, strict=True)
            held[sequence] = [np.concatenate([x, y[None]]) for x, y in pairs]
            tokens = len(held[sequence][0])
            expected.append(golden(q, *held[sequence], attention.selection(64, tokens)))
        before = drive.stats()["commands"]
        outputs = drive.attend_batch(jobs, attention=attention)
        assert all(close(*pair) for pair in zip(outputs, expected, strict=True))
        assert drive.stats()["commands"] == before + 2  # the layer's second step
        ticket = drive.submit([jobs[0][:3]], attention=attention)
        assert close(drive.wait(ticket)[0], expected[0])


@pytest.mark.parametrize("backend", BACKENDS)
def test_infinities(backend, rng):
    with make_drive(backend, CONFIG) as drive:
        sequence, *_ = filled(drive, rng)
        q = queries(rng)
        clean = drive.attend(sequence, 0, q, attention=FEW)
        q[3, 1] = np.inf
        with pytest.warns(match="NONFINITE"):
            found = drive.attend(sequence, 0, q, attention=FEW)
        assert drive.last_flags == ResultFlag.NONFINITE
        assert np.isnan(found[2:]).all() and np.array_equal(found[:2], clean[:2])


def test_what_a_job_says(rng):
    """Mode in the command, selection in the job: read back from the lane's host memory."""
    with make_drive("fake", CONFIG) as drive:
        sequence, *_ = filled(drive, rng)
        lane, seen = drive.backend.lane, []
        job = lane._job

        def spy(fields, data, step, scale, view):
            seen.append((view["mode"], fields))
            return job(fields, data, step, scale, view)

        lane._job = spy
        drive.attend(sequence, 0, queries(rng), attention=Sparf(channels=3, kept=99, sinks=5))
        drive.attend(sequence, 0, queries(rng))
    (mode, fields), (dense_mode, dense) = seen
    names = ("channels", "kept", "sinks", "window")
    assert mode == AttendMode.SPARF and [fields[n] for n in names] == [3, 99, 5, 32]
    assert dense_mode == AttendMode.DENSE and not any(dense[n] for n in names)


# What is read


def test_traffic_by_hand():
    """Pages of 512 bytes, 4 tokens of 64; codewords of 512; one unit of 256 tokens."""
    with KvDrive(CONFIG, backend="twin") as drive:
        sequence, k, v = filled(drive, np.random.default_rng(SEED), 300 + 2, kv_heads=1)
        assert drive.config.group_tokens(64) == 4 and drive.config.codeword_bytes == 512
        q = queries(np.random.default_rng(1), 1)
        attention = Sparf(channels=16, kept=48, sinks=0, window=0)
        before = drive.stats()
        drive.attend(sequence, 0, q, attention=attention)
        after = drive.stats()
        found = {n: after[n] - before[n] for n in ("pages_read", "bytes_flash", "bytes_tail")}
        tokens = sparf_attention(
            *map(torch.from_numpy, (q, k, v)), **attention.selection(64, 302)._asdict()
        ).tokens[0]
        groups = len({int(t) // 4 for t in torch.nonzero(tokens) if t < 300})
        tail = 2 if tokens[300:].any() else 0  # both are of one codeword
        pages = 16 + (300 - 256) // 4 + 2 * groups
        assert found["pages_read"] == pages and found["bytes_flash"] == 512 * pages
        assert found["bytes_tail"] == (2 + 2 * tail) * 128


def test_sparse_attention_reads_less(rng):
    read = []
    for attention in ("dense", FEW):
        for backend in ("twin", "golden"):
            with make_drive(backend, CONFIG) as drive:
                sequence, *_ = filled(drive, np.random.default_rng(SEED), tokens=500)
                before = drive.stats()["bytes_flash"]
                drive.attend(sequence, 0, queries(np.random.default_rng(1)), attention=attention)
                read.append(drive.stats()["bytes_flash"] - before)
    assert read[0] == read[1] == 500 * 512 and read[2] == read[3] < 0.7 * read[0]


# What is refused


def refused(status, pattern, call):
    with pytest.raises(DriveError, match=pattern) as info:
        call()
    assert info.value.status == status
    return info.value


@pytest.mark.parametrize("backend", BACKENDS)
def test_refused_before_anything_happens(backend, rng):
    with make_drive(backend, CONFIG) as drive:
        plain, *_ = filled(drive, rng, index="none")
        long, *_ = filled(drive, rng, tokens=512, max_tokens=600, kv_heads=1)
        short, *_ = filled(drive, rng, tokens=20)
        q, new = queries(rng), np.zeros((2, 64), np.float16)
        for status, pattern, call in (
            (Status.NO_INDEX, "sequence 0.*index='channel'",
             lambda: drive.attend(plain, 0, q, attention=FEW)),
            (Status.NO_INDEX, "sequence 0",
             lambda: drive.attend_batch([(short, 0, q), (plain, 0, q)], attention=FEW)),
            (Status.SELECTION_EXCEEDED, "513 tokens .* sparse_tokens = 512",
             lambda: drive.step(long, 0, q, new[:1], new[:1], attention=FEW)),
            (Status.INVALID_SELECTION, r"channels = 65 of heads of 64: give 1\.\.64",
             lambda: drive.attend(short, 0, q, attention=Sparf(channels=65, kept=1))),
            (Status.UNSUPPORTED_MODE, "partial=True with sparse",
             lambda: drive.attend(short, 0, q, attention=FEW, partial=True)),
        ):  # fmt: skip
            refused(status, pattern, call)
        assert drive.tokens(long) == 512
        drive.attend(long, 0, q, attention=FEW)
        assert drive.attend(short, 0, q, attention=FEW).shape == q.shape


def test_a_drive_without_sparse_attention(rng):
    with make_drive("twin", DriveConfig.preset("tiny")) as drive:
        sequence, *_ = filled(drive, rng)
        refused(
            Status.UNSUPPORTED_MODE,
            "sparse_tokens = 0: .*KvDrive.*sparse_tokens=",
            lambda: drive.attend(sequence, 0, queries(rng), attention=FEW),
        )


@pytest.mark.parametrize(
    ("mode", "partials", "sparse_tokens"), [(2, 0, 512), (1, 0, 0), (1, 1, 512), (15, 0, 512)]
)
def test_the_lane_refuses_commands(mode, partials, sparse_tokens):
    with make_drive("fake", DriveConfig.preset("tiny", sparse_tokens=sparse_tokens)) as drive:
        command = drive.backend.driver.submit(
            Opcode.ATTEND,
            data=bytes(64),
            results=64,
            jobs=1,
            bytes=64,
            mode=mode,
            partials=partials,
        )
        assert drive.backend.driver.wait(command)["status"] == Status.UNSUPPORTED_MODE


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"channels": 0}, Status.INVALID_SELECTION),
        ({"channels": 65}, Status.INVALID_SELECTION),
        ({"kept": 0}, Status.INVALID_SELECTION),
        ({"kept": 0, "sequence": 0}, Status.INVALID_SELECTION),
        ({"sequence": 0}, Status.NO_INDEX),
        ({"sequence": 1}, Status.SELECTION_EXCEEDED),
        ({"queries": 9, "channels": 0}, Status.TOO_MANY_QUERY_HEADS),
        ({"layer": 1, "channels": 0}, Status.LAYER_OUT_OF_RANGE),
        ({}, Status.SUCCESS),
    ],
)
def test_the_lane_refuses_jobs(changes, status, rng):
    with make_drive("fake", CONFIG) as drive:
        filled(drive, rng, tokens=20, kv_heads=1, index="none")
        filled(drive, rng, tokens=513, kv_heads=1, max_tokens=600)
        filled(drive, rng, tokens=20, kv_heads=1)
        fields = {"sequence": 2, "queries": 1, "q_offset": 32, "channels": 64, "kept": 1}
        command = drive.backend.driver.submit(
            Opcode.ATTEND,
            data=JOB.pack(**{**fields, **changes}) + bytes(128),
            results=136,
            jobs=1,
            bytes=160,
            mode=AttendMode.SPARF,
            scale_mant=1 << 25,
        )
        assert drive.backend.driver.wait(command)["status"] == status
