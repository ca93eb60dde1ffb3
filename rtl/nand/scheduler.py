"""Which sequence the bus does next.

::

           READ
    ops ---------> ReadQueues --- next read of a die ------ Picker ----+
     |                |                                                |
  Refusals            +---------- next page to be moved --- Turns -----+--> o
     |                +---------- pages after it ---------- Ahead -----+
     +-----------> Pool ---- all others: one that can start -----------+
                                                                       |
    done <--- Completions <--- status bytes            die to check ---+

               DieTable: what each die holds and can do

`Turns` says whether page data or a command. Of the commands, resets of late dies come first, then
those for pages about to be moved (CHANGE READ COLUMN has time until its page's turn then), reads,
dies that go on with what was suspended for reads (`rtl.nand.suspension`), the operation that the
pool gives, and the status of a die that has finished a program, an erase or a reset.
"""

from types import SimpleNamespace

from amaranth.hdl import Cat, Module, Mux, Shape, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from .ahead import LOOKAHEAD, Ahead
from .bus import progress_layout
from .choice import READ_FIELDS, choose
from .completions import Completions
from .die_table import DieTable
from .operations import Cause, NandOp, done_layout, operation_layout
from .picker import Picker
from .planes import planes_of
from .pool import Pool
from .read_queues import ReadQueues
from .refusals import Refusals
from .steps import sequence_layout
from .suspension import Suspension, suspension_signature
from .turns import PATIENCE, Turns
from .watchdog import MARGIN

__all__ = ["Scheduler"]


class Scheduler(wiring.Component):
    """Choice of the next sequence.

    Parameters
    ----------
    profile : Profile
    clock_hz : int
        Core clock.
    depth : int
        Most page reads taken from ``ops`` whose data are not yet being moved, 1..256. Two for each
        die keep every die busy.
    patience : int
        Data phases a command waits for, see `rtl.nand.turns`.
    margin : int
        See `rtl.nand.watchdog`.

    Members
    -------
    ops : In(stream(operation_layout(dies)))
        Operations. What holds up those behind it: `rtl.nand.pool`, and a READ for which there is no
        place.
    o : Out(stream(sequence_layout(dies)))
        Next sequence. The choice may change until it is taken.
    ready : In(dies)
        R/B# of the dies.
    progress : In(progress_layout(dies))
        What the bus has done.
    turned : In(1)
        A command would cost no turnaround now.
    w_valid : In(1)
        Data to program are there.
    status_valid, status : In
        The byte that a STATUS sequence has read.
    done : Out(stream(done_layout(dies)))
    pending : Out(1)
        A page is wanted, or a die has work not yet completed.
    skip, next_event : In(32), Out(32)
        See `rtl.nand.watchdog`.
    wants : Out(1)
        ``o`` may be valid. Known before that.
    quiet : Out(1)
        The choice does not change by itself before ``next_event``, if it is not taken.
    """

    def __init__(self, profile, clock_hz, depth, patience=PATIENCE, margin=MARGIN):
        if not 1 <= depth <= 256:
            raise ValueError(f"depth = {depth} is not possible: choose 1..256 page reads")
        self._profile = profile
        self._clock_hz = clock_hz
        self._depth = depth
        self._patience = patience
        self._margin = margin
        self._dies = dies = profile.geometry.dies
        super().__init__(
            {
                "ops": In(stream.Signature(operation_layout(dies))),
                "o": Out(stream.Signature(sequence_layout(dies))),
                "ready": In(dies),
                "progress": In(progress_layout(dies)),
                "turned": In(1),
                "w_valid": In(1),
                "status_valid": In(1),
                "status": In(8),
                "done": Out(stream.Signature(done_layout(dies))),
                "pending": Out(1),
                "skip": In(32),
                "next_event": Out(32),
                "wants": Out(1),
                "quiet": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        planes = planes_of(self._profile)
        m.submodules.queues = queues = ReadQueues(self._dies, self._depth, LOOKAHEAD, planes)
        m.submodules.die_table = table = DieTable(self._profile, self._clock_hz, self._margin)
        m.submodules.refusals = refusals = Refusals(self._profile.geometry)
        m.submodules.ahead = ahead = Ahead(self._dies)
        m.submodules.picker = picker = Picker(self._dies)
        m.submodules.turns = turns = Turns(self._patience)
        m.submodules.pool = pool = Pool(self._dies, planes)
        m.submodules.completions = completions = Completions(self._dies, planes)
        connect(m, completions.done, flipped(self.done))
        has_suspension = self._profile.timing.suspend is not None
        if has_suspension:
            m.submodules.suspension = suspension = Suspension(self._profile)
        else:
            suspension = suspension_signature(self._dies).create()  # all 0
        choice, first, dies = self.o.payload, queues.first, table.dies
        op, head = self.ops.payload, pool.head

        chosen = Signal()
        moves = Signal()  # a data phase
        gives = Signal()  # a read
        places = Signal()  # a page about to be moved is not yet where it must be
        picks = Signal()  # a die for a read
        stops = Signal()  # it has to be suspended first
        suspends = Signal()  # and is
        refused = Signal()  # the operation that the pool gives
        none = Signal()  # no die gives the next page in order
        # Dies that go on with reads while they hold a page.
        waiting = queues.waiting
        if planes and planes.before_ahead:
            waiting = waiting & ~queues.pairs
        is_read = op.op == NandOp.READ
        is_id = head.op == NandOp.READ_ID
        m.d.comb += [
            chosen.eq(self.o.valid & self.o.ready),
            moves.eq(chosen & turns.moves),
            places.eq(ahead.finish | ahead.set_column),
            self.o.valid.eq(turns.valid),
            self.pending.eq(table.pending | queues.valid),
            self.wants.eq(
                Cat(turns.wants, table.recover, places, picks, suspension.resume).any()
                | pool.there
                | completions.check
            ),
            self.quiet.eq(
                table.quiet
                & ahead.quiet
                & picker.quiet
                & turns.quiet
                & completions.quiet
                & (suspension.quiet if has_suspension else 1)
                & pool.quiet
            ),
        ]
        m.d.comb += [
            table.ready.eq(self.ready),
            table.progress.eq(self.progress),
            table.waiting.eq(queues.waiting),
            table.chosen.eq(chosen),
            table.choice.eq(choice.sequence),
            table.die.eq(choice.die),
            table.stays.eq(queues.stays),
            table.checked.eq(completions.complete),
            table.checked_die.eq(completions.complete_die),
            table.skip.eq(self.skip),
            table.loses.eq(moves & ~first.refused),
            self.next_event.eq(table.next_event),
            refusals.op.eq(op),
            refusals.dead.eq(dies.dead),
            refused.eq(pool.refused),
            none.eq(
                first.refused | ((dies.lost & dies.usable) | dies.dead).bit_select(first.die, 1)
            ),
        ]
        m.d.comb += [getattr(queues.i.payload, name).eq(getattr(op, name)) for name in READ_FIELDS]
        with m.If(op.die >= self._dies):  # BAD_DIE, known before other causes
            m.d.comb += queues.i.payload.die.eq(0)
        with m.If(refusals.cause != Cause.NONE):
            m.d.comb += [
                queues.i.payload.refused.eq(1),
                queues.i.payload.row[: Shape.cast(Cause).width].eq(refusals.cause),
            ]
            with m.If(refusals.cause == Cause.NO_WORDS):
                m.d.comb += queues.i.payload.words[0].eq(1)
        m.d.comb += [
            queues.die.eq(picker.die),
            queues.start.eq(gives),
            queues.move.eq(moves),
            queues.ahead.eq(ahead.ahead),
            queues.dead.eq(dies.dead),
            ahead.valid.eq(queues.look_valid),
            ahead.page.eq(queues.look),
            ahead.chosen.eq(chosen),
            ahead.moved.eq(moves),
            ahead.moved_die.eq(first.die),
            ahead.moved_refused.eq(first.refused),
            # A cache read of a die whose page is in front puts its output at column 0. After the
            # last page that was lost, others of its die count again.
            ahead.again.eq(
                (gives & dies.in_front.bit_select(picker.die, 1))
                | (moves & dies.lost.bit_select(first.die, 1))
            ),
            ahead.dies.eq(dies),
            ahead.waiting.eq(waiting & (~suspension.suspended | suspension.open)),
            picker.asking.eq(dies.reads | suspension.interrupts),
            picker.drop.eq(chosen),
            picker.used.eq(gives | suspends),
            picker.hurried.eq(turns.first_read | ahead.read),
            picker.hurried_die.eq(Mux(turns.first_read, first.die, ahead.die)),
            turns.page.eq(
                queues.valid
                & (
                    (
                        (dies.in_front & dies.usable).bit_select(first.die, 1)
                        & (
                            (
                                (first.column == 0)
                                & ~first.further
                                & ~dies.spread.bit_select(first.die, 1)
                            )
                            | dies.at_column.bit_select(first.die, 1)
                        )
                    )
                    | none
                )
            ),
            turns.reads_on.eq(dies.reads.bit_select(first.die, 1)),
            turns.command.eq(
                table.recover | places | picks | suspension.resume | pool.starts | completions.check
            ),
            turns.urgent.eq(ahead.urgent),
            turns.turned.eq(self.turned),
            turns.chosen.eq(chosen),
            completions.op.eq(head.op),
            completions.die.eq(head.die),
            completions.tag.eq(head.tag),
            completions.refuses.eq(pool.refuses | (pool.begins & refused & ~is_id)),
            completions.begins.eq(pool.begins & ~refused & ~is_id),
            completions.cause.eq(head.cause),
            completions.due.eq(dies.due),
            completions.recovered.eq(dies.recovered),
            completions.dead.eq(dies.dead),
            completions.chosen.eq(chosen),
            completions.status_valid.eq(self.status_valid),
            completions.status.eq(self.status),
        ]

        if planes:
            m.d.comb += [
                pool.open.eq(table.gathers),
                completions.row.eq(head.row),
                completions.continues.eq(table.gathers.bit_select(head.die, 1)),
            ]
            m.d.comb += turns.gathers.eq((table.gathers & ~dies.working).any())
            if planes.before_ahead:
                m.d.comb += table.together.eq(queues.pairs)
        m.d.comb += picks.eq(picker.valid)
        if has_suspension:
            holds = dies.in_front | dies.behind
            may_be_read = (dies.reads | suspension.interrupts).bit_select(picker.die, 1)
            m.d.comb += [
                suspension.waiting.eq(queues.waiting),
                suspension.working.eq(dies.working),
                suspension.busy.eq(dies.busy),
                suspension.usable.eq(dies.usable),
                suspension.holds.eq(holds),
                suspension.chosen.eq(chosen),
                suspension.choice.eq(choice.sequence),
                suspension.die.eq(choice.die),
                suspension.row.eq(choice.row),
                suspension.asked.eq(picker.valid & may_be_read),
                suspension.asked_die.eq(picker.die),
                suspension.asked_row.eq(queues.next.row),
                table.suspended.eq(suspension.suspended),
                table.open.eq(suspension.open),
                stops.eq(suspension.interrupts.bit_select(picker.die, 1)),
                # A die that was to be suspended may have got ready since it was picked.
                picks.eq(picker.valid & may_be_read & ~suspension.conflict),
            ]
        m.d.comb += [
            *(pool.ops.payload[name].eq(op[name]) for name, _ in op.shape()),
            pool.ops.valid.eq(self.ops.valid & ~is_read),
            pool.cause.eq(refusals.cause),
            pool.idle.eq(dies.idle),
            pool.answers.eq(dies.answers & ~queues.waiting),
            pool.dead.eq(dies.dead),
            pool.w_valid.eq(self.w_valid),
            pool.no_reads.eq(~queues.valid),
            pool.free.eq(completions.free),
            pool.chosen.eq(chosen),
            queues.i.valid.eq(self.ops.valid & is_read & pool.passes),
            self.ops.ready.eq(Mux(is_read, queues.i.ready & pool.passes, pool.ops.ready)),
        ]

        choose(
            m,
            choice,
            chosen,
            planes,
            SimpleNamespace(
                turns=turns,
                table=table,
                ahead=ahead,
                picker=picker,
                queues=queues,
                suspension=suspension,
                pool=pool,
                completions=completions,
                none=none,
                places=places,
                picks=picks,
                stops=stops,
                refused=refused,
                gives=gives,
                suspends=suspends,
            ),
        )
        return m
