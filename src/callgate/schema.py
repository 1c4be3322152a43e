"""JSON Schema as Python types a model reads."""

from __future__ import annotations

import keyword
import re
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import NamedTuple, cast
from unicodedata import normalize

from callgate.codec import JSON, digest, encode, is_array, is_object

__all__ = ["DEEPEST", "MOST_PARTS", "Types", "default_of", "is_name", "resolved"]

MOST_PARTS = 5_000
"""Parts of one schema that are looked at: its references can make it far larger than its text."""

DEEPEST = 50
"""References that are followed one inside the other."""

_SCALARS = {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "null": "None"}
_ALIASES = {
    "dict": "object",
    "str": "string",
    "int": "integer",
    "float": "number",
    "bool": "boolean",
    "list": "array",
    "tuple": "array",
    "None": "null",
}
"""Names that hand-written schemas use in place of JSON Schema's."""
_SHOWN = frozenset(
    ("$ref", "additionalProperties", "allOf", "anyOf", "const", "default", "enum", "items", "oneOf", "prefixItems")
) | {"properties", "required", "type"}
"""Keywords that make a difference to a type as it is shown."""


class Types:
    """Turns schemas into annotations, and collects the types that those name, each once.

    An object with known fields is a TypedDict: a field with a default may be left out, and so may one that is
    `NotRequired`. Equal types of several tools are one. A reference outside the schema is `Any`.
    """

    def __init__(self) -> None:
        self._names: dict[str, str] = {}
        """Digest of a type's shape to its name."""
        self._taken: set[str] = set()
        self._lines: dict[str, str] = {}
        self._following: list[str] = []
        """References, one inside the other."""
        self._parts = 0

    @property
    def lines(self) -> list[str]:
        """The definitions, one line each."""
        return list(self._lines.values())

    def annotation(self, schema: JSON, root: Mapping[str, JSON], hint: str) -> str:
        """Return a schema as an annotation.

        Args:
            schema: a JSON Schema.
            root: the schema it is part of: references start there.
            hint: what to call it, if it needs a name and has none.
        """
        self._parts = 0
        return self._annotation(schema, root, hint)

    def _annotation(self, schema: JSON, root: Mapping[str, JSON], hint: str) -> str:
        self._parts += 1
        if not is_object(schema) or self._parts > MOST_PARTS:
            return "Never" if schema is False else "Any"
        fields = schema
        if "$ref" in fields:
            return self._referred(str(fields["$ref"]), root, hint)
        choices: JSON = fields.get("enum", [fields["const"]] if "const" in fields else None)
        if is_array(choices):
            return f"Literal[{', '.join(map(repr, choices))}]" if choices else "Never"
        for union in ("anyOf", "oneOf"):
            if is_array(fields.get(union)):
                return self._union(fields[union], root, hint)
        if is_array(fields.get("allOf")):
            return self._all_of(fields, root, hint)
        kind = fields.get("type", "object" if "properties" in fields else "array" if "items" in fields else None)
        if is_array(kind):
            return self._union([{**fields, "type": one} for one in kind], root, hint)
        return "Any" if kind is None else self._of_kind(_ALIASES.get(str(kind), str(kind)), fields, root, hint)

    def _referred(self, reference: str, root: Mapping[str, JSON], hint: str) -> str:
        found = resolved(reference, root)
        if found is None:
            return "Any"
        with self._inside(reference) as ends:
            return self._annotation(found, root, _last(reference) or hint) if ends else "Any"

    def _all_of(self, fields: Mapping[str, JSON], root: Mapping[str, JSON], hint: str) -> str:
        """Return the parts of an `allOf` as one: their fields together, of other keys the first."""
        merged: dict[str, JSON] = {key: value for key, value in fields.items() if key != "allOf"}
        with ExitStack() as stack:
            todo = fields["allOf"][::-1]
            while todo:
                part = todo.pop()
                if is_object(part) and "$ref" in part:
                    reference = str(part["$ref"])
                    part = resolved(reference, root) if stack.enter_context(self._inside(reference)) else None
                if is_object(part):
                    _add(merged, part)
                    todo.extend(part["allOf"][::-1] if is_array(part.get("allOf")) else ())
            return self._annotation(merged, root, hint)

    @contextmanager
    def _inside(self, reference: str) -> Generator[bool]:
        """Follow a reference; say whether it may end: a type with a name has ended when it comes up a second time."""
        self._following.append(reference)
        try:
            yield self._following.count(reference) <= 2 and len(self._following) <= DEEPEST
        finally:
            self._following.pop()

    def _of_kind(self, kind: str, fields: Mapping[str, JSON], root: Mapping[str, JSON], hint: str) -> str:
        if kind == "array":
            items = fields.get("prefixItems") or fields.get("items")
            if is_array(items) and items:
                return f"tuple[{', '.join(self._annotation(one, root, hint) for one in items)}]"
            return f"list[{self._annotation(items, root, _singular(hint))}]" if is_object(items) else "list"
        if kind == "object":
            if is_object(fields.get("properties")) and fields["properties"]:
                return self._typed_dict(fields, root, hint)
            values = fields.get("additionalProperties")
            return f"dict[str, {self._annotation(values, root, _singular(hint))}]" if is_object(values) else "dict"
        return _SCALARS.get(kind, "Any")

    def _union(self, schemas: list[JSON], root: Mapping[str, JSON], hint: str) -> str:
        parts = dict.fromkeys(self._annotation(one, root, hint) for one in schemas)
        return "Any" if "Any" in parts else " | ".join(parts) or "Any"

    def _typed_dict(self, fields: Mapping[str, JSON], root: Mapping[str, JSON], hint: str) -> str:
        shape = digest(encode([_shape(dict(fields)), _reachable(dict(fields), root)]))
        if (known := self._names.get(shape)) is not None:
            return known
        name = self._names[shape] = self._free(_class_name(hint, fields))
        self._lines[name] = ""  # its place is before the types it names
        named = fields.get("required")
        required = cast("Sequence[JSON]", named) if isinstance(named, list | tuple) else ()
        shown: dict[str, _Field] = {}
        for key, one in fields["properties"].items():
            shown[key] = _Field(self._annotation(one, root, key), default_of(one), key in required)
        self._lines[name] = _definition(name, shown)
        return name

    def _free(self, base: str) -> str:
        name, count = base, 1
        while name in self._taken:
            count += 1
            name = f"{base}{count}"
        self._taken.add(name)
        return name


def default_of(schema: JSON) -> str | None:
    """Return the default of a schema as Python; None if it has none."""
    return repr(schema["default"]) if is_object(schema) and "default" in schema else None


def is_name(key: str) -> bool:
    """Say whether a name can be written as one in Python, which reads it in its compatible form."""
    return key.isidentifier() and not keyword.iskeyword(key) and normalize("NFKC", key) == key


class _Field(NamedTuple):
    """One field of an object."""

    type: str
    default: str | None
    required: bool

    def shown(self, *, total: bool = True) -> str:
        """Return it as a class body has it; where not total, a field without a default need not say so."""
        if self.default is not None and not self.required:
            return f"{self.type} = {self.default}"
        return self._type() if self.required or not total else f"NotRequired[{self.type}]"

    def quoted(self) -> str:
        """Return it as a dict of fields has it."""
        return self._type() if self.required else f"NotRequired[{self._type()}]"

    def _type(self) -> str:
        return self.type if self.default is None else f"Annotated[{self.type}, 'default', {self.default}]"


def _definition(name: str, fields: Mapping[str, _Field]) -> str:
    """Return a TypedDict of fields."""
    if not all(map(is_name, fields)):
        parts = (f"{key!r}: {one.quoted()}" for key, one in fields.items())
        return f"{name} = TypedDict('{name}', {{{', '.join(parts)}}})"
    total = any(one.required or one.default is not None for one in fields.values())
    parts = (f"{key}: {one.shown(total=total)}" for key, one in fields.items())
    return f"class {name}(TypedDict{'' if total else ', total=False'}): {'; '.join(parts)}"


def _class_name(hint: str, fields: Mapping[str, JSON]) -> str:
    title = fields.get("title")
    words = re.findall(r"[A-Za-z0-9]+", title if isinstance(title, str) and len(title) <= 40 else hint)
    name = "".join(word[0].upper() + word[1:] for word in words) or "Object"
    return f"T{name}" if name[0].isdigit() or keyword.iskeyword(name) else name


def _singular(hint: str) -> str:
    for plural, single in (("series", "series"), ("ies", "y"), ("ches", "ch"), ("sses", "ss"), ("ss", "ss"), ("s", "")):
        if hint.lower().endswith(plural):
            return hint[: -len(plural)] + single
    return hint


def _last(reference: str) -> str:
    return reference.rpartition("/")[2].lstrip("#")


def resolved(reference: str, root: Mapping[str, JSON]) -> JSON | None:
    """Return what a reference inside a schema points to (RFC 6901); None for one that leads out of it or to itself."""
    found: JSON = dict(root)
    if not reference.startswith("#"):
        return None
    for part in reference[1:].strip("/").split("/") if len(reference) > 1 else ():
        key = part.replace("~1", "/").replace("~0", "~")
        if is_array(found) and key.isdigit() and int(key) < len(found):
            found = found[int(key)]
        elif is_object(found) and key in found:
            found = found[key]
        else:
            return None
    return None if is_object(found) and found.get("$ref") == reference else found


def _shape(schema: JSON) -> JSON:
    """Return what of a schema its type shows, which prose is not."""
    if is_array(schema):
        return [_shape(one) for one in schema]
    if not is_object(schema):
        return schema
    return {
        key: {name: _shape(one) for name, one in value.items()}
        if key == "properties" and is_object(value)
        else _shape(value)
        for key, value in schema.items()
        if key in _SHOWN
    }


def _reachable(schema: JSON, root: Mapping[str, JSON]) -> dict[str, JSON]:
    """Return what a schema refers to, and what that refers to, by reference."""
    found: dict[str, JSON] = {}
    todo = [schema]
    while todo:
        one = todo.pop()
        if is_array(one):
            todo.extend(one)
        elif is_object(one):
            todo.extend(one.values())
            reference = one.get("$ref")
            if isinstance(reference, str) and reference not in found:
                target = resolved(reference, root)
                found[reference] = _shape(target)
                todo.append(target)
    return found


def _add(merged: dict[str, JSON], part: Mapping[str, JSON]) -> None:
    """Add a part of an `allOf` to what the parts before it say."""
    for key, value in part.items():
        before = merged.get(key)
        if key == "properties" and is_object(value):
            merged[key] = {**before, **value} if is_object(before) else value
        elif key == "required" and is_array(value):
            merged[key] = [*before, *value] if is_array(before) else value
        elif key not in ("allOf", "$ref"):
            merged.setdefault(key, value)
