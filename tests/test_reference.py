"""The reference pages say what the source does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gateway.config import Config
from gateway.config_reader import load
from gateway.http import head
from gateway.http.openapi import openapi_document
from gateway.http.routes import build_admin_app
from gateway.http.timing import STAGES
from gateway.metrics import Metrics
from tests.support.http_gateway import FakeDispatcher
from tests.support.reference import BLOCK, GENERATORS, REFERENCE, generated


@pytest.mark.parametrize("name", sorted(GENERATORS))
def test_generated_tables_are_up_to_date(name: str) -> None:
    """Every table between the comments of a page is what the source gives now."""
    page = (REFERENCE / f"{name}.md").read_text(encoding="utf-8")
    assert [match[2] for match in BLOCK.finditer(page)] == [name]
    assert page == generated(page), "run: python -m tests.support.reference"


def test_every_setting_has_a_meaning() -> None:
    """No row of the configuration's tables is without its last cell."""
    for line in GENERATORS["configuration"]().splitlines():
        assert not line.endswith("|  |"), line


def http_page() -> str:
    return (REFERENCE / "http.md").read_text(encoding="utf-8")


def test_each_operation_has_its_heading() -> None:
    """Each operation of the OpenAPI document has a heading on the page on HTTP or a row on that on the standard APIs,
    and nothing else has one."""
    paths = openapi_document(has_tunnel=True)["paths"]
    served = sorted(f"{method.upper()} {path}" for path, item in paths.items() for method in item)
    headings = re.findall(r"^## ((?:GET|POST) .*)$", http_page(), re.MULTILINE)
    standard = (REFERENCE / "standard-apis.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `((?:GET|POST) .*?)` \|", standard, re.MULTILINE)
    assert sorted(headings + rows) == served


def test_each_admin_path_is_named() -> None:
    """The page names what the admin listener serves."""
    app = build_admin_app(FakeDispatcher(), Metrics(), Config())
    for resource in app.router.resources():
        assert f"| `{resource.canonical}` |" in http_page()


def test_each_header_and_stage_is_named() -> None:
    """The page names every request header and every stage of Server-Timing."""
    for name in (head.REQUEST_ID, head.REQUEST_TIMEOUT, head.PRIORITY, head.WORKER, head.TRACEPARENT, *STAGES):
        assert f"`{name}`" in http_page()


def test_each_limit_is_a_setting() -> None:
    """Settings that the pages name as `section.setting` exist."""
    pages = [*REFERENCE.glob("*.md"), *(REFERENCE.parent / "howto").glob("*.md")]
    sections = "|".join(Config.model_fields)
    for page in pages:
        for section, field in re.findall(rf"`({sections})\.(\w+)", page.read_text(encoding="utf-8")):
            assert hasattr(getattr(Config(), section), field), f"{page.name} names {section}.{field}"


def test_the_proxy_howto_is_a_valid_configuration(tmp_path: Path) -> None:
    """The TOML that the how-to shows is taken."""
    page = (REFERENCE.parent / "howto" / "behind-a-proxy.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    file = tmp_path / "gateway.toml"
    file.write_text(text, encoding="utf-8")
    assert len(load(file, {}, {}).proxy.trusted) == 2
