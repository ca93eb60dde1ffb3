"""Appends that are submitted and waited for later: the state, the order and the errors of others.

What is compared with is another drive of the same kind that was waited for after each append.
"""

import numpy as np
import pytest
import torch

from host import DriveConfig, DriveError, KvDrive, Status
from host.attention import attach
from host.errors import DriveTypeError, DriveValueError
from tests.host.conftest import make_drive
from tests.host.fake_drive.lane import FakeLane
from tests.host.small_models import CONFIG, greedy, make

LAYERS, SHAPE = 3, (2, 64)
COUNTS = (9, 1, 30)
"""Tokens of successive appends: with a page of 4 tokens, parts of groups and many groups."""


def open_drive(drive, **changes):
    return drive.open(**dict(layers=LAYERS, kv_heads=2, head_dim=64, max_tokens=64) | changes)


def arrays(normal):
    return [
        [(normal(n, *SHAPE), normal(n, *SHAPE)) for n in COUNTS] for _ in range(LAYERS)
    ]  # of each layer


@pytest.mark.parametrize("backend", ["twin", "fake", "rtl"])
def test_state_is_that_of_appends_that_were_waited_for(backend, tiny, normal):
    given, q = arrays(normal), normal(4, 64)

    def waited(drive, sequence):
        for layer in range(LAYERS):
            for k, v in given[layer]:
                drive.append(sequence, layer, k, v)

    def submitted(drive, sequence):
        tickets = []
        for layer in range(LAYERS):
            for k, v in given[layer]:
                k, v = k.copy(), v.copy()
                tickets.append(drive.submit_append(sequence, layer, k, v))
                k[:], v[:] = np.nan, np.nan  # they are the caller's again
            assert drive.tokens(sequence, layer) == sum(COUNTS)
        assert [drive.wait(ticket) for ticket in tickets] == [None] * len(tickets)

    def state(fill):
        with make_drive(backend, tiny) as drive:
            sequence = open_drive(drive)
            fill(drive, sequence)
            stored = [drive.read(sequence, layer) for layer in range(LAYERS)]
            results = [drive.attend(sequence, layer, q) for layer in range(LAYERS)]
            stats = drive.stats()
            return stored, results, stats["pages_programmed"], stats["bytes_link_in"]

    one, other = state(waited), state(submitted)
    for layer in range(LAYERS):
        for kind in range(2):
            whole = np.concatenate([pair[kind] for pair in given[layer]])
            for stored, *_ in (one, other):
                assert np.array_equal(stored[layer][kind], whole)
        assert np.array_equal(one[1][layer], other[1][layer])
    assert one[2:] == other[2:] and one[2] > 0


@pytest.mark.parametrize("backend", ["twin", "rtl"])
def test_what_is_submitted_later_sees_the_tokens(backend, tiny, normal):
    (k, v), q = (normal(10, *SHAPE), normal(10, *SHAPE)), normal(4, 64)
    with make_drive(backend, tiny) as drive:
        wanted = open_drive(drive)
        drive.append(wanted, 1, k[:9], v[:9])
        expected = drive.step(wanted, 1, q, k[9], v[9])
        expected_without = drive.attend(wanted, 1, q, scale=0.05)
        sequence = open_drive(drive)
        append = drive.submit_append(sequence, 1, k[:9], v[:9])
        step = drive.submit([(sequence, 1, q, k[9], v[9])])
        attend = drive.submit([(sequence, 1, q)], scale=0.05)
        # in any order: the drive has executed them in that of their submission
        assert np.array_equal(drive.wait(attend)[0], expected_without)
        assert np.array_equal(drive.wait(step)[0], expected)
        drive.wait(append)
        assert drive.tokens(sequence, 1) == 10


def test_errors_that_the_host_knows_come_at_once(drive, normal):
    sequence = open_drive(drive, max_tokens=16)
    k = normal(10, *SHAPE)
    first = drive.submit_append(sequence, 0, k, k)
    with pytest.raises(DriveError, match="20 tokens in layer 0") as caught:
        drive.submit_append(sequence, 0, k, k)
    assert caught.value.status == Status.CONTEXT_EXCEEDED
    with pytest.raises(DriveError) as caught:
        drive.submit_append(sequence, LAYERS, k, k)
    assert caught.value.status == Status.LAYER_OUT_OF_RANGE
    for call in (
        lambda: drive.close(sequence),
        lambda: drive.fork(sequence),
        lambda: drive.truncate(sequence, 3),
    ):
        with pytest.raises(DriveValueError, match="jobs under way"):
            call()
    assert drive.wait(first) is None
    with pytest.raises(DriveValueError, match="waited for already"):
        drive.wait(first)
    with pytest.raises(DriveTypeError, match="submit_append"):
        drive.wait(first.part or object())
    drive.close(sequence)
    with pytest.raises(DriveError) as caught:
        drive.submit_append(sequence, 0, k, k)
    assert caught.value.status == Status.CLOSED_SEQUENCE


def test_errors_of_the_drive_come_with_the_wait_for_their_layer(tiny, normal):
    lane = FakeLane(tiny)
    with KvDrive(tiny, backend="rtl", lane=lane) as drive:
        sequence, k = open_drive(drive), normal(6, *SHAPE)
        lane.problems = [None, Status.TRANSFER_ERROR, None]
        tickets = [drive.submit_append(sequence, layer, k, k) for layer in range(LAYERS)]
        drive.wait(tickets[2])
        drive.wait(tickets[0])
        with pytest.raises(DriveError) as caught:
            drive.wait(tickets[1])
        assert caught.value.status == Status.TRANSFER_ERROR
        assert caught.value.__notes__ == [f"6 tokens of layer 1 of sequence {sequence}"]
        assert [drive.tokens(sequence, layer) for layer in range(LAYERS)] == [6, 0, 6]


def test_a_full_window_of_host_memory_makes_the_host_wait(normal):
    config = DriveConfig.preset("tiny")
    lane = FakeLane(config, host_bytes=128 << 10)
    with KvDrive(config, backend="rtl", lane=lane) as drive:
        sequence, k = open_drive(drive, layers=8), normal(60, *SHAPE)  # 30,720 bytes each
        tickets = [drive.submit_append(sequence, layer, k, k) for layer in range(8)]
        for ticket in tickets:
            drive.wait(ticket)
        assert all(np.array_equal(drive.read(sequence, layer)[0], k) for layer in range(8))


@pytest.mark.parametrize("backend", ["twin", "fake", "rtl"])
def test_time_passes_for_the_drive_alone(backend, tiny, normal):
    k = normal(40, *SHAPE)
    with make_drive(backend, tiny) as drive:
        sequence = open_drive(drive)
        ticket = drive.submit_append(sequence, 0, k, k)
        before = drive.stats()["cycles"]
        drive.elapse(0.002)
        assert backend != "rtl" or drive.stats()["pages_programmed"] == 2 * 2 * 10
        assert before is None or backend == "fake" or drive.stats()["cycles"] > before
        drive.wait(ticket)
        for bad in (-1e-9, float("nan"), float("inf")):
            with pytest.raises(DriveValueError, match="0 or more"):
                drive.elapse(bad)
    with pytest.raises(DriveError, match="shut down"):
        drive.elapse(0)


def test_elapsed_time_is_exact_and_finds_the_append_done(tiny, normal):
    k = normal(40, *SHAPE)
    with make_drive("rtl", tiny) as drive:
        sequence, lane = open_drive(drive), drive.backend.lane
        ticket = drive.submit_append(sequence, 0, k, k)
        begin = lane.cycle
        drive.elapse(200_000 / tiny.clock_hz)
        assert lane.cycle == begin + 200_000
        ((command, _),) = ticket.part.commands
        words = 2 * k.nbytes // 8
        assert command.rung + words < command.answered < lane.cycle
        drive.wait(ticket)
        assert lane.cycle == begin + 200_000  # nothing is left to wait for


def answer(model, cache, batch=1):
    ids = torch.randint(3, 300, (batch, 21), generator=torch.Generator().manual_seed(3))
    mask = torch.ones_like(ids)
    mask[1:, :5] = 0
    return greedy(model, ids, cache=cache, attention_mask=mask, pad_token_id=0).sequences


@pytest.mark.parametrize("batch", [1, 2])
def test_prefill_has_all_layers_under_way(batch, monkeypatch):
    """Same tokens as with appends that are waited for, on the twin."""

    def tokens(together):
        with KvDrive(CONFIG, backend="twin") as drive:
            under_way, most = set(), 0
            submit, wait = drive.submit_append, drive.wait

            def counted(*args):
                nonlocal most
                ticket = submit(*args)
                if not together:
                    wait(ticket)
                    return None
                under_way.add(ticket)
                most = max(most, len(under_way))
                return ticket

            def waited(ticket):
                under_way.discard(ticket)
                return None if ticket is None else wait(ticket)

            monkeypatch.setattr(drive, "submit_append", counted)
            monkeypatch.setattr(drive, "wait", waited)
            model = make("Llama")
            with attach(model, drive, max_tokens=40) as cache:
                out = answer(model, cache, batch)
            assert not under_way
            return out, most

    expected, none = tokens(together=False)
    found, most = tokens(together=True)
    assert torch.equal(expected, found)
    assert (none, most) == (0, 2 * batch)  # small models have two layers


def test_an_error_of_the_drive_ends_the_prefill_and_names_the_layer():
    config = CONFIG
    lane = FakeLane(config)
    with KvDrive(config, backend="rtl", lane=lane) as drive:
        model = make("Llama")
        with attach(model, drive, max_tokens=40) as cache:
            # OPEN, then the layers' APPENDs
            lane.problems = [None, None, Status.TRANSFER_ERROR]
            with pytest.raises(DriveError) as caught:
                answer(model, cache)
            assert "layer 1" in caught.value.__notes__[0]
            assert cache.broken
            cache.reset()
            assert answer(model, cache).shape == (1, 21 + 12)
