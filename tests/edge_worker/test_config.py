"""Flags, variables and defaults, and each mistake in its own words."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from edge_worker.backends.http.address import Upstream
from edge_worker.backends.service_time import parse_service_time
from edge_worker.config import ConfigError, WorkerConfig, load
from edge_worker.option import add_options
from edge_worker.options import CONNECT

SECRET = "eyJhbGciOi.secret.part"
REQUIRED = {"GATEWAY_URL": "wss://g:8443", "TOKEN": SECRET}


def parse(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_options(parser, CONNECT)
    return parser.parse_args(arguments)


def read(*arguments: str, **variables: str) -> WorkerConfig:
    return load(parse(*arguments), REQUIRED | variables)


def mistakes(*arguments: str, **variables: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(*arguments, **variables)
    return str(caught.value).splitlines()


def get(config: WorkerConfig, flag: str) -> object:
    """What an option became."""
    names = {
        "gateway": "gateways",
        "label": "labels",
        "model-dir": "model_dirs",
        "echo-model": "echo_models",
        "model": "models",
    }
    if flag.startswith("upstream"):
        return getattr(
            config.upstream, flag.removeprefix("upstream-").replace("-", "_").replace("upstream", "upstreams")
        )
    name = names.get(flag, flag.replace("-", "_"))
    if flag == "no-embedded":
        return not config.engine.embedded
    return getattr(config, name) if hasattr(config, name) else getattr(config.engine, name)


FILE, OTHER_FILE, FOLDER, OTHER_FOLDER = "{tmp}/file", "{tmp}/other", "{tmp}/folder", "{tmp}/more"
EACH = [
    ("gateway", "wss://a", "wss://b:9/x", ("wss://a/v1/tunnel",), ("wss://b:9/x",)),
    ("name", "lab-1", "lab-2", "lab-1", "lab-2"),
    ("token-file", FILE, OTHER_FILE, Path(FILE), Path(OTHER_FILE)),
    ("ca-file", FILE, OTHER_FILE, Path(FILE), Path(OTHER_FILE)),
    ("certificate-file", FILE, OTHER_FILE, Path(FILE), Path(OTHER_FILE)),
    ("key-file", FILE, OTHER_FILE, Path(FILE), Path(OTHER_FILE)),
    ("model", "a", "b", ("a",), ("b",)),
    ("backend", "echo", "opencv_dnn", "echo", "opencv_dnn"),
    ("model-dir", FOLDER, OTHER_FOLDER, (Path(FOLDER),), (Path(OTHER_FOLDER),)),
    ("no-embedded", "true", "false", True, False),
    ("slots", "4", "64", 4, 64),
    ("threads", "0", "256", 0, 256),
    ("device", "cpu", "gpu:3", "cpu", "gpu:3"),
    ("require-gpu", "true", "false", True, False),
    ("xla", "true", "false", True, False),
    ("mixed-precision", "true", "false", True, False),
    ("max-batch", "8", "1", 8, 1),
    ("max-batch-wait-us", "200", "1000000", 200, 1_000_000),
    ("engine-limit-s", "0.5", "3600", 0.5, 3600.0),
    ("max-pixels", "1000", "2000", 1000, 2000),
    ("max-body-bytes", "1000", "2000", 1000, 2000),
    ("echo-model", "a", "b", ("a",), ("b",)),
    ("echo-service-time", "5ms", "exponential:20ms", parse_service_time("5ms"), parse_service_time("exponential:20ms")),
    ("echo-busy", "yes", "0", True, False),
    ("seed", "7", "8", 7, 8),
    (
        "upstream",
        "http://a:1",
        "b=unix:/b",
        (Upstream("http", "http://a:1", "a", 1, "", is_tls=False, authority="a:1"),),
        (Upstream("b", "unix:/b", "", 0, "/b", is_tls=False, authority="localhost"),),
    ),
    ("upstream-health", "/healthz", "/", "/healthz", "/"),
    ("upstream-slots", "1", "128", 1, 128),
    ("upstream-ca-file", FILE, OTHER_FILE, Path(FILE), Path(OTHER_FILE)),
    ("label", "site=lab", "rack=3", {"site": "lab"}, {"rack": "3"}),
    ("drain-grace-s", "0", "2.5", 0.0, 2.5),
    ("health-socket", "/a", "/b", Path("/a"), Path("/b")),
    ("log-format", "json", "console", "json", "console"),
    ("log-level", "debug", "error", "debug", "error"),
]
VARIABLES = {option.flag: option.variable for option in CONNECT}


def test_each_option_is_in_the_table() -> None:
    """No option is left out of the test below."""
    assert [flag for flag, *_ in EACH] == [option.flag for option in CONNECT]


@pytest.mark.parametrize(("flag", "one", "other", "one_read", "other_read"), EACH, ids=[flag for flag, *_ in EACH])
def test_a_flag_beats_its_variable(
    flag: str, one: str, other: str, one_read: object, other_read: object, tmp_path: Path
) -> None:
    """Each option is read from its flag and from its variable, and the flag wins."""
    for name in ("file", "other"):
        (tmp_path / name).touch()
    for name in ("folder", "more"):
        (tmp_path / name).mkdir()

    def here(value: object) -> object:
        if isinstance(value, tuple):
            return tuple(here(part) for part in value)
        text = str(value).replace("{tmp}", str(tmp_path))
        return Path(text) if isinstance(value, Path) else text if isinstance(value, str) else value

    needed = {"CERTIFICATE_FILE": str(tmp_path / "file")} if flag == "key-file" else {}
    by_flag = read(f"--{flag}", str(here(one)), **needed)
    by_variable = read(**(needed | {VARIABLES[flag]: str(here(other))}))
    by_both = read(f"--{flag}", str(here(one)), **(needed | {VARIABLES[flag]: str(here(other))}))
    assert get(by_flag, flag) == here(one_read)
    assert get(by_variable, flag) == here(other_read)
    assert get(by_both, flag) == here(one_read)


def test_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a gateway and a token alone, the rest is what the reference says."""
    monkeypatch.setattr("socket.gethostname", lambda: "edge-7")
    config = read()
    assert config.gateways == ("wss://g:8443/v1/tunnel",)
    assert (config.name, config.token, config.token_file) == ("edge-7", SECRET, None)
    assert (config.ca_file, config.certificate_file, config.key_file) == (None, None, None)
    assert (config.backend, config.engine.slots, config.engine.threads) == ("opencv_dnn", 1, 0)
    assert (config.engine.embedded, config.engine.model_dirs) == (True, ())
    assert (config.max_body_bytes, config.drain_grace_s) == (64 << 20, 30.0)
    assert (config.engine.echo_models, config.engine.echo_busy, config.engine.seed) == (("echo",), False, 0)
    assert (config.log_format, config.log_level, config.labels) == ("auto", "info", {})


def test_lists() -> None:
    """A flag may be repeated; a variable is separated by commas; one address twice is one tunnel."""
    assert read("--gateway", "a", "--gateway", "b", "--gateway", "wss://a").gateways == (
        "wss://a/v1/tunnel",
        "wss://b/v1/tunnel",
    )
    assert read(GATEWAY_URL="a, b,").gateways == ("wss://a/v1/tunnel", "wss://b/v1/tunnel")
    assert read(LABELS="site=lab,rack=3=4").labels == {"site": "lab", "rack": "3=4"}


def test_a_switch_needs_no_value() -> None:
    """`--no-embedded` alone means true, and so it does before another flag."""
    config = read("--no-embedded", "--echo-busy", "--slots", "2")
    assert (config.engine.embedded, config.engine.echo_busy, config.engine.slots) == (False, True, 2)


def test_an_empty_variable_counts_as_not_set() -> None:
    """What a compose file leaves empty is the default."""
    config = read(SLOTS="", CA_FILE="", LOG_LEVEL="", WORKER_NAME="", TOKEN_FILE="")
    assert (config.engine.slots, config.ca_file, config.log_level) == (1, None, "info")
    assert config.name


def test_a_token_file_beats_a_token(tmp_path: Path) -> None:
    """A file can be renewed, so it is used when there is one."""
    file = tmp_path / "token"
    file.touch()
    config = read("--token-file", str(file))
    assert (config.token, config.token_file) == (None, file)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("--gateway", "http://g"), "--gateway = 'http://g': must begin with wss:// or https://"),
        (("--gateway", "ws://g"), "--gateway = 'ws://g': must begin with wss:// or https://"),
        (("--gateway", "wss://u:p@g"), "--gateway = 'wss://u:p@g': must be wss://HOST[:PORT]"),
        (("--gateway", "wss://g:99999"), "--gateway = 'wss://g:99999': Port out of range"),
        (("--name", "a/b"), "--name = 'a/b': must be 1 to 128 visible ASCII characters without a slash"),
        (("--name", "x" * 129), "must be 1 to 128 visible ASCII characters"),
        (("--token-file", "/none"), "--token-file = '/none': is not a file"),
        (("--ca-file", "/none"), "--ca-file = '/none': is not a file"),
        (("--certificate-file", "/none"), "--certificate-file = '/none': is not a file"),
        (("--key-file", "/none"), "--key-file = '/none': is not a file"),
        (("--backend", "torch"), "--backend = 'torch': must be one of opencv_dnn, tensorflow, echo"),
        (("--model-dir", "/none"), "--model-dir = '/none': is not a folder"),
        (("--no-embedded", "maybe"), "--no-embedded = 'maybe': must be true or false"),
        (("--slots", "0"), "--slots = '0': must be a whole number from 1 to 64"),
        (("--slots", "1.5"), "--slots = '1.5': must be a whole number from 1 to 64"),
        (("--threads", "257"), "--threads = '257': must be a whole number from 0 to 256"),
        (("--max-pixels", "-1"), "--max-pixels = '-1': must be a whole number from 1 to 4294967296"),
        (("--max-body-bytes", "٣"), "must be a whole number from 1 to 2147483648"),
        (("--echo-service-time", "fast"), "--echo-service-time = 'fast': "),
        (("--echo-busy", "2"), "--echo-busy = '2': must be true or false"),
        (("--seed", "x"), "--seed = 'x': must be a whole number"),
        (("--label", "site"), "--label = 'site': must be NAME=VALUE"),
        (("--label", "=lab"), "--label = '=lab': must be NAME=VALUE"),
        (("--drain-grace-s", "nan"), "--drain-grace-s = 'nan': must be seconds from 0 to 3600"),
        (("--drain-grace-s", "-1"), "--drain-grace-s = '-1': must be seconds from 0 to 3600"),
        (("--log-format", "text"), "--log-format = 'text': must be one of auto, json, console"),
        (("--log-level", "loud"), "--log-level = 'loud': must be one of debug, info, warning, error"),
    ],
)
def test_each_mistake_names_field_value_and_what_is_allowed(arguments: tuple[str, str], line: str) -> None:
    """One line for the one mistake, and nothing else that follows from it."""
    (only,) = mistakes(f"{arguments[0]}={arguments[1]}")
    assert line in only


def test_mistakes_are_told_together() -> None:
    """All of them at once, by flag or variable, so that nobody mends them one by one."""
    told = mistakes("--slots", "0", "--gateway", "ftp://g", SEED="x")
    assert [line.split(" = ")[0] for line in told] == ["--gateway", "--slots", "SEED"]


@pytest.mark.parametrize("gateways", [None, ",", " "])
def test_a_gateway_is_needed(gateways: str | None) -> None:
    """Without an address there is nothing to do, and the message says how to give one."""
    environment = {"TOKEN": SECRET} | ({} if gateways is None else {"GATEWAY_URL": gateways})
    with pytest.raises(ConfigError, match=r"^gateway: is missing; give --gateway wss://HOST\[:PORT\] or GATEWAY_URL$"):
        load(parse("--name", "gateway"), environment)


def test_a_token_is_needed() -> None:
    """The message names the three places where one can be."""
    with pytest.raises(ConfigError, match=r"^token-file: is missing; give --token-file FILE, TOKEN_FILE, or .* TOKEN$"):
        load(parse("--name", "token"), {"GATEWAY_URL": "g"})


@pytest.mark.parametrize("token", ["two words", "line\nbreak: x", "ümlaut", "x" * 20_000])
def test_a_token_that_no_header_can_carry_is_refused_unshown(token: str) -> None:
    """A token with a line break would write headers of its own. The message does not repeat it."""
    (line,) = mistakes(TOKEN=token)
    assert line.startswith("TOKEN: must be one token")
    assert token not in line


def test_a_key_needs_its_certificate(tmp_path: Path) -> None:
    """A private key alone is of no use."""
    file = tmp_path / "key.pem"
    file.touch()
    assert mistakes("--key-file", str(file)) == ["certificate-file: is missing, but key-file is given"]
    assert mistakes("--key-file", str(file), "--certificate-file", "/none") == [
        "--certificate-file = '/none': is not a file"
    ]
