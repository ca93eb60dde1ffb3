"""Functional coverage of the engine's regression: what its jobs were and what the streams did.

Shapes and values come from the job, stalls and backpressure from the ports while it ran.
"""

from dataclasses import dataclass

from cocotb_coverage.coverage import CoverCross, CoverPoint, coverage_db, coverage_section

from rtl.config import HEAD_DIMS

__all__ = ["CORNERS", "Point", "missing", "sample", "table"]

CORNERS = (
    "normal",
    "largest V",
    "smallest V",
    "equal scores",
    "one token dominates",
    "one K channel 2^12",
    "all zero",
    "not finite",
)
"""Values that test an accumulator, a shift or a flag at its end."""


@dataclass(frozen=True)
class Point:
    """One chain of jobs, as it was seen.

    Parameters
    ----------
    head_dim, queries, passes : int
    kv, q : str
        Formats.
    partial : bool
        Whether partials were wanted.
    corner : str
        Of `CORNERS`.
    empty : bool
        A channel had no token in some pass.
    stalled : bool
        The engine was ready for a beat when none was there.
    refused : bool
        A word of the result was not taken at once.
    """

    head_dim: int
    queries: int
    passes: int
    kv: str
    q: str
    partial: bool
    corner: str
    empty: bool
    stalled: bool
    refused: bool


def _point(name, bins, see=None):
    return CoverPoint(f"engine.{name}", xf=see or (lambda p: getattr(p, name)), bins=list(bins))


_SECTION = coverage_section(
    _point("head_dim", HEAD_DIMS),
    _point("queries", range(1, 9)),
    _point("passes", ("1", "2", "more"), lambda p: str(p.passes) if p.passes < 3 else "more"),
    _point("kv", ("fp16", "bf16")),
    _point("q", ("fp16", "bf16")),
    _point("partial", (False, True)),
    _point("corner", CORNERS),
    _point("empty", (False, True)),
    _point("stalled", (False, True)),
    _point("refused", (False, True)),
    *(
        CoverCross(f"engine.{' x '.join(names)}", items=[f"engine.{name}" for name in names])
        for names in (
            ("head_dim", "queries"),
            ("head_dim", "stalled", "refused", "corner"),
            ("kv", "q", "corner"),
            ("passes", "partial", "kv"),
            ("empty", "stalled", "refused"),
        )
    ),
)


@_SECTION
def sample(point):
    """Counts a point."""


def missing():
    """Bins and crosses not seen yet, as text."""
    return [
        f"{name}: {item}"
        for name, cover in coverage_db.items()
        if isinstance(cover, CoverPoint | CoverCross)
        for item, hits in cover.detailed_coverage.items()
        if not hits
    ]


def table():
    """A line for each point and cross: bins seen and bins there are."""
    return [
        f"{name:52} {cover.coverage:4} of {cover.size}"
        for name, cover in coverage_db.items()
        if isinstance(cover, CoverPoint | CoverCross)
    ]
