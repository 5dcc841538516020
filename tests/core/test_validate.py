"""Bad requests: each is refused with the field, the limit and a remedy, and what is left out gets its default."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

from cortex.v1 import types_pb2
from cortex.v1.cluster_pb2 import TaskRequest
from cortex.v1.types_pb2 import Constraints, EnvVar, Label, Requests, RetryPolicy, TaskSpec
from node.core import checks, validate
from node.core.faults import Code, Fault
from tests.core.batches import complete_batch

NAN, INF = float("nan"), float("inf")
DAY_MS = 24 * 3600 * 1000


def request(spec: dict[str, object] | None = None, **fields: object) -> TaskRequest:
    return TaskRequest(spec=TaskSpec(**{"argv": [b"true"], **(spec or {})}), **fields)  # type: ignore[arg-type]


def refuse(bad: TaskRequest) -> Fault:
    with pytest.raises(Fault) as caught:
        validate.complete(bad, "t1")
    assert caught.value.message.endswith(".")
    assert caught.value.remedy.endswith((".", "COMMAND."))
    assert len(caught.value.message) < 1000
    return caught.value


def with_retry(**fields: object) -> dict[str, object]:
    return {"retry": RetryPolicy(**fields)}  # type: ignore[arg-type]


def with_env(name: str, value: bytes = b"x") -> dict[str, object]:
    return {"env": [EnvVar(name=name, value=value)]}


def with_constraints(**fields: object) -> dict[str, object]:
    return {"constraints": Constraints(**fields)}  # type: ignore[arg-type]


BAD_SPECS: list[tuple[str, dict[str, object]]] = [
    ("empty", {"argv": []}),
    ("empty", {"argv": [b""]}),
    ("empty", {"argv": [], "shell_command": b"  \n"}),
    ("Both", {"shell_command": b"ls"}),
    ("payload", {"payload": b"{}"}),
    (r"argv\[1\].*131071", {"argv": [b"echo", b"x" * 131072]}),
    ("shell_command.*131071", {"argv": [], "shell_command": b"x" * 131072}),
    (r"argv\[1\].*NUL", {"argv": [b"echo", b"a\0b"]}),
    ("shell_command.*NUL", {"argv": [], "shell_command": b"a\0b"}),
    ("262144", {"argv": [b"x" * 100_000] * 3}),
    ("cwd.*absolute", {"cwd": "srv"}),
    (r"cwd.*U\+000A", {"cwd": "/srv\n"}),
    ("cwd.*4096", {"cwd": "/" + "x" * 4096}),
    ("env.*''", with_env("")),
    ("env.*'A=B'", with_env("A=B")),
    (r"env.*U\+0000", with_env("A\0")),
    (r"env.*U\+001B", with_env("A\x1b[0m")),
    ("value of A.*NUL", with_env("A", b"\0")),
    ("A in env.*131071", with_env("A", b"x" * 131_070)),
    ("env.*1000", {"env": [EnvVar(name=f"V{n}") for n in range(1001)]}),
    ("A twice", {"env": [EnvVar(name="A"), EnvVar(name="A")]}),
    *(
        (f"must not set {name}", with_env(name))
        for name in (
            "LD_PRELOAD",
            "LD_LIBRARY_PATH",
            "LD_AUDIT",
            "DYLD_INSERT_LIBRARIES",
            "BASH_ENV",
            "BASH_FUNC_ls%%",
            "ENV",
            "PYTHONSTARTUP",
            "CORTEX_FENCE",
        )
    ),
    ("timeout_ms is -1", {"timeout_ms": -1}),
    ("timeout_ms is", {"timeout_ms": 366 * DAY_MS}),
    ("queue_timeout_ms is -1", {"queue_timeout_ms": -1}),
    ("queue_timeout_ms", {"queue_timeout_ms": 1 << 62}),
    ("kill_timeout_ms is -1", {"kill_timeout_ms": -1}),
    ("kill_timeout_ms is 10001.*10000", {"kill_timeout_ms": 10_001}),
    ("kill_timeout_ms.*3600000", {"kill_timeout_ms": 3_600_001, "on_lost": types_pb2.ON_LOST_HOLD}),
    ("kill_timeout_ms.*20000", {"kill_timeout_ms": 20_001, "on_lost": types_pb2.ON_LOST_WAIT, "wait_ms": 60_000}),
    ("wait_ms is 0", {"on_lost": types_pb2.ON_LOST_WAIT}),
    ("wait_ms.*not wait", {"wait_ms": 60_000}),
    ("type.*99", {"type": 99}),
    ("container.*image is missing", {"type": types_pb2.TASK_TYPE_CONTAINER}),
    ("noop task takes no command", {"type": types_pb2.TASK_TYPE_NOOP, "argv": [b"sleep", b"4"]}),
    ("noop task takes no payload", {"type": types_pb2.TASK_TYPE_NOOP, "argv": [], "payload": b'{"a": "b"}'}),
    ("no sandbox level", {"type": types_pb2.TASK_TYPE_NOOP, "argv": [], "sandbox": types_pb2.SANDBOX_LEVEL_STRICT}),
    ("sandbox.*99", {"sandbox": 99}),
    ("on_lost.*99", {"on_lost": 99}),
    ("on_exhausted.*99", {"on_exhausted": 99}),
    ("jitter.*99", with_retry(jitter=99)),
    ("max_retries is -1", with_retry(max_retries=-1)),
    ("max_retries is 1001", with_retry(max_retries=1001)),
    ("retry.backoff_ms is -1", with_retry(backoff_ms=-1)),
    ("retry.backoff_ms", with_retry(backoff_ms=2 * DAY_MS)),
    ("retry.max_backoff_ms", with_retry(max_backoff_ms=1 << 60)),
    ("retry.max_elapsed_ms", with_retry(max_elapsed_ms=-1)),
    *(("multiplier", with_retry(backoff_multiplier=factor)) for factor in (NAN, INF, -INF, 0.5, 101.0)),
    ("success_codes", {"success_codes": [256]}),
    ("no_retry_codes", {"no_retry_codes": [-1]}),
    ("node_labels.*101.*100", with_constraints(node_labels=[Label(key=f"k{n}") for n in range(101)])),
    ("node_labels.*empty", with_constraints(node_labels=[Label(value="x")])),
    ("node_labels", with_constraints(node_labels=[Label(key="a", value="\x1b")])),
    ("capabilities", with_constraints(capabilities=["a\u202eb"])),
    ("allowed_nodes", with_constraints(allowed_nodes=["x"] * 1001)),
    ("target_node", with_constraints(target_node="n\n1")),
    ("min_memory_mb is -1", with_constraints(min_memory_mb=-1)),
    ("min_disk_gb", with_constraints(min_disk_gb=1 << 40)),
    ("requests.cpu_millis is -1", {"requests": Requests(cpu_millis=-1)}),
    ("requests.memory_bytes", {"requests": Requests(memory_bytes=1 << 60)}),
    ("requests.gpus is -1", {"requests": Requests(gpus=-1)}),
    ("locks.*empty", {"locks": [""]}),
    ("locks.*twice", {"locks": ["a", "a"]}),
    ("limit_key", {"limit_count": 2}),
    ("limit_count is -1", {"limit_key": "k", "limit_count": -1}),
]


@pytest.mark.parametrize(("words", "spec"), BAD_SPECS)
def test_bad_spec(words: str, spec: dict[str, object]) -> None:
    fault = refuse(request(spec))
    assert fault.code in (Code.INVALID, Code.TOO_LARGE, Code.UNSUPPORTED)
    with pytest.raises(Fault, match=words):
        raise fault


@pytest.mark.parametrize(
    ("words", "fields"),
    [
        ("priority is -1", {"priority": -1}),
        ("priority is 11, it goes from 0 to 10", {"priority": 11}),
        ("name has 201", {"name": "x" * 201}),
        (r"name.*U\+0000", {"name": "a\0"}),
        (r"name.*U\+000A at position 1", {"name": "a\nb"}),
        (r"name.*U\+001B", {"name": "\x1b]0;x\x07"}),
        (r"name.*U\+202E", {"name": "a\u202eb"}),
        (r"name.*U\+2066", {"name": "\u2066"}),
        (r"name.*U\+0085", {"name": "\x85"}),
        ("submit_key has 201", {"submit_key": "x" * 201}),
        (r"submit_key.*U\+000D", {"submit_key": "a\r"}),
    ],
)
def test_bad_request(words: str, fields: dict[str, object]) -> None:
    with pytest.raises(Fault, match=words):
        raise refuse(request(**fields))


def test_an_empty_request() -> None:
    assert "empty" in refuse(TaskRequest()).message


def test_too_large_has_its_own_code() -> None:
    assert refuse(request({"argv": [b"x" * 131_072]})).code == Code.TOO_LARGE
    assert refuse(request({"argv": [b"x" * 100_000] * 3})).code == Code.TOO_LARGE


@pytest.mark.parametrize(
    "spec",
    [
        {"argv": [b"echo", b"x" * 131_071]},
        {"argv": [b"\xff\xfe", b"\x1b[31m"]},
        {"argv": [b"echo", b""]},
        {"argv": [], "shell_command": b"ls | head\n"},
        {"argv": [], "type": types_pb2.TASK_TYPE_NOOP},
        {"kill_timeout_ms": 10_000},
        {"kill_timeout_ms": 3_600_000, "on_lost": types_pb2.ON_LOST_HOLD},
        with_retry(max_retries=0),
        with_retry(backoff_ms=0),
        {"requests": Requests(cpu_millis=10_000_000, memory_bytes=1 << 50, gpus=900)},
        with_constraints(node_labels=[Label(key=f"k{n}") for n in range(100)]),
        with_env("PATH", b"/bin:\xff"),
        {"cwd": "/srv/ä"},
    ],
)
def test_at_the_edge_and_unusual(spec: dict[str, object]) -> None:
    submit = validate.complete(request(spec), "t1")
    assert checks.flaw(submit) is None


def test_every_default_is_filled_in() -> None:
    submit = validate.complete(request(), "t1")
    spec = submit.spec
    assert (submit.id, submit.name, submit.priority) == ("t1", "true", 0)
    assert (spec.type, spec.sandbox) == (types_pb2.TASK_TYPE_SHELL, types_pb2.SANDBOX_LEVEL_NONE)
    assert (spec.on_lost, spec.on_exhausted) == (
        types_pb2.ON_LOST_REQUEUE,
        types_pb2.ON_EXHAUSTED_DEAD_LETTER,
    )
    assert (spec.kill_timeout_ms, spec.timeout_ms, spec.queue_timeout_ms) == (5000, 0, 0)
    policy = RetryPolicy(
        max_retries=3,
        backoff_ms=1000,
        backoff_multiplier=2.0,
        max_backoff_ms=60_000,
        retryable=True,
        jitter=types_pb2.JITTER_FULL,
    )
    assert spec.retry == policy


def test_what_is_given_as_zero_stays() -> None:
    given = RetryPolicy(max_retries=0, backoff_ms=0, retryable=False, max_backoff_ms=0)
    policy = validate.complete(request({"retry": given}), "t1").spec.retry
    assert (policy.max_retries, policy.backoff_ms, policy.max_backoff_ms, policy.retryable) == (0, 0, 0, False)
    assert policy.backoff_multiplier == 2.0


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        ({"argv": [b"/usr/bin/env", b"x"]}, "env"),
        ({"argv": [], "shell_command": b"  make all | tee log"}, "make"),
        ({"argv": [b"\x1b[31m"]}, "?[31m"),
        ({"argv": [b"x" * 300]}, "x" * 200),
        ({"argv": [b"/"]}, "task"),
        ({"argv": [], "type": types_pb2.TASK_TYPE_NOOP}, "noop"),
    ],
)
def test_the_name_defaults_to_the_command(spec: dict[str, object], name: str) -> None:
    assert validate.complete(request(spec), "t1").name == name


def test_the_request_itself_is_left_as_it_is() -> None:
    given = request()
    before = given.SerializeToString()
    validate.complete(given, "t1")
    assert given.SerializeToString() == before


# Batches


@pytest.fixture
def new_id() -> Callable[[], str]:
    numbers = itertools.count()
    return lambda: f"t{next(numbers)}"


def test_a_batch_gets_ids_in_order(new_id: Callable[[], str]) -> None:
    submits = complete_batch([request(), request(priority=3)], new_id)
    assert [(submit.id, submit.priority) for submit in submits] == [("t0", 0), ("t1", 3)]


def test_ids_of_a_batch_ascend_whatever_order_they_are_made_in() -> None:
    made = iter(["b", "c", "a"])
    submits = complete_batch([request(priority=number) for number in range(3)], lambda: next(made))
    assert [(submit.id, submit.priority) for submit in submits] == [("a", 0), ("b", 1), ("c", 2)]


def test_each_bad_line_is_named(new_id: Callable[[], str]) -> None:
    batch = [request(), request(priority=99), request(), request({"argv": []})]
    with pytest.raises(Fault) as caught:
        complete_batch(batch, new_id)
    assert "Line 2: priority is 99" in caught.value.message
    assert "Line 4: The command is empty" in caught.value.message
    assert "Line 1" not in caught.value.message
    assert "Line 3" not in caught.value.message
    assert "list of arguments" in caught.value.remedy


def test_very_many_bad_lines_fit_into_a_trailer(new_id: Callable[[], str]) -> None:
    with pytest.raises(Fault) as caught:
        complete_batch([request(priority=99)] * 9000, new_id)
    fault = caught.value
    assert len(fault.message) + len(fault.remedy) < 6000
    assert "Line 1:" in fault.message
    assert ", 200, 201" in fault.message
    assert "and more" in fault.message


def test_an_empty_or_oversized_batch(new_id: Callable[[], str]) -> None:
    for batch in ([], [request()] * 100_001):
        with pytest.raises(Fault, match="batch"):
            complete_batch(batch, new_id)


# Words


def test_reason() -> None:
    assert validate.reason("  enough ") == "enough"
    assert validate.reason("") == ""
    assert validate.reason("x" * 200) == "x" * 200
    for bad in ("x" * 201, "two\nlines", "\x1b[2J"):
        with pytest.raises(Fault, match="reason"):
            validate.reason(bad)


def test_request_id() -> None:
    assert validate.request_id("r-1") == "r-1"
    for bad in ("a\0b", "x" * 201):
        with pytest.raises(Fault, match="request_id"):
            validate.request_id(bad)


@pytest.mark.parametrize("text", ["a", "01jf3k2m9qabc7de", "node-1.lan_x", "x" * 64])
def test_ids(text: str) -> None:
    assert checks.is_id(text)


@pytest.mark.parametrize("text", ["", "-a", ".a", "a b", "a/b", "ä", "a\n", "a\0", "\x1b", "x" * 65, "\u202ea"])
def test_no_ids(text: str) -> None:
    assert not checks.is_id(text)


def test_lines_that_say_the_same_become_tasks_of_their_own() -> None:
    line, other = request(submit_key="k"), request({"argv": [b"false"]})
    submits = complete_batch([line, line, other, line], iter(["t3", "t1", "t4", "t2"]).__next__)
    assert [submit.id for submit in submits] == ["t1", "t2", "t3", "t4"]
    alone = [
        validate.complete(each, submit.id) for each, submit in zip([line, line, other, line], submits, strict=True)
    ]
    assert submits == alone
