"""Refuge: single pages whose block failed when no block was left to stand in for it.

The last spare block of each channel is kept for them. A block takes a whole block to stand in for,
a page takes a page: so what an append under way still has to bring onto flash when the last other
spare is gone finds room, and the append ends. From then on the drive takes no more tokens until
there is a block again that can stand in (`repair`).

Pages that fit: those of a block for each channel. An append is `DriveConfig.max_transfer` bytes at
most, which is fewer pages a channel than that for profiles of real parts.
"""

__all__ = ["KEPT", "Refuge"]

KEPT = 1
"""Spares of each channel that stand in for nothing: the refuge."""


class Refuge:
    """Pages in the last spares.

    Parameters
    ----------
    geometry : flash_model.geometry.Geometry
    blocks : host.firmware.blocks.Blocks
    erase : callable
        ``(channel, die, block)``: whether the erase succeeded; a block that fails becomes bad.
    program : callable
        ``(channel, die, row, meta, user)``: whether the program succeeded.
    """

    def __init__(self, geometry, blocks, erase, program):
        self._geometry, self._blocks = geometry, blocks
        self._erase, self._program = erase, program
        self._used = {}  # (channel, die, block) -> pages programmed, the newest of a channel last

    @property
    def places(self):
        """Blocks (channel, die, block) that hold pages."""
        return set(self._used)

    @property
    def ready(self):
        """Whether half a block's pages or more find room on every channel."""
        g = self._geometry
        return all(
            self._blocks.spares(channel) >= KEPT or self._left(channel) >= g.pages // 2
            for channel in range(g.channels)
        )

    def _left(self, channel):
        """Pages left of a channel's block that is being filled."""
        mine = [place for place in self._used if place[0] == channel]
        return self._geometry.pages - self._used[mine[-1]] if mine else 0

    def put(self, channel, die, meta, user):
        """Programs a page: ``(die, row)`` where it lies now, or None where no block is left."""
        g = self._geometry
        while True:
            mine = [place for place in self._used if place[0] == channel]
            full = not mine or self._used[mine[-1]] == g.pages
            if full or mine[-1] in self._blocks.bad:
                spare = self._blocks.spare(channel, die)
                if spare is None:
                    return None
                if not self._erase(channel, *spare):
                    continue
                mine = [(channel, *spare)]
                self._used[mine[-1]] = 0
            _, at, block = mine[-1]
            row = g.row(block, self._used[mine[-1]])
            self._used[mine[-1]] += 1  # a page that failed is not used again
            if self._program(channel, at, row, meta, user):
                return at, row

    def restore(self, places):
        """After a loss of power: these blocks hold pages, and take no more of them."""
        for place in places:
            self._blocks.take(*place)
            self._used[place] = self._geometry.pages

    def leave(self, held):
        """Blocks none of whose pages is held, of ``held`` (channel, die, block), are spares."""
        for place in self.places - held:
            del self._used[place]
            self._blocks.give_back(*place)
