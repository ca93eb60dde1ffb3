"""Byte tables: bytes against `struct`, gateware against bytes, places against NVMe."""

import itertools
import random
import struct
from collections import Counter

import pytest
from amaranth.lib import data

from rtl import commands, tables
from rtl.layout import Layout

LAYOUTS = [
    commands.SQE,
    *commands.SQE_VIEWS.values(),
    commands.CQE,
    commands.JOB,
    commands.JOB_STATUS,
    commands.CAPABILITY,
    tables.SEQUENCE,
    tables.HEAD,
    tables.MAP_ENTRY,
    tables.PASS,
]


def random_values(layout, rng):
    return {
        name: rng.choice([0, (1 << f.width) - 1, rng.getrandbits(f.width)])
        for name, f in layout.fields.items()
    }


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
def test_round_trip_and_gateware_view(layout):
    rng = random.Random(layout.name)
    for _ in range(20):
        values = random_values(layout, rng)
        raw = layout.pack(**values)
        assert len(raw) == layout.size == 8 * layout.words
        assert layout.unpack(raw + b"more") == values
        view = layout.struct.from_bits(int.from_bytes(raw, "little"))
        assert {name: int(getattr(view, name)) for name in values} == values
        word = int.from_bytes(raw, "little")
        used = sum(((1 << f.width) - 1) << f.offset for f in layout.fields.values())
        assert word & ~used == 0
    assert isinstance(layout.struct, data.FlexibleLayout) and layout.struct.size == 8 * layout.size
    assert layout.pack() == bytes(layout.size)
    assert all(field.doc for field in layout.fields.values())


def test_submission_entry_has_the_places_of_nvme():
    raw = commands.SQE.pack(
        opcode=0x85,
        fuse=1,
        psdt=2,
        cid=0x1234,
        nsid=0xAABBCCDD,
        prp1=0x1122334455667788,
        prp2=0x99AABBCCDDEEFF00,
        sequence=7,
        layer=9,
        tokens=0x01020304,
        group=0x05060708,
        scale_mant=0x2ABCDEF,
        scale_exp=0x3E,
        result=0x0A0B0C0D0E0F1011,
    )
    cdw10 = 7 | 9 << 16
    cdw13 = 0x2ABCDEF | 0x3E << 26
    assert raw == struct.pack(
        "<BBH I 8x 8x QQ IIII Q",
        0x85,
        1 | 2 << 6,
        0x1234,
        0xAABBCCDD,
        0x1122334455667788,
        0x99AABBCCDDEEFF00,
        cdw10,
        0x01020304,
        0x05060708,
        cdw13,
        0x0A0B0C0D0E0F1011,
    )


def test_views_of_cdw10_to_12():
    assert commands.SQE_VIEWS["attend"].pack(jobs=3, mode=1, bytes=640)[40:52] == struct.pack(
        "<III", 3, 1, 640
    )
    assert commands.SQE_VIEWS["read_kv"].pack(head=5, kind=1)[40:52] == struct.pack(
        "<IHHI", 0, 5, 1, 0
    )
    raw = commands.SQE_VIEWS["open"].pack(
        layers=30, kv_heads=3, head_dim=64, format=1, index=2, max_tokens=8192
    )
    assert raw[40:52] == struct.pack("<HHHBBI", 30, 3, 64, 1, 2, 8192)


def test_completion_entry_has_the_places_of_nvme():
    raw = commands.CQE.pack(
        result=1,
        index=2,
        sqhd=3,
        sqid=0,
        cid=5,
        phase=1,
        status=commands.Status.CONTEXT_EXCEEDED,
        dnr=1,
    )
    # status word: phase, SC (8 bits), SCT (3 bits), CRD, more, do not retry
    assert raw == struct.pack("<IIHHHH", 1, 2, 3, 0, 5, 1 | 0x05 << 1 | 7 << 9 | 1 << 15)


def test_job_and_tables_as_the_host_sees_them():
    assert commands.JOB.pack(
        sequence=1, layer=2, queries=3, q_format=1, q_offset=4, kv_offset=5, result_offset=6
    ) == struct.pack("<HHBB2xIII12x", 1, 2, 3, 1, 4, 5, 6)
    assert commands.JOB_STATUS.pack(status=0x704, flags=3, passes=16, written=1) == struct.pack(
        "<HBxBxxB", 0x704, 3, 16, 0x80
    )
    assert tables.SEQUENCE.pack(
        state=1,
        format=2,
        head_dim=64,
        kv_heads=3,
        layers=30,
        max_tokens=8192,
        groups=256,
        heads=1,
        map=2,
        tail=3,
        group_tokens=32,
        pass_groups=5,
        pass_rest=6,
        pass_entries=7,
        passes=8,
        columns=9,
        unit_groups=10,
        number=11,
        first_channel=12,
        first_die=13,
        segment=0x0E0F10,
        stream=17,
    ) == struct.pack("<BBHHHII", 1, 2, 64, 3, 30, 8192, 256) + b"".join(
        struct.pack("<IHH", address, 0, number)
        for address, number in ((1, 32), (2, 5), (3, 6), (8, 7), (9, 10))
    ) + struct.pack("<HBBI", 11, 12, 13, 0x110E0F10)
    assert tables.HEAD.pack(
        tokens=9,
        flash_groups=4,
        tail_tokens=5,
        k_exp=200,
        v_exp=1,
        k_bad=1,
        v_bad=1,
        column_pages=0x010203,
    ) == struct.pack("<IIHBBI", 9, 4, 5, 200, 1, 0x01020303)
    assert tables.PASS.pack(k_exp=200, k_bad=1, v_exp=3, v_bad=1) == struct.pack(
        "<BB2xBB2x", 200, 1, 3, 1
    )
    assert tables.MAP_ENTRY.pack(k_row=0x123456, k_die=7, v_row=0xABCDEF, v_die=63) == struct.pack(
        "<II", 7 << 24 | 0x123456, 63 << 24 | 0xABCDEF
    )


def test_opcodes_carry_their_direction():
    """NVMe: bits 1:0 are 0 none, 1 host to drive, 2 drive to host; vendor I/O from 80h on."""
    directions = {
        0: {"FLUSH", "OPEN", "CLOSE", "FORK", "TRUNCATE", "SAVE", "HELD"},
        1: {"APPEND", "ATTEND", "STEP"},
        2: {"READ_KV", "CAPABILITIES"},
    }
    for opcode in commands.Opcode:
        assert opcode.name in directions[opcode & 3]
        assert opcode >= 0x80 or opcode == commands.Opcode.FLUSH


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"SQE.opcode must be in 0..255, not 256"):
        commands.SQE.pack(opcode=256)
    with pytest.raises(ValueError, match="-1"):
        commands.SQE.pack(prp1=-1)
    with pytest.raises(ValueError, match="no field 'opcod'"):
        commands.SQE.pack(opcod=1)
    with pytest.raises(ValueError, match="multiple of 8"):
        Layout("L", 12, [])
    with pytest.raises(ValueError, match="overlaps"):
        Layout("L", 8, [("a", 0, 0, 8, ""), ("b", 0, 7, 2, "")])
    with pytest.raises(ValueError, match="outside"):
        Layout("L", 8, [("a", 7, 4, 8, "")])


@pytest.mark.parametrize("channels", [1, 2, 4, 8])
def test_a_heads_groups_use_every_channel_and_heads_start_apart(channels):
    for layer in range(3):
        for head in range(3):
            got = [tables.group_channel(n, layer, 3, head, channels) for n in range(channels)]
            assert sorted(got) == list(range(channels))
            following = tables.group_channel(0, layer, 3, head + 1, channels)
            assert following == (got[0] + 3) % channels


@pytest.mark.parametrize("channels, dies", [(1, 1), (2, 4), (4, 16), (8, 16), (16, 8)])
def test_every_channel_and_die_is_a_place(channels, dies):
    places = [tables.place_of(n, channels, dies) for n in range(channels * dies)]
    assert set(places) == {(c, d) for c in range(channels) for d in range(dies)}
    for start in range(0, len(places), channels):  # a round of the channels has one first die
        assert len({die for _, die in places[start : start + channels]}) == 1


@pytest.mark.parametrize("batch", [2, 4, 8])
def test_sequences_begin_as_far_apart_as_channels_allow(batch):
    first = sorted(tables.place_of(n, 8, 16)[0] for n in range(batch))
    assert first == list(range(0, 8, 8 // batch))


@pytest.mark.parametrize("groups, most", [(1, 1), (2, 2)])
def test_a_batch_of_short_contexts_is_spread_over_channels_and_dies(groups, most):
    """8 rows of 3 KV heads: channels even, and no more of a layer on a die than said."""
    pages = Counter()
    for n in range(8):
        first_channel, first_die = tables.place_of(n, 8, 16)
        for head, kind, group in itertools.product(range(3), range(2), range(groups)):
            channel = tables.group_channel(group, 0, 3, head, 8, first_channel)
            die = tables.page_die(0, head, head, kind, 3, 16, first_die)
            pages[channel, die] += 1
    of_channel = Counter()
    for (channel, _), count in pages.items():
        of_channel[channel] += count
    assert set(of_channel.values()) == {8 * 3 * 2 * groups // 8}
    assert max(pages.values()) == most


def reading_order(kv_heads):
    """(head, kind) of the passes of a layer, as the executor walks them."""
    order = [(0, 0)]
    for head in range(1, kv_heads):
        order += [(head, 0), (head - 1, 1)]
    return [*order, (kv_heads - 1, 1)]


def dies_of_a_layer(kv_heads, pages, dies, layer=0):
    """Dies of one channel in the order in which it is read, every pass with so many pages."""
    return [
        tables.page_die(number, layer * kv_heads + head, head, kind, kv_heads, dies)
        for head, kind in reading_order(kv_heads)
        for number in range(pages)
    ]


@pytest.mark.parametrize("layer", [0, 1, 5])
@pytest.mark.parametrize("kv_heads", [1, 3, 8])
@pytest.mark.parametrize("dies", [2, 16])
@pytest.mark.parametrize("pages", [1, 2, 4, 8, 16, 32])
def test_passes_fill_the_dies_between_each_others(kv_heads, dies, pages, layer):
    """With a power of two of pages a pass, any `dies` pages in a row, from a multiple on, are on
    different dies."""
    order = dies_of_a_layer(kv_heads, pages, dies, layer)
    for at in range(0, len(order) - dies + 1, dies):
        assert len(set(order[at : at + dies])) == dies
    assert len(set(order)) == min(dies, len(order))


@pytest.mark.parametrize("kv_heads", [1, 2, 3, 5, 8, 32])
@pytest.mark.parametrize("pages", [3, 5, 6, 7, 9, 11, 13, 23, 31])
def test_no_die_is_wanted_three_times_within_what_it_can_sense(kv_heads, pages):
    """A die holds two pages; a third is sensed in the time of 14 pages on the bus (`paper`)."""
    order = dies_of_a_layer(kv_heads, pages, 16)
    window = 12
    worst = max(
        order[at : at + window].count(die)
        for at in range(max(1, len(order) - window + 1))
        for die in range(16)
    )
    assert worst <= 2


def test_dies_that_are_no_power_of_two_are_all_used():
    assert set(dies_of_a_layer(4, 24, 12)) == set(range(12))


def test_places_in_words():
    fields = Layout("L", 8, [("a", 0, 3, 1, "one bit"), ("b", 1, 0, 8, "a byte")]).fields
    assert (fields["a"].bits, fields["b"].bits) == ("bit 3", "bits 15:8")
