"""Blocks that go bad in the simulated drive: nothing is lost, and the drive remembers them."""

import random

import numpy as np
import pytest

from flash_model.bit_errors import BitErrorRate
from flash_model.faults import Faults
from host import KvDrive
from host.errors import DriveError
from host.firmware import Firmware
from host.firmware.failures import AGAIN_LIMIT
from rtl.commands import Status

LAYERS, HEADS, DIM = 2, 2, 64


class Contents:
    """A drive and what was appended to it."""

    def __init__(self, drive, rng):
        self.drive, self.rng, self.kept = drive, rng, {}

    def open(self, max_tokens=512):
        number = self.drive.open(layers=LAYERS, kv_heads=HEADS, head_dim=DIM, max_tokens=max_tokens)
        self.kept[number] = np.zeros((LAYERS, 2, 0, HEADS, DIM), np.float16)
        return number

    def append(self, number, tokens, fill="append", then=lambda layer: None):
        new = self.rng.standard_normal((LAYERS, 2, tokens, HEADS, DIM)).astype(np.float16)
        for layer in range(LAYERS):
            getattr(self.drive, fill)(number, layer, *new[layer])
            then(layer)
        self.kept[number] = np.concatenate([self.kept[number], new], axis=2)

    def close(self, number):
        self.drive.close(number)
        del self.kept[number]

    def check(self):
        self.drive.backend.driver.quiesce()
        for number, wanted in self.kept.items():
            for layer in range(LAYERS):
                if wanted[layer].shape[1] == 0:
                    continue
                got = self.drive.read(number, layer)
                assert all(map(np.array_equal, got, wanted[layer])), (number, layer)


def some_pages(geometry, count, seed, blocks=60):
    rng = random.Random(seed)
    return {
        (
            rng.randrange(geometry.channels),
            rng.randrange(geometry.dies),
            rng.randrange(blocks * geometry.pages),
        )
        for _ in range(count)
    }


def repair_of(drive):
    return drive.backend.firmware.repair


@pytest.mark.parametrize("seed", range(2))
def test_programs_and_erases_that_fail_lose_nothing(tiny, rng, seed):
    """Pages and blocks that fail at their first, second or third use, all over the drive."""
    g = tiny.flash.geometry
    pages = dict.fromkeys(some_pages(g, 8, seed), 0)
    blocks = {(c, d, row // g.pages): n % 3 for n, (c, d, row) in enumerate(some_pages(g, 6, seed))}
    faults = Faults(g, seed=seed, weak_pages=pages, weak_blocks=blocks, bad_blocks=[(0, 1, 2)])
    with KvDrive(tiny, faults=faults) as drive:
        contents = Contents(drive, rng)
        for turn in range(9):  # 62 groups of 64 pages, 8 groups each
            number = contents.open(256)
            while len(contents.kept[number][0][0]) < 250:
                left = 250 - len(contents.kept[number][0][0])
                contents.append(number, min(left, int(rng.integers(1, 60))))
            if turn % 4 == 3:
                contents.check()
            if len(contents.kept) == 4:
                contents.close(min(contents.kept))
        contents.check()
        repair, stats = repair_of(drive), drive.stats()
        assert stats["program_failures"] > 0 and repair.counts["pages_moved"] > 0
        assert repair.counts["pages_lost"] == 0
        bad = repair.blocks.bad
        assert stats["blocks_bad"] == len(bad) and stats["pages_lost"] == 0
        assert stats["pages_moved"] == repair.counts["pages_moved"]
        assert {(c, d, row // g.pages) for c, d, row in pages} & bad and (0, 1, 2) in bad

        # After a loss of power the table on flash says the same.
        lane = drive.backend.lane
        lane.power_cut(seed=1)
        again = Firmware(lane, tiny)
        again.start()
        assert again.repair.blocks.bad == bad


def test_attention_over_pages_that_were_moved(tiny, rng):
    """The twin, which has no flash, gives the same bits."""
    g = tiny.flash.geometry
    faults = Faults(g, weak_pages=dict.fromkeys(some_pages(g, 30, 5, blocks=4), 0))
    q = rng.standard_normal((LAYERS, HEADS, DIM)).astype(np.float16)
    outputs = []
    for backend, options in (("rtl", {"faults": faults}), ("twin", {})):
        contents_rng = np.random.default_rng(1)
        with KvDrive(tiny, backend=backend, **options) as drive:
            contents = Contents(drive, contents_rng)
            number = contents.open()
            mine = []

            def attend(layer, drive=drive, number=number, mine=mine):
                mine.append(drive.attend(number, layer, q[layer]))

            for tokens in (4, 9, 8, 12, 8, 8, 16, 4, 8, 20, 8, 8, 40, 8, 8, 12, 8):
                contents.append(number, tokens, then=attend)  # before its programs have ended
            if backend == "rtl":
                contents.check()
                assert repair_of(drive).counts["pages_moved"] > 0
                assert drive.stats()["codewords_unrecovered"] > 0  # some were read before that
            outputs.append(mine)
    assert all(map(np.array_equal, *outputs))


def test_a_block_that_has_to_be_read_again_too_often_is_moved(tiny, rng):
    """Pages a year old, with about 16 wrong bits in a codeword of t = 9, 4 at the next level."""
    rate = BitErrorRate(erases=1, fresh=1e-6, worn=0, kept=4e-3, disturbed=0)
    with KvDrive(tiny, faults=Faults(tiny.flash.geometry, seed=3, rate=rate)) as drive:
        array = drive.backend.lane.array
        contents = Contents(drive, rng)
        contents.append(contents.open(128), 60, fill="preload")
        array.buffers["erase_counts"][:] = 1
        array.now_s = 365 * 86_400
        contents.check()
        repair, stats = repair_of(drive), drive.stats()
        assert stats["read_retries"] > AGAIN_LIMIT and stats["codewords_unrecovered"] == 0
        assert repair.blocks.bad and repair.counts["pages_lost"] == 0
        contents.check()
        contents.check()
        # Each block that held a page was moved, and its pages are new now.
        assert repair.counts["pages_moved"] == 2 * LAYERS * HEADS * 15
        before = drive.stats()["read_retries"]
        contents.check()
        assert drive.stats()["read_retries"] == before


def test_a_new_drive_looks_for_its_makers_marks(tiny, rng):
    g = tiny.flash.geometry
    marks = {(0, 0, 0), (1, 1, 7), (0, 1, g.blocks - 1), (1, 0, 9)}
    found = []
    for factory_new in (True, False):
        faults = Faults(g, bad_blocks=marks)
        with KvDrive(tiny, faults=faults, factory_new=factory_new) as drive:
            assert repair_of(drive).blocks.bad == marks
            contents = Contents(drive, rng)
            contents.append(contents.open(), 200)
            contents.check()
            cells = drive.backend.lane.array.buffers["cells"]
            rows = [unit * g.rows + (g.blocks - 1) * g.pages for unit in range(g.channels * g.dies)]
            found.append(cells[rows])
            assert drive.stats()["program_failures"] == 0
    assert np.array_equal(*found)  # the table that was delivered is the one that it writes itself


def test_no_block_left_for_a_page_is_said(tiny, rng):
    """No erase succeeds, so that neither a spare block nor the refuge can be used."""
    g = tiny.flash.geometry
    everywhere = {(c, d, b): 0 for c in range(2) for d in range(2) for b in range(g.blocks)}
    faults = Faults(g, weak_blocks=everywhere, weak_pages={(0, 0, 3): 0})
    with KvDrive(tiny, faults=faults) as drive:
        contents = Contents(drive, rng)
        number = contents.open()
        new = rng.standard_normal((2, 100, HEADS, DIM)).astype(np.float16)
        drive.append(number, 0, *new)
        drive.backend.driver.quiesce()
        with pytest.raises(DriveError) as info:
            drive.append(number, 1, *new)
        assert info.value.status == Status.READ_ONLY and drive.tokens(number, 1) == 0
        with pytest.raises(DriveError) as info:
            drive.read(number, 0)
        assert info.value.status == Status.UNRECOVERED_READ
        assert drive.stats()["pages_lost"] == 1
        drive.close(number)


def test_pages_that_forks_share_are_moved_for_all_of_them(tiny, rng):
    """Blocks whose pages three sequences hold, one of them closed, are read again too often."""
    rate = BitErrorRate(erases=1, fresh=1e-6, worn=0, kept=4e-3, disturbed=0)
    with KvDrive(tiny, faults=Faults(tiny.flash.geometry, seed=3, rate=rate)) as drive:
        array = drive.backend.lane.array
        contents = Contents(drive, rng)
        first = contents.open(128)
        contents.append(first, 60, fill="preload")
        for _ in range(2):
            fork = drive.fork(first)
            contents.kept[fork] = contents.kept[first]
        contents.append(fork, 9)
        contents.close(first)
        array.buffers["erase_counts"][:] = 1
        array.now_s = 365 * 86_400
        contents.check()
        repair, saved = repair_of(drive), drive.backend.firmware.shared.saved.sum()
        assert repair.counts["pages_moved"] > 0 and repair.counts["pages_lost"] == 0
        contents.check()
        contents.check()
        assert saved == drive.backend.firmware.shared.saved.sum() == LAYERS * HEADS * 15 * 2
        for number in list(contents.kept):
            contents.close(number)
        assert not drive.backend.firmware.shared.saved.any()
