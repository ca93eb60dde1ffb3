"""Jobs of the engine as arrays of words, for the stream lane."""

import numpy as np

from hls_attention.beats import Kind, beat_layout, job_layout
from tests.hls_attention.engine_bench import element_format, passes

__all__ = ["beat_words", "job_words", "query_words", "result_fields"]

TAG_BITS = {name: field.offset - 64 for name, field in beat_layout() if name != "data"}
"""Places of a beat's tags above its data."""


def job_words(jobs, max_heads, size):
    """Descriptors, uint32 [jobs, size]."""
    layout = job_layout(max_heads)
    raw = b"".join(job.descriptor(layout).to_bytes(4 * size, "little") for job in jobs)
    return np.frombuffer(raw, "<u4").reshape(-1, size)


def query_words(jobs):
    """Words of q, uint32 [words, 2]."""
    return np.concatenate([np.ascontiguousarray(job.q).view("<u4").reshape(-1, 2) for job in jobs])


def beat_words(jobs, channel):
    """All beats of a channel, uint32 [beats, 4]; the rules are those of `Job.beats`."""
    return np.concatenate([_pass(jobs[n], channel, kind) for kind, n in passes(len(jobs))])


def _pass(job, channel, kind):
    source = job.k if kind == Kind.K else job.v
    mine = np.asarray(job.order)[job.owners[job.order] == channel]
    fixed = {"kind": kind.value, "format": element_format(source).value, "job": job.beat_tag % 16}
    tags = sum(value << TAG_BITS[name] for name, value in fixed.items())
    if not len(mine):
        tags |= 1 << TAG_BITS["last_of_pass"]
        return np.array([[0, 0, tags & 0xFFFFFFFF, tags >> 32]], np.uint32)
    units = np.ascontiguousarray(source[mine]).view("<u8")
    beats = units.shape[1]
    tags = np.full(units.shape, tags | 15 << TAG_BITS["lanes"], np.uint64)
    tags |= (mine.astype(np.uint64) << np.uint64(TAG_BITS["token"]))[:, None]
    tags[:, 0] |= np.uint64(1 << TAG_BITS["first_of_unit"])
    tags[:, beats - 1] |= np.uint64(1 << TAG_BITS["last_of_unit"])
    tags[-1, -1] |= np.uint64(1 << TAG_BITS["last_of_pass"])
    for bad_channel, bad_kind, token in job.bad_beats:
        if (bad_channel, bad_kind) == (channel, kind):
            tags[mine == token, 3] |= np.uint64(1 << TAG_BITS["error"])
    return np.stack([units, tags], axis=2).view("<u4").reshape(-1, 4)


def result_fields(words, layout):
    """Words of results, uint32 [n, size], as a dict of arrays."""
    halves = np.concatenate([words, np.zeros((len(words), -words.shape[1] % 2), np.uint32)], axis=1)
    wide = np.ascontiguousarray(halves).view("<u8")
    fields = {}
    for name, field in layout:
        word, bit = divmod(field.offset, 64)
        assert bit + field.width <= 64, f"{name} crosses a word"
        mask = np.uint64((1 << field.width) - 1)
        fields[name] = wide[:, word] >> np.uint64(bit) & mask
    return fields
