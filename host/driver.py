"""The queue driver: submission and completion rings, data pointers, doorbells, transfer buffers.

::

    submit -> transfer area (data, page list, results) -> SQE in ring -> SQ_TAIL doorbell
    wait   <- CQE in ring (phase) <- interrupt <- drive;  firmware is called when the drive wants it

Host memory: submission queue, completion queue, then the transfer area, which is the window that
commands may name.
"""

from dataclasses import dataclass, field

from cosim.environment import HOST_BASE
from rtl.commands import COMMANDS, CQE, MEMORY_PAGE, SQE, SQE_VIEWS, Opcode, Status
from rtl.registers import DRIVE_ID, REGISTERS

from .errors import DriveError, status_error
from .packing import list_bytes
from .regions import Regions

__all__ = ["Command", "Driver"]

ENTRIES = 64
"""Entries of both queues."""

_EXECUTING = 4  # STATUS bit 2
_STOPPED = 8  # STATUS bit 3


@dataclass(eq=False)
class Command:
    """A command under way.

    Attributes
    ----------
    completion : dict of `CQE` or None
    received : bytes
        Data that the drive wrote to the data pointer.
    results : bytes
        What it wrote to the result address.
    rung, answered : int
        Cycles at which its doorbell was rung and at which the host had its completion.
    """

    opcode: int
    cid: int = 0
    regions: list = field(default_factory=list)
    data: tuple = (0, 0)  # offset in host memory, bytes to keep
    window: tuple = (0, 0)
    completion: dict | None = None
    received: bytes = b""
    results: bytes = b""
    rung: int = 0
    answered: int = 0


class Driver:
    """Drives the queues of one drive.

    Parameters
    ----------
    lane : Lane
    service : callable
        Called when the drive wants its firmware.
    limit : int
        Cycles without a completion after which the drive is taken for dead.
    """

    def __init__(self, lane, service, *, limit=2_000_000_000):
        self._lane = lane
        self._service = service
        self._limit = limit
        self._area = 2 * MEMORY_PAGE
        self._buffers = Regions(self._area, len(lane.host) - self._area, align=MEMORY_PAGE)
        self._tail = self._head = 0
        self._phase = 1
        self._next_cid = 0
        self._inflight = {}

    def start(self):
        """Tells the drive where queues and window are and enables it.

        Queues that have stopped go on so, too: empty. Commands under way are forgotten.
        """
        lane = self._lane
        found = lane.csr_read(REGISTERS["ID"].address)
        if found != DRIVE_ID:
            raise DriveError(
                Status.INTERNAL_ERROR,
                f"register ID reads {found:#010x}, a drive answers {DRIVE_ID:#010x}",
            )
        wide = {
            "SQ_BASE": HOST_BASE,
            "CQ_BASE": HOST_BASE + MEMORY_PAGE,
            "WINDOW_BASE": HOST_BASE + self._area,
            "WINDOW_BYTES": len(lane.host) - self._area,
        }
        self._write("CONTROL", 0)
        for name, value in wide.items():
            self._write(name + "_LO", value & 0xFFFFFFFF)
            self._write(name + "_HI", value >> 32)
        self._write("SQ_SIZE", ENTRIES)
        self._write("CQ_SIZE", ENTRIES)
        for command in self._inflight.values():
            for region in command.regions:
                self._buffers.release(region)
        self._inflight.clear()
        self._tail = self._head = 0
        self._phase = 1
        lane.host[: self._area] = 0
        self._write("CONTROL", 1)

    def submit(self, opcode, *, data=b"", receive=0, results=0, **fields):
        """Rings a command in; waits for others to complete where there is no room.

        Parameters
        ----------
        opcode : Opcode
        data : bytes
            Data that the drive is to fetch.
        receive : int
            Bytes of data that the drive returns through the data pointer.
        results : int
            Bytes of the result area.
        **fields
            Further fields of `SQE` or of the opcode's view.
        """
        command = Command(opcode)
        size = len(data) or receive
        pages = -(-size // MEMORY_PAGE)
        sizes = [part for part in (size, list_bytes(size), results) if part]
        self._allocate(command, sizes)
        regions = list(command.regions)
        if size:
            offset = regions.pop(0)
            self._lane.host[offset : offset + len(data)] = memoryview(data)
            command.data = (offset, receive)
            fields |= self._pointers(offset, pages, regions.pop(0) if pages > 2 else None)
        if results:
            command.window = (regions[0], results)
            self._lane.host[regions[0] : regions[0] + results] = 0
            fields["result"] = HOST_BASE + regions[0]
        while self._next_cid in self._inflight:
            self._next_cid = self._next_cid + 1 & 0xFFFF
        command.cid, self._next_cid = self._next_cid, self._next_cid + 1 & 0xFFFF
        return self._ring(command, pack_sqe(opcode=opcode, cid=command.cid, nsid=1, **fields))

    def submit_raw(self, sqe):
        """Rings in 64 bytes as they are, right or wrong; their ``cid`` must not be under way."""
        cid = SQE.unpack(sqe)["cid"]
        if cid in self._inflight:
            raise ValueError(f"command identifier {cid} is under way: choose another")
        return self._ring(Command(SQE.unpack(sqe)["opcode"], cid), sqe)

    def wait(self, command):
        """Completion of a command, a dict of `CQE`; raises nothing for an error status."""
        self._pump(lambda: command.completion is not None)
        return command.completion

    def execute(self, opcode, **arguments):
        """Submits, waits and raises `DriveError` unless it succeeds. Returns the `Command`."""
        command = self.submit(opcode, **arguments)
        if self.wait(command)["status"] != Status.SUCCESS:
            raise status_error(command.completion, Opcode(opcode).name)
        return command

    def elapse(self, clocks):
        """Lets so many clocks pass while the host does something else.

        Firmware and completions, of which interrupts tell, are served all the while.
        """
        lane, end = self._lane, self._lane.cycle + clocks
        while (left := end - lane.cycle) > 0:
            event = lane.run(True, True, left)
            if event.irqs:
                self._collect()
            if event.mailbox:
                self._service()
            elif event.stuck and not event.irqs and lane.cycle < end:
                lane.idle(end - lane.cycle)

    def quiesce(self):
        """Waits until the drive executes nothing, work after a completion included."""
        self._pump(lambda: not self._inflight)
        deadline = self._lane.cycle + self._limit
        stuck = False
        while self._lane.csr_read(REGISTERS["STATUS"].address) & _EXECUTING:
            if stuck:
                self._dead()
            stuck = self._advance(deadline, 256)

    def _write(self, name, value):
        self._lane.csr_write(REGISTERS[name].address, value)

    def _allocate(self, command, sizes):
        """Takes buffers, waiting for commands under way where memory or queue is full."""

        def enough():
            if len(self._inflight) >= ENTRIES - 1:
                return False
            taken = self._buffers.allocate_all(sizes)
            if taken is None:
                return False
            command.regions = taken
            return True

        while not enough():
            if not self._inflight:
                raise DriveError(
                    Status.NO_SPACE,
                    f"{sum(sizes)} bytes of transfer buffers are needed, "
                    f"{self._buffers.free} are free",
                )
            count = len(self._inflight)
            self._pump(lambda count=count: len(self._inflight) < count)

    def _pointers(self, offset, pages, page_list):
        first = HOST_BASE + offset
        if pages <= 2:
            return {"prp1": first, "prp2": first + MEMORY_PAGE if pages == 2 else 0}
        entries = b"".join((first + MEMORY_PAGE * n).to_bytes(8, "little") for n in range(1, pages))
        self._lane.host[page_list : page_list + len(entries)] = memoryview(entries)
        return {"prp1": first, "prp2": HOST_BASE + page_list}

    def _ring(self, command, sqe):
        at = self._tail * SQE.size
        self._lane.host[at : at + SQE.size] = memoryview(sqe)
        self._tail = (self._tail + 1) % ENTRIES
        command.rung = self._lane.cycle
        self._inflight[command.cid] = command
        self._write("SQ_TAIL", self._tail)
        return command

    def _pump(self, done):
        """Runs the drive, serving firmware and completions, until ``done()``."""
        deadline = self._lane.cycle + self._limit
        while True:
            if self._collect():
                deadline = self._lane.cycle + self._limit
            if done():
                return
            if self._advance(deadline, self._limit):
                self._dead()

    def _advance(self, deadline, most):
        """Lets the drive run on, with its firmware; whether nothing can happen any more."""
        lane = self._lane
        event = lane.run(True, True, max(1, min(most, deadline - lane.cycle)))
        if event.mailbox:
            self._service()
            return False
        if lane.cycle >= deadline:
            self._dead()
        return event.stuck and not event.irqs

    def _dead(self):
        names = ", ".join(f"{c.opcode:#04x} (cid {c.cid})" for c in self._inflight.values())
        detail = f"no answer at cycle {self._lane.cycle} to {names or 'anything'}"
        if self._lane.csr_read(REGISTERS["STATUS"].address) & _STOPPED:
            raise DriveError(
                Status.TRANSFER_ERROR,
                f"{detail}: the drive has stopped its queues, as it could not read or write their "
                f"memory at {HOST_BASE:#x}..{HOST_BASE + self._area - 1:#x} (map it, then start "
                "the driver again; what is stored is kept)",
            )
        raise DriveError(Status.INTERNAL_ERROR, detail)

    def _collect(self):
        """Takes new entries off the completion queue; returns how many."""
        count = 0
        while True:
            at = MEMORY_PAGE + self._head * CQE.size
            entry = CQE.unpack(self._lane.host[at : at + CQE.size])
            if entry["phase"] != self._phase:
                break
            count += 1
            self._head = (self._head + 1) % ENTRIES
            self._phase ^= self._head == 0
            self._complete(entry)
        if count:
            self._write("CQ_HEAD", self._head)
        return count

    def _complete(self, entry):
        command = self._inflight.pop(entry["cid"], None)
        if command is None:
            raise DriveError(
                Status.INTERNAL_ERROR,
                f"completion of command identifier {entry['cid']}, which is not under way",
            )
        host = self._lane.host
        command.received, command.results = (
            host[offset : offset + size].tobytes()
            for offset, size in (command.data, command.window)
        )
        for region in command.regions:
            self._buffers.release(region)
        command.regions = []
        command.completion = entry
        command.answered = self._lane.cycle


def pack_sqe(**fields):
    """64 bytes of a submission entry; fields of `SQE` or of the opcode's view in `SQE_VIEWS`."""
    command = COMMANDS.get(fields["opcode"])
    view = SQE_VIEWS.get(command.view) if command else None
    if view is None:
        return SQE.pack(**fields)
    own = {name: fields.pop(name) for name in list(fields) if name in view.fields}
    common, special = SQE.pack(**fields), view.pack(**own)
    return bytes(a | b for a, b in zip(common, special, strict=True))
