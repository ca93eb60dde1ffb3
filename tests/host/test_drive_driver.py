"""The queue driver: rings, data pointers, splitting, raw commands refused, error completions."""

import numpy as np
import pytest

from cosim.environment import HOST_BASE
from host import DriveConfig, DriveError, KvDrive, Status
from host.driver import ENTRIES, pack_sqe
from host.packing import pack_append, pack_jobs
from host.regions import Regions
from rtl.commands import CQE, JOB, SQE, Opcode
from tests.host.conftest import make_drive
from tests.host.fake_drive.lane import FakeLane


@pytest.fixture
def lane(tiny):
    return FakeLane(tiny)


@pytest.fixture
def drive(tiny, lane):
    with KvDrive(tiny, backend="rtl", lane=lane) as drive:
        yield drive


@pytest.fixture(params=["fake", "rtl"])
def filled(request, tiny, normal):
    """Driver, number and check of a drive's sequence: it must hold what it was given."""
    with make_drive(request.param, tiny) as drive:
        yield fill(drive, normal)


def fill(drive, normal):
    sequence = drive.open(layers=1, kv_heads=2, head_dim=64, max_tokens=64)
    k, v, q = normal(13, 2, 64), normal(13, 2, 64), normal(4, 64)
    drive.append(sequence, 0, k, v)
    out = drive.attend(sequence, 0, q)
    assert drive.open(layers=1, kv_heads=2, head_dim=64, max_tokens=4) == 1

    def intact():
        got = drive.read(sequence, 0)
        assert np.array_equal(got[0], k) and np.array_equal(got[1], v)
        assert np.array_equal(drive.attend(sequence, 0, q), out)

    return drive.backend.driver, sequence, intact


def test_packed_append_is_heads_of_k_then_v(normal):
    k, v = normal(5, 3, 64), normal(5, 3, 64)
    words = np.frombuffer(pack_append(k, v), np.float16).reshape(3, 2, 5, 64)
    for head in range(3):
        assert np.array_equal(words[head, 0], k[:, head])
        assert np.array_equal(words[head, 1], v[:, head])


def test_packed_jobs_point_to_their_data(normal):
    from host.backends import Job

    q, k, v = normal(6, 64), normal(2, 64), normal(2, 64)
    jobs = [Job(3, 7, q, k, v), Job(1, 0, q + 1, k + 1, v + 1)]
    data, offsets, size = pack_jobs(jobs, [2, 2], [None, None])
    assert len(data) % 8 == 0 and offsets == [0, 8 + q.nbytes] and size == 2 * (8 + q.nbytes)
    assert pack_jobs(jobs, [2, 2], [2, 3])[1:] == ([0, 8 + 6336], 16 + 6336 + 9504)  # of 6 heads
    for number, job in enumerate(jobs):
        entry = JOB.unpack(data[number * JOB.size :])
        assert (entry["sequence"], entry["layer"], entry["queries"]) == (job.sequence, job.layer, 3)
        got = np.frombuffer(data, np.float16, q.size, entry["q_offset"]).reshape(q.shape)
        kv = np.frombuffer(data, np.float16, 2 * k.size, entry["kv_offset"]).reshape(2, 2, 64)
        assert np.array_equal(got, job.q) and entry["result_offset"] == offsets[number]
        assert np.array_equal(kv[:, 0], job.k) and np.array_equal(kv[:, 1], job.v)


def test_packed_sqe_has_the_fields_of_its_view():
    sqe = pack_sqe(opcode=Opcode.STEP, cid=7, nsid=1, jobs=5, bytes=4096, scale_mant=1 << 25,
                   scale_exp=-3 & 63, result=HOST_BASE)  # fmt: skip
    assert sqe[0] == 0x89 and sqe[2] == 7 and sqe[40] == 5
    assert int.from_bytes(sqe[48:52], "little") == 4096
    assert int.from_bytes(sqe[52:56], "little") == 1 << 25 | 61 << 26


def test_rings_wrap_with_their_phase(drive, normal):
    sequence = drive.open(layers=1, kv_heads=1, head_dim=64)
    k, v, q = normal(1, 64), normal(1, 64), normal(1, 64)
    for _ in range(3 * ENTRIES + 5):
        out = drive.step(sequence, 0, q, k, v)
    assert np.array_equal(out, v)  # equal keys and values: their mean is the value


def test_more_in_flight_than_the_queue_holds(drive, normal):
    sequence = drive.open(layers=1, kv_heads=1, head_dim=64)
    k, v = normal(150, 1, 64), normal(150, 1, 64)
    tickets = [drive.submit([(sequence, 0, k[0], k[n], v[n])]) for n in range(150)]
    first, *_, last = [drive.wait(ticket)[0] for ticket in tickets]
    assert np.array_equal(first, v[0])
    assert np.array_equal(last, drive.attend(sequence, 0, k[0]))
    assert np.array_equal(drive.read(sequence, 0)[1], v)


def test_transfer_area_is_reused(tiny, normal):
    lane = FakeLane(tiny, host_bytes=48 << 10)  # room for one or two commands at a time
    with KvDrive(tiny, backend="rtl", lane=lane) as drive:
        sequence = drive.open(layers=1, kv_heads=1, head_dim=64)
        k = normal(900, 1, 64)
        for start in range(0, 900, 100):
            drive.append(sequence, 0, k[start : start + 100], k[start : start + 100])
        assert np.array_equal(drive.read(sequence, 0)[0], k)
        with pytest.raises(DriveError, match="transfer buffers"):
            drive.backend.driver.submit(Opcode.READ_KV, receive=64 << 10)
        assert np.array_equal(drive.read(sequence, 0, 0, 40)[0], k[:40])


@pytest.mark.parametrize(("tokens", "commands"), [(256, 1), (257, 2), (512, 2), (600, 3)])
def test_long_appends_are_split(drive, lane, normal, tokens, commands):
    """64 KiB of data hold 256 tokens of one head of 64: 17 pages come with a page list."""
    sequence = drive.open(layers=1, kv_heads=1, head_dim=64)
    k, v = normal(tokens, 1, 64), normal(tokens, 1, 64)
    drive.append(sequence, 0, k, v)
    assert lane.commands.count(Opcode.APPEND) == commands
    got = drive.read(sequence, 0)
    assert np.array_equal(got[0], k) and np.array_equal(got[1], v)


def test_large_batches_are_split(drive, lane, normal):
    sequence = drive.open(layers=4, kv_heads=2, head_dim=128, max_tokens=8)
    k, q = normal(3, 2, 128), normal(40, 8, 128)
    for layer in range(4):
        drive.append(sequence, layer, k, k)
    outs = drive.attend_batch([(sequence, n % 4, q[n]) for n in range(40)])
    # a job is 32 bytes of list and 2048 of q; a command takes 16384
    assert lane.commands.count(Opcode.ATTEND) == -(-40 // (16384 // 2080))
    for n in (0, 6, 7, 39):
        assert np.array_equal(outs[n], drive.attend(sequence, n % 4, q[n]))


def test_a_job_too_large_for_any_command(tiny):
    with KvDrive(tiny, backend="twin") as drive:
        sequence = drive.open(layers=1, kv_heads=64, head_dim=64, max_tokens=4)
        k = np.zeros((1, 64, 64), np.float16)
        drive.append(sequence, 0, k, k)
        with pytest.raises(DriveError, match="one command takes 16384") as info:
            drive.attend(sequence, 0, np.zeros((256, 64), np.float16))
        assert info.value.status == Status.UNSUPPORTED_SHAPE


AREA = HOST_BASE + 8192
FINE = {"nsid": 1, "prp1": AREA}
RAW = {
    "unknown opcode": ({"opcode": 0x8E}, Status.INVALID_OPCODE),
    "unknown policy opcode": ({"opcode": 0x9D}, Status.INVALID_OPCODE),
    "namespace": ({"opcode": Opcode.APPEND, "nsid": 2, "tokens": 1}, Status.INVALID_NAMESPACE),
    "unaligned": ({"opcode": Opcode.APPEND, "prp1": AREA + 8, "tokens": 1}, 0x013),
    "unaligned list": ({"opcode": Opcode.APPEND, "prp2": AREA + 8, "tokens": 40}, 0x013),
    "below window": ({"opcode": Opcode.APPEND, "prp1": HOST_BASE, "tokens": 1}, 0x706),
    "beyond window": ({"opcode": Opcode.APPEND, "prp1": 1 << 40, "tokens": 1}, 0x706),
    "list outside": ({"opcode": Opcode.APPEND, "prp2": 1 << 40, "tokens": 40}, 0x706),
    "no tokens": ({"opcode": Opcode.APPEND}, Status.ZERO_LENGTH),
    "sequence": ({"opcode": Opcode.APPEND, "sequence": 3, "tokens": 1}, Status.UNKNOWN_SEQUENCE),
    "sequence number": ({"opcode": Opcode.APPEND, "sequence": 999, "tokens": 1}, 0x701),
    "layer": ({"opcode": Opcode.APPEND, "layer": 1, "tokens": 1}, Status.LAYER_OUT_OF_RANGE),
    "capacity": ({"opcode": Opcode.APPEND, "sequence": 1, "tokens": 5}, Status.CONTEXT_EXCEEDED),
    "no jobs": ({"opcode": Opcode.ATTEND, "bytes": 64}, Status.ZERO_LENGTH),
    "no bytes": ({"opcode": Opcode.ATTEND, "jobs": 1}, Status.ZERO_LENGTH),
    "odd bytes": ({"opcode": Opcode.ATTEND, "jobs": 1, "bytes": 65}, Status.INVALID_FIELD),
    "mode": ({"opcode": Opcode.ATTEND, "jobs": 1, "bytes": 64, "mode": 1}, Status.UNSUPPORTED_MODE),
    "head": ({"opcode": Opcode.READ_KV, "head": 2}, Status.HEAD_OUT_OF_RANGE),
    "group": ({"opcode": Opcode.READ_KV, "group": 4}, Status.GROUP_OUT_OF_RANGE),
    "close unknown": ({"opcode": Opcode.CLOSE, "sequence": 3}, Status.UNKNOWN_SEQUENCE),
    "close beyond": ({"opcode": Opcode.CLOSE, "sequence": 77}, Status.UNKNOWN_SEQUENCE),
    "open head_dim": (
        {"opcode": Opcode.OPEN, "layers": 1, "kv_heads": 1, "head_dim": 100},
        Status.UNSUPPORTED_HEAD_DIM,
    ),
    "open format": (
        {"opcode": Opcode.OPEN, "layers": 1, "kv_heads": 1, "head_dim": 64, "format": 2},
        Status.UNSUPPORTED_FORMAT,
    ),
}


@pytest.mark.parametrize("case", RAW)
def test_bad_commands_in_the_queue(filled, case):
    driver, sequence, intact = filled
    fields, status = RAW[case]
    command = driver.submit_raw(pack_sqe(**{**FINE, "cid": 4711, **fields}))
    completion = driver.wait(command)
    assert completion["status"] == status and completion["cid"] == 4711 and completion["dnr"] == 1
    intact()


def test_a_closed_number_answers_as_closed(filled):
    driver, sequence, intact = filled
    driver.execute(Opcode.CLOSE, sequence=1)
    for opcode in (Opcode.CLOSE, Opcode.APPEND):
        sqe = pack_sqe(opcode=opcode, cid=1, nsid=1, prp1=AREA, sequence=1, tokens=1)
        assert driver.wait(driver.submit_raw(sqe))["status"] == Status.CLOSED_SEQUENCE
    intact()


def test_result_outside_the_window_is_refused(filled, normal):
    driver, sequence, intact = filled
    from host.backends import Job

    data, _, _ = pack_jobs([Job(sequence, 0, normal(2, 64))], [2], [None])
    for result in (HOST_BASE, HOST_BASE + len(driver._lane.host) - 8, 1 << 33):
        command = driver.submit(Opcode.ATTEND, data=data, jobs=1, bytes=len(data),
                                scale_mant=1 << 25, result=result)  # fmt: skip
        assert driver.wait(command)["status"] == Status.OUT_OF_WINDOW
    intact()


def test_error_completions_become_exceptions(drive, lane, normal):
    _, sequence, _ = fill(drive, normal)
    q, k, v = normal(3, 4, 64), normal(3, 2, 64), normal(3, 2, 64)
    for status in (Status.UNRECOVERED_READ, 0x7FE):
        lane.problems = [status]
        with pytest.raises(DriveError, match="job 0") as info:
            drive.attend(sequence, 0, q[0])
        assert info.value.status == status
    lane.problems = [None, Status.INTERNAL_ERROR, None]  # three steps of one layer: three commands
    with pytest.raises(DriveError, match="STEP"):
        drive.attend_batch([(sequence, 0, q[n], k[n], v[n]) for n in range(3)])
    assert drive.tokens(sequence, 0) == 15
    got = drive.read(sequence, 0)
    assert np.array_equal(got[0][13:], k[[0, 2]]) and np.array_equal(got[1][13:], v[[0, 2]])
    lane.problems = [Status.PROGRAM_FAILED]
    with pytest.raises(DriveError, match="APPEND"):
        drive.append(sequence, 0, k, v)
    lane.problems = [Status.NO_SPACE]
    with pytest.raises(DriveError, match="8 tokens of 2 heads"):
        drive.open(layers=1, kv_heads=2, head_dim=64, max_tokens=8)


def test_a_drive_that_does_not_answer(tiny, lane):
    drive = KvDrive(tiny, backend="rtl", lane=lane)
    lane._command = lambda: iter(())  # swallows every command
    lane.registers["SQ_TAIL"] = lane.head
    with pytest.raises(DriveError, match="no answer at cycle .* 0x90") as info:
        lane.run = lambda *_: type("Event", (), {"irqs": 0, "mailbox": False, "stuck": True})()
        drive.open(layers=1, kv_heads=1, head_dim=64)
    assert info.value.status == Status.INTERNAL_ERROR


def test_queues_that_have_stopped(drive, lane, normal):
    driver, sequence, intact = fill(drive, normal)
    free = driver._buffers.free
    lane.stopped = True
    commands = [driver.submit(Opcode.CAPABILITIES, receive=4096) for _ in range(3)]
    with pytest.raises(DriveError, match="stopped its queues.*start the driver again") as info:
        driver.wait(commands[0])
    assert info.value.status == Status.TRANSFER_ERROR
    assert all(f"cid {command.cid}" in str(info.value) for command in commands)
    driver.start()
    assert driver._buffers.free == free and not any(c.completion for c in commands)
    intact()


def test_something_else_than_a_drive(tiny, lane):
    lane.csr_read = lambda address: 0xFFFFFFFF
    with pytest.raises(DriveError, match="register ID reads 0xffffffff"):
        KvDrive(tiny, backend="rtl", lane=lane)


def test_another_drive_than_configured(tiny, lane):
    config = DriveConfig.preset("tiny", max_queries_per_kv=2)
    with pytest.raises(DriveError, match="says max_queries_per_kv = 4, its configuration 2"):
        KvDrive(config, backend="rtl", lane=lane)


def test_pages_larger_than_memory_pages(normal):
    """16 KiB flash pages come back through a list of memory pages."""
    config = DriveConfig.preset("tiny", profile="tlc_onfi5", dram_bytes=16 << 20)
    with KvDrive(config, backend="rtl", lane=FakeLane(config)) as drive:
        sequence = drive.open(layers=1, kv_heads=1, head_dim=64, max_tokens=300)
        k, v = normal(300, 1, 64), normal(300, 1, 64)
        drive.append(sequence, 0, k, v)
        got = drive.read(sequence, 0)
        assert np.array_equal(got[0], k) and np.array_equal(got[1], v)


def test_completion_layout_matches_numpy():
    raw = CQE.pack(result=0x01020304, cid=0xBEEF, phase=1, status=0x706, dnr=1)
    words = np.frombuffer(raw, "<u2")
    assert words[6] == 0xBEEF and words[7] == 1 | 0x706 << 1 | 1 << 15 and SQE.size == 64


def test_regions_against_a_bitmap(rng):
    """Random churn: regions never overlap, and what is freed can be had again."""
    regions, owned = Regions(100, 64 << 12, align=4096), {}
    for _ in range(2000):
        if owned and rng.random() < 0.5:
            address = list(owned)[rng.integers(len(owned))]
            regions.release(address)
            del owned[address]
        else:
            size = int(rng.integers(1, 9 << 12))
            address = regions.allocate(size)
            if address is not None:
                assert address % 4096 == 0 and 100 <= address and address + size <= 100 + (64 << 12)
                assert all(address + size <= a or a + s <= address for a, s in owned.items())
                owned[address] = size
    for address in owned:
        regions.release(address)
    assert regions.used == 0 and regions.allocate(regions.free) is not None
    with pytest.raises(ValueError, match="no region"):
        regions.release(12345)
