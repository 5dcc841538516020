"""Whatever is in a workflow file, it becomes a request or a ClusterError that says what to do."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tui.drawing.text import clean
from tui.errors import ClusterError
from tui.written.taskspec import SETTERS
from tui.written.workflowfile import OWN_FIELDS, TOP_FIELDS, read_workflow

LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["shell", "context.a", "all_done", "max_failures", "5m", "true", "/tmp", "a"]),
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["over", "command", "maxRetries", "max_retries", "a"]) | st.text(max_size=3), inner
        ),
    ),
    max_leaves=6,
)
FIELDS = st.dictionaries(st.sampled_from([*OWN_FIELDS, *SETTERS, "dependsOn", "canFail"]), VALUES, max_size=5)
TASKS = st.dictionaries(st.sampled_from("abc"), FIELDS | VALUES, max_size=3) | st.lists(FIELDS | VALUES, max_size=3)
DOCUMENTS = st.fixed_dictionaries(
    {"tasks": TASKS | VALUES}, optional={name: VALUES for name in (*TOP_FIELDS, "maxFailures") if name != "tasks"}
)


def accepted_or_explained(text: str, name: str) -> None:
    refused: ClusterError | None = None
    try:
        found = read_workflow(text, name)
    except ClusterError as error:
        refused = error
    if refused is None:
        assert found.tasks
        assert found.SerializeToString()
        return
    assert refused.code in ("invalid", "too_large")
    assert refused.message.startswith(name)
    assert clean(refused.message) == refused.message
    assert refused.remedy.endswith("Nothing was submitted.")


@settings(max_examples=100, deadline=None)
@given(DOCUMENTS)
def test_any_document(document: Any) -> None:
    accepted_or_explained(json.dumps(document), "f.json")


@settings(max_examples=100, deadline=None)
@given(DOCUMENTS)
def test_json_is_yaml(document: Any) -> None:
    try:
        text = json.dumps(document, allow_nan=False)
        expected = read_workflow(text, "f.json")
    except (ValueError, ClusterError):
        return
    assert read_workflow(text, "f.yaml") == expected


@settings(max_examples=100, deadline=None)
@given(st.text(alphabet=st.sampled_from("abt:-[]{}&*!|>'\"\\ \n\t#%@?,<~1.é\x00\x1b\u2028\ufeff"), max_size=60))
def test_any_text(text: str) -> None:
    accepted_or_explained(text, "f.yaml")
    accepted_or_explained("name: x\ntasks:\n  a: {command: y}\n" + text, "f.yaml")
    accepted_or_explained(text, "f.json")
