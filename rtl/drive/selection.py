"""The part of a drive that attends sparsely: two walkers more, and their ways.

::

    Executor --selections, q--> Engine (selector) --mask, verdicts--.
        |                                                           v
        '--walks--> ColumnWalker, TokenWalker --requests--> RequestMerge --> channels, TailReader
                                             Walker ------------^
"""

from amaranth.lib.wiring import connect

from ..engine_config import engine_config
from ..request_merge import RequestMerge
from ..sparse.column_walker import ColumnWalker
from ..sparse.token_walker import TokenWalker

__all__ = ["connect_selection"]


def connect_selection(m, config, executor, engine, walker):
    """Adds the walkers of selections; those of passes go with them to the channels.

    Returns
    -------
    merge : RequestMerge
        Where the requests of all walkers come out.
    ports : list
        Read ports of device DRAM.
    blocks : list
        What has to be quiet.
    """
    geometry = config.flash.geometry
    columns = ColumnWalker(config, engine.o_mask.payload.shape())
    tokens = TokenWalker(config, engine_config(config).select.lane_rows)
    merge = RequestMerge(geometry)
    m.submodules.column_walker = columns
    m.submodules.token_walker = tokens
    m.submodules.requests = merge
    connect(m, executor.o_selections, engine.i_selections)
    connect(m, executor.o_selection_q, engine.i_selection_q)
    connect(m, executor.o_columns, columns.i)
    connect(m, executor.o_tokens, tokens.i)
    connect(m, engine.o_mask, columns.i_mask)
    connect(m, tokens.verdicts, engine.verdicts)
    for name, block in (("dense", walker), ("columns", columns), ("tokens", tokens)):
        for index in range(geometry.channels):
            connect(m, block.o[index], getattr(merge, name)[index])
        connect(m, block.o_tail, getattr(merge, f"{name}_tail"))
    m.d.comb += [
        merge.columns_ask.eq(columns.tail_ask),
        merge.tokens_ask.eq(tokens.tail_ask),
        columns.tail_grant.eq(merge.columns_grant),
        tokens.tail_grant.eq(merge.tokens_grant),
    ]
    return merge, [columns.read, tokens.read], [columns, tokens, merge]
