"""A progress bar that follows a simulated drive's clock."""

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

__all__ = ["LaneProgress"]


class LaneProgress(Progress):
    """Progress over the cycles of several runs of simulated drives; on standard error.

    `watch` a lane, and its cycles move the bar while it runs.
    """

    def __init__(self):
        self._lane = None
        self._from = 0
        super().__init__(
            TextColumn("{task.description:50}"),
            BarColumn(),
            TextColumn("{task.completed:>7,.0f} k / {task.total:,.0f} k cycles"),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            transient=True,
        )

    def begin(self, total):
        """Shows a bar of ``total`` cycles."""
        self._done = 0
        self._task = self.add_task("", total=total / 1e3)

    def title(self, text):
        """Names what runs now."""
        self.update(self._task, description=text)

    def watch(self, lane):
        """Follows this lane from now on; None: its cycles count as done."""
        if self._lane is not None:
            self._done += self._lane.cycle - self._from
        self._lane, self._from = lane, lane.cycle if lane is not None else 0

    def get_renderables(self):
        """Moves the bar to where the lane is."""
        if (lane := self._lane) is not None:
            self.update(self._task, completed=(self._done + lane.cycle - self._from) / 1e3)
        return super().get_renderables()
