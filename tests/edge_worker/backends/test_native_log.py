"""What a native library writes to standard error is kept, and what others write there is not lost."""

from __future__ import annotations

import importlib
import os

import pytest

from edge_worker.backends.native_log import gpu_reason, native_lines

LOG = """WARNING: All log messages before absl::InitializeLog() is called are written to STDERR
I0000 00:00:1795235363.697239    3606 port.cc:153] oneDNN custom operations are on. You may see
I0000 00:00:1795235363.697616    3606 cudart_stub.cc:31] Could not find cuda drivers on your machine.
2026-01-02 03:04:05.678901: E external/local_xla/cuda_fft.cc:477] Unable to register cuFFT factory
E0000 00:00:1795235366.489529    3606 cuda_platform.cc:52] failed call to cuInit: UNKNOWN ERROR (303)
I0000 00:00:1795235363.697616    3606 cudart_stub.cc:31] Could not find cuda drivers on your machine.
"""


def test_the_log_is_kept_and_the_rest_goes_on(capfd: pytest.CaptureFixture[str]) -> None:
    """Lines of the native log become messages; a line of another thread reaches standard error whole."""
    lines: list[str] = []
    with native_lines(lines):
        os.write(2, LOG.encode())
        os.write(2, b'{"event": "somebody else\'s"}\n')
    os.write(2, b"afterwards\n")
    assert capfd.readouterr().err == '{"event": "somebody else\'s"}\nafterwards\n'
    assert lines[0] == "oneDNN custom operations are on. You may see"
    assert len(lines) == 5


def fail_half_way() -> None:
    with native_lines([]):
        os.write(2, b"half way\n")
        importlib.import_module("nobody_has_this")


def test_standard_error_is_given_back_after_a_failure(capfd: pytest.CaptureFixture[str]) -> None:
    """An import that fails leaves nothing turned aside, and what it wrote is shown."""
    with pytest.raises(ModuleNotFoundError):
        fail_half_way()
    os.write(2, b"afterwards\n")
    assert capfd.readouterr().err == "half way\nafterwards\n"


def test_the_reason_is_what_is_said_about_the_gpu(capfd: pytest.CaptureFixture[str]) -> None:
    """Each message once; what is only about optimizations is left out."""
    lines: list[str] = []
    with native_lines(lines):
        os.write(2, LOG.encode())
    said = "Could not find cuda drivers on your machine.; failed call to cuInit: UNKNOWN ERROR (303)"
    assert gpu_reason(lines) == said
    assert gpu_reason(lines[:1]) == ""
