"""Bad blocks and what they hold: found, stood in for, moved, remembered.

A block is bad if its maker marked it, if a program or an erase of it failed, or if its pages had to
be read again at another level too often. What it holds is moved, page by page, to a block that
stands in for it, before anything else is programmed there; the page whose program failed is still
in its program slot. Then the table on flash is written anew.

Where no block can stand in, a block stays in use, *crippled*: what it holds stays there, pages
whose programs fail go to the refuge, and until it is mended no tokens may be appended (`Firmware`).
"""

from collections import Counter
from contextlib import contextmanager

from rtl.commands import Status

from ..errors import DriveError
from .blocks import Blocks
from .failures import Failures
from .first_start import first_start
from .groups import BlockGroups
from .page_moves import PageMoves
from .refuge import KEPT, Refuge
from .state import DriveState
from .state_table import StateTable
from .stripe_table import StripeTable

__all__ = ["Repair"]


class Repair:
    """Keeps groups whole.

    Parameters
    ----------
    device : host.firmware.device.Device
    config : DriveConfig
    capacity : host.capacity.Capacity
    pages : host.firmware.raw_pages.RawPages
    shared : host.firmware.sharing.SharedPages
    tails : host.firmware.saved_tails.SavedTails
    pause : int
        Clocks between two looks at an erase.
    surplus : callable
        Erased block groups that no open sequence needs.

    Attributes
    ----------
    blocks : host.firmware.blocks.Blocks
    groups : host.firmware.groups.BlockGroups
    stripes : host.firmware.stripe_table.StripeTable
    state : DriveState
    refuge : host.firmware.refuge.Refuge
    crippled : dict of (int, int, int) to set of int
        Blocks that are in use and bad -> pages of them that are not there.
    failures : host.firmware.failures.Failures
    moves : host.firmware.page_moves.PageMoves
    counts : Counter
        ``pages_moved``, ``pages_lost``, ``pages_compacted``.
    """

    def __init__(self, device, config, capacity, pages, shared, tails, pause, surplus):
        self._device = device
        self._config = config
        self._geometry = config.flash.geometry
        self._pause = pause
        self._pages = pages
        self.moves = PageMoves(device, capacity, shared, tails)
        self._table = StateTable(device, config, pause)
        reserved = [place for copy in self._table.copies for place in copy]
        self.blocks = Blocks(self._geometry, reserved, config.die_parts)
        self.groups = BlockGroups(self._geometry, self.blocks)
        self.stripes = StripeTable(device, config, self.blocks)
        self.refuge = Refuge(self._geometry, self.blocks, self._erased, pages.program)
        self.crippled = {}
        self._surplus = surplus
        self.failures = Failures(device, capacity, self._geometry)
        self._changed = False  # the table on flash is behind
        self._holds = 0
        self.counts = Counter()

    @property
    def read_often(self):
        """Blocks (channel, die, block) that were read ``config.read_limit`` times since they were
        erased."""
        return self.failures.read_often

    def start(self):
        """Finds out which blocks are bad and makes all groups whole."""
        known = self._table.load()
        self.state = known or DriveState(bad=first_start(self._device, self._config, self._pause))
        found = sorted(self.state.bad)
        for place in found:
            self.blocks.mark(*place)
        for group in self.blocks.restore(self.state.stand_ins):
            self.groups.drop(group)
        if self.state.erases:
            if len(self.state.erases) != self.blocks.count:
                raise DriveError(
                    Status.INTERNAL_ERROR,
                    f"the flash was written with {len(self.state.erases)} block groups, "
                    f"die_parts = {self.blocks.parts} makes {self.blocks.count}: choose another",
                )
            self.groups.erases[:] = self.state.erases
        # From here on they are one: what changes is in the next version of the table.
        self.state.bad, self.state.stand_ins = self.blocks.bad, self.blocks.serving
        self.state.erases = self.groups.erases
        if known is None:
            self.save()
        if self.state.next_segment > 1:
            return  # what the blocks hold is looked for first: `recovered`
        for channel, at, block in found:
            die, group = self.blocks.serves(channel, at, block)
            if self._serves(channel, at, block):
                self._changed = True
                if self._stand_in(channel, die, group, {}) is None:
                    self.groups.drop(group)

    def recovered(self, channel, die, row):
        """After a loss of power: these pages count. Bad blocks with some of them are crippled."""
        blocks = {
            (c, at, r // self._geometry.pages)
            for c, at, r in zip(channel.tolist(), die.tolist(), row.tolist(), strict=True)
        }
        for place in sorted(blocks & self.blocks.bad):
            if self._serves(*place):
                self.crippled[place] = set()
        self.refuge.restore(p for p in sorted(blocks - self.blocks.bad) if not self._serves(*p))

    def _serves(self, channel, at, block):
        """Whether a block serves in a group that is used."""
        die, group = self.blocks.serves(channel, at, block)
        return self.groups.uses(group) and self.blocks.place(channel, die, group) == (at, block)

    def erase(self, group):
        """Erases a group, blocks that fail replaced; whether it is whole."""
        g = self._geometry
        self.stripes.forget(group)
        for die in self.blocks.dies(group):
            for channel in range(g.channels):
                at, block = self.blocks.place(channel, die, group)
                self.failures.forget((channel, at, block))
                self.crippled.pop((channel, at, block), None)
                bad = (channel, at, block) in self.blocks.bad
                if bad or not self._device.erase(channel, at, block * g.pages, self._pause):
                    self._refuse_if_protected(channel, at)
                    self._retire(channel, at, block)
                    if self._stand_in(channel, die, group, {}) is None:
                        self.blocks.give_up(group)
                        self._forget(group)
                        return False
        return True

    def _forget(self, group):
        """Nothing of a group is crippled any more."""
        for channel, at, block in list(self.crippled):
            if self.blocks.serves(channel, at, block)[1] == group:
                del self.crippled[channel, at, block]

    def service(self, feed):
        """Takes what the drive tells of, failed programs and pages read again, and mends it.

        ``feed`` gives the append path block groups if it waits for some.
        """
        self.failures.take(self.blocks.bad)
        if not (self.failures.slots or self.failures.tired or self._changed):
            return
        with self.held():
            self._mend(feed)

    @contextmanager
    def held(self):
        """While it lasts no program slot is handed out, and no command begins."""
        self._holds += 1
        self._device.write("PROGRAM_HOLD", 1)
        try:
            yield
        finally:
            self._holds -= 1
            if not self._holds:
                self._device.write("PROGRAM_HOLD", 0)

    def _mend(self, feed):
        device = self._device
        while device.read("PROGRAM_USED") != len(self.failures.slots):
            device.pause()
            feed()
            self.failures.take(self.blocks.bad)
        rescued = self.failures.pages()
        for place in sorted(self.failures.tired | set(rescued)):
            failed = rescued.get(place, {})
            self.counts["pages_lost"] += len(failed.keys() - self._move(place, failed).keys())
        self.failures.release()
        self.save()

    def program(self, channel, die, row, meta, user):
        """Programs a page of the firmware's own, on another block if its own fails.

        The append path rests, with no program under way: see `settle`.

        Returns
        -------
        (int, int)
            Die and row where the page lies.
        """
        if self._pages.program(channel, die, row, meta, user):
            return die, row
        block, page = divmod(row, self._geometry.pages)
        place = self._move((channel, die, block), {page: (meta, user)}).get(page)
        if place is None:
            self.groups.vacate(channel, die, row)
            raise DriveError(
                Status.PROGRAM_FAILED, f"no block of channel {channel} takes a page any more"
            )
        return place

    def mend(self, feed, held):
        """Has blocks stand in for crippled ones, as far as there are any again.

        ``held`` are the blocks (channel, die, block) that hold pages of sequences.

        Returns
        -------
        bool
            Whether nothing is crippled and the refuge has room again.
        """
        self.refuge.leave(held)
        if self._surplus() > 0 or any(
            self.blocks.spares(channel) > KEPT for channel, _, _ in self.crippled
        ):
            self.failures.tired |= set(self.crippled)
            self.service(feed)
        while not self.refuge.ready and self._surplus() > 0:
            self.blocks.give_up(self.groups.give_up())
        return not self.crippled and self.refuge.ready

    def settle(self, feed):
        """Lets all programs under way end, and mends those that fail. The append path rests."""
        while self._device.read("PROGRAM_USED"):
            self._device.pause()
            self.service(feed)

    @contextmanager
    def at_rest(self, feed):
        """While it lasts no program of the append path is under way, and none begins; nor does a
        command."""
        with self.held():
            while self._device.read("PROGRAM_USED"):
                self._device.pause()
                feed()  # a page that has its slot may wait for a group
                self.service(feed)
            yield

    def save_changes(self):
        """Writes the state table if blocks went bad since it was written. At rest."""
        if self._changed:
            self.save()

    def _move(self, place, rescued):
        """Retires a block and has another one stand in, with what the block holds.

        ``rescued`` (page -> meta, user bytes) are those pages of it whose programs failed.

        Returns
        -------
        dict of int to (int, int)
            Page -> die and row where it is now, of those that were moved.
        """
        channel, at, block = place
        self._refuse_if_protected(channel, at)
        self._retire(*place)
        die, group = self.blocks.serves(channel, at, block)
        pages, dealt = self._contents(channel, at, block, rescued)
        new = self._stand_in(channel, die, group, pages)
        if new is None:
            return self._shelter(place, rescued)
        self.crippled.pop(place, None)
        places = {page: (new[0], self._geometry.row(new[1], page)) for page in pages}
        for page, (meta, _) in pages.items():
            self.moves.note(channel, (at, self._geometry.row(block, page)), places[page], meta)
        self.counts["pages_moved"] += len(pages)
        if dealt < self._geometry.pages:
            self.stripes.tell(group, channel, die)
        return places

    def _shelter(self, place, rescued):
        """The block stays in use; these pages of it go to the refuge, which is told."""
        channel, at, block = place
        gone = self.crippled.setdefault(place, set())
        places = {}
        for page, (meta, user) in rescued.items():
            old = at, self._geometry.row(block, page)
            there = self.refuge.put(channel, at, meta, user)
            gone.add(page)
            if there is None:
                continue
            self.moves.note(channel, old, there, meta)
            self.groups.vacate(channel, *old)
            self.counts["pages_moved"] += 1
            places[page] = there
        return places

    def _erased(self, channel, die, block):
        """Erases a spare, which becomes bad if that fails; whether it succeeded."""
        done = self._device.erase(channel, die, block * self._geometry.pages, self._pause)
        if not done:
            self._retire(channel, die, block)
        return done

    def _refuse_if_protected(self, channel, die):
        if self._device.write_protected(channel, die):
            raise DriveError(
                Status.PROGRAM_FAILED,
                f"die {die} of channel {channel} is write-protected: release WP#",
            )

    def _retire(self, *place):
        self.blocks.mark(*place)
        self._changed = True

    def _contents(self, channel, die, block, rescued):
        """What can be read of a block, page -> (meta, user bytes); and how many were dealt."""
        pages = dict(rescued)
        gone = self.crippled.get((channel, die, block), set())
        dealt = 1 + max(gone | set(rescued), default=-1)
        for page in range(self._geometry.pages):
            if page in rescued or page in gone:
                continue
            row = self._geometry.row(block, page)
            found = self._pages.read(channel, die, row)
            if found == ():
                if page >= dealt:
                    break
                continue
            dealt = max(dealt, page + 1)
            if found is None:
                self.counts["pages_lost"] += 1
            else:
                pages[page] = found
        return dict(sorted(pages.items())), dealt

    def _stand_in(self, channel, die, group, pages):
        """Has a spare with these pages serve for a die of a group: ``(die, block)`` or None."""
        g = self._geometry
        while True:
            spare = self.blocks.spare(channel, die, KEPT)
            if spare is None:
                given_up = self.groups.give_up() if self._surplus() > 0 else None
                if given_up is None:
                    return None
                self.blocks.give_up(given_up)
                continue
            at, block = spare
            if not self._erased(channel, at, block):
                continue
            if all(
                self._pages.program(channel, at, g.row(block, page), *content)
                for page, content in pages.items()
            ):
                self.blocks.stand_in(channel, die, group, spare)
                return spare
            self._retire(channel, at, block)

    def save(self):
        """Writes the state table; whether a block took it.

        The append path rests, with no program under way.
        """
        self.state.refuge = self.refuge.places
        saved = self._table.save(self.state)
        self._changed = not saved
        return saved
