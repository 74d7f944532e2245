"""The configuration: where values come from, what is refused and with which words."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path

import pytest
from pydantic import ValidationError

from gateway.config import DISPATCH_BOUNDS, Config, sections_of
from gateway.config_reader import ConfigError, load
from gateway.dispatch.settings import DispatchSettings


def problems(file: Path | None = None, environment: dict[str, str] | None = None, **flags: object) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        load(file, environment or {}, {name.replace("__", "."): value for name, value in flags.items()})
    return caught.value.problems


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "gateway.toml"


def test_the_defaults_are_valid() -> None:
    """Without file, environment and flags there is a configuration, with dispatch's own defaults."""
    config = load(None, {}, {})
    assert config == Config()
    assert config.dispatch == DispatchSettings()
    assert (config.health.heartbeat_interval_s, config.health.heartbeat_misses) == (2.0, 3)
    assert config.admin.host == "127.0.0.1"


def test_a_flag_beats_the_environment_which_beats_the_file(file: Path) -> None:
    """Each source is laid over the one before, field by field."""
    file.write_text("[listen]\nport = 1\nhost = 'a'\nname = 'x'\n[dispatch]\npolicy = 'round_robin'\n")
    config = load(file, {"GATEWAY_LISTEN__PORT": "2", "GATEWAY_LISTEN__HOST": "b"}, {"listen.port": "3"})
    assert (config.listen.port, config.listen.host, config.listen.name) == (3, "b", "x")
    assert config.dispatch == DispatchSettings(policy="round_robin")


def test_sections_are_frozen() -> None:
    """Nobody changes a configuration that was read."""
    with pytest.raises(ValidationError):
        Config().listen.port = 1  # type: ignore[misc]


def test_a_list_may_be_one_string() -> None:
    """The environment's one string is a list with commas, of addresses and networks."""
    config = load(None, {"GATEWAY_PROXY__TRUSTED": "10.0.0.0/8, ::1,"}, {})
    assert config.proxy.trusted == (ip_network("10.0.0.0/8"), ip_network("::1/128"))


def test_leaves_other_programs_variables_alone() -> None:
    """Variables that Kubernetes makes for a service named gateway are not ours."""
    assert load(None, {"GATEWAY_PORT": "tcp://10.0.0.1:80", "GATEWAY_SERVICE_HOST": "x", "PATH": "/"}, {}) == Config()


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"GATEWAY_LISTEN__PORT": "70000"}, "listen.port = '70000': Input should be less than or equal to 65535"),
        ({"GATEWAY_LISTEN__PORT": "web"}, "listen.port = 'web': Input should be a valid integer"),
        ({"GATEWAY_LIMITS__MAX_PARTS": "0"}, "limits.max_parts = '0': Input should be greater than or equal to 1"),
        ({"GATEWAY_LIMITS__BODY_STALL_S": "nan"}, "limits.body_stall_s = 'nan': Input should be a finite number"),
        ({"GATEWAY_LOG__FORMAT": "xml"}, "log.format = 'xml': Input should be 'auto', 'json' or 'console'"),
        ({"GATEWAY_DISPATCH__POLICY": "best"}, "dispatch.policy = 'best': must be one of least_conn, least_loaded"),
        ({"GATEWAY_DISPATCH__MAX_QUEUE_JOBS": "0"}, "dispatch.max_queue_jobs = '0': Input should be greater"),
        ({"GATEWAY_PROXY__TRUSTED": "10.0.0.1/8"}, "proxy.trusted = '10.0.0.1/8': must be an IP address or a network"),
        ({"GATEWAY_LIMITS__MAX_PART": "1"}, "limits.max_part: there is no such setting; [limits] has max_body_bytes"),
        ({"GATEWAY_DISPATCH__SPEED": "1"}, "dispatch.speed: there is no such setting; [dispatch] has policy, seed"),
        ({"GATEWAY_LIMIT__MAX_PARTS": "1"}, "limit: there is no such setting; the sections are listen, admin"),
    ],
)
def test_a_mistake_names_the_field_the_value_and_what_is_allowed(environment: dict[str, str], expected: str) -> None:
    """Each message begins with the field's full name, shows the value, and ends with where it came from."""
    (problem,) = problems(environment=environment)
    assert problem.startswith(expected)
    if not problem.startswith("limit:"):
        assert problem.endswith(f"({next(iter(environment))})")


def test_all_mistakes_are_told_at_once(file: Path) -> None:
    """One run shows everything that has to be changed, each with its source."""
    file.write_text("colour = 'blue'\n[limits]\nmax_parts = -1\n")
    found = problems(file, {"GATEWAY_LISTEN__PORT": "x"}, admin__port="y")
    assert sorted(problem.partition(" ")[0] for problem in found) == [
        "admin.port",
        "colour:",
        "limits.max_parts",
        "listen.port",
    ]
    assert any(problem.endswith("(command line)") for problem in found)
    assert any(problem.endswith(f"({file})") for problem in found)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[tls]\ncertificate = 'a.pem'\n", "tls: certificate and private_key must be set together"),
        ("[tls]\nworker_ca = 'a.pem'\n", "tls: worker_ca needs certificate and private_key"),
        ("[limits]\ndefault_timeout_s = 500\n", "limits: default_timeout_s must not be more than max_timeout_s"),
        ("limits = 3\n", "limits = 3: Input should be"),
        ("[limits\n", "gateway.toml: not TOML"),
    ],
)
def test_refuses_what_does_not_fit_together(file: Path, text: str, expected: str) -> None:
    """Fields that need each other, sections that are none and files that are not TOML are said in one line."""
    file.write_text(text)
    (problem,) = problems(file)
    assert expected in problem


def test_refuses_a_file_that_cannot_be_read(file: Path) -> None:
    """A missing file, and one that is not text, are named."""
    assert problems(file) == (f"{file}: no such file or directory",)
    file.write_bytes(b"\xff\xfe")
    assert "not TOML in UTF-8" in problems(file)[0]
    file.write_bytes(b"#" * (1 << 20) + b"#")
    assert "longer than" in problems(file)[0]


def test_every_bound_of_dispatch_is_about_a_setting() -> None:
    """No bound is left over after a setting of dispatch was renamed; only the seed may be anything."""
    fields = set(sections_of()["dispatch"].model_fields)
    assert fields - set(DISPATCH_BOUNDS) == {"seed"}
    assert set(DISPATCH_BOUNDS) <= fields


def test_long_values_are_cut() -> None:
    """A whole file pasted into a variable does not fill the terminal."""
    (problem,) = problems(environment={"GATEWAY_LISTEN__PORT": "x" * 10_000})
    assert len(problem) < 300
