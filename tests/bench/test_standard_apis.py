"""What bench.standard_apis does when it cannot measure."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import pytest

from bench import standard_apis
from bench.errors import BenchError


def raising(error: BaseException) -> Callable[..., contextlib.AbstractContextManager[None]]:
    @contextlib.contextmanager
    def stack(**_: object) -> Iterator[None]:
        raise error
        yield

    return stack


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [(KeyboardInterrupt(), 130, "interrupted"), (BenchError("no gateway"), 2, "no gateway")],
)
def test_it_ends_in_one_line(
    error: BaseException, status: int, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ctrl-C, and what does not start."""
    monkeypatch.setattr(standard_apis, "local_stack", raising(error))
    assert standard_apis.main([]) == status
    assert capsys.readouterr().err == f"standard_apis: {said}\n"
