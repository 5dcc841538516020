"""A daemon on a real machine: its disk, clock, network, supervisor and sensors."""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import Callable
from functools import partial

import psutil
import structlog

from cortex.v1 import types_pb2
from node.conditions.process import ProcessJudge
from node.config import Config, command_environment, executor_environment, hostname
from node.daemon import Daemon, Machine, unserved
from node.env import Env
from node.failpoints import armed
from node.rpc.link import GrpcLink
from node.rpc.server import Server
from node.secret import cluster_id_of
from node.store.errors import StoreDamaged
from node.store.store import FILE, Store
from node.worker.executors import registry
from node.worker.executors.port import Setup
from node.worker.resources.presence import GAME_PROCESSES
from node.worker.resources.sampler import Sampler
from node.worker.supervision import ProcessSupervisor

_GRACE_S = 1.0
_COLLECT = (20_000, 20, 20)


async def run_daemon(config: Config, secret: str, stop: asyncio.Event) -> Exception | None:
    """Run until `stop` is set; the error that ended it, if one did. Raises what kept it from starting."""
    log = structlog.get_logger(node=config.id)
    _collect_less()
    failure: list[Exception] = []

    def fail(error: Exception) -> None:
        failure.append(error)
        stop.set()

    env = armed(Env.real(config.data), config.failpoints)
    link = GrpcLink(secret)
    games = GAME_PROCESSES.union(config.games)
    sampler = Sampler(env, lambda text: log.warning("resources", detail=text), games)
    supervisor = ProcessSupervisor(env)
    await sampler.start()
    load = partial(registry.load_all, config.executors, setups(config), config.executor)
    executors = await env.make_offload("executors")(load)
    description = describe_machine(len(sampler.latest().gpus))
    registry.describe(description, executors, config.slots)
    runs = [each.executor for each in executors]
    machine = Machine(link, supervisor, sampler.latest, description, runs, ProcessJudge(), sampler)
    for kind in unserved(config, description):
        log.warning("slots not offered", type=kind, reason="this machine does not run tasks of the type")
    daemon = Daemon(config, env, machine, cluster_id_of(secret), lambda: _store(config, env), fail)
    link.serve_own(
        {config.listen, config.voters.get(config.id, config.listen)}, lambda stream: daemon.session(stream)
    )
    link.on_refused = daemon.refused
    if daemon.seat is not None:
        daemon.seat.on_left = link.forget
    server = Server(daemon, secret, f"uid:{os.getuid()}")
    try:
        await server.start(config.listen, config.socket_path)
        await daemon.start()
        log.info("started", address=config.listen, pid=os.getpid(), supervisor=supervisor.pid)
        await stop.wait()
        log.info("stopping")
    finally:
        await daemon.stop()
        await server.stop(_GRACE_S)
        await sampler.stop()
        await link.close()
    log.info("stopped")
    return failure[0] if failure else None


def _collect_less() -> None:
    """Rows and messages come by the hundred thousand and hold no cycles: to look for some each 700 costs 7 %."""
    gc.freeze()
    gc.set_threshold(*_COLLECT)


def setups(config: Config) -> Callable[[str], Setup]:
    """What each executor is made from, by its name."""
    environment = command_environment()
    found = executor_environment()

    def setup(name: str) -> Setup:
        options = {**found.get(name, {}), **config.executor.get(name, {})}
        # Every type that runs commands has the sandboxes of shell tasks.
        sandbox = config.executor.get("shell", {})
        return Setup(config.data, environment, options, config.roots, (config.secret_path,), sandbox)

    return setup


def describe_machine(gpus: int) -> types_pb2.Node:
    """What this machine offers, before its configuration says otherwise."""
    cores = len(os.sched_getaffinity(0))
    memory_bytes: int = psutil.virtual_memory().total
    system = os.uname()
    return types_pb2.Node(
        hostname=hostname(),
        capabilities=[f"os:{system.sysname.lower()}", f"arch:{system.machine}", *(["gpu"] if gpus else [])],
        capacity=types_pb2.Requests(cpu_millis=cores * 1000, memory_bytes=memory_bytes, gpus=gpus),
    )


def _store(config: Config, env: Env) -> Store:
    """The store, open; one that is damaged is put aside, and its rows come from the log again."""
    store = Store(config.data / FILE, failpoint=lambda step: env.failpoint(f"save.{step}"))
    try:
        store.open()
    except StoreDamaged as error:
        structlog.get_logger(node=config.id).error("the store is damaged and put aside", error=str(error))
        store.set_aside()
    return store
