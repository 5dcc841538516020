"""Which clusters a machine reaches: kubeconfig files, merged as kubectl merges them, or the cluster it runs in."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

IN_CLUSTER = "in-cluster"
SERVICE_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"

_FILE_BYTES = 1 << 20
_SECTIONS = {"clusters": "cluster", "contexts": "context", "users": "user"}
_PATHS = {
    "clusters": ("certificate-authority",),
    "users": ("client-certificate", "client-key", "tokenFile"),
}


class BadConfig(Exception):
    """One sentence."""


@dataclass(frozen=True, slots=True)
class Context:
    name: str
    server: str
    namespace: str


@dataclass(frozen=True, slots=True)
class Kubeconfig:
    """A merged kubeconfig whose paths are absolute."""

    document: Mapping[str, Any]
    paths: tuple[str, ...] = ()
    in_cluster: str = ""

    def again(self) -> Kubeconfig:
        """As its files are now. Raises BadConfig."""
        return load(self.paths, self.in_cluster)

    def entries(self, context: str) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        """The cluster and the user of a context, as they stand there; empty where they are not."""
        place = self._entry("contexts", context)
        return self._entry("clusters", place.get("cluster")), self._entry("users", place.get("user"))

    def with_user(self, context: str, user: Mapping[str, Any]) -> dict[str, Any]:
        """The document, with `user` in the place of the context's; as it is where that has none."""
        name = self._entry("contexts", context).get("user")
        users = [{**item, "user": dict(user)} if item["name"] == name else item for item in self.document["users"]]
        return {**self.document, "users": users}

    def _entry(self, section: str, name: object) -> Mapping[str, Any]:
        found = (item[_SECTIONS[section]] for item in self.document[section] if item["name"] == name)
        return next(found, {})

    @property
    def current(self) -> str:
        return str(self.document.get("current-context") or "")

    def contexts(self) -> dict[str, Context]:
        """Those that name a cluster which is there, by name, in their order."""
        clusters = {item["name"]: item["cluster"] for item in self.document["clusters"]}
        found: dict[str, Context] = {}
        for item in self.document["contexts"]:
            context = item["context"]
            cluster = clusters.get(context.get("cluster"))
            if cluster is not None:
                namespace = str(context.get("namespace") or "default")
                found[item["name"]] = Context(item["name"], str(cluster.get("server") or ""), namespace)
        return found


def load(paths: Sequence[str], in_cluster: str = "") -> Kubeconfig:
    """Of the files that are there; without any, of the cluster whose API is at `in_cluster` (host:port). Raises
    BadConfig when there is neither.
    """
    documents = [_read(Path(path)) for path in paths if Path(path).is_file()]
    if documents:
        return Kubeconfig(_merged(documents), tuple(paths), in_cluster)
    if in_cluster and Path(SERVICE_ACCOUNT, "token").is_file():
        return Kubeconfig(_of_service_account(in_cluster), tuple(paths), in_cluster)
    raise BadConfig(f"There is no kubeconfig at {' or '.join(paths) or 'any place'}.")


def _read(path: Path) -> dict[str, Any]:
    """One file, each section a list of named maps. Raises BadConfig."""
    try:
        with path.open("rb") as file:
            data = file.read(_FILE_BYTES + 1)
        if len(data) > _FILE_BYTES:
            raise BadConfig(f"{path} is larger than {_FILE_BYTES} bytes.")
        document = yaml.load(data, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except OSError as error:
        raise BadConfig(f"{path} cannot be read: {error.strerror}.") from None
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise BadConfig(f"{path} is no YAML: {' '.join(str(error).split())[:200]}.") from None
    if not isinstance(document, dict):
        raise BadConfig(f"{path} is no kubeconfig: it is no map.")
    for section, key in _SECTIONS.items():
        items = document[section] = document.get(section) or []
        if not isinstance(items, list) or not all(_is_item(item, key) for item in items):
            raise BadConfig(f"{path} is no kubeconfig: {section} is no list of names, each with its {key}.")
    for section, names in _PATHS.items():
        for item in document[section]:
            _make_absolute(item[_SECTIONS[section]], names, path.parent.absolute())
    return document


def _is_item(item: object, key: str) -> bool:
    return isinstance(item, dict) and isinstance(item.get("name"), str) and isinstance(item.get(key), dict)


def _make_absolute(values: dict[str, Any], names: Sequence[str], folder: Path) -> None:
    for name in names:
        if isinstance(values.get(name), str) and values[name]:
            values[name] = os.path.join(folder, values[name])
    plugin = values.get("exec")
    if isinstance(plugin, dict) and isinstance(plugin.get("command"), str) and "/" in plugin["command"]:
        plugin["command"] = os.path.join(folder, plugin["command"])


def _merged(documents: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The first file that names something decides."""
    merged: dict[str, Any] = {section: [] for section in _SECTIONS}
    for section in _SECTIONS:
        known: set[str] = set()
        for document in documents:
            for item in document[section]:
                if item["name"] not in known:
                    known.add(item["name"])
                    merged[section].append(item)
    current = (document.get("current-context") for document in documents)
    merged["current-context"] = next((name for name in current if name), "")
    return merged


def _of_service_account(address: str) -> dict[str, Any]:
    folder = Path(SERVICE_ACCOUNT)
    try:
        namespace = (folder / "namespace").read_text().strip()
    except OSError:
        namespace = "default"
    cluster = {"server": f"https://{address}", "certificate-authority": str(folder / "ca.crt")}
    return {
        "clusters": [{"name": IN_CLUSTER, "cluster": cluster}],
        "users": [{"name": IN_CLUSTER, "user": {"tokenFile": str(folder / "token")}}],
        "contexts": [
            {
                "name": IN_CLUSTER,
                "context": {"cluster": IN_CLUSTER, "user": IN_CLUSTER, "namespace": namespace},
            }
        ],
        "current-context": IN_CLUSTER,
    }
