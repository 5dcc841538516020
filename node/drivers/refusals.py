"""What a refusal of whatever runs containers means: whose fault it is, and what to do. Pure."""

from __future__ import annotations

import re

# Pattern of the engine's words, cause (see node.worker.exchange.CAUSES), remedy. The first that fits counts.
_MEANINGS: tuple[tuple[re.Pattern[str], str, str], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), cause, remedy)
    for pattern, cause, remedy in (
        (
            r"toomanyrequests|too many requests|rate limit",
            "rate_limited",
            "It is tried again later; a login at the registry raises its limit.",
        ),
        (
            r"image not known|no such image|manifest unknown|manifest for .* not found|name unknown|name invalid"
            r"|repository .*(does not exist|not found)|pull access denied|access to the resource is denied"
            r"|did not resolve to an alias|unauthorized",
            "not_found",
            "Correct the image's name, or log in at its registry on the node.",
        ),
        (
            r"command that was not found|executable file .*not found|exec: .*no such file or directory"
            r"|no such file or directory: unknown",
            "not_found",
            "Name a program that the image has.",
        ),
        (
            r"unable to find (user|group)|no matching entries in (passwd|group) file",
            "not_found",
            "Name a user that the image has, or a number.",
        ),
        (
            r"network .*not found|unable to find network|no such network",
            "cannot_start",
            "Name a network that the node has.",
        ),
        (
            r"exec: .*permission denied|exec format error|is a directory: OCI|exec: .*is a directory",
            "validation",
            "Name a program that can be run on this kind of machine.",
        ),
        (
            r"invalid reference format|names must match|invalid argument|unknown (flag|shorthand)"
            r"|invalid (user|mount|volume|workdir|value|spec)|working directory .*(does not exist|invalid)"
            r"|workdir .* does not exist|minimum memory|must be an absolute path"
            r"|duplicate mount|destination .*already",
            "validation",
            "Correct what the payload says.",
        ),
        (
            r"could not select device driver|unresolvable CDI devices|unknown or invalid runtime"
            r"|runtime .*not found|error setting rlimit|stat nvidia.com",
            "cannot_start",
            "Correct the node's engine, or [executor.container] of its configuration.",
        ),
        (
            r"cannot connect to the docker daemon|is the docker daemon running|error during connect|unexpected EOF"
            r"|connection re(fused|set)|i/o timeout|timeout exceeded|handshake|no such host|network is unreachable"
            r"|server misbehaving|no space left|read-only file system|database is locked|gave no answer"
            r"|internal server error|bad gateway|service unavailable|gateway time-?out|cannot be run"
            r"|temporary failure|resource temporarily unavailable|cannot allocate memory",
            "infrastructure",
            "It is tried again later; see what ails the engine or the registry.",
        ),
    )
)
_PLAIN = "See whether the engine runs it by hand."


def meaning(said: str, what: str) -> tuple[str, str]:
    """The cause, and a sentence for the operator; `what` is what failed. No cause where the words are not known."""
    for pattern, cause, remedy in _MEANINGS:
        if pattern.search(said):
            return cause, _sentence(what, said, remedy)
    return "", _sentence(what, said, _PLAIN)


def _sentence(what: str, said: str, remedy: str) -> str:
    return f"{what}: {said.rstrip('.') or 'it does not say why'}. {remedy}"
