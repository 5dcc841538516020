"""A workflow as rows of a DAG: kept up change by change, folded, and judged when it will have ended."""

from __future__ import annotations

from cortex.v1 import cluster_pb2, types_pb2
from tests.tui import fake
from tests.tui.fake_dags import PENDING, SKIPPED, member, release, status
from tui.columns.base import Draw
from tui.columns.dag import dag_spec, dag_why, left_edge, skip_word
from tui.details.dag_estimate import finish, slots_at_once
from tui.drawing.draw import ASCII, UNICODE, Glyphs, plain
from tui.store.dag_model import DagModel, Mode, resume_key
from tui.store.dag_needs import Needs
from tui.store.view import ClusterView
from tui.store.workflow_members import Members

KEY = "01wf0000000a"


def loaded(reply: cluster_pb2.GetWorkflowReply) -> tuple[ClusterView, DagModel]:
    view = ClusterView()
    members = Members(reply.status.workflow.id, view)
    members.load(reply)
    model = DagModel(members)
    assert model.sync()
    return view, model


def drawing(view: ClusterView, glyphs: Glyphs = UNICODE) -> Draw:
    return Draw(fake.NOW_US, 1000.0, glyphs, view)


def lines(view: ClusterView, model: DagModel, glyphs: Glyphs = UNICODE) -> list[str]:
    column = dag_spec(model, lambda _width: 0).column("task")
    rows = [model.rows.get(key) for key in model.shown]
    return [plain(column.draw(row, drawing(view, glyphs), 60)).rstrip() for row in rows if row is not None]


def changed(task: types_pb2.Task, state: types_pb2.TaskState.ValueType) -> types_pb2.Task:
    row = types_pb2.Task()
    row.CopyFrom(task)
    row.state, row.modified_index = state, task.modified_index + 100
    return row


def test_a_map_is_folded_and_its_failures_are_counted_as_they_come() -> None:
    view, model = loaded(release())
    assert "⊞ pack[*] ×4 ██▌░░ 2✓ 1▸ 1○" in "\n".join(lines(view, model))
    view.put_task(changed(model.task("pack[2]"), fake.DEAD))
    assert not model.sync(), "the rows are the same"
    assert "⊞ pack[*] ×4 ███▌░ 2✓ 1○ 1✗" in "\n".join(lines(view, model))


def test_folds_open_one_by_one_and_all_at_once() -> None:
    view, model = loaded(release())
    folded = list(model.shown)
    group = next(key for key in folded if model.view.group(key))
    assert model.open_fold(group)
    assert len(model.shown) == 10
    assert "pack[3]" in model.shown
    assert not model.open_fold("lint")
    assert model.close_fold("pack[1]")
    assert list(model.shown) == folded
    assert model.fold_all()
    assert len(model.shown) == 10
    assert model.fold_all()
    assert list(model.shown) == folded
    model.reveal("pack[0]")
    assert model.shown_as("pack[0]") == "pack[0]"
    assert len(model.rows) == 10
    assert len(lines(view, model)) == 10


def test_a_list_has_every_task_after_what_it_depends_on() -> None:
    _, model = loaded(release())
    for mode, flat in ((Mode.LIST, False), (Mode.RAIL, True)):
        model.show(mode, flat=flat)
        assert len(model.shown) == 10
        at = {key: place for place, key in enumerate(model.shown)}
        assert at["lint"] < at["pack[0]"] < at["publish"] < at["announce"] < at["tell"]
        assert model.rail is None
    model.show(Mode.RAIL, flat=False)
    assert model.rail is not None
    assert len(model.shown) == 7


def test_only_the_rows_of_what_changed_are_put_again() -> None:
    view, model = loaded(release())
    told: set[int] = set()

    class Ear:
        pending = told

    model.rows.attach(Ear())
    view.put_task(changed(model.task("publish"), fake.QUEUED))
    model.sync()
    assert {model.rows.keys[slot] for slot in told} == {"publish"}
    told.clear()
    model.sync()
    assert told == set()


def test_rows_of_another_workflow_and_older_ones_are_passed_over() -> None:
    view, model = loaded(release())
    version = model.version
    view.put_task(member("01wf0000000b", 0, "lint", fake.RUNNING))
    older = changed(model.task("publish"), fake.RUNNING)
    older.modified_index = 1
    view.put_task(older)
    model.sync()
    assert model.version == version
    assert model.task("publish").state == PENDING


def test_the_stream_may_be_ahead_of_the_reply() -> None:
    view = ClusterView()
    reply = release()
    ahead = changed(reply.status.tasks[7], fake.RUNNING)
    view.put_task(ahead)
    members = Members(KEY, view)
    members.load(reply)
    model = DagModel(members)
    model.sync()
    assert model.task("publish").state == fake.RUNNING


def test_what_a_task_waits_for_is_counted_down() -> None:
    tasks = {number: member(KEY, number, f"part{number}", fake.RUNNING) for number in range(5)}
    tasks[5] = member(KEY, 5, "join", PENDING, *range(5), rule=types_pb2.RULE_ONE_SUCCESS, condition="1 > 0")
    needs = Needs(tasks)
    assert needs.words(5) == "waits for part0, part1 and 3 more, rule one_success, if 1 > 0"
    for number in (0, 1, 2):
        tasks[number] = changed(tasks[number], fake.COMPLETED)
        needs.put(number)
        needs.put(number)
    assert needs.words(5).startswith("waits for part3, part4,")
    tasks[0] = changed(tasks[0], fake.QUEUED)
    needs.put(0)
    assert needs.words(5).startswith("waits for part0, part3 and 1 more,")
    for number in (0, 3, 4):
        tasks[number] = changed(tasks[number], SKIPPED)
        needs.put(number)
    assert needs.words(5).startswith("waits for the verdict on its condition")
    tasks[5] = changed(tasks[5], fake.QUEUED)
    assert needs.words(5) == ""


def test_why_a_task_was_skipped_is_said() -> None:
    view, model = loaded(release())
    assert dag_why(model, model.task("deploy"), drawing(view)) == "upstream_failed: test failed"
    assert dag_why(model, model.task("tell"), drawing(view)) == "waits for all others"
    unknown = changed(model.task("deploy"), SKIPPED)
    unknown.skip_reason = 99  # type: ignore[assignment]
    assert skip_word(unknown) == "unknown"


def test_the_estimate_follows_what_took_long_before() -> None:
    view, model = loaded(release())
    del view
    found = finish(model, fake.NOW_US)
    assert found.keys[-3:] == ("publish", "announce", "tell")
    assert found.keys[0] == "pack[3]"
    # pack took 20 s each, lint 20 s, test 42 s: what nothing is known of takes the mean of these
    assert found.end_us - fake.NOW_US == (20 + 3 * 82 // 3) * fake.SECOND_US
    for task in list(model.members.tasks.values()):
        ended = changed(task, fake.COMPLETED)
        model.members.load(status(KEY, "release", [ended], index=500))
    model.sync()
    assert finish(model, fake.NOW_US).keys == ()


def test_the_estimate_knows_how_many_can_run_at_once() -> None:
    tasks = [member(KEY, 0, "first", fake.COMPLETED, template="m", took_s=10)]
    tasks += [member(KEY, 1 + at, f"m{at}", fake.QUEUED, 0, template="m") for at in range(6)]
    view, model = loaded(status(KEY, "even", tasks))
    assert slots_at_once(model, view) == 0
    for name in ("anvil", "birch"):
        node = fake.node_view(name).node
        node.slots[0].count = 1
        view.fold(cluster_pb2.WatchReply(changes=[types_pb2.Change(node=node)]), 1.0)
    assert slots_at_once(model, view) == 2
    assert finish(model, fake.NOW_US).end_us - fake.NOW_US == 10 * fake.SECOND_US
    assert finish(model, fake.NOW_US, 2).end_us - fake.NOW_US == 30 * fake.SECOND_US


def test_no_estimate_without_anything_that_ended() -> None:
    _, model = loaded(status(KEY, "new", [member(KEY, 0, "a", fake.QUEUED), member(KEY, 1, "b", PENDING, 0)]))
    found = finish(model, fake.NOW_US)
    assert found.keys == ("a", "b")
    assert found.end_us == 0


def test_from_where_a_row_is_run_again() -> None:
    tasks = [member(KEY, 0, "first", fake.COMPLETED)]
    tasks += [member(KEY, 1 + at, f"m[{at}]", fake.COMPLETED, 0, template="m") for at in range(3)]
    tasks += [
        member(KEY, 4, "c0", PENDING, 1, 2, 3),
        member(KEY, 5, "c1", PENDING, 4),
        member(KEY, 6, "c2", PENDING, 5),
    ]
    tasks += [member(KEY, 7 + at, f"t{at}", PENDING, 6) for at in range(3)]
    tasks += [member(KEY, 10, "last", PENDING, 7, 8, 9)]
    _, model = loaded(status(KEY, "all", tasks))
    while model.fold_all() and model.view.opened:
        pass
    kinds = {
        group.kind.value: resume_key(model, key)
        for key in model.shown
        if (group := model.view.group(key)) is not None
    }
    assert kinds == {"template": "m", "chain": "c0", "twins": ""}
    assert resume_key(model, "last") == "last"


def test_keys_that_are_given_twice_and_circles_are_shown_all_the_same() -> None:
    tasks = [
        member(KEY, 0, "same", fake.COMPLETED),
        member(KEY, 1, "same", fake.RUNNING, 0),
        member(KEY, 2, "", PENDING, 1),
    ]
    tasks[2].name = ""
    _, model = loaded(status(KEY, "odd", tasks))
    assert list(model.shown) == ["same", "same#1", "#2"]
    circle = [member(KEY, 0, "a", PENDING, 1), member(KEY, 1, "b", PENDING, 0), member(KEY, 2, "c", PENDING, 77)]
    _, model = loaded(status(KEY, "circle", circle))
    assert sorted(model.shown) == ["a", "b", "c"]
    assert "circle" in model.problem


def test_lanes_that_do_not_fit_scroll_with_the_row() -> None:
    tasks = [member(KEY, at, f"root{at}", fake.RUNNING) for at in range(30)]
    tasks += [member(KEY, 30 + at, f"leaf{at}", PENDING, *range(at + 1)) for at in range(1, 30)]
    view, model = loaded(status(KEY, "wide", tasks))
    assert model.rail is not None
    assert model.rail.width > 40
    widest = max(model.shown, key=lambda key: model.rail.lane(model.rail.row(key)) if model.rail else 0)
    left = left_edge(model, widest, 0, 20)
    assert 0 < left <= model.rail.lane(model.rail.row(widest)) * 2 < left + 20
    assert left_edge(model, model.shown[0], left, 20) <= model.rail.lane(0) * 2
    assert left_edge(model, widest, 5, 200) == 0, "all fits"
    assert len(lines(view, model)) == 59


def test_ascii_drawing_is_ascii() -> None:
    view, model = loaded(release())
    model.fold_all()
    assert all(line.isascii() for line in lines(view, model, ASCII))


def test_ten_thousand_tasks_cost_what_changed() -> None:
    wide = 9_998
    tasks = [member(KEY, 0, "split", fake.COMPLETED)]
    tasks += [member(KEY, 1 + at, f"part[{at}]", fake.QUEUED, 0, template="part") for at in range(wide)]
    tasks.append(member(KEY, wide + 1, "join", PENDING, *range(1, wide + 1)))
    view, model = loaded(status(KEY, "big", tasks))
    assert len(model.shown) == 3
    looked = 0

    class Counted(dict[int, types_pb2.Task]):
        def __getitem__(self, key: int) -> types_pb2.Task:
            nonlocal looked
            looked += 1
            return super().__getitem__(key)

    model.members.tasks = Counted(model.members.tasks)
    for at in range(100):
        view.put_task(changed(tasks[1 + at], fake.RUNNING))
    model.sync()
    assert looked < 1000, "rows that did not change are not looked at"
    assert "100▸" in "\n".join(lines(view, model))
    assert model.open_fold(next(key for key in model.shown if model.view.group(key)))
    assert len(model.shown) == wide + 2
