"""Values cross whole: text, numbers and structures at the edges of what JSON carries."""

from __future__ import annotations

from callgate.codec import JSON
from callgate.testing.conformance.calls import echo
from callgate.testing.conformance.case import Case
from callgate.testing.conformance.ways import once
from callgate.tools import tool

__all__ = ["Values"]

EDGES: list[JSON] = [
    None, True, False, 0, -1, 2**31, 2**53 + 1, -(2**63), 10**400, 0.0, -0.0, 0.1, 5e-324, 1.7976931348623157e308, 1e22,
    "", " ", "\0", "\n\r\t", "\x7f\x80\x9f", "\u2028\u2029", "\u202e", "\ufeff", "\uffff",
    "é", "e\u0301", "中", "😀", "👩‍👩‍👧",
    '"', "\\", "\\u0000", "</script>", "{}", "null", "a" * 70_000, "\0" * 3_000, "😀" * 9_000, [], {}, [[]], [{}],
    {"": {"": ""}}, {"\0": 1, "__proto__": 2, "a b": 3, "value": 4, "é": 5, "😀": 6}, [None, [True, [1, ["x"]]]],
    list(range(3_000)),
]  # fmt: skip
"""Each of them is itself after crossing both ways."""

SIZES = (1, 2, 3, 4, 5, 7, 100, 1_000, 4_095, 4_096, 4_097, 16_384, 32_767, 32_768, 65_535, 65_536, 65_537, 200_000)
"""Characters of text around what transports cut at."""


@tool(effect="read")
def text(size: int) -> str:
    """Return text of that length, whose every part is another one."""
    return pattern(size)


def pattern(size: int) -> str:
    """Return text of that length, whose every part is another one."""
    return "".join(f"{n:07}{'=' * 93}" for n in range(size // 100 + 1))[:size]


PATTERN = "def pattern(size): return ''.join(f'{n:07}' + '=' * 93 for n in range(size // 100 + 1))[:size]\n"


def nested(depth: int) -> JSON:
    """Return lists within lists."""
    value: JSON = "inside"
    for _ in range(depth):
        value = [value]
    return value


class Values:
    """What crosses between programs and tools."""

    def test_edges_cross_as_arguments_and_results(self, case: Case) -> None:
        """Every edge of the codec comes back from a tool as it was sent, type and all."""
        program = f"""
edges = {EDGES!r}
back = [echo(value=one) for one in edges]
[n for n, (one, other) in enumerate(zip(edges, back)) if repr(one) != repr(other)]
"""
        seen: list[JSON] = []

        @tool(effect="read", name="echo")
        def noting(value: JSON) -> JSON:
            seen.append(value)
            return value

        assert case.value(program, noting) == []
        assert [repr(one) for one in seen] == [repr(one) for one in EDGES]

    def test_edges_cross_as_the_value(self, case: Case) -> None:
        """Every edge of the codec is the value of a program that ends with it."""
        assert repr(case.value(f"edges = {EDGES!r}\nedges")) == repr(EDGES)

    def test_text_of_any_length_crosses(self, case: Case) -> None:
        """Arguments, results, output and value of lengths around what transports cut at arrive whole."""
        program = f"""
{PATTERN}
wrong = []
for size in {SIZES!r}:
    if text(size=size) != pattern(size): wrong.append(['result', size])
    if echo(value=pattern(size)) != pattern(size): wrong.append(['argument', size])
    print(pattern(size))
wrong
"""
        outcome = case.run(program, text, echo, limits=case.bounded(output_kb=1024))
        assert (outcome.status, outcome.value) == ("completed", []), outcome.text[:500]
        assert outcome.stdout == "".join(f"{pattern(size)}\n" for size in SIZES)

    def test_large_values_cross(self, case: Case) -> None:
        """A megabyte and a half as an argument, a result and a value arrive whole."""
        size = 1_500_000
        program = f"{PATTERN}\nsame = echo(value=pattern({size})) == text(size={size})\nassert same\npattern({size})"
        assert case.value(program, text, echo) == pattern(size)

    def test_many_small_values_cross(self, case: Case) -> None:
        """A list of thirty thousand rows is one value."""
        assert case.value("rows = [[n, str(n)] for n in range(30_000)]\nrows")[29_999] == [29_999, "29999"]

    @once
    def test_nesting_crosses_up_to_its_bound(self, case: Case) -> None:
        """Ninety levels cross; a hundred and fifty are refused as arguments and shown as text as a value."""
        assert case.value(f"found = echo(value={nested(90)!r})\nfound", echo) == nested(90)
        deep = "x = 0\nfor _ in range(150): x = [x]\n"
        program = f"{deep}try:\n    echo(value=x)\nexcept InvalidArguments:\n    y = 'refused'\ny"
        assert case.value(program, echo) == "refused"
        assert case.value(f"{deep}x")[:3] == "[[["

    @once
    def test_what_json_cannot_carry_is_refused_as_an_argument(self, case: Case) -> None:
        """NaN, Infinity, lone surrogates, keys that are no text, objects, numbers too long raise `InvalidArguments`."""
        program = """
refused = []
for one in (float('nan'), float('inf'), '\\ud800', {1: 2}, object(), 10 ** 5000):
    try: echo(value=one)
    except InvalidArguments: refused.append(True)
refused
"""
        assert case.value(program, echo) == [True] * 6

    @once
    def test_what_json_cannot_carry_becomes_its_text_as_a_value(self, case: Case) -> None:
        """Dates, decimals, sets, dataclasses and unknown objects are shown as a plain tool would show them."""
        program = """
import dataclasses, datetime, decimal
@dataclasses.dataclass
class P:
    x: int
class Q:
    def __repr__(self): return 'Q!'
[datetime.date(2024, 2, 29), decimal.Decimal('1.50'), {3}, P(1), float('nan'), (1, 2), {(1, 2): 3}, '\\u20ac']
"""
        assert case.value(program) == ["2024-02-29", "1.50", [3], {"x": 1}, None, [1, 2], {"(1, 2)": 3}, "€"]

    @once
    def test_types_survive(self, case: Case) -> None:
        """Results are JSON values and never text of JSON: 1, 1.0, "1" and true stay what they are."""
        program = "found = [type(echo(value=one)).__name__ for one in (1, 1.0, '1', True, None, [], {})]\nfound"
        assert case.value(program, echo) == ["int", "float", "str", "bool", "NoneType", "list", "dict"]
