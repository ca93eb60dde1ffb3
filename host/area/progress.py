"""The progress bar of ``instinfer area``, on standard error."""

__all__ = ["area_bar"]


def area_bar(unit):
    """A bar that counts so many of a unit."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    return Progress(
        TextColumn("{task.description:34}"),
        BarColumn(),
        TextColumn("{task.completed:>6,.0f} / {task.total:,.0f} " + unit),
        TimeElapsedColumn(),
        console=Console(stderr=True),
    )
