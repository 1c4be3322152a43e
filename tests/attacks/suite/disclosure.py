"""What a program can learn about the host and whoever runs it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

from attacks.attack import ROOT, Attack, Control, Trial, found_any, leaked
from attacks.stage import NOBODY

import callgate
from callgate.calls import Result, refusal
from callgate.tools import Call, Tool

L2_NAME = "uname shows the host's name without a UTS namespace, and seccomp cannot change an answer"
L2_NUMBERS = "without a pid namespace the numbers of the host's processes can be tried one by one"


PRIVATE = (Path(__file__).parents[2], Path(callgate.__file__).parent.parent)
"""Where the tests and the library are."""


@contextmanager
def _every_text_is_told() -> Iterator[None]:
    """Tell the program what a tool's exception says, as a naive host does."""

    def failed(tool: Tool, call: Call, error: BaseException) -> Result:
        return refusal("ToolFailed", str(error), tool=tool.name)

    with mock.patch("callgate.driver.failed", failed), mock.patch("callgate.driver_asyncio.failed", failed):
        yield


def told_paths(trial: Trial) -> bool:
    """A path of the library or of the tests, both private to the host, is shown."""
    return any(str(path) in trial.shown for path in PRIVATE)


def named_host(trial: Trial) -> bool:
    """The name of the machine is shown."""
    return os.uname().nodename in trial.shown


def is_user(trial: Trial) -> bool:
    """The number of the host's user is shown, and it is not the one that everybody has inside."""
    return trial.value == os.getuid() != NOBODY


_TELLS_OF_BOOM = """\
try:
    call_tool("boom")
except Exception as error:
    found = f"{type(error).__name__}: {error}"
found
"""

_PATHS = """\
places = [*sys.path, *sys.argv, sys.executable, sys.prefix, *getattr(sys, "orig_argv", [])]
for module in list(sys.modules.values()):
    places += [str(getattr(module, "__file__", "")), str(getattr(module, "__path__", "")), str(module)]
sorted({place for place in places if "/" in place})
"""

_TRACE = """\
import traceback
def fail():
    try:
        call_tool("nothing" + "there")
    except Exception:
        return traceback.format_exc() + repr(traceback.extract_stack())
fail() + repr([frame.filename for frame in traceback.extract_stack()])
"""

_ENVIRON = {
    "in its environment": "os.environ.get(bait.variable)",
    "in the environment of the C library": "libc.getenv.restype = ctypes.c_char_p\n(libc.getenv(bait.variable.encode()) or b'').decode()",
    "in its first environment": "open('/proc/self/environ').read()",
    "in the host's environment": "open(f'/proc/{bait.host}/environ').read()",
    "in its parent's environment": 'parent = call("getppid")\nopen(f"/proc/{parent}/environ").read()',
    "in anybody's environment": """\
found = []
for name in os.listdir("/proc"):
    try:
        found.append(open(f"/proc/{name}/environ").read())
    except OSError:
        pass
"".join(found)
""",
}

_PEER = """\
data = room(12)
made = call("getsockopt", 3, 1, 17, data, room(struct.pack("I", 12)))
struct.unpack("3i", data.raw)[0] > 0 if made == 0 else made
"""

_BY_FUTEX = """\
def owner_is(number):
    word = ctypes.c_uint32(number)
    return call("futex", ctypes.c_void_p(at(word)), 6 | 128, 0, struct.pack("qq", 1, 0), 0, 0)
owner_is(bait.host) != owner_is((1 << 22) - 2)
"""

_BY_NUMBER = """\
found = []
for name, given in {"getpgid": (bait.host,), "getsid": (bait.host,), "getpriority": (0, bait.host),
                    "sched_getscheduler": (bait.host,), "sched_getaffinity": (bait.host, 8, room(8)),
                    "clock_gettime": (~bait.host << 3 | 2, room(16)), "capget": (struct.pack("Ii", 0x20080522, bait.host), room(24))}.items():
    if call(name, *given) >= 0:
        found.append(name)
found
"""

ATTACKS = [
    *(Attack(name=f"find a secret {where}", program=program, won=leaked) for where, program in _ENVIRON.items()),
    Attack(
        name="learn what a tool's exception says",
        program=_TELLS_OF_BOOM,
        won=leaked,
        control=Control(patch=_every_text_is_told),
    ),
    Attack(
        name="learn the paths of a tool from its exception",
        program=_TELLS_OF_BOOM,
        won=told_paths,
        control=Control(patch=_every_text_is_told),
    ),
    Attack(name="learn the paths of the host from its modules", program=_PATHS, won=told_paths),
    Attack(
        name="learn the paths of the host from a traceback",
        program=_TRACE,
        won=told_paths,
        control=Control(where="inline"),
    ),
    Attack(
        name="learn what a tool is for that code may not call",
        program="try:\n    found = describe_tool('vau' + 'lt')\nexcept ToolFailed as error:\n    found = str(error)\nfound",
        won=leaked,
        control=Control(world=lambda world: world.but(opened=("vault",))),
    ),
    Attack(
        name="find a tool that code may not call",
        program="search_tools('vault opens closes')",
        won=leaked,
        control=Control(world=lambda world: world.but(opened=("vault",))),
    ),
    Attack(
        name="learn the name of the machine",
        program="os.uname().nodename",
        won=named_host,
        gaps={"no namespaces": L2_NAME},
    ),
    Attack(name="learn the name of the machine from its file", program="open('/etc/hostname').read()", won=named_host),
    Attack(
        name="learn the name of the machine from the kernel",
        program="open('/proc/sys/kernel/hostname').read()",
        won=named_host,
    ),
    Attack(
        name="learn the number of the user",
        program='call("getuid")',
        won=is_user,
        control=ROOT,
        gaps={"no namespaces, an ordinary user": "without a user namespace a guest runs as its host's user"},
        not_by_nobody=True,
    ),
    Attack(name="learn who its host is from the channel", program=_PEER),
    Attack(name="find the host among the processes by its number", program=_BY_NUMBER, won=found_any),
    Attack(name="find the host among the processes by a futex", program=_BY_FUTEX),
    Attack(
        name="find the host among the processes by its directory",
        program="os.path.exists(f'/proc/{bait.host}')",
        gaps={"no namespaces": L2_NUMBERS},
    ),
    Attack(
        name="learn the number of its process",
        program='call("getpid") > 1 and call("getppid") > 0',
        gaps={"no namespaces": L2_NUMBERS},
    ),
    Attack(name="learn how the machine was booted", program="'=' in open('/proc/cmdline').read()"),
    Attack(name="learn what is mounted", program="'/' in open('/proc/self/mountinfo').read()"),
    Attack(name="learn the identity of the machine", program="len(open('/etc/machine-id').read()) > 8"),
    Attack(name="learn who uses the machine", program="import pwd\n'root' in [one.pw_name for one in pwd.getpwall()]"),
    Attack(name="learn its address", program="open('/sys/class/net/lo/address').read() != ''"),
    Attack(name="learn its name servers", program="'nameserver' in open('/etc/resolv.conf').read()"),
    Attack(name="learn its neighbours", program="open('/etc/hosts').read() != ''"),
]
