"""A small Tcl interpreter, for scripts of boards where Python comes without Tcl.

What the scripts use of the language, by the twelve rules of Tcl(n): words, braces, quotes, the
three substitutions, lists, and the commands of `Tcl.BUILTINS`. Anything else is an error. Its
methods are those of ``tkinter.Tcl()``, against which ``test_tcl.py`` holds it.
"""

import operator
import re
import shutil
from pathlib import Path

__all__ = ["Tcl", "TclError"]

WORDS = [lambda a, b: a == b, lambda a, b: a != b]
"""``eq`` and ``ne``: never of numbers."""

COMPARISONS = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
    "eq": WORDS[0],
    "ne": WORDS[1],
}

OPERATOR = re.compile(r"\|\||[=!<>]=|[<>]|(?:eq|ne)\b")


class TclError(Exception):
    """A script is wrong, or says so with ``error``."""


class Tcl:
    """An interpreter with global variables alone."""

    BUILTINS = (
        "error file foreach if info lappend lindex list llength puts set source string".split()
    )

    def __init__(self):
        self._variables = {}
        self._scripts = []
        self._commands = {name: getattr(self, f"_do_{name}") for name in self.BUILTINS}

    def createcommand(self, name, function):
        """Make a Python function a command."""
        self._commands[name] = function

    def setvar(self, name, value):
        """Set a variable; a tuple is a list."""
        self._variables[name] = _list(value) if isinstance(value, tuple) else str(value)

    def splitlist(self, text):
        """Elements of a list."""
        return tuple(_split(text))

    def eval(self, text):
        """Run a script: the result of its last command."""
        return self._run(text, 0, "")[0]

    def _run(self, text, at, end):
        """Commands up to the character ``end``: the last result, and where it went on to."""
        result = ""
        while True:
            at = re.compile(r"(?:[\s;]|\\\n)*").match(text, at).end()
            if text[at : at + 1] == "#":
                at = re.compile(r"(?:\\.|[^\n\\])*", re.S).match(text, at).end()
                continue
            if text[at : at + 1] == end:
                return result, at + len(end)
            if at >= len(text):
                raise TclError("missing close-bracket")
            words, at = self._words(text, at, end)
            result = self._call(words)

    def _words(self, text, at, end):
        words = []
        while True:
            at = re.compile(r"(?:[ \t]|\\\n)*").match(text, at).end()
            if text[at : at + 1] in ("", "\n", ";") or text[at : at + 1] == end:
                return words, at
            if text[at] == "{":
                word, at = _braced(text, at)
            elif text[at] == '"':
                word, at = self._substituted(text, at + 1, '"')
                at += 1
            else:
                word, at = self._substituted(text, at, " \t\n;" + end)
            words.append(word)
            if at < len(text) and text[at] not in " \t\n;\\" + end:
                raise TclError(f"extra characters behind a word: {text[at : at + 20]!r}")

    def _substituted(self, text, at, stops):
        """Text up to one of some characters, substituted, and where that is."""
        out = []
        while at < len(text) and text[at] not in stops:
            if text[at] == "$" and (name := re.compile(r"\$(?:(\w+)|\{(\w+)\})").match(text, at)):
                out.append(self._value(name[1] or name[2]))
                at = name.end()
            elif text[at] == "[":
                value, at = self._run(text, at + 1, "]")
                out.append(value)
            elif text[at] == "\\":
                if newline := re.compile(r"\\\n[ \t]*").match(text, at):
                    if " " in stops:
                        break
                    out.append(" ")
                    at = newline.end()
                else:
                    out.append({"n": "\n", "t": "\t"}.get(text[at + 1], text[at + 1]))
                    at += 2
            else:
                out.append(text[at])
                at += 1
        if at >= len(text) and '"' in stops:
            raise TclError('missing "')
        return "".join(out), at

    def _value(self, name):
        if name not in self._variables:
            raise TclError(f'can\'t read "{name}": no such variable')
        return self._variables[name]

    def _call(self, words):
        if words[0] not in self._commands:
            raise TclError(f'invalid command name "{words[0]}"')
        return str(self._commands[words[0]](*words[1:]) or "")

    def _condition(self, text):
        """Whether an expression is true: comparisons, 0 or 1, and ``||`` between them."""
        sides, at = [[]], 0
        while text[at:].strip():
            at = re.compile(r"\s*").match(text, at).end()
            if found := OPERATOR.match(text, at):
                at = found.end()
                if found[0] == "||":
                    sides.append([])
                else:
                    sides[-1].append(COMPARISONS[found[0]])
                continue
            if text[at] == "{":
                value, at = _braced(text, at)
            elif text[at] == '"':
                value, at = self._substituted(text, at + 1, '"')
                at += 1
            else:
                value, at = self._substituted(text, at, " \t\n=!<>&|()")
            sides[-1].append(value)
        return any([_compared(side, text) for side in sides])

    def _do_set(self, name, *value):
        if value:
            (self._variables[name],) = value
        return self._value(name)

    def _do_lappend(self, name, *values):
        before = self._variables.get(name, "")
        self._variables[name] = " ".join(filter(None, (before, _list(values))))
        return self._variables[name]

    def _do_list(self, *values):
        return _list(values)

    def _do_llength(self, text):
        return str(len(_split(text)))

    def _do_lindex(self, text, index):
        return dict(enumerate(_split(text))).get(int(index), "")

    def _do_error(self, message):
        raise TclError(message)

    def _do_puts(self, message):
        print(message)

    def _do_foreach(self, names, values, body):
        names, values = _split(names), _split(values)
        for at in range(0, len(values), len(names)):
            for name, value in zip(names, [*values[at : at + len(names)], *[""] * len(names)]):
                self._variables[name] = value
            self.eval(body)

    def _do_if(self, condition, body, *rest):
        if self._condition(condition):
            return self.eval(body)
        if rest and rest[0] == "elseif":
            return self._do_if(*rest[1:])
        if rest and rest[0] == "else":
            return self.eval(rest[1])
        return ""

    def _do_string(self, *words):
        if words[:-1] != ("is", "double", "-strict"):
            raise TclError(f"string {words[0]} is not known here")
        try:
            float(words[-1])
        except ValueError:
            return "0"
        return "1"

    def _do_info(self, what):
        if what != "script":
            raise TclError(f"info {what} is not known here")
        return self._scripts[-1]

    def _do_source(self, path):
        self._scripts.append(str(path))
        try:
            return self.eval(Path(path).read_text())
        finally:
            self._scripts.pop()

    def _do_file(self, action, *names):
        options, names = names[: names[0] == "-force"], names[names[0] == "-force" :]
        if action == "dirname":
            return str(Path(*names).parent)
        if action == "normalize":
            return str(Path(*names).absolute())
        if action == "join":
            return str(Path(*names))
        if action == "mkdir":
            return Path(*names).mkdir(parents=True, exist_ok=True)
        if action == "copy" and options:
            shutil.copy(*names)
            return ""
        raise TclError(f"file {action} is not known here")


def _braced(text, at):
    """What is in braces, and where it ends."""
    depth, start = 0, at + 1
    while at < len(text):
        if text[at] == "\\":
            at += 1
        elif text[at] == "{":
            depth += 1
        elif text[at] == "}":
            depth -= 1
            if not depth:
                return re.sub(r"\\\n[ \t]*", " ", text[start:at]), at + 1
        at += 1
    raise TclError("missing close-brace")


def _split(text):
    elements, at = [], 0
    while text[at:].strip():
        at = re.compile(r"\s*").match(text, at).end()
        if text[at] == "{":
            element, at = _braced(text, at)
        elif text[at] == '"':
            end = text.index('"', at + 1)
            element, at = text[at + 1 : end], end + 1
        else:
            end = re.compile(r"(?:\\.|\S)+", re.S).match(text, at).end()
            element, at = re.sub(r"\\(.)", r"\1", text[at:end]), end
        elements.append(element)
    return elements


def _list(values):
    return " ".join(_element(str(value)) for value in values)


def _element(value):
    plain = value and not re.search(r'[\s"\\{}\[\]$;]', value)
    return value if plain else f"{{{value}}}"


def _compared(side, text):
    if side in (["0"], ["1"]):
        return side == ["1"]
    if len(side) != 3 or not callable(side[1]):
        raise TclError(f"not a comparison of two values: {text!r}")
    left, compare, right = side
    if compare not in WORDS:
        try:
            left, right = float(left), float(right)
        except ValueError:
            pass
    return compare(left, right)
