"""The filter grammar, and errors that point at their column."""

from __future__ import annotations

import pytest

from tui.lists.filter import Field, parse, since
from tui.lists.grammar import FilterError

ROWS = {
    "web-1": {"state": "running", "cpu": 91.0, "age": 30.0},
    "web-2": {"state": "queued", "cpu": 10.0, "age": 7300.0},
    "db": {"state": "running", "cpu": 50.0, "age": 300.0},
    "DB-old": {"state": "failed", "cpu": None, "age": 90_000.0},
}
FIELDS = {
    "state": Field[str]("state", lambda row: str(ROWS[row]["state"])),
    "cpu": Field[str]("cpu", lambda row: ROWS[row]["cpu"], numeric=True),
    "age": Field[str]("age", lambda row: ROWS[row]["age"], numeric=True),
}


def matching(source: str) -> list[str]:
    found = parse(source, str.lower, FIELDS)
    return [row for row in ROWS if found is None or found.matches(row)]


@pytest.mark.parametrize(
    ("source", "rows"),
    [
        ("", list(ROWS)),
        ("   ", list(ROWS)),
        ("web", ["web-1", "web-2"]),
        ("WEB 1", ["web-1"]),
        ("!web", ["db", "DB-old"]),
        ("not web", ["db", "DB-old"]),
        ("! db", ["web-1", "web-2"]),
        ("/^db$/", ["db"]),
        ("/^web-\\d/", ["web-1", "web-2"]),
        ("/web", ["web-1", "web-2"]),
        ('"b-o"', ["DB-old"]),
        ("state=running", ["web-1", "db"]),
        ("state = RUNNING", ["web-1", "db"]),
        ("state!=running", ["web-2", "DB-old"]),
        ("state~^f", ["DB-old"]),
        ("state !~ ing$", ["web-2", "DB-old"]),
        ("cpu>50", ["web-1"]),
        ("cpu >= 50%", ["web-1", "db"]),
        ("cpu<60", ["web-2", "db"]),
        ("age<2h", ["web-1", "db"]),
        ("age>1d", ["DB-old"]),
        ("web or db", list(ROWS)),
        ("web-1 or db state=failed", ["web-1", "DB-old"]),
        ("(web or db) and state=running", ["web-1", "db"]),
        ("!(web or old)", ["db"]),
        ("state=running cpu > 90 and age<1m", ["web-1"]),
    ],
)
def test_matches(source: str, rows: list[str]) -> None:
    assert matching(source) == rows


@pytest.mark.parametrize(
    ("source", "column", "said"),
    [
        ("nothing=1", 0, "no field nothing"),
        ("web and", 7, "missing"),
        ("(web", 0, "never closed"),
        ("web )", 4, "unexpected )"),
        (") web", 0, "unexpected )"),
        ("or web", 0, "both sides"),
        ("/[/", 0, "regular expression"),
        ("state~[", 6, "regular expression"),
        ("cpu>fast", 4, "number"),
        ("cpu>1 parsec", None, ""),
        ("cpu>5x", 4, "number"),
        ("state>5", 0, "text"),
        ("cpu>", 4, "value"),
        ("!", 1, "missing"),
        ("state==running", 6, "equal is written state="),
    ],
)
def test_errors_point_at_their_column(source: str, column: int | None, said: str) -> None:
    if column is None:
        assert matching(source) == []
        return
    with pytest.raises(FilterError) as error:
        matching(source)
    assert error.value.column == column
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("source", "column", "said"),
    [
        ("(" * 33 + "web" + ")" * 33, 32, "32 deep"),
        ("!" * 33 + "web", 32, "32 deep"),
        ("web " * 600, 2000, "2,000 characters"),
        ("/((a{0,10}){0,10}){0,100}/", 0, "repeats too much"),
        ("/(a{1000}){1000}/", 0, "repeats too much"),
        ("web /(?=a)/", 4, "not a regular expression"),
        (r"web /(a)\1/", 4, "not a regular expression"),
    ],
)
def test_what_would_cost_too_much_is_refused(source: str, column: int, said: str) -> None:
    with pytest.raises(FilterError, match=said) as error:
        matching(source)
    assert error.value.column == column


@pytest.mark.parametrize("source", ["/(a+)+$/", "name~(a+)+$", "/(a|aa)+$/", "/(.*)*x$/", "/(a|b|ab)*c$/"])
def test_no_regular_expression_backtracks(source: str) -> None:
    """A backtracking engine would need 2^20000 steps: this test ends only with one that does not."""
    hostile = "a" * 20_000 + "!"
    found = parse(source, str, {"name": Field[str]("name", str)})
    assert found is not None
    assert not found.matches(hostile)


def test_ages_are_judged_when_the_filter_is_asked() -> None:
    now_us = 10_000_000
    began = {"young": 9_000_000, "old": 1_000_000, "never": 0}
    age = since("age", lambda row: began[row])
    found = parse("age<5s", str, {"age": age}, lambda: now_us)
    assert found is not None
    assert found.timed
    assert [row for row in began if found.matches(row)] == ["young"]
    now_us = 15_000_000
    assert found.select(list(began)) == []
    older = parse("age>5s", str, {"age": age}, lambda: now_us)
    assert older is not None
    assert older.select(list(began)) == ["young", "old"]
    plain = parse("young", str, {"age": age}, lambda: now_us)
    assert plain is not None
    assert not plain.timed


def test_a_field_may_be_named_by_its_beginning() -> None:
    fields = {name: Field[str](name, len, numeric=True) for name in ("priority", "exit", "error", "cpu")}
    for source in ("pri>2", "PRI > 2", "cpu%>2", "exi>2"):
        found = parse(source, str, fields)
        assert found is not None
        assert found.matches("long")
        assert not found.matches("x")
    with pytest.raises(FilterError, match="more than one field begins with e: error, exit"):
        parse("e>2", str, fields)


def test_a_value_that_cannot_be_is_an_error() -> None:
    state = Field[str]("state", str, words={"running", "queued"})
    assert parse("state!=Queued", str, {"state": state}) is not None
    with pytest.raises(FilterError, match="no state is called runing, but running; there are queued") as error:
        parse("state=runing", str, {"state": state})
    assert error.value.column == 6


def test_a_filter_of_many_words_is_not_deep() -> None:
    assert matching("we " * 600) == ["web-1", "web-2"]
    assert matching(" or ".join(["nobody"] * 200)) == []


def test_bytes_that_are_no_text_are_an_error_or_no_match() -> None:
    with pytest.raises(FilterError, match="not a regular expression"):
        matching("/\udcff/")
    found = parse("/^a.c$/", str, FIELDS)
    assert found is not None
    assert not found.matches("a\udcffc")


def test_every_field_of_every_table_is_reachable() -> None:
    from tui.columns.events import EVENTS
    from tui.columns.nodes import NODES
    from tui.columns.tasks import LETTERS, QUEUE
    from tui.store.view import ClusterView

    view = ClusterView()
    for spec, rows in ((NODES, view.nodes), (QUEUE, view.tasks), (LETTERS, view.tasks), (EVENTS, view.events)):
        for field in spec.fields:
            value = "1" if field.numeric else min(field.words, default="x")
            assert spec.parse(f'{field.name}="{value}"', rows) is not None  # type: ignore[arg-type]
