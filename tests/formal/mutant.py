"""A component with one thing wrong: a contract that does not notice is too weak.

The fault is put into the component's own source text, so it stays one change away from the real
thing, and a test of a fault that no longer fits the text fails loudly.
"""

import inspect
import sys
import textwrap

__all__ = ["mutant"]


def mutant(component, right, wrong):
    """The class of a component, or a function, with a piece of its text replaced.

    Parameters
    ----------
    component : type or function
    right, wrong : str
        What stands there exactly once, and what is put in its place.
    """
    source = textwrap.dedent(inspect.getsource(component))
    if source.count(right) != 1:
        raise ValueError(
            f"{right!r} stands {source.count(right)} times in {component.__name__}, not once: "
            f"give another piece of its text"
        )
    names = dict(vars(sys.modules[component.__module__]))
    code = compile(source.replace(right, wrong), f"mutant of {component.__name__}", "exec")
    exec(code, names)
    return names[component.__name__]
