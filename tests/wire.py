"""Conversations of guests with their host, and what becomes of them in hostile hands.

A conversation is a list of turns; a turn is what a guest sends before it waits for an event, as bodies of frames.
`spoiled` applies changes to it, each a name with three numbers that say where and how, so that hypothesis can draw
and shrink them, and a generator of random numbers can make any number of them.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

Turn = list[bytes]
Change = tuple[str, int, int, int]

TOOLS = ("get", "put", "pay", "plain", "big", "fails", "nosuch", "load_value", "search_tools")
TEXTS = ("x", "", "héllo", "😀", "line\n", '"\\', "a" * 900)

ODD = [
    *(b"0", b"-1", b"1", b"2", b"7", b"9", b"true", b"false", b"null", b"1.5", b"-0.0", b"0.001", b"1e400", b"-1e400"),
    *(b"1e15", b"NaN", b"Infinity", b"-Infinity", b"2147483648", b"9007199254740992", b"9007199254740993", b"1e16"),
    *(b"9223372036854775808", b"9" * 400, b"9" * 4300, b"9" * 4301, b"-" + b"9" * 4300, b"0." + b"1" * 5000),
    *(b'""', b'"x"', b'"1"', b'"\\ud800"', b'"\\udc00\\ud800"', b'"\\ud83d\\ude00"', b'"\\u0000"', b'"\\u202e"'),
    *(b"[]", b"{}", b"[[]]", b'{"a":1}', b'{"a":1,"a":2}', b'{"":{"":[]}}', b"[1,[2,[3]]]", b"[null]", b'["a",1]'),
    *(b"[" * 99 + b"]" * 99, b"[" * 101 + b"]" * 101, b"[" * 3000 + b"]" * 3000, b"[" * 200_000),
    *(b'"' + b"x" * 9000 + b'"', b'"' + b"\\u4e2d" * 2000 + b'"', b"[" + b"[]," * 20_000 + b"0]"),
    *(b'"' + b"x" * 400_000 + b'"', b"[" + b"1," * 200_000 + b"0]", b'"' + b"x" * 1_100_000 + b'"'),
    *(b"{" + b",".join(b'"k%d":0' % n for n in range(1500)) + b"}", b'{"' + b"k" * 2000 + b'":1}'),
    *(b"seconds", b'"seconds"', b'"guests"', b'["large","room"]', b'[["a",1,"large"]]', b"[3,4]", b"[-1,true]"),
    *(b'"YWJj"', b'"YWJ"', b'"../../etc/passwd"', b'"a/b/c.txt"', b'"CON"', b"1 2", b"'x'", b"", b"\xff", b"\x00"),
]
"""JSON that is odd, or none, to stand where a value stood."""

NAMES = (b"call", b"tool", b"args", b"rest", b"out", b"drop", b"end", b"file", b"data", b"value", b"error", b"printed")
NAMES += (b"left", b"more", b"type", b"text", b"line", b"trace", b"limit", b"run", b"answer", b"clock", b"x", b"")

RAW = (
    b"",
    b"\0",
    b"\xff" * 7,
    b"\0\0\0\0",
    b"\0\0\0\x01{",
    b"\xff\xff\xff\xff",
    b"\0\x10\0\x01",
    b"{}",
    b"\0\0\0\x02{}",
)
RAW += (b"\0\0\0\x0d" + b'{"rest":null}', b"GET / HTTP/1.1\r\n\r\n", b"\0\0\0\x04null", b"\x80\0\0\0" + b"x" * 70_000)

_VALUE = re.compile(rb'(?<=[:\[,])(?:"(?:[^"\\]|\\.)*"(?!:)|-?[0-9][0-9.eE+-]*|null|true|false|\{\}|\[\])')
_KEY = re.compile(rb'"[a-z]*"(?=:)')


class Item(NamedTuple):
    """One frame, or what poses as one."""

    body: bytes
    length: int | None = None
    """What the header says, where that is a lie."""
    raw: bool = False
    """Whether there is no header."""
    keep: int | None = None
    """Bytes of all of it that are sent, where not all are."""

    def wire(self) -> bytes:
        """Return the bytes."""
        length = len(self.body) if self.length is None else self.length
        data = self.body if self.raw else (length & 0xFFFFFFFF).to_bytes(4, "big") + self.body
        return data if self.keep is None else data[: self.keep]


def framed(body: bytes) -> bytes:
    return Item(body).wire()


def call(n: int, tool: str, args: bytes) -> bytes:
    return b'{"call":%d,"tool":"%s","args":%s}' % (n, tool.encode("ascii"), args)


def out(text: str) -> bytes:
    return b'{"out":%s}' % quoted(text)


def rest(until: float | None) -> bytes:
    return b'{"rest":null}' if until is None else b'{"rest":%s}' % repr(until).encode("ascii")


def end(value: bytes = b"null", error: bytes = b"null", printed: int = 0) -> bytes:
    return b'{"end":{"value":%s,"error":%s,"printed":%d}}' % (value, error, printed)


def quoted(text: str) -> bytes:
    import json

    return json.dumps(text).encode("ascii")


ERROR = b'{"type":"ValueError","text":"no","line":1,"trace":[[1,"<module>"],[2,"f"]],"limit":null}'


def conversation(rng: random.Random) -> list[Turn]:
    """Return what an honest guest might say, ending or not."""
    turns, n, now, pending = list[Turn](), 0, 0.0, list[int]()
    for _ in range(rng.randint(1, 5)):
        turn = Turn()
        for _ in range(rng.randint(0, 4)):
            kind = rng.random()
            if kind < 0.6:
                n += 1
                pending.append(n)
                args = rng.choice(
                    (b"{}", b'{"x":1}', b'{"x":2}', b'{"x":"%d"}' % n, b'{"x":[1,{"y":null}]}', b'{"z":1}')
                )
                turn.append(call(n, rng.choice(TOOLS), args))
            elif kind < 0.85 or not pending:
                turn.append(out(rng.choice(TEXTS) or "x"))
            else:
                turn.append(b'{"drop":%d}' % pending.pop(rng.randrange(len(pending))))
        now += rng.choice((0.0, 0.01, 0.5, 3.0))
        turn.append(rest(rng.choice((None, now))))
        turns.append(turn)
    if rng.random() < 0.8:
        files = [b'{"file":%s,"data":"YWJj"}' % quoted(f"f{number}") for number in range(rng.choice((0, 0, 1, 2)))]
        ends = (end(), end(b'{"a":[1,2]}', printed=3), end(error=ERROR), end(b'"%s"' % (b"v" * 20_000)))
        turns.append([*files, rng.choice(ends)])
    return turns


# ---- changes; `at` chooses an item, `how` and `what` whatever else there is to choose


def _pick(items: Sequence[Item], at: int) -> int:
    return at % len(items)


def _with_body(items: list[Item], at: int, change: Callable[[bytes], bytes]) -> None:
    place = _pick(items, at)
    items[place] = items[place]._replace(body=change(items[place].body))


def _matched(pattern: re.Pattern[bytes], body: bytes, which: int, by: bytes) -> bytes:
    places = [found.span() for found in pattern.finditer(body)]
    if not places:
        return body
    start, stop = places[which % len(places)]
    return body[:start] + by + body[stop:]


def _duplicate(items: list[Item], at: int, how: int, what: int) -> None:
    items.insert(how % (len(items) + 1), items[_pick(items, at)])


def _remove(items: list[Item], at: int, how: int, what: int) -> None:
    if len(items) > 1:
        del items[_pick(items, at)]


def _swap(items: list[Item], at: int, how: int, what: int) -> None:
    one, other = _pick(items, at), _pick(items, how)
    items[one], items[other] = items[other], items[one]


def _splice(items: list[Item], at: int, how: int, what: int) -> None:
    other = items[_pick(items, how)].body
    _with_body(items, at, lambda body: body[: what % (len(body) + 1)] + other[what % (len(other) + 1) :])


def _value(items: list[Item], at: int, how: int, what: int) -> None:
    _with_body(items, at, lambda body: _matched(_VALUE, body, how, ODD[what % len(ODD)]))


def _rename(items: list[Item], at: int, how: int, what: int) -> None:
    _with_body(items, at, lambda body: _matched(_KEY, body, how, b'"%s"' % NAMES[what % len(NAMES)]))


def _add(items: list[Item], at: int, how: int, what: int) -> None:
    part = b'"%s":%s' % (NAMES[how % len(NAMES)], ODD[what % len(ODD)])
    _with_body(items, at, lambda body: body[:1] + part + b"," + body[1:])


def _flip(items: list[Item], at: int, how: int, what: int) -> None:
    def change(body: bytes) -> bytes:
        place = how % (len(body) or 1)
        return body[:place] + bytes([what % 256]) + body[place + 1 :]

    _with_body(items, at, change)


def _length(items: list[Item], at: int, how: int, what: int) -> None:
    place = _pick(items, at)
    size = len(items[place].body)
    lies = (0, 1, size - 1, size + 1, size + 4, 1 << 20, (1 << 20) + 1, 1 << 31, -1, size + how % 99)
    items[place] = items[place]._replace(length=lies[what % len(lies)])


def _tear(items: list[Item], at: int, how: int, what: int) -> None:
    place = _pick(items, at)
    items[place] = items[place]._replace(keep=how % (len(items[place].body) + 4))


def _raw(items: list[Item], at: int, how: int, what: int) -> None:
    items.insert(at % (len(items) + 1), Item(RAW[what % len(RAW)], raw=True))


def _odd(items: list[Item], at: int, how: int, what: int) -> None:
    items.insert(at % (len(items) + 1), Item(ODD[what % len(ODD)]))


def _flood(items: list[Item], at: int, how: int, what: int) -> None:
    items[how % (len(items) + 1) : 0] = [items[_pick(items, at)]] * (what % 40)


def _number(items: list[Item], at: int, how: int, what: int) -> None:
    """Take a call for another one."""
    _with_body(items, at, lambda body: re.sub(rb'(?<="call":|"drop":)[0-9]+', b"%d" % (how % 12), body))


CHANGES: dict[str, Callable[[list[Item], int, int, int], None]] = {
    "duplicate": _duplicate,
    "remove": _remove,
    "swap": _swap,
    "splice": _splice,
    "value": _value,
    "rename": _rename,
    "add": _add,
    "flip": _flip,
    "length": _length,
    "tear": _tear,
    "raw": _raw,
    "odd": _odd,
    "flood": _flood,
    "number": _number,
}


def changes(rng: random.Random) -> list[Change]:
    """Return changes to make: mostly few, for most of a conversation has to hold for the rest to be reached."""
    names = list(CHANGES)
    weights = [3 if name in ("value", "rename", "number") else 1 for name in names]
    count = rng.choice((0, 1, 1, 1, 2, 2, 3, 6))
    return [
        (rng.choices(names, weights)[0], rng.randrange(1 << 16), rng.randrange(1 << 16), rng.randrange(1 << 16))
        for _ in range(count)
    ]


def spoiled(turns: Sequence[Turn], made: Sequence[Change]) -> list[bytes]:
    """Return what goes over the wire in each turn, with the changes made in order."""
    sizes = [len(turn) for turn in turns]
    items = [Item(body) for turn in turns for body in turn]
    for name, at, how, what in made:
        if items:
            CHANGES[name](items, at, how, what)
    sent = list[bytes]()
    for size in sizes[:-1]:
        sent.append(b"".join(item.wire() for item in items[:size]))
        items = items[size:]
    return [*sent, b"".join(item.wire() for item in items)]


def pieces(data: bytes, sizes: Sequence[int]) -> list[bytes]:
    """Cut data at the sizes, which repeat; everything at once where there are none."""
    if not sizes or len(data) > 20_000:
        return [data]
    cut, at, turn = list[bytes](), 0, 0
    while at < len(data):
        size = max(1, sizes[turn % len(sizes)])
        cut.append(data[at : at + size])
        at, turn = at + size, turn + 1
    return cut
