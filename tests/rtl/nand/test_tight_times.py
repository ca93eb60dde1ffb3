"""The controller keeps the interface's times, and waits for hardly more than those.

The protocol monitor is given one time that is longer than the controller knows. It must tell that
time, and no other: so it looks at the right place, and the controller waits no longer than that.
The commands of a sequence follow each other to the clock; to choose the next takes up to three.
"""

import pytest

from rtl.nand.operations import NandOp

CLOCK_NS = 10  # of the bench
READ = {"op": NandOp.READ, "row": 3, "words": 2}
STATUS = {"op": NandOp.STATUS}

# Operations that have the time on their way, the clocks that are too much, what they are called.
CASES = {
    "t_wc_ns": ([READ], 1, {"tWC"}),
    "t_whr_ns": ([STATUS], 1, {"tWHR"}),
    "t_rpre_ns": ([STATUS], 1, {"tWHR"}),  # the preamble comes after tWHR
    "t_adl_ns": ([{"op": NandOp.PROGRAM, "row": 3, "words": 1}], 1, {"tADL"}),
    "t_rr_ns": ([READ], 4, {"tRR"}),
    "t_rhw_ns": ([STATUS, {**STATUS, "die": 1}], 2, {"tRHW"}),
    "t_ccs_ns": ([READ, {**READ, "column": 1}, {**READ, "row": 4}], 4, {"tCCS"}),
    "t_wb_ns": ([{"op": NandOp.RESET}, STATUS], 4, {"tWB"}),
}


@pytest.mark.parametrize("name", CASES)
def test_a_little_more_would_be_too_much(bench, name):
    ops, clocks, rules = CASES[name]
    words = [0 for op in ops if op["op"] == NandOp.PROGRAM]
    for more, broken in ((clocks - 1, set()), (clocks, rules)):
        t = bench().profile.timing
        b = bench(watched={name: getattr(t, name) + more * CLOCK_NS})
        b.run(ops, words, broken=broken)
