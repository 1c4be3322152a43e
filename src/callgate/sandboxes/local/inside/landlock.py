"""Landlock: which files may be opened, decided by the kernel apart from mounts and owners.

Numbers from include/uapi/linux/landlock.h. Nothing may be executed, no TCP port bound or reached, no signal sent and
no abstract socket reached outside the domain, as far as the kernel's version of Landlock goes.
"""

# ruff: noqa: PTH112

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from struct import Struct
from types import MappingProxyType

from .kernel import LayerMissing, replaced, syscall
from .places import DEVICES

_LAYER = "Landlock"
_CREATE_RULESET_VERSION = 1
_RULE_PATH_BENEATH = 1

_WRITE_FILE, _READ_FILE, _READ_DIR, _REMOVE_DIR, _REMOVE_FILE = 1 << 1, 1 << 2, 1 << 3, 1 << 4, 1 << 5
_MAKE_DIR, _MAKE_REG, _MAKE_SYM, _REFER, _TRUNCATE, _IOCTL_DEV = 1 << 7, 1 << 8, 1 << 12, 1 << 13, 1 << 14, 1 << 15
_FIRST_ABI_FS = (1 << 13) - 1

_READ = _READ_FILE | _READ_DIR
_OWN = _READ | _WRITE_FILE | _REMOVE_DIR | _REMOVE_FILE | _MAKE_DIR | _MAKE_REG | _MAKE_SYM | _REFER | _TRUNCATE

_RULESET, _PATH_RULE = Struct("=QQQ"), Struct("=Qi")


class Landlock:
    """The rules of all guests, prepared once by the server.

    Args:
        readable: files and directories that may be read, with all that lies below.
        listed: directories whose names, and those of all that lies below, may be listed but not read.
        own: directories that each guest has of its own, to do there what it likes.
        known: the device and the inode that some of them have to be.

    Raises:
        LayerMissing: if the kernel has none of it.
        Mistake: if something is not what it has to be.
    """

    def __init__(
        self,
        readable: Iterable[str],
        listed: Iterable[str] = (),
        own: tuple[str, ...] = (),
        known: Mapping[str, tuple[int, int]] = MappingProxyType({}),
    ) -> None:
        self.abi = syscall(_LAYER, "landlock_create_ruleset", 0, 0, _CREATE_RULESET_VERSION)
        """The kernel's version of Landlock, 1 or more."""
        handled = _FIRST_ABI_FS
        for abi, right in ((2, _REFER), (3, _TRUNCATE), (5, _IOCTL_DEV)):
            handled |= right if self.abi >= abi else 0
        self._handled = handled
        network = 0b11 if self.abi >= 4 else 0
        scopes = 0b11 if self.abi >= 6 else 0
        # An older kernel refuses a structure longer than its own.
        size = 24 if self.abi >= 6 else 16 if self.abi >= 4 else 8
        self._attributes = _RULESET.pack(handled, network, scopes)[:size]
        rules = [(path, _READ if os.path.isdir(path) else _READ_FILE) for path in readable]
        rules += [(path, _READ_DIR) for path in listed]
        rules += [(path, _READ_FILE | (_WRITE_FILE if path == os.devnull else 0)) for path in DEVICES]
        self._own, self._known = own, known
        self._opened = [(_open(path), rights) for path, rights in rules] if own else []
        self._ruleset = -1 if own else self._made(rules)

    def restrict(self) -> None:
        """Hold this process, and all it starts, to the rules. What is its own has to be there by now."""
        ruleset = self._ruleset
        if self._own:
            ruleset = self._made((path, _OWN) for path in self._own)
            for opened, rights in self._opened:
                self._allow(ruleset, opened, rights)
        syscall(_LAYER, "landlock_restrict_self", ruleset, 0)

    def _made(self, rules: Iterable[tuple[str, int]]) -> int:
        ruleset = syscall(_LAYER, "landlock_create_ruleset", self._attributes, len(self._attributes), 0)
        for path, rights in rules:
            opened = _open(path)
            if path in self._known:
                found = os.fstat(opened)
                if (found.st_dev, found.st_ino) != self._known[path]:
                    raise replaced(path)
            self._allow(ruleset, opened, rights)
            os.close(opened)
        return ruleset

    def _allow(self, ruleset: int, opened: int, rights: int) -> None:
        rule = _PATH_RULE.pack(rights & self._handled, opened)
        syscall(_LAYER, "landlock_add_rule", ruleset, _RULE_PATH_BENEATH, rule, 0)


def _open(path: str) -> int:
    try:
        return os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise LayerMissing.because(_LAYER, error) from None
