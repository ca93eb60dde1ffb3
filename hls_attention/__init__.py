"""The attention engine: number formats, kernels written once, streaming units, the engine.

`values`, `expressions`, `operators`, `hls`, `schedule`, `pipeline`
    Python HLS: a kernel is one Python function; numpy and a pipelined component come from it.
`formats`, `kernels`
    The arithmetic of attention in such kernels.
`selection_kernels`, `selection_twin`
    The same for the selection of channels and tokens, whose units are `top_channels`,
    `selection_keys`, `radix_select`, `selection_filter`; not yet part of the engine.
`twin`, `sparse_twin`
    A whole attend in numpy, dense or sparse, bit for bit what the hardware gives.
"""
