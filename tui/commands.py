"""The actions of the console, by area: each makes a plan and shows it; the preview carries it out."""

from __future__ import annotations

from tui.actions.letters import LetterActions
from tui.actions.nodes import NodeActions
from tui.actions.operations import OperationActions
from tui.actions.submit import SubmitActions
from tui.actions.tasks import TaskActions
from tui.actions.workflows import WorkflowActions


class Actions(TaskActions, NodeActions, WorkflowActions, LetterActions, OperationActions, SubmitActions):
    """All that can be changed."""
