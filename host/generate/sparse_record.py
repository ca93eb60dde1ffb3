"""What a run attended, for its record and report, and what that saved of reads from flash."""

from fractions import Fraction

from ..sparse import DENSE
from .traffic import batch_traffic

__all__ = ["attention_record", "dense_bytes", "meaning"]


def attention_record(run, steps, config):
    """How the decode steps of a run attended.

    Parameters
    ----------
    run : Run or Batch
    steps : list of dict
        Its steps as `host.generate.record` has them, with ``bytes_flash`` and
        ``bytes_flash_dense``.
    config : DriveConfig

    Returns
    -------
    dict
        ``kind``, "dense", "sparf" or "bounds"; of the latter two their selection too, ``kept``
        least and most over all steps and rows, what the ratio means in words, and bytes read from
        flash, for K by channel or bounds that steps complete included, against those that dense
        attention would have read.
    """
    sparse = run.attention
    if sparse == DENSE:
        return {"kind": DENSE}
    head_dim = run.shape[3]
    contexts = [n for step in steps for n in step.get("contexts") or [step["context"]]]
    kept = [min(n, sparse.selection(head_dim, n).kept) for n in contexts]
    read, dense = (
        sum(step[name] for step in steps) for name in ("bytes_flash", "bytes_flash_dense")
    )
    return {
        "kind": sparse.kind,
        "ratio": sparse.ratio,
        "channels": sparse.selection(head_dim, 1).channels,
        "head_dim": head_dim,
        "kept": {"least": min(kept, default=None), "most": max(kept, default=None)},
        "tokens": {"least": min(contexts, default=None), "most": max(contexts, default=None)},
        "sinks": sparse.sinks,
        "window": sparse.window,
        "forced": sparse.forced,
        "sparse_tokens": config.sparse_tokens,
        "meaning": meaning(sparse),
        "bytes_flash": read,
        "bytes_flash_dense": dense,
        "bytes_saved": dense - read,
        "share_of_dense": read / dense if dense else None,
    }


def dense_bytes(config, contexts, rows, shape):
    """Bytes that a dense step reads from flash, by the map: the newest token, and all of a group
    that it completes, is still in the tail. Parameters as of `batch_traffic`."""
    layers, _, kv_heads, head_dim = shape
    ahead = [context - 1 for context in contexts]
    flash = batch_traffic(config, ahead, rows, layers, kv_heads, head_dim).flash
    return int(flash.sum()) * 4 * head_dim


_MEANINGS = {
    "sparf": "the elements of K and V that dense attention reads, half of these for some channels "
    "of all K, half for K and V of some tokens",
    "bounds": "the bytes of K and V that dense attention reads, 1/16 for the bounds, the rest for "
    "K and V of some tokens",
}


def meaning(sparse):
    """What a ratio asks for, in words; empty without one."""
    if sparse.ratio is None:
        return ""
    fraction = Fraction(sparse.ratio).limit_denominator(64)
    ratio = fraction if float(fraction) == sparse.ratio else f"{sparse.ratio:g}"
    return f"{ratio} of {_MEANINGS[sparse.kind]}"
