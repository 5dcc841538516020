"""The sound engine breaks nothing; one seed is one run; the runner says what it found."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from itertools import count

import pytest

from tests.sim.__main__ import main
from tests.sim.engine_nemesis import MODES
from tests.sim.engine_scenario import mode_of, run_seed
from tests.sim.runner import run_one

_LAST_LINE = re.compile(r"seeds (\d+) hours (\d+\.\d+) operations (\d+) violations (\d+)")


@pytest.mark.parametrize("mode", MODES)
def test_no_invariant_is_broken(mode: str) -> None:
    seed = next(seed for seed in count(200) if mode_of(seed) == mode)
    result = run_seed(seed)
    assert result.violations == []
    assert result.operations > 100
    assert result.reached["leaders"] > 1


def test_a_seed_is_one_run_in_every_process() -> None:
    script = "from tests.sim.engine_scenario import run_seed; print(run_seed(3).trace)"
    traces = set()
    for hash_seed in "12":
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        command = [sys.executable, "-c", script]
        done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
        traces.add(done.stdout.strip())
    assert len(traces) == 1
    assert run_seed(4).trace not in traces


def test_an_exception_is_a_violation(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(seed: int, keep_trace: bool, kept: frozenset[int] | None) -> object:
        raise KeyError(seed)

    monkeypatch.setitem(run_one.__globals__["KINDS"], "engine", broken)
    (text,) = run_one("engine", 7).violations
    assert text.startswith("KeyError: 7")


class TestCommandLine:
    def test_ends_with_the_sums_and_zero(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["--seeds", "3..4", "--kind", "engine", "--jobs", "1"]) == 0
        last = capsys.readouterr().out.splitlines()[-1]
        found = _LAST_LINE.fullmatch(last)
        assert found is not None
        assert (found[1], found[4]) == ("2", "0")
        assert int(found[3]) > 100

    def test_a_violation_ends_with_one(self, capsys: pytest.CaptureFixture[str]) -> None:
        seed = next(seed for seed in count() if mode_of(seed) == "faults")
        arguments = ["--seeds", f"{seed}..{seed}", "--kind", "engine", "--jobs", "1"]
        assert main([*arguments, "--bug", "append_forwards_again"]) == 1
        lines = capsys.readouterr().out.splitlines()
        assert lines[0].startswith(f"seed {seed} engine: ")
        assert not lines[-1].endswith("violations 0")

    def test_no_seeds_end_with_one(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["--seeds", "4..3"]) == 1
        assert capsys.readouterr().out.splitlines()[-1] == "seeds 0 hours 0.00 operations 0 violations 0"

    @pytest.mark.parametrize("text", ["4", "a..b", "1-3", ""])
    def test_what_is_no_range_is_refused(self, text: str, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit) as ended:
            main(["--seeds", text])
        assert ended.value.code == 2
        assert "like 0..59" in capsys.readouterr().err
