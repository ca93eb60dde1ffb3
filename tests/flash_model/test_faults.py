"""Faults at the array and through a die's status byte: when they come, that they come again."""

import dataclasses

import numpy as np
import pytest

from flash_model.array import NandArray
from flash_model.array_port import ArrayOp
from flash_model.bit_errors import BitErrorRate
from flash_model.faults import Faults
from flash_model.geometry import Geometry
from tests.flash_model.die_bench import content, five, run

G = Geometry(channels=2, dies=2, planes=1, blocks=8, pages=4, page_bytes=512, spare_bytes=32)
ERASED = b"\xff" * G.page_total
DAY = 86_400


def wrong_bits(array, channel, die, row, expected=ERASED):
    """Places of the wrong bits of a read."""
    array.read(channel, die, row)
    got = array.register(channel, die) ^ np.frombuffer(expected, np.uint8)
    return set(np.flatnonzero(np.unpackbits(got)).tolist())


def program(array, row, data, channel=0, die=0):
    array.register(channel, die)[:] = np.frombuffer(data, np.uint8)
    return array.serve(ArrayOp.PROGRAM, channel, die, row)


def erase(array, row, channel=0, die=0):
    return array.serve(ArrayOp.ERASE, channel, die, row)


def test_factory_bad_blocks_are_marked_and_fail():
    array = NandArray(G, faults=Faults(G, bad_blocks=[(1, 0, 3)]))
    marked = bytearray(ERASED)
    marked[512] = 0
    for _ in range(2):
        assert array.page(1, 0, 12).tobytes() == bytes(marked)
        assert erase(array, 13, channel=1)
    assert program(array, 14, bytes(544), channel=1)
    for channel, die, row in ((0, 0, 12), (1, 1, 12), (1, 0, 8), (1, 0, 16)):
        assert array.page(channel, die, row).tobytes() == ERASED
        assert not erase(array, row, channel, die)
        assert not program(array, row, bytes(544), channel, die)
    assert array.buffers["erase_counts"].sum() == 4


def test_a_mark_without_spare_bytes_is_in_the_last_byte():
    g = dataclasses.replace(G, spare_bytes=0)
    array = NandArray(g, faults=Faults(g, bad_blocks=[(0, 0, 0)]))
    assert array.page(0, 0, 0).tobytes() == b"\xff" * 511 + b"\0"


def test_weak_blocks_fail_after_their_erases_and_keep_their_contents():
    array = NandArray(G, faults=Faults(G, weak_blocks={(0, 1, 2): 3, (0, 0, 0): 0}))
    page = content(1)
    outcomes = []
    for _ in range(5):
        program(array, 9, page, die=1)
        outcomes.append(erase(array, 8, die=1))
    assert outcomes == [False, False, False, True, True]
    assert array.page(0, 1, 9).tobytes() == page
    assert not program(array, 10, page, die=1)
    assert erase(array, 0)


def test_weak_pages_fail_after_their_programs_and_leave_bits():
    array = NandArray(G, faults=Faults(G, weak_pages={(0, 0, 5): 1, (0, 0, 6): 0}))
    assert not program(array, 5, b"\x0f" * 544)
    assert program(array, 5, bytes(544))
    assert program(array, 6, b"\x0f" * 544)
    page = array.page(0, 0, 6)
    assert (page & 0x0F == 0x0F).all()  # a program clears nothing that it should not
    cleared = 8 * 544 - int(np.unpackbits(page).sum())
    assert abs(cleared - 4 * 544 / 2) < 6 * (4 * 544 / 4) ** 0.5
    assert not program(array, 7, bytes(544))


def test_grave_pages_become_noise():
    array = NandArray(G, faults=Faults(G, grave_pages={(0, 0, 1): 2}))
    array.write_page(0, 0, 1, content(2))
    wrong = [len(wrong_bits(array, 0, 0, 1, content(2))) for _ in range(4)]
    assert wrong[:2] == [0, 0]
    bits = 8 * 544
    assert all(abs(count - bits / 2) < 6 * (bits / 4) ** 0.5 for count in wrong[2:])
    assert array.page(0, 0, 1).tobytes() == content(2)  # the cells keep what they hold
    erase(array, 0)
    assert not wrong_bits(array, 0, 0, 1)


@pytest.mark.parametrize("count", [0, 1, 40, 1000, 8 * 544])
def test_bit_flips_are_so_many_and_stay(count):
    array = NandArray(G, faults=Faults(G, seed=3, bit_flips={(0, 0, 2): count}))
    array.write_page(0, 0, 2, content(3))
    first = wrong_bits(array, 0, 0, 2, content(3))
    assert len(first) == count
    assert wrong_bits(array, 0, 0, 2, content(3)) == first
    assert not wrong_bits(array, 0, 0, 3)
    erase(array, 2)
    later = wrong_bits(array, 0, 0, 2)
    assert len(later) == count
    assert (later != first) == (0 < count < 8 * 544)


def worn(rate, erases=1000, seed=1):
    """An array with 1 MiB of pages in worn blocks."""
    g = dataclasses.replace(G, channels=1, dies=1, blocks=512)
    faults = Faults(g, seed=seed, rate=BitErrorRate(erases=1000, fresh=0, **rate))
    array = NandArray(g, faults=faults)
    array.buffers["erase_counts"][:] = erases
    array.buffers["programmed"][:] = 1
    return array, faults


def test_errors_have_the_rate_s_mean_and_variance():
    array, _ = worn({"worn": 2e-3, "kept": 0, "disturbed": 0})
    counts = [len(wrong_bits(array, 0, 0, row)) for row in range(array.geometry.rows)]
    mean = 8 * 544 * 2e-3  # 8.7 of a page, 17825 of all
    assert abs(sum(counts) - mean * len(counts)) < 4 * (mean * len(counts)) ** 0.5
    assert 0.9 < np.var(counts) / mean < 1.1  # Poisson


def test_wrong_bits_stay_wrong_with_time_and_come_right_with_a_retry():
    array, faults = worn({"worn": 1e-3, "kept": 4e-3, "disturbed": 0})
    sets = []
    for days in (0, 1, 30, 365):
        array.now_s = days * DAY
        sets.append([wrong_bits(array, 0, 0, row) for row in range(50)])
    for earlier, later in zip(sets, sets[1:]):
        assert all(a <= b for a, b in zip(earlier, later))
        assert sum(map(len, later)) > 1.2 * sum(map(len, earlier))
    array.serve(ArrayOp.READ_RETRY, 0, 0, 7)
    retried = [wrong_bits(array, 0, 0, row) for row in range(50)]
    assert all(a <= b for a, b in zip(retried, sets[-1]))
    assert sum(map(len, retried)) < 1.1 * sum(map(len, sets[0]))


def test_what_is_programmed_anew_has_not_aged():
    array, faults = worn({"worn": 0, "kept": 4e-3, "disturbed": 0})
    array.now_s = 365 * DAY
    assert wrong_bits(array, 0, 0, 8)
    erase(array, 8)
    array.buffers["erase_counts"][2] = 1000
    program(array, 8, content(4))
    assert not wrong_bits(array, 0, 0, 8, content(4))
    array.now_s += 365 * DAY
    assert wrong_bits(array, 0, 0, 8, content(4))


def test_erased_pages_have_no_errors_of_the_rate():
    array, _ = worn({"worn": 2e-3})
    array.buffers["programmed"][:] = 0
    assert not any(wrong_bits(array, 0, 0, row) for row in range(100))


@pytest.mark.parametrize("seed", [0, 7])
def test_the_same_seed_gives_the_same_faults(seed):
    def history(seed):
        rate = BitErrorRate(erases=10, fresh=1e-3)
        faults = Faults.drawn(
            G, seed=seed, bad_blocks=0.1, weak_blocks=0.3, weak_pages=0.3, rate=rate
        )
        array = NandArray(G, faults=faults)
        rng = np.random.default_rng(5)
        told = []
        for _ in range(300):
            channel, die, row = rng.integers(2), rng.integers(2), rng.integers(G.rows)
            match rng.integers(3):
                case 0:
                    told.append(erase(array, row, channel, die))
                case 1:
                    told.append(program(array, row, rng.bytes(544), channel, die))
                case 2:
                    array.read(channel, die, row)
                    told.append(array.register(channel, die).tobytes())
        return told

    assert history(seed) == history(seed)
    assert history(seed) != history(seed + 1)


def test_shares_of_drawn_faults():
    g = dataclasses.replace(G, blocks=4000)
    faults = Faults.drawn(
        g, seed=1, bad_blocks=0.02, weak_blocks=0.1, weak_erases=(5, 9), weak_pages=0.01
    )
    blocks, pages = 4 * 4000, 4 * 16000
    for found, share, total in (
        (len(faults.bad_blocks), 0.02, blocks - 4),
        (len(faults.weak_blocks), 0.1, blocks),
        (len(faults.weak_pages), 0.01, pages),
    ):
        assert abs(found - share * total) < 4 * (share * total) ** 0.5
    assert set(faults.weak_blocks.values()) == {5, 6, 7, 8, 9}
    assert not any(block % 4000 == 0 for block in faults.bad_blocks)
    assert {block // 4000 for block in faults.bad_blocks} == {0, 1, 2, 3}


def test_status_bytes_tell_of_faults():
    """Through the die: a weak block's erase, a bad block's program, a page read with a retry."""

    def array(geometry, **options):
        faults = Faults(
            geometry,
            bad_blocks=[(0, 1, 2)],
            weak_blocks={(0, 0, 1): 1},
            rate=BitErrorRate(erases=1, fresh=0, worn=0, kept=0.01, disturbed=0),
        )
        return NandArray(geometry, faults=faults, **options)

    async def test(ctx, bus, array):
        async def outcome(die):
            await bus.until_ready(die)
            return await bus.status(die)

        for expected in (0xE0, 0xE1):
            await bus.send(0, 0x60, [16, 0, 0], 0xD0)
            assert await outcome(0) == expected
        await bus.send(1, 0x80, five(33), 0x10)
        assert await outcome(1) == 0xE1
        await bus.send(1, 0x80, five(49), 0x10)
        assert await outcome(1) == 0xE0

        array.write_page(0, 0, 20, content(1))  # of the block that was erased once
        array.now_s = 365 * DAY
        wrong = []
        for level in (0, 7):
            await bus.send(0, 0xEF, [0x89])
            await bus.symbol(0, 3, level)
            await bus.until_ready(0)
            await bus.send(0, 0x00, five(20), 0x30)
            await bus.until_ready(0)
            page = b"".join([await bus.read(0) for _ in range(68)])
            different = bytes(a ^ b for a, b in zip(page, content(1)))
            wrong.append(int.from_bytes(different, "big").bit_count())
        assert 20 < wrong[0] < 70 and wrong[1] == 0

    run(test, array=array)


@pytest.mark.parametrize(
    "options,message",
    [
        ({"bad_blocks": [(0, 0, 8)]}, r"bad block \(0, 0, 8\).*number 0..7"),
        ({"bad_blocks": [(2, 0, 0)]}, r"channel 0..1"),
        ({"weak_blocks": {(0, 0, 0): -1}}, r"weak block \(0, 0, 0\): -1.*0 or more"),
        ({"grave_pages": {(0, 0, 32): 1}}, r"grave page.*number 0..31"),
        ({"bit_flips": {(0, 0, 0): 4353}}, r"bit flips.*0..4352"),
        ({"seed": -1}, "seed = -1"),
    ],
)
def test_impossible_faults_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Faults(G, **options)


def test_impossible_shares_and_geometries_are_refused():
    with pytest.raises(ValueError, match="weak_pages = 1.5.*0..1"):
        Faults.drawn(G, seed=1, weak_pages=1.5)
    with pytest.raises(ValueError, match="another geometry"):
        NandArray(dataclasses.replace(G, blocks=9), faults=Faults(G))
