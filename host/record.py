"""A run as one JSON-ready record: `instinfer generate --json` writes it, the report shows it."""

import numpy as np

from rtl.registers import BREAKDOWN

from .traffic import expected_traffic

__all__ = ["make_record"]


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
        Name of a backend, or "float32", -> result of `host.compare`.

    Returns
    -------
    dict
        Totals and fractions are over the decode steps, in which the drive computes attention;
        prefill stands apart. Whatever a backend without time cannot know is None.
    """
    steps = [_step(step, run, config) for step in run.steps]
    layers, heads, kv_heads, head_dim = run.shape
    timed = bool(steps) and steps[0]["cycles"] is not None
    cycles = _total(steps, "cycles")
    return {
        "text": run.text,
        "tokens": run.tokens,
        "prompt_tokens": len(run.prompt_ids),
        "backend": run.backend,
        "model": {
            "name": loaded.name,
            "layers": layers,
            "heads": heads,
            "kv_heads": kv_heads,
            "head_dim": head_dim,
        },
        "clock_hz": config.clock_hz,
        "cycles": cycles,
        "seconds_simulated": None if cycles is None else cycles / config.clock_hz,
        "seconds_per_token": cycles / config.clock_hz / len(steps) if timed else None,
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
        "prefill": _prefill(run, layers, kv_heads, head_dim),
        "steps": steps,
        "comparison": comparison or {},
        "flags": {
            name: sum(step.stats[name] or 0 for step in run.all_steps)
            for name in ("saturated", "nonfinite")
        },
        "error_correction": {
            name: _total([step.stats for step in run.all_steps], name)
            for name in ("bits_corrected", "codewords_unrecovered", "read_retries")
        },
        "manifest": manifest,
    }


def _step(step, run, config):
    layers, _, kv_heads, head_dim = run.shape
    stats = step.stats
    group = config.group_tokens(head_dim)
    expected = expected_traffic(config, step.context, layers, kv_heads, head_dim)
    # the step that completes a group may still attend it from the tail
    before = expected_traffic(config, step.context - 1, layers, kv_heads, head_dim)
    channels = stats["channels"]
    pages = expected.pages if channels is None else np.array([c["pages_read"] for c in channels])
    tokens = expected.flash + expected.tail
    share = np.minimum(np.where(tokens > 0, pages * group / 2 / np.maximum(tokens, 1), 1.0), 1.0)
    return {
        "token": step.token,
        "context": step.context,
        "wall_seconds": step.wall_seconds,
        **{
            name: stats[name]
            for name in ("cycles", "seconds", "breakdown", "pages_read", "pages_programmed")
        },
        **{name: stats[name] for name in ("bytes_flash", "bytes_tail", "bytes_link", "commands")},
        "channel_busy": stats["channel_busy"],
        "channel_pages_read": None if channels is None else pages.tolist(),
        "flash_share": share.tolist(),
        "map_pages": expected.pages.tolist(),
        "pages_agree_with_map": None
        if channels is None
        else any(np.array_equal(pages, traffic.pages) for traffic in (expected, before)),
    }


def _prefill(run, layers, kv_heads, head_dim):
    tokens = len(run.prompt_ids)
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
