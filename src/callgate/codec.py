"""Strict canonical JSON: the one form in which values cross between tools, gate, journal and guest.

Canonical text is ASCII with sorted keys and no white space. It has string keys only, no NaN or Infinity, no lone
surrogates, integers of at most 4,300 digits (CPython's own bound for their text) and at most `DEPTH` levels. Equal
values have equal text, so a digest of the text identifies the value. The module needs only the standard library: it
also runs inside the guest.
"""

from __future__ import annotations

import base64
import dataclasses
import datetime
import decimal
import enum
import hashlib
import json
import math
import pathlib
import uuid
from collections.abc import Mapping, Set
from typing import Any, TypeAlias

__all__ = ["DEPTH", "JSON", "NotJSON", "decode", "digest", "encode", "encode_any"]

JSON: TypeAlias = Any
"""A JSON value: None, bool, int, float, str, list of JSON, dict of str to JSON."""

DEPTH = 100
"""Levels of nesting a value may have."""

_SCALARS = {str, int, float, bool, type(None)}
_encoder = json.JSONEncoder(sort_keys=True, allow_nan=False, separators=(",", ":"), check_circular=False)


class NotJSON(ValueError):
    """A value the codec does not carry. The text says which, and what to pass instead."""


def encode(value: JSON) -> str:
    """Return the canonical text of a JSON value.

    Tuples are written as lists; numbers and dates of well-known libraries as `encode_any` writes them.

    Raises:
        NotJSON: for anything JSON cannot carry, NaN and Infinity included.
    """
    return _dump(value, refuse=True)


def encode_any(value: object) -> str:
    """Return canonical text for whatever a tool returned or a program ended with.

    pydantic models, dataclasses, tuples, sets (sorted by their text), dates, UUIDs, decimals, enums,
    bytes (base64), numpy and pandas values become JSON values; NaN and Infinity become null, as in pandas and
    pydantic; keys that are no strings and anything unknown become their text.

    Raises:
        NotJSON: if the value nests deeper than `DEPTH`, contains itself, or holds a lone surrogate or an integer of
            more than 4,300 digits.
    """
    return _dump(value, refuse=False)


def decode(text: str | bytes) -> JSON:
    """Parse JSON text from an untrusted side. What it returns still has to pass `encode`.

    Raises:
        NotJSON: for text that is no JSON, or that names NaN or Infinity.
    """
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except RecursionError:
        raise NotJSON(f"nested deeper than {DEPTH} levels") from None
    except ValueError as error:
        raise NotJSON(f"not JSON: {error}") from None


def digest(text: str) -> str:
    """Return the SHA-256 of canonical text, in hexadecimal."""
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def _refuse_constant(name: str) -> float:
    raise NotJSON(f"{name} is not JSON")


def _dump(value: object, *, refuse: bool) -> str:
    plain = _plain(value, refuse, 1)
    try:
        text = _encoder.encode(plain)
    except ValueError as error:
        if "Out of range float" not in str(error):
            raise NotJSON(str(error)) from None
        if refuse:
            raise NotJSON("NaN and Infinity are not JSON; pass None or a string") from None
        text = _encoder.encode(_finite(plain))
    if "\\ud" in text:
        try:
            json.dumps(plain, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise NotJSON("text holds a lone surrogate; decode it with errors='replace' first") from None
    return text


def _plain(value: Any, refuse: bool, depth: int) -> JSON:
    """Return value built of plain JSON types only; the same object where it already is."""
    kind = type(value)
    if kind in _SCALARS:
        return value
    if depth > DEPTH:
        raise NotJSON(f"nested deeper than {DEPTH} levels, or holds itself")
    if kind is dict:
        if set(map(type, value)) - {str}:
            value = _text_keys(value, refuse)
        if set(map(type, value.values())) <= _SCALARS:
            return value
        return {key: _plain(item, refuse, depth + 1) for key, item in value.items()}
    if kind is list or kind is tuple:
        if set(map(type, value)) <= _SCALARS:
            return value
        return [_plain(item, refuse, depth + 1) for item in value]
    return _plain(_simpler(value, refuse), refuse, depth + 1)


def _text_keys(value: dict[Any, Any], refuse: bool) -> dict[str, Any]:
    odd = next((key for key in value if not isinstance(key, str)), None)
    if refuse and odd is not None:
        raise NotJSON(f"the key {odd!r} is no string; JSON has string keys only")
    renamed = {str(key.value if isinstance(key, enum.Enum) else key): item for key, item in value.items()}
    if len(renamed) < len(value):
        raise NotJSON("two keys have the same text")
    return renamed


def _simpler(value: Any, refuse: bool) -> Any:
    """Return the next simpler form of a value that is no plain JSON type."""
    if isinstance(value, enum.Enum):
        return value.value
    for plain in (str, int, float):
        if isinstance(value, plain):
            return plain.__str__(value) if plain is str else plain(value)
    if isinstance(value, datetime.datetime | datetime.date | datetime.time):
        return value.isoformat() if value == value else None  # pandas' NaT is the datetime unequal to itself
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    if isinstance(value, uuid.UUID | decimal.Decimal | pathlib.PurePath):
        return str(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Set):
        return sorted((_plain(item, refuse, 1) for item in value), key=_encoder.encode)
    if isinstance(value, range | tuple | list):
        return list(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if callable(getattr(type(value), "model_dump", None)):
        return value.model_dump(mode="json")
    return _of_library(value, refuse)


def _of_library(value: Any, refuse: bool) -> Any:
    """numpy and pandas by their methods, so that neither is imported here."""
    library = type(value).__module__.partition(".")[0]
    if library == "pandas":
        name = type(value).__name__
        if name == "NAType":
            return None
        if name == "DataFrame":
            framed = value if type(value.index).__name__ == "RangeIndex" else value.reset_index()
            return framed.to_dict("records")
        if name == "Series" and type(value.index).__name__ != "RangeIndex":
            return {str(key): item for key, item in value.items()}
    if library in ("numpy", "pandas") and callable(getattr(value, "tolist", None)):
        return value.tolist()
    if refuse:
        raise NotJSON(f"{type(value).__name__} is not JSON; pass a string, number, bool, None, list or dict")
    return str(value)


def _finite(value: JSON) -> JSON:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
