"""Errors of the drive: exceptions that carry the drive's status, its meaning and what to do."""

from rtl.commands import Status

__all__ = [
    "DriveError",
    "DriveTypeError",
    "DriveValueError",
    "DriveWarning",
    "MEANINGS",
    "status_error",
]

MEANINGS = {
    Status.INVALID_OPCODE: (
        "the drive does not know this command",
        "check opcode and firmware version",
    ),
    Status.INVALID_FIELD: ("a field of the command is not possible", "check the arguments"),
    Status.TRANSFER_ERROR: (
        "data could not be moved to or from host memory",
        "check that the transfer area is mapped",
    ),
    Status.INTERNAL_ERROR: ("the drive failed in itself", "open the drive again and report it"),
    Status.INVALID_NAMESPACE: ("the namespace does not exist", "use namespace 1"),
    Status.INVALID_PRP_OFFSET: ("a data pointer is not aligned", "align pages to 4096 bytes"),
    Status.UNRECOVERED_READ: (
        "flash data could not be corrected, or device DRAM did not give them",
        "close the sequence and prefill it again",
    ),
    Status.UNKNOWN_SEQUENCE: (
        "no such sequence",
        "open one and use the number that open() returned",
    ),
    Status.CLOSED_SEQUENCE: (
        "the sequence is closed",
        "open a new one and append its tokens again",
    ),
    Status.LAYER_OUT_OF_RANGE: ("the sequence has fewer layers", "count layers from 0"),
    Status.TOO_MANY_QUERY_HEADS: (
        "more query heads per KV head than the engine serves",
        "use a drive with a larger max_queries_per_kv",
    ),
    Status.CONTEXT_EXCEEDED: (
        "the sequence's capacity in tokens is exceeded",
        "open it with a larger max_tokens or use a drive with a larger one",
    ),
    Status.OUT_OF_WINDOW: (
        "an address lies outside the registered window",
        "use memory of the transfer area only",
    ),
    Status.ZERO_LENGTH: ("nothing to do", "give one token or job at least"),
    Status.NO_SPACE: ("no room left for this", "close sequences or ask for a smaller max_tokens"),
    Status.UNSUPPORTED_SHAPE: ("the drive cannot serve this shape", "see drive.config"),
    Status.UNSUPPORTED_HEAD_DIM: (
        "the engine does not serve this head_dim",
        "use a drive with a larger max_head_dim, see drive.config.head_dims",
    ),
    Status.UNSUPPORTED_FORMAT: ("the engine does not know this format", "use FP16 or BF16"),
    Status.UNSUPPORTED_MODE: (
        "the drive does not attend in this mode",
        "use mode 0, dense, or a drive that is built for it (sparse_tokens)",
    ),
    Status.INVALID_SELECTION: (
        "no such selection",
        "select 1..head_dim channels and keep 1 token or more",
    ),
    Status.NO_INDEX: (
        "the sequence was opened without K by channel",
        "open it with index='channel' to attend it sparsely",
    ),
    Status.SELECTION_EXCEEDED: (
        "more tokens than the drive can select from",
        "attend densely, or use a drive with larger sparse_tokens",
    ),
    Status.SPOILED_APPEND: (
        "an append failed: a layer's last tokens are wrong, not in all KV heads, or not to save",
        "truncate the sequence to the tokens it held before, and append again",
    ),
    Status.UNSUPPORTED_INDEX: (
        "the drive does not keep this index of K",
        "use index 'none', a head_dim that it is kept for, or a drive built for it (bounds)",
    ),
    Status.TOO_MANY_KV_HEADS: (
        "more KV heads than a sequence of this drive may have",
        "use fewer, or a drive with a larger max_transfer",
    ),
    Status.TOO_MANY_LAYERS: ("more layers than a sequence may have", "use 65535 at most"),
    Status.READ_ONLY: (
        "a flash block failed that no other can stand in for: the drive takes no more tokens",
        "close sequences that are no longer needed; what is stored can be read and attended",
    ),
    Status.INVALID_JOB: ("a job of the list is not possible", "check its offsets and lengths"),
    Status.EMPTY_CONTEXT: ("nothing to attend: the layer holds no token", "append tokens first"),
    Status.PROGRAM_FAILED: (
        "a flash page could not be programmed",
        "close the sequence and prefill it again",
    ),
    Status.TOO_MANY_SEQUENCES: (
        "all sequence numbers are in use",
        "close a sequence or use a drive with a larger max_sequences",
    ),
    Status.HEAD_OUT_OF_RANGE: ("the sequence has fewer KV heads", "count heads from 0"),
    Status.GROUP_OUT_OF_RANGE: ("the head holds fewer tokens", "read tokens that were appended"),
}
"""Status -> what it means, and what to do about it."""


_UNDOCUMENTED = ("undocumented status", "report it")


class DriveError(Exception):
    """An error of the drive.

    Parameters
    ----------
    status : Status or int
        NVMe status code type and code.
    detail : str, optional
        What exactly was wrong: value and allowed range.
    job : int, optional
        Job of the command that failed.

    Attributes
    ----------
    status : Status (an int where the drive answered something undocumented)
    job : int or None
    outputs : list or None
        Of a batch of which some jobs failed: the results of all, None for those that did.
    appended : int
        Tokens of a long append that the drive took before it refused one of its commands.
    """

    outputs = None
    appended = 0

    def __init__(self, status, detail="", *, job=None):
        known = status in Status._value2member_map_
        self.status: int = Status(status) if known else int(status)
        name = Status(status).name if known else "unknown status"
        self.job = job
        meaning, remedy = MEANINGS[Status(status)] if known else _UNDOCUMENTED
        where = "" if job is None else f", job {job}"
        text = f"{detail}: " if detail else ""
        super().__init__(f"{text}{meaning}; {remedy} [{name}, 0x{int(self.status):03x}{where}]")


class DriveTypeError(DriveError, TypeError):
    """An argument is of the wrong type (the status is `Status.INVALID_FIELD`)."""

    def __init__(self, detail):
        super().__init__(Status.INVALID_FIELD, detail)


class DriveValueError(DriveError, ValueError):
    """An argument has a value or shape that is not possible."""

    def __init__(self, detail, status=Status.INVALID_FIELD):
        super().__init__(status, detail)


class DriveWarning(UserWarning):
    """The drive has a result, but something about it should be known (saturation, infinities)."""


def status_error(completion, detail=""):
    """`DriveError` of a completion (a dict of `CQE`) that is not a success."""
    return DriveError(completion["status"], detail, job=completion["index"])
