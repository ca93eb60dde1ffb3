"""What `KvDrive.stats` reports: raw counters, and fractions of time derived from them."""

from rtl.registers import BREAKDOWN, CHANNEL_COUNTERS, COUNTERS

__all__ = ["REPAIRS", "difference", "statistics"]

_SHARES = ("data", "command", "waiting", "idle")
REPAIRS = ("blocks_bad", "pages_moved", "pages_lost", "pages_compacted", "pages_refreshed")
_OWN = ("saturated", "nonfinite", "simulated_clocks", *REPAIRS)


def statistics(backend, clock_hz, counters, channels, own):
    """Statistics dict.

    Parameters
    ----------
    backend : str
    clock_hz : int
    counters : dict
        `rtl.registers.COUNTERS`, None where the backend does not have one.
    channels : list of dict, or None
        `rtl.registers.CHANNEL_COUNTERS` of each channel.
    own : dict
        ``saturated`` and ``nonfinite`` (commands whose result had that flag), ``simulated_clocks``
        (clocks really simulated; fewer than cycles where idle stretches were skipped),
        ``blocks_bad`` (those delivered so included), ``pages_moved`` and ``pages_lost`` (of blocks
        that went bad), ``pages_compacted`` (moved to gain space), ``pages_refreshed`` (moved since
        they were read too often); None where there are no cells.

    Returns
    -------
    dict
        All counters by name; ``seconds``, ``breakdown`` (fractions of all cycles, summing to 1),
        ``channels`` (fractions and pages of each), ``channel_busy`` (fraction of time that each
        channel's bus carries data or commands), ``bytes_link``. None marks what a backend without
        time cannot know. Times are cumulative: see `difference`.
    """
    stats = {
        "backend": backend,
        "clock_hz": clock_hz,
        **{name: counters[name] for name in COUNTERS},
        **{name: own.get(name) for name in _OWN},
        "channel_counters": channels,
    }
    return _derive(stats)


def difference(new, old):
    """Statistics of what happened between two results of `KvDrive.stats`."""
    stats = {"backend": new["backend"], "clock_hz": new["clock_hz"]}
    for name in (*COUNTERS, *_OWN):
        stats[name] = None if new[name] is None else new[name] - old[name]
    channels = new["channel_counters"]
    stats["channel_counters"] = channels and [
        {name: a[name] - b[name] for name in CHANNEL_COUNTERS}
        for a, b in zip(channels, old["channel_counters"], strict=True)
    ]
    return _derive(stats)


def _fractions(values):
    total = sum(values.values())
    return {name: value / total if total else 0.0 for name, value in values.items()}


def _derive(stats):
    stats["bytes_link"] = stats["bytes_link_in"] + stats["bytes_link_out"]
    cycles, channels = stats["cycles"], stats["channel_counters"]
    stats["seconds"] = None if cycles is None else cycles / stats["clock_hz"]
    stats["breakdown"] = (
        None if cycles is None else _fractions({name: stats[f"time_{name}"] for name in BREAKDOWN})
    )
    stats["channels"] = channels and [
        {
            **_fractions({name: channel[name] for name in _SHARES}),
            "pages_read": channel["pages_read"],
            "pages_programmed": channel["pages_programmed"],
        }
        for channel in channels
    ]
    stats["channel_busy"] = channels and [c["data"] + c["command"] for c in stats["channels"]]
    return stats
