"""The PHY that a board's folder has, as Verilog, with its pins."""

from dataclasses import dataclass

from hls_attention.verilog import port_names
from rtl.phy.sdr import SdrPhy
from rtl.phy.sdr_timing import check_sdr_profile
from rtl.phy.verilog import sdr_phy_verilog

from ..options import BadOption
from .wrappers import Port

__all__ = ["KINDS", "Phy", "choose_phy"]

KINDS = ("sdr", "nv_ddr", "none")
"""What ``--phy`` takes."""

TITLES = {"sdr": "asynchronous SDR", "nv_ddr": "NV-DDR"}

BUILDERS = {"sdr": (check_sdr_profile, SdrPhy, sdr_phy_verilog)}
"""Kind -> what refuses a profile, the component, its Verilog."""

FASTEST = 5
"""Timing modes are 0 to this one."""


@dataclass(frozen=True, kw_only=True)
class Phy:
    """A channel's PHY.

    Parameters
    ----------
    title : str
        Which, for people.
    verilog : str
        Its text; the module is ``nand_phy``.
    ports : list of Port
        Of ``nand_phy``.
    pins : list of Port
        Seen from outside the FPGA, without a channel's name.
    paired : frozenset of str
        Of these, those that the board has as differential pairs.
    """

    title: str
    verilog: str
    ports: list
    pins: list
    paired: frozenset

    @property
    def registered(self):
        """Pins with a register in the pad: pattern of ``get_ports``."""
        return "{nand_*_dq nand_*_cle nand_*_ale nand_*_we_n nand_*_ce_n}"

    @property
    def settings(self):
        """Ports that a board sets for each channel: list of `Port`."""
        return [p for p in self.ports if p.name == "offset"]


def choose_phy(board, config, kind=None):
    """The PHY for a drive's flash on a board.

    Parameters
    ----------
    board : rtl.boards.Board
    config : rtl.config.DriveConfig
    kind : str, optional
        One of `KINDS`; None: what the board is meant to have, and for a board of which nothing is
        known none where it is too slow for the drive's flash.

    Returns
    -------
    Phy or None

    Raises
    ------
    host.options.BadOption
        The drive's flash is too fast for it, or is not what the board has.
    """
    if kind not in (None, *KINDS):
        raise BadOption(f"--phy {kind}: unknown PHY; choose {', '.join(KINDS)}")
    in_memory = config.page_store == "memory"
    if board.phy == "memory" and not in_memory:
        raise BadOption(
            f"page_store = {config.page_store}: the {board.title} has no NAND pins; choose "
            f"--preset {board.preset} or --set page_store=memory with a profile that fits its DDR"
        )
    wanted = kind or board.phy
    if in_memory or wanted in ("none", "memory"):
        return None
    check, component, to_verilog = BUILDERS[wanted]
    for mode in range(FASTEST + 1):
        try:
            check(config.flash, mode, config.clock_hz)
        except ValueError as error:
            refused = error
            continue
        phy = component(config.flash, mode, config.clock_hz)
        phy._MustUse__used = True  # only its ports serve here: amaranth is not to miss more
        ways = {"i": "input", "o": "output"}
        ports = [Port("clk", "input"), Port("rst", "input")]
        ports += [Port(name, ways[way], bits) for name, way, bits in port_names(phy)]
        pins = _pins(ports)
        known = {pin.signal for pin in board.pins()}
        return Phy(
            title=f"{TITLES[wanted]}, mode {mode}",
            verilog=to_verilog(config.flash, mode, config.clock_hz),
            ports=ports,
            pins=pins,
            paired=frozenset(p.name for p in pins if _pair(p.name) & known),
        )
    if kind is None and not board.pins_source:
        return None
    raise BadOption(
        f"profile = {config.profile}: no {TITLES[wanted]} PHY keeps up with it at "
        f"{config.clock_hz / 1e6:g} MHz ({refused}). Choose another with --set profile=, "
        "another PHY with --phy, or --phy none for one of your own"
    )


def _pair(name):
    """The legs of a pair as boards' tables call them, by their positive one."""
    return {f"{name.removesuffix('_n')}_p", *({f"{name}_n"} if name == "dqs" else ())}


def _pins(ports):
    """Pins of a PHY: an input, an output and its enable become one."""
    pins = {}
    for port in ports:
        if not port.name.startswith("pads__"):
            continue
        name, _, part = port.name.removeprefix("pads__").partition("__")
        if part in ("", "o"):
            pins[name] = Port(name, "inout" if part else port.way, port.bits)
    return list(pins.values())
