"""The drive with its pages in a memory: all that it can do on flash, with the same host software.

Calls in any order and losses of power as in `test_calls` and `test_power_loss`, judged by the twin;
the memory keeps what it held, as if other hands had saved and restored it. Its errors reach the
host.
"""

import dataclasses

import numpy as np
import pytest

from flash_model.faults import Faults
from host import DriveConfig, DriveError, KvDrive
from host.errors import DriveValueError
from rtl.commands import Status
from tests.host import test_calls
from tests.host.firmware.test_power_loss import Contents, CutsByChannel
from tests.host.test_calls import CONFIG, GatewareCalls

MEMORY = dataclasses.replace(CONFIG, page_store="memory", page_base=0x40_0000_1000)
GEOMETRY = MEMORY.flash.geometry
STRIDE = GEOMETRY.page_total
LAYERS, HEADS, DIM, QUERIES = 2, 2, 64, 2


@pytest.fixture
def drive():
    with KvDrive(MEMORY) as drive:
        yield drive


class MemoryCalls(GatewareCalls):
    """Histories of calls on a page memory; it has no faults."""

    config = MEMORY
    indexes = ("none", "channel", "channel")

    def make(self, seed):
        return KvDrive(self.config)


@pytest.mark.soak
def test_calls_in_any_order():
    test_calls.run(MemoryCalls, 12)
    seen = test_calls.seen
    assert seen["calls"] > 2000 and seen["blocks_erased"] > 1000
    assert seen["pages of channel"] and seen["power cycles"]
    assert not seen["program_failures"] and not seen["pages_moved"]


@pytest.mark.parametrize("count", [2, pytest.param(30, marks=pytest.mark.soak)])
def test_random_calls_cut_off(count, drive):
    cuts, erased = CutsByChannel(drive, 0), 0
    for number in range(count):
        cuts.lose_power(int(cuts.rng.integers(100_000, 300_000)), number)
        erased += drive.stats()["blocks_erased"]
    assert cuts.pages and erased > count and not drive.backend.firmware.tokens_lost


def test_it_does_what_a_drive_with_dies_does(drive):
    """The same calls give the same bits and the same traffic, but in another time."""
    seen = []
    with KvDrive(CONFIG) as nand:
        for each in (drive, nand):
            rng = np.random.default_rng(4)
            number = each.open(layers=1, kv_heads=HEADS, head_dim=DIM, max_tokens=700)
            each.append(number, 0, *rng.standard_normal((2, 500, HEADS, DIM)).astype(np.float16))
            each.flush(number)
            before = each.stats()
            start = each.backend.lane.cycle
            q, k, v = (rng.standard_normal((n * HEADS, DIM)).astype(np.float16) for n in (4, 1, 1))
            out = each.step(number, 0, q, k, v)
            print(
                f"{each.config.page_store}: {each.backend.lane.cycle - start} clocks for the step"
            )
            stats = each.stats()
            seen.append([out.view(np.uint16).tolist(), *each.read(number, 0, 490, 501)])
            seen[-1] += [stats[name] for name in ("pages_read", "pages_programmed", "bytes_flash")]
            moved = {name: stats[name] - before[name] for name in ("time_data", "pages_read")}
            if each is drive:
                words = moved["pages_read"] // GEOMETRY.channels * GEOMETRY.page_words
                assert words <= moved["time_data"] <= 1.01 * words  # one a clock on each channel
    assert all(map(np.array_equal, *seen))


def test_a_memory_of_ones_is_a_new_drive():
    """Nothing was delivered with it; the firmware looks for bad blocks and finds none."""
    with KvDrive(MEMORY, factory_new=True) as drive:
        contents = Contents(drive, 5)
        number = contents.open()
        contents.append(number, 20, 21)
        contents.flush(number)
        assert contents.power_cycle() == {number: [0, 0]}
        assert not drive.stats()["blocks_bad"]


@pytest.mark.soak
def test_eight_channels_of_a_board():
    """Pages of 4 KiB in some 3.3 GiB: a word a clock on each channel, the twin's bits."""
    config = DriveConfig(
        append_streams=64,
        page_store="memory",
        page_base=1 << 29,
        dies=1,
        page_blocks=200,
        correctable_bits=2,
        bit_error_rate=1e-9,
    )
    rng = np.random.default_rng(0)
    k, v = rng.standard_normal((2, 6000, 4, 128)).astype(np.float16)
    q = rng.standard_normal((16, 128)).astype(np.float16)
    outs = []
    for backend in ("rtl", "twin"):
        with KvDrive(config, backend=backend) as drive:
            number = drive.open(layers=1, kv_heads=4, head_dim=128)
            drive.append(number, 0, k[:600], v[:600])
            drive.preload(number, 0, k[600:], v[600:])
            before = drive.stats()
            outs.append(drive.attend(number, 0, q))
            after = drive.stats()
        if backend == "rtl":
            clocks, data, pages = (
                after[name] - before[name] for name in ("cycles", "time_data", "pages_read")
            )
            words = pages // 8 * 4 * config.code.words
            print(f"{clocks} clocks, {data} of them with data, {words} words a channel")
            assert pages == 3000 and words <= data <= 1.01 * words
    assert np.array_equal(*outs)


def written(drive, channel):
    """Places ``(die, row)`` of a channel's pages that are not erased, in the order of addresses."""
    g = GEOMETRY
    cells = drive.backend.lane.array.buffers["cells"].reshape(g.channels, -1, STRIDE)
    pages = np.flatnonzero(cells[channel].any(axis=1))
    return [divmod(int(page), g.rows) for page in pages]


def offset(channel, die, row):
    """Of a page in the memory: the layout that docs/page_memory.md gives."""
    return ((channel * GEOMETRY.dies + die) * GEOMETRY.rows + row) * STRIDE


def test_pages_lie_where_it_is_said(drive):
    """What the memory holds is what a NAND array would, page by page; so does its back door."""
    contents = Contents(drive, 1)
    number = contents.open()
    contents.append(number, 33, 0)
    contents.append(number, 0, 40, how="preload")
    contents.check()
    array, cells = drive.backend.lane.array, drive.backend.lane.array.buffers["cells"].ravel()
    for channel in range(GEOMETRY.channels):
        for die, row in written(drive, channel):
            at = offset(channel, die, row)
            assert np.array_equal(array.page(channel, die, row), ~cells[at : at + STRIDE])


def test_a_read_error_ends_the_job_that_wanted_the_page(drive):
    contents = Contents(drive, 2)
    number, other = contents.open(), contents.open()
    before = [set(written(drive, channel)) for channel in range(GEOMETRY.channels)]
    contents.append(number, 40, 0)
    contents.flush(other)  # which waits for all programs
    die, row = sorted(set(written(drive, 1)) - before[1])[3]
    contents.append(other, 3, 3)
    start = offset(1, die, row) + 64
    drive.backend.lane.spoil_pages(start, start + 8)
    q = contents.rng.standard_normal((HEADS * QUERIES, DIM)).astype(np.float16)
    for call in (lambda: drive.attend(number, 0, q), lambda: drive.read(number, 0, 0, 40)):
        with pytest.raises(DriveError) as caught:
            call()
        assert caught.value.status == Status.UNRECOVERED_READ
    assert drive.attend(other, 0, q) is not None
    assert drive.stats()["codewords_unrecovered"] == 2
    drive.backend.lane.spoil_pages()
    contents.check()


def test_a_program_that_fails_is_moved(drive):
    contents = Contents(drive, 3)
    number = contents.open()
    contents.append(number, 40, 40)
    contents.flush(number)
    die, row = written(drive, 0)[-1]  # the block that is being filled: its next page is erased
    assert (row + 1) % GEOMETRY.pages
    start = offset(0, die, row + 1)
    drive.backend.lane.spoil_pages(start, start + STRIDE)
    contents.append(number, 100, 100)
    contents.flush(number)
    stats = drive.stats()
    assert stats["program_failures"] and stats["pages_moved"] and not stats["pages_lost"]
    contents.check()
    contents.power_cycle()


def test_what_there_is_not_is_refused():
    with pytest.raises(DriveValueError, match="page_store"):
        KvDrive(MEMORY, faults=Faults(GEOMETRY))
    with pytest.raises(ValueError, match="watch"):
        KvDrive(MEMORY, watch=lambda events: None)
