"""What a ledger says, for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from callgate.costs import OUTPUT, REPEATED, Tokens
from callgate.counterfactual import Account, Baseline, Saving
from callgate.outcome import visible

__all__ = ["parts_of", "set_against", "table", "told", "weights"]

_AS_MUCH = 0.005
"""Shares of the cost below this are no difference."""


def told(total: Account, routes: Mapping[str, Account], left_out: int, counter: str) -> Iterator[str]:
    """Yield the lines of a ledger."""
    if total.actions:
        yield f"{_several(total.actions, 'code action')}, {_several(total.calls, 'call')}. {weights(counter)}"
        yield ""
        rows = [(" ".join(visible(route).split()) or "(no route)", account) for route, account in routes.items()]
        yield from table(
            ("route", "actions", "calls", "", "code mode", "plain, parallel", "plain, sequential"),
            [row for name, one in rows for row in _row(name, one)],
        )
        yield ""
        for name, one in rows:
            yield f"{name}: {_verdict(one)}"
        yield from _notes(total)
    else:
        yield "No code action was counted."
    if left_out:
        yield f"Not counted, for they came without the message that runs them: {_several(left_out, 'code action')}."


def weights(counter: str) -> str:
    """Return how tokens are counted and weighed."""
    return f"Costs in tokens ({counter}): a new one counts 1, a repeated one {REPEATED:g}, a written one {OUTPUT:g}."


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> Iterator[str]:
    """Yield the lines of a table: its first column is text, the others are figures."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    for row in (head, *rows):
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        yield "  ".join(cells).rstrip()


def set_against(cost: float, plain: float, what: str = "") -> str:
    """Return how a cost compares with that of something: "12 % more than ..."."""
    share = (cost - plain) / plain if plain else float(cost > plain)
    if abs(share) < _AS_MUCH:
        return f"as much as {what}" if what else "as much"
    told = f"{abs(share) * 100:.0f} % {'more' if share > 0 else 'less'}"
    return f"{told} than {what}" if what else told


def parts_of(saving: Saving) -> str:
    """Return the parts of a saving. A weighted cost is a whole number of tenths, so they add up as they stand."""
    definitions, turns, payload = map(_cost, (saving.definitions, saving.turns, saving.payload))
    return f"{_cost(saving.total)} = definitions {definitions}, turns {turns}, payload {payload}"


def _verdict(account: Account) -> str:
    """Return in one sentence whether code mode paid, and by what."""
    code = account.code.weighted
    parallel, sequential = (account.plain(one).weighted for one in _BASELINES)
    if code > max(parallel, sequential) or parallel == sequential:
        told = f"code mode cost {set_against(code, parallel, 'plain calls would have')}"
    else:
        told = f"code mode cost {set_against(code, parallel, 'plain calls in parallel would have')}"
        told += f", and {set_against(code, sequential, 'one call at a time')}"
    kind = "saved" if account.share() >= 0 else "lost"
    saving = account.saving() if kind == "saved" else _negative(account.saving())
    cure = '; mode "json" would be cheaper here' if code > max(parallel, sequential) else ""
    return f"{told}; {kind} against parallel calls: {parts_of(saving)}{cure}"


def _notes(total: Account) -> Iterator[str]:
    if total.billed_requests:
        billed, counted = total.billed, total.billed_counted
        yield (
            f"The vendor counted {_read(billed)} for {total.billed_requests:,} of {total.requests:,} requests, "
            f"which are {_read(counted)} here."
        )
    if total.unknown:
        yield f"Results that nothing holds count as empty: those of {_several(total.unknown, 'call')}."
    yield "Not known: what a model would have read, tried again or computed in words without programs."


def _several(number: int, what: str) -> str:
    return f"{number:,} {what}{'s' * (number != 1)}"


def _negative(saving: Saving) -> Saving:
    none = Tokens()
    return Saving(definitions=none - saving.definitions, turns=none - saving.turns, payload=none - saving.payload)


_BASELINES: tuple[Baseline, Baseline] = ("parallel", "sequential")


def _row(name: str, account: Account) -> Iterator[tuple[str, ...]]:
    ways = (account.code, *map(account.plain, _BASELINES))
    yield (name, f"{account.actions:,}", f"{account.calls:,}", "cost", *map(_cost, ways))
    yield ("", "", "", "all tokens", *(f"{one.total:,}" for one in ways))


def _cost(tokens: Tokens) -> str:
    return f"{round(tokens.weighted, 1):,.1f}"


def _read(tokens: Tokens) -> str:
    return f"{tokens.input:,} tokens read ({tokens.repeated:,} of them repeated) and {tokens.output:,} written"
