"""What else the kernel offers: processes, other processes, namespaces, privileges and its rarer calls."""

from __future__ import annotations

import errno

from attacks.attack import ROOT, Attack, Control, Trial, above, answered, found_any, got, leaked, touched


def signalled(trial: Trial) -> bool:
    """The host got the signal."""
    return trial.stage.signalled()


def _dead(reason: str) -> Control:
    """A control that ends with its process where the host lacks something."""
    return Control(absent=lambda trial: reason if trial.error and trial.error[0] == "ProcessDied" else None)


_IN_CHILD = """\
import signal
made = call("clone", {flags}, 0, 0, 0, 0)
if made == 0:
    call("exit_group", 7)
os.waitstatus_to_exitcode(os.waitpid(made, 0)[1]) == 7 if made > 0 else made
"""

_CLONE3 = """\
settings = room(struct.pack("8Q", {flags}, 0, 0, 0, 17, 0, 0, 0))
made = call("clone3", settings, 64)
if made == 0:
    call("exit_group", 7)
os.waitstatus_to_exitcode(os.waitpid(made, 0)[1]) == 7 if made > 0 else made
"""

_SHELL = 'words(b"sh", b"-c", f"echo changed > {bait.target}".encode())'

_EXECUTE = {
    "by execve": f'os.set_inheritable(3, True)\ncall("execve", b"/bin/sh", {_SHELL}, words(b"A=1"))',
    "by execveat": f"""\
os.set_inheritable(3, True)
fd = call("openat", -100, b"/bin/sh", 0o10000000, 0)
call("execveat", fd, b"", {_SHELL}, words(b"A=1"), 0x1000)
""",
    "from memory": f"""\
os.set_inheritable(3, True)
fd = call("memfd_create", b"sh", 0)
os.write(fd, open("/bin/sh", "rb").read()) if fd >= 0 else None
call("execveat", fd, b"", {_SHELL}, words(b"A=1"), 0x1000) if fd >= 0 else fd
""",
    "by the C library": "libc.system(f'echo changed > {bait.target}'.encode())",
    "by posix_spawn of the C library": f"""\
pid = ctypes.c_int()
made = libc.posix_spawn(ctypes.byref(pid), b"/bin/sh", None, None, {_SHELL}, words(b"A=1"))
os.waitpid(pid.value, 0) if made == 0 else -made
""",
    "by subprocess": "import subprocess\nsubprocess.run(['/bin/sh', '-c', f'echo changed > {bait.target}'])",
    "by popen": "os.popen(f'echo changed > {bait.target}').read()",
    "by multiprocessing": """\
import multiprocessing
def change():
    open(bait.target, "w").write("changed")
child = multiprocessing.get_context("fork").Process(target=change)
child.start()
child.join()
""",
}

_INFO = 'struct.pack("4iii8x", 10, 0, -1, 0, os.getpid(), 0).ljust(128, b"\\0")'

_SIGNAL = {
    "by kill": 'call("kill", bait.host, 10)',
    "by tkill": 'call("tkill", bait.host, 10)',
    "by tgkill": 'call("tgkill", bait.host, bait.host, 10)',
    "by a queue": f'call("rt_sigqueueinfo", bait.host, 10, {_INFO})',
    "by a queue of a thread": f'call("rt_tgsigqueueinfo", bait.host, bait.host, 10, {_INFO})',
    "by a descriptor of it": """\
fd = call("pidfd_open", bait.host, 0)
call("pidfd_send_signal", fd, 10, 0, 0) if fd >= 0 else fd
""",
    "by its peer at the channel": """\
fd = room(4)
made = call("getsockopt", 3, 1, 77, fd, room(struct.pack("I", 4)))
call("pidfd_send_signal", int.from_bytes(fd.raw, "little"), 10, 0, 0) if made == 0 else made
""",
    "by owning a pipe": """\
import fcntl
near, far = os.pipe()
made = [call("fcntl", near, 8, bait.host), call("fcntl", near, 10, 10)]
call("fcntl", near, 4, os.O_NONBLOCK | 0x2000)
os.write(far, b"x")
""",
}

_OTHERS = {
    "read the host's memory by a vector": """\
data = room(64)
near, far = room(struct.pack("QQ", at(data), 64)), room(struct.pack("QQ", bait.memory, 64))
made = call("process_vm_readv", bait.host, near, 1, far, 1, 0)
data.value.decode() if made > 0 else made
""",
    "take a descriptor of the host": """\
process = call("pidfd_open", bait.host, 0)
fd = call("pidfd_getfd", process, bait.held, 0) if process >= 0 else process
content(os.lseek(fd, 0, 0) or fd) if fd >= 0 else fd
""",
}

_WRITE_VECTOR = """\
data = room(b"changed")
near, far = room(struct.pack("QQ", at(data), 8)), room(struct.pack("QQ", bait.memory, 8))
call("process_vm_writev", bait.host, near, 1, far, 1, 0)
"""

_FILTER = 'rule = room(struct.pack("HBBI", 6, 0, 0, 0x7FFF0000))\nhead = room(struct.pack("HxxxxxxQ", 1, at(rule)))\n'

_SETTINGS = """\
found = []
for what, value in {"pdeathsig": (1, 0), "dumpable": (4, 1), "timerslack": (29, 100), "machine checks": (33, 1),
                    "subreaper": (36, 1), "huge pages": (41, 1), "dispatch": (59, 0), "seccomp": (22, 1 << 20),
                    "ambient": (47, 4), "tracer": (0x59616D61, -1), "merge": (67, 0)}.items():
    if call("prctl", *value, 0, 0, 0) >= 0:
        found.append(what)
found
"""

_NEWER = """\
found = []
for name, given in {"listmount": (room(struct.pack("IIQQ", 24, 0, 0xFFFFFFFFFFFFFFFF, 0)), room(80), 10, 0),
                    "statmount": (0, 0, 0, 0), "lsm_list_modules": (room(256), room(struct.pack("I", 256)), 0),
                    "mseal": (0, 0, 0), "openat2": (-100, b"/", room(24), 24), "mincore": (0, 0, 0),
                    "pkey_alloc": (0, 0), "readahead": (0, 0, 0), "cachestat": (0, 0, 0, 0),
                    "file_getattr": (-100, b"/", room(32), 32, 0)}.items():
    answer = call(name, *given)
    if answer not in (-errno.ENOSYS, -errno.EPERM):
        found.append(name)
found
"""

_INT80 = """\
page = mmap.mmap(-1, 4096, prot=7)
page.write(bytes.fromhex("53b814000000cd805bc3"))
kernel = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))
kernel() == call("getpid")
"""

_RESTRICTED = """\
made = call("unshare", 0x10000000 | 0x00020000)
made = call("mount", b"none", bait.folder.encode(), b"tmpfs", 0, 0) if made == 0 else made
made = call("umount2", bait.folder.encode(), 2) if made == 0 else made
made
"""

_MOUNTED = """\
made = call("mount", b"none", bait.folder.encode(), b"tmpfs", 0, 0)
call("umount2", bait.folder.encode(), 2) if made == 0 else made
"""

_CALLS: dict[str, tuple[str, bool]] = {
    "a user namespace": ('call("unshare", 0x10000000)', False),
    "a network namespace": ('call("unshare", 0x40000000)', True),
    "somebody else's namespace": (
        'fd = call("openat", -100, b"/proc/self/ns/uts", 0, 0)\ncall("setns", fd, 0) if fd >= 0 else fd',
        True,
    ),
    "a mount": (_MOUNTED, True),
    "a mount, as root of a user namespace": (_RESTRICTED, False),
    "a new file system": ('call("fsopen", b"tmpfs", 0)', True),
    "a copy of a tree": ('call("open_tree", -100, b"/", 1)', True),
    "a new root": ('call("chroot", b"/")', True),
    "the handle of a file": (
        'call("name_to_handle_at", -100, b"/", room(struct.pack("Ii", 120, 0) + bytes(120)), room(4), 0)',
        False,
    ),
    "a map of the kernel's programs": (
        'call("bpf", 0, room(struct.pack("4I", 2, 4, 4, 1) + bytes(56)), 72)',
        True,
    ),
    "a counter of the processor": (
        'call("perf_event_open", room(struct.pack("II4QQIIQ", 1, 64, 0, 0, 0, 0, 0x61, 0, 0, 0)), 0, -1, -1, 0)',
        False,
    ),
    "page faults in user space": ('call("userfaultfd", 1)', False),
    "a ring of requests": ('call("io_uring_setup", 4, room(120))', False),
    "a key": ('call("add_key", b"user", b"callgate", b"x", 1, -2)', False),
    "a key ring": ('call("keyctl", 1, 0)', False),
    "a file in memory": ('call("memfd_create", b"x", 0)', False),
    "secret memory": ('call("memfd_secret", 0)', False),
    "locked memory": ('page = room(4096)\ncall("mlock", ctypes.c_void_p(at(page)), 4096)', False),
    "a segment of shared memory": ('made = call("shmget", 0, 4096, 0o1600)\ncall("shmctl", made, 0, 0)', False),
    "a semaphore": ('made = call("semget", 0, 1, 0o1600)\ncall("semctl", made, 0, 0, 0)', False),
    "a queue of messages": ('made = call("msgget", 0, 0o1600)\ncall("msgctl", made, 0, 0)', False),
    "a named queue of messages": (
        'made = call("mq_open", b"callgate", 66, 0o600, 0)\ncall("mq_unlink", b"callgate") if made >= 0 else made',
        True,
    ),
    "a watch on a directory": (
        'fd = call("inotify_init1", 0)\ncall("inotify_add_watch", fd, bait.folder.encode(), 0xFFF) if fd >= 0 else fd',
        False,
    ),
    "a watch on a file system": ('call("fanotify_init", 0, 0)', True),
    "another personality": ('call("personality", 0x0400000)', False),
    "a filter of its own": (f'{_FILTER}call("prctl", 38, 1, 0, 0, 0)\ncall("seccomp", 1, 0, head)', False),
    "a filter that asks somebody": (f'{_FILTER}call("prctl", 38, 1, 0, 0, 0)\ncall("seccomp", 1, 8, head)', False),
    "rules of its own for files": ('call("landlock_create_ruleset", 0, 0, 1)', False),
    "a descriptor table of the processor": ('call("modify_ldt", 0, room(64), 64)', False),
    "a policy for its memory": ('call("set_mempolicy", 0, 0, 0)', False),
    "a processor of its choice": ('call("sched_setaffinity", 0, 8, struct.pack("Q", 1))', False),
    "a priority of its choice": ('call("setpriority", 0, 0, -5)', True),
    "real time": ('call("sched_setscheduler", 0, 1, struct.pack("i", 1))', True),
    "a priority at the disk": ('call("ioprio_set", 1, 0, 0x4000)', False),
    "root's identity": ('call("setresuid", 0, 0, 0)', True),
    "another group": ('call("setgroups", 1, struct.pack("I", 4))', True),
    "the name of the machine": (
        'name = os.uname().nodename.encode()\ncall("sethostname", name, len(name))',
        True,
    ),
    "the kernel's messages": ('call("syslog", 10, 0, 0)', True),
    "the clock": ('call("adjtimex", room(208))', False),
    "everything written to the disk": ('call("sync")', False),
    "pages given to a pipe": (
        'near, far = os.pipe()\ndata = room(4096)\ncall("vmsplice", far, room(struct.pack("QQ", at(data), 4096)), 1, 0)',
        False,
    ),
    "a pipe into a pipe": (
        'a, b = os.pipe()\nc, d = os.pipe()\nos.write(b, b"x")\ncall("tee", a, d, 1, 0)',
        False,
    ),
    "a comparison with the host": ('call("kcmp", bait.host, bait.host, 0, 0, 0)', False),
    "the processor's limits of the host": (
        'call("sched_setaffinity", bait.host, 8, struct.pack("Q", -1 & (1 << 64) - 1))',
        False,
    ),
    "a trace of the host": ('call("ptrace", 0x4206, bait.host, 0, 0)', False),
    "the host's robust futexes": ('call("get_robust_list", bait.host, room(8), room(8))', False),
    "a signal to everybody": ('call("kill", -1, 0)', False),
    "a signal to its parent": ('call("kill", call("getppid") or 1, 0)', False),
    "a child of a process": (
        'made = call("clone", 0x8011, 0, 0, 0, 0)\nmade == 0 and call("exit_group", 0)\nmade',
        False,
    ),
}

_ANSWERED: dict[str, tuple[str, tuple[int, ...], bool]] = {
    "a reboot": ('call("reboot", 0, 0, 0, 0)', (errno.EINVAL,), True),
    "swapping": ('call("swapon", b"/nowhere", 0)', (errno.ENOENT,), True),
    "accounting": ('call("acct", b"/nowhere")', (errno.ENOENT,), True),
    "quotas": ('call("quotactl", 0x80000100, 0, 0, 0)', (), False),
    "a module": ('call("init_module", room(b"x"), 1, b"")', (errno.ENOEXEC, errno.EFAULT), True),
    "another kernel": ('call("kexec_load", 0, 0, 0, 0)', (), True),
    "the host's huge pages": ('call("mmap", 0, 2 << 20, 3, 0x40022, -1, 0)', (errno.ENOMEM,), False),
    "a file system by its number": ('call("sysfs", 3)', (), False),
}

ATTACKS = [
    Attack(name="start a process by clone", program=_IN_CHILD.format(flags=17)),
    Attack(name="start a process by clone, without a signal", program=_CLONE3.format(flags=0)),
    Attack(name="start a process in a user namespace by clone", program=_IN_CHILD.format(flags=17 | 0x10000000)),
    Attack(name="start a process in a user namespace by clone3", program=_CLONE3.format(flags=0x10000000)),
    Attack(
        name="start a process by fork of the C library",
        program=_IN_CHILD.replace('call("clone", {flags}, 0, 0, 0, 0)', "libc.fork()"),
    ),
    *(Attack(name=f"execute a program {how}", program=program, won=touched) for how, program in _EXECUTE.items()),
    *(Attack(name=f"signal the host {how}", program=program, won=signalled) for how, program in _SIGNAL.items()),
    *(Attack(name=name, program=program, won=leaked) for name, program in _OTHERS.items()),
    Attack(name="write the host's memory by a vector", program=_WRITE_VECTOR, won=touched),
    Attack(
        name="change a limit of the host",
        program='call("prlimit64", bait.host, 4, struct.pack("QQ", 4096, (1 << 64) - 1), 0)',
        won=touched,
    ),
    *(
        Attack(name=f"get {what}", program=program, won=got, control=ROOT if root else Control())
        for what, (program, root) in _CALLS.items()
    ),
    *(
        Attack(name=f"reach {what}", program=program, won=answered(*errors), control=ROOT if root else Control())
        for what, (program, errors, root) in _ANSWERED.items()
    ),
    Attack(
        name="have its pages merged with those of others",
        program='page = mmap.mmap(-1, 1 << 16)\ncall("madvise", at(ctypes.c_char.from_buffer(page)), 1 << 16, 12)',
        won=got,
        control=Control(absent=lambda trial: "this kernel merges no pages" if trial.value == -errno.EINVAL else None),
    ),
    Attack(name="change a setting of its process", program=_SETTINGS, won=found_any),
    Attack(name="reach calls that are newer than the filter", program=_NEWER, won=found_any),
    Attack(
        name="reach calls of 32 bits",
        program=_INT80,
        control=_dead("this kernel runs no calls of 32 bits"),
        refusals=("ProcessDied",),
    ),
    Attack(
        name="reach calls of x32",
        program='libc.syscall(ctypes.c_long(0x40000000 + numbers["getpid"]))',
        won=above(0),
        control=Control(absent=lambda trial: "this kernel has no x32" if trial.value == -1 else None),
        refusals=("ProcessDied",),
    ),
    Attack(
        name="get a higher limit",
        program='call("prlimit64", 0, 14, struct.pack("QQ", 10, 10), 0)',
        won=got,
        control=Control(
            root=True, absent=lambda trial: "root may not raise limits here" if trial.value == -errno.EPERM else None
        ),
    ),
    Attack(
        name="have capabilities",
        program='sets = room(24)\ncall("capget", struct.pack("II", 0x20080522, 0), sets)\nany(sets.raw)',
        control=ROOT,
    ),
]
