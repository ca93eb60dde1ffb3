"""PHYs as Verilog for boards: ``nand_phy``, and ``nand_pads``, which is that with its pins.

::

    drive  phy__<channel>__*  <-->  nand_pads( nand_phy <-- pads__* --> tri-states )  <-->  pins

``nand_phy`` has an output, an input and an enable for DQ; ``nand_pads`` puts them on an ``inout``,
from which synthesis infers the buffers of any vendor. All is in the domain of ``clk``; ``rst`` is
sampled with it, high for reset. The drive stays in reset until ``started``.
"""

from hls_attention.verilog import to_verilog

from .sdr import SdrPhy

__all__ = ["PADS_TOP", "PHY_TOP", "sdr_phy_verilog"]

PHY_TOP, PADS_TOP = "nand_phy", "nand_pads"

_PADS = """\
// A channel's PHY with its pins (ONFI, asynchronous SDR).
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
    input  wire write_protect,
    output wire started,
    output wire [{dies}:0] nand_ce_n,
    output wire nand_cle,
    output wire nand_ale,
    output wire nand_we_n,
    output wire nand_re_n,
    output wire nand_wp_n,
    input  wire [{dies}:0] nand_rb_n,
    inout  wire [7:0] nand_dq
);
    wire [7:0] dq_o;
    wire dq_oe;
    assign nand_dq = dq_oe ? dq_o : 8'bz;
    nand_phy phy (
        .clk(clk), .rst(rst),
        .phy__die(phy__die), .phy__cycle(phy__cycle), .phy__strobe(phy__strobe),
        .phy__w_data(phy__w_data), .phy__r_valid(phy__r_valid), .phy__r_data(phy__r_data),
        .phy__ready(phy__ready), .write_protect(write_protect), .started(started),
        .pads__ce_n(nand_ce_n), .pads__cle(nand_cle), .pads__ale(nand_ale),
        .pads__we_n(nand_we_n), .pads__re_n(nand_re_n), .pads__wp_n(nand_wp_n),
        .pads__rb_n(nand_rb_n), .pads__dq__o(dq_o), .pads__dq__oe(dq_oe), .pads__dq__i(nand_dq)
    );
endmodule
"""


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
    sizes = {"die": len(phy.phy.die) - 1, "dies": profile.geometry.dies - 1}
    return to_verilog(phy, PHY_TOP) + "\n" + _PADS.format(**sizes)
