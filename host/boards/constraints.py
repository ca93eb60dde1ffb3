"""Constraints of a board's pins."""

__all__ = ["pins_xdc", "port_of"]

UNKNOWN = "LVCMOS18"

DRIVEN = ("dq", "dqs", "cle", "ale", "we", "re", "ce", "wp")
"""Pins that the FPGA drives, without what follows ``_``: they have edges, slow or fast."""


def port_of(pin):
    """The top's port of a `rtl.boards.board.Pin`: ``nand_0_dq[3]``, ``nand_0_cle``."""
    name = f"nand_{pin.channel}_{pin.signal}"
    return f"{name}[{pin.index}]" if pin.signal in ("dq", "ce_n", "rb_n") else name


def pins_xdc(board, ports):
    """Pins of a board's NAND channels.

    Parameters
    ----------
    board : rtl.boards.Board
    ports : list of host.boards.wrappers.Port
        The top's NAND ports.

    Returns
    -------
    str
        One line for each bit of each port; those whose pin is not known are comments to fill in,
        but for legs of pairs whose other leg has a pin.
    """
    known = {port_of(pin): pin for pin in board.pins()}
    lines = [f"# NAND pins of {board.title}."]
    if known:
        lines += [
            f"# Pins and I/O standards: {board.pins_source}.",
            "# Check them against your revision of the board.",
        ]
    else:
        lines.append("# TEMPLATE: this board's pins are not known. Fill in PACKAGE_PIN, uncomment.")
    lines.append("# R/B# is an open drain: pulled up here, weakly, even if the board does it, too.")
    if not board.vref_banks and any(
        pin.signal == "rb_n" and pin.standard.startswith("SSTL") for pin in known.values()
    ):
        lines += [
            "# R/B# as SSTL18 is compared with the VREF pins of its banks, given by the board.",
            "# If yours does not, make it LVCMOS18, which needs no reference.",
        ]
    partners = []
    for port in ports:
        bits = [f"{port.name}[{n}]" for n in range(port.bits)] if port.bits > 1 else [port.name]
        for name in bits:
            # a port of one bit is written without index, whatever the board's table says
            pin = known.get(name) or known.get(f"{name}[0]")
            other = known.get(f"{name[:-1]}{'n' if name.endswith('p') else 'p'}")
            if pin:
                lines.append(_pin(name, f"PACKAGE_PIN {pin.pin} ", pin.standard, board))
            elif other and name[-2:] in ("_p", "_n"):
                partners.append(_pin(name, "", other.standard, board))
            else:
                lines.append("# " + _pin(name, "PACKAGE_PIN ??? ", UNKNOWN, board))
    if partners:
        lines += [
            "# Legs of pairs without a pin: Vivado places them beside the other leg. Leave them,",
            "# as the public projects do.",
            *partners,
        ]
    for bank in board.vref_banks:
        lines.append(f"set_property INTERNAL_VREF 0.9 [get_iobanks {bank}]")
    return "\n".join(lines) + "\n"


def _pin(name, place, standard, board):
    signal = name.split("_", 2)[2].partition("[")[0]
    what = signal.partition("_")[0]
    more = ""
    if what in DRIVEN:
        more = f" SLEW {'FAST' if what in board.fast_pins else 'SLOW'}"
    elif what == "rb":
        more = " PULLTYPE PULLUP"
    return f"set_property -dict {{{place}IOSTANDARD {standard}{more}}} [get_ports {{{name}}}]"
