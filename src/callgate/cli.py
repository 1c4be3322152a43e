"""The command line: `callgate doctor` says how well this host can isolate programs.

`callgate replay` stands in `replay_command`, `callgate estimate` in `estimate_command`.
"""

from __future__ import annotations

import argparse
import functools
import json
import platform
import sys
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

from callgate.errors import SandboxError, SandboxUnavailable, UsageError
from callgate.estimate_command import add_estimate_command
from callgate.replay_command import add_replay_command
from callgate.sandboxes.local.cures import Missing, missing_of
from callgate.sandboxes.local.establish import establish
from callgate.sandboxes.local.policy import LAYERS, JailPolicy, jail_policy
from callgate.sandboxes.local.proof import LEVELS, PROPERTIES, RESOURCE_LIMITS, Property

__all__ = ["main"]

_JSON = """\
--json prints one object:
  level            "L3", "L2", "L1" or "L0": what was proven just now; null where no fork server stands
  floor            what --floor asks for
  ok               whether the level is at or above the floor; the exit status says the same
  layers           of "namespaces", "Landlock", "seccomp": those that confine each guest
  landlock         the kernel's version of Landlock, 0 where guests are not under it
  fixed_addresses  whether addresses are the same in every guest, so that replay repeats what depends on them
  python           the version of Python inside; null where no fork server stands
  interpreter      where it is on this host
  host             {system, release, machine}
  properties       [{name, held, layers, broken}], always the same twelve: layers that hold it, attempts that broke it
  missing          [{name, reason, cure}]: what this host lacks, how that showed, and the command that provides it

Exit status: 0 at or above the floor, 1 below it, 2 for wrong usage.
"""
_MEANING = {
    "L3": "namespaces, Landlock and seccomp; every property held",
    "L2": "seccomp and one of namespaces and Landlock; every property held",
    "L1": "seccomp alone; files may be readable",
    "L0": "nothing to rely on",
    None: "no program can be confined here",
}
_WIDTH = 110


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What the doctor found. The fields are the keys of `--json`."""

    level: str | None = None
    floor: str
    ok: bool = False
    layers: tuple[str, ...] = ()
    landlock: int = 0
    fixed_addresses: bool = False
    python: str | None = None
    interpreter: str
    host: dict[str, str]
    properties: tuple[Property, ...]
    missing: tuple[Missing, ...]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    parser = argparse.ArgumentParser(prog="callgate", description="Code actions: programs that call your tools.")
    commands = parser.add_subparsers(required=True, metavar="command")
    doctor = commands.add_parser(
        "doctor",
        help="prove how well this host isolates programs, and say what is missing",
        description="Prove how well this host isolates programs, property by property, and say what is missing.",
        epilog=_JSON,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    doctor.add_argument("--json", action="store_true", help="print JSON, for other programs")
    doctor.add_argument("--floor", choices=LEVELS[::-1], default="L2", help="the level that is needed (default: L2)")
    doctor.add_argument(
        "--no-namespaces", action="store_true", help="do without them, as LocalSandbox(namespaces=False)"
    )
    doctor.add_argument("--python", metavar="PATH", help="the interpreter inside, as LocalSandbox(python=PATH)")
    doctor.set_defaults(run=functools.partial(_examine, doctor))
    add_replay_command(commands)
    add_estimate_command(commands)
    given = parser.parse_args(arguments)
    return given.run(given)


def _examine(doctor: argparse.ArgumentParser, given: argparse.Namespace) -> int:
    try:
        policy = jail_policy(namespaces=not given.no_namespaces, python=given.python)
        findings = _examined(policy, given.floor)
    except UsageError as error:
        doctor.error(str(error))
    text = json.dumps(asdict(findings), indent=2) if given.json else "\n".join(_told(findings))
    sys.stdout.write(f"{text}\n")
    return 0 if findings.ok else 1


def _examined(policy: JailPolicy, floor: str) -> Findings:
    host = {"system": platform.system(), "release": platform.release(), "machine": platform.machine()}
    path = policy.interpreter.path
    try:
        # The floor is judged here: what is proven is to be seen, whatever it is.
        standing = establish(policy, "L0", anew=True)
    except SandboxError as error:
        none = tuple(Property(name=name, held=False, layers=(), broken=()) for name in PROPERTIES)
        missing = missing_of(error) if isinstance(error, SandboxUnavailable) else [Missing.of("a sandbox", str(error))]
        return Findings(floor=floor, interpreter=path, host=host, properties=none, missing=tuple(missing))
    server, proof = standing.server, standing.proof
    server.close()
    return Findings(
        level=proof.level,
        floor=floor,
        ok=LEVELS.index(proof.level) >= LEVELS.index(floor),
        layers=tuple(layer for layer in LAYERS if layer in server.layers),
        landlock=server.landlock,
        fixed_addresses=server.fixed_addresses,
        python=server.python,
        interpreter=path,
        host=host,
        properties=proof.properties,
        missing=standing.missing,
    )


def _told(found: Findings) -> Iterator[str]:
    """Yield the lines that a person reads."""
    verdict = f"{'at or above' if found.ok else 'BELOW'} the floor {found.floor}"
    layers = [f"Landlock (version {found.landlock})" if each == "Landlock" else each for each in found.layers]
    python = f"{found.python}, {found.interpreter}" if found.python else found.interpreter
    addresses = "fixed" if found.fixed_addresses else "random: what depends on them may differ on replay"
    yield f"level        {found.level or 'none'}, {verdict}"
    yield f"             {_MEANING[found.level]}"
    yield f"host         {' '.join(found.host.values())}"
    yield f"interpreter  {python}"
    if found.level is not None:
        yield f"layers       {', '.join([*layers, RESOURCE_LIMITS])}"
        yield f"addresses    {addresses}"
        yield ""
        yield from _table(found.properties, found.landlock)
    if found.missing:
        yield ""
        yield "missing on this host"
        for each in found.missing:
            yield from _wrapped(f"{each.name}: {each.reason}", "  ")
            yield from _wrapped(each.cure, "      ")


def _table(properties: Sequence[Property], landlock: int) -> Iterator[str]:
    width = max(len(each.name) for each in properties)
    # Landlock holds the whole of the others; see proof.py for the versions.
    shares = {
        "network": "Landlock (TCP and abstract sockets)" if landlock >= 6 else "Landlock (TCP)",
        "processes": "Landlock (tracing and executing)",
    }
    yield f"{'property':{width}}  held  by"
    for each in properties:
        layers = [shares.get(each.name, layer) if layer == "Landlock" else layer for layer in each.layers]
        yield f"{each.name:{width}}  {'yes' if each.held else 'NO':4}  {', '.join(layers) or '-'}"
        if each.broken:
            yield from _wrapped(f"broken: {', '.join(each.broken)}", " " * (width + 8))


def _wrapped(text: str, margin: str) -> list[str]:
    """Return text in lines. Commands stay whole: they are to be copied."""
    if len(text) + len(margin) <= _WIDTH or "sudo " in text:
        return [margin + text]
    return textwrap.wrap(
        text, _WIDTH, initial_indent=margin, subsequent_indent=margin, break_long_words=False, break_on_hyphens=False
    )
