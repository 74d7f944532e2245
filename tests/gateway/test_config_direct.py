"""Direct workers in the configuration: by table or by address alone, and mistakes by their full names."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gateway.config import DirectWorker
from gateway.config_reader import ConfigError, load

HOWTO = Path(__file__).parents[2] / "docs/howto/direct-workers.md"


def loaded(tmp_path: Path, text: str) -> dict[str, DirectWorker]:
    file = tmp_path / "gateway.toml"
    file.write_text(text)
    return load(file, {}, {}).direct.workers


def test_a_worker_is_a_table_under_its_name(tmp_path: Path) -> None:
    """With its address and the files that it takes to be let in."""
    workers = loaded(tmp_path, '[direct.workers.lab-2]\nurl = "https://10.0.0.2:8000/"\nca_file = "ca.pem"\n')
    assert workers == {"lab-2": DirectWorker(url="https://10.0.0.2:8000", ca_file=Path("ca.pem"))}


def test_an_address_alone_will_do(tmp_path: Path) -> None:
    """In the file, and as pairs in the environment or a flag."""
    workers = {"a": DirectWorker(url="http://h:1"), "b": DirectWorker(url="http://h:2")}
    assert loaded(tmp_path, '[direct.workers]\na = "http://h:1"\nb = "http://h:2"\n') == workers
    assert load(None, {"GATEWAY_DIRECT__WORKERS": "a=http://h:1, b=http://h:2"}, {}).direct.workers == workers


def test_the_howto_is_a_configuration(tmp_path: Path) -> None:
    """Its table can be copied."""
    (table,) = re.findall(r"^```toml\n(.*?)^```", HOWTO.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    workers = loaded(tmp_path, table)
    assert list(workers) == ["lab-2", "lab-3"]
    assert workers["lab-2"].certificate_file == Path("certs/client-gateway.pem")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('a = "h:1"', "direct.workers.a.url = 'h:1': must be http://HOST:PORT"),
        ('a = "http://h:1/x"', "direct.workers.a.url = 'http://h:1/x': must have no path"),
        ('a = {ca_file = "x"}', "direct.workers.a.url"),
        (
            'a = {url = "http://h", port = 1}',
            "direct.workers.a.port: there is no such setting; a worker has url, ca_file",
        ),
        (
            'a = {url = "http://h", ca_file = "x"}',
            "direct.workers.a: ca_file and certificate_file need an https:// url",
        ),
        ('a = {url = "https://h", key_file = "x"}', "direct.workers.a: key_file needs certificate_file"),
        ('"a/b" = "http://h"', "direct.workers.a/b"),
    ],
)
def test_mistakes_are_named_in_full(tmp_path: Path, text: str, said: str) -> None:
    """The worker, the setting, and what is allowed."""
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, f"[direct.workers]\n{text}\n")
    assert said in str(caught.value)
