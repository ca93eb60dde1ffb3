"""A die as a storage engineer thinks of it: registers, cells and answers as bytes, without time."""

__all__ = ["ReferenceDie"]


class ReferenceDie:
    """What a die of profile ``tiny`` answers, from ONFI's text.

    Parameters
    ----------
    parameters, unique_id : bytes
        What the maker left.
    fails : callable
        ``fails(kind, row)``: whether a ``"program"`` or ``"erase"`` fails (without other effect).
    """

    ROWS, PAGES, SIZE = 1024, 16, 544
    ERASED = b"\xff" * SIZE

    def __init__(self, parameters, unique_id, fails):
        self.factory = {"parameters": parameters, "unique ID": unique_id}
        self.fails = fails
        self.cells = {}
        self.features = {0x01: 0, 0x89: 0}
        self.cache = self.data = self.ERASED
        self.row = self.column = 0
        self.shows = None  # page, parameters, unique ID or feature
        self.feature = 0
        self.caches = self.programs = self.failed = self.failed_before = False

    def _idle(self):
        self.shows, self.caches, self.programs = None, False, False
        self.failed = self.failed_before = False

    def _sense(self, row):
        self.row = row
        if row < self.ROWS:
            self.data = self.cells.get(row, self.ERASED)

    def read(self, row, column):
        self._idle()
        self._sense(row)
        self.cache, self.column, self.caches, self.shows = self.data, column, True, "page"

    def read_cache(self, row=None):
        """31h; without a row the next one, ``row=-1``: 3Fh."""
        self._idle()
        self.cache, self.column, self.shows = self.data, 0, "page"
        if row != -1:
            self._sense(self.row + 1 if row is None else row)
            self.caches = True

    def show(self, what):
        self._idle()
        self.shows = what
        if what in self.factory:
            self.column = 0
            page = self.factory[what]
            self.cache = page + self.ERASED[len(page) :]

    def read_id(self):
        """READ MODE after it shows the register as a page, whatever was in it."""
        if self.shows is not None:
            self.shows = "page"

    def change_column(self, column):
        self.column = column
        if self.shows == "feature":
            self.shows = "page"

    def output(self):
        """The next eight bytes."""
        if self.shows == "feature":
            return bytes([self.features.get(self.feature, 0), *bytes(7)])
        source = self.factory.get(self.shows, self.cache)
        repeats = {"parameters": 256, "unique ID": 32}
        at = self.column % repeats.get(self.shows, self.SIZE)
        self.column += 8
        return source[at : at + 8]

    def program(self, row, parts, cached):
        """``parts`` are columns and data."""
        page = bytearray(self.ERASED)
        for column, data in parts:
            page[column : column + len(data)] = data
        before = self.programs and self.failed
        self._idle()
        self.cache = bytes(page)
        self.programs, self.failed_before = cached, before
        self.failed = self.fails("program", row)
        if not self.failed:
            old = self.cells.get(row, self.ERASED)
            self.cells[row] = bytes(a & b for a, b in zip(old, page))

    def erase(self, row):
        self._idle()
        self.failed = self.fails("erase", row)
        if not self.failed:
            first = row - row % self.PAGES
            for page in range(first, first + self.PAGES):
                self.cells.pop(page, None)

    def set_feature(self, address, value):
        self._idle()
        if address in self.features:
            self.features[address] = value & (0x07 if address == 0x89 else 0xFF)

    def reset(self, command):
        self._idle()
        if command != 0xFA:
            self.features[0x89] = 0
        if command == 0xFF:
            self.features[0x01] = 0

    def status(self, ready, array_rests):
        """The status byte, from R/B# and whether the array rests."""
        failed = self.failed and array_rests
        before = self.failed_before and ready
        return 0x80 | ready << 6 | array_rests << 5 | before << 1 | failed
