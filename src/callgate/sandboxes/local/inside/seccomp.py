"""The system calls a guest may make.

An allow-list: what is not named here does not exist for a guest (ENOSYS), which lets a newer libc fall back to older
calls. What is known to be dangerous, or needs what a guest has not got, is refused (EPERM), so that a program sees a
PermissionError. Some calls are judged by their arguments.
"""

from __future__ import annotations

import ctypes
from errno import EACCES, EINVAL, ENOSYS, ENOTSUP, ENOTTY, EPERM, ESRCH
from struct import Struct
from typing import TypeAlias

from .kernel import (
    CLONE_NEWCGROUP,
    CLONE_NEWIPC,
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWPID,
    CLONE_NEWUSER,
    CLONE_NEWUTS,
    LayerMissing,
    syscall,
)
from .syscalls import AUDIT_ARCH, MACHINE, number

ALLOWED = {
    "files and descriptors": """
        read write readv writev pread64 pwrite64 preadv pwritev close lseek open
        openat creat stat fstat lstat newfstatat statx access faccessat faccessat2 readlink readlinkat getcwd
        chdir fchdir getdents getdents64 statfs fstatfs mkdir mkdirat rmdir unlink unlinkat rename renameat
        renameat2 link linkat symlink symlinkat chmod fchmod fchmodat fchmodat2 truncate ftruncate fallocate
        utime utimes utimensat futimesat umask copy_file_range sendfile dup dup2 dup3
        pipe pipe2
    """,
    "waiting": """
        poll ppoll select pselect6 epoll_create epoll_create1 epoll_ctl epoll_wait epoll_pwait epoll_pwait2
        eventfd eventfd2 timerfd_create timerfd_settime timerfd_gettime pause
    """,
    "memory": """
        munmap mprotect mremap brk msync
    """,
    "threads": """
        futex_waitv set_robust_list get_robust_list rseq set_tid_address gettid sched_yield
        sched_getaffinity sched_getparam sched_getscheduler sched_get_priority_max sched_get_priority_min exit
        exit_group restart_syscall
    """,
    "signals to oneself": """
        rt_sigaction rt_sigprocmask rt_sigreturn rt_sigtimedwait rt_sigpending rt_sigsuspend sigaltstack
        signalfd4 alarm getitimer setitimer timer_create timer_settime timer_gettime timer_getoverrun
        timer_delete
    """,
    "clocks": """
        clock_gettime clock_getres clock_nanosleep nanosleep gettimeofday time
    """,
    "about oneself": """
        getpid getppid getuid geteuid getgid getegid getgroups getresuid getresgid getpgrp getpgid getsid
        getpriority getrlimit getrusage times sysinfo uname getcpu getrandom wait4 waitid capget
    """,
}
"""The calls that pass whatever their arguments, by purpose."""

REFUSED = """
    fork vfork execve execveat kill tkill rt_sigqueueinfo rt_tgsigqueueinfo ptrace process_vm_readv
    process_vm_writev process_madvise process_mrelease pidfd_open pidfd_getfd pidfd_send_signal kcmp socket
    socketpair connect bind listen accept accept4 sendto recvfrom sendmsg sendmmsg recvmsg recvmmsg
    getsockname getpeername getsockopt setsockopt shutdown mount umount2 pivot_root
    chroot open_tree move_mount fsopen fsconfig fsmount fspick mount_setattr unshare setns bpf perf_event_open
    io_uring_setup io_uring_enter io_uring_register userfaultfd memfd_create memfd_secret keyctl add_key
    request_key kexec_load kexec_file_load init_module finit_module delete_module reboot swapon swapoff syslog
    acct quotactl quotactl_fd open_by_handle_at name_to_handle_at fanotify_init fanotify_mark inotify_init
    inotify_init1 lookup_dcookie personality modify_ldt iopl ioperm seccomp landlock_create_ruleset
    landlock_add_rule landlock_restrict_self capset setuid setgid setreuid setregid setresuid setresgid setfsuid
    setfsgid setgroups setpgid setsid sethostname setdomainname chown fchown lchown fchownat mknod mknodat mlock
    mlock2 mlockall setpriority ioprio_set sched_setaffinity sched_setparam sched_setscheduler sched_setattr
    setrlimit clock_settime clock_adjtime settimeofday adjtimex shmget shmat shmctl shmdt semget semop semctl
    semtimedop msgget msgsnd msgrcv msgctl mq_open mq_unlink mq_timedsend mq_timedreceive mq_notify
    mq_getsetattr move_pages migrate_pages mbind set_mempolicy vhangup nfsservctl uselib ustat sysfs vmsplice
    splice tee sync syncfs remap_file_pages
"""
"""The calls answered with EPERM."""

_NO_CHANGES = """
    creat truncate mkdir mkdirat rmdir unlink unlinkat rename renameat renameat2 link linkat symlink symlinkat
"""
"""Refused too where a guest has no files of its own and sees those of the host."""

_NO_METADATA = """
    chmod fchmod fchmodat fchmodat2 chown fchown lchown fchownat utime utimes utimensat futimesat
"""
"""Answered there as done, without effect: the host's files may be the same user's, and Landlock does not cover it."""

_NO_ATTRIBUTES = """
    listxattr llistxattr flistxattr getxattr lgetxattr fgetxattr setxattr lsetxattr fsetxattr removexattr
    lremovexattr fremovexattr
"""
"""Answered as on a file system without extended attributes: shutil.copy2 then goes on without them."""

_ABOUT_SOMEBODY = """
    getpgid getsid sched_getaffinity sched_getparam sched_getscheduler get_robust_list
"""
"""Calls whose first argument is a process, 0 being oneself."""

Code: TypeAlias = list[tuple[int, int, int, int]]
"""Instructions of classic BPF: code, jump if true, jump if false, operand."""

_LOAD, _AND, _JUMP, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x54, 0x05, 0x15, 0x35, 0x45, 0x06
_NR, _ARCH, _ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data; both processors are little-endian
_KILL, _ERRNO, _ALLOW = 0x80000000, 0x00050000, 0x7FFF0000
_SET_MODE_FILTER = 1
_X32 = 0x40000000
_INSTRUCTION = Struct("=HBBI")

_CLONE_THREAD, _CLONE_PTRACE, _CLONE_UNTRACED = 0x00010F00, 0x00002000, 0x00800000
"""A thread shares memory, directory, descriptors and signals: the limit of descriptors counts for each table."""
_CLOSE_RANGE_UNSHARE = 2
_CLONE_NEW = CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET
_FIRST = 1
"""The process id of every guest that is the first of its own namespace."""
_SOMEBODY = 0x7EDCBA98
"""Stands for a process id that is not known yet; no process has it."""

_O_WRONLY, _O_RDWR, _O_CREAT, _O_TRUNC = 0o1, 0o2, 0o100, 0o1000

_CLOCKS = 16
"""There are no more clocks that belong to nobody (MAX_CLOCKS in include/uapi/linux/time.h)."""

_FCNTL_ALLOWED = (0, 1, 2, 3, 4, 5, 1030, 1032)  # F_DUPFD GETFD SETFD GETFL SETFL GETLK DUPFD_CLOEXEC GETPIPE_SZ
_FCNTL_LOCKS = (6, 7)  # F_SETLK SETLKW
_IOCTL_ALLOWED = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)  # TCGETS TIOCGWINSZ FIONREAD FIONBIO FIONCLEX FIOCLEX
_FUTEX_FLAGS = 128 | 256  # FUTEX_PRIVATE_FLAG FUTEX_CLOCK_REALTIME
_FUTEX_PI = (6, 7, 8, 11, 12, 13)  # LOCK_PI UNLOCK_PI TRYLOCK_PI WAIT_REQUEUE_PI CMP_REQUEUE_PI LOCK_PI2
_MAP_HUGETLB, _MADV_MERGEABLE = 0x40000, 12
_PRCTL_ALLOWED = (15, 16, 0x53564D41)  # PR_SET_NAME GET_NAME SET_VMA


def program(*, namespaces: bool = True, landlock: bool = True) -> bytes:
    """Return the filter for this processor, as the kernel wants it.

    Args:
        namespaces: guests have a tree, files and process numbers of their own. Where they have not, the filter is one
            for `bound`, and keeps a guest from changing files.
        landlock: which files they open is judged by Landlock. Where there is neither, none is opened to be written.

    Raises:
        LayerMissing: on a processor there is no table for.
    """
    if MACHINE not in AUDIT_ARCH:
        raise LayerMissing("seccomp", f"no system call table for {MACHINE}")
    code: Code = [(_LOAD, 0, 0, _ARCH), (_EQUAL, 1, 0, AUDIT_ARCH[MACHINE]), _return(_KILL), (_LOAD, 0, 0, _NR)]
    if MACHINE == "x86_64":
        code += [(_AT_LEAST, 0, 1, _X32), _return(_KILL)]
    rules = _rules()
    if not namespaces:
        rules |= _rules_among_files_of_the_host(landlock) | _rules_among_processes_of_the_host()
    code += _search(_spans(rules))
    return b"".join(_INSTRUCTION.pack(*instruction) for instruction in code)


def bound(filter_: bytes, pid: int) -> bytes:
    """Return the filter for one process of a namespace it shares."""
    return filter_.replace(_SOMEBODY.to_bytes(4, "little"), pid.to_bytes(4, "little"))


def install(filter_: bytes) -> None:
    """Hold this process to the filter, for good. Needs no_new_privs."""
    buffer = ctypes.create_string_buffer(filter_, len(filter_))
    count = len(filter_) // _INSTRUCTION.size
    header = count.to_bytes(8, "little") + ctypes.addressof(buffer).to_bytes(8, "little")  # struct sock_fprog
    syscall("seccomp", "seccomp", _SET_MODE_FILTER, 0, header)


def _rules() -> dict[str, Code]:
    """Return the calls judged by their arguments."""
    return {
        # Threads only. clone3 hides its flags behind a pointer; libc falls back to clone.
        "clone": [
            (_LOAD, 0, 0, _ARGUMENTS),
            (_ANY_BIT, 3, 0, _CLONE_NEW | _CLONE_PTRACE | _CLONE_UNTRACED),
            (_AND, 0, 0, _CLONE_THREAD),
            (_EQUAL, 0, 1, _CLONE_THREAD),
            _return(_ALLOW),
            _return(_ERRNO | EPERM),
        ],
        "tgkill": _among(0, (_FIRST,), _ALLOW, _return(_ERRNO | EPERM)),
        # Huge pages come out of a store of the host's, and merged ones tell what others have in theirs.
        "mmap": [
            (_LOAD, 0, 0, _ARGUMENTS + 3 * 8),
            (_ANY_BIT, 1, 0, _MAP_HUGETLB),
            _return(_ALLOW),
            _return(_ERRNO | EPERM),
        ],
        "madvise": _among(2, (_MADV_MERGEABLE,), _ERRNO | EINVAL, _return(_ALLOW)),
        "close_range": [
            (_LOAD, 0, 0, _ARGUMENTS + 2 * 8),
            (_ANY_BIT, 1, 0, _CLOSE_RANGE_UNSHARE),
            _return(_ALLOW),
            _return(_ERRNO | EPERM),
        ],
        # What inherits priority names a process by its number, and has been a hole of the kernel more than once.
        "futex": [
            (_LOAD, 0, 0, _ARGUMENTS + 8),
            (_AND, 0, 0, ~_FUTEX_FLAGS & 0xFFFFFFFF),
            *_among(1, _FUTEX_PI, _ERRNO | ENOSYS, _return(_ALLOW))[1:],
        ],
        # Nothing a guest writes outlives it, and what it only reads would make the host write to its disk, or read
        # again what it had in memory. With flags a read tells what that is.
        **{name: [_return(_ERRNO)] for name in ("fsync", "fdatasync", "fadvise64")},
        **{name: _among(5, (0,), _ALLOW, _return(_ERRNO | ENOTSUP)) for name in ("preadv2", "pwritev2")},
        "prlimit64": _among(0, (0,), _ALLOW, _return(_ERRNO | EPERM)),
        "ioctl": _among(1, _IOCTL_ALLOWED, _ALLOW, _return(_ERRNO | ENOTTY)),
        # Locks are granted without being taken: a guest has nobody to share a file with, and a real lock on a file of
        # the system would reach other guests and the host. Leases, signals and owners of descriptors are refused.
        "fcntl": [
            *_among(1, _FCNTL_ALLOWED, _ALLOW, (_LOAD, 0, 0, _ARGUMENTS + 8)),
            *_among(1, _FCNTL_LOCKS, _ERRNO, _return(_ERRNO | EINVAL)),
        ],
        "flock": [_return(_ERRNO)],
        "prctl": _among(0, _PRCTL_ALLOWED, _ALLOW, _return(_ERRNO | EPERM)),
        **{name: [_return(_ERRNO | ENOTSUP)] for name in _NO_ATTRIBUTES.split()},
    }


def _rules_among_files_of_the_host(landlock: bool) -> dict[str, Code]:
    """Return the rules that take the place of a tree of one's own."""
    refused, granted = _return(_ERRNO | EACCES), _return(_ALLOW)
    by_flags: Code = [(_ANY_BIT, 0, 1, _O_WRONLY | _O_RDWR | _O_CREAT | _O_TRUNC), refused, granted]
    if landlock:
        # It judges reading and writing. Its first two versions do not judge O_TRUNC, which writes without saying so,
        # and none judges an access that is neither.
        by_flags = [
            (_ANY_BIT, 0, 2, _O_RDWR),
            (_ANY_BIT, 3, 0, _O_WRONLY),
            granted,
            (_ANY_BIT, 2, 0, _O_WRONLY),
            (_ANY_BIT, 0, 1, _O_TRUNC),
            refused,
            granted,
        ]
    return {
        **{name: [_return(_ERRNO | EPERM)] for name in _NO_CHANGES.split()},
        **{name: [_return(_ERRNO)] for name in _NO_METADATA.split()},
        "open": [(_LOAD, 0, 0, _ARGUMENTS + 8), *by_flags],
        "openat": [(_LOAD, 0, 0, _ARGUMENTS + 16), *by_flags],
    }


def _rules_among_processes_of_the_host() -> dict[str, Code]:
    """Return the rules that take the place of a pid namespace: nothing can be asked about a process but oneself."""
    nobody, granted = _return(_ERRNO | ESRCH), _return(_ALLOW)
    # What is above is the clock of the process or thread whose number is in it.
    by_clock: Code = [(_LOAD, 0, 0, _ARGUMENTS), (_AT_LEAST, 0, 1, _CLOCKS), _return(_ERRNO | EINVAL), granted]
    return {
        "tgkill": _among(0, (_SOMEBODY,), _ALLOW, _return(_ERRNO | EPERM)),
        **{name: _among(0, (0, _SOMEBODY), _ALLOW, nobody) for name in _ABOUT_SOMEBODY.split()},
        **dict.fromkeys(("clock_gettime", "clock_getres", "clock_nanosleep", "timer_create"), by_clock),
        "getpriority": [
            (_LOAD, 0, 0, _ARGUMENTS),
            (_EQUAL, 0, 3, 0),  # of a process, not of a group or a user
            (_LOAD, 0, 0, _ARGUMENTS + 8),
            (_EQUAL, 2, 0, 0),
            (_EQUAL, 1, 0, _SOMEBODY),
            nobody,
            granted,
        ],
        "capget": [_return(_ERRNO | EPERM)],  # who is meant stands behind a pointer
    }


def _spans(rules: dict[str, Code]) -> list[tuple[int, Code]]:
    """Return what to do with each call: (first number, code), in order, each valid up to the next one's first."""
    code: dict[str, Code] = {name: [_return(_ALLOW)] for names in ALLOWED.values() for name in names.split()}
    code |= {name: [_return(_ERRNO | EPERM)] for name in REFUSED.split()}
    code |= rules
    known = {nr: action for name, action in code.items() if (nr := number(name)) is not None}
    unknown: Code = [_return(_ERRNO | ENOSYS)]
    spans = [(0, known.get(0, unknown))]
    for nr in range(1, max(known) + 2):
        action = known.get(nr, unknown)
        if action != spans[-1][1]:
            spans.append((nr, action))
    return spans


def _search(spans: list[tuple[int, Code]]) -> Code:
    """Return a binary search for the span a number lies in."""
    if len(spans) == 1:
        return spans[0][1]
    middle = len(spans) // 2
    below, above = _search(spans[:middle]), _search(spans[middle:])
    # A conditional jump reaches 255 instructions, the unconditional one any distance.
    return [(_AT_LEAST, 0, 1, spans[middle][0]), (_JUMP, 0, 0, len(below)), *below, *above]


def _among(argument: int, values: tuple[int, ...], action: int, otherwise: tuple[int, int, int, int]) -> Code:
    """Compare the low half of an argument, which is all the kernel reads of these."""
    tests: Code = [(_EQUAL, len(values) - 1 - n, 0, value) for n, value in enumerate(values)]
    tests[-1] = (_EQUAL, 0, 1, values[-1])
    return [(_LOAD, 0, 0, _ARGUMENTS + 8 * argument), *tests, _return(action), otherwise]


def _return(action: int) -> tuple[int, int, int, int]:
    return (_RETURN, 0, 0, action)
