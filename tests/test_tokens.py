"""Counting tokens, and pricing requests."""

from __future__ import annotations

import sys

import pytest
from pricing import exact_without_network

from callgate import UsageError
from callgate.costs import Meter, Tokens
from callgate.tokens import ApproximateTokens, ExactTokens


@pytest.fixture
def exact(monkeypatch: pytest.MonkeyPatch) -> ExactTokens:
    exact_without_network(monkeypatch)
    return ExactTokens()


@pytest.mark.parametrize(("text", "tokens"), [("", 0), ("a", 1), ("four", 1), ("fiver", 2)])
def test_four_characters_are_about_a_token(text: str, tokens: int) -> None:
    assert ApproximateTokens().count(text) == tokens


def test_exact_tokens_are_those_of_the_encoding(exact: ExactTokens) -> None:
    assert exact.name == "o200k_base"
    assert exact.count("hello world") == 2
    assert exact.count("") == 0
    assert exact.count("<|endoftext|>") > 1


@pytest.mark.parametrize("text", [" " * 1_000_000, "a" * 300_000, "ä\n" * 120_000], ids=["blanks", "a", "lines"])
def test_long_texts_are_counted_in_pieces(exact: ExactTokens, text: str) -> None:
    piece = exact.count(text[:100_000])
    assert exact.count(text) == pytest.approx(piece * len(text) / 100_000, rel=0.001)


def test_without_tiktoken_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tiktoken", None)
    with pytest.raises(UsageError, match=r"pip install 'callgate\[tokens\]'"):
        ExactTokens()


def test_an_encoding_that_is_not_at_hand_is_named() -> None:
    pytest.importorskip("tiktoken")
    with pytest.raises(
        UsageError, match="no encoding 'none_base' at hand: ValueError; without a network, set TIKTOKEN"
    ):
        ExactTokens("none_base")


def test_tokens_are_added_up_and_weighted() -> None:
    one, two = Tokens(new=10, repeated=20, output=3), Tokens(new=1, repeated=2, output=1)
    assert one + two == Tokens(new=11, repeated=22, output=4)
    assert one - two == Tokens(new=9, repeated=18, output=2)
    assert (one.input, one.total, one.weighted) == (30, 33, 10 + 2.0 + 15)


def test_a_request_reads_everything_and_what_was_read_before_is_repeated() -> None:
    meter = Meter(100)
    meter.say(10)
    assert meter.request(5) == Tokens(new=110, output=5)
    meter.say(7)
    aside = meter.copy()
    assert meter.request(1) == Tokens(new=5 + 7, repeated=110, output=1)
    assert aside.request(2) == Tokens(new=5 + 7, repeated=110, output=2)
    meter.redefine(50)
    assert meter.request(0) == Tokens(new=50 + 10 + 5 + 7 + 1)
    assert meter.request(0) == Tokens(repeated=73)
