"""The double with a kubelet, to try things by hand: python -m tests.k8s KUBECONFIG [CONTEXT]."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

from tests.k8s.double import Double
from tests.k8s.kubelet import Kubelet


def main() -> None:
    double = Double()
    double.start()
    Kubelet(double)
    for name in ("node-a", "node-b"):
        double.add_node(name)
        usage = {"metadata": {"name": name}, "usage": {"cpu": "1500m", "memory": "2Gi"}}
        double.put("usage", usage)
    path = double.kubeconfig(Path(sys.argv[1]), *sys.argv[2:3])
    print(f"{double.url} by {path}", flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
