"""A NAND array as C sees it (cosim/native/nand.h): its buffers, and Python for its faults."""

import ctypes

__all__ = ["NandView", "nand_view"]

_PageOperation = ctypes.CFUNCTYPE(
    ctypes.c_uint32, *(ctypes.c_uint32,) * 6, ctypes.c_uint64, ctypes.c_uint32
)
"""nand.h has the same type and says what it returns."""
_RAISED = 0xFFFF_FFFF


class NandView(ctypes.Structure):
    """Made by `nand_view`; nand.h has the same layout."""

    BUFFERS = (
        "cells",
        "programmed",
        "erase_counts",
        "read_counts",
        "page_programs",
        "page_reads",
        "written_s",
        "now_s",
        "registers",
        "data_registers",
        "noted",
        "factory_pages",
        "retry_levels",
        "operations",
        "pending",
        "undo",
    )
    _fields_ = [(name, ctypes.c_void_p) for name in BUFFERS] + [
        (name, ctypes.c_uint64) for name in ("stride", "dies", "planes", "blocks", "pages")
    ]
    _fields_ += [("in_python", _PageOperation)]


def nand_view(array, raised):
    """The view of an array, which has to be kept as long as C uses it.

    Parameters
    ----------
    array : flash_model.array.NandArray
    raised : list
        No exception can pass through C: what the array's Python raises is put in here.
    """
    geometry = array.geometry
    return NandView(
        *(array.buffers[name].ctypes.data for name in NandView.BUFFERS),
        array.stride,
        geometry.dies,
        geometry.planes,
        geometry.blocks,
        geometry.pages,
        _page_operation(array, raised),
    )


def _page_operation(array, raised):
    """What C calls for a page operation of an array with faults; a null pointer for another."""
    if array.faults is None:
        return _PageOperation()

    def serve(channel, die, op, row, plane, planes, clock, clocks):
        try:
            return array.serve(
                op, channel, die, row, plane=plane, planes=planes, clock=clock, clocks=clocks
            )
        except BaseException as error:  # Ctrl-C too; the lane raises it
            raised.append(error)
            return _RAISED

    return _PageOperation(serve)
