"""Commands and completions of the drive: NVMe-shaped submission and completion queue entries.

One table for everybody: the gateware decodes with these layouts, the host packs with them. Field
places of the entry itself follow NVM Express Base (SQE 64 bytes, CQE 16 bytes with phase bit); what
CDW10-15 mean for the vendor opcodes is defined here. Opcode bits 1:0 give the direction of the data
(0 none, 1 host to drive, 2 drive to host), vendor I/O opcodes lie in 80h-FFh.

Data pointers: PRP1 page aligned; PRP2 the second page, or (more than two pages) one page-aligned
list of at most 512 page addresses. The memory page is 4096 bytes.

Elements are FP16 or BF16, K and V as the sequence was opened, q and its results as the job says.
What each command takes and gives is in `COMMANDS`. A job of a STEP is refused (INVALID_JOB) when an
earlier one of the same list filled the tail page of the same sequence and layer.

Result of a job, at result address + result offset: a `JOB_STATUS` word, then
attention:  [kv_head][query][head_dim] elements of q's format,
partials:   [kv_head][pass][query] of a `PARTIAL_HEADER` word, l and head_dim output sums, 64 bits
each (`hls_attention.twin.Partial`).

FLUSH (every sequence) and SAVE (one) are answered once all tokens they hold are on flash: these are
there again after a loss of power. HELD says how many tokens a layer holds.

A job that is refused leaves the others of its list alone. The completion then has the status and
the index of the first such job, and their number.
"""

import enum
from dataclasses import dataclass

from .layout import Layout

__all__ = [
    "AttendMode",
    "COMMANDS",
    "Command",
    "Opcode",
    "Status",
    "SQE",
    "CQE",
    "FIRMWARE",
    "JOB",
    "JOB_STATUS",
    "CAPABILITY",
    "CAPABILITY_MAGIC",
    "MEMORY_PAGE",
    "SQE_VIEWS",
    "ResultFlag",
]

MEMORY_PAGE = 4096
"""Host memory page of the PRP scheme (CC.MPS = 0)."""


class Opcode(enum.IntEnum):
    """I/O opcodes. Those of `FIRMWARE` are policy and are executed by the firmware."""

    FLUSH = 0x00
    APPEND = 0x81
    READ_KV = 0x82
    ATTEND = 0x85
    CAPABILITIES = 0x86
    STEP = 0x89
    OPEN = 0x90
    CLOSE = 0x94
    FORK = 0x98
    TRUNCATE = 0x9C
    SAVE = 0xA0
    HELD = 0xA4


FIRMWARE = (
    Opcode.FLUSH,
    Opcode.OPEN,
    Opcode.CLOSE,
    Opcode.FORK,
    Opcode.TRUNCATE,
    Opcode.SAVE,
    Opcode.HELD,
)
"""Commands that wait in the mailbox for the firmware."""


class Status(enum.IntEnum):
    """Status code type and code, ``SCT << 8 | SC``. SCT 0 generic, 2 media, 7 vendor."""

    SUCCESS = 0x000
    INVALID_OPCODE = 0x001
    INVALID_FIELD = 0x002
    TRANSFER_ERROR = 0x004
    INTERNAL_ERROR = 0x006
    INVALID_NAMESPACE = 0x00B
    INVALID_PRP_OFFSET = 0x013
    UNRECOVERED_READ = 0x281
    UNKNOWN_SEQUENCE = 0x701
    CLOSED_SEQUENCE = 0x702
    LAYER_OUT_OF_RANGE = 0x703
    TOO_MANY_QUERY_HEADS = 0x704
    CONTEXT_EXCEEDED = 0x705
    OUT_OF_WINDOW = 0x706
    ZERO_LENGTH = 0x707
    NO_SPACE = 0x708
    UNSUPPORTED_SHAPE = 0x709
    EMPTY_CONTEXT = 0x70A
    PROGRAM_FAILED = 0x70B
    TOO_MANY_SEQUENCES = 0x70C
    HEAD_OUT_OF_RANGE = 0x70D
    GROUP_OUT_OF_RANGE = 0x70E
    INVALID_JOB = 0x70F
    UNSUPPORTED_HEAD_DIM = 0x710
    UNSUPPORTED_FORMAT = 0x711
    UNSUPPORTED_MODE = 0x712
    UNSUPPORTED_INDEX = 0x713
    TOO_MANY_KV_HEADS = 0x714
    TOO_MANY_LAYERS = 0x715
    READ_ONLY = 0x716
    INVALID_SELECTION = 0x717
    NO_INDEX = 0x718
    SELECTION_EXCEEDED = 0x719
    SPOILED_APPEND = 0x71A


class AttendMode(enum.IntEnum):
    """Modes of ATTEND and STEP."""

    DENSE = 0
    SPARF = 1  # refused unless the drive has sparse attention and the sequence K by channel
    BOUNDS = 2  # refused unless the drive has it and the sequence bounds of K


class ResultFlag(enum.IntFlag):
    """Bits of CQE DW0 of ATTEND and STEP."""

    SATURATED = 1  # a score left the signed 16.16 range and was clipped
    NONFINITE = 2  # an infinity or NaN in q, K or V: the head's output is NaN


# Tables stay tables: one field a line.
# fmt: off
SQE = Layout("SQE", 64, [
    ("opcode", 0, 0, 8, "operation, see Opcode"),
    ("fuse", 1, 0, 2, "fused operation; must be 0"),
    ("psdt", 1, 6, 2, "PRP or SGL; must be 0 (PRP)"),
    ("cid", 2, 0, 16, "command identifier, returned in the completion"),
    ("nsid", 4, 0, 32, "namespace; must be 1"),
    ("prp1", 24, 0, 64, "first page of the data, page aligned"),
    ("prp2", 32, 0, 64, "second page, or list of pages when the data spans more than two"),
    ("sequence", 40, 0, 16,
     "CDW10 of APPEND, READ_KV, CLOSE, FORK, TRUNCATE, SAVE, HELD: sequence"),
    ("layer", 42, 0, 16, "CDW10 of APPEND, READ_KV, HELD: layer"),
    ("tokens", 44, 0, 32,
     "CDW11 of APPEND: tokens to append, 1 or more; of TRUNCATE: tokens that every layer keeps at "
     "most; of FORK: capacity of the new sequence, 0: as the old one"),
    ("group", 48, 0, 32, "CDW12 of READ_KV: token group (page) of the head"),
    ("scale_mant", 52, 0, 26,
     "CDW13 of ATTEND, STEP: scale * log2(e) = mant * 2^(exp - 26), 2^25 <= mant < 2^26"),
    ("scale_exp", 55, 2, 6, "CDW13 of ATTEND, STEP: exponent, two's complement"),
    ("result", 56, 0, 64,
     "CDW14-15 of ATTEND, STEP: host address of the results, 8-byte aligned, inside the window"),
])
"""Submission queue entry. CDW10-12 are shared; see `SQE_VIEWS` for the other readings."""

SQE_VIEWS = {
    "attend": Layout("SQE.attend", 64, [
        ("jobs", 40, 0, 32, "CDW10: jobs in the list, 1 or more"),
        ("mode", 44, 0, 4, "CDW11: see AttendMode"),
        ("partials", 44, 4, 1, "CDW11: 1: results are the unnormalised sums of each pass"),
        ("bytes", 48, 0, 32, "CDW12: bytes of the data (job list, q, k, v), multiple of 8"),
    ]),
    "read_kv": Layout("SQE.read_kv", 64, [
        ("head", 44, 0, 16, "CDW11: KV head"),
        ("kind", 46, 0, 1, "CDW11: 0 K, 1 V"),
    ]),
    "open": Layout("SQE.open", 64, [
        ("layers", 40, 0, 16, "CDW10: layers"),
        ("kv_heads", 42, 0, 16, "CDW10: KV heads"),
        ("head_dim", 44, 0, 16, "CDW11: elements of one K or V vector"),
        ("format", 46, 0, 8, "CDW11: format of K and V, 0 FP16, 1 BF16"),
        ("index", 47, 0, 8, "CDW11: 1: K is kept a second time, by channel; 2: bounds of K"),
        ("max_tokens", 48, 0, 32,
         "CDW12: capacity reserved for the sequence; 0: the drive's maximum"),
    ]),
}
"""Readings of CDW10-12 that differ from `SQE`."""


@dataclass(frozen=True)
class Command:
    """What a command does.

    Parameters
    ----------
    doc : str
    fields : tuple of str
        Fields of `SQE` that it reads, besides opcode, cid, nsid and, where it has data, prp1, prp2.
    view : str
        Its reading in `SQE_VIEWS`, if it has one: it reads all fields of that.
    data : str
        What the data pointer is for.
    """

    doc: str
    fields: tuple[str, ...] = ()
    view: str = ""
    data: str = ""


COMMANDS = {
    Opcode.FLUSH: Command("puts the tokens of all sequences on flash"),
    Opcode.APPEND: Command("stores tokens of a layer", ("sequence", "layer", "tokens"),
        data="for each KV head: K [tokens][head_dim], V [tokens][head_dim]"),
    Opcode.READ_KV: Command("reads a token group of a head", ("sequence", "layer", "group"),
        "read_kv", "its tokens, K or V [tokens][head_dim]"),
    Opcode.ATTEND: Command("attention of queries over what is stored",
        ("scale_mant", "scale_exp", "result"), "attend",
        "JOB entries, then q [kv_head][query][head_dim] at the offsets they name"),
    Opcode.CAPABILITIES: Command("what the drive can do",
        data="one page: CAPABILITY, the rest is 0"),
    Opcode.STEP: Command("stores a token of each job's layer, then as ATTEND",
        ("scale_mant", "scale_exp", "result"), "attend",
        "JOB entries, then q [kv_head][query][head_dim] and k, v of one token "
        "[kv_head][K, V][head_dim] at the offsets they name"),
    Opcode.OPEN: Command("a new sequence", view="open"),
    Opcode.CLOSE: Command("gives up a sequence", ("sequence",)),
    Opcode.FORK: Command("a new sequence with the tokens of another", ("sequence", "tokens")),
    Opcode.TRUNCATE: Command("gives up the last tokens of a sequence", ("sequence", "tokens")),
    Opcode.SAVE: Command("puts the tokens of a sequence on flash", ("sequence",)),
    Opcode.HELD: Command("how many tokens a layer holds", ("sequence", "layer")),
}

CQE = Layout("CQE", 16, [
    ("result", 0, 0, 32,
     "DW0: OPEN, FORK: the new sequence; HELD: tokens of the layer; ATTEND, STEP: ResultFlag bits, "
     "and jobs that failed from bit 16 on"),
    ("index", 4, 0, 32, "DW1: ATTEND, STEP: first job that failed, when the status is not SUCCESS"),
    ("sqhd", 8, 0, 16, "submission queue head"),
    ("sqid", 10, 0, 16, "submission queue, 0"),
    ("cid", 12, 0, 16, "command identifier"),
    ("phase", 14, 0, 1, "phase: 1 on the first pass through the queue, inverted on each wrap"),
    ("status", 14, 1, 11, "status code type and code, see Status"),
    ("more", 15, 6, 1, "0"),
    ("dnr", 15, 7, 1, "do not retry: set with every error"),
])

JOB = Layout("JOB", 32, [
    ("sequence", 0, 0, 16, "sequence"),
    ("layer", 2, 0, 16, "layer"),
    ("queries", 4, 0, 8, "query heads per KV head, 1..max_queries_per_kv"),
    ("q_format", 5, 0, 8, "format of q and of the result, 0 FP16, 1 BF16"),
    ("q_offset", 8, 0, 32, "byte offset of q in the data, multiple of 8"),
    ("kv_offset", 12, 0, 32, "STEP: byte offset of k, v in the data, multiple of 8"),
    ("result_offset", 16, 0, 32,
     "byte offset of the result from the result address, multiple of 8"),
    ("kept", 20, 0, 32,
     "SPARF, BOUNDS: tokens attended exactly, 1 or more; all, if there are not more"),
    ("channels", 24, 0, 16, "SPARF: channels that scores are estimated from, 1..head_dim"),
    ("sinks", 26, 0, 16, "SPARF, BOUNDS: first tokens that are kept before all others, and count"),
    ("window", 28, 0, 16, "SPARF, BOUNDS: last tokens that are kept before all others, and count"),
])

JOB_STATUS = Layout("JOB_STATUS", 8, [
    ("status", 0, 0, 11, "status code type and code, see Status; the rest is valid with SUCCESS"),
    ("flags", 2, 0, 8, "ResultFlag bits"),
    ("passes", 4, 0, 8, "passes of the result: partials of each KV head"),
    ("written", 7, 7, 1, "1: tells a result from memory that nobody has written to"),
])
"""First word of a job's result."""

CAPABILITY_MAGIC = 0x52464E4954534E49
"""'INSTINFR' in ASCII, little endian."""

CAPABILITY = Layout("CAPABILITY", 64, [
    ("magic", 0, 0, 64, "CAPABILITY_MAGIC"),
    ("version", 8, 0, 32, "version of the command set, major << 16 | minor"),
    ("clock_hz", 12, 0, 32, "core clock in Hz"),
    ("channels", 16, 0, 16, "flash channels"),
    ("dies", 18, 0, 16, "dies per channel"),
    ("page_bytes", 20, 0, 32, "user bytes of a flash page: one token group of K or V"),
    ("max_queries_per_kv", 24, 0, 16, "most query heads per KV head"),
    ("max_head_dim", 26, 0, 16, "largest head_dim"),
    ("head_dims", 28, 0, 32, "supported head_dim: bit n stands for 16 * n"),
    ("formats", 32, 0, 8, "supported formats: bit n stands for Format n"),
    ("modes", 33, 0, 8, "supported attend modes: bit n stands for mode n"),
    ("max_sequences", 34, 0, 16, "sequences open at once"),
    ("pass_tokens", 36, 0, 32, "tokens of one exact pass"),
    ("max_tokens", 40, 0, 32, "most tokens of one sequence"),
    ("max_transfer", 44, 0, 32, "most bytes of one command's data"),
    ("max_attend", 48, 0, 32, "most bytes of the data of one ATTEND or STEP"),
])
# fmt: on
"""What CAPABILITIES returns (the rest of the 4096-byte page is 0)."""
