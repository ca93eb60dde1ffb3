"""How near sparse attention is to dense attention: ``instinfer eval``."""
