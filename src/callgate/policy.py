"""Who may call what: names, callers, arguments, budgets, and which calls need a human."""

from __future__ import annotations

import contextvars
import difflib
import inspect
import logging
from collections.abc import Callable, Collection, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, cast

from callgate.calls import CallState, Result, refusal
from callgate.codec import digest, encode
from callgate.decisions import DECISIONS, OUTCOMES, Decision, outcomes_of
from callgate.errors import UsageError
from callgate.limits import Limits
from callgate.room import room_of
from callgate.steps import Waiting
from callgate.tools import Call, Catalogue, Tool

__all__ = ["Approval", "InterruptOn", "Policy", "approvals", "decided", "fitted", "shown_digest"]

logger = logging.getLogger("callgate")

InterruptOn: TypeAlias = Mapping[str, bool | Mapping[str, Any]]
"""LangChain's vocabulary: tool name to True, False or a dict of allowed_decisions, description and when."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """How calls of one tool are asked for."""

    allowed: tuple[str, ...] = DECISIONS
    """The decisions a human may take."""
    description: str | Callable[[Call], str] | None = None
    when: Callable[[Call], bool] | None = None
    """Whether this call is asked for; None asks for every call."""

    def describe(self, call: Call) -> str:
        """Return the text a human is shown beside the call."""
        text = self.description
        if callable(text):
            try:
                return str(text(call))
            except Exception:
                logger.exception("interrupt_on[%r]: `description` raised", call.tool)
                text = None
        return text or f"A program wants to call {call.tool}."


class Policy:
    """The rules about one call at a time, without order or time.

    Args:
        tools: by name, everything a program may name.
        approvals: which tools need a human.
        limits: of the action.
        admit: the caller's own word on each call: None, or why it is refused.
    """

    def __init__(
        self,
        tools: Mapping[str, Tool],
        approvals: Mapping[str, Approval],
        limits: Limits,
        admit: Callable[[Call], str | None] | None = None,
    ) -> None:
        self.tools, self.limits = tools, limits
        self._approvals, self._admit = approvals, admit
        self._context = contextvars.copy_context()
        """Of the caller, for its own functions: whoever drives the action has another one."""

    def refuse(self, call: CallState) -> Result | None:
        """Return why a call may not run, or None."""
        tool = self.tools.get(call.tool)
        if tool is None:
            near = difflib.get_close_matches(call.tool, self.tools, n=3)
            hint = f"; did you mean {', '.join(near)}?" if near else ""
            return refusal("UnknownTool", f"there is no tool {call.tool!r}{hint}", tool=call.tool)
        if "code" not in tool.callers:
            text = f"{call.tool} may only be called as a plain tool call, not from code"
            return refusal("NotAllowed", text, tool=call.tool)
        fault = call.fault or tool.fault(call.names)
        if fault is not None:
            return refusal("InvalidArguments", fault, tool=call.tool)
        if call.n > self.limits.calls:
            text = f"all {self.limits.calls} calls of this action are used up"
            return refusal("LimitExceeded", text, tool=call.tool, limit="calls")
        return self._refuse_unadmitted(call)

    def _refuse_unadmitted(self, call: CallState) -> Result | None:
        if self._admit is None:
            return None
        try:
            text = self._context.copy().run(self._admit, call.as_call())
        except Exception:
            logger.exception("admit raised; the call of %s is refused", call.tool)
            text = f"{call.tool} may not be called now"
        return refusal("LimitExceeded", text, tool=call.tool) if text is not None else None

    def judge(
        self,
        call: CallState,
        decision: Decision | None,
        *,
        rejected: AbstractSet[tuple[str, str]],
        asked: Collection[CallState],
    ) -> Result | Literal["run", "ask"]:
        """Decide what happens to a call: it runs, a human is asked, or it has a result without running.

        Args:
            call: to judge; an edit puts its arguments into `call.ran`.
            decision: of a human about it, if there is one.
            rejected: (tool, digest of arguments) that a human said no to.
            asked: the calls that wait for a human already.
        """
        if call.interrupted:
            return self.refuse(call) or "run"
        if call.unknown and (decision is None or decision.type not in OUTCOMES):
            return "ask"
        if call.unknown and decision is not None and decision.type != "run again":
            return decided(call, decision)
        if (refused := self.refuse(call)) is not None:
            return refused
        if call.unknown:
            return "run"
        # Once a human was asked about a call, a rule that changed since comes too late.
        concerned = decision is not None or call.asked is not None or call.key[:2] in rejected
        if not concerned and not self.needs_human(call):
            return "run"
        if decision is None or call.asked != self.shown(call):
            return self._refuse_question(call, rejected, asked) or "ask"
        if decision.type in ("approve", "edit"):
            call.ran = decision.arguments
            return "run"
        return decided(call, decision)

    def _refuse_question(
        self, call: CallState, rejected: AbstractSet[tuple[str, str]], asked: Collection[CallState]
    ) -> Result | None:
        if call.key[:2] in rejected:
            text = f"a human has rejected {call.tool} with these arguments already"
            return refusal("ApprovalRejected", text, tool=call.tool)
        if len(asked) >= self.limits.pending_approvals:
            text = f"{len(asked)} calls already wait for a human; wait for their answers first"
            return refusal("LimitExceeded", text, tool=call.tool, limit="pending_approvals")
        if asked and call.size + sum(one.size for one in asked) > room_of(self.limits.frame_mb) // 2:
            text = "the calls that wait for a human have too large arguments together; wait for their answers first"
            return refusal("LimitExceeded", text, tool=call.tool, limit="frame_mb")
        return None

    def fit(self, call: CallState, result: Result) -> Result:
        """Return result as it is journalled and answered."""
        fits = fitted(call.tool, result, self.limits)
        if call.status == "started" and fits.error is None and self.tools[call.tool].record == "digest":
            return Result(text=fits.text, digest=digest(fits.text))
        return fits

    def is_plain_read(self, call: CallState) -> bool:
        """Say whether calling it once more does nothing and asks nobody."""
        tool = self.tools.get(call.tool)
        return tool is not None and tool.effect == "read" and call.tool not in self._approvals

    def may_need_human(self, call: CallState) -> bool:
        """Say whether calls of this tool can need a human at all."""
        return call.tool in self._approvals

    def needs_human(self, call: CallState) -> bool:
        """Say whether this call needs one."""
        approval = self._approvals.get(call.tool)
        if approval is None or approval.when is None:
            return approval is not None
        try:
            return bool(self._context.copy().run(approval.when, call.as_call()))
        except Exception:
            logger.exception("interrupt_on[%r]: `when` raised; the call is asked for", call.tool)
            return True

    def question(self, call: CallState) -> Waiting:
        """Return what a human is told about a waiting call, and what may be answered."""
        if call.status == "interrupted":
            text, allowed = f"{call.tool} waits for an answer of its own.", ()
        elif call.unknown:
            text, allowed = (
                f"{call.tool} was started and it is unknown whether it happened.",
                outcomes_of(self.tools.get(call.tool)),
            )
        else:
            approval = self._approvals.get(call.tool, Approval())
            text, allowed = self._context.copy().run(approval.describe, call.as_call()), approval.allowed
        asked = call.as_call()
        return Waiting(
            id=asked.id,
            tool=asked.tool,
            arguments=asked.arguments,
            unknown=call.unknown,
            interrupted=call.status == "interrupted",
            description=text,
            allowed=allowed,
        )

    def shown(self, call: CallState) -> str:
        """Return a digest of its tool as a human is shown it."""
        return shown_digest(call.tool, self.tools.get(call.tool))


def shown_digest(name: str, tool: Tool | None) -> str:
    """Return a digest of a tool as a human is shown it, or of its absence: an approval holds for this."""
    return digest(encode([name, dict(tool.input_schema) if tool is not None else None]))


def fitted(tool: str, result: Result, limits: Limits) -> Result:
    """Return result, or the refusal of one that is too large for a frame."""
    most = limits.frame_mb
    if len(result.text) <= most << 20:
        return result
    text = f"{tool} returned {len(result.text):,} bytes, frame_mb allows {most} MiB; ask it for less"
    return refusal("LimitExceeded", text, tool=tool, limit="frame_mb")


def decided(call: CallState, decision: Decision) -> Result:
    """Return the result of a call by a decision that runs nothing."""
    if decision.type == "reject":
        said = f": {decision.message}" if decision.message else ""
        text = f"a human rejected this call of {call.tool}{said}; do not try it again"
        return refusal("ApprovalRejected", text, tool=call.tool)
    if decision.type == "failed":
        return refusal("ToolFailed", decision.message or f"{call.tool} failed", tool=call.tool)
    return Result(text=encode(decision.message) if decision.type == "respond" else decision.value)


def approvals(interrupt_on: InterruptOn | None, catalogue: Catalogue) -> dict[str, Approval]:
    """Read the user's `interrupt_on`.

    Raises:
        UsageError: for a tool the catalogue does not have, an unknown decision, or a configuration of another form.
    """
    read: dict[str, Approval] = {}
    for name, config in (interrupt_on or {}).items():
        if name not in catalogue.tools:
            raise UsageError(
                f"interrupt_on names {name!r}, which is no tool here: {', '.join(catalogue.tools) or 'none'}"
            )
        if config is False:
            continue
        given: Mapping[str, Any] = {} if config is True else config
        if not isinstance(cast(object, given), Mapping) or set(given) - {
            "allowed_decisions",
            "description",
            "when",
            "args_schema",
        }:
            raise UsageError(f"interrupt_on[{name!r}]: give True, False or allowed_decisions, description, when")
        when: Any = given.get("when")
        description: Any = given.get("description")
        if not (when is None or callable(when)) or not (
            description is None or callable(description) or isinstance(description, str)
        ):
            raise UsageError(f"interrupt_on[{name!r}]: when is a function of the call, description a text or one")
        if any(map(inspect.iscoroutinefunction, (when, description))):
            raise UsageError(f"interrupt_on[{name!r}]: when and description are plain functions, not async ones")
        allowed = tuple(given.get("allowed_decisions", DECISIONS))
        if not allowed or set(allowed) - set(DECISIONS):
            raise UsageError(f"interrupt_on[{name!r}]: allowed_decisions are of {DECISIONS}, got {allowed}")
        read[name] = Approval(allowed=allowed, description=cast(Any, description), when=cast(Any, when))
    return read
