"""Times at the NAND pins: what pads, board and skew are left with, and constraints that say so."""

from fractions import Fraction

from rtl.phy.nv_ddr_modes import nv_ddr_clocks
from rtl.phy.sdr_modes import sdr_clocks, sdr_time

__all__ = ["margins", "timing_xdc"]

NV_DDR = {
    "t_cals": (10, 5, 4, 3, 2.5, 2),  # CLE, ALE, W/R#, bytes of commands and addresses; holds alike
    "t_cs": (35, 25, 15, 15, 15, 15),
    "t_ds": (5, 3, 2, 1.5, 1.1, 0.9),
    "t_dh": (5, 2.5, 1.7, 1.3, 1.1, 0.9),
}
"""Name -> ns in modes 0 to 5, as in Linux's ``nand_timings.c``."""

OUT, IN = Fraction(5, 8), Fraction(1, 4)
"""Shares of RE# and DQ in the round trip of read data; what is left is the board's. A choice."""

LEAST_OUT_NS = 1
"""What WE# takes to its pad at least, so that others may be as late; assumed."""


def margins(kind, mode, clock_hz):
    """What the edges of a PHY's registers leave beyond the standard's times.

    Parameters
    ----------
    kind : str
        ``sdr`` or ``nv_ddr``.
    mode : int
        Timing mode.
    clock_hz : int

    Returns
    -------
    dict of str to Fraction
        What -> ns.
    """
    period = Fraction(10**9, clock_hz)
    if kind == "sdr":
        c = sdr_clocks(mode, clock_hz)

        def left(clocks, *names):
            return clocks * period - max(sdr_time(name, mode) for name in names)

        return {
            "CLE, ALE before WE# rises": left(c.write_low, "t_cls", "t_als"),
            "DQ before WE# rises": left(c.write_low, "t_ds"),
            "CE# before WE# rises": left(c.select_write + c.write_low, "t_cs"),
            "CLE, ALE, CE# behind it": left(c.write_high, "t_clh", "t_alh", "t_ch"),
            "DQ behind it": left(c.write_high, "t_dh"),
            "RE# out, board, DQ in": left(c.sample, "t_rea"),
            "DQ stays once it is taken": c.read_low * period
            + sdr_time("t_rhoh", mode)
            - c.sample * period,
        }
    cycle = nv_ddr_clocks(mode, clock_hz).slot * period

    def rest(ns, name):
        return ns - Fraction(str(NV_DDR[name][mode]))

    return {
        "CLE, ALE, W/R#, DQ of a command to CLK, either side": rest(cycle / 2, "t_cals"),
        "CE# before CLK rises": rest(cycle * 3 / 2, "t_cs"),
        "DQ before an edge of DQS": rest(cycle / 4, "t_ds"),
        "DQ behind it": rest(cycle / 4, "t_dh"),
        "DQS to CLK, either side": cycle / 4,
    }


def timing_xdc(phy, clock_hz):
    """Constraints of the NAND pins' times.

    Parameters
    ----------
    phy : host.boards.phys.Phy
    clock_hz : int

    Returns
    -------
    str
    """
    left = margins(phy.kind, phy.mode, clock_hz)
    lines = [
        f"# Times at the NAND pins: {phy.title} at {clock_hz / 1e6:g} MHz. Registers make",
        "# every edge, whole clocks apart (NV-DDR: halves). What that leaves to pads, board and",
        "# skew, in ns, for comparison with report_datasheet:",
        *(f"#   {what:52}{_ns(ns):>6}" for what, ns in left.items()),
    ]
    own = _sdr(left) if phy.kind == "sdr" else _nv_ddr(nv_ddr_clocks(phy.mode, clock_hz).slot)
    return "\n".join([*lines, "", *own, ""])


def _ns(value):
    return f"{float(value):.1f}"


def _sdr(left):
    trip = left["RE# out, board, DQ in"]
    late = min(left["CE# before WE# rises"], left["CLE, ALE, CE# behind it"]) + LEAST_OUT_NS
    enable = min(left["DQ before WE# rises"], left["DQ behind it"]) + LEAST_OUT_NS

    def most(ns, start, end):
        return f"set_max_delay -datapath_only -from {start} -to {end} {_ns(ns)}"

    clocks, dq = "[all_clocks]", "[get_ports nand_*_dq*]"
    return [
        "# RE# out of its register, the die's data into theirs, and the board there and back share",
        "# that time. How they share it is a choice, the sum is what counts.",
        most(trip * OUT, clocks, "[get_ports nand_*_re_*]"),
        most(trip * IN, dq, clocks),
        "# CE# and the enable of DQ come from the fabric; they may be so much later than WE#.",
        most(late, clocks, "[get_ports nand_*_ce_n*]"),
        most(enable, clocks, dq),
        "# The others are registers in their pads: nothing is left to place.",
        "set_false_path -to [get_ports {nand_*_cle nand_*_ale nand_*_we_n nand_*_wp_n}]",
    ]


def _nv_ddr(slot):
    return [
        "# All of them are registers in their pads, where nothing is left to place: not timed.",
        "set_false_path -to [get_ports {nand_*_ce_n* nand_*_cle nand_*_ale nand_*_we_n}]",
        "set_false_path -to [get_ports {nand_*_re_* nand_*_dq* nand_*_wp_n}]",
        "# DQ is taken at a time that the PHY finds after reset (nand_n_offset). DQS is not looked",
        "# at: an input delay against it would constrain nothing that there is.",
        "set_false_path -from [get_ports nand_*_dq*]",
        "# TO ADD where outputs are to be timed against each other (not tried): a clock at CLK,",
        f"#   create_generated_clock -name nand_n_clk -source <aclk> -divide_by {slot} \\",
        "#     [get_ports nand_n_we_n]",
        "# for each channel n; output delays of CLE, ALE, W/R# and CE# against it, tCALS and",
        "# -tCALH; they change half a cycle before CLK rises, so in place of their false path",
        f"#   set_multicycle_path -start -setup {slot // 2}",
        f"#   set_multicycle_path -start -hold {slot - 1}",
        "# and likewise DQ against DQS, both of which change at both edges of aclk.",
    ]
