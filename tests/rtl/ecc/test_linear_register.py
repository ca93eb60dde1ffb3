"""Linear registers: each form of their Verilog against the map itself, worked out by hand."""

import random

import numpy as np
import pytest

from cosim.stream_lane import StreamLane
from rtl.ecc import linear_register, twin
from rtl.ecc.code import BchCode
from rtl.ecc.encoder import Encoder
from rtl.ecc.linear_register import LinearRegister
from rtl.ecc.rates import sizes_for
from tests.rtl.ecc.compiled import decoder_lane, halves, whole
from tests.rtl.ecc.patterns import inject, messages
from tests.rtl.ecc.test_compiled import check
from tests.rtl.streams_bench import Bench

CODE = BchCode(512, 3)


@pytest.fixture(params=["simulator", "synthesis"])
def form(request, monkeypatch):
    """The form that Verilator is given: its own, or the one that synthesis takes."""
    if request.param == "synthesis":
        text = linear_register.TEXT.replace("`ifdef VERILATOR", "`ifdef NOT_SYNTHESIS")
        assert text != linear_register.TEXT
        monkeypatch.setattr(linear_register, "TEXT", text)


@pytest.mark.usefixtures("form")
def test_both_forms_encode_and_decode_as_the_twin():
    """Remainder, syndromes, ring, terms and search: dense maps, and maps of elements."""
    rng = np.random.default_rng(4)
    message = messages(rng, CODE, 50)
    lane = StreamLane(Encoder(CODE), "encoder")
    traffic, _ = lane.run({"i": halves(message)}, {"o": 50 * CODE.words})
    assert np.array_equal(whole(traffic["o"].payloads, CODE.words), twin.encode(CODE, message))
    _, received = inject(rng, CODE, rng.integers(0, CODE.t + 3, 200))
    check(decoder_lane(CODE, sizes_for(CODE, 3e-5)), CODE, received)


def test_map_base_and_enable():
    rng = random.Random(2)
    maps = [[rng.getrandbits(9) for _ in range(5)], [rng.getrandbits(9) for _ in range(3)]]
    dut = LinearRegister("map_of_a_test", 9, maps, init=0x155)
    bench = Bench(dut, timeout=400)
    rows = bench.watch(dut.q)
    wanted = [0x155]

    def inputs(ctx):
        for _ in range(200):
            en, base, *given = (rng.getrandbits(bits) for bits in (1, 9, 5, 3))
            ctx.set(dut.en, en)
            ctx.set(dut.base, base)
            for signal, value in zip(dut.i, given):
                ctx.set(signal, value)
            if en:
                for map, value in zip(maps, given):
                    for bit, column in enumerate(map):
                        base ^= column * (value >> bit & 1)
                wanted.append(base)
            else:
                wanted.append(wanted[-1])
            yield

    bench.script(inputs)
    bench.run()
    assert [q for (q,) in rows[:200]] == wanted[:200]


@pytest.mark.parametrize("maps", [[], [[1 << 9]], [[-1]]])
def test_maps_that_do_not_fit_are_refused(maps):
    with pytest.raises(ValueError, match="give one or more maps to 9 bits"):
        LinearRegister("map_of_a_test", 9, maps)
