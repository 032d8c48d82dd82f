"""Elements of `metrics_list` as other programs may write them: entries, and what only looks like some."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any, Final

from hypothesis import strategies as st

from tests.helpers.pipeline import NOON, foreign

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

FIELDS: Final[dict[str, Any]] = json.loads(foreign())
PRODUCER: Final = "00000000000000ff"


def element(**changes: Any) -> bytes:
    """An entry with other values in some fields; `...` leaves one out."""
    fields = {key: value for key, value in {**FIELDS, **changes}.items() if value is not ...}
    return json.dumps(fields).encode()


# Names as no one should choose them, and all of them are kept as they are.
NAMES: Final = (
    'it\'s "quoted" `here`',
    "two\nlines\r\n\tand a tab",
    "bell\x07 escape\x1b[2J\x1b]0;title\x07 delete\x7f",
    "'; DROP TABLE metrics; --",
    '" OR 1=1 --',
    "<script>alert(1)</script>&amp;",
    "[red]markup[/red] {braces} %s %(name)s ${HOME}",
    "right\u202eto left, zero\u200bwidth, \u2028line\u2029paragraph, \ufeff",
    "ünï\u0301 字 \U0001f600",
    "*?[a-z]\\",
    "..",
    " ",
    "x" * 10_000,
    "字" * 10_000,
)

GOOD: Final = (
    *(element(func_name=name) for name in NAMES[:-1]),
    json.dumps({**FIELDS, "func_name": NAMES[-1]}, ensure_ascii=False).encode(),
    *(element(error_occurred=1, error_type=name) for name in NAMES[:-2]),
    *(element(id=name) for name in NAMES[:-1]),
    *(element(id=form) for form in ("x-0", "x--1", "x-99999999999999999999", f"{PRODUCER}-0")),
    element(id=f"{PRODUCER}-{10**15}"),
    element(id=""),
    element(id=None, outcome=None, error_type=None),
    # 1970, 2100 and 9999
    *(element(created_at=at) for at in (0, 4_102_444_800.5, 253_402_300_799.99)),
    *(element(execution_time=seconds) for seconds in (0, -0.0, 5e-324, 9_999_999_999.0)),
    *(element(error_occurred=flag) for flag in (True, False)),
    element(outcome="cancelled"),
    element(error_occurred=1, error_type=""),
    *(
        element(outcome=name, error_occurred=flag)
        for name in ("timeout", "o" * 100, "<b>")
        for flag in (0, 1)
    ),
    element(outcome="refused", error_type="KeyError"),
    element(outcome="refused", error_type="KeyError", error_occurred=1),
    element(extra="extra", more="\0\ud800", func="f", **dict.fromkeys(NAMES[:-2], 10**300)),
    element(more={"deep": [[[]]]}, __class__="os.system", __reduce__=["rm"]),
    # The last one of two counts, as in most readers of JSON.
    foreign().replace(b'"func_name"', b'"execution_time": "x", "func_name"'),
    b" \t\r\n" + foreign() + b"\n ",
)

_NO_TEXTS: Final[tuple[Any, ...]] = (0, 1.5, True, [], {}, "x" * 10_001)
_NOTHING_FOR_ANY_FIELD: Final[tuple[Any, ...]] = (..., None, [], {}, [1], {"a": 1}, -1, "\0")

BAD: Final[tuple[bytes, ...]] = (
    b"",
    b" ",
    b"\n",
    b"\0",
    b"hello",
    b"{}",
    b"[]",
    b"null",
    b"true",
    b"0",
    b'""',
    b"{'func_name': 'app.f'}",
    foreign()[:-1],
    foreign() + b",",
    foreign() * 2,
    b"[" + foreign() + b"]",
    b"[" * 10_000 + b"]" * 10_000,
    b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
    b'{"func_name":"app.f","more":' + b"[" * 10_000 + b"]" * 10_000 + b"}",
    b"__import__('os').system('touch evaluated')",
    b"!!python/object/apply:os.system ['touch evaluated']",
    b"cos\nsystem\n(S'touch evaluated'\ntR.",  # a pickle
    b"a" * 100_000,
    b'{"func_name":"' + b"a" * 100_000 + b'"}',
    b"\xff\xfe" + foreign().decode().encode("utf-16-le"),
    b"\xef\xbb\xbf" + foreign(),  # a byte order mark
    foreign().replace(b"app.f", b"app.\xff"),
    foreign().replace(b"app.f", b"\xed\xa0\x80"),  # a lone surrogate
    foreign().replace(b"app.f", b"a\0b"),
    foreign().replace(b"app.f", b"a\nb"),
    *(element(func_name=name) for name in ("", "\ud800", "a\0b")),
    element(error_occurred=1, error_type="\udfff"),
    element(id="\ud83d"),
    *(
        element(**{field: value})
        for field in ("func_name", "execution_time", "error_occurred", "created_at")
        for value in _NOTHING_FOR_ANY_FIELD
    ),
    *(
        element(**{field: value})
        for field in ("func_name", "outcome", "error_type", "id")
        for value in _NO_TEXTS
    ),
    *(
        element(**{field: value})
        for field in ("execution_time", "created_at")
        for value in (True, False, math.nan, math.inf, -math.inf, -1e-300, 10**400, 1e300, "0.5")
    ),
    *(foreign().replace(b"0.5", number) for number in (b"1" * 5000, b"1e999", b"0x1", b".5")),
    element(created_at=253_402_300_800),
    *(element(error_occurred=value) for value in (2, 0.0, 1.0, "0", math.nan, 10**30)),
    *(element(outcome=name) for name in ("a\nb", "\ud800", "o" * 101, "\u200b")),
    element(outcome="error"),
    element(error_type="KeyError"),
    element(more=math.nan),
    foreign().replace(b"{", b'{"more": [1e999], ', 1),
)

_json: SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(NAMES),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
_texts = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=30
)
_ids = st.integers(-1, 30).map(lambda number: f"{PRODUCER}-{number}")

good: SearchStrategy[bytes] = st.sampled_from(GOOD) | st.fixed_dictionaries(
    {
        "func_name": _texts,
        "execution_time": st.floats(0, 1e9) | st.integers(0, 10**9),
        "error_occurred": st.just(0),
        "created_at": st.floats(0, 2.5e11) | st.just(NOON),
    },
    optional={
        "id": _ids | _texts,
        "outcome": st.sampled_from(["ok", "cancelled", "timeout"]),
        "more": _json,
    },
).map(lambda fields: json.dumps(fields).encode())

anything: SearchStrategy[bytes] = (
    st.binary(max_size=100)
    | _json.map(lambda value: json.dumps(value).encode())
    | st.sampled_from(BAD)
    | st.fixed_dictionaries(
        {}, optional={key: st.just(value) | _json for key, value in FIELDS.items()} | {"id": _json}
    ).map(lambda fields: json.dumps(fields).encode())
    | st.builds(
        lambda raw, at, byte: raw[: at % len(raw)] + byte + raw[at % len(raw) + 1 :],
        good,
        st.integers(0, 10_000),
        st.binary(max_size=1),
    )
)
