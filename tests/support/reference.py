"""The generated parts of the reference pages: tables that come from the source, between two comments of a page.

`python -m tests.support.reference` writes them anew; tests/test_reference.py fails when a page differs.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from gateway.config import Config, Section, sections_of
from gateway.dispatch.policies import POLICIES
from gateway.dispatch.settings import DispatchSettings
from gateway.http.errors import CODE_BY_STATUS, STATUS_BY_ERROR
from gateway.http.gauges import fleet_gauges
from gateway.metrics import Metrics
from tests.support.http_gateway import FakeDispatcher

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"
BLOCK = re.compile(r"(<!-- begin: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)

LIBRARY_ERRORS = {
    400: "The request is not well-formed HTTP.",
    404: "There is nothing at this path.",
    405: "The path does not take this method; `Allow` says which it takes.",
    417: "The `Expect` header asks for something else than `100-continue`.",
    431: "The request line or a header is too long, or there are too many headers.",
    500: "A bug. The log has the traceback under the request id.",
}


def row(*cells: str) -> str:
    return "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |"


def table(*names: str, rows: list[str]) -> str:
    return "\n".join([row(*names), row(*["---"] * len(names)), *rows]) + "\n"


# ---- errors


def errors_table() -> str:
    """Every code with its status, sorted by both."""
    rows = []
    for error, entry in STATUS_BY_ERROR.items():
        retry = "" if entry.retry_after_s is None else f"{entry.retry_after_s:g} s unless it is known better"
        text = (inspect.getdoc(error) or "").removesuffix(" Always carries `retry_after_s`.")
        rows.append((entry.status, error.code, text, retry))
    known = {error.code for error in STATUS_BY_ERROR}
    for status, code in CODE_BY_STATUS.items():
        if code not in known:
            rows.append((status, code, LIBRARY_ERRORS[status], ""))
    lines = [row(str(status), f"`{code}`", text, retry) for status, code, text, retry in sorted(rows)]
    return table("Status", "`code`", "When", "`Retry-After`", rows=lines)


# ---- metrics


def metrics_table() -> str:
    """Every series with its type and labels."""
    metrics = Metrics()
    metrics.watch(lambda: fleet_gauges(FakeDispatcher()))
    labels = {tally._name: tally._labels for tally in metrics.registry._collector_to_names if hasattr(tally, "_labels")}
    labels |= {name: tuple(names) for name, (_, names, _) in fleet_gauges(FakeDispatcher()).items()}
    rows = []
    for family in metrics.registry.collect():
        name = family.name + ("_total" if family.type == "counter" else "")
        shown = ", ".join(f"`{label}`" for label in labels[family.name])
        rows.append(row(f"`{name}`", family.type, shown, family.documentation))
    return table("Name", "Type", "Labels", "Meaning", rows=sorted(rows))


# ---- configuration


def configuration_tables() -> str:
    """A heading and a table for each section."""
    return "\n".join(_section(name, section) for name, section in sections_of().items())


def _section(name: str, section: type[Section]) -> str:
    described = _docstrings_of(DispatchSettings) if name == "dispatch" else {}
    about = inspect.getdoc(DispatchSettings if name == "dispatch" else section) or ""
    schema = section.model_json_schema()["properties"]
    defaults = getattr(Config(), name)
    rows = [
        row(
            f"`{field}`",
            _allowed(schema[field]),
            _shown(getattr(defaults, field)),
            described.get(field) or info.description or "",
        )
        for field, info in section.model_fields.items()
    ]
    first = about.partition("\n\n")[0]
    return f"## [{name}]\n\n{first}\n\n" + table("Setting", "Allowed", "Default", "Meaning", rows=rows)


def _docstrings_of(owner: type) -> dict[str, str]:
    """The string under each field of a class."""
    found: dict[str, str] = {}
    (definition,) = ast.parse(inspect.getsource(owner)).body
    assert isinstance(definition, ast.ClassDef)
    for field, text in zip(definition.body, definition.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
            assert isinstance(field.target, ast.Name)
            found[field.target.id] = inspect.cleandoc(str(text.value.value))
    return found


def _allowed(schema: dict[str, Any]) -> str:
    """A field's JSON schema in words."""
    if "anyOf" in schema:
        kinds = [_allowed(one) for one in schema["anyOf"] if one.get("type") != "null"]
        return " or ".join(kinds) + ", or nothing"
    if schema.get("title") == "Policy":
        return ", ".join(f"`{policy}`" for policy in POLICIES)
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    kind = {"integer": "whole number", "number": "number", "boolean": "`true`, `false`", "array": "list"}
    text = "path" if schema.get("format") == "path" else kind.get(schema.get("type", ""), "text")
    return ", ".join([text, *_bounds(schema)])


def _bounds(schema: dict[str, Any]) -> Iterator[str]:
    for key, words in (
        ("minimum", "at least {}"),
        ("exclusiveMinimum", "more than {}"),
        ("maximum", "at most {}"),
        ("minLength", "at least {} character"),
    ):
        if key in schema:
            yield words.format(
                f"{schema[key]:,}".replace(",", "\u202f") if isinstance(schema[key], int) else f"{schema[key]:g}"
            )


def _shown(value: object) -> str:
    if value is None or value == () or value == "":
        return "nothing"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


# ---- pages

GENERATORS: dict[str, Callable[[], str]] = {
    "errors": errors_table,
    "metrics": metrics_table,
    "configuration": configuration_tables,
}


def generated(page: str) -> str:
    """The page with its blocks as they should be."""
    return BLOCK.sub(lambda match: match[1] + GENERATORS[match[2]]() + match[3], page)


def main() -> None:
    for path in REFERENCE.glob("*.md"):
        old = path.read_text(encoding="utf-8")
        new = generated(old)
        if new != old:
            path.write_text(new, encoding="utf-8")
            print(f"wrote {path}")


if __name__ == "__main__":
    main()
