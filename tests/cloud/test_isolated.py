"""The relay as root: what it does in a real sandbox, done here in a root directory that is thrown away."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("e2b", reason="needs the E2B SDK: pip install 'callgate[e2b]'")

NOT_HERE = 77

ENTER = """
set -e
mount -t tmpfs none {at} || exit 77
mkdir {at}/upper {at}/work {at}/root
mount -t overlay none -o lowerdir=/,upperdir={at}/upper,workdir={at}/work {at}/root || exit 77
mount --rbind /proc {at}/root/proc
mount --rbind /dev {at}/root/dev
exec chroot {at}/root sh -c {command}
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to make a root directory that is thrown away")
def test_programs_have_a_user_and_files_of_their_own(tmp_path: Path) -> None:
    script = Path(__file__).with_name("isolated.py")
    command = f"cd {shlex.quote(str(Path.cwd()))} && {shlex.quote(sys.executable)} {shlex.quote(str(script))}"
    text = ENTER.format(at=shlex.quote(str(tmp_path)), command=shlex.quote(command))
    path = os.pathsep.join(one for one in sys.path if one)
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", text],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": path},
    )
    if done.returncode == NOT_HERE or "unshare" in done.stderr:
        pytest.skip(f"this host has no overlay file system, or lets nobody mount it: {done.stderr.strip()[:200]}")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["level"] == "vm", told["text"]
    assert told["stray"] == 0, "what a program started ends with it"
    first, second = told["values"]
    assert first["user"] != second["user"]
    for value in (first, second):
        assert value["user"] >= 100_000
        assert (value["capabilities"], value["no_new_privs"]) == (0, "1")
        assert value["found"] == [[], []]
        assert value["full"] == "No space left on device"
        assert value["etc"] == "Permission denied"
        assert value["relay"] is not None
    assert not Path("/out").exists() or Path("/out").stat().st_dev == Path("/").stat().st_dev
