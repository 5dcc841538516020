"""bench node: what a machine can do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tui.documents import resources_view
from tui.drawing.text import clean
from tui.errors import ClusterError, usage
from tui.verbs.base import VerbGroup, emit, note, run, say, settings, verb

if TYPE_CHECKING:
    from tui.link.client import ClusterClient


@click.group(
    "bench",
    cls=VerbGroup,
    verbs={"node": "tui.verbs.bench:node"},
    context_settings={"help_option_names": ["-h", "--help"]},
)
def bench() -> None:
    """Benchmark machines of the cluster."""


@verb()
@click.argument("names", metavar="[NODE]...", nargs=-1)
def node(names: tuple[str, ...]) -> None:
    """Benchmark nodes one after the other, by default all online.

    Floating point of one core and of all, memory, and the disk of the data folder: the best of short slices, until
    they agree, in 5 to 25 s a node that slow down whatever runs there. The node keeps the result; `cortex node`
    shows it.
    """

    async def work(client: ClusterClient) -> int:
        from tui.verbs.nodes import find

        reply = await client.list_nodes()
        chosen = [find(reply, name).node for name in names] or [
            view.node for view in reply.nodes if view.node.online
        ]
        if not chosen:
            raise usage("No node is online.", "See `cortex nodes`.")
        documents, failed = [], 0
        for row in chosen:
            try:
                measured = (await client.bench_node(row.id)).benchmark
            except ClusterError as error:
                if len(chosen) == 1:
                    raise
                failed += 1
                note(f"cortex: {clean(row.id)}: {error.message} {error.remedy}")
                continue
            documents.append({"node": row.id, **resources_view.benchmark(measured)})
            if not settings().json:
                _say(row.id, documents[-1])
        if settings().json:
            emit({"nodes": documents})
        return 1 if failed else 0

    run(work)


def _say(name: str, document: resources_view.Document) -> None:
    from tui.drawing.format import size

    def line(what: str, value: str, spread: float) -> None:
        say(f"  {what:<22}{value:>14}   spread {spread:.1f} %")

    say(f"{clean(name)}:")
    line("one core", f"{document['core_flops'] / 1e9:.2f} GFLOPS", document["core_spread_percent"])
    line(
        f"all {document['cores']} cores",
        f"{document['node_flops'] / 1e9:.2f} GFLOPS",
        document["node_spread_percent"],
    )
    line("memory copies", f"{size(round(document['memory_bytes_per_s']))}/s", document["memory_spread_percent"])
    if document["write_bytes_per_s"]:
        line("disk, written", f"{size(round(document['write_bytes_per_s']))}/s", document["write_spread_percent"])
        line("disk, random reads", f"{document['read_iops']:.0f}/s", document["read_spread_percent"])
    if document["note"]:
        note(f"cortex: {clean(name)}: to be doubted, since {clean(document['note'])}")
