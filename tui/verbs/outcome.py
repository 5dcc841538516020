"""What a verb that changes something prints once it is accepted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tui.documents import json_view
from tui.drawing.text import clean
from tui.verbs.base import emit, note, say, settings

if TYPE_CHECKING:
    from cortex.v1 import cluster_pb2
    from tui.link.client import ClusterClient

CAUSES = 1000


def say_mutation(reply: cluster_pb2.MutationReply) -> None:
    """Prints what was changed: the ids, or the document."""
    if settings().json:
        emit(json_view.mutation(reply))
    else:
        for changed in reply.ids:
            say(clean(changed))


async def say_operation(client: ClusterClient, reply: cluster_pb2.MutationReply) -> None:
    """As say_mutation(); of what has not begun yet also how to undo it, on stderr."""
    from tui.documents.operations_view import LIVE

    say_mutation(reply)
    row = (await client.get_operation(reply.operation_id)).operation
    if row.state not in LIVE:
        return
    if not reply.ids and not settings().json:
        say(clean(row.id))
    window_s = (row.not_before_us - row.created_at_us) / 1e6
    if window_s > 0:
        meant = await _letters_of(client, row.bulk.fingerprint) if row.bulk.fingerprint else ""
        note(f"cortex: {meant}begins in {window_s:g} s; until then `cortex undo {clean(row.id)}` takes it back")


async def _letters_of(client: ClusterClient, cause: str) -> str:
    """How many letters of a cause there are, as the begin of a sentence."""
    causes = (await client.list_causes(CAUSES)).causes
    count = next((item.count for item in causes if item.fingerprint == cause), 0)
    return f"{count} letter{'s' * (count != 1)}; " if count else ""
