"""The sequence chosen, by who may go first: see `rtl.nand.scheduler`."""

from amaranth.hdl import Mux

from .operations import Cause, NandOp
from .steps import Sequence

__all__ = ["READ_FIELDS", "choose"]

READ_FIELDS = ("die", "row", "column", "words")
"""Fields of an operation that make a page read."""

_STARTS = {
    NandOp.PROGRAM: Sequence.PROGRAM,
    NandOp.ERASE: Sequence.ERASE,
    NandOp.RESET: Sequence.RESET,
    NandOp.READ_RETRY: Sequence.READ_RETRY,
    NandOp.READ_ID: Sequence.READ_ID,
    NandOp.STATUS: Sequence.STATUS,
}


def choose(m, choice, chosen, planes, x):
    """Fills the choice in, and says whose it is once it is taken.

    Parameters
    ----------
    m : Module
    choice : View
        ``sequence_layout``.
    chosen : Value
        It is taken.
    planes : Planes or None
    x : namespace
        The scheduler's parts (``turns``, ``table``, ``ahead``, ``picker``, ``queues``,
        ``suspension``, ``pool``, ``completions``) and what it knows: the page in front is given by
        no die (``none``), a page is not where it must be (``places``), a die was picked for a read
        (``picks``) and has to be suspended first (``stops``), the pool's operation is ``refused``.
        Signals that are driven: a read is given (``gives``), a die suspended (``suspends``).
    """
    first, dies, head = x.queues.first, x.table.dies, x.pool.head
    turns, table, ahead, picker, queues = x.turns, x.table, x.ahead, x.picker, x.queues
    suspension, pool, completions = x.suspension, x.pool, x.completions
    is_id = head.op == NandOp.READ_ID
    with m.If(turns.moves):
        m.d.comb += [
            choice.sequence.eq(Sequence.DATA),
            choice.die.eq(first.die),
            choice.words.eq(first.words),
        ]
        with m.If(dies.in_status.bit_select(first.die, 1)):
            m.d.comb += choice.sequence.eq(Sequence.DATA_AFTER_STATUS)
        with m.If(x.none):
            m.d.comb += [choice.sequence.eq(Sequence.FILL), choice.cause.eq(Cause.TIMEOUT)]
            with m.If(first.refused):
                m.d.comb += choice.cause.eq(first.row)
            with m.Elif(dies.dead.bit_select(first.die, 1)):
                m.d.comb += choice.cause.eq(Cause.DEAD)
    with m.Elif(table.recover):
        m.d.comb += [
            choice.sequence.eq(Sequence.RECOVER),
            choice.die.eq(table.recover_die),
        ]
    with m.Elif(x.places):
        m.d.comb += [
            choice.sequence.eq(Sequence.READ_CACHE_END),
            choice.die.eq(ahead.die),
            choice.column.eq(ahead.column),
        ]
        with m.If(ahead.set_column):
            m.d.comb += choice.sequence.eq(Sequence.COLUMN)
            if planes:
                m.d.comb += choice.row.eq(ahead.row)
                with m.If(dies.spread.bit_select(ahead.die, 1)):
                    m.d.comb += choice.sequence.eq(Sequence.COLUMN_PLANE)
    with m.Elif(x.picks):
        m.d.comb += [
            choice.sequence.eq(Sequence.READ),
            choice.die.eq(picker.die),
            choice.row.eq(queues.next.row),
            choice.column.eq(queues.next.column),
            x.gives.eq(chosen & ~x.stops),
            x.suspends.eq(chosen & x.stops),
        ]
        with m.If(x.stops):
            m.d.comb += choice.sequence.eq(
                Mux(
                    suspension.erases.bit_select(picker.die, 1),
                    Sequence.SUSPEND_ERASE,
                    Sequence.SUSPEND_PROGRAM,
                )
            )
        with m.Elif((dies.in_front | dies.behind).bit_select(picker.die, 1)):
            m.d.comb += choice.sequence.eq(Sequence.READ_CACHE)
        if planes:
            with m.Elif(queues.pairs.bit_select(picker.die, 1)):
                m.d.comb += choice.sequence.eq(Sequence.READ_PLANE)
    with m.Elif(suspension.resume):
        m.d.comb += [
            choice.die.eq(suspension.resume_die),
            choice.sequence.eq(
                Mux(
                    suspension.erases.bit_select(suspension.resume_die, 1),
                    Sequence.RESUME_ERASE,
                    Sequence.RESUME_PROGRAM,
                )
            ),
        ]
    with m.Elif(pool.starts):
        m.d.comb += [getattr(choice, name).eq(getattr(head, name)) for name in READ_FIELDS]
        m.d.comb += pool.begins.eq(chosen)
        with m.Switch(head.op):
            for started, sequence in _STARTS.items():
                with m.Case(started):
                    m.d.comb += choice.sequence.eq(sequence)
        if planes:
            with m.If(pool.more):
                m.d.comb += choice.sequence.eq(
                    Mux(
                        head.op == NandOp.ERASE,
                        Sequence.ERASE_PLANE,
                        Sequence.PROGRAM_PLANE,
                    )
                )
        with m.If(head.cause == Cause.BAD_DIE):
            m.d.comb += choice.die.eq(0)
        with m.If(x.refused & is_id):
            m.d.comb += [choice.sequence.eq(Sequence.FILL_ID), choice.cause.eq(head.cause)]
        with m.Elif(x.refused):
            m.d.comb += choice.sequence.eq(Sequence.DRAIN)
    with m.Else():
        m.d.comb += [
            choice.sequence.eq(Sequence.STATUS),
            choice.die.eq(completions.check_die),
            completions.checks.eq(chosen),
        ]
        if planes:
            m.d.comb += choice.row.eq(completions.check_row)
            with m.If(completions.several):
                m.d.comb += choice.sequence.eq(Sequence.STATUS_PLANE)
