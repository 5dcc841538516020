"""What a k8s_job task carries: the Job that a cluster is to run."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

from node.payloads.k8s_pod import (
    DATA_KEY,
    ITEMS,
    KEY,
    QUANTITY,
    VALUE,
    Quantity,
    Toleration,
    Volume,
    check_name,
    check_parts,
)
from node.payloads.reading import BadPayload, Payload

TTL_S = 3600
CAPABILITY = "k8s:"
"""Before the name of a context: what a node has that reaches it."""
OWN_LABELS = "cortex/"

# A Job that is gone before its end was seen says nothing of it.
_TTL_LEAST_S = 60
_YEAR_S = 365 * 24 * 3600
_CONTEXT_CHARS = 190
_IMAGE_CHARS = 512
_ARGUMENT_CHARS = 128 * 1024
_GPUS = 64
_DNS_LABEL = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?")
_VARIABLE = re.compile(r"[-._A-Za-z][-._A-Za-z0-9]{0,252}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\u2028\u2029]")

Words = tuple[str, ...]


class K8sJob(Payload, frozen=True):
    image: str
    context: str = ""  # of the kubeconfig; empty = the default of the machine that submits it
    namespace: str = ""  # empty = that of the context
    command: Words = ()  # in the place of the image's entrypoint; also what stands after -- on the command line
    args: Words = ()  # for the command, or the image's entrypoint
    requests: Mapping[str, Quantity] = {}  # by resource: {"cpu": "500m", "memory": "1Gi"}
    limits: Mapping[str, Quantity] = {}
    gpu: int = 0
    gpu_resource: str = "nvidia.com/gpu"
    node_selector: Mapping[str, str] = {}
    service_account: str = ""
    labels: Mapping[str, str] = {}
    tolerations: tuple[Toleration, ...] = ()
    volumes: tuple[Volume, ...] = ()
    env_secrets: Words = ()  # Secrets of the namespace, each key of which becomes a variable
    env_config_maps: Words = ()  # likewise
    secret_env: Mapping[str, str] = {}  # variable: SECRET/KEY
    pull_secrets: Words = ()
    pull_policy: Literal["", "Always", "IfNotPresent", "Never"] = ""
    ttl_s: int = TTL_S  # after its end, until the cluster removes the Job
    schedule_timeout_s: float = 0.0  # how long its pod may wait for a node; 0 = as long as the task has time

    def check(self) -> None:
        _check_image(self.image)
        _plain("context", self.context, _CONTEXT_CHARS)
        if self.namespace and not _DNS_LABEL.fullmatch(self.namespace):
            raise BadPayload(f"namespace: {self.namespace[:100]!r} is no name of a namespace.")
        for field, words in (("command", self.command), ("args", self.args)):
            if sum(map(len, words)) > _ARGUMENT_CHARS or any("\0" in word for word in words):
                raise BadPayload(f"{field}: it is longer than {_ARGUMENT_CHARS} characters, or has a NUL.")
        for field, amounts in (("requests", self.requests), ("limits", self.limits)):
            _check_amounts(field, amounts)
        for field, pairs in (("node_selector", self.node_selector), ("labels", self.labels)):
            _check_pairs(field, pairs)
        if own := next((key for key in self.labels if key.startswith(OWN_LABELS)), None):
            raise BadPayload(f"labels: {own[:100]!r} belongs to Cortex.")
        _check_names("service_account", (self.service_account,) if self.service_account else ())
        _check_names("env_secrets", self.env_secrets)
        _check_names("env_config_maps", self.env_config_maps)
        _check_secret_env(self.secret_env)
        check_parts(self.tolerations, self.volumes)
        _check_names("pull_secrets", self.pull_secrets)
        if not 0 <= self.gpu <= _GPUS:
            raise BadPayload(f"gpu: it is {self.gpu}, it goes from 0 to {_GPUS}.")
        if not KEY.fullmatch(self.gpu_resource):
            raise BadPayload("gpu_resource: it is no name of a resource, such as nvidia.com/gpu.")
        if not _TTL_LEAST_S <= self.ttl_s <= _YEAR_S:
            raise BadPayload(f"ttl_s: it is {self.ttl_s}, it goes from {_TTL_LEAST_S} to {_YEAR_S}.")
        if not 0 <= self.schedule_timeout_s <= _YEAR_S:
            raise BadPayload(f"schedule_timeout_s: it is {self.schedule_timeout_s:g}, it goes from 0 to {_YEAR_S}.")


def _check_image(image: str) -> None:
    _plain("image", image, _IMAGE_CHARS)
    if not image or image != "".join(image.split()):
        raise BadPayload("image: it is empty or has a space. Write it as registry/name:tag.")


def _plain(field: str, text: str, limit: int) -> None:
    if len(text) > limit:
        raise BadPayload(f"{field}: it has {len(text)} characters, the limit is {limit}.")
    if _CONTROL.search(text):
        raise BadPayload(f"{field}: it has a control character.")


def _check_amounts(field: str, amounts: Mapping[str, Quantity]) -> None:
    if len(amounts) > ITEMS:
        raise BadPayload(f"{field}: it has {len(amounts)} items, the limit is {ITEMS}.")
    for name, amount in amounts.items():
        if not KEY.fullmatch(name):
            raise BadPayload(f"{field}: {name[:100]!r} is no name of a resource, such as cpu or memory.")
        if not QUANTITY.fullmatch(str(amount)):
            raise BadPayload(f"{field}.{name[:100]}: {str(amount)[:100]!r} is no quantity, such as 500m or 1Gi.")


def _check_pairs(field: str, pairs: Mapping[str, str]) -> None:
    if len(pairs) > ITEMS:
        raise BadPayload(f"{field}: it has {len(pairs)} items, the limit is {ITEMS}.")
    for key, value in pairs.items():
        if not KEY.fullmatch(key) or not VALUE.fullmatch(value):
            raise BadPayload(f"{field}: {key[:100]}={value[:100]} cannot be a label in Kubernetes.")


def _check_names(field: str, names: Words) -> None:
    if len(names) > ITEMS:
        raise BadPayload(f"{field}: it has {len(names)} items, the limit is {ITEMS}.")
    for name in names:
        check_name(field, name)


def _check_secret_env(variables: Mapping[str, str]) -> None:
    if len(variables) > ITEMS:
        raise BadPayload(f"secret_env: it has {len(variables)} items, the limit is {ITEMS}.")
    for name, place in variables.items():
        if not _VARIABLE.fullmatch(name) or name.startswith("CORTEX_"):
            raise BadPayload(f"secret_env: {name[:100]!r} is no name of a variable that a task may set.")
        secret, slash, key = place.partition("/")
        if not slash or not DATA_KEY.fullmatch(key):
            raise BadPayload(f"secret_env.{name[:100]}: {place[:100]!r} is not written as SECRET/KEY.")
        check_name(f"secret_env.{name[:100]}", secret)
