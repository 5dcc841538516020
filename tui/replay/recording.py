"""What a console received and which keys it was given, in a file, and a source that plays it again.

A file is MAGIC and records: length, seconds since the begin, kind, content. Values of environment variables are
left out of it, and so is what is typed where it does not show; the cluster's secret never is in what is received.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import struct
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

from google.protobuf.message import Message

from cortex.v1 import cluster_pb2, types_pb2
from tui.errors import usage
from tui.replay.player import Player, Turn
from tui.replay.pressed import LINE, MAX_TEXT_CHARS, Pressed, read
from tui.source import LinkState, Mutator, Source, SourceError, WatchItem

MAGIC = b"CORTEXR1"
HEAD = struct.Struct(">Idc")
MAX_RECORD_BYTES = 64 << 20
MAX_FILE_BYTES = 4 << 30
LEFT_OUT = b"left out of the recording"
WATCH, LINK, REPLY, KEY = b"W", b"L", b"R", b"K"
SILENT_S = 1.8
"""After so long without a word a link counts as lost; when it was recorded so, it is shown so."""


class Recording:
    """Writes records; a full disk ends the recording, not the console."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._begun_s = clock, clock()
        self._written = len(MAGIC)
        self.problem = ""
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise usage(f"{path} cannot be written: {error.strerror}.", "Name a new file.") from None
        self._file: BinaryIO | None = os.fdopen(handle, "wb")
        self._file.write(MAGIC)

    def pressed(self, one: Pressed) -> None:
        """A key, or a line that was typed."""
        self.add(KEY, one.written())

    def add(self, kind: bytes, content: bytes) -> None:
        if self._file is None:
            return
        try:
            self._file.write(HEAD.pack(len(content), self._clock() - self._begun_s, kind) + content)
            self._written += HEAD.size + len(content)
            if self._written > MAX_FILE_BYTES:
                raise OSError(0, "it has 4 GiB")
        except OSError as error:
            self.problem = f"The recording ended: {error.strerror}."
            self.close()

    def close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            try:
                file.close()
            except OSError as error:
                self.problem = f"The recording ended: {error.strerror}."


async def recorded_lines(lines: AsyncIterator[str], recording: Recording) -> AsyncIterator[str]:
    """The same lines, each of them recorded."""
    async for line in lines:
        recording.pressed(Pressed(LINE, line[:MAX_TEXT_CHARS], text=True))
        yield line


def records(path: Path) -> Iterator[tuple[float, bytes, bytes]]:
    """Second, kind and content of each; a torn end is left out. Raises ClusterError."""
    try:
        with open(path, "rb") as file:
            if file.read(len(MAGIC)) != MAGIC:
                raise usage(
                    f"{path} is not a recording of this version.", "Make one with `cortex console --record FILE`."
                )
            while len(head := file.read(HEAD.size)) == HEAD.size:
                size, at_s, kind = HEAD.unpack(head)
                if size > MAX_RECORD_BYTES or len(content := file.read(size)) < size:
                    return
                yield at_s, kind, content
    except OSError as error:
        raise usage(f"{path} cannot be read: {error.strerror}.", "Name a recording.") from None


def without_secrets(message: Message) -> Message:
    """A copy whose environment variables have names, but no values."""
    copy = type(message)()
    copy.CopyFrom(message)
    _strip(copy)
    return copy


def _strip(message: Message) -> None:
    if isinstance(message, types_pb2.TaskSpec):
        for variable in message.env:
            variable.value = LEFT_OUT if isinstance(variable.value, bytes) else LEFT_OUT.decode()
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        for inner in [value] if isinstance(value, Message) else value:
            _strip(inner)


def _call_key(method: str, arguments: tuple[Any, ...], options: dict[str, Any]) -> str:
    """Names a question, the same when it is played."""
    told = [_plain(one) for one in arguments] + [f"{name}={_plain(options[name])}" for name in sorted(options)]
    return hashlib.sha256("\0".join([method, *told]).encode()).hexdigest()[:16]


def _plain(value: Any) -> str:
    return value.SerializeToString(deterministic=True).hex() if isinstance(value, Message) else repr(value)


class RecordedSource:
    """A source whose every answer is recorded. Implements tui.source.Source."""

    def __init__(self, source: Source, recording: Recording) -> None:
        self._source, self.recording = source, recording

    async def watch(self) -> AsyncGenerator[WatchItem, None]:
        async for item in self._source.watch():
            if isinstance(item, LinkState):
                self.recording.add(LINK, json.dumps(asdict(item)).encode())
            else:
                self.recording.add(WATCH, without_secrets(item).SerializeToString())
            yield item

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._source, name)
        if name == "output" or not asyncio.iscoroutinefunction(found):
            return found

        async def asked(*arguments: Any, **options: Any) -> Any:
            reply = await found(*arguments, **options)
            if isinstance(reply, Message):
                head = json.dumps([name, _call_key(name, arguments, options), type(reply).__name__]).encode()
                self.recording.add(REPLY, head + b"\n" + without_secrets(reply).SerializeToString())
            return reply

        return asked


class ReplayedSource:
    """Plays a recording as its `player` is told. Implements tui.source.Source; nothing can be changed."""

    def __init__(self, path: Path, speed: float = 1.0, clock: Callable[[], float] = time.monotonic) -> None:
        self.name = f"recording {path.name}"
        self._path = path
        self._answers: dict[str, Message] = {}
        # An answer is played a moment after its question; the first ones are there from the begin.
        length_s = 0.0
        for at_s, kind, content in records(path):
            length_s = max(length_s, at_s)
            if kind == REPLY:
                self._learn(content, first=True)
        self._first = dict(self._answers)
        self.player = Player(length_s, speed, clock)

    async def watch(self) -> AsyncGenerator[WatchItem, None]:
        last: cluster_pb2.WatchReply | None = None
        last_s = 0.0
        while True:
            async for at_s, item in self._played():
                if isinstance(item, cluster_pb2.WatchReply):
                    last, last_s = item, at_s
                elif isinstance(item, LinkState):
                    last = None
                elif last is not None and at_s - last_s < SILENT_S:
                    # Time that stands still or goes slowly is no silence of the cluster.
                    at_us = last.at_us + int(max(0.0, at_s - last_s) * 1e6)
                    yield cluster_pb2.WatchReply(index=last.index, at_us=at_us, leader=last.leader, term=last.term)
                if item is not None:
                    yield item
            self._answers = dict(self._first)

    async def _played(self) -> AsyncGenerator[tuple[float, WatchItem | None], None]:
        """Seconds and what came, None while nothing does; ends when it is to begin anew."""
        player = self.player
        for at_s, kind, content in records(self._path):
            while (turn := await player.turn(at_s, frame=kind != REPLY)) is not Turn.DUE:
                if turn is Turn.BACK:
                    player.rewind()
                    return
                yield player.position_s, None
            if kind == WATCH:
                yield at_s, cluster_pb2.WatchReply.FromString(content)
            elif kind == LINK:
                yield at_s, LinkState(**json.loads(content))
            elif kind == REPLY:
                self._learn(content)
            elif kind == KEY and (one := read(content)) is not None:
                player.pressed(at_s, one)
                yield at_s, None
        yield player.length_s, LinkState(False, self.name, "The recording ends here.", over=True)
        await player.end()
        player.rewind()

    def _learn(self, content: bytes, *, first: bool = False) -> None:
        head, _, body = content.partition(b"\n")
        method, key, kind = json.loads(head)
        made = getattr(cluster_pb2, str(kind), None)
        if made is None:
            return
        for name in (key, method):
            if not first or name not in self._answers:
                self._answers[name] = made.FromString(body)

    def _like(self, method: str) -> Message | None:
        """Of lists, whose questions hold a time, the last one does; an answer about one object is of that one."""
        return self._answers.get(method) if method.startswith("list_") else None

    def mutator(self) -> Mutator:
        raise SourceError("A recording cannot be changed.", "Open the console without --replay.")

    async def output(self, request: cluster_pb2.OutputRequest) -> AsyncGenerator[cluster_pb2.OutputReply, None]:
        raise SourceError("Output is not recorded.", "Look at it in the cluster.")
        yield cluster_pb2.OutputReply()

    def __getattr__(self, name: str) -> Any:
        # Calls alone: who asks whether there is more, as a clock, is told that there is not.
        if not asyncio.iscoroutinefunction(getattr(Source, name, None)):
            raise AttributeError(name)

        async def answered(*arguments: Any, **options: Any) -> Any:
            reply = self._answers.get(_call_key(name, arguments, options)) or self._like(name)
            if reply is None:
                raise SourceError("That was not asked for while it was recorded.", "Look elsewhere.")
            return reply

        return answered
