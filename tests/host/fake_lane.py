"""A drive as behaviour: what the gateware does with queues, tables and flash, without its time.

It follows the byte tables of `rtl.commands`, `rtl.registers` and `rtl.tables` and attends with the twin, so
that driver and firmware can be debugged without any RTL. Commands run as Python generators: they give way
where the gateware would wait for its firmware. Time is a made-up number of cycles per event.
"""

from collections import Counter
from types import SimpleNamespace

import numpy as np
from cosim.environment import HOST_BASE
from cosim.reference import twin_attend
from rtl.commands import CQE, JOB, SQE, SQE_VIEWS, Opcode, Status
from rtl.registers import CHANNEL_COUNTERS, COUNTERS, DRIVE_ID, REGISTERS
from rtl.tables import HEAD, MAP_ENTRY, SEQUENCE, SequenceState, group_channel

RING = 16
PROGRAM_CYCLES, COMMAND_CYCLES, ERASE_LOOKS = 50, 1000, 3
NAMES = {register.address: name for name, register in REGISTERS.items()}


class Refused(Exception):
    """A command ends with this status."""


class Cells:
    """Flash contents with NAND's rules: a page is programmed once, a block erased as a whole."""

    def __init__(self, geometry):
        self.geometry = geometry
        self.pages = {}

    def write_page(self, channel, die, row, data):
        assert (channel, die, row) not in self.pages, "a programmed page is programmed again"
        assert len(data) == self.geometry.page_bytes
        self.pages[channel, die, row] = bytes(data)

    def page(self, channel, die, row):
        return np.frombuffer(self.pages[channel, die, row], np.uint8)

    def erase(self, channel, die, row):
        block = row // self.geometry.pages
        for page in [p for p in self.pages
                     if p[:2] == (channel, die) and p[2] // self.geometry.pages == block]:
            del self.pages[page]


class FakeLane:
    """See `host.lane.Lane`; ``problems`` holds statuses to be injected, one per command (None: none)."""

    def __init__(self, config, host_bytes=8 << 20):
        self.config = config
        self.geometry = config.flash.geometry
        self.host = np.zeros(host_bytes, np.uint8)
        self.dram = np.full(config.dram_bytes, 0xA5, np.uint8)  # memory is not zero at power on
        self.array = Cells(self.geometry)
        self.cycle = 0
        self.registers = Counter()
        self.counters = Counter()
        self.channel_counters = [Counter() for _ in range(config.channels)]
        self.ring = []
        self.at = [0] * config.channels
        self.reset = set()
        self.busy = 0
        self.waiting = self.starved = False
        self.flushes = []
        self.work = None
        self.commands = []
        self.problems = []
        self.closed = False

    @property
    def simulated_clocks(self):
        return self.cycle // 2

    @property
    def mailbox(self):
        return self.waiting or self.starved

    def close(self):
        self.closed = True

    # control bus ------------------------------------------------------------------------------------------

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
                return 1 | self.waiting << 1 | (self.work is not None) << 2
            case "MAILBOX_STATUS":
                return self.waiting | self.starved << 1
            case "GROUP_FREE":
                return self._free()
            case "FLASH_STATUS":
                self.busy = max(0, self.busy - 1)
                return int(self.busy > 0)
            case name:
                return self.registers[name]

    def csr_write(self, address, value):
        self.cycle += 2
        name = NAMES[address]
        self.registers[name] = value
        match name:
            case "CONTROL" if value:
                self.head = self.cq_tail = self.registers["SQ_TAIL"] = self.registers["CQ_HEAD"] = 0
                self.phase = 1
            case "GROUP_PUSH":
                assert self._free(), "a group was pushed into a full ring"
                assert value not in self.ring[min(self.at) // self._channel_pages():]
                self.ring.append(value)
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
                if self.head == self.registers["SQ_TAIL"]:
                    break
                self.work = self._command()
            if next(self.work, "done") == "done":
                self.work = None
            irqs = self.counters["commands"] - count
            if irqs and until_irq:
                break
        return SimpleNamespace(cycle=self.cycle, irqs=irqs, mailbox=self.mailbox, timeout=False,
                               stuck=not irqs and not self.mailbox and self.work is None)

    # flash ------------------------------------------------------------------------------------------------

    def _channel_pages(self):
        return self.geometry.dies * self.geometry.pages

    def _free(self):
        return RING - (len(self.ring) - min(self.at) // self._channel_pages())

    def _flash(self, channel, operation, row):
        die, row = row >> 24, row & 0xFFFFFF
        assert die < self.geometry.dies and channel < self.geometry.channels
        if operation == 3:
            self.reset.add((channel, die))
        else:
            assert operation == 2 and row % self.geometry.pages == 0
            self.array.erase(channel, die, row)
            self.counters["blocks_erased"] += 1
        self.busy = ERASE_LOOKS

    def _allocate(self, channel):
        assert len(self.reset) == self.geometry.channels * self.geometry.dies, "dies were not reset"
        number, page = divmod(self.at[channel], self._channel_pages())
        while number >= len(self.ring):
            self.starved = True
            yield
            self.starved = False
        page, die = divmod(page, self.geometry.dies)
        self.at[channel] += 1
        return die, self.ring[number] * self.geometry.pages + page

    def _program(self, channel, data):
        die, row = yield from self._allocate(channel)
        self.array.write_page(channel, die, row, data)
        self.channel_counters[channel]["pages_programmed"] += 1
        self.counters["pages_programmed"] += 1
        self.cycle += PROGRAM_CYCLES
        return die, row

    # memories ---------------------------------------------------------------------------------------------

    def _window(self, address, size):
        base = self.registers["WINDOW_BASE_LO"] | self.registers["WINDOW_BASE_HI"] << 32
        limit = base + (self.registers["WINDOW_BYTES_LO"] | self.registers["WINDOW_BYTES_HI"] << 32)
        if not base <= address <= limit - size:
            raise Refused(Status.OUT_OF_WINDOW)

    def _pages(self, size):
        """Offsets in host memory of the command's data pages."""
        pages = -(-size // 4096)
        pointers = [self.fields["prp1"]]
        if pages == 2:
            pointers.append(self.fields["prp2"])
        elif pages > 2:
            page_list = self.fields["prp2"]
            if page_list % 4096:
                raise Refused(Status.INVALID_PRP_OFFSET)
            self._window(page_list, 4096)
            at = page_list - HOST_BASE
            pointers += np.frombuffer(self.host[at : at + 8 * (pages - 1)], "<u8").tolist()
        for pointer in pointers:
            if pointer % 4096:
                raise Refused(Status.INVALID_PRP_OFFSET)
            self._window(pointer, 4096)
        return [pointer - HOST_BASE for pointer in pointers]

    def _fetch(self, size):
        self.counters["bytes_link_in"] += size
        return b"".join(self.host[p : p + 4096].tobytes() for p in self._pages(size))[:size]

    def _send(self, data):
        self.counters["bytes_link_out"] += len(data)
        for number, page in enumerate(self._pages(len(data))):
            part = data[number * 4096 : number * 4096 + 4096]
            self.host[page : page + len(part)] = np.frombuffer(part, np.uint8)

    def _load(self, layout, address):
        return layout.unpack(self.dram[address : address + layout.size])

    def _store(self, address, data):
        self.dram[address : address + len(data)] = np.frombuffer(data, np.uint8)

    def _sequence(self, number, layer):
        if number >= self.config.max_sequences:
            raise Refused(Status.UNKNOWN_SEQUENCE)
        entry = self._load(SEQUENCE, self.registers["SEQUENCE_TABLE"] + SEQUENCE.size * number)
        if entry["state"] == SequenceState.FREE:
            raise Refused(Status.UNKNOWN_SEQUENCE)
        if entry["state"] == SequenceState.CLOSED:
            raise Refused(Status.CLOSED_SEQUENCE)
        if layer >= entry["layers"]:
            raise Refused(Status.LAYER_OUT_OF_RANGE)
        return entry

    # commands ---------------------------------------------------------------------------------------------

    def _command(self):
        at = (self.registers["SQ_BASE_LO"] | self.registers["SQ_BASE_HI"] << 32) - HOST_BASE + 64 * self.head
        self.sqe = self.host[at : at + 64].tobytes()
        self.head = (self.head + 1) % self.registers["SQ_SIZE"]
        self.fields = SQE.unpack(self.sqe)
        self.commands.append(self.fields["opcode"])
        self.cycle += COMMAND_CYCLES
        self.result = self.index = 0
        status = Status.SUCCESS
        try:
            if self.problems and (problem := self.problems.pop(0)) is not None:
                raise Refused(problem)
            if self.fields["nsid"] != 1:
                raise Refused(Status.INVALID_NAMESPACE)
            match self.fields["opcode"]:
                case Opcode.APPEND:
                    yield from self._append_command()
                case Opcode.ATTEND | Opcode.STEP:
                    yield from self._attend_command()
                case Opcode.READ_KV:
                    self._read_command()
                case opcode if opcode >= 0x90:
                    self.waiting = True
                    yield
                    self.result = self.registers["MAILBOX_RESULT"]
                    status = self.registers["MAILBOX_DONE"]
                case _:
                    raise Refused(Status.INVALID_OPCODE)
        except Refused as refusal:
            status = refusal.args[0]
        self._complete(status)
        yield
        while self.flushes:  # what steps have filled, after their completion
            yield from self._flush(*self.flushes.pop(0))

    def _complete(self, status):
        self.counters["commands"] += 1
        self.counters["commands_failed"] += status != Status.SUCCESS
        at = (self.registers["CQ_BASE_LO"] | self.registers["CQ_BASE_HI"] << 32) - HOST_BASE + 16 * self.cq_tail
        size = self.registers["CQ_SIZE"]
        assert (self.cq_tail + 1) % size != self.registers["CQ_HEAD"], "completion queue overflows"
        self.host[at : at + 16] = np.frombuffer(CQE.pack(
            result=self.result, index=self.index, sqhd=self.head, cid=self.fields["cid"],
            phase=self.phase, status=status, dnr=status != 0), np.uint8)
        self.cq_tail = (self.cq_tail + 1) % size
        self.phase ^= self.cq_tail == 0

    def _append_command(self):
        f = self.fields
        entry = self._sequence(f["sequence"], f["layer"])
        if not f["tokens"]:
            raise Refused(Status.ZERO_LENGTH)
        row = 2 * entry["head_dim"]
        size = f["tokens"] * entry["kv_heads"] * 2 * row
        assert size <= self.config.max_transfer
        data = np.frombuffer(self._fetch(size), np.float16)
        data = data.reshape(entry["kv_heads"], 2, f["tokens"], entry["head_dim"])
        for head in range(entry["kv_heads"]):
            yield from self._append(entry, f["layer"], head, data[head], defer=False)

    def _append(self, entry, layer, head, new, *, defer):
        """Appends [K, V][tokens][head_dim] to a head; with ``defer`` a group that it fills stays in the tail."""
        index = layer * entry["kv_heads"] + head
        address = entry["heads"] + HEAD.size * index
        state = self._load(HEAD, address)
        group_tokens, row = entry["group_tokens"], 2 * entry["head_dim"]
        if state["tokens"] + new.shape[1] > entry["max_tokens"]:
            raise Refused(Status.CONTEXT_EXCEEDED)
        for token in range(new.shape[1]):
            at = state["tokens"] % group_tokens
            for kind, name in enumerate("kv"):
                bits = new[kind, token].view(np.uint16) >> 10 & 31
                state[f"{name}_exp"] = max(state[f"{name}_exp"], int(np.maximum(bits, 1).max()) - 1)
                state[f"{name}_bad"] |= int((bits == 31).any())
                tail = entry["tail"] + (2 * index + kind) * self.geometry.page_bytes
                self._store(tail + at * row, new[kind, token].tobytes())
            state["tokens"] += 1
            self._store(address, HEAD.pack(**state))
            if state["tokens"] % group_tokens == 0:
                if defer:
                    self.flushes.append((entry, layer, head))
                else:
                    yield from self._flush(entry, layer, head)
                    state = self._load(HEAD, address)

    def _flush(self, entry, layer, head):
        index = layer * entry["kv_heads"] + head
        address = entry["heads"] + HEAD.size * index
        group = self._load(HEAD, address)["flash_groups"]
        channel = group_channel(group, layer, entry["kv_heads"], head, self.geometry.channels)
        places = []
        for kind in range(2):
            tail = entry["tail"] + (2 * index + kind) * self.geometry.page_bytes
            page = self.dram[tail : tail + self.geometry.page_bytes].tobytes()
            places.append((yield from self._program(channel, page)))
        (k_die, k_row), (v_die, v_row) = places
        assert group < entry["groups"]
        self._store(entry["map"] + MAP_ENTRY.size * (index * entry["groups"] + group),
                    MAP_ENTRY.pack(k_row=k_row, k_die=k_die, v_row=v_row, v_die=v_die))
        self._store(address, HEAD.pack(**{**self._load(HEAD, address), "flash_groups": group + 1}))

    def _gather(self, entry, layer, head, *, count=True):
        """[K, V][tokens][head_dim] of a head and its state."""
        index = layer * entry["kv_heads"] + head
        state = self._load(HEAD, entry["heads"] + HEAD.size * index)
        parts = [self._group(entry, layer, head, group, count)
                 for group in range(-(-state["tokens"] // entry["group_tokens"]))]
        return np.concatenate(parts, axis=1) if parts else None, state

    def _group(self, entry, layer, head, group, count=True):
        index = layer * entry["kv_heads"] + head
        state = self._load(HEAD, entry["heads"] + HEAD.size * index)
        d, size = entry["head_dim"], self.geometry.page_bytes
        if group < state["flash_groups"]:
            spot = self._load(MAP_ENTRY, entry["map"] + MAP_ENTRY.size * (index * entry["groups"] + group))
            channel = group_channel(group, layer, entry["kv_heads"], head, self.geometry.channels)
            raw = [self.array.page(channel, spot[f"{n}_die"], spot[f"{n}_row"]).tobytes() for n in "kv"]
            if count:
                self.counters.update(pages_read=2, bytes_flash=2 * size)
                self.channel_counters[channel]["pages_read"] += 2
        else:
            tokens = state["tokens"] - group * entry["group_tokens"]
            tail = entry["tail"] + 2 * index * size
            raw = [self.dram[tail + kind * size :][: tokens * 2 * d].tobytes() for kind in range(2)]
            if count:
                self.counters["bytes_tail"] += 2 * len(raw[0])
        return np.stack([np.frombuffer(r, np.float16).reshape(-1, d) for r in raw])

    def _attend_command(self):
        view = SQE_VIEWS["attend"].unpack(self.sqe)
        step = self.fields["opcode"] == Opcode.STEP
        if view["mode"] or view["bytes"] % 8 or view["bytes"] > self.config.max_attend:
            raise Refused(Status.INVALID_FIELD)
        if not view["jobs"] or not view["bytes"]:
            raise Refused(Status.ZERO_LENGTH)
        data = self._fetch(view["bytes"])
        exp = self.fields["scale_exp"]
        exp -= 64 * (exp >= 32)
        scale = self.fields["scale_mant"] * 2.0 ** (exp - 26) / np.log2(np.e)
        for self.index in range(view["jobs"]):
            yield from self._job(JOB.unpack(data[self.index * JOB.size :]), data, step, scale)
        self.index = 0

    def _job(self, job, data, step, scale):
        entry = self._sequence(job["sequence"], job["layer"])
        heads, g, d = entry["kv_heads"], job["queries"], entry["head_dim"]
        if not 1 <= g <= self.config.max_queries_per_kv:
            raise Refused(Status.TOO_MANY_QUERY_HEADS)
        q = np.frombuffer(data, np.float16, heads * g * d, job["q_offset"]).reshape(heads, g, d)
        address = self.fields["result"] + job["result_offset"]
        self._window(address, q.nbytes)
        if step:
            kv = np.frombuffer(data, np.float16, heads * 2 * d, job["kv_offset"]).reshape(heads, 2, 1, d)
        for head in range(heads):
            if step:
                yield from self._append(entry, job["layer"], head, kv[head], defer=True)
            stored, state = self._gather(entry, job["layer"], head)
            if stored is None:
                raise Refused(Status.EMPTY_CONTEXT)
            got = twin_attend(q[head], stored[0], stored[1], scale)
            self.result |= bool(got.saturated) | bool(got.nonfinite) << 1
            assert state["k_exp"] == max(0, int((stored[0].view(np.uint16) >> 10 & 31).max()) - 1)
            out = np.ascontiguousarray(got.out, dtype=np.float16).tobytes()
            at = address - HOST_BASE + head * len(out)
            self.host[at : at + len(out)] = np.frombuffer(out, np.uint8)
            self.counters["bytes_link_out"] += len(out)
        self.counters["jobs"] += 1

    def _read_command(self):
        view = SQE_VIEWS["read_kv"].unpack(self.sqe)
        entry = self._sequence(self.fields["sequence"], self.fields["layer"])
        if view["head"] >= entry["kv_heads"]:
            raise Refused(Status.HEAD_OUT_OF_RANGE)
        stored, state = self._gather(entry, self.fields["layer"], view["head"], count=False)
        if self.fields["group"] * entry["group_tokens"] >= state["tokens"]:
            raise Refused(Status.GROUP_OUT_OF_RANGE)
        page = self._group(entry, self.fields["layer"], view["head"], self.fields["group"])
        self._send(page[view["kind"]].tobytes())

    # counters ---------------------------------------------------------------------------------------------

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
