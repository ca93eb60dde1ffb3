"""gcc, as the tests of C sources call it."""

import subprocess

import pytest

__all__ = ["STRICT", "skip_unless_known"]

STRICT = ("-Wall", "-Wextra", "-Werror", "-pedantic")


def skip_unless_known(options):
    """Skips a test where the compiler cannot make code for processors of 32 bits."""
    command = ["gcc", *options, "-S", "-x", "c", "/dev/null", "-o", "/dev/null"]
    if "-m32" in options and subprocess.run(command, capture_output=True).returncode:
        pytest.skip("gcc knows no -m32 here")
