"""Five scenarios that vendors published figures of, rebuilt: what our token model says of them, and what code takes.

    python benchmarks/vendors.py

The JSON arms have the structure of the published runs, the code arm runs a reference program. Where a vendor published
tokens of a JSON run, the model of tokens has to come within a tenth of them; otherwise its other figures mean little.
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from arms import Live, Turn, all_arms
from figures import counter_of_tokens, expect, keep, opened_sandbox, workload
from programs import Asked
from tally import Tally

from callgate.tokens import TokenCounter

WITHIN = 0.1
"""How far the model of tokens may be from a published figure."""

MEETING_TOKENS = 50_000
"""Of the transcript that is carried from one service to another."""

Functions = Mapping[str, Callable[..., Any]]


class Task:
    """A scenario.

    Args:
        id: of it.
        given: as the workload has it.
        functions: tool name to what it does.
        turn: the one of the scenario.
    """

    def __init__(self, id: str, given: Mapping[str, Any], functions: Functions, turn: Turn) -> None:
        self.id, self.system, self.turns = id, given.get("system"), [turn]
        self._schemas, self._functions = [one["function"] for one in given["tools"]], functions

    def open(self) -> Live:
        """Return its tools."""
        live = Live()
        for one in self._schemas:
            live.add(one, self._functions[one["name"]])
        return live


def by_depth(*levels: Iterable[tuple[str, dict[str, Any]]]) -> dict[str, Any]:
    """Return the calls of a turn, those that are asked for at the same time together."""
    calls = [[Asked(name=name, arguments=arguments) for name, arguments in level] for level in levels]
    return {
        "calls": tuple(call for level in calls for call in level),
        "depths": tuple(depth for depth, level in enumerate(calls) for _ in level),
    }


def order_totals(given: dict[str, Any]) -> Task:
    """Totals of the orders of eight users: the published JSON run asked in parallel, and at least for 26 calls."""
    data = given["data"]
    users, orders, discount, tax = data["users"], data["orders"], data["discount"], data["tax"]

    def line_total(qty: int, unit_price: float, discount_rate: float, tax_rate: float) -> float:
        return round(qty * unit_price * (1 - discount_rate) * (1 + tax_rate), 2)

    lines = [
        {**order, "discount_rate": discount[user["tier"]], "tax_rate": tax[user["region"]]}
        for user in users
        for order in orders[str(user["id"])]
    ]
    turn = Turn(
        user=given["user"],
        **by_depth(
            [("list_users", {})],
            [
                *(("get_orders_for_user", {"user_id": user["id"]}) for user in users),
                *(("get_discount_rate", {"tier": tier}) for tier in discount),
                *(("get_tax_rate", {"region": region}) for region in tax),
            ],
            [("compute_line_total", {key: each for key, each in one.items() if key != "product"}) for one in lines],
        ),
        program=given["reference_program"],
        answer=json.dumps(given["expected"]),
        shows=str(given["expected"]["results"]),
    )
    expect(len(turn.calls), given["min_calls"], "calls")
    functions = {
        "list_users": lambda: users,
        "get_orders_for_user": lambda user_id: orders[str(user_id)],
        "get_discount_rate": lambda tier: discount[tier],
        "get_tax_rate": lambda region: tax[region],
        "compute_line_total": line_total,
    }
    return Task("microsoft_order_totals", given, functions, turn)


def expenses(given: dict[str, Any]) -> Task:
    """Who exceeded a travel budget: the published JSON run asked for the team, 8 lists of expenses and 6 budgets."""
    team, rows, standard = given["team"], given["expenses"], 5_000

    def travelled(member: str) -> float:
        return sum(row["amount"] for row in rows[member] if row["category"] == "travel" and row["status"] == "approved")

    members = [one["id"] for one in team]
    asked = sorted(members, key=travelled, reverse=True)[: given["published"]["json"]["calls"][2]]
    over = [(one["id"], one["name"], round(travelled(one["id"]), 2), standard) for one in team]
    turn = Turn(
        user=given["user"],
        **by_depth(
            [("get_team_members", {"department": "engineering"})],
            [("get_expenses", {"employee_id": one, "quarter": "Q3"}) for one in members],
            [("get_custom_budget", {"user_id": one}) for one in asked],
        ),
        program=given["reference_program"],
        shows=str([one for one in over if one[2] > standard]),
    )
    functions = {
        "get_team_members": lambda department: team if department == "engineering" else [],
        "get_expenses": lambda employee_id, quarter: rows[employee_id] if quarter == "Q3" else [],
        "get_custom_budget": lambda user_id: {"user_id": user_id, "has_exception": False, "travel_budget": standard},
    }
    return Task("anthropic_ptc_expenses", given, functions, turn)


def transcript(given: dict[str, Any], tokens: TokenCounter) -> Task:
    """A transcript of a meeting, carried from one service to another: JSON reads it and writes it."""
    said, size = list[str](), 0
    while size < MEETING_TOKENS:
        at = len(said)
        said.append(
            f"Speaker {at % 5 + 1} at minute {at // 20}: item {at} of the agenda is closed, and {at * 7} remain."
        )
        size += tokens.count(f" {said[-1]}")
    content = " ".join(said)
    target = {"objectType": "SalesMeeting", "recordId": "00Q5f000001abcXYZ"}
    saved = {"id": target["recordId"], "success": True}
    turn = Turn(
        user=given["user"],
        **by_depth(
            [("gdrive.getDocument", {"documentId": "abc123"})],
            [("salesforce.updateRecord", {**target, "data": {"Notes": content}})],
        ),
        program=given["reference_program"],
        shows=str(saved),
    )

    def update(**record: Any) -> dict[str, Any]:
        expect(record["data"], {"Notes": content}, "another text came")
        return saved

    functions = {"gdrive.getDocument": lambda documentId: {"content": content}, "salesforce.updateRecord": update}  # noqa: N803
    return Task("anthropic_drive_to_salesforce", given, functions, turn)


def calendar(given: dict[str, Any], creates: int) -> Task:
    """One event, or one for each day of a month, with topics that the model makes up."""
    (task,) = (one for one in given["tasks"] if one["creates"] == creates)
    first = {"start": "2026-01-01T10:00:00", "end": "2026-01-01T10:30:00"}
    if creates == 1:
        levels = [[("get_current_date", {})], [("create_event", {"title": "Daily topic 1", **first})]]
        program = _ONE_EVENT
    else:
        days = [{key: at.replace("-01T", f"-{day:02}T") for key, at in first.items()} for day in range(1, creates + 1)]
        events = [{"title": f"Topic number {at}", **day} for at, day in enumerate(days)]
        levels = [[("create_event", event) for event in events]]
        program = given["reference_program_31"]
    made: list[str] = []

    def create_event(**event: str) -> dict[str, str]:
        made.append(event["title"])
        return {"id": f"event-{len(made)}", "status": "confirmed"}

    functions: dict[str, Callable[..., Any]] = {
        "create_event": create_event,
        "list_events": lambda **_: [],
        "get_current_date": lambda: "2025-12-31",
        "delete_event": lambda **_: None,
    }
    turn = Turn(user=task["user"], **by_depth(*levels), program=program, shows=str(creates))
    return Task(f"cloudflare_calendar_{creates}", given, functions, turn)


_ONE_EVENT = """\
from datetime import date, timedelta
day = date.fromisoformat(call_tool("get_current_date")) + timedelta(days=1)
call_tool("create_event", title="Daily topic 1", start=f"{day}T10:00:00", end=f"{day}T10:30:00")
print(1)"""


def compared(found: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was published of a scenario, beside ours."""
    arms = found["tokens_per_task"]
    published = given.get("published", {})
    if total := published.get("json", {}).get("total_tokens"):
        return _within(total, arms["json_parallel"]["total"], published["code"]["total_tokens"])
    if total := published.get("json_total"):
        note = "a round figure, of no run that was described; what the model writes is not in it, nor in ours"
        return {**_within(total, arms["json_parallel"]["input"], published["code_total"]), "note": note}
    return {"json": None, "note": "only shares of what is saved were published"}


def _within(published: int, ours: int, code: int) -> dict[str, Any]:
    off = ours / published - 1
    return {"json": published, "ours": ours, "off": round(off, 4), "within": abs(off) <= WITHIN, "code": code}


def main() -> None:
    """Play, compare and keep."""
    argparse.ArgumentParser(description="Published scenarios of vendors, rebuilt.").parse_args()
    warnings.simplefilter("ignore")
    scenarios = json.loads(workload("vendor_scenarios.json"))
    tokens = counter_of_tokens()
    calendars = scenarios["cloudflare_calendar"]
    tasks = [
        (order_totals(scenarios["microsoft_order_totals"]), scenarios["microsoft_order_totals"]),
        (expenses(scenarios["anthropic_ptc_expenses"]), scenarios["anthropic_ptc_expenses"]),
        (
            transcript(scenarios["anthropic_drive_to_salesforce"], tokens),
            scenarios["anthropic_drive_to_salesforce"],
        ),
        *((calendar(calendars, one["creates"]), one) for one in calendars["tasks"]),
    ]
    found: dict[str, Any] = {}
    with opened_sandbox() as sandbox:
        for task, published in tasks:
            arms, tally = all_arms(task, sandbox), Tally(tokens)
            tally.add(arms)
            figures = tally.figures()
            found[task.id] = {**figures, "published": compared(figures, published)}
            if "published_saving" in published:
                ours = figures["tokens_per_task"]
                saved = 1 - ours["code_one_shot"]["total"] / ours["json_parallel"]["total"]
                found[task.id]["published"] |= {"saving": published["published_saving"], "our_saving": round(saved, 4)}
            print(f"{task.id}: {json.dumps(found[task.id]['published'])}")
            print("  weighted:", {arm: one["weighted"] for arm, one in figures["tokens_per_task"].items()})
        about = {"sandbox": f"{sandbox.name} {sandbox.level}"}
    found["aimultiple"] = {"skipped": "which tools the runs were shown is not published, so it cannot be rebuilt"}
    keep("vendors", {**about, "scenarios": found}, tokens=tokens.name)
    if missed := [name for name, one in found.items() if one.get("published", {}).get("within") is False]:
        raise SystemExit(f"further than {WITHIN:.0%} from published JSON figures: {', '.join(missed)}")


if __name__ == "__main__":
    main()
