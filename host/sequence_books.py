"""What the host knows of a drive's sequences, and whether what it is asked for is possible."""

from collections import Counter
from dataclasses import dataclass, field

from cosim.reference import UNIT_TOKENS, FloatFormat
from rtl.commands import AttendMode, Status

from .backends import Job
from .checks import checked_array, checked_integer, checked_queries
from .errors import DriveError, DriveTypeError
from .packing import job_bytes
from .sparse import DENSE

__all__ = ["Sequence", "SequenceBooks", "cut_into_commands"]

INDEX_BYTES = {"none": 0, "channel": 2, "bounds": 1 / UNIT_TOKENS}
"""Of what is kept of K besides, for a token and channel, by `host.checks.INDEXES`."""


@dataclass
class Sequence:
    """What the host knows of a sequence."""

    kv_heads: int
    head_dim: int
    max_tokens: int
    format: FloatFormat
    tokens: list = field(default_factory=list)  # stored, per layer
    index: str = "none"
    closed: bool = False


class SequenceBooks(dict):
    """`Sequence` by number.

    Parameters
    ----------
    config : DriveConfig

    Attributes
    ----------
    appended_tokens : float
        Tokens that were appended, in all layers.
    appended_bytes : int
        Of their K and V, and of what is kept of K besides.
    """

    def __init__(self, config):
        super().__init__()
        self._config = config
        self.appended_tokens, self.appended_bytes = 0.0, 0

    def grew(self, sequence, layer, tokens):
        """A layer holds so many tokens more."""
        entry = self[sequence]
        entry.tokens[layer] += tokens
        self.appended_tokens += tokens / len(entry.tokens)
        bytes_of_channel = 4 + INDEX_BYTES[entry.index]
        self.appended_bytes += int(tokens * entry.kv_heads * entry.head_dim * bytes_of_channel)

    def entry(self, sequence, layer):
        """An open sequence's entry; `DriveError` if it, or the layer, is not there."""
        sequence = checked_integer("sequence", sequence)
        layer = checked_integer("layer", layer)
        entry = self.get(sequence)
        if entry is None:
            raise DriveError(Status.UNKNOWN_SEQUENCE, f"sequence {sequence}")
        if entry.closed:
            raise DriveError(Status.CLOSED_SEQUENCE, f"sequence {sequence}")
        if not 0 <= layer < len(entry.tokens):
            raise DriveError(
                Status.LAYER_OUT_OF_RANGE, f"layer {layer} is not in 0..{len(entry.tokens) - 1}"
            )
        return entry

    def checked_tokens(self, sequence, layer, k, v):
        """K and V that may be appended to a layer, as arrays."""
        entry = self.entry(sequence, layer)
        wanted = {"tokens": None, "kv_heads": entry.kv_heads, "head_dim": entry.head_dim}
        k = checked_array("k", k, wanted, [entry.format])
        v = checked_array("v", v, {**wanted, "tokens": len(k)}, [entry.format])
        if len(k) == 0:
            raise DriveError(Status.ZERO_LENGTH, "k and v hold no token")
        self.check_room([(sequence, layer)] * len(k))
        return k, v

    def check_room(self, grown):
        """Whether a token more for each (sequence, layer) of a list has room; else `DriveError`."""
        for (sequence, layer), count in Counter(grown).items():
            entry = self[sequence]
            total = entry.tokens[layer] + count
            if total > entry.max_tokens:
                raise DriveError(
                    Status.CONTEXT_EXCEEDED,
                    f"{total} tokens in layer {layer} of sequence {sequence}, "
                    f"which was opened for {entry.max_tokens}",
                )

    def checked_job(self, job, ahead, attention):
        """`Job` of a tuple that `KvDrive.submit` was given, with what sparse attention selects.

        ``ahead`` counts the tokens that earlier jobs append, by (sequence, layer).
        """
        if not isinstance(job, tuple | list) or len(job) not in (3, 5):
            raise DriveTypeError(
                f"a job is {job!r:.60}: give (sequence, layer, q) or (sequence, layer, q, k, v)"
            )
        sequence, layer, q, k, v = job if len(job) == 5 else (*job, None, None)
        entry = self.entry(sequence, layer)
        q = checked_queries(q, entry, self._config.max_queries_per_kv)
        steps = len(job) == 5
        if steps:
            wanted = {"kv_heads": entry.kv_heads, "head_dim": entry.head_dim}
            k, v = (checked_array(n, x, wanted, [entry.format]) for n, x in (("k", k), ("v", v)))
            ahead[sequence, layer] += 1
        elif entry.tokens[layer] == 0:
            raise DriveError(Status.EMPTY_CONTEXT, f"layer {layer} of sequence {sequence}")
        size = job_bytes(len(q), entry.kv_heads, entry.head_dim, steps)
        if size > self._config.max_attend:
            raise DriveError(
                Status.UNSUPPORTED_SHAPE,
                f"a job of {len(q)} query heads has {size} bytes, "
                f"one command takes {self._config.max_attend}",
            )
        tokens = entry.tokens[layer] + ahead[sequence, layer]
        selection, mode = None, AttendMode.DENSE
        if attention != DENSE:
            mode = attention.mode
            selection = attention.selection(entry.head_dim, tokens)
            self._check_selectable(sequence, layer, tokens, attention.index)
        return Job(sequence, layer, q, k, v, tokens, selection, mode)

    def _check_selectable(self, sequence, layer, tokens, index):
        """Whether so many tokens of a layer can be attended sparsely; else `DriveError`."""
        if self[sequence].index != index:
            raise DriveError(
                Status.NO_INDEX,
                f"sequence {sequence} was opened with index={self[sequence].index!r}, this "
                f"attention needs open(index={index!r})",
            )
        if tokens > self._config.sparse_tokens:
            raise DriveError(
                Status.SELECTION_EXCEEDED,
                f"{tokens} tokens in layer {layer} of sequence {sequence}, this drive selects from "
                f"sparse_tokens = {self._config.sparse_tokens} at most",
            )


def cut_into_commands(jobs):
    """Positions of jobs, cut into commands: one head_dim each, and no layer stepped twice."""
    runs, seen, head_dim = [], set(), None
    for position, job in enumerate(jobs):
        key = (job.sequence, job.layer)
        if not runs or job.q.shape[1] != head_dim or (job.k is not None and key in seen):
            runs.append([])
            seen, head_dim = set(), job.q.shape[1]
        runs[-1].append(position)
        seen.add(key)
    return runs
