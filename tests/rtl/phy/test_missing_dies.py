"""A board as it is on its first day: PHYs start with dies that are missing, mute or miswired.

The others are trained and usable, and every operation on such a die ends.
"""

import pytest

from rtl.nand.operations import Cause, NandOp
from tests.rtl.phy.nv_ddr_channel import NvDdrBench
from tests.rtl.phy.sdr_channel import SdrBench
from tests.rtl.phy.test_nv_ddr import middle, right_offsets
from tests.rtl.phy.wires import Wires

COMMAND = 1
HZ, NS = 100_000_000, 10
T_RST_NS = 3_000
SLOT = 70
DIE_NS = 50 * SLOT + 1_000
"""What a die that answers takes at most: its steps, tRST and tFEAT."""

ABSENT_NS = 20 * SLOT
"""tWW, R/B_n high, FFh, and 15 slots for R/B_n to fall."""


def sdr(wires, dies=3):
    return SdrBench(5, HZ, dies=dies, wires=wires, t_rst_ns=T_RST_NS)


def nv_ddr(wires, dies=3, **options):
    options = {"offset": None, "dqsck_ns": 12, **options}
    return NvDdrBench(2, HZ, dies=dies, wires=wires, t_rst_ns=T_RST_NS, **options)


PHYS = pytest.mark.parametrize("make", [sdr, nv_ddr])


def use(bench, lost):
    """Each die is used in every way; those that are lost end so, the others as ever."""
    ops, wanted, data = [], [], []
    for die in range(bench.dies):
        page = {"die": die, "row": 3, "words": 2}
        ops += [
            {"op": NandOp.RESET, "die": die},
            {"op": NandOp.PROGRAM, **page},
            {"op": NandOp.READ, **page},
            {"op": NandOp.ERASE, "die": die, "row": 3},
            {"op": NandOp.STATUS, "die": die},
            {"op": NandOp.READ_ID, "die": die, "row": 0x20},
        ]
        data += [100 + die, 200 + die]
        onfi = int.from_bytes(b"ONFI", "little")
        wanted += [[0, 0], [0]] if die in lost else [data[-2:], [onfi]]
    got, done = bench.run(ops, data)
    assert got == wanted
    assert len(done) == 4 * bench.dies
    for d in done:
        assert d.cause == (Cause.DEAD if d.die in lost else Cause.NONE), d
    for die, said in enumerate(bench.report):
        assert said["tells"] and said["usable"] == (die not in lost)


def answering(bench):
    return [said["answers"] for said in bench.report]


@PHYS
@pytest.mark.parametrize("level", [1, 0])
@pytest.mark.parametrize("die", [1, *(pytest.param(n, marks=pytest.mark.soak) for n in (0, 2))])
def test_a_socket_is_empty(make, level, die):
    """R/B_n has its pull-up, or is shorted to ground."""
    bench = make(Wires(missing={die: level}))
    use(bench, {die})
    assert answering(bench) == [n != die for n in range(3)]
    training = 2 * 60 * 2_700 if make is nv_ddr else 0
    waits = ABSENT_NS if level else 2 * T_RST_NS + ABSENT_NS
    assert bench.started * NS <= 2 * DIE_NS + waits + training


@PHYS
@pytest.mark.parametrize("level", [1, 0])
def test_no_die_is_there(make, level):
    """As without power for the flash. Waking up is waited for once."""
    bench = make(Wires(missing=dict.fromkeys(range(2), level)), dies=2)
    use(bench, {0, 1})
    assert answering(bench) == [0, 0]
    waits = 0 if level else 3 * T_RST_NS
    assert waits < bench.started * NS <= waits + 2 * ABSENT_NS + 100


@PHYS
def test_two_ready_pins_are_exchanged(make):
    """So that each hears of the other's reset."""
    bench = make(Wires(swapped=(0, 2)))
    use(bench, {0, 2})
    assert answering(bench) == [0, 1, 0]


def test_sdr_tells_of_no_window():
    bench = sdr(Wires())
    use(bench, set())
    found = {"tells": 1, "answers": 1, "usable": 1, "reserved": 0}
    assert bench.report == [found | {"offset": 0, "first": 0, "width": 0}] * 3


@pytest.mark.parametrize("die", [0, pytest.param(1, marks=pytest.mark.soak)])
def test_a_die_is_mute(die):
    """It answers its reset, but no offset brings its ID: it has no window."""
    bench = nv_ddr(Wires(mute=(die,)), dies=2)
    use(bench, {die})
    right = right_offsets(2, HZ, 12)
    assert bench.offset == middle(right)
    seen = [(s["answers"], s["offset"], s["first"], s["width"]) for s in bench.report]
    there = 1, middle(right), right[0], len(right)
    wanted = [there, there]
    wanted[die] = 1, middle(right), 0, 0
    assert seen == wanted


@pytest.mark.parametrize("late, lost", [(5, set()), (30, {1})])
def test_windows_of_dies(late, lost):
    """What they have in common is used; a die that has nothing in common with the first is not."""
    bench = nv_ddr(Wires(late={1: late}), dies=2)
    use(bench, lost)
    windows = [right_offsets(2, HZ, 12 + delay) for delay in (0, late)]
    assert [range(s["first"], s["first"] + s["width"]) for s in bench.report] == windows
    common = windows[0] if lost else sorted(set(windows[0]) & set(windows[1]))
    assert bench.offset == middle(common) and len(common) < len(windows[0]) + bool(lost)


def test_an_offset_that_is_given_is_told():
    offset = middle(right_offsets(2, HZ, 12))
    bench = nv_ddr(Wires(missing={1: 1}), dies=2, offset=offset)
    use(bench, {1})
    assert [(s["offset"], s["width"]) for s in bench.report] == [(offset, 0)] * 2


@PHYS
def test_a_die_that_hangs_is_reset(make):
    """By the controller, in a way that keeps its interface: RESET LUN, or SYNCHRONOUS RESET."""
    options = {} if make is sdr else {"offset": middle(right_offsets(2, HZ, 12))}
    bench = make(Wires(hangs=(1,)), dies=2, **options)
    page = {"die": 1, "row": 3, "words": 2}
    program, read = {"op": NandOp.PROGRAM, **page}, {"op": NandOp.READ, **page}
    erase = {"op": NandOp.ERASE, "die": 1, "row": 3}
    got, done = bench.run([program, {**read, "die": 0}, erase, program, read], [1, 2, 3, 4])
    erased = (1 << 64) - 1
    assert got == [[erased] * 2, [3, 4]]
    assert [d.cause for d in done] == [Cause.TIMEOUT, Cause.NONE, Cause.NONE]
    reset = 0xFA if make is sdr else 0xFC
    assert bench.pins.cycles.count((1, COMMAND, reset)) == 1


@PHYS
def test_the_fpga_alone_is_reset(make):
    """The dies are in their mode by then, NV-DDR even: they are told again, and found again."""
    bench = make(Wires(), dies=1)
    page = {"row": 3, "words": 2}
    ops = [{"op": NandOp.PROGRAM, **page}, {"op": NandOp.READ, **page}]
    got, done = bench.run(ops, [1, 2], reset=True)
    assert got == [[1, 2]] and [d.cause for d in done] == [Cause.NONE]
    assert [(s["answers"], s["usable"]) for s in bench.report] == [(1, 1)]
    if make is nv_ddr:
        assert bench.offset == middle(right_offsets(2, HZ, 12))
        assert bench.told() == {0: 0x12}
    else:
        assert bench.pins.cycles.count((0, COMMAND, 0xFF)) == 2
