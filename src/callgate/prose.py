"""All that a schema says of a tool's arguments in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice

from callgate.codec import JSON, is_array, is_object
from callgate.schema import DEEPEST, MOST_PARTS, resolved

__all__ = ["all_notes"]


def all_notes(properties: Mapping[str, JSON], said: str, root: Mapping[str, JSON]) -> list[str]:
    """Return what is said of arguments and of the fields of objects: `order.lines[].sku: as on the label`.

    Args:
        properties: argument name to schema.
        said: what has been said of the tool; not said again.
        root: the schema that they are part of.
    """
    found = (note for key, schema in properties.items() for note in _notes(key, schema, root, frozenset()))
    looked_at = islice(found, MOST_PARTS)
    return list(
        dict.fromkeys(f"{' '.join(path.split())}: {text}" for path, text in looked_at if text and text not in said)
    )


def _notes(path: str, schema: JSON, root: Mapping[str, JSON], inside: frozenset[str]) -> Iterator[tuple[str, str]]:
    if not is_object(schema):
        return
    words = [schema.get("description"), None if "enum" in schema else schema.get("format"), schema.get("pattern")]
    yield path, "; ".join(" ".join(one.split()).rstrip(".") for one in words if isinstance(one, str) and one.strip())
    reference = schema.get("$ref")
    if isinstance(reference, str) and reference not in inside and len(inside) < DEEPEST:
        yield from _notes(path, resolved(reference, root), root, inside | {reference})
    for union in ("anyOf", "oneOf", "allOf"):
        for part in schema[union] if is_array(schema.get(union)) else ():
            yield from _notes(path, part, root, inside)
    yield from _notes(f"{path}[]", schema.get("items"), root, inside)
    fields = schema.get("properties")
    for key, field in fields.items() if is_object(fields) else ():
        yield from _notes(f"{path}.{key}", field, root, inside)
