"""First-fit allocator of address regions: device DRAM and the host's transfer area."""

__all__ = ["Regions"]


class Regions:
    """Regions of ``[start, start + size)``, first fit, neighbours merged when freed.

    Parameters
    ----------
    start, size : int
        Address and bytes of the whole.
    align : int
        Every region starts at, and is rounded up to, a multiple of this.
    """

    def __init__(self, start, size, *, align=4096):
        begin = -(-start // align) * align
        self._align = align
        self._free = [(begin, (start + size - begin) // align * align)]
        self._used = {}

    @property
    def free(self):
        """Bytes not allocated."""
        return sum(size for _, size in self._free)

    @property
    def used(self):
        """Bytes allocated."""
        return sum(self._used.values())

    def allocate(self, size):
        """Address of a new region of at least ``size`` bytes, or None where nothing fits."""
        size = max(1, -(-size // self._align)) * self._align
        for index, (address, room) in enumerate(self._free):
            if room >= size:
                self._free[index : index + 1] = (
                    [(address + size, room - size)] if room > size else []
                )
                self._used[address] = size
                return address
        return None

    def allocate_all(self, sizes):
        """Addresses of several regions, or None (and nothing allocated) where one does not fit."""
        addresses = []
        for size in sizes:
            address = self.allocate(size)
            if address is None:
                for taken in addresses:
                    self.release(taken)
                return None
            addresses.append(address)
        return addresses

    def release(self, address):
        """Frees the region at ``address``."""
        if address not in self._used:
            raise ValueError(f"no region at address {address:#x}")
        merged = []
        for begin, size in sorted([*self._free, (address, self._used.pop(address))]):
            if merged and merged[-1][0] + merged[-1][1] == begin:
                merged[-1] = (merged[-1][0], merged[-1][1] + size)
            else:
                merged.append((begin, size))
        self._free = merged
