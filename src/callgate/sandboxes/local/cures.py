"""What to do where this host cannot isolate a program, in a person's words: the command that provides what is missing.

Hosts forbid the same thing in different ways, so what is proposed depends on what this one shows of itself.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from callgate.errors import SandboxUnavailable

__all__ = ["Missing", "missing_of", "together", "unavailable"]

_KINDS = ("user", "mnt", "pid", "net", "ipc", "uts", "cgroup")
_NEEDED = {"namespaces": (5, 12), "Landlock": (5, 13), "a fork server": (5, 3)}
"""The first kernel that has it all: mount_setattr, landlock_create_ruleset, pidfd_open."""
_REMOTE = "or use a remote sandbox"
_CALLS = "unshare, setns, mount, umount2, pivot_root, open_tree, move_mount and mount_setattr"
_CURES = {
    "Linux": "Run this on Linux, in a Linux virtual machine or in WSL 2, or use a remote sandbox.",
    "a known processor": "Use a 64-bit Python on x86_64 or aarch64, or a remote sandbox.",
    "an unprivileged identity": (
        "Run the host process as an ordinary user, for example `docker run --user 65534`, or give its container the "
        "capabilities SETUID and SETGID and a user mapping that contains 65534."
    ),
    "seccomp": "Use a kernel built with CONFIG_SECCOMP_FILTER, as those of all distributions are.",
    "a temporary directory": (
        "Give the host process a directory it can write to: TMPDIR=/path, or `docker run --tmpfs /tmp`."
    ),
    "a process": (
        "Leave this user room for more processes and memory (ulimit -u, TasksMax= of its service, `docker run "
        "--pids-limit`), or run fewer programs at the same time: LocalSandbox(guests=...)."
    ),
    "/proc": "Give the host process a /proc, as root: mount -t proc proc /proc, in its chroot or container.",
    "private files": (
        "Let this user mount a tmpfs in namespaces of its own, where there is memory for it, or do without files and "
        "namespaces: LocalSandbox(namespaces=False), on the command line --no-namespaces."
    ),
    "a kept promise": (
        "Do not run untrusted programs on this host. Report this with the output of `callgate doctor` and `uname -a`."
    ),
    "namespaces": "Leave out namespaces=False (on the command line: --no-namespaces).",
}
_OTHER = (
    "Use a host or a container whose seccomp profile and limits leave this to an ordinary user, or a remote sandbox."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """One thing this host lacks."""

    name: str
    reason: str
    """How it showed; names nothing private to the host."""
    cure: str
    """What provides it."""

    @classmethod
    def of(cls, name: str, reason: str) -> Missing:
        """Return it with the cure for this host."""
        return cls(name=name, reason=reason, cure=_cure(name))


def unavailable(name: str, reason: str) -> SandboxUnavailable:
    """Return the error that says one thing is missing, why, and what provides it."""
    return together([Missing.of(name, reason)])


def together(missing: Sequence[Missing]) -> SandboxUnavailable:
    """Return the error that says all of this at once."""
    found = "; ".join(f"{each.name} ({each.reason})" for each in missing)
    cure = " ".join(dict.fromkeys(each.cure for each in missing))
    return SandboxUnavailable(
        f"this host cannot isolate programs: {found}. {cure} `callgate doctor` shows what it has.",
        missing=[each.name for each in missing],
        reasons=[each.reason for each in missing],
        cure=cure,
    )


def missing_of(error: SandboxUnavailable) -> list[Missing]:
    """Return what an error says is missing."""
    return [Missing.of(name, reason) for name, reason in zip(error.missing, error.reasons, strict=True)]


def _cure(name: str) -> str:
    kind = "namespaces" if name.endswith(" namespaces") else name
    if kind in _NEEDED and (kernel := _kernel()) is not None and kernel < _NEEDED[kind]:
        return _older(kernel, _NEEDED[kind])
    if name.endswith(" namespaces"):
        return _namespaces()
    if name == "Landlock":
        return _landlock()
    if name == "a readable interpreter":
        return _interpreter()
    return _CURES.get(name, _OTHER)


def _older(kernel: tuple[int, int], needed: tuple[int, int]) -> str:
    have, want = (".".join(map(str, version)) for version in (kernel, needed))
    if _windows():
        return f"Run `wsl --update` in PowerShell: this is Linux {have}, Linux {want} or later is needed, {_REMOTE}."
    return f"Use Linux {want} or later; this is {have}, {_REMOTE}."


def _namespaces() -> str:
    if _gvisor():
        return f"Run the host process outside of gVisor (in Kubernetes: without its runtimeClassName), {_REMOTE}."
    if _read("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == "1":
        return (
            "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, which lasts until the next boot, or an "
            f"AppArmor profile for the interpreter: {_apparmor()}"
        )
    if _read("/proc/sys/kernel/unprivileged_userns_clone") == "0":
        return "sudo sysctl -w kernel.unprivileged_userns_clone=1"
    if none := [kind for kind in _KINDS if _read(f"/proc/sys/user/max_{kind}_namespaces") == "0"]:
        return "sudo sysctl -w " + " ".join(f"user.max_{kind}_namespaces=10000" for kind in none)
    return _container() or (
        "Let this user make namespaces: outside of a chroot, and in a service or a container whose seccomp profile "
        f"allows {_CALLS}, {_REMOTE}."
    )


def _container() -> str | None:
    if os.environ.get("KUBERNETES_SERVICE_HOST") or "kubepods" in _read("/proc/1/cgroup"):
        return (
            "Give the container securityContext: {seccompProfile: {type: Unconfined}, appArmorProfile: {type: "
            f"Unconfined}}}}, or a Localhost profile that allows {_CALLS}."
        )
    if _exists("/run/.containerenv"):
        return (
            "podman run --security-opt seccomp=unconfined --security-opt label=disable, "
            f"or a seccomp profile that allows {_CALLS}."
        )
    if _exists("/.dockerenv"):
        return (
            "docker run --security-opt seccomp=unconfined --security-opt apparmor=unconfined, "
            f"or a seccomp profile that allows {_CALLS}."
        )
    return None


def _landlock() -> str:
    if _gvisor():
        return f"Run the host process outside of gVisor, {_REMOTE}."
    modules = _read("/sys/kernel/security/lsm")
    if modules and "landlock" not in modules.split(","):
        return (
            f"Add lsm=landlock,{modules} to the kernel's command line and boot again, for example: "
            f'sudo grubby --update-kernel=ALL --args="lsm=landlock,{modules}", or GRUB_CMDLINE_LINUX in '
            "/etc/default/grub and sudo update-grub."
        )
    if _container() is not None:
        return (
            "Update the container engine (Docker: to 23.0 or later), or use a seccomp profile that allows "
            "landlock_create_ruleset, landlock_add_rule and landlock_restrict_self. Where the engine runs in a virtual "
            "machine whose kernel has no Landlock, let the container make namespaces instead."
        )
    return "Use a kernel built with CONFIG_SECURITY_LANDLOCK, with landlock in lsm= on its command line."


def _interpreter() -> str:
    here = f"python{sys.version_info.major}.{sys.version_info.minor}"
    own = str(Path(sys.executable).resolve())
    for path in (f"/usr/bin/{here}", f"/usr/local/bin/{here}", f"/opt/python/bin/{here}"):
        if path != own and _exists(path):
            return f'Run programs with an interpreter that every user can read: LocalSandbox(python="{path}").'
    return (
        f"Run programs with an interpreter that every user can read, below /usr or /opt: install {here} there "
        f"(for example: sudo apt install {here}, or: uv python install --install-dir /opt/python) and name it in "
        f'LocalSandbox(python="/usr/bin/{here}"); or run the host process as the user that owns this one.'
    )


def _apparmor() -> str:
    path = Path(sys.executable).resolve()
    profile = f"abi <abi/4.0>,\\nprofile callgate {path} flags=(unconfined) {{ userns, }}\\n"
    place = "/etc/apparmor.d/callgate"
    return f"printf '{profile}' | sudo tee {place} && sudo apparmor_parser -r {place}"


def _kernel() -> tuple[int, int] | None:
    """Return the kernel's version, or None where its name does not tell."""
    numbers = platform.release().partition("-")[0].split(".")
    if platform.system() != "Linux" or len(numbers) < 2 or not all(each.isdigit() for each in numbers[:2]) or _gvisor():
        return None
    return int(numbers[0]), int(numbers[1])


def _windows() -> bool:
    return "microsoft" in platform.release().lower()


def _gvisor() -> bool:
    """Say whether this is gVisor: it names the moment its first kernel was built, and nothing else does."""
    return "Sun Jan 10 15:06:54 PST 2016" in platform.version()


def _exists(path: str) -> bool:
    return os.path.lexists(path)


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""
