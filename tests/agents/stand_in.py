#!/usr/bin/env python3
"""Stands in for an agent CLI: reads a prompt on stdin and does what its lines `stand-in: STEP` say, in the stream
format of `claude -p --output-format stream-json --verbose`. Without steps it repeats the prompt's first line.

Steps: text WORDS | tool NAME INPUT | turns N | fail-tool WORDS | garbage WORDS | huge BYTES | stderr WORDS |
wait FILE | make FILE | show argv|cwd|mcp|env NAME | leak NAME | cut NAME | ignore-term | retrying STATUS |
limit SECONDS | retry-after SECONDS | overloaded | status STATUS WORDS | error WORDS | max-turns | budget |
crash SIGNAL | exit CODE | linger | once FILE STEP
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

SESSION = "5e551000-0000-4000-8000-000000000001"


def say(**event: Any) -> None:
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


class StandIn:
    def __init__(self, argv: list[str]) -> None:
        self.argv = argv
        self.turns = 0
        self.answer = ""

    def after(self, flag: str) -> str:
        return self.argv[self.argv.index(flag) + 1] if flag in self.argv else ""

    def message(self, *content: dict[str, Any], **more: Any) -> None:
        self.turns += 1
        message = {"id": f"msg_{self.turns}", "type": "message", "role": "assistant", "content": list(content)}
        say(type="assistant", message=message, session_id=SESSION, **more)

    def end(self, code: int = 0, **more: Any) -> None:
        result = {"subtype": "success", "is_error": False, "result": self.answer, "num_turns": self.turns}
        usage = {"input_tokens": 10 * self.turns, "output_tokens": 5 * self.turns}
        more = {**result, "duration_ms": 5, "total_cost_usd": 0.001 * self.turns, "usage": usage, **more}
        say(type="result", session_id=SESSION, **more)
        sys.exit(code)

    def step(self, line: str) -> None:
        verb, _, rest = line.strip().partition(" ")
        getattr(self, "do_" + verb.replace("-", "_"))(rest)

    def do_text(self, words: str) -> None:
        self.answer = words
        self.message({"type": "text", "text": words})

    def do_tool(self, words: str) -> None:
        name, _, told = words.partition(" ")
        self.message({"type": "tool_use", "id": "toolu_1", "name": name, "input": {"command": told}})
        block = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "done"}
        say(type="user", message={"role": "user", "content": [block]}, session_id=SESSION)

    def do_fail_tool(self, words: str) -> None:
        block = {"type": "tool_result", "tool_use_id": "toolu_1", "is_error": True, "content": words}
        say(type="user", message={"role": "user", "content": [block]}, session_id=SESSION)

    def do_turns(self, count: str) -> None:
        for number in range(int(count)):
            self.do_text(f"turn {number + 1}")

    def do_garbage(self, words: str) -> None:
        sys.stdout.buffer.write(words.encode().decode("unicode_escape").encode("latin-1") + b"\n")
        sys.stdout.flush()

    def do_huge(self, count: str) -> None:
        sys.stdout.write('{"type": "assistant", "junk": "')
        for _ in range(int(count) // 1024):
            sys.stdout.write("x" * 1024)
        sys.stdout.write('"}\n')
        sys.stdout.flush()

    def do_stderr(self, words: str) -> None:
        print(words, file=sys.stderr, flush=True)

    def do_leak(self, name: str) -> None:
        self.do_stderr(os.environ[name])

    def do_cut(self, name: str) -> None:
        """Tell a variable where what is told is cut."""
        told = [f"{'x' * (limit - 10)}{os.environ[name]}" for limit in (160, 500, 20_000)]
        for text in told:
            self.do_tool(f"Bash {text}")
            self.do_text(text)
            self.do_garbage(text.replace("\\", "\\\\"))
        self.end(1, subtype="error_during_execution", is_error=True, errors=[told[1]], result=None)

    def do_wait(self, name: str) -> None:
        while not Path(name).exists():
            time.sleep(0.02)

    def do_make(self, name: str) -> None:
        Path(name).touch()

    def do_show(self, what: str) -> None:
        what, _, name = what.partition(" ")
        shown = {
            "argv": lambda: json.dumps(self.argv),
            "cwd": os.getcwd,
            "mcp": lambda: Path(self.after("--mcp-config")).read_text(),
            "env": lambda: os.environ.get(name, "(not set)"),
        }
        self.do_text(shown[what]())

    def do_ignore_term(self, _rest: str) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)

    def do_retrying(self, status: str) -> None:
        say(
            type="system",
            subtype="api_retry",
            attempt=1,
            max_retries=10,
            retry_delay_ms=700,
            error_status=int(status),
        )

    def do_limit(self, seconds: str) -> None:
        resets = int(time.time()) + int(seconds)
        info = {"status": "rejected", "resetsAt": resets, "rateLimitType": "five_hour"}
        say(type="rate_limit_event", rate_limit_info=info, session_id=SESSION)
        self.end(1, is_error=True, result=f"Claude AI usage limit reached|{resets}")

    def do_retry_after(self, seconds: str) -> None:
        detail = json.dumps({"type": "error", "error": {"type": "rate_limit_error", "message": "Slow down."}})
        self.end(1, is_error=True, result=f"API Error: 429 {detail} retry-after: {seconds}")

    def do_overloaded(self, _rest: str) -> None:
        detail = json.dumps({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}})
        self.end(1, is_error=True, result=f"API Error: 529 {detail}")

    def do_status(self, words: str) -> None:
        self.end(1, is_error=True, result=f"API Error: {words}")

    def do_error(self, words: str) -> None:
        self.end(1, subtype="error_during_execution", is_error=True, errors=[words], result=None)

    def do_max_turns(self, _rest: str) -> None:
        say(type="result", subtype="error_max_turns", is_error=True, num_turns=self.turns, session_id=SESSION)
        sys.exit(1)

    def do_budget(self, _rest: str) -> None:
        say(type="result", subtype="error_max_budget_usd", is_error=True, num_turns=self.turns, session_id=SESSION)
        sys.exit(1)

    def do_crash(self, name: str) -> None:
        os.kill(os.getpid(), getattr(signal, f"SIG{name}"))

    def do_exit(self, code: str) -> None:
        sys.exit(int(code))

    def do_linger(self, _rest: str) -> None:
        try:
            self.end()
        except SystemExit:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            signal.pause()

    def do_once(self, words: str) -> None:
        name, _, line = words.partition(" ")
        if not Path(name).exists():
            Path(name).touch()
            self.step(line)


def main() -> None:
    if "--version" in sys.argv:
        print("1.0 (stand-in)")
        return
    stand_in = StandIn(sys.argv[1:])
    prompt = sys.stdin.read()
    model = stand_in.after("--model") or "stand-in"
    say(
        type="system", subtype="init", session_id=stand_in.after("--resume") or SESSION, model=model, tools=["Bash"]
    )
    steps = [line.partition(":")[2] for line in prompt.splitlines() if line.startswith("stand-in:")]
    for line in steps:
        stand_in.step(line)
    if not steps:
        stand_in.do_text(f"You said: {prompt.splitlines()[0] if prompt else ''}")
    stand_in.end()


if __name__ == "__main__":
    main()
