"""The actions of the console: each makes a plan and shows it; the preview carries it out.

While the console is read-only nothing here asks the source for a mutator.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from cortex.v1 import cluster_pb2
from tui import plans
from tui.plans import Plan
from tui.screens.preview import PreviewScreen
from tui.screens.submit import SubmitScreen
from tui.source import SourceError

if TYPE_CHECKING:
    from tui.app import Console


class Actions:
    """What can be changed, over a console."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def cancel(self, ids: Sequence[str]) -> None:
        self._preview(ids, lambda: plans.cancel(self._console.fresh_drawing(), ids))

    def retry(self, ids: Sequence[str]) -> None:
        self._preview(ids, lambda: plans.retry(self._console.fresh_drawing(), ids))

    def cordon(self, nodes: Sequence[str]) -> None:
        self._preview(nodes, lambda: plans.cordon(self._console.fresh_drawing(), nodes))

    def uncordon(self, nodes: Sequence[str]) -> None:
        self._preview(nodes, lambda: plans.uncordon(self._console.fresh_drawing(), nodes))

    def submit(self) -> None:
        """Open the form; what it makes is tried dry, then shown."""
        if self._refused():
            return
        console = self._console

        def review(request: cluster_pb2.TaskRequest, command: str) -> None:
            console.run_worker(self._review(request, command, form), group="dry-run", exclusive=True)

        form = SubmitScreen(review)
        console.push_screen(form)

    async def _review(self, request: cluster_pb2.TaskRequest, command: str, form: SubmitScreen) -> None:
        console = self._console
        form.say("Asking where it would go.", "dim")
        try:
            verdicts = await console.source.dry_run(request)
        except SourceError as error:
            form.say(f"{error.message} {error.remedy}".strip(), "bad")
            return
        form.say("")

        def close_form(done: str | None) -> None:
            if done is not None:
                form.dismiss(None)
                self._done(done)

        make = lambda: plans.submit(console.fresh_drawing(), request, command, verdicts)  # noqa: E731
        console.push_screen(PreviewScreen(make, console.source.mutator), close_form)

    def _preview(self, ids: Sequence[str], make: Callable[[], Plan]) -> None:
        if self._refused() or not ids:
            return
        self._console.push_screen(PreviewScreen(make, self._console.source.mutator), self._done)

    def _done(self, said: str | None) -> None:
        if said is not None:
            self._console.clear_marks()
            self._console.say(said, "ok")

    def _refused(self) -> bool:
        if self._console.read_only:
            self._console.say("Read-only: R turns it off.", "warn")
        return self._console.read_only
