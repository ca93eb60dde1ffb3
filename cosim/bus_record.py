"""What a channel's bus shows, taken from a running lane: its pins, its events, and who takes them.

::

    sim_top: dies_0.phy__cycle ... --> ports of the wrapper (`taps`) --> cosim/native/bus.h
                                                                            | events, in batches
                                                      a callable <-- `bus_sink`

The Verilog of the design stays as it is: the module around it looks into it by hierarchical names.
A model without taps has none of this.
"""

import ctypes
from typing import NamedTuple

import numpy as np

__all__ = ["BUS_DTYPE", "BusSink", "Tap", "bus_sink", "taps"]

BUS_DTYPE = np.dtype(
    [
        ("cycle", "u8"),
        ("ready", "u8"),  # R/B# of the dies, one bit each, 1 = ready
        ("channel", "u2"),
        ("die", "u1"),  # chip enable
        ("symbol", "u1"),  # `rtl.nand.phy.Cycle`
        ("strobe", "u1"),
        ("byte", "u1"),  # of a command or address
    ],
    align=True,
)
"""An event: what a channel's bus shows in a clock, and until the channel's next event.

Events are the clocks with a strobe and those in which something changes, and the first clock after
the power has come (``cycle`` 0). bus.h has the same layout."""


class Tap(NamedTuple):
    """A port of the module around a design: its name, its bits, and what in the design it shows."""

    name: str
    bits: int
    shows: str


def taps(instances, dies):
    """The bus of each channel, to be had at the edge of a model.

    Parameters
    ----------
    instances : sequence of str
        Hierarchical names of the `flash_model.package.ChannelDies`, by channel.
    dies : int
        Of a channel.
    """
    pins = [
        ("die", max(1, (dies - 1).bit_length()), "phy__die"),
        ("cycle", 3, "phy__cycle"),
        ("strobe", 1, "phy__strobe"),
        ("byte", 8, "phy__w_data[7:0]"),
        ("ready", dies, "phy__ready"),
    ]
    return [
        Tap(f"bus__{channel}__{name}", bits, f"{instance}.{pin}")
        for channel, instance in enumerate(instances)
        for name, bits, pin in pins
    ]


BusSink = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_uint64)
"""What C calls with events, see bus.h."""


def bus_sink(watch, raised):
    """What C calls for ``watch``, to be kept as long as C uses it; a null pointer for None.

    Parameters
    ----------
    watch : callable or None
        Called with arrays of `BUS_DTYPE`.
    raised : list
        No exception can pass through C: what ``watch`` raises is put in here.
    """
    if watch is None:
        return BusSink()

    def take(address, count):
        try:
            raw = ctypes.string_at(address, count * BUS_DTYPE.itemsize)
            watch(np.frombuffer(raw, BUS_DTYPE))
        except BaseException as error:  # Ctrl-C too; the lane raises it
            raised.append(error)

    return BusSink(take)
