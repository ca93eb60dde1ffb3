"""Commands of the fake drive, carried out on host memory, device DRAM and flash cells.

Each runs as a generator and gives way where the gateware would wait for its firmware.
"""

import numpy as np

from cosim.environment import HOST_BASE
from cosim.reference import BF16, FP16
from rtl.commands import CQE, FIRMWARE, SQE, SQE_VIEWS, Opcode, Status
from rtl.executor.read import capability_page
from rtl.tables import HEAD, MAP_ENTRY, PAGE_META, PASS, SEQUENCE, SequenceState, group_channel

COMMAND_CYCLES = 1000
FORMATS = (FP16, BF16)


class Refused(Exception):
    """A command ends with this status."""


class Commands:
    """Mixin of `fake_drive.lane.FakeLane`."""

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

    def _command(self):
        at = (
            (self.registers["SQ_BASE_LO"] | self.registers["SQ_BASE_HI"] << 32)
            - HOST_BASE
            + 64 * self.head
        )
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
                case Opcode.CAPABILITIES:
                    self._send(capability_page(self.config).ljust(4096, b"\0"))
                case opcode if opcode in FIRMWARE:
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
            flush = self.flushes.pop(0)
            yield from self._flush(*flush)
            yield from self._build(*flush)
        if self.fields["opcode"] == Opcode.APPEND and status == Status.SUCCESS:
            sequence, layer = self.fields["sequence"], self.fields["layer"]
            entry = self._sequence(sequence, layer)
            for head in range(entry["kv_heads"]):
                yield from self._build(entry, layer, head)

    def _complete(self, status):
        self.counters["commands"] += 1
        self.counters["commands_failed"] += status != Status.SUCCESS
        at = (
            (self.registers["CQ_BASE_LO"] | self.registers["CQ_BASE_HI"] << 32)
            - HOST_BASE
            + 16 * self.cq_tail
        )
        size = self.registers["CQ_SIZE"]
        assert (self.cq_tail + 1) % size != self.registers["CQ_HEAD"], "completion queue overflows"
        self.host[at : at + 16] = np.frombuffer(
            CQE.pack(
                result=self.result,
                index=self.index,
                sqhd=self.head,
                cid=self.fields["cid"],
                phase=self.phase,
                status=status,
                dnr=status != 0,
            ),
            np.uint8,
        )
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
        data = np.frombuffer(self._fetch(size), FORMATS[entry["format"]].dtype)
        data = data.reshape(entry["kv_heads"], 2, f["tokens"], entry["head_dim"])
        for head in range(entry["kv_heads"]):
            brought = self._brings(entry, f["layer"], head, f["tokens"])
            yield from self._append(entry, f["layer"], head, data[head], defer=False)
            yield from self._units_of(entry, f["layer"], head, data[head, 0, :brought])

    def _append(self, entry, layer, head, new, *, defer):
        """Appends [K, V][tokens][head_dim]; ``defer``: a group that it fills stays in the tail."""
        index = layer * entry["kv_heads"] + head
        address = entry["heads"] + HEAD.size * index
        state = self._load(HEAD, address)
        group_tokens, row = entry["group_tokens"], 2 * entry["head_dim"]
        if state["tokens"] + new.shape[1] > entry["max_tokens"]:
            raise Refused(Status.CONTEXT_EXCEEDED)
        self._follow(entry, index, state, new)
        while new.shape[1]:
            at = state["tail_tokens"]
            now, new = new[:, : group_tokens - at], new[:, group_tokens - at :]
            for kind in range(2):
                tail = entry["tail"] + (2 * index + kind) * self.geometry.page_bytes
                self._store(tail + at * row, now[kind].tobytes())
            state["tokens"] += now.shape[1]
            state["tail_tokens"] += now.shape[1]
            self._store(address, HEAD.pack(**state))
            if state["tail_tokens"] == group_tokens:
                if defer:
                    self.flushes.append((entry, layer, head))
                else:
                    yield from self._flush(entry, layer, head)
                    state = self._load(HEAD, address)

    def _follow(self, entry, index, state, new):
        """Block exponents and non-finite marks, token by token; full passes into their table."""
        format = FORMATS[entry["format"]]
        size = self.config.pass_tokens
        for number in range(new.shape[1]):
            for kind, name in enumerate("kv"):
                bits = new[kind, number].view(np.uint16) >> format.fraction_bits & format.top_field
                exponent = int(np.maximum(bits, 1).max()) - 1
                state[f"{name}_exp"] = max(state[f"{name}_exp"], exponent)
                state[f"{name}_bad"] |= int((bits == format.top_field).any())
            full, left = divmod(state["tokens"] + number + 1, size)
            if not left:
                facts = {name: state[name] for name in PASS.fields}
                at = entry["passes"] + PASS.size * (index * entry["pass_entries"] + full - 1)
                self._store(at, PASS.pack(**facts))
                state.update(dict.fromkeys(facts, 0))

    def _flush(self, entry, layer, head):
        index = layer * entry["kv_heads"] + head
        address = entry["heads"] + HEAD.size * index
        group = self._load(HEAD, address)["flash_groups"]
        channel = self._channel(entry, layer, head, group)
        places = []
        used = entry["group_tokens"] * 2 * entry["head_dim"]
        for kind in range(2):
            tail = entry["tail"] + (2 * index + kind) * self.geometry.page_bytes
            page = self.dram[tail : tail + used].tobytes()
            meta = self._meta(entry, group=group, kind=kind, index=index)
            places.append((yield from self._program(channel, entry["stream"], page, meta)))
        (k_die, k_row), (v_die, v_row) = places
        assert group < entry["groups"]
        self._store(
            entry["map"] + MAP_ENTRY.size * (index * entry["groups"] + group),
            MAP_ENTRY.pack(k_row=k_row, k_die=k_die, v_row=v_row, v_die=v_die),
        )
        state = self._load(HEAD, address)
        self._store(address, HEAD.pack(**{**state, "flash_groups": group + 1, "tail_tokens": 0}))

    def _meta(self, entry, **fields):
        """What a page says of itself; the segment is that of the moment."""
        return PAGE_META.pack(segment=entry["segment"], **fields)

    def _head(self, entry, layer, head):
        index = layer * entry["kv_heads"] + head
        return self._load(HEAD, entry["heads"] + HEAD.size * index)

    def _gather(self, entry, layer, head):
        """[K, V][tokens][head_dim] of a head, counted as attended."""
        state = self._head(entry, layer, head)
        d, group_tokens = entry["head_dim"], entry["group_tokens"]
        dtype = FORMATS[entry["format"]].dtype
        parts = []
        for group in range(-(-state["tokens"] // group_tokens)):
            page = [self._page(entry, layer, head, group, kind) for kind in range(2)]
            on_flash = group < state["flash_groups"]
            self.counters["bytes_tail"] += 0 if on_flash else sum(map(len, page))
            first, last = group * group_tokens, (group + 1) * group_tokens - 1
            if on_flash and first // self.config.pass_tokens != last // self.config.pass_tokens:
                self._count_read(entry, layer, head, group, 2)  # once for each of its passes
            parts.append(np.stack([np.frombuffer(raw, dtype).reshape(-1, d) for raw in page]))
        return np.concatenate(parts, axis=1) if parts else None

    def _channel(self, entry, layer, head, group):
        channels, first = self.geometry.channels, entry["first_channel"]
        return group_channel(group, layer, entry["kv_heads"], head, channels, first)

    def _count_read(self, entry, layer, head, group, pages):
        channel = self._channel(entry, layer, head, group)
        self.counters["pages_read"] += pages
        self.channel_counters[channel]["pages_read"] += pages
        return channel

    def _page(self, entry, layer, head, group, kind):
        """Bytes of a token group's K or V, from flash or tail."""
        index = layer * entry["kv_heads"] + head
        state, size = self._head(entry, layer, head), self.geometry.page_bytes
        if group >= state["flash_groups"]:
            tokens = state["tokens"] - group * entry["group_tokens"]
            tail = entry["tail"] + (2 * index + kind) * size
            return self.dram[tail : tail + tokens * 2 * entry["head_dim"]].tobytes()
        place = entry["map"] + MAP_ENTRY.size * (index * entry["groups"] + group)
        spot = self._load(MAP_ENTRY, place)
        channel = self._count_read(entry, layer, head, group, 1)
        name = "kv"[kind]
        used = entry["group_tokens"] * 2 * entry["head_dim"]
        self.counters["bytes_flash"] += used
        die, row = spot[f"{name}_die"], spot[f"{name}_row"]
        data, meta = self.array.decode(self.config.code, channel, die, row)
        wanted = {"group": group, "kind": kind, "index": index}
        found = PAGE_META.unpack(meta)
        writer = found.pop("segment")
        assert found == wanted
        others = {Opcode.FORK, Opcode.TRUNCATE} & set(self.commands) or self.cut
        assert writer == entry["segment"] or others
        return data[:used].tobytes()

    def _read_command(self):
        view = SQE_VIEWS["read_kv"].unpack(self.sqe)
        entry = self._sequence(self.fields["sequence"], self.fields["layer"])
        if view["head"] >= entry["kv_heads"]:
            raise Refused(Status.HEAD_OUT_OF_RANGE)
        state = self._head(entry, self.fields["layer"], view["head"])
        if self.fields["group"] * entry["group_tokens"] >= state["tokens"]:
            raise Refused(Status.GROUP_OUT_OF_RANGE)
        layer, group = self.fields["layer"], self.fields["group"]
        self._send(self._page(entry, layer, view["head"], group, view["kind"]))
