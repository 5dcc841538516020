"""Payloads of services: what is refused before the log, and with which sentence."""

from __future__ import annotations

import json
import re

import pytest

from cortex.v1.cluster_pb2 import TaskRequest
from cortex.v1.types_pb2 import TASK_TYPE_SERVICE
from node.core import validate
from node.core.faults import Fault


def request(payload: object, *argv: bytes) -> TaskRequest:
    made = TaskRequest()
    made.spec.type = TASK_TYPE_SERVICE
    made.spec.argv.extend(argv or (b"serve",))
    made.spec.payload = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return made


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        (b"[]", "it: expected `object`, got `array`"),
        (b"\xff{", "It is not a JSON object"),
        (b"{" * 100_000, "It is not a JSON object"),
        ({"port": 80}, "port is no key of it"),
        ({"ready": {"pattern": "("}}, r"ready.pattern is no regular expression: missing \)"),
        ({"ready": {"pattern": "(?=x)"}}, "ready.pattern is no regular expression: invalid perl operator"),
        ({"ready": {"pattern": "((x{1,30}){1,30})"}}, "ready.pattern repeats too much"),
        ({"ready": {"pattern": "x" * 501}}, "ready.pattern has 501 characters, the limit is 500"),
        (
            {"ready": {"pattern": "".join(f"(?P<n{i}>x)" for i in range(15))}},
            "has 15 named groups, the limit is 14",
        ),
        ({"ready": {"pattern": 7}}, "ready.pattern: expected `str`, got `int`"),
        ({"ready": {"port": 70_000}}, "ready.port is 70000, it goes from 1 to 65535"),
        ({"ready": {"port": -1}}, "ready.port is -1"),
        ({"ready": {"port": True}}, "ready.port: expected `int | str`, got `bool`"),
        ({"ready": {"port": "80"}}, "ready.port is '80', it is a number or one {name}"),
        ({"ready": {"pattern": "(?P<a>.)", "port": "{a}{a}"}}, "ready.port is '{a}{a}'"),
        ({"ready": {"port": "{web}"}}, "ready.port names {web}, which is no named group of ready.pattern"),
        ({"ready": {"port": 80, "host": "a b"}}, "ready.host is no name or address"),
        ({"ready": {"url": "ftp://h/"}}, "ready.url is no URL that begins with http:// or https://"),
        ({"ready": {"url": "http://h/\r\nX: y"}}, "ready.url is no URL"),
        ({"ready": {"url": "http://h:99999/"}}, "ready.url is no URL"),
        ({"ready": {"url": "http://{h}/"}}, "ready.url names {h}"),
        ({"ready": {"url": "http://" + "h" * 2000}}, "ready.url has 2007 characters, the limit is 2000"),
        ({"ready": {"url": "http://h/", "status": [99]}}, "ready.status takes at most 64 codes from 100 to 599"),
        ({"ready": {"port": 80, "status": [200]}}, "ready.status means nothing without ready.url"),
        ({"ready": {"timeout_s": 0}}, "ready.timeout_s is 0, it goes from 0.1 to 86400"),
        (b'{"ready": {"timeout_s": 1e999}}', "ready.timeout_s"),
        (b'{"ready": {"timeout_s": NaN}}', "It is not a JSON object"),
        ({"ready": {"interval_s": 0}}, "ready.interval_s is 0"),
        ({"health": {}}, "health has neither port nor url, and ready has none"),
        ({"health": {"port": 80, "failures": 0}}, "health.failures is 0, it goes from 1 to 1000"),
        ({"restart": {"policy": "sometimes"}}, "restart.policy: invalid enum value 'sometimes'"),
        ({"restart": {"max_restarts": 1001}}, "restart.max_restarts is 1001, it goes from 0 to 1000"),
        ({"restart": {"backoff_s": -1}}, "restart.backoff_s is -1"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(payload: object, said: str) -> None:
    with pytest.raises(Fault) as refused:
        validate.complete(request(payload), "t1")
    assert refused.value.message.startswith("The payload of a service task is wrong: ")
    assert re.search(said if "\\" in said else re.escape(said), refused.value.message)
    assert refused.value.remedy.startswith("Its keys are ready.port, ready.host, ready.url")
    assert "health.failures, restart.policy" in refused.value.remedy


@pytest.mark.parametrize("argv", [[], [b""]])
def test_a_service_has_a_command(argv: list[bytes]) -> None:
    made = request({})
    del made.spec.argv[:]
    made.spec.argv.extend(argv)
    with pytest.raises(Fault, match="The service has no command"):
        validate.complete(made, "t1")


def test_a_service_has_time_to_end_and_may_be_silent_for_ever() -> None:
    spec = validate.complete(request({"ready": {"port": 80}}), "t1").spec
    assert (spec.kill_timeout_ms, spec.timeout_ms, spec.stall_after_ms, spec.idle_timeout_ms) == (10_000, 0, 0, 0)


def test_a_short_lease_leaves_it_less_time() -> None:
    assert validate.complete(request({}), "t1", lease_ms=15_000).spec.kill_timeout_ms == 5_000
