"""The PHY that a board's folder has, as Verilog, with its pins."""

import re
from dataclasses import dataclass

from flash_model.profiles import PROFILES
from rtl.phy.nv_ddr_timing import check_nv_ddr_profile
from rtl.phy.sdr_timing import check_sdr_profile
from rtl.phy.verilog import PADS_TOP, nv_ddr_phy_verilog, sdr_phy_verilog

from ..options import BadOption
from .wrappers import Port

__all__ = ["CHECKS", "KINDS", "Phy", "choose_phy", "mode_for", "profiles_for"]

KINDS = ("sdr", "nv_ddr", "none")
"""What ``--phy`` takes."""

TITLES = {"sdr": "asynchronous SDR", "nv_ddr": "NV-DDR"}

CHECKS = {"sdr": check_sdr_profile, "nv_ddr": check_nv_ddr_profile}

FAMILIES = {"xc7": "series7", "xcup": "ultrascaleplus"}
"""Family of a part -> that of the primitives at its pins."""

SIGNALS = {"clk": "we_n", "w_rn": "re_n"}
"""Pins whose NV-DDR name differs -> what boards call them, after SDR."""

FASTEST = 5
"""Timing modes are 0 to this one."""


@dataclass(frozen=True, kw_only=True)
class Phy:
    """A channel's PHY with its pins.

    Parameters
    ----------
    kind : str
        ``sdr`` or ``nv_ddr``.
    mode : int
        Timing mode.
    title : str
        Both, for people.
    verilog : str
        Its text; the module with pins is ``nand_pads``.
    ports : list of Port
        Of ``nand_pads``.
    paired : frozenset of str
        Of these, outputs that have to leave as differential pairs.
    buffers : str
        Family whose primitives are at its pins; empty: they are inferred.
    """

    kind: str
    mode: int
    title: str
    verilog: str
    ports: list
    paired: frozenset = frozenset()
    buffers: str = ""

    @property
    def pins(self):
        """Port of ``nand_pads`` -> its pin, or the two legs of a pair, as boards call them."""
        return {
            p.name: [Port("re_p", "output"), Port("re_n", "output")]
            if p.name in self.paired
            else [_pin(p)]
            for p in self.ports
            if p.name.startswith("nand_")
        }

    @property
    def shown(self):
        """Ports that tell a board of each channel."""
        return [p for p in self.ports if p.name in ("started", "offset")]


def _pin(port):
    name = port.name.removeprefix("nand_")
    for theirs, ours in SIGNALS.items():
        if found := re.fullmatch(rf"{theirs}(_[pn])?", name):
            name = ours.removesuffix("_n") + found[1] if found[1] else ours
    return Port(name, port.way, port.bits)


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
    if in_memory and kind in CHECKS:
        raise BadOption(
            f"--phy {kind}: with page_store = memory there are no NAND pins; leave out --phy"
        )
    if in_memory or wanted in ("none", "memory"):
        return None
    mode, refused = mode_for(wanted, config.flash, config.clock_hz)
    if mode is None:
        if kind is None and not board.pins_source:
            return None
        raise BadOption(
            f"profile = {config.profile}: no {TITLES[wanted]} PHY keeps up with it at "
            f"{config.clock_hz / 1e6:g} MHz ({refused}). {_others(wanted, config.clock_hz)}, or "
            "--phy none for one of your own"
        )
    family = FAMILIES[board.part.family if board.part else "xc7"]
    pairs = {pin.signal for pin in board.pins()} & {"re_p", "dqs_p"}
    text = _verilog(wanted, config, mode, family, pairs)
    return Phy(
        kind=wanted,
        mode=mode,
        title=f"{TITLES[wanted]}, timing mode {mode}",
        buffers=family if wanted == "nv_ddr" else "",
        verilog=text,
        ports=_ports(text),
        paired=frozenset({"nand_re_n"} if wanted == "sdr" and "re_p" in pairs else ()),
    )


def mode_for(kind, profile, clock_hz):
    """The slowest timing mode in which a PHY keeps up with a flash profile.

    Parameters
    ----------
    kind : str
        ``sdr`` or ``nv_ddr``.
    profile : Profile
    clock_hz : int

    Returns
    -------
    int or None, ValueError or None
        The mode, or why the fastest one does not keep up.
    """
    refused = None
    for mode in range(FASTEST + 1):
        try:
            CHECKS[kind](profile, mode, clock_hz)
        except ValueError as error:
            refused = error
            continue
        return mode, None
    return None, refused


def profiles_for(kind, clock_hz):
    """Profiles that a PHY keeps up with at a clock, the fastest first: list of str."""
    kept = [p for p in PROFILES.values() if mode_for(kind, p, clock_hz)[0] is not None]
    return [p.name for p in sorted(kept, key=lambda p: -p.timing.rate_mts)]


def _others(wanted, clock_hz):
    """Which profiles would do, for this PHY and the other."""
    said = []
    for kind in sorted(CHECKS, key=lambda kind: kind != wanted):
        if names := profiles_for(kind, clock_hz):
            rates = [f"{name} ({PROFILES[name].timing.rate_mts} MT/s)" for name in names]
            phy = "" if kind == wanted else f"--phy {kind} and "
            said.append(f"{phy}--set profile={' or '.join(rates)}")
    return f"Choose {', or '.join(said)}" if said else "At this clock no profile does"


def _verilog(kind, config, mode, family, pairs):
    if kind == "sdr":
        return sdr_phy_verilog(config.flash, mode, config.clock_hz)
    paired = [pin for pin, leg in {"w_rn": "re_p", "dqs": "dqs_p"}.items() if leg in pairs]
    return nv_ddr_phy_verilog(config.flash, mode, config.clock_hz, family, paired=paired)


def _ports(text):
    """Ports of ``nand_pads``, off its Verilog."""
    head = text[text.index(f"module {PADS_TOP}(") :]
    found = re.findall(
        r"(input|output|inout) +wire (?:\[(\d+):0\] )?(\w+)", head[: head.index(");")]
    )
    return [Port(name, way, int(top or 0) + 1) for way, top, name in found]
