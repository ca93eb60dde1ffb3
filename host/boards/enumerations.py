"""Enumerations with what their source says of each value: the comment behind it, as Sphinx has it.

::

    class NandOp(enum.Enum, shape=3):
        READ = 0  # sense the row ...          ("READ", 0, "sense the row ...")
"""

import inspect
import re

__all__ = ["members"]

_LINE = re.compile(r"^    ([A-Z][A-Z0-9_]*) = [^#]*?(?:  # (.*))?$", re.M)


def members(cls):
    """``(name, value, doc)`` of each constant of a class; doc is '' where nothing is said.

    Names in it stand between single backticks.
    """
    return [
        (name, _number(getattr(cls, name)), (doc or "").replace("``", "`"))
        for name, doc in _LINE.findall(inspect.getsource(cls))
    ]


def _number(member):
    return member if isinstance(member, int) else member.value
