"""A hypothesis strategy for any message of the contract: every field, absent, empty or filled."""

from __future__ import annotations

from typing import Any, TypeVar

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from hypothesis import strategies as st

M = TypeVar("M", bound=Message)

_UNSIGNED = (FieldDescriptor.CPPTYPE_UINT32, FieldDescriptor.CPPTYPE_UINT64)


def messages(kind: type[M]) -> st.SearchStrategy[M]:
    """Messages of `kind`; integers stay below 2^63, which is all that SQLite has."""
    fields = {item.name: _field(item) for item in kind.DESCRIPTOR.fields}
    return st.fixed_dictionaries({}, optional=fields).map(lambda values: kind(**values))


def _field(item: FieldDescriptor) -> st.SearchStrategy[Any]:
    one = _value(item)
    return st.lists(one, max_size=3) if item.is_repeated else one


def _value(item: FieldDescriptor) -> st.SearchStrategy[Any]:
    if item.message_type is not None:
        return messages(item.message_type._concrete_class)
    if item.enum_type is not None:
        return st.sampled_from(sorted(item.enum_type.values_by_number))
    if item.type == FieldDescriptor.TYPE_BYTES:
        return st.binary(max_size=20)
    kind = item.cpp_type
    if kind == FieldDescriptor.CPPTYPE_STRING:
        return st.text(max_size=12)
    if kind == FieldDescriptor.CPPTYPE_BOOL:
        return st.booleans()
    if kind == FieldDescriptor.CPPTYPE_DOUBLE:
        return st.floats()
    bits = 31 if kind in (FieldDescriptor.CPPTYPE_INT32, FieldDescriptor.CPPTYPE_UINT32) else 63
    return st.integers(0 if kind in _UNSIGNED else -(2**bits), 2**bits - 1)
