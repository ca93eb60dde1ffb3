"""What the append path is told of the groups it fills: stripes, and the block of each column.

A stripe is, on each channel, a number of columns, each a block of any die; the gateware knows
nothing of groups. Where another block comes to serve, it is told so.
"""

__all__ = ["StripeTable"]


class StripeTable:
    """The append path's table of stripes, written through registers.

    Parameters
    ----------
    device : host.firmware.device.Device
    config : DriveConfig
    blocks : host.firmware.blocks.Blocks
    """

    def __init__(self, device, config, blocks):
        self._device, self._config, self._blocks = device, config, blocks
        self._columns = {}  # group -> its stream, stripe's place in the ring, and first column

    def push(self, stream, number, stripe):
        """Gives a stream these groups, as stripe ``number`` of it."""
        slot = number % self._config.stream_slots
        for old, place in list(self._columns.items()):
            if place[:2] == (stream, slot):
                del self._columns[old]
        columns = 0
        for group in stripe:
            self._columns[group] = stream, slot, columns
            dies = self._blocks.dies(group)
            for die in dies:
                for channel in range(self._config.channels):
                    self.tell(group, channel, die)
            columns += len(dies)
        self._device.write("STREAM", stream)
        self._device.write("STRIPE_PUSH", columns)

    def tell(self, group, channel, die):
        """Tells which block serves for a die of a group, if it is one that is filled."""
        if group not in self._columns:
            return
        stream, slot, first = self._columns[group]
        at, block = self._blocks.place(channel, die, group)
        column = first + die - self._blocks.dies(group)[0]
        self._device.write("STREAM", stream)
        self._device.write("FLASH_ROW", at << 24 | block)
        self._device.write("STRIPE_BLOCK", column << 16 | channel << 8 | slot)

    def forget(self, group):
        """A group is not filled any more."""
        self._columns.pop(group, None)
