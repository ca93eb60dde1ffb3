"""What the protocol monitor knows of a die's planes: multi-plane commands, copies, who senses."""

__all__ = ["INSIDE", "MonitoredPlanes"]

INSIDE = {
    0x32: (0x00, 0x32, 0x30),
    0x11: (0x80, 0x81, 0x85, 0x11, 0x10),
    0xD1: (0x60, 0xD1, 0xD0),
}
"""A multi-plane command, by what lets more planes follow -> the bytes that may come inside it."""


class MonitoredPlanes:
    """Planes of one die.

    Attributes
    ----------
    queue : int or None
        32h, 11h or D1h, while a multi-plane command is open.
    queued : dict of int to int
        Its planes so far -> row.
    source : int or None
        Plane of the page that 35h has read, until something else is confirmed.
    shown : int
        Plane that data output shows.
    senses : bool
        R/B# is low for page reads only.
    rests : dict of int to int
        Plane -> first clock in which its last read is known to be done.
    """

    def __init__(self):
        self.queue: int | None = None
        self.queued: dict[int, int] = {}
        self.source: int | None = None
        self.shown = 0
        self.senses = False
        self.rests: dict[int, int] = {}

    def forget(self):
        """Nothing is open."""
        self.queue, self.source, self.senses = None, None, False
        self.queued = {}

    def at_rest(self, plane, clock):
        """A plane of a die that only senses has nothing to do."""
        return self.senses and clock >= self.rests.get(plane, clock)

    def joins(self, plane, row, pages, *, pages_agree):
        """A row of a multi-plane command, of blocks of ``pages``: the rule it breaks, or None."""
        broken = None
        if plane in self.queued:
            broken = "same plane"
        elif pages_agree and any((other - row) % pages for other in self.queued.values()):
            broken = "page number"
        self.queued[plane] = row
        return broken

    def confirmed(self, byte, plane, until):
        """R/B# falls for a command; a read is known to be done in clock ``until``."""
        was_queued = dict(self.queued)
        self.forget()
        if byte in INSIDE:
            self.queue, self.queued = byte, was_queued
        elif byte == 0x30:
            self.senses, self.shown = True, plane
            for each in (*was_queued, plane):
                self.rests[each] = until
        elif byte == 0x35:
            self.source = self.shown = plane
