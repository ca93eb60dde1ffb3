"""The firmware: policy of the drive, in Python, seeing only what an embedded core would see.

It brings up flash and tables, with what they held before a loss of power (`recovery`), executes the
commands in the mailbox (`sequences`), keeps the append path supplied with erased block groups
(`space`), and has other blocks stand in for bad ones (`repair`). Every call costs
``config.firmware_cycles``.
"""

from rtl.commands import SQE, SQE_VIEWS, Opcode, Status
from rtl.tables import SEQUENCE

from ..capacity import Capacity
from ..errors import DriveError
from . import tables
from .device import Device
from .dies import reset_dies
from .raw_pages import RawPages
from .recovery import Recovery
from .repair import Repair
from .saved_tails import SavedTails
from .sequences import Sequences
from .sharing import SharedPages
from .space import STARVED, Space
from .state import MOST_SEGMENTS

__all__ = ["Firmware"]

_WAITS = 1  # MAILBOX_STATUS


class Firmware:
    """Firmware of one drive.

    Parameters
    ----------
    lane : Lane
    config : DriveConfig

    Attributes
    ----------
    capacity : Capacity
    repair : Repair
    shared : SharedPages
    space : Space
    sequences : Sequences
    tokens_lost : int
        Tokens of a layer that were saved and could not be read after a loss of power.
    read_only : bool
        No tokens are taken: a block that no other can stand in for is in use.
    """

    def __init__(self, lane, config):
        self._config = config
        self.capacity = Capacity(config)
        self.device = Device(lane, config, self.capacity.scratch)
        timing, clock = config.flash.timing, config.clock_hz
        erase_pause = 1 + int(timing.t_bers_ns * clock / 16e9)  # a sixteenth of tBERS
        self.shared = SharedPages(config.flash.geometry)
        self._pages = RawPages(self.device, config)
        self._tails = SavedTails(config)
        self.repair = Repair(
            self.device,
            config,
            self.capacity,
            self._pages,
            self.shared,
            self._tails,
            erase_pause,
            lambda: -self.space.shortage(),
        )
        books = config, self.device, self.capacity, self.repair, self.shared, self._tails
        self.space: Space = Space(*books, self._pages)
        self.sequences = Sequences(*books, self._pages, self.space)
        self.tokens_lost = 0
        self._reset_pause = 1 + int(timing.t_rst_ns * clock / 4e9)
        self.read_only = False

    def start(self):
        """Resets the dies, finds bad blocks and what was stored, hands out groups."""
        reset_dies(self.device, self._config.flash.geometry, self._reset_pause)
        self.device.clear(Capacity.SEQUENCE_TABLE, SEQUENCE.size * self._config.max_sequences)
        self.device.write("SEQUENCE_TABLE", Capacity.SEQUENCE_TABLE)
        self.device.write("PROGRAM_BUFFER", self.capacity.program_buffer)
        self.device.write("READ_LIMIT", self._config.read_limit)
        self.repair.start()
        self.space.start()
        if self.repair.state.next_segment > 1:
            self._recover()
        self.space.supply()

    def _recover(self):
        """Finds what the drive held before it lost its power."""
        state, space = self.repair.state, self.space
        recovery = Recovery(
            self._config,
            self.device,
            self._pages,
            self.repair.blocks,
            self.capacity,
            self._tails,
            state,
        )
        if state.sequences:
            recovery.scan(space.groups.uses)
        for record in state.sequences.values():
            recovery.rebuild(record, self.sequences.segment())
            space.begin(record.number)
            tables.write_stream(self.device, record.number, space.stream(record.number))
        self.tokens_lost = recovery.tokens_lost
        self.shared.restore(*space.held_pages())
        live = space.live()
        space.groups.restore(*live)
        self.repair.recovered(*live)
        if not state.sequences and state.next_segment > MOST_SEGMENTS // 2:
            while space.reclaim():  # pages with old numbers are gone
                pass
            state.next_segment = 2
        if not space.keeps():
            space.provide()
        self._refuse_tokens(bool(self.repair.crippled) or not space.keeps())
        self.sequences.commit()

    def service(self):
        """Answers the drive's call: supplies block groups, executes the command in the mailbox."""
        self.device.charge()
        wants = self.device.read("MAILBOX_STATUS")
        if wants & STARVED:
            with self.repair.held():  # no command begins before pages were moved
                self.space.feed()
                self._keep_room()
        if wants & _WAITS:
            self._execute()
        self.repair.service(self.space.feed)
        if self.repair.crippled and not self.read_only:
            self._refuse_tokens(True)

    def _keep_room(self):
        """Attention is not under way: pages may be moved."""
        if not self.read_only:
            self.space.keep_room()

    def _refuse_tokens(self, refuse):
        """Whether the drive answers commands that bring tokens with READ_ONLY."""
        self.read_only = refuse
        self.device.write("READ_ONLY", refuse)

    def _mend(self):
        """Sequences have shrunk: perhaps there are blocks again for what is crippled."""
        self.space.provide(2)  # one group's blocks for it, another's for the refuge
        pages = self._config.flash.geometry.pages
        held = {
            (channel, die, row // pages)
            for channel, die, row in zip(*(x.tolist() for x in self.space.live()), strict=True)
        }
        whole = self.repair.mend(self.space.feed, held)
        self._refuse_tokens(not (whole and self.space.keeps()))

    def wear(self):
        """What is known of the flash's wear, see `host.health`."""
        geometry = self._config.flash.geometry
        blocks, groups = self.repair.blocks, self.space.groups
        return {
            "pages_firmware": int(self.device.own["pages_programmed"].sum()),
            "group_erases": groups.usable_erases,
            "spares": [blocks.spares(channel) for channel in range(geometry.channels)],
            "reads_per_block_max": max(
                (
                    self.device.reads(channel, *blocks.place(channel, die, group))
                    for group in groups.in_use
                    for channel in range(geometry.channels)
                    for die in blocks.dies(group)
                ),
                default=0,
            ),
            "read_only": self.read_only,
        }

    def _execute(self):
        raw = b"".join(self.device.read("MAILBOX_SQE", n).to_bytes(4, "little") for n in range(16))
        asked, sequences = SQE.unpack(raw), self.sequences
        number = asked["sequence"]
        result = status = 0
        try:
            match asked["opcode"]:
                case Opcode.OPEN:
                    result = sequences.open(SQE_VIEWS["open"].unpack(raw))
                case Opcode.CLOSE:
                    sequences.close(number)
                case Opcode.FORK:
                    result = sequences.fork(number, asked["tokens"])
                case Opcode.TRUNCATE:
                    sequences.truncate(number, asked["tokens"])
                case Opcode.FLUSH:
                    sequences.save()
                case Opcode.SAVE:
                    sequences.save(number)
                case Opcode.HELD:
                    result = sequences.tokens(number, asked["layer"])
                case _:
                    status = Status.INVALID_OPCODE
            if self.read_only and asked["opcode"] in (Opcode.CLOSE, Opcode.TRUNCATE):
                self._mend()
        except DriveError as error:
            status = error.status
        if not self.read_only:
            self.space.begin_anew()
        self._keep_room()
        self.device.write("MAILBOX_RESULT", result)
        self.device.write("MAILBOX_DONE", status)
