"""cocotb side of test_axi_drive.py: SLVERR amid appends, then a loss of power before a truncation.

What a drive holds when it comes back is a beginning of what the host meant, bit for bit, and at
least what was flushed. Each sequence has its error, all of them one loss of power.
"""

import cocotb
import numpy as np
import pytest
from cocotb.task import bridge
from cocotb.triggers import with_timeout

from cosim.axi_lane import AxiLane
from cosim.environment import HOST_BASE
from host import DriveError, KvDrive
from host.packing import pack_append
from rtl.commands import Opcode, Status
from rtl.registers import REGISTERS
from rtl.tables import SEQUENCE
from tests.cosim.cocotb_drive import CONFIG, HEAD_DIM

GROUP = CONFIG.group_tokens(HEAD_DIM)
SPOILED = Status.SPOILED_APPEND


class Appended:
    """A sequence of one layer, and what it may hold: ``meant``, K and V, of them ``flushed`` tokens
    at least."""

    def __init__(self, drive, heads, rng, index="none"):
        self.drive, self.heads, self.rng, self.index = drive, heads, rng, index
        self.lane, self.driver = drive.backend.lane, drive.backend.driver
        self.number = drive.open(**self.shape, index=index)
        self.meant, self.flushed = self.normal(0), 0

    @property
    def shape(self):
        return {"layers": 1, "kv_heads": self.heads, "head_dim": HEAD_DIM, "max_tokens": 64}

    def normal(self, tokens):
        shape = 2, tokens, self.heads, HEAD_DIM
        return self.rng.standard_normal(shape).astype(np.float16)

    def tail(self, head, kind):
        """Device DRAM addresses of a tail."""
        at = self.lane.csr_read(REGISTERS["SEQUENCE_TABLE"].address) + SEQUENCE.size * self.number
        tails = SEQUENCE.unpack(self.lane.dram[at : at + SEQUENCE.size])["tail"]
        size = CONFIG.flash.geometry.page_bytes
        return range(tails + (2 * head + kind) * size, tails + (2 * head + kind + 1) * size)

    def append(self, tokens, status=Status.SUCCESS, *, word=None, unwritten=None):
        """Appends new tokens and expects a status, with a ``word`` of the data that cannot be read,
        or addresses of device DRAM that cannot be written."""
        new = self.normal(tokens)
        fields = {"sequence": self.number, "layer": 0, "tokens": tokens}
        command = self.driver.submit(Opcode.APPEND, data=pack_append(*new), **fields)
        memories = self.lane.memories
        if word is not None:
            at = HOST_BASE + command.data[0] + 8 * word
            memories["host"].bad_reads.append(range(at, at + 8))
        if unwritten is not None:
            memories["dram"].bad_writes.append(unwritten)
        assert self.driver.wait(command)["status"] == status
        memories["host"].bad_reads.clear()
        memories["dram"].bad_writes.clear()
        if status != SPOILED:
            self.meant = np.concatenate([self.meant, new], axis=1)
            self.drive._sequences.grew(self.number, 0, tokens)  # it was given past the drive

    def refused(self, call):
        with pytest.raises(DriveError) as caught:
            call()
        assert caught.value.status == SPOILED

    def flush(self):
        self.drive.flush(self.number)
        self.flushed = self.meant.shape[1]

    def truncate(self, tokens):
        self.drive.truncate(self.number, tokens)
        self.meant = self.meant[:, :tokens]

    def attend(self):
        q = self.rng.standard_normal((2 * self.heads, HEAD_DIM)).astype(np.float16)
        return q, self.drive.attend(self.number, 0, q)

    def check(self):
        """What is there, and how much it is."""
        held = self.drive.tokens(self.number)
        assert self.flushed <= held <= self.meant.shape[1]
        meant = self.meant[:, :held]
        assert np.array_equal(self.drive.read(self.number, 0), meant), self.number
        with KvDrive(CONFIG, backend="twin") as twin:
            number = twin.open(**self.shape, index=self.index)
            twin.append(number, 0, *meant)
            q, got = self.attend()
            wanted = twin.attend(number, 0, q)
        assert np.array_equal(got.view(np.uint16), wanted.view(np.uint16)), self.number
        return held


def losing(lane, log, seed):
    """Returns once all is judged."""
    rng = np.random.default_rng(seed)
    drive = KvDrive(lane.config, backend="rtl", lane=lane)

    data = Appended(drive, 2, rng, "channel")  # with a word of the second head's K
    data.append(4 * GROUP + 2)
    data.flush()
    data.append(9, Status.TRANSFER_ERROR, word=9 * HEAD_DIM // 2 + 99)
    data.append(3, SPOILED)
    data.refused(data.attend)
    data.refused(data.flush)

    prompt = Appended(drive, 1, rng, "channel")  # with a word of its sixth group's V; forked
    prompt.append(40, Status.TRANSFER_ERROR, word=(40 + 21) * HEAD_DIM // 4)
    old, prompt.number = prompt.number, drive.fork(prompt.number)
    drive.close(old)
    prompt.refused(prompt.attend)

    wrong = Appended(drive, 1, rng)  # what the tail has not taken comes into its page
    wrong.append(GROUP + 2)
    wrong.append(3 * GROUP, Status.INTERNAL_ERROR, unwritten=wrong.tail(0, 0))

    other = Appended(drive, 1, rng)  # whole pages, that no entry counts, and others in their place
    other.append(GROUP + 2)
    other.append(3 * GROUP - 2, Status.INTERNAL_ERROR, unwritten=other.tail(0, 1))
    other.append(GROUP, SPOILED)
    other.refused(other.flush)
    other.attend()
    other.truncate(GROUP + 2)
    other.append(3 * GROUP - 2)

    with pytest.raises(DriveError) as caught:
        drive.flush()
    assert caught.value.status == SPOILED
    wrong.flushed, other.flushed = GROUP + 2, 4 * GROUP
    log.info(f"errors: {lane.cycle} clocks")

    def power_cut(seed):
        lane.reset()
        lane.dram[:] = rng.integers(256, size=len(lane.dram), dtype=np.uint8)

    lane.power_cut = power_cut
    drive.power_cycle()
    held = {each.number: each.check() for each in (data, prompt, wrong, other)}
    log.info(f"{held} tokens are there, {lane.cycle} clocks")
    assert list(held.values()) == [4 * GROUP + 2, 5 * GROUP, GROUP + 2, 4 * GROUP]


@cocotb.test()
async def what_comes_back_was_meant(dut):
    lane = AxiLane(dut, CONFIG, seed=cocotb.RANDOM_SEED)
    await lane.start()
    await with_timeout(bridge(losing)(lane, dut._log, cocotb.RANDOM_SEED), 20, "ms")
