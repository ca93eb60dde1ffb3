"""Error correction at line rate: BCH, CRC-32 and scrambler between the channel and its flash."""
