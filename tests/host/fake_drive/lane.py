"""A drive as behaviour: what the gateware does with queues, tables and flash, without its time.

It follows the byte tables of `rtl.commands`, `rtl.registers` and `rtl.tables` and attends with the
twin, so that driver and firmware can be debugged without any RTL. Time is a made-up number of
cycles per event.
"""

from collections import Counter
from types import SimpleNamespace

import numpy as np

from host.firmware.state_table import deliver
from rtl.pages.codec import decode_pages, encode_pages
from rtl.registers import CHANNEL_COUNTERS, COUNTERS, DRIVE_ID, REGISTERS
from tests.host.fake_drive.attend import Attends
from tests.host.fake_drive.columns import Columns
from tests.host.fake_drive.commands import Commands

PROGRAM_CYCLES, ERASE_LOOKS = 50, 3
NAMES = {register.address: name for name, register in REGISTERS.items()}


class PowerLoss(Exception):
    """So many pages were programmed, and then the power went: `FakeLane.power_cut`."""


class Cells:
    """Flash contents with NAND's rules: a page is programmed once, a block erased as a whole."""

    faults = None

    def __init__(self, geometry):
        self.geometry = geometry
        self.pages = {}
        self.decoded = {}  # as far as they were read: decoding takes time

    def write_page(self, channel, die, row, data):
        assert (channel, die, row) not in self.pages, "a programmed page is programmed again"
        assert len(data) <= self.geometry.page_total
        self.pages[channel, die, row] = bytes(data)

    def page(self, channel, die, row):
        return np.frombuffer(self.pages[channel, die, row], np.uint8)

    def decode(self, code, channel, die, row):
        """User bytes and metadata of a page."""
        place = (channel, die, row)
        if place not in self.decoded:
            data, metas, corrected = decode_pages(code, [row], self.page(*place)[None])
            assert (corrected == 0).all()
            self.decoded[place] = data[0], metas[0]
        return self.decoded[place]

    def erase(self, channel, die, row):
        for page in range(row, row + self.geometry.pages):
            self.pages.pop((channel, die, page), None)
            self.decoded.pop((channel, die, page), None)


class FakeLane(Commands, Attends, Columns):
    """See `host.lane.Lane`. ``problems``: a status to be injected per command (None: none).

    ``formatted``: its flash was delivered with a bad-block table.
    """

    def __init__(self, config, host_bytes=8 << 20, formatted=True):
        self.config = config
        self.geometry = config.flash.geometry
        self.host = np.zeros(host_bytes, np.uint8)
        self.dram = np.full(config.dram_bytes, 0xA5, np.uint8)  # memory is not zero at power on
        self.array = Cells(self.geometry)
        if formatted:
            deliver(config, self.array)
        self.cycle = 0
        self.cut = False  # the power was, once
        self.programs_left = None  # until the power goes, see `PowerLoss`
        self.marks = set()  # (channel, die, block) that their makers found bad
        self.commands = []
        self.problems = []
        self.closed = False
        self._power_on()

    def power_cut(self, seed=0):
        """All but the flash is lost."""
        self.cut, self.programs_left = True, None
        self.dram[:] = np.random.default_rng(seed).integers(0, 256, len(self.dram), np.uint8)
        self.host[:] = 0
        self._power_on()

    def _power_on(self):
        config = self.config
        self.registers = Counter()
        self.counters = Counter()
        self.channel_counters = [Counter() for _ in range(config.channels)]
        streams, channels = config.append_streams, config.channels
        self.blocks = {}  # (stream, slot, channel, column) -> (die, block)
        self.pushed = [[] for _ in range(streams)]  # columns of each stripe
        self.given = set()  # (channel, die, block) of all stripes so far
        self.taken = [0] * channels  # pages dealt so far
        self.filled = [[0] * channels for _ in range(streams)]  # stripes
        self.dealt = [[0] * channels for _ in range(streams)]  # pages of the open one
        self.reset = set()
        self.die_status = 0xE0
        self.busy = 0
        self.waiting = False
        self.starved = None  # the stream that a page waits for
        self.flushes = []
        self.work = None
        self.stopped = False  # the queues, see STATUS

    @property
    def simulated_clocks(self):
        return self.cycle // 2

    @property
    def mailbox(self):
        return self.waiting or self.starved is not None

    def close(self):
        self.closed = True

    def csr_read(self, address):
        self.cycle += 2
        if address >= 0x4000:
            channel, offset = divmod(address - 0x4000, 64)
            name = CHANNEL_COUNTERS[offset // 8]
            return 0 if address & 4 else self._channel_counter(channel, name)
        if address >= 0x3000:
            return 0 if address & 4 else self._counter(COUNTERS[(address - 0x3000) // 8])
        if 0x2040 <= address < 0x2080:
            at = address - 0x2040
            return int.from_bytes(self.sqe[at : at + 4], "little")
        match NAMES[address]:
            case "ID":
                return DRIVE_ID
            case "STATUS":
                executing = self.work is not None
                return 1 | self.waiting << 1 | executing << 2 | self.stopped << 3
            case "MAILBOX_STATUS":
                starved = 0 if self.starved is None else 2 | self.starved << 8
                return self.waiting | starved
            case "STREAM_FILLED":
                channel, stream = divmod(self.registers["STREAM"], 256)
                return self.filled[stream][channel] % (2 * self.config.stream_slots)
            case "STREAM_END":
                return 0  # it is over at once
            case "FLASH_STATUS":
                self.busy = max(0, self.busy - 1)
                return int(self.busy > 0) | self.die_status << 8
            case "EVENT" | "PROGRAM_USED":  # programs never fail here
                return 0
            case name:
                return self.registers[name]

    def csr_write(self, address, value):
        self.cycle += 2
        name = NAMES[address]
        self.registers[name] = value
        match name:
            case "CONTROL" if value:
                self.stopped = False
                self.head = self.cq_tail = self.registers["SQ_TAIL"] = self.registers["CQ_HEAD"] = 0
                self.phase = 1
            case "STRIPE_BLOCK":
                stream, row = self.registers["STREAM"] & 0xFF, self.registers["FLASH_ROW"]
                slot, channel, column = value & 0xFF, value >> 8 & 0xFF, value >> 16
                assert slot == self._slot(stream, len(self.pushed[stream])), "not the next stripe"
                assert max(column, row >> 24) < self.geometry.dies
                assert channel < self.geometry.channels
                place = channel, row >> 24, row & 0xFFFF
                assert place not in self._held(), "a block that is being filled"
                self.blocks[stream, slot, channel, column] = place[1:]
                self.given.add(place)
            case "STRIPE_PUSH":
                self._push(self.registers["STREAM"] & 0xFF, value)
            case "STREAM_END":
                stream = value & 0xFF
                self.filled[stream] = [len(self.pushed[stream])] * self.geometry.channels
                self.dealt[stream] = [0] * self.geometry.channels
            case "FLASH_OP":
                assert not self.busy, "a management operation while one runs"
                self._flash(value >> 8, value & 0xFF, self.registers["FLASH_ROW"])
            case "MAILBOX_DONE":
                assert self.waiting
                self.waiting = False

    def idle(self, cycles):
        self.cycle += cycles
        self.busy = 0

    def run(self, until_irq=True, until_mailbox=True, max_cycles=1 << 40):
        self.cycle += 10
        irqs, count = 0, self.counters["commands"]
        while not self.mailbox or not until_mailbox:
            if self.work is None:
                if self.stopped or self.head == self.registers["SQ_TAIL"]:
                    break
                self.work = self._command()
            if next(self.work, "done") == "done":
                self.work = None
            irqs = self.counters["commands"] - count
            if irqs and until_irq:
                break
        return SimpleNamespace(
            cycle=self.cycle,
            irqs=irqs,
            mailbox=self.mailbox,
            timeout=False,
            stuck=not irqs and not self.mailbox and self.work is None,
        )

    def _slot(self, stream, number):
        assert stream < len(self.pushed), "no such stream"
        return number % self.config.stream_slots

    def _stripe(self, stream, number, channel):
        """Die and block of each column."""
        slot, columns = self._slot(stream, number), self.pushed[stream][number]
        return [self.blocks[stream, slot, channel, column] for column in range(columns)]

    def _held(self):
        """Channel, die and block of what the append path was given and has not filled."""
        return [
            (channel, *place)
            for stream, filled in enumerate(self.filled)
            for channel, first in enumerate(filled)
            for number in range(first, len(self.pushed[stream]))
            for place in self._stripe(stream, number, channel)
        ]

    def _push(self, stream, columns):
        assert 1 <= columns <= self.geometry.dies
        room = self.config.stream_slots - (len(self.pushed[stream]) - min(self.filled[stream]))
        assert room, "a stripe was pushed into a full ring"
        self.pushed[stream].append(columns)
        held = self._held()  # which looks up the block of every column
        assert len(held) == len(set(held)), "a block was given twice"
        if stream == self.starved:  # it may be again: the command looks when it goes on
            self.starved = None

    def _flash(self, channel, operation, row):
        die, row = row >> 24, row & 0xFFFFFF
        assert die < self.geometry.dies and channel < self.geometry.channels
        column, words = self.registers["FLASH_WORDS"] & 0xFFF, self.registers["FLASH_WORDS"] >> 16
        at, size = self.registers["FLASH_ADDRESS"], 8 * words
        if operation == 0:
            page = np.full(self.geometry.page_total, 0xFF, np.uint8)
            block, number = divmod(row, self.geometry.pages)
            if (channel, die, block) in self.marks and number == 0:
                page[self.geometry.page_bytes] = 0
            if (channel, die, row) in self.array.pages:
                content = self.array.page(channel, die, row)
                page[: len(content)] = content
            self.dram[at : at + size] = page[8 * column :][:size]
            self._counted("pages_read", channel)
        elif operation == 1:
            assert (channel, die, row // self.geometry.pages) not in self.marks
            self.array.write_page(channel, die, row, self.dram[at : at + size].tobytes())
            self._counted("pages_programmed", channel)
        elif operation == 3:
            self.reset.add((channel, die))
        elif operation not in (5, 6):  # STATUS, READ_RETRY
            assert operation == 2 and row % self.geometry.pages == 0
            assert (channel, die, row // self.geometry.pages) not in self.marks
            self.array.erase(channel, die, row)
            self.counters["blocks_erased"] += 1
        self.busy = ERASE_LOOKS

    def _counted(self, name, channel):
        self.channel_counters[channel][name] += 1
        self.counters[name] += 1

    def _allocate(self, channel, stream):
        assert len(self.reset) == self.geometry.channels * self.geometry.dies, "dies were not reset"
        while (number := self.filled[stream][channel]) == len(self.pushed[stream]):
            self.starved = stream
            yield
        stripe = self._stripe(stream, number, channel)
        page, column = divmod(self.dealt[stream][channel], len(stripe))
        self.dealt[stream][channel] += 1
        self.taken[channel] += 1
        if self.dealt[stream][channel] == len(stripe) * self.geometry.pages:
            self.filled[stream][channel], self.dealt[stream][channel] = number + 1, 0
        die, block = stripe[column]
        return die, block * self.geometry.pages + page

    def _program(self, channel, stream, data, meta):
        die, row = yield from self._allocate(channel, stream)
        if self.programs_left is not None:
            self.programs_left -= 1
            if self.programs_left < 0:
                raise PowerLoss
        page = np.frombuffer(data, np.uint8)[None]
        raw = encode_pages(self.config.code, [row], [meta], page)
        self.array.write_page(channel, die, row, raw.tobytes())
        self._counted("pages_programmed", channel)
        self.cycle += PROGRAM_CYCLES
        return die, row

    def _counter(self, name):
        if name == "cycles":
            return self.cycle
        if name.startswith("time_"):
            return self.cycle // 6
        return self.counters[name]

    def _channel_counter(self, channel, name):
        if name in ("data", "command", "waiting", "idle"):
            return self.cycle // 4
        return self.channel_counters[channel][name]
