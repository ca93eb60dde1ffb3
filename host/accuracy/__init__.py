"""How near sparse attention is to dense attention: ``instinfer eval``."""

from .command import add_eval

__all__ = ["add_eval"]
