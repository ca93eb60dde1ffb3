"""The compiled native lane of a drive: conversion, compilation and loading, each done once.

::

    DriveConfig --SimTop--> Verilog (kept) --Verilator, cosim/native--> library (kept) --> ctypes
"""

import ctypes
from functools import cache
from pathlib import Path

import amaranth

from hls_attention.verilog import to_verilog

from .bus_record import BusSink, taps
from .cache import content_key, made_once
from .native_glue import GLUE_NAME, WRAPPER, glue, wrapper
from .verilator import COMPILE_FLAGS, SOON_FLAGS, build_model

__all__ = ["LaneStatus", "config_verilog", "kept_verilog", "native_library"]

ROOT = Path(__file__).parents[1]

HARDWARE = ("hls_attention", "flash_model", "rtl", "cosim/top.py")
"""What Verilog is made from: part of the key under which it is kept."""


class LaneStatus(ctypes.Structure):
    """What the lane shows without a call; lane.cpp has the same layout."""

    _fields_ = [
        (name, ctypes.c_uint64) for name in ("cycle", "evaluated", "irqs", "trace_events")
    ] + [(name, ctypes.c_uint32) for name in ("mailbox", "quiet", "next_event", "spare")]


@cache
def native_library(design, announce, watched=False):
    """The loaded library of a design and the number of its channels.

    Parameters
    ----------
    design : DriveConfig or wiring.Component
        A configuration of `cosim.top.SimTop`, or another design with its ports.
    announce : callable
        Called with a line of text when something has to be made.
    watched : bool
        It records what the channels' buses show: another library, of the same Verilog, for tests
        and so compiled sooner. Only of a configuration.
    """
    if hasattr(design, "signature"):
        if watched:
            raise ValueError(
                f"the buses of {type(design).__name__} cannot be watched: only those of a "
                "DriveConfig's drive, leave out `top`"
            )
        return _load(design, to_verilog(design, name="sim_top"), announce)
    from .top import SimTop

    if watched and design.page_store == "memory":
        raise ValueError(
            'the buses of a drive with page_store = "memory" cannot be watched: it has none with '
            "dies, leave out `watch`"
        )
    ports = SimTop(design)
    ports._MustUse__used = True  # only its ports serve here: amaranth is not to miss elaboration
    names = [f"dies_{channel}" for channel in range(design.channels)]
    seen = taps(names, design.dies) if watched else ()
    return _load(ports, config_verilog(design, announce), announce, seen)


def config_verilog(config, announce=print):
    """Verilog of `cosim.top.SimTop` for a configuration, from the cache if nothing it is made from
    has changed."""
    from .top import TOP_NAME, top_verilog

    # Tests have profiles of their own, which are not in the sources.
    design = f"{config!r} {config.flash!r}"
    return kept_verilog(TOP_NAME, design, lambda: top_verilog(config), announce)


def kept_verilog(name, design, generate, announce=print):
    """Generated Verilog, from the cache if nothing it is made from has changed.

    Parameters
    ----------
    name : str
        Of the top module.
    design : str
        Says all that the Verilog depends on besides the sources of the hardware.
    generate : callable
        Makes the text.
    announce : callable
        Called with a line of text when it has to be made.
    """
    sources = [
        path
        for name in HARDWARE
        for path in ([ROOT / name] if name.endswith(".py") else sorted((ROOT / name).rglob("*.py")))
    ]
    key = content_key(
        name,
        design,
        amaranth.__version__,
        *(str(path.relative_to(ROOT)) for path in sources),
        *(path.read_bytes() for path in sources),
    )

    def make(folder):
        announce("generating Verilog ...")
        (folder / f"{name}.v").write_text(generate())

    return (made_once("verilog", key, make, keep=32) / f"{name}.v").read_text()


def _load(top, verilog, announce, seen=()):
    header, channels = glue(top, watched=bool(seen))
    path = build_model(
        verilog + wrapper(top, "sim_top", seen),
        WRAPPER,
        sorted(Path(__file__).with_name("native").iterdir()),
        texts={GLUE_NAME: header},
        announce=announce,
        compile_flags=SOON_FLAGS if seen else COMPILE_FLAGS,
    )
    library = ctypes.CDLL(str(path))
    handle, u32, u64 = ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint64
    for name, result, *arguments in (
        ("lane_new", handle, handle, handle, handle, handle, BusSink),
        ("lane_delete", None, handle),
        ("lane_status", ctypes.POINTER(LaneStatus), handle),
        ("lane_run", u32, handle, u32, u64, u64),
        ("lane_csr_read", u32, handle, u32),
        ("lane_csr_write", None, handle, u32, u32),
        ("lane_spoil_pages", None, handle, u64, u64),
        ("lane_violation", ctypes.c_char_p, handle),
        ("lane_trace", handle, handle),
        ("lane_trace_clear", None, handle),
        ("lane_bus_flush", None, handle),
    ):
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library, channels
