"""Finding tools by words: BM25 over names, descriptions and arguments.

A name counts three times. With the extra `search`, bm25s and Snowball's stemmer do it; else a plain form of the same.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import import_module
from typing import Any, Protocol

from callgate.codec import JSON, is_object
from callgate.tools import Tool

__all__ = ["Index", "index_of"]

K1, B = 1.2, 0.5
"""BM25's saturation and weight of length (Robertson and Zaragoza, 2009). B is low: a long description is no fault."""

NAME_WEIGHT = 3

_WORD = re.compile(r"[^\W_]+")
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_STOP = frozenset(
    """a an the of to in on at for by with from and or is are be it its this that these those i me my we our you your he
    she they them his her their what which who how when where why can could will would should may might must do does did
    have has had not no but if then than so as about into over under up out
    please want need help using use get""".split()  # noqa: SIM905 - as a list it would be forty lines
)


class Index(Protocol):
    """Finds documents by words."""

    def best(self, query: str, count: int) -> list[int]:
        """Return the positions of at most count documents that share a word with query, best first."""
        ...


def index_of(tools: Iterable[tuple[str, Tool]]) -> Index:
    """Return an index over tools, each with the name of its function."""
    texts = [_texts(name, one) for name, one in tools]
    try:
        return _Library(texts) if texts else _Plain(texts)
    except ImportError:
        return _Plain(texts)


def _texts(name: str, one: Tool) -> list[str]:
    """Return what is searched of a tool, what counts more repeated."""
    properties: Mapping[str, JSON] = one.input_schema.get("properties") or {}
    told = [str(schema.get("description", "")) for schema in properties.values() if is_object(schema)]
    known = name if set(_words(one.name)) <= set(_words(name)) else f"{name} {one.name}"
    return [*[known] * NAME_WEIGHT, one.description, *properties, *told]


def _words(text: str) -> list[str]:
    return [word for word in _WORD.findall(_HUMP.sub(" ", text).lower()) if word not in _STOP]


class _Library:
    """bm25s, with Snowball's English stemmer."""

    def __init__(self, texts: Sequence[Sequence[str]]) -> None:
        bm25s: Any = import_module("bm25s")  # of the extra, without types, and slow to import
        self._stem: Callable[[list[str]], list[str]] = import_module("Stemmer").Stemmer("english").stemWords
        self._count = len(texts)
        self._index = bm25s.BM25(k1=K1, b=B)
        self._index.index([self._stem(_words(" ".join(one))) or [""] for one in texts], show_progress=False)

    def best(self, query: str, count: int) -> list[int]:
        words = list(dict.fromkeys(self._stem(_words(query))))
        if not words:
            return []
        found, scores = self._index.retrieve([words], k=min(count, self._count), show_progress=False)
        return [int(at) for at, score in zip(found[0], scores[0], strict=True) if score > 0]


class _Plain:
    """The same in plain Python, with a stemmer that knows the commonest endings."""

    def __init__(self, texts: Sequence[Sequence[str]]) -> None:
        counts = [Counter(map(_stem, _words(" ".join(one)))) for one in texts]
        average = sum(one.total() for one in counts) / max(1, len(counts)) or 1.0
        self._postings: defaultdict[str, list[tuple[int, float]]] = defaultdict(list)
        for at, one in enumerate(counts):
            length = 1 - B + B * one.total() / average
            for word, times in one.items():
                self._postings[word].append((at, times * (K1 + 1) / (times + K1 * length)))
        self._count = len(counts)

    def best(self, query: str, count: int) -> list[int]:
        scores: defaultdict[int, float] = defaultdict(float)
        for word in dict.fromkeys(map(_stem, _words(query))):
            postings = self._postings.get(word, ())
            rarity = math.log(1 + (self._count - len(postings) + 0.5) / (len(postings) + 0.5))
            for at, weight in postings:
                scores[at] += rarity * weight
        return sorted(scores, key=lambda at: (-scores[at], at))[:count]


_ENDINGS = (
    *(("ies", "y"), ("sses", "ss"), ("ations", "ate"), ("ation", "ate")),
    *(("ing", ""), ("ed", ""), ("es", ""), ("s", "")),
)


def _stem(word: str) -> str:
    for ending, by in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)] + by
    return word
