"""SDR PHY between the controller and dies with pins, whose times the dies check."""

import dataclasses
import itertools

import pytest

from flash_model.onfi import JEDEC_ID, ONFI_ID
from flash_model.profiles import profile
from flash_model.timing import cycles
from rtl.nand.operations import NandOp
from rtl.phy.sdr import SdrPhy
from rtl.phy.sdr_modes import SDR_MODES, sdr_clocks
from rtl.phy.sdr_timing import sdr_timing
from tests.rtl.phy.busy import PinError
from tests.rtl.phy.every_operation import every_operation, random_operations
from tests.rtl.phy.onfi_sdr import ONFI_SDR
from tests.rtl.phy.sdr_channel import SdrBench

COMMAND, ADDRESS, WRITE = 1, 2, 3
CLOCKS = 100_000_000, 250_000_000
LONG = [(mode, 250_000_000) for mode in range(5)]
RUNS = [
    pytest.param(*run, marks=[pytest.mark.soak] if run in LONG else [])
    for run in itertools.product(range(6), CLOCKS)
]


@pytest.mark.parametrize("mode, clock_hz", RUNS)
def test_every_operation(mode, clock_hz):
    """On each die, over each other: the dies see no time broken, and data are right."""
    bench = SdrBench(mode, clock_hz)
    every_operation(bench, JEDEC_ID, ONFI_ID)
    assert (0, WRITE, 5) in bench.pins.cycles  # the read-retry level, of four bytes


@pytest.mark.parametrize("planes, count", [(2, 12), pytest.param(1, 150, marks=pytest.mark.soak)])
def test_random_operations(planes, count):
    """Of several planes, too, and with words that have to wait."""
    random_operations(SdrBench(5, 100_000_000, dies=4, planes=planes, stalls=0.3), count)


def test_dies_are_told_their_mode_first():
    bench = SdrBench(4, 100_000_000, dies=3)
    bench.run([{"op": NandOp.READ_ID, "die": 2, "row": 0x20}, {"op": NandOp.RESET, "die": 1}])
    told = [(COMMAND, 0xFF), (COMMAND, 0xEF), (ADDRESS, 0x01), (WRITE, 4)]
    assert bench.pins.cycles == [
        *((die, *cycle) for die in range(3) for cycle in told),
        (2, COMMAND, 0x90),
        (2, ADDRESS, 0x20),
        (1, COMMAND, 0xFA),  # a RESET would lose the mode
        *[(1, ADDRESS, 0x00)] * 3,
        (1, COMMAND, 0x70),
    ]


def test_reset_in_mode_0_is_a_reset():
    bench = SdrBench(0, 100_000_000, dies=1)
    bench.run([{"op": NandOp.RESET}])
    assert bench.pins.cycles[-2:] == [(0, COMMAND, 0xFF), (0, COMMAND, 0x70)]


FAULTS = {
    "write_low": "tWP",
    "write_high": "tALH",
    "read_low": "tRP",
    "read_high": "tREH",
    "select_write": "tCS",
    "select_read": "tCHZ",
    "sample": None,
}
"""Field of `SdrClocks` -> the time that is told; None: data are wrong."""


@pytest.mark.parametrize("field", FAULTS)
def test_a_clock_less_is_noticed(field):
    told = FAULTS[field]
    right = sdr_clocks(5, 250_000_000)
    bench = SdrBench(5, 250_000_000, clocks={field: getattr(right, field) - 1})
    data = [0x0123_4567_89AB_CDEF, 0xFEDC_BA98_7654_3210]
    ops = [
        # The data of the first come when the second has been selected, then those of the second.
        *({"op": NandOp.READ, "die": die, "row": 40, "words": 1} for die in range(2)),
        {"op": NandOp.PROGRAM, "die": 0, "row": 3, "words": 2},
        {"op": NandOp.READ, "die": 0, "row": 3, "words": 2},
    ]
    erased = [(1 << 64) - 1]
    if told:
        with pytest.raises(PinError, match=told):
            bench.run(ops, data)
    else:
        got, _ = bench.run(ops, data)
        assert got != [erased, erased, data]


@pytest.mark.parametrize("name", ["t_wb_ns", "t_rhw_ns"])
def test_a_controller_that_takes_the_phy_for_wires_is_noticed(name):
    bench = SdrBench(5, 100_000_000, timing={name: 100})
    with pytest.raises(PinError):
        every_operation(bench, JEDEC_ID, ONFI_ID)


@pytest.mark.soak
def test_a_preamble_too_short_is_noticed():
    """The pins fall behind a little more with each die whose data follow another's."""
    bench = SdrBench(5, 100_000_000, dies=4, stalls=0.3, timing={"t_rpre_ns": 1})
    with pytest.raises(PinError, match="tRHZ"):
        random_operations(bench, 150)


def test_both_tables_of_the_standard_agree():
    for name, times in SDR_MODES.items():
        theirs = name.removeprefix("t_").upper()
        if theirs in ONFI_SDR[0]:  # tCR is not
            assert list(times) == [mode[theirs] for mode in ONFI_SDR], name


@pytest.mark.parametrize("clock_hz", [50_000_000, 100_000_000, 133_000_000, 285_000_000])
@pytest.mark.parametrize("mode", range(6))
def test_clocks_last_at_least_as_long_as_the_standard_wants(mode, clock_hz):
    t, c = ONFI_SDR[mode], sdr_clocks(mode, clock_hz, skew_ns=1.5, round_trip_ns=6)
    ns = 1e9 / clock_hz
    assert c.write * ns >= t["WC"] and c.read * ns >= t["RC"]
    assert c.write_low * ns >= max(t[name] for name in ("WP", "CLS", "ALS", "DS")) + 1.5
    assert c.write_high * ns >= max(t[name] for name in ("WH", "CLH", "ALH", "DH", "CH")) + 1.5
    assert c.read_low * ns >= t["RP"] + 1.5 and c.read_high * ns >= t["REH"] + 1.5
    assert (c.select_write + c.write_low) * ns >= t["CS"] + 1.5
    assert c.select_read * ns >= t["CHZ"] and (c.select_read + c.sample) * ns >= t["CEA"] + 6
    assert c.sample * ns >= t["REA"] + 6
    assert c.sample * ns <= c.read_low * ns + t["RHOH"]
    assert c.sample * ns <= c.read * ns + t["RLOH"]


@pytest.mark.parametrize(
    "mode, changes, told",
    [
        (5, {"rate_mts": 51}, "rate_mts = 51 .*mode 5 at 100 MHz.*byte in 2 clocks.*at most 50 MT"),
        (4, {}, "rate_mts = 50 .*byte in 3 clocks.*33.3333 MT"),
        (5, {"t_wc_ns": 10}, "t_wc_ns = 10 .*at least 20 ns"),
        (5, {"t_wb_ns": 100}, "t_wb_ns = 100 .*at least 290 ns"),
        (5, {"t_rhw_ns": 100}, "t_rhw_ns = 100 .*at least 290 ns"),
        (5, {"t_rpre_ns": 1}, "t_rpre_ns = 1 .*at least 30 ns"),
        (5, {"t_cs_ns": 0}, "t_cs_ns = 0 .*at least 10 ns"),
    ],
)
def test_profiles_that_are_too_fast_are_refused(mode, changes, told):
    part = profile("tiny")
    timing = dataclasses.replace(sdr_timing(part.timing, 5, 100_000_000), **changes)
    with pytest.raises(ValueError, match=told):
        SdrPhy(dataclasses.replace(part, timing=timing), mode, 100_000_000)


def test_impossible_parameters_are_refused():
    part = profile("tiny")
    with pytest.raises(ValueError, match="mode 6 does not exist: choose 0..5"):
        SdrPhy(part, 6, 100_000_000)
    with pytest.raises(ValueError, match="skew_ns = -1 .*0..50"):
        SdrPhy(part, 5, 100_000_000, skew_ns=-1)


def test_cosmos_with_sdr_fits_at_the_clocks_of_boards():
    part = profile("mlc_cosmos_sdr")
    for clock_hz in (100_000_000, 200_000_000, 250_000_000):
        SdrPhy(part, 5, clock_hz)
    page = part.timing.data_cycles(part.geometry.page_words, 100_000_000)
    assert page == 2 * part.geometry.page_total
    assert cycles(part.timing.t_wc_ns, 100_000_000) == 2
