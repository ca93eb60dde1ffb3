"""Programs and erases of several planes together: one busy time, a status of each."""

import dataclasses
import itertools
import random

import numpy as np
import pytest

from flash_model.faults import Faults
from flash_model.profiles import profile
from flash_model.suspend import Suspend
from flash_model.timing import cycles
from host.bench.flash_bound import ChannelClocks
from rtl.nand.operations import Cause, NandOp
from rtl.nand.planes import planes_of
from tests.rtl.nand.test_closed_forms import CHOICE
from tests.rtl.nand.test_late_dies import check
from tests.rtl.nand.test_mixed import Model

PROGRAM, ERASE, READ = NandOp.PROGRAM, NandOp.ERASE, NandOp.READ
OPENS = {PROGRAM: 0x80, ERASE: 0x60}
MORE, LAST = (0x11, 0xD1), (0x10, 0xD0)
PAGES = profile("tiny").geometry.pages
WRITES = [READ] * 3 + [PROGRAM] * 6 + [ERASE] * 5
WRITES += [NandOp.STATUS, NandOp.RESET, NandOp.READ_RETRY, NandOp.READ_ID]


def operation(op, block, page=0, die=0, words=1, tag=0):
    row = block * PAGES + (page if op != ERASE else 0)
    return {"op": op, "die": die, "row": row, "words": words, "tag": tag}


def given(b, *bytes_):
    return [byte for _, _, byte in b.rules.commands if byte in bytes_]


def run(bench, ops, planes, words=None, **options):
    b = bench(skip=True, geometry={"planes": planes}, **options)
    if words is None:
        words = range(sum(op["words"] for op in ops if op["op"] == PROGRAM))
    return b.run(ops, list(words))


@pytest.mark.parametrize("planes", [2, 4])
@pytest.mark.parametrize("op", OPENS)
def test_together(bench, op, planes):
    """All planes in one busy time; what is over begins anew."""
    ops = [operation(op, 8 + n, tag=n, words=3) for n in range(planes + 1)]
    b = run(bench, ops, planes)
    more, last = MORE[op == ERASE], LAST[op == ERASE]
    assert given(b, more, last) == [more] * (planes - 1) + [last] * 2
    assert given(b, 0x78, 0x70) == [0x78] * planes + [0x70]
    assert [(d.tag, d.status, d.cause) for d in b.done] == [
        (n, 0xE0, Cause.NONE) for n in range(planes + 1)
    ]
    pulses = {"page_read": 0, "page_programmed": 0, "block_erased": 0}
    pulses["page_programmed" if op == PROGRAM else "block_erased"] = planes + 1
    assert b.pulses == pulses
    if op == PROGRAM:
        for n in range(planes + 1):
            page = b.words(b.array.page(0, 0, (8 + n) * PAGES))
            assert page[:3] == [3 * n, 3 * n + 1, 3 * n + 2]


@pytest.mark.parametrize("op", OPENS)
@pytest.mark.parametrize("blocks, pages, dies", [
    ((8, 12), (0, 0), (0, 0)),  # a plane twice
    ((8, 9), (0, 0), (0, 1)),  # another die
    ((8, 9), (0, 1), (0, 0)),  # another page number, which matters to programs
])  # fmt: skip
def test_apart(bench, op, blocks, pages, dies):
    ops = [operation(op, *where, tag=n) for n, where in enumerate(zip(blocks, pages, dies))]
    b = run(bench, ops, 4)
    together = op == ERASE and blocks == (8, 9) and dies == (0, 0)
    assert len(given(b, *MORE)) == together
    assert len(given(b, 0x78)) == 2 * together
    assert sorted(d.tag for d in b.done) == [0, 1] and not any(d.failed for d in b.done)


@pytest.mark.parametrize("op", OPENS)
def test_closed_form(bench, op):
    """Bus and busy times of planes together, to the clock, from the first command to the last."""
    planes, words = 4, 5
    ops = [operation(op, 8 + n, tag=n, words=words) for n in range(planes)]
    b = run(bench, ops, planes)
    t = {
        field.name[2:-3]: cycles(getattr(b.profile.timing, field.name), b.clock_hz)
        for field in dataclasses.fields(b.profile.timing)
        if field.name.endswith("_ns")
    }
    rate = b.profile.timing.data_cycles
    bus = 6 * t["wc"] + t["adl"] + rate(words, b.clock_hz) + t["wc"]
    if op == ERASE:
        bus = 5 * t["wc"]
    seen = [clock for clock, _, byte in b.rules.commands if byte in (OPENS[op], *MORE, *LAST)]
    opened, confirmed = seen[::2], seen[1::2]
    for begin, end in zip(opened, confirmed):
        assert end - begin + t["wc"] == bus
    for end, begin in zip(confirmed, opened[1:]):  # and three to choose, one to start
        assert begin - end - t["wc"] == t["wb"] + t["dbsy"] + t["rr"] + 3
    statuses = [clock for clock, _, byte in b.rules.commands if byte == 0x78]
    array = t["prog" if op == PROGRAM else "bers"]
    assert statuses[0] - confirmed[-1] - t["wc"] == t["wb"] + array + t["rr"] + 3
    preamble = cycles(b.profile.timing.t_preamble_ns, b.clock_hz)
    status = 4 * t["wc"] + t["whr"] + preamble + rate(1, b.clock_hz) + t["rhw"]
    said = ChannelClocks(b.profile, b.clock_hz)
    whole = planes * (bus + t["wb"] + t["rr"] + status) + (planes - 1) * t["dbsy"] + array
    assert said.together(op.name.lower(), planes, words) == whole - t["rhw"]
    for first, second in itertools.pairwise(statuses):
        assert status <= second - first <= status + 3


@pytest.mark.parametrize("op, rate", [
    pytest.param(PROGRAM, 1400, marks=pytest.mark.soak), (PROGRAM, 2400), (ERASE, 2400),
])  # fmt: skip
def test_what_it_is_worth(bench, op, rate):
    """Four pages or blocks of one die, times and pages of `tlc_onfi5`; -s prints docs/flash.md."""
    number = 4
    flash = profile("tlc_onfi5")
    name = op.name.lower()
    words = flash.geometry.page_words if op == PROGRAM else 1
    took = {}
    for planes in (1, 2, 4):
        b = bench(
            dies=1,
            clock_hz=300_000_000,
            skip=True,
            timing=dataclasses.asdict(flash.timing) | {"rate_mts": rate, "suspend": None},
            geometry={
                "planes": planes,
                "page_bytes": flash.geometry.page_bytes,
                "spare_bytes": flash.geometry.spare_bytes,
            },
        )
        ops = [operation(op, 8 + n, words=words, tag=n) for n in range(number)]
        b.run(ops, range(number * words if op == PROGRAM else 0))
        clocks = ChannelClocks(b.profile, b.clock_hz)
        form = number // planes * clocks.together(name, planes, words)
        took[planes] = b.done_times[-1] - b.op_times[0]
        # To choose what comes next, after each status its tRHW; the first is queued.
        assert form <= took[planes] <= form + number * (clocks.clocks("t_rhw") + 2 * CHOICE + 2)
        us = took[planes] * 1e6 / b.clock_hz
        mb = number * flash.geometry.page_bytes / us
        print(f"{name}@{rate}, {planes} planes: {us:.0f} us" + f", {mb:.0f} MB/s" * (op == PROGRAM))
    assert took[1] > took[2] > took[4]


@pytest.mark.parametrize("op", OPENS)
def test_each_has_its_own_verdict(bench, op):
    """One of four planes fails."""

    def faults(geometry):
        return Faults(geometry, bad_blocks=[(0, 0, 10)])

    b = run(bench, [operation(op, 8 + n, tag=n) for n in range(4)], 4, faults=faults)
    assert len(given(b, *MORE)) == 3
    assert {d.tag: (d.status, d.cause) for d in b.done} == {
        n: (0xE1, Cause.CELLS) if n == 2 else (0xE0, Cause.NONE) for n in range(4)
    }


@pytest.mark.parametrize("begin", range(0, 400, 53))
@pytest.mark.parametrize("resets", [1, -1])
def test_a_die_that_hangs(bench, begin, resets):
    """Between planes or at work: what was begun fails, what was not is done, if the die helps."""
    ops = [operation(op, 8 + n, tag=n, words=20) for op in (PROGRAM, ERASE) for n in range(4)]
    ops = [{**op, "tag": n} for n, op in enumerate(ops)]
    ops += [operation(ERASE, 8, die=1, tag=8)]
    b = run(bench, ops, 4, hang={0: (begin, resets)})
    done = {d.tag: d.cause for d in b.done}
    assert len(b.done) == 9 and done[8] == Cause.NONE
    wanted = {Cause.NONE, Cause.TIMEOUT} if resets == 1 else {Cause.NONE, Cause.DEAD}
    assert set(done.values()) <= wanted and len(set(done.values())) == 2
    assert set(done) == set(range(9))
    if resets == 1:
        assert [d.tag for d in b.done if d.die == 0] == list(range(8))


def test_write_protected(bench):
    ops = [operation(ERASE, 8 + n, tag=n) for n in range(3)]
    b = bench(skip=True, geometry={"planes": 4}, write_protect=True)
    b.run(ops, broken={"WP#"})
    assert [(d.tag, d.cause) for d in b.done] == [(n, Cause.PROTECTED) for n in range(3)]


def test_where_planes_are_given_together():
    """Powers of 2, and nothing that is suspended between them."""
    tiny = profile("tiny")

    def changed(suspend=None, **geometry):
        return dataclasses.replace(
            tiny,
            geometry=dataclasses.replace(tiny.geometry, **geometry),
            timing=dataclasses.replace(tiny.timing, suspend=suspend),
        )

    assert planes_of(tiny) is None and planes_of(changed(planes=6, blocks=48)) is None
    assert planes_of(changed(planes=2, pages=12)) is None
    suspend = Suspend(t_susp_ns=200, erase_most=1, program_most=1)
    assert planes_of(changed(planes=2, suspend=suspend)) is None
    planes = planes_of(changed(planes=4))
    assert (planes.number, planes.page_bits) == (4, 4)


SOAK = [pytest.param(seed, marks=pytest.mark.soak) for seed in range(8, 60)]


@pytest.mark.parametrize("seed", [*range(8), *SOAK])
def test_random_operations(bench, seed):
    """As one after another, with and without skipping; sometimes a die hangs."""
    rng = random.Random(seed)
    runs = []
    dies, planes = 1 + seed % 3, 2 << seed % 2
    hang = {0: (611 * seed % 9000, 1)} if seed % 4 == 3 else None
    options = {
        "stalls": 0.3 if seed % 5 == 2 else 0,
        "latency": rng.choice([0, 5, 14]),
        "late_busy": bool(seed % 2),
        "depth": rng.choice([2, 8]),
    }
    for skip in (False, True):
        b = bench(dies=dies, skip=skip, seed=seed, hang=hang, geometry={"planes": planes},
                  timing={"t_wb_ns": 50}, **options)  # fmt: skip
        model = Model(seed, dies, b.profile.geometry, 60, ops=WRITES)
        if hang:
            for page, data in model.before.items():
                b.array.write_page(0, *page, data)
            b.run(list(model.ops), list(model.words))
            check(b, model, 0)
        else:
            model.run(b)
        assert hang or given(b, *MORE)
        runs.append(b)
    if not options["stalls"]:
        for what in ("clock", "read_times", "done_times", "activity"):
            assert getattr(runs[0], what) == getattr(runs[1], what), what


def test_data_and_order(bench):
    """Whole blocks of four planes, page by page, read back."""
    b = bench(skip=True, geometry={"planes": 4})
    rng = np.random.default_rng(3)
    size = b.profile.geometry.page_words
    places = [(block, page) for page in range(3) for block in range(8, 12)]
    words = rng.integers(0, 1 << 62, (len(places), size)).tolist()
    ops = [operation(PROGRAM, *place, words=size, tag=n) for n, place in enumerate(places)]
    reads = [operation(READ, *place, words=size) for place in places]
    b.run([*ops, *reads], sum(words, []))
    assert b.reads == words
    assert [d.tag for d in b.done] == list(range(len(places)))
    assert given(b, *MORE, *LAST) == [0x11, 0x11, 0x11, 0x10] * 3
