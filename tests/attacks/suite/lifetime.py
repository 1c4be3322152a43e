"""Going on after one's time, one's end or one's host."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from unittest import mock

from attacks.attack import Attack, Control, Trial, World, executed, survived

from callgate.sandboxes.channel import SocketGuest

SHORT = World().but(seconds=0.3)
DOOMED = World(killed=True)
LONGER = Control(world=lambda world: world.but(seconds=20))


@contextmanager
def _nobody_is_killed() -> Iterator[None]:
    """Let go of guests without ending them."""

    def kill(guest: SocketGuest) -> None:
        with suppress(OSError):
            guest._sock.shutdown(socket.SHUT_RDWR)

    with mock.patch.object(SocketGuest, "kill", kill):
        yield


SPARED = Control(patch=_nobody_is_killed)

_CLAIM = """\
post(b'{"call":1,"tool":"note","args":{"text":"still here"}}')
post(b'{"rest":null}')
hear()
"""

_LATE = {
    "by sleeping in the kernel": "nap(0.9)\n",
    "by calculating": """\
total, began = 0, os.times().elapsed
while os.times().elapsed < began + 0.9:
    total += sum(range(100_000))
""",
    "by one long calculation": "began = 3 ** 2_000_000\nnap(0.9)\n",
    "by waiting for what never comes": 'near, far = os.pipe()\ncall("ppoll", struct.pack("ihh", near, 1, 0), 1, struct.pack("qq", 0, 900_000_000), 0, 0)\n',
    "by ignoring all signals": """\
import signal
for number in range(1, 65):
    try:
        signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError):
        pass
signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))
nap(0.9)
""",
    "by catching everything": """\
for _ in range(600):
    try:
        nap(0.0015)
    except BaseException:
        pass
""",
    "by a thread of the C library": """\
def stay(_):
    nap(0.9)
entry, thread = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(stay), ctypes.c_ulong()
libc.pthread_create(ctypes.byref(thread), None, entry, None)
libc.pthread_join(thread, None)
""",
}

_DAEMON = """\
made = libc.fork()
if made == 0:
    call("setsid")
    if libc.fork() == 0:
        nap(20)
    call("exit_group", 0)
os.waitpid(made, 0) if made > 0 else made
"""

_LEFT = {
    "a child": 'made = libc.fork()\nif made == 0:\n    call("setsid")\n    nap(20)\n    call("exit_group", 0)\nnap(0.1)\nmade\n',
    "a grandchild of a session of its own": _DAEMON,
    "a child that ignores signals": """\
import signal
for number in range(1, 65):
    try:
        signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError):
        pass
"""
    + _DAEMON,
    "a sibling": """\
made = call("clone", 0x8011, 0, 0, 0, 0)
if made == 0:
    call("setsid")
    nap(20)
    call("exit_group", 0)
nap(0.1)
made
""",
    "a child by clone3": """\
made = call("clone3", room(struct.pack("8Q", 0, 0, 0, 0, 0, 0, 0, 0)), 64)
if made == 0:
    call("setsid")
    nap(20)
    call("exit_group", 0)
nap(0.1)
made
""",
    "a child of a program": 'libc.system(b"setsid sleep 20 >/dev/null 2>&1 &")\nnap(0.1)\n',
}

_END = 'post(b\'{"end":{"value":1,"error":null,"printed":0}}\')\n'

_AFTER = {
    "after its end": f"{_END}nap(20)\n",
    "after closing its channel": "os.close(3)\nnap(20)\n",
    "after its end, in a thread": f"""\
def stay(_):
    nap(20)
entry, thread = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(stay), ctypes.c_ulong()
libc.pthread_create(ctypes.byref(thread), None, entry, None)
{_END}libc.syscall(ctypes.c_long(numbers["exit"]), 0)
""",
    "after breaking the protocol": "post(b'nonsense')\nnap(20)\n",
    "stopped": f'{_END}call("tgkill", call("getpid"), call("gettid"), 19)\nnap(20)\n',
}

_ORPHANS = {
    "by clearing the signal of its parent's death": """\
call("prctl", 1, 0, 0, 0, 0)
post(b'{"call":1,"tool":"note","args":{"text":"ready"}}')
nap(20)
""",
    # A host that is not dead yet ends a guest whose channel is closed.
    "by ignoring what it can": """\
import signal
signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))
call("prctl", 1, 15, 0, 0, 0)
post(b'{"call":1,"tool":"note","args":{"text":"ready"}}')
nap(1)
os.close(3)
nap(20)
""",
    "by a child of its own": f"""\
{_DAEMON}
post(b'{{"call":1,"tool":"note","args":{{"text":"ready"}}}}')
nap(20)
""",
}


def ready_and_left(trial: Trial) -> bool:
    """The program had begun, the host was killed, and a process is left."""
    return trial.value is True and survived(trial)


ATTACKS = [
    *(
        Attack(
            name=f"go on after its time {how}",
            program=program + _CLAIM,
            won=executed("note"),
            world=SHORT,
            control=LONGER,
            refusals=("seconds",),
        )
        for how, program in _LATE.items()
    ),
    *(Attack(name=f"leave {what}", program=program, won=survived) for what, program in _LEFT.items()),
    *(
        Attack(
            name=f"stay {how}", program=program, won=survived, control=SPARED, refusals=("ProcessDied", "ProtocolError")
        )
        for how, program in _AFTER.items()
    ),
    *(
        Attack(name=f"outlive its host {how}", program=program, won=ready_and_left, world=DOOMED)
        for how, program in _ORPHANS.items()
    ),
]
