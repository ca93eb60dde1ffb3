"""When a die is late, against the times of its profile."""

import dataclasses

import pytest
from amaranth.sim import Simulator

from flash_model.profiles import profile
from flash_model.timing import cycles
from rtl.nand.steps import Sequence
from rtl.nand.watchdog import Watchdog

HZ = 100_000_000
DIES = 3
TIMES = {
    Sequence.READ: "t_r_ns",
    Sequence.READ_CACHE: "t_r_ns",
    Sequence.READ_CACHE_END: "t_r_ns",
    Sequence.PROGRAM: "t_prog_ns",
    Sequence.ERASE: "t_bers_ns",
    None: "t_bers_ns",  # nothing was asked of it
}


def tiny():
    flash = profile("tiny")
    return dataclasses.replace(flash, geometry=dataclasses.replace(flash.geometry, dies=DIES))


def watch(margin, sequence, die=1, begin=0):
    """Clocks from R/B# low to its reset, and from that to the end; whether it is dead then.

    Die 0 is low for ``begin`` clocks before, so that the counter stands anywhere.
    """
    dut = Watchdog(tiny(), HZ, margin)
    found = []

    async def bench(ctx):
        async def choose(choice):
            ctx.set(dut.chosen, 1)
            ctx.set(dut.choice, choice)
            ctx.set(dut.die, die)
            await ctx.tick()
            ctx.set(dut.chosen, 0)

        high = (1 << DIES) - 1
        ctx.set(dut.settled, high & ~1)
        for _ in range(begin):
            await ctx.tick()
        ctx.set(dut.settled, high)
        if sequence is not None:
            await choose(sequence)
        ctx.set(dut.settled, high & ~(1 << die))
        for end in ("recover", "dead"):
            clocks = 0
            while not ctx.get(getattr(dut, end)):
                await ctx.tick()
                clocks += 1
                assert clocks < 20_000
            found.append(clocks)
            if end == "recover":
                assert ctx.get(dut.recover_die) == die and not ctx.get(dut.dead)
                await choose(Sequence.RECOVER)
        found.append(ctx.get(dut.dead))

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
    return found


@pytest.mark.parametrize("margin, begin", [(1, 0), (2, 300), (3, 1000)])
@pytest.mark.parametrize("sequence", TIMES)
def test_late_in_time(sequence, margin, begin):
    t = tiny().timing
    late, reset, dead = watch(margin, sequence, begin=begin)
    for clocks, ns in ((late, getattr(t, TIMES[sequence])), (reset, t.t_rst_ns)):
        least = margin * cycles(ns, HZ)
        most = 4 * margin * cycles(t.t_wb_ns + max(ns, t.t_r_ns + t.t_rcbsy_ns), HZ) + DIES + 1
        assert least <= clocks <= most
    assert dead == 0b010


def test_a_die_that_rises_is_not_late():
    """Low again and again, each time almost as long as it may."""
    dut = Watchdog(tiny(), HZ, 1)
    t_r = cycles(tiny().timing.t_r_ns, HZ)

    async def bench(ctx):
        for _ in range(40):
            ctx.set(dut.chosen, 1)
            ctx.set(dut.choice, Sequence.READ_CACHE)
            await ctx.tick()
            ctx.set(dut.chosen, 0)
            ctx.set(dut.settled, 0b110)
            for _ in range(t_r):
                assert not ctx.get(dut.recover)
                await ctx.tick()
            ctx.set(dut.settled, 0b111)
            await ctx.tick()

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()


@pytest.mark.parametrize("margin", [0, 65])
def test_impossible_margin_is_refused(bench, margin):
    with pytest.raises(ValueError, match=f"margin = {margin}.*1..64"):
        bench(margin=margin).run([])
