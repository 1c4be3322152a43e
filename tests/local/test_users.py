"""The same jail for an ordinary user, in another process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

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
from local.harness import value
program = '''
import os
def tried(path):
    try: return open(path).read()
    except OSError as e: return type(e).__name__
[os.getuid(), sorted(os.environ), tried("/etc/passwd"), tried({canary!r}), os.getcwd()]
'''
with LocalSandbox() as sandbox:
    try:
        print(json.dumps([os.getuid(), sandbox.check(), sandbox.fixed_addresses, value(sandbox, program)]))
    except SandboxUnavailable as error:
        print(json.dumps(str(error)))
"""


def test_an_ordinary_user_has_the_same_jail(sandbox: LocalSandbox, tmp_path: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("the other tests run as an ordinary user already")
    if not SYSTEM_PYTHON.exists():
        pytest.skip(f"no {SYSTEM_PYTHON}, and the interpreter of these tests may lie where only root can read")
    tests = Path(__file__).parent.parent
    path = [str(tests.parent / "src"), str(tests), str(Path(pydantic.__file__).parent.parent)]
    readable = subprocess.run(
        [SYSTEM_PYTHON, "-B", "-c", f"import sys; sys.path[:0] = {path!r}; import callgate, local.harness"],
        user=NOBODY, group=NOBODY, extra_groups=[], env={}, cwd="/", capture_output=True, text=True,
    )  # fmt: skip
    if readable.returncode:
        pytest.skip(f"an ordinary user cannot import the library here: {readable.stderr.splitlines()[-1]}")
    canary = tmp_path / "canary"
    canary.write_text("secret")
    host = subprocess.run(
        [SYSTEM_PYTHON, "-B", "-c", HOST.format(path=path, canary=str(canary))],
        user=NOBODY, group=NOBODY, extra_groups=[], env={"SECRET": "x"}, cwd="/", capture_output=True, text=True,
    )  # fmt: skip
    assert host.returncode == 0, host.stderr
    found = json.loads(host.stdout)
    if isinstance(found, str):
        pytest.skip(found)
    uid, level, fixed, inside = found
    assert (uid, level, fixed) == (NOBODY, "L3", sandbox.fixed_addresses)
    environment = ["HOME", "LANG", "PATH", "TZ", "USER"]
    assert inside == [NOBODY, environment, "FileNotFoundError", "FileNotFoundError", "/tmp"]
