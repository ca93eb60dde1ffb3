"""The command executor: decodes, validates and carries out one command at a time.

::

    SQE --> DECODE --+--> OPEN, CLOSE, FORK, TRUNCATE, FLUSH ... ----> mailbox (firmware)
                     +--> APPEND:        host --> append path, head by head
                     +--> ATTEND, STEP:  host --> command buffer; per job and head: append path,
                     |                   engine job + q, walker, result request
                     +--> READ_KV, CAPABILITIES: drive --> host
                     +--> completion, then what the command leaves to be done

A command is checked before it changes anything. A job of a list that is refused is reported, with
its index, and the others go on; so is one whose tables device DRAM does not give. The states of
each command live in a file of their own (`rtl.executor.append`, `attend`, `read`), as do those of
what comes after (`rtl.executor.after`); here are the registers that all of them share.
"""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import connect, flipped

from hls_attention.streams import moves

from ..append.records import head_info_layout
from ..command_buffer import CommandBuffer
from ..commands import FIRMWARE, JOB, SQE, SQE_VIEWS, Opcode, Status
from ..data_pointer import DataPointer
from ..memory import BurstReader, BurstWriter
from .after import after_states
from .append import append_states
from .attend import attend_states
from .ports import executor_ports
from .read import read_states

__all__ = ["Executor"]


class Executor(wiring.Component):
    """Executes commands.

    Parameters
    ----------
    config : rtl.config.DriveConfig

    Members
    -------
    i, o : streams
        `SQE` in, completion out.
    window_base, window_end : In(48)
        Host addresses that commands may name.
    hold : In(1)
        No command begins, and no reading of K after one.
    read_only : In(1)
        Commands that bring tokens are refused.
    mailbox, mailbox_sqe : Out; mailbox_done, mailbox_status, mailbox_result : In
        Commands for the firmware.
    o_sequence, i_sequence, sequence
        Table lookup (`SequenceReader`).
    o_append, i_append, o_words
        Append path.
    o_jobs, o_q : Out(stream)
        Engine.
    o_walk : Out(stream)
        Map walker.
    o_selections, o_selection_q, o_columns, o_tokens : Out(stream)
        With sparse attention: selector, and the walkers of columns and of tokens kept.
    o_results : Out(stream); outcome, results_busy : In; clear_outcome : Out
        Result writer.
    i_readback : In(stream), ``page_word_layout()``; readback_channel : Out
        Pages read back, from this channel's page source.
    spoiled : Out(1)
        Some of an append's data, or of the pages read back for a unit of K by channel, cannot be
        read.
    host_list, host_data : Out(MemoryPortSignature)
        Reads of PRP lists; reads and writes of command data.
    dram : Out(MemoryPortSignature)
        Reads of a tail for READ_KV.
    finished, failed : Out(1)
        One clock per completed (failed) command.
    executing : Out(1)
    quiet : Out(1)
    """

    def __init__(self, config):
        self._config = config
        super().__init__(executor_ports(config))

    @property
    def config(self):
        """The drive's configuration."""
        return self._config

    def elaborate(self, platform):
        m = Module()
        config = self._config
        m.submodules.pointer = self.pointer = DataPointer()
        m.submodules.reader = self.reader = BurstReader(depth=512, burst=256)
        m.submodules.writer = self.writer = BurstWriter(burst=64)
        m.submodules.buffer = self.buffer = CommandBuffer(config.max_attend // 8)
        m.submodules.tail = self.tail = BurstReader(depth=64, burst=32)
        connect(m, self.pointer.port, flipped(self.host_list))
        connect(m, self.tail.port, flipped(self.dram))
        for name in ("ar", "r"):
            connect(m, getattr(self.reader.port, name), flipped(getattr(self.host_data, name)))
        for name in ("aw", "w", "b"):
            connect(m, getattr(self.writer.port, name), flipped(getattr(self.host_data, name)))

        # State of the command in execution, shared by the states of all commands.
        self.sqe = Signal(SQE.struct)
        self.attend = SQE_VIEWS["attend"].struct(self.sqe.as_value())
        self.read_kv = SQE_VIEWS["read_kv"].struct(self.sqe.as_value())
        self.status = Signal(11)
        self.result = Signal(32)
        self.index = Signal(32)  # DW1 of the completion: the job in hand
        self.bytes = Signal(32)  # length of the command's data
        self.head = Signal(16)
        self.info = Signal(head_info_layout())
        self.job = Signal(JOB.struct)
        self.flush_due = Signal()  # a STEP filled a tail
        self.waits = Signal()
        self.link_error = link_error = Signal()
        self.unreadable = Signal()  # some of the unit's pages
        self.facts_lost = Signal()  # device DRAM has not given what is known of a pass of the job

        m.d.comb += [
            self.pointer.prp1.eq(self.sqe.prp1),
            self.pointer.prp2.eq(self.sqe.prp2),
            self.pointer.bytes.eq(self.bytes),
            self.pointer.window_base.eq(self.window_base),
            self.pointer.window_end.eq(self.window_end),
            self.mailbox_sqe.eq(self.sqe.as_value()),
            self.spoiled.eq(self.unreadable | link_error),
            self.o.payload.status.eq(self.status),
            self.o.payload.result.eq(self.result),
            self.o.payload.index.eq(self.index),
            self.quiet.eq(
                self.waits
                & self.pointer.quiet
                & self.reader.quiet
                & self.writer.quiet
                & self.buffer.quiet
                & self.tail.quiet
            ),
        ]
        with m.If(self.reader.o.valid & self.reader.o.ready & self.reader.o.payload.error):
            m.d.sync += link_error.eq(1)
        with m.If(self.writer.done.valid & self.writer.done.ready & self.writer.done.payload.error):
            m.d.sync += link_error.eq(1)

        m.d.comb += self.executing.eq(1)
        with m.FSM(name="state"):
            with m.State("IDLE"):
                m.d.comb += [
                    self.i.ready.eq(~self.hold),
                    self.waits.eq(~self.i.valid | self.hold),
                    self.executing.eq(0),
                ]
                with m.If(self.i.valid & self.i.ready):
                    m.d.comb += self.clear_outcome.eq(1)
                    m.d.sync += [
                        self.sqe.eq(self.i.payload),
                        self.status.eq(Status.SUCCESS),
                        self.result.eq(0),
                        self.index.eq(0),
                        self.head.eq(0),
                        link_error.eq(0),
                    ]
                    m.next = "DECODE"
            with m.State("DECODE"):
                self._decode(m)
            with m.State("MAILBOX"):
                m.d.comb += [self.mailbox.eq(1), self.waits.eq(~self.mailbox_done)]
                with m.If(self.mailbox_done):
                    m.d.sync += [
                        self.status.eq(self.mailbox_status),
                        self.result.eq(self.mailbox_result),
                    ]
                    m.next = "FINISH"
            append_states(m, self)
            attend_states(m, self)
            read_states(m, self)
            with m.State("FINISH"):
                with m.If((self.status == Status.SUCCESS) & link_error):
                    m.d.sync += [self.status.eq(Status.TRANSFER_ERROR), link_error.eq(0)]
                with m.Else():
                    m.d.comb += [self.o.valid.eq(1), self.waits.eq(~self.o.ready)]
                    with m.If(self.o.ready):
                        m.d.comb += [self.finished.eq(1), self.failed.eq(self.status != 0)]
                        m.next = "AFTER"
            after_states(m, self)
        return m

    def _decode(self, m):
        sqe = self.sqe
        with m.If((sqe.fuse != 0) | (sqe.psdt != 0)):
            self.refuse(m, Status.INVALID_FIELD)
        with m.Elif(sqe.nsid != 1):
            self.refuse(m, Status.INVALID_NAMESPACE)
        with m.Elif(self.read_only & ((sqe.opcode == Opcode.APPEND) | (sqe.opcode == Opcode.STEP))):
            self.refuse(m, Status.READ_ONLY)
        with m.Else():
            with m.Switch(sqe.opcode):
                with m.Case(*FIRMWARE):
                    m.next = "MAILBOX"
                with m.Case(Opcode.APPEND):
                    m.next = "APPEND"
                with m.Case(Opcode.ATTEND, Opcode.STEP):
                    m.next = "ATTEND"
                with m.Case(Opcode.READ_KV):
                    m.next = "READ_KV"
                with m.Case(Opcode.CAPABILITIES):
                    m.next = "CAPABILITIES"
                with m.Default():
                    self.refuse(m, Status.INVALID_OPCODE)

    # What the states of all commands share.

    def refuse(self, m, status):
        """Ends the command with an error."""
        m.d.sync += self.status.eq(status)
        m.next = "FINISH"

    def look_up(self, m, sequence, layer, name, *, ok, refused, status=None):
        """States that fetch the table entry: continue at ``name``, go on to ``ok``.

        What is wrong with it goes into ``status``, that of the command if not given.
        """
        status = self.status if status is None else status
        with m.State(name):
            m.d.comb += [
                self.o_sequence.valid.eq(1),
                self.o_sequence.payload.sequence.eq(sequence),
                self.o_sequence.payload.layer.eq(layer),
            ]
            with m.If(self.o_sequence.ready):
                m.next = f"{name}_ANSWER"
        with m.State(f"{name}_ANSWER"):
            m.d.comb += self.i_sequence.ready.eq(1)
            with m.If(self.i_sequence.valid):
                with m.If(self.i_sequence.payload == Status.SUCCESS):
                    m.next = ok
                with m.Else():
                    m.d.sync += status.eq(self.i_sequence.payload)
                    m.next = refused

    def read_job(self, m, name, *, then):
        """States that read the entry of job ``index`` from the command buffer into ``job``."""
        word = Signal(range(JOB.words), name=f"{name.lower()}_word")
        with m.State(name):
            m.d.comb += [
                self.buffer.i_range.valid.eq(1),
                self.buffer.i_range.payload.words.eq(JOB.words),
                self.buffer.i_range.payload.address.eq(self.index << 2),
            ]
            m.d.sync += word.eq(0)
            with m.If(self.buffer.i_range.ready):
                m.next = f"{name}_WORDS"
        with m.State(f"{name}_WORDS"):
            m.d.comb += self.buffer.o.ready.eq(1)
            with m.If(self.buffer.o.valid):
                m.d.sync += [
                    self.job.as_value().word_select(word, 64).eq(self.buffer.o.payload),
                    word.eq(word + 1),
                ]
                with m.If(word == JOB.words - 1):
                    m.next = then

    def ask_append(self, m, name, *, then, check, flush=0, tear=0):
        """States that ask the append path about the head in hand; the answer is in ``info``.

        They continue at ``then``, unless ``check()`` of the answer leads elsewhere.
        """
        with m.State(name):
            m.d.comb += [
                self.o_append.valid.eq(1),
                self.o_append.payload.head.eq(self.head),
                self.o_append.payload.flush.eq(flush),
                self.o_append.payload.tear.eq(tear),
            ]
            with m.If(self.o_append.ready):
                m.next = f"{name}_ANSWER"
        with m.State(f"{name}_ANSWER"):
            m.d.comb += [self.i_append.ready.eq(1), self.waits.eq(~self.i_append.valid)]
            with m.If(self.i_append.valid):
                m.d.sync += self.info.eq(self.i_append.payload)
                m.next = then
                check()

    def refuse_lost(self, m):
        """For `ask_append`: the command ends if device DRAM has not given the head's entry."""

        def check():
            with m.If(self.i_append.payload.failed):
                self.refuse(m, Status.INTERNAL_ERROR)

        return check

    def load_pointer(self, m, name, *, then):
        """States that load and check the data pointer; ``bytes`` is set before."""
        with m.State(name):
            m.d.comb += self.pointer.start.eq(1)
            m.next = f"{name}_LOADING"
        with m.State(f"{name}_LOADING"):
            with m.If(self.pointer.loaded):
                with m.If(self.pointer.unreadable):
                    self.refuse(m, Status.TRANSFER_ERROR)
                with m.Elif(self.pointer.misaligned):
                    self.refuse(m, Status.INVALID_PRP_OFFSET)
                with m.Elif(self.pointer.outside):
                    self.refuse(m, Status.OUT_OF_WINDOW)
                with m.Else():
                    m.next = then

    def send_queries(self, m, name, port, *, address, words, then):
        """States that send a head's q from the command buffer to ``port``; entered at
        ``name``_RANGE."""
        left = Signal(20, name=f"{name.lower()}_q_left")  # words
        with m.State(f"{name}_RANGE"):
            m.d.comb += [
                self.buffer.i_range.valid.eq(1),
                self.buffer.i_range.payload.address.eq(address),
                self.buffer.i_range.payload.words.eq(words),
            ]
            with m.If(self.buffer.i_range.ready):
                m.d.sync += left.eq(words)
                m.next = f"{name}_QUERY"
        with m.State(f"{name}_QUERY"):
            m.d.comb += [
                port.valid.eq(self.buffer.o.valid),
                port.payload.eq(self.buffer.o.payload),
                self.buffer.o.ready.eq(port.ready),
                self.waits.eq(~moves(self.buffer.o)),
            ]
            with m.If(moves(self.buffer.o)):
                m.d.sync += left.eq(left - 1)
                with m.If(left == 1):
                    m.next = then

    def read_pieces(self, m):
        """Lets the pieces of a range go to the host reader."""
        m.d.comb += [
            self.reader.i.valid.eq(self.pointer.o.valid),
            self.reader.i.payload.eq(self.pointer.o.payload),
            self.pointer.o.ready.eq(self.reader.i.ready),
        ]
