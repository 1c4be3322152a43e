"""Landlock: which files may be opened, decided by the kernel apart from mounts and owners.

Numbers from include/uapi/linux/landlock.h. Nothing may be executed, no TCP port bound or reached, no signal sent and
no abstract socket reached outside the domain, as far as the kernel's version of Landlock goes.
"""

from __future__ import annotations

import os
from struct import Struct

from .kernel import LayerMissing, syscall

_LAYER = "Landlock"
_CREATE_RULESET_VERSION = 1
_RULE_PATH_BENEATH = 1

_WRITE_FILE, _READ_FILE, _READ_DIR, _REMOVE_DIR, _REMOVE_FILE = 1 << 1, 1 << 2, 1 << 3, 1 << 4, 1 << 5
_MAKE_DIR, _MAKE_REG, _MAKE_SYM, _REFER, _TRUNCATE, _IOCTL_DEV = 1 << 7, 1 << 8, 1 << 12, 1 << 13, 1 << 14, 1 << 15
_FIRST_ABI_FS = (1 << 13) - 1

_READ = _READ_FILE | _READ_DIR
_OWN = _READ | _WRITE_FILE | _REMOVE_DIR | _REMOVE_FILE | _MAKE_DIR | _MAKE_REG | _MAKE_SYM | _REFER | _TRUNCATE

_READABLE = ("/usr", "/lib", "/lib64", "/python", "/etc")
_DEVICES = (("/dev/null", _READ_FILE | _WRITE_FILE), ("/dev/zero", _READ_FILE), ("/dev/urandom", _READ_FILE))

_RULESET, _PATH_RULE = Struct("=QQQ"), Struct("=Qi")


class Landlock:
    """The rules of all guests, prepared once by the server; each guest adds its own /tmp."""

    def __init__(self) -> None:
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
        self._ruleset = _RULESET.pack(handled, network, scopes)[:size]
        present = [path for path in _READABLE if os.access(path, os.F_OK)]
        self._opened = [(_open(path), _READ) for path in present]
        self._opened += [(_open(path), rights) for path, rights in _DEVICES]

    def restrict(self) -> None:
        """Hold this process, and all it starts, to the rules. /tmp has to be its own by now."""
        ruleset = syscall(_LAYER, "landlock_create_ruleset", self._ruleset, len(self._ruleset), 0)
        for opened, rights in [*self._opened, (_open("/tmp"), _OWN)]:  # noqa: S108
            rule = _PATH_RULE.pack(rights & self._handled, opened)
            syscall(_LAYER, "landlock_add_rule", ruleset, _RULE_PATH_BENEATH, rule, 0)
        syscall(_LAYER, "landlock_restrict_self", ruleset, 0)


def _open(path: str) -> int:
    try:
        return os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError as error:
        raise LayerMissing.because(_LAYER, error) from None
