"""Operations that wait for their dies, READs excepted, and which of them starts next.

::

               +-- READ_RETRY, READ_ID -----> short  --+
    ops -------+-- PROGRAM -----------------> programs-+--> head
               +-- ERASE, RESET, STATUS ----> others --+

    of the heads that can start: short, then programs, then others

Each line keeps its order. An operation that comes while the other line holds one of its die waits
for that one, so operations of a die start in order. In front of the pool wait: what finds its line
full, a READ or a short operation whose die has one in here, any operation whose die has a short one
in here, and all behind a READ_ID. Reads behind such a READ lose little by it: their data come after
its data, and those after the operation that it waits for.

At most one program of each other die, of one plane or several, goes before an erase that could
start: a die's next program needs the status of its last, which the scheduler reads when nothing can
start. Programs that are refused go behind what can start.
"""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from .operations import Cause, NandOp, operation_layout

__all__ = ["OTHERS", "PROGRAMS", "Pool", "pool_entry"]

PROGRAMS, OTHERS = 2, 2
"""Places of the lines, powers of 2."""


def pool_entry(dies):
    """An operation, and why it is refused."""
    return data.StructLayout({**operation_layout(dies).members, "cause": Cause})


class _Line:
    """What is known of the places of a line; the operations themselves are in a memory.

    Parameters
    ----------
    name : str
    depth : int
        Places.
    base : int
        Where they begin in the memory.
    dies : int
    others : int
        Places of the line that this one may have to wait for.
    """

    def __init__(self, name, depth, base, dies, others=0):
        self.depth, self.base = depth, base
        self.taken = Signal(depth, name=f"{name}_taken")
        self.die = [
            Signal(max(1, ceil_log2(dies)), name=f"{name}_die_{place}") for place in range(depth)
        ]
        self.refused = Signal(depth, name=f"{name}_refused")
        self.waits = [  # for these places of the other line
            Signal(others, name=f"{name}_waits_{place}") for place in range(depth)
        ]
        self.head = Signal(range(depth), name=f"{name}_head")
        self.tail = Signal(range(depth), name=f"{name}_tail")
        self.same = Signal(depth, name=f"{name}_same")  # of the die of what comes
        self.joins = Signal(depth, name=f"{name}_joins")
        self.leaves = Signal(depth, name=f"{name}_leaves")

    def of_head(self, values):
        """Of a value for each place, that of the head."""
        return Cat(*values).word_select(self.head, len(values[0]))

    @property
    def refuses_head(self):
        """It was refused when it came, or its die has died since."""
        return self.refused.bit_select(self.head, 1)

    def ready(self, dies):
        """The head may start, as far as its die and the other line let it."""
        due = self.taken.bit_select(self.head, 1)
        if len(self.waits[0]):
            due = due & ~self.of_head(self.waits).any()
        return due & (self.refuses_head | self.of_dies(dies))

    def of_dies(self, dies):
        """Of a bit for each die, that of the head's."""
        return Cat(dies.bit_select(die, 1) for die in self.die).bit_select(self.head, 1)

    def moves(self, m, die, cause, dead, other=None):
        """One comes, of this die, one leaves, one leaves the other line; these dies are dead."""
        m.d.sync += self.taken.eq((self.taken | self.joins) & ~self.leaves)
        if self.depth > 1:
            m.d.sync += [
                self.tail.eq(self.tail + self.joins.any()),
                self.head.eq(self.head + self.leaves.any()),
            ]
        for place in range(self.depth):
            with m.If(self.joins[place]):
                m.d.sync += [self.die[place].eq(die), self.refused[place].eq(cause != Cause.NONE)]
            with m.Elif(dead.bit_select(self.die[place], 1)):
                m.d.sync += self.refused[place].eq(1)
            if other is not None:
                waits = Mux(self.joins[place], other.same, self.waits[place])
                m.d.sync += self.waits[place].eq(waits & ~other.leaves)


class Pool(wiring.Component):
    """Operations that have not started. Latency 2 from ``ops`` to ``starts``.

    Parameters
    ----------
    dies : int
    planes : Planes, optional
        Give programs and erases of several planes together.

    Members
    -------
    ops : In(stream(operation_layout(dies)))
        READs are not taken: they may pass by while ``passes``.
    cause : In(Cause)
        Why what comes is refused.
    passes : Out(1)
        Nothing in here has to start before what comes.
    idle, answers, dead : In(dies)
        Dies that can start an operation; that can tell their status; that will do neither.
    w_valid : In(1)
        Data to program are there.
    no_reads : In(1)
        The data of all READs have gone.
    free : In(1)
        An operation may complete.
    chosen : In(1)
        A sequence was chosen: what can start may change.
    begins : In(1)
        It is that of ``head``.
    head : Out(pool_entry(dies))
    refused : Out(1)
        It is, for ``head.cause``. Known before that, as ``starts`` is.
    there : Out(1)
        Something may start or complete.
    starts : Out(1)
        ``head`` can start, on the bus.
    refuses : Out(1)
        It completes in this clock, without the bus.
    quiet : Out(1)
        Nothing here changes at the coming clock edge, if no operation comes and none is chosen.
    open : In(dies), more : Out(1)
        With ``planes``: dies that wait for more of their command, which are also among ``idle``;
        the operation behind ``head`` belongs to the same command.
    """

    def __init__(self, dies, planes=None):
        self._dies, self._planes = dies, planes
        super().__init__(
            ({"open": In(dies), "more": Out(1)} if planes else {})
            | {
                "ops": In(stream.Signature(operation_layout(dies))),
                "cause": In(Cause),
                "passes": Out(1),
                "idle": In(dies),
                "answers": In(dies),
                "dead": In(dies),
                "w_valid": In(1),
                "no_reads": In(1),
                "free": In(1),
                "chosen": In(1),
                "begins": In(1),
                "head": Out(pool_entry(dies)),
                "refused": Out(1),
                "there": Out(1),
                "starts": Out(1),
                "refuses": Out(1),
                "quiet": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        short = _Line("short", 1, 0, self._dies)
        programs = _Line("program", PROGRAMS, PROGRAMS, self._dies, OTHERS)
        others = _Line("other", OTHERS, PROGRAMS + OTHERS, self._dies, PROGRAMS)
        lines = (short, programs, others)  # the first that can start does
        m.submodules.entries = entries = memory.Memory(
            shape=self.head.shape(), depth=others.base + others.depth, init=[]
        )
        write, read = entries.write_port(), entries.read_port(domain="comb")
        op = self.ops.payload
        is_id = Signal()  # the short one is a READ_ID
        is_status = Signal(OTHERS)

        # What comes joins a line, or waits.
        held = Signal()  # by a short one
        mine = Signal(len(lines))
        m.d.comb += [
            *(line.same.eq(Cat(die == op.die for die in line.die) & line.taken) for line in lines),
            held.eq(short.same.any() | (is_id & short.taken.any())),
            self.passes.eq(~(held | programs.same.any() | others.same.any())),
            mine.eq(0b100),
        ]
        with m.Switch(op.op):
            with m.Case(NandOp.READ):
                m.d.comb += mine.eq(0)
            with m.Case(NandOp.READ_RETRY, NandOp.READ_ID):
                m.d.comb += mine.eq(0b001)
            with m.Case(NandOp.PROGRAM), m.If(op.words != 0):
                m.d.comb += mine.eq(0b010)
        for line, joins in zip(lines, mine):
            room = ~line.taken.bit_select(line.tail, 1) & (self.passes if line is short else ~held)
            with m.If(joins):
                m.d.comb += [self.ops.ready.eq(room), write.addr.eq(line.base + line.tail)]
            m.d.comb += line.joins.eq((self.ops.valid & room & joins) << line.tail)
        m.d.comb += [
            write.en.eq(self.ops.valid & self.ops.ready),
            *(write.data[name].eq(op[name]) for name, _ in op.shape()),
            write.data.cause.eq(self.cause),
        ]
        with m.If(short.joins):
            m.d.sync += is_id.eq(op.op == NandOp.READ_ID)
        for place in range(OTHERS):
            with m.If(others.joins[place]):
                m.d.sync += is_status[place].eq(op.op == NandOp.STATUS)

        # Which can start.
        goes = self.idle | self.dead
        may_start = (
            short.ready(goes) & (self.no_reads | ~is_id),
            programs.ready(goes) & self.w_valid,
            Mux(
                is_status.bit_select(others.head, 1),
                others.ready(self.answers | self.dead),
                others.ready(goes),
            ),
        )
        can_start = Signal(len(lines))
        line = Signal(range(len(lines)))  # that of `head`
        line_next = Signal.like(line)
        there = self.there
        pops = Signal()
        m.d.comb += [can_start.eq(Cat(may_start)), line_next.eq(line)]
        with m.If(can_start[0]):
            m.d.comb += line_next.eq(0)
        with m.Elif(can_start[1] & ~(can_start[2] & programs.refuses_head)):
            m.d.comb += line_next.eq(1)
        with m.Elif(can_start[2]):
            m.d.comb += line_next.eq(2)
        m.d.sync += [there.eq(can_start.any() & ~self.chosen & ~pops), line.eq(line_next)]

        # The one that does. What it may do is known without the memory.
        refused = self.refused
        completes = Signal()
        at_once = Signal()
        m.d.comb += [
            *(self.head[name].eq(read.data[name]) for name, _ in op.shape()),
            self.head.cause.eq(
                Mux(self.dead.bit_select(read.data.die, 1), Cause.DEAD, read.data.cause)
            ),
        ]
        with m.Switch(line):
            for number, each in enumerate(lines):
                with m.Case(number):
                    refuses = Signal(name=f"refuses_{number}")
                    m.d.comb += [
                        read.addr.eq(each.base + each.head),
                        each.leaves.eq(pops << each.head),
                        refuses.eq(each.refuses_head),
                        refused.eq(refuses),
                        completes.eq(refuses),
                    ]
                    if each is short:
                        m.d.comb += [completes.eq(refuses & ~is_id), at_once.eq(completes)]
                    if each is others:
                        m.d.comb += [
                            completes.eq(refuses | is_status.bit_select(each.head, 1)),
                            at_once.eq(refuses),
                        ]
        m.d.comb += [
            # The words of a refused program have to be taken first: it is none of `at_once`.
            self.starts.eq(there & ~at_once & (self.free | ~completes)),
            self.refuses.eq(there & at_once & self.free & ~self.chosen),
            pops.eq(self.begins | self.refuses),
            self.quiet.eq(
                ~(there & at_once & self.free)
                & (there == can_start.any())
                & (~there | (line == line_next))
            ),
        ]
        if self._planes:
            then = entries.read_port(domain="comb")
            self._follows(m, line, {1: programs, 2: others}, then, ~refused)
        short.moves(m, op.die, self.cause, self.dead)
        programs.moves(m, op.die, self.cause, self.dead, others)
        others.moves(m, op.die, self.cause, self.dead, programs)
        return m

    def _follows(self, m, line, lines, then, good):
        """Whether the operation behind the head belongs to the same command."""
        planes, head = self._planes, self.head
        due = Signal()  # there is one, and nothing has to start before it
        before = Signal(planes.number)  # planes of the command so far
        used = Signal(planes.number)  # with that of the head
        op = Signal()
        m.d.comb += used.eq(
            Mux(self.open.bit_select(head.die, 1), before, 0) | (1 << planes.plane(head.row))
        )
        with m.Switch(line):
            for number, each in lines.items():
                with m.Case(number):
                    place = (each.head + 1)[: len(each.head)]
                    waits = Cat(*each.waits).word_select(place, len(each.waits[0]))
                    seen = Signal(planes.number, name=f"seen_{number}")
                    m.d.comb += [
                        then.addr.eq(each.base + place),
                        due.eq(each.taken.bit_select(place, 1) & ~waits.any()),
                        before.eq(seen),
                    ]
                    with m.If(self.begins):
                        m.d.sync += seen.eq(used)
        row = then.data.row
        agrees = planes.page(row) == planes.page(head.row)
        m.d.comb += op.eq(((head.op == NandOp.PROGRAM) & agrees) | (head.op == NandOp.ERASE))
        m.d.comb += self.more.eq(
            due
            & good
            & op
            & (then.data.op == head.op)
            & (then.data.cause == Cause.NONE)
            & (then.data.die == head.die)
            & ~used.bit_select(planes.plane(row), 1)
        )
