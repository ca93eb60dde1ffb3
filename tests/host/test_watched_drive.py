"""The protocol monitor on every channel of whole drives: no rule broken, no operation unseen.

Two drives: preset ``tiny``, and one of four channels with three dies each that suspend programs and
erases for reads. Then what was recorded is changed, to see that it was exact.
"""

import dataclasses

import numpy as np
import pytest

from cosim.bus_monitors import BusMonitors
from flash_model.bit_errors import BitErrorRate
from flash_model.faults import Faults
from flash_model.profiles import PROFILES, profile
from flash_model.suspend import Suspend
from host import KvDrive
from host.firmware import Firmware
from rtl.config import DriveConfig
from rtl.nand.phy import Cycle
from tests.host.firmware.test_repair import Contents, some_pages

HEADS, DIM = 2, 64
SUSPENDS = "tiny, with suspend"
SENSE, PROGRAM, ERASE = (0x30, 0x31), (0x10,), (0xD0,)
SET_FEATURES, RESET = 0xEF, 0xFF


@pytest.fixture
def several(monkeypatch):
    """The second drive, with the smallest engine and few pages."""
    base = profile("tiny")
    suspend = Suspend(t_susp_ns=200, erase_most=4, program_most=2)
    part = dataclasses.replace(
        base,
        name=SUSPENDS,
        timing=dataclasses.replace(base.timing, suspend=suspend),
        geometry=dataclasses.replace(base.geometry, blocks=16, pages=8),
    )
    monkeypatch.setitem(PROFILES, SUSPENDS, part)
    return DriveConfig.preset(
        "tiny", profile=SUSPENDS, channels=4, dies=3, max_queries_per_kv=1, max_head_dim=64
    )


@pytest.fixture
def watched():
    """Function: a drive and the monitors of its channels."""
    drives = []

    def make(config, **options):
        monitors = BusMonitors(config.flash, config.clock_hz, page_order=True)
        drives.append(KvDrive(config, watch=monitors, **options))
        return drives[-1], monitors

    yield make
    for drive in drives:
        drive.shutdown()


@pytest.fixture
def normal(rng):
    return lambda *shape: rng.standard_normal(shape).astype(np.float16)


def check(drive, monitors):
    """No rule is broken; the monitors have seen what the drive counts, and what its cells did."""
    drive.backend.driver.quiesce()
    stats = drive.stats()
    monitors.check()
    counters, own = stats["channel_counters"], drive.backend.firmware.device.own
    for name, seen in (
        ("pages_read", monitors.pages_out),
        ("pages_programmed", monitors.count(*PROGRAM)),
    ):
        assert seen == [
            channel[name] + mine for channel, mine in zip(counters, own[name], strict=True)
        ]
    assert sum(monitors.count(*ERASE)) == stats["blocks_erased"]
    check_cells(drive, monitors)
    return stats


def check_cells(drive, monitors):
    """What each die was given is what its cells did, in the whole life of the array."""
    g = drive.config.flash.geometry
    done = drive.backend.lane.array.buffers["operations"].reshape(g.channels, g.dies, 3)
    for channel, seen in enumerate(monitors.commands):
        for die in range(g.dies):
            given = [sum(seen[die, byte] for byte in kind) for kind in (SENSE, PROGRAM, ERASE)]
            assert given == done[channel, die].tolist()


def use(drive, normal, turns):
    """Append, attend, step and read, while programs are still under way."""
    number = drive.open(layers=2, kv_heads=HEADS, head_dim=DIM, max_tokens=512)
    for turn in range(turns):
        layer = turn % 2
        drive.append(number, layer, *normal(2, 40, HEADS, DIM))
        drive.attend(number, layer, normal(HEADS, DIM))
        q, k, v = normal(3, HEADS, DIM)
        drive.step(number, layer, q, k, v)
        held = drive.tokens(number, layer)
        got = drive.read(number, layer, held - 1, held)
        assert np.array_equal(got[0][0], k) and np.array_equal(got[1][0], v)


def test_append_attend_step_and_read(watched, tiny, normal):
    drive, monitors = watched(tiny)
    use(drive, normal, turns=8)
    stats = check(drive, monitors)
    assert stats["pages_read"] > 400 and stats["pages_programmed"] > 200
    lane = drive.backend.lane
    assert lane.simulated_clocks < 0.9 * lane.cycle  # much was skipped


def test_programs_and_erases_step_aside_for_reads(watched, several, normal):
    """Attention of a sequence that stays, while others come and go, and while blocks are erased."""
    drive, monitors = watched(several)
    firmware, row = drive.backend.firmware, several.flash.geometry.row(9, 0)
    stays = drive.open(layers=1, kv_heads=HEADS, head_dim=DIM, max_tokens=256)
    drive.append(stays, 0, *normal(2, 200, HEADS, DIM))
    for die in range(several.dies):  # of a block that nothing was written to
        ticket = drive.submit([(stays, 0, normal(HEADS, DIM))] * 2)
        for channel in range(several.channels):
            assert firmware.device.erase(channel, die, row, pause=100)
        drive.wait(ticket)
    for _ in range(8):
        number = drive.open(layers=1, kv_heads=HEADS, head_dim=DIM, max_tokens=256)
        for _ in range(3):
            ticket = drive.submit([(stays, 0, normal(HEADS, DIM))])
            drive.append(number, 0, *normal(2, 50, HEADS, DIM))
            drive.wait(ticket)
        drive.close(number)
    stats = check(drive, monitors)
    assert stats["blocks_erased"] >= several.channels * several.dies
    s = several.flash.timing.suspend
    for suspend, resume, least in (
        (s.program_suspend, s.program_resume, 5),
        (s.erase_suspend, s.erase_resume, 1),
    ):
        assert min(monitors.count(suspend)) >= least
        assert monitors.count(suspend) == monitors.count(resume)


def test_programs_and_erases_that_fail(watched, several, rng):
    """Bad blocks have others stand in, and their pages are moved."""
    g = several.flash.geometry
    places = some_pages(g, 6, 4, g.blocks)
    faults = Faults(
        g,
        weak_pages=dict.fromkeys(some_pages(g, 8, 3, g.blocks), 0),
        weak_blocks={(c, d, row // g.pages): n % 2 for n, (c, d, row) in enumerate(places)},
        bad_blocks=[(0, 1, 2)],
    )
    drive, monitors = watched(several, faults=faults)
    contents = Contents(drive, rng)
    for _ in range(7):
        if len(contents.kept) == 2:
            contents.close(min(contents.kept))
        number = contents.open(120)
        for tokens in (13, 47, 40, 20):
            contents.append(number, tokens)
    contents.check()
    stats = check(drive, monitors)
    assert stats["program_failures"] >= 3 and stats["pages_moved"] >= 10
    assert stats["blocks_bad"] > 1 + stats["program_failures"]  # erases have failed too


def test_read_retry(watched, tiny, rng):
    """Pages a year old, with about 16 wrong bits in a codeword of t = 9, 4 at the next level."""
    rate = BitErrorRate(erases=1, fresh=1e-6, worn=0, kept=4e-3, disturbed=0)
    drive, monitors = watched(tiny, faults=Faults(tiny.flash.geometry, seed=3, rate=rate))
    array = drive.backend.lane.array
    contents = Contents(drive, rng)
    contents.append(contents.open(128), 40, fill="preload")
    array.buffers["erase_counts"][:] = 1
    array.now_s = 365 * 86_400
    contents.check()
    stats = check(drive, monitors)
    assert 10 < stats["read_retries"] < sum(monitors.count(SET_FEATURES))


def test_the_power_comes_back(watched, tiny, normal):
    """A monitor begins anew with it, as the dies do."""
    drive, monitors = watched(tiny)
    lane = drive.backend.lane
    number = drive.open(layers=1, kv_heads=HEADS, head_dim=DIM)
    drive.append(number, 0, *normal(2, 60, HEADS, DIM))
    assert lane.power_cut(seed=1)  # in the middle of programs
    Firmware(lane, tiny).start()
    monitors.check()
    check_cells(drive, monitors)
    assert monitors.count(RESET) == [2 * tiny.dies] * tiny.channels


def record(**options):
    """What the buses of ``tiny`` show in a short run, and the clocks that were simulated."""
    rng, events = np.random.default_rng(7), []
    with KvDrive(DriveConfig.preset("tiny"), watch=events.append, **options) as drive:
        use(drive, lambda *shape: rng.standard_normal(shape).astype(np.float16), turns=3)
        drive.backend.driver.quiesce()
        return np.concatenate(events), drive.backend.lane.simulated_clocks


@pytest.fixture(scope="module")
def recorded():
    return record()


def told(config, events, **longer):
    """Rules that what was recorded breaks, if some times have to be so many clocks longer."""
    timing, period = config.flash.timing, 1e9 / config.clock_hz
    times = {name: getattr(timing, name) + clocks * period for name, clocks in longer.items()}
    flash = dataclasses.replace(config.flash, timing=dataclasses.replace(timing, **times))
    monitors = BusMonitors(flash, config.clock_hz)
    monitors(events)
    return {violation.rule for _, violation in monitors.violations}


def test_skipping_changes_nothing_on_the_buses(recorded):
    events, clocks = recorded
    again, all_clocks = record(skip_idle=False)
    assert np.array_equal(events, again) and clocks < 0.9 * all_clocks


@pytest.mark.parametrize(
    "name, clocks, rules",
    [
        ("t_wc_ns", 1, {"tWC", "tRHW"}),  # commands begin earlier
        ("t_whr_ns", 1, {"tWHR"}),
        ("t_adl_ns", 1, {"tADL"}),
        ("t_rpre_ns", 1, {"preamble", "tWHR"}),  # the preamble comes after tWHR
        ("t_rhw_ns", 1, {"tRHW"}),
        ("t_rr_ns", 4, {"tRR"}),  # to choose what comes next takes up to three
    ],
)
def test_cycles_are_right_to_the_clock(recorded, tiny, name, clocks, rules):
    """Times of the interface that are a little longer than the controller's are not kept."""
    events, _ = recorded
    assert told(tiny, events, **{name: clocks - 1}) == set()
    assert told(tiny, events, **{name: clocks}) == rules


def test_a_symbol_left_out_or_too_early_is_told(recorded, tiny):
    events, _ = recorded
    mine = events[events["channel"] == 1][:8000]
    assert told(tiny, mine) == set()
    held = np.isin(mine["symbol"], [Cycle.COMMAND.value, Cycle.ADDRESS.value])
    chosen = np.flatnonzero(held & (mine["strobe"] == 1))[:-20]  # something has to come after it
    for at in np.random.default_rng(3).choice(chosen, 20, replace=False):
        assert told(tiny, np.delete(mine, at)), mine[at]
        early = mine.copy()
        early["cycle"][at] -= 1
        assert "tWC" in told(tiny, early), mine[at]


def test_an_error_of_the_watcher_is_raised(tiny):
    def fail(events):
        raise ZeroDivisionError("told through C")

    with pytest.raises(ZeroDivisionError, match="told through C"):
        KvDrive(tiny, watch=fail)
