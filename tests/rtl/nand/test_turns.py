"""Data or command: the rule, choice by choice."""

import pytest
from amaranth.sim import Simulator

from rtl.nand.scheduler import Scheduler
from rtl.nand.turns import Turns


def choices(patience, cases):
    """Whether the page moves in each case; every choice is taken after two clocks."""
    dut = Turns(patience)
    moves = []

    async def bench(ctx):
        for inputs in cases:
            for name in ("page", "reads_on", "command", "urgent", "turned", "gathers"):
                ctx.set(getattr(dut, name), int(name in inputs))
            ctx.set(dut.chosen, 0)
            await ctx.tick()
            ctx.set(dut.chosen, ctx.get(dut.moves) or "command" in inputs)
            moves.append(ctx.get(dut.moves))
            await ctx.tick()

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
    return moves


@pytest.mark.parametrize("patience", [0, 1, 2, 15])
def test_a_command_waits_for_so_many_data_phases(patience):
    pages = [{"page", "command"}] * (2 * patience + 2)
    assert choices(patience, pages) == ([1] * patience + [0]) * 2


def test_what_is_urgent_or_free_goes_first():
    cases = [
        {"page"},  # no command
        {"page", "command"},
        {"page", "command", "urgent"},
        {"page", "command", "turned"},
        {"page", "turned"},
        {"page", "turned", "reads_on"},  # waits for the command to be there
        {"page", "reads_on"},
        {"command"},
        set(),
    ]
    assert choices(2, cases) == [1, 1, 0, 0, 1, 0, 1, 0, 0]


def test_a_command_that_is_begun_goes_on_before_data_once_the_bus_has_turned():
    cases = [
        {"page", "turned", "gathers"},  # waits for the next command to be there
        {"page", "gathers"},  # a turn of its own it is not worth
        {"page", "gathers", "command"},
        {"page", "turned"},
    ]
    assert choices(2, cases) == [0, 1, 1, 1]


@pytest.mark.parametrize("patience", [-1, 16])
def test_impossible_patience_is_refused(bench, patience):
    with pytest.raises(ValueError, match=f"patience = {patience}.*0..15"):
        bench(patience=patience).run([])


def test_impossible_depth_is_refused(bench):
    profile = bench().profile
    with pytest.raises(ValueError, match="depth = 257.*1..256"):
        Scheduler(profile, 100_000_000, 257)
