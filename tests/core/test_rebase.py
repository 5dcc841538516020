"""What begins from a backup is told apart from everything else that ever began from it."""

from __future__ import annotations

from cortex.v1.types_pb2 import Setting
from node.core import settings
from node.core.model import Table
from node.core.rebase import rebased
from node.core.state import ClusterState

SECOND_US = 1_000_000
NOW_US = 1_795_000_000 * SECOND_US


def epoch(before: int, at_us: int) -> int:
    state = ClusterState()
    if before:
        row = Setting(name=settings.RECOVERY_EPOCH, value=str(before))
        state.settings[settings.RECOVERY_EPOCH] = row
    outcome = rebased(state, 2_000_000_000, at_us, {"n1": "127.0.0.1:7001"}, "ann")
    (row,) = [change.new for change in outcome.changes if change.table is Table.SETTINGS]
    assert isinstance(row, Setting)
    return settings.recovery_epoch(row)


def test_two_that_begin_with_one_backup_are_two_epochs() -> None:
    assert epoch(0, NOW_US) != epoch(0, NOW_US + SECOND_US)


def test_an_epoch_is_later_than_the_one_it_comes_from() -> None:
    assert epoch(1_795_000_900, NOW_US) == 1_795_000_901
    assert epoch(7, 0) == 8
