"""k8s_job tasks: each is a Job of a Kubernetes cluster that this machine reaches, kept by node.drivers.k8s."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
import structlog

from cortex.v1.types_pb2 import TaskType
from cortex.v1.worker_pb2 import Assignment, Attached
from node.drivers.k8s.config import BadConfig, Context, Kubeconfig, load
from node.drivers.k8s.manifest import FENCE, OWNER, TASK, Order, label_value
from node.payloads.k8s_job import CAPABILITY, K8sJob
from node.payloads.reading import BadPayload, read
from node.worker.executors import k8s_rows
from node.worker.executors.port import CannotPrepare, Command, Offer, Setup, Untraceable, encoded, task_environment
from node.worker.executors.section import Section
from node.worker.port import AttemptKey

if TYPE_CHECKING:
    from node.drivers.k8s.api import Api
    from node.drivers.k8s.cluster import Cluster

T = TypeVar("T")

INSTALL = "Install it: pip install 'cortex-cluster[k8s]', then restart the daemon."
CONTEXTS_LIMIT = 16
_SLOTS = 16
_PROBE_S = 5.0
_ASK_S = 15.0
# What a pod's grace leaves of the kill timeout, for the cluster to say that it ended.
_REPORT_S = 2
_KEYS = ("kubeconfig", "contexts", "context", "namespace", "pull_grace_s", "unreachable_s", "in_cluster")
# -I: neither the task's folder nor its PYTHON* variables say what the driver imports.
_DRIVER = [sys.executable.encode(), b"-I", b"-m", b"node.drivers.k8s"]


@dataclass(frozen=True, slots=True)
class Options:
    """[executor.k8s_job] of the daemon's file."""

    kubeconfig: tuple[str, ...]  # files, merged
    in_cluster: str  # host:port of the API of the cluster that the daemon runs in; empty = it does not
    contexts: tuple[str, ...] = ()  # those to use; none = all
    context: str = ""  # of tasks that name none; empty = the current one of the kubeconfig
    namespace: str = ""  # likewise; empty = that of the context
    pull_grace_s: float = 60.0
    unreachable_s: float = 300.0


class K8sJobExecutor:
    """Raises Fault for options that it does not know."""

    def __init__(self, setup: Setup) -> None:
        self._environment = encoded(setup.environment)
        self._data = setup.data
        self._options = options(setup.options, setup.environment.get("HOME", ""))
        self._owner = ""
        self.offered: dict[str, Context] = {}
        self._default = ""
        self._last: dict[str, Cluster] = {}
        self._log = structlog.get_logger()

    @property
    def type(self) -> TaskType.ValueType:
        return TaskType.TASK_TYPE_K8S_JOB

    def probe(self) -> Offer:
        """Every context is asked, at the same time. Blocks."""
        remedy = "Set kubeconfig in [executor.k8s_job], then restart the daemon."
        try:
            kubeconfig = self._kubeconfig()
        except BadConfig as error:
            return Offer(False, reason=f"{error} {remedy}")
        try:
            # Only now: most machines have no cluster to spend its memory on.
            from node.drivers.k8s import api  # noqa: F401
        except ImportError as error:
            return Offer(False, reason=f"Its client library is missing ({error}). {INSTALL}")
        self._owner = owner(self._data)
        known = kubeconfig.contexts()
        wanted = self._options.contexts or tuple(known)[:CONTEXTS_LIMIT]
        failures = {name: "the kubeconfig has no such context" for name in wanted if name not in known}
        tried = {name: known[name] for name in wanted if name in known}
        versions: dict[str, str] = {}
        for name, answer in run(self._check_all(kubeconfig, tried)).items():
            if isinstance(answer, Exception):
                failures[name] = str(answer)
            else:
                versions[name] = answer
        if not versions:
            said = "; ".join(f"{name}: {why}" for name, why in failures.items()) or "the kubeconfig names none"
            return Offer(False, reason=f"No context answers ({said[:800]}). {remedy}")
        self.offered = {name: context for name, context in tried.items() if name in versions}
        # Never another in its place: a task would run in a cluster that it was not meant for.
        self._default = self._options.context or kubeconfig.current or (wanted[0] if len(wanted) == 1 else "")
        return Offer(
            True,
            detail=self._detail(versions, failures),
            slots=_SLOTS,
            capabilities=[f"{CAPABILITY}{name}" for name in versions],
        )

    def prepare(self, assignment: Assignment) -> Command:
        spec = assignment.spec
        try:
            job = read(spec.payload, K8sJob)
        except BadPayload as error:
            raise CannotPrepare(f"The payload of the task is wrong: {error} Submit it again.") from None
        context = job.context or self._default
        if context not in self.offered:
            offered = ", ".join(self.offered) or "none"
            missing = f"context {context!r}" if context else "default context"
            raise CannotPrepare(f"This node has no {missing} that answers, it has {offered}. Name one of those.")
        inherited = task_environment(self._environment, Assignment(task=assignment.task, fence=assignment.fence))
        return Command(_DRIVER, inherited, "", msgspec.json.encode(self._order(assignment, job, context)))

    def adopt(self, held: Collection[AttemptKey]) -> None:
        """End Jobs of this data folder that no attempt holds: their drivers were killed. Blocks."""
        self._end_ours(lambda labels: not _is_held(labels, held), f"{OWNER}={self._owner}", self.offered.values())

    def remove(self, key: AttemptKey, order: bytes) -> None:
        """End the Job of an attempt whose driver was killed, where its order placed it. Blocks."""
        selector = f"{OWNER}={self._owner},{TASK}={label_value(key.task)},{FENCE}={key.fence}"
        context, namespace = _placed(order)
        # Also one that did not answer when the daemon began.
        known = self._kubeconfig().contexts() if context else self.offered
        if context and context not in known:
            raise Untraceable(
                f"No context {context!r} in the kubeconfig any more. "
                "Put it back; after an hour its Job counts as gone."
            )
        meant = [known[context]] if context else known.values()
        self._end_ours(lambda _: True, selector, meant, namespace)

    def measure(self) -> list[Attached]:
        """Each context that is offered, as a node of kind k8s. Blocks."""
        return run(self._measure_all()) if self.offered else []

    async def _measure_all(self) -> list[Attached]:
        from node.drivers.k8s.cluster import measure

        kubeconfig = self._kubeconfig()
        asked = (self._asked(kubeconfig, name, measure) for name in self.offered)
        rows: list[Attached] = []
        for context, answer in zip(
            self.offered.values(), await asyncio.gather(*asked, return_exceptions=True), strict=True
        ):
            failure = ""
            if isinstance(answer, BaseException):
                failure = str(answer) or type(answer).__name__
            else:
                self._last[context.name] = answer
            known = self._last.get(context.name)
            rows.append(k8s_rows.row(context, known, failure, default=context.name == self._default))
        return rows

    def _order(self, assignment: Assignment, job: K8sJob, context: str) -> Order:
        spec = assignment.spec
        flaw, argv, env = "", tuple[str, ...](), dict[str, str]()
        try:
            words = [b"/bin/sh", b"-c", spec.shell_command] if spec.shell_command else list(spec.argv)
            argv = tuple(word.decode() for word in words)
            found = task_environment({}, assignment)
            env = {name.decode(): value.decode() for name, value in found.items()}
        except UnicodeDecodeError:
            flaw = "Its command or its environment is no UTF-8, which Kubernetes takes alone. Correct it."
        return Order(
            task=assignment.task,
            fence=assignment.fence,
            run=assignment.run,
            attempt=assignment.attempt,
            owner=self._owner,
            name=assignment.name,
            job=job,
            argv=argv,
            env=env,
            cwd=spec.cwd,
            cpu_millis=spec.requests.cpu_millis,
            memory_bytes=spec.requests.memory_bytes,
            timeout_s=-(-spec.timeout_ms // 1000),
            grace_s=max(1, spec.kill_timeout_ms // 1000 - _REPORT_S),
            kubeconfig=self._options.kubeconfig,
            in_cluster=self._options.in_cluster,
            context=context,
            namespace=job.namespace or self._options.namespace,
            pull_grace_s=self._options.pull_grace_s,
            unreachable_s=self._options.unreachable_s,
            flaw=flaw,
        )

    def _kubeconfig(self) -> Kubeconfig:
        return load(self._options.kubeconfig, self._options.in_cluster)

    def _detail(self, versions: Mapping[str, str], failures: Mapping[str, str]) -> str:
        said = [f"{name}{' (default)' if name == self._default else ''} {versions[name]}" for name in versions]
        silent = [f"{name} does not answer: {why}" for name, why in failures.items()]
        return "; ".join([", ".join(said), *silent])[:1000]

    async def _check_all(
        self, kubeconfig: Kubeconfig, contexts: Mapping[str, Context]
    ) -> dict[str, str | Exception]:
        from node.drivers.k8s.cluster import check

        async def one(context: Context) -> str:
            namespace = self._options.namespace or context.namespace
            return await self._asked(kubeconfig, context.name, lambda api: check(api, namespace), _PROBE_S)

        answers = await asyncio.gather(*(one(context) for context in contexts.values()), return_exceptions=True)
        found: dict[str, str | Exception] = {}
        for name, answer in zip(contexts, answers, strict=True):
            if isinstance(answer, BaseException) and not isinstance(answer, Exception):
                raise answer
            found[name] = answer
        return found

    async def _asked(
        self,
        kubeconfig: Kubeconfig,
        context: str,
        ask: Callable[[Api], Coroutine[Any, Any, T]],
        timeout_s: float = _ASK_S,
    ) -> T:
        """Raises BadConfig, ApiError, or TimeoutError with a sentence."""
        from node.drivers.k8s.api import Api

        try:
            async with asyncio.timeout(timeout_s), Api(kubeconfig, context, timeout_s) as api:
                return await ask(api)
        except TimeoutError:
            raise TimeoutError(f"no answer in {timeout_s:g} s") from None

    def _end_ours(
        self,
        meant: Callable[[Mapping[str, str]], bool],
        selector: str,
        contexts: Iterable[Context],
        namespace: str = "",
    ) -> None:
        """Raises what kept one of the contexts from answering, after the others were seen to."""
        from node.drivers.k8s.cluster import end, ours

        if not self._owner:
            return

        async def sweep(api: Api, context: Context) -> None:
            places = {namespace} if namespace else {context.namespace, self._options.namespace} - {""}
            for job in await ours(api, selector, places):
                if meant(job.labels) and await end(api, job):
                    self._log.warning("a Job that nobody held was ended", context=context.name, job=job.name)

        async def all_of_them() -> list[BaseException | None]:
            kubeconfig = self._kubeconfig()
            asked = (
                self._asked(kubeconfig, context.name, lambda api, context=context: sweep(api, context))  # type: ignore[misc]
                for context in contexts
            )
            return await asyncio.gather(*asked, return_exceptions=True)

        for answer in run(all_of_them()):
            if answer is not None:
                raise answer


def _is_held(labels: Mapping[str, str], held: Collection[AttemptKey]) -> bool:
    fence = labels.get(FENCE, "")
    return any(str(key.fence) == fence and label_value(key.task) == labels.get(TASK) for key in held)


def _placed(order: bytes) -> tuple[str, str]:
    """Context and namespace of an order; empty where it does not say."""
    try:
        told = msgspec.json.decode(order, type=Order)
    except msgspec.DecodeError:
        return "", ""
    return told.context, told.namespace


def owner(data: Path) -> str:
    from node.drivers.k8s.cluster import owner_of

    return owner_of(data)


def run(work: Coroutine[Any, Any, T]) -> T:
    """On a loop of its own: executors are asked on threads that have none."""
    return asyncio.run(work)


def options(given: Mapping[str, object], home: str) -> Options:
    """Checked. Raises Fault."""
    section = Section("k8s_job", given, _KEYS)
    files = section.words("kubeconfig", separator=":") or ((f"{home}/.kube/config",) if home else ())
    contexts = section.words("contexts")
    if len(contexts) > CONTEXTS_LIMIT:
        why = f"it has {len(contexts)} items, the limit is {CONTEXTS_LIMIT}"
        raise section.bad("contexts", why, "Name fewer.")
    return Options(
        kubeconfig=tuple(str(Path(home, path[2:])) if path.startswith("~/") else path for path in files),
        in_cluster=section.text("in_cluster"),
        contexts=contexts,
        context=section.text("context"),
        namespace=section.text("namespace"),
        pull_grace_s=section.seconds("pull_grace_s", 60.0),
        unreachable_s=section.seconds("unreachable_s", 300.0),
    )
