"""Tools as Python a model reads: one line each, and the types they share.

    def find_orders(user: str, status: Literal['open', 'paid'] = 'open', limit: int = 10) -> list[Order]: Find orders.

A line holds the names, types and defaults of the arguments, the first sentence of the description, and what is said of
arguments where their names do not say it; or, if asked for, all that is said of them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Literal, TypeAlias, get_args

from callgate.codec import JSON, is_array, is_object
from callgate.errors import UsageError
from callgate.prose import all_notes
from callgate.schema import Types, default_of, is_name
from callgate.tools import Tool

__all__ = ["ArgumentProse", "Stubs", "first_sentence"]

ArgumentProse: TypeAlias = Literal["needed", "all"]
"""What is said of arguments: what their names do not say, cut; or all of it, of the fields of objects as well."""

PROSE_CHARS = 100
"""Characters of what is said of one argument."""

SHARED_BY = 3
"""Tools whose descriptions begin with the same sentences, from which on those are said once."""

_SENTENCE = re.compile(r"(?<=[.!?])(?<!e\.g\.)(?<!i\.e\.)(?<!vs\.)\s+(?=[^a-z])|(?<=[\u3002\uff01\uff1f])")
"""Between two sentences."""
_LABEL = re.compile(r"(?:tool )?description:\s*", re.IGNORECASE)
_WORD = re.compile(r"[a-z]+|[A-Z][a-z]*|\d+")
_PLAIN = frozenset(
    """a an the of to in on at for by with from and or is are be it its this that these those which whether if as not
    can will your you must should may when used use using given specified specify provide provided input value values
    argument parameter param field string str integer int number float boolean bool list array object dict optional
    required default defaults name id identifier text type set get include all any each one only also e g i true false
    none null""".split()  # noqa: SIM905 - as a list it would be forty lines
)
"""Words of a description that say nothing a name and a type do not."""


class Stubs:
    """The lines of some tools.

    Sentences with which the descriptions of several tools begin are said once, in a line above theirs.

    Args:
        functions: function name to tool.
        results_of: tools, by function name, of which only the results are told.
        argument_prose: what is said of arguments.

    Raises:
        UsageError: for another argument_prose.
    """

    def __init__(
        self,
        functions: Mapping[str, Tool],
        results_of: Mapping[str, Tool] | None = None,
        argument_prose: ArgumentProse = "needed",
    ) -> None:
        if argument_prose not in get_args(ArgumentProse):
            raise UsageError(f'argument_prose={argument_prose!r}: give "needed" or "all"')
        self._functions, self._results_of = functions, results_of or {}
        self._notes = all_notes if argument_prose == "all" else _notes
        self._beginnings = _shared_beginnings(one.description for one in functions.values())

    def text(self) -> str:
        """Return the lines: the types that tools share first."""
        types, groups = Types(), dict[str, list[str]]({"": []})
        for name, one in self._functions.items():
            beginning = self._beginning(one)
            groups.setdefault(beginning, []).append(self._line(name, one, beginning, types))
        results = _results(self._results_of, types)
        lines = [*types.lines, *results, *groups.pop("")]
        for beginning, members in groups.items():
            lines += [f"# {_one_line(_LABEL.sub('', beginning))}", *members]
        return "\n".join(lines)

    def one(self, name: str) -> str:
        """Return the lines for one tool, without what its description has in common with others."""
        types, one = Types(), self._functions[name]
        line = self._line(name, one, self._beginning(one), types)
        return "\n".join([*types.lines, line])

    def _line(self, name: str, one: Tool, beginning: str, types: Types) -> str:
        properties: Mapping[str, JSON] = one.input_schema.get("properties") or {}
        ordered = {key: properties[key] for key in sorted(properties, key=lambda key: key not in one.required)}
        parameters = [_parameter(key, schema, one, types) for key, schema in ordered.items() if is_name(key)]
        if odd := [key for key in ordered if not is_name(key)]:
            parameters.append(f"**arguments: {_odd_names(odd, properties, one, types)}")
        returns = f" -> {_result(name, one, types)}" if one.output_schema else ""
        doc = first_sentence(_LABEL.sub("", one.description[len(beginning) :].strip(), count=1))
        defaults = [
            f"{_one_line(key)}: required, {default} by default"
            for key in one.required
            if (default := default_of(properties.get(key)))
        ]
        notes = "; ".join([*defaults, *self._notes(ordered, f"{name} {doc}", one.input_schema)])
        said = f"{doc} ({notes})" if doc and notes else doc or notes
        return f"def {name}({', '.join(parameters)}){returns}" + (f": {said}" if said else "")

    def _beginning(self, one: Tool) -> str:
        return next((each for each in self._beginnings if one.description.startswith(each)), "")


def first_sentence(description: str) -> str:
    """Return the first sentence of a description, on one line."""
    paragraph = _one_line(description.strip().split("\n\n")[0])
    return _SENTENCE.split(paragraph, maxsplit=1)[0].strip()


def _result(name: str, one: Tool, types: Types) -> str:
    schema = one.output_schema or {}
    return types.annotation(dict(schema), schema, f"{name}_result")


def _results(functions: Mapping[str, Tool], types: Types) -> list[str]:
    """Return a line for each type that tools return, with their names."""
    returning: dict[str, list[str]] = {}
    for name, one in functions.items():
        if one.output_schema:
            returning.setdefault(_result(name, one, types), []).append(name)
    return [f"# {', '.join(names)} -> {result}" for result, names in returning.items()]


def _parameter(key: str, schema: JSON, one: Tool, types: Types) -> str:
    text = f"{key}: {types.annotation(schema, one.input_schema, key)}"
    if key in one.required:
        return text
    return f"{text} = {default_of(schema) or '...'}"


def _odd_names(keys: Iterable[str], properties: Mapping[str, JSON], one: Tool, types: Types) -> str:
    """Return the type of arguments whose names are no identifiers."""
    fields = {key: properties[key] for key in keys}
    schema: dict[str, JSON] = {"type": "object", "properties": fields, "required": list(one.required)}
    return types.annotation(schema, one.input_schema, f"{one.name}_arguments")


def _notes(properties: Mapping[str, JSON], said: str, root: Mapping[str, JSON]) -> list[str]:
    """Return what to know of arguments beyond their names and types."""
    notes: list[str] = []
    for key, schema in properties.items():
        if not is_object(schema):
            continue
        text = schema.get("description")
        note = first_sentence(text) if isinstance(text, str) else ""
        if note and _says_more(note, f"{key} {said}", schema):
            notes.append(f"{_one_line(key)}: {_cut(note)}")
        elif isinstance(schema.get("format"), str):
            notes.append(f"{_one_line(key)}: {_cut(_one_line(schema['format']))}")
    return notes


def _says_more(note: str, said: str, schema: Mapping[str, JSON]) -> bool:
    """Say whether a description holds words that neither the name, the type nor the tool's own description has."""
    choices = schema.get("enum")
    known = _words(said) | _PLAIN | _words(" ".join(map(str, choices)) if is_array(choices) else "")
    return len(_words(note) - known) >= 3


def _words(text: str) -> set[str]:
    """Return the words of a text, in the singular."""
    return {word.lower().rstrip("s") if len(word) > 3 else word.lower() for word in _WORD.findall(text)}


def _cut(text: str) -> str:
    text = text.rstrip(".")
    return text if len(text) <= PROSE_CHARS else text[: PROSE_CHARS - 1].rsplit(" ", 1)[0] + "…"


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _shared_beginnings(descriptions: Iterable[str]) -> list[str]:
    """Return the sentences, up to four, with which at least `SHARED_BY` descriptions begin and go on; longest first."""
    counted, whole = Counter[str](), set[str]()
    for text in descriptions:
        whole.add(text.strip())
        counted.update(text[: one.end()] for one in islice(_SENTENCE.finditer(text), 4))
    often = (text for text, count in counted.items() if count >= SHARED_BY and text.strip() not in whole)
    return sorted(often, key=len, reverse=True)
