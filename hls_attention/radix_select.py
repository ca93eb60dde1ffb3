"""Radix select: which k of up to 131,072 tokens have the largest keys, exactly.

::

    i_jobs --> control ------ slot, mask, threshold ------.
                  ^                                       v
                  '-- digit search <--- counts --- lane 0 .. n - 1 --> o[0 .. n - 1]
                                                     ^
                                      keys  i[0 .. n - 1]

Digit by digit from the highest: each lane counts how often each value of the digit comes, among the
ranks that agree with the threshold so far; the counts of all lanes, added from the highest value
down, tell the next digit of the threshold. The first digit is counted as keys come in; every other
takes a pass over the kept ones. It ends as soon as all of a bin are wanted, at the latest with the
last digit of the token numbers, which settle ties. Then the keys pass once more, and each token
gets its verdict: kept or not.

Clocks, from the job's transfer to that of the last verdict, if nobody waits::

    rows * (rounds + 1) + rounds * (2**digit_bits + levels + 8) + channels + 3

with twice the channels where the configuration has units. ``rows`` are the tokens of the fullest
channel, ``levels`` those of the adder tree, ceil of log2 of the channels. ``rounds`` is how many
digits of its rank tell the last token kept from the first one dropped; 1 if all are kept. Each pass
of verdicts after the first takes ``rows + 4`` clocks. The next job is taken one clock later. After
a reset a sweep of the histograms comes first.
"""

import dataclasses

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from .digit_search import DigitSearch
from .radix_lane import LaneMode, RadixLane
from .select_config import keep_layout, select_job_layout
from .token_dealer import TokenDealer
from .token_order import dealing_ports
from .verilog import Shared

__all__ = ["RadixSelect"]


class RadixSelect(wiring.Component):
    """Selects tokens whose keys come in on several channels.

    Parameters
    ----------
    config : SelectConfig

    Members
    -------
    i_jobs : In(stream(select_job_layout))
    i : In(stream(key_bits)) array
        One per channel: unsigned keys of its tokens, in token order. Which tokens are a channel's:
        `hls_attention.token_order`.
    o : Out(stream(keep_layout)) array
        One per channel: a verdict per token, in token order; all of them ``passes`` times. Nothing
        of a channel without tokens.
    rounds : Out
        Rounds of the last job.
    busy : Out(1)
        A job is under way.
    """

    def __init__(self, config):
        self._config = config
        super().__init__(
            {
                "i_jobs": In(stream.Signature(select_job_layout(config))),
                "i": In(stream.Signature(config.key_bits)).array(config.channels),
                "o": Out(stream.Signature(keep_layout(config))).array(config.channels),
                "rounds": Out(range(config.rounds + 1)),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        m.submodules.search = search = DigitSearch(config)
        job = Signal(select_job_layout(config))
        mode, start = Signal(LaneMode), Signal()
        slot = Signal(range(max(2, config.rounds)))
        mask, threshold = Signal(config.padded_bits), Signal(config.padded_bits)
        window_start = Signal.like(job.tokens)
        m.submodules.dealer = dealer = TokenDealer(config)
        m.d.comb += dealer.job.eq(job)
        lanes = self._lanes(m, search, dealer)
        for lane in lanes:
            m.d.comb += [
                lane.job.eq(job),
                lane.window_start.eq(window_start),
                lane.mode.eq(mode),
                lane.start.eq(start),
                lane.slot.eq(slot),
                lane.mask.eq(mask),
                lane.threshold.eq(threshold),
            ]
        done = Cat(lane.done for lane in lanes).all()
        digit = config.digit_bits

        m.d.comb += search.k.eq(Mux(job.k < job.tokens, job.k, job.tokens))
        with m.FSM(init="RESET") as state:
            with m.State("RESET"):
                m.d.comb += search.start.eq(1)
                m.next = "CLEAR"
            with m.State("CLEAR"):
                with m.If(search.done):
                    m.next = "IDLE"
            with m.State("IDLE"):
                m.d.comb += self.i_jobs.ready.eq(1)
                m.d.comb += dealer.start.eq(self.i_jobs.valid)
                with m.If(self.i_jobs.valid):
                    m.d.sync += job.eq(self.i_jobs.payload)
                    m.next = "DEAL"
            with m.State("DEAL"):
                window = Mux(job.window < job.tokens, job.tokens - job.window, 0)
                m.d.sync += window_start.eq(window)
                with m.If(dealer.done):
                    m.next = "BEGIN"
            with m.State("BEGIN"):
                m.d.comb += [start.eq(1), search.load.eq(1)]
                m.d.sync += [
                    mode.eq(LaneMode.LOAD),
                    slot.eq(config.rounds - 1),
                    mask.eq(0),
                    threshold.eq(0),
                    self.rounds.eq(0),
                ]
                m.next = "COUNT"
            with m.State("COUNT"):
                m.d.comb += search.start.eq(done)
                with m.If(done):
                    m.d.sync += self.rounds.eq(self.rounds + 1)
                    m.next = "SEARCH"
            with m.State("SEARCH"):
                with m.If(search.done):
                    m.d.sync += [
                        threshold.word_select(slot, digit).eq(search.digit),
                        mask.eq(Cat(mask[digit:], Const(-1, digit))),
                        slot.eq(slot - 1),
                        mode.eq(Mux(search.exact, LaneMode.KEEP, LaneMode.RECOUNT)),
                    ]
                    m.next = "AGAIN"
            with m.State("AGAIN"):
                m.d.comb += start.eq(1)
                m.next = "COUNT"
                with m.If(mode == LaneMode.KEEP):
                    m.next = "KEEP"
            with m.State("KEEP"):
                with m.If(done):
                    m.d.sync += job.passes.eq(job.passes - 1)
                    m.next = "AGAIN"
                    with m.If(job.passes <= 1):
                        m.d.sync += mode.eq(LaneMode.LOAD)
                        m.next = "IDLE"
        m.d.comb += self.busy.eq(~state.ongoing("IDLE"))
        return m

    def _lanes(self, m, search, dealer):
        config = self._config
        name = "radix_lane_" + "_".join(map(str, dataclasses.astuple(config)))
        lanes = []
        for index in range(config.channels):
            lane = Shared(name, lambda: RadixLane(config))
            m.submodules[f"lane_{index}"] = lane
            wiring.connect(m, wiring.flipped(self.i[index]), lane.i)
            wiring.connect(m, lane.o, wiring.flipped(self.o[index]))
            m.d.comb += [
                *[
                    getattr(lane, name).eq(source[index] if name.endswith("base") else source)
                    for name, source in ((n, getattr(dealer, n)) for n in dealing_ports(config))
                ],
                lane.sweep.eq(search.sweep),
                lane.sweep_bin.eq(search.sweep_bin),
                search.i_counts[index].eq(lane.o_count),
            ]
            lanes.append(lane)
        return lanes
