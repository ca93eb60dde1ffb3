"""The rtl backend: the drive's gateware in simulation, behind its driver and firmware."""

from collections import Counter
from dataclasses import dataclass, replace

import numpy as np

from rtl.commands import (
    CAPABILITY,
    CAPABILITY_MAGIC,
    JOB_STATUS,
    MEMORY_PAGE,
    Opcode,
    ResultFlag,
    Status,
)
from rtl.registers import CHANNEL_COUNTERS, COUNTERS, channel_counter_address, counter_address

from ..capacity import Capacity
from ..checks import FORMATS
from ..driver import Driver
from ..errors import DriveError, DriveValueError, status_error
from ..firmware import Firmware
from ..firmware.preload import BackDoor
from ..firmware.state_table import deliver
from ..levelling import level
from ..packing import cut_jobs, pack_append, pack_jobs, result_bytes, unpack_partials
from .base import Backend, Result

__all__ = ["RtlBackend"]


@dataclass(frozen=True)
class AppendPart:
    """One append under way: its commands, and how many tokens each brings."""

    sequence: int
    layer: int
    tokens: int
    commands: list


class RtlBackend(Backend):
    """Commands through the queues of a simulated drive.

    Parameters
    ----------
    config : DriveConfig
    lane : Lane, optional
        The drive; the native lane is built from ``config`` if not given.
    faults : flash_model.faults.Faults, optional
        What goes wrong in its flash cells, for the geometry of ``config.flash``.
    factory_new : bool
        The drive has no bad-block table yet: its firmware looks for the makers' marks in every
        block, which takes its time. Otherwise it was formatted before it was delivered.
    preload_dies : int, optional
        Of each channel, that `preload` puts pages on: it is then read like a drive with so many.
    **options
        Of `cosim.device.simulated_drive`: ``skip_idle``, ``trace``, ``watch``, ``announce`` ...

    Attributes
    ----------
    lane : Lane
    driver : Driver
    firmware : Firmware
    capabilities : dict of `CAPABILITY`
        What the drive says it can do.
    """

    name = "rtl"

    def __init__(
        self, config, *, lane=None, faults=None, factory_new=False, preload_dies=None, **options
    ):
        super().__init__(config)
        if faults is not None and faults.geometry != config.flash.geometry:
            raise DriveValueError(
                f"faults are of {faults.geometry}, the drive has {config.flash.geometry}: "
                "make them with config.flash.geometry"
            )
        if faults is not None and config.page_store == "memory":
            raise DriveValueError(
                'faults are of flash cells, and with page_store = "memory" there are none: '
                'leave them out, or use page_store = "nand"'
            )
        if faults is not None and lane is not None:
            raise DriveValueError("faults of a given lane are its array's: give them to the array")
        if lane is None:
            from cosim.device import simulated_drive

            lane = simulated_drive(config, faults=faults, **options)
            if not factory_new:
                deliver(config, lane.array)
        self.lane = lane
        self._preload_dies = preload_dies
        self._capacity = Capacity(config)
        self._shapes = {}
        self._formats = {}
        self._held = Counter()  # tokens of (sequence, layer), those of commands under way included
        self._power_on()

    def _power_on(self):
        lane, config = self.lane, self.config
        self.firmware = Firmware(lane, config)
        self.driver = Driver(lane, self.firmware.service)
        self._back_door = BackDoor(self.firmware, lane.array, config.code, self._preload_dies)
        self.driver.start()
        self.firmware.start()
        self.capabilities = self._read_capabilities()

    def save(self, sequence):
        if sequence is None:
            self.driver.execute(Opcode.FLUSH)
        else:
            self.driver.execute(Opcode.SAVE, sequence=sequence)

    def power_cycle(self, seed):
        self.lane.power_cut(seed)
        self._power_on()
        held = {}
        for number in range(self.config.max_sequences):
            first = self._ask_held(number, 0)
            if number not in self._shapes:
                if first is not None:  # an OPEN or FORK that was not answered any more
                    self.driver.execute(Opcode.CLOSE, sequence=number)
            elif first is None:  # a CLOSE
                del self._shapes[number], self._formats[number]
            else:
                rest = range(1, self._shapes[number].layers)
                held[number] = [first, *(self._ask_held(number, layer) for layer in rest)]
        self._held = Counter(
            {(number, layer): n for number, held in held.items() for layer, n in enumerate(held)}
        )
        return held

    def _ask_held(self, number, layer):
        """Tokens that a layer of a sequence holds; None if the drive does not have it."""
        command = self.driver.submit(Opcode.HELD, sequence=number, layer=layer)
        if self.driver.wait(command)["status"] == Status.UNKNOWN_SEQUENCE:
            return None
        return command.completion["result"]

    def open(self, layers, kv_heads, head_dim, max_tokens, format, index):
        shape = self._capacity.shape(layers, kv_heads, head_dim, max_tokens, index)
        level(self.driver, self.firmware, self.config)
        command = self.driver.submit(
            Opcode.OPEN,
            layers=layers,
            kv_heads=kv_heads,
            head_dim=head_dim,
            max_tokens=max_tokens,
            format=FORMATS.index(format),
            index=index,
        )
        return self._opened(command, shape, format)

    def _opened(self, command, shape, format):
        """Number of the sequence that a command opens."""
        if (status := self.driver.wait(command)["status"]) != Status.SUCCESS:
            raise DriveError(status, self._capacity.demand(shape, status))
        number = command.completion["result"]
        self._held = Counter({at: n for at, n in self._held.items() if at[0] != number})
        self._shapes[number], self._formats[number] = shape, format
        return number

    def fork(self, sequence, max_tokens):
        old = self._shapes[sequence]
        shape = self._capacity.shape(old.layers, old.kv_heads, old.head_dim, max_tokens, old.index)
        level(self.driver, self.firmware, self.config)
        command = self.driver.submit(Opcode.FORK, sequence=sequence, tokens=max_tokens)
        number = self._opened(command, shape, self._formats[sequence])
        for layer in range(old.layers):
            self._held[number, layer] = self._held[sequence, layer]
        return number

    def truncate(self, sequence, tokens):
        self.driver.execute(Opcode.TRUNCATE, sequence=sequence, tokens=tokens)
        for layer in range(self._shapes[sequence].layers):
            self._held[sequence, layer] = min(self._held[sequence, layer], tokens)

    def close(self, sequence):
        self.driver.execute(Opcode.CLOSE, sequence=sequence)
        del self._shapes[sequence], self._formats[sequence]

    def submit_append(self, sequence, layer, k, v):
        shape, held = self._shapes[sequence], self._held[sequence, layer]
        commands, at = [], 0
        for tokens in shape.cut_append(held, len(k), self.capabilities["max_transfer"]):
            part = slice(at, at + tokens)
            at += tokens
            command = self.driver.submit(
                Opcode.APPEND,
                data=pack_append(k[part], v[part]),
                sequence=sequence,
                layer=layer,
                tokens=tokens,
            )
            commands.append((command, tokens))
        self._held[sequence, layer] += len(k)
        return AppendPart(sequence, layer, len(k), commands)

    def wait_append(self, ticket):
        for command, _ in ticket.commands:
            self.driver.wait(command)
        failed = [c for c, _ in ticket.commands if c.completion["status"] != Status.SUCCESS]
        if failed:
            error = status_error(failed[0].completion, "APPEND")
            error.appended = sum(n for c, n in ticket.commands if c not in failed)
            self._held[ticket.sequence, ticket.layer] -= ticket.tokens - error.appended
            raise error

    def elapse(self, clocks):
        self.driver.elapse(clocks)

    def preload(self, sequence, layer, k, v):
        self.driver.quiesce()
        self._back_door.write(sequence, layer, k, v, self._formats[sequence])
        self._held[sequence, layer] += len(k)

    def submit(self, jobs, scale, partial):
        _, mant, exp = scale
        parts = []
        moved = self._pages_moved
        if jobs[0].k is not None:
            self._held.update((job.sequence, job.layer) for job in jobs)
        shapes = [self._shapes[job.sequence] for job in jobs]
        kv_heads = [shape.kv_heads for shape in shapes]
        passes = [
            shape.passes_of(job.tokens) if partial else None
            for job, shape in zip(jobs, shapes, strict=True)
        ]
        for cut in cut_jobs(jobs, kv_heads, self.capabilities["max_attend"]):
            data, offsets, size = pack_jobs(jobs[cut], kv_heads[cut], passes[cut])
            command = self.driver.submit(
                Opcode.ATTEND if jobs[0].k is None else Opcode.STEP,
                data=data,
                results=size,
                jobs=len(offsets),
                bytes=len(data),
                mode=jobs[0].mode,
                partials=partial,
                scale_mant=mant,
                scale_exp=exp & 63,
            )
            parts.append((command, jobs[cut], offsets))
        return scale, partial, parts, moved

    @property
    def _pages_moved(self):
        return self.firmware.repair.counts["pages_moved"]

    def wait(self, ticket):
        scale, partial, parts, moved = ticket
        result = self._collect(partial, parts)
        jobs = [job for _, batch, _ in parts for job in batch]
        again = [
            number
            for number, error in result.errors.items()
            if error.status == Status.UNRECOVERED_READ
            and self._held[jobs[number].sequence, jobs[number].layer] == jobs[number].tokens
        ]
        if not again or moved == self._pages_moved:
            return result
        # A program failed, and its page was read before it was moved: now it can be read.
        retried = self.wait(
            self.submit([replace(jobs[n], k=None, v=None) for n in again], scale, partial)
        )
        for at, number in enumerate(again):
            result.outputs[number] = retried.outputs[at]
            result.errors.pop(number)
            if error := retried.errors.get(at):
                result.errors[number] = DriveError(error.status, "ATTEND", job=number)
        return Result(result.outputs, result.flags | retried.flags, result.errors)

    def _collect(self, partial, parts):
        """`Result` of the commands of a ticket."""
        outputs, flags, errors = [], ResultFlag(0), {}
        for command, _, _ in parts:
            self.driver.wait(command)
        for command, batch, offsets in parts:
            name, completion = command.opcode.name, command.completion
            flags |= ResultFlag(completion["result"] & 0xFFFF)
            for job, offset in zip(batch, offsets, strict=True):
                at = offset + JOB_STATUS.size
                found = JOB_STATUS.unpack(command.results[offset:at])
                number = len(outputs)
                if found["written"] and found["status"] == Status.SUCCESS:
                    outputs.append(self._result(job, command.results, at, found, partial))
                    continue
                outputs.append(None)
                # A command that was refused as a whole has run no job, and nothing says "written".
                status = found["status"] if found["written"] else completion["status"]
                errors[number] = DriveError(status, name, job=number)
        return Result(outputs, flags, errors)

    def _result(self, job, results, at, found, partial):
        if not partial:
            return np.frombuffer(results, job.q.dtype, job.q.size, at).reshape(job.q.shape).copy()
        shape = self._shapes[job.sequence]
        size = result_bytes(job, found["passes"]) - JOB_STATUS.size
        raw = results[at : at + size]
        return unpack_partials(raw, shape.kv_heads, found["passes"], shape.head_dim)

    def read(self, sequence, layer, start, stop, held):
        shape, moved = self._shapes[sequence], self._pages_moved
        group, dtype = shape.group_tokens, self._formats[sequence].dtype
        out = np.empty((2, stop - start, shape.kv_heads, shape.head_dim), dtype)
        for number in range(start // group, -(-stop // group)):
            begin = number * group
            tokens = min(group, held - begin)
            commands = {
                (kind, head): self.driver.submit(
                    Opcode.READ_KV,
                    receive=tokens * 2 * shape.head_dim,
                    sequence=sequence,
                    layer=layer,
                    head=head,
                    kind=kind,
                    group=number,
                )
                for kind in range(2)
                for head in range(shape.kv_heads)
            }
            inside = slice(max(start - begin, 0), min(stop - begin, tokens))
            outside = slice(max(begin - start, 0), min(begin + tokens, stop) - start)
            for (kind, head), command in commands.items():
                if self.driver.wait(command)["status"] != Status.SUCCESS:
                    if moved != self._pages_moved:  # its page perhaps, see `wait`
                        return self.read(sequence, layer, start, stop, held)
                    raise status_error(command.completion, "READ_KV")
                page = np.frombuffer(command.received, dtype).reshape(tokens, shape.head_dim)
                out[kind, outside, head] = page[inside]
        return out[0], out[1]

    def repairs(self):
        repair = self.firmware.repair
        return {
            "blocks_bad": len(repair.blocks.bad),
            "pages_moved": repair.counts["pages_moved"],
            "pages_lost": repair.counts["pages_lost"],
            "pages_compacted": repair.counts["pages_compacted"],
            "pages_refreshed": repair.counts["pages_refreshed"],
        }

    def wear(self):
        return self.firmware.wear()

    def counters(self):
        def wide(address):
            low = self.lane.csr_read(address)  # freezes the high word
            return low | self.lane.csr_read(address + 4) << 32

        drive = {name: wide(counter_address(name)) for name in COUNTERS}
        channels = [
            {name: wide(channel_counter_address(channel, name)) for name in CHANNEL_COUNTERS}
            for channel in range(self.config.channels)
        ]
        for name, own in self.firmware.device.own.items():  # the firmware's are no one's traffic
            drive[name] -= int(own.sum())
            for channel, count in zip(channels, own.tolist(), strict=True):
                channel[name] -= count
        return drive, channels, self.lane.simulated_clocks

    def _read_capabilities(self):
        """The drive's capability page; refuses a drive that is not what ``config`` describes."""
        page = self.driver.execute(Opcode.CAPABILITIES, receive=MEMORY_PAGE).received
        found = CAPABILITY.unpack(page)
        config = self.config
        for name, wanted in {
            "magic": CAPABILITY_MAGIC,
            "channels": config.channels,
            "dies": config.dies,
            "page_bytes": config.flash.geometry.page_bytes,
            "clock_hz": config.clock_hz,
            "max_queries_per_kv": config.max_queries_per_kv,
            "max_head_dim": config.max_head_dim,
            "max_sequences": config.max_sequences,
            "pass_tokens": config.pass_tokens,
            "max_tokens": config.max_tokens,
        }.items():
            if found[name] != wanted:
                raise DriveError(
                    Status.INTERNAL_ERROR,
                    f"the drive's capability page says {name} = {found[name]}, its configuration "
                    f"{wanted}: build both from one configuration",
                )
        return found

    def shutdown(self):
        if close := getattr(self.lane, "close", None):
            close()
