"""Reading, writing and marking files of the host."""

from __future__ import annotations

from attacks.attack import ROOT, Attack, found_any, leaked, touched

L2_STAT = "Landlock does not cover stat: without namespaces, what exists on the host, and how large it is, can be seen"

_READ = {
    "by open": "open(bait.secret).read()",
    "by openat": 'content(call("openat", -100, bait.secret.encode(), 0, 0))',
    "by openat2": 'content(call("openat2", -100, bait.secret.encode(), room(24), 24))',
    "through a symbolic link of one's own": """\
os.symlink(bait.secret, "link")
open("link").read()
""",
    "through a hard link of one's own": """\
made = call("link", bait.secret.encode(), b"hard")
open("hard").read() if made == 0 else made
""",
    "from its directory": """\
os.chdir(os.path.dirname(bait.secret))
open("secret").read()
""",
    "by a path descriptor, opened again": """\
fd = call("openat", -100, bait.secret.encode(), 0o10000000, 0)
content(call("openat", -100, b"/proc/self/fd/%d" % fd, 0, 0))
""",
    "below a path descriptor of its directory": """\
fd = call("openat", -100, os.path.dirname(bait.secret).encode(), 0o10000000, 0)
content(call("openat", fd, b"secret", 0, 0))
""",
    "below the root of a process": "open('/proc/self/root' + bait.secret).read()",
    "below the root of the host's process": "open(f'/proc/{bait.host}/root{bait.secret}').read()",
    "by the host's own descriptor": "open(f'/proc/{bait.host}/fd/{bait.held}').read()",
    "by climbing out of the working directory": "open('../' * 40 + bait.secret.lstrip('/')).read()",
    "below a directory that the host left open": 'content(call("openat", bait.directory, b"secret", 0, 0))',
    "by going to a directory that the host left open": """\
call("fchdir", bait.directory)
open("secret").read()
""",
    "as a module": """\
sys.path.insert(0, bait.shelf)
try:
    import planted
    found = planted.CANARY
except ImportError as error:
    found = str(error)
found
""",
    "as a database": """\
import sqlite3
try:
    found = sqlite3.connect(f"file:{bait.database}?mode=ro", uri=True).execute("select canary from secrets").fetchone()
except sqlite3.OperationalError as error:
    found = str(error)
found
""",
    "by the C library": """\
libc.fopen.restype = ctypes.c_void_p
file, line = libc.fopen(bait.secret.encode(), b"r"), room(64)
libc.fgets(line, 64, ctypes.c_void_p(file)) if file else None
line.value.decode()
""",
    "in a race of a link": """\
open("mine", "w").write("mine")
os.symlink("mine", "racing")
sys.setswitchinterval(1e-5)
running, seen = True, set()
def flip(_):
    while running:
        for aim in (bait.secret, "mine"):
            os.symlink(aim, "next")
            os.rename("next", "racing")
entry, thread = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(flip), ctypes.c_ulong()
libc.pthread_create(ctypes.byref(thread), None, entry, None)
for _ in range(2000):
    if len(seen) > 1:
        break
    try:
        seen.add(open("racing").read())
    except OSError:
        pass
running = False
libc.pthread_join(thread, None)
sorted(seen)
""",
}

_HANDLE = """\
handle, mount = room(struct.pack("Ii", 120, 0) + bytes(120)), room(4)
made = call("name_to_handle_at", -100, bait.secret.encode(), handle, mount, 0)
place = call("openat", -100, bait.shelf.encode(), 0o200000, 0)
content(call("open_by_handle_at", place, handle, 0)) if made == 0 else made
"""

_CHROOT = """\
os.mkdir("jail")
fd = call("openat", -100, b"/", 0o200000, 0)
made = call("chroot", b"jail")
call("fchdir", fd)
open("." + bait.secret).read() if made == 0 else made
"""

_WRITE = {
    "by open": "open(bait.target, 'w').write('changed')",
    "by openat": """\
fd = call("openat", -100, bait.target.encode(), 0o2001, 0)
os.write(fd, b"changed") if fd >= 0 else fd
""",
    "below a directory that the host left open": """\
fd = call("openat", bait.directory, bait.target.encode(), 2, 0)
os.write(fd, b"changed") if fd >= 0 else fd
""",
    "by the host's working directory": """\
fd = call("openat", -100, f"/proc/{bait.host}/root{bait.target}".encode(), 1, 0)
os.write(fd, b"changed") if fd >= 0 else fd
""",
    "cut short": 'call("truncate", bait.target.encode(), 0)',
    "removed": 'call("unlinkat", -100, bait.target.encode(), 0)',
    "renamed": 'call("renameat2", -100, bait.target.encode(), -100, (bait.target + "2").encode(), 0)',
    "put in another's place": """\
fd = call("openat", -100, b"mine", 0o101, 0o666)
call("renameat2", -100, b"mine", -100, bait.target.encode(), 0)
""",
    "exchanged": """\
call("openat", -100, b"mine", 0o101, 0o666)
call("renameat2", -100, b"mine", -100, bait.target.encode(), 2)
""",
    "a new file": "open(bait.folder + '/new', 'w').close()",
    "a new file without a name first": """\
fd = call("openat", -100, bait.folder.encode(), 0o20200002, 0o600)
call("linkat", -100, b"/proc/self/fd/%d" % fd, -100, (bait.folder + "/new").encode(), 0x400)
""",
    "a new directory": 'call("mkdirat", -100, (bait.folder + "/new").encode(), 0o777)',
    "a removed directory": 'call("unlinkat", -100, bait.folder.encode(), 0x200)',
    "a new link": 'call("symlinkat", b"/", -100, (bait.folder + "/new").encode())',
    "a new name": 'call("linkat", -100, bait.target.encode(), -100, (bait.folder + "/new").encode(), 0)',
    "a new pipe": 'call("mknodat", -100, (bait.folder + "/new").encode(), 0o10666, 0)',
    "into a pipe that the host reads": """\
fd = call("openat", -100, bait.fifo.encode(), 0o4001, 0)
os.write(fd, b"x") if fd >= 0 else fd
""",
    "in the host's directory for temporary files": "open(bait.outside, 'w').close()",
    "in the memory of the host": """\
fd = call("openat", -100, f"/proc/{bait.host}/mem".encode(), 2, 0)
os.pwrite(fd, b"changed", bait.memory) if fd >= 0 else fd
""",
    "its mode": "os.chmod(bait.target, 0o600)",
    "its mode by fchmodat": 'call("fchmodat", -100, bait.target.encode(), 0o600)',
    "its mode by fchmodat2": 'call("fchmodat2", -100, bait.target.encode(), 0o600, 0)',
    "its mode by a path descriptor": """\
fd = call("openat", -100, bait.target.encode(), 0o10000000, 0)
call("fchmodat", -100, b"/proc/self/fd/%d" % fd, 0o600)
""",
    "the mode of a directory": "os.chmod(bait.folder, 0)",
    "its times": "os.utime(bait.target, (1, 1))",
    "its times by utimensat": 'call("utimensat", -100, bait.target.encode(), struct.pack("4q", 1, 0, 1, 0), 0)',
    "its attributes": 'call("setxattr", bait.target.encode(), b"user.mark", b"x", 1, 0)',
    "its attributes by setxattrat": """\
value = room(b"x")
call("setxattrat", -100, bait.target.encode(), 0, b"user.mark", struct.pack("QII", at(value), 1, 0), 16)
""",
}

ATTACKS = [
    *(Attack(name=f"read a file {how}", program=program, won=leaked) for how, program in _READ.items()),
    Attack(name="read a file by its handle", program=_HANDLE, won=leaked, control=ROOT),
    Attack(name="read a file from outside a new root", program=_CHROOT, won=leaked, control=ROOT),
    Attack(
        name="read the memory of the host",
        program="fd = call('openat', -100, f'/proc/{bait.host}/mem'.encode(), 0, 0)\n"
        "os.pread(fd, 64, bait.memory).decode(errors='replace') if fd >= 0 else fd".replace("'openat'", '"openat"'),
        won=leaked,
    ),
    Attack(name="read the password file", program="'root:' in open('/etc/passwd').read()"),
    Attack(name="read the shadow file", program="len(open('/etc/shadow').read()) > 0", control=ROOT),
    Attack(
        name="list a directory of the host",
        program="sorted(set(os.listdir(bait.shelf)) & {'secret', 'planted.py'})",
        won=found_any,
    ),
    Attack(
        name="list what processes there are", program="[n for n in os.listdir('/proc') if n.isdigit()]", won=found_any
    ),
    Attack(name="list the devices", program="'null' in os.listdir('/dev') and len(os.listdir('/dev')) > 10"),
    Attack(name="list the kernel's objects", program="os.listdir('/sys/class')", won=found_any),
    Attack(
        name="find a file of the host by its name",
        program="os.stat(bait.secret).st_size == bait.size",
        gaps={"no namespaces": L2_STAT},
    ),
    Attack(
        name="see where a link of the host leads",
        program="os.readlink(bait.link)",
        won=leaked,
        gaps={"no namespaces": "Landlock does not cover readlink: without namespaces, where links lead can be seen"},
    ),
    *(Attack(name=f"change a file: {how}", program=program, won=touched) for how, program in _WRITE.items()),
    Attack(
        name="change a file: its owner",
        program='call("fchownat", -100, bait.target.encode(), 12345, 12345, 0)',
        won=touched,
        control=ROOT,
    ),
    Attack(
        name="open a terminal of the host",
        program='call("openat", -100, b"/dev/ptmx", 0o402, 0) >= 0',
    ),
    Attack(name="open the virtual machines", program='call("openat", -100, b"/dev/kvm", 2, 0) >= 0', control=ROOT),
    Attack(name="open the kernel's messages", program='call("openat", -100, b"/dev/kmsg", 0, 0) >= 0', control=ROOT),
    Attack(
        name="leave a file in shared memory",
        program='call("openat", -100, f"/dev/shm/{bait.shared}".encode(), 0o102, 0o600) >= 0 and '
        'call("unlinkat", -100, f"/dev/shm/{bait.shared}".encode(), 0) == 0',
    ),
]
