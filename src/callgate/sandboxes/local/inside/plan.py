"""What the host wants the fork server to be."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The policy of the host, in the words of the kernel: paths are those the server sees."""

    layers: frozenset[str]
    """Which of "namespaces", "Landlock" and "seccomp" confine a guest, besides resource limits."""
    interpreter: tuple[str, ...]
    """Where the interpreter's own files are."""
    shown: tuple[tuple[str, int, int], ...]
    """What else guests may read, packages and data: (path, device, inode), the inode 0 where it was checked before."""
    path: tuple[str, ...]
    """Where modules are found, after the standard library's places."""
    preload: tuple[str, ...]
    """Modules to import once, for all guests."""

    @property
    def namespaces(self) -> bool:
        """Whether guests have a tree, processes and a network of their own."""
        return "namespaces" in self.layers
