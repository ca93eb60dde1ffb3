"""``instinfer bench``: what the drive does, measured against what its flash allows."""

from .dense import add_dense
from .flash import add_flash
from .lanes import add_lanes
from .layouts import add_layouts
from .prefill import add_prefill
from .sparse import add_sparse
from .store import add_store

__all__ = ["add_bench"]


def add_bench(parser):
    """Give the command line's parser the benchmarks."""
    benchmarks = parser.add_subparsers(required=True, metavar="benchmark")
    for name, add, text in (
        ("dense", add_dense, "dense attention against the flash-bus bound, over shapes"),
        (
            "flash",
            add_flash,
            "one NAND channel against closed forms of its bus",
        ),
        ("layouts", add_layouts, "where K and V lie in pages, for dense and sparse attention"),
        (
            "prefill",
            add_prefill,
            "writing a prompt's K and V while the host computes, layer by layer",
        ),
        ("sparse", add_sparse, "SparF attention against dense attention, in the drive"),
        ("lanes", add_lanes, "how fast the drive is simulated, natively and under cocotb"),
        ("store", add_store, "what a serving load makes of a drive's space"),
    ):
        add(benchmarks.add_parser(name, help=text, description=f"{text.capitalize()}."))
