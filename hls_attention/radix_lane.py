"""Radix lane: the keys of one channel, counted digit by digit, then judged.

::

    i --> key memory --.
    |                  |--> rank --> prefix fits? --> digit --> histogram     LOAD, RECOUNT
    '------------------'        '--> rank >= threshold -------> o             KEEP

A *rank* is {forced, key, token number inverted}: larger is kept first, and no two are equal. So
equal keys are taken from the lowest token, on whatever channels they lie.
"""

from amaranth.hdl import Cat, Const, Module, Signal
from amaranth.lib import enum, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from .histogram import Histogram
from .select_config import keep_layout, select_job_layout
from .streams import moves
from .token_order import TokenOrder, dealing_ports
from .verilog import Ram

__all__ = ["LaneMode", "RadixLane"]

SHALLOW_ROWS = 64
"""Up to here keys are kept in look-up tables."""


class LaneMode(enum.Enum, shape=2):
    """What goes on between one ``start`` and the next."""

    LOAD = 0  # keys come in; their first digits are counted
    RECOUNT = 1  # kept keys whose prefix fits: their next digits are counted
    KEEP = 2  # verdicts go out


class RadixLane(wiring.Component):
    """One channel of a `RadixSelect`. A token a clock in every mode.

    Parameters
    ----------
    config : SelectConfig

    Members
    -------
    job : In(select_job_layout)
    base, skip, unit_base, unit_skip : In
        See `token_order.dealing_ports`. Steady, as ``job``.
    window_start : In
        First of the tokens that are forced at the end. Steady as well.
    mode : In(LaneMode)
        Steady from ``start`` until ``done``.
    start : In(1)
        Pulse: go through all tokens, from the next clock on.
    slot, mask, threshold : In
        Place of the digit to be counted, from the low end; the prefix above it.
    sweep, sweep_bin, o_count
        Of the histogram.
    i : In(stream(key_bits))
        Keys, in token order.
    o : Out(stream(keep_layout))
        Verdicts, in token order.
    done : Out(1)
        All tokens have been gone through. From the clock after ``start``.
    """

    def __init__(self, config):
        self._config = config
        rank = config.padded_bits
        super().__init__(
            {
                "job": In(select_job_layout(config)),
                **{name: In(width) for name, width in dealing_ports(config).items()},
                "window_start": In(config.max_tokens.bit_length()),
                "mode": In(LaneMode),
                "start": In(1),
                "slot": In(range(max(2, config.rounds))),
                "mask": In(rank),
                "threshold": In(rank),
                "sweep": In(1),
                "sweep_bin": In(config.digit_bits),
                "o_count": Out(range(config.lane_rows + 1)),
                "i": In(stream.Signature(config.key_bits)),
                "o": Out(stream.Signature(keep_layout(config))),
                "done": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        m.submodules.order = order = TokenOrder(config)
        m.submodules.histogram = histogram = Histogram(config.digit_bits, config.lane_rows)
        load, keep = self.mode == LaneMode.LOAD, self.mode == LaneMode.KEEP
        token = order.token[: config.token_bits]

        # Go through the tokens: each is one key in, or one read.
        advance, enters, asks = Signal(), Signal(), Signal()
        row = Signal(range(config.lane_rows))
        forced = (order.token < self.job.sinks) | (order.token >= self.window_start)
        m.d.comb += [
            advance.eq(self.o.ready | ~self.o.valid),
            self.i.ready.eq(load & ~order.over),
            enters.eq(moves(self.i)),
            asks.eq(~load & ~order.over & advance),
            order.tokens.eq(self.job.tokens),
            order.group_tokens.eq(self.job.group_tokens),
            *[getattr(order, name).eq(getattr(self, name)) for name in dealing_ports(config)],
            order.restart.eq(self.start),
            order.step.eq(enters | asks),
        ]
        if config.max_unit:
            m.d.comb += [
                order.in_units.eq(self.job.in_units),
                order.unit_tokens.eq(self.job.unit_tokens),
            ]
        with m.If(self.start):
            m.d.sync += row.eq(0)
        with m.Elif(order.step):
            m.d.sync += row.eq(row + 1)
        key = Cat(self.i.payload, forced)
        kept_key = self._memory(m, row, enters, key, asks)

        read, read_token, read_last = Signal(), Signal.like(token), Signal()
        valid, rank, last = Signal(), Signal(config.padded_bits), Signal()
        padding = Const(0, config.padded_bits - config.rank_bits)
        with m.If(advance):
            m.d.sync += [read.eq(asks), valid.eq(enters | read)]
        with m.If(asks):
            m.d.sync += [read_token.eq(token), read_last.eq(order.last)]
        with m.If(enters):
            m.d.sync += rank.eq(Cat(padding, ~token, key))
        with m.Elif(advance & read):
            m.d.sync += [rank.eq(Cat(padding, ~read_token, kept_key)), last.eq(read_last)]

        # Count.
        counts, counting = valid & ~keep, Signal(2)  # until the histogram may be swept
        m.d.sync += [
            counting.eq(counts | counting << 1),
            histogram.i_en.eq(counts & (((rank ^ self.threshold) & self.mask) == 0)),
            histogram.i_bin.eq(rank.word_select(self.slot, config.digit_bits)),
        ]
        m.d.comb += [
            histogram.sweep.eq(self.sweep),
            histogram.sweep_bin.eq(self.sweep_bin),
            self.o_count.eq(histogram.o_count),
        ]

        # Judge.
        number = rank[len(padding) : len(padding) + config.token_bits]
        with m.If(advance):
            m.d.sync += self.o.valid.eq(valid & keep)
            with m.If(valid & keep):
                m.d.sync += [
                    self.o.payload.token.eq(~number),
                    self.o.payload.keep.eq(rank >= self.threshold),
                    self.o.payload.last.eq(last),
                ]
        m.d.comb += self.done.eq(
            order.over & ~read & ~valid & (counting == 0) & (~self.o.valid | self.o.ready)
        )
        return m

    def _memory(self, m, row, w_en, w_data, r_en):
        """The memory of keys; returns the row read in the clock before."""
        depth, width = self._config.lane_rows, len(w_data)
        if depth > SHALLOW_ROWS:
            m.submodules.keys = ram = Ram(width=width, depth=depth)
            m.d.comb += [
                ram.w_en.eq(w_en),
                ram.w_addr.eq(row),
                ram.w_data.eq(w_data),
                ram.r_en.eq(r_en),
                ram.r_addr.eq(row),
            ]
            return ram.r_data
        m.submodules.keys = rows = memory.Memory(shape=width, depth=depth, init=[])
        write, read = rows.write_port(), rows.read_port()
        m.d.comb += [
            write.en.eq(w_en),
            write.addr.eq(row),
            write.data.eq(w_data),
            read.en.eq(r_en),
            read.addr.eq(row),
        ]
        return read.data
