"""The native lane around a toy design: memories, page registers, events, skipping, its rules."""

import random

import numpy as np
import pytest

from cosim.environment import EnvironmentTiming
from cosim.native_lane import HOST_BASE, TRACE_KINDS, LaneError
from flash_model.array import NandArray
from flash_model.array_port import ArrayOp
from flash_model.bit_errors import BitErrorRate
from flash_model.faults import Faults


def copy(lane, source, target, words):
    for address, value in ((0x00, source), (0x04, target), (0x08, words)):
        lane.csr_write(address, value)
    return lane.run(max_cycles=5000)


def test_copy_through_both_memories(toy_lane):
    lane = toy_lane()
    lane.dram[:] = np.random.default_rng(1).integers(0, 256, len(lane.dram))
    for source, target, words in ((0, 0, 1), (4096, 8192, 256), (2048 + 8, 40, 255)):
        event = copy(lane, source, HOST_BASE + target, words)
        assert event.irqs == 1 and not event.timeout
        end = target + 8 * words
        assert np.array_equal(lane.host[target:end], lane.dram[source : source + 8 * words])
    assert not lane.host[12000:].any()
    assert lane.csr_read(0x0C) == 0


def test_latencies_are_those_asked_for(toy_lane):
    """One beat: address, read latency, data, write data, write latency, response."""

    def cycles(**options):
        lane = toy_lane(timing=EnvironmentTiming(**options))
        start = lane.cycle
        return copy(lane, 0, HOST_BASE, 1).cycle - start

    base = cycles()
    assert cycles(dram_read_ns=120 + 40) == base + 10  # 4 ns a clock
    assert cycles(host_write_ns=400 + 80) == base + 20
    assert cycles(host_read_ns=4000, dram_write_ns=4000) == base


@pytest.mark.parametrize(
    "source, target, errors",
    [
        (65536 - 16, HOST_BASE + 65536 - 16, 0),
        (65536, HOST_BASE, 2),
        (0, HOST_BASE - 16, 1 << 16),
        (0, HOST_BASE + 65536, 1 << 16),
        (0, 0, 1 << 16),
    ],
)
def test_outside_of_memory_is_an_error_response(toy_lane, source, target, errors):
    lane = toy_lane()
    assert copy(lane, source, target, 2).irqs == 1
    assert lane.csr_read(0x0C) == errors


@pytest.mark.parametrize(
    "source, words, message",
    [
        (0, 257, "host memory write: 257 beats"),
        (4, 1, "not 8-byte aligned"),
        (2056, 256, "device DRAM read: .* crosses 4096"),
    ],
)
def test_broken_rules_are_told(toy_lane, source, words, message):
    with pytest.raises(LaneError, match=message):
        copy(toy_lane(), source, HOST_BASE, words)


def test_timer_with_and_without_skipping(toy_lane):
    seen = []
    for skip_idle in (True, False):
        lane = toy_lane(skip_idle=skip_idle)
        moments = []
        for clocks in (1, 2, 3, 4, 5, 6, 7, 100, 30_000):
            lane.csr_write(0x1C, clocks)
            moments.append(lane.run().cycle)
            assert lane.csr_read(0x2C) == lane.cycle - 2  # taken when the access began
            moments.append(lane.csr_read(0x30))
            lane.csr_write(0x1C, 700)
            lane.idle(500)  # a skip that the limit cuts short
            moments.append((lane.cycle, lane.csr_read(0x2C), lane.run().cycle))
        seen.append(moments)
        assert lane.simulated_clocks < 1000 if skip_idle else lane.simulated_clocks == lane.cycle
    assert seen[0] == seen[1]


def test_events(toy_lane):
    lane = toy_lane()
    assert lane.run(max_cycles=20).timeout
    assert lane.run().stuck
    lane.csr_write(0x34, 1)
    assert lane.run().mailbox and lane.mailbox
    lane.csr_write(0x1C, 50)
    event = lane.run(until_mailbox=False)
    assert event.irqs == 1 and not event.mailbox
    lane.csr_write(0x34, 0)
    assert not lane.mailbox
    lane.csr_write(0x1C, 20)
    lane.idle(100)  # an interrupt that nobody waited for
    before = lane.cycle
    assert lane.run().irqs == 1 and lane.cycle == before
    lane.idle(1 << 33)
    assert lane.cycle == before + (1 << 33)
    assert lane.simulated_clocks < 1000


TRACED = {ArrayOp.READ: 0, ArrayOp.READ_CACHE: 0, ArrayOp.PROGRAM: 1, ArrayOp.ERASE: 2}
"""Kind of a trace event; the others move data between registers only."""


def every_fault(geometry):
    """Faults of each kind on the rows of `drive_both`."""
    return Faults(
        geometry,
        seed=11,
        bad_blocks=[(1, 0, 3)],
        weak_blocks={(0, 0, 63): 1, (0, 1, 0): 0},
        weak_pages={(channel, 1, 1): channel for channel in (0, 1)},
        grave_pages={(0, 0, 0): 2, (1, 1, 15): 0},
        bit_flips={(1, 1, 0): 9, (0, 0, 15): 100},
        rate=BitErrorRate(erases=10, fresh=1e-3, worn=1e-2),
    )


def check_equal(one, other):
    for name, buffer in other.buffers.items():
        assert np.array_equal(one.buffers[name], buffer), name


def drive_both(lane, array, count, seed=5, most_clocks=20):
    """The same random operations on the lane and on ``array``.

    Returns the kinds of those traced, how many failed, and how many read something wrong.
    """
    geometry = array.geometry
    rng = random.Random(seed)
    rows = [geometry.row(block, page) for block in (0, 1, 3, 63) for page in (0, 1, 15)]
    lane.csr_write(0x10, 0)
    lane.array.now_s = array.now_s = 12.5
    kinds, failures, wrong = [], 0, 0
    for _ in range(count):
        channel, die, row = rng.randrange(2), rng.randrange(2), rng.choice(rows)
        plane, planes = rng.randrange(geometry.planes), rng.randrange(1 << geometry.planes)
        planes *= geometry.planes > 1 and rng.random() < 0.5
        where = channel << 4 | die << 8 | plane << 24
        register = array.register(channel, die, plane)
        column = 8 * rng.randrange(geometry.page_words)
        match rng.choice(["operation", "write", "write", "read"]):
            case "operation":
                op = rng.choice(list(ArrayOp)).value
                lane.csr_write(0x10, row)
                clocks = rng.randrange(most_clocks)
                lane.csr_write(0x3C, clocks)
                begun = lane.cycle + 1  # an access begins with the next clock
                lane.csr_write(0x18, op | where | planes << 16)
                failures += bool(
                    array.serve(
                        op, channel, die, row,
                        plane=plane, planes=planes, clock=begun, clocks=clocks,
                    )
                )  # fmt: skip
                if op == ArrayOp.READ.value:
                    seen = array.register(channel, die, geometry.plane(row))
                    wrong += not np.array_equal(seen, array.page(channel, die, row))
                if ArrayOp(op) in TRACED:
                    kinds += [TRACED[ArrayOp(op)]] * (1 + planes.bit_count())
            case "write":
                data = rng.randbytes(8)
                for address, half in ((0x20, data[:4]), (0x24, data[4:])):
                    lane.csr_write(address, int.from_bytes(half, "little"))
                lane.csr_write(0x14, column // 8)
                lane.csr_write(0x28, 1 << 12 | where)
                register[column : column + 8] = np.frombuffer(data, np.uint8)
            case "read":
                lane.csr_write(0x14, column // 8)
                lane.csr_write(0x28, where)
                got = lane.csr_read(0x20) | lane.csr_read(0x24) << 32
                assert got.to_bytes(8, "little") == register[column : column + 8].tobytes()
    check_equal(lane.array, array)
    assert lane.csr_read(0x38) == failures
    return kinds, failures, wrong


@pytest.mark.parametrize("planes", [1, 2, 4])
def test_array_operations_equal_the_python_array(toy_lane, planes):
    lane = toy_lane(trace=True, planes=planes)
    kinds, failures, wrong = drive_both(lane, NandArray(lane.array.geometry), 400)
    assert not failures and not wrong
    trace = lane.trace()
    assert trace["kind"][trace["kind"] < 3].tolist() == kinds
    assert set(trace["kind"]) == set(TRACE_KINDS)
    apart = np.diff(trace["cycle"].astype(int))
    assert (apart >= 0).all() and (planes > 1 or (apart > 0).all())
    assert len(lane.trace()) == 0


@pytest.mark.parametrize("seed,planes", [(5, 1), (6, 1), (7, 2), (8, 4)])
def test_faults_equal_those_of_the_python_array(toy_lane, seed, planes):
    lane = toy_lane(faults=every_fault, planes=planes)
    geometry = lane.array.geometry
    array = NandArray(geometry, faults=every_fault(geometry))
    _, failures, wrong = drive_both(lane, array, 1200, seed)
    assert failures and wrong


@pytest.mark.parametrize("faults", [None, every_fault])
@pytest.mark.parametrize("seed", range(4))
def test_power_cuts_equal_those_of_the_python_array(toy_lane, seed, faults):
    lane = toy_lane(faults=faults, planes=1 << seed % 3)
    geometry = lane.array.geometry
    array = NandArray(geometry, faults=faults and faults(geometry))
    lane.host[:8], lane.dram[:8] = 1, 1
    for count in (500, 100):  # also on a drive that lost its power before
        drive_both(lane, array, count, seed, most_clocks=2000)
        found = array.power_cut(lane.cycle, seed)
        assert lane.power_cut(seed) == found and found
        assert lane.cycle == 0 and lane.csr_read(0x10) == 0
        check_equal(lane.array, array)
    assert lane.host[:8].all() and not lane.dram.any()


def test_an_error_inside_the_array_is_told_with_its_cause(toy_lane):
    lane = toy_lane(faults=Faults)

    def broken(*_):
        raise RuntimeError("no such luck")

    lane.array.faults.program = broken
    with pytest.raises(LaneError, match="Python code has failed") as raised:
        lane.csr_write(0x18, ArrayOp.PROGRAM.value)
    assert "no such luck" in str(raised.value.__cause__)


def test_ctrl_c_inside_the_array_comes_through(toy_lane):
    lane = toy_lane(faults=Faults)

    def interrupted(*_):
        raise KeyboardInterrupt

    lane.array.faults.program = interrupted
    with pytest.raises(KeyboardInterrupt):
        lane.csr_write(0x18, ArrayOp.PROGRAM.value)


def test_a_row_or_column_that_is_not_there(toy_lane):
    lane = toy_lane()
    lane.csr_write(0x10, lane.array.geometry.rows)
    with pytest.raises(LaneError, match="row 1024 does not exist"):
        lane.csr_write(0x18, 0)
    lane = toy_lane()
    lane.csr_write(0x14, lane.array.geometry.page_words)
    lane.csr_write(0x28, 0)
    assert lane.csr_read(0x20) == 0
    with pytest.raises(LaneError, match="register column"):
        lane.csr_write(0x28, 1 << 12)


def test_bad_arguments(toy_lane):
    lane = toy_lane()
    for call, match in (
        (lambda: lane.csr_read(2), "multiple of 4"),
        (lambda: lane.csr_write(0, 1 << 32), "32 bits"),
        (lambda: lane.idle(-1), "0 or more"),
        (lambda: toy_lane(host_bytes=100), "multiple of 4096"),
        (lambda: EnvironmentTiming(host_read_ns=0), "above 0"),
        (lambda: EnvironmentTiming(outstanding=0), "1..256"),
    ):
        with pytest.raises(ValueError, match=match):
            call()
