"""More memory, time, disk, processes, threads and descriptors than a program may have."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

from attacks.attack import PLAIN, Attack, Control, Trial, World, above, executed, swelled
from attacks.bare import Endless

from callgate.calls import Result
from callgate.codec import decode, encode_any
from callgate.sandboxes import frames

MIB = 1 << 20
SMALL = World().but(memory_mb=96, disk_mb=4, output_kb=64, threads=16)
BURNING = SMALL.but(cpu_seconds=0.2)
UNBOUND = Control(
    world=lambda world: world.but(output_kb=1 << 20, frame_mb=1 << 10, threads=1000),
    patch=lambda: mock.patch("callgate.outcome.visible", str),  # which is slow for so much
)

_MEMORY = {
    "by objects": """\
kept = []
try:
    while len(kept) < 24:
        kept.append(bytearray(8 << 20))
        kept[-1][::4096] = bytes(2048)
except MemoryError:
    pass
got = len(kept) * 8
kept.clear()
got
""",
    "by mapping": """\
libc.mmap.restype = ctypes.c_void_p
got = 0
while got < 192:
    place = libc.mmap(None, ctypes.c_size_t(8 << 20), 3, {flags}, -1, ctypes.c_long(0))
    if place in (None, (1 << 64) - 1):
        break
    ctypes.memset(place, 1, 8 << 20)
    got += 8
got
""",
    "by the heap": """\
libc.malloc.restype = ctypes.c_void_p
got = 0
while got < 192:
    place = libc.malloc(ctypes.c_size_t(100_000))
    if not place:
        break
    ctypes.memset(place, 1, 100_000)
    got += 100_000 / (1 << 20)
got
""",
    "by threads' stacks": """\
got, kept = 0, []
def fill(_):
    place = ctypes.create_string_buffer(6 << 20)
    kept.append(place)
entry = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(fill)
while got < 192:
    thread = ctypes.c_ulong()
    if libc.pthread_create(ctypes.byref(thread), None, entry, None):
        break
    libc.pthread_join(thread, None)
    if len(kept) * 6 <= got:
        break
    got = len(kept) * 6
kept.clear()
got
""",
    "by growing one mapping": """\
libc.mmap.restype = libc.mremap.restype = ctypes.c_void_p
size = 8 << 20
place, got = libc.mmap(None, ctypes.c_size_t(size), 3, 0x22, -1, ctypes.c_long(0)), 8
while got < 192:
    grown = libc.mremap(ctypes.c_void_p(place), ctypes.c_size_t(size), ctypes.c_size_t(2 * size), 1)
    if grown in (None, (1 << 64) - 1):
        break
    place, size, got = grown, 2 * size, got * 2
    ctypes.memset(place, 1, size)
got
""",
}
_MEMORY["by mapping, shared"] = _MEMORY["by mapping"].format(flags="0x21")
_MEMORY["by mapping"] = _MEMORY["by mapping"].format(flags="0x22")

_PARKED = {
    "pipes": """\
import fcntl
got, kept = 0, []
try:
    while got < 96:
        near, far = os.pipe()
        kept.append(near)
        os.set_blocking(far, False)
        size = call("fcntl", far, 1031, 1 << 20)
        got += os.write(far, bytes(1 << 20)) / (1 << 20)
except OSError:
    pass
got
""",
    "sockets": """\
import socket
got, kept = 0, []
try:
    while got < 96:
        kept += socket.socketpair()
        for one in kept[-2:]:
            one.setblocking(False)
            call("setsockopt", one.fileno(), 1, 7, struct.pack("I", 1 << 20), 4)
            try:
                while True:
                    got += one.send(bytes(1 << 16)) / (1 << 20)
            except BlockingIOError:
                pass
except OSError:
    pass
got
""",
    "sockets of many threads": """\
got, kept, block = [0], [], bytes(1 << 16)
def park(_):
    if call("close_range", (1 << 32) - 1, (1 << 32) - 1, 2) < 0:
        return
    pair, mine = (ctypes.c_int * 2)(), 0
    while mine < 64 << 20 and call("socketpair", 1, 1 | 0o4000, 0, pair) == 0:
        for one in pair:
            while (sent := call("write", one, block, len(block))) > 0:
                mine += sent
    got.append(mine / (1 << 20))
    call("pause")
entry, thread = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(park), ctypes.c_ulong()
for count in range(2, 5):
    libc.pthread_create(ctypes.byref(thread), None, entry, None)
    for _ in range(100):
        nap(0.005)
        if len(got) == count:
            break
sum(got)
""",
    "files that have no name": """\
got, kept = 0, []
try:
    while got < 96:
        kept.append(open(f"x{len(kept)}", "wb"))
        os.unlink(kept[-1].name)
        os.write(kept[-1].fileno(), bytes(4 << 20))
        got += 4
except OSError:
    pass
got
""",
}

_DISK = {
    "in one file": """\
got = 0
try:
    with open("big", "wb", buffering=0) as file:
        while got < 16:
            got += file.write(bytes(1 << 20)) / (1 << 20)
except OSError:
    pass
got
""",
    "in many files": """\
got = 0
try:
    while got < 16:
        with open(f"file{got}", "wb", buffering=0) as file:
            got += file.write(bytes(1 << 20)) / (1 << 20)
except OSError:
    pass
got
""",
    "by reserving": """\
got = 0
while got < 16:
    fd = call("openat", -100, b"file%d" % got, 0o102, 0o600)
    if fd < 0 or call("fallocate", fd, 0, 0, 4 << 20) < 0:
        break
    got += 4
got
""",
    "by touching what is mapped": """\
got = 0
try:
    while got < 16:
        fd = os.open(f"file{got}", os.O_CREAT | os.O_RDWR)
        os.ftruncate(fd, 4 << 20)
        page = mmap.mmap(fd, 4 << 20)
        for place in range(0, 4 << 20, 1 << 20):
            os.pread(fd, 1, place)
            if call("madvise", ctypes.c_void_p(at(ctypes.c_char.from_buffer(page)) + place), 1 << 20, 23) < 0:
                raise OSError
            got += 1
except OSError:
    pass
got
""",
}

_MANY = {
    "small files": """\
got = 0
try:
    while got < 1300:
        os.close(os.open(f"file{got}", os.O_CREAT))
        got += 1
except OSError:
    pass
got
""",
    "directories": """\
got = 0
try:
    while got < 1300:
        os.mkdir(f"folder{got}")
        got += 1
except OSError:
    pass
got
""",
    "names of one file": """\
got = 0
try:
    os.close(os.open("file", os.O_CREAT))
    while got < 1300:
        os.link("file", f"name{got}")
        got += 1
except OSError:
    pass
got
""",
    "links": """\
got = 0
try:
    while got < 1300:
        os.symlink("x" * 100, f"link{got}")
        got += 1
except OSError:
    pass
got
""",
}

_COUNTS = {
    "threads": (
        """\
import _thread
stay = _thread.allocate_lock()
stay.acquire()
got = 0
try:
    while got < 100:
        threading.Thread(target=stay.acquire, daemon=True).start()
        got += 1
except RuntimeError:
    pass
got
""",
        16,
        UNBOUND,
    ),
    "threads of the C library": (
        """\
settings, thread, got = room(64), ctypes.c_ulong(), 0
libc.pthread_attr_init(settings)
libc.pthread_attr_setstacksize(settings, ctypes.c_size_t(16384))
pause = ctypes.cast(libc.pause, ctypes.c_void_p)
while got < 700 and libc.pthread_create(ctypes.byref(thread), settings, pause, None) == 0:
    got += 1
got
""",
        400,
        Control(),
    ),
    "processes": (
        """\
got = 0
while got < 20:
    made = call("clone", 17, 0, 0, 0, 0)
    if made == 0:
        nap(5)
        call("exit_group", 0)
    if made < 0:
        break
    got += 1
got
""",
        0,
        Control(),
    ),
    "descriptors": (
        """\
got = 0
try:
    while got < 900:
        os.dup(0)
        got += 1
except OSError:
    pass
got
""",
        256,
        Control(),
    ),
    "timers": (
        """\
got, timer = 0, room(8)
while got < 2000 and call("timer_create", 1, 0, timer) == 0:
    got += 1
got
""",
        512,
        Control(),
    ),
    "locked pages": (
        'page = room(1 << 20)\n(call("mlock", ctypes.c_void_p(at(page)), 1 << 20) == 0) * 1',
        0,
        Control(),
    ),
}

_CLAIM = 'post(b\'{"call":1,"tool":"note","args":{"text":"still here"}}\')\npost(b\'{"rest":null}\')\nhear()\n'
_CLOCK = """\
used = room(16)
def cpu():
    call("clock_gettime", 2, used)
    seconds, rest = struct.unpack("qq", used.raw)
    return seconds + rest / 1e9
"""

_BURN = {
    "in Python": "while cpu() < 0.6:\n    sum(range(100_000))\n",
    "with its limit's signal ignored": "import signal\nsignal.signal(signal.SIGXCPU, signal.SIG_IGN)\n"
    "while cpu() < 0.6:\n    sum(range(100_000))\n",
    "in threads": """\
def burn(_):
    while cpu() < 0.6:
        sum(range(100_000))
entry, threads = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(burn), []
for _ in range(3):
    threads.append(ctypes.c_ulong())
    libc.pthread_create(ctypes.byref(threads[-1]), None, entry, None)
for one in threads:
    libc.pthread_join(one, None)
""",
}

_SWELLING = {
    "by what it prints": "for _ in range(28):\n    print('x' * (1 << 20))\n",
    "by its value": "chr(0x4e2d) * (9 << 20)\n",
}


_PARTS = "b'[],' * 2_000_000 + b'0'"
_HELD = {
    "a value of many parts": f'post(b\'{{"end":{{"value":[\' + {_PARTS} + b\'],"error":null,"printed":0}}}}\')\nnap(5)\n',
    "arguments of many parts": f"""\
post(b'{{"call":1,"tool":"note","args":{{"text":[' + {_PARTS} + b']}}}}')
post(b'{{"rest":null}}')
hear()
""",
    "many parts that nobody reads": f"post(b'{{\"drop\":1,\"x\":[' + {_PARTS} + b']}}')\nnap(5)\n",
    "many names of arguments": """\
post(b'{"call":1,"tool":"note","args":{' + b",".join(b'"%x":0' % n for n in range(700_000)) + b"}}")
post(b'{"rest":null}')
hear()
""",
    "many words to search for": "len(search_tools('ab ' * 2_000_000))\n",
}


@contextmanager
def _unbound() -> Iterator[None]:
    """Take away what bounds the parts of a frame, the frames of a guest, and what is searched for."""
    with ExitStack() as stack:
        for driver in ("callgate.driver_threads", "callgate.driver_asyncio"):
            stack.enter_context(mock.patch(f"{driver}.Frames", Endless))
        stack.enter_context(mock.patch("callgate.sandboxes.frames.size_within", return_value=0))
        stack.enter_context(mock.patch.dict(frames.KEYS, drop=2))
        stack.enter_context(mock.patch("callgate.discovery.QUERY_CHARS", 1 << 40, create=True))
        yield


@contextmanager
def _loaded_anew() -> Iterator[None]:
    """Take a value out of its text for each call that loads it."""

    def result_of(value: Any) -> Result:
        return Result(text=encode_any(decode(value.text) if isinstance(value, Result) else value))

    with ExitStack() as stack:
        for driver in ("callgate.driver", "callgate.driver_asyncio"):
            stack.enter_context(mock.patch(f"{driver}.result_of", result_of))
        yield


def flushed(trial: Trial) -> bool:
    """The host's disk was told to write everything down, as often as the program asked for it."""
    return trial.stage.flushes() >= FLUSHES


def printed_more(trial: Trial) -> bool:
    """More was kept of what the program printed than may be."""
    return len(trial.output) > SMALL.limits.output_kb << 10


FLUSHES = 400
_FLUSH = f"""\
fd = call("openat", -100, os.__file__.encode(), 0, 0)
for _ in range({FLUSHES}):
    call("fsync", fd)
"""

_REFUSED = ("memory_mb", "disk_mb", "threads", "OSError", "ProcessDied", "seconds")

ATTACKS = [
    *(
        Attack(name=f"get memory {how}", program=program, won=above(144), world=SMALL, refusals=_REFUSED)
        for how, program in _MEMORY.items()
    ),
    *(
        Attack(name=f"park memory in {what}", program=program, won=above(64), world=SMALL, refusals=_REFUSED)
        for what, program in _PARKED.items()
    ),
    *(
        Attack(name=f"fill the disk {how}", program=program, won=above(8), world=SMALL, refusals=_REFUSED)
        for how, program in _DISK.items()
    ),
    Attack(
        name="make a file that seems large",
        program="fd = os.open('sparse', os.O_CREAT | os.O_RDWR)\nos.ftruncate(fd, 1 << 33)\nos.stat('sparse').st_size",
        won=above(SMALL.limits.disk_mb * 2 * MIB),
        world=SMALL,
        refusals=_REFUSED,
    ),
    *(
        Attack(name=f"make too many {what}", program=program, won=above(1200), world=SMALL, refusals=_REFUSED)
        for what, program in _MANY.items()
    ),
    *(
        Attack(name=f"have too many {what}", program=program, won=above(most), world=SMALL, control=control)
        for what, (program, most, control) in _COUNTS.items()
    ),
    *(
        Attack(
            name=f"burn the processor {how}",
            program=_CLOCK + program + _CLAIM,
            won=executed("note"),
            world=BURNING,
            refusals=("cpu_seconds", "ProcessDied"),
        )
        for how, program in _BURN.items()
    ),
    Attack(
        name="show more than it may print",
        program="for _ in range(10):\n    print('x' * 20_000)\n",
        won=printed_more,
        world=SMALL,
        control=UNBOUND,
        refusals=("output_kb",),
    ),
    *(
        Attack(
            name=f"swell the host {how}",
            program=program,
            won=swelled,
            world=PLAIN.but(memory_mb=1024),
            control=UNBOUND,
            refusals=("output_kb", "frame_mb", "memory_mb", "seconds"),
        )
        for how, program in _SWELLING.items()
    ),
    *(
        Attack(
            name=f"swell the host by {what}",
            program=program,
            won=swelled,
            world=PLAIN.but(memory_mb=1024),
            control=Control(patch=_unbound),
            refusals=("frame_mb", "ProtocolError", "Deadlock", "LimitExceeded", "ProcessDied"),
        )
        for what, program in _HELD.items()
    ),
    Attack(
        name="swell the host by loading a value many times at once",
        program="'x' * 3_000_000",
        after="len(call_tools([('load_value', {'handle': bait.handles[0]})] * 32))",
        won=swelled,
        world=PLAIN.but(memory_mb=1024),
        control=Control(patch=_loaded_anew),
        refusals=("LimitExceeded",),
    ),
    Attack(
        name="flush the host's disk",
        program=_FLUSH,
        won=flushed,
        control=Control(absent=lambda trial: "no disk of this host tells how often it was flushed"),
    ),
]
