"""Which calls could have been asked for at once, by what their arguments and results say.

A call depends on an earlier one if a scalar among its arguments first appeared in that one's result, and nowhere
before. What appears is found by words, so that the time grows with the bytes and not with calls times results: a scalar
has appeared in a text when all its words are in it. An argument that was computed from results is not recognised, nor
is an order that only the effects of calls demand: such calls count as independent, which favours parallel calls.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet

from callgate.codec import JSON, is_array, is_object

__all__ = ["levels_of", "scalars_of", "words_of"]

_SHORTEST = 3
"""Characters of a scalar that says something: shorter ones appear anywhere."""

_WORD = re.compile(r"\w+")
_ESCAPE = re.compile(r'\\[\\"/bfnrt]')
"""As JSON writes what would else look like the first letter of a word."""

Term = frozenset[str]
"""The words of a scalar that nothing before the calls says."""


def words_of(text: str) -> list[str]:
    """Return the words of a text, which may be JSON."""
    return _WORD.findall(_ESCAPE.sub(" ", text) if "\\" in text else text)


def levels_of(arguments: Sequence[JSON], results: Sequence[str], *known: AbstractSet[str]) -> list[int]:
    """Return for each call how many requests, one after the other, have to come before the one that can ask for it.

    Args:
        arguments: of the calls, in their order.
        results: what each returned, as text.
        known: words that were there before the first of them.
    """
    terms = [{term for text in scalars_of(each) if (term := _unknown(text, known))} for each in arguments]
    sought = set[Term]().union(*terms[1:])
    wanted = Counter(word for term in sought for word in term)
    by_word: dict[str, list[Term]] = defaultdict(list)
    for term in sought:
        by_word[min(term, key=wanted.__getitem__)].append(
            term
        )  # the rarest: "order" is in all of order-1, order-2, ...
    since: dict[Term, int] = {}
    levels = list[int]()
    for at, result in enumerate(results):
        levels.append(max((since.get(term, 0) for term in terms[at]), default=0))
        for term in terms[at]:
            since.setdefault(term, 0)  # the program made it itself: nobody had to wait for it
        found = wanted.keys() & words_of(result) if wanted and at + 1 < len(results) else set[str]()
        for word in found:
            for term in by_word.get(word, ()):
                if term not in since and term <= found:
                    since[term] = levels[at] + 1
    return levels


def _unknown(text: str, known: Sequence[AbstractSet[str]]) -> Term:
    return frozenset(word for word in words_of(text) if not any(word in one for one in known))


def scalars_of(value: JSON) -> Iterator[str]:
    """Yield the texts of the scalars in a value that are long enough to say something."""
    if is_object(value):
        for item in value.values():
            yield from scalars_of(item)
    elif is_array(value):
        for item in value:
            yield from scalars_of(item)
    elif value is not None and not isinstance(value, bool) and len(text := str(value)) >= _SHORTEST:
        yield text
