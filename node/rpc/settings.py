"""Calls about the replicated settings."""

from __future__ import annotations

from collections.abc import Mapping

from cortex.v1 import cluster_pb2 as pb
from cortex.v1 import log_pb2, types_pb2
from node.core import settings, settings_help
from node.core.faults import Code, Fault
from node.link import Caller
from node.rpc.calls import Calls, Handlers
from node.rpc.history import shown


class SettingCalls(Calls):
    """Every method raises Fault."""

    def handlers(self) -> Handlers:
        return {"GetSettings": self.get_settings, "SetSetting": self.set_setting}

    async def get_settings(self, request: pb.GetSettingsRequest, caller: Caller) -> pb.GetSettingsReply:
        await self._fresh(request.freshness, saved=request.HasField("at"))
        moment = await self._moment(request.at)
        if moment is None:
            views = _views(self._state.settings)
            return pb.GetSettingsReply(settings=views, index=self._state.index, age_us=self._age_us())
        rows, at = await self._replica.read(lambda reads: reads.settings_at(moment))
        age_us = self._past_age_us(at)
        return pb.GetSettingsReply(settings=_views(rows), index=at.index, age_us=age_us, at=shown(at))

    async def set_setting(self, request: pb.SetSettingRequest, caller: Caller) -> pb.MutationReply:
        flaw = settings.flaw(request.name, request.value)
        if flaw is not None:
            raise Fault(Code.INVALID, flaw, _remedy(request.name))
        # Apply judges it again, by the settings of then.
        clash = settings.clash(request.name, request.value, self._state.settings.get)
        if clash is not None:
            raise Fault(Code.INVALID, clash, "Choose another value, or change the other setting first.")
        change = log_pb2.SettingsChange(name=request.name, value=request.value)
        reply = await self._mutate([log_pb2.Command(settings_change=change)], request.mutation, caller)
        reply.ids[:] = [request.name]
        return reply


def _views(rows: Mapping[str, types_pb2.Setting]) -> list[pb.SettingView]:
    return [pb.SettingView(**view._asdict()) for view in settings_help.views(rows)]


def _remedy(name: str) -> str:
    if name in settings.NAMES:
        return f"`cortex settings get {name}` says what it is and what it means."
    return f"There are: {', '.join(settings.NAMES)}. See `cortex settings get` for their values and what they mean."
