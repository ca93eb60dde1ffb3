"""The rules of the protocol monitor, and what it says when one is broken.

Rules, each the name of a `Violation`:

======================  ===========================================================================
``unknown command``     a command byte that ONFI or the profile's dies do not have
``R/B#``                a command other than resets and READ STATUS, or output of data, while busy;
                        of independent planes that sense, only those that rest may be read
``array``               a command that needs the array, while that works behind a ready die
``confirmation``        a second command byte without its first, or with too few addresses
``broken off``          a sequence begun and not ended, by a command other than a reset or a status
``address``             an address cycle that no command waits for
``no read before``      31h or 3Fh not after 30h or 31h
``no program before``   data input without the command and all addresses
``nothing to output``   data output inside a sequence, or of a die that has nothing to show
``page``                data beyond the end of the page
``column``              a column that is no multiple of the bus's 8 bytes, or outside the page
``row``                 a row outside the die
``WP#``                 a program or erase while write protect is on
``suspend``             a suspend or resume of nothing; a program, an erase or a read of the same
                        block while one is suspended
``chip enable``         another die selected inside a symbol or between the words of a data phase
``symbol``              a command or address byte that changes while it is on the bus
``rate``                data faster than the interface
``tWC`` ``tWB`` ``tRHW`` ``tWHR`` ``tCCS`` ``tRR`` ``tADL`` ``preamble``
                        a time of the interface that was not kept
``multi-plane``         a multi-plane command left before its last plane, or 81h outside of one
``same plane``          a plane twice in a multi-plane command
``page number``         rows of a multi-plane read or program with different page numbers
``copyback``            a copy into another plane, or one confirmed with 11h or 15h
``page order``          (if asked for) a page programmed behind a later one of its block, or twice
======================  ===========================================================================
"""

from typing import NamedTuple

__all__ = ["RULES", "ProtocolError", "Violation"]

RULES = (
    "unknown command",
    "R/B#",
    "array",
    "confirmation",
    "broken off",
    "address",
    "no read before",
    "no program before",
    "nothing to output",
    "page",
    "column",
    "row",
    "WP#",
    "suspend",
    "chip enable",
    "symbol",
    "rate",
    "tWC",
    "tWB",
    "tRHW",
    "tWHR",
    "tCCS",
    "tRR",
    "tADL",
    "preamble",
    "multi-plane",
    "same plane",
    "page number",
    "copyback",
    "page order",
)
"""Names of all of them."""


class Violation(NamedTuple):
    """What was wrong: ``rule`` is one of `RULES`."""

    clock: int
    die: int
    rule: str
    text: str

    def __str__(self):
        return f"clock {self.clock}, die {self.die}: {self.rule}: {self.text}"


class ProtocolError(AssertionError):
    """A bus that was to be without violations had some."""
