"""What is known of one cause of dead letters, as lines. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from cortex.v1 import cluster_pb2, types_pb2
from tui.columns.base import Draw
from tui.columns.causes import BLAME_WORDS, exit_word, operation_line
from tui.columns.tasks import CAUSE_WORDS, last_words
from tui.details.common import long_text, pair, sentence, title
from tui.drawing.draw import Cell, Span, age, clock, command_label, command_of, count_of, foreign
from tui.drawing.text import clean, fit
from tui.keyboard.wording import filled
from tui.store.ends import error_type

Cause = cluster_pb2.DeadLetterCause
Task = types_pb2.Task

EXCERPT_LINES = 12
BLAME_SAID = {
    types_pb2.BLAME_TASK: "fails wherever and with whatever it runs",
    types_pb2.BLAME_NODE: "others fail on that node too, and succeed elsewhere",
    types_pb2.BLAME_INPUT: "the same command succeeds with other arguments",
}


def cause_headline(row: Cause, draw: Draw, *, about: str) -> list[Cell]:
    """Two lines: how many and of what; how an operation on it goes, and what the keys are about."""
    glyphs = draw.glyphs
    many = "letter" if row.count == 1 else "letters"
    first: list[Span] = [(f" {count_of(row.count)} {many}", "strong"), ("  of cause ", "dim")]
    first += foreign(row.fingerprint or "none", "text", glyphs)
    if code := exit_word(row):
        first += [("   exit ", "dim"), (code, "bad")]
    if row.last_at_us:
        first += [("   first ", "dim"), (age(draw.now_us - row.first_at_us), "text")]
        first += [(" ago, last ", "dim"), (age(draw.now_us - row.last_at_us), "text"), (" ago", "dim")]
    news = operation_line(row.fingerprint, draw) if row.fingerprint else ()
    keys = filled(" {cause.retry} {cause.discard} act on ", draw.word)
    second: list[Span] = [(keys, "dim"), (about, "accent")]
    if news:
        second += [("   ", "text"), *news]
    return [tuple(first), tuple(second)]


def cause_facts(row: Cause, sample: Task, draw: Draw, width: int) -> list[Cell]:
    """The newest letter as the sample: what it said, who is to blame, how each attempt ended."""
    lines: list[Cell] = []
    if sample.error:
        lines += long_text("error", sample.error, "bad", draw, width, most=3)
    if (kind := error_type(sample)) is not None:
        lines += sentence("type", f"{kind.name}. {kind.remedy}", "warn", draw, width, most=2)
    word, role = BLAME_WORDS.get(sample.blame, ("not known", "dim"))
    lines.append(pair("blame", (word, role), (f"  {BLAME_SAID.get(sample.blame, '')}", "dim")))
    lines += long_text(command_label(sample.spec), command_of(sample.spec), "strong", draw, width, most=3)
    if row.nodes:
        lines += long_text("nodes", " ".join(row.nodes), "text", draw, width, most=2)
    result = sample.result
    lines += _excerpt("STDERR", result.stderr, draw)
    if not result.stderr.total_bytes and (said := last_words(sample)):
        lines += long_text("last words", said, "bad", draw, width, most=3)
    lines += _attempts(sample.failures, draw)
    lines += _excerpt("STDOUT", result.stdout, draw)
    if sample.annotations:
        lines += title("NOTES")
        for note in reversed(sample.annotations):
            who = fit(clean(note.actor, ascii_only=draw.glyphs.ascii_only), 10, ellipsis=draw.glyphs.ellipsis)
            lines.append(
                (
                    (f" {age(draw.now_us - note.at_us):>4}  ", "dim"),
                    (f"{who}  ", "dim"),
                    *foreign(note.text, "text", draw.glyphs),
                )
            )
    return lines


def _excerpt(name: str, stream: types_pb2.StreamSummary, draw: Draw) -> list[Cell]:
    """The last lines that the sample wrote there."""
    whole = stream.total_bytes <= len(stream.head) + len(stream.tail)
    kept = stream.head + stream.tail if whole else stream.tail or stream.head
    lines = kept.decode("utf-8", "backslashreplace").rstrip("\n").split("\n")
    if not any(lines):
        return []
    rest = f", the last {EXCERPT_LINES} lines" if len(lines) > EXCERPT_LINES else ""
    role = "bad" if name == "STDERR" else "text"
    shown: list[Cell] = [((" ", "text"), *foreign(part, role, draw.glyphs)) for part in lines[-EXCERPT_LINES:]]
    return [*title(f"{name} OF THE SAMPLE{rest}"), *shown]


def _attempts(failures: Sequence[types_pb2.Failure], draw: Draw) -> list[Cell]:
    if not failures:
        return []
    glyphs = draw.glyphs
    lines = title("ATTEMPTS OF THE SAMPLE")
    for item in failures:
        code = (
            f"sig{item.signal}"
            if item.signal
            else str(item.exit_code)
            if item.HasField("exit_code")
            else glyphs.none
        )
        node = fit(clean(item.node, ascii_only=glyphs.ascii_only), 10, ellipsis=glyphs.ellipsis)
        word = CAUSE_WORDS.get(item.cause, "")
        lines.append(
            (
                (f" {item.attempt:>3}  {clock(item.at_us)}  {node}  ", "text"),
                (f"{code:<6}", "bad"),
                (f"{word}  ", "warn"),
                *foreign(item.error, "dim", glyphs),
            )
        )
    return lines
