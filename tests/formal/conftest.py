"""``proved``: proves a contract and keeps k and seconds for the table that `make formal` prints."""

import re

import pytest

from tests.formal.prover import prove


@pytest.fixture
def proved(record_property):
    """``proved(name, contract, **limits)``; the limits are those of `tests.formal.prover.prove`."""

    def run(name, contract, **limits):
        proof = prove(contract, **limits)
        record_property("proof", [name, proof.k, proof.seconds])

    return run


def pytest_terminal_summary(terminalreporter, config):
    if "formal" not in (config.option.markexpr or "").replace("not formal", ""):
        return
    proofs = sorted(
        (
            value
            for report in terminalreporter.getreports("passed")
            for name, value in report.user_properties
            if name == "proof"
        ),
        key=lambda proof: [int(part) if part.isdigit() else part for part in _parts(proof[0])],
    )
    terminalreporter.write_line(f"\n{'proved for all time':56} {'k':>3} {'seconds':>8}")
    for name, k, seconds in proofs:
        terminalreporter.write_line(f"{name:56} {k:3} {seconds:8.1f}")
    total = sum(seconds for *_, seconds in proofs)
    terminalreporter.write_line(f"{len(proofs)} proofs{total:61.1f}")


def _parts(name):
    """Text and numbers in turn, so that depth 8 comes before depth 16."""
    return re.split(r"(\d+)", name)
