"""The same jail for an ordinary user, in another process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pydantic
import pytest

from callgate.sandboxes.local import LocalSandbox

SYSTEM_PYTHON = Path(f"/usr/bin/python3.{sys.version_info.minor}")
NOBODY = 65534

HOST = """
import json, os, sys
sys.path[:0] = {path!r}
from callgate.errors import SandboxUnavailable
from callgate.sandboxes.local import LocalSandbox
from callgate.sandboxes.local.policy import jail_policy
from local.harness import Server, value
program = '''
import os
def tried(path):
    try: return open(path).read()
    except OSError as e: return type(e).__name__
[os.getuid(), sorted(os.environ), tried("/etc/passwd"), tried({canary!r}), os.getcwd()]
'''
{run}
"""
FULL = """
with LocalSandbox() as sandbox:
    try:
        print(json.dumps([os.getuid(), sandbox.check(), sandbox.fixed_addresses, value(sandbox, program)]))
    except SandboxUnavailable as error:
        print(json.dumps(str(error)))
"""
BARE = """
try:
    with Server(jail_policy(namespaces=False)) as server:
        print(json.dumps([os.getuid(), sorted(server.layers), server.fixed_addresses, value(server, program)]))
except SandboxUnavailable as error:
    print(json.dumps(str(error)))
"""
ENVIRONMENT = ["HOME", "LANG", "PATH", "TZ", "USER"]


def as_an_ordinary_user(run: str, canary: Path) -> Any:
    if os.getuid() != 0:
        pytest.skip("the other tests run as an ordinary user already")
    if not SYSTEM_PYTHON.exists():
        pytest.skip(f"no {SYSTEM_PYTHON}, and the interpreter of these tests may lie where only root can read")
    tests = Path(__file__).parent.parent
    path = [
        str(tests.parent / "src"),
        str(tests),
        *(str(Path(each.__file__).parent.parent) for each in (pydantic, pytest)),
    ]
    readable = subprocess.run(
        [SYSTEM_PYTHON, "-B", "-c", f"import sys; sys.path[:0] = {path!r}; import callgate, local.harness"],
        user=NOBODY, group=NOBODY, extra_groups=[], env={}, cwd="/", capture_output=True, text=True,
    )  # fmt: skip
    if readable.returncode:
        pytest.skip(f"an ordinary user cannot import the library here: {readable.stderr.splitlines()[-1]}")
    canary.write_text("secret")
    host = subprocess.run(
        [SYSTEM_PYTHON, "-B", "-c", HOST.format(path=path, canary=str(canary), run=run)],
        user=NOBODY, group=NOBODY, extra_groups=[], env={"SECRET": "x"}, cwd="/", capture_output=True, text=True,
    )  # fmt: skip
    assert host.returncode == 0, host.stderr
    found = json.loads(host.stdout)
    if isinstance(found, str):
        pytest.skip(found)
    return found


def test_an_ordinary_user_has_the_same_jail(sandbox: LocalSandbox, tmp_path: Path) -> None:
    uid, level, fixed, inside = as_an_ordinary_user(FULL, tmp_path / "canary")
    assert (uid, level, fixed) == (NOBODY, "L3", sandbox.fixed_addresses)
    assert inside == [NOBODY, ENVIRONMENT, "FileNotFoundError", "FileNotFoundError", "/tmp"]


def test_an_ordinary_user_has_the_same_without_namespaces(sandbox: LocalSandbox, tmp_path: Path) -> None:
    uid, layers, fixed, inside = as_an_ordinary_user(BARE, tmp_path / "canary")
    assert (uid, layers, fixed) == (NOBODY, ["Landlock", "seccomp"], sandbox.fixed_addresses)
    assert inside == [NOBODY, ENVIRONMENT, "PermissionError", "PermissionError", "/tmp"]
