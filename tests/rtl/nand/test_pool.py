"""Which operation starts first: reads before programs before erases, those of a die in order."""

import pytest

from flash_model.timing import cycles
from rtl.nand.operations import NandOp
from rtl.nand.pool import OTHERS, PROGRAMS
from tests.rtl.nand.test_controller import OVERHEAD

READ, PROGRAM, ERASE = NandOp.READ, NandOp.PROGRAM, NandOp.ERASE
LONG = {"t_bers_ns": 40_000, "t_prog_ns": 1_000}


def operation(op, die, tag=0, row=16, words=1, **more):
    return {"op": op, "die": die, "row": row, "words": words, "tag": tag, **more}


def run(bench, ops, **options):
    words = sum(op["words"] for op in ops if op["op"] == PROGRAM)
    b = bench(**{"dies": 4, "skip": True, "timing": LONG, **options})
    b.run(ops, list(range(words)))
    assert not any(d.failed for d in b.done)
    return b


def clocks(b, *bytes_):
    """Of these command bytes: (clock, die), in order of time."""
    return [(clock, die) for clock, die, byte in b.rules.commands if byte in bytes_]


def form(b, *names):
    t = b.profile.timing
    return sum(cycles(getattr(t, f"t_{name}_ns"), b.clock_hz) for name in names)


def read_form(b):
    """A read of one word by itself, from its being taken to its word."""
    word = form(b, "preamble") + b.profile.timing.data_cycles(1, b.clock_hz)
    return 7 * form(b, "wc") + form(b, "wb", "r", "rr") + word + OVERHEAD


@pytest.mark.parametrize("waits", [PROGRAM, ERASE])
def test_a_read_does_not_wait_for_an_erase_of_another_die(bench, waits):
    """Behind one that waits for its die to be erased it takes what it takes alone.

    In the order of ``ops`` it would have come behind the whole erase of the other die.
    """
    at = 200
    ops = [operation(ERASE, 0, 1), operation(waits, 0, 2), operation(READ, 1, row=5, at=at)]
    b = run(bench, ops)
    assert (b.op_times[2], b.read_times[0]) == (at, at + read_form(b))
    (_, erased), (begun, _) = clocks(b, 0xD0)[0], clocks(b, 0x80, 0x60)[1]
    assert erased == 0 and begun > at + form(b, "bers") - 200  # so late a READ would have been


def test_a_program_does_not_wait_for_an_erase_of_another_die(bench):
    """It starts as soon as without the erase that waits, and has ended before that starts."""
    at = 200
    first, waiting = operation(ERASE, 0, 1), operation(ERASE, 0, 2)
    program = operation(PROGRAM, 1, 3, at=at)
    starts = []
    for ops in ([first, program], [first, waiting, program]):
        b = run(bench, ops)
        starts.append(clocks(b, 0x80)[0][0])
    assert starts[0] == starts[1] < at + 10 + form(b, "wc")
    assert [d.tag for d in b.done] == [3, 1, 2]
    # One erase behind the other, the status of the first between them: no time is lost on them.
    (first, _), (second, _) = clocks(b, 0xD0)
    status = form(b, "wc", "whr", "preamble", "rhw") + b.profile.timing.data_cycles(1, b.clock_hz)
    least = form(b, "wb", "bers", "rr") + status + 5 * form(b, "wc")
    assert least <= second - first <= least + 10


def test_programs_before_erases_and_a_die_in_order(bench):
    """Die 0 is erased; what waits for it starts in its order, whatever its kind."""
    ops = [
        operation(ERASE, 0, 1),
        operation(ERASE, 0, 2, row=32),
        operation(PROGRAM, 0, 3),
        operation(READ, 1, row=5),
        operation(READ, 0, row=16),
    ]
    b = run(bench, ops)
    assert [die for _, die in clocks(b, 0x60, 0x80)] == [0, 0, 0]
    opened = [byte for _, die, byte in b.rules.commands if die == 0]
    assert [byte for byte in opened if byte in (0x60, 0x80, 0x30)] == [0x60, 0x60, 0x80, 0x30]
    assert b.reads == [[(1 << 64) - 1], [0]]
    assert b.read_times[0] < form(b, "bers")


def test_an_erase_is_not_overtaken_for_ever(bench):
    """By one program of each other die at most, however many wait."""
    number, place = 40, 10
    ops = [operation(PROGRAM, n % 3, n, row=16 + n // 3, words=60) for n in range(number)]
    ops.insert(place, operation(ERASE, 3, 99))
    b = run(bench, ops)
    order = [die for _, die in clocks(b, 0x80, 0x60)]
    before = order.index(3)
    programs = order[:before] + order[before + 1 :]
    assert programs == [n % 3 for n in range(number)]
    assert place - PROGRAMS <= before <= place + 3


def test_programs_that_are_refused_do_not_overtake(bench):
    """Their words are taken after the erase that can start."""
    bad = [operation(PROGRAM, 1, n, row=1 << 23, words=20) for n in range(1, 6)]
    b = bench(dies=4, skip=True, timing=LONG)
    first = operation(PROGRAM, 0, 9, words=50)
    b.run([first, *bad[:PROGRAMS], operation(ERASE, 2, 99), *bad[PROGRAMS:]], [0] * 150)
    assert [d.tag for d in b.done if d.failed] == [1, 2, 3, 4, 5]
    (program, _), (erase, _) = clocks(b, 0x10, 0xD0)
    assert erase - program == max(5 * form(b, "wc"), form(b, "wb") + form(b, "wc"))


def test_a_full_line_holds_up_what_comes(bench):
    """So many wait beside reads, and no more."""
    for op, places in ((PROGRAM, PROGRAMS), (ERASE, OTHERS)):
        for number in (places, places + 1):
            ops = [operation(ERASE, 0, 9)]
            ops += [operation(op, 0, n, row=32 + n) for n in range(number)]
            b = run(bench, [*ops, operation(READ, 1, row=5)])
            assert (b.read_times[0] < form(b, "bers")) == (number == places)


def test_an_id_waits_for_reads_and_holds_up_reads(bench):
    """Its word comes in its place."""
    ops = [
        operation(READ, 0, row=5),
        operation(NandOp.READ_ID, 1, row=0x20),
        operation(READ, 0, row=6),
        operation(NandOp.READ_RETRY, 0, 7, row=3),
        operation(READ, 0, row=7),
    ]
    b = bench(dies=2, skip=True)
    for row in (5, 6, 7):
        b.array.write_page(0, 0, row, bytes([row]) * b.profile.geometry.page_total)
    b.run(ops)
    names = int.from_bytes(b"ONFI\0\0\0\0", "little")
    assert b.reads == [[int.from_bytes([row] * 8)] if row else [names] for row in (5, 0, 6, 7)]
    assert [byte for _, die, byte in b.rules.commands if byte in (0x30, 0x90, 0xEF)] == [
        0x30, 0x90, 0x30, 0xEF, 0x30
    ]  # fmt: skip
