"""What a daemon that is not root offers, refuses and bounds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from cortex.v1.types_pb2 import Cause
from tests.node.sandbox_kit import needs_sandbox
from tests.node.unprivileged_kit import UID, delegated_groups, folder_of_nobody, needs_nobody, run

pytestmark = [needs_sandbox, needs_nobody]


def looked(closed: Path, groups: Sequence[Path] = ()) -> dict[str, Any]:
    """By a process of that user."""
    with folder_of_nobody() as folder:
        done = run(["-m", "tests.node.unprivileged", str(folder / "data"), str(closed)], groups)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("closed")
    folder.chmod(0)  # of the owner, too
    return folder


@pytest.fixture(scope="module")
def found(closed: Path) -> dict[str, Any]:
    return looked(closed)


def test_all_levels_are_offered_without_bounds(found: dict[str, Any]) -> None:
    none, *others = found["offers"]
    assert none == [True, "", ""]
    for available, reason, detail in others:
        assert (available, reason) == (True, "")
        assert "without bounds: no control group can be made: " in detail
        assert detail.endswith("have one delegated to the daemon's user")
    for level, new_privileges in (("none", "0"), ("default", "1"), ("strict", "1")):
        uid, _, *rest = found[level]
        assert (uid, rest) == (str(UID), ["wrote", "CapEff:", "0" * 16, "NoNewPrivs:", new_privileges])
    assert found["hog"] == 0, "nothing bounds it"


def test_what_is_of_others_is_refused(found: dict[str, Any], closed: Path) -> None:
    assert found["user"].startswith(
        "Setting user of [executor.shell] cannot be used: only a daemon of root can run"
    )
    for level in ("none", "default", "strict"):
        assert found[f"{level}, closed"] == (
            f"Working directory {closed} cannot be entered: Permission denied. "
            "Correct its permissions or name another."
        )


def test_delegated_groups_bound(closed: Path) -> None:
    with delegated_groups() as groups:
        found = looked(closed, groups)
        homes = [each.parent if each.name == "daemon" else each for each in groups]
        assert not [left for home in homes for left in home.glob("cortex-*")]
    for _, _, detail in found["offers"][1:]:
        assert detail.endswith((", cgroups v1, which do not bound cores", ", cgroups v2"))
    assert (found["hog"], found["cores"]) == (Cause.CAUSE_OUT_OF_MEMORY, 0)
