"""Configuration: the order of its sources, and a sentence for everything that cannot be used."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from cortex.v1.types_pb2 import TASK_TYPE_NOOP, TASK_TYPE_SHELL
from node.config import command_environment, load
from node.core.faults import Fault
from node.daemon import describe, unserved
from node.host import describe_machine
from node.worker.executors.noop import NoopExecutor
from node.worker.executors.port import Setup
from node.worker.executors.registry import Found
from node.worker.executors.registry import describe as registry_describe
from node.worker.executors.shell import ShellExecutor

BASE = {"id": "n1", "data": "/tmp/x", "listen": "127.0.0.1:7001", "voters": "n1=127.0.0.1:7001"}


def test_flags_beat_environment_beats_file(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text('slots = 2\nlease_ms = 9000\nrenew_ms = "2s"\nlog_level = "debug"\n')
    config = load({**BASE, "config": str(file), "slots": "8"}, {"CORTEX_SLOTS": "4", "CORTEX_LEASE_MS": "10s"})
    assert (config.lease_ms, config.renew_ms, config.log_level) == (10_000, 2_000, "debug")
    assert config.slots == {"shell": 8}
    assert json.loads(config.document())["voters"] == {"n1": "127.0.0.1:7001"}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"id": ""}, "Setting id cannot be used"),
        ({"id": "a b"}, "only letters, digits"),
        ({"listen": "127.0.0.1"}, "not host:port"),
        ({"listen": "0.0.0.0:7001"}, "beyond loopback"),
        ({"voters": "n1=127.0.0.1:7001,n1=127.0.0.1:7002"}, "each id once"),
        ({"voters": "n2=127.0.0.1:7002"}, "not among --voters"),
        ({"voters": "n1=127.0.0.1:7009"}, "--voters says 127.0.0.1:7009"),
        ({"voters": None}, "neither --voters nor --join"),
        ({"worker": True}, "it is among --voters, which vote"),
        ({"slots": "many"}, "not a whole number"),
        ({"slots": "-1"}, "out of range"),
        ({"slots": "noop=-1"}, "out of range"),
        ({"slots": "sheel=4"}, "no such task type"),
        ({"slots": ("4", "shell=5")}, "shell is given twice"),
        ({"slots": "4,,noop=1"}, "not a whole number"),
        ({"capabilities": ("x",) * 81}, "it has 81 items, the limit is 80"),
        ({"capabilities": ("docker", " ")}, "1 to 200 printable characters"),
        ({"capabilities": ("a\nb",)}, "1 to 200 printable characters"),
        ({"lease_ms": "soon"}, "not a duration"),
        ({"lease_ms": "0"}, "not between 1 ms and 7 days"),
        ({"renew_ms": "9" * 40}, "not between 1 ms and 7 days"),
        ({"data": "/" + "d" * 96}, "2 bytes too long for the unix socket"),
        ({"listen": "localhost.example.com:7001"}, "beyond loopback"),
        ({"listen": "127.0.0.1.example.com:7001"}, "beyond loopback"),
        ({"lease_ms": "15s"}, "a lease must outlast two renewals"),
        ({"config": "/nowhere/c.toml"}, "No such file"),
    ],
)
def test_what_cannot_be_used(change: dict[str, object], sentence: str) -> None:
    with pytest.raises(Fault, match=sentence) as caught:
        load({**BASE, **change}, {})
    assert caught.value.remedy.endswith((".", "…."))


def test_slots_by_task_type_from_everywhere(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text("[slots]\nshell = 3\nk8s-job = 7\n")
    wanted = {"shell": 3, "k8s_job": 7}
    assert load({**BASE, "config": str(file)}, {}).slots == wanted
    assert load({**BASE, "slots": ("3", "k8s_job=7")}, {}).slots == wanted
    assert load(BASE, {"CORTEX_SLOTS": "3, K8S-job=7"}).slots == wanted
    assert load({**BASE, "slots": "0"}, {}).slots == {}
    assert load({**BASE, "slots": "noop=0"}, {}).slots == {"noop": 0}


def test_capabilities_from_everywhere(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text('capabilities = ["docker", "kvm"]\n')
    assert load({**BASE, "config": str(file)}, {}).capabilities == ("docker", "kvm")
    assert load({**BASE, "config": str(file)}, {"CORTEX_CAPABILITIES": "a, b"}).capabilities == ("a", "b")
    assert load({**BASE, "capabilities": ("c",)}, {"CORTEX_CAPABILITIES": "a"}).capabilities == ("c",)


def test_a_node_offers_what_it_can_run_and_says_what_it_cannot() -> None:
    machine = describe_machine(gpus=1)
    setup = Setup(Path())
    found = [Found(one, one.probe()) for one in (ShellExecutor(setup), NoopExecutor(setup))]
    registry_describe(machine, found, {"shell": 2, "noop": 0, "subagent": 3})
    config = load({**BASE, "slots": "2,noop=0,subagent=3", "capabilities": "docker,gpu"}, {})
    node = describe(config, machine)
    assert {offer.type: offer.count for offer in node.slots} == {TASK_TYPE_SHELL: 2, TASK_TYPE_NOOP: 0}
    system = os.uname()
    own = {f"os:{system.sysname.lower()}", f"arch:{system.machine}"}
    assert set(node.capabilities) == {"docker", "gpu", "type:shell", *own}
    assert list(node.capabilities) == sorted(node.capabilities)
    assert unserved(config, machine) == ["subagent"]


def test_an_unknown_key_of_the_file_names_the_known_ones(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text("slot = 2\n")
    with pytest.raises(Fault, match="unknown key 'slot'") as caught:
        load({**BASE, "config": str(file)}, {})
    assert "slots" in caught.value.remedy


def test_commands_inherit_little() -> None:
    inherited = command_environment({"PATH": "/bin", "HOME": "/root", "LD_PRELOAD": "x.so", "TOKEN": "t"})
    assert inherited == {"PATH": "/bin", "HOME": "/root"}


@pytest.mark.parametrize(("given", "means"), [("10", 10), ("250000", 250_000)])
def test_how_often_a_snapshot_is_taken(given: str, means: int) -> None:
    flags = {"id": "n1", "data": "/tmp/x", "listen": "127.0.0.1:1", "voters": "n1=127.0.0.1:1"}
    assert load(flags, {"CORTEX_SNAPSHOT_ENTRIES": given}).snapshot_entries == means


def test_a_snapshot_for_every_entry_is_refused() -> None:
    flags = {"id": "n1", "data": "/tmp/x", "listen": "127.0.0.1:1", "voters": "n1=127.0.0.1:1"}
    with pytest.raises(Fault, match="snapshot_entries"):
        load(flags, {"CORTEX_SNAPSHOT_ENTRIES": "1"})
