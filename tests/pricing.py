"""What a conversation costs, by the definition: apart from the code that follows conversations."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import pytest

from callgate.costs import PER_CALL, PER_MESSAGE, Tokens
from callgate.history import Message
from callgate.tokens import ApproximateTokens

count = ApproximateTokens().count


def price(messages: Sequence[Message], definitions: Sequence[int], *, read: bool = True) -> Tokens:
    """Price a conversation by the definition: each request reads all so far, what was read before at a lower price.

    definitions are those of each request, of the one that reads the last answer too, if it is to be counted.
    """
    said = before = 0
    shown: int | None = None
    total, sizes = Tokens(), iter(definitions)

    def request(output: int) -> Tokens:
        nonlocal before, shown
        now = next(sizes)
        known = before + now if now == shown else 0
        shown, before = now, said
        return Tokens(new=now + said - known, repeated=known, output=output)

    for one in messages:
        text = count(one.text)
        if one.role != "assistant":
            said += text + PER_MESSAGE
            continue
        written = text + sum(count(call.name) + count(call.arguments) + PER_CALL for call in one.calls)
        total += request(written)
        said += written + PER_MESSAGE
    return total + (request(0) if read else Tokens())


def exact_without_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let tiktoken find the encodings that come with llama-index-core; skip without either."""
    if not (find_spec("tiktoken") and find_spec("llama_index") and (spec := find_spec("llama_index.core"))):
        pytest.skip("counting exactly needs tiktoken, and its encodings that come with llama-index-core")
    assert spec.origin is not None
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(Path(spec.origin).parent / "_static" / "tiktoken_cache"))
