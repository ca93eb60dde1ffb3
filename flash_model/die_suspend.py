"""Suspend and resume of a die (`flash_model.suspend`; a maker's commands, none of ONFI's).

The suspend command of a program or an erase is taken while R/B# is low for it. If more than tSUSP
of the operation is left, R/B# rises after tSUSP and the rest is kept; if not, the operation just
ends. While something is suspended the die reads and tells its status, with SR2 high; it neither
programs nor erases. The resume command makes R/B# fall for the rest. A reset abandons what is
suspended. What was programmed or erased is in the cells from the first confirmation on: a part's
cells are in between, so its block must not be read (`flash_model.monitor` tells).

A program or erase of several planes is suspended and goes on as a whole, and each plane keeps its
verdict. Between its planes (11h, D1h) there is nothing to suspend. A resume command forgets a
multi-plane read or a copy that has begun.
"""

from amaranth.hdl import Signal

from .die_state import Work
from .onfi import BusCycle
from .timing import cycles

__all__ = ["suspend_commands"]


def suspend_commands(m, moment, suspend, clock_hz):
    """What the four commands do, in a command cycle; ``suspend`` is None for dies without."""
    if suspend is None:
        return
    die, old, new = moment.die, moment.old, moment.new
    t_susp = cycles(suspend.t_susp_ns, clock_hz)
    commanded = Signal()
    m.d.comb += commanded.eq(die.strobe & (die.cycle == BusCycle.COMMAND))
    for work, most, stops, goes_on in (
        (Work.ERASE, suspend.erase_most, suspend.erase_suspend, suspend.erase_resume),
        (Work.PROGRAM, suspend.program_most, suspend.program_suspend, suspend.program_resume),
    ):
        if not most:
            continue
        with m.If(commanded & (die.symbol == stops) & (old.work == work) & (die.left > t_susp)):
            m.d.comb += [
                die.keeps.eq(1),
                *moment.falls(t_susp),
                new.suspended.eq(work),
                new.work.eq(Work.NONE),
                new.failed_kept.eq(die.verdict | old.no_row.replicate(len(die.verdict))),
                new.no_row.eq(0),
                new.caches.eq(0),
            ]
        with m.If(commanded & (die.symbol == goes_on) & (old.suspended == work) & moment.at_rest):
            m.d.comb += [
                *moment.falls(die.kept),
                die.verdict_then.eq(old.failed_kept),
                new.suspended.eq(Work.NONE),
                new.work.eq(work),
                new.no_row.eq(0),
                new.caches.eq(0),
            ]
