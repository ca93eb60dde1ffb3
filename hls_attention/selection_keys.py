"""Selection keys: approximate scores of a channel's tokens to the keys they are chosen by.

::

    i --> shares w / Z of some heads --> + those of the token before --> selection key --> o

    lanes = 2, heads = 3      i   a0 a1 | a2 -- | b0 b1 | b2 -- | ..     a, b, ..: tokens
                              o                 a               b

A token takes ``ceil(heads / lanes)`` clocks: with a lane for each head a token comes every clock;
with one lane a score, as a score memory gives them, heads within tokens.
"""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from . import selection_kernels as sparse
from .hls import Pipeline
from .messages import REFERENCE_BITS, SCORE_BITS
from .streams import moves

__all__ = ["SelectionKeys", "inverse_layout"]


def inverse_layout(config):
    """Reference M of each head and 1 / Z, as `selection_kernels.reciprocal` gives it."""
    inverse = data.StructLayout(
        {
            "m": signed(REFERENCE_BITS),
            "r_mant": sparse.R_MANT_BITS,
            "r_exp": sparse.reciprocal.outputs["r_exp"].width,
        }
    )
    return data.ArrayLayout(inverse, config.max_heads)


class SelectionKeys(wiring.Component):
    """Makes keys of approximate scores; one for each channel.

    Parameters
    ----------
    config : EngineConfig
    lanes : int
        Heads at a time, 1..max_heads.

    Members
    -------
    heads : In
        Heads of the job, at least 1; steady from its first score to its last key.
    inverses : In(inverse_layout)
        The same.
    i : In(stream(signed(32) array))
        Scores of ``lanes`` heads of a token, head 0 first; lanes beyond the last head are ignored.
    o : Out(stream(23))
        A key per token.
    busy : Out(1)
        A token is inside.
    """

    def __init__(self, config, *, lanes=1):
        if not 1 <= lanes <= config.max_heads:
            raise ValueError(
                f"lanes = {lanes} is not possible: choose 1..{config.max_heads}, the max_heads"
            )
        self._config = config
        self._lanes = lanes
        scores = data.ArrayLayout(signed(SCORE_BITS), lanes)
        super().__init__(
            {
                "heads": In(range(config.max_heads + 1)),
                "inverses": In(inverse_layout(config)),
                "i": In(stream.Signature(scores)),
                "o": Out(stream.Signature(sparse.KEY_BITS)),
                "busy": Out(1),
            }
        )

    @property
    def latency(self):
        """Clocks from a token's last score to its key."""
        kernels = (sparse.shares(self._lanes), sparse.selection_key)
        return 1 + sum(kernel.schedule(self._config.clock_hz).latency for kernel in kernels)

    def elaborate(self, platform):
        m = Module()
        config, lanes = self._config, self._lanes
        m.submodules.shares = shares = Pipeline(
            sparse.shares(lanes),
            clock_hz=config.clock_hz,
            meta=data.StructLayout({"first": 1, "last": 1}),
        )
        m.submodules.key = key = Pipeline(sparse.selection_key, clock_hz=config.clock_hz)

        # `turn` is the first head of this clock.
        turn = Signal(range(config.max_heads + lanes))
        port, tags = shares.i.payload, shares.i.payload.meta
        m.d.comb += [
            shares.i.valid.eq(self.i.valid),
            self.i.ready.eq(shares.i.ready),
            tags.first.eq(turn == 0),
            tags.last.eq(turn + lanes >= self.heads),
        ]
        with m.If(moves(self.i)):
            m.d.sync += turn.eq(Mux(tags.last, 0, turn + lanes))
        for lane in range(lanes):
            inverse = Signal(self.inverses[0].shape(), name=f"inverse_{lane}")
            with m.Switch(turn):
                for head in range(lane, config.max_heads, lanes):
                    with m.Case(head - lane):
                        m.d.comb += inverse.eq(self.inverses[head])
            m.d.comb += [
                port[f"s{lane}"].eq(self.i.payload[lane]),
                *[port[f"{name}{lane}"].eq(inverse[name]) for name in ("m", "r_mant", "r_exp")],
            ]
            if lane:
                m.d.comb += port[f"used{lane}"].eq(turn + lane < self.heads)

        total, whole = Signal(sparse.VALUE_BITS), Signal()
        ends = shares.o.payload.meta
        m.d.comb += [
            shares.o.ready.eq(~whole | key.i.ready),
            key.i.valid.eq(whole),
            key.i.payload.v.eq(total),
            self.o.valid.eq(key.o.valid),
            self.o.payload.eq(key.o.payload.key),
            key.o.ready.eq(self.o.ready),
            self.busy.eq(shares.busy | whole | key.busy | (turn != 0)),
        ]
        with m.If(key.i.ready):
            m.d.sync += whole.eq(0)
        with m.If(moves(shares.o)):
            m.d.sync += [
                whole.eq(ends.last),
                total.eq(shares.o.payload.v + Mux(ends.first, 0, total)),
            ]
        return m
