"""Energy of a part's operations, from supply currents and busy times.

::

    operation = supply * current * busy time         page read, page program, block erase
    bus       = 8 * energy of a bit * bytes moved    interface, both directions

A part's data sheet states its currents as bounds while an operation lasts; what the cells really
need is no more than that.
"""

import dataclasses
from dataclasses import dataclass

__all__ = ["Energy", "OPERATIONS"]

OPERATIONS = ("read", "program", "erase")
"""What is counted for each die, in the order of ``NandArray.buffers["operations"]``."""

_BUSY = {"read": "t_r_ns", "program": "t_prog_ns", "erase": "t_bers_ns"}


@dataclass(frozen=True, kw_only=True)
class Energy:
    """Electrical parameters of a die, all positive.

    Parameters
    ----------
    supply_v : float
        Core supply, volts.
    i_read_ma, i_program_ma, i_erase_ma : float
        Supply current of a die in an operation, milliamperes.
    io_pj_per_bit : float
        Energy of a bit on the bus, picojoules.
    """

    supply_v: float
    i_read_ma: float
    i_program_ma: float
    i_erase_ma: float
    io_pj_per_bit: float

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if not value > 0:
                raise ValueError(
                    f"{field.name} = {value!r} is not possible: choose a positive number"
                )

    def operation_nj(self, operation, timing):
        """Nanojoules of one ``read``, ``program`` or ``erase``.

        Parameters
        ----------
        operation : str
        timing : Timing
            For its busy time.
        """
        if operation not in _BUSY:
            raise ValueError(f"unknown operation {operation!r}: choose one of {', '.join(_BUSY)}")
        current_ma = getattr(self, f"i_{operation}_ma")
        return self.supply_v * current_ma * 1e-3 * getattr(timing, _BUSY[operation])

    def spent_j(self, array, timing, bytes_moved=0):
        """Joules that the dies of a drive have spent so far.

        Parameters
        ----------
        array : NandArray
            Its operations are counted from its construction on.
        timing : Timing
        bytes_moved : int
            Bytes that crossed the channels' buses; the array does not see them.

        Returns
        -------
        dict of str to float
            ``read``, ``program``, ``erase`` and ``bus``.
        """
        counts = array.buffers["operations"].sum(axis=0)
        spent = {
            name: int(count) * self.operation_nj(name, timing) * 1e-9
            for name, count in zip(OPERATIONS, counts, strict=True)
        }
        return spent | {"bus": 8 * bytes_moved * self.io_pj_per_bit * 1e-12}
