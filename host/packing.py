"""Data of commands as bytes: K, V of APPEND, job lists of ATTEND and STEP (`rtl.commands`)."""

import numpy as np

from cosim.reference import PARTIAL_HEADER, Partial
from rtl.commands import JOB, JOB_STATUS, MEMORY_PAGE

from .checks import FORMATS

__all__ = [
    "cut_jobs",
    "job_bytes",
    "list_bytes",
    "pack_append",
    "pack_jobs",
    "result_bytes",
    "unpack_partials",
]

_JOB_FIELDS = np.dtype(
    {
        "names": list(JOB.fields),
        "formats": [f"<u{field.width // 8}" for field in JOB.fields.values()],
        "offsets": [field.offset // 8 for field in JOB.fields.values()],
        "itemsize": JOB.size,
    }
)


def pack_append(k, v):
    """Data of APPEND for [tokens, kv_heads, head_dim]: per head all K, then all V."""
    return np.stack([k, v]).transpose(2, 0, 1, 3).tobytes()


def job_bytes(q_heads, kv_heads, head_dim, step):
    """Bytes that one job adds to the data of its command."""
    return JOB.size + 2 * head_dim * (q_heads + (2 * kv_heads if step else 0))


def cut_jobs(jobs, kv_heads, limit):
    """Slices of ``jobs`` whose data fit one command of ``limit`` bytes each."""
    starts, room = [], 0
    for number, (job, heads) in enumerate(zip(jobs, kv_heads, strict=True)):
        size = job_bytes(len(job.q), heads, job.q.shape[1], job.k is not None)
        if size > room:
            starts.append(number)
            room = limit
        room -= size
    return [slice(a, b) for a, b in zip(starts, [*starts[1:], len(jobs)], strict=True)]


def list_bytes(size):
    """Bytes of the page list that a data pointer to ``size`` bytes needs."""
    pages = -(-size // MEMORY_PAGE)
    return 8 * (pages - 1) if pages > 2 else 0


def result_bytes(job, passes=None):
    """Bytes of a job's result, its status included; ``passes``: of partials of so many passes."""
    heads, dim = job.q.shape
    return JOB_STATUS.size + (job.q.nbytes if passes is None else 8 * passes * heads * (dim + 2))


def pack_jobs(jobs, kv_heads, passes):
    """Data of ATTEND or STEP.

    Parameters
    ----------
    jobs : list of host.backends.Job
    kv_heads : list of int
        KV heads of each job's sequence.
    passes : list
        For each job the passes whose partials are wanted, None: attention is.

    Returns
    -------
    data : bytes
    offsets : list of int
        Byte offset of each job's result from the result address.
    size : int
        Bytes of all results.
    """
    table = np.zeros(len(jobs), _JOB_FIELDS)
    parts, at, offsets, size = [], JOB.size * len(jobs), [], 0
    for entry, job, heads, count in zip(table, jobs, kv_heads, passes, strict=True):
        entry["sequence"], entry["layer"] = job.sequence, job.layer
        entry["queries"] = len(job.q) // heads
        entry["q_format"] = [format.dtype for format in FORMATS].index(job.q.dtype)
        entry["q_offset"], entry["result_offset"] = at, size
        for name, value in job.selection._asdict().items() if job.selection else ():
            entry[name] = value
        parts.append(job.q.tobytes())
        at += job.q.nbytes
        if job.k is not None:
            entry["kv_offset"] = at
            parts.append(np.stack([job.k, job.v], axis=1).tobytes())
            at += 2 * job.k.nbytes
        offsets.append(size)
        size += result_bytes(job, count)
    return table.tobytes() + b"".join(parts), offsets, size


def unpack_partials(raw, kv_heads, passes, head_dim):
    """`Partial` of each pass, over all query heads, from the words that the drive wrote."""
    by_head = np.frombuffer(raw, "<u8").reshape(kv_heads, passes, -1, head_dim + 2)
    words = by_head.transpose(1, 0, 2, 3).reshape(passes, -1, head_dim + 2)

    def field(name, header):
        field = PARTIAL_HEADER[name]
        value = header >> np.uint64(field.offset) & np.uint64((1 << field.width) - 1)
        value = value.astype(np.int64)
        signed = name in ("m", "v_exp")
        return value - ((value >> field.width - 1) << field.width) if signed else value

    return [
        Partial(
            m=field("m", one[:, 0]),
            l=one[:, 1].astype(np.int64),
            o=one[:, 2:].astype(np.int64),
            v_exp=field("v_exp", one[:, 0]),
            poisoned=field("poisoned", one[:, 0]) != 0,
            saturated=bool(field("saturated", one[:, 0]).any()),
        )
        for one in words
    ]
