"""Bad input on every backend: a clear error with a status, and every other sequence intact."""

import numpy as np
import pytest

from host import DriveConfig, DriveError, KvDrive, Status
from host.errors import MEANINGS


@pytest.fixture
def guarded(drive, normal):
    """(drive, sequence): after the test an older sequence must answer exactly as before it."""
    bystander = drive.open(layers=2, kv_heads=2, head_dim=64, max_tokens=64)
    k, v, q = normal(13, 2, 64), normal(13, 2, 64), normal(4, 64)
    drive.append(bystander, 1, k, v)
    sequence = drive.open(layers=2, kv_heads=2, head_dim=64, max_tokens=32)
    drive.append(sequence, 0, k[:9], v[:9])
    before = drive.attend(bystander, 1, q), drive.attend(sequence, 0, q)
    yield drive, sequence
    assert np.array_equal(drive.attend(bystander, 1, q), before[0])
    assert all(np.array_equal(a, b) for a, b in zip(drive.read(bystander, 1), (k, v), strict=True))
    if not drive._sequences[sequence].closed:
        assert np.array_equal(drive.attend(sequence, 0, q), before[1])
        assert drive.tokens(sequence, 0) == 9


def refused(status, pattern, call, *arguments, kind=DriveError, **named):
    with pytest.raises(kind, match=pattern) as info:
        call(*arguments, **named)
    assert isinstance(info.value, DriveError) and info.value.status == status
    assert len(str(info.value)) > 40


ZERO = np.zeros((1, 2, 64), np.float16)
Q = np.zeros((2, 64), np.float16)


def test_unknown_sequence(guarded):
    drive, _ = guarded
    for call in (
        lambda: drive.append(99, 0, ZERO, ZERO),
        lambda: drive.attend(99, 0, Q),
        lambda: drive.step(99, 0, Q, ZERO[0], ZERO[0]),
        lambda: drive.read(99, 0),
        lambda: drive.preload(99, 0, ZERO, ZERO),
        lambda: drive.close(99),
    ):
        refused(Status.UNKNOWN_SEQUENCE, "99", call)


def test_closed_sequence(guarded):
    drive, sequence = guarded
    drive.close(sequence)
    for call in (
        lambda: drive.append(sequence, 0, ZERO, ZERO),
        lambda: drive.attend(sequence, 0, Q),
        lambda: drive.step(sequence, 0, Q, ZERO[0], ZERO[0]),
        lambda: drive.read(sequence, 0),
        lambda: drive.close(sequence),
    ):
        refused(Status.CLOSED_SEQUENCE, "closed", call)


def test_layer_out_of_range(guarded):
    drive, sequence = guarded
    for layer in (2, -1):
        refused(Status.LAYER_OUT_OF_RANGE, r"0\.\.1", drive.append, sequence, layer, ZERO, ZERO)
        refused(Status.LAYER_OUT_OF_RANGE, r"0\.\.1", drive.attend, sequence, layer, Q)


def test_wrong_type(guarded):
    drive, sequence = guarded
    wrong = (
        (lambda: drive.append(sequence, 0, ZERO.astype(np.float32), ZERO), "k is float32.*float16"),
        (lambda: drive.append(sequence, 0, ZERO, ZERO.tolist()), "v is a builtins.list"),
        (lambda: drive.attend(sequence, 0, Q.astype(np.float64)), "q is float64"),
        (lambda: drive.step(sequence, 0, Q, ZERO[0], ZERO[0].astype(int)), "v is int"),
        (lambda: drive.attend("0", 0, Q), "sequence is '0'"),
        (lambda: drive.attend(sequence, 0.5, Q), "layer is 0.5"),
        (lambda: drive.attend(sequence, 0, Q, scale="big"), "scale is 'big'"),
        (lambda: drive.attend_batch([sequence]), "a job is"),
        (lambda: drive.wait(7), "ticket is 7"),
    )
    for call, pattern in wrong:
        refused(Status.INVALID_FIELD, pattern, call, kind=TypeError)


def test_torch_tensors_are_named(guarded):
    torch = pytest.importorskip("torch")
    drive, sequence = guarded
    refused(
        Status.INVALID_FIELD,
        "torch.Tensor: give a numpy array",
        lambda: drive.attend(sequence, 0, torch.zeros(2, 64, dtype=torch.float16)),
        kind=TypeError,
    )


def test_wrong_shape(guarded):
    drive, sequence = guarded
    for call, pattern in (
        (lambda: drive.append(sequence, 0, ZERO[:, :1], ZERO), r"\[1, 1, 64\].*kv_heads=2"),
        (lambda: drive.append(sequence, 0, ZERO, ZERO[0]), r"v has shape \[2, 64\]"),
        (lambda: drive.append(sequence, 0, ZERO.repeat(2, 0), ZERO), "tokens=2"),
        (lambda: drive.attend(sequence, 0, Q[:, :32]), r"\[2, 32\].*head_dim=64"),
        (lambda: drive.step(sequence, 0, Q, ZERO, ZERO), r"k has shape \[1, 2, 64\]"),
    ):
        refused(Status.INVALID_FIELD, pattern, call, kind=ValueError)


def test_query_heads(guarded):
    drive, sequence = guarded
    refused(
        Status.UNSUPPORTED_SHAPE,
        "multiple of kv_heads = 2",
        lambda: drive.attend(sequence, 0, np.zeros((3, 64), np.float16)),
    )
    refused(Status.UNSUPPORTED_SHAPE, "0 query heads", lambda: drive.attend(sequence, 0, Q[:0]))
    refused(
        Status.TOO_MANY_QUERY_HEADS,
        "10 query heads .* 4 per KV head",
        lambda: drive.attend(sequence, 0, np.zeros((10, 64), np.float16)),
    )


def test_unsupported_open(guarded):
    drive, _ = guarded
    shape = {"layers": 1, "kv_heads": 1, "head_dim": 64}
    for change, status in (
        ({"head_dim": 100}, Status.UNSUPPORTED_HEAD_DIM),
        ({"head_dim": 256}, Status.UNSUPPORTED_HEAD_DIM),
        ({"head_dim": 0}, Status.UNSUPPORTED_HEAD_DIM),
        ({"layers": 0}, Status.TOO_MANY_LAYERS),
        ({"layers": 1 << 16}, Status.TOO_MANY_LAYERS),
        ({"kv_heads": 0}, Status.TOO_MANY_KV_HEADS),
        ({"kv_format": "fp8"}, Status.UNSUPPORTED_FORMAT),
        ({"index": "row"}, Status.UNSUPPORTED_INDEX),
    ):
        wrong = str(list(change.values())[0])
        refused(status, wrong, drive.open, **{**shape, **change})
    for tokens in (0, -1, 1025):
        refused(Status.CONTEXT_EXCEEDED, r"1\.\.1024", drive.open, **shape, max_tokens=tokens)


def test_beyond_capacity(guarded, normal):
    drive, sequence = guarded
    rest = normal(24, 2, 64)
    refused(
        Status.CONTEXT_EXCEEDED,
        "33 tokens .* opened for 32",
        lambda: drive.append(sequence, 0, rest, rest),
    )
    full = drive.open(layers=1, kv_heads=2, head_dim=64, max_tokens=24)
    drive.append(full, 0, rest, rest)
    refused(Status.CONTEXT_EXCEEDED, "25 tokens", lambda: drive.append(full, 0, ZERO, ZERO))
    refused(Status.CONTEXT_EXCEEDED, "25 tokens", lambda: drive.step(full, 0, Q, ZERO[0], ZERO[0]))
    refused(Status.CONTEXT_EXCEEDED, "25 tokens", lambda: drive.preload(full, 0, ZERO, ZERO))
    assert np.array_equal(drive.read(full, 0)[0], rest)


def test_nothing_to_do(guarded):
    drive, sequence = guarded
    refused(Status.EMPTY_CONTEXT, "layer 1", lambda: drive.attend(sequence, 1, Q))
    refused(Status.ZERO_LENGTH, "no token", lambda: drive.append(sequence, 0, ZERO[:0], ZERO[:0]))
    refused(Status.ZERO_LENGTH, "no jobs", lambda: drive.attend_batch([]))
    refused(Status.ZERO_LENGTH, "are none", lambda: drive.read(sequence, 0, 3, 3))
    refused(Status.GROUP_OUT_OF_RANGE, "holds 9", lambda: drive.read(sequence, 0, 0, 10))


def test_scale(guarded):
    drive, sequence = guarded
    for scale in (0, -1.0, float("inf"), float("nan"), 1e30, 1e-30):
        refused(
            Status.INVALID_FIELD,
            "scale",
            drive.attend,
            sequence,
            0,
            Q,
            scale=scale,
            kind=ValueError,
        )
    for wrong in ("sparse", None, 0.125):
        refused(
            Status.INVALID_FIELD,
            f"attention = {wrong!r}: give 'dense', host.Sparf",
            lambda attention=wrong: drive.attend(sequence, 0, Q, attention=attention),
        )


def test_mixed_batch_and_second_wait(guarded):
    drive, sequence = guarded
    jobs = [(sequence, 0, Q), (sequence, 0, Q, ZERO[0], ZERO[0])]
    refused(Status.INVALID_FIELD, "one kind", lambda: drive.attend_batch(jobs))
    ticket = drive.submit(jobs[:1])
    refused(Status.INVALID_FIELD, "under way", lambda: drive.close(sequence))
    drive.wait(ticket)
    refused(Status.INVALID_FIELD, "waited for", lambda: drive.wait(ticket))


def test_one_bad_job_stops_the_batch_before_it_starts(guarded):
    drive, sequence = guarded
    jobs = [(sequence, 0, Q, ZERO[0], ZERO[0]), (sequence, 7, Q, ZERO[0], ZERO[0])]
    refused(Status.LAYER_OUT_OF_RANGE, "layer 7", lambda: drive.attend_batch(jobs))


def test_too_many_sequences(guarded):
    drive, _ = guarded
    more = [drive.open(layers=1, kv_heads=1, head_dim=64, max_tokens=8) for _ in range(2)]
    refused(
        Status.TOO_MANY_SEQUENCES,
        "4 sequences",
        lambda: drive.open(layers=1, kv_heads=1, head_dim=64, max_tokens=8),
    )
    drive.close(more[0])
    assert drive.open(layers=1, kv_heads=1, head_dim=64, max_tokens=8) == more[0]


def test_no_space(guarded):
    drive, _ = guarded
    refused(Status.NO_SPACE, "flash pages", lambda: drive.open(layers=5, kv_heads=2, head_dim=64))
    refused(
        Status.NO_SPACE,
        "device DRAM",
        lambda: drive.open(layers=60, kv_heads=99, head_dim=64, max_tokens=3),
    )
    number = drive.open(layers=1, kv_heads=1, head_dim=64)
    drive.close(number)


def test_after_shutdown(drive):
    drive.shutdown()
    drive.shutdown()
    with pytest.raises(DriveError, match="shut down"):
        drive.open(layers=1, kv_heads=1, head_dim=64)


def test_unknown_backend():
    with pytest.raises(ValueError, match="rtl, twin, golden"):
        KvDrive(DriveConfig.preset("tiny"), backend="verilog")


def test_every_status_has_a_meaning():
    assert set(MEANINGS) == set(Status) - {Status.SUCCESS}
