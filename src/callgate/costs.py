"""What the requests to a model cost, in tokens.

Each request reads everything said so far, the definitions of the tools first. What an earlier request has read is
repeated: it comes from the vendor's prompt cache. The weights are of the published prices of 2026: a cached token costs
a tenth of a new one, a written token five times a new one.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["PER_CALL", "PER_MESSAGE", "Meter", "Tokens"]

REPEATED, OUTPUT = 0.1, 5.0
"""Weights of repeated and of written tokens; a new one weighs 1."""

PER_MESSAGE, PER_CALL = 4, 14
"""Tokens that the form of a message, and that of a tool call, take beside their text (notes of OpenAI's cookbook).

A call is written as {"name": ..., "arguments": ...}: eight tokens, and six around it. With all fourteen the totals that
vendors published of JSON runs are met within a tenth, with six alone they are not: benchmarks/vendors.py.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """Tokens of one request, or of several."""

    new: int = 0
    """Read for the first time."""
    repeated: int = 0
    """Read before: by the prompt cache."""
    output: int = 0
    """Written by the model."""

    @property
    def input(self) -> int:
        """What the model read."""
        return self.new + self.repeated

    @property
    def total(self) -> int:
        """What it read and wrote."""
        return self.input + self.output

    @property
    def weighted(self) -> float:
        """The cost in tokens, as if all were new input."""
        return self.new + REPEATED * self.repeated + OUTPUT * self.output

    def __add__(self, other: Tokens) -> Tokens:
        return Tokens(
            new=self.new + other.new, repeated=self.repeated + other.repeated, output=self.output + other.output
        )

    def __sub__(self, other: Tokens) -> Tokens:
        return Tokens(
            new=self.new - other.new, repeated=self.repeated - other.repeated, output=self.output - other.output
        )


class Meter:
    """Follows one conversation, request by request.

    Args:
        definitions: tokens of the tools' definitions, which stand in front of everything.
    """

    def __init__(self, definitions: int = 0) -> None:
        self._definitions, self._said = definitions, 0
        self._new = definitions

    def copy(self) -> Meter:
        """Return one that goes on from here by itself."""
        copied = Meter(self._definitions)
        copied._said, copied._new = self._said, self._new
        return copied

    def say(self, tokens: int) -> None:
        """Add a message that the model has not read yet."""
        self._said += tokens
        self._new += tokens

    def redefine(self, definitions: int) -> None:
        """Show other tools from now on: what follows them is no longer in the cache."""
        self._definitions = definitions
        self._new = definitions + self._said

    def request(self, output: int) -> Tokens:
        """Return what a request costs that writes `output` tokens, which are part of the conversation from then on."""
        cost = Tokens(new=self._new, repeated=self._definitions + self._said - self._new, output=output)
        self._said += output
        self._new = output
        return cost
