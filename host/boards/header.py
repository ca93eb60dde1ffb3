"""``instinfer.h``: registers, commands and records of a drive for C, from `host.boards.sidecar`.

C99 and C++11, freestanding: it includes <stdint.h> and nothing else. A field of a register has a
``_SHIFT`` and a ``_MASK`` in place; a field of a record also a ``_WORD``, which of its 64-bit words
it lies in, and two inline functions::

    uint64_t sqe[INSTINFER_SQE_WORDS] = {0};
    instinfer_set_sqe_opcode(sqe, INSTINFER_OPCODE_ATTEND);
"""

import re

from .sidecar import layouts

__all__ = ["c_header"]

_INTRODUCTION = """\
Registers, commands and records of an InstInfer drive. Generated: change what it is made from.

C99 or C++11, freestanding. Registers are 32 bits wide, addresses are bytes from the drive's base.
Records are arrays of 64-bit words in the byte order of the drive, little endian: processors of 32
bits are served, those of big-endian byte order are not. The drive reads and writes memory without
asking caches: flush and fence before a doorbell and before a completion is read.
"""

_BODY = """\
#ifndef INSTINFER_H
#define INSTINFER_H

#include <stdint.h>

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "instinfer.h: records are little endian, this processor is not"
#endif

/* A field of a register: its value in place, and taken out of a register's value. */
#define INSTINFER_PUT(field, value) (((uint32_t)(value) << field##_SHIFT) & field##_MASK)
#define INSTINFER_TAKE(field, word) (((uint32_t)(word) & field##_MASK) >> field##_SHIFT)

/* A field of a record; what does not fit it is cut off. */
static inline uint64_t instinfer_get(uint64_t word, int shift, uint64_t mask)
{
    return (word & mask) >> shift;
}

static inline void instinfer_set(uint64_t *word, int shift, uint64_t mask, uint64_t value)
{
    *word = (*word & ~mask) | ((value << shift) & mask);
}
"""


def c_header(config):
    """Text of ``instinfer.h``.

    Parameters
    ----------
    config : rtl.config.DriveConfig

    Returns
    -------
    str
    """
    drive = layouts(config)
    parts = [_comment(_INTRODUCTION), _BODY, _constants(drive), _registers(drive)]
    parts += [_counters(drive)]
    parts += [_enumeration(enumeration) for enumeration in drive["enumerations"]]
    parts += [_record(record) for record in drive["records"]]
    return "\n".join([*parts, "#endif\n"])


def _comment(text):
    """A comment of one line or of several."""
    text = text.replace("*/", "* /").strip()
    if "\n" not in text:
        return f"/* {text} */"
    return "/*\n" + "".join(f" * {line}".rstrip() + "\n" for line in text.split("\n")) + " */"


def _define(name, value, doc=""):
    line = f"#define INSTINFER_{name} {value}"
    return f"{line:<59} {_comment(doc)}" if doc else line


def _unsigned(value):
    if value < 1 << 30:
        return f"{value}u"
    return f"0x{value:x}u" if value < 1 << 32 else f"0x{value:x}ull"


def _lines(title, lines):
    return "\n".join([_comment(title), *lines, ""])


def _constants(drive):
    return _lines(
        "The drive.",
        [
            _define(each["name"], _unsigned(each["value"]), each["doc"])
            for each in drive["constants"]
        ],
    )


def _registers(drive):
    lines = []
    for register in drive["registers"]:
        name, address = f"REG_{register['name']}", f"0x{register['address']:04x}u"
        if register["count"] > 1:
            name, address = f"{name}(n)", f"({address} + 4u * (n))"
        lines.append(_define(name, address, f"{register['access']}: {register['doc']}"))
        for field in register["fields"]:
            base = f"REG_{register['name']}_{field['name'].upper()}"
            mask = (1 << field["width"]) - 1 << field["bit"]
            lines.append(_define(f"{base}_SHIFT", f"{field['bit']}", field["doc"]))
            lines.append(_define(f"{base}_MASK", f"0x{mask:08x}u"))
    return _lines("Registers, their access and their fields.", lines)


def _counters(drive):
    lines = [
        _define(f"COUNTER_{each['name'].upper()}", f"0x{each['address']:04x}u", each["doc"])
        for each in drive["counters"]
    ]
    lines += [
        _define(
            f"CHANNEL_COUNTER_{each['name'].upper()}(n)",
            f"(0x{each['address']:04x}u + {each['stride']}u * (n))",
            each["doc"],
        )
        for each in drive["channel_counters"]
    ]
    title = "Counters, 64 bits: read the low word first, it freezes the high one, 4 bytes on."
    return _lines(f"{title}\nThose of each channel n.", lines)


def _enumeration(enumeration):
    prefix = re.sub("(?<=[a-z])(?=[A-Z])", "_", enumeration["name"]).upper()
    return _lines(
        f"{enumeration['name']}: {enumeration['doc']}.",
        [
            _define(f"{prefix}_{each['name']}", f"0x{each['value']:02x}u", each["doc"])
            for each in enumeration["values"]
        ],
    )


def _record(record):
    name = record["name"]
    lines = [_define(f"{name}_BYTES", f"{record['bytes']}u")]
    lines += [_define(f"{name}_WORDS", f"{record['bytes'] // 8}u")]
    for field in record["fields"]:
        lines += _field(name, field)
    return _lines(f"{name}: {record['doc']}.", lines)


def _field(record, field):
    word, shift = divmod(field["bit"], 64)
    if shift + field["width"] > 64:
        raise ValueError(
            f"{record}.{field['name']} lies in bits {shift}..{shift + field['width'] - 1} of a "
            "64-bit word: place it in 0..63, accessors are of one word"
        )
    base = f"{record}_{field['name'].upper()}"
    mask = (1 << field["width"]) - 1 << shift
    place = f"{shift}, 0x{mask:x}ull"
    return [
        _define(f"{base}_WORD", word, field["doc"]),
        _define(f"{base}_SHIFT", shift),
        _define(f"{base}_MASK", f"0x{mask:016x}ull"),
        f"static inline uint64_t instinfer_get_{base.lower()}(const uint64_t *record)",
        f"{{ return instinfer_get(record[{word}], {place}); }}",
        f"static inline void instinfer_set_{base.lower()}(uint64_t *record, uint64_t value)",
        f"{{ instinfer_set(&record[{word}], {place}, value); }}",
    ]
