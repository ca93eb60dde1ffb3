"""The tables of docs/phy.md are what the PHYs do."""

from pathlib import Path

import pytest

from flash_model.profiles import profile
from rtl.phy.nv_ddr_modes import nv_ddr_clocks
from rtl.phy.nv_ddr_timing import nv_ddr_timing
from rtl.phy.sdr_modes import sdr_clocks
from rtl.phy.sdr_timing import sdr_timing

DOCUMENT = Path(__file__).parents[3] / "docs" / "phy.md"
CLOCKS = [mhz * 1_000_000 for mhz in (100, 125, 150, 200, 250)]
PART = profile("mlc_cosmos").timing


def row(*cells):
    return "| " + " | ".join(map(str, cells)) + " |"


def rates(timing, mode):
    return row(mode, *(f"{float(timing(PART, mode, hz).rate_mts):.1f}" for hz in CLOCKS))


def sdr_row(mode):
    c, t = sdr_clocks(mode, 100_000_000), sdr_timing(PART, mode, 100_000_000)
    write, read = f"{c.write_low} + {c.write_high}", f"{c.read_low} + {c.read_high}"
    return row(mode, write, read, c.sample, c.select_write, c.select_read, t.t_wb_ns, t.t_rhw_ns)


def nv_ddr_row(mode):
    c, t = nv_ddr_clocks(mode, 200_000_000), nv_ddr_timing(PART, mode, 200_000_000)
    slots = c.slot, c.gap, c.gap_written, c.gap_read, c.turn, c.released
    return row(mode, *slots, t.t_wc_ns, t.t_wb_ns, t.t_rhw_ns)


TABLES = {
    "SDR_RATES": lambda mode: rates(sdr_timing, mode),
    "SDR_CLOCKS": sdr_row,
    "NV_DDR_RATES": lambda mode: rates(nv_ddr_timing, mode),
    "NV_DDR_CLOCKS": nv_ddr_row,
}


@pytest.mark.parametrize("table", TABLES)
def test_tables(table):
    rows = "\n".join(TABLES[table](mode) for mode in range(6))
    assert rows in DOCUMENT.read_text()
