"""Dies at the end of SDR pins: checks every time of ONFI, decodes cycles, answers on DQ.

Knows the standard and nothing of the PHY. Pins are looked at once in a clock, behind its edge: they
come from registers and do not change in between. DQ shows garbage whenever the standard does not
promise data.
"""

import random
from fractions import Fraction

from tests.rtl.phy.busy import LONG_AGO, Busy, PinError
from tests.rtl.phy.onfi_sdr import ONFI_SDR

__all__ = ["SdrDies"]

_COMMAND, _ADDRESS, _WRITE, _READ = range(1, 5)
_AT_ANY_TIME = (0x70, 0x78, 0xFF, 0xFA)
_TO_HOLD = {"cle": "CLH", "ale": "ALH", "dq": "DH", "ce": "CH"}


class SdrDies:
    """Front end of the dies of a channel. Each wakes up in timing mode 0, as after FFh, and then
    wants the times of the mode that it is told.

    Parameters
    ----------
    late_ns : int
        What board and pads add to the times of DQ.

    Attributes
    ----------
    cycles : list of (int, int, int)
        Die, `BusCycle` value, and byte or word of what the dies have been given.
    """

    def __init__(self, late_ns, seed=1):
        self.t = ONFI_SDR[0]
        self.late_ns = late_ns
        self.cycles: list[tuple[int, int, int]] = []
        self._rng = random.Random(seed)
        self._pins: dict = {}
        self._changed = dict.fromkeys(("cle", "ale", "dq", "oe", "ce", "we", "re", "wp"), LONG_AGO)
        self._we_fell = self._we_rose = self._re_fell = self._re_rose = Fraction(LONG_AGO)
        self._busy = Busy()
        self._shown: dict[int, int] = {}  # die -> last command
        self._told: dict[int, Fraction] = {}  # die -> last rise of WE_n
        self._ce_rose: dict[int, Fraction] = {}
        self._modes: dict[int, int] = {}
        self._feature = 0
        self._command, self._address_rose = 0, Fraction(LONG_AGO)
        self._bytes = bytearray()  # of a word to the die
        self._left = 0  # bytes of a word from the die
        self._word = 0
        self._read_last = 0  # die
        self._byte = (Fraction(LONG_AGO), 0)  # RE_n's fall and what is output for it
        self._before = self._byte

    def forget(self):
        """What pins were before now, and what was told over them."""
        self._pins = {}
        self.cycles.clear()

    def _least(self, now, since, name):
        took, least = now - since, self.t[name]
        if took < least:
            raise PinError(f"{float(now):g} ns: t{name} is {float(took):g}, not {least} ns")

    def _must(self, ok, now, text):
        if not ok:
            raise PinError(f"{float(now):g} ns: {text}")

    def clock(self, now, pins, ready):
        """What pins are from ``now`` on: a symbol for the dies, or None.

        ``pins`` has ce (mask of selected dies), cle, ale, we, re, wp (levels), dq and oe; ``ready``
        is R/B# of the dies themselves.
        """
        old, self._pins = self._pins or pins, pins
        if pins["ce"].bit_count() == 1:
            self.t = ONFI_SDR[self._modes.get(pins["ce"].bit_length() - 1, 0)]
        moved = {name for name in pins if pins[name] != old[name]}
        self._busy.see(now, ready, self._we_rose)
        for name in moved:
            self._changed[name] = now
        for name in sorted(moved & set(_TO_HOLD)):
            self._least(now, self._we_rose, _TO_HOLD[name])
        if "oe" in moved:
            self._changed["dq"] = now
            self._least(now, self._we_rose, "DH")
        for die in range(pins["ce"].bit_length()):
            if pins["ce"] & ~old["ce"] & 1 << die:
                self._least(now, self._ce_rose.get(die, LONG_AGO), "CEH")
        for die in range(old["ce"].bit_length()):
            if old["ce"] & ~pins["ce"] & 1 << die:
                self._ce_rose[die] = now
        if pins["oe"]:
            self._must(pins["re"], now, "DQ is driven while RE_n is low")
            self._least(now, self._re_rose, "RHZ")
        symbol = None
        if not pins["ce"]:
            return None
        if "we" in moved:
            symbol = self._we_rises(now, ready) if pins["we"] else self._we_falls(now)
        if "re" in moved:
            symbol = self._re_rises(now) if pins["re"] else self._re_falls(now, ready)
        return symbol

    def pin_ready(self, now, ready, dies):
        """R/B_n as pins: falls as late as it may."""
        return self._busy.pin(now, ready, dies, self.t["WB"])

    def dq(self, at):
        """DQ as one that looks ``at`` a time sees it."""
        fell, byte = self._byte
        if at < fell + self._until_valid():  # the one before may still be there
            held, byte = self._before[0], self._before[1]
            if not (held + self.t["REA"] + self.late_ns <= at <= fell + self.t["RLOH"]):
                return self._rng.randrange(256)
            return byte if at <= self._re_rose + self.t["RHOH"] else self._rng.randrange(256)
        if self._re_rose > fell and at > self._re_rose + self.t["RHOH"]:
            return self._rng.randrange(256)
        return byte

    def answer(self, word):
        """The dies' answer to the READ of the clock before."""
        self._word = word
        self._byte = (self._byte[0], word & 255)

    def _until_valid(self):
        behind_select = self._changed["ce"] + self.t["CEA"] - self._byte[0]
        return max(self.t["REA"], behind_select) + self.late_ns

    def _selected(self, now):
        ce = self._pins["ce"]
        self._must(ce.bit_count() == 1, now, f"dies {ce:b} are selected")
        return max(0, ce.bit_length() - 1)

    def _we_falls(self, now):
        self._least(now, self._we_rose, "WH")
        self._least(now, self._we_fell, "WC")
        self._least(now, self._re_rose, "RHW")
        self._least(now, self._changed["wp"], "WW")
        self._we_fell = now

    def _we_rises(self, now, ready):
        pins, die = self._pins, self._selected(now)
        self._least(now, self._we_fell, "WP")
        for pin, name in (("cle", "CLS"), ("ale", "ALS"), ("dq", "DS"), ("ce", "CS")):
            self._least(now, self._changed[pin], name)
        self._must(pins["oe"], now, "nobody drives DQ")
        self._must(pins["re"], now, "RE_n is low with WE_n")
        self._must(not (pins["cle"] and pins["ale"]), now, "CLE and ALE are high")
        self._must(self._left == 0, now, f"{self._left} bytes of a word were not read")
        byte = pins["dq"]
        self._we_rose = self._told[die] = now
        if pins["cle"]:
            self._must(not self._bytes, now, f"{len(self._bytes)} bytes before a command")
            busy = not ready >> die & 1
            self._must(not busy or byte in _AT_ANY_TIME, now, f"{byte:02X}h to busy die {die}")
            self._least(now, self._busy.confirmed.get(die, LONG_AGO), "WB")
            self._command = self._shown[die] = byte
            if byte == 0xFF:
                self._modes[die] = 0
            self.cycles.append((die, _COMMAND, byte))
            return die, _COMMAND, byte
        if pins["ale"]:
            self.cycles.append((die, _ADDRESS, byte))
            self._address_rose, self._feature = now, byte
            return die, _ADDRESS, byte
        if not self._bytes:
            self._least(now, self._address_rose, "ADL")
        self._bytes.append(byte)
        if len(self._bytes) < (4 if self._command == 0xEF else 8):
            return None
        word, self._bytes = int.from_bytes(self._bytes, "little"), bytearray()
        self.cycles.append((die, _WRITE, word))
        if (self._command, self._feature) == (0xEF, 0x01):
            self._modes[die] = word if word < len(ONFI_SDR) else 0
        return die, _WRITE, word

    def _re_falls(self, now, ready):
        pins, die = self._pins, self._selected(now)
        self._least(now, self._re_rose, "REH")
        self._least(now, self._re_fell, "RC")
        self._least(now, self._changed["cle"], "CLR")
        self._least(now, self._changed["ale"], "AR")
        self._least(now, self._told.get(die, LONG_AGO), "WHR")
        self._least(now, self._changed["oe"], "IR")
        self._must(not (pins["cle"] or pins["ale"]), now, "CLE or ALE is high with RE_n")
        self._must(pins["we"] and not pins["oe"], now, "WE_n is low or DQ driven with RE_n")
        if self._shown.get(die) not in (0x70, 0x78):
            self._must(ready >> die & 1, now, f"busy die {die} is read")
            self._least(now, self._busy.ready_since.get(die, LONG_AGO), "RR")
        for other, rose in self._ce_rose.items():
            if other != die and self._read_last == other:
                self._least(now, rose, "CHZ")
        self._read_last = die
        self._re_fell, self._before = now, self._byte
        if self._left == 0:
            self._left = 8
        self._left -= 1
        if self._left == 7:
            self._byte = (now, self._rng.randrange(256))  # until the dies have answered
            return die, _READ, 0
        self._word >>= 8
        self._byte = (now, self._word & 255)
        return None

    def _re_rises(self, now):
        self._least(now, self._re_fell, "RP")
        self._re_rose = now
