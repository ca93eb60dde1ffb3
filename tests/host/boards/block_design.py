"""A model of Vivado's block designs: cells with the pins that their IPs have, nets, addresses.

What pins an IP has with which parameters is from AMD's product guides: processing systems PG082 and
PG201, proc_sys_reset PG164, SmartConnect PG247, xlconcat PG098; Zynq's memory maps UG585, UG1085.
"""

import re
from dataclasses import dataclass, field

__all__ = ["BlockDesign", "DesignError", "Segment"]

MIB = 1 << 20


class DesignError(Exception):
    """A script asks for what is not there or cannot be."""


@dataclass(frozen=True)
class Pin:
    """A pin or port; ``way`` as the cell sees it: ``I``, ``O`` or ``IO``."""

    way: str
    bits: int = 1
    kind: str = ""  # clk, rst, or data
    optional: bool = False


@dataclass(frozen=True)
class Segment:
    """Addresses that a slave has, with the base at which it has to be; None: anywhere."""

    interface: str
    bytes: int
    base: int | None = None


@dataclass
class Cell:
    """A cell and what its kind and parameters give it."""

    kind: str
    parameters: dict = field(default_factory=dict)
    pins: dict = field(default_factory=dict)  # name -> Pin
    interfaces: dict = field(default_factory=dict)  # name -> "Master" or "Slave"
    segments: dict = field(default_factory=dict)  # name -> Segment
    spaces: dict = field(default_factory=dict)  # name -> interface -> (first, last) address


def _ps7(p):
    def on(name, default="0"):
        return p.get(f"PCW_{name}", default) == "1"

    chips = int(p["PCW_UIPARAM_DDR_BUS_WIDTH"].split()[0]) // int(
        p["PCW_UIPARAM_DDR_DRAM_WIDTH"].split()[0]
    )
    ddr = chips * int(p["PCW_UIPARAM_DDR_DEVICE_CAPACITY"].split()[0]) * MIB // 8
    cell = Cell("processing_system7", p)
    cell.pins = {"FCLK_CLK0": Pin("O", kind="clk"), "FCLK_RESET0_N": Pin("O", kind="rst")}
    cell.interfaces = {"DDR": "Master", "FIXED_IO": "Master"}
    cell.spaces["Data"] = {}
    for n in range(2):
        if on(f"USE_M_AXI_GP{n}", "1" if n == 0 else "0"):
            cell.interfaces[f"M_AXI_GP{n}"] = "Master"
            cell.pins[f"M_AXI_GP{n}_ACLK"] = Pin("I", kind="clk")
            cell.spaces["Data"][f"M_AXI_GP{n}"] = (0x4000_0000 * (n + 1), 0x4000_0000 * (n + 2) - 1)
    for n in range(4):
        if on(f"USE_S_AXI_HP{n}"):
            cell.interfaces[f"S_AXI_HP{n}"] = "Slave"
            cell.pins[f"S_AXI_HP{n}_ACLK"] = Pin("I", kind="clk")
            cell.segments[f"S_AXI_HP{n}/HP{n}_DDR_LOWOCM"] = Segment(f"S_AXI_HP{n}", ddr, 0)
    if on("USE_FABRIC_INTERRUPT") and on("IRQ_F2P_INTR"):
        cell.pins["IRQ_F2P"] = Pin("I", 0)
    if on("GPIO_EMIO_GPIO_ENABLE"):
        cell.pins["GPIO_I"] = Pin("I", int(p["PCW_GPIO_EMIO_GPIO_IO"]))
    return cell


def _psu(p):
    def on(name, default="0"):
        return p.get(f"PSU__{name}", default) == "1"

    def number(name):
        return int(p[f"PSU__DDRC__{name}"].split()[0])

    chips = number("BUS_WIDTH") // number("DRAM_WIDTH") << number("RANK_ADDR_COUNT")
    ddr = min(chips * number("DEVICE_CAPACITY") * MIB // 8, 2048 * MIB)
    cell = Cell("zynq_ultra_ps_e", p)
    if on("FPGA_PL0_ENABLE", "1"):
        cell.pins = {"pl_clk0": Pin("O", kind="clk"), "pl_resetn0": Pin("O", kind="rst")}
    cell.spaces["Data"] = {}
    for n, name, first, default in (
        (0, "HPM0_FPD", 0xA000_0000, "1"),
        (1, "HPM1_FPD", 0xB000_0000, "1"),
        (2, "HPM0_LPD", 0x8000_0000, "0"),
    ):
        if on(f"USE__M_AXI_GP{n}", default):
            cell.interfaces[f"M_AXI_{name}"] = "Master"
            cell.pins[f"maxi{name.lower()}_aclk"] = Pin("I", kind="clk")
            cell.spaces["Data"][f"M_AXI_{name}"] = (first, first + (256 << 20) - 1)
    for n in range(4):
        if on(f"USE__S_AXI_GP{n + 2}"):
            cell.interfaces[f"S_AXI_HP{n}_FPD"] = "Slave"
            cell.pins[f"saxihp{n}_fpd_aclk"] = Pin("I", kind="clk")
            for name, base, size in (
                ("DDR_LOW", 0, ddr),
                ("QSPI", 0xC000_0000, 512 * MIB),
                ("LPS_OCM", 0xFF00_0000, 16 * MIB),
            ):
                cell.segments[f"SAXIGP{n + 2}/HP{n}_{name}"] = Segment(
                    f"S_AXI_HP{n}_FPD", size, base
                )
    for n in range(2):
        if on(f"USE__IRQ{n}", "1" if n == 0 else "0"):
            cell.pins[f"pl_ps_irq{n}"] = Pin("I", 0)
    if on("GPIO_EMIO__PERIPHERAL__ENABLE"):
        cell.pins["emio_gpio_i"] = Pin("I", int(p["PSU__GPIO_EMIO__PERIPHERAL__IO"]))
    return cell


def _reset(p):
    cell = Cell("proc_sys_reset", p)
    cell.pins = {
        "slowest_sync_clk": Pin("I", kind="clk"),
        "ext_reset_in": Pin("I", kind="rst"),
        "aux_reset_in": Pin("I", kind="rst", optional=True),
        "mb_debug_sys_rst": Pin("I", kind="rst", optional=True),
        "dcm_locked": Pin("I", optional=True),
        **{
            name: Pin("O", kind="rst")
            for name in (
                "mb_reset",
                "bus_struct_reset",
                "peripheral_reset",
                "interconnect_aresetn",
                "peripheral_aresetn",
            )
        },
    }
    return cell


def _smartconnect(p):
    cell = Cell("smartconnect", p)
    cell.pins = {"aclk": Pin("I", kind="clk"), "aresetn": Pin("I", kind="rst")}
    for n in range(int(p.get("NUM_SI", 2))):
        cell.interfaces[f"S{n:02}_AXI"] = "Slave"
    for n in range(int(p.get("NUM_MI", 1))):
        cell.interfaces[f"M{n:02}_AXI"] = "Master"
    return cell


def _xlconcat(p):
    cell, inputs = Cell("xlconcat", p), int(p.get("NUM_PORTS", 2))
    cell.pins = {f"In{n}": Pin("I") for n in range(inputs)} | {"dout": Pin("O", inputs)}
    return cell


KINDS = {
    "processing_system7": _ps7,
    "zynq_ultra_ps_e": _psu,
    "proc_sys_reset": _reset,
    "smartconnect": _smartconnect,
    "xlconcat": _xlconcat,
}

WAYS = {"input": "I", "output": "O", "inout": "IO"}


def module(text, name):
    """The cell that a Verilog module becomes: interfaces by X_INTERFACE_INFO, all else pins."""
    start = re.search(rf"^module {name}\s*\(", text, re.M)
    if not start:
        raise DesignError(f"no module {name} in the files that were added")
    cell = Cell(name)
    found = re.findall(
        r'(?:X_INTERFACE_INFO = "(\S+) (\w+) (\w+)" \*\)\s*)?'
        r"^\s*(input|output|inout) +wire (?:\[(\d+):0\] )?(\w+)",
        text[start.end() : text.index(");", start.end())],
        re.M,
    )
    for kind, interface, signal, way, top, port in found:
        if kind.startswith("xilinx.com:interface:aximm"):
            if signal != "ARADDR":
                continue
            cell.interfaces[interface] = "Slave" if way == "input" else "Master"
            if way == "input":
                cell.segments[f"{interface}/reg0"] = Segment(interface, 2 << int(top))
            else:
                cell.spaces[interface] = {interface: (0, (2 << int(top)) - 1)}
        else:
            role = {"xilinx.com:signal:clock:1.0": "clk", "xilinx.com:signal:reset:1.0": "rst"}
            cell.pins[port] = Pin(WAYS[way], int(top or 0) + 1, role.get(kind, ""))
    return cell


class BlockDesign:
    """Records what a script makes; objects of Tcl are texts, ``pin:ps/FCLK_CLK0``.

    Parameters
    ----------
    sources : callable
        Verilog of the files that the project has.
    """

    def __init__(self, sources):
        self._sources = sources
        self.cells, self.ports, self.external = {}, {}, {}
        self.nets, self.buses, self.addresses, self.excluded = [], [], [], []
        self.valid = False

    def create_cell(self, kind, what, name):
        """A cell of an IP (``vendor:library:name``) or of a module."""
        if name in self.cells:
            raise DesignError(f"there is a cell {name} already")
        if kind == "module":
            self.cells[name] = module(self._sources(), what)
        else:
            parts = what.split(":")
            if parts[:2] != ["xilinx.com", "ip"] or parts[2] not in KINDS:
                raise DesignError(f"no IP {what}")
            self.cells[name] = Cell(parts[2])

    def set_parameters(self, name, parameters):
        """Parameters of an IP; its pins follow them."""
        cell = self.cells[name]
        connected = [pin for net in self.nets for pin in net if pin.startswith(f"{name}/")]
        if cell.kind not in KINDS or connected:
            raise DesignError(f"{name} has no parameters, or is connected already")
        self.cells[name] = Cell(cell.kind, cell.parameters | parameters)

    def cell(self, name):
        """A cell with the pins that its parameters give it."""
        if name not in self.cells:
            raise DesignError(f"no cell {name}")
        cell = self.cells[name]
        return KINDS[cell.kind](cell.parameters) if cell.kind in KINDS else cell

    def pin(self, name):
        """A pin of a cell, ``cell/pin``, or a port, ``port``."""
        cell, _, pin = name.rpartition("/")
        pins = self.cell(cell).pins if cell else self.ports
        if pin not in pins:
            raise DesignError(f"no pin {name}")
        return pins[pin]

    def interface(self, name):
        """``Master`` or ``Slave`` of an interface of a cell or of the design."""
        cell, _, interface = name.rpartition("/")
        interfaces = self.cell(cell).interfaces if cell else self.external
        if interface not in interfaces:
            raise DesignError(f"no interface {name}")
        return interfaces[interface]

    def create_port(self, name, way, bits):
        """A port of the design."""
        if name in self.ports:
            raise DesignError(f"there is a port {name} already")
        self.ports[name] = Pin(way, bits)

    def connect(self, names):
        """A net of pins and ports."""
        net = set(names)
        for other in [n for n in self.nets if n & net]:
            self.nets.remove(other)
            net |= other
        pins = {name: self.pin(name) for name in net}
        drivers = [n for n, p in pins.items() if p.way == ("O" if "/" in n else "I")]
        both = [n for n, p in pins.items() if p.way == "IO"]
        if both and len(both) != len(net) or len(drivers) != (0 if both else 1):
            raise DesignError(f"{sorted(net)}: driven by {drivers}")
        if len({pin.bits for pin in pins.values() if pin.bits}) != 1:
            raise DesignError(f"{sorted(net)}: of different widths")
        self.nets.append(net)

    def connect_buses(self, first, second):
        """Two interfaces: a master and a slave, or a master and a port of the design."""
        for name in (first, second):
            if any(name in pair for pair in self.buses):
                raise DesignError(f"{name} is connected already")
        modes = {name: self.interface(name) for name in (first, second)}
        inner = [mode for name, mode in modes.items() if "/" in name]
        if sorted(modes.values()) != (["Master", "Slave"] if len(inner) == 2 else ["Master"] * 2):
            raise DesignError(f"{first} and {second}: two of {modes[first]}")
        self.buses.append((first, second))

    def net(self, name):
        """All that a pin or port is connected to, itself included."""
        return next((net for net in self.nets if name in net), {name})

    def peer(self, name):
        """What an interface is connected to; None: nothing."""
        return next((b if a == name else a for a, b in self.buses if name in (a, b)), None)

    def reached(self, master):
        """Slaves that a master reaches, through interconnects."""
        peer = self.peer(master)
        if not peer:
            return set()
        cell = peer.rpartition("/")[0]
        if not cell or self.cell(cell).kind != "smartconnect":
            return {peer}
        onward = [n for n, mode in self.cell(cell).interfaces.items() if mode == "Master"]
        return {slave for name in onward for slave in self.reached(f"{cell}/{name}")}

    def space(self, name):
        """Interface -> window of an address space, ``cell/space``."""
        cell, _, space = name.partition("/")
        if space not in self.cell(cell).spaces:
            raise DesignError(f"no address space {name}")
        return {f"{cell}/{i}": window for i, window in self.cell(cell).spaces[space].items()}

    def segment(self, name):
        """A segment, ``cell/interface/segment``."""
        cell, _, segment = name.partition("/")
        if segment not in self.cell(cell).segments:
            raise DesignError(f"no address segment {name}")
        return self.cell(cell).segments[segment]

    def assign(self, space, name, offset, size):
        """Give a segment its place in an address space."""
        segment = self.segment(name)
        slave = f"{name.partition('/')[0]}/{segment.interface}"
        windows = [w for i, w in self.space(space).items() if slave in self.reached(i)]
        if not windows:
            raise DesignError(f"{space} does not reach {name}")
        if not windows[0][0] <= offset <= offset + size - 1 <= windows[0][1]:
            raise DesignError(f"{name} at {offset:#x} is outside of {space}'s window")
        if size > segment.bytes or segment.base not in (None, offset) or offset % size:
            raise DesignError(f"{name} is {segment.bytes:#x} bytes at {segment.base}")
        for other, _, at, length in self.addresses:
            if other == space and at < offset + size and offset < at + length:
                raise DesignError(f"{name} overlaps in {space}")
        self.addresses.append((space, name, offset, size))

    def validate(self):
        """What `validate_bd_design` would not accept, or warn of: list of lines."""
        wrong = []
        for name in self.cells:
            cell = self.cell(name)
            wrong += [
                f"{name}/{pin} is not driven"
                for pin, about in cell.pins.items()
                if about.way == "I" and not about.optional and len(self.net(f"{name}/{pin}")) == 1
            ]
            wrong += [
                f"{name}/{interface} is not connected"
                for interface in cell.interfaces
                if not self.peer(f"{name}/{interface}")
            ]
            for space in cell.spaces:
                for master in self.space(f"{name}/{space}"):
                    for slave in self.reached(master):
                        wrong += self._unmapped(f"{name}/{space}", slave)
        wrong += [
            f"port {port} is not connected" for port in self.ports if self.net(port) == {port}
        ]
        return wrong

    def _unmapped(self, space, slave):
        cell, _, interface = slave.partition("/")
        known = {(s, name) for s, name, *_ in self.addresses} | set(self.excluded)
        return [
            f"{cell}/{name} is not mapped in {space}"
            for name, segment in self.cell(cell).segments.items()
            if segment.interface == interface and (space, f"{cell}/{name}") not in known
        ]
