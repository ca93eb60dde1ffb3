"""A run as one JSON-ready record: `instinfer generate --json` writes it, the report shows it."""

import numpy as np

from rtl.registers import BREAKDOWN

from ..sparse import DENSE
from .sparse_record import attention_record, dense_bytes
from .traffic import batch_traffic

__all__ = ["make_batch_record", "make_record"]


def make_record(run, loaded, config, manifest, comparison=None):
    """Record of a run.

    Parameters
    ----------
    run : Run
    loaded : LoadedModel
    config : DriveConfig
    manifest : dict
        See `host.manifest`.
    comparison : dict, optional
        Name of a backend, or "float32", -> result of `host.generate.compare`.

    Returns
    -------
    dict
        Totals and fractions are over the decode steps, in which the drive computes attention;
        prefill stands apart. Whatever a backend without time cannot know is None. With sparse
        attention ``flash_share`` is of all tokens there are, reckoned from the map.
    """
    steps = [
        {
            "token": step.token,
            "context": step.context,
            **_step(step, (step.context,), (0,), run, config),
        }
        for step in run.steps
    ]
    counts = len(run.prompt_ids), len(steps)
    return {
        "text": run.text,
        "tokens": run.tokens,
        "prompt_tokens": len(run.prompt_ids),
        **_common(run, steps, counts, loaded, config, manifest, comparison),
    }


def make_batch_record(batch, loaded, config, manifest, comparison=None):
    """Record of a batch; arguments as in `make_record`.

    Returns
    -------
    dict
        As of `make_record`, with ``rows`` for its text and tokens. Steps are those of the whole
        batch; ``tokens_decoded`` and both rates count the tokens that they gave to all rows, by
        the drive's time (None without one) and by that of this computer.
    """
    steps = [
        {
            "rows": list(step.rows),
            "contexts": list(step.contexts),
            "tokens": [batch.rows[row].tokens[number] for row in step.rows],
            **_step(step, step.contexts, step.rows, batch, config),
        }
        for number, step in enumerate(batch.steps, 1)
    ]
    decoded = sum(len(step.rows) for step in batch.steps)
    counts = sum(len(row.prompt_ids) for row in batch.rows), decoded
    common = _common(batch, steps, counts, loaded, config, manifest, comparison)
    seconds, wall = common["seconds_simulated"], common["wall_seconds"]
    return {
        "rows": [
            {
                "text": row.text,
                "tokens": row.tokens,
                "prompt_tokens": len(row.prompt_ids),
                "ended": row.ended,
            }
            for row in batch.rows
        ],
        **common,
        "tokens_decoded": decoded,
        "tokens_per_second": decoded / seconds if _timed(steps) else None,
        "tokens_per_wall_second": decoded / wall if wall else None,
    }


def _timed(steps):
    return bool(steps) and steps[0]["cycles"] is not None


def _common(run, steps, counts, loaded, config, manifest, comparison):
    """What the records of a run and of a batch share; ``counts``: prompt and decoded tokens."""
    prompt_tokens, decoded = counts
    layers, heads, kv_heads, head_dim = run.shape
    timed, cycles = _timed(steps), _total(steps, "cycles")
    stats = [step.stats for step in (run.prefill, *run.steps)]
    return {
        "backend": run.backend,
        "model": {
            "name": loaded.name,
            "layers": layers,
            "heads": heads,
            "kv_heads": kv_heads,
            "head_dim": head_dim,
        },
        "attention": attention_record(run, steps, config),
        "clock_hz": config.clock_hz,
        "cycles": cycles,
        "seconds_simulated": None if cycles is None else cycles / config.clock_hz,
        "seconds_per_token": cycles / config.clock_hz / decoded if timed else None,
        "wall_seconds": sum(step["wall_seconds"] for step in steps),
        "pages_read": _total(steps, "pages_read"),
        "bytes_flash": _total(steps, "bytes_flash"),
        "bytes_tail": _total(steps, "bytes_tail"),
        "bytes_link": _total(steps, "bytes_link"),
        "channel_busy": _mean_over(steps, "channel_busy") if timed else None,
        "breakdown": _mean_breakdown(steps) if timed else None,
        "flash_share": {
            "least": min((min(step["flash_share"]) for step in steps), default=None),
            "by_channel_least": [min(s) for s in zip(*(step["flash_share"] for step in steps))],
            "pages_agree_with_map": _agree(steps),
        },
        "prefill": _prefill(run, prompt_tokens),
        "steps": steps,
        "comparison": comparison or {},
        "flags": {
            name: sum(one[name] or 0 for one in stats) for name in ("saturated", "nonfinite")
        },
        "error_correction": {
            name: _total(stats, name)
            for name in ("bits_corrected", "codewords_unrecovered", "read_retries")
        },
        "manifest": manifest,
    }


def _step(step, contexts, rows, run, config):
    layers, _, kv_heads, head_dim = run.shape
    stats, sparse = step.stats, run.attention != DENSE
    group = config.group_tokens(head_dim)
    expected = batch_traffic(config, contexts, rows, layers, kv_heads, head_dim)
    # the step that completes a group may still attend it from the tail
    ahead = [context - 1 for context in contexts]
    before = batch_traffic(config, ahead, rows, layers, kv_heads, head_dim)
    channels = stats["channels"]
    pages = expected.pages
    if channels is not None and not sparse:
        pages = np.array([c["pages_read"] for c in channels])
    tokens = expected.flash + expected.tail
    share = np.minimum(np.where(tokens > 0, pages * group / 2 / np.maximum(tokens, 1), 1.0), 1.0)
    return {
        "wall_seconds": step.wall_seconds,
        **{
            name: stats[name]
            for name in ("cycles", "seconds", "breakdown", "pages_read", "pages_programmed")
        },
        **{name: stats[name] for name in ("bytes_flash", "bytes_tail", "bytes_link", "commands")},
        **({"bytes_flash_dense": dense_bytes(config, contexts, rows, run.shape)} if sparse else {}),
        "channel_busy": stats["channel_busy"],
        "channel_pages_read": None if channels is None else [c["pages_read"] for c in channels],
        "flash_share": share.tolist(),
        "map_pages": expected.pages.tolist(),
        "pages_agree_with_map": None
        if channels is None or sparse
        else any(np.array_equal(pages, traffic.pages) for traffic in (expected, before)),
    }


def _prefill(run, tokens):
    layers, _, kv_heads, head_dim = run.shape
    return {
        "wall_seconds": run.prefill.wall_seconds,
        "cycles": run.prefill.stats["cycles"],
        "seconds": run.prefill.stats["seconds"],
        "bytes_kv": 4 * tokens * layers * kv_heads * head_dim,
        "pages_programmed": run.prefill.stats["pages_programmed"],
    }


def _total(steps, name):
    values = [step[name] for step in steps]
    return None if None in values else sum(values)


def _agree(steps):
    known = [step["pages_agree_with_map"] for step in steps]
    return None if None in known or not known else all(known)


def _mean_over(steps, name):
    weights = [step["cycles"] for step in steps]
    return np.average([step[name] for step in steps], axis=0, weights=weights).tolist()


def _mean_breakdown(steps):
    cycles = sum(step["cycles"] for step in steps)
    return {
        name: sum(step["breakdown"][name] * step["cycles"] for step in steps) / cycles
        for name in BREAKDOWN
    }
