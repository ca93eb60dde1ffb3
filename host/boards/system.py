"""The block design of a board with a processing system: where it has the drive and its memories.

The same places are in ``vivado/system.tcl``, in ``software/addresses.h`` and in the sidecar.
"""

from dataclasses import dataclass

from rtl.boards import Processor

__all__ = ["System", "addresses_header", "system_of", "too_much_dram"]

MIB = 1 << 20

CONTROL_BYTES = 1 << 16
"""Addresses of ``s_axi``."""

HOST_BYTES = 256 * MIB
"""DDR for queues and data: what is host memory while nothing else is."""

PROGRAM_BYTES = 64 * MIB
"""DDR from address 0 that is left to software at least."""


@dataclass(frozen=True, kw_only=True)
class System:
    """A block design.

    Parameters
    ----------
    processor : rtl.boards.Processor
    channels : int
        Flash channels, each with a GPIO input that says that its PHY has started.
    dram_bytes : int
        Device DRAM that the drive's firmware counts on.
    """

    processor: Processor
    channels: int
    dram_bytes: int

    @property
    def dram(self):
        """Where device DRAM begins: at the end of the DDR."""
        return (self.processor.ddr_bytes - self.dram_bytes) // MIB * MIB

    @property
    def host(self):
        """Where host memory begins: below device DRAM."""
        return self.dram - HOST_BYTES

    def as_dict(self):
        """All of it for tools."""
        return {
            "processor": self.processor.ip,
            "cpu": self.processor.cpu,
            "control": {"address": self.processor.control_at, "bytes": CONTROL_BYTES},
            "host": {"address": self.host, "bytes": HOST_BYTES},
            "dram": {"address": self.dram, "bytes": self.dram_bytes},
            "started": {"address": self.processor.gpio_at, "bits": self.channels},
        }


def system_of(board, config, phy):
    """The block design of a drive on a board.

    Parameters
    ----------
    board : rtl.boards.Board
    config : rtl.config.DriveConfig
    phy : host.boards.phys.Phy or None

    Returns
    -------
    System or None
        None: the board has no processing system, or the drive no pins.
    """
    if not board.processor or not phy:
        return None
    return System(processor=board.processor, channels=config.channels, dram_bytes=config.dram_bytes)


def too_much_dram(board, config):
    """What is wrong with a drive that wants more DRAM than a block design can give, or nothing."""
    if not board.processor:
        return ""
    most = board.processor.ddr_bytes - HOST_BYTES - PROGRAM_BYTES
    if config.dram_bytes <= most:
        return ""
    return (
        f"dram_bytes = {config.dram_bytes}: of the {board.title}'s "
        f"{board.processor.ddr_bytes // MIB} MiB of DDR, host memory and software leave "
        f"{most // MIB} MiB; choose --set dram_bytes={most} or less"
    )


def addresses_header(system):
    """``addresses.h``: the places of `System` for C, each of which ``-D`` may change.

    How large device DRAM is, ``instinfer.h`` says.
    """
    if not system:
        return (
            "/* No block design comes with this: say where the drive and its memories are, see "
            "board.c. */\n"
        )
    places = (
        ("BASE", system.processor.control_at, "registers of the drive"),
        ("HOST", system.host, "host memory"),
        ("HOST_BYTES", HOST_BYTES, ""),
        ("DRAM", system.dram, "device DRAM"),
        ("STARTED", system.processor.gpio_at, "GPIO inputs: a bit for each channel's PHY"),
        ("STARTED_ALL", (1 << system.channels) - 1, ""),
    )
    lines = [
        "/* Where the block design of vivado/system.tcl has the drive and its memories. */",
        "#ifndef INSTINFER_ADDRESSES_H",
        "#define INSTINFER_ADDRESSES_H",
        "",
    ]
    for name, value, about in places:
        comment = f" /* {about} */" if about else ""
        lines += [
            f"#ifndef INSTINFER_{name}",
            f"#define INSTINFER_{name} 0x{value:08X}u{comment}",
            "#endif",
        ]
    return "\n".join([*lines, "", "#endif", ""])
