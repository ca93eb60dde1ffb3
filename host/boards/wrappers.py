"""Verilog around the drive for a board: the module that becomes an IP, and the top with pins.

``instinfer_csd`` is `rtl.axi.drive.AxiDrive`; ``csd_top`` is the drive, a PHY for each flash
channel and the pads. Both only connect, and have what Vivado reads their interfaces off
(``X_INTERFACE_INFO``, AMD UG1118, UG994).
"""

import re
from dataclasses import dataclass

from rtl.phy.verilog import PADS_TOP

from ..verilog import AXI_TOP

__all__ = [
    "IP_TOP",
    "PIN_TOP",
    "Port",
    "interface_of",
    "ip_module",
    "pin_module",
    "pin_ports",
    "shown_ports",
]

IP_TOP = "instinfer_csd"
PIN_TOP = "csd_top"
NAND_PHY = "instinfer:interface:nand_phy:1.0"

SINGLE = {
    "aresetn": (
        "xilinx.com:signal:reset:1.0 aresetn RST",
        "XIL_INTERFACENAME aresetn, POLARITY ACTIVE_LOW",
    ),
    "irq": (
        "xilinx.com:signal:interrupt:1.0 irq INTERRUPT",
        "XIL_INTERFACENAME irq, SENSITIVITY EDGE_RISING",
    ),
    "mailbox": (
        "xilinx.com:signal:interrupt:1.0 mailbox INTERRUPT",
        "XIL_INTERFACENAME mailbox, SENSITIVITY LEVEL_HIGH",
    ),
}
"""Port -> interface and its parameters, of ports that are interfaces of their own."""


@dataclass(frozen=True)
class Port:
    """A port of a Verilog module; ``way`` is ``input``, ``output`` or ``inout``."""

    name: str
    way: str
    bits: int = 1

    @property
    def wire(self):
        """Declaration of a wire like it."""
        vector = f"[{self.bits - 1}:0] " if self.bits > 1 else ""
        return f"wire {vector}{self.name}"

    @property
    def text(self):
        """Its declaration."""
        return f"{self.way:6} {self.wire}"


def interface_of(name):
    """Interface and signal of a port of the drive: ``m_axi_host_awaddr``, ``phy__0__die``. What a
    PHY tells, ``report__0__state``, is of its interface, too."""
    if found := re.fullmatch(r"phy__(\d+)__(\w+)", name):
        return f"phy_{found[1]}", found[2]
    if found := re.fullmatch(r"report__(\d+)__(\w+)", name):
        return f"phy_{found[1]}", f"report_{found[2]}"
    if found := re.fullmatch(r"([ms]_axi\w*?)_([a-z]+)", name):
        return found[1], found[2]
    return name, ""


def ip_module(ports, clock_hz):
    """The module that becomes an IP.

    Parameters
    ----------
    ports : list of Port
        Of the drive with AXI buses.
    clock_hz : int

    Returns
    -------
    str
        Verilog; its ports are the drive's, those of channel n's PHY called ``phy_n_*``.
    """
    pairs = [(port.name, _outer(port.name)) for port in ports]
    return "\n".join(
        (
            "// The drive as an IP: Vivado reads the interfaces off these attributes.",
            f"module {IP_TOP} (",
            *_declared(ports, clock_hz),
            ");",
            *_instance(AXI_TOP, "drive", pairs),
            "endmodule",
            "",
        )
    )


def _declared(ports, clock_hz=None):
    """Declarations of a module's ports with what Vivado reads its interfaces off.

    Without ``clock_hz`` the clock's frequency is what it is connected to, as a block design wants
    of a module that is no IP.
    """
    interfaces = dict.fromkeys(interface_of(port.name)[0] for port in ports)
    buses = [name for name in interfaces if "_axi" in name]
    lines, seen = [], set()
    for port in ports:
        interface, signal = interface_of(port.name)
        info = parameters = ""
        if port.name == "aclk":
            info = "xilinx.com:signal:clock:1.0 aclk CLK"
            parameters = (
                f"XIL_INTERFACENAME aclk, ASSOCIATED_BUSIF {':'.join(buses)}, "
                "ASSOCIATED_RESET aresetn"
            )
            parameters += f", FREQ_HZ {clock_hz}" if clock_hz else ""
        elif not signal:
            info, parameters = SINGLE.get(port.name, ("", ""))
        else:
            kind = NAND_PHY if interface.startswith("phy_") else "xilinx.com:interface:aximm:1.0"
            info = f"{kind} {interface} {signal.upper()}"
            if interface in buses and interface not in seen:
                parameters = f"XIL_INTERFACENAME {interface}, {_bus_facts(interface, ports)}"
        seen.add(interface)
        if parameters:
            lines.append(f'    (* X_INTERFACE_PARAMETER = "{parameters}" *)')
        if info:
            lines.append(f'    (* X_INTERFACE_INFO = "{info}" *)')
        lines.append(f"    {Port(_outer(port.name), port.way, port.bits).text},")
    lines[-1] = lines[-1].rstrip(",")
    return lines


def _bus_facts(bus, ports):
    """What holds of a bus whatever it is connected to (`rtl.axi`), off its ports."""
    bits = {signal: p.bits for p in ports for name, signal in [interface_of(p.name)] if name == bus}
    full = "awlen" in bits
    facts = {
        "PROTOCOL": "AXI4" if full else "AXI4LITE",
        "DATA_WIDTH": bits["wdata"],
        "ADDR_WIDTH": bits["awaddr"],
        "ID_WIDTH": bits.get("awid", 0),
        "MAX_BURST_LENGTH": 1 << bits["awlen"] if full else 1,
        "SUPPORTS_NARROW_BURST": 0,
    }
    if not full:  # one access at a time, which is known of it alone
        facts |= {"NUM_READ_OUTSTANDING": 1, "NUM_WRITE_OUTSTANDING": 1}
    return ", ".join(f"{name} {value}" for name, value in facts.items())


def _outer(name):
    interface, signal = interface_of(name)
    return f"{interface}_{signal}" if signal and interface.startswith("phy_") else name


def pin_ports(channels, phy):
    """Ports of the NAND pins of all channels.

    Parameters
    ----------
    channels : int
    phy : host.boards.phys.Phy

    Returns
    -------
    list of Port
        ``nand_<channel>_<pin>``.
    """
    return [
        Port(f"nand_{channel}_{pin.name}", pin.way, pin.bits)
        for channel in range(channels)
        for legs in phy.pins.values()
        for pin in legs
    ]


def shown_ports(channels, phy):
    """Ports that tell a board of each channel: list of `Port`."""
    return [
        Port(f"nand_{channel}_{port.name}", port.way, port.bits)
        for channel in range(channels)
        for port in phy.shown
    ]


def pin_module(ports, phy, channels):
    """The top with pins.

    Parameters
    ----------
    ports : list of Port
        Of the drive with AXI buses.
    phy : host.boards.phys.Phy
    channels : int

    Returns
    -------
    str
        Verilog. The drive stays in reset until the PHYs have told those dies that answer how they
        are spoken to.
    """
    own = [port for port in ports if not interface_of(port.name)[0].startswith("phy_")]
    body = [
        "    wire rst = ~aresetn;",
        f"    wire started = {' & '.join(f'nand_{n}_started' for n in range(channels))};",
        *[f"    {port.wire};" for port in ports if port not in own],
    ]
    body += _instance(
        AXI_TOP,
        "drive",
        [
            (port.name, "aresetn & started" if port.name == "aresetn" else port.name)
            for port in ports
        ],
    )
    given = {"clk": "aclk", "rst": "rst", "write_protect": "1'b0"}
    for n in range(channels):
        pairs = [(port.name, _wire(port.name, given, phy, n)) for port in phy.ports]
        body += ["", *[f"    wire nand_{n}_{port}_single;" for port in phy.paired]]
        body += _instance(PADS_TOP, f"phy_{n}", pairs)
        for port in phy.paired:
            legs = [f"nand_{n}_{leg.name}" for leg in phy.pins[port]]
            single = ("I", _wire(port, given, phy, n))
            body += _instance("OBUFDS", f"pair_{n}", [single, *zip(("O", "OB"), legs)])
    outside = [*own, *shown_ports(channels, phy), *pin_ports(channels, phy)]
    return "\n".join(
        (
            "// The drive with its PHYs and pads; constraints/pins.xdc says which pins these are.",
            f"module {PIN_TOP} (",
            *_declared(outside),
            ");",
            *body,
            "endmodule",
            "",
        )
    )


def _wire(port, given, phy, channel):
    """What a port of a channel's PHY is connected to."""
    if port in phy.paired:
        return f"nand_{channel}_{port}_single"
    if port in phy.pins:
        return f"nand_{channel}_{phy.pins[port][0].name}"
    if found := re.fullmatch(r"(phy|report)__(\w+)", port):
        return f"{found[1]}__{channel}__{found[2]}"
    return given.get(port, f"nand_{channel}_{port}")


def _instance(module, name, pairs):
    return [
        f"    {module} {name} (",
        ",\n".join(f"        .{inner}({outer})" for inner, outer in pairs),
        "    );",
    ]
