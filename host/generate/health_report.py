"""The health of a drive for a person: `instinfer generate --report`."""

from rich.table import Table
from rich.text import Text

__all__ = ["show_health"]


def show_health(console, health):
    """Print what `KvDrive.health` says; what a backend cannot know is left out.

    Parameters
    ----------
    console : rich.console.Console
    health : dict
    """
    console.print()
    console.print(Text("health of the drive's flash", style="bold"))
    table = Table.grid(padding=(0, 2))
    table.add_column(style="cyan", no_wrap=True)
    table.add_column()
    for label, text in _rows(health):
        table.add_row(f"  {label}", Text(text))
    console.print(table)


def _rows(h):
    if h["pages_appended"] is not None:
        text = f"{h['pages_appended']:,} pages for the host"
        if h["pages_firmware"] is not None:
            text += f", {h['pages_firmware']:,} by the firmware"
        if h["write_amplification"] is not None:
            text += f": write amplification {h['write_amplification']:.3f}"
        yield "programmed", text
    if h["erases_mean"] is not None:
        yield (
            "erased",
            f"{h['blocks_erased']:,} blocks; groups {h['erases_min']} to {h['erases_max']} times, "
            f"{h['erases_mean']:.2f} on average of {h['erases_rated']:,} rated: "
            f"{h['percentage_used']:.3g} % used",
        )
    if h["bits_corrected"] is not None:
        yield (
            "errors",
            f"{h['bits_corrected']:,} bits corrected, {h['pages_read_again']:,} pages read again, "
            f"{h['codewords_unrecovered']:,} codewords given up",
        )
    if h["reads_per_block_max"] is not None:
        more = " or more" if h["reads_per_block_max"] == h["reads_per_block_counted"] else ""
        yield (
            "read most",
            f"{h['reads_per_block_max']:,}{more} reads of one block since its last erase",
        )
    if h["blocks_bad"] is not None:
        text = (
            f"{h['blocks_bad']} bad, {h['spares_least']} spare or more in each channel; "
            f"{h['pages_moved']:,} pages moved, {h['pages_lost']} lost"
        )
        yield "blocks", text + ("; READ-ONLY" if h["read_only"] else "")
    if h["drive_writes_left"] is not None:
        text = f"{h['drive_writes_left']:,.0f} drive writes of {h['drive_bytes'] / 1e9:.3g} GB"
        if h["tokens_left"] is not None:
            text += f", {h['tokens_left']:.3g} tokens of {h['bytes_per_token'] / 1e3:.3g} kB"
        if h["years_left"] is not None:
            text += f", {h['years_left']:.3g} years without a pause"
        yield "left", text
