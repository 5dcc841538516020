"""Moments as users write them, and the documents of diff, settings and double runs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from cortex.v1 import cluster_pb2, types_pb2
from tests.tui.fake_source import FakeSource
from tui.documents import history_view
from tui.errors import ClusterError
from tui.past.view import PastSource, PastView
from tui.verbs.base import now_us
from tui.verbs.events import _Choice
from tui.verbs.past import parse_moment
from tui.verbs.settings import _default_number, _json


def test_an_index_a_time_and_how_long_ago() -> None:
    assert parse_moment("1234") == cluster_pb2.Moment(index=1234)
    assert parse_moment("2026-01-31T12:00:00Z") == cluster_pb2.Moment(at_us=1_769_860_800_000_000)
    assert parse_moment("2026-01-31T13:00:00+01:00") == cluster_pb2.Moment(at_us=1_769_860_800_000_000)
    for text in ("10m", "10m ago", " 10m ago ", "600s"):
        moment = parse_moment(text)
        assert not moment.index
        assert 0 <= now_us() - 600_000_000 - moment.at_us < 60_000_000


@pytest.mark.parametrize(
    "text", ["", "-1", "yesterday", "1e3x", "\x1b[31m", "9" * 40, "1960-01-01T00:00:00Z", "ago"]
)
def test_what_is_no_moment_is_usage(text: str) -> None:
    with pytest.raises(ClusterError) as caught:
        parse_moment(text)
    assert caught.value.exit_code == 2
    assert "\x1b" not in caught.value.message
    assert caught.value.remedy


def test_a_difference_as_a_document() -> None:
    fields = [cluster_pb2.FieldDiff(field="state", before="queued", after="running")]
    fields.append(cluster_pb2.FieldDiff(field="node", after="n1"))
    row = cluster_pb2.RowDiff(table="tasks", id="t1", name="web", fields=fields)
    reply = cluster_pb2.DiffReply(rows=[row], from_index=3, to_index=9, from_us=1_000_000, to_us=2_000_000)
    assert history_view.diff(reply) == {
        "rows": [
            {
                "table": "tasks",
                "id": "t1",
                "name": "web",
                "fields": {
                    "state": {"before": "queued", "after": "running"},
                    "node": {"before": None, "after": "n1"},
                },
            }
        ],
        "truncated": False,
        "from": {"index": 3, "at": "1970-01-01T00:00:01.000000Z"},
        "to": {"index": 9, "at": "1970-01-01T00:00:02.000000Z"},
    }


def test_default_stands_for_a_number_s_own() -> None:
    values = {"max_queue_depth": "1000", "weights": '"default"', "profile": '"resources"'}
    rows = [cluster_pb2.SettingView(name=name, default_value=value) for name, value in values.items()]
    reply = cluster_pb2.GetSettingsReply(settings=rows)
    assert [_default_number(reply, name) for name in (*values, "nope")] == ["1000", None, None, None]


def test_settings_are_values_not_texts() -> None:
    rows = [
        cluster_pb2.SettingView(name="depth", value="7", default_value="1000", help="How deep."),
        cluster_pb2.SettingView(name="profile", value='"orchestrator"', default_value='"resources"'),
    ]
    found = history_view.settings(cluster_pb2.GetSettingsReply(settings=rows, index=4))["settings"]
    assert [(row["value"], row["default"]) for row in found] == [(7, 1000), ("orchestrator", "resources")]
    assert (_json("7"), _json("orchestrator"), _json('"x"'), _json("true")) == (
        "7",
        '"orchestrator"',
        '"x"',
        "true",
    )


def test_double_runs_as_a_document() -> None:
    row = types_pb2.DoubleRun(
        id="9-0",
        task="t1",
        run=1,
        attempt=2,
        first_node="n1",
        first_fence=5,
        node="n2",
        fence=8,
        reason="lost",
        at_us=1_000_000,
        index=9,
    )
    (found,) = history_view.double_runs(cluster_pb2.ListDoubleRunsReply(double_runs=[row], index=9))["double_runs"]
    assert found == {
        "id": "9-0",
        "task": "t1",
        "run": 1,
        "attempt": 2,
        "first_node": "n1",
        "first_fence": 5,
        "node": "n2",
        "fence": 8,
        "reason": "lost",
        "at": "1970-01-01T00:00:01.000000Z",
        "index": 9,
    }


def test_a_followed_event_is_matched_as_a_listed_one() -> None:
    event = types_pb2.Event(
        task="t1", node="n1", workflow="w1", operation="o1", actor="ann", type=types_pb2.EVENT_TYPE_FAILED
    )
    for field in ("task", "node", "workflow", "operation", "actor"):
        assert replace(_Choice(), **_only(field, getattr(event, field))).matches(event)
        assert not replace(_Choice(), **_only(field, "other")).matches(event)
    assert _Choice(types=(types_pb2.EVENT_TYPE_FAILED,)).matches(event)
    assert not _Choice(types=(types_pb2.EVENT_TYPE_LOST,)).matches(event)
    assert _Choice(audit=True).matches(event)
    assert not _Choice(audit=True).matches(types_pb2.Event(task="t1"))


def _only(field: str, value: str) -> dict[str, Any]:
    return {field: value}


class Ledger(FakeSource):
    """Has so many new double runs that a page of the newest says nothing of the past."""

    async def list_double_runs(
        self, task: str = "", *, limit: int = 1000, at: cluster_pb2.Moment | None = None
    ) -> cluster_pb2.ListDoubleRunsReply:
        last = at.index if at is not None else 5000
        rows = [types_pb2.DoubleRun(task=task, index=index) for index in range(last, max(0, last - limit), -1)]
        return cluster_pb2.ListDoubleRunsReply(double_runs=rows, index=last)


async def test_double_runs_of_the_past_are_asked_for_as_of_then() -> None:
    view = PastView()
    view.at = cluster_pb2.Moment(index=3, at_us=7)
    reply = await PastSource(Ledger(), view).list_double_runs("t")
    assert ([row.index for row in reply.double_runs], reply.index) == ([3, 2, 1], 3)
