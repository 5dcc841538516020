"""What people write, and what they read: durations, sizes, times, tables, task specifications, files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cortex.v1 import types_pb2 as types
from tui.drawing.format import (
    Column,
    age,
    duration,
    parse_duration_ms,
    parse_size_bytes,
    parse_time_us,
    rfc3339,
    size,
    table,
)
from tui.errors import ClusterError
from tui.link.target import from_addresses, from_folder, resolve
from tui.written.taskfile import name_lines, read_batch
from tui.written.taskspec import SETTERS, BadField, task_request


@pytest.mark.parametrize(
    ("text", "wanted_ms"),
    [
        ("30s", 30_000),
        ("5m", 300_000),
        ("1h30m", 5_400_000),
        ("90", 90_000),
        ("0.5", 500),
        ("250ms", 250),
        ("0", 0),
    ],
)
def test_durations(text: str, wanted_ms: int) -> None:
    assert parse_duration_ms(text) == wanted_ms


@pytest.mark.parametrize("text", ["", "abc", "-1", "nan", "inf", "1e300", "5 m", "30s!", "m5", "20y", "1h-5m"])
def test_bad_durations(text: str) -> None:
    with pytest.raises(ValueError, match=r"duration|between"):
        parse_duration_ms(text)


@pytest.mark.parametrize(
    ("text", "unit", "wanted"),
    [
        ("512MB", "", 512 * 10**6),
        ("2GiB", "", 2 * 2**30),
        ("1.5kB", "", 1500),
        ("7", "", 7),
        ("7", "mb", 7_000_000),
        ("0.1B", "", 1),
    ],
)
def test_sizes(text: str, unit: str, wanted: int) -> None:
    assert parse_size_bytes(text, unit) == wanted


@pytest.mark.parametrize("text", ["", "-1", "nan", "12XB", "GB", "1 2"])
def test_bad_sizes(text: str) -> None:
    with pytest.raises(ValueError, match="size"):
        parse_size_bytes(text)


def test_times_are_utc_with_microseconds() -> None:
    assert rfc3339(1_769_860_800_000_001) == "2026-01-31T12:00:00.000001Z"
    assert parse_time_us("2026-01-31T12:00:00.000001Z", 0) == 1_769_860_800_000_001
    assert parse_time_us("2026-01-31T13:00:00+01:00", 0) == 1_769_860_800_000_000
    assert parse_time_us("1m", 90_000_000) == 30_000_000
    with pytest.raises(ValueError, match="not a time"):
        parse_time_us("yesterday", 0)


@pytest.mark.parametrize(
    ("length_us", "wanted"),
    [
        (0, "0.0s"),
        (420_000, "0.4s"),
        (12_000_000, "12s"),
        (60_000_000, "1m"),
        (5_400_000_000, "1h30m"),
        (90_000_000_000, "1d1h"),
        (-5, "0.0s"),
    ],
)
def test_lengths(length_us: int, wanted: str) -> None:
    assert duration(length_us) == wanted


def test_ages_and_sizes_read_well() -> None:
    assert age(0, 10) == "-"
    assert age(1, 60_000_001) == "1m"
    assert [size(n) for n in (0, 999, 1000, 15_990, 999_400, 16 * 10**9, 5 * 10**15)] == [
        "0 B",
        "999 B",
        "1.00 kB",
        "16.0 kB",
        "999 kB",
        "16.0 GB",
        "5000 TB",
    ]


def test_tables_align_cut_and_neutralise() -> None:
    columns = (Column("ID"), Column("N", "right"), Column("NAME", shrinks=True))
    rows = [("a", "7", "plain"), ("bb", "123", "red \x1b[31m and \u202e back and a long, long tail")]
    assert table(columns, rows) == [
        "ID    N  NAME",
        "a     7  plain",
        "bb  123  red ^[[31m and \\u202e back and a long, long tail",
    ]
    assert table(columns, rows, width=24)[2] == "bb  123  red ^[[31m and…"


def test_a_very_long_cell_widens_no_other_row() -> None:
    rows = [("a", "x" * 5000, "waits"), ("b", "short", "ended")]
    assert table([Column("ID"), Column("COMMAND"), Column("WHY")], rows) == [
        "ID  COMMAND  WHY",
        f"a   {'x' * 5000}  waits",
        "b   short    ended",
    ]


def test_narrow_tables_leave_out_what_is_optional_and_cut_the_widest() -> None:
    columns = [
        Column("NAME", shrinks=True),
        Column("RULE", optional=True),
        Column("TRY", optional=True),
        Column("REASON", shrinks=True),
    ]
    rows = [("n" * 30, "always", "0", "r" * 40)]
    heads = {width: table(columns, rows, width=width)[0].split() for width in (200, 55, 47, 30)}
    assert heads == {
        200: ["NAME", "RULE", "TRY", "REASON"],
        55: ["NAME", "RULE", "TRY", "REASON"],
        47: ["NAME", "REASON"],
        30: ["NAME", "REASON"],
    }
    assert table(columns, rows, width=55)[1] == "nnnnnnnnnnnnnnnnnnn…  always  0    rrrrrrrrrrrrrrrrrrr…"
    assert table(columns, rows, width=30)[1] == "nnnnnnnnnnnnn…  rrrrrrrrrrrrr…"
    assert table(columns, rows, width=9)[1] == "nnnnnnn…  rrrrrrr…"


def test_every_field_of_a_task() -> None:
    request = task_request(
        {
            "command": "echo hi",
            "name": "n",
            "key": "k",
            "priority": 10,
            "retries": 0,
            "retryPolicy": {"backoffMs": 100, "backoffMultiplier": 1.5, "retryable": True, "jitter": "none"},
            "timeout": "1m",
            "queue-timeout": 5,
            "kill_timeout": "2s",
            "cwd": "/tmp",
            "env": {"A": "1", "B": 2},
            "on": "n1",
            "label": ["zone=a", "ssd"],
            "gpu": True,
            "mem": "2GiB",
            "sandbox": "strict",
            "type": "shell",
            "on_lost": "wait(30m)",
            "locks": ["db"],
            "constraints": {"min_disk_gb": 5, "avoidGaming": True, "excluded_nodes": ["n9"]},
            "requests": {"cpu_millis": 500, "memory": "1GB", "gpus": 1},
            "capabilities": "docker",
            "success_codes": [3],
            "no_retry_codes": 4,
            "on_exhausted": "fail",
        }
    )
    spec = request.spec
    assert (request.name, request.submit_key, request.priority) == ("n", "k", 10)
    assert spec.shell_command == b"echo hi"
    assert (spec.retry.max_retries, spec.retry.backoff_ms, spec.retry.backoff_multiplier) == (0, 100, 1.5)
    assert spec.retry.jitter == types.JITTER_NONE
    assert (spec.timeout_ms, spec.queue_timeout_ms, spec.kill_timeout_ms) == (60_000, 5000, 2000)
    assert {item.name: item.value for item in spec.env} == {"A": b"1", "B": b"2"}
    assert [(item.key, item.value) for item in spec.constraints.node_labels] == [("zone", "a"), ("ssd", "")]
    assert spec.constraints.min_memory_mb == 2148
    assert (spec.constraints.min_disk_gb, spec.constraints.avoid_gaming) == (5, True)
    assert list(spec.constraints.excluded_nodes) == ["n9"]
    assert (spec.on_lost, spec.wait_ms) == (types.ON_LOST_WAIT, 1_800_000)
    assert (spec.requests.cpu_millis, spec.requests.memory_bytes, spec.requests.gpus) == (500, 10**9, 1)
    assert (list(spec.success_codes), list(spec.no_retry_codes)) == ([3], [4])
    assert spec.on_exhausted == types.ON_EXHAUSTED_FAIL


def test_what_is_not_given_is_left_to_the_cluster() -> None:
    spec = task_request({"command": ["true"]}).spec
    assert not spec.HasField("retry")
    assert not spec.HasField("constraints")
    assert (spec.kill_timeout_ms, spec.sandbox, spec.on_lost) == (0, 0, 0)


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({}, "command: there is none"),
        ({"command": []}, "command: a list is neither"),
        ({"command": "  "}, "command: it is empty"),
        ({"command": {"a": 1}}, "command: a map is neither"),
        ({"command": "x", "priority": float("nan")}, "priority: nan is not a whole number from 0 to 10"),
        ({"command": "x", "priority": 11}, "priority: 11 is not"),
        ({"command": "x", "priority": True}, "priority: true is not"),
        ({"command": "x", "retries": -1}, "retries: -1 is not"),
        ({"command": "x", "retries": 1.5}, "retries: 1.5 is not"),
        ({"command": "x", "timeout": "soon"}, "timeout: 'soon' is no duration"),
        ({"command": "x", "cwd": "here"}, 'cwd: "here" is not absolute'),
        ({"command": "x", "env": ["A=1"]}, "env: a list is not a map"),
        ({"command": "x", "env": {"A": None}}, "env: None is not text"),
        ({"command": "x", "label": "=v"}, 'label: "=v" is no label'),
        ({"command": "x", "sandbox": "tight"}, 'sandbox: "tight" is none of none, default, strict'),
        ({"command": "x", "on_lost": "wait"}, "on_lost: wait needs a length"),
        ({"command": "x", "on_lost": "panic"}, 'on_lost: "panic" is none of requeue, wait, hold'),
        ({"command": "x", "constraints": {"colour": "red"}}, "constraints.colour: there is no such key"),
        ({"command": "x", "success_codes": [300]}, "success_codes: 300 is not"),
        ({"command": "x", "retry_policy": {"backoff_multiplier": float("inf")}}, "backoff_multiplier: inf is no"),
        ({"command": "x", "colour\x1b": "red"}, "colour^[: there is no such key"),
        ({"command": "x", "kill-timeout": 1, "killTimeout": 2}, "killTimeout: it is given twice"),
        ({"command": "\ud800"}, "half a surrogate pair"),
    ],
)
def test_bad_fields_are_named(fields: dict[str, Any], problem: str) -> None:
    with pytest.raises(BadField) as caught:
        task_request(fields)
    assert problem in str(caught.value)


def test_every_bad_line_of_a_batch_is_named() -> None:
    text = (
        '{"command": "a"}\n\n{"command": "b", "priority": NaN}\nnot json\n[1]\n{"name": "x"}\n{"name":1,"name":2}\n'
    )
    with pytest.raises(ClusterError) as caught:
        read_batch(text, "tasks.jsonl")
    assert caught.value.exit_code == 1
    message = caught.value.message
    assert message.startswith(
        "tasks.jsonl: line 3: priority: nan is not a whole number from 0 to 10; line 4: it is no"
    )
    assert "line 5: it is not a JSON object" in message
    assert "line 6: command: there is none" in message
    assert "line 7: name: it is given twice" in message


def test_json_lines_keep_their_line_numbers() -> None:
    requests, lines = read_batch('\n{"command": ["a", "b"]}\n\n{"command": "c"}', "x")
    assert [list(request.spec.argv) for request in requests] == [[b"a", b"b"], []]
    assert lines == [2, 4]
    told = "Nothing was submitted. Line 2: cwd is wrong. And 3 more lines."
    assert name_lines(told, lines) == "Nothing was submitted. Line 4: cwd is wrong. And 3 more lines."


def test_yaml_is_a_list_or_documents() -> None:
    requests, lines = read_batch("- command: [echo, yes]\n  on: n1\n- command: ls\n  gpu: true\n", "t.yaml")
    assert requests[0].spec.constraints.target_node == "n1"
    assert list(requests[0].spec.argv) == [b"echo", b"yes"]
    assert requests[1].spec.constraints.requires_gpu
    assert lines == [1, 3]
    assert len(read_batch("command: a\n---\ncommand: b\n", "t")[0]) == 2


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("- command: a\n- command: [b\n", "no YAML"),
        ("- command: a\n- 7\n", "line 2: it is no map"),
        ("- command: a\n  command: b\n", "line 1: command: it is given twice"),
        ("", "has no task"),
        ("- command: !!python/object/apply:os.system [id]\n", "no YAML"),
    ],
)
def test_bad_yaml_is_named(text: str, problem: str) -> None:
    with pytest.raises(ClusterError, match=problem):
        read_batch(text, "t.yaml")


def test_a_yaml_bomb_is_refused_at_once() -> None:
    levels = ["a0: &a0 [x, x]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 40)]
    with pytest.raises(ClusterError, match="there is no such key"):
        read_batch("\n".join([*levels, "command: [*a39]"]), "t.yaml")


@pytest.mark.parametrize(("written", "priority"), [("P0", 10), ("p1", 5), ("P2", 0), ("7", 7), (3, 3)])
def test_priorities_by_name(written: object, priority: int) -> None:
    assert task_request({"command": "x", "priority": written}).priority == priority


@pytest.mark.parametrize("written", ["P3", "P", "P-1", "high"])
def test_no_other_priorities_have_names(written: str) -> None:
    with pytest.raises(BadField, match="is not a whole number from 0 to 10"):
        task_request({"command": "x", "priority": written})


def test_what_a_node_must_have_should_have_and_may_run_at_once() -> None:
    spec = task_request(
        {"command": "x", "capabilities": "docker", "prefer_capabilities": ["avx", "kvm"], "limit": "db=3"}
    ).spec
    assert list(spec.constraints.capabilities) == ["docker"]
    assert list(spec.constraints.preferred_capabilities) == ["avx", "kvm"]
    assert (spec.limit_key, spec.limit_count) == ("db", 3)
    for bad in ("db", "=3", "db=0", "db=x"):
        with pytest.raises(BadField, match="limit: "):
            task_request({"command": "x", "limit": bad})


def test_file_keys_are_the_flags() -> None:
    from tui.verbs.submit import FLAGS, PLURALS

    flags = {flag.removeprefix("--").replace("-", "_") for flag, _ in FLAGS}
    # --set is a part of the payload.
    keys = {PLURALS.get(flag, flag) for flag in flags - {"set"}}
    assert keys | {"command", "retry_policy"} == set(SETTERS)


def test_targets(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s\n")
    nodes = [
        {"id": "n1", "address": "127.0.0.1:7001", "socket": str(tmp_path / "gone.sock"), "pid": 1, "role": "voter"}
    ]
    (tmp_path / "cluster.json").write_text(json.dumps({"nodes": nodes}))
    found = from_folder(tmp_path)
    assert [(target.address, target.node) for target in found.targets] == [("127.0.0.1:7001", "n1")]
    assert found.secret == "s"
    context = tmp_path / ".config" / "cortex" / "context.json"
    context.parent.mkdir(parents=True)
    context.write_text(json.dumps({"data": str(tmp_path)}))
    assert resolve(None, None, {"HOME": str(tmp_path)}).key == found.key
    assert resolve(None, None, {"HOME": str(tmp_path), "CORTEX_CLUSTER": "a:1,b:2"}).name == "a:1,b:2"
    assert len(resolve(None, "a:1,unix:/x", {"HOME": str(tmp_path), "CORTEX_CLUSTER": "b:2"}).targets) == 2


@pytest.mark.parametrize("text", ["", ",", "host", "host:0", "host:99999", "http://h:1", "a:1,b"])
def test_bad_addresses(text: str) -> None:
    with pytest.raises(ClusterError) as caught:
        from_addresses(text, "")
    assert caught.value.exit_code == 2


def test_a_damaged_cluster_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "cluster.json").write_text('{"nodes": []}')
    with pytest.raises(ClusterError, match=r"cluster\.json is damaged"):
        from_folder(tmp_path)
