from __future__ import annotations

import collections
import dataclasses
import datetime
import decimal
import enum
import fractions
import json
import math
import pathlib
import types
import uuid
from typing import Any
from unittest import mock

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from callgate.codec import DEPTH, NotJSON, decode, digest, encode, encode_any

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=25,
)


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


class Word(str):
    __slots__ = ()

    def __str__(self) -> str:
        return "not the text"


class Number(int):
    pass


@dataclasses.dataclass
class Point:
    x: int
    y: object = None


class Model(pydantic.BaseModel):
    when: datetime.date
    parts: set[int] = set()


class Root(pydantic.RootModel[list[int]]):
    pass


class Unfriendly:
    def __str__(self) -> str:
        raise LookupError("private to the host")


class UnfriendlyModel:
    def model_dump(self, **_: Any) -> object:
        raise LookupError("private to the host")


Pair = collections.namedtuple("Pair", "a b")  # noqa: PYI024 - both kinds occur


def _nest(levels: int, leaf: Any = 1) -> Any:
    for _ in range(levels):
        leaf = [leaf]
    return leaf


@given(values)
def test_a_json_value_survives(value: Any) -> None:
    back = decode(encode(value))
    assert back == value
    assert repr(decode(encode(back))) == repr(back)


@given(values)
def test_both_encoders_agree_on_json_values(value: Any) -> None:
    assert encode_any(value) == encode(value)


@given(values)
def test_text_is_canonical(value: Any) -> None:
    text = encode(value)
    assert text.isascii()
    assert text == json.dumps(json.loads(text), sort_keys=True, separators=(",", ":"))
    assert encode(decode(text)) == text


@given(st.dictionaries(st.text(), values, max_size=6), st.randoms())
def test_the_order_of_keys_does_not_count(value: dict[str, Any], random: Any) -> None:
    items = list(value.items())
    random.shuffle(items)
    assert encode(dict(items)) == encode(value)


@given(st.text(st.characters(codec=None), max_size=6))
def test_text_is_carried_exactly_or_refused(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        with pytest.raises(NotJSON, match="surrogate"):
            encode({"a": [text]})
    else:
        assert decode(encode(text)) == text


@given(values)
def test_encoding_does_not_change_the_value(value: Any) -> None:
    before = repr(value)
    encode_any(value)
    assert repr(value) == before


PLAIN = {
    "none": (None, "null"),
    "true": (True, "true"),
    "int": (10**30, "1" + "0" * 30),
    "float": (1.0, "1.0"),
    "minus-zero": (-0.0, "-0.0"),
    "text": ('é€😀\n"\\', '"\\u00e9\\u20ac\\ud83d\\ude00\\n\\"\\\\"'),
    "backslash-ud": ("\\ud800", '"\\\\ud800"'),
    "keys-sorted": ({"b": 1, "a": {"d": 2, "c": []}}, '{"a":{"c":[],"d":2},"b":1}'),
    "tuple": ((1, (2,)), "[1,[2]]"),
    "named-tuple": (Pair(1, [2]), "[1,[2]]"),
    "int-subclass": (Number(5), "5"),
    "text-subclass": (Word("w"), '"w"'),
    "text-subclass-key": ({Word("w"): 1}, '{"w":1}'),
    "enum": ([Colour.RED, Level.HIGH], '["red",3]'),
    "date": (datetime.date(2024, 2, 29), '"2024-02-29"'),
    "datetime": (datetime.datetime(2024, 2, 29, 1, 2, 3, tzinfo=datetime.UTC), '"2024-02-29T01:02:03+00:00"'),
    "time": (datetime.time(1, 2), '"01:02:00"'),
    "timedelta": (datetime.timedelta(hours=1, milliseconds=5), "3600.005"),
    "uuid": (uuid.UUID(int=1), '"00000000-0000-0000-0000-000000000001"'),
    "decimal": (decimal.Decimal("1.10"), '"1.10"'),
    "path": (pathlib.PurePosixPath("/a/b"), '"/a/b"'),
    "bytes": ([b"\0\xff", bytearray(b"a"), memoryview(b"b")], '["AP8=","YQ==","Yg=="]'),
    "mapping": (types.MappingProxyType({"a": 1}), '{"a":1}'),
    "ordered": (collections.OrderedDict(b=1, a=2), '{"a":2,"b":1}'),
    "counter": (collections.Counter("aab"), '{"a":2,"b":1}'),
    "set": ({"b", "a"}, '["a","b"]'),
    "set-of-numbers": ({10, 9, 1.5}, "[1.5,10,9]"),
    "nested-sets": (frozenset([frozenset([2]), frozenset([1])]), "[[1],[2]]"),
    "range": (range(3), "[0,1,2]"),
    "deque": (collections.deque([1, "a"]), '[1,"a"]'),
    "keys": ({"b": 1, "a": 2}.keys(), '["b","a"]'),
    "dict-values": ({"b": 1, "a": 2}.values(), "[1,2]"),
    "items": ({"b": 1, "a": 2}.items(), '[["b",1],["a",2]]'),
    "dataclass": (Point(1, Point(2)), '{"x":1,"y":{"x":2,"y":null}}'),
    "model": (Model(when=datetime.date(2024, 1, 1), parts={1}), '{"parts":[1],"when":"2024-01-01"}'),
    "root-model": (Root([1, 2]), "[1,2]"),
}


@pytest.mark.parametrize(("value", "text"), PLAIN.values(), ids=PLAIN)
@pytest.mark.parametrize("encoder", [encode, encode_any])
def test_values_of_the_standard_library_become_json(encoder: Any, value: object, text: str) -> None:
    assert encoder(value) == text
    assert encoder({"k": [value]}) == '{"k":[' + text + "]}"


ONLY_ANY = {
    "nan": (math.nan, "null"),
    "infinities": ([math.inf, {"a": -math.inf}, (math.nan, 1.5)], '[null,{"a":null},[null,1.5]]'),
    "set-with-nan": ({math.nan, 1.0}, "[1.0,null]"),
    "int-keys": ({1: "a", 2.5: "b"}, '{"1":"a","2.5":"b"}'),
    "odd-keys": ({None: 1, True: 2, (1, 2): 3}, '{"(1, 2)":3,"None":1,"True":2}'),
    "enum-keys": ({Colour.RED: 1, Level.HIGH: 2}, '{"3":2,"red":1}'),
    "unknown": ([fractions.Fraction(1, 3), 1 + 2j], '["1/3","(1+2j)"]'),
    "class": (int, "\"<class 'int'>\""),
    "error": (ValueError("no"), '"no"'),
    "dataclass-class": ([Point, Colour.RED], f'["{Point}","red"]'),
}


@pytest.mark.parametrize(("value", "text"), ONLY_ANY.values(), ids=ONLY_ANY)
def test_anything_else_of_a_tool_becomes_json_too(value: object, text: str) -> None:
    assert encode_any(value) == text


STRICT = {
    "nan": (math.nan, "NaN and Infinity are not JSON"),
    "infinity": ([{"a": -math.inf}], "NaN and Infinity are not JSON"),
    "nan-in-set": ({math.nan}, "NaN and Infinity are not JSON"),
    "int-key": ({"a": {1: 2}}, "the key 1 is no string"),
    "none-key": ({None: 1}, "the key None is no string"),
    "long-key": ({("k" * 5_000,): 1}, "..."),
    "fraction": (fractions.Fraction(1, 3), "Fraction is not JSON"),
    "complex": (1j, "complex is not JSON"),
    "object": ([object()], "object is not JSON"),
    "function": (len, "builtin_function_or_method is not JSON"),
    "generator": ((n for n in ()), "generator is not JSON"),
}


@pytest.mark.parametrize(("value", "text"), STRICT.values(), ids=STRICT)
def test_strict_encoding_refuses_what_json_lacks(value: object, text: str) -> None:
    with pytest.raises(NotJSON) as caught:
        encode(value)
    assert text in str(caught.value)
    assert len(str(caught.value)) < 250


BOTH = {
    "surrogate": ("\ud800", "surrogate"),
    "surrogate-pair-in-two": ("\ud83d" + "\ude00", "surrogate"),
    "surrogate-key": ({"\udfff": 1}, "surrogate"),
    "surrogate-beside-nan": (["\ud800"], "surrogate"),
    "digits": (10**4300, "4300 digits"),
    "digits-deep": ({"a": [{10**4300}]}, "4300 digits"),
    "model-that-fails": (UnfriendlyModel(), "UnfriendlyModel does not turn into JSON: LookupError"),
    "too-deep": (_nest(DEPTH + 1), "nested deeper than 100 levels"),
    "much-too-deep": (_nest(100_000), "nested deeper than 100 levels"),
}


@pytest.mark.parametrize(("value", "text"), BOTH.values(), ids=BOTH)
@pytest.mark.parametrize("encoder", [encode, encode_any])
def test_no_encoder_takes_what_has_no_text(encoder: Any, value: object, text: str) -> None:
    with pytest.raises(NotJSON, match=text):
        encoder(value)


@pytest.mark.parametrize("levels", [1, DEPTH - 1, DEPTH])
def test_values_may_nest_to_the_depth(levels: int) -> None:
    assert decode(encode(_nest(levels))) == _nest(levels)


def test_dicts_count_as_levels() -> None:
    value: Any = 1
    for _ in range(DEPTH):
        value = {"a": value}
    assert decode(encode(value)) == value
    with pytest.raises(NotJSON, match="deeper"):
        encode({"a": value})


def test_sets_count_as_levels() -> None:
    value: Any = frozenset([1])
    for _ in range(DEPTH - 1):
        value = frozenset([value])
    assert encode(value) == "[" * DEPTH + "1" + "]" * DEPTH
    with pytest.raises(NotJSON, match="deeper"):
        encode(frozenset([value]))


@pytest.mark.parametrize("encoder", [encode, encode_any])
def test_a_value_that_holds_itself_is_refused(encoder: Any) -> None:
    loop: list[Any] = [1]
    loop += [loop, loop, {"a": loop}]
    with pytest.raises(NotJSON, match="holds itself"):
        encoder(loop)


def test_a_nan_beside_a_huge_integer_is_refused_as_such() -> None:
    with pytest.raises(NotJSON, match="4300 digits"):
        encode_any([math.nan, 10**4300])


def test_the_longest_integer_is_carried() -> None:
    assert decode(encode(10**4299)) == 10**4299


def test_keys_with_the_same_text_are_refused_rather_than_lost() -> None:
    with pytest.raises(NotJSON, match="same text"):
        encode_any({1: "a", "1": "b"})


def test_a_failing_conversion_tells_nothing_but_its_type() -> None:
    with pytest.raises(NotJSON) as caught:
        encode_any([Unfriendly()])
    assert str(caught.value) == "Unfriendly does not turn into JSON: LookupError"
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    "text",
    ["", "{", "nul", "[1,]", "{'a':1}", "NaN", "[Infinity]", "-Infinity", '{"a":NaN}', "1 2", "\ufeff1", "01", '"\n"'],
)
def test_what_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(NotJSON):
        decode(text)


@pytest.mark.parametrize("data", [b"\xff", b'"\xc3"', b"[" * 200_000, b"[" * 200_000 + b"]" * 200_000, b"1" * 5_000])
def test_hostile_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(NotJSON):
        decode(data)


@given(st.binary(max_size=40))
def test_bytes_decode_or_are_refused(data: bytes) -> None:
    try:
        value = decode(data)
    except NotJSON:
        return
    assert json.loads(data) == value or value != value


@pytest.mark.parametrize("text", ["1e999", '"\\ud800"', '{"a":[-1e999]}'])
def test_what_only_looks_like_json_does_not_pass_encode(text: str) -> None:
    with pytest.raises(NotJSON):
        encode(decode(text))


def test_the_digest_is_that_of_the_text() -> None:
    assert digest("{}") == "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"


def _numpy(np: Any) -> dict[str, tuple[Any, str]]:
    return {
        "int64": (np.int64(5), "5"),
        "bool": (np.bool_(True), "true"),
        "float64": (np.float64(0.1), "0.1"),
        "float32": (np.float32(0.5), "0.5"),
        "longdouble": (np.longdouble(1.5), "1.5"),
        "nan": (np.float64("nan"), "null"),
        "str": (np.str_("a"), '"a"'),
        "array": (np.arange(4).reshape(2, 2), "[[0,1],[2,3]]"),
        "array-nan": (np.array([1.0, np.nan]), "[1.0,null]"),
        "array-0d": (np.array(3), "3"),
        "array-objects": (np.array([None, "a", {"b": 1}], dtype=object), '[null,"a",{"b":1}]'),
        "datetime-ns": (np.array(["2024-01-02T03:04:05"], dtype="M8[ns]"), '["2024-01-02T03:04:05"]'),
        "datetime-day": (np.datetime64("2024-01-02"), '"2024-01-02T00:00:00"'),
        "datetime-nat": (np.datetime64("NaT", "s"), "null"),
        "timedelta-ns": (np.timedelta64(1500, "ms").astype("m8[ns]"), "1.5"),
        "complex": (np.complex128(1j), '"1j"'),
        "in-a-dict": ({np.str_("k"): np.int8(1)}, '{"k":1}'),
        "int-keys": ({np.int64(1): 2}, '{"1":2}'),
    }


@pytest.mark.parametrize("case", list(_numpy(mock.MagicMock())))
def test_numpy_values_become_json(case: str) -> None:
    value, text = _numpy(pytest.importorskip("numpy"))[case]
    assert encode_any(value) == text
    assert encode_any([value]) == f"[{text}]"


def _pandas(pd: Any) -> dict[str, tuple[Any, str]]:
    frame = pd.DataFrame({"b": [1, 2], "a": [0.5, None]})
    days = pd.date_range("2024-01-01", periods=2)
    return {
        "frame": (frame, '[{"a":0.5,"b":1},{"a":null,"b":2}]'),
        "frame-empty": (pd.DataFrame({"a": []}), "[]"),
        "frame-filtered": (frame.tail(1), '[{"a":null,"b":2}]'),
        "series-filtered": (frame["b"].tail(1), "[2]"),
        "frame-labelled": (frame.set_index("b"), '[{"a":0.5,"b":1},{"a":null,"b":2}]'),
        "frame-grouped": (frame.groupby(["b", "a"]).size().to_frame("n"), '[{"a":0.5,"b":1,"n":1}]'),
        "frame-int-columns": (pd.DataFrame([[1, "x"]]), '[{"0":1,"1":"x"}]'),
        "series": (frame["b"], "[1,2]"),
        "series-labelled": (frame.set_index("b")["a"], '{"1":0.5,"2":null}'),
        "row": (frame.iloc[0], '{"a":0.5,"b":1.0}'),
        "dates": (pd.Series(days), '["2024-01-01T00:00:00","2024-01-02T00:00:00"]'),
        "index": (days, '["2024-01-01T00:00:00","2024-01-02T00:00:00"]'),
        "array-of-dates": (days.to_numpy(), '["2024-01-01T00:00:00","2024-01-02T00:00:00"]'),
        "timestamp": (days[0], '"2024-01-01T00:00:00"'),
        "nat": (pd.NaT, "null"),
        "na": (pd.NA, "null"),
        "nullable": (pd.array([1, None], dtype="Int64"), "[1,null]"),
        "timedelta": (pd.Timedelta(seconds=90), "90.0"),
        "categorical": (pd.Categorical(["x", "y"]), '["x","y"]'),
        "period": (pd.Period("2024-01"), '"2024-01"'),
    }


@pytest.mark.parametrize("case", list(_pandas(mock.MagicMock())))
def test_pandas_values_become_json(case: str) -> None:
    value, text = _pandas(pytest.importorskip("pandas"))[case]
    assert encode_any(value) == text


def test_a_frame_loses_no_column() -> None:
    pd = pytest.importorskip("pandas")
    with pytest.raises(NotJSON, match="two columns"):
        encode_any(pd.DataFrame([[1, 2]], columns=["a", "a"]))


def test_a_series_loses_no_row() -> None:
    pd = pytest.importorskip("pandas")
    with pytest.raises(NotJSON, match="two labels"):
        encode_any(pd.Series([1, 2], index=["a", "a"]))
