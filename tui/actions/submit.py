"""A new task: the form, a dry run of what it makes, then the preview."""

from __future__ import annotations

from cortex.v1 import cluster_pb2
from tui.actions.base import ActionsBase, Form
from tui.plans import submit
from tui.plans.base import Done
from tui.source import SourceError


class SubmitActions(ActionsBase):
    """Submit."""

    def submit(self) -> None:
        """Open the form; what it makes is tried dry, then shown."""
        if self._refused():
            return

        def review(request: cluster_pb2.TaskRequest, command: str) -> None:
            self._stage.start("dry-run", self._review(request, command, form))

        form = self._stage.submit_form(review)

    async def _review(self, request: cluster_pb2.TaskRequest, command: str, form: Form) -> None:
        stage = self._stage
        form.say("Asking where it would go.", "dim")
        try:
            verdicts = await stage.source.dry_run(request)
        except SourceError as error:
            form.say(f"{error.message} {error.remedy}".strip(), "bad")
            return
        form.say("")

        def close_form(done: Done | None) -> None:
            if done is not None:
                form.close()
                self._done(done)

        stage.preview(lambda: submit.submit(stage.fresh_drawing(), request, command, verdicts), close_form)
