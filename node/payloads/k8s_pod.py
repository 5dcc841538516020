"""Parts of a pod that a k8s_job task may name: what it tolerates, what it mounts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

from node.payloads.reading import BadPayload, Payload

DNS_NAME = re.compile(r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*")
KEY = re.compile(r"(?:[a-z0-9](?:[-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
VALUE = re.compile(r"(?:[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
QUANTITY = re.compile(r"\+?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[numkMGTPE]|[KMGTPE]i|[eE][-+]?[0-9]{1,2})?")
DATA_KEY = re.compile(r"[-._A-Za-z0-9]{1,253}")
ITEMS = 64
NAME_CHARS = 253

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_MODE = re.compile(r"0[0-7]{3}")
_PATH_CHARS = 4096
_DAY_S = 86_400

Quantity = str | int | float


class Toleration(Payload, frozen=True):
    """As in a pod."""

    key: str = ""  # empty with Exists: every taint
    operator: Literal["Equal", "Exists"] = "Equal"
    value: str = ""
    effect: Literal["", "NoSchedule", "PreferNoSchedule", "NoExecute"] = ""  # empty = all
    toleration_seconds: int | None = None  # of NoExecute; None = for ever

    def check_as(self, where: str) -> None:
        """Raises BadPayload."""
        if self.key and not KEY.fullmatch(self.key):
            raise BadPayload(f"{where}.key: {self.key[:100]!r} is no key of a taint.")
        if self.operator == "Equal" and not self.key:
            raise BadPayload(f"{where}.key is missing; to tolerate every taint set operator to Exists.")
        if not VALUE.fullmatch(self.value) or (self.value and self.operator == "Exists"):
            raise BadPayload(f"{where}.value: {self.value[:100]!r} is no value of a taint, and Exists takes none.")
        seconds = self.toleration_seconds
        if seconds is not None and (self.effect != "NoExecute" or not 0 <= seconds <= 365 * _DAY_S):
            raise BadPayload(
                f"{where}.toleration_seconds goes from 0 to {365 * _DAY_S}, with the effect NoExecute."
            )


class EmptyDir(Payload, frozen=True):
    """A folder that goes with the pod."""

    medium: Literal["", "Memory"] = ""
    size_limit: Quantity = ""


class Volume(Payload, frozen=True):
    """What the container finds at `path`: one of config_map, secret, claim and empty_dir."""

    path: str
    config_map: str = ""
    secret: str = ""
    claim: str = ""  # a PersistentVolumeClaim
    empty_dir: EmptyDir | None = None
    sub_path: str = ""  # what of it; empty = all
    read_only: bool = False
    items: Mapping[str, str] = {}  # keys of a config_map or secret, and below `path` where each is; none = all
    mode: str = ""  # of their files, such as 0400
    optional: bool = False  # whether they may be missing

    def check_as(self, where: str) -> None:
        """Raises BadPayload."""
        path = self.path
        if not path.startswith("/") or ":" in path or _is_odd(path):
            raise BadPayload(f"{where}.path: {path[:100]!r} is no absolute path without a colon.")
        given = [name for name in ("config_map", "secret", "claim") if getattr(self, name)]
        sources = given + (["empty_dir"] if self.empty_dir is not None else [])
        if len(sources) != 1:
            raise BadPayload(
                f"{where} takes one of config_map, secret, claim and empty_dir, it has {len(sources)}."
            )
        if given:
            check_name(f"{where}.{given[0]}", getattr(self, given[0]))
        if self.sub_path and not _is_below(self.sub_path):
            raise BadPayload(f"{where}.sub_path: {self.sub_path[:100]!r} is no path below, without '..'.")
        if (self.items or self.mode or self.optional) and not (self.config_map or self.secret):
            raise BadPayload(f"{where}: items, mode and optional are for a config_map or a secret.")
        if self.mode and not _MODE.fullmatch(self.mode):
            raise BadPayload(f"{where}.mode: {self.mode[:100]!r} is no mode, such as 0400.")
        if len(self.items) > ITEMS:
            raise BadPayload(f"{where}.items: it has {len(self.items)} items, the limit is {ITEMS}.")
        for key, place in self.items.items():
            if not DATA_KEY.fullmatch(key) or not _is_below(place):
                raise BadPayload(f"{where}.items: {key[:100]}={place[:100]} is no key with a path below.")
        limit = self.empty_dir.size_limit if self.empty_dir is not None else ""
        if limit != "" and not QUANTITY.fullmatch(str(limit)):
            raise BadPayload(f"{where}.empty_dir.size_limit: {str(limit)[:100]!r} is no quantity, such as 1Gi.")

    @property
    def source(self) -> dict[str, object]:
        """As a volume of a pod has it."""
        if self.claim:
            return {"persistentVolumeClaim": {"claimName": self.claim, "readOnly": self.read_only}}
        if self.empty_dir is not None:
            limit = str(self.empty_dir.size_limit)
            named = {"medium": self.empty_dir.medium, "sizeLimit": limit}
            return {"emptyDir": {name: value for name, value in named.items() if value}}
        rest: dict[str, object] = {}
        if self.items:
            rest["items"] = [{"key": key, "path": place} for key, place in self.items.items()]
        if self.mode:
            rest["defaultMode"] = int(self.mode, 8)
        if self.optional:
            rest["optional"] = True
        if self.secret:
            return {"secret": {"secretName": self.secret, **rest}}
        return {"configMap": {"name": self.config_map, **rest}}


def check_name(field: str, name: str) -> None:
    """Raises BadPayload."""
    if len(name) > NAME_CHARS or not DNS_NAME.fullmatch(name):
        raise BadPayload(f"{field}: {name[:100]!r} is no name of an object in Kubernetes.")


def check_parts(tolerations: tuple[Toleration, ...], volumes: tuple[Volume, ...]) -> None:
    """Raises BadPayload."""
    for field, count in (("tolerations", len(tolerations)), ("volumes", len(volumes))):
        if count > ITEMS:
            raise BadPayload(f"{field}: it has {count} items, the limit is {ITEMS}.")
    for number, toleration_ in enumerate(tolerations):
        toleration_.check_as(f"tolerations[{number}]")
    for number, volume in enumerate(volumes):
        volume.check_as(f"volumes[{number}]")
    paths = [volume.path.rstrip("/") for volume in volumes]
    if twice := next((path for path in paths if paths.count(path) > 1), None):
        raise BadPayload(f"volumes: {twice[:100]!r} is the path of two.")


def toleration(part: Toleration) -> dict[str, object]:
    """As a pod has it."""
    named = {"key": part.key, "operator": part.operator, "value": part.value, "effect": part.effect}
    found: dict[str, object] = {name: value for name, value in named.items() if value}
    if part.toleration_seconds is not None:
        found["tolerationSeconds"] = part.toleration_seconds
    return found


def _is_odd(text: str) -> bool:
    return len(text) > _PATH_CHARS or bool(_CONTROL.search(text))


def _is_below(path: str) -> bool:
    return bool(path) and not path.startswith("/") and ".." not in path.split("/") and not _is_odd(path)
