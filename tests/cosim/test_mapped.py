"""The netlist that Yosys maps, simulated: equal to the RTL in all outputs and in every clock.

Kernels and the radix select here; `make soak` has the engine of the tiny drive. Cells behave as
Yosys' own models do, which is proved, and a netlist with a wrong cell is found.
"""

import dataclasses
import random
import re

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring

from cosim.mapped import CELLS, MAPPED_FLAGS, library_cell, mapped_verilog
from cosim.stream_lane import StreamLane
from cosim.verilator import SOON_FLAGS, ToolError
from cosim.yosys import run_yosys
from hls_attention import kernels
from hls_attention.engine import Engine
from hls_attention.hls import Pipeline
from hls_attention.radix_select import RadixSelect
from hls_attention.select_config import SelectConfig
from hls_attention.verilog import port_names
from rtl.config import DriveConfig
from rtl.engine_config import engine_config
from tests.cosim.test_engine_rows import FORMATS, attend, stress
from tests.cosim.test_selection_rows import check
from tests.hls_attention.engine_bench import random_chain
from tests.hls_attention.selection_bench import Selection, random_keys

SEED = 20261129
PAUSES = ({}, {"stall": 0.3, "backpressure": 0.4})
KERNELS = (kernels.product, kernels.score)
SELECT = SelectConfig(channels=2, max_tokens=256, max_group=8)


class Blocks(wiring.Component):
    """Kernels and a radix select side by side, compiled together; the ports are their own."""

    def __init__(self):
        select = RadixSelect(SELECT)
        self._parts = {"select": select}
        ports = {name: (select, name) for name in select.signature.members}
        for traced in KERNELS:
            self._parts[traced.name] = part = Pipeline(traced, clock_hz=250e6)
            ports |= {f"{name}_{traced.name}": (part, name) for name in ("i", "o")}
        super().__init__(
            {port: part.signature.members[name] for port, (part, name) in ports.items()}
        )
        for port, (part, name) in ports.items():
            setattr(self, port, getattr(part, name))

    def elaborate(self, platform):
        m = Module()
        for name, part in self._parts.items():
            m.submodules[name] = part
        return m


def rtl_lane(component, name):
    return StreamLane(component, name, compile_flags=SOON_FLAGS)


def mapped_lane(component, name, rewrite=mapped_verilog):
    flags = {"flags": MAPPED_FLAGS, "compile_flags": SOON_FLAGS}
    return StreamLane(component, name, rewrite=rewrite, **flags)


def assert_alike(results):
    """Of two runs (traffic, clocks): the same payloads in the same clocks."""
    (rtl, clocks), (mapped, mapped_clocks) = results
    assert clocks == mapped_clocks
    for stream, wanted in rtl.items():
        got = mapped[stream]
        assert np.array_equal(got.payloads, wanted.payloads), stream
        assert dataclasses.replace(got, payloads=None) == dataclasses.replace(
            wanted, payloads=None
        ), stream


@pytest.fixture(scope="module")
def blocks():
    """RTL and netlist."""
    return [make(Blocks(), "blocks") for make in (rtl_lane, mapped_lane)]


def run_kernel(lane, traced, ports=("i", "o"), **pauses):
    """Any bits as inputs, whether the kernel's ranges have them or not."""
    i, o = ports
    pipeline = Pipeline(traced, clock_hz=250e6)
    width = {name: bits for name, _, bits in port_names(pipeline)}["i__payload"]
    words = np.random.default_rng(SEED).integers(0, 1 << 32, (3000, lane.words(i)), np.uint32)
    words[:, -1] &= np.uint32((1 << (width - 1) % 32 + 1) - 1)
    return lane.run({i: words}, {o: len(words)}, seed=SEED, **pauses)


@pytest.mark.parametrize("pauses", PAUSES, ids=["", "pauses"])
@pytest.mark.parametrize("traced", KERNELS, ids=lambda traced: traced.name)
def test_kernels(blocks, traced, pauses):
    """DSP blocks, carry chains, variable shifts."""
    ports = (f"i_{traced.name}", f"o_{traced.name}")
    assert_alike([run_kernel(lane, traced, ports, **pauses) for lane in blocks])


@pytest.mark.parametrize("pauses", PAUSES, ids=["", "pauses"])
def test_radix_select(blocks, pauses):
    """Control, queues in LUT RAM, RAMs by hand; against the twin, too."""
    rng = np.random.default_rng(SEED)
    selections = [
        Selection(random_keys(rng, tokens, SELECT.key_bits), int(rng.integers(1, tokens + 1)))
        for tokens in map(int, rng.integers(1, 257, 20))
    ]
    rtl, mapped = (check(lane, SELECT, selections, **pauses) for lane in blocks)
    assert rtl == mapped


def inverted(netlist, chosen):
    """A netlist in which the table of one LUT holds the opposite."""
    tables = list(re.finditer(r"(  LUT\d #\(\s+\.INIT\()(\d+)'h(\w+)", netlist))
    table = tables[chosen % len(tables)]
    head, bits, init = table[1], int(table[2]), int(table[3], 16)
    return (
        netlist[: table.start()]
        + f"{head}{bits}'h{init ^ (1 << bits) - 1:x}"
        + netlist[table.end() :]
    )


def test_a_wrong_table_is_found(blocks):
    traced, chosen = kernels.product, random.Random(SEED).randrange(1000)
    wrong = mapped_lane(
        Pipeline(traced, clock_hz=250e6),
        traced.name,
        rewrite=lambda verilog, top: inverted(mapped_verilog(verilog, top), chosen),
    )
    right, _ = run_kernel(blocks[0], traced, ("i_product", "o_product"))
    found, _ = run_kernel(wrong, traced)
    assert not np.array_equal(right["o_product"].payloads, found["o"].payloads)


def random_chains(rng, config, count):
    """Jobs in one to three passes, corner cases of the numerics among them."""
    chains, tag = [], 0
    for _ in range(count):
        passes = [int(n) for n in rng.integers(1, 60, rng.integers(1, 4))]
        chains.append(
            random_chain(
                rng,
                tag,
                passes=passes,
                partial=bool(rng.random() < 0.2),
                heads=int(rng.integers(1, config.max_heads + 1)),
                head_dim=int(rng.choice([64, 80, 128])),
                channels=config.channels,
                dtype=FORMATS[rng.integers(2)],
                q_dtype=FORMATS[rng.integers(2)],
            )
        )
        stress(rng, chains[-1])
        tag += len(passes)
    return chains


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_engine():
    """The engine of the tiny drive: chains of random jobs, equal to the RTL and to the twin."""
    config = engine_config(DriveConfig.preset("tiny"))
    lanes = [make(Engine(config), "engine") for make in (rtl_lane, mapped_lane)]
    rng = np.random.default_rng(SEED)
    for pauses in PAUSES:
        chains = random_chains(rng, config, 40)
        results = [
            attend(lane, config.channels, chains, config.max_heads, seed=SEED, **pauses)
            for lane in lanes
        ]
        assert_alike([both for _, _, both in results])
        got, wanted, (_, clocks) = results[1]
        at = 0
        for chain, (words, flags) in zip(chains, wanted):
            end = at + len(words)
            if not chain[0].partial:
                assert np.array_equal(got["data"][at:end], np.array(words, np.uint64))
                assert {name: bool(got[name][end - 1]) for name in flags} == flags
            at = end
        print(f"{len(chains)} chains, {clocks} clocks: equal to the RTL and to the twin")


@pytest.mark.parametrize("cell", re.findall(r"^module (\w+)", CELLS.read_text(), re.M))
def test_cells_behave_as_in_yosys(cell, tmp_path):
    """Proved by Yosys' SAT solver; contents of look-up tables at random."""
    (mine,) = re.findall(rf"^module {cell}\(.*?^endmodule\n", CELLS.read_text(), re.M | re.S)
    (tmp_path / "mine.v").write_text(mine)
    (tmp_path / "theirs.v").write_text(library_cell(cell))
    bits = 1 << int(cell[3]) if cell.startswith("LUT") else int(cell.startswith("FD"))
    for table in {random.Random(SEED + n).getrandbits(bits) for n in range(3 if bits else 1)}:
        load = [
            f"read_verilog {name}.v; "
            + f"chparam -set INIT {bits}'d{table} {cell}; " * bool(bits)
            + f"rename {cell} {name}; "
            for name in ("mine", "theirs")
        ]
        run_yosys(
            "".join(load)
            + "proc; flatten; miter -equiv -flatten -make_assert mine theirs both; "
            + "opt_clean; sat -verify -prove-asserts -tempinduct both",
            tmp_path,
        )


def test_what_has_no_netlist():
    with pytest.raises(ToolError, match="the cell NEW9 has no model"):
        library_cell("NEW9")
    with pytest.raises(ValueError, match="ram_8x16 is a RAM by hand"):
        mapped_verilog("module ram_8x16(input wire clk);\nendmodule\n", "ram_8x16")
