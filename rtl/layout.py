"""Byte tables: one description of a record from which host, RTL, headers and docs are made.

A `Layout` is a list of named bit fields at fixed places in a record of whole 64-bit words. The host
packs and unpacks Python integers with it; the gateware views a flat signal through `struct`.
"""

from dataclasses import dataclass

from amaranth.lib import data

__all__ = ["Field", "Layout"]


@dataclass(frozen=True)
class Field:
    """One bit field.

    Parameters
    ----------
    name : str
    offset : int
        Bit offset of the least significant bit from the start of the record.
    width : int
        Width in bits.
    doc : str
        Meaning, with unit and range.
    """

    name: str
    offset: int
    width: int
    doc: str

    @property
    def bits(self):
        """Its place in words: ``bit 3``, ``bits 15:8``."""
        last = self.offset + self.width - 1
        return f"bit {last}" if self.width == 1 else f"bits {last}:{self.offset}"


class Layout:
    """A record of ``size`` bytes (a multiple of 8), little endian.

    Parameters
    ----------
    name : str
    size : int
        Bytes of the record.
    fields : list of (name, byte, bit, width, doc)
        ``byte`` and ``bit`` place the field's least significant bit.
    """

    def __init__(self, name, size, fields):
        if size % 8:
            raise ValueError(f"layout {name}: size must be a multiple of 8 bytes, not {size}")
        self.name = name
        self.size = size
        self.fields = {}
        used = 0
        for field_name, byte, bit, width, doc in fields:
            field = Field(field_name, byte * 8 + bit, width, doc)
            mask = ((1 << width) - 1) << field.offset
            if field.offset + width > size * 8 or used & mask:
                raise ValueError(
                    f"layout {name}: field {field_name} is outside the record or overlaps"
                )
            used |= mask
            self.fields[field_name] = field

    @property
    def words(self):
        """Number of 64-bit words."""
        return self.size // 8

    def pack(self, **values):
        """Bytes of a record; fields not named are 0. `ValueError` where a value does not fit."""
        word = 0
        for name, value in values.items():
            field = self.fields.get(name)
            if field is None:
                raise ValueError(
                    f"{self.name} has no field {name!r}; it has {', '.join(self.fields)}"
                )
            value = int(value)
            if not 0 <= value < 1 << field.width:
                raise ValueError(
                    f"{self.name}.{name} must be in 0..{(1 << field.width) - 1}, not {value}"
                )
            word |= value << field.offset
        return word.to_bytes(self.size, "little")

    def unpack(self, raw):
        """Dict of all fields of the record in ``raw`` (bytes-like of at least ``size`` bytes)."""
        word = int.from_bytes(bytes(raw[: self.size]), "little")
        return {f.name: word >> f.offset & (1 << f.width) - 1 for f in self.fields.values()}

    @property
    def struct(self):
        """The record as an Amaranth `data.FlexibleLayout`."""
        return data.FlexibleLayout(
            self.size * 8, {f.name: data.Field(f.width, f.offset) for f in self.fields.values()}
        )
