"""NV-DDR PHY between the controller and dies with pins, whose times the dies check."""

import dataclasses
import itertools
import math

import pytest

from flash_model.onfi import JEDEC_ID, ONFI_ID
from flash_model.profiles import profile
from rtl.nand.operations import NandOp
from rtl.phy.nv_ddr import NvDdrPhy
from rtl.phy.nv_ddr_modes import nv_ddr_clocks
from rtl.phy.nv_ddr_timing import nv_ddr_timing
from tests.rtl.phy.busy import PinError
from tests.rtl.phy.every_operation import every_operation, random_operations
from tests.rtl.phy.nv_ddr_channel import NvDdrBench
from tests.rtl.phy.nv_ddr_pins import ONFI_NV_DDR, NvDdrDies

COMMAND, ADDRESS, WRITE = 1, 2, 3
REGULAR = [(5, 200_000_000), (2, 100_000_000)]
RUNS = [
    pytest.param(*run, marks=[] if run in REGULAR else [pytest.mark.soak])
    for run in itertools.product(range(6), (100_000_000, 200_000_000, 250_000_000))
]


def right_offsets(mode, clock_hz, dqsck_ns):
    """Offsets whose samples lie where the standard promises data, by hand.

    Outputs go through two registers and inputs through two: a sample of offset 4 is of the time at
    which CLK rises.
    """
    t, half_ns = ONFI_NV_DDR[mode], 5e8 / clock_hz
    byte_ns = nv_ddr_clocks(mode, clock_hz).slot * half_ns
    first = dqsck_ns + float(t["DQSQ"])
    last = dqsck_ns + byte_ns - float(t["QHS"])
    return range(4 + math.ceil(first / half_ns), 5 + math.floor(last / half_ns))


def middle(offsets):
    return offsets[len(offsets) // 2]


@pytest.mark.parametrize("mode, clock_hz", RUNS)
def test_every_operation(mode, clock_hz):
    """On each die, over each other: the dies see no time broken, and data are right."""
    bench = NvDdrBench(mode, clock_hz, middle(right_offsets(mode, clock_hz, 12)))
    every_operation(bench, JEDEC_ID[:4] + bytes(4), ONFI_ID)
    assert bench.told() == {0: 0x10 | mode, 1: 0x10 | mode}
    assert (0, WRITE, 5) in bench.pins.cycles  # the read-retry level, of four bytes


@pytest.mark.parametrize("planes, count", [(2, 8), pytest.param(1, 200, marks=pytest.mark.soak)])
def test_random_operations(planes, count):
    """Of several planes, too, and with words that have to wait: bursts pause and go on."""
    offset = middle(right_offsets(5, 200_000_000, 12))
    bench = NvDdrBench(5, 200_000_000, offset, dies=4, planes=planes, stalls=0.3)
    random_operations(bench, count)


def test_each_offset_is_right_or_recognised():
    """What ID tells of an offset is what the standard promises."""
    right = right_offsets(1, 100_000_000, 25)
    assert len(right) > 1
    for offset in range(right[0] - 1, right[-1] + 2):
        bench = NvDdrBench(1, 100_000_000, offset, dies=1, dqsck_ns=25)
        ((word,),), _ = bench.run([{"op": NandOp.READ_ID, "row": 0x20}])
        assert (word == int.from_bytes(ONFI_ID, "little")) == (offset in right), offset


@pytest.mark.parametrize("dqsck_ns", [3, pytest.param(24, marks=pytest.mark.soak)])
def test_the_offset_is_found(dqsck_ns):
    bench = NvDdrBench(2, 100_000_000, None, dies=2, dqsck_ns=dqsck_ns)
    read = {"op": NandOp.READ, "die": 1, "row": 3, "words": 2}
    got, _ = bench.run([{**read, "op": NandOp.PROGRAM}, read], [12, 34])
    assert got == [[12, 34]]
    right = right_offsets(2, 100_000_000, dqsck_ns)
    assert bench.offset == middle(right)
    asked = [cycle for cycle in bench.pins.cycles if cycle[1:] == (COMMAND, 0x90)]
    assert len(asked) == 2 * (right[-1] + 2 - 4)  # until the first that is wrong again


def test_there_is_always_a_right_offset():
    """Whatever tDQSCK is, at clocks of which the modes make the most."""
    for mode, t in enumerate(ONFI_NV_DDR):
        clock_hz = int(2e9 / t["CK"])
        for tenths in range(30, 250):
            assert right_offsets(mode, clock_hz, tenths / 10)


def test_reset_keeps_the_interface():
    bench = NvDdrBench(2, 100_000_000, 0, dies=1)
    bench.run([{"op": NandOp.RESET}])
    assert bench.pins.cycles == [(0, COMMAND, 0xFC), (0, COMMAND, 0x70)]


FAULTS = {
    "slot": (2, "tCK"),
    "gap": (1, "tCAD"),
    "gap_written": (2, "tCAD"),
    "turn": (1, "tWRCK"),
    "released": (1, "tDQSHZ"),
}
"""Field of `NvDdrClocks` -> how much too short it is, the time that is told."""


@pytest.mark.parametrize("field", FAULTS)
def test_a_slot_less_is_noticed(field):
    less, told = FAULTS[field]
    mode, clock_hz = (5, 250_000_000) if field == "slot" else (5, 200_000_000)
    right = nv_ddr_clocks(mode, clock_hz)
    bench = NvDdrBench(mode, clock_hz, 10, clocks={field: getattr(right, field) - less})
    read = {"op": NandOp.READ, "row": 40, "words": 2}
    ops = [read, {**read, "die": 1}, {"op": NandOp.PROGRAM, "row": 3, "words": 2}]
    with pytest.raises(PinError, match=told):
        bench.run(ops, [1, 2])


def test_data_half_a_clock_late_are_noticed(monkeypatch):
    """Centring is what the registers of two data rates are for."""
    half, held = NvDdrDies.half, [0]

    def late(self, now, pins, ready):
        held.append(pins["dq"])
        return half(self, now, pins | {"dq": held.pop(0)}, ready)

    monkeypatch.setattr(NvDdrDies, "half", late)
    bench = NvDdrBench(5, 200_000_000, 10)
    with pytest.raises(PinError, match="tDS"):
        bench.run([{"op": NandOp.PROGRAM, "row": 3, "words": 2}], [1, 2])


@pytest.mark.parametrize(
    "changes, told",
    [
        ({"rate_mts": 101}, "rate_mts = 101 .*mode 2 at 100 MHz.*two bytes in 2 clocks.*100 MT"),
        ({"t_wc_ns": 25}, "t_wc_ns = 25 .*at least 60 ns"),
        ({"t_wb_ns": 100}, "t_wb_ns = 100 .*at least"),
        ({"t_rpre_ns": 1}, "t_rpre_ns = 1 .*at least 140 ns"),
        ({"t_rhw_ns": 100}, "t_rhw_ns = 100 .*at least"),
    ],
)
def test_profiles_that_are_too_fast_are_refused(changes, told):
    part = profile("tiny")
    timing = dataclasses.replace(nv_ddr_timing(part.timing, 2, 100_000_000), **changes)
    with pytest.raises(ValueError, match=told):
        NvDdrPhy(dataclasses.replace(part, timing=timing), 2, 100_000_000)


def test_impossible_parameters_are_refused():
    with pytest.raises(ValueError, match="mode 6 does not exist: choose 0..5"):
        NvDdrPhy(profile("tiny"), 6, 100_000_000)
    with pytest.raises(ValueError, match="offset = 64 .*0..63 half clocks, or None"):
        NvDdrPhy(profile("mlc_cosmos_nv_ddr"), 2, 100_000_000, offset=64)


def test_cosmos_with_nv_ddr_fits_at_the_clocks_of_boards():
    for clock_hz in (100_000_000, 200_000_000):
        NvDdrPhy(profile("mlc_cosmos_nv_ddr"), 2, clock_hz)
