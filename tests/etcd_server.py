"""A real etcd, started on free loopback ports."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path

import grpc

from tests.e2e.harness import held_port

MISSING = "etcd is not installed (Debian: apt-get install etcd-server)"
_START_S = 60.0


def installed() -> bool:
    return shutil.which("etcd") is not None


class EtcdMember:
    def __init__(self, name: str, folder: Path, client_port: int, peer_port: int) -> None:
        self.name = name
        self.folder = folder
        self.endpoint = f"127.0.0.1:{client_port}"
        self.peer_url = f"http://127.0.0.1:{peer_port}"
        self.process: subprocess.Popen[bytes] | None = None


class EtcdServers:
    """One etcd cluster of `size` processes. Close it after use."""

    def __init__(self, folder: Path, size: int = 1, options: tuple[str, ...] = (), scheme: str = "http") -> None:
        self._folder, self._options, self._scheme = folder, options, scheme
        self._stack = ExitStack()
        # Theirs while they are dead, too: a port that is free could become anybody's.
        ports = [self._stack.enter_context(held_port()).getsockname()[1] for _ in range(2 * size)]
        self.members = [
            EtcdMember(f"e{number}", folder / f"e{number}", ports[2 * number], ports[2 * number + 1])
            for number in range(size)
        ]

    @property
    def endpoints(self) -> list[str]:
        return [member.endpoint for member in self.members]

    def start(self, *members: EtcdMember) -> None:
        """Start these, or all, and wait until they listen."""
        for member in members or self.members:
            self._launch(member)
        for member in members or self.members:
            self._wait(member)

    def kill(self, *members: EtcdMember) -> None:
        """Kill -9."""
        for member in members or self.members:
            if member.process is not None:
                member.process.send_signal(signal.SIGKILL)
                member.process.wait()
                member.process = None

    def close(self) -> None:
        self.kill()
        self._stack.close()

    def _launch(self, member: EtcdMember) -> None:
        member.folder.mkdir(parents=True, exist_ok=True)
        cluster = ",".join(f"{other.name}={other.peer_url}" for other in self.members)
        url = f"{self._scheme}://{member.endpoint}"
        command = ["etcd", "--name", member.name, "--data-dir", str(member.folder / "data")]
        command += ["--listen-client-urls", url, "--advertise-client-urls", url]
        command += ["--listen-peer-urls", member.peer_url, "--initial-advertise-peer-urls", member.peer_url]
        command += ["--initial-cluster", cluster, "--logger", "zap", "--log-level", "warn", *self._options]
        with (member.folder / "etcd.log").open("ab") as log:
            member.process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def _wait(self, member: EtcdMember) -> None:
        """Until it has a leader and answers."""
        from aetcd import rpc

        end = time.monotonic() + _START_S
        while self._scheme == "http":
            with grpc.insecure_channel(member.endpoint) as channel:
                try:
                    rpc.KVStub(channel).Range(rpc.RangeRequest(key=b"x"), timeout=5)
                    return
                except grpc.RpcError:
                    pass
            assert member.process is not None
            if time.monotonic() > end or member.process.poll() is not None:
                raise AssertionError((member.folder / "etcd.log").read_text()[-3000:])
            time.sleep(0.05)

    def leader(self) -> EtcdMember:
        """The member that leads etcd's own Raft."""
        from aetcd import rpc

        for member in self.members:
            with grpc.insecure_channel(member.endpoint) as channel:
                status = rpc.MaintenanceStub(channel).Status(rpc.StatusRequest(), timeout=5)
                if status.leader == status.header.member_id:
                    return member
        raise AssertionError("etcd has no leader")


def make_room(member: EtcdMember, ballast: bytes) -> None:
    """What an operator does when the quota is used up: delete what begins with `ballast`, take the alarm back."""
    from aetcd import rpc

    with grpc.insecure_channel(member.endpoint) as channel:
        deleted = rpc.KVStub(channel).DeleteRange(
            rpc.DeleteRangeRequest(key=ballast, range_end=ballast + b"\xff"), timeout=30
        )
        compact = rpc.CompactionRequest(revision=deleted.header.revision, physical=True)
        rpc.KVStub(channel).Compact(compact, timeout=30)
        rpc.MaintenanceStub(channel).Defragment(rpc.DefragmentRequest(), timeout=30)
        # Whoever was refused may have raised the alarm once more in the meantime.
        end = time.monotonic() + _START_S
        while not _disarmed(channel):
            assert time.monotonic() < end
            time.sleep(0.05)


def _disarmed(channel: grpc.Channel) -> bool:
    from aetcd import rpc

    stub = rpc.MaintenanceStub(channel)
    for raised in stub.Alarm(rpc.AlarmRequest(alarm=rpc.NOSPACE), timeout=30).alarms:
        disarm = rpc.AlarmRequest.DEACTIVATE
        stub.Alarm(rpc.AlarmRequest(action=disarm, alarm=raised.alarm, memberID=raised.memberID), timeout=30)
    try:
        rpc.KVStub(channel).Put(rpc.PutRequest(key=b"room", value=b"yes"), timeout=30)
    except grpc.RpcError:
        return False
    return True
