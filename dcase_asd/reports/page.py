"""Values -> a page that needs no other file, no script and no network."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined


def render_page(values: Mapping[str, Any], template: str = "report.html.jinja") -> str:
    """The page of these values; see the template for what they are.

    Every text is escaped, and a value that is missing is an error.
    """
    here = resources.files("dcase_asd.reports")

    def read(name: str) -> str:
        return here.joinpath(name).read_text(encoding="utf-8")

    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        loader=FunctionLoader(read),
    )
    return environment.get_template(template).render(**values, css=read("page.css"))
