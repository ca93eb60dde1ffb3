"""Progress of a run: one line per test file, printed when its last test has ended.

::

    tests/rtl/nand/test_sequencer.py      12 passed                 3.4 s

Works alone and under pytest-xdist. With ``-v`` pytest's own line per test comes back.
"""

from collections import Counter

import pytest


@pytest.hookimpl(trylast=True)  # after the terminal reporter has been made
def pytest_configure(config):
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or hasattr(config, "workerinput") or config.get_verbosity() > 0:
        return
    reporter.showfspath = False
    config.pluginmanager.register(FileLines(reporter), "file-lines")


class FileLines:
    """Counts outcomes per file and prints a file's line once nothing of it is left to run.

    Parameters
    ----------
    reporter : pytest.TerminalReporter
        Where lines go; it keeps the statistics and prints the closing summary.
    """

    def __init__(self, reporter):
        self._reporter = reporter
        self._pending = {}
        self._outcomes = {}
        self._seconds = Counter()

    def _expect(self, nodeids):
        self._pending = {}
        for nodeid in nodeids:
            self._pending.setdefault(_file(nodeid), set()).add(nodeid)

    def pytest_collection_finish(self, session):
        if session.items:
            self._expect(item.nodeid for item in session.items)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, node, ids):
        if not self._pending:
            self._expect(ids)

    @pytest.hookimpl(wrapper=True)
    def pytest_report_teststatus(self, report, config):
        category, _mark, word = yield
        if category and isinstance(report, pytest.TestReport):
            self._outcomes.setdefault(_file(report.nodeid), Counter())[category] += 1
        return category, "", word

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report):
        path = _file(report.nodeid)
        self._seconds[path] += report.duration
        if report.when == "teardown":
            left = self._pending.get(path, set())
            left.discard(report.nodeid)
            if not left:
                self._line(path)

    def pytest_sessionfinish(self):
        for path, left in self._pending.items():
            if left and path in self._outcomes:
                self._line(path, f"{len(left)} not run")

    def _line(self, path, note=""):
        outcomes = self._outcomes.pop(path, Counter())
        parts = [f"{n} {category}" for category, n in outcomes.items()] + [note] * bool(note)
        bad = note or outcomes["failed"] or outcomes["error"]
        self._reporter.ensure_newline()
        self._reporter.write_line(
            f"{path:56} {', '.join(parts):24} {self._seconds[path]:8.1f} s",
            **({"red": True} if bad else {"green": True}),
        )


def _file(nodeid):
    return nodeid.split("::")[0]
