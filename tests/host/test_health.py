"""Health of a drive: what its cells were really made to do, and arithmetic by hand."""

import io

import numpy as np
import pytest
from rich.console import Console

from flash_model.energy import OPERATIONS
from flash_model.faults import Faults
from host import DriveConfig, KvDrive
from host.generate.health_report import show_health
from host.health import WEAR, drive_health
from rtl.registers import COUNTERS
from tests.host.firmware.test_repair import DIM, HEADS, LAYERS, Contents, some_pages

PAPER = DriveConfig.preset("paper")


def stats(**changes):
    repairs = {"blocks_bad": 3, "pages_moved": 5, "pages_lost": 0}
    return {**dict.fromkeys(COUNTERS, 0), **repairs, "seconds": 100.0, **changes}


def test_life_by_hand():
    """Half as many pages again by the firmware, a third of the rated 3000 erases gone."""
    wear = {"pages_firmware": 500, "group_erases": [900, 1100], "spares": [7, 5],
            "reads_per_block_max": 12, "read_only": False}  # fmt: skip
    h = drive_health(PAPER, stats(pages_programmed=1000), wear, tokens=10.0, token_bytes=8000)
    assert h["pages_appended"] == 1000 and h["write_amplification"] == 1.5
    assert (h["erases_min"], h["erases_mean"], h["erases_max"]) == (900, 1000, 1100)
    assert h["percentage_used"] == pytest.approx(100 / 3) and h["spares_least"] == 5
    assert h["drive_bytes"] == 8 * 16 * 502 * 512 * 4096  # 10 of 512 groups are spares
    assert h["drive_writes_left"] == pytest.approx(2000 / 1.5)
    assert h["tokens_left"] == pytest.approx(2000 / 1.5 * h["drive_bytes"] / 800)
    assert h["years_left"] == pytest.approx(h["tokens_left"] / 0.1 / 31_536_000)


def test_a_worn_out_drive_has_no_life_left():
    wear = {"pages_firmware": 0, "group_erases": [4000], "spares": [0],
            "reads_per_block_max": 0, "read_only": True}  # fmt: skip
    h = drive_health(PAPER, stats(pages_programmed=1), wear, 1.0, 1)
    assert h["drive_writes_left"] == h["tokens_left"] == h["years_left"] == 0
    assert h["percentage_used"] > 100 and h["read_only"]


def test_nothing_appended_yet():
    h = drive_health(PAPER, stats(), {**dict.fromkeys(WEAR), "pages_firmware": 0}, 0.0, 0)
    assert h["write_amplification"] is h["tokens_left"] is h["bytes_per_token"] is None


def test_against_the_cells(tiny, rng):
    """Programs and erases as the array of cells counts them; pages of full groups by hand."""
    g = tiny.flash.geometry
    faults = Faults(g, weak_pages=dict.fromkeys(some_pages(g, 8, 0), 0))
    with KvDrive(tiny, faults=faults) as drive:
        cells = drive.backend.lane.array.buffers
        operations, at = cells["operations"], OPERATIONS.index("program")
        delivered = int(operations[:, at].sum())
        contents = Contents(drive, rng)
        for _ in range(9):
            number = contents.open(256)
            contents.append(number, 250)
            contents.close(number)
        drive.backend.driver.quiesce()
        while drive.backend.firmware.device.read("PROGRAM_USED"):
            drive.backend.firmware.service()
            drive.backend.lane.idle(1000)
        h = drive.health()
        programmed = int(operations[:, at].sum()) - delivered
        assert h["pages_appended"] == 9 * LAYERS * HEADS * 2 * (250 // 4)
        assert h["pages_appended"] + h["pages_firmware"] == programmed
        assert h["pages_firmware"] > h["pages_moved"] > 0 and h["pages_lost"] == 0
        assert h["write_amplification"] == programmed / h["pages_appended"]
        assert h["blocks_erased"] == cells["erase_counts"].sum()
        erases = cells["erase_counts"].reshape(g.channels * g.dies, g.blocks)[:, :62]
        assert h["erases_max"] <= erases.max() and h["erases_mean"] <= erases.mean() * 1.5
        assert h["bytes_per_token"] == 4 * LAYERS * HEADS * DIM
        assert not h["read_only"] and h["spares_least"] >= 1 and h["years_left"] > 0


@pytest.mark.parametrize("backend", ["twin", "golden"])
def test_backends_without_cells(tiny, rng, backend):
    with KvDrive(tiny, backend=backend) as drive:
        number = drive.open(layers=1, kv_heads=1, head_dim=64)
        drive.append(number, 0, *rng.standard_normal((2, 9, 1, 64)).astype(np.float16))
        h = drive.health()
        assert h["pages_appended"] == 4 and h["bytes_per_token"] == 256
        assert h["write_amplification"] is h["erases_mean"] is h["years_left"] is None


@pytest.mark.parametrize(
    "known, most, reads",
    [(True, 77_000, "77,000"), (True, 524_224, "524,224 or more"), (False, None, "reads")],
)
def test_report(known, most, reads):
    """Of a count that has saturated, that it has."""
    wear = dict.fromkeys(WEAR)
    counted = dict.fromkeys(stats()) | {"pages_programmed": 12_000}
    if known:
        wear = {"pages_firmware": 2000, "group_erases": [1, 2], "spares": [1],
                "reads_per_block_max": most, "read_only": True}  # fmt: skip
        counted = stats(pages_programmed=10_000, bits_corrected=4321)
    out = io.StringIO()
    h = drive_health(PAPER, counted, wear, 5.0, 5 * 819_200)
    show_health(Console(file=out, width=300, highlight=False), h)
    text = out.getvalue()
    assert ("write amplification 1.200" in text) == known
    for part in ("4,321 bits", reads + " reads", "READ-ONLY", "drive writes of 135 GB", "819 kB"):
        assert (part in text) == known, part
    assert ("10,000 pages" if known else "12,000 pages") in text
