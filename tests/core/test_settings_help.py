"""Every setting says what it means and which values it may have."""

from __future__ import annotations

import json

import pytest

from cortex.v1.log_pb2 import Command, SettingsChange
from cortex.v1.types_pb2 import Setting
from node.core import settings
from node.core.settings_help import MEANINGS, views
from tests.core.cluster import cluster


@pytest.mark.parametrize("name", settings.NAMES)
def test_every_setting_has_a_meaning_and_a_default_that_may_be_set(name: str) -> None:
    assert name in MEANINGS
    view = next(view for view in views({}) if view.name == name)
    assert view.value == view.default_value
    assert settings.flaw(name, view.default_value) is None
    json.loads(view.default_value)
    for choice in settings.CHOICES.get(name, ()):
        assert choice in view.help
    if name in settings.INTEGERS:
        assert f"from {settings.INTEGERS[name].low} to {settings.INTEGERS[name].high}." in view.help


def test_no_meaning_is_left_of_a_setting_that_went() -> None:
    assert set(MEANINGS) == set(settings.NAMES)


def test_a_view_shows_what_is_in_force() -> None:
    rows = {
        "max_ended_tasks": Setting(name="max_ended_tasks", value="7"),
        "profile": Setting(name="profile", value='"orchestrator"'),
    }
    found = {view.name: (view.value, view.default_value) for view in views(rows)}
    assert found["max_ended_tasks"] == ("7", "1000000")
    assert found["profile"] == ('"orchestrator"', '"resources"')
    assert found["max_queue_depth"] == ("1000", "1000"), "another profile has another default"


def test_the_log_does_not_list_the_settings_of_this_release() -> None:
    """Replicas of two releases must record the same refusal, and the log is no place for a manual."""
    m = cluster()
    reply = m.one(Command(settings_change=SettingsChange(name="nonsense" * 20, value="1")))
    (event,) = m.last_events()
    for text in (reply.message, event.detail):
        assert "nonsense" in text
        assert len(text) < 150
        assert not any(name in text for name in settings.INTEGERS)
