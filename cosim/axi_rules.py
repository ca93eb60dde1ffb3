"""Rules of AXI4 and AXI4-Lite that can be seen on a bus, checked clock by clock (Arm IHI 0022).

Knows nothing of what is on either side. `AxiRules` asks for the wires of each clock by name, so
that it can be tested with numbers; `watch` feeds it in cocotb.
"""

from collections import deque
from typing import NoReturn

from cocotb.triggers import RisingEdge

__all__ = ["AxiRules", "AxiViolation", "watch"]

CHANNELS = {
    "aw": ("id", "addr", "len", "size", "burst", "lock", "cache", "prot", "qos"),
    "w": ("data", "strb", "last"),
    "b": ("id", "resp"),
    "ar": ("id", "addr", "len", "size", "burst", "lock", "cache", "prot", "qos"),
    "r": ("id", "data", "resp", "last"),
}
"""Channel -> its payload; AXI4-Lite has less of it."""

_INCREMENTING = 1
_PAGE = 4096


class AxiViolation(AssertionError):
    """A rule was broken; the message has the clock, the rule and the values."""


class AxiRules:
    """Follows one bus.

    Parameters
    ----------
    data_bytes : int
        Width of the bus.

    Attributes
    ----------
    bursts : int
        Bursts (of AXI4-Lite: accesses) that were asked for, reads and writes.
    beats : int
        Beats of data moved, both ways.
    """

    def __init__(self, data_bytes):
        self.data_bytes = data_bytes
        self.clocks = self.bursts = self.beats = 0
        self.forget()

    def forget(self):
        """Nothing is under way any more: a reset of both sides."""
        self._held = {}  # channel -> its payload, where it was valid and not taken
        self._reads = deque()  # [id, beats to come]
        self._addresses = deque()  # (id, beats) of writes whose data have not all come
        self._data = deque([0])  # beats of bursts, the last of them not ended; no address yet
        self._answers = deque()  # ids of writes whose data have come

    def clock(self, wire):
        """One clock. ``wire`` gives the value of a signal by its name without the bus's prefix
        (``"awvalid"``), None if the bus has no such signal."""
        self.clocks += 1
        for channel, names in CHANNELS.items():
            held = self._held.pop(channel, None)
            if not wire(f"{channel}valid"):
                if held is not None:
                    self._break(f"{channel}valid falls before {channel}ready came")
                continue
            values = ((name, wire(channel + name)) for name in names)
            payload = {name: value for name, value in values if value is not None}
            if held is not None and payload != held:
                self._break(f"{channel} changes before {channel}ready came: {held} to {payload}")
            if wire(f"{channel}ready"):
                getattr(self, f"_{channel}")(**payload)
            else:
                self._held[channel] = payload

    def settled(self):
        """Whether everything asked for was answered."""
        return not (self._held or self._reads or self._addresses or self._answers) and (
            self._data == deque([0])
        )

    def _address(self, addr, len=0, size=None, burst=_INCREMENTING, lock=0, **rest):
        """The beats of a burst that may be asked for."""
        self.bursts += 1
        bytes_a_beat = self.data_bytes if size is None else 1 << size
        if bytes_a_beat > self.data_bytes:
            self._break(f"beats of {bytes_a_beat} bytes on a bus of {self.data_bytes}")
        if burst == _INCREMENTING:
            first = addr // bytes_a_beat * bytes_a_beat
            if first // _PAGE != (first + bytes_a_beat * (len + 1) - 1) // _PAGE:
                self._break(f"{len + 1} beats from {addr:#x} on cross 4096 bytes")
        elif len > 15:
            self._break(f"{len + 1} beats of a burst that does not increment")
        if lock and len > 15:
            self._break(f"{len + 1} beats of an exclusive access")
        return len + 1

    def _aw(self, id=0, **payload):
        self._addresses.append((id, self._address(**payload)))
        self._pair()

    def _ar(self, id=0, **payload):
        self._reads.append([id, self._address(**payload)])

    def _w(self, data, strb, last=1):
        self.beats += 1
        self._data[-1] += 1
        if last:
            self._data.append(0)
        self._pair()

    def _pair(self):
        """Write bursts of which address and data are known: their lengths agree."""
        while self._addresses and len(self._data) > 1:
            (number, beats), came = self._addresses.popleft(), self._data.popleft()
            if came != beats:
                self._break(f"wlast with beat {came} of a burst of {beats}")
            self._answers.append(number)
        if self._addresses and self._data[0] >= self._addresses[0][1]:
            self._break(f"no wlast with the last of {self._addresses[0][1]} beats")

    def _b(self, resp, id=0):
        if id not in self._answers:
            self._break(f"bid {id} answers no write whose address and data were taken")
        self._answers.remove(id)

    def _r(self, data, resp, id=0, last=1):
        self.beats += 1
        burst = next((burst for burst in self._reads if burst[0] == id), None)
        if burst is None:
            self._break(f"rid {id} answers no read")
        burst[1] -= 1
        if bool(last) != (burst[1] == 0):
            self._break(f"rlast is {last} with {burst[1]} beats to come")
        if last:
            self._reads.remove(burst)

    def _break(self, what) -> NoReturn:
        raise AxiViolation(f"clock {self.clocks}: {what}")


async def watch(dut, prefix, rules, clock, reset=None):
    """Check a bus for ever; start it with ``cocotb.start_soon``.

    Parameters
    ----------
    dut : handle
    prefix : str
        Of the signals' names, the separator included (``"m_axi_host_"``).
    rules : AxiRules
    clock : handle
    reset : handle, optional
        While it is high, outputs mean nothing.
    """
    edge = RisingEdge(clock)
    names = [
        channel + name
        for channel, payload in CHANNELS.items()
        for name in (*payload, "valid", "ready")
    ]
    handles = {name: getattr(dut, prefix + name, None) for name in names}

    def wire(name):
        handle = handles[name]
        return None if handle is None else int(handle.value)

    while True:
        await edge
        if reset is not None and reset.value:
            rules.forget()
        else:
            rules.clock(wire)
