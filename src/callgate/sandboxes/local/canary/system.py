"""What of the system a canary goes for: processes, the kernel itself, and more of everything than it may have."""

# ruff: noqa: PTH108

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Callable
from errno import EFAULT, ENOMEM, ENOSYS, EPERM
from functools import partial
from mmap import mmap

from .outside import PLACES
from .trying import Attempt, Bait, Word, any_of, call, opened, room

SURFACE = """
    acct add_key adjtimex bpf capset chroot clock_adjtime clock_settime clone3 delete_module execve execveat
    fanotify_init finit_module fsconfig fsmount fsopen fspick init_module inotify_init1 io_uring_enter
    io_uring_register io_uring_setup ioprio_set kcmp kexec_file_load kexec_load keyctl landlock_add_rule
    landlock_create_ruleset landlock_restrict_self mbind memfd_create memfd_secret migrate_pages mlock mlock2 mlockall
    mount mount_setattr move_mount move_pages mq_open mq_unlink msgctl msgrcv msgsnd name_to_handle_at
    open_by_handle_at open_tree perf_event_open personality pidfd_getfd pidfd_open pidfd_send_signal pivot_root prctl
    process_madvise process_mrelease process_vm_readv process_vm_writev ptrace quotactl quotactl_fd reboot
    remap_file_pages request_key rt_tgsigqueueinfo sched_setaffinity sched_setattr sched_setparam sched_setscheduler
    seccomp semget semop set_mempolicy setdomainname setfsgid setfsuid setgid setgroups sethostname setns setpriority
    setregid setresgid setresuid setreuid settimeofday setuid shmat shmctl shmget splice swapoff swapon syslog tee
    umount2 unshare userfaultfd vmsplice
"""
"""System calls that a filter has to answer, before the kernel looks at a single argument."""

_FAMILIES = {"unix": 1, "inet": 2, "inet6": 10, "netlink": 16, "packet": 17, "alg": 38, "vsock": 40}
_CHILD, _KILL, _NEWUSER = 17, 9, 0x10000000
_LIMIT_CPU, _LIMIT_CORE, _LIMIT_AS = 0, 4, 9
_MOST = struct.pack("=QQ", (1 << 64) - 1, (1 << 64) - 1)
_MIB = 1 << 20
_SLACK_MB = 32
"""What a guest may have been given, or have freed of its own, without breaking its bound."""


def _kill_by_ownership(bait: Bait) -> None:
    """Make the kernel send it: the owner of a pipe is told when there is something to read."""
    reading, writing = os.pipe()
    try:
        for command, argument in ((8, bait.pid), (10, _KILL), (4, 0o20000)):  # F_SETOWN, F_SETSIG, F_SETFL O_ASYNC
            call(bait, "fcntl", reading, command, argument)
        os.write(writing, b"x")
    finally:
        os.close(reading)
        os.close(writing)


def _start(name: str, *words: int) -> Attempt:
    def start(bait: Bait) -> None:
        if call(bait, name, *words) == 0:
            call(bait, "exit_group", 0)  # this is the child

    return start


def _spawn(_: Bait) -> None:
    libc, path = ctypes.CDLL(None), b"/bin/true"
    words = (ctypes.c_char_p * 2)(path, None)
    if failure := libc.posix_spawn(room(8), path, None, None, words, words):
        raise OSError(failure, "posix_spawn")


def _read_memory(bait: Bait) -> None:
    here = room(8)
    vectors = [struct.pack("=QQ", place, 8) for place in (ctypes.addressof(here), 0x1000)]
    try:
        call(bait, "process_vm_readv", bait.pid, vectors[0], 1, vectors[1], 1, 0)
    except OSError as error:
        if error.errno != EFAULT:  # allowed, and nothing is there
            raise


_SEEN_BY: dict[str, Callable[[int], tuple[Word, ...]]] = {
    "getpgid": lambda pid: (pid,),
    "getsid": lambda pid: (pid,),
    "getpriority": lambda pid: (0, pid),
    "sched_getscheduler": lambda pid: (pid,),
    "sched_getparam": lambda pid: (pid, room(8)),
    "sched_getaffinity": lambda pid: (pid, 1 << 10, room(1 << 10)),
    "capget": lambda pid: (struct.pack("=Ii", 0x20080522, pid), room(24)),
    "clock_gettime": lambda pid: ((~pid << 3) | 2, room(16)),
    "clock_getres": lambda pid: ((~pid << 3) | 2, room(16)),
    "get_robust_list": lambda pid: (pid, room(8), room(8)),
    "prlimit64": lambda pid: (pid, _LIMIT_CORE, 0, room(16)),
}


def _reaches_the_kernel(name: str, bait: Bait) -> bool:
    try:
        call(bait, name, *[-1] * 6)
    except OSError as error:
        return error.errno not in (EPERM, ENOSYS)
    return True


def _capable(bait: Bait) -> bool:
    sets = room(24)
    call(bait, "capget", struct.pack("=Ii", 0x20080522, 0), sets)
    return any(sets.raw)


def _take_memory(bait: Bait) -> bool:
    try:
        return bool(bytearray((bait.memory_mb + _SLACK_MB) * _MIB))
    except MemoryError:
        return False


def _take_memory_in_pieces(flags: int, bait: Bait) -> bool:
    pieces: list[mmap] = []
    try:
        for _ in range(bait.memory_mb + _SLACK_MB):
            pieces.append(mmap(-1, _MIB, flags))  # noqa: PERF401 - what was had is given back
    except OSError as error:
        if error.errno != ENOMEM:
            raise
        return False
    finally:
        for piece in pieces:
            piece.close()
    return True


def _unlimited(limit: int, most: int, bait: Bait) -> bool:
    """Say whether a limit is above most, or can be raised."""
    limits = room(16)
    call(bait, "prlimit64", 0, limit, 0, limits)
    return max(struct.unpack("=QQ", limits.raw)) > most or any_of(
        lambda words: call(bait, *words), [("prlimit64", 0, limit, _MOST, 0), ("setrlimit", limit, _MOST)]
    )


def _fill(bait: Bait) -> bool:
    """Keep more than the bound, wherever something can be kept."""
    left = (bait.disk_mb + 1) * _MIB
    kept: list[tuple[int, str]] = []
    try:
        for place in (*PLACES, bait.folder):
            path = f"{place}/callgate-{bait.token}-full"
            try:
                descriptor = os.open(path, os.O_CREAT | os.O_WRONLY, 0o600)
            except OSError:
                continue
            kept.append((descriptor, path))
            try:
                while left > 0:
                    left -= os.write(descriptor, bytes(1 << 16))
            except OSError:
                continue
        return left <= 0
    finally:
        for descriptor, path in kept:
            os.close(descriptor)
            os.unlink(path)


SYSTEM: dict[str, dict[str, Attempt]] = {
    "processes": {
        "fork": _start("fork"),
        "clone": _start("clone", _CHILD, 0, 0, 0, 0),
        "start a program": _spawn,
        "trace": lambda bait: call(bait, "ptrace", 0x4206, bait.pid, 0, 0),  # PTRACE_SEIZE
        "read memory": _read_memory,
        "change memory": lambda bait: any_of(
            lambda process: opened(f"/proc/{process}/mem", os.O_RDWR), (bait.pid, os.getppid())
        ),
        "take a descriptor": lambda bait: call(bait, "pidfd_getfd", call(bait, "pidfd_open", bait.pid, 0), 1, 0),
        "change a priority": lambda bait: call(bait, "setpriority", 0, bait.pid, 19),
        "change a limit": lambda bait: call(bait, "prlimit64", bait.pid, _LIMIT_CORE, room(16), 0),
        **{
            f"see a process by {name}": lambda bait, name=name, words=words: call(bait, name, *words(bait.pid))
            for name, words in _SEEN_BY.items()
        },
    },
    # Last of those that need the process alive.
    "signals": {
        "kill": lambda bait: call(bait, "kill", bait.pid, _KILL),
        "kill every process": lambda bait: call(bait, "kill", -1, 0),
        "kill the parent": lambda bait: os.getppid() > 0 and call(bait, "kill", os.getppid(), 0),
        "tkill": lambda bait: call(bait, "tkill", bait.pid, _KILL),
        "tgkill": lambda bait: call(bait, "tgkill", bait.pid, bait.pid, _KILL),
        "rt_sigqueueinfo": lambda bait: call(
            bait, "rt_sigqueueinfo", bait.pid, _KILL, struct.pack("=iii116x", _KILL, 0, -1)
        ),
        "pidfd_send_signal": lambda bait: call(
            bait, "pidfd_send_signal", call(bait, "pidfd_open", bait.pid, 0), _KILL, 0, 0
        ),
        "kill by way of a pipe": _kill_by_ownership,
    },
    "kernel_surface": {
        **{name: partial(_reaches_the_kernel, name) for name in SURFACE.split()},
        **{
            f"socket of family {name}": lambda bait, family=family: call(bait, "socket", family, 2, 0)
            for name, family in _FAMILIES.items()
        },
        "clone a namespace": _start("clone", _NEWUSER | _CHILD, 0, 0, 0, 0),
        "be open to others": lambda bait: call(bait, "prctl", 4, 1, 0, 0, 0),
        "have a capability": _capable,
        "run without a filter": lambda bait: call(bait, "prctl", 21, 0, 0, 0, 0) != 2,
    },
    "memory": {
        "take more at once": _take_memory,
        "take more in pieces": partial(_take_memory_in_pieces, 0x22),  # MAP_PRIVATE | MAP_ANONYMOUS
        "take more in shared pieces": partial(_take_memory_in_pieces, 0x21),  # MAP_SHARED | MAP_ANONYMOUS
        "raise the limit": partial(_unlimited, _LIMIT_AS, (1 << 63) - 1),
    },
    "cpu": {
        "have no limit": lambda bait: _unlimited(_LIMIT_CPU, bait.cpu_seconds + 1, bait),
    },
    "disk": {
        "keep more than the bound": _fill,
    },
    "lifetime": {
        "outlive the parent": lambda bait: call(bait, "prctl", 1, 0, 0, 0, 0),
    },
}
"""Promise to the attempts at it, by name."""
