"""The seccomp filter itself, for both processors, run by a small interpreter of its instructions."""

from __future__ import annotations

import errno
import sys
from struct import iter_unpack, pack_into, unpack_from

import pytest

if sys.platform != "linux":
    pytest.skip("the filter is Linux's", allow_module_level=True)

from callgate.sandboxes.local.inside import seccomp, syscalls
from callgate.sandboxes.local.inside.kernel import LayerMissing

ALLOW, KILL = "allow", "kill"
MACHINES = ("x86_64", "aarch64")


@pytest.fixture(params=MACHINES)
def machine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(syscalls, "MACHINE", request.param)
    monkeypatch.setattr(seccomp, "MACHINE", request.param)
    return request.param


MODES = {
    "with namespaces": {},
    "without namespaces": {"namespaces": False},
    "without namespaces and Landlock": {"namespaces": False, "landlock": False},
}


def decide(nr: int, *arguments: int, arch: int | None = None, pid: int = 4242, **mode: bool) -> str:
    """Return what the filter says to a call: "allow", "kill" or the name of an error."""
    data = bytearray(64)
    arch = syscalls.AUDIT_ARCH[seccomp.MACHINE] if arch is None else arch
    pack_into("<II", data, 0, nr, arch)
    pack_into(f"<{len(arguments)}Q", data, 16, *arguments)
    code = list(iter_unpack("<HBBI", seccomp.bound(seccomp.program(**mode), pid)))
    at = accumulator = 0
    while True:
        operation, yes, no, operand = code[at]
        at += 1
        match operation:
            case 0x20:
                (accumulator,) = unpack_from("<I", data, operand)
            case 0x05:
                at += operand
            case 0x54:
                accumulator &= operand
            case 0x15:
                at += yes if accumulator == operand else no
            case 0x35:
                at += yes if accumulator >= operand else no
            case 0x45:
                at += yes if accumulator & operand else no
            case 0x06:
                if operand == 0x7FFF0000:
                    return ALLOW
                if operand == 0x80000000:
                    return KILL
                assert operand & 0xFFFF0000 == 0x00050000
                return errno.errorcode[operand & 0xFFFF] if operand & 0xFFFF else "granted"
            case _:
                raise AssertionError(operation)


def numbers(names: str) -> list[int]:
    return [nr for name in names.split() if (nr := syscalls.number(name)) is not None]


def test_each_allowed_call_passes(machine: str) -> None:
    known = numbers(" ".join(seccomp.ALLOWED.values()))
    assert {decide(nr) for nr in known} == {ALLOW}
    assert len(known) > 100


@pytest.mark.parametrize("mode", [{"landlock": True}, {"landlock": False}], ids=["Landlock", "no Landlock"])
def test_calls_that_change_files_do_nothing_among_files_of_the_host(machine: str, mode: dict[str, bool]) -> None:
    changes, metadata = numbers(CHANGES), numbers(METADATA)
    assert {decide(nr, namespaces=False, **mode) for nr in changes} == {"EPERM"}
    assert {decide(nr, namespaces=False, **mode) for nr in metadata} == {"granted"}
    opening = set(numbers("open openat"))
    allowed = set(numbers(" ".join(seccomp.ALLOWED.values()))) - {*changes, *metadata, *opening, *numbers("capget")}
    assert {decide(nr, namespaces=False, **mode) for nr in allowed | opening} == {ALLOW}


@pytest.mark.parametrize("landlock", [True, False], ids=["Landlock", "no Landlock"])
def test_nothing_is_told_about_processes_of_the_host(machine: str, landlock: bool) -> None:
    def judged(name: str, *arguments: int) -> set[str]:
        return {decide(nr, *arguments, pid=4242, namespaces=False, landlock=landlock) for nr in numbers(name)}

    about = "getpgid getsid sched_getaffinity sched_getparam sched_getscheduler get_robust_list"
    assert judged(about, 0) == judged(about, 4242) == {ALLOW}
    assert judged(about, 4243) == judged(about, 1) == {"ESRCH"}
    assert judged("getpriority", 0, 0) == judged("getpriority", 0, 4242) == {ALLOW}
    assert judged("getpriority", 0, 4243) == judged("getpriority", 1, 0) == judged("getpriority", 2, 0) == {"ESRCH"}
    clocks = "clock_gettime clock_getres clock_nanosleep timer_create"
    assert {one for clock in range(12) for one in judged(clocks, clock)} == {ALLOW}
    assert judged(clocks, (~4243 << 3 | 2) & 0xFFFFFFFF) == judged(clocks, 16) == {"EINVAL"}
    assert judged("capget", 0, 0) == {"EPERM"}
    assert judged("tgkill", 4243) == {"EPERM"}


CHANGES = """
    creat truncate mkdir mkdirat rmdir unlink unlinkat rename renameat renameat2 link linkat symlink symlinkat
    mknod mknodat
"""
METADATA = "chmod fchmod fchmodat fchmodat2 chown fchown lchown fchownat utime utimes utimensat futimesat"


@pytest.mark.parametrize("mode", MODES.values(), ids=MODES)
def test_each_refused_call_is_refused(machine: str, mode: dict[str, bool]) -> None:
    known = set(numbers(seccomp.REFUSED)) - (set(numbers(METADATA)) if mode else set())
    assert {decide(nr, **mode) for nr in known} == {"EPERM"}


@pytest.mark.parametrize("mode", MODES.values(), ids=MODES)
def test_every_other_number_does_not_exist(machine: str, mode: dict[str, bool]) -> None:
    named = {syscalls.number(name) for name in syscalls.NUMBERS}
    others = [nr for nr in range(1024) if nr not in named]
    assert {decide(nr, **mode) for nr in others} == {"ENOSYS"}


READ, WRITE, BOTH, NEITHER, CREATE, TRUNCATE, PATH = 0o0, 0o1, 0o2, 0o3, 0o100, 0o1000, 0o10000000


@pytest.mark.parametrize(
    ("flags", "with_landlock", "alone"),
    [
        (READ, ALLOW, ALLOW),
        (READ | PATH, ALLOW, ALLOW),
        (WRITE, ALLOW, "EACCES"),
        (BOTH, ALLOW, "EACCES"),
        (NEITHER, "EACCES", "EACCES"),  # asks for both rights and is judged by Landlock as asking for none
        (READ | CREATE, ALLOW, "EACCES"),
        (READ | TRUNCATE, "EACCES", "EACCES"),
        (WRITE | TRUNCATE, ALLOW, "EACCES"),
        (WRITE | CREATE | TRUNCATE, ALLOW, "EACCES"),
        (BOTH | TRUNCATE, ALLOW, "EACCES"),
        (NEITHER | TRUNCATE, "EACCES", "EACCES"),
    ],
)
def test_how_a_file_of_the_host_is_opened_decides(machine: str, flags: int, with_landlock: str, alone: str) -> None:
    for name, arguments in (("open", (0, flags)), ("openat", (0, 0, flags))):
        nr = syscalls.number(name)
        if nr is not None:
            assert decide(nr, *arguments) == ALLOW
            assert decide(nr, *arguments, namespaces=False) == with_landlock
            assert decide(nr, *arguments, namespaces=False, landlock=False) == alone


@pytest.mark.parametrize("mode", [mode for mode in MODES.values() if mode], ids=[name for name in MODES if MODES[name]])
def test_a_guest_among_processes_of_the_host_signals_itself_alone(machine: str, mode: dict[str, bool]) -> None:
    nr = syscalls.number("tgkill")
    assert nr is not None
    assert decide(nr, 4242, 5, 9, **mode) == ALLOW
    assert {decide(nr, pid, 5, 9, **mode) for pid in (0, 1, 4241, 4243, 0x7EDCBA98, 0xFFFFFFFF)} == {"EPERM"}
    assert decide(nr, 77, 5, 9, pid=77, **mode) == ALLOW


@pytest.mark.parametrize("mode", MODES.values(), ids=MODES)
def test_binding_a_filter_changes_its_process_and_nothing_else(machine: str, mode: dict[str, bool]) -> None:
    before = list(iter_unpack("<HBBI", seccomp.program(**mode)))
    after = list(iter_unpack("<HBBI", seccomp.bound(seccomp.program(**mode), 4242)))
    somebody = {(one, two) for one, two in zip(before, after, strict=True) if one != two}
    assert {one[:3] for one, _ in somebody} == {two[:3] for _, two in somebody}
    assert {(one[3] >> 22 > 0, two[3]) for one, two in somebody} == ({(True, 4242)} if mode else set())


def test_no_name_is_listed_twice() -> None:
    names = " ".join([*seccomp.ALLOWED.values(), seccomp.REFUSED]).split()
    assert len(names) == len(set(names))


def test_no_number_has_two_names() -> None:
    for column in (0, 1):
        numbers = [row[column] for row in syscalls.NUMBERS.values() if row[column] is not None]
        assert len(numbers) == len(set(numbers))


def test_another_processor_is_killed(machine: str) -> None:
    assert decide(0, arch=0x40000003) == KILL


def test_x32_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(syscalls, "MACHINE", "x86_64")
    monkeypatch.setattr(seccomp, "MACHINE", "x86_64")
    assert decide(0x40000000) == decide(0x40000000 + 512) == decide(0xFFFFFFFF) == KILL


@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        ("clone", (0x3D0F00,), ALLOW),  # what pthread_create asks for
        ("clone", (0x3D0F00 | 0x20000000,), "EPERM"),
        ("clone", (0x3D0F00 | 0x2000,), "EPERM"),
        ("clone", (17,), "EPERM"),
        ("clone", (0x3D0F00 & ~0x400,), "EPERM"),  # a thread with descriptors of its own
        ("clone3", (0, 0), "ENOSYS"),
        ("close_range", (3, 9, 0), ALLOW),
        ("close_range", (3, 9, 4), ALLOW),  # CLOSE_RANGE_CLOEXEC
        ("close_range", (3, 9, 2), "EPERM"),  # CLOSE_RANGE_UNSHARE
        ("futex", (0, 128), ALLOW),
        ("futex", (0, 128 | 256 | 9), ALLOW),  # FUTEX_WAIT_BITSET
        ("futex", (0, 6), "ENOSYS"),  # FUTEX_LOCK_PI
        ("futex", (0, 128 | 13), "ENOSYS"),
        ("fsync", (3,), "granted"),
        ("fadvise64", (3, 0, 0, 4), "granted"),  # POSIX_FADV_DONTNEED
        ("preadv2", (3, 0, 1, 0, 0, 0), ALLOW),
        ("preadv2", (3, 0, 1, 0, 0, 8), "EOPNOTSUPP"),  # RWF_NOWAIT
        ("tgkill", (1, 5, 9), ALLOW),
        ("tgkill", (2, 5, 9), "EPERM"),
        ("socketpair", (1, 1), "EPERM"),
        ("sendto", (3, 0, 1, 0, 0, 0), "EPERM"),
        ("mmap", (0, 4096, 3, 0x22), ALLOW),
        ("mmap", (0, 4096, 3, 0x22 | 0x40000), "EPERM"),  # MAP_HUGETLB
        ("mmap", (0, 4096, 3, 0x22 | 0x40000 | 21 << 26), "EPERM"),
        ("madvise", (0, 4096, 4), ALLOW),  # MADV_DONTNEED
        ("madvise", (0, 4096, 12), "EINVAL"),  # MADV_MERGEABLE
        ("prlimit64", (0, 7), ALLOW),
        ("prlimit64", (1, 7), "EPERM"),
        ("ioctl", (0, 0x5421), ALLOW),
        ("ioctl", (0, 0x5412), "ENOTTY"),
        ("fcntl", (0, 1), ALLOW),
        ("fcntl", (0, 1030), ALLOW),
        ("fcntl", (0, 6), "granted"),
        ("fcntl", (0, 1024), "EINVAL"),
        ("prctl", (15,), ALLOW),
        ("prctl", (1,), "EPERM"),
        ("flock", (0, 2), "granted"),
        ("getxattr", (), "EOPNOTSUPP"),
    ],
)
def test_arguments_decide(machine: str, name: str, arguments: tuple[int, ...], expected: str) -> None:
    nr = syscalls.number(name)
    assert nr is not None
    assert decide(nr, *arguments).replace("ENOTSUP", "EOPNOTSUPP") == expected


def test_an_unknown_processor_has_no_filter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seccomp, "MACHINE", "riscv64")
    with pytest.raises(LayerMissing):
        seccomp.program()


def test_the_kernel_can_take_it(machine: str) -> None:
    assert len(seccomp.program()) // 8 <= 4096
