"""What one program leaves for the next, or does to one that runs at the same time."""

from __future__ import annotations

from attacks.attack import REUSED, Attack, Control, Trial, told_so

SHARED_PAGES = (
    "guests map the same files, and the kernel wakes who waits at the same place of a file; SECURITY.md says so"
)

_INTERPRETER = {
    "a builtin": ("import builtins\nbuiltins.left = 1", "import builtins\nhasattr(builtins, 'left')"),
    "a changed builtin": (
        "import builtins\nbuiltins.sorted = lambda *_, **__: 'mine'",
        "sorted([2, 1]) == 'mine'",
    ),
    "a changed module": ("import json\njson.dumps = lambda *_, **__: 'mine'", "import json\njson.dumps(1) == 'mine'"),
    "a new module": ("import types\nsys.modules['left'] = types.ModuleType('left')", "'left' in sys.modules"),
    "a changed path": ("sys.path.insert(0, '/left')", "'/left' in sys.path"),
    "a way to import": (
        "sys.meta_path.insert(0, type('Left', (), {'find_spec': lambda *_: None})())",
        "any(type(one).__name__ == 'Left' for one in sys.meta_path)",
    ),
    "a variable of the environment": ("os.environ['LEFT'] = '1'", "os.environ.get('LEFT') == '1'"),
    "a variable of the C library": (
        'libc.setenv(b"LEFT", b"1", 1)',
        'libc.getenv.restype = ctypes.c_char_p\nlibc.getenv(b"LEFT") == b"1"',
    ),
    "a working directory": ("os.mkdir('left')\nos.chdir('left')", "os.getcwd().endswith('/left')"),
    "a mask for new files": ("os.umask(0o123)", "os.umask(0) == 0o123"),
    "an open descriptor": (
        'near, far = os.pipe()\ncall("dup3", near, 77, 0)',
        'call("fcntl", 77, 1, 0) >= 0',
    ),
    "a lower limit": (
        'call("prlimit64", 0, 7, struct.pack("QQ", 50, 50), 0)',
        "import resource\nresource.getrlimit(resource.RLIMIT_NOFILE)[0] == 50",
    ),
    "an ignored signal": (
        "import signal\nsignal.signal(15, signal.SIG_IGN)",
        "import signal\nsignal.getsignal(15) == signal.SIG_IGN",
    ),
    "a blocked signal": (
        "import signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, [14])",
        "import signal\n14 in signal.pthread_sigmask(signal.SIG_BLOCK, [])",
    ),
    "a timer": (
        'call("setitimer", 0, struct.pack("4q", 0, 0, 1000, 0), 0)',
        'left = room(32)\ncall("getitimer", 0, left)\nany(left.raw)',
    ),
    "a hook for what is executed": ("sys.settrace(lambda *_: None)", "sys.gettrace() is not None"),
    "a depth of recursion": ("sys.setrecursionlimit(4321)", "sys.getrecursionlimit() == 4321"),
    "a collector that is off": (
        "import gc\ngc.disable()\ngc.set_threshold(0)",
        "import gc\ngc.get_threshold()[0] == 0",
    ),
    "an answer of the bridge": (
        "call_tool.__globals__['left'] = call_tool.__globals__['call_tool'] = lambda *_, **__: 'mine'",
        "'left' in call_tool.__globals__",
    ),
    "a thread": (
        """\
def stay(_):
    nap(20)
entry, thread = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(stay), ctypes.c_ulong()
sys.left = entry
libc.pthread_create(ctypes.byref(thread), None, entry, None)
""",
        'hasattr(sys, "left")',
    ),
    "an object that the next may find": (
        "class Left: pass\nsys.left = Left()",
        "import gc\n'Left' in [type(one).__name__ for one in gc.get_objects()]",
    ),
}

_OUTSIDE = {
    "a file": ("open(bait.shared, 'w').close()", "os.path.exists(bait.shared)", True),
    "a file in the directory for temporary files": (
        "import tempfile\nopen(f'/tmp/{bait.shared}', 'w').close()",
        "found = os.path.exists(f'/tmp/{bait.shared}')\nos.remove(f'/tmp/{bait.shared}') if found else None\nfound",
        False,
    ),
    "a file in shared memory": (
        'call("openat", -100, f"/dev/shm/{bait.shared}".encode(), 0o102, 0o600)',
        'call("unlinkat", -100, f"/dev/shm/{bait.shared}".encode(), 0) == 0',
        False,
    ),
    "a segment of shared memory": (
        'call("shmget", bait.number, 4096, 0o1600)',
        'made = call("shmget", bait.number, 4096, 0o600)\ncall("shmctl", made, 0, 0) == 0 if made >= 0 else made',
        False,
    ),
    "a semaphore": (
        'call("semget", bait.number, 1, 0o1600)',
        'made = call("semget", bait.number, 1, 0o600)\ncall("semctl", made, 0, 0, 0) == 0 if made >= 0 else made',
        False,
    ),
    "a queue of messages": (
        'call("msgget", bait.number, 0o1600)',
        'made = call("msgget", bait.number, 0o600)\ncall("msgctl", made, 0, 0) == 0 if made >= 0 else made',
        False,
    ),
    "a named queue of messages": (
        'call("mq_open", b"callgate", 66, 0o600, 0)',
        'call("mq_unlink", b"callgate") == 0',
        False,
    ),
    "a key": (
        'call("add_key", b"user", bait.shared.encode(), b"left", 4, -4)',
        'found = call("keyctl", 10, -4, b"user", bait.shared.encode(), 0)\ncall("keyctl", 21, found) if found >= 0 else 0\nfound > 0',
        False,
    ),
}

_LOCK = """\
file = open(os.__file__, "rb")
call("flock", file.fileno(), 2)
look(at="lock")
"""

_FLAGS = (
    'call("fcntl", 0, 4, 0o4000 | call("fcntl", 0, 3, 0))',
    'call("fcntl", 0, 3, 0) & 0o4000 == 0o4000',
)

_OFFSET = ("os.lseek(0, 12345, 0)\nos.lseek(0, 0, 1) == 12345", "os.lseek(0, 0, 1) == 12345")

_TMP = """\
open(f"/tmp/{bait.shared}", "w").write("here")
meet(n=1)
meet(n=2)
"""
_TMP_SEEN = """\
meet(n=1)
found = os.path.exists(f"/tmp/{bait.shared}")
os.remove(f"/tmp/{bait.shared}") if found else None
meet(n=2)
found
"""

_FUTEX = """\
fd = call("openat", -100, os.__file__.encode(), 0, 0)
libc.mmap.restype = ctypes.c_void_p
page = libc.mmap(None, ctypes.c_size_t(4096), 1, 1, fd, ctypes.c_long(0))
word = ctypes.c_uint32.from_address(page).value
"""
_WAIT = _FUTEX + 'meet(n=1)\ncall("futex", ctypes.c_void_p(page), 0, word, struct.pack("qq", 3, 0), 0, 0) == 0\n'
_WAKE = (
    _FUTEX
    + """\
meet(n=1)
woken = 0
for _ in range(200):
    woken = call("futex", ctypes.c_void_p(page), 1, 1, 0, 0, 0)
    if woken:
        break
    nap(0.01)
woken == 1
"""
)

_SEEN_ABSTRACT = """\
meet(n=1)
made = call("socket", 1, 1, 0)
address = struct.pack("=H", 1) + b"\\0" + bait.shared.encode()
found = call("connect", made, address, len(address)) == 0
meet(n=2)
found
"""
_ABSTRACT = """\
made = call("socket", 1, 1, 0)
address = struct.pack("=H", 1) + b"\\0" + bait.shared.encode()
call("bind", made, address, len(address))
call("listen", made, 5)
meet(n=1)
meet(n=2)
"""

_NUMBERED = "open(f'/tmp/{bait.shared}', 'w').write(str(call('getpid')))\n".replace("'", '"')


def both(trial: Trial) -> bool:
    """Both programs say that they met."""
    return trial.value is True and told_so(trial)


ATTACKS = [
    *(
        Attack(name=f"leave {what}", program=program, after=after, won=told_so, control=REUSED)
        for what, (program, after) in _INTERPRETER.items()
    ),
    *(
        Attack(
            name=f"leave {what}, outside",
            program=program,
            after=after,
            won=told_so,
            control=REUSED if reused else Control(),
        )
        for what, (program, after, reused) in _OUTSIDE.items()
    ),
    Attack(name="leave a flag on a shared descriptor", program=_FLAGS[0], after=_FLAGS[1], won=told_so),
    Attack(name="leave a place in a shared descriptor", program=_OFFSET[0], after=_OFFSET[1], won=told_so),
    Attack(name="lock a file of everybody", program=_LOCK),
    Attack(name="see a file of another program", program=_TMP, beside=_TMP_SEEN, won=told_so),
    Attack(name="reach a socket of another program", program=_ABSTRACT, beside=_SEEN_ABSTRACT, won=told_so),
    Attack(
        name="wake another program",
        program=_WAIT,
        beside=_WAKE,
        won=both,
        gaps={"namespaces": SHARED_PAGES, "no namespaces": SHARED_PAGES},
    ),
]
