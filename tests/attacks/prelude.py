"""What each attack finds in front of its program: raw system calls, raw frames, and where the bait is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from attacks.attack import Attack

from callgate.sandboxes.local.inside.syscalls import AUDIT_ARCH, MACHINE, NUMBERS

_NEWER = {
    "arch_prctl": (158, None),
    "cachestat": (451, 451),
    "file_getattr": (468, 468),
    "inotify_add_watch": (254, 27),
    "listmount": (458, 458),
    "lsm_list_modules": (461, 461),
    "map_shadow_stack": (453, 453),
    "mincore": (27, 232),
    "mseal": (462, 462),
    "openat2": (437, 437),
    "pkey_alloc": (330, 289),
    "readahead": (187, 213),
    "sched_getattr": (315, 275),
    "setxattrat": (463, 463),
    "statmount": (457, 457),
}
"""Calls that the jail's own table does not know, x86_64's number first."""

_IMPORTS = "import ctypes, errno, mmap, os, struct, sys, threading, time\nfrom types import SimpleNamespace\n"

_HELPERS = {
    "call": """\
libc.syscall.restype = ctypes.c_long
def call(name, *arguments):
    ctypes.set_errno(0)
    words = [ctypes.c_long(one) if isinstance(one, int) else one for one in arguments]
    result = libc.syscall(ctypes.c_long(numbers[name]), *words)
    return -ctypes.get_errno() if result == -1 else result
""",
    "room": """\
def room(content):
    size = content if isinstance(content, int) else len(content)
    return ctypes.create_string_buffer(b"" if isinstance(content, int) else content, max(size, 1))
""",
    "at": "def at(buffer):\n    return ctypes.addressof(buffer)\n",
    "words": "def words(*items):\n    return (ctypes.c_char_p * (len(items) + 1))(*items, None)\n",
    "nap": """\
def nap(seconds):
    libc.nanosleep(struct.pack("qq", int(seconds), int(seconds % 1 * 1e9)), None)
""",
    "content": """\
def content(fd):
    return os.read(fd, 4096).decode(errors="replace") if fd >= 0 else fd
""",
    "send": "def send(data):\n    while data:\n        data = data[os.write(3, data):]\n",
    "post": """\
def post(body):
    data = len(body).to_bytes(4, "big") + body
    while data:
        data = data[os.write(3, data):]
""",
    "hear": """\
def hear():
    size = int.from_bytes(os.read(3, 4), "big")
    body = b""
    while len(body) < size:
        body += os.read(3, size - len(body))
    return body
""",
}
"""What a program may use: raw system calls that return a negative error number, and raw frames."""


def source_of(attack: Attack, program: str, bait: Mapping[str, Any]) -> str:
    """Return the whole text of a program of an attack."""
    if not attack.prelude:
        return program
    used = set(re.findall(r"\w+", program))
    numbers = {name: number for name in _named(program) if (number := _number(name)) is not None}
    parts = [_IMPORTS, "libc = ctypes.CDLL(None, use_errno=True)\n"]
    parts += [f"numbers = {numbers!r}\n"] if "call" in used or "numbers" in used else []
    shown = {name: value for name, value in bait.items() if name in used}
    parts += [f"bait = SimpleNamespace(**{shown!r})\n"] if "bait" in used else []
    parts += [text for name, text in _HELPERS.items() if name in used]
    return "".join(parts) + program


def missing_calls(program: str) -> list[str]:
    """Return the system calls that a program names and this processor does not have."""
    return [name for name in _named(program) if _number(name) is None]


def _named(text: str) -> list[str]:
    return sorted({name for name in re.findall(r'"(\w+)"', text) if name in NUMBERS or name in _NEWER})


def _number(name: str) -> int | None:
    if MACHINE not in AUDIT_ARCH:
        return None
    return (NUMBERS.get(name) or _NEWER[name])[0 if MACHINE == "x86_64" else 1]
