"""Any message of OTLP: every field that opentelemetry-proto knows, and fields that it does not."""

from __future__ import annotations

import math
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from hypothesis import strategies as st
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

_INTEGERS = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
    FieldDescriptor.CPPTYPE_ENUM: (-(2**31), 2**31 - 1),
}
_DEPTH_MAX = 8
_SELDOM = st.sampled_from((True, True, True, False))
keys = st.sampled_from(("", "a", "b", "service.name", "perfmon.slow", "exception.type", "@bytes", "@double", "@"))
words = st.text(st.characters(exclude_categories=("Cs",)), max_size=8)
texts = st.one_of(*[keys, words] * 10, st.just("x" * 70_000))
"""One in twenty is longer than a row takes."""
ITEMS = frozenset(f"{above}_{signal}" for above in ("resource", "scope") for signal in ("spans", "metrics", "logs"))
ITEMS |= {"spans", "metrics", "log_records", "data_points"}
"""What a request is for, and has."""
ids = {"trace_id": 16, "span_id": 8, "parent_span_id": 8}
UNKNOWN = st.sampled_from(
    (*[b""] * 60, b"\xc0\x3e\x07", b"\xc2\x3e\x03new", b"\xc1\x3e12345678", b"\xc5\x3e1234", b"\xc2\x3e\x00")
)
"""Fields of the number 1000, of each type."""


def _scalars(field: FieldDescriptor) -> st.SearchStrategy[Any]:
    kind = field.cpp_type
    if kind in _INTEGERS:
        low, high = _INTEGERS[kind]
        return st.one_of(st.integers(low, high), st.integers(0 if low == 0 else -3, 5))
    if kind == FieldDescriptor.CPPTYPE_BOOL:
        return st.booleans()
    if kind in (FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT):
        return st.one_of(st.floats(allow_nan=False), st.just(math.nan))  # JSON knows of one NaN
    if field.type == FieldDescriptor.TYPE_STRING:
        return texts
    if field.name in ids:
        size = ids[field.name]
        return st.one_of(st.binary(min_size=size, max_size=size), st.binary(max_size=size + 1))
    return st.binary(max_size=6)


@st.composite
def messages(draw, kind: type, depth: int = 0) -> Any:
    """A message of that type with half of its fields, further down a quarter, and perhaps one that nobody knows."""
    message = kind()
    for field in message.DESCRIPTOR.fields:
        is_wanted = field.name in ITEMS
        is_left_out = not is_wanted and draw(st.booleans() if depth < 4 else _SELDOM)
        if is_left_out or (depth > _DEPTH_MAX and field.message_type is not None):
            continue
        if field.message_type is not None:
            inner = messages(field.message_type._concrete_class, depth + 1)
            if field.is_repeated:
                getattr(message, field.name).extend(draw(st.lists(inner, min_size=int(is_wanted), max_size=2)))
            else:
                getattr(message, field.name).CopyFrom(draw(inner))
                getattr(message, field.name).SetInParent()
        elif field.is_repeated:
            getattr(message, field.name).extend(draw(st.lists(_scalars(field), max_size=3)))
        else:
            setattr(message, field.name, draw(_scalars(field)))
    unknown = draw(UNKNOWN)
    if unknown and depth:
        message.MergeFromString(unknown)
    return message


def valid_ids(item: Any, number: int) -> None:
    """Give a span ids without which OTLP calls it invalid, unless it has them."""
    for name in ("trace_id", "span_id"):
        if len(getattr(item, name)) != ids[name] or not any(getattr(item, name)):
            setattr(item, name, number.to_bytes(ids[name], "big"))
    if len(item.parent_span_id) not in {0, 8}:
        item.parent_span_id = b""


@st.composite
def traces(draw) -> TracesData:
    """A request whose spans have ids."""
    data = draw(messages(TracesData))
    number = 0
    for resource in data.resource_spans:
        for scope in resource.scope_spans:
            for span in scope.spans:
                number += 1
                valid_ids(span, number)
    return data


def metrics_alone(data: Any) -> None:
    """Make each metric one of a single point, and let go of those that hold none."""
    for resource in data.resource_metrics:
        for scope in resource.scope_metrics:
            alone = []
            for metric in scope.metrics:
                kind = metric.WhichOneof("data")
                for point in getattr(metric, kind).data_points if kind else ():
                    copy = type(metric)()
                    copy.CopyFrom(metric)
                    del getattr(copy, kind).data_points[:]
                    getattr(copy, kind).data_points.append(point)
                    alone.append(copy)
            del scope.metrics[:]
            scope.metrics.extend(alone)


def items_of(data: Any, names: tuple[str, str, str]) -> list[tuple[bytes, bytes, bytes]]:
    """Each item with what stands above it, in bytes that are equal for equal messages, in order.

    An absent message and an empty one say the same (protobuf.dev/programming-guides/field_presence): what OTLP wants to
    be there is there.
    """
    found = []
    for resource in getattr(data, names[0]):
        above = without(resource, names[1], "resource")
        for scope in getattr(resource, names[1]):
            near = without(scope, names[2], "scope")
            found += [(above, near, bytes_of(item)) for item in getattr(scope, names[2])]
    return sorted(found)


def without(message: Any, name: str, present: str) -> bytes:
    bare = type(message)()
    bare.CopyFrom(message)
    bare.ClearField(name)
    getattr(bare, present).SetInParent()
    return bytes_of(bare)


def bytes_of(message: Any) -> bytes:
    copy = type(message)()
    copy.CopyFrom(message)
    if "status" in copy.DESCRIPTOR.fields_by_name:
        copy.status.SetInParent()
    return copy.SerializeToString(deterministic=True)
