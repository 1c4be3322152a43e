"""System calls, each of them checked."""

from __future__ import annotations

import ctypes
import json
import os

from .syscalls import number

CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

_MOST = 6
_call = ctypes.CDLL(None, use_errno=True).syscall
_call.restype, _call.argtypes = ctypes.c_long, [ctypes.c_long, *[ctypes.c_void_p] * _MOST]
_REST = tuple((0,) * (_MOST - given) for given in range(_MOST + 1))


class LayerMissing(Exception):
    """A layer of the isolation cannot be set up here."""

    def __init__(self, layer: str, reason: str, code: int = 0) -> None:
        super().__init__(f"{layer}: {reason}")
        self.layer = layer
        """Which one; the host has a cure for each name."""
        self.reason = reason
        """What the kernel said; names no path."""
        self.code = code
        """The kernel's error number, or 0."""

    @classmethod
    def because(cls, layer: str, error: OSError) -> LayerMissing:
        """Return what a failed call of the standard library says about layer."""
        code = error.errno or 0
        return cls(layer, os.strerror(code), code)

    def report(self, descriptor: int) -> None:
        """Tell the host, which waits at the other end of descriptor."""
        text = json.dumps({"missing": self.layer, "reason": self.reason, "errno": self.code})
        os.write(descriptor, text.encode() + b"\n")


class Mistake(Exception):
    """What was asked for cannot be, on any host: the developer's to put right."""

    def report(self, descriptor: int) -> None:
        """Tell the host, which waits at the other end of descriptor."""
        os.write(descriptor, json.dumps({"mistake": str(self)}).encode() + b"\n")


def replaced(path: str) -> Mistake:
    """Return what to say where something else is shown than was chosen."""
    return Mistake(f"what is shown at {path} was replaced; make a new LocalSandbox for what is there now")


def syscall(layer: str, name: str, *arguments: int | bytes) -> int:
    """Return the result of a system call.

    Raises:
        LayerMissing: naming layer, if the kernel refuses, or has no such call.
    """
    nr = number(name)
    if nr is None:
        raise LayerMissing(layer, f"{name} is unknown on this processor")
    result: int = _call(nr, *arguments, *_REST[len(arguments)])
    if result == -1:
        code = ctypes.get_errno()
        raise LayerMissing(layer, f"{name}: {os.strerror(code)}", code)
    return result
