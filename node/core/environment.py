"""What a task may have in its environment, checked before the log."""

from __future__ import annotations

from collections.abc import Sequence

from cortex.v1.types_pb2 import EnvVar
from node.core import checks
from node.core.faults import Code, Fault

# The kernel's limit of one argument or environment string, its NUL included (MAX_ARG_STRLEN).
ARGUMENT_LIMIT_BYTES = 128 * 1024
ENV_LIMIT = 1000

# Variables by which a loader, a shell or an interpreter would run other code than the command, and Cortex's own.
_RESERVED_PREFIXES = ("LD_", "DYLD_", "CORTEX_", "BASH_FUNC_")
_RESERVED_NAMES = frozenset(
    {"BASH_ENV", "BASHOPTS", "ENV", "GCONV_PATH", "GLIBC_TUNABLES", "IFS", "PERL5DB", "PERL5OPT", "PROMPT_COMMAND"}
    | {"PS4", "PYTHONSTARTUP", "RUBYOPT", "SHELLOPTS"}
)
_FILE = "Put large input into a file that the command reads."


def check(env: Sequence[EnvVar]) -> None:
    """Raises Fault."""
    if len(env) > ENV_LIMIT:
        raise Fault(Code.INVALID, f"env has {len(env)} variables, the limit is {ENV_LIMIT}.", _FILE)
    seen: set[str] = set()
    for variable in env:
        _check_variable(variable)
        if variable.name in seen:
            raise Fault(Code.INVALID, f"env names {variable.name} twice.", "Give it once.")
        seen.add(variable.name)


def _check_variable(variable: EnvVar) -> None:
    name, value = variable.name, variable.value
    if not name or "=" in name:
        message = f"env has the name {name[:200]!r}; a name must not be empty or have a =."
        raise Fault(Code.INVALID, message, "Write NAME=VALUE.")
    flaw = checks.text_flaw("A name in env", name)
    if flaw is not None:
        raise Fault(Code.INVALID, flaw, "Use letters, digits and _.")
    if name.startswith(_RESERVED_PREFIXES) or name in _RESERVED_NAMES:
        message = f"env must not set {name}: it changes which code runs, or belongs to Cortex."
        raise Fault(Code.INVALID, message, f"Where it is needed, let the command set it: env {name}=... COMMAND.")
    if b"\0" in value:
        raise Fault(Code.INVALID, f"The value of {name} in env has a NUL byte.", "No environment can hold one.")
    if len(name.encode()) + len(value) + 2 > ARGUMENT_LIMIT_BYTES:
        message = f"{name} in env is longer than the kernel's limit of {ARGUMENT_LIMIT_BYTES - 1} bytes."
        raise Fault(Code.TOO_LARGE, message, _FILE)
