"""What is kept, counted and shown of an output stream, however it comes and wherever its process is replaced."""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from node.supervisor.capture import HEAD_BYTES, TAIL_BYTES, Capture

TOTALS = (0, 1, 100, HEAD_BYTES - 1, HEAD_BYTES, HEAD_BYTES + 1, HEAD_BYTES + TAIL_BYTES, 30_000, 60_000)
CAPS = (0, 1, 100, HEAD_BYTES, 5_000, 20_000, 1 << 20)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path, os.O_RDONLY)
    yield fd
    os.close(fd)


def written_to(capture: Capture, data: bytes, draw: random.Random, folder: int) -> Capture:
    """Write it in pieces, and go on in another program now and then."""
    reading, writing = os.pipe2(os.O_NONBLOCK)
    capture.fd = reading
    while data:
        size = draw.choice([1, 100, 5_000, 20_000])
        os.write(writing, data[: max(size, 500)])
        data = data[max(size, 500) :]
        capture.drain()
        if draw.random() < 0.2:
            capture = Capture.restored(capture.state(), folder)
        if capture.behind and draw.random() < 0.5:
            capture.catch_up(1_000)
    os.close(writing)
    return capture


@pytest.mark.parametrize("cap", CAPS)
def test_head_tail_and_hash_are_those_of_the_stream(folder: int, cap: int) -> None:
    draw = random.Random(cap)
    for total in TOTALS:
        data = draw.randbytes(total)
        capture = written_to(Capture(-1, folder, f"{total}/out", cap), data, draw, folder)
        assert capture.close() == (
            total,
            max(0, total - cap),
            hashlib.sha256(data[:cap]).digest(),
            data[:HEAD_BYTES],
            data[HEAD_BYTES:][-TAIL_BYTES:],
        )


def test_output_without_a_file_has_its_head_and_tail(folder: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_capture: Capture) -> int:
        raise OSError(28, "No space left on device")

    data = random.Random(1).randbytes(50_000)
    with monkeypatch.context() as patched:
        patched.setattr(Capture, "_create", full)
        capture = written_to(Capture(-1, folder, "none/out", 1 << 20), data, random.Random(1), folder)
    nothing = hashlib.sha256().digest()
    assert capture.close() == (50_000, 50_000, nothing, data[:HEAD_BYTES], data[HEAD_BYTES:][-TAIL_BYTES:])


def test_what_somebody_cut_short_is_hashed_as_far_as_it_goes(folder: int, tmp_path: Path) -> None:
    capture = written_to(Capture(-1, folder, "cut/out", 1 << 20), b"x" * 5_000, random.Random(3), folder)
    again = Capture.restored(capture.state(), folder)
    (tmp_path / "cut/out").write_bytes(b"y" * 10)
    total, dropped, digest, head, tail = again.close()
    assert (total, dropped, head, tail) == (5_000, 0, b"y" * 10, b"")
    assert digest == hashlib.sha256(b"y" * 10).digest()
