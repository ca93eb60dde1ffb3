"""Pages between the channel and its users: requests, codewords, readback, writing."""
