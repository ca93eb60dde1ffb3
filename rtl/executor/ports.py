"""What an executor is connected to: queue, firmware, tables, append path, engine, walkers, memory.

`rtl.executor.executor.Executor` says what each is for.
"""

from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from hls_attention.beats import job_layout
from hls_attention.selector import selection_layout

from ..append.records import append_layout, head_info_layout
from ..commands import SQE
from ..engine_config import engine_config
from ..memory_port import ADDRESS_BITS, MemoryPortSignature
from ..pages.requests import page_word_layout
from ..queues import completion_layout
from ..result_writer import outcome_layout, result_request_layout
from ..sparse.selection_ports import column_walk_layout, token_walk_layout
from ..tables import SEQUENCE
from ..walker import walk_layout

__all__ = ["executor_ports"]


def executor_ports(config):
    """Members of an executor."""
    return {
        "i": In(stream.Signature(SQE.struct)),
        "o": Out(stream.Signature(completion_layout())),
        "window_base": In(ADDRESS_BITS),
        "window_end": In(ADDRESS_BITS),
        "hold": In(1),
        "read_only": In(1),
        "mailbox": Out(1),
        "mailbox_sqe": Out(512),
        "mailbox_done": In(1),
        "mailbox_status": In(11),
        "mailbox_result": In(32),
        "o_sequence": Out(stream.Signature(data.StructLayout({"sequence": 16, "layer": 16}))),
        "i_sequence": In(stream.Signature(11)),
        "sequence": In(SEQUENCE.struct),
        "o_append": Out(stream.Signature(append_layout())),
        "i_append": In(stream.Signature(head_info_layout())),
        "o_words": Out(stream.Signature(64)),
        "o_jobs": Out(stream.Signature(job_layout(config.max_queries_per_kv))),
        "o_q": Out(stream.Signature(64)),
        "o_walk": Out(stream.Signature(walk_layout())),
        **(_selection_ports(config) if config.sparse_tokens else {}),
        "o_results": Out(stream.Signature(result_request_layout())),
        "outcome": In(outcome_layout()),
        "results_busy": In(1),
        "clear_outcome": Out(1),
        "i_readback": In(stream.Signature(page_word_layout())),
        "readback_channel": Out(max(1, ceil_log2(config.channels))),
        "spoiled": Out(1),
        "host_list": Out(MemoryPortSignature()),
        "host_data": Out(MemoryPortSignature()),
        "dram": Out(MemoryPortSignature()),
        "finished": Out(1),
        "failed": Out(1),
        "executing": Out(1),
        "quiet": Out(1),
    }


def _selection_ports(config):
    """What sparse attention adds."""
    return {
        "o_selections": Out(stream.Signature(selection_layout(engine_config(config)))),
        "o_selection_q": Out(stream.Signature(64)),
        "o_columns": Out(stream.Signature(column_walk_layout(config))),
        "o_tokens": Out(stream.Signature(token_walk_layout())),
    }
