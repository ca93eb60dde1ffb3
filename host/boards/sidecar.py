"""The drive as software sees it, as plain data: what header, reference and JSON are made from.

Everything is read off the layouts that the gateware decodes with and the host packs with
(`rtl.registers`, `rtl.commands`, `rtl.tables`), and off a configuration.
"""

from cosim.reference import PARTIAL_HEADER
from hls_attention.beats import Format
from rtl import commands, registers, tables
from rtl.commands import COMMANDS, FIRMWARE, SQE, SQE_VIEWS
from rtl.nand.operations import Cause, NandOp

from ..checks import INDEXES
from ..errors import MEANINGS
from .enumerations import members

__all__ = ["layouts"]

RECORDS = (
    (SQE, "submission queue entry"),
    (SQE_VIEWS["attend"], "what ATTEND and STEP read in it"),
    (SQE_VIEWS["read_kv"], "what READ_KV reads in it"),
    (SQE_VIEWS["open"], "what OPEN reads in it"),
    (commands.CQE, "completion queue entry"),
    (commands.JOB, "a job of ATTEND or STEP"),
    (commands.JOB_STATUS, "first word of a job's result"),
    (commands.CAPABILITY, "what CAPABILITIES returns"),
    (tables.SEQUENCE, "entry of the sequence table, written by the firmware"),
    (tables.HEAD, "a KV head of a sequence, kept by the append path; all zeros: empty"),
    (tables.PASS, "a full pass of a head, kept by the append path"),
    (tables.MAP_ENTRY, "where K and V of a token group are, kept by the append path"),
    (tables.COLUMN_ENTRY, "where two pages of K by channel, or of bounds, are, kept likewise"),
    (tables.PAGE_META, "what a page of flash says of itself"),
    (tables.SLOT_HEADER, "head of a program slot; the page's user bytes follow"),
)
"""Records of host memory and device DRAM."""

PARTIAL_DOCS = {
    "m": "reference: weights are 2^(score - m); two's complement",
    "v_exp": "exponent of the output sums, which are o * 2^(v_exp - 59); two's complement",
    "poisoned": "an infinity or NaN went in: the numbers mean nothing",
    "saturated": "some score was clipped",
}

INDEX_DOCS = {
    "none": "K by token",
    "channel": "K a second time, by channel",
    "bounds": "bounds of K besides",
}

DIRECTIONS = ("none", "host to drive", "drive to host")
"""Of a command's data, by the two low bits of its opcode."""


def layouts(config):
    """The drive's registers, commands and records as JSON has them.

    Parameters
    ----------
    config : rtl.config.DriveConfig

    Returns
    -------
    dict of str to list of dict
        ``constants``: name, value, doc.
        ``registers``: name, address, access, count, doc, fields (name, bit, width, doc).
        ``counters``, ``channel_counters``: name, address (of channel 0; ``stride`` bytes from one
        channel to the next, 0 for the drive's own), doc.
        ``enumerations``: name, doc, values (name, value, doc).
        ``commands``: name, opcode, doc, direction, firmware (executed by it), data, fields (those
        that the command reads: record, name).
        ``records``: name, bytes, doc, fields (name, bit from the record's start, width, doc).
    """
    return {
        "constants": [
            {"name": name, "value": value, "doc": doc} for name, value, doc in _constants(config)
        ],
        "registers": [_register(name, register) for name, register in registers.REGISTERS.items()],
        "counters": [
            {"name": name, "address": registers.counter_address(name), "stride": 0, "doc": doc}
            for name, doc in registers.COUNTER_DOCS.items()
        ],
        "channel_counters": [
            {
                "name": name,
                "address": registers.channel_counter_address(0, name),
                "stride": registers.channel_counter_address(1, name)
                - registers.channel_counter_address(0, name),
                "doc": doc,
            }
            for name, doc in registers.CHANNEL_COUNTER_DOCS.items()
        ],
        "enumerations": [
            {
                "name": name,
                "doc": doc,
                "values": [{"name": n, "value": v, "doc": d} for n, v, d in values],
            }
            for name, doc, values in _enumerations()
        ],
        "commands": [_command(opcode, command) for opcode, command in COMMANDS.items()],
        "records": [_record(layout, doc) for layout, doc in RECORDS] + [_partial_header()],
    }


def _register(name, register):
    return {
        "name": name,
        "address": register.address,
        "access": register.access,
        "count": register.count,
        "doc": register.about,
        "fields": [_field(field) for field in register.fields],
    }


def _field(field):
    return {"name": field.name, "bit": field.offset, "width": field.width, "doc": field.doc}


def _record(layout, doc):
    return {
        "name": layout.name.replace(".", "_").upper(),
        "bytes": layout.size,
        "doc": doc,
        "fields": [
            _field(field) for field in sorted(layout.fields.values(), key=lambda f: f.offset)
        ],
    }


def _partial_header():
    return {
        "name": "PARTIAL_HEADER",
        "bytes": PARTIAL_HEADER.size // 8,
        "doc": "first word of a head's partial; l and head_dim output sums follow, 64 bits each",
        "fields": [
            {"name": name, "bit": PARTIAL_HEADER[name].offset, "width": PARTIAL_HEADER[name].width}
            | {"doc": doc}
            for name, doc in PARTIAL_DOCS.items()
        ],
    }


def _command(opcode, command):
    names = [("SQE", name) for name in ("opcode", "cid", "nsid")]
    if opcode & 3:
        names += [("SQE", "prp1"), ("SQE", "prp2")]
    names += [("SQE", name) for name in command.fields]
    if command.view:
        view = SQE_VIEWS[command.view]
        names += [(f"SQE_{command.view.upper()}", name) for name in view.fields]
    return {
        "name": opcode.name,
        "opcode": int(opcode),
        "doc": command.doc,
        "direction": DIRECTIONS[opcode & 3],
        "firmware": opcode in FIRMWARE,
        "data": command.data,
        "fields": [{"record": record, "name": name} for record, name in names],
    }


def _enumerations():
    """``(name, doc, members)`` of what fields refer to."""
    meanings = {status: meaning for status, (meaning, _) in MEANINGS.items()}
    status = [(s.name, int(s), meanings.get(s, "it has succeeded")) for s in commands.Status]
    opcodes = [(o.name, int(o), COMMANDS[o].doc) for o in commands.Opcode]
    indexes = [(name.upper(), value, INDEX_DOCS[name]) for value, name in enumerate(INDEXES)]
    return [
        ("Opcode", "opcodes of commands", opcodes),
        ("Status", "status code type and code of a completion or job, SCT << 8 | SC", status),
        ("Format", "formats of elements", members(Format)),
        ("Index", "what OPEN has kept of K", indexes),
        ("AttendMode", "modes of ATTEND and STEP", members(commands.AttendMode)),
        (
            "ResultFlag",
            "bits of DW0 of a completion of ATTEND and STEP",
            members(commands.ResultFlag),
        ),
        ("NandOp", "operations of FLASH_OP; r_data and w_data are device DRAM", members(NandOp)),
        ("Cause", "why an operation of FLASH_OP has failed", members(Cause)),
        ("SequenceState", "values of SEQUENCE.state", members(tables.SequenceState)),
        ("PageKind", "values of PAGE_META.kind", members(tables.PageKind)),
    ]


def _constants(config):
    """``(name, value, doc)`` of what holds for every drive, then for this one."""
    geometry, code = config.flash.geometry, config.code
    return [
        ("DRIVE_ID", registers.DRIVE_ID, "what register ID reads"),
        ("CAPABILITY_MAGIC", commands.CAPABILITY_MAGIC, "'INSTINFR' in ASCII"),
        ("MEMORY_PAGE", commands.MEMORY_PAGE, "bytes of a page of host memory"),
        ("HEAD_STRIDE", tables.HEAD_STRIDE, "channels from one head's first group to the next's"),
        ("CLOCK_HZ", config.clock_hz, "core clock"),
        ("CHANNELS", geometry.channels, "flash channels"),
        ("DIES", geometry.dies, "dies of a channel"),
        ("BLOCKS", geometry.blocks, "blocks of a die"),
        ("PAGES", geometry.pages, "pages of a block"),
        ("PAGE_BYTES", geometry.page_bytes, "user bytes of a page"),
        ("PAGE_WORDS", geometry.page_words, "words of 8 bytes of a page, spare words included"),
        ("PAGES_IN_MEMORY", int(config.page_store == "memory"),
         "1: pages lie in a memory, from PAGE_BASE on; 0: on flash"),
        ("CODEWORD_BYTES", code.data_bytes, "user bytes of a codeword"),
        ("CODEWORD_WORDS", code.words, "words of a codeword on flash, check words included"),
        ("CORRECTABLE_BITS", code.t, "bit errors of a codeword that are corrected"),
        ("MAX_QUERIES_PER_KV", config.max_queries_per_kv, "most query heads per KV head"),
        ("MAX_HEAD_DIM", config.max_head_dim, "largest head_dim"),
        ("PASS_TOKENS", config.pass_tokens, "tokens of a pass"),
        ("MAX_TOKENS", config.max_tokens, "most tokens of a sequence"),
        ("MAX_SEQUENCES", config.max_sequences, "entries of the sequence table"),
        ("MAX_TRANSFER", config.max_transfer, "most bytes of a command's data"),
        ("MAX_ATTEND", config.max_attend, "most bytes of the data of an ATTEND or STEP"),
        ("DRAM_BYTES", config.dram_bytes, "device DRAM that the firmware counts on"),
        ("STREAMS", config.append_streams, "append streams"),
        ("STREAM_SLOTS", config.stream_slots, "stripes that a stream is given ahead at most"),
        ("PROGRAM_SLOTS", tables.program_slots(geometry), "program slots"),
        ("SLOT_BYTES", tables.slot_bytes(geometry), "bytes from one program slot to the next"),
        ("COLUMN_BUFFER_BYTES", config.max_head_dim * code.data_bytes,
         "room behind the program slots for a unit that is being made"),
    ]  # fmt: skip
