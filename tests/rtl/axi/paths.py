"""No output of an AXI interface depends on an input of the same clock (A3.2.1), tried in cocotb."""

import cocotb
from amaranth.lib.wiring import In
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge, Timer


async def no_path_inside(dut, signature, rng, clocks=300):
    """Change all inputs of ``axi`` twice within each clock; its outputs must not follow.

    Parameters
    ----------
    dut : handle
        Has a member ``axi``.
    signature : wiring.Signature
        Of ``axi``, as seen by the design.
    rng : random.Random
    clocks : int
    """
    cocotb.start_soon(Clock(dut.clk, 10, unit="ns").start())
    flows = {name: member.flow for name, member in signature.members.items()}
    inputs = [
        getattr(dut, f"axi__{name}")
        for name, flow in flows.items()
        if flow == In and hasattr(dut, f"axi__{name}")
    ]
    outputs = {name: getattr(dut, f"axi__{name}") for name, flow in flows.items() if flow != In}
    moved = set()
    before: dict[str, int] = {}
    for _ in range(clocks):
        await RisingEdge(dut.clk)
        seen = []
        for _ in range(2):
            await Timer(2, "ns")
            for handle in inputs:
                handle.value = rng.getrandbits(len(handle))
            await Timer(1, "ns")
            seen.append({name: int(handle.value) for name, handle in outputs.items()})
        assert seen[0] == seen[1]
        moved |= {name for name, value in seen[0].items() if before.get(name, value) != value}
        before = seen[0]
    return moved
