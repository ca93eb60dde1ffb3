"""Watches a channel's bus and says what a controller did that ONFI does not allow.

Written from the times of the profile and the standard's text. It shares nothing with the controller
and nothing with the die model, which ignores what is illegal and goes on: it sees the symbols that
cross the PHY and the pins R/B# and WP#, and keeps a picture of each die of its own. What it looks
for is in `rules`.
"""

from .monitor import ProtocolMonitor
from .rules import RULES, ProtocolError, Violation

__all__ = ["RULES", "ProtocolError", "ProtocolMonitor", "Violation"]
