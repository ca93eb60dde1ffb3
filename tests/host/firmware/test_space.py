"""Arithmetic of space: pages of the firmware's own, victims, wear, device DRAM."""

from dataclasses import replace

import pytest

from flash_model.profiles import profile
from host import DriveConfig, DriveError
from host.firmware.blocks import Blocks
from host.firmware.groups import BlockGroups
from host.firmware.own_pages import OwnPages
from host.firmware.stripes import Lives, choose, width
from host.firmware.victims import REST, WEAR_LIMIT, least_cost, resting
from host.sequence_shape import SequenceShape, device_dram


@pytest.fixture
def geometry():
    return DriveConfig.preset("tiny").flash.geometry  # 2 channels, 2 dies, 16 pages of a block


def test_own_pages_fill_a_group_before_the_next(geometry, rng):
    blocks = Blocks(geometry)
    groups = BlockGroups(geometry, blocks)
    own = OwnPages(geometry, groups, blocks)
    assert own.room([32, 0]) == own.room([32, 32]) == 1 and own.room([33, 1]) == 2
    before, given = groups.erased, set()
    for n in range(3 * 64):
        channel, die = n % 2, int(rng.integers(2))
        at, row = own.place(channel, die)
        assert row % 16 == 0 or (channel, at, row - 1) in given  # pages of a block in order
        given.add((channel, at, row))
    assert len(given) == 3 * 64 and groups.erased == before - 3
    assert own.room([32, 1]) == 1
    while groups.take() is not None:
        pass
    with pytest.raises(DriveError, match="no block group is erased"):
        own.place(0, 0)


def test_what_is_written_least_is_pushed_and_what_is_moved_goes_where_it_was_most(geometry):
    groups = BlockGroups(geometry, Blocks(geometry))

    def push(rank=0.0):
        group = groups.best(0, [], rank)
        return None if group is None else groups.use(group)

    assert [push() for _ in range(62)] == list(range(62)) and push() is None
    for group, times in ((5, 3), (9, 1), (7, 2)):
        for _ in range(times):
            groups.recycled(group)
            assert groups.take() == group
        assert groups.age(group) == 0 and groups.age(0) >= 61
    for group in (7, 5, 9):
        groups.recycled(group)
    assert [groups.erases[g] for g in (5, 9, 7)] == [4, 2, 3]
    assert [groups.take(), push(), push()] == [5, 9, 7]


def test_stripes_lie_on_different_parts(geometry):
    """Two parts: groups of even and of odd numbers."""
    groups = BlockGroups(geometry, Blocks(geometry, parts=2))
    assert groups.channel_pages == 16 and groups.erased == 124
    stripe = []
    while (group := groups.best(1, stripe, 0.0)) is not None:
        stripe.append(group)
    assert stripe == [0, 1]
    groups.push(1, [groups.use(0)])
    assert groups.best(1, [], 0.0) == 1 and groups.best(2, [], 0.0) == 1  # not the part before
    groups.push(2, [groups.use(1)])
    assert groups.best(2, [], 0.0) == 2 and groups.best(2, [], 1.0) == 122
    assert groups.take(part=1) == 3


def test_stripes_of_a_sequence_are_as_wide_as_each_other():
    """Pages -> the stripes that they fill, one after the other, of groups of 16 pages."""
    for pages, wanted in ((1, [1]), (16, [1]), (17, [2]), (64, [4]), (65, [3, 2]), (144, [3] * 3)):
        widths, left = [], pages
        while left > 0:
            widths.append(width(left, 16, 4))
            left -= 16 * widths[-1]
        assert widths == wanted, pages


def test_lives_are_ranked_among_those_written_lately():
    lives = Lives()
    assert [lives.rank(left) for left in (5, 9, 1, 9)] == [0, 1 / 2, 0, 2 / 4]
    for left in range(300):
        lives.rank(left)
    assert lives.rank(44) == 0 and lives.rank(299 - 64) == pytest.approx(3 / 4, abs=0.01)


def test_of_a_pool_the_least_erased_or_the_most():
    erases = [4, 1, 3, 2, 0]
    assert choose(range(5), erases, 0.0, lambda g: False) == 4
    assert choose(range(5), erases, 1.0, lambda g: False) == 0
    assert choose(range(5), erases, 0.9, lambda g: False) == 2  # 0.9 ** 3 of five
    assert choose(range(5), erases, 0.0, lambda g: g == 4) == 1
    assert choose([4], erases, 0.0, lambda g: g == 4) == 4
    assert choose([], erases, 0.5, lambda g: False) is None


def test_victims_gain_what_they_promise(rng):
    """Against a search of all prefixes, with room counted by hand."""
    for _ in range(200):
        live = {g: rng.integers(0, 33, 2) for g in range(8)}
        erases = rng.integers(0, 3, 8).tolist()
        free, missing = int(rng.integers(0, 33)), int(rng.integers(1, 4))

        def room(pages, free=free):
            return max(0, -(-(int(max(pages)) - free) // 32))

        chosen = least_cost(live, 32, erases, missing, room)
        order = sorted(
            (g for g in live if live[g].min() < 32),
            key=lambda g: (live[g].sum() + 0.02 * 64 * erases[g], g),
        )
        gains = [n - room(sum(live[g] for g in order[:n])) for n in range(1, len(order) + 1)]
        enough = [n for n, gain in enumerate(gains, 1) if gain >= missing]
        assert chosen == (order[: enough[0]] if enough else None)


def test_only_what_rests_and_lags_is_moved_for_wear():
    erases, ages = [10, 10 - WEAR_LIMIT, 9 - WEAR_LIMIT, 0], [0, 99, 99, 1]
    usable = 99 // REST - 1
    assert resting(range(4), erases, ages.__getitem__, usable) == 2
    assert resting([0, 1, 3], erases, ages.__getitem__, usable) is None
    assert resting([], erases, ages.__getitem__, usable) is None


@pytest.mark.parametrize(
    ("flash", "shape", "map_mib", "tail_mib"),
    [
        # 64 sequences x 256 heads x 131,072 tokens / 16 a group x 8 bytes; x 2 pages of 4 KiB
        ("paper", (32, 8, 131_072), 1024, 128),
        ("tlc_onfi5", (32, 8, 131_072), 256, 512),
        ("paper", (40, 40, 2048), 100, 800),
        ("tlc_onfi5", (40, 40, 2048), 25, 3200),
    ],
)
def test_device_dram_of_64_sequences(flash, shape, map_mib, tail_mib):
    geometry = profile(flash).geometry
    layers, heads, tokens = shape
    each = SequenceShape(
        layers=layers, kv_heads=heads, head_dim=128, max_tokens=tokens,
        page_bytes=geometry.page_bytes, channels=8, pass_tokens=8192,
    )  # fmt: skip
    bytes_ = device_dram(each, 64, geometry)
    assert bytes_["map"] == map_mib << 20 and bytes_["tail"] == tail_mib << 20
    assert bytes_["slots"] == 256 * (16 + geometry.page_bytes)
    assert bytes_["heads"] == 64 * layers * heads * 16
    assert bytes_["passes"] == 64 * layers * heads * -(-tokens // 8192) * 8
    assert (sum(bytes_.values()) < 2e9) == (flash == "paper" or heads == 8)
    assert bytes_["columns"] == bytes_["unit"] == 0
    unit = 512 // (geometry.page_bytes // 256)  # groups of 512 tokens
    twice = device_dram(replace(each, unit_groups=unit), 64, geometry)
    assert twice.pop("columns") == (map_mib << 20) // 2 and twice.pop("unit") == 128 * 1024
    bounds = device_dram(replace(each, unit_groups=8, bounds=True), 64, geometry)
    assert bounds["columns"] == (map_mib << 20) // 16 and bounds["unit"] == geometry.page_bytes
    assert twice == {name: bytes_[name] for name in twice}
