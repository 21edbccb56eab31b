"""From figures in JSON to a page: in Markdown, and the same as one HTML file with its pictures.

The Markdown is rendered from the figures alone, so that no figure in it can come from elsewhere.
The HTML is rendered from the Markdown, so that both say the same.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from jinja2 import Environment, PackageLoader, StrictUndefined
from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup

METRICS, REPORT, PAGE = "metrics.json", "report.md", "report.html"
PACKAGE = "skscratch.experiments"


def write_report(
    folder: Path, metrics: dict[str, Any], template: str, package: str = PACKAGE
) -> None:
    """Write the figures of a run, and the page about them in both forms.

    Parameters
    ----------
    folder : pathlib.Path
        Where the pictures are, and the files go.
    metrics : dict
        The figures, as JSON can hold them.
    template : str
        Name of the Markdown template.
    package : str, default="skscratch.experiments"
        The package that has the template.
    """
    text = json.dumps(metrics, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
    (folder / METRICS).write_text(text, encoding="utf-8")
    page = render_markdown(template, json.loads(text), package)
    (folder / REPORT).write_text(page, encoding="utf-8")
    (folder / PAGE).write_text(render_html(page, folder), encoding="utf-8")


def render_markdown(template: str, metrics: dict[str, Any], package: str = PACKAGE) -> str:
    """Render the figures of a run as a Markdown page.

    Parameters
    ----------
    template : str
        Name of the template.
    metrics : dict
        What ``metrics.json`` holds.
    package : str, default="skscratch.experiments"
        The package that has the template.

    Returns
    -------
    str
        The page.

    Raises
    ------
    jinja2.UndefinedError
        If a figure is missing.
    """
    environment = Environment(
        loader=PackageLoader(package),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        # Markdown, not HTML: there is nothing to escape.
        autoescape=False,
    )
    environment.filters |= FILTERS
    return environment.get_template(template).render(metrics)


def _seconds(seconds: float) -> str:
    if seconds < 1:
        return f"{1000 * seconds:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s"


def _figure(value: float | None, kind: str) -> str:
    """Write a figure of a given kind, or a dash where there is none."""
    return "–" if value is None else FILTERS[kind](value)


FILTERS: dict[str, Any] = {
    "count": "{:,}".format,
    "error": "{:.5f}".format,
    "figure": _figure,
    "percent": lambda share: f"{100 * share:.2f} %",
    "scientific": "{:.2e}".format,
    "seconds": _seconds,
    "three": "{:.3f}".format,
}


def render_html(text: str, folder: Path) -> str:
    r"""Render a Markdown page as one HTML file that needs no other.

    Parameters
    ----------
    text : str
        The Markdown, which begins with a heading of the first rank.
    folder : pathlib.Path
        Where the pictures are that it names.

    Returns
    -------
    str
        The HTML. Pictures are inside, and there is no script.

    Raises
    ------
    OSError
        If a picture cannot be read.

    Examples
    --------
    >>> from pathlib import Path
    >>> from skscratch.experiments.page import render_html
    >>> html = render_html("# Title\n\n## Part one\n\nSome text.\n", Path("."))
    >>> '<a href="#part-one">Part one</a>' in html, "<p>Some text.</p>" in html
    (True, True)
    """
    parser = MarkdownIt("commonmark").enable("table")
    # The title stands first; what follows it is behind the list of contents.
    title, tokens = parser.parse(text)[1].content, parser.parse(text)[3:]
    headings = _name_headings(tokens)
    _embed_pictures(tokens, folder)
    _wrap_tables(tokens)
    environment = Environment(
        loader=PackageLoader(PACKAGE), undefined=StrictUndefined, autoescape=True
    )
    return environment.get_template("page.html.jinja").render(
        title=title,
        headings=headings,
        body=Markup(parser.renderer.render(tokens, parser.options, {})),
    )


def _name_headings(tokens: Sequence[Token]) -> list[tuple[str, str]]:
    """Give each heading of the second rank a name to point at; return names and texts."""
    headings = []
    for opening, inline in pairwise(tokens):
        if opening.type == "heading_open" and opening.tag == "h2":
            name = "-".join(inline.content.lower().replace(",", "").split())
            opening.attrSet("id", name)
            headings.append((name, inline.content))
    return headings


def _embed_pictures(tokens: Sequence[Token], folder: Path) -> None:
    for token in tokens:
        for child in token.children or []:
            if child.type == "image":
                pixels = (folder / unquote(str(child.attrs["src"]))).read_bytes()
                code = base64.b64encode(pixels).decode("ascii")
                child.attrSet("src", f"data:image/png;base64,{code}")


def _wrap_tables(tokens: list[Token]) -> None:
    """Let a table that is wider than a phone be moved sideways, instead of the whole page."""
    for k in range(len(tokens) - 1, -1, -1):
        if tokens[k].type == "table_open":
            box = Token("html_block", "", 0, content='<div class="table" tabindex="0">\n')
            tokens.insert(k, box)
        elif tokens[k].type == "table_close":
            tokens.insert(k + 1, Token("html_block", "", 0, content="</div>\n"))
