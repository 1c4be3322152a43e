"""Reaching the host's sockets, and being reached."""

from __future__ import annotations

from attacks.attack import BARE, ROOT, Attack, Control, arrived, got

_V4 = 'struct.pack("=H", 2) + struct.pack("!H", {port}) + bytes([127, 0, 0, 1]) + bytes(8)'
_V6 = 'struct.pack("=H", 10) + struct.pack("!HI", bait.tcp6, 0) + bytes(15) + b"\\1" + bytes(4)'
_PATH = 'struct.pack("=H", 1) + {path}'

_TCP = _V4.format(port="bait.tcp")
_UDP = _V4.format(port="bait.udp")
_STREAM = _PATH.format(path='bait.stream.encode() + b"\\0"')
_DATAGRAM = _PATH.format(path='bait.datagram.encode() + b"\\0"')
_ABSTRACT = _PATH.format(path='b"\\0" + bait.abstract.encode()')
_ABSTRACT_DATAGRAM = _PATH.format(path='b"\\0" + bait.abstract_datagram.encode()')


def _raw(family: int, kind: int, address: str, protocol: int = 0) -> str:
    return f"""\
fd = call("socket", {family}, {kind}, {protocol})
address = {address}
made = call("connect", fd, address, len(address)) if fd >= 0 else fd
call("write", fd, b"x", 1) if made == 0 else made
"""


def _pair(address: str, how: str) -> str:
    return f"""\
pair = (ctypes.c_int * 2)()
made = call("socketpair", 1, 2, 0, pair)
address, data = {address}, b"x"
{how}
"""


_SENDTO = 'call("sendto", pair[0], data, 1, 0, address, len(address))'
_CONNECT = (
    'made = call("connect", pair[0], address, len(address))\ncall("write", pair[0], data, 1) if made == 0 else made'
)
_MESSAGE = """\
name, text = room(address), room(data)
part = room(struct.pack("QQ", at(text), 1))
message = room(struct.pack("QI4xQQQQi4x", at(name), len(address), at(part), 1, 0, 0, 0))
"""
_SENDMSG = _MESSAGE + 'call("sendmsg", pair[0], message, 0)'
_SENDMMSG = _MESSAGE + 'call("sendmmsg", pair[0], room(message.raw[:56] + bytes(8)), 1, 0)'

_RING = f"""\
settings = room(120)
ring = call("io_uring_setup", 4, settings)
def ask(opcode, fd, place, address, size):
    parts = struct.unpack("30I", settings.raw)
    entries, (_, tail, mask, _, _, _, array) = parts[0], parts[10:17]
    reply, replies = parts[20:24][0], parts[20:28]
    queue = mmap.mmap(ring, max(array + 4 * entries, replies[5] + 16 * parts[1]), mmap.MAP_SHARED, 3)
    slots = mmap.mmap(ring, 64 * entries, mmap.MAP_SHARED, 3, offset=0x10000000)
    now = int.from_bytes(queue[tail:tail + 4], "little")
    slot = now & int.from_bytes(queue[mask:mask + 4], "little")
    slots[64 * slot:64 * slot + 64] = struct.pack("BBHiQQI36x", opcode, 0, 0, fd, place, address, size)
    queue[array + 4 * slot:array + 4 * slot + 4] = slot.to_bytes(4, "little")
    queue[tail:tail + 4] = (now + 1).to_bytes(4, "little")
    call("io_uring_enter", ring, 1, 1, 1, 0, 0)
    seen = int.from_bytes(queue[reply:reply + 4], "little")
    start = replies[5] + 16 * (seen & int.from_bytes(queue[replies[2]:replies[2] + 4], "little"))
    queue[reply:reply + 4] = (seen + 1).to_bytes(4, "little")
    return struct.unpack("i", queue[start + 8:start + 12])[0]
found = ring
if ring >= 0:
    found = ask(45, 2, 1, 0, 0)
    target = room({_TCP})
    found = ask(16, found, 16, at(target), 0) if found >= 0 else found
found
"""

_PYTHON = {
    "TCP": "import socket\nsocket.create_connection(('127.0.0.1', bait.tcp), 2).close()",
    "TCP over IPv6": "import socket\nsocket.create_connection(('::1', bait.tcp6), 2).close()",
    "UDP": "import socket\nsocket.socket(2, 2).sendto(b'x', ('127.0.0.1', bait.udp))",
    "a local socket by its path": "import socket\nsocket.socket(1, 1).connect(bait.stream)",
    "an abstract local socket": "import socket\nsocket.socket(1, 1).connect('\\0' + bait.abstract)",
    "a web client": """\
import urllib.request
try:
    urllib.request.urlopen(f"http://127.0.0.1:{bait.tcp}/", timeout=0.2)
except TimeoutError:
    pass
""",
}

_NATIVE = {
    "TCP, raw": _raw(2, 1, _TCP),
    "TCP over IPv6, raw": _raw(10, 1, _V6),
    "TCP of several paths, raw": _raw(2, 1, _TCP, protocol=262),
    "UDP, raw": _raw(2, 2, _UDP),
    "a local socket by its path, raw": _raw(1, 1, _STREAM),
    "a local datagram socket by its path, raw": _raw(1, 2, _DATAGRAM),
    "an abstract local socket, raw": _raw(1, 1, _ABSTRACT),
    "an abstract local datagram socket, raw": _raw(1, 2, _ABSTRACT_DATAGRAM),
    "TCP that connects as it sends": f"""\
fd = call("socket", 2, 1, 0)
address = {_TCP}
call("sendto", fd, b"x", 1, 0x20000000, address, len(address)) if fd >= 0 else fd
""",
    "one of a pair that is sent elsewhere": _pair(_DATAGRAM, _SENDTO),
    "one of a pair that is sent to an abstract socket": _pair(_ABSTRACT_DATAGRAM, _SENDTO),
    "one of a pair that is connected anew": _pair(_ABSTRACT_DATAGRAM, _CONNECT),
    "one of a pair by a message": _pair(_ABSTRACT_DATAGRAM, _SENDMSG),
    "one of a pair by many messages": _pair(_ABSTRACT_DATAGRAM, _SENDMMSG),
    "a ring of requests": _RING,
}


def _no_ipv6(name: str) -> Control:
    if "IPv6" not in name:
        return BARE
    return Control(absent=lambda trial: None if trial.stage.has_ipv6 else "this host has no IPv6")


ATTACKS = [
    *(
        Attack(name=f"reach the host by {how}", program=program, won=arrived, control=_no_ipv6(how))
        for how, program in (_PYTHON | _NATIVE).items()
    ),
    Attack(
        name="reach the host by a socket that it left open",
        program="""\
for fd in range(4, 256):
    call("write", fd, b"x", 1)
    call("sendto", fd, b"x", 1, 0, 0, 0)
""",
        won=arrived,
    ),
    Attack(
        name="be reached by the host",
        program="""\
fd = call("socket", 2, 1, 0)
address = room(struct.pack("=H", 2) + bytes(14))
if fd >= 0 and call("bind", fd, address, 16) == 0 and call("listen", fd, 5) == 0:
    call("getsockname", fd, address, room(struct.pack("I", 16)))
look(at=int.from_bytes(address.raw[2:4], "big"))
""",
    ),
    Attack(
        name="ask the kernel for its network",
        program="""\
fd = call("socket", 16, 3, 0)
call("sendto", fd, struct.pack("IHHIIB3x", 20, 18, 0x301, 1, 0, 0), 20, 0, 0, 0) if fd >= 0 else None
len(os.read(fd, 65536)) > 100 if fd >= 0 else fd
""",
    ),
    Attack(name="name the network's interfaces", program="import socket\nlen(socket.if_nameindex()) > 0"),
    Attack(name="listen to all packets", program='call("socket", 17, 3, 0x300)', won=got, control=ROOT),
    Attack(name="send packets of one's own making", program='call("socket", 2, 3, 1)', won=got, control=ROOT),
    Attack(name="talk to the virtual machine's host", program='call("socket", 40, 1, 0)', won=got),
    Attack(name="use the kernel's ciphers", program='call("socket", 38, 5, 0)', won=got),
    Attack(name="talk to the kernel's auditors", program='call("socket", 16, 3, 9)', won=got),
    Attack(
        name="reach the host from a thread of the C library",
        program=f"""\
address = {_TCP}
def reach(_):
    fd = call("socket", 2, 1, 0)
    call("connect", fd, address, len(address))
entry, thread = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(reach), ctypes.c_ulong()
libc.pthread_create(ctypes.byref(thread), None, entry, None)
libc.pthread_join(thread, None)
""",
        won=arrived,
    ),
]
