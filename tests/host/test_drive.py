"""KvDrive on every backend: what goes in comes out, attended as float64 mathematics says."""

import math
import warnings

import numpy as np
import pytest

from host import DriveConfig, DriveWarning, ResultFlag
from host.stats import difference
from tests.host.columns import check_columns
from tests.host.conftest import make_drive


def softmax_attend(q, k, v, scale=None):
    """Float64 attention of q [heads, d] over k, v [tokens, kv_heads, d], in plain numpy."""
    q, k, v = (x.astype(np.float64) for x in (q, k, v))
    group = len(q) // k.shape[1]
    scale = 1 / math.sqrt(q.shape[1]) if scale is None else scale
    out = np.empty_like(q)
    for head in range(len(q)):
        scores = k[:, head // group] @ q[head] * scale
        weights = np.exp(scores - scores.max())
        out[head] = weights @ v[:, head // group] / weights.sum()
    return out


def close(out, expected):
    """Relative L2 error per head within what one FP16 rounding costs."""
    assert out.dtype == np.float16 and out.shape == expected.shape
    error = np.linalg.norm(out - expected, axis=1) / np.linalg.norm(expected, axis=1)
    return error.max() < 5e-4


@pytest.mark.parametrize("tokens", [1, 3, 4, 5, 41])
@pytest.mark.parametrize(("kv_heads", "group", "head_dim"), [(1, 1, 64), (3, 3, 64), (2, 4, 128)])
def test_attend(drive, normal, tokens, kv_heads, group, head_dim):
    sequence = drive.open(layers=2, kv_heads=kv_heads, head_dim=head_dim, max_tokens=256)
    k, v = normal(tokens, kv_heads, head_dim), normal(tokens, kv_heads, head_dim)
    q = normal(kv_heads * group, head_dim)
    drive.append(sequence, 1, k, v)
    assert close(drive.attend(sequence, 1, q), softmax_attend(q, k, v))
    assert close(drive.attend(sequence, 1, q, scale=0.02), softmax_attend(q, k, v, 0.02))
    assert drive.tokens(sequence, 1) == tokens and drive.tokens(sequence, 0) == 0


def test_one_token_returns_its_value(drive, normal):
    sequence = drive.open(layers=1, kv_heads=2, head_dim=64)
    k, v = normal(2, 64), normal(2, 64)
    out = drive.step(sequence, 0, normal(4, 64), k, v)
    assert (out == v.repeat(2, axis=0)).all()


def test_steps_are_append_and_attend(drive, normal):
    sequence = drive.open(layers=2, kv_heads=3, head_dim=64, max_tokens=32)
    k, v = normal(23, 3, 64), normal(23, 3, 64)
    drive.append(sequence, 0, k[:6], v[:6])
    for token in range(6, 23):
        q = normal(9, 64)
        out = drive.step(sequence, 0, q, k[token], v[token])
        assert close(out, softmax_attend(q, k[: token + 1], v[: token + 1]))
    assert drive.tokens(sequence, 0) == 23


def test_read_gives_back_what_was_appended(drive, normal):
    sequence = drive.open(layers=2, kv_heads=3, head_dim=64)
    k, v = normal(30, 3, 64), normal(30, 3, 64)
    drive.append(sequence, 1, k[:7], v[:7])
    drive.preload(sequence, 1, k[7:21], v[7:21])
    drive.append(sequence, 1, k[21:], v[21:])
    for start, stop in ((0, 30), (0, 1), (29, 30), (3, 4), (4, 8), (5, 27), (28, 30)):
        got_k, got_v = drive.read(sequence, 1, start, stop)
        assert np.array_equal(got_k, k[start:stop]) and np.array_equal(got_v, v[start:stop])
    assert np.array_equal(drive.read(sequence, 1)[0], k)


def test_preload_equals_append(drive, normal):
    k, v, q = normal(37, 2, 64), normal(37, 2, 64), normal(4, 64)
    out = []
    for fill in (drive.append, drive.preload):
        sequence = drive.open(layers=2, kv_heads=2, head_dim=64, max_tokens=64)
        fill(sequence, 0, k[:18], v[:18])
        fill(sequence, 0, k[18:], v[18:])
        out.append(drive.attend(sequence, 0, q))
    assert np.array_equal(out[0], out[1]) and close(out[0], softmax_attend(q, k, v))


def test_batch_over_sequences_layers_and_shapes(drive, normal):
    jobs, expected = [], []
    for kv_heads, head_dim, tokens in ((1, 64, 9), (3, 64, 20), (2, 128, 13)):
        sequence = drive.open(layers=2, kv_heads=kv_heads, head_dim=head_dim, max_tokens=64)
        for layer in (1, 0):
            k, v = (
                normal(tokens + layer, kv_heads, head_dim),
                normal(tokens + layer, kv_heads, head_dim),
            )
            drive.append(sequence, layer, k, v)
            q = normal(2 * kv_heads, head_dim)
            jobs.append((sequence, layer, q))
            expected.append(softmax_attend(q, k, v))
    outs = drive.attend_batch(jobs)
    assert len(outs) == len(jobs) and all(close(o, e) for o, e in zip(outs, expected, strict=True))


def test_steps_of_one_layer_in_one_batch_keep_their_order(drive, normal):
    sequence = drive.open(layers=1, kv_heads=1, head_dim=64, max_tokens=16)
    k, v, q = normal(3, 1, 64), normal(3, 1, 64), normal(3, 2, 64)
    outs = drive.attend_batch([(sequence, 0, q[n], k[n], v[n]) for n in range(3)])
    for n, out in enumerate(outs):
        assert close(out, softmax_attend(q[n], k[: n + 1], v[: n + 1]))


def test_submit_wait_out_of_order(drive, normal):
    sequence = drive.open(layers=4, kv_heads=2, head_dim=64, max_tokens=64)
    tickets = []
    for layer in range(4):
        k, v, q = normal(11 + layer, 2, 64), normal(11 + layer, 2, 64), normal(2, 64)
        drive.append(sequence, layer, k, v)
        tickets.append((drive.submit([(sequence, layer, q)]), softmax_attend(q, k, v)))
    for ticket, expected in reversed(tickets):
        assert close(drive.wait(ticket)[0], expected)


def test_sequences_do_not_touch_each_other(drive, normal):
    data, first = {}, None
    for round_number in range(6):
        if len(data) == 3:
            drive.close(first)
            del data[first]
        number = drive.open(layers=1, kv_heads=2, head_dim=64, max_tokens=48)
        k, v = normal(10 + 6 * round_number, 2, 64), normal(10 + 6 * round_number, 2, 64)
        drive.append(number, 0, k, v)
        data[number] = (k, v)
        first = next(iter(data))
        for sequence, (k, v) in data.items():
            q = normal(2, 64)
            assert close(drive.attend(sequence, 0, q), softmax_attend(q, k, v))


def test_nonfinite_is_flagged_and_shown(drive, normal):
    sequence = drive.open(layers=1, kv_heads=2, head_dim=64)
    k, v, q = normal(5, 2, 64), normal(5, 2, 64), normal(4, 64)
    drive.append(sequence, 0, k, v)
    assert drive.attend(sequence, 0, q) is not None and drive.last_flags == ResultFlag(0)
    q[1, 7] = np.inf
    with pytest.warns(DriveWarning, match="NONFINITE"):
        out = drive.attend(sequence, 0, q)
    assert np.isnan(out[1]).all() and np.isfinite(out[[0, 2, 3]]).all()
    assert drive.last_flags == ResultFlag.NONFINITE
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # shown once only
        drive.attend(sequence, 0, q)
    assert drive.stats()["nonfinite"] == 2


def test_saturation_is_flagged_and_shown(drive, normal):
    """Scores beyond 2^15 in log2 units: the engine clips them; mathematics does not."""
    sequence = drive.open(layers=1, kv_heads=1, head_dim=64)
    k, v, q = normal(3, 1, 64), normal(3, 1, 64), normal(1, 64)
    k[1], q[0] = 100, 100
    drive.append(sequence, 0, k, v)
    if drive.backend.name == "golden":
        drive.attend(sequence, 0, q, scale=1.0)
        assert drive.last_flags == ResultFlag(0)
    else:
        with pytest.warns(DriveWarning, match="SATURATED"):
            drive.attend(sequence, 0, q, scale=1.0)
        assert drive.last_flags == ResultFlag.SATURATED and drive.stats()["saturated"] == 1


@pytest.mark.parametrize("backend", ["fake", "rtl"])
def test_bits_and_traffic_equal_the_twin(tiny, normal, rng, backend):
    """The same calls on twin and drive: outputs to the last bit, every byte accounted for."""
    with make_drive("twin", tiny) as twin, make_drive(backend, tiny) as drive:
        began = drive.stats()  # reading the bad-block table is behind it
        for kv_heads, group, head_dim in ((1, 4, 128), (3, 3, 64), (4, 1, 64), (2, 2, 128)):
            shape = {"layers": 2, "kv_heads": kv_heads, "head_dim": head_dim, "max_tokens": 64}
            sequence = drive.open(**shape)
            assert twin.open(**shape) == sequence
            for layer in range(2):
                k, v = (normal(17 + layer, kv_heads, head_dim) for _ in "kv")
                v *= np.float16(2.0 ** int(rng.integers(-9, 9)))
                calls = [("append", k, v)]
                for _ in range(4):
                    q = normal(kv_heads * group, head_dim)
                    k, v = (normal(kv_heads, head_dim) for _ in "kv")
                    q[0, 3] *= 50
                    calls += [("step", q, k, v), ("attend", q)]
                for name, *arrays in calls:
                    out, wanted = (
                        getattr(d, name)(sequence, layer, *arrays) for d in (drive, twin)
                    )
                    assert out is wanted is None or np.array_equal(out, wanted)
            for start, stop in ((0, 21), (5, 8)):
                got = (d.read(sequence, 0, start, stop) for d in (drive, twin))
                assert all(np.array_equal(a, b) for a, b in zip(*got, strict=True))
        stats, wanted = drive.stats(), twin.stats()
        moved = difference(stats, began)
        for name in ("pages_read", "pages_programmed", "bytes_flash", "bytes_tail", "jobs"):
            assert moved[name] == wanted[name], name
        if backend == "rtl":
            for name in ("bytes_link_in", "bytes_link_out", "commands", "commands_failed"):
                assert stats[name] == wanted[name], name


def test_drives_of_a_process_go_in_any_order(tiny, normal):
    first, second = make_drive("rtl", tiny), make_drive("rtl", tiny)
    second.shutdown()
    k = normal(3, 1, 64)
    sequence = first.open(layers=1, kv_heads=1, head_dim=64)
    first.append(sequence, 0, k, k)
    third = make_drive("rtl", tiny)
    third.shutdown()
    assert np.array_equal(first.read(sequence, 0, 0, 3)[0], k)
    first.shutdown()


@pytest.mark.soak  # a drive of its own to compile
def test_a_drive_of_one_channel_reads_back(normal):
    with make_drive("rtl", DriveConfig.preset("tiny", channels=1)) as drive:
        sequence = drive.open(layers=1, kv_heads=1, head_dim=64, max_tokens=600, index="channel")
        k, v = normal(550, 1, 64), normal(550, 1, 64)
        for part in (slice(0, 300), slice(300, 550)):  # a unit on the way, and one read back
            drive.append(sequence, 0, k[part], v[part])
        assert all(map(np.array_equal, drive.read(sequence, 0), (k, v)))
        assert check_columns(drive, sequence, [k]) == 2 * 64


def test_stats(drive, normal):
    sequence = drive.open(layers=1, kv_heads=2, head_dim=64)
    k, v = normal(22, 2, 64), normal(22, 2, 64)  # 5 groups of 4 tokens on flash, a tail of 2
    drive.append(sequence, 0, k, v)
    before = drive.stats()
    drive.attend(sequence, 0, normal(4, 64))
    after = drive.stats()
    step = difference(after, before)
    assert after["pages_programmed"] == 2 * 5 * 2 and step["pages_read"] == 2 * 5 * 2
    assert step["bytes_flash"] == 2 * 5 * 2 * 512 and step["bytes_tail"] == 2 * 2 * 2 * 128
    assert step["bytes_link"] >= 2 * 4 * 128 and step["commands"] == 1
    if drive.backend.name == "rtl":
        assert after["cycles"] > before["cycles"] > 0 and after["seconds"] > 0
        assert sum(step["breakdown"].values()) == pytest.approx(1)
        assert len(step["channel_busy"]) == drive.config.channels
        assert all(
            sum(c[n] for n in ("data", "command", "waiting", "idle")) == pytest.approx(1)
            for c in step["channels"]
        )
    else:
        assert step["cycles"] is None and step["breakdown"] is None
