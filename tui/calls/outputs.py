"""Calls about what is kept of the output of tasks."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from cortex.v1 import cluster_pb2
from tui.calls.base import Calls


class OutputCalls(Calls):
    """List, search. What follows a task's output is ClusterClient.output."""

    async def list_output(self, task_id: str) -> list[cluster_pb2.KeptOutput]:
        """What is kept of each attempt, oldest first."""
        request = cluster_pb2.ListOutputRequest(id=task_id)
        async with aclosing(self._replies("ListOutput", request)) as replies:
            return [reply async for reply in replies]

    def search_output(
        self, request: cluster_pb2.SearchOutputRequest
    ) -> AsyncGenerator[cluster_pb2.SearchOutputReply, None]:
        """Yields lines as they are found; the last reply says `ended`."""
        return self._replies("SearchOutput", request)
