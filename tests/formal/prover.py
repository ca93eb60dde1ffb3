"""Proves the assertions of a component for all time, by k-induction, with pip packages alone.

::

    base   reset -> s1 -> ... -> sk             no assertion breaks in the first k clocks
    step   any s1 -> ... -> sk  with all held   then all hold in the next clock as well
    cover  reset -> s1 -> ... -> sn             each ``Cover`` comes true in some run

k counts up from 1. For each k the base comes first, so a broken assertion is shown by a run of the
fewest clocks. Assertions are proved together: one may lean on what the others say of the clocks
before. If the step fails for every k, an *invariant* is missing, an assertion about the inside of
the component (see `tests.formal.probe`); the message shows the run that it would have to exclude.
Covers keep assumptions honest: under assumptions that exclude everything, anything is proved.
"""

import time
from dataclasses import dataclass

import z3

from tests.formal.transition_system import TransitionSystem

__all__ = ["Counterexample", "NotInductive", "Proof", "check", "prove"]


class Counterexample(AssertionError):
    """An assertion can be broken; the message holds all ports in hexadecimal, clock by clock."""


class NotInductive(Exception):
    """Neither proved nor broken; the message holds a run from a state that may not exist."""


@dataclass(frozen=True)
class Proof:
    """All assertions hold for ever.

    Attributes
    ----------
    k : int
        Clocks that the induction looks back.
    seconds : float
        Processor time, Yosys included.
    """

    k: int
    seconds: float


def prove(component, *, deepest=12, timeout_s=120):
    """Prove every ``Assert`` of a component under its ``Assume``.

    Parameters
    ----------
    component : wiring.Component
        Its input ports take any value.
    deepest : int
        Largest k, and most clocks of a run that is searched for a broken assertion or a ``Cover``.
    timeout_s : int
        Limit of one question to the solver.

    Returns
    -------
    Proof

    Raises
    ------
    Counterexample
        An assertion breaks within ``deepest`` clocks, or a ``Cover`` comes true in none.
    NotInductive
        An invariant is missing, or ``deepest`` is too small.
    TimeoutError
        The solver found no answer.
    """
    start = time.process_time()
    system = TransitionSystem(component)
    if not system.assertions:
        raise ValueError("nothing to prove: the component has no Assert")
    from_reset, from_anywhere = _from_reset(system, timeout_s), _Run(system, timeout_s)
    for k in range(1, deepest + 1):
        _one_clock_more(from_reset)
        from_anywhere.extend()
        broken = from_anywhere.that_breaks(registers=k == deepest)
        if not broken:
            _cover(system, from_reset, deepest)
            return Proof(k, time.process_time() - start)
    raise NotInductive(
        f"holds for {deepest} clocks after reset, but an invariant is missing for what comes "
        f"later, unless this run is real: {broken}"
    )


def check(component, *, clocks=12, timeout_s=120):
    """Search the first clocks after reset, only, for the shortest run that breaks an assertion.

    Parameters
    ----------
    component, timeout_s
        As for `prove`.
    clocks : int

    Raises
    ------
    Counterexample
        An assertion breaks.
    """
    run = _from_reset(TransitionSystem(component), timeout_s)
    for _ in range(clocks):
        _one_clock_more(run)


def _from_reset(system, timeout_s):
    run = _Run(system, timeout_s)
    run.require(system.first(run.states[0]))
    return run


def _one_clock_more(from_reset):
    """No assertion breaks in the last clock of runs from reset; go to the next."""
    if broken := from_reset.that_breaks():
        clock = len(from_reset.states) - 1
        raise Counterexample(f"broken {clock} clocks after reset: {broken}")
    from_reset.extend()


def _cover(system, run, deepest):
    """Have each ``Cover`` come true in some run."""
    missing = range(len(system.covers))
    while missing:
        missing = [n for n in missing if not run.that_covers(n)]
        if missing and len(run.states) > deepest:
            places = ", ".join(system.covers[n] for n in missing)
            raise Counterexample(
                f"in no run of {deepest} clocks does this cover come true: {places}"
            )
        run.extend()


class _Run:
    """Consecutive states of which all but the last keep all assertions."""

    def __init__(self, system, timeout_s):
        self._system = system
        self._solver = z3.SolverFor("QF_BV")
        self._solver.set("timeout", timeout_s * 1000)
        self._timeout_s = timeout_s
        self.states = []
        self._add()

    def _add(self):
        state = self._system.state(len(self.states))
        self._solver.add(self._system.allowed(state))
        self.states.append(state)

    def require(self, fact):
        self._solver.add(fact)

    def extend(self):
        """Have the assertions hold in the last state, and go one clock further."""
        last = self.states[-1]
        self._solver.add(*self._system.holds(last))
        self._add()
        self._solver.add(self._system.step(last, self.states[-1]))

    def that_breaks(self, registers=False):
        """Text of a run whose last state breaks an assertion, or None if there is none."""
        # One by one, each with those before it as facts: far easier than all in one question.
        for fact in self._system.holds(self.states[-1]):
            model = self._that(z3.Not(fact))
            if model is not None:
                return self._show(model, registers)
            self._solver.add(fact)
        return None

    def that_covers(self, n):
        """Whether the last state of some run makes a cover true."""
        return self._that(self._system.covered(self.states[-1])[n]) is not None

    def _that(self, fact):
        """Model of a run with a fact, or None if there is none."""
        self._solver.push()
        try:
            self._solver.add(fact)
            answer = self._solver.check()
            if answer == z3.unknown:
                raise TimeoutError(f"no answer within {self._timeout_s} s: try a smaller component")
            return self._solver.model() if answer == z3.sat else None
        finally:
            self._solver.pop()

    def _show(self, model, registers):
        """Broken assertions, and ports clock by clock."""
        system = self._system
        places = [
            place
            for place, term in zip(system.assertions, system.holds(self.states[-1]))
            if z3.is_false(model.eval(term, model_completion=True))
        ]
        names = list(dict.fromkeys(system.ports + system.registers * registers))
        columns = [[system.value(model, name, state) for name in names] for state in self.states]
        lines = [f"{name:24}" for name in names]
        for column in columns:
            cells = [f"{value:x}" for value in column]
            width = max(map(len, cells)) + 2
            lines = [line + cell.rjust(width) for line, cell in zip(lines, cells)]
        return "\n".join([", ".join(dict.fromkeys(places)), *lines])
