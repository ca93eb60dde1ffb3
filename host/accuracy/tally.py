"""Figures and bytes of all methods, collected run by run, as rows of a table."""

__all__ = ["Tally"]


class Tally:
    """What was found with each method.

    Parameters
    ----------
    cases : list of host.accuracy.cases.Case

    Attributes
    ----------
    methods : list of host.accuracy.methods.Method
        Each once, however many cases share it.
    """

    def __init__(self, cases):
        self._cases = cases
        self.methods = list(dict.fromkeys(case.method for case in cases))
        self._found = {method: [] for method in (None, *self.methods)}
        self._bytes = {method: [0, 0, 0] for method in self.methods}

    def title(self, method):
        """Name and ratio of the first case of a method."""
        case = next(case for case in self._cases if case.method == method)
        return f"{case.name} {case.ratio:.4g}"

    def add_dense(self, figures):
        """Takes the figures of dense attention in one window or trial."""
        self._found[None].append(figures)

    def add(self, run, figures):
        """Takes those of a `host.accuracy.emulation.Run`, and what it moved."""
        self._found[run.method].append(figures)
        for n, size in enumerate((run.moved, run.elements, run.dense)):
            self._bytes[run.method][n] += size

    def rows(self, summary):
        """A row for dense attention and each case; ``summary`` makes a dict of its figures."""
        yield {
            "method": "dense",
            "ratio": 1.0,
            "moved": 1.0,
            "elements": 1.0,
            **summary(self._found[None]),
        }
        for case in self._cases:
            moved, elements, whole = self._bytes[case.method]
            yield {
                "method": case.name,
                "ratio": case.ratio,
                "moved": (elements if case.elements else moved) / whole,
                "elements": elements / whole,
                **summary(self._found[case.method]),
            }
