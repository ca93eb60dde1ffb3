"""``instinfer verilog``: the drive as Verilog, with its register map and what it was made from.

There are two tops in one text. ``drive`` (`rtl.drive.Drive`) is everything up to the control bus,
the two memory ports and the digital side of the flash PHYs; ``axi_drive``
(`rtl.axi.drive.AxiDrive`) is that with AXI4-Lite and AXI4 for its buses. Clock domain crossings,
PHY primitives and pins are a board's.
"""

import json
import time
from pathlib import Path

__all__ = ["add_verilog", "drive_verilog", "register_map", "write_verilog"]

TOP = "drive"
AXI_TOP = "axi_drive"


def add_verilog(parser):
    """Give the command line's parser the options of the command."""
    parser.set_defaults(run=_run)
    parser.add_argument(
        "--preset", default="default", help="configuration of the drive (default: default)"
    )
    parser.add_argument(
        "-o", "--output", default="out/verilog", metavar="DIR", help="default: out/verilog"
    )


def drive_verilog(config, announce=print):
    """Verilog of both tops, from the cache if nothing it is made from has changed."""
    from cosim.native_build import kept_verilog
    from hls_attention.verilog import to_verilog
    from rtl.axi.drive import AxiDrive

    design = f"{config!r} {config.flash!r}"
    return kept_verilog(
        AXI_TOP, design, lambda: to_verilog(AxiDrive(config), name=AXI_TOP), announce
    )


def write_verilog(config, folder):
    """Write ``drive.v``, ``registers.txt`` and ``drive.json`` of a configuration.

    Parameters
    ----------
    config : rtl.config.DriveConfig
    folder : path
        Made if it is not there; files of these names in it are replaced.

    Returns
    -------
    dict
        File name -> lines.
    """
    from rtl.axi.drive import AxiDrive
    from rtl.drive import Drive

    from .manifest import manifest

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    about = manifest(config, seed=None) | {
        "top": TOP,
        "clock_hz": config.clock_hz,
        "ports": _ports(Drive(config)),
        "simulation_only": {"quiet": "leave open", "skip": "tie to 0"},
        "axi": {"top": AXI_TOP, "ports": _ports(AxiDrive(config))},
    }
    files = {
        "drive.v": drive_verilog(config, lambda line: None),
        "registers.txt": register_map(config),
        "drive.json": json.dumps(about, indent=2) + "\n",
    }
    for name, text in files.items():
        (folder / name).write_text(text)
    return {name: text.count("\n") for name, text in files.items()}


def _ports(component):
    """Ports of a top as the sidecar has them."""
    from hls_attention.verilog import port_names

    component._MustUse__used = True  # only its ports serve here: amaranth is not to miss more
    return [
        {"name": name, "direction": "input" if way == "i" else "output", "bits": bits}
        for name, way, bits in port_names(component)
    ]


def register_map(config):
    """The register map of a drive as text: byte address, access, name, meaning."""
    from rtl.registers import (
        CHANNEL_COUNTERS,
        COUNTERS,
        REGISTERS,
        channel_counter_address,
        counter_address,
    )

    rows = [(r.address, r.access, name, r.doc) for name, r in REGISTERS.items()]
    rows += [
        (counter_address(name), "ro", name, "counter, 64 bits, low word first") for name in COUNTERS
    ]
    rows += [
        (channel_counter_address(channel, name), "ro", f"channel_{channel}_{name}", "the same")
        for channel in range(config.channels)
        for name in CHANNEL_COUNTERS
    ]
    return "".join(
        f"{address:04x}h  {access}  {name:28}{doc}\n" for address, access, name, doc in sorted(rows)
    )


def _run(options):
    from rtl.config import DriveConfig

    config = DriveConfig.preset(options.preset)
    print(
        f"drive        {options.preset}: {config.channels} channels x {config.dies} dies, "
        f"{config.clock_hz / 1e6:g} MHz; writing Verilog ...",
        flush=True,
    )
    start = time.perf_counter()
    try:
        files = write_verilog(config, options.output)
    except OSError as error:
        from .options import BadOption

        raise BadOption(
            f"{options.output} cannot be written ({error.strerror}): "
            "choose another folder with --output"
        ) from error
    for name, lines in files.items():
        print(f"             {Path(options.output) / name}  ({lines:,} lines)")
    print(f"             {time.perf_counter() - start:.0f} s; top module {AXI_TOP} with AXI buses,")
    print(f"             or {TOP} with its own: tie its skip to 0")
    return 0
