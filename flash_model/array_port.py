"""The array port: page registers and the cell array, outside the gateware.

One port per channel (only one die drives the bus at a time). Whoever serves it (Python in pysim and
cocotb, C in the native lane; both on a `flash_model.array.NandArray`) samples the outputs just
before a clock edge and drives ``reg_r_data`` and ``op_failed`` right after that edge: they appear
one clock later.
"""

from amaranth.lib import enum, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

__all__ = ["ArrayOp", "ArrayPortSignature", "FactoryPage", "PLANES_MAX", "PLANE_BITS", "ROW_BITS"]

ROW_BITS = 24
"""Row address inside a die: block * pages + page."""

PLANES_MAX = 8
PLANE_BITS = 3


class ArrayOp(enum.Enum, shape=4):  # type: ignore[call-arg]
    """What a die does with its array and the two registers of each plane.

    The bus sees the cache register; the data register lies between it and the array. Each
    operation is complete at once: what takes time is up to the die, which shows nothing before.
    """

    READ = 0  # row -> both registers
    PROGRAM = 1  # cache register -> row
    ERASE = 2  # the block that holds the row
    CLEAR = 3  # cache registers of all planes -> all FFh (a page program begins)
    READ_CACHE = 4  # data register -> cache register of ``op_plane``, row -> data register
    READ_CACHE_END = 5  # data register -> cache register of ``op_plane``
    FACTORY_PAGE = 6  # a `FactoryPage`, by row -> cache register of plane 0
    READ_RETRY = 7  # the row's number is the read-retry level of reads to come
    NOTE = 8  # the row waits for a READ, PROGRAM or ERASE with its plane in ``op_planes``


class FactoryPage:
    """Pages that are no rows."""

    PARAMETERS = 0
    UNIQUE_ID = 1


class ArrayPortSignature(wiring.Signature):
    """Array port of one channel as seen by the dies.

    ``op_valid`` is high for one clock when an array operation is confirmed; it is always accepted.
    ``op_planes`` are the planes whose noted rows take part besides the one of ``op_row``.
    The die takes ``op_clocks`` over it, from the next clock on, what goes on before it and behind
    a ready cache register included.
    ``op_failed``, in the clock after that, tells the planes whose cells could not be programmed or
    erased.
    ``reg_column`` is a byte address inside the cache register of ``reg_plane`` (user bytes,
    then spare bytes), a multiple of 8 in this port.
    """

    def __init__(self, dies):
        die_bits = max(1, ceil_log2(dies))
        super().__init__(
            {
                "op_valid": Out(1),
                "op": Out(ArrayOp),
                "op_die": Out(die_bits),
                "op_row": Out(ROW_BITS),
                "op_plane": Out(PLANE_BITS),
                "op_planes": Out(PLANES_MAX),
                "op_clocks": Out(32),
                "op_failed": In(PLANES_MAX),
                "reg_read": Out(1),
                "reg_write": Out(1),
                "reg_die": Out(die_bits),
                "reg_plane": Out(PLANE_BITS),
                "reg_column": Out(16),
                "reg_w_data": Out(64),
                "reg_r_data": In(64),
            }
        )

    def __eq__(self, other):
        return type(self) is type(other) and self.members == other.members
