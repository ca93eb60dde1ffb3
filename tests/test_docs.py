"""Pages and docstrings against the tree: files and modules that they name, and where links lead."""

import fnmatch
import re

import pytest

from tests.test_project import ROOMS, ROOT

PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
FILES = sorted(
    str(path.relative_to(ROOT))
    for path in (
        *ROOT.glob("*.*"),
        *(p for f in (*ROOMS, "tests", "docs") for p in (ROOT / f).rglob("*")),
    )
    if "__pycache__" not in path.parts
)
HOMES = "|".join((*ROOMS, "tests", "docs"))


def is_there(name):
    """Whether a file or folder has this name, or this end of its path; `*` is any part of one."""
    return bool(fnmatch.filter(FILES, name) or fnmatch.filter(FILES, f"*/{name}"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_a_page_names_are_there(page):
    text = page.read_text()
    names = re.findall(r"[\w./*-]*\w\*?\.(?:py|md)\b", re.sub(r"https?://\S+", "", text))
    # Verilog and HTML of these names are in a board's folder, which `instinfer verilog` writes
    names += re.findall(rf"(?<![\w/.-])(?:{HOMES})/(?![\w/]*\.(?:v|html)\b)[\w./*-]*\w", text)
    names = {re.sub(r"^(\.\./|\./)+", "", name) for name in names}
    missing = sorted(name for name in names if not is_there(name.rstrip("/")))
    assert not missing, f"{page.relative_to(ROOT)}: {', '.join(missing)}"


def slug(heading):
    """The anchor of a heading, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_of_a_page_lead_somewhere(page):
    wrong = []
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if re.match(r"\w+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if not target.exists():
            wrong.append(link)
        elif anchor:
            headings = re.findall(r"^#+ (.*)$", target.read_text(), re.M)
            if anchor not in map(slug, headings):
                wrong.append(link)
    assert not wrong, f"{page.relative_to(ROOT)}: {', '.join(wrong)}"


def dotted(text):
    """Names of modules and what is in them, in backticks, as docstrings and pages have them."""
    return re.findall(rf"`((?:{'|'.join((*ROOMS, 'tests'))})(?:\.\w+)+)[`(]", text)


def resolves(name):
    """Whether a dotted name is a module, or something that a module has by its text."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        path = ROOT.joinpath(*parts[:length])
        for module in (path.with_suffix(".py"), path / "__init__.py"):
            if module.is_file():
                rest = parts[length:]
                return all(re.search(rf"\b{part}\b", module.read_text()) for part in rest)
        if path.is_dir():
            return length == len(parts)
    return False


@pytest.mark.parametrize("room", (*ROOMS, "tests", "docs"))
def test_modules_that_a_text_names_are_there(room):
    pages = [path for kind in ("*.py", "*.md") for path in (ROOT / room).rglob(kind)]
    wrong = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in pages
        for name in dotted(path.read_text())
        if not resolves(name)
    ]
    assert pages and not wrong, "\n".join(wrong)
