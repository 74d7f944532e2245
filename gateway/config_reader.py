"""Reads the configuration once, at the start: from a TOML file, the environment and flags, each over the last.

A mistake is reported with the field, the value, where it came from and what is allowed, all mistakes at once, and
nothing is opened before.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from gateway.config import Config, DirectWorker, sections_of

ENV_PREFIX = "GATEWAY_"
ENV_SEPARATOR = "__"
"""GATEWAY_LIMITS__MAX_BODY_BYTES is limits.max_body_bytes. Two underscores, since Kubernetes gives every pod variables
like GATEWAY_SERVICE_HOST when a service is called gateway: names without them are not ours to judge."""
MAX_FILE_BYTES = 1 << 20


class ConfigError(Exception):
    """The configuration cannot be used. `problems` has one line for each mistake."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


Settings = Mapping[str, object]
"""Values by full name, such as `limits.max_parts`."""


def load(file: Path | None, environment: Mapping[str, str], flags: Settings) -> Config:
    """Reads everything once. A flag beats the environment, which beats the file, which beats the defaults.

    `flags` holds full names and the values given on the command line; a flag that was not given is not in it.
    Raises ConfigError with every mistake found.
    """
    values: dict[str, object] = {}
    sources: dict[str, str] = {}
    for source, settings in (
        *((f"{file}", settings) for settings in ([] if file is None else [_read_file(file)])),
        *((f"{_env_name(name)}", {name: value}) for name, value in _from_environment(environment)),
        ("command line", flags),
    ):
        values.update(settings)
        sources.update(dict.fromkeys(settings, source))
    try:
        return Config.model_validate(_nested(values))
    except ValidationError as error:
        raise ConfigError([_problem(dict(item), sources) for item in error.errors()]) from error


def _read_file(path: Path) -> Settings:
    try:
        with path.open("rb") as file:
            text = file.read(MAX_FILE_BYTES + 1)
        if len(text) > MAX_FILE_BYTES:
            raise ConfigError([f"{path}: longer than {MAX_FILE_BYTES} bytes; this is not a configuration"])
        tables = tomllib.loads(text.decode())
    except OSError as error:
        raise ConfigError([f"{path}: {(error.strerror or str(error)).lower()}"]) from error
    except ValueError as error:
        raise ConfigError([f"{path}: not TOML in UTF-8: {error}"]) from error
    return dict(_flat(tables))


def _flat(tables: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    for section, table in tables.items():
        if not isinstance(table, dict):
            yield section, table
            continue
        for name, value in table.items():
            yield f"{section}.{name}", value


def _from_environment(environment: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for name, value in environment.items():
        if name.startswith(ENV_PREFIX) and ENV_SEPARATOR in name:
            section, _, field = name.removeprefix(ENV_PREFIX).lower().partition(ENV_SEPARATOR)
            yield f"{section}.{field}", value


def _env_name(name: str) -> str:
    return ENV_PREFIX + name.upper().replace(".", ENV_SEPARATOR)


def _nested(values: Settings) -> dict[str, object]:
    nested: dict[str, object] = {}
    for name, value in values.items():
        section, dot, field = name.partition(".")
        if not dot:
            nested[section] = value
            continue
        table = nested.setdefault(section, {})
        if isinstance(table, dict):
            table[field] = value
    return nested


def _problem(item: Mapping[str, Any], sources: Mapping[str, str]) -> str:  # Any: pydantic's error details
    """One mistake as `field = value: what is allowed (where it came from)`."""
    path = [str(part) for part in item["loc"]]
    name = ".".join(path[:2])
    source = sources.get(name)
    if path[0] == "direct":  # each worker has settings of its own
        name = ".".join(path)
    if item["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        text = f"{name}: there is no such setting; {_alternatives(path)}"
    elif item["type"] == "value_error" and isinstance(item["input"], dict):
        text = f"{name}: {item['ctx']['error']}"
    else:
        reason = item["ctx"]["error"] if item["type"] == "value_error" else item["msg"]
        text = f"{name} = {_shown(item['input'])}: {reason}"
    return text if source is None else f"{text} ({source})"


def _alternatives(path: Sequence[str]) -> str:
    """What there is instead of a name that there is not."""
    sections = sections_of()
    if path[0] not in sections:
        return f"the sections are {', '.join(sections)}"
    if path[0] == "direct" and len(path) > 2:
        return f"a worker has {', '.join(DirectWorker.model_fields)}"
    return f"[{path[0]}] has {', '.join(sections[path[0]].model_fields)}"


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 100 else text[:97] + "..."
