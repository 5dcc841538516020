"""Actions on workflows."""

from __future__ import annotations

from collections.abc import Sequence

from tui.actions.base import ActionsBase
from tui.drawing.draw import Cell, foreign
from tui.plans import workflows
from tui.plans.workflows import Rehearsal
from tui.source import SourceError


class WorkflowActions(ActionsBase):
    """Cancel, resume, resume from one task."""

    def cancel_workflows(self, ids: Sequence[str]) -> None:
        self._preview_of(ids, lambda: workflows.cancel(self._stage.fresh_drawing(), ids))

    def resume_workflows(self, ids: Sequence[str], key: str = "") -> None:
        """Ask the cluster what would run again, then show that. `key`: from that task of the one workflow on."""
        if ids and not self._refused():
            self._stage.say("Asking what would run again.", "dim")
            self._stage.start("rehearse", self._rehearse(tuple(ids), key))

    async def _rehearse(self, ids: Sequence[str], key: str) -> None:
        stage = self._stage
        found: list[Rehearsal] = []
        refused: list[Cell] = []
        for workflow_id in ids:
            try:
                found.append(await self._rehearsed(workflow_id, key))
            except SourceError as error:
                said = f"{error.message} {error.remedy}".strip()
                if len(ids) == 1:
                    stage.say(said, "warn")
                    return
                refused.append(foreign(said, "warn", stage.fresh_drawing().glyphs))
        stage.clear_note()
        stage.preview(lambda: workflows.resume(stage.fresh_drawing(), found, refused), self._done)

    async def _rehearsed(self, workflow_id: str, key: str) -> Rehearsal:
        source = self._stage.source

        async def again() -> Sequence[str]:
            return await source.rehearse_resume(workflow_id, key)

        ids = set(await again())
        status = (await source.get_workflow(workflow_id)).status
        tasks = tuple(task for task in status.tasks if task.id in ids)
        if not tasks:
            raise SourceError(
                "There is nothing to run again.", "What has completed runs again from a task of the DAG."
            )
        return Rehearsal(status.workflow, key, tasks, again)
