"""Reads, programs and erases of several planes of a die, given together.

::

    80h row 0 data 11h   80h row 1 data 11h   ...   80h row n data 10h   78h row 0   78h row 1 ...
                  tDBSY                tDBSY                      tPROG

    00h row 0 32h   00h row 1 32h  ...  00h row n 30h   06h row 0 E0h data   06h row 1 E0h data
             tDBSY           tDBSY               tR              tCCS                 tCCS

The array is busy once for all of them. Each program or erase has a status of its own, read with
READ STATUS ENHANCED, and each page read is shown with CHANGE READ COLUMN ENHANCED. What may follow
in one command is of the same die, of a plane that is not among them, and, but for erases, of the
same page number (ONFI's multi-plane operations).

No cache read follows reads of several planes: while such pages are moved, the array rests. A die
that reads ahead is done with n pages after n times tR or their data, whichever is more; with pages
sensed together it is after tR and their data. Two are better off together if a page's data take
less than half of tR: then a die does not read ahead what it can sense together as soon as it has
given its page (`Planes.before_ahead`). Reads of a die that holds no page are sensed together
anyway.
"""

from dataclasses import dataclass

from amaranth.utils import exact_log2

__all__ = ["Planes", "planes_of"]


@dataclass(frozen=True)
class Planes:
    """Where a row has its plane.

    Parameters
    ----------
    page_bits : int
        Bits of the page number, the lowest.
    plane_bits : int
        Bits of the plane above them, 1 or more.
    before_ahead : bool
        Rather than read ahead, a die waits until its page is moved and senses several.
    """

    page_bits: int
    plane_bits: int
    before_ahead: bool

    @property
    def number(self):
        """Planes of a die."""
        return 1 << self.plane_bits

    def page(self, row):
        """Page number of a row."""
        return row[: self.page_bits]

    def plane(self, row):
        """Plane of a row."""
        return row[self.page_bits : self.page_bits + self.plane_bits]


def planes_of(profile):
    """`Planes` of a profile whose operations are given together; else None.

    That is where a die has several planes, where they and the pages of a block are powers of 2, so
    that a plane is some bits of a row, and where nothing is suspended: which reads may come between
    is then a matter of one block (`rtl.nand.suspension`).
    """
    geometry = profile.geometry
    apart = all(number & (number - 1) == 0 for number in (geometry.planes, geometry.pages))
    if geometry.planes == 1 or not apart or profile.timing.suspend is not None:
        return None
    data_ns = geometry.page_total * 1000 / profile.timing.rate_mts
    return Planes(
        exact_log2(geometry.pages),
        exact_log2(geometry.planes),
        before_ahead=2 * data_ns < profile.timing.t_r_ns,
    )
