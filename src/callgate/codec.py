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
import operator
import pathlib
import re
import sys
import uuid
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, MappingView
from collections.abc import Set as AbstractSet
from typing import Any, TypeAlias, TypeGuard, cast

__all__ = [
    "DEPTH",
    "JSON",
    "NotJSON",
    "decode",
    "digest",
    "encode",
    "encode_any",
    "is_array",
    "is_object",
    "quote",
    "recode",
]

JSON: TypeAlias = Any
"""A JSON value: None, bool, int, float, str, list of JSON, dict of str to JSON."""

DEPTH = 100
"""Levels of nesting a value may have."""

DIGITS = 4300
"""Digits of an integer: the time that parsing takes grows with their square."""

_PIECE = 1 << 20
_SCALARS = {str, int, float, bool, type(None)}
_NESTING = {dict, list}
_encoder = json.JSONEncoder(sort_keys=True, allow_nan=False, separators=(",", ":"), check_circular=False)
_quote = json.encoder.encode_basestring_ascii
_PAIRED = re.compile(r"(?:[^\\]++|\\[^u]|\\u(?!d[89a-f])|\\ud[89ab]..\\ud[c-f])*+")
"""Canonical text without lone surrogates."""
_LONE = "text holds a lone surrogate; decode it with errors='replace' first"


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

    pydantic models, dataclasses, tuples, sets (sorted by their text), views of dicts, dates, UUIDs, decimals, enums,
    bytes (base64), numpy and pandas values become JSON values; NaN and Infinity become null, as in pandas and
    pydantic; keys that are no strings and anything unknown become their text.

    Raises:
        NotJSON: if the value nests deeper than `DEPTH`, contains itself, holds a lone surrogate or an integer of
            more than 4,300 digits, would lose data because two keys have the same text, or fails to convert itself.
    """
    return _dump(value, refuse=False)


def decode(text: str | bytes) -> JSON:
    """Parse JSON text from an untrusted side. What it returns still has to pass `recode` or `encode`.

    Raises:
        NotJSON: for text that is no JSON, or that names NaN or Infinity.
    """
    try:
        text = text if isinstance(text, str) else text.decode()
        value, end = (_decoder if _bounded() else _careful_decoder).raw_decode(text)
    except RecursionError:
        raise NotJSON(f"nested deeper than {DEPTH} levels") from None
    except ValueError as error:
        raise NotJSON(f"not JSON: {error}") from None
    if end != len(text):
        raise NotJSON("not JSON: something follows the value")
    return value


def recode(value: JSON) -> str:
    """Return the canonical text of what `decode` returned: `encode` for a value whose types are known.

    Raises:
        NotJSON: as `encode`.
    """
    level: list[JSON] = [value] if type(value) in _NESTING else []
    depth = 1
    while level:  # all the containers of one depth
        if depth > DEPTH:
            raise NotJSON(f"nested deeper than {DEPTH} levels")
        inside: Iterator[Iterable[JSON]] = (one.values() if is_object(one) else one for one in level)
        level = [item for items in inside for item in items if type(item) in _NESTING]
        depth += 1
    text = _text(value, refuse=True)
    if "\\ud" in text and _PAIRED.fullmatch(text) is None:  # decoding joins pairs, so the text shows the lone ones
        raise NotJSON(_LONE)
    return text


def is_object(value: JSON) -> TypeGuard[dict[str, JSON]]:
    """Say whether a JSON value is an object."""
    return isinstance(value, dict)


def is_array(value: JSON) -> TypeGuard[list[JSON]]:
    """Say whether a JSON value is an array."""
    return isinstance(value, list)


def digest(text: str) -> str:
    """Return the SHA-256 of canonical text, in hexadecimal."""
    if len(text) <= _PIECE:
        return hashlib.sha256(text.encode("ascii")).hexdigest()
    found = hashlib.sha256()
    for start in range(0, len(text), _PIECE):  # no second copy of a large text
        found.update(text[start : start + _PIECE].encode("ascii"))
    return found.hexdigest()


def quote(text: str) -> str:
    """Return the JSON text of a string that holds no lone surrogate."""
    return _quote(text)


def _refuse_constant(name: str) -> float:
    raise NotJSON(f"{name} is not JSON")


def _short_integer(digits: str) -> int:
    if len(digits.lstrip("-")) > DIGITS:
        raise NotJSON(f"an integer of more than {DIGITS:,} digits")
    return int(digits)


def _bounded() -> bool:
    """Say whether CPython itself refuses integers of more than `DIGITS` digits; a process may lift that."""
    return 0 < sys.get_int_max_str_digits() <= DIGITS


_decoder = json.JSONDecoder(parse_constant=_refuse_constant)  # made once: it costs more than parsing a small text
_careful_decoder = json.JSONDecoder(parse_constant=_refuse_constant, parse_int=_short_integer)


def _dump(value: object, *, refuse: bool) -> str:
    plain = _plain(value, refuse, 1)
    text = _text(plain, refuse)
    if not _bounded():
        _careful_decoder.raw_decode(text)
    if "\\ud" in text:
        try:
            json.dumps(plain, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise NotJSON(_LONE) from None
    return text


def _text(plain: JSON, refuse: bool) -> str:
    try:
        return _encoder.encode(plain)
    except ValueError as error:
        if "Out of range float" not in str(error):
            raise NotJSON(str(error)) from None
    if refuse:
        raise NotJSON("NaN and Infinity are not JSON; pass None or a string")
    return _text(_finite(plain), refuse=True)


def _plain(value: Any, refuse: bool, depth: int) -> JSON:
    """Return value built of plain JSON types only; the same object where it already is."""
    kind = cast("type[Any]", type(value))
    if kind in _SCALARS:
        return value
    if depth > DEPTH:
        raise NotJSON(f"nested deeper than {DEPTH} levels, or holds itself")
    if kind is dict:
        if set(map(type, value)) - {str}:
            value = _text_keys(value, refuse)
        if set(map(type, value.values())) <= _SCALARS:
            return value
        items = {key: _plain(item, refuse, depth + 1) for key, item in value.items()}
        return value if all(map(operator.is_, items.values(), value.values())) else items
    if kind is list or kind is tuple:
        if set(map(type, value)) <= _SCALARS:
            return value
        items = [_plain(item, refuse, depth + 1) for item in value]
        return value if all(map(operator.is_, items, value)) else items
    if issubclass(kind, AbstractSet) and not issubclass(kind, MappingView):
        return sorted((_plain(item, refuse, depth + 1) for item in value), key=lambda item: _text(item, refuse))
    try:
        simpler = _simpler(value, refuse)
    except (NotJSON, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001 - whatever a foreign type's own conversion raises
        raise NotJSON(f"{kind.__name__} does not turn into JSON: {type(error).__name__}") from None
    return _plain(simpler, refuse, depth + 1)


def _text_keys(value: dict[Any, Any], refuse: bool) -> dict[str, Any]:
    odd = [key for key in value if not isinstance(key, str)] if refuse else []
    if odd:
        raise NotJSON(f"the key {_brief(odd[0])} is no string; JSON has string keys only")
    renamed = {_key_text(key): item for key, item in value.items()}
    if len(renamed) < len(value):
        raise NotJSON("two keys have the same text")
    return renamed


def _key_text(key: Any) -> str:
    plain = key.value if isinstance(key, enum.Enum) else key
    return str.__str__(plain) if isinstance(plain, str) else str(plain)


def _brief(key: Any) -> str:
    shown = repr(key)
    return shown if len(shown) <= 100 else f"{shown[:97]}..."


def _simpler(value: Any, refuse: bool) -> Any:
    """Return the next simpler form of a value that is no plain JSON type."""
    typed: object = value
    if isinstance(typed, enum.Enum):
        return value.value
    if isinstance(typed, str):
        return str.__str__(typed)
    if isinstance(typed, int | float):
        return int(typed) if isinstance(typed, int) else float(typed)
    if isinstance(typed, datetime.datetime | datetime.date | datetime.time):
        return typed.isoformat() if value == value else None  # pandas' NaT is the datetime unequal to itself
    if isinstance(typed, datetime.timedelta):
        return typed.total_seconds()
    if isinstance(typed, uuid.UUID | decimal.Decimal | pathlib.PurePath):
        return str(typed)
    if isinstance(typed, bytes | bytearray | memoryview):
        return base64.b64encode(value).decode("ascii")
    if isinstance(typed, Mapping):
        return dict(value)
    if isinstance(typed, range | tuple | list | deque | MappingView):
        return list(value)
    if dataclasses.is_dataclass(typed) and not isinstance(typed, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(typed)}
    if callable(getattr(cast("type[Any]", type(value)), "model_dump", None)):
        return value.model_dump(mode="json")
    return _of_library(value, refuse)


def _of_library(value: Any, refuse: bool) -> Any:
    """Do the same for numpy and pandas by their methods, so that neither is imported here."""
    library, name = type(value).__module__.partition(".")[0], type(value).__name__
    if library == "pandas" and name in ("NAType", "DataFrame", "Series"):
        return _of_pandas(value, name)
    if library == "numpy" and getattr(getattr(value, "dtype", None), "kind", "") in ("M", "m"):
        # as nanoseconds they would become bare integers
        return value.astype(f"{value.dtype.kind}8[us]").tolist()
    if library in ("numpy", "pandas") and callable(getattr(value, "tolist", None)):
        simpler = value.tolist()
        return simpler if type(simpler) is not type(value) else float(value)  # longdouble has no simpler form
    if refuse:
        raise NotJSON(f"{name} is not JSON; pass a string, number, bool, None, list or dict")
    return str(value)


def _of_pandas(value: Any, name: str) -> Any:
    if name == "NAType":
        return None
    index = value.index  # without a name, whole numbers are row numbers: filtering and sorting leave them behind
    numbered = index.nlevels == 1 and index.name is None and index.dtype.kind in ("i", "u")
    if name == "DataFrame":
        framed = value if numbered else value.reset_index()
        if not framed.columns.is_unique:
            raise NotJSON("two columns have the same name; rename one")
        return framed.to_dict("records")
    if numbered:
        return value.tolist()
    labelled: dict[str, Any] = {str(key): item for key, item in value.items()}
    if len(labelled) < len(value):
        raise NotJSON("two labels of the index have the same text; use reset_index() first")
    return labelled


def _finite(value: JSON) -> JSON:
    kind = cast("type[Any]", type(value))
    if kind is float:
        return value if math.isfinite(value) else None
    if kind is dict:
        return {key: _finite(item) for key, item in value.items()}
    if kind is list or kind is tuple:
        return [_finite(item) for item in value]
    return value
