"""A document of headings, paragraphs, tables and bit maps, as Markdown and as one HTML page.

A document is a list of blocks, made by the functions below. Names in text stand between backticks.
"""

import html
import re
from collections.abc import Callable
from string import Template

__all__ = ["bit_map", "heading", "markdown", "page", "paragraph", "table"]

_PAGE = Template("""\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
:root { color-scheme: light dark; --ink: #1a1c20; --paper: #fff; --faint: #6a707a; --line: #d5d9e0;
        --shade: #f2f4f8; --accent: #1f5fbf; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #dfe3ea; --paper: #14171c; --faint: #949ca8; --line: #343a44; --shade: #1d2128;
          --accent: #7fb2ff; }
}
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
       max-width: 68rem; margin: 2rem auto; padding: 0 1rem; }
a { color: var(--accent); text-decoration: none; }
h1, h2, h3 { line-height: 1.25; }
h2 { margin-top: 2.5rem; border-bottom: 1px solid var(--line); }
h3 { font-family: ui-monospace, monospace; }
nav { columns: 16rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; margin: .75rem 0; }
th, td { border: 1px solid var(--line); padding: .25rem .6rem; text-align: left;
         vertical-align: top; }
th { background: var(--shade); font-weight: 600; }
td:not(:last-child) { font-family: ui-monospace, monospace; white-space: nowrap; }
.bits { width: 100%; table-layout: fixed; font-size: 11px; }
.bits td { text-align: center; font-family: ui-monospace, monospace; overflow: hidden;
           text-overflow: ellipsis; padding: .25rem 1px; background: var(--shade); }
.bits td.free { background: none; color: var(--faint); }
.bits td.word { width: 3.5rem; background: none; border: 0; color: var(--faint); }
</style>
</head>
<body>
$body</body>
</html>
""")


def heading(level, text):
    """A heading, 1 (the title, once) to 3."""
    return ("heading", level, text)


def paragraph(text):
    """A paragraph of plain text."""
    return ("paragraph", text)


def table(columns, rows):
    """A table of plain text: names of columns, rows of as many strings."""
    return ("table", columns, rows)


def bit_map(width, words, fields):
    """Where fields lie in ``words`` words of ``width`` bits; Markdown leaves it to the tables.

    ``fields`` are ``(name, bit, width)`` in order, none across two words.
    """
    return ("bit_map", width, words, fields)


def markdown(blocks):
    """The document as Markdown."""
    return "\n".join(_MARKDOWN[kind](*rest) for kind, *rest in blocks if kind in _MARKDOWN)


def page(blocks):
    """The document as one HTML page that needs nothing else."""
    title = next(text for kind, *rest in blocks if kind == "heading" for text in rest[1:])
    return _PAGE.substitute(
        title=html.escape(title),
        body="".join(_HTML[kind](*rest) for kind, *rest in _with_contents(blocks)),
    )


def _cell(text):
    return text.replace("|", "\\|")


def _markdown_table(columns, rows):
    lines = [columns, ["---"] * len(columns), *rows]
    return "".join(f"| {' | '.join(map(_cell, line))} |\n" for line in lines)


_MARKDOWN: dict[str, Callable] = {
    "heading": lambda level, text: f"{'#' * level} {text}\n",
    "paragraph": lambda text: f"{text}\n",
    "table": _markdown_table,
}


def _with_contents(blocks):
    """The document with links to its sections behind the title."""
    sections = [text for kind, *rest in blocks if kind == "heading" for text in rest[1:]][1:]
    return [blocks[0], ("contents", sections), *blocks[1:]]


def _text(text):
    """Text with its names."""
    return re.sub("`(.+?)`", r"<code>\1</code>", html.escape(text))


def _anchor(text):
    return html.escape(text.lower().replace(" ", "-"))


def _html_contents(sections):
    links = "".join(f'<a href="#{_anchor(s)}">{html.escape(s)}</a><br>\n' for s in sections)
    return f"<nav>\n{links}</nav>\n"


def _html_table(columns, rows):
    def row(tag, cells):
        return "<tr>" + "".join(f"<{tag}>{_text(cell)}</{tag}>" for cell in cells) + "</tr>\n"

    body = row("th", columns) + "".join(row("td", cells) for cells in rows)
    return f'<div class="wide"><table>\n{body}</table></div>\n'


def _html_bit_map(width, words, fields):
    """A row for each word, its highest bit on the left."""
    rows = []
    for word in range(words):
        cells, end = [], width
        mine = [(n, bit % width, w) for n, bit, w in fields if bit // width == word]
        for name, low, bits in [*reversed(mine), ("", -1, 1)]:
            if free := end - low - bits:
                cells.append(f'<td class="free" colspan="{free}"></td>')
            if name:
                label = html.escape(name)
                cells.append(f'<td colspan="{bits}" title="{label}">{label}</td>')
            end = low
        at = f'<td class="word">{word * width // 8:02x}h</td>' if words > 1 else ""
        rows.append(f"<tr>{at}{''.join(cells)}</tr>\n")
    return f'<table class="bits">\n{"".join(rows)}</table>\n'


_HTML: dict[str, Callable] = {
    "heading": lambda level, text: (
        f'<h{level} id="{_anchor(text)}">{html.escape(text)}</h{level}>\n'
    ),
    "paragraph": lambda text: f"<p>{_text(text)}</p>\n",
    "contents": _html_contents,
    "table": _html_table,
    "bit_map": _html_bit_map,
}
