"""The drive around the attention engine: NAND channel, KV map, command queue, DMA, drive top."""
