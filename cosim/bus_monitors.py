"""The protocol monitor on every channel of a running lane.

::

    lane --events of all channels--> BusMonitors --clock by clock--> a ProtocolMonitor for each
"""

from collections import Counter

from flash_model.monitor import ProtocolError, ProtocolMonitor

__all__ = ["BusMonitors"]


class BusMonitors:
    """Watches the buses of a lane, as its ``watch``. Memory does not grow with the run.

    Parameters
    ----------
    profile : flash_model.profiles.Profile
        Geometry and times that are to be kept.
    clock_hz : int
        Core clock.
    page_order : bool
        Check the order of programs inside a block, see `ProtocolMonitor`.

    Attributes
    ----------
    commands : list of Counter
        Of each channel: (die, command byte) -> how often, over all losses of power.
    pages_out : list of int
        Of each channel: data phases that were output of a page.
    violations : list of (int, flash_model.monitor.Violation)
        Channel and violation.
    """

    def __init__(self, profile, clock_hz, *, page_order=False):
        self._fresh = lambda: ProtocolMonitor(profile, clock_hz, page_order=page_order)
        channels = range(profile.geometry.channels)
        self._monitors = [self._fresh() for _ in channels]  # since the power came last
        self.commands = [Counter() for _ in channels]
        self.pages_out = [0 for _ in channels]
        self.violations = []

    def __call__(self, events):
        """Take an array of `cosim.bus_record.BUS_DTYPE`: what follows on the events before."""
        monitors = self._monitors
        for cycle, ready, channel, die, symbol, strobe, byte in events.tolist():
            if cycle == 0:  # the power has come
                self._collect(channel)
                monitors[channel] = self._fresh()
            monitors[channel].observe(cycle, die, symbol, strobe, byte, ready)
        for channel in range(len(monitors)):
            self._collect(channel)

    def check(self):
        """Raise `ProtocolError` with the first violations, if there are any."""
        if self.violations:
            shown = "\n".join(
                f"channel {channel}: {what}" for channel, what in self.violations[:10]
            )
            raise ProtocolError(f"{len(self.violations)} violations:\n{shown}")

    def count(self, *given):
        """How often one of these command bytes was given, by channel."""
        return [sum(seen[at] for at in seen if at[1] in given) for seen in self.commands]

    def _collect(self, channel):
        monitor = self._monitors[channel]
        self.commands[channel].update((die, byte) for _, die, byte in monitor.commands)
        self.violations += [(channel, violation) for violation in monitor.violations]
        self.pages_out[channel] += monitor.pages_out
        monitor.pages_out = 0
        monitor.commands.clear()
        monitor.violations.clear()
