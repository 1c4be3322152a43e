"""`callgate estimate FILE`: whether code mode would have paid for a conversation of plain tool calls."""

from __future__ import annotations

import argparse
import functools
import json
import sys
from codecs import BOM_UTF8
from collections.abc import Iterator
from pathlib import Path

from callgate.codec import JSON, NotJSON, decode
from callgate.costs import Tokens
from callgate.counterfactual import Saving
from callgate.errors import UsageError
from callgate.estimate import Bound, Estimate, Priced, estimate
from callgate.history import read_messages
from callgate.ledger_text import set_against, table, weights
from callgate.outcome import visible
from callgate.tokens import ApproximateTokens, ExactTokens

__all__ = ["add_estimate_command"]

_EPILOG = """\
FILE is JSON: a list of messages in OpenAI's chat form, or as LangChain's messages_to_dict, model_dump or dumpd write
them; or an object with "messages" and, so that definitions are counted, "tools". No model is asked: what it would have
written is made up, in two ways that bracket what code mode costs as long as programs do not fail:

  all results shown      a program for each level of calls that need nothing of each other; every result printed
  only the answer shown  one program for all calls between two other messages, which shows what the model then said

Costs are of all requests, each of which reads everything so far: a new token counts 1, one that an earlier request
read 0.1, a written one 5. A saving is divided into
  definitions  of the tools: as JSON, and as code
  turns        fewer requests, which read everything again
  payload      arguments that nobody writes, and results that nobody reads

--json prints one object:
  verdict              one sentence
  counter              what counts tokens
  calls                tool calls of the conversation
  definitions          {json, code}: tokens of the tools' definitions; null where FILE has none
  json                 {requests, tokens}: the conversation as it was
  parallel             the same for the same calls, those that need nothing of each other in one request
  code                 {all_shown, answer_shown}: the same, and saving {total, definitions, turns, payload}
  billed               {requests, tokens, counted}: what the vendor counted, beside the count here, or null
  not_counted          [what is left out]
tokens are {new, repeated, output, input, total, weighted}.

Exit status: 0, or 2 for wrong usage.
"""


def add_estimate_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:  # pyright: ignore[reportPrivateUsage] - argparse names it nowhere else
    """Add the command to a parser."""
    parser = commands.add_parser(
        "estimate",
        help="say whether code mode would have paid for a conversation of plain tool calls",
        description="Say whether code mode would have paid for a conversation of plain tool calls.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", metavar="FILE", type=Path, help="messages as JSON")
    parser.add_argument("--json", action="store_true", help="print JSON, for other programs")
    parser.add_argument("--exact", action="store_true", help="count with tiktoken, not characters / 4")
    parser.set_defaults(run=functools.partial(_run, parser))


def _run(parser: argparse.ArgumentParser, given: argparse.Namespace) -> int:
    try:
        counter = ExactTokens() if given.exact else ApproximateTokens()
        found = estimate(*read_messages(decode(given.file.read_bytes().removeprefix(BOM_UTF8))), counter)
    except OSError as error:
        parser.error(str(error))
    except (NotJSON, UsageError) as error:
        parser.error(visible(f"{given.file}: {error}"))
    text = json.dumps(_plain(found), indent=2) if given.json else "\n".join(_told(found))
    sys.stdout.write(f"{text}\n")
    return 0


# ---- in words


def _verdict(found: Estimate) -> str:
    """Say in one sentence whether code mode would have paid."""
    if not found.calls:
        return "The conversation makes no tool calls, so programs would have nothing to save."
    was, parallel = found.was.tokens.weighted, found.parallel.tokens.weighted
    bounds = (found.shown, found.answer)
    paid = [one.tokens.weighted < was for one in bounds]
    told = "would have paid" if all(paid) else "may have paid" if any(paid) else "would not have paid"
    shown, answer = (_share(one, was) for one in bounds)
    others = " and ".join(_share(one, parallel) for one in bounds)
    return (
        f"Code mode {told}: {shown} with every result shown, {answer} with only the answer shown "
        f"(against the same calls made in parallel: {others})."
    )


def _share(one: Priced, plain: float) -> str:
    return set_against(one.tokens.weighted, plain)


def _told(found: Estimate) -> Iterator[str]:
    """Yield the lines that a person reads."""
    yield _verdict(found)
    yield ""
    rows = [
        ("this conversation", found.was),
        ("its calls in parallel", found.parallel),
        ("code, all results shown", found.shown),
        ("code, only the answer shown", found.answer),
    ]
    head = ("", "requests", "new", "repeated", "written", "all tokens", "cost")
    yield from table(head, [(name, f"{one.requests:,}", *_figures(one.tokens)) for name, one in rows])
    yield ""
    savings = [("all results shown", found.shown), ("only the answer shown", found.answer)]
    yield from table(
        ("saved by code", "", "definitions", "turns", "payload"),
        [row for name, one in savings for row in _saved(name, one.saving)],
    )
    yield ""
    yield weights(found.counter)
    if found.definitions is not None:
        yield "Definitions: {:,} tokens as JSON, {:,} as code.".format(*found.definitions)
    if found.billed is not None:
        billed, counted = found.billed, found.billed_counted
        yield (
            f"The vendor counted {billed.input:,} tokens read and {billed.output:,} written for "
            f"{found.billed_requests:,} of {found.was.requests:,} requests; here these are {counted.input:,} "
            f"and {counted.output:,}."
        )
    for one in found.not_counted:
        yield f"Not counted: {one}."


def _figures(tokens: Tokens) -> tuple[str, ...]:
    counts = (tokens.new, tokens.repeated, tokens.output, tokens.total)
    return (*(f"{one:,}" for one in counts), _cost(tokens))


def _saved(name: str, saving: Saving) -> Iterator[tuple[str, ...]]:
    parts = (saving.total, saving.definitions, saving.turns, saving.payload)
    yield (f"{name}, cost", *map(_cost, parts))
    yield (f"{name}, tokens", *(f"{one.total:,}" for one in parts))


def _cost(tokens: Tokens) -> str:
    return f"{round(tokens.weighted, 1):,.1f}"


# ---- as JSON


def _plain(found: Estimate) -> JSON:
    billed = {
        "requests": found.billed_requests,
        "tokens": _tokens(found.billed or Tokens()),
        "counted": _tokens(found.billed_counted),
    }
    return {
        "verdict": _verdict(found),
        "counter": found.counter,
        "calls": found.calls,
        "definitions": dict(zip(("json", "code"), found.definitions, strict=True)) if found.definitions else None,
        "json": _priced(found.was),
        "parallel": _priced(found.parallel),
        "code": {"all_shown": _bound(found.shown), "answer_shown": _bound(found.answer)},
        "billed": billed if found.billed is not None else None,
        "not_counted": list(found.not_counted),
    }


def _priced(one: Priced) -> dict[str, JSON]:
    return {"requests": one.requests, "tokens": _tokens(one.tokens)}


def _bound(one: Bound) -> dict[str, JSON]:
    names = ("total", "definitions", "turns", "payload")
    return {**_priced(one), "saving": {name: _tokens(getattr(one.saving, name)) for name in names}}


def _tokens(tokens: Tokens) -> dict[str, JSON]:
    names = ("new", "repeated", "output", "input", "total")
    return {**{name: getattr(tokens, name) for name in names}, "weighted": round(tokens.weighted, 1)}
