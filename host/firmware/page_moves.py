"""Pages that have another place, and all that must know of it."""

from rtl.tables import PAGE_META, PageKind

from . import tables

__all__ = ["PageMoves"]


class PageMoves:
    """Keeps maps and books right.

    Parameters
    ----------
    device : host.firmware.device.Device
    capacity : host.capacity.Capacity
    shared : host.firmware.sharing.SharedPages
    tails : host.firmware.saved_tails.SavedTails
    """

    def __init__(self, device, capacity, shared, tails):
        self._device, self._capacity = device, capacity
        self._shared, self._tails = shared, tails

    def note(self, channel, old, new, meta):
        """A page has another place ``(die, row)`` on its channel, for all that hold it.

        Nobody holds one that is dead.
        """
        self._remap(channel, old, new, meta)
        self._shared.move(channel, old, new)

    def _remap(self, channel, old, new, meta):
        """The maps of all that hold a page show its new place."""
        fields = PAGE_META.unpack(meta)
        if fields["kind"] == PageKind.TAILS:
            self._tails.move(fields["segment"], channel, old, new)
            return
        for placement in self._capacity.placements.values():
            shape, index = placement.shape, fields["index"]
            columns = fields["kind"] == PageKind.COLUMNS
            most = shape.column_pages(shape.groups) if columns else shape.groups
            if index >= shape.heads or fields["group"] >= most:
                continue
            channel_of = shape.column_channel if columns else shape.channel
            if channel_of(fields["group"], index) != channel:
                continue
            at = tables.place_at(placement, fields["kind"], index, fields["group"])
            if self._device.load(at, tables.PLACE) == tables.pack_place(*old):
                self._device.store(at, tables.pack_place(*new))
