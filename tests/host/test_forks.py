"""Forks and truncation: what is left is as if it had been appended to a sequence of its own."""

import numpy as np
import pytest

from host import DriveConfig, DriveError
from rtl.commands import Status
from rtl.tables import HEAD, PASS
from tests.host.conftest import make_drive

SHAPE = {"layers": 2, "kv_heads": 2, "head_dim": 64}
TOKENS = 23  # five groups of four on flash, three tokens in the tail


def tokens(normal, count, **shape):
    shape = SHAPE | shape
    return [normal(count, shape["kv_heads"], shape["head_dim"]) for _ in "kv"]


def filled(drive, normal, count=TOKENS, max_tokens=64):
    """A sequence and its K and V per layer."""
    sequence = drive.open(**SHAPE, max_tokens=max_tokens)
    data = [tokens(normal, count) for _ in range(SHAPE["layers"])]
    for layer, (k, v) in enumerate(data):
        drive.append(sequence, layer, k, v)
    return sequence, data


def holds(drive, sequence, data, normal):
    """The sequence reads and attends as a new one with these tokens, to the last bit."""
    other = drive.open(**SHAPE, max_tokens=64)
    for layer, (k, v) in enumerate(data):
        assert drive.tokens(sequence, layer) == len(k)
        if not len(k):
            continue
        drive.append(other, layer, k, v)
        read = drive.read(sequence, layer)
        assert np.array_equal(read[0], k) and np.array_equal(read[1], v)
        q = normal(4, 64)
        out, wanted = (drive.attend(s, layer, q) for s in (sequence, other))
        assert np.array_equal(out, wanted, equal_nan=True)
    drive.close(other)


def grow(drive, sequence, data, normal, steps):
    """Steps in every layer; returns the K and V that the sequence has then."""
    for _ in range(steps):
        for layer, (k, v) in enumerate(data):
            new = tokens(normal, 1)
            drive.step(sequence, layer, normal(4, 64), *(x[0] for x in new))
            data[layer] = [np.concatenate(pair) for pair in zip((k, v), new)]
    return data


@pytest.mark.parametrize("count", [1, 4, TOKENS])
def test_a_fork_and_its_origin_grow_apart(drive, normal, count):
    first, data = filled(drive, normal, count)
    second = drive.fork(first)
    assert second != first
    others = grow(drive, second, [list(pair) for pair in data], normal, 6)
    data = grow(drive, first, data, normal, 5)
    holds(drive, first, data, normal)
    holds(drive, second, others, normal)


@pytest.mark.parametrize("closed", [0, 1, 2])
def test_forks_outlive_each_other(drive, normal, closed):
    """Three generations; one is closed, its number and its pages are used again."""
    first, data = filled(drive, normal)
    family = [first, drive.fork(first)]
    family.append(drive.fork(family[1], max_tokens=40))
    drive.close(family.pop(closed))
    new, other = filled(drive, normal)
    for sequence in family:
        holds(drive, sequence, data, normal)
    holds(drive, new, other, normal)


@pytest.mark.parametrize("keep", [22, 21, 20, 19, 17, 16, 5, 4, 3, 1, 0])
def test_truncation_leaves_nothing_behind(drive, normal, keep):
    sequence, data = filled(drive, normal)
    drive.truncate(sequence, keep)
    data = [[x[:keep] for x in pair] for pair in data]
    holds(drive, sequence, data, normal)
    holds(drive, sequence, grow(drive, sequence, data, normal, 6), normal)


def test_layers_shorter_than_that_stay(drive, normal):
    sequence, data = filled(drive, normal)
    data[1] = [np.concatenate([x, y]) for x, y in zip(data[1], tokens(normal, 9))]
    drive.append(sequence, 1, *(x[TOKENS:] for x in data[1]))
    drive.truncate(sequence, 26)
    data[1] = [x[:26] for x in data[1]]
    holds(drive, sequence, data, normal)


def test_truncation_of_a_fork_leaves_the_other(drive, normal):
    first, data = filled(drive, normal)
    second = drive.fork(first)
    drive.truncate(first, 6)
    mine = grow(drive, first, [[x[:6] for x in pair] for pair in data], normal, 9)
    holds(drive, second, data, normal)
    drive.close(second)
    holds(drive, first, mine, normal)


@pytest.mark.filterwarnings("ignore::host.errors.DriveWarning")
@pytest.mark.parametrize("at", [14, 19, 22])
@pytest.mark.parametrize("size", [np.inf, 1000.0])
def test_what_is_gone_counts_no_more(drive, normal, at, size):
    """An infinity, or a number that alone has the block exponent, before a cut or behind it."""
    sequence, data = filled(drive, normal, 14)
    for layer, (k, v) in enumerate(data):
        new = tokens(normal, 9)
        new[layer][max(0, at - 14), 1, 5] = size
        data[layer] = [np.concatenate(pair) for pair in zip((k, v), new)]
        drive.append(sequence, layer, *new)
    for keep in (20, 14):
        drive.truncate(sequence, keep)
        data = [[x[:keep] for x in pair] for pair in data]
        holds(drive, sequence, data, normal)


@pytest.mark.parametrize("keep", range(0, 140, 7))
def test_facts_of_passes_are_those_of_their_tokens(normal, rng, keep):
    """Head and pass tables after a cut, against those of an append of what stays."""
    config = DriveConfig.preset("tiny", pass_tokens=64)
    shape = {"layers": 1, "kv_heads": 2, "head_dim": 64, "max_tokens": 160}
    with make_drive("fake", config) as drive:
        firmware = drive.backend.firmware
        scale = np.exp2(rng.integers(-8, 8, (140, 1, 1))).astype(np.float16)
        k, v = (normal(140, 2, 64) * scale for _ in "kv")
        found = []
        for cut in (True, False):
            sequence = drive.open(**shape)
            if cut or keep:
                drive.append(sequence, 0, *((k, v) if cut else (k[:keep], v[:keep])))
            if cut:
                drive.truncate(sequence, keep)
            placement = firmware.capacity.placements[sequence]
            passes = [
                firmware.device.load(
                    placement.passes + PASS.size * head * placement.shape.passes,
                    PASS.size * (keep // 64),
                )
                for head in range(2)
            ]
            heads = firmware.device.load(placement.heads, 2 * HEAD.size)
            found.append((heads, passes))
        assert found[0] == found[1]


@pytest.mark.parametrize("backend", ["twin", "fake"])
def test_shared_pages_are_there_once(tiny, normal, backend):
    """What forks share is neither written nor reserved again, and is free with the last of them."""
    geometry = tiny.flash.geometry
    room = (geometry.blocks - 2) * geometry.dies * geometry.pages  # pages of a channel
    length = 1024
    shape = {"layers": room * 4 // length * 2 // 3, "kv_heads": 1, "head_dim": 64}
    shape["max_tokens"] = length
    assert room / 2 < shape["layers"] * length / 4 < room  # no two of them find room
    with make_drive(backend, tiny) as drive:
        family = [drive.open(**shape)]
        k, v = normal(length, 1, 64), normal(length, 1, 64)
        for layer in range(shape["layers"]):
            drive.preload(family[0], layer, k, v)
        family += [drive.fork(family[0]), drive.fork(family[0])]
        drive.truncate(family[2], length)  # nothing
        q = normal(2, 64)
        for turn in range(3):
            with pytest.raises(DriveError) as full:
                drive.open(**shape)
            assert full.value.status == Status.NO_SPACE, turn
            for sequence in family:
                assert close_to(drive.attend(sequence, 1, q), k[:, 0], v[:, 0], q)
            drive.close(family.pop(0))
        drive.close(drive.open(**shape))


def close_to(out, k, v, q):
    weights = np.exp(q.astype(float) @ k.T.astype(float) / 8)
    wanted = weights @ v.astype(float) / weights.sum(axis=1, keepdims=True)
    return np.abs(out - wanted).max() < 1e-3


def test_a_fork_needs_room_for_what_it_may_append(tiny, normal):
    """Twin and firmware refuse it alike, and then nothing has changed."""
    geometry = tiny.flash.geometry
    room = (geometry.blocks - 2) * geometry.dies * geometry.pages
    shape = {"layers": room * 4 // 1024 * 2 // 3, "kv_heads": 1, "head_dim": 64}
    for backend in ("twin", "fake"):
        with make_drive(backend, tiny) as drive:
            first = drive.open(**shape, max_tokens=1024)
            drive.append(first, 0, normal(9, 1, 64), normal(9, 1, 64))
            with pytest.raises(DriveError, match="flash pages a channel") as full:
                drive.fork(first)
            assert full.value.status == Status.NO_SPACE
            other = drive.fork(first, max_tokens=256)
            assert drive.tokens(other, 0) == 9
            drive.close(first)
            drive.close(drive.fork(other, max_tokens=256))


def test_errors(drive, normal):
    sequence, _ = filled(drive, normal)
    for call, status, text in (
        (lambda: drive.fork(9), Status.UNKNOWN_SEQUENCE, "sequence 9"),
        (lambda: drive.fork(sequence, max_tokens=22), Status.CONTEXT_EXCEEDED, r"23\.\."),
        (lambda: drive.truncate(sequence, 24), Status.CONTEXT_EXCEEDED, r"0\.\.23"),
        (lambda: drive.truncate(sequence, -1), Status.CONTEXT_EXCEEDED, "tokens = -1"),
        (lambda: drive.truncate(sequence + 1, 1), Status.UNKNOWN_SEQUENCE, "sequence"),
    ):
        with pytest.raises(DriveError, match=text) as error:
            call()
        assert error.value.status == status
    ticket = drive.submit([(sequence, 0, normal(4, 64))])
    for call in (lambda: drive.fork(sequence), lambda: drive.truncate(sequence, 3)):
        with pytest.raises(ValueError, match="under way"):
            call()
    drive.wait(ticket)
    drive.close(sequence)
    with pytest.raises(DriveError) as error:
        drive.fork(sequence)
    assert error.value.status == Status.CLOSED_SEQUENCE
