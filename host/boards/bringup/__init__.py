"""Software for a board: ``instinfer.h`` and a bring-up test in C that tries a drive step by step.

===============  ==================================================================================
instinfer.h      registers, commands, records (`host.boards.header`)
addresses.h      where the block design has them, if one comes with it (`host.boards.system`)
board.c          what the board gives: registers, two blocks of memory, a character out
drive.c drive.h  management operations, queues, a sequence's tables: a drive without its firmware
bringup.c, .h    the steps: registers, host memory, dies, raw pages, append, attend
report.h         lines of text
golden.h         what is attended, and the result by two models (`golden_vectors`)
===============  ==================================================================================

C99, freestanding but for board.c: ``cc board.c drive.c bringup.c`` and where memories are.
"""

from importlib.resources import files

from ..header import c_header
from ..system import addresses_header
from .golden_vectors import golden_vectors

__all__ = ["golden_vectors", "software_files"]


def software_files(config, system=None):
    """The files above.

    Parameters
    ----------
    config : rtl.config.DriveConfig
    system : host.boards.system.System, optional
        The block design that comes with them.

    Returns
    -------
    dict of str to str
        Name -> text.
    """
    sources = {
        file.name: file.read_text()
        for file in sorted(files(__name__).iterdir(), key=lambda file: file.name)
        if file.name.endswith((".c", ".h"))
    }
    return {
        "instinfer.h": c_header(config),
        "addresses.h": addresses_header(system),
        "golden.h": golden_vectors(config),
        **sources,
    }
