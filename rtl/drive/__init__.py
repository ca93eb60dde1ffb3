"""The drive's top, and what it is put together from."""
