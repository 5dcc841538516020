"""What executors of agents share: sections [executor.subagent] and [executor.claude_relay] of a machine's
configuration, what they name, and the way to their drivers.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

from cortex.v1.types_pb2 import Cause
from cortex.v1.worker_pb2 import Assignment
from node.core.faults import Code, Fault
from node.drivers.agent import holds, template
from node.payloads.reading import BadPayload, Payload
from node.payloads.reading import read as read_payload
from node.payloads.secret_names import is_reference, names_credential
from node.worker.executors import agent_account
from node.worker.executors.port import CannotPrepare, Command, Offer, Setup, encoded, task_environment
from node.worker.sandbox.folders import real_folder

PROBE_S = 30.0
_DETAIL_CHARS = 100
_LONGEST_S = 3600


class AgentOptions(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """What both have."""

    command: str | list[str | list[str]] = ""
    environment: dict[str, str] = msgspec.field(default_factory=dict)
    secrets: str = ""
    linger_s: float = 30.0  # how long an agent may go on after its result


T = TypeVar("T", bound=AgentOptions)
P = TypeVar("P", bound=Payload)

_CAUSES = {"rate_limited": Cause.CAUSE_RATE_LIMITED, "infrastructure": Cause.CAUSE_INFRASTRUCTURE}
_FOLDER = "agents"  # of the data folder: what their accounts were told


class Agents(Generic[T]):
    """What a machine has to run agents with."""

    def __init__(
        self, setup: Setup, name: str, kind: type[T], known: Collection[str], default: Sequence[template.Word]
    ) -> None:
        """`default`, with placeholders that are `known`, runs where the section says nothing else. Raises Fault."""
        self.options = read(setup, name, kind, known)
        self._name = name
        self._setup = setup
        self._inherited = encoded(setup.environment)
        self._command = command(self.options, default)

    def tried(self) -> Offer:
        """Whether its agent CLI is there. Blocks."""
        program = self._command[0]
        assert isinstance(program, str)
        return tried(program, self._name, self._setup.environment, self.options)

    def command(
        self, driver: str, assignment: Assignment, payload: Payload, project_path: str, **more: object
    ) -> Command:
        """How `driver` is run. Raises CannotPrepare."""
        place = _place(assignment, project_path)
        order = {
            "payload": payload,
            "command": self._command,
            "environment": self.options.environment,
            "secrets": self.options.secrets,
            "linger_s": self.options.linger_s,
            "place": real_folder(place, self._setup.data, self._setup.roots, sandboxed=False) if place else "",
            **more,
        }
        argv = [sys.executable.encode(), b"-I", b"-m", driver.encode()]
        return Command(argv, task_environment(self._inherited, assignment), "", msgspec.json.encode(order))

    def admitted(
        self, assignment: Assignment, project_path: str, model: str = "", flags: Sequence[str] = ()
    ) -> str:
        """The file of what is known of the account that an agent would use. Raises CannotPrepare while it is told
        to wait, or was just refused: the task is put off.
        """
        program = self._command[0]
        assert isinstance(program, str)
        place = agent_account.of_project(program, _place(assignment, project_path))
        path = self._holds(assignment, [place, model, *agent_account.of_flags(program, flags)])
        hold = holds.active(path)
        if hold is None:
            return path
        raise CannotPrepare(hold.words, _CAUSES.get(hold.others_cause, Cause.CAUSE_INFRASTRUCTURE), hold.after_ms)

    def _holds(self, assignment: Assignment, asked: Sequence[str]) -> str:
        """Of the same program, account and `asked` it is the same file."""
        folder = self._setup.data / _FOLDER
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        own = [(one.name, one.value.hex()) for one in assignment.spec.env if _names_account(one.name)]
        options = self.options
        account = [self._command[0], sorted(options.environment.items()), options.secrets, sorted(own), asked]
        return str(folder / f"{hashlib.sha256(msgspec.json.encode(account)).hexdigest()[:32]}.json")


def _place(assignment: Assignment, project_path: str) -> str:
    """Where the agent works; empty = in the task's own folder."""
    return project_path or assignment.spec.cwd


def payload_of(assignment: Assignment, kind: type[P]) -> P:
    """What the task carries. Raises CannotPrepare."""
    try:
        return read_payload(assignment.spec.payload, kind)
    except BadPayload as error:
        raise CannotPrepare(f"The payload is wrong: {error} Submit it again.") from None


def _names_account(variable: str) -> bool:
    """Whether an agent with this variable set may be another one to the model's API."""
    return names_credential(variable) or variable.endswith(("_BASE_URL", "_CONFIG_DIR")) or variable == "HOME"


def read(setup: Setup, name: str, kind: type[T], placeholders: Collection[str]) -> T:
    """The section. Raises Fault that names what is wrong in it."""
    try:
        options = msgspec.convert(dict(setup.options), kind)
    except msgspec.ValidationError as error:
        known = ", ".join(field.name for field in msgspec.structs.fields(kind))
        message = f"[executor.{name}] is wrong: {error}."
        raise Fault(Code.INVALID, message, f"Its keys are {known}.") from None
    if isinstance(options.command, list):
        wrong = template.flaw(options.command, placeholders)
        if wrong:
            message = f"command of [executor.{name}] is wrong: {wrong}."
            raise Fault(Code.INVALID, message, 'Write command = ["claude", "-p", ["--model", "{model}"]].')
    if options.secrets and not options.secrets.startswith("/"):
        message = f"secrets of [executor.{name}] is {options.secrets[:200]!r}, which is no absolute path."
        raise Fault(Code.INVALID, message, "Begin it with /.")
    if not 0 <= options.linger_s <= _LONGEST_S:
        message = f"linger_s of [executor.{name}] is {options.linger_s:g}, it goes from 0 to {_LONGEST_S}."
        raise Fault(Code.INVALID, message, "Give seconds, such as 30.")
    for variable, value in options.environment.items():
        if not variable or "=" in variable or "\0" in variable + value:
            message = f"environment of [executor.{name}] has a name with =, or a NUL."
            raise Fault(Code.INVALID, message, 'Write environment = { NAME = "value" }.')
        if names_credential(variable) and not is_reference(value):
            message = f"environment of [executor.{name}] has a credential in {variable}."
            raise Fault(Code.INVALID, message, 'Write "secret:NAME", and put it into the folder of `secrets`.')
    return options


def command(options: AgentOptions, default: Sequence[template.Word]) -> list[template.Word]:
    """The template: as configured, or the default with the configured program."""
    if isinstance(options.command, str):
        return [options.command or default[0], *default[1:]]
    return [*options.command]


def tried(program: str, name: str, environment: Mapping[str, str], options: AgentOptions) -> Offer:
    """Whether the agent CLI `program` is there and tells its version. Blocks."""
    path = environment.get("PATH", "")
    found = shutil.which(program, path=path)
    if found is None:
        where = "is no program" if "/" in program else "is not in the daemon's PATH"
        remedy = f"Install {program}, or name another as command in [executor.{name}], and restart the daemon."
        return Offer(False, reason=f"{program} {where}. {remedy}")
    if options.secrets:
        reason = _open_to_others(options.secrets)
        if reason:
            return Offer(False, reason=reason)
    try:
        said = subprocess.run(
            [found, "--version"],
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PROBE_S,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        why = error.strerror if isinstance(error, OSError) else f"no answer in {PROBE_S:g} s"
        return Offer(
            False,
            reason=f"`{program} --version` failed: {why}. Make `{program} --version` work, and restart the daemon.",
        )
    text = (said.stdout.strip() or said.stderr.strip()).decode("utf-8", "replace")
    line = (text.splitlines() or [""])[0][:_DETAIL_CHARS]
    if said.returncode:
        why = line or f"exit code {said.returncode}"
        return Offer(
            False,
            reason=f"`{program} --version` failed: {why}. Make `{program} --version` work, and restart the daemon.",
        )
    return Offer(True, f"{Path(program).name} {line}".strip())


def _open_to_others(secrets: str) -> str:
    try:
        mode = Path(secrets).stat().st_mode
    except OSError as error:
        return (
            f"secrets {secrets} cannot be read: {error.strerror}. Make that file or folder, and restart the daemon."
        )
    if mode & 0o077:
        return (
            f"Others than its owner may look into secrets {secrets}. Run chmod go= on it, and restart the daemon."
        )
    return ""
