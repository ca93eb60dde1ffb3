"""Dies at the end of NV-DDR pins: checks ONFI's times, follows CLK and DQS, answers on DQ.

Knows the standard and nothing of the PHY. Pins are looked at in each half of a clock. DQ shows
garbage outside of each byte's valid window, from tDQSQ behind its edge of DQS until tQHS before the
next one.
"""

import random
from fractions import Fraction

from tests.rtl.phy.busy import LONG_AGO, Busy, PinError

__all__ = ["NvDdrDies", "ONFI_NV_DDR"]

_NAMES = "CK CALS CALH CAS CAH CS CH DS DH DQSQ QHS".split()
_ROWS = """\
50 10  10  10  10  35 10  5   5   5    6
30 5   5   5   5   25 5   3   2.5 2.5  3
20 4   4   4   4   15 4   2   1.7 1.7  2
15 3   3   3   3   15 3   1.5 1.3 1.3  1.5
12 2.5 2.5 2.5 2.5 15 2.5 1.1 1.1 1    1.2
10 2   2   2   2   15 2   0.9 0.9 0.85 1
"""
_SAME = {"CAD": 45, "WRCK": 20, "DQSHZ": 20, "CEH": 20, "WB": 100, "RR": 20}
_SAME |= {"WHR": 80, "RHW": 100, "ADL": 400, "WW": 100}

ONFI_NV_DDR = [
    _SAME | dict(zip(_NAMES, map(Fraction, row.split()), strict=True)) for row in _ROWS.splitlines()
]
"""Mode -> name without its t -> ns."""

_COMMAND, _ADDRESS, _WRITE, _READ = range(1, 5)
_AT_ANY_TIME = (0x70, 0x78, 0xFC)
_DQSCK_MOST = 25


class NvDdrDies:
    """Front end of the dies of a channel, after they were told NV-DDR.

    Parameters
    ----------
    mode : int
        Timing mode whose times are to be kept.
    dqsck_ns : float
        From the CLK that asks for data to DQS, board and pads included.

    Attributes
    ----------
    cycles : list of (int, int, int)
        Die, `BusCycle` value, and byte or word of what the dies have been given.
    """

    def __init__(self, mode, dqsck_ns, seed=1):
        self.t = ONFI_NV_DDR[mode]
        self.dqsck_ns = Fraction(dqsck_ns)
        self.cycles: list[tuple[int, int, int]] = []
        self._rng = random.Random(seed)
        self._pins: dict = {}
        self._changed = dict.fromkeys(
            ("ce", "cle", "ale", "re", "dq", "oe", "dqs", "dqs_oe", "wp", "we"), LONG_AGO
        )
        self._ce_rose: dict[int, Fraction] = {}
        self._busy = Busy()
        self._rose = Fraction(LONG_AGO)  # CLK, last and the one before
        self._period = Fraction(LONG_AGO)
        self._latched = Fraction(LONG_AGO)  # last cycle that was no idle one, and its kind
        self._kind = 0
        self._shown: dict[int, int] = {}  # die -> last command
        self._told: dict[int, Fraction] = {}  # die -> last command or address
        self._address_at = self._out_at = self._written_at = Fraction(LONG_AGO)
        self._command = self._feature = 0
        self._expected: list[Fraction] = []  # rises of CLK whose edges of DQS are still to come
        self._dqs_edge = Fraction(LONG_AGO)
        self._bytes: list[int] = []
        self._out: list[tuple[Fraction, int]] = []  # edge of DQS, byte
        self._half = Fraction(0)  # of CLK's period, while data are output
        self._doubles = False
        self._left = 0

    def _least(self, now, since, name, least=None):
        least = self.t[name] if least is None else least
        if now - since < least:
            raise PinError(
                f"{float(now):g} ns: t{name} is {float(now - since):g}, not {float(least):g} ns"
            )

    def _must(self, ok, now, text):
        if not ok:
            raise PinError(f"{float(now):g} ns: {text}")

    def half(self, now, pins, ready):
        """What pins are from ``now`` on: a symbol for the dies, or None.

        ``pins`` has ce (mask of selected dies), cle, ale, we (CLK), re (W/R_n), wp, dq, oe, dqs and
        dqs_oe; ``ready`` is R/B# of the dies themselves.
        """
        old, self._pins = self._pins or pins, pins
        moved = {name for name in pins if pins[name] != old[name]}
        self._busy.see(now, ready, self._latched)
        self._holds(now, moved, old)
        for name in moved:
            self._changed[name] = now
        if "oe" in moved:
            self._changed["dq"] = now
        if pins["oe"] or pins["dqs_oe"]:
            self._must(pins["re"], now, "DQ or DQS is driven while W/R_n is low")
            self._least(now, self._changed["re"], "DQSHZ")
        symbol = None
        if "dqs" in moved and pins["dqs_oe"]:
            symbol = self._dqs(now)
        if "we" in moved and pins["we"]:
            self._must(symbol is None, now, "DQS ends a word as CLK begins a cycle")
            symbol = self._clk(now, ready)
        return symbol

    def pin_ready(self, now, ready, dies):
        """R/B_n as pins: falls as late as it may."""
        return self._busy.pin(now, ready, dies, self.t["WB"])

    def dq(self, at):
        """DQ as one that looks ``at`` a time sees it."""
        for edge, byte in self._out:
            if edge + self.t["DQSQ"] <= at <= edge + self._half - self.t["QHS"]:
                return byte
        self._out = [entry for entry in self._out if entry[0] > at - 1000]
        return self._rng.randrange(256)

    def answer(self, word):
        """The dies' answer to the READ of the clock before."""
        data = word.to_bytes(8, "little")
        if self._doubles:
            data = bytes(data[n // 2] for n in range(8))
        first = self._out_at + self.dqsck_ns
        self._out += [(first + n * self._half, byte) for n, byte in enumerate(data)]

    def _holds(self, now, moved, old):
        if moved & {"cle", "ale", "re"}:
            self._least(now, self._rose, "CALH")
        if "ce" in moved:
            self._least(now, self._rose, "CH")
            for die in range(8):
                if self._pins["ce"] & ~old["ce"] & 1 << die:
                    self._least(now, self._ce_rose.get(die, LONG_AGO), "CEH")
                if old["ce"] & ~self._pins["ce"] & 1 << die:
                    self._ce_rose[die] = now
        if moved & {"dq", "oe"}:
            if self._kind in (_COMMAND, _ADDRESS):
                self._least(now, self._latched, "CAH")
            self._least(now, self._dqs_edge, "DH")
        if "dqs_oe" in moved and old["dqs_oe"]:
            self._least(now, self._dqs_edge, "WPST", Fraction(3, 2) * self._period)
            self._must(not old["dqs"], now, "DQS is high as it is released")
        if "re" in moved and self._pins["re"]:
            slots = -(-(_DQSCK_MOST + self._period) // self._period)
            self._least(now, self._out_at, "CKWR", slots * self._period)

    def _dqs(self, now):
        """An edge of DQS, as the host drives it."""
        pins, rises = self._pins, self._pins["dqs"]
        self._must(self._expected, now, "an edge of DQS without data")
        self._must(pins["oe"], now, "nobody drives DQ at an edge of DQS")
        self._least(now, self._changed["dq"], "DS")
        if rises:
            late = now - self._expected[0]
            least, most = Fraction(3, 4) * self._period, Fraction(5, 4) * self._period
            self._must(least <= late <= most, now, f"tDQSS is {float(late):g} ns")
            if now - self._dqs_edge > self._period:
                self._least(now, self._changed["dqs_oe"], "WPRE", Fraction(3, 2) * self._period)
        else:
            self._least(now, self._dqs_edge, "DQSH", Fraction(2, 5) * self._period)
            self._expected.pop(0)
        self._dqs_edge = now
        self._bytes.append(pins["dq"])
        if len(self._bytes) < 8:
            return None
        data, self._bytes = self._bytes, []
        if self._command == 0xEF:
            self._must(data[::2] == data[1::2], now, f"bytes of a feature differ: {data}")
            data = data[::2]
        word, die = int.from_bytes(bytes(data), "little"), self._selected(now)
        self._latched, self._written_at = now, now
        self.cycles.append((die, _WRITE, word))
        return die, _WRITE, word

    def _selected(self, now):
        ce = self._pins["ce"]
        self._must(ce.bit_count() == 1, now, f"dies {ce:b} are selected")
        return max(0, ce.bit_length() - 1)

    def _clk(self, now, ready):
        """A rising edge of CLK."""
        pins, t = self._pins, self.t
        self._least(now, self._rose, "CK")
        self._period, self._rose = min(now - self._rose, Fraction(1000)), now
        kind = pins["cle"], pins["ale"]
        if kind == (0, 0) or not pins["ce"]:
            return None
        for name in ("cle", "ale", "re"):
            self._least(now, self._changed[name], "CALS")
        self._least(now, self._changed["ce"], "CS")
        die = self._selected(now)
        data_before = self._kind in (_WRITE, _READ)
        if kind != (1, 1) or not data_before or now - self._latched > self._period:
            self._least(now, max(self._latched, self._written_at), "CAD")
        if kind == (1, 1):
            return self._data(now, die, ready)
        self._must(pins["re"] and pins["oe"], now, "nobody drives DQ")
        self._least(now, self._changed["dq"], "CAS")
        self._least(now, self._out_at, "RHW")
        self._must(not self._expected and not self._bytes, now, "data to the die are incomplete")
        self._must(self._left == 0, now, f"{self._left} slots of a word were not read")
        self._latched = self._told[die] = now
        byte = pins["dq"]
        if pins["cle"]:
            self._kind = _COMMAND
            self._command = self._shown[die] = byte
            busy = not ready >> die & 1
            self._must(not busy or byte in _AT_ANY_TIME, now, f"{byte:02X}h to busy die {die}")
            self._least(now, self._busy.confirmed.get(die, LONG_AGO), "WB")
            self._least(now, self._changed["wp"], "WW", t["WW"])
        else:
            self._kind, self._address_at, self._feature = _ADDRESS, now, byte
        self.cycles.append((die, self._kind, byte))
        return die, self._kind, byte

    def _data(self, now, die, ready):
        if self._pins["re"]:
            if self._kind == _ADDRESS:
                self._least(now, self._address_at, "ADL")
            self._kind, self._latched = _WRITE, now
            self._expected.append(now)
            return None
        self._least(now, self._changed["re"], "WRCK")
        self._least(now, self._told.get(die, LONG_AGO), "WHR")
        if self._shown.get(die) not in (0x70, 0x78):
            self._must(ready >> die & 1, now, f"busy die {die} is read")
            self._least(now, self._busy.ready_since.get(die, LONG_AGO), "RR")
        self._kind, self._latched, self._half = _READ, now, self._period / 2
        self._left = (self._left or 4) - 1
        if self._left < 3:
            return None
        self._out_at, self._doubles = now, self._shown.get(die) in (0x90, 0xEE)
        return die, _READ, 0
