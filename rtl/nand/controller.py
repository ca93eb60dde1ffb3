"""The channel controller: page operations in, ONFI cycles on the PHY, page data and status out.

::

    ops ----> Scheduler --sequences--> Sequencer --steps--> Bus --symbols--> PHY
               ^     |                                       ^ w_data         |
               |     +--> done                                                |
             status <---------------+                                         |
    r_data <----------------------- Returns <------------words----------------+

Page reads start as their dies allow, whatever their order; their data come in the order of the
READs. A die reads ahead: while its page waits for the bus or is moved, its array senses the next
one (READ PAGE CACHE RANDOM). Of READs of one page that follow each other on their die, only the
first senses it, if the next is there before its data have gone; the others change the column. READs
of other dies between them fill tCCS. The other operations wait in a small pool (`rtl.nand.pool`):
READs pass those of other dies, programs go before erases of other dies, programs keep their order,
and so do the operations of a die. One sequence is on the bus at a time; the next is chosen just
before it ends.

Read data are taken by a ring with credits, so a PHY may answer some clocks later, in order, and
a waiting reader loses nothing: strobes pause.

PROGRAM starts when its first word is there and then keeps the bus until its last: words to program
must not depend on data still to be read, or operations still to be completed, on the same channel.
It takes its words even if it fails.
READ_ID (of the ID address in ``row[7:0]``: 00h JEDEC, 20h ONFI) waits until the data of all READs
before it have gone, and what comes waits for it. STATUS waits until the READs of its die before it
are started. RESET waits for its die like any other operation; it does not abort one.

Reads, programs and erases that follow each other and are of several planes of a die are given
together, if the part can do that (`rtl.nand.planes`); the die then waits for the words of all of
them. Reads follow each other in this sense if those of other dies come between.

A program or an erase in progress steps aside for reads of its die that come later, if the part can
do that and they are not of its block (`rtl.nand.suspension`).

A die that does not get ready in time is reset, and dead if that does not help; an operation that no
die can do is refused. Either way it completes, with a `Cause`, and the channel goes on: a READ
gives its words in order, zeros that bear the cause.
"""

from amaranth.hdl import Module, Mux
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hls_attention.streams import moves

from .bus import Bus
from .operations import Activity, done_layout, operation_layout, read_layout
from .phy import PhySignature
from .planes import planes_of
from .returns import READ_RING, Returns
from .scheduler import Scheduler
from .sequencer import Sequencer
from .steps import Sequence
from .turns import PATIENCE
from .watchdog import MARGIN

__all__ = ["ChannelController", "READ_RING"]


class ChannelController(wiring.Component):
    """Controller of one channel.

    Parameters
    ----------
    profile : Profile
        Flash profile; its geometry gives the dies of a channel.
    clock_hz : int
        Core clock.
    depth : int
        Most page reads taken ahead of use, 1..256. Two for each die keep the bus full.
    patience : int
        Data phases a command waits for while there are data to move, see `rtl.nand.turns`.
    margin : int
        Times of an operation after which its die is late, see `rtl.nand.watchdog`.

    Members
    -------
    ops : In(stream(operation_layout(dies)))
    w_data : In(stream(64))
        Data of the PROGRAMs, in their order, ``words`` each.
    r_data : Out(stream(read_layout()))
        Data of READ and READ_ID, in their order.
    done : Out(stream(done_layout(dies)))
        Completions of PROGRAM, ERASE, RESET and STATUS.
    phy : Out(PhySignature(dies))
    activity : Out(Activity)
        What the channel does in this clock. A data phase that waits for its reader or its data
        counts as IDLE, or WAITING while R/B# of a die is low.
    quiet : Out(1)
        Nothing in here changes until an input changes, a die gets ready or ``next_event`` comes.
    skip : In(32), next_event : Out(32)
        Simulation only: timers advance by ``skip + 1``, at most ``next_event - 1`` and only when
        quiet; clocks until a die may be late, all ones if none can be.
    page_read, page_programmed, block_erased : Out(1)
        One clock for each READ whose data have been moved, whether or not it sensed its page, and
        for each page programmed and block erased, as it is confirmed.
    """

    def __init__(self, profile, clock_hz, depth, *, patience=PATIENCE, margin=MARGIN):
        self._profile = profile
        self._clock_hz = clock_hz
        self._depth = depth
        self._patience = patience
        self._margin = margin
        dies = profile.geometry.dies
        super().__init__(
            {
                "ops": In(stream.Signature(operation_layout(dies))),
                "w_data": In(stream.Signature(64)),
                "r_data": Out(stream.Signature(read_layout())),
                "done": Out(stream.Signature(done_layout(dies))),
                "phy": Out(PhySignature(dies)),
                "activity": Out(Activity),
                "quiet": Out(1),
                "skip": In(32),
                "next_event": Out(32),
                "page_read": Out(1),
                "page_programmed": Out(1),
                "block_erased": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        profile, clock_hz, phy = self._profile, self._clock_hz, self.phy
        m.submodules.scheduler = scheduler = Scheduler(
            profile, clock_hz, self._depth, self._patience, self._margin
        )
        m.submodules.sequencer = sequencer = Sequencer(profile, clock_hz)
        m.submodules.bus = bus = Bus(profile, clock_hz)
        m.submodules.returns = returns = Returns()
        connect(m, flipped(self.ops), scheduler.ops)
        connect(m, scheduler.o, sequencer.i)
        connect(m, sequencer.o, bus.i)
        connect(m, flipped(self.w_data), bus.w_data)
        connect(m, returns.o, flipped(self.r_data))
        connect(m, scheduler.done, flipped(self.done))

        m.d.comb += [
            phy.die.eq(bus.die),
            phy.cycle.eq(bus.cycle),
            phy.strobe.eq(bus.strobe),
            phy.w_data.eq(bus.word),
            sequencer.soon.eq(bus.soon),
            bus.room.eq(returns.room),
            returns.asked.eq(bus.asked),
            returns.is_status.eq(bus.is_status),
            returns.last.eq(bus.asked_last),
            returns.cause.eq(bus.cause),
            returns.r_valid.eq(phy.r_valid),
            returns.r_data.eq(phy.r_data),
            scheduler.ready.eq(phy.ready),
            scheduler.turned.eq(bus.turned),
            scheduler.progress.eq(bus.progress),
            scheduler.w_valid.eq(self.w_data.valid),
            scheduler.status_valid.eq(returns.status_valid),
            scheduler.status.eq(returns.status),
            scheduler.skip.eq(self.skip),
            self.next_event.eq(scheduler.next_event),
        ]
        with m.If(bus.progress.ended), m.Switch(bus.progress.sequence):
            with m.Case(Sequence.DATA, Sequence.DATA_AFTER_STATUS):
                m.d.comb += self.page_read.eq(1)
        programs, erases = [Sequence.PROGRAM], [Sequence.ERASE]
        if planes_of(profile):
            programs, erases = [*programs, Sequence.PROGRAM_PLANE], [*erases, Sequence.ERASE_PLANE]
        with m.If(bus.confirmed), m.Switch(bus.progress.sequence):
            with m.Case(*programs):
                m.d.comb += self.page_programmed.eq(1)
            with m.Case(*erases):
                m.d.comb += self.block_erased.eq(1)
        self._report(m, scheduler, sequencer, bus, returns)
        return m

    def _report(self, m, scheduler, sequencer, bus, returns):
        """Activity and quiet."""
        turning = Mux(bus.busy, ~bus.stalled, sequencer.running | scheduler.o.valid)
        with m.If(bus.moving & ~(bus.is_status | bus.mute)):
            m.d.comb += self.activity.eq(Activity.DATA)
        with m.Elif(turning):
            m.d.comb += self.activity.eq(Activity.COMMAND)
        with m.Elif(~self.phy.ready.all()):
            m.d.comb += self.activity.eq(Activity.WAITING)
        with m.Elif(scheduler.pending & (~scheduler.quiet | bus.progress.settling)):
            m.d.comb += self.activity.eq(Activity.COMMAND)

        m.d.comb += self.quiet.eq(
            bus.quiet
            & scheduler.quiet
            & returns.quiet
            & ~self.phy.r_valid
            & ~moves(self.ops)
            & ~(scheduler.wants & scheduler.o.ready)
            & ~moves(sequencer.o)
            & ~moves(self.done)
        )
