"""Generate the Python code of cortex.v1 beside its sources, or into another root for comparison."""

import subprocess
import sys
from pathlib import Path

PROTO_ROOT = Path(__file__).resolve().parent
SERVICES = ("cluster", "worker", "raft")


def generate(out: Path) -> None:
    """Write messages, stubs and their types under `out`; raises CalledProcessError with protoc's words."""
    sources = sorted(PROTO_ROOT.glob("cortex/v1/*.proto"))
    services = [source for source in sources if source.stem in SERVICES]
    protoc = [sys.executable, "-m", "grpc_tools.protoc", f"-I{PROTO_ROOT}"]
    plugins = [
        f"--plugin=protoc-gen-{name}={Path(sys.executable).parent / f'protoc-gen-{name}'}" for name in ("mypy", "mypy_grpc")
    ]
    messages = [f"--python_out={out}", f"--mypy_out=quiet:{out}"]
    stubs = [f"--grpc_python_out={out}", f"--mypy_grpc_out=quiet:{out}"]
    subprocess.run([*protoc, *plugins, *messages, *map(str, sources)], check=True)
    subprocess.run([*protoc, *plugins, *stubs, *map(str, services)], check=True)


if __name__ == "__main__":
    generate(Path(sys.argv[1]) if len(sys.argv) > 1 else PROTO_ROOT)
