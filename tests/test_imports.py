"""Who may import whom (docs/explanation/architecture.md), read from the syntax trees of the source.

Each rule is a row in one of the tables below; a broken one fails with the file, the line and the name. Imports inside
functions and under TYPE_CHECKING count like any other: a door is a door.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OURS = ("wire", "gateway", "edge_worker")

NEVER = {
    "wire": ("gateway", "edge_worker"),
    "gateway": ("edge_worker",),
    "edge_worker": ("gateway",),
    "gateway.dispatch": ("wire", "gateway.http", "gateway.tunnel", "gateway.direct", "gateway.cluster"),
    "gateway.http": ("wire", "gateway.tunnel", "gateway.cluster"),
    "gateway.tunnel": ("gateway.http", "gateway.cluster"),
    "gateway.cluster": ("gateway.http", "gateway.tunnel"),
    "gateway.direct": ("wire", "gateway.http", "gateway.tunnel", "gateway.cluster"),
    "gateway.client": ("wire", "gateway.app", "gateway.config", "gateway.dispatch", "gateway.errors", "gateway.http"),
}
"""The left never imports the right. http and tunnel meet in dispatch; both ends of the tunnel meet in wire."""

BUT = {"gateway.http": ("wire.forwarding",)}
"""What it may all the same: the rules by which both ends of a tunnel pass on HTTP, which `gateway.tunnel` knows not."""

ONLY_FROM = {
    "gateway.app": ("gateway/cli.py",),
    "gateway.cli": ("gateway/__main__.py",),
    "edge_worker.app": ("edge_worker/cli.py",),
    "edge_worker.serve": ("edge_worker/cli.py",),
    "edge_worker.local": ("edge_worker/cli.py", "edge_worker/local_report.py"),
    "edge_worker.cli": ("edge_worker/__main__.py",),
    "bench": (),
    "demo": (),
    "tests": (),
}
"""Roots of the tree: what knows everyone is known by nobody, but for the files named here."""

DOORS = {
    # app.py hands what http and tunnel built to each other, and names its type; the other two wrap the WebSocket
    "aiohttp": (
        "gateway/http/*",
        "gateway/app.py",
        "gateway/client/connection.py",
        "gateway/direct/connection.py",
        "gateway/tunnel/server.py",
        "gateway/tunnel/channel.py",
        "edge_worker/http/*",
    ),
    "cryptography": ("gateway/keys.py", "gateway/jwks.py"),
    "cv2": ("edge_worker/backends/*", "edge_worker/models/digits/train.py"),
    "google": ("edge_worker/backends/tensorflow.py",),  # protobuf, which raises what a broken graph is
    "httptools": ("edge_worker/backends/http/connection.py",),
    "jwt": ("gateway/auth.py",),
    "msgspec": ("edge_worker/backends/engine_process/messages.py",),
    "numpy": ("edge_worker/backends/*", "edge_worker/models/networks/*", "edge_worker/models/digits/train.py"),
    "prometheus_client": ("gateway/metrics.py", "gateway/tallies.py"),
    "pybase64": ("gateway/http/tf_serving/request.py",),
    "pydantic": ("gateway/config.py", "gateway/config_reader.py"),
    "requests": ("edge_worker/models/download.py",),
    "rich": ("edge_worker/models/progress.py",),
    "sklearn": ("edge_worker/models/digits/train.py",),
    "structlog": ("gateway/*",),  # set up in logs.py; the one who handles an error logs it, wherever that is
    "tensorflow": (
        "edge_worker/backends/tensorflow.py",
        "edge_worker/models/networks/*",
        "edge_worker/models/digits/train.py",
    ),
    "uvloop": ("gateway/cli.py", "edge_worker/event_loop.py"),
    "websockets": ("edge_worker/channel.py", "edge_worker/dialer.py"),
}
"""Each outside library and the files that may import it. A library that is not here may be imported nowhere."""

CLOCKS = ("asyncio", "datetime", "select", "selectors", "socket", "ssl", "threading", "time")
"""What a pure file does without: time is an argument there, and nothing waits."""

PURE = ("wire/*", "gateway/dispatch/policies/*", "edge_worker/batch_rules.py")
EXCUSED = {"wire/pump.py": CLOCKS, "wire/channel.py": ("socket",)}
"""pump.py is the one that waits. channel.py declares the coroutines that pump.py awaits, has none itself, and sets an
option on a socket that it is handed."""


@dataclass(frozen=True)
class Import:
    """One name that one file imports; `from a import b` gives `a.b`."""

    file: str
    line: int
    name: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line} imports {self.name}"

    def is_of(self, module: str) -> bool:
        return self.name == module or self.name.startswith(module + ".")

    def is_in(self, *patterns: str) -> bool:
        return any(fnmatchcase(self.file, pattern) for pattern in patterns)


def sources() -> list[Path]:
    return sorted(path for package in OURS for path in (ROOT / package).rglob("*.py"))


def imports_of(source: str, file: str) -> Iterator[Import]:
    package = file.removesuffix(".py").split("/")[:-1]
    for node in ast.walk(ast.parse(source, file)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(file, node.lineno, alias.name)
        elif isinstance(node, ast.ImportFrom):
            parents = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*parents, *filter(None, [node.module])])
            for alias in node.names:
                yield Import(file, node.lineno, f"{base}.{alias.name}")


@pytest.fixture(scope="module")
def imports() -> list[Import]:
    found = [
        one
        for path in sources()
        for one in imports_of(path.read_text(encoding="utf-8"), path.relative_to(ROOT).as_posix())
    ]
    assert {one.file.split("/")[0] for one in found} == set(OURS), "the walk missed a package"
    return found


def forbidden(imports: list[Import]) -> list[Import]:
    return [
        one
        for one in imports
        for owner, others in NEVER.items()
        if one.is_in(owner.replace(".", "/") + "/*") and any(one.is_of(other) for other in others)
        if not any(one.is_of(allowed) for allowed in BUT.get(owner, ()))
    ]


def through_the_roof(imports: list[Import]) -> list[Import]:
    return [one for one in imports for root, users in ONLY_FROM.items() if one.is_of(root) and not one.is_in(*users)]


def beside_the_door(imports: list[Import]) -> list[Import]:
    outside = [one for one in imports if one.name.split(".")[0] not in {*sys.stdlib_module_names, *ONLY_FROM, *OURS}]
    return [one for one in outside if not one.is_in(*DOORS.get(one.name.split(".")[0], ()))]


def clocks_in_pure_files(imports: list[Import]) -> list[Import]:
    return [
        one
        for one in imports
        if one.is_in(*PURE) and any(one.is_of(clock) for clock in CLOCKS if clock not in EXCUSED.get(one.file, ()))
    ]


def shown(broken: list[Import]) -> str:
    return "\n".join(map(str, broken))


def test_each_package_imports_only_what_is_below_it(imports: list[Import]) -> None:
    """wire knows no sibling, dispatch knows neither http nor tunnel, and the two ends never import each other."""
    assert not shown(forbidden(imports))


def test_nothing_imports_the_composition_roots(imports: list[Import]) -> None:
    """app is imported by cli, cli by __main__, and bench, demo and tests by nobody."""
    assert not shown(through_the_roof(imports))


def test_each_outside_library_has_one_door(imports: list[Import]) -> None:
    """A library is imported only by the files that the table names, so wire, which it never names, imports none."""
    assert not shown(beside_the_door(imports))


def test_pure_files_have_no_clock(imports: list[Import]) -> None:
    """The protocol core and the policies import neither asyncio nor time: `now` is an argument."""
    assert not shown(clocks_in_pure_files(imports))


def test_pure_files_never_wait() -> None:
    """Nothing in a pure file is async or awaits."""
    waiting = (ast.AsyncFunctionDef, ast.Await, ast.AsyncFor, ast.AsyncWith)
    for path in sources():
        file = path.relative_to(ROOT).as_posix()
        if not any(fnmatchcase(file, one) for one in PURE) or file in EXCUSED:
            continue
        lines = [
            node.lineno for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, waiting)
        ]
        assert not lines, f"{file} waits at line {lines[0]}"


def test_policies_draw_from_a_generator_of_their_own() -> None:
    """A policy takes a random.Random: with the module's shared one, the same seed would not give the same choices."""
    for path in sorted((ROOT / "gateway/dispatch/policies").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "random":
                assert node.attr == "Random", f"{path.relative_to(ROOT)}:{node.lineno} uses random.{node.attr}"


def test_each_door_is_used(imports: list[Import]) -> None:
    """A door that nobody uses is not kept open: each file named in the table imports the library it is named for."""
    for library, doors in DOORS.items():
        users = [one for one in imports if one.is_of(library)]
        for door in doors:
            if (ROOT / door.removesuffix("/*")).exists():
                assert any(one.is_in(door) for one in users), f"{door} does not import {library}"


@pytest.mark.parametrize(
    ("file", "source", "check", "name"),
    [
        ("wire/session.py", "import gateway", forbidden, "gateway"),
        ("gateway/dispatch/fleet.py", "from ..http import server", forbidden, "gateway.http.server"),
        ("gateway/http/server.py", "from gateway import tunnel", forbidden, "gateway.tunnel"),
        ("gateway/tunnel/link.py", "def f():\n    import gateway.http.errors", forbidden, "gateway.http.errors"),
        ("edge_worker/link.py", "from gateway.errors import BadInput", forbidden, "gateway.errors.BadInput"),
        ("gateway/http/server.py", "from gateway.app import serve", through_the_roof, "gateway.app.serve"),
        ("edge_worker/app.py", "import tests.support", through_the_roof, "tests.support"),
        ("wire/pump.py", "import aiohttp", beside_the_door, "aiohttp"),
        ("gateway/cli.py", "from aiohttp import web", beside_the_door, "aiohttp.web"),
        ("edge_worker/app.py", "import nobody_knows_this", beside_the_door, "nobody_knows_this"),
        ("wire/session.py", "from time import monotonic", clocks_in_pure_files, "time.monotonic"),
        ("wire/channel.py", "import asyncio, socket", clocks_in_pure_files, "asyncio"),
        ("gateway/dispatch/policies/pin.py", "import asyncio", clocks_in_pure_files, "asyncio"),
    ],
)
def test_a_broken_rule_is_found(file: str, source: str, check: object, name: str) -> None:
    """Each rule sees an import that breaks it, wherever in the file it stands and however it is written."""
    assert callable(check)
    assert [one.name for one in check(list(imports_of(source, file)))] == [name]


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("gateway/cli.py", "from gateway.app import serve"),
        ("gateway/tunnel/link.py", "from wire.session import Session"),
        ("gateway/tunnel/channel.py", "import aiohttp"),
        ("wire/pump.py", "import asyncio\nfrom .session import Session"),
    ],
)
def test_a_rule_lets_pass_what_it_should(file: str, source: str) -> None:
    """What the tables allow breaks no rule."""
    imports = list(imports_of(source, file))
    assert imports
    assert not shown([*forbidden(imports), *through_the_roof(imports), *beside_the_door(imports)])
    assert not shown(clocks_in_pure_files(imports))
