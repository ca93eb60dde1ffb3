r"""NV-DDR: two bytes in each cycle of CLK, with strobes, on the clock of the controller.

::

    symbols --> front --> slot after slot --> CLE, ALE, W/R_n, CE_n, CLK, all once a clock
                                         \-> DQ and DQS, twice a clock, a slot later
    r_data <-- words <-- bytes, ``offset`` half clocks after the CLK that asked for them <-- DQ

The clock has to be twice as fast as CLK or more: 200 MHz for 200 MT/s, 100 MHz for 100 MT/s
(`nv_ddr_clocks`). DQS then has its edges with CLK's, and DQ changes a quarter of CLK before them:
at the falling edge of the clock if that is just twice as fast. So output registers of two data
rates centre DQ without a shifted clock.

**Read data** are taken at a fixed time, to half a clock, and not by their strobe: DQ goes into
input registers of two data rates, and an offset says which of their samples are data. Of the
samples of a byte one at least lies where it is valid. The offset is found after reset
(`rtl.phy.nv_ddr_training`), one for all dies of the channel; nothing follows what temperature makes
of tDQSCK later. A die that does not answer, or whose data were not found there, is busy for the
controller, which gives it up, and is never selected.

Words that follow each other without a pause are one burst; else each has a preamble of its own. ID
and features come twice each, as ONFI has it, and are given once: four bytes, 00h behind them, and
00h where the two differ. RESET
goes out as SYNCHRONOUS RESET, which keeps the interface. After reset the dies are told their mode,
on pins that are asynchronous SDR until then (`rtl.phy.start_up`).
"""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from rtl.nand.phy import PhySignature
from rtl.nand.phy_report import PhyReportSignature

from .front import TAKEN, Front
from .nv_ddr_data import DataOut
from .nv_ddr_modes import nv_ddr_clocks
from .nv_ddr_slots import Slots
from .nv_ddr_timing import check_nv_ddr_profile
from .nv_ddr_training import OFFSET_BITS, Training
from .pads import PadSignature

__all__ = ["NvDdrPhy"]

INTERFACE = 0x10


class NvDdrPhy(wiring.Component):
    """PHY of one channel, NV-DDR.

    Parameters
    ----------
    profile : Profile
        Of the controller; refused if the pins could not keep up with it (`nv_ddr_timing`).
    mode : int
        ONFI NV-DDR timing mode, 0..5.
    clock_hz : int
        Core clock.
    offset : int, optional
        Where in time read data are taken, in half clocks, 0..63. None: it is found after reset.
    t_rst_ns : int, optional
        How long a die may be busy with its reset before it is given up; None: ONFI's tRST.

    Members
    -------
    phy : In(PhySignature(dies))
        The controller.
    report : In(PhyReportSignature(dies))
        What was found of the dies.
    write_protect : In(1)
        WP_n low: no die programs or erases.
    offset : Out(OFFSET_BITS)
        Where in time read data are taken, in half clocks.
    started : Out(1)
        The dies that answer have been told their mode, and the offset is found. The controller is
        to be held in reset until then: its watchdog gives a die that is not ready no longer than an
        erase takes.
    pads : Out(PadSignature(dies, ddr=True))
        All outputs are registers, and go out through one more: `rtl.phy.buffers`.
    """

    def __init__(self, profile, mode, clock_hz, *, offset=None, t_rst_ns=None):
        if offset is not None and offset not in range(1 << OFFSET_BITS):
            raise ValueError(
                f"offset = {offset!r} is not possible: choose 0..{(1 << OFFSET_BITS) - 1} half "
                "clocks, or None to have it found"
            )
        self._offset = offset
        check_nv_ddr_profile(profile, mode, clock_hz)
        self._clocks = nv_ddr_clocks(mode, clock_hz)
        self._mode, self._clock_hz, self._t_rst_ns = mode, clock_hz, t_rst_ns
        self._dies = profile.geometry.dies
        super().__init__(
            {
                "phy": In(PhySignature(self._dies)),
                "report": In(PhyReportSignature(self._dies)),
                "write_protect": In(1),
                "offset": Out(OFFSET_BITS),
                "started": Out(1),
                "pads": Out(PadSignature(self._dies, ddr=True)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        phy, pads, slot = self.phy, self.pads, self._clocks.slot
        m.submodules.front = front = Front(
            self._dies, INTERFACE | self._mode, self._clock_hz, self._t_rst_ns
        )
        m.submodules.slots = slots = Slots(self._dies, self._clocks)
        m.submodules.out = out = DataOut(slot)
        usable = Signal(self._dies)
        m.d.comb += [getattr(front, name).eq(getattr(phy, name)) for name in TAKEN]
        m.d.comb += [
            front.rb_n.eq(pads.rb_n),
            phy.ready.eq(Mux(self.started, front.ready & usable, 0)),
        ]
        state, die = self.report.state, self.report.die
        m.d.sync += [
            state.tells.eq(1),
            state.answers.eq(front.answers.bit_select(die, 1)),
            state.usable.eq(usable.bit_select(die, 1)),
            state.offset.eq(self.offset),
        ]
        clock = Signal(range(slot))
        m.d.sync += clock.eq(Mux(clock == slot - 1, 0, clock + 1))

        m.d.comb += [
            slots.next.eq(clock == slot - 1),
            out.clock.eq(clock),
            out.sends.eq(slots.sends),
            out.pair.eq(slots.pair),
        ]
        self._train(m, front, slots, usable)

        pins = front.pins
        with m.If(front.started):
            m.d.sync += [
                pads.ce_n.eq(~(slots.select & Mux(self.started, usable, front.answers))),
                pads.cle.eq(slots.cle),
                pads.ale.eq(slots.ale),
                pads.we_n.eq(clock >= slot // 2),
                pads.re_n.eq(slots.w_rn),
                pads.dq.oe.eq(slots.plain | out.dq_oe),
                pads.dqs.oe.eq(out.dqs_oe),
            ]
            m.d.sync += [
                pads.dq.o[n].eq(Mux(slots.plain, slots.pair[:8], out.dq[n])) for n in range(2)
            ]
            m.d.sync += [pads.dqs.o[n].eq(out.dqs) for n in range(2)]
        with m.Else():
            m.d.sync += [
                Cat(pads.ce_n, pads.cle, pads.ale, pads.we_n).eq(
                    Cat(pins.ce_n, pins.cle, pins.ale, pins.we_n)
                ),
                pads.dq.oe.eq(pins.oe),
                *(pads.dq.o[n].eq(pins.dq) for n in range(2)),
            ]
        m.d.sync += pads.wp_n.eq(~self.write_protect)

        # CLK rises in the middle of a slot, and half a slot later come the second bytes.
        reads = Signal()
        with m.If(clock == slot // 2):
            m.d.sync += reads.eq(slots.reads)
        first, second = (clock == slot // 2) & slots.reads, (clock == 0) & reads
        self._capture(m, first | second, slots.doubled)
        return m

    def _train(self, m, front, slots, usable):
        """Symbols are the training's, then the controller's; which dies are usable."""
        state = self.report.state

        def joined(giver, taker):
            return [
                taker.payload.eq(giver.payload),
                taker.valid.eq(giver.valid),
                giver.ready.eq(taker.ready),
            ]

        if self._offset is not None:
            m.d.comb += [
                self.offset.eq(self._offset),
                self.started.eq(front.started),
                usable.eq(front.answers),
            ]
            m.d.comb += joined(front.o, slots.i)
            return
        m.submodules.training = training = Training(self._dies, self._clock_hz, self._clocks.slot)
        m.d.comb += [
            training.go.eq(front.started),
            training.answers.eq(front.answers),
            training.asked.eq(self.report.die),
            training.r_valid.eq(self.phy.r_valid),
            training.r_data.eq(self.phy.r_data),
            self.offset.eq(training.offset),
            self.started.eq(training.done),
            usable.eq(training.usable),
        ]
        m.d.sync += [
            state.first.eq(training.window.first),
            state.width.eq(training.window.width),
        ]
        with m.If(training.done):
            m.d.comb += joined(front.o, slots.i)
        with m.Else():
            m.d.comb += joined(training.o, slots.i)

    def _capture(self, m, asks, doubled):
        """Words of the bytes that DQ has a while after the PHY ``asks`` for one."""
        phy, pads = self.phy, self.pads
        later = Signal((1 << OFFSET_BITS) // 2)
        byte, word = Signal(8), Signal(64)
        count = Signal(range(8))
        whole = Cat(word[8:], byte)
        pairs = [(whole.word_select(2 * n, 8), whole.word_select(2 * n + 1, 8)) for n in range(4)]
        once = Cat(Mux(copies[0] == copies[1], copies[0], 0) for copies in pairs)
        m.d.sync += [later.eq(Cat(asks, later)), phy.r_valid.eq(0)]
        m.d.comb += byte.eq(Mux(self.offset[0], pads.dq.i[1], pads.dq.i[0]))
        with m.If(later.bit_select(self.offset[1:], 1)):
            m.d.sync += [
                word.eq(whole),
                count.eq(count + 1),
                phy.r_valid.eq(count == 7),
                phy.r_data.eq(Mux(doubled, once, whole)),
            ]
