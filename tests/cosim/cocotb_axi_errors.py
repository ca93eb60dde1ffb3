"""cocotb side of test_axi_drive.py: SLVERR and DECERR at every user of the drive's buses.

Each error reaches a status of a command, or STATUS; then the same attend gives the same bits.
"""

import os
from contextlib import contextmanager

import cocotb
import numpy as np
import pytest
from cocotb.task import bridge
from cocotb.triggers import with_timeout

from cosim.axi_lane import AxiLane
from cosim.environment import HOST_BASE
from host import DriveError, KvDrive, Sparf
from host.driver import ENTRIES
from host.packing import pack_append
from rtl.commands import CQE, MEMORY_PAGE, SQE, Opcode, Status
from rtl.registers import REGISTERS
from rtl.tables import HEAD, MAP_ENTRY, SEQUENCE, program_slots, slot_bytes
from tests.cosim.cocotb_drive import CONFIG, HEAD_DIM, KV_HEADS

ROUNDS = int(os.environ["AXI_ROUNDS"])
"""In the second one SLVERR and DECERR are swapped."""

TOKENS = 21
"""Five groups and a token in the tail."""


class Faulty:
    """A drive with a sequence, and what it answers when nothing is wrong."""

    def __init__(self, lane, seed):
        self.lane, self.rng = lane, np.random.default_rng(seed)
        self.decode_error = False
        self.drive = KvDrive(lane.config, backend="rtl", lane=lane)
        shape = {"layers": 1, "kv_heads": KV_HEADS, "head_dim": HEAD_DIM, "max_tokens": 64}
        self.number = self.drive.open(**shape, index="channel")
        self.q = self.normal(2 * KV_HEADS, HEAD_DIM)
        k, v = self.normal(2, TOKENS, KV_HEADS, HEAD_DIM)
        self.drive.append(self.number, 0, k, v)
        self.ways = {"dense": "dense", "sparse": Sparf(channels=9, kept=4, sinks=1, window=2)}
        self.wanted = {way: self.attend(way) for way in self.ways}
        self.driver = self.drive.backend.driver
        self.driver._limit = 15_000
        table = self.register("SEQUENCE_TABLE") + SEQUENCE.size * self.number
        self.tables = SEQUENCE.unpack(lane.dram[table : table + SEQUENCE.size])
        self.tables["entry"] = table
        geometry = lane.config.flash.geometry
        size = program_slots(geometry) * slot_bytes(geometry)
        self.slots = self.register("PROGRAM_BUFFER"), size

    def normal(self, *shape):
        return self.rng.standard_normal(shape).astype(np.float16)

    def register(self, name):
        return self.lane.csr_read(REGISTERS[name].address)

    def attend(self, way="dense"):
        return self.drive.attend(self.number, 0, self.q, attention=self.ways[way])

    def append(self, tokens=1):
        k, v = self.normal(2, tokens, KV_HEADS, HEAD_DIM)
        data = pack_append(k, v)
        fields = {"sequence": self.number, "layer": 0, "tokens": tokens}
        return self.driver.submit(Opcode.APPEND, data=data, **fields)

    def check(self):
        """Nothing was lost."""
        for way, wanted in self.wanted.items():
            assert np.array_equal(self.attend(way).view(np.uint16), wanted.view(np.uint16)), way

    def cut(self):
        """What an append that failed has left is taken away."""
        with pytest.raises(DriveError) as caught:
            self.attend()
        assert caught.value.status == Status.SPOILED_APPEND
        self.drive.truncate(self.number, TOKENS)

    @contextmanager
    def bad(self, bus, at, size, *, writes=False):
        """An address range answers with errors meanwhile, if it is read or if it is written: with
        SLVERR, the next one with DECERR."""
        memory = self.lane.memories[bus]
        memory.decode_error = self.decode_error
        self.decode_error = not self.decode_error
        ranges = memory.bad_writes if writes else memory.bad_reads
        ranges.append(range(at, at + size))
        yield
        ranges.clear()

    def refused(self, status, way="dense"):
        with pytest.raises(DriveError) as caught:
            self.attend(way)
        assert caught.value.status == status


def of_the_host(f):
    """Data, page lists, results."""
    command = f.append(5)
    with f.bad("host", HOST_BASE + command.data[0] + 8 * 200, 8):  # of the second head
        assert f.driver.wait(command)["status"] == Status.TRANSFER_ERROR
    f.cut()
    command = f.append(4 * MEMORY_PAGE // (4 * KV_HEADS * HEAD_DIM))
    with f.bad("host", HOST_BASE + command.regions[1] + 16, 8):  # of the page list
        assert f.driver.wait(command)["status"] == Status.TRANSFER_ERROR
    f.check()
    with f.bad("host", HOST_BASE + 2 * MEMORY_PAGE, len(f.lane.host), writes=True):
        f.refused(Status.TRANSFER_ERROR)  # completions arrive, results do not
        command = f.driver.submit(Opcode.CAPABILITIES, receive=MEMORY_PAGE)
        assert f.driver.wait(command)["status"] == Status.TRANSFER_ERROR


def of_the_queues(f):
    """Entries and completions."""
    for at, size, writes in (
        (HOST_BASE, ENTRIES * SQE.size, False),
        (HOST_BASE + MEMORY_PAGE, ENTRIES * CQE.size, True),
    ):
        with f.bad("host", at, size, writes=writes):
            with pytest.raises(DriveError, match="stopped its queues") as caught:
                f.attend()
            assert caught.value.status == Status.TRANSFER_ERROR
            assert f.register("STATUS") & 8
        f.driver.start()
        assert not f.register("STATUS") & 8
        f.check()


def of_tables(f):
    """Those of the sequence, its heads, pages and passes, and tails."""
    t, last = f.tables, KV_HEADS - 1
    groups = t["groups"] * last
    in_map = t["map"] + MAP_ENTRY.size * (groups + 2)
    page = f.lane.config.flash.geometry.page_bytes
    tail = t["tail"] + 2 * page * last + page
    for at, size, status, way in (
        (t["entry"] + 8, 8, Status.INTERNAL_ERROR, "dense"),
        (t["heads"] + HEAD.size * last, HEAD.size, Status.INTERNAL_ERROR, "dense"),
        (in_map, MAP_ENTRY.size, Status.UNRECOVERED_READ, "dense"),
        (in_map, MAP_ENTRY.size, Status.UNRECOVERED_READ, "sparse"),
        (tail, page, Status.UNRECOVERED_READ, "dense"),
    ):
        with f.bad("dram", at, size):
            f.refused(status, way)
        f.check()
    with f.bad("dram", tail, page):
        with pytest.raises(DriveError) as caught:
            f.drive.read(f.number, 0, TOKENS - 1, TOKENS)
        assert caught.value.status == Status.UNRECOVERED_READ


def of_appends(f):
    """Tails and program slots that are written."""
    page = f.lane.config.flash.geometry.page_bytes
    tail = f.tables["tail"] + 2 * page * (KV_HEADS - 1) + page
    with f.bad("dram", tail, page, writes=True):
        assert f.driver.wait(f.append(2))["status"] == Status.INTERNAL_ERROR
    f.cut()
    f.check()
    with f.bad("dram", *f.slots, writes=True):
        assert f.driver.wait(f.append(8))["status"] == Status.INTERNAL_ERROR


def of_programs(f):
    """Program slots that are read: the page is programmed once more, by the firmware."""
    before = f.drive.stats()["program_failures"]
    with f.bad("dram", *f.slots):
        assert f.driver.wait(f.append(8))["status"] == Status.SUCCESS
        f.drive.backend.driver.elapse(15_000)
    assert f.drive.stats()["program_failures"] > before
    f.attend()  # all of them are there
    f.drive.truncate(f.number, TOKENS)


def everywhere(lane, log, seed):
    f = Faulty(lane, seed)
    for swapped in range(ROUNDS):
        for part in (of_the_host, of_the_queues, of_tables, of_appends, of_programs):
            begin = lane.cycle
            f.decode_error = bool(swapped)
            part(f)
            f.check()
            log.info(f"{part.__name__}: {lane.cycle - begin} clocks")


@cocotb.test()
async def errors_reach_a_status(dut):
    lane = AxiLane(dut, CONFIG, seed=cocotb.RANDOM_SEED)
    await lane.start()
    await with_timeout(bridge(everywhere)(lane, dut._log, cocotb.RANDOM_SEED), 20, "ms")
