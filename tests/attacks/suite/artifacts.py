"""Files that a program hands over: their names, their number, their size, and what they could be instead."""

from __future__ import annotations

import unicodedata
from unittest import mock

from attacks.attack import Attack, Control, Trial, World, leaked

SMALL = World().but(disk_mb=2)


class _Naive:
    """Takes names as they come."""

    def take(self, given: str) -> str:
        return given


AS_NAMED = Control(patch=lambda: mock.patch("callgate.product.Names", _Naive))
ENDLESS = Control(
    patch=lambda: mock.patch("callgate.product.MOST_FILES", 1 << 20), world=lambda world: world.but(disk_mb=1 << 10)
)


def named(trial: Trial) -> list[str]:
    """The names of what the host was handed."""
    return [] if trial.outcome is None else [one.name for one in trial.outcome.artifacts]


def astray(trial: Trial) -> bool:
    """A name leads elsewhere, shows what it is not, or means something to a shell."""
    return any(
        not name
        or name.startswith(("/", "~", "-", "."))
        or {"..", "."} & set(name.split("/"))
        or any(unicodedata.category(one) in ("Cc", "Cf", "Zl", "Zp") or one in "\\:" for one in name)
        for name in named(trial)
    )


def twice(trial: Trial) -> bool:
    """One file would be written over another."""
    names = [unicodedata.normalize("NFKC", name).casefold() for name in named(trial)]
    return len(names) != len(set(names)) or any(f"{one}/" in two for one in names for two in names)


def too_many(trial: Trial) -> bool:
    """More files than may be."""
    return len(named(trial)) > 100


def too_much(trial: Trial) -> bool:
    """More bytes than may be."""
    return trial.outcome is not None and sum(one.size for one in trial.outcome.artifacts) > 2 << 20


def of_the_host(trial: Trial) -> bool:
    """A file holds the secret of the host."""
    files = trial.outcome.artifacts if trial.outcome is not None else ()
    return leaked(trial) or any(trial.stage.canary.encode() in one.data for one in files)


_HAND = """\
import base64, json
def hand(name, data=b"x"):
    post(json.dumps({"file": name, "data": base64.b64encode(data).decode()}).encode())
"""
_END = 'post(b\'{"end":{"value":1,"error":null,"printed":0}}\')\nnap(1)\n'

_ASTRAY = {
    "above": "../../target",
    "in the middle": "a/../../target",
    "from the root": "/etc/cron.d/job",
    "of the user": "~/.ssh/authorized_keys",
    "that is hidden": ".bashrc",
    "that is an option": "-rf",
    "that turns around": "report\u202etxt.exe",
    "with a line's end": "report\nfake",
    "with a NUL": "report\x00.exe",
    "of Windows": "C:\\windows\\x",
    "that is none": "",
    "that is the directory": "..",
}

_OUT = """\
out = "/out" if os.path.isdir("/out") else "out"
"""

_LINKED = {
    "a link": "os.symlink(bait.secret, f'{out}/link')\n",
    "a link to its directory": "os.symlink(bait.shelf, f'{out}/folder')\n",
    "a second name": 'call("linkat", -100, bait.secret.encode(), -100, f"{out}/second".encode(), 0)\n',
}

_ENDED = ("ProtocolError", "frame_mb", "ProcessDied", "disk_mb")

ATTACKS = [
    *(
        Attack(
            name=f"hand over a file of a name {how}",
            program=f"{_HAND}hand({name!r})\n{_END}",
            won=astray,
            control=AS_NAMED,
            refusals=_ENDED,
        )
        for how, name in _ASTRAY.items()
    ),
    Attack(
        name="hand over a file in another's place",
        program=f"{_HAND}for name in ('a', 'A', 'a', '\\uff41', 'a/b'):\n    hand(name)\n{_END}",
        won=twice,
        control=AS_NAMED,
        refusals=_ENDED,
    ),
    Attack(
        name="hand over more files than it may",
        program=f"{_HAND}for n in range(150):\n    hand(str(n))\n{_END}",
        won=too_many,
        control=ENDLESS,
        refusals=_ENDED,
    ),
    Attack(
        name="hand over more than it may write",
        program=f"{_HAND}for n in range(3):\n    hand(str(n), bytes(1 << 20))\n{_END}",
        won=too_much,
        world=SMALL,
        control=ENDLESS,
        refusals=_ENDED,
    ),
    *(
        Attack(
            name=f"hand over a file of the host by {what}",
            program=_OUT + program,
            won=of_the_host,
        )
        for what, program in _LINKED.items()
    ),
]
