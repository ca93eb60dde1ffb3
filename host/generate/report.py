"""The report of a run, for a person: what happened in the drive, what it means, what to try."""

from rich.table import Table
from rich.text import Text

from rtl.config import DriveConfig

__all__ = ["bytes_text", "hint", "show_report", "time_text"]

LABELS = {
    "arrays": "waiting for arrays",
    "data": "bus: data",
    "command": "bus: commands",
    "engine": "engine",
    "dma": "DMA",
    "idle": "idle",
}
"""Names of the parts of time, largest first in a typical run."""

BARS = " ▁▂▃▄▅▆▇█"
LOGIT_BAR = 2e-2
"""Largest logit difference to golden that still counts as the same arithmetic."""


def show_report(console, record, pictures=()):
    """Print the report of a record.

    Parameters
    ----------
    console : rich.console.Console
    record : dict
        See `host.generate.record`.
    pictures : list of path
        Files to point to.
    """
    if not record["steps"]:
        console.print(
            ("\nAll answers" if "rows" in record else "\nThe answer")
            + " ended with the first token, which prefill on the host gives: "
            "no decode step ran in the drive."
        )
        return
    console.print()
    per = f"step of the batch ({len(record['rows'])} rows)" if "rows" in record else "token"
    console.print(Text(f"what happened in the drive, per {per}", style="bold"))
    table = Table.grid(padding=(0, 2))
    table.add_column(style="cyan", no_wrap=True)
    table.add_column()
    for label, text in _rows(record):
        table.add_row(f"  {label}", text)
    for label, path in pictures:
        table.add_row(f"  {label}", Text.assemble((str(path), "underline")))
    console.print(table)
    console.print()
    console.print(Text("next: ", style="bold") + Text(_next(record)))


def _rows(record):
    yield "time", _time(record)
    if record["breakdown"] is not None:
        yield "", _breakdown(record)
    if "rows" in record:
        yield "batch", _rate(record)
    yield "read inside", _traffic(record)
    sparse = record["attention"]["kind"] != "dense"
    if sparse:
        yield "attention", _selected(record["attention"])
        yield "bytes saved", _saved(record["attention"], len(record["steps"]))
    if record["channel_busy"] is not None:
        yield "channels", _channels(record)
    if not sparse:
        yield "from flash", _share(record)
    if record["error_correction"]["bits_corrected"] is not None:
        yield "corrected", _corrected(record)
    if text := hint(record):
        yield "hint", Text(text, style="yellow")
    if record["comparison"]:
        yield "same tokens", _comparison(record)
    for flag, count in record["flags"].items():
        if count:
            yield "flag", Text(f"{flag} in {count} commands", style="bold red")


def _time(record):
    steps = len(record["steps"])
    wall = record["wall_seconds"] / steps
    if record["seconds_per_token"] is None:
        per = "step" if "rows" in record else "token"
        return Text(
            f"this backend has no clock: --backend rtl simulates the drive cycle by cycle "
            f"({wall:.2f} s per {per} on this computer)"
        )
    rate = record["cycles"] / record["wall_seconds"]
    return Text.assemble(
        (time_text(record["seconds_simulated"] / steps), "bold"),
        f" at {record['clock_hz'] / 1e6:g} MHz   simulated in {wall:.2f} s, "
        f"{_count(rate)} cycles/s",
    )


def _rate(record):
    decoded, computer = record["tokens_decoded"], record["tokens_per_wall_second"]
    drive = record["tokens_per_second"]
    text = Text(f"{decoded} tokens in {len(record['steps'])} steps: ")
    if drive is not None:
        text.append(f"{drive:,.0f} tokens/s", style="bold").append(" by the drive's clock, ")
    return text.append(f"{computer:.3g} tokens/s on this computer")


def _breakdown(record):
    parts = sorted(record["breakdown"].items(), key=lambda item: -item[1])
    return Text("  ".join(f"{LABELS[name]} {_percent(value)}" for name, value in parts))


def _traffic(record):
    steps = len(record["steps"])
    flash, tail, link = (
        record[name] / steps for name in ("bytes_flash", "bytes_tail", "bytes_link")
    )
    ratio = (flash + tail) / link if link else 0
    dense = record["attention"]["kind"] == "dense"
    return Text.assemble(
        (bytes_text(flash), "bold"),
        f" from flash ({record['pages_read'] / steps:,.0f} {'pages' if dense else 'reads'}) "
        f"+ {bytes_text(tail)} tail   over the link ",
        (bytes_text(link), "bold"),
        f"   (1 : {ratio:,.0f})",
    )


def _selected(attention):
    head_dim, kept, tokens = (attention[name] for name in ("head_dim", "kept", "tokens"))
    besides = ", besides the others" if attention["forced"] == "besides" else ""
    estimated = f"K of {attention['channels']} of {head_dim} channels"
    if attention["kind"] == "bounds":
        estimated = "bounds of K of all tokens"
    text = Text.assemble(
        ({"sparf": "SparF", "bounds": "by bounds"}[attention["kind"]], "bold"),
        f", {estimated}, K and V of {_span(kept)} of "
        f"{_span(tokens)} tokens (the first {attention['sinks']} and the last "
        f"{attention['window']} always{besides})",
    )
    if attention["ratio"] is not None:
        text.append(f"; asked for: {attention['meaning']}")
    return text


def _span(range):
    least, most = f"{range['least']:,}", f"{range['most']:,}"
    return least if least == most else f"{least} to {most}"


def _saved(attention, steps):
    read, dense, saved = (
        attention[name] / steps for name in ("bytes_flash", "bytes_flash_dense", "bytes_saved")
    )
    how = {"sparf": "kept by channel", "bounds": "in bounds"}[attention["kind"]]
    said = f" from flash, dense attention would have read {bytes_text(dense)}"
    if saved <= 0:
        return Text(
            f"none: {bytes_text(read)}{said}; whole codewords are read, and K of tokens that are "
            f"not yet {how}: sparse attention is for longer contexts"
        )
    return Text.assemble(
        (f"{bytes_text(saved)}, {_percent(saved / dense)}", "bold"), f": {bytes_text(read)}{said}"
    )


def _channels(record):
    busy = record["channel_busy"]
    bars = "".join(BARS[min(round(value * 8 + 0.49), 8)] for value in busy)
    low, high = (f"{100 * value:.0f}" for value in (min(busy), max(busy)))
    span = low if low == high else f"{low}-{high}"
    return Text.assemble(
        (bars, "green"),
        f"   bus busy {span} % of the time",
    )


def _share(record):
    share = record["flash_share"]
    channels = share["by_channel_least"]
    text = Text.assemble(
        ("at least " + _percent(share["least"]), "bold"),
        f" of the attended tokens of every step, on each of {len(channels)} channels",
    )
    agree = share["pages_agree_with_map"]
    if agree is False:
        text.append("   pages read do NOT agree with the map", style="bold red")
    else:
        text.append("; pages read agree with the map" if agree else "; reckoned from the map")
    return text


def _corrected(record):
    counts = record["error_correction"]
    bits, retries, lost = (
        counts[name] for name in ("bits_corrected", "read_retries", "codewords_unrecovered")
    )
    text = Text.assemble((f"{bits:,}", "bold"), f" bits in all; {retries:,} pages read again")
    if lost:
        text.append(f"; {lost:,} codewords lost", style="bold red")
    return text


def _comparison(record):
    compared = record["comparison"]
    others = {name: c for name, c in compared.items() if name != "float32"}
    text = Text()
    same = [name for name, c in others.items() if c["same_tokens"]]
    if same:
        text.append(" = ".join([record["backend"], *same]), style="bold green")
    for name, c in others.items():
        if not c["same_tokens"]:
            text.append(f"  {name} prefers another token at {_place(c)}", style="bold red")
    text.append("   largest logit difference")
    for name, c in compared.items():
        delta = c["max_logit_difference"]
        if delta is None:
            continue
        to = "the unmodified float32 model" if name == "float32" else name
        bad = name == "golden" and delta > LOGIT_BAR
        text.append(f"  {delta:.2g}" if delta else "  0", style="bold red" if bad else "bold")
        text.append(f" to {to}")
        if name == "float32" and not c["same_tokens"]:
            text.append(f" (which prefers another token at {_place(c)})")
    return text


def _place(comparison):
    """Where a comparison first differs: a token, of a row if there are several."""
    place = comparison["first_difference"]
    return f"{place[1]} of row {place[0]}" if isinstance(place, list) else str(place)


def hint(record):
    """What limits this run, and what to try; empty where the backend has no time."""
    parts = record["breakdown"]
    if parts is None:
        return ""
    flash = record["manifest"]["configuration"]
    longer = "longer prompts" if "rows" in record else "a longer --prompt-file"
    first = max(parts, key=parts.get)
    share = f"{_percent(parts[first])} of the time"
    if first == "arrays":
        return _arrays_hint(record, share, flash, longer)
    if first == "data":
        if flash["channels"] < 16:
            return f"{share} the buses carry pages: try --channels {2 * flash['channels']}"
        return f"{share} the buses carry pages: try --set profile=tlc_onfi5, a faster interface"
    if first == "command":
        return (
            f"{share} goes into commands and addresses: larger pages need fewer, "
            "try --set profile=tlc_onfi5"
        )
    if first == "engine":
        return (
            f"{share} only the engine works: try a higher clock, "
            f"--set clock_hz={flash['clock_hz'] * 6 // 5}"
        )
    if first == "dma":
        return f"{share} goes into moving q, k, v and results: try {longer}"
    return f"{share} nothing happens in the drive: the host is late with the next command"


def _arrays_hint(record, share, flash, longer):
    layers, dies = record["model"]["layers"], flash["channels"] * flash["dies"]
    steps = len(record["steps"]) * layers
    reads = record["pages_read"] / steps
    t_read = DriveConfig(**flash).flash.timing.t_r_ns * 1e-9
    waits = record["seconds_simulated"] * record["breakdown"]["arrays"] / steps / t_read
    said = (
        f"{share} is tR ({time_text(t_read)}): a layer reads {reads:.0f} pages from {dies} dies "
        f"and waits {waits:.1f} tR for them"
    )
    if reads < 2 * dies:
        return f"{said}; longer contexts share the wait, try {longer}"
    return f"{said}; more dies hide it, try --set dies={min(2 * flash['dies'], 64)}"


def _next(record):
    if record["backend"] != "rtl":
        kind = record["attention"]["kind"]
        return "instinfer generate --backend rtl" + f" --attention {kind}" * (kind != "dense")
    if not record["comparison"]:
        return "instinfer generate --compare   ·   instinfer schedule --clock 300   ·   make test"
    return "instinfer generate --channels 4   ·   instinfer schedule --clock 300   ·   make test"


def time_text(seconds):
    """A duration with a fitting unit."""
    for factor, unit in ((1, "s"), (1e3, "ms"), (1e6, "us")):
        if seconds * factor >= 1:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"


def bytes_text(count):
    """A number of bytes with a fitting decimal unit."""
    for factor, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= factor:
            return f"{count / factor:.3g} {unit}"
    return f"{count:.0f} bytes"


def _count(value):
    for factor, unit in ((1e6, "M"), (1e3, "k")):
        if value >= factor:
            return f"{value / factor:.3g} {unit}"
    return f"{value:.0f}"


def _percent(value):
    return f"{100 * value:.0f} %" if value == 0 or value >= 0.01 else f"{100 * value:.1g} %"
