"""What to do where this host cannot isolate a program, in a person's words."""

from __future__ import annotations

from pathlib import Path

from callgate.errors import SandboxUnavailable

__all__ = ["unavailable"]

_CURES = {
    "Linux": "Run this on Linux, in a Linux virtual machine or in WSL 2, or use a remote sandbox.",
    "a known processor": "Use a 64-bit Python on x86_64 or aarch64, or a remote sandbox.",
    "a readable interpreter": (
        "Every directory above the Python interpreter has to be readable for the user that runs it; "
        "use an interpreter below /usr or /opt, or run as the user that owns it."
    ),
    "an unprivileged identity": (
        "Run the host process as an ordinary user, or give its container the capabilities SETUID and SETGID "
        "and a user mapping that contains 65534."
    ),
    "Landlock": (
        "Use a kernel from 5.13 on with Landlock: built with CONFIG_SECURITY_LANDLOCK, and lsm=landlock,... at boot."
    ),
    "seccomp": "Use a kernel built with CONFIG_SECCOMP_FILTER.",
    "a kept promise": "Report this with the output of `uname -a`; do not run untrusted programs on this host.",
}
_CONTAINER = (
    "Start the container with a seccomp profile that allows unshare, setns, mount, pivot_root, open_tree, move_mount "
    "and mount_setattr, for example: docker run --security-opt seccomp=unconfined --security-opt apparmor=unconfined."
)
_OTHER = (
    "Use a host or a container whose seccomp profile and limits leave this to an ordinary user, or a remote sandbox."
)
_NAMESPACES = "Allow unprivileged user namespaces on this host, or use a remote sandbox."
_BY_SETTING = (
    (
        "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
        "1",
        (
            "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, "
            "or an AppArmor profile with `userns,` for the Python interpreter."
        ),
    ),
    ("/proc/sys/kernel/unprivileged_userns_clone", "0", "sudo sysctl -w kernel.unprivileged_userns_clone=1"),
    ("/proc/sys/user/max_user_namespaces", "0", "sudo sysctl -w user.max_user_namespaces=10000"),
)


def unavailable(layer: str, reason: str) -> SandboxUnavailable:
    """Return the error that says a layer is missing, why, and what provides it."""
    cure = _namespace_cure() if layer.endswith("namespaces") else _CURES.get(layer, _OTHER)
    return SandboxUnavailable(
        f"this host cannot isolate programs: {layer} ({reason}). {cure}", missing=[layer], cure=cure
    )


def _namespace_cure() -> str:
    for path, bad, cure in _BY_SETTING:
        if _read(path) == bad:
            return cure
    if Path("/.dockerenv").exists() or Path("/run/.containerenv").exists() or "kubepods" in _read("/proc/1/cgroup"):
        return _CONTAINER
    return f"{_NAMESPACES} In a container: {_CONTAINER}"


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""
