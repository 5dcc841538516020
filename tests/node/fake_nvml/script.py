"""Run with the fake library in LD_LIBRARY_PATH: plays the steps of a JSON file, prints what a Gpus part reads."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from google.protobuf.json_format import MessageToDict

from node.worker.resources.gpu import Gpus


def main() -> None:
    """Each step is [driver text, boot time in microseconds]; the output is one JSON object."""
    said: list[str] = []
    part = Gpus(said.append)
    read = []
    for text, now_us in json.loads(sys.stdin.read()):
        Path(os.environ["FAKE_NVML"]).write_text(text)
        read.append(MessageToDict(part.read(now_us), preserving_proto_field_name=True).get("gpus", []))
    print(json.dumps({"read": read, "said": said}))


if __name__ == "__main__":
    main()
