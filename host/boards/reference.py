"""Reference of registers, commands and records: Markdown and HTML of `host.boards.sidecar`."""

from . import document
from .document import bit_map, heading, paragraph, table
from .sidecar import layouts

__all__ = ["reference_html", "reference_markdown"]

_INTRODUCTION = (
    "Registers are 32 bits wide and written whole, addresses are bytes from the drive's base. "
    "Records lie in host memory or device DRAM, in 64-bit words, little endian. Places in them are "
    "bytes, or a byte and bits counted from its lowest. Bits that are not named are 0."
)

_TERMS = (
    (
        "row",
        "address of a page within its die: block * PAGES + page",
    ),
    (
        "token group",
        "PAGE_BYTES / (2 * head_dim) consecutive tokens of one KV head: their K fills a page,"
        " their V another one of the same flash channel",
    ),
    (
        "tail",
        "tokens of a head that fill no token group yet, in device DRAM",
    ),
    (
        "pass",
        "PASS_TOKENS consecutive tokens of a sequence, with block exponents of their own",
    ),
    (
        "unit",
        "consecutive token groups of a head, `unit_groups`, whose K is kept a second time, by"
        " channel of the head or as bounds",
    ),
    (
        "column",
        "of a stripe: one of its blocks on each flash channel; of a unit: a page of its K by "
        "channel or of its bounds; of READ and PROGRAM: the first word within the page",
    ),
    (
        "stripe",
        "on each flash channel as many erased blocks, each of any die, which the append path "
        "fills side by side; handed to it by STRIPE_BLOCK for each of them, then STRIPE_PUSH",
    ),
    (
        "stream",
        "what stripes are handed to and pages are appended from, one stripe after the other; "
        "SEQUENCE.stream says which a sequence has, 0 may be shared",
    ),
    (
        "segment",
        "number that a sequence marks its pages with from OPEN, FORK or TRUNCATE on; none is "
        "given twice, so pages say whose they are",
    ),
    (
        "program slot",
        "place in device DRAM where a page waits to be programmed: a SLOT_HEADER, then the "
        "page's user bytes",
    ),
)
"""What names of fields and their meanings take for known."""


def reference_markdown(config):
    """The reference as Markdown.

    Parameters
    ----------
    config : rtl.config.DriveConfig

    Returns
    -------
    str
    """
    return document.markdown(_document(config))


def reference_html(config):
    """The same as one HTML page that needs nothing else, light or dark as the reader has it."""
    return document.page(_document(config))


def _document(config):
    drive = layouts(config)
    return [
        heading(1, "InstInfer: registers, commands and records"),
        paragraph(_INTRODUCTION),
        *_constants(drive),
        heading(2, "Terms"),
        table(("term", "meaning"), _TERMS),
        *_registers(drive),
        *_procedures(),
        *_counters(drive),
        *_commands(drive),
        *_enumerations(drive),
        *_records(drive),
    ]


def _constants(drive):
    rows = [(c["name"], _number(c["value"]), c["doc"]) for c in drive["constants"]]
    return [heading(2, "This drive"), table(("name", "value", "meaning"), rows)]


def _number(value):
    return str(value) if value < 1 << 30 else f"{value:#x}"


def _registers(drive):
    rows = [(_span(r), r["access"], r["name"], r["doc"]) for r in drive["registers"]]
    yield heading(2, "Registers")
    yield table(("address", "access", "register", "meaning"), rows)
    for register in drive["registers"]:
        fields = register["fields"]
        if fields:
            yield heading(3, f"{register['name']} ({_span(register)}, {register['access']})")
            yield bit_map(32, 1, [(f["name"], f["bit"], f["width"]) for f in fields])
            bits = [(_bits(f["bit"], f["width"]), f["name"], f["doc"]) for f in fields]
            yield table(("bits", "field", "meaning"), bits)


def _span(register):
    first, last = register["address"], register["address"] + 4 * (register["count"] - 1)
    return f"{first:04x}h" if first == last else f"{first:04x}h-{last:04x}h"


def _bits(low, width):
    return str(low) if width == 1 else f"{low + width - 1}:{low}"


_PROCEDURES = (
    (
        "A management operation",
        "Words of a READ or PROGRAM to FLASH_WORDS, their place in device DRAM to FLASH_ADDRESS "
        "(of a READ_ID, too, which brings one word), those of a PROGRAM to that place; die and row "
        "to FLASH_ROW; then operation and channel to FLASH_OP, which starts it. There is one at a "
        "time: when FLASH_STATUS is not busy any more, it tells the cause of a failure and what "
        "the die has said. A PROGRAM must not meet one of the append path: PROGRAM_HOLD.",
    ),
    (
        "A stripe for the append path",
        "A stripe is erased blocks, the same number on each channel, a column each: pages are "
        "dealt to the columns in turn. A stream is who fills it: there are several, so that what "
        "is closed together is erased together. Stream to STREAM; for each channel and column die "
        "and block number to FLASH_ROW, then channel, column and slot to STRIPE_BLOCK; then the "
        "number of columns to STRIPE_PUSH.",
    ),
)
"""What takes several registers: title and how."""


def _procedures():
    for title, text in _PROCEDURES:
        yield heading(3, title)
        yield paragraph(text)


def _counters(drive):
    rows = [(f"{c['address']:04x}h", c["name"], c["doc"]) for c in drive["counters"]]
    rows += [
        (f"{c['address']:04x}h + {c['stride']:x}h * channel", c["name"], c["doc"])
        for c in drive["channel_counters"]
    ]
    yield heading(2, "Counters")
    yield paragraph(
        "64 bits, low word first: reading the low word freezes the high word for the next read."
    )
    yield table(("address", "counter", "counts"), rows)


def _commands(drive):
    fields = {(r["name"], f["name"]): f for r in drive["records"] for f in r["fields"]}
    yield heading(2, "Commands")
    yield paragraph(
        "A submission queue entry each. opcode and cid are read of all of them, nsid must be 1, "
        "and prp1 and prp2 say where the data are. Which statuses each may end with is not listed."
    )
    rows = [(_opcode(c), c["name"], _by(c), c["direction"], c["doc"]) for c in drive["commands"]]
    yield table(("opcode", "command", "executed by", "data", "what it does"), rows)
    for command in drive["commands"]:
        yield heading(3, f"{command['name']} ({_opcode(command)})")
        yield paragraph(command["doc"][0].upper() + command["doc"][1:] + ".")
        if command["data"]:
            yield paragraph(f"Data, {command['direction']}: {command['data']}.")
        own = [fields[f["record"], f["name"]] for f in command["fields"]]
        own = [(_place(f), f["name"], f["doc"]) for f in own if f["name"] not in _OF_ALL]
        if own:
            yield table(("place", "field", "meaning"), own)


_OF_ALL = ("opcode", "cid", "nsid", "prp1", "prp2")


def _opcode(command):
    return f"{command['opcode']:02x}h"


def _by(command):
    return "firmware" if command["firmware"] else "gateware"


def _place(field):
    """Byte and bits of a record's field."""
    byte, bit = divmod(field["bit"], 8)
    if bit or field["width"] % 8:
        return f"{byte:02x}h, {_bits(bit, field['width'])}"
    last = byte + field["width"] // 8 - 1
    return f"{byte:02x}h" if byte == last else f"{byte:02x}h-{last:02x}h"


def _enumerations(drive):
    yield heading(2, "Values")
    for enumeration in drive["enumerations"]:
        rows = [(f"{v['value']:02x}h", v["name"], v["doc"]) for v in enumeration["values"]]
        yield heading(3, enumeration["name"])
        yield paragraph(enumeration["doc"][0].upper() + enumeration["doc"][1:] + ".")
        yield table(("value", "name", "meaning"), rows)


def _records(drive):
    yield heading(2, "Records")
    for record in drive["records"]:
        fields = record["fields"]
        yield heading(3, f"{record['name']} ({record['bytes']} bytes)")
        yield paragraph(record["doc"][0].upper() + record["doc"][1:] + ".")
        places = [(f["name"], f["bit"], f["width"]) for f in fields]
        yield bit_map(64, record["bytes"] // 8, places)
        rows = [(_place(f), str(f["width"]), f["name"], f["doc"]) for f in fields]
        yield table(("place", "bits", "field", "meaning"), rows)
