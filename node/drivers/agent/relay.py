"""`python -m node.drivers.agent.relay`: a message for a running session, and its answer."""

from __future__ import annotations

import os
import sys
import time
from typing import Any

import msgspec

from node.drivers.agent import template
from node.drivers.agent.inbox import Inbox, InboxError
from node.drivers.agent.places import PlaceError, entered
from node.drivers.agent.process import Agent, Job, fail_to_run, finish
from node.drivers.agent.secret_files import SecretError, Secrets
from node.drivers.kit import Desk, Stopped, raise_on_term
from node.payloads.relay import Relay

PLACEHOLDERS = ("session", "max_turns", "project_path")
COMMAND: list[template.Word] = [
    "claude", "--resume", "{session}", "-p", "--output-format", "stream-json", "--verbose", "--max-turns",
    "{max_turns}",
]  # fmt: skip
_DOCUMENT_CHARS = 4_000


def main() -> int:
    desk = Desk(os.environ)
    raise_on_term()
    order = desk.order()
    payload = msgspec.convert(order["payload"], Relay)
    try:
        if order["mode"] == "inbox":
            return _by_inbox(desk, payload, order["inbox"])
        return _by_agent(desk, payload, order)
    except Stopped:
        return 143
    except InboxError as error:
        desk.fail(error.cause, str(error))
    except PlaceError as error:
        # As a working directory of a command: another node may have it.
        desk.fail("cannot_start", str(error))
    except SecretError as error:
        desk.fail("not_found", str(error))
    except OSError as error:
        fail_to_run(desk, error, "The message cannot be passed on")


def _by_inbox(desk: Desk, payload: Relay, root: str) -> int:
    inbox = Inbox(root, payload.session)
    identity = f"{desk.task}-{desk.fence}"
    message = {
        "id": identity,
        "task": desk.task,
        "session": payload.session,
        "message": payload.message,
        "sent_at_us": time.time_ns() // 1000,
        "answer_in_s": payload.timeout_s,
    }
    desk.progress(0, 1, f"waits for session {payload.session}")
    answer = inbox.ask(identity, message, payload.timeout_s, _tell)
    if isinstance(answer.get("error"), str):
        desk.fail("exit", f"Session {payload.session} refuses: {' '.join(answer['error'].split())[:500]}")
    text = answer["answer"]
    print(text.encode("utf-8", "replace").decode(), flush=True)  # noqa: T201
    document: dict[str, Any] = {"session_id": payload.session, "result": text[:_DOCUMENT_CHARS]}
    if len(text) > _DOCUMENT_CHARS:
        document["truncated"] = True
    desk.verdict(document=document)
    return 0


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201


def _by_agent(desk: Desk, payload: Relay, order: dict[str, Any]) -> int:
    """An agent CLI goes on with the session."""
    secrets = Secrets(order["secrets"])
    place = entered(order["place"])
    env = {name: secrets.filled(value) for name, value in order["environment"].items()}
    values: dict[str, template.Value] = {
        "session": payload.session,
        "max_turns": str(payload.max_turns),
        "project_path": place,
    }
    argv = template.expanded(order["command"], values)
    job = Job(argv, payload.message + "\n", place, env, payload.max_turns, order["linger_s"], order.get("hold", ""))
    return finish(desk, Agent(desk, job, secrets).run())


if __name__ == "__main__":
    sys.exit(main())
