"""What a read waits for while dies are being erased, with suspend and without.

Run with ``-s`` for the figures in docs/flash.md. Times of profile `paper`; four dies, one of which
is always being erased, reads of 512 bytes that arrive at random, 400 us apart on average.
"""

import dataclasses
import random

import numpy as np
import pytest

from flash_model.profiles import profile
from flash_model.suspend import Suspend
from flash_model.timing import cycles
from rtl.nand.operations import NandOp

HZ = 100_000_000
DIES, READS = 4, 240
GAP = 40_000  # clocks
T_SUSP_NS = 20_000
TIMES = profile("paper").timing


def latencies(bench, suspend):
    """Microseconds from the arrival of each read to its last word, and how often one came first."""
    timing = {**dataclasses.asdict(TIMES), "suspend": suspend}
    b = bench(dies=DIES, clock_hz=HZ, depth=2 * DIES, skip=True, timing=timing)
    rng = random.Random(1)
    t_bers = cycles(TIMES.t_bers_ns, HZ)
    at, ops = 0.0, []
    for _ in range(READS):
        at += rng.expovariate(1 / GAP)
        row = rng.randrange(64, b.profile.geometry.rows)
        ops.append(
            {"op": NandOp.READ, "die": rng.randrange(DIES), "row": row, "words": 64, "at": int(at)}
        )
    arrivals = [op["at"] for op in ops]
    for n in range(int(at / t_bers)):
        ops.append({"op": NandOp.ERASE, "die": n % DIES, "row": 16, "at": n * t_bers})
    b.run(sorted(ops, key=lambda op: op["at"]), timeout=400_000)
    assert not any(d.failed for d in b.done)
    ends = b.read_times[63::64]
    waits = [(end - begin) / (HZ / 1e6) for begin, end in zip(arrivals, ends, strict=True)]
    return waits, sum(byte == 0x61 for _, _, byte in b.rules.commands)


@pytest.mark.timeout(600)
def test_reads_among_erases(bench):
    t_r, t_bers = TIMES.t_r_ns / 1e3, TIMES.t_bers_ns / 1e3
    parts = {
        "without": None,
        "with": Suspend(t_susp_ns=T_SUSP_NS, erase_most=32, program_most=4),
    }
    p99 = {}
    for name, suspend in parts.items():
        waits, suspensions = latencies(bench, suspend)
        p50, p99[name] = np.percentile(waits, [50, 99])
        print(
            f"{name} suspend: {READS} reads, p50 {p50:.0f} us, p99 {p99[name]:.0f} us, "
            f"max {max(waits):.0f} us, {suspensions} suspensions"
        )
        assert min(waits) >= t_r
        assert (suspensions > 0) == (suspend is not None)
    assert p99["without"] > t_bers / 2
    assert p99["with"] < 4 * (t_r + T_SUSP_NS / 1e3)
