"""Words of the line-by-line console that change something: on lines of which lists, and what they ask for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from tui.commands import Actions

Act = Callable[[Actions, Sequence[str]], None]


def _each(act: Callable[[Actions, str], None]) -> Act:
    """Of an action on one object: the first line that is named."""
    return lambda actions, ids: act(actions, ids[0])


ACTIONS: Mapping[str, Mapping[str, Act]] = {
    "cancel": {"queue": Actions.cancel, "workflows": Actions.cancel_workflows},
    "resume": {"workflows": Actions.resume_workflows},
    "retry": {"queue": Actions.retry, "letters": Actions.retry, "causes": Actions.retry_causes},
    "canary": {"causes": Actions.canary},
    "discard": {"letters": Actions.discard, "causes": Actions.discard_causes},
    "annotate": {"queue": Actions.annotate, "letters": Actions.annotate},
    "priority": {"queue": Actions.set_priority},
    "cordon": {"nodes": Actions.cordon},
    "uncordon": {"nodes": Actions.uncordon},
    "remove": {"nodes": Actions.remove},
    "drain": {"nodes": Actions.drain},
    "undo": {"operations": _each(Actions.undo)},
    "stop": {"operations": _each(Actions.stop)},
}
"""By word, and by list."""
