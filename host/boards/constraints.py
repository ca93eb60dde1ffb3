"""Constraints of a board's pins."""

__all__ = ["pins_xdc", "port_of"]

UNKNOWN = "LVCMOS18"


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
        One line for each bit of each port; those whose pin is not known are comments to fill in.
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
    missing = False
    for port in ports:
        bits = [f"{port.name}[{n}]" for n in range(port.bits)] if port.bits > 1 else [port.name]
        for name in bits:
            # a port of one bit is written without index, whatever the board's table says
            pin = known.get(name) or known.get(f"{name}[0]")
            if pin:
                lines.append(
                    f"set_property -dict {{PACKAGE_PIN {pin.pin} IOSTANDARD {pin.standard}}} "
                    f"[get_ports {{{name}}}]"
                )
            else:
                missing = True
                other = known.get(f"{name[:-1]}{'n' if name.endswith('p') else 'p'}")
                standard = other.standard if other and name[-2:] in ("_p", "_n") else UNKNOWN
                lines.append(
                    f"# set_property -dict {{PACKAGE_PIN ??? IOSTANDARD {standard}}} "
                    f"[get_ports {{{name}}}]"
                )
    if missing and known:
        lines.insert(3, "# Not all are public: those in comments are to be filled in.")
    for bank in board.vref_banks:
        lines.append(f"set_property INTERNAL_VREF 0.9 [get_iobanks {bank}]")
    return "\n".join(lines) + "\n"
