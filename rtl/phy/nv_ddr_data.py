"""DQ and DQS of NV-DDR to the dies: data of a slot in the slot behind it."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["DataOut"]


class DataOut(wiring.Component):
    r"""What DQ and DQS are to be in this clock.

    ::

        slot       |  sends   |    +1    |    +2    |    +3    |
        DQS.oe     |~~~~~~~~~~ ~~~~~~~~~~ ~~~~~~~~~~ ~~~~~~~~~~|   tWPRE before, tWPST behind
        DQS        |__________ _____/~~~~\__________ __________|
        DQ                       < A  >< B  >

    Parameters
    ----------
    slot : int
        Core clocks of a slot, even.

    Members
    -------
    clock : In
        Clock of the slot, from 0 on.
    sends : In(1)
        The slot has data to a die ...
    pair : In(16)
        ... its two bytes, the first one lowest.
    dq, dqs : Out
        First and second half of the clock.
    dq_oe, dqs_oe : Out(1)
    """

    def __init__(self, slot):
        self._slot = slot
        super().__init__(
            {
                "clock": In(range(slot)),
                "sends": In(1),
                "pair": In(16),
                "dq": Out(data.ArrayLayout(8, 2)),
                "dq_oe": Out(1),
                "dqs": Out(1),
                "dqs_oe": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        quarter = self._slot // 2  # in half clocks
        sent = Signal(3)  # the slots before sent data, the last one lowest
        now, before = Signal(16), Signal(16)  # what is on the pins
        with m.If(self.clock == self._slot - 1):
            m.d.sync += [sent.eq(Cat(self.sends, sent)), now.eq(self.pair), before.eq(now)]
        with m.Switch(self.clock):
            for clock in range(self._slot):
                with m.Case(clock):
                    for half in range(2):
                        place = 2 * clock + half
                        if place < quarter:
                            byte = before[8:]
                        elif place < 3 * quarter:
                            byte = now[:8]
                        else:
                            byte = now[8:]
                        m.d.comb += self.dq[half].eq(byte)
        m.d.comb += [
            self.dq_oe.eq(sent[:2].any()),
            self.dqs.eq(Mux(self.clock >= self._slot // 2, sent[0], 0)),
            self.dqs_oe.eq(self.sends | sent.any()),
        ]
        return m
