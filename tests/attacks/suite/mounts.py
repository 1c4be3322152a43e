"""What the host shows on purpose: read it, and nothing else."""

from __future__ import annotations

from attacks.attack import MODES, ROOT, Attack, Trial, World, got, leaked, touched

SHOWN = World(shown=True)
DEVICES = "Landlock lets what is shown be read, a device file among it too; only a mount can be without devices"

_CHANGE = {
    "by writing": "open(f'{bait.shown}/note', 'w').write('changed')",
    "by adding to it": "open(f'{bait.shown}/note', 'a').write('changed')",
    "by opening it to be cut": 'call("openat", -100, f"{bait.shown}/note".encode(), 0o1000, 0)',
    "by cutting it": 'call("truncate", f"{bait.shown}/note".encode(), 0)',
    "by removing it": "os.remove(f'{bait.shown}/note')",
    "by renaming it": "os.rename(f'{bait.shown}/note', f'{bait.shown}/other')",
    "by a new file": "open(f'{bait.shown}/new', 'w').close()",
    "by a new directory": "os.mkdir(f'{bait.shown}/new')",
    "by a new link": "os.symlink('/', f'{bait.shown}/new')",
    "by a second name": "os.link(f'{bait.shown}/note', f'{bait.shown}/new')",
    "by its mode": "os.chmod(f'{bait.shown}/note', 0o600)",
    "by its times": "os.utime(f'{bait.shown}/note', (1, 1))",
    "by its attributes": "os.setxattr(f'{bait.shown}/note', 'user.mark', b'x')",
    "by mapping it": """\
fd = os.open(f"{bait.shown}/note", os.O_RDWR)
page = mmap.mmap(fd, 4)
page[:4] = b"XXXX"
page.flush()
""",
    "by a mapping that is made writable": """\
fd = os.open(f"{bait.shown}/note", os.O_RDONLY)
libc.mmap.restype = ctypes.c_void_p
page = libc.mmap(None, ctypes.c_size_t(4096), 1, 1, fd, ctypes.c_long(0))
made = call("mprotect", ctypes.c_void_p(page), 4096, 3)
os.close(os.open(f"{bait.shown}/note", os.O_WRONLY))
open(f"{bait.shown}/note", "r+b").write(b"XXXX")
""",
    "by a link that leads there": """\
os.symlink(f"{bait.shown}/note", "link")
open("link", "w").write("changed")
""",
}

_LEAVE = {
    "by a link in it": "open(f'{bait.shown}/way').read()",
    "by a link to the directory above": "open(f'{bait.shown}/up/secret').read()",
    "by its path": "open(f'{bait.shown}/../secret').read()",
    "by its descriptor": """\
fd = os.open(bait.shown, os.O_RDONLY | os.O_DIRECTORY)
content(call("openat", fd, b"../secret", 0, 0))
""",
    "by going up": """\
os.chdir(bait.shown)
os.chdir("..")
open("secret").read()
""",
}

PIPES = "to read what is shown is to take out what is in a pipe"


def filled(trial: Trial) -> bool:
    """Something more is in the pipe that is shown."""
    return b"poured" in trial.stage.in_pipe()


ATTACKS = [
    *(
        Attack(name=f"change what is shown {how}", program=program, won=touched, world=SHOWN)
        for how, program in _CHANGE.items()
    ),
    *(
        Attack(name=f"leave what is shown {how}", program=program, won=leaked, world=SHOWN)
        for how, program in _LEAVE.items()
    ),
    Attack(
        name="open a device that is shown",
        program='call("openat", -100, f"{bait.shown}/device".encode(), 0, 0)',
        won=got,
        world=SHOWN,
        control=ROOT,
        laid_by_root=True,
        gaps={"no namespaces": DEVICES},
    ),
    Attack(
        name="write into a pipe that is shown",
        program='fd = os.open(f"{bait.shown}/pipe", os.O_WRONLY | os.O_NONBLOCK)\nos.write(fd, b"poured")',
        won=filled,
        world=SHOWN,
    ),
    Attack(
        name="take what is in a pipe that is shown",
        program='fd = os.open(f"{bait.shown}/pipe", os.O_RDONLY | os.O_NONBLOCK)\nos.read(fd, 4096).decode()',
        won=leaked,
        world=SHOWN,
        gaps=dict.fromkeys(MODES, PIPES),
    ),
    Attack(
        name="execute what is shown",
        program='os.set_inheritable(3, True)\ncall("execve", f"{bait.shown}/script".encode(), words(b"script", bait.target.encode()), words(b"A=1"))',
        won=touched,
        world=SHOWN,
    ),
]
