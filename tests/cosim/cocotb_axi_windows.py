"""cocotb side of test_axi_drive.py: data and results wherever the command set lets them lie.

Data are pages in any order, given by PRP1 and a list of the others; results lie at any multiple of
8 bytes, across pages of host memory, up to the window's very end.
"""

import os

import cocotb
import numpy as np
from cocotb.task import bridge
from cocotb.triggers import with_timeout

from cosim.axi_lane import AxiLane
from cosim.environment import HOST_BASE
from host import KvDrive
from host.checks import checked_scale
from host.driver import pack_sqe
from host.packing import pack_append
from rtl.commands import JOB, JOB_STATUS, MEMORY_PAGE, Opcode, Status
from rtl.registers import REGISTERS
from tests.cosim.cocotb_drive import CONFIG, HEAD_DIM

KV_HEADS, QUERIES, TOKENS = 2, 2, 26
_, MANT, EXP = checked_scale(None, HEAD_DIM)
SCALE = {"scale_mant": MANT, "scale_exp": EXP & 63}
ROUNDS = int(os.environ["AXI_ROUNDS"])


class Scattered:
    """Host memory at the upper half of the transfer area, in pages at random."""

    def __init__(self, lane, rng):
        self.lane, self.rng = lane, rng
        half = len(lane.host) // 2 // MEMORY_PAGE
        self.free = list(rng.permutation(np.arange(half, 2 * half - 8)) * MEMORY_PAGE)

    def pages(self, size, data=b""):
        """``prp1`` and ``prp2`` of so many bytes, and their offsets; ``data`` are put there."""
        offsets = [int(self.free.pop()) for _ in range(-(-size // MEMORY_PAGE))]
        for number, offset in enumerate(offsets):
            part = data[MEMORY_PAGE * number :][:MEMORY_PAGE]
            self.lane.host[offset : offset + len(part)] = memoryview(part)
        pointers = {"prp1": HOST_BASE + offsets[0]}
        if len(offsets) == 2:
            pointers["prp2"] = HOST_BASE + offsets[1]
        elif len(offsets) > 2:
            entries = b"".join((HOST_BASE + at).to_bytes(8, "little") for at in offsets[1:])
            page_list = int(self.free.pop())
            self.lane.host[page_list : page_list + len(entries)] = memoryview(entries)
            pointers["prp2"] = HOST_BASE + page_list
        return pointers, offsets


def anywhere(lane, log, seed):
    rng = np.random.default_rng(seed)

    def normal(*shape):
        return rng.standard_normal(shape).astype(np.float16)

    drive, twin = KvDrive(lane.config, backend="rtl", lane=lane), KvDrive(CONFIG, backend="twin")
    driver, memory = drive.backend.driver, Scattered(lane, rng)
    lane.stall(0.2)
    shape = {"layers": 1, "kv_heads": KV_HEADS, "head_dim": HEAD_DIM, "max_tokens": 64}
    assert [device.open(**shape) for device in (drive, twin)] == [0, 0]

    def send(opcode, status=Status.SUCCESS, **fields):
        sqe = pack_sqe(opcode=opcode, cid=0x5A5A, nsid=1, **fields)
        assert driver.wait(driver.submit_raw(sqe))["status"] == status

    k, v = normal(2, TOKENS, KV_HEADS, HEAD_DIM)
    twin.append(0, 0, k, v)
    data = pack_append(k, v)
    pointers, offsets = memory.pages(len(data), data)
    assert len(offsets) == 4
    for wrong in ({"prp1": pointers["prp1"] + 8}, {"prp2": pointers["prp2"] + 8}):
        send(Opcode.APPEND, Status.INVALID_PRP_OFFSET, tokens=TOKENS, **{**pointers, **wrong})
    send(Opcode.APPEND, tokens=TOKENS, **pointers)

    end = len(lane.host)
    for number in range(ROUNDS):
        q = normal(KV_HEADS * QUERIES, HEAD_DIM)
        gap = 8 * int(rng.integers(1, 600))  # q begins somewhere in the first or second page
        job = JOB.pack(queries=QUERIES, q_offset=JOB.size + gap, result_offset=8 * number)
        data = job + rng.bytes(gap) + q.tobytes()
        pointers, _ = memory.pages(len(data), data)
        size = JOB_STATUS.size + q.nbytes
        at = end - 8 * MEMORY_PAGE + MEMORY_PAGE * (number % 7) + 8 * int(rng.integers(400, 512))
        before = lane.host.copy()
        lane.csr_write(
            REGISTERS["WINDOW_BYTES_LO"].address, at + 8 * number + size - 2 * MEMORY_PAGE
        )
        fields = {"jobs": 1, "bytes": len(data), "result": HOST_BASE + at, **SCALE, **pointers}
        send(Opcode.ATTEND, **fields)
        wanted = twin.attend(0, 0, q)
        got = lane.host[at + 8 * number + JOB_STATUS.size :][: q.nbytes].view(np.float16)
        assert np.array_equal(got, wanted.reshape(-1)), f"result at {at + 8 * number:#x}"
        place = slice(at + 8 * number, at + 8 * number + size)
        lane.host[place] = before[place]
        changed = np.flatnonzero(lane.host != before)
        assert (changed < 2 * MEMORY_PAGE).all(), "bytes beside the result were written"
        send(Opcode.ATTEND, Status.OUT_OF_WINDOW, **{**fields, "result": HOST_BASE + at + 8})

    lane.csr_write(REGISTERS["WINDOW_BYTES_LO"].address, end - 2 * MEMORY_PAGE)
    for group, kind in ((0, 0), (5, 1), (6, 0)):
        stored = (k, v)[kind][4 * group : 4 * group + 4, 1]
        pointers, (offset,) = memory.pages(stored.nbytes)
        send(Opcode.READ_KV, head=1, kind=kind, group=group, **pointers)
        got = lane.host[offset : offset + stored.nbytes].view(np.float16)
        assert np.array_equal(got, stored.reshape(-1))


@cocotb.test()
async def data_and_results_anywhere(dut):
    lane = AxiLane(dut, CONFIG, seed=cocotb.RANDOM_SEED)
    await lane.start()
    await with_timeout(bridge(anywhere)(lane, dut._log, cocotb.RANDOM_SEED), 20, "ms")
