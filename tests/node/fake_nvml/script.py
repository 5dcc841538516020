"""Run with the fake library in LD_LIBRARY_PATH: plays the steps of a JSON file, prints what a Gpus part reads."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from google.protobuf.json_format import MessageToDict

from cortex.v1 import types_pb2
from node.worker.resources.gpu import Gpus
from node.worker.resources.presence import CoolDown, mark_gaming


def main() -> None:
    """Each step is [driver text, boot time in microseconds, whether a game's process runs]; the output is JSON."""
    said: list[str] = []
    part = Gpus(said.append)
    read, played = [], []
    cool_down = CoolDown()
    for text, now_us, *listed in json.loads(sys.stdin.read()):
        Path(os.environ["FAKE_NVML"]).write_text(text)
        sample = part.read(now_us)
        read.append(MessageToDict(sample, preserving_proto_field_name=True).get("gpus", []))
        marked = types_pb2.Resources(gpus=sample.gpus, gaming=any(listed))
        mark_gaming(marked, cool_down, now_us)
        played.append([marked.gaming, *(gpu.gaming for gpu in marked.gpus)])
    print(json.dumps({"read": read, "said": said, "played": played}))


if __name__ == "__main__":
    main()
