"""Messages with anything in them, from a seed: what apply must survive."""

from __future__ import annotations

from random import Random

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from cortex.v1.log_pb2 import Command, Entry

_WHOLE = (0, 1, 2, 5, 7, 100, -1, (1 << 31) - 1, -(1 << 31))
_LONG = (*_WHOLE, 1 << 40, (1 << 63) - 1, -(1 << 63))
_TEXTS = (
    "",
    "n1",
    "n2",
    "t000001",
    "t000002",
    "max_queue_depth",
    "17",
    "a\0b",
    "\x1b[31m",
    "\u202e",
    "x" * 400,
    "é",
)
_BYTES = (b"", b"true", b"\0\xff", b"x" * 500)


def fill(message: Message, random: Random, depth: int = 0) -> None:
    """Set about half of the fields to something that their types allow."""
    for field in message.DESCRIPTOR.fields:
        if random.random() < (0.5 if depth < 4 else 0.9):
            continue
        if field.is_repeated:
            values = getattr(message, field.name)
            for _ in range(random.randint(0, 3)):
                if field.message_type is not None:
                    fill(values.add(), random, depth + 1)
                else:
                    values.append(_scalar(field, random))
        elif field.message_type is not None:
            inner = getattr(message, field.name)
            inner.SetInParent()
            fill(inner, random, depth + 1)
        else:
            setattr(message, field.name, _scalar(field, random))


def entry(random: Random) -> Entry:
    """An entry of up to four commands of any kind."""
    made = Entry(level=random.choice((0, 1, 1, 1, 9)), at_us=random.choice((0, 1_700_000_000_000_000, *_LONG)))
    if random.random() < 0.3:
        made.client, made.request_id = random.choice(_TEXTS), random.choice(_TEXTS)
    if random.random() < 0.2:
        fill(made.batch, random)
    for _ in range(random.randint(0, 4)):
        command = made.commands.add()
        field = random.choice([None, *Command.DESCRIPTOR.fields])
        if field is not None:
            inner = getattr(command, field.name)
            inner.SetInParent()
            fill(inner, random)
    return made


def _scalar(field: FieldDescriptor, random: Random) -> object:
    kind = field.type
    if kind == FieldDescriptor.TYPE_BOOL:
        return random.random() < 0.5
    if kind == FieldDescriptor.TYPE_STRING:
        return random.choice(_TEXTS)
    if kind == FieldDescriptor.TYPE_BYTES:
        return random.choice(_BYTES)
    if kind == FieldDescriptor.TYPE_DOUBLE:
        return random.choice((0.0, -1.5, 1e300, float("nan"), float("inf")))
    if kind in (FieldDescriptor.TYPE_UINT32, FieldDescriptor.TYPE_UINT64):
        return random.choice((0, 1, 2, 3, 4, 5, (1 << 32) - 1))
    if kind == FieldDescriptor.TYPE_INT64:
        return random.choice(_LONG)
    if kind == FieldDescriptor.TYPE_ENUM:
        return random.choice((0, 1, 2, 3, 4, 5, 9, 77, -1))
    return random.choice(_WHOLE)
