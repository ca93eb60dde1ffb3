"""Texts of a board's folder from the templates beside this file."""

from pathlib import Path

import jinja2

__all__ = ["render"]

_ENVIRONMENT = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
    autoescape=False,
)


def render(template, **values):
    """Text of a template, ``NAME.j2``; a value that it wants and is not given is an error."""
    return _ENVIRONMENT.get_template(f"{template}.j2").render(**values)
