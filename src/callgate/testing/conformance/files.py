"""Files that a program leaves below /out come back as the outcome's artifacts."""

from __future__ import annotations

from callgate.outcome import Outcome
from callgate.testing.conformance.capabilities import needs
from callgate.testing.conformance.case import Case
from callgate.testing.conformance.ways import once

__all__ = ["Files"]


def files(outcome: Outcome) -> dict[str, bytes]:
    """Return name to content."""
    return {one.name: one.data for one in outcome.artifacts}


class Files:
    """What becomes of files."""

    @needs("artifacts")
    def test_files_come_back(self, case: Case) -> None:
        """Text, bytes, empty files, directories and names of any alphabet, byte for byte."""
        program = """
import os
os.makedirs('/out/plots/2024')
with open('/out/report é 中.csv', 'w') as file: file.write('id,total\\n' * 100)
with open('/out/plots/2024/a.bin', 'wb') as file: file.write(bytes(range(256)) * 1000)
open('/out/empty', 'w').close()
"""
        outcome = case.run(program)
        assert outcome.status == "completed", outcome.text
        assert files(outcome) == {
            "empty": b"",
            "plots/2024/a.bin": bytes(range(256)) * 1000,
            "report é 中.csv": b"id,total\n" * 100,
        }
        assert outcome.left_out == ()

    @needs("artifacts")
    def test_a_large_file_comes_back(self, case: Case) -> None:
        """Four megabytes."""
        program = (
            "with open('/out/large', 'wb') as file:\n    for n in range(4096): file.write(n.to_bytes(4, 'big') * 256)"
        )
        assert files(case.run(program))["large"] == b"".join(n.to_bytes(4, "big") * 256 for n in range(4096))

    @once
    @needs("artifacts")
    def test_files_of_a_program_that_fails_come_back(self, case: Case) -> None:
        """Also what was still open when it failed, as at the end of an interpreter."""
        outcome = case.run("file = open('/out/a', 'w')\nfile.write('so far')\n1 / 0")
        assert (outcome.status, files(outcome)) == ("failed", {"a": b"so far"})

    @once
    @needs("artifacts")
    def test_files_of_a_program_that_leaves_come_back(self, case: Case) -> None:
        """`os._exit` ends it, and its files are there."""
        outcome = case.run("with open('/out/a', 'w') as file: file.write('x')\nimport os\nos._exit(0)")
        assert (outcome.status, files(outcome)) == ("completed", {"a": b"x"})

    @once
    @needs("artifacts")
    def test_a_program_that_is_killed_leaves_none(self, case: Case) -> None:
        """What was ended from outside has sent no file."""
        program = "with open('/out/a', 'w') as file: file.write('x')\nwhile True: pass"
        outcome = case.run(program, limits=case.bounded(seconds=case.brief))
        assert (outcome.limit, outcome.artifacts) == ("seconds", ())

    @once
    @needs("artifacts")
    def test_links_are_not_followed(self, case: Case) -> None:
        """What is no regular file is named with the reason, and its target is not read."""
        outcome = case.run("import os\nopen('/out/a', 'w').close()\nos.symlink('/etc/passwd', '/out/link')")
        assert list(files(outcome)) == ["a"]
        assert [one.name for one in outcome.left_out] == ["link"]

    @once
    @needs("artifacts")
    def test_too_many_files_are_counted(self, case: Case) -> None:
        """A hundred come back; the others are counted."""
        outcome = case.run("for n in range(130): open(f'/out/{n:03}', 'w').close()")
        assert (len(outcome.artifacts), sum(one.count for one in outcome.left_out)) == (100, 30)

    @once
    @needs("artifacts")
    def test_a_file_that_is_too_large_is_named(self, case: Case) -> None:
        """With its size, and the others come back."""
        program = "open('/out/a', 'w').close()\nwith open('/out/big', 'wb') as file: file.write(bytes(3_000_000))"
        outcome = case.run(program, limits=case.bounded(frame_mb=1))
        assert list(files(outcome)) == ["a"]
        assert [(one.name, one.size) for one in outcome.left_out] == [("big", 3_000_000)]

    @once
    @needs("artifacts")
    def test_a_program_finds_none_when_it_begins(self, case: Case) -> None:
        """Neither below /out nor below /tmp, whatever ran before."""
        for _ in range(2):
            program = "import os\nfound = os.listdir('/out')\nopen('/out/left', 'w').close()\nfound"
            outcome = case.run(program)
            assert (outcome.value, list(files(outcome))) == ([], ["left"])
