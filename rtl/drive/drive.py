"""The drive: command queue, executor, KV map and append path, flash channels, attention engine.

::

    csr ---> Control --settings, doorbells--> CommandQueue <-> Executor <-> mailbox (firmware)
                                                                  |
               host <== PortArbiter == queue, PRP lists, data, results
               dram <== PortArbiter == sequence table, append path, walker, tails, programs
                                                                  |
      Executor --jobs, q--> Engine <--beats-- Channel[0..n] <--requests-- Walker <--walk-- Executor
                              |                  ^   ^-- tail words -- TailReader
                         ResultWriter            +------- orders ----- AppendPath

Which block is connected to which: reads of an attend, memories and counters here, the rest in files
beside this one.
"""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hls_attention.beats import job_layout
from hls_attention.engine import Engine
from hls_attention.streams import Queue, moves
from hls_attention.verilog import Shared

from ..allocator import Allocator
from ..append.path import AppendPath
from ..channel import Channel
from ..control import Control, ControlBusSignature
from ..counters import Counters
from ..engine_config import engine_config
from ..executor.executor import Executor
from ..flash_port import FlashPort
from ..health import Health
from ..memory import PortArbiter
from ..memory_port import MemoryPortSignature
from ..program_slots import ProgramSlots
from ..queues import CommandQueue
from ..result_writer import ResultWriter
from ..sequence_reader import SequenceReader
from ..tail_reader import TailReader
from ..walker import Walker
from .decoders import connect_decoders
from .flash import connect_flash
from .pages import connect_pages, drive_ports
from .registers import connect_commands, connect_management
from .selection import connect_selection
from .units import connect_units

__all__ = ["Drive"]

JOBS_AHEAD = 16
"""Jobs queued before the engine, so that their pages are opened well ahead."""

QUERY_WORDS_AHEAD = 512
"""Words of q queued with them."""

QUIET_CLOCKS = 8
"""Quiet clocks in a row before the drive calls itself quiet: longer than any queue's latency."""


class Drive(wiring.Component):
    """The whole drive up to its PHYs, its memory ports and its control bus.

    Parameters
    ----------
    config : rtl.config.DriveConfig

    Members
    -------
    csr : Out(ControlBusSignature flipped)
    host, dram : Out(MemoryPortSignature)
    phy : Out(PhySignature).array(channels), report : Out(PhyReportSignature).array(channels)
        Or pages : Out(MemoryPortSignature).array(channels), see `rtl.drive.pages`.
    irq : Out(1)
        One clock for each completion posted.
    mailbox : Out(1)
        The firmware is wanted: a command in the mailbox, no stripe left, or an event.
    quiet : Out(1), skip : In(32), next_event : Out(32).array(channels)
        Simulation only: nothing but die timers can change the drive before the first of
        ``next_event``; clocks to pass at once.
    """

    def __init__(self, config):
        self._config = config
        super().__init__(
            {
                "csr": Out(ControlBusSignature()),
                "host": Out(MemoryPortSignature()),
                "dram": Out(MemoryPortSignature()),
                **drive_ports(config),
                "irq": Out(1),
                "mailbox": Out(1),
                "quiet": Out(1),
                "skip": In(32),
                "next_event": Out(32).array(config.channels),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        geometry = config.flash.geometry
        streams, ring = config.append_streams, config.stream_slots
        page_base = config.page_base if config.page_store == "memory" else None
        m.submodules.control = control = Control(
            geometry, streams, ring, page_base, config.count_bits
        )
        m.submodules.queue = queue = CommandQueue()
        m.submodules.executor = executor = Executor(config)
        m.submodules.sequences = sequences = SequenceReader(config.max_sequences)
        m.submodules.allocator = allocator = Allocator(geometry, streams, ring)
        m.submodules.slots = slots = ProgramSlots(geometry)
        m.submodules.flash_port = flash_port = FlashPort(geometry)
        m.submodules.health = health = Health(geometry)
        m.submodules.append = append = AppendPath(
            geometry, config.pass_tokens, streams, config.codeword_bytes // 2, config.bounds
        )
        m.submodules.walker = walker = Walker(geometry)
        unit_writes, unit_blocks = connect_units(m, config, append)
        m.submodules.tails = tails = TailReader(config.channels)
        m.submodules.results = results = ResultWriter()
        m.submodules.engine = engine = Engine(engine_config(config))
        m.submodules.jobs = jobs = Queue(job_layout(config.max_queries_per_kv), depth=JOBS_AHEAD)
        m.submodules.queries = queries = Queue(64, depth=QUERY_WORDS_AHEAD)
        m.submodules.counters = counters = Counters(config.channels)
        m.submodules.host_ports = host = PortArbiter(readers=3, writers=3)
        requests, tail_requests = walker.o, walker.o_tail
        selection_ports, selection_blocks = [], []
        if config.sparse_tokens:
            merge, selection_ports, selection_blocks = connect_selection(
                m, config, executor, engine, walker
            )
            requests, tail_requests = merge.o, merge.o_tail
        m.submodules.dram_ports = dram = PortArbiter(
            readers=6 + len(selection_ports) + config.channels, writers=2 + len(unit_writes)
        )
        channels = []
        for index in range(config.channels):
            channel = Shared("flash_channel", lambda: Channel(config), apart=True)
            m.submodules[f"channel_{index}"] = channel
            channels.append(channel)
        decoders = connect_decoders(m, config, channels)
        connect_pages(m, config, self, control, channels)

        connect(m, flipped(self.csr), control.csr)
        connect_commands(m, control, queue, executor)
        m.d.comb += self.irq.eq(queue.irq)
        connect(m, executor.o_sequence, sequences.i)
        connect(m, sequences.o, executor.i_sequence)
        connect(m, executor.o_append, append.i)
        connect(m, executor.o_words, append.i_words)
        connect(m, append.o, executor.i_append)
        connect(m, executor.o_walk, walker.i)
        connect(m, tail_requests, tails.i)
        connect(m, append.o_wish, allocator.i)
        connect(m, allocator.o, append.page)
        connect(m, executor.o_jobs, jobs.i)
        connect(m, jobs.o, engine.i_jobs)
        connect(m, executor.o_q, queries.i)
        connect(m, queries.o, engine.i_q)
        connect(m, engine.o, results.i_results)
        connect(m, executor.o_results, results.i)
        m.d.comb += [
            sequences.table.eq(control.sequence_table),
            executor.sequence.eq(sequences.sequence),
            append.sequence.eq(sequences.sequence),
            append.layer.eq(sequences.layer),
            append.spoiled.eq(executor.spoiled),
            executor.outcome.eq(results.outcome),
            executor.results_busy.eq(results.busy),
            results.clear.eq(executor.clear_outcome),
        ]
        for index, port in enumerate((queue.read, executor.host_list, executor.host_data)):
            self._share(m, port, host.readers[index], ("ar", "r"))
        for index, port in enumerate((queue.write, results.write, executor.host_data)):
            self._share(m, port, host.writers[index], ("aw", "w", "b"))
        readers = (
            *selection_ports,
            walker.read,
            tails.read,
            sequences.read,
            append.read,
            executor.dram,
            flash_port.read,
            *(channel.read for channel in channels),  # last: nobody waits for a program
        )
        for index, port in enumerate(readers):
            self._share(m, port, dram.readers[index], ("ar", "r"))
        for index, port in enumerate((append.write, flash_port.write, *unit_writes)):
            self._share(m, port, dram.writers[index], ("aw", "w", "b"))
        connect(m, host.port, flipped(self.host))
        connect(m, dram.port, flipped(self.dram))

        for index, channel in enumerate(channels):
            connect(m, requests[index], channel.i_requests)
            connect(m, tails.o[index], channel.i_tail)
            connect(m, channel.o, engine.i_beats[index])
            connect(m, channel.o_again, health.i_again[index])
            connect(m, channel.o_often, health.i_often[index])
            with m.If(control.count_channel == index):
                m.d.comb += [
                    channel.count_ask.eq(control.count_ask),
                    channel.count_clear.eq(control.count_clear),
                    control.count_busy.eq(channel.count_busy),
                    control.count_value.eq(channel.count_value),
                ]
            m.d.comb += [
                channel.buffer.eq(control.program_buffer),
                channel.skip.eq(self.skip),
                channel.count_place.eq(control.count_place),
                channel.read_limit.eq(control.read_limit),
                self.next_event[index].eq(channel.next_event),
            ]
        done = connect_flash(m, config, append, executor, slots, flash_port, channels)
        connect_management(m, control, allocator, append, slots, flash_port, health)
        self._count(
            m, control, counters, executor, engine, results, tails, host, dram, channels, done
        )
        self._quiet(
            m,
            [
                control,
                queue,
                executor,
                allocator,
                slots,
                flash_port,
                health,
                append,
                walker,
                *unit_blocks,
                tails,
                results,
                host,
                dram,
                sequences,
                engine,
                *selection_blocks,
                *channels,
                *decoders,
            ],
        )
        m.d.comb += self.mailbox.eq(executor.mailbox | allocator.starved | health.event.valid)
        return m

    def _share(self, m, port, shared, names):
        for name in names:
            connect(m, getattr(port, name), getattr(shared, name))

    def _count(
        self, m, control, counters, executor, engine, results, tails, host, dram, channels, done
    ):
        def ones(name):
            return sum(getattr(channel, name) for channel in channels)

        m.d.comb += [
            counters.skip.eq(self.skip),
            counters.engine.eq(engine.busy),
            counters.dma.eq(
                moves(self.host.r)
                | moves(self.host.w)
                | moves(self.dram.r)
                | moves(self.dram.w)
                | ~host.quiet
                | ~dram.quiet
            ),
            counters.address.eq(control.counter_address),
            counters.read.eq(control.counter_read),
            control.counter_value.eq(counters.value),
            counters.add_pages_read.eq(ones("page_read")),
            counters.add_pages_programmed.eq(ones("page_programmed")),
            counters.add_blocks_erased.eq(ones("block_erased")),
            counters.add_bytes_flash.eq(ones("word_read") << 3),
            counters.add_bytes_tail.eq(tails.word << 3),
            counters.add_bytes_link_in.eq(moves(self.host.r) << 3),
            counters.add_bytes_link_out.eq(moves(self.host.w) << 3),
            counters.add_bits_corrected.eq(ones("corrected")),
            counters.add_codewords_corrected.eq(
                sum(channel.corrected != 0 for channel in channels)
            ),
            counters.add_codewords_unrecovered.eq(ones("unrecovered")),
            counters.add_read_retries.eq(ones("retried")),
            counters.add_commands.eq(executor.finished),
            counters.add_commands_failed.eq(executor.failed),
            counters.add_jobs.eq(results.head),
            counters.add_program_failures.eq(
                done.o.valid & done.o.ready & done.o.payload.tag[-1] & done.o.payload.failed
            ),
        ]
        for index, channel in enumerate(channels):
            m.d.comb += [
                counters.activity[index].eq(channel.activity),
                counters.page_read[index].eq(channel.page_read),
                counters.page_programmed[index].eq(channel.page_programmed),
            ]

    def _quiet(self, m, blocks):
        quiet = Signal(len(blocks))
        before = Signal(len(blocks))  # a clock ago: what blocks say comes a long way
        waited = Signal(range(QUIET_CLOCKS))
        m.d.comb += quiet.eq(Cat(block.quiet for block in blocks))
        m.d.sync += before.eq(quiet)
        with m.If(~before.all()):
            m.d.sync += waited.eq(0)
        with m.Elif(waited != QUIET_CLOCKS - 1):
            m.d.sync += waited.eq(waited + 1)
        m.d.comb += self.quiet.eq(quiet.all() & before.all() & (waited == QUIET_CLOCKS - 1))
