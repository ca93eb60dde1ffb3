"""From symbols to slots of NV-DDR: what CE_n, CLE, ALE and W/R_n are in each cycle of CLK.

A symbol is taken when its slot begins. Before it come what it needs: the die's CE_n, W/R_n low for
read data or high for all else; behind it a gap, if no word of the same kind follows at once.
"""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from rtl.nand.phy import Cycle

from .front import symbol_layout
from .nv_ddr_modes import WORD_SLOTS

__all__ = ["Slots"]

READ_ID, GET_FEATURES, SET_FEATURES = 0x90, 0xEE, 0xEF
RESET, SYNCHRONOUS_RESET = 0xFF, 0xFC


class Slots(wiring.Component):
    """Changes with the clock edge behind ``next``, when a slot begins.

    Parameters
    ----------
    dies : int
        Dies on the channel.
    clocks : NvDdrClocks

    Members
    -------
    i : In(stream(symbol_layout(dies)))
    next : In(1)
        The slot in progress ends with this clock.
    select : Out(dies)
        The die whose CE_n is low, if any.
    cle, ale, w_rn : Out(1)
        Levels of the pins.
    plain : Out(1)
        DQ has a byte for the whole slot: of a command or an address ...
    pair : Out(16)
        ... the lower one, else two of data to the die, the first one lower.
    sends, reads : Out(1)
        Two bytes of data to the die, or from it.
    doubled : Out(1)
        Each byte of the word begun last comes twice.
    """

    def __init__(self, dies, clocks):
        self._clocks = clocks
        super().__init__(
            {
                "i": In(stream.Signature(symbol_layout(dies))),
                "next": In(1),
                "select": Out(dies),
                "cle": Out(1),
                "ale": Out(1),
                "w_rn": Out(1, init=1),
                "plain": Out(1),
                "pair": Out(16),
                "sends": Out(1),
                "reads": Out(1),
                "doubled": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        clocks, head = self._clocks, self.i.payload
        longest = max(clocks.gap_written, clocks.gap_read, clocks.released, clocks.turn)
        gap = Signal(range(longest))  # slots
        left = Signal(range(WORD_SLOTS))  # slots of the word
        word = Signal(64)  # without the pair on the pins
        burst = Signal()  # this slot is the last of a word
        is_write = Signal()
        other = Signal()
        begins = Signal()
        goes_on = Mux(is_write, head.cycle == Cycle.WRITE, head.cycle == Cycle.READ)
        m.d.comb += other.eq(~self.select.bit_select(head.die, 1))

        with m.If(self.next):
            m.d.sync += Cat(self.cle, self.ale, self.plain, self.sends, self.reads).eq(0)
            with m.If(gap != 0):
                m.d.sync += gap.eq(gap - 1)
            with m.Elif(left != 0):
                m.d.sync += [
                    left.eq(left - 1),
                    Cat(self.cle, self.ale).eq(0b11),
                    Cat(self.pair, word).eq(word),
                    self.sends.eq(is_write),
                    self.reads.eq(~is_write),
                ]
            with m.Elif(burst & ~(self.i.valid & ~other & goes_on)):
                after = Mux(is_write, clocks.gap_written, clocks.gap_read)
                m.d.sync += [burst.eq(0), gap.eq(after - 2)]
            with m.Elif(~self.i.valid):
                pass
            with m.Elif(~self.w_rn & (other | (head.cycle != Cycle.READ))):
                m.d.sync += [self.w_rn.eq(1), gap.eq(clocks.released - 1)]
            with m.Elif(other):
                m.d.sync += self.select.eq(1 << head.die)
            with m.Elif(self.w_rn & (head.cycle == Cycle.READ)):
                m.d.sync += [self.w_rn.eq(0), gap.eq(clocks.turn - 1)]
            with m.Else():
                m.d.comb += begins.eq(1)

        m.d.comb += self.i.ready.eq(begins)
        sets_feature = Signal()
        identifies = Signal()  # the next word is an ID or a feature
        data = Signal(64)
        bytes_ = [head.word.word_select(n, 8) for n in range(8)]
        m.d.comb += data.eq(Mux(sets_feature, Cat(bytes_[n // 2] for n in range(8)), head.word))
        with m.If(begins), m.Switch(head.cycle):
            with m.Case(Cycle.COMMAND):
                byte = bytes_[0]
                m.d.sync += [
                    Cat(self.cle, self.plain).eq(0b11),
                    self.pair.eq(Mux(byte == RESET, SYNCHRONOUS_RESET, byte)),
                    gap.eq(clocks.gap - 1),
                    sets_feature.eq(byte == SET_FEATURES),
                    identifies.eq((byte == READ_ID) | (byte == GET_FEATURES)),
                ]
            with m.Case(Cycle.ADDRESS):
                m.d.sync += [
                    Cat(self.ale, self.plain).eq(0b11),
                    self.pair.eq(bytes_[0]),
                    gap.eq(clocks.gap - 1),
                ]
            with m.Case(Cycle.WRITE, Cycle.READ):
                writes = head.cycle == Cycle.WRITE
                m.d.sync += [
                    Cat(self.cle, self.ale, burst).eq(0b111),
                    Cat(self.pair, word).eq(data),
                    self.sends.eq(writes),
                    self.reads.eq(~writes),
                    is_write.eq(writes),
                    self.doubled.eq(identifies),
                    identifies.eq(0),
                    left.eq(WORD_SLOTS - 1),
                ]
        return m
