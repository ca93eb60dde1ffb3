"""PHYs as Verilog for boards: ``nand_phy``, and ``nand_pads``, which is that with its pins.

::

    drive  phy__<channel>__*  <-->  nand_pads( nand_phy <-- pads__* --> pins )  <-->  nand_*

For SDR, ``nand_pads`` is plain Verilog whose ``inout`` synthesis turns into buffers of any vendor;
for NV-DDR it has ``nand_buffers``, the primitives of a family of AMD's. All is in the domain of
``clk``; ``rst`` is sampled with it, high for reset. The drive stays in reset until ``started``.
"""

import re

from amaranth.hdl import Value
from amaranth.hdl._ir import PortDirection
from amaranth.lib.wiring import In

from hls_attention.verilog import port_names, to_verilog
from hls_attention.verilog_names import assemble, convert

from .buffers import BufferPlatform, DdrPads
from .nv_ddr import NvDdrPhy
from .nv_ddr_training import OFFSET_BITS
from .sdr import SdrPhy

__all__ = ["PADS_TOP", "nv_ddr_phy_verilog", "sdr_phy_verilog"]

PHY_TOP, PADS_TOP, BUFFERS_TOP = "nand_phy", "nand_pads", "nand_buffers"

_HEAD = """\
// A channel's PHY with its pins: ONFI, {interface}.
module nand_pads(
    input  wire clk,
    input  wire rst,
    input  wire [{die}:0] phy__die,
    input  wire [2:0] phy__cycle,
    input  wire phy__strobe,
    input  wire [63:0] phy__w_data,
    output wire phy__r_valid,
    output wire [63:0] phy__r_data,
    output wire [{dies}:0] phy__ready,
    input  wire [{die}:0] report__die,
    output wire [{report}:0] report__state,
    input  wire write_protect,
    output wire started,{offset}
    output wire [{dies}:0] nand_ce_n,
    output wire nand_cle,
    output wire nand_ale,
    output wire {clk},
{w_rn}
    output wire nand_wp_n,
    input  wire [{dies}:0] nand_rb_n,
    inout  wire [7:0] nand_dq{dqs}
);
"""

_PHY = """\
    nand_phy phy (
        .clk(clk), .rst(rst),
        .phy__die(phy__die), .phy__cycle(phy__cycle), .phy__strobe(phy__strobe),
        .phy__w_data(phy__w_data), .phy__r_valid(phy__r_valid), .phy__r_data(phy__r_data),
        .phy__ready(phy__ready),
        .report__die(report__die), .report__state(report__state),
        .write_protect(write_protect), .started(started),
"""

_SDR = (
    _HEAD
    + """\
    wire [7:0] dq_o;
    wire dq_oe;
    assign nand_dq = dq_oe ? dq_o : 8'bz;
"""
    + _PHY
    + """\
        .pads__ce_n(nand_ce_n), .pads__cle(nand_cle), .pads__ale(nand_ale),
        .pads__we_n(nand_we_n), .pads__re_n(nand_re_n), .pads__wp_n(nand_wp_n),
        .pads__rb_n(nand_rb_n), .pads__dq__o(dq_o), .pads__dq__oe(dq_oe), .pads__dq__i(nand_dq)
    );
endmodule
"""
)

_NV_DDR = (
    _HEAD
    + "{wires}"
    + _PHY
    + """\
        .offset(offset),
        {phy_side}
    );
    nand_buffers buffers (
        .clk(clk), .rst(rst),
        {pin_side},
        {phy_side}
    );
endmodule
"""
)


def sdr_phy_verilog(profile, mode, clock_hz, **board):
    """Verilog of an SDR PHY, vendor-neutral.

    Parameters
    ----------
    profile, mode, clock_hz, board
        As of `SdrPhy`.

    Returns
    -------
    str
        Modules ``nand_phy`` and ``nand_pads``.
    """
    phy = SdrPhy(profile, mode, clock_hz, **board)
    pins = {"interface": "asynchronous SDR", "clk": "nand_we_n"}
    pins["w_rn"] = "    output wire nand_re_n,"
    pads = _SDR.format(**_sizes(phy), **pins, offset="", dqs="")
    return f"{to_verilog(phy, PHY_TOP)}\n{pads}"


def nv_ddr_phy_verilog(profile, mode, clock_hz, family, *, paired=(), offset=None):
    """Verilog of an NV-DDR PHY with a family's primitives at its pins.

    Parameters
    ----------
    profile, mode, clock_hz, offset
        As of `NvDdrPhy`.
    family : str
        One of `rtl.phy.buffers.FAMILIES`.
    paired : collection of str
        As of `rtl.phy.buffers.DdrPads`.

    Returns
    -------
    str
        Modules ``nand_phy``, ``nand_buffers`` and ``nand_pads``.
    """
    phy = NvDdrPhy(profile, mode, clock_hz, offset=offset)
    buffers = DdrPads(profile.geometry.dies, paired)
    pins = {name: [port.name for port in ports] for name, ports in buffers.ports.items()}
    wires = [(name, bits) for name, _, bits in port_names(buffers)]
    pads = _NV_DDR.format(
        **_sizes(phy),
        interface="NV-DDR",
        clk="nand_clk",
        w_rn="\n".join(f"    output wire {name}," for name in pins["w_rn"]),
        offset=f"\n    output wire [{OFFSET_BITS - 1}:0] offset,",
        dqs="".join(f",\n    inout  wire {name}" for name in pins["dqs"]),
        pin_side=",\n        ".join(
            f".{name}({name})" for names in pins.values() for name in names
        ),
        wires="".join(
            f"    wire {f'[{bits - 1}:0] ' * (bits > 1)}{name};\n" for name, bits in wires
        ),
        phy_side=",\n        ".join(f".{name}({name})" for name, _ in wires),
    )
    return "\n".join([to_verilog(phy, PHY_TOP), _buffers_verilog(buffers, family), pads])


def _sizes(phy):
    sizes = {"die": phy.phy.die, "dies": phy.phy.ready, "report": phy.report.state.as_value()}
    return {name: len(value) - 1 for name, value in sizes.items()}


def _buffers_verilog(buffers, family):
    """The module with pins for ports, of which `to_verilog` knows nothing."""
    flows = {"rb_n": PortDirection.Input, "dq": PortDirection.Inout, "dqs": PortDirection.Inout}
    ports = {
        port.name: (port, flows.get(name, PortDirection.Output))
        for name, legs in buffers.ports.items()
        for port in legs
    }
    for path, member, value in buffers.signature.flatten(buffers):
        direction = PortDirection.Input if member.flow == In else PortDirection.Output
        ports["__".join(map(str, path))] = Value.cast(value), direction
    text = convert(buffers, BUFFERS_TOP, ports, BufferPlatform(family))
    # Pins float from configuration to the first clock: a register's 1 is no enable.
    text = re.sub(r"\bFDCE (oe_ff\d+)", "FDCE #(\n    .INIT(1'b1)\n  ) \\1", text)
    return assemble([text], fixed={BUFFERS_TOP})
