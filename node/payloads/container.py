"""The payload of a container task: the image, and how it is run. Its command stands in the spec, as for shell."""

from __future__ import annotations

import re
from typing import Literal

import msgspec

from node.payloads.reading import BadPayload, Payload

IMAGE_CHARS = 400
WORDS_LIMIT = 1000
WORD_BYTES = 128 * 1024 - 1
PATH_CHARS = 4096
MOUNTS_LIMIT = 50
LABELS_LIMIT = 100
LABEL_CHARS = 1000
CPUS_LIMIT = 4096.0
PIDS_LIMIT = 4_194_304
MEMORY_LEAST_BYTES = 6 * 1024 * 1024  # what Docker insists on
MEMORY_LIMIT_BYTES = 1 << 50
GPUS_LIMIT = 64
OUR_LABELS = "cortex."

_IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]*")
_NETWORK = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,63})?")
_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._/-]{0,126}[A-Za-z0-9])?")
_GPUS = re.compile(r"all|[A-Za-z0-9-]{1,64}(,[A-Za-z0-9-]{1,64}){0,63}")
_SIZE = re.compile(r"(\d{1,16}(?:\.\d{1,6})?) ?(?:([KMGT])(i?))?B?", re.IGNORECASE)
_CONTROLS = re.compile("[\x00-\x1f\x7f]")


class Mount(Payload, frozen=True):
    """A folder or file of the node, seen in the container."""

    source: str
    target: str
    read_only: bool = False


class Container(Payload, frozen=True):
    image: str
    command: tuple[str, ...] = ()  # in the place of the image's entry point
    args: tuple[str, ...] = ()  # before what the task's own command line adds
    mounts: tuple[Mount, ...] = ()
    labels: dict[str, str] = msgspec.field(default_factory=dict)
    memory: int | str = 0  # bytes, or as 512MB or 2GiB; 0 = what the task requests
    cpus: float = 0.0  # cores; 0 = what the task requests
    pids: int = 0  # processes and threads; 0 = the engine's default
    gpu: int | str = 0  # how many, "all", or devices with commas between; 0 = what the task requests
    pull: Literal["always", "missing", "never"] = "missing"
    network: str = ""  # empty = as configured on the node
    user: int | str = ""  # name or number, and group after a colon
    workdir: str = ""
    read_only: bool = False  # but for /tmp
    init: bool = False  # a small init that passes signals on and reaps

    @property
    def memory_bytes(self) -> int:
        return size_bytes("memory", self.memory)

    def check(self) -> None:
        _check_image(self.image)
        _check_words("command", self.command)
        _check_words("args", self.args)
        if self.command and not self.command[0]:
            raise BadPayload("command[0] is empty, it is the program.")
        _check_mounts(self.mounts)
        _check_labels(self.labels)
        if memory := self.memory_bytes:
            _within("memory", memory, MEMORY_LEAST_BYTES, MEMORY_LIMIT_BYTES)
        if self.cpus:
            _within("cpus", self.cpus, 0.01, CPUS_LIMIT)
        _within("pids", self.pids, 0, PIDS_LIMIT)
        if isinstance(self.gpu, int):
            _within("gpu", self.gpu, 0, GPUS_LIMIT)
        elif not _GPUS.fullmatch(self.gpu):
            raise BadPayload(f"gpu is {self.gpu[:100]!r}, it is a number, all, or devices with commas between.")
        if self.network and not _NETWORK.fullmatch(self.network):
            raise BadPayload(f"network is {self.network[:100]!r}, it is none, host or the name of a network.")
        if self.user != "" and not _USER.fullmatch(str(self.user)):
            raise BadPayload(
                f"user is {str(self.user)[:100]!r}, it is a name or number, and a group after a colon."
            )
        if self.workdir:
            _check_path("workdir", self.workdir)


def size_bytes(field: str, value: int | str) -> int:
    """Raises BadPayload."""
    if isinstance(value, int):
        return value
    found = _SIZE.fullmatch(value.strip())
    if found is None:
        raise BadPayload(f"{field} is {value[:100]!r}, it is a number of bytes, or as 512MB or 2GiB.")
    number, unit, binary = found.groups()
    factor = (1024 if binary else 1000) ** (" KMGT".index(unit.upper()) if unit else 0)
    return int(float(number) * factor)


def _check_image(image: str) -> None:
    if not image:
        raise BadPayload("image is empty, name one, such as docker.io/library/alpine:3.")
    if len(image) > IMAGE_CHARS:
        raise BadPayload(f"image has {len(image)} characters, the limit is {IMAGE_CHARS}.")
    if not _IMAGE.fullmatch(image):
        raise BadPayload(f"image is {image[:100]!r}, which is no name of an image.")


def _check_words(field: str, words: tuple[str, ...]) -> None:
    if len(words) > WORDS_LIMIT:
        raise BadPayload(f"{field} has {len(words)} words, the limit is {WORDS_LIMIT}.")
    for number, word in enumerate(words):
        if "\0" in word:
            raise BadPayload(f"{field}[{number}] has a NUL byte.")
        if len(word.encode()) > WORD_BYTES:
            raise BadPayload(f"{field}[{number}] is longer than the kernel's limit of {WORD_BYTES} bytes.")


def _check_mounts(mounts: tuple[Mount, ...]) -> None:
    if len(mounts) > MOUNTS_LIMIT:
        raise BadPayload(f"mounts has {len(mounts)} items, the limit is {MOUNTS_LIMIT}.")
    targets: set[str] = set()
    for number, mount in enumerate(mounts):
        _check_path(f"mounts[{number}].source", mount.source)
        _check_path(f"mounts[{number}].target", mount.target)
        target = mount.target.rstrip("/")
        if not target:
            raise BadPayload(f"mounts[{number}].target is the container's root.")
        if target in targets:
            raise BadPayload(f"mounts has the target {target[:200]} twice.")
        targets.add(target)


def _check_path(field: str, path: str) -> None:
    if len(path) > PATH_CHARS:
        raise BadPayload(f"{field} has {len(path)} characters, the limit is {PATH_CHARS}.")
    if not path.startswith("/") or ".." in path.split("/"):
        raise BadPayload(f"{field} is {path[:200]!r}, it is an absolute path without `..`.")
    # What separates the parts of a mount on the engines' command lines.
    if _CONTROLS.search(path) or any(char in path for char in ',:"'):
        raise BadPayload(f"{field} is {path[:200]!r}; no engine takes commas, colons, quotes or controls in it.")


def _check_labels(labels: dict[str, str]) -> None:
    if len(labels) > LABELS_LIMIT:
        raise BadPayload(f"labels has {len(labels)} items, the limit is {LABELS_LIMIT}.")
    for name, value in labels.items():
        if not _LABEL.fullmatch(name):
            raise BadPayload(f"labels has the name {name[:100]!r}; use letters, digits and . _ / - between them.")
        if name.lower().startswith(OUR_LABELS):
            raise BadPayload(f"labels has the name {name!r}; those that begin with {OUR_LABELS} belong to Cortex.")
        if len(value) > LABEL_CHARS or _CONTROLS.search(value):
            raise BadPayload(f"The label {name} is longer than {LABEL_CHARS} characters, or has controls.")


def _within(field: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise BadPayload(f"{field} is {value}, it goes from {low} to {high}.")
