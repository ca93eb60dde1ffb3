"""What sparse attention adds: K by channel, bounds of K, walkers over what is chosen."""
