"""One expression in an engine of its own: no host objects, 100 ms of CPU, 8 MB, bounded recursion."""

from __future__ import annotations

import re

# What the package quickjs is made of. Importing that one starts a thread.
from _quickjs import Context, JSException

TIME_LIMIT_S = 0.1
MEMORY_LIMIT_BYTES = 8 * 1024 * 1024
STACK_LIMIT_BYTES = 256 * 1024
ERROR_LIMIT_CHARS = 300

# A verdict depends on its inputs alone. What is written here takes clocks and chance away.
_PRELUDE = """
for (const name of ["Date", "performance", "queueMicrotask", "SharedArrayBuffer", "Atomics", "WeakRef"])
  delete globalThis[name];
delete Math.random;
"""
# Where a flaw is, and what ends a line in JavaScript.
_PLACE = re.compile(r"<input>:(\d+):(\d+)")
_LINES = re.compile("\r\n|[\n\r\u2028\u2029]")
_FALSE, _TRUE, _ERROR, _TIMED_OUT = 0, 1, 2, 3


def evaluate(expression: str, inputs: str) -> tuple[int, str]:
    """Whether `expression` is true for `inputs`: (0 or 1, ""), (2, error) or (3, error) when its time was up.

    `inputs` is a JSON object whose items the expression sees as variables.
    """
    context = Context()
    context.set_max_stack_size(STACK_LIMIT_BYTES)
    context.eval(_PRELUDE)
    context.set("inputs", context.parse_json(inputs))
    context.eval("for (const name in inputs) globalThis[name] = inputs[name]; delete globalThis.inputs;")
    # What it reads does not count against what it may use.
    context.set_memory_limit(context.memory()["malloc_size"] + MEMORY_LIMIT_BYTES)
    context.set_time_limit(TIME_LIMIT_S)
    try:
        return (_TRUE if context.eval(f'"use strict";!!(\n{expression}\n)') else _FALSE), ""
    except JSException as error:
        return _judged(str(error).partition("\n")[0].strip())
    except (ValueError, TypeError, MemoryError) as error:
        return _ERROR, str(error)[:ERROR_LIMIT_CHARS] or type(error).__name__


def syntax(expression: str) -> tuple[int, str]:
    """As evaluate(), of whether `expression` can be read: nothing of it runs. (2, flaw) names line and column."""
    context = Context()
    context.set_max_stack_size(STACK_LIMIT_BYTES)
    context.set_memory_limit(context.memory()["malloc_size"] + MEMORY_LIMIT_BYTES)
    context.set_time_limit(TIME_LIMIT_S)
    # The same source as evaluate() has, but for a first statement that ends it. What closes one kind of bracket and
    # opens it again, to say more than an expression, cannot be read in the other.
    for opening, closing in ("!!(", ")"), ("[", "]"):
        try:
            context.eval(f'"use strict";throw 0;{opening}\n{expression}\n{closing}')
        except JSException as error:
            if str(error).startswith("SyntaxError: "):
                return _ERROR, _flaw(str(error), expression)
        except (ValueError, TypeError, MemoryError) as error:
            return _ERROR, str(error)[:ERROR_LIMIT_CHARS] or type(error).__name__
    return _TRUE, ""


def _flaw(told: str, expression: str) -> str:
    message = told.partition("\n")[0].removeprefix("SyntaxError: ")[:ERROR_LIMIT_CHARS]
    place = _PLACE.search(told)
    if place is None:
        return message
    line = int(place[1]) - 1
    if line > len(_LINES.split(expression)):
        return "it ends too early"
    return f"{message} at line {line}, column {place[2]}"


def _judged(message: str) -> tuple[int, str]:
    if message == "InternalError: interrupted":
        return _TIMED_OUT, f"It ran longer than {TIME_LIMIT_S * 1000:.0f} ms."
    if "out of memory" in message or message in ("", "null"):
        # An engine without memory has none left for a message, either.
        return _ERROR, f"{message or 'null'}: it may use {MEMORY_LIMIT_BYTES // 1024 // 1024} MB."
    return _ERROR, message[:ERROR_LIMIT_CHARS]
