"""How many tokens a text is."""

from __future__ import annotations

from importlib import import_module
from typing import Any, Protocol

from callgate.errors import UsageError

__all__ = ["ApproximateTokens", "ExactTokens", "TokenCounter"]

CHARS_PER_TOKEN = 4
"""As langchain-core's `count_tokens_approximately` has it."""

_PIECE = 100_000


class TokenCounter(Protocol):
    """Counts tokens."""

    @property
    def name(self) -> str:
        """What a report calls it."""
        ...

    def count(self, text: str) -> int:
        """Return the tokens of a text."""
        ...


class ApproximateTokens:
    """A token for every four characters, rounded up. Dense rows of figures are up to twice as many."""

    name = "characters / 4"

    def count(self, text: str) -> int:
        """Return the tokens of a text."""
        return -(-len(text) // CHARS_PER_TOKEN)


class ExactTokens:
    """Counts by an encoding of tiktoken, which the extra `tokens` installs.

    Args:
        encoding: of OpenAI's; other vendors' are not public. tiktoken loads it from the network, once, or from the
            directory that TIKTOKEN_CACHE_DIR names.

    Raises:
        UsageError: without tiktoken, or for an encoding it does not know or cannot load.
    """

    def __init__(self, encoding: str = "o200k_base") -> None:
        try:
            tiktoken: Any = import_module("tiktoken")  # of the extra
        except ImportError:
            raise UsageError("counting exactly needs tiktoken: pip install 'callgate[tokens]'") from None
        try:
            self._encoding = tiktoken.get_encoding(encoding)
        except Exception as error:
            text = f"tiktoken has no encoding {encoding!r} at hand: {type(error).__name__}"
            raise UsageError(f"{text}; without a network, set TIKTOKEN_CACHE_DIR to where it is") from error
        self.name = encoding

    def count(self, text: str) -> int:
        """Return the tokens of a text; what looks like a special token is text, too.

        A text of more than 100,000 characters is counted in pieces, which makes at most a few tokens more of it: on
        long runs of blanks the pattern of the encoding would fail.
        """
        pieces = (text[at : at + _PIECE] for at in range(0, len(text), _PIECE))
        return sum(len(self._encoding.encode(piece, disallowed_special=())) for piece in pieces)
