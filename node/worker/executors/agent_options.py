"""The sections [executor.subagent] and [executor.claude_relay] of a machine's configuration, and what they name."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from node.core.faults import Code, Fault
from node.drivers import template
from node.payloads.secret_names import is_reference, names_credential
from node.worker.executors.port import Offer, Setup

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
        return Offer(False, reason=f"{program} {where}. Install it, or name it in [executor.{name}] as command.")
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
        return Offer(False, reason=f"`{program} --version` failed: {why}. Correct it, and restart the daemon.")
    text = (said.stdout.strip() or said.stderr.strip()).decode("utf-8", "replace")
    line = (text.splitlines() or [""])[0][:_DETAIL_CHARS]
    if said.returncode:
        why = line or f"exit code {said.returncode}"
        return Offer(False, reason=f"`{program} --version` failed: {why}. Correct it, and restart the daemon.")
    return Offer(True, f"{Path(program).name} {line}".strip())


def _open_to_others(secrets: str) -> str:
    try:
        mode = Path(secrets).stat().st_mode
    except OSError as error:
        return f"secrets {secrets} cannot be read: {error.strerror}. Make it, or leave the setting out."
    if mode & 0o077:
        return (
            f"Others than its owner may look into secrets {secrets}. Run chmod go= on it, and restart the daemon."
        )
    return ""
