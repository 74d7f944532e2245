"""One HTML page that needs nothing but itself: no network, no script, no file beside it.

Everything that comes from outside is escaped here, at the one place where text becomes HTML, and the page forbids
itself to load or run anything, should that ever fail.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from pathlib import Path

from bench.report.figures import Picture
from bench.report.svg import DARK, LIGHT, clean

MAX_TEXT = 2000
"""Characters of one text from outside, such as a command."""
MAX_CELL = 80
"""Characters of a cell of a table."""
POLICY = "default-src 'none'; style-src 'unsafe-inline'"
STYLE = Path(__file__).with_name("style.css")


def page(title: str, parts: Iterable[str]) -> str:
    """The whole document. `parts` are HTML already."""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{text(title)}</title>
<style>
:root {{ color-scheme: light dark; {_variables(LIGHT)} }}
@media (prefers-color-scheme: dark) {{ :root {{ {_variables(DARK)} }} }}
{STYLE.read_text(encoding="utf-8").strip()}
</style>
</head>
<body>
<main>
{chr(10).join(parts)}
</main>
</body>
</html>
"""


def _variables(colours: dict[str, str]) -> str:
    return " ".join(f"--{name}: {value};" for name, value in colours.items())


def text(outside: object, length: int = MAX_TEXT) -> str:
    """Anything as text of the page."""
    return html.escape(clean(str(outside), length))


def section(title: str, *parts: str) -> str:
    """A heading and what belongs to it."""
    return f"<section>\n<h2>{text(title)}</h2>\n" + "\n".join(parts) + "\n</section>"


def cards(*parts: str) -> str:
    """Beside each other where there is room, below each other on a phone."""
    return '<div class="cards">\n' + "\n".join(parts) + "\n</div>"


def figure(picture: Picture) -> str:
    """A picture with its title and caption; a wide one takes a row of its own."""
    kind = "tile row two" if len(picture.svgs) > 1 else "tile"
    drawn = "\n".join(picture.svgs)
    return (
        f'<figure class="{kind}">\n<h3>{text(picture.title)}</h3>\n{drawn}\n'
        f"<figcaption>{text(picture.caption)}</figcaption>\n</figure>"
    )


def table(
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[object]],
    note: str = "",
    *,
    words: int = 1,
    longest: int = MAX_CELL,
) -> str:
    """The first `words` columns hold text, the others numbers; `longest`: characters of a cell. It scrolls by itself
    where a phone is too narrow."""

    def cell(tag: str, place: int, value: object, scope: str) -> str:
        kind = "text" if place < words else "far"
        return f'<{tag} class="{kind}"{scope}>{text(value, longest)}</{tag}>'

    head = "".join(cell("th", place, name, ' scope="col"') for place, name in enumerate(columns))
    head = f"<thead><tr>{head}</tr></thead>\n" if any(columns) else ""
    body = []
    for row in rows:
        first = cell("th", 0, row[0], ' scope="row"')
        body.append(f"<tr>{first}{''.join(cell('td', place, one, '') for place, one in enumerate(row[1:], 1))}</tr>")
    return (
        f'<div class="tile"><h3>{text(title)}</h3>{paragraph(note, dim=True) if note else ""}\n'
        f'<div class="scroll" tabindex="0" role="region" aria-label="{text(title)}">\n'
        f'<table aria-label="{text(title)}">\n{head}<tbody>\n' + "\n".join(body) + "\n</tbody></table></div></div>"
    )


def verdicts(found: Sequence[str]) -> str:
    """What must be known before a number is quoted."""
    if not found:
        return "<p>Nothing speaks against these numbers.</p>"
    return '<ul class="verdicts">' + "".join(f"<li>{text(one)}</li>" for one in found) + "</ul>"


def paragraph(words: str, *, dim: bool = False) -> str:
    """One, of text."""
    return f'<p class="dim">{text(words)}</p>' if dim else f"<p>{text(words)}</p>"
