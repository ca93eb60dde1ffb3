"""The attention engine: number formats, kernels written once, streaming units, the engine.

`values`, `expressions`, `operators`, `hls`, `schedule`, `pipeline`
    Python HLS: a kernel is one Python function; numpy and a pipelined component come from it.
`formats`, `kernels`
    The arithmetic of attention in such kernels.
`selection_kernels`, `selection_twin`
    The same for the selection of channels and tokens, done by `selector` (once) and `estimator`
    (on each channel).
`twin`, `sparse_twin`
    A whole attend in numpy, dense or sparse, bit for bit what the hardware gives.
"""
