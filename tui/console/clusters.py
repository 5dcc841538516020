"""Opens the clusters of the context file for the console, and remembers what was written to each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from tui.console.contexts import Context
from tui.errors import ClusterError
from tui.link.client import ClusterClient
from tui.link.cluster_source import ClusterSource
from tui.link.state import LastIndex
from tui.link.target import Cluster, Folders, context_names, from_context, read_context, where_of
from tui.operator.keep import Keep
from tui.source import Source


class Clusters:
    """The cluster that was asked for, and those that have a name. Raises ClusterError where the file is damaged."""

    def __init__(self, asked: Cluster, folders: Folders) -> None:
        self._folders = folders
        self._file: Mapping[str, Any] = read_context(folders.context)
        self._opened: list[tuple[ClusterClient, LastIndex]] = []
        named = {name: where_of(name, self._file) for name in context_names(self._file)}
        self.current = next((name for name in named if self._is(name, asked)), asked.name)
        self.contexts: list[Context] = []
        if self.current not in named:
            self.contexts.append(Context(self.current, "", lambda: self._open(asked)))
        self.contexts += [Context(name, where, partial(self._open_named, name)) for name, where in named.items()]

    def open(self) -> tuple[Source, Keep]:
        """The one that was asked for."""
        return next(one for one in self.contexts if one.name == self.current).open()

    def remember(self) -> None:
        """Keep how far each was written, for the next command."""
        for client, last in self._opened:
            last.raise_to(client.min_index)

    def _is(self, name: str, asked: Cluster) -> bool:
        try:
            return from_context(name, self._file).key == asked.key
        except ClusterError:
            return False

    def _open_named(self, name: str) -> tuple[Source, Keep]:
        return self._open(replace(from_context(name, self._file), name=name))

    def _open(self, cluster: Cluster) -> tuple[Source, Keep]:
        last = LastIndex(self._folders.state, cluster.key)
        client = ClusterClient(cluster.targets, cluster.secret, min_index=last.read())
        self._opened.append((client, last))
        return ClusterSource(client, cluster.name), Keep(self._folders.state, cluster.key)
