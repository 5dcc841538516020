"""Entry point of `cortex`: from the arguments to the exit code.

Almost nothing is imported before Ctrl-C can be answered.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130
MESSAGE_LIMIT = 8000


def main() -> None:
    """Runs `cortex` with this process's arguments."""
    try:
        code = run(sys.argv[1:])
    except KeyboardInterrupt:
        code = EXIT_INTERRUPTED
        _complain("interrupted", "Interrupted.", "", as_json=False)
    sys.exit(code)


def run(arguments: Sequence[str]) -> int:
    """Returns the exit code; whatever goes wrong is one sentence and one remedy on stderr."""
    # gRPC logs to the terminal by itself, in the middle of tables and of the console.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    as_json = _wants_json(arguments)
    try:
        import click

        from tui.errors import ClusterError
        from tui.verbs.base import ReaderGone
        from tui.verbs.root import root
    except KeyboardInterrupt:
        _complain("interrupted", "Interrupted.", "", as_json)
        return EXIT_INTERRUPTED
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        code = root.main(list(arguments), prog_name="cortex", standalone_mode=False)
        if sys.stdout is not None:
            sys.stdout.flush()
    except ClusterError as error:
        _complain(error.code, error.message, error.remedy, as_json)
        return error.exit_code
    except click.UsageError as error:
        where = error.ctx.command_path if error.ctx is not None else "cortex"
        _complain("usage", error.format_message(), f"See `{where} --help`.", as_json)
        return EXIT_USAGE
    except (click.Abort, KeyboardInterrupt):
        _complain("interrupted", "Interrupted.", "", as_json)
        return EXIT_INTERRUPTED
    except (ReaderGone, BrokenPipeError):
        _discard_stdout()
        return 0
    except click.ClickException as error:
        _complain("failed", error.format_message(), "", as_json)
        return EXIT_FAILED
    except OSError as error:
        _complain("failed", f"{error.strerror or error}.", "Check where the output goes, and its disk.", as_json)
        _discard_stdout()
        return EXIT_FAILED
    return code if isinstance(code, int) else 0


def _wants_json(arguments: Sequence[str]) -> bool:
    """Whether JSON is asked for, judged before the arguments are known to be right."""
    from itertools import pairwise

    own = list(arguments[: arguments.index("--")] if "--" in arguments else arguments)
    return bool({"--json", "-ojson", "--output=json"} & set(own)) or any(
        flag in ("-o", "--output") and value == "json" for flag, value in pairwise(own)
    )


def _complain(code: str, message: str, remedy: str, as_json: bool) -> None:
    import json
    from contextlib import suppress

    from tui.drawing.text import clean, shorten

    message, remedy = shorten(message, MESSAGE_LIMIT), shorten(remedy, MESSAGE_LIMIT)
    if as_json:
        line = json.dumps({"error": {"code": code, "message": message, "remedy": remedy or None}})
    else:
        line = f"cortex: {clean(message)}" + (f"\n{clean(remedy)}" if remedy else "")
    with suppress(OSError, AttributeError):
        print(line, file=sys.stderr, flush=True)  # noqa: T201


def _discard_stdout() -> None:
    """Lets the interpreter's last flush go nowhere instead of failing."""
    if sys.stdout is None:
        return
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)


if __name__ == "__main__":
    main()
