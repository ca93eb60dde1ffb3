"""Asynchronous SDR: the oldest interface of NAND, from plain registers on one clock.

::

    symbols --> ring --> byte after byte: SELECT? LOW HIGH LOW HIGH ... --> registers --> pins
    r_data <-- word <-- byte, so many clocks after RE_n has fallen <-- register <------- DQ
    ready  <-- two registers <---------------------------------------------------------- R/B_n

Symbols are done in their order, each after its strobe, and without a clock between them as long as
there are any. A word is eight bytes, the lowest first; that of SET FEATURES four, as the feature.
CE_n of a die stays low until another one is selected. After reset the dies are told their mode
(`rtl.phy.start_up`); one that does not answer is busy for the controller, which gives it up, and is
never selected. RESET, which would put a die back into mode 0, goes out as RESET LUN of LUN 0: FAh
and three addresses of 00h.
"""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import enum, wiring
from amaranth.lib.wiring import In, Out

from rtl.nand.phy import Cycle, PhySignature
from rtl.nand.phy_report import PhyReportSignature

from .front import TAKEN, Front
from .pads import PadSignature
from .sdr_modes import sdr_clocks
from .sdr_timing import check_sdr_profile

__all__ = ["SdrPhy"]

SET_FEATURES, RESET, RESET_LUN = 0xEF, 0xFF, 0xFA
WORD_BYTES, FEATURE_BYTES, ROW_BYTES = 8, 4, 3


class Phase(enum.Enum, shape=2):
    """Of the pins."""

    REST = 0
    SELECT = 1  # CE_n has fallen, no byte yet
    LOW = 2  # of WE_n or RE_n
    HIGH = 3


class SdrPhy(wiring.Component):
    """PHY of one channel, asynchronous SDR.

    Parameters
    ----------
    profile : Profile
        Of the controller; refused if the pins could not keep up with it (`sdr_timing`).
    mode : int
        ONFI SDR timing mode, 0..5.
    clock_hz : int
        Core clock.
    skew_ns, round_trip_ns : float
        Of the board, see `sdr_clocks`.
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
    started : Out(1)
        The dies that answer have been told their mode. The controller is to be held in reset until
        then: its watchdog gives a die that is not ready no longer than an erase takes.
    pads : Out(PadSignature(dies))
        All outputs are registers.
    """

    def __init__(self, profile, mode, clock_hz, *, skew_ns=0, round_trip_ns=4, t_rst_ns=None):
        board = {"skew_ns": skew_ns, "round_trip_ns": round_trip_ns}
        check_sdr_profile(profile, mode, clock_hz, **board)
        self._clocks = sdr_clocks(mode, clock_hz, **board)
        self._mode, self._clock_hz, self._t_rst_ns = mode, clock_hz, t_rst_ns
        self._dies = profile.geometry.dies
        super().__init__(
            {
                "phy": In(PhySignature(self._dies)),
                "report": In(PhyReportSignature(self._dies)),
                "write_protect": In(1),
                "started": Out(1),
                "pads": Out(PadSignature(self._dies)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        phy, pads, clocks = self.phy, self.pads, self._clocks
        m.submodules.front = front = Front(self._dies, self._mode, self._clock_hz, self._t_rst_ns)
        m.d.comb += [getattr(front, name).eq(getattr(phy, name)) for name in TAKEN]
        m.d.comb += [
            front.rb_n.eq(pads.rb_n),
            phy.ready.eq(front.ready),
            self.started.eq(front.started),
        ]
        state, answers = self.report.state, front.answers.bit_select(self.report.die, 1)
        m.d.sync += [state.tells.eq(1), state.answers.eq(answers), state.usable.eq(answers)]
        m.d.sync += pads.wp_n.eq(~self.write_protect)

        phase = Signal(Phase)
        longest = max(clocks.select_write, clocks.select_read, clocks.write, clocks.read)
        left = Signal(range(longest))  # clocks of the phase, less this one
        cycle = Signal(Cycle)
        word = Signal(64)  # with the byte on the pins lowest
        bytes_left = Signal(range(WORD_BYTES))
        sets_feature = Signal()
        ends = Signal()  # the phase, with this clock
        free = Signal()
        begins = Signal()  # a byte, with the next clock ...
        next_word, next_cycle = Signal(64), Signal(Cycle)  # ... of these
        m.d.comb += [
            ends.eq(left == 0),
            free.eq((phase == Phase.REST) | ((phase == Phase.HIGH) & ends & (bytes_left == 0))),
            front.o.ready.eq(free),
            next_word.eq(word),
            next_cycle.eq(cycle),
        ]
        with m.If(~ends):
            m.d.sync += left.eq(left - 1)

        head = front.o.payload
        with m.Switch(phase):
            with m.Case(Phase.SELECT), m.If(ends):
                m.d.comb += begins.eq(1)
            with m.Case(Phase.LOW), m.If(ends):
                high = Mux(cycle == Cycle.READ, clocks.read_high, clocks.write_high)
                m.d.sync += [
                    phase.eq(Phase.HIGH),
                    left.eq(high - 1),
                    pads.we_n.eq(1),
                    pads.re_n.eq(1),
                ]
            with m.Case(Phase.HIGH), m.If(ends & (bytes_left != 0)):
                m.d.comb += [begins.eq(1), next_word.eq(word >> 8)]
                with m.If(cycle == Cycle.COMMAND):
                    m.d.comb += next_cycle.eq(Cycle.ADDRESS)
                m.d.sync += bytes_left.eq(bytes_left - 1)
        with m.If(free):
            m.d.sync += [phase.eq(Phase.REST), pads.cle.eq(0), pads.ale.eq(0), pads.dq.oe.eq(0)]
            with m.If(front.o.valid):
                m.d.comb += [next_word.eq(head.word), next_cycle.eq(head.cycle)]
                self._take(m, front.answers, head, next_word, bytes_left, sets_feature)
                is_read = head.cycle == Cycle.READ
                select = Mux(is_read, clocks.select_read, clocks.select_write)
                with m.If(pads.ce_n.bit_select(head.die, 1) & (select != 0)):
                    m.d.sync += [phase.eq(Phase.SELECT), left.eq(select - 1)]
                with m.Else():
                    m.d.comb += begins.eq(1)

        m.d.sync += [word.eq(next_word), cycle.eq(next_cycle)]
        reads = next_cycle == Cycle.READ
        with m.If(begins):
            m.d.sync += [
                phase.eq(Phase.LOW),
                left.eq(Mux(reads, clocks.read_low, clocks.write_low) - 1),
                pads.cle.eq(next_cycle == Cycle.COMMAND),
                pads.ale.eq(next_cycle == Cycle.ADDRESS),
                pads.we_n.eq(reads),
                pads.re_n.eq(~reads),
                pads.dq.o.eq(next_word[:8]),
                pads.dq.oe.eq(~reads),
            ]
        with m.If(~front.started):
            pins = front.pins
            m.d.sync += [
                Cat(pads.ce_n, pads.cle, pads.ale, pads.we_n).eq(
                    Cat(pins.ce_n, pins.cle, pins.ale, pins.we_n)
                ),
                Cat(pads.dq.o, pads.dq.oe).eq(Cat(pins.dq, pins.oe)),
            ]
        self._capture(m, begins & reads)
        return m

    def _take(self, m, answers, head, word, bytes_left, sets_feature):
        """The next symbol: which die, how many bytes."""
        chosen = Signal(self._dies)
        m.d.comb += chosen.eq((1 << head.die) & answers)
        m.d.sync += [self.pads.ce_n.eq(~chosen), bytes_left.eq(0)]
        with m.Switch(head.cycle):
            with m.Case(Cycle.COMMAND):
                m.d.sync += sets_feature.eq(head.word[:8] == SET_FEATURES)
                if self._mode:
                    with m.If(head.word[:8] == RESET):
                        m.d.comb += word.eq(RESET_LUN)
                        m.d.sync += bytes_left.eq(ROW_BYTES)
            with m.Case(Cycle.WRITE):
                m.d.sync += bytes_left.eq(Mux(sets_feature, FEATURE_BYTES, WORD_BYTES) - 1)
            with m.Case(Cycle.READ):
                m.d.sync += bytes_left.eq(WORD_BYTES - 1)

    def _capture(self, m, falls):
        """Words of the bytes that DQ has a while after RE_n ``falls``."""
        phy, pads = self.phy, self.pads
        seen = Signal(8)
        m.d.sync += seen.eq(pads.dq.i)
        # RE_n falls with the edge behind ``falls``, and what an edge takes shows behind it.
        later = Signal(self._clocks.sample + 1)
        m.d.sync += later.eq(Cat(falls, later))
        count = Signal(range(WORD_BYTES))
        m.d.sync += phy.r_valid.eq(0)
        with m.If(later[-1]):
            m.d.sync += [
                phy.r_data.eq(Cat(phy.r_data[8:], seen)),
                count.eq(count + 1),
                phy.r_valid.eq(count == WORD_BYTES - 1),
            ]
