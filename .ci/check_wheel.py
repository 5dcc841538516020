"""Check that a wheel holds every file of the packages, and nothing else. Usage: check_wheel.py WHEEL"""

import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = {"node": ROOT, "tui": ROOT, "cortex": ROOT / "proto"}


def main(wheel: str) -> int:
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    wanted = {
        file.relative_to(root).as_posix()
        for package, root in PACKAGES.items()
        for file in (root / package).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    for name in sorted(wanted - packed):
        print(f"missing from the wheel: {name}")
    for name in sorted(packed - wanted):
        print(f"unexpected in the wheel: {name}")
    return int(packed != wanted)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
