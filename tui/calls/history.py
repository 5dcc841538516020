"""Calls about the past: events, differences, settings and the ledger of double runs."""

from __future__ import annotations

from collections.abc import Sequence

from cortex.v1 import cluster_pb2, types_pb2
from tui.calls.base import LONG, Calls


class HistoryCalls(Calls):
    """Events, diff, settings, double runs."""

    async def list_events(
        self,
        *,
        task: str = "",
        node: str = "",
        workflow: str = "",
        operation: str = "",
        actor: str = "",
        audit: bool = False,
        types: Sequence[types_pb2.EventType.ValueType] = (),
        since_us: int = 0,
        newest_first: bool = False,
        at: cluster_pb2.Moment | None = None,
        limit: int = 50,
        cursor: str = "",
    ) -> cluster_pb2.ListEventsReply:
        request = cluster_pb2.ListEventsRequest(
            task=task,
            node=node,
            workflow=workflow,
            operation=operation,
            actor=actor,
            audit=audit,
            types=types,
            since_us=since_us,
            newest_first=newest_first,
            at=at,
            limit=limit,
            cursor=cursor,
            freshness=self._freshness(),
        )
        reply: cluster_pb2.ListEventsReply = await self._call("ListEvents", request, self._timeout_s * LONG)
        return reply

    async def diff(
        self, begin: cluster_pb2.Moment, end: cluster_pb2.Moment | None = None, limit: int = 0
    ) -> cluster_pb2.DiffReply:
        """What is not the same at `end`, or now, as it was at `begin`."""
        request = cluster_pb2.DiffRequest(to=end, limit=limit)
        getattr(request, "from").CopyFrom(begin)
        reply: cluster_pb2.DiffReply = await self._call("Diff", request, self._timeout_s * LONG)
        return reply

    async def list_double_runs(
        self, task: str = "", *, at: cluster_pb2.Moment | None = None, limit: int = 50, cursor: str = ""
    ) -> cluster_pb2.ListDoubleRunsReply:
        """`at`: as it was then."""
        request = cluster_pb2.ListDoubleRunsRequest(
            task=task, limit=limit, cursor=cursor, freshness=self._freshness(), at=at
        )
        timeout_s = self._patience_s(at)
        reply: cluster_pb2.ListDoubleRunsReply = await self._call("ListDoubleRuns", request, timeout_s)
        return reply

    async def get_settings(self, *, at: cluster_pb2.Moment | None = None) -> cluster_pb2.GetSettingsReply:
        """`at`: as they were then."""
        request = cluster_pb2.GetSettingsRequest(freshness=self._freshness(), at=at)
        timeout_s = self._patience_s(at)
        reply: cluster_pb2.GetSettingsReply = await self._call("GetSettings", request, timeout_s)
        return reply

    async def set_setting(self, name: str, value: str) -> cluster_pb2.MutationReply:
        """`value` is JSON."""
        request = cluster_pb2.SetSettingRequest(mutation=self._mutation(), name=name, value=value)
        reply: cluster_pb2.MutationReply = await self._write("SetSetting", request)
        return reply
