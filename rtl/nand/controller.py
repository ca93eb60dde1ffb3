"""The channel controller: page operations in, ONFI cycles on the PHY, page data and status out.

::

    ops ----> Scheduler --sequence--> Sequencer --steps--> Bus --symbols--> PHY
              (die table)                                   ^ w_data         |
    done <--- status <-------------------------+------------- words <-------+
    r_data <- Ring <---------------------------+

Operations start in order; pages of different dies are sensed at the same time; their data come
in the order of the READs. Only one sequence is on the bus at a time. Read data are taken by a ring
with credits, so a PHY may answer any fixed number of clocks later and a waiting reader loses
nothing: strobes pause.

PROGRAM starts when its first word is there and then keeps the bus until its last: words to program
must not depend on data still to be read on the same channel. READ_ID (of the ID address in
``row[7:0]``: 00h JEDEC, 20h ONFI) waits until no page is open. RESET waits for its die like any
other operation; it does not abort one.
"""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from .bus import Bus
from .operations import Activity, done_layout, operation_layout, read_layout
from .phy import Cycle, PhySignature
from .ring import Ring
from .scheduler import Scheduler
from .sequencer import Sequence, Sequencer

__all__ = ["ChannelController", "READ_RING"]

READ_RING = 16
"""Words between PHY and reader; keeps the full rate up to a PHY latency of 14 clocks."""


class ChannelController(wiring.Component):
    """Controller of one channel.

    Parameters
    ----------
    profile : Profile
        Flash profile; its geometry gives the dies of a channel.
    clock_hz : int
        Core clock.
    depth : int
        Most pages opened ahead of use.

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
        counts as IDLE, or WAITING while a die is busy.
    quiet : Out(1)
        Nothing in here changes until an input changes or a die gets ready.
    page_read, page_programmed, block_erased : Out(1)
        One clock for each page opened, page programmed and block erased.
    """

    def __init__(self, profile, clock_hz, depth):
        self._profile = profile
        self._clock_hz = clock_hz
        self._depth = depth
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
                "page_read": Out(1),
                "page_programmed": Out(1),
                "block_erased": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        phy, done = self.phy, self.done
        m.submodules.scheduler = scheduler = Scheduler(self._profile, self._clock_hz, self._depth)
        m.submodules.sequencer = sequencer = Sequencer(self._profile, self._clock_hz)
        m.submodules.bus = bus = Bus(self._profile.timing, self._clock_hz)
        m.submodules.words = words = Ring(64, depth=READ_RING)
        m.submodules.marks = marks = Ring(1, depth=READ_RING)
        connect(m, flipped(self.ops), scheduler.ops)
        connect(m, scheduler.o, sequencer.i)
        connect(m, sequencer.o, bus.i)
        connect(m, flipped(self.w_data), bus.w_data)

        current = sequencer.current
        is_status = Signal()
        is_data = Signal()
        m.d.comb += [
            is_status.eq(current.sequence == Sequence.STATUS),
            is_data.eq(
                (current.sequence == Sequence.DATA)
                | (current.sequence == Sequence.DATA_AFTER_STATUS)
            ),
            phy.die.eq(current.die),
            phy.cycle.eq(bus.cycle),
            phy.strobe.eq(bus.strobe),
            phy.w_data.eq(bus.word),
        ]

        # Words asked for and not yet back, and free places in the ring for them.
        in_flight = Signal(range(READ_RING + 1))
        asked = Signal()
        credits_left = Signal(range(READ_RING + 1), init=READ_RING)
        popped = Signal()
        m.d.comb += [
            asked.eq(bus.strobe & (bus.cycle == Cycle.READ)),
            bus.room.eq(is_status | ((credits_left != 0) & (in_flight != READ_RING))),
            popped.eq(self.r_data.valid & self.r_data.ready),
        ]
        m.d.sync += in_flight.eq(in_flight + asked - phy.r_valid)
        m.d.sync += credits_left.eq(credits_left - (asked & ~is_status) + popped)

        returned = Signal(12)  # words back of the sequence in progress
        last = Signal()
        m.d.comb += [
            last.eq((returned + 1 == current.words) | (current.sequence == Sequence.READ_ID)),
            words.i.valid.eq(phy.r_valid & ~is_status),
            words.i.payload.eq(phy.r_data),
            marks.i.valid.eq(phy.r_valid & ~is_status),
            marks.i.payload.eq(last),
            self.r_data.valid.eq(words.o.valid),
            self.r_data.payload.data.eq(words.o.payload),
            self.r_data.payload.last.eq(marks.o.payload),
            words.o.ready.eq(self.r_data.ready),
            marks.o.ready.eq(self.r_data.ready),
        ]
        with m.If(~sequencer.running):
            m.d.sync += returned.eq(0)
        with m.Elif(phy.r_valid):
            m.d.sync += returned.eq(returned + 1)

        # A sequence without data output ends with its last step, the others with their last word.
        reads = is_status | is_data | (current.sequence == Sequence.READ_ID)
        ended = Signal()
        with m.If(sequencer.emitted):
            with m.If(reads):
                m.d.comb += ended.eq(bus.idle & (in_flight == phy.r_valid))
            with m.Else():
                m.d.comb += ended.eq(bus.idle | bus.finishing)
        m.d.comb += [
            sequencer.finished.eq(ended),
            scheduler.ready.eq(phy.ready),
            scheduler.settling.eq(bus.settling),
            scheduler.w_valid.eq(self.w_data.valid),
            scheduler.done_free.eq(~done.valid),
            scheduler.finished_die.eq(current.die),
            scheduler.data_done.eq(ended & is_data),
            scheduler.status_done.eq(ended & is_status),
        ]
        with m.If(bus.confirmed):
            m.d.sync += scheduler.settling_die.eq(current.die)

        with m.If(done.valid & done.ready):
            m.d.sync += done.valid.eq(0)
        with m.If(is_status & phy.r_valid):
            m.d.sync += [
                done.valid.eq(1),
                done.payload.op.eq(scheduler.op),
                done.payload.die.eq(current.die),
                done.payload.tag.eq(scheduler.tag),
                done.payload.status.eq(phy.r_data[:8]),
                done.payload.failed.eq(phy.r_data[0] & scheduler.checking),
            ]

        confirmed = bus.confirmed
        m.d.comb += [
            self.page_read.eq(confirmed & (current.sequence == Sequence.READ)),
            self.page_programmed.eq(confirmed & (current.sequence == Sequence.PROGRAM)),
            self.block_erased.eq(confirmed & (current.sequence == Sequence.ERASE)),
        ]
        self._report(m, scheduler, sequencer, bus, in_flight, popped, is_status)
        return m

    def _report(self, m, scheduler, sequencer, bus, in_flight, popped, is_status):
        """Activity and quiet."""
        phy, done = self.phy, self.done
        busy_die = ~phy.ready.all()
        turning = Mux(sequencer.running, ~bus.stalled, scheduler.o.valid)
        with m.If(bus.moving & ~is_status):
            m.d.comb += self.activity.eq(Activity.DATA)
        with m.Elif(turning):
            m.d.comb += self.activity.eq(Activity.COMMAND)
        with m.Elif(busy_die):
            m.d.comb += self.activity.eq(Activity.WAITING)
        with m.Elif(~scheduler.stable | (bus.settling & scheduler.pending)):
            m.d.comb += self.activity.eq(Activity.COMMAND)

        resting = Signal()  # no sequence, or one that waits for its reader or its data
        m.d.comb += resting.eq((~sequencer.running & ~scheduler.o.valid) | bus.stalled)
        m.d.comb += self.quiet.eq(
            resting
            & bus.quiet
            & scheduler.stable
            & (in_flight == 0)
            & ~phy.r_valid
            & ~popped
            & ~(done.valid & done.ready)
        )
