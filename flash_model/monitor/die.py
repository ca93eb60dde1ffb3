"""What the protocol monitor knows of one die: a picture drawn from the bus alone."""

from .commands import COPYBACK_PROGRAM
from .planes import MonitoredPlanes

__all__ = ["WatchedDie"]

_LONG_AGO = -(1 << 40)


class WatchedDie:
    """Picture of a die.

    Attributes
    ----------
    ready : bool
        R/B#, as far as it says something.
    rose : int
        Clock in which it was high again.
    confirmed : int
        Clock of the last symbol that makes it fall.
    sequence : int or None
        Command byte of the sequence that is open.
    address : tuple of int
        Its address bytes so far.
    row, column : int
        Of the last complete address (``column`` in words).
    sensed, word : int
        Row of the last sensing; where the next data word lies.
    data_from, output_from : int
        Last clock in which data input or output would be too early ...
    data_rule, output_rule : str
        ... and by which rule.
    work, suspended : (str, tuple of int) or None
        The program or erase last confirmed, or the one that is suspended, and its rows.
    caches, cache_programs : bool
        31h and 3Fh may follow; the last operation was 15h.
    planes : MonitoredPlanes
        What it knows of planes.
    """

    def __init__(self):
        self.ready = True
        self.rose = self.confirmed = _LONG_AGO
        self.sequence: int | None = None
        self.address: tuple[int, ...] = ()
        self.row = self.column = self.sensed = self.word = 0
        self.data_from = self.output_from = _LONG_AGO
        self.data_rule, self.output_rule = "tADL", "tWHR"
        self.caches = self.cache_programs = False
        self.planes = MonitoredPlanes()
        self._holds: str | None = None  # behind status or ID: "page" or "factory"
        self._before: str | None = None  # "status" or "id"
        # What may be suspended, and what is, of which rows.
        self.work: tuple[str, tuple[int, ...]] | None = None
        self.suspended: tuple[str, tuple[int, ...]] | None = None
        self._behind: str | None = None  # the time that the array goes on after R/B# has risen
        self._seen = (_LONG_AGO, False)  # the last clock that was seen, and R/B# in it

    def sees(self, clock, pin, says_from):
        """R/B# in a clock. It says something from ``says_from`` on; if clocks were left out, it has
        stayed as it was."""
        before, was_high = self._seen
        if was_high and not self.ready and before < says_from < clock:
            self.ready, self.rose = True, says_from
        ready = pin and clock >= says_from
        if ready and not self.ready:
            self.rose = clock
        self.ready, self._seen = ready, (clock, pin)

    def rests(self, times):
        """First clock in which the array is known to rest."""
        return self.rose + (times[self._behind] if self._behind else 0)

    @property
    def addresses(self):
        """Address cycles taken."""
        return len(self.address)

    @property
    def takes_data(self):
        """A program has its address."""
        return (self.sequence, self.addresses) in (
            (0x80, 5),
            (0x81, 5),
            (0x85, 2),
            (COPYBACK_PROGRAM, 5),
        )

    @property
    def is_begun(self):
        """A sequence is open that has to be ended. 00h alone is READ MODE."""
        return self.sequence is not None and not (self.sequence == 0x00 and not self.address)

    @property
    def shows_status(self):
        """Data output is the status."""
        return self._before == "status"

    @property
    def shows_page(self):
        """Data output is a page."""
        return self._before is None and self._holds == "page"

    @property
    def has_output(self):
        """There is something to be output."""
        return self._before is not None or self._holds is not None

    def described(self):
        """The open sequence, for messages."""
        if self.sequence is None:
            return "nothing"
        return f"{self.sequence & 0xFF:02X}h and {self.addresses} addresses"

    def opens(self, byte):
        """A command that waits for addresses."""
        self.sequence, self.address = byte, ()

    def shows(self, what, output_from):
        """Data output shows ``status`` or ``id``, or, for ``data`` and ``column``, what is held."""
        self.output_from = output_from
        self.output_rule = "tCCS" if what == "column" else "tWHR"
        self._before = what if what in ("status", "id") else None
        if self.sequence in (0x78, 0x90):
            self.sequence = None

    def confirm(self, clock, *, holds=None, caches=False, behind=None):
        """R/B# falls for an operation; then output shows what the die ``holds``."""
        self.confirmed, self.ready = clock, False
        self.sequence = self.work = None
        self.caches, self.cache_programs, self._behind = caches, behind == "prog", behind
        self.output_from = _LONG_AGO
        self._holds, self._before = holds, None
