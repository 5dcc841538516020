"""How an agent ended: well, by a fault of its own, or by one of the model's API. Pure."""

from __future__ import annotations

import json
import re
import signal
from dataclasses import dataclass
from typing import Any

from node.drivers.agent.stream import Story

# Less than what is kept: a secret in it may become longer by its name.
DOCUMENT_LIMIT_BYTES = 12 * 1024
_ERROR_CHARS = 500
_LINES = 5
_DAY_MS = 86_400_000
_ACCOUNT = "The agent's account on this machine cannot be used"
_REPAIR = "Log the agent in there, or correct its secret, and retry the task."

_LIMIT_ENDS = re.compile(r"usage limit reached\|(\d{9,13})")
_ONLY_LIMIT = re.compile(r"\s*(?:Claude AI )?usage limit reached\|\d{9,13}\s*", re.IGNORECASE)
_RETRY_AFTER = re.compile(r"retry[-_ ]after[\"']?\s*[:=]?\s*[\"']?(\d{1,6}(?:\.\d+)?)", re.IGNORECASE)
_STATUS = re.compile(r"(?:API Error|Error|status(?:_code)?)[\"']?\s*[:(=]*\s*([45]\d\d)\b", re.IGNORECASE)
# Words of errors that come without a status, and the status that they would have.
_ACCOUNT_WORDS = re.compile(
    r"invalid api key|authentication_error|please run /login|oauth token|not logged in|"
    r"credit balance is too low|permission_error",
    re.IGNORECASE,
)
_WORDS: tuple[tuple[re.Pattern[str], int], ...] = (
    (re.compile(r"usage limit reached|hit your \w* ?limit|rate[_ ]limit|too many requests", re.IGNORECASE), 429),
    (re.compile(r"overloaded", re.IGNORECASE), 529),
    (_ACCOUNT_WORDS, 401),
    (
        re.compile(
            r"invalid_request_error|prompt is too long|issue with the selected model|unknown option|"
            r"not_found_error|invalid model",
            re.IGNORECASE,
        ),
        400,
    ),
    (
        re.compile(
            r"ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENOTFOUND|EAI_AGAIN|fetch failed|connection error|socket hang up|"
            r"api_error|internal server error",
            re.IGNORECASE,
        ),
        500,
    ),
)


@dataclass(frozen=True, slots=True)
class End:
    """What the driver says of it: see node.worker.exchange.CAUSES."""

    cause: str = ""  # empty = it went well
    error: str = ""
    retry_after_ms: int = 0
    code: int = 0  # the driver's exit code
    document: dict[str, Any] | None = None

    @property
    def is_for_all(self) -> bool:
        """Whether the API told it what any agent of the same account would be told now."""
        return self.cause in ("rate_limited", "cannot_start") or self.retry_after_ms > 0


def judge(story: Story, exit_code: int, stderr: str, max_turns: int, now_s: float) -> End:
    """`exit_code` is negative for a signal; `stderr` are its last words, `now_s` is unix time."""
    code = exit_code if exit_code > 0 else 128 - exit_code if exit_code < 0 else 1
    result = story.result or {}
    text = _said(result)
    bad = story.result is None or result.get("is_error") is True or _is_error(result)
    if not bad and exit_code == 0 and not _ONLY_LIMIT.fullmatch(text):
        return End(document=_document(story))
    document = _document(story) if story.result is not None else None
    if result.get("subtype") == "error_max_turns":
        why = f"The agent used up its {max_turns} turns without an end. Raise max_turns, or give it less to do."
        return End("exit", why, 0, code, document)
    if result.get("subtype") == "error_max_budget_usd":
        why = "The agent used up the money that it may spend. Raise that in its flags, or give it less to do."
        return End("exit", why, 0, code, document)
    last_words = [*stderr.splitlines()[-_LINES:], *list(story.plain)[-_LINES:]] if story.result is None else []
    told = "\n".join([text, story.trouble, *last_words])
    if exit_code >= 0 or story.result is not None:
        fault = bad or _ONLY_LIMIT.fullmatch(text)
        found = _api_end(story, text or _last("\n".join(last_words)), told, now_s) if fault else None
        if found is not None:
            cause, error, after_ms = found
            return End(cause, error, after_ms, code)
    if exit_code < 0:
        return End("signal", f"The agent was killed by signal {_signal(-exit_code)}.", 0, code, document)
    if story.result is None:
        said = _last(stderr) or _last("\n".join(story.plain))
        why = f"The agent ended with exit code {exit_code} and no result"
        return End("exit", _sentence(why, said), 0, code, document)
    if not bad:
        return End("exit", f"The agent gave a result, and ended with exit code {exit_code}.", 0, code, document)
    why = f"The agent ended with an error ({result.get('subtype') or 'error'})"
    return End("exit", _sentence(why, _first(text)), 0, code, document)


def _api_end(story: Story, text: str, told: str, now_s: float) -> tuple[str, str, int] | None:
    """Cause, error and when to come back, if it is the API that failed or refused."""
    status = story.status or _status(told)
    said = _message(_first(text)) or story.trouble or str(status)
    if status in (429, 529):
        what = "is overloaded" if status == 529 else "limits how much may be asked of it"
        return "rate_limited", _sentence(f"The model's API {what}", said), _retry_after_ms(story, told, now_s)
    # That nothing is paid for comes as 400.
    if status in (401, 402, 403) or (status == 400 and _ACCOUNT_WORDS.search(told)):
        # No other try on this machine would end otherwise; one on another may.
        return "cannot_start", f"{_sentence(_ACCOUNT, said).rstrip('. ')}. {_REPAIR}", 0
    if status in (400, 404, 413, 422):
        return "validation", _sentence("The model's API refuses what it is asked", said), 0
    if status >= 400:
        after_ms = _retry_after_ms(story, told, now_s)
        return "infrastructure", _sentence("The model's API cannot be used now", said), after_ms
    return None


def _message(text: str) -> str:
    """What the API says in the JSON of its answer, if there is any."""
    try:
        answer = json.JSONDecoder().raw_decode(text, text.index("{"))[0]
        said = answer["error"]["message"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return text
    return said if isinstance(said, str) and said else text


def _status(told: str) -> int:
    found = _STATUS.search(told)
    if found is not None:
        return int(found[1])
    return next((status for words, status in _WORDS if words.search(told)), 0)


def _retry_after_ms(story: Story, told: str, now_s: float) -> int:
    """How long the API asks to wait; 0 when it does not say."""
    ends = _LIMIT_ENDS.search(told)
    resets_s = story.resets_at_s
    if ends is not None:
        resets_s = float(ends[1]) / (1000 if len(ends[1]) > 11 else 1)
    if resets_s:
        return min(max(int((resets_s - now_s) * 1000), 0), _DAY_MS)
    asked = _RETRY_AFTER.search(told)
    if asked is not None:
        return min(int(float(asked[1]) * 1000), _DAY_MS)
    return min(story.retry_ms, _DAY_MS)


def _is_error(result: dict[str, Any]) -> bool:
    return str(result.get("subtype") or "success") != "success"


def _said(result: dict[str, Any]) -> str:
    """The text of a result, or its errors."""
    text = result.get("result")
    if isinstance(text, str) and text:
        return text
    errors = result.get("errors")
    parts = errors if isinstance(errors, list) else []
    return "\n".join(part if isinstance(part, str) else json.dumps(part) for part in parts)


def _document(story: Story) -> dict[str, Any]:
    """The result as the task returns it, small enough to be kept."""
    result = story.result or {}
    text = _said(result)
    usage = result.get("usage")
    counts = {
        name: count
        for name, count in (usage.items() if isinstance(usage, dict) else ())
        if isinstance(count, int) and isinstance(name, str) and len(name) <= 100
    }
    document: dict[str, Any] = {
        "result": text,
        "turns": story.turns,
        "cost_usd": _number(result.get("total_cost_usd", result.get("cost_usd"))),
        "duration_ms": _number(result.get("duration_ms")),
        "session_id": story.session,
        "model": story.model,
        "subtype": str(result.get("subtype") or "")[:100],
        "usage": dict(list(counts.items())[:20]),
    }
    room = DOCUMENT_LIMIT_BYTES - len(json.dumps({**document, "result": ""}))
    if len(json.dumps(text)) > room:
        # A character takes at most twelve bytes of JSON.
        cut = text[:room]
        while len(json.dumps(cut)) > room - 30:
            cut = cut[: len(cut) * 3 // 4]
        document |= {"result": cut, "truncated": True}
    return {name: value for name, value in document.items() if value not in (None, "", {})}


def _number(value: object) -> int | float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _sentence(cause: str, said: str) -> str:
    said = " ".join(said.split())[:_ERROR_CHARS]
    return f"{cause}: {said}" if said else f"{cause}."


def _first(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if line.strip()), "")


def _last(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")


def _signal(number: int) -> str:
    try:
        return f"{number} ({signal.Signals(number).name})"
    except ValueError:
        return str(number)
