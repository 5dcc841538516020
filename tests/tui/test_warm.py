"""The process that forks for every command: what becomes of it when it ends, and whom it is for."""

from __future__ import annotations

import os
import signal

import pytest

from tests.tui.warm import Warm, warm

TIMEOUT_S = 60


def version(process: Warm) -> int:
    return process.complete(["--version"], dict(os.environ), TIMEOUT_S).returncode


def test_a_process_that_ended_says_how_and_another_takes_its_place() -> None:
    first = Warm()
    first._process.send_signal(signal.SIGKILL)
    first._process.wait()
    with pytest.raises(RuntimeError, match="ended with -9"):
        version(first)
    with pytest.raises(RuntimeError, match="ended with -9"):
        first.code(b"")
    assert version(warm()) == 0


def test_it_is_for_commands_whose_interpreter_would_begin_as_it_did(monkeypatch: pytest.MonkeyPatch) -> None:
    began = dict(os.environ)
    process = warm()
    monkeypatch.setenv("LC_ALL", "en_US.ISO-8859-1")
    assert process.suits(began)
    assert not process.suits(os.environ)
    assert process.complete(["--version"], {**os.environ, "PYTHONUTF8": "0"}, TIMEOUT_S).returncode == 0
