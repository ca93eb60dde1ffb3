"""A mapped netlist: what Yosys wrote as JSON, cut down to what counts and depths are made of."""

import gzip
import json

__all__ = ["load_netlist", "save_netlist"]

SETTINGS = ("DSP48E1", "DSP48E2")
"""Cells whose parameters say whether there are registers in them."""


def save_netlist(written, path):
    """Keep modules of Yosys' ``write_json``, compressed.

    Parameters
    ----------
    written : dict
        Parsed JSON.
    path : pathlib.Path
        Holds, for `load_netlist`, module -> ``ports`` (name -> direction, bits) and ``cells`` (name
        -> type, port -> bits, ``reads``: those of them that are inputs, ``name``: a net it drives,
        ``parameters`` of `SETTINGS`). Bits are numbers of nets, or "0", "1", "x".
    """
    modules = {name: _module(module) for name, module in written["modules"].items()}
    path.write_bytes(gzip.compress(json.dumps(modules).encode(), 6, mtime=0))


def load_netlist(path):
    """Modules kept by `save_netlist`."""
    return json.loads(gzip.decompress(path.read_bytes()))


def _module(module):
    names = {}
    for net, about in sorted(module["netnames"].items(), key=lambda item: item[1]["hide_name"]):
        for index, bit in enumerate(about["bits"]):
            names.setdefault(bit, f"{net}[{index}]" if len(about["bits"]) > 1 else net)
    cells = {}
    for name, cell in module["cells"].items():
        directions, kept = cell["port_directions"], {"type": cell["type"]}
        kept["ports"] = cell["connections"]
        kept["reads"] = [port for port in kept["ports"] if directions[port] == "input"]
        driven = [b for port, d in directions.items() if d == "output" for b in kept["ports"][port]]
        if driven:
            kept["name"] = names.get(driven[0], name)
        if cell["type"] in SETTINGS:
            kept["parameters"] = cell["parameters"]
        cells[name] = kept
    ports = {n: [port["direction"], port["bits"]] for n, port in module["ports"].items()}
    return {"ports": ports, "cells": cells}
