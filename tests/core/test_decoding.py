"""Many entries at once: each is what it is alone, whatever stands beside it, and however it is written."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from metrics_collector._core import decoding
from metrics_collector._core.columns import Columns
from metrics_collector._core.decoding import EntryRun, decode, decode_all
from metrics_collector._core.encoding import encode
from metrics_collector._core.entries import (
    END_OF_TIME,
    FIELDS,
    MAX_SECONDS,
    Entry,
    RejectedEntryError,
)
from tests.core.test_entries import GOOD, PRODUCER, clocks, names, raw

if TYPE_CHECKING:
    from collections.abc import Sequence

# JSON as anybody may write it, and what is nearly JSON.
spaces = st.sampled_from(["", "", "", " ", "\n", "\t\r "])
numbers = (
    st.from_regex(r"\A-?(0|[1-9][0-9]{0,25})(\.[0-9]{1,25})?([eE][+-]?[0-9]{1,3})?\Z")
    | st.floats(allow_nan=False, allow_infinity=False).map(repr)
    | st.integers(0, 10**20).map("{}e-9".format)
    | st.sampled_from(["0.5", "1", "0", "-0", "-0.0", "1e-400", "5e-324", "1e400", "1" * 400])
)
texts = st.text(max_size=8).map(json.dumps) | st.sampled_from(
    [
        *('"ok"', '"error"', '"cancelled"', '"other"', f'"{PRODUCER}-5"'),
        *('"\\u0000"', '"\\\\u0000"', '"\\ud800"', '"\\ude00\\ud83d"', '"\\ud83d\\ude00"'),
        *('"\\x"', '"a\tb"', '"\x7f\u2028é"', '"\ufeff"'),
    ]
)
written = st.recursive(
    numbers
    | texts
    | st.sampled_from(["null", "true", "false", "NaN", "Infinity", "-Infinity", "-NaN", "nan"])
    | st.sampled_from(["01", "1.", ".5", "+1", "", "1 2", "'a'", "[" * 150 + "]" * 150]),
    lambda inner: (
        st.lists(inner, max_size=2).map(lambda some: f"[{','.join(some)}]")
        | st.lists(st.tuples(texts, inner), max_size=2).map(lambda some: _object(some, ""))
    ),
    max_leaves=4,
)
keys = st.sampled_from([f'"{name}"' for name in FIELDS]) | st.sampled_from(['"\\u0069d"', '"x"'])
objects = st.builds(
    lambda good, others, space: _object([*good.items(), *others], space),
    st.fixed_dictionaries({f'"{name}"': st.just(json.dumps(value)) for name, value in GOOD.items()})
    | st.just({}),
    st.lists(st.tuples(keys | texts, written), max_size=3),
    spaces,
)


def _object(members: Sequence[tuple[str, str]], space: str) -> str:
    return (
        f"{{{space}{f',{space}'.join(f'{key}{space}:{value}' for key, value in members)}{space}}}"
    )


@st.composite
def rubbish(draw: st.DrawFn) -> list[bytes]:
    """Elements of all kinds, some cut into two or put into one."""
    elements: list[bytes] = []
    for text in draw(st.lists(objects, max_size=5)):
        whole = text.encode(errors="surrogatepass")
        cut = draw(st.none() | st.integers(0, len(whole)))
        elements += [whole] if cut is None else [whole[:cut], whole[cut:]]
    if draw(st.booleans()):
        elements[:2] = [b",".join(elements[:2])]
    return [*elements, *draw(st.lists(st.binary(max_size=8), max_size=2))]


@given(rubbish())
@example([b'{"a":1},{"b":2', b'"c":3}'])
@example([raw().replace(b"0.5", b'NaN,"execution_time":0.5')])
@example([raw(id=f"{PRODUCER}-{10**15 - 1}"), raw(id=f"{PRODUCER}-{10**15}")])
@example([raw(x="\ud800"), raw(x="\0"), raw(func_name="\ud800"), raw(outcome="\0")])
def test_each_element_is_what_it_is_alone_whatever_stands_in_it(elements: list[bytes]) -> None:
    good = [raw(id=f"{PRODUCER}-1"), raw(id=f"{PRODUCER}-2")]
    elements = [good[0], *elements, good[1]]

    assert list(map(repr, _all(elements))) == [repr(_alone(one)) for one in elements]


@given(numbers, numbers)
def test_a_number_is_the_double_that_python_reads(seconds: str, moment: str) -> None:
    text = (
        f'{{"func_name":"f","execution_time":{seconds},"created_at":{moment},"error_occurred":0}}'
    )

    (one,) = _all([text.encode()])

    read = [float(json.loads(number, parse_int=float)) for number in (seconds, moment)]
    if isinstance(one, Entry):
        assert [one.execution_time, one.created_at] == read
    else:
        assert not (0 <= read[0] < MAX_SECONDS and 0 <= read[1] < END_OF_TIME)


@pytest.mark.parametrize(
    "elements",
    [
        [b'{"a":1},{"b":2}', b'{"c":[{}', b"{}]}"],
        [b"1,2", b"[3", b"4]"],
        [b'"', b'"'],
        [b"", b"1"],
        [b"{}", b"\xff"],
        [b"NaN", b"{}"],
        [b"[" * 100_000, b"{}"],
        [],
    ],
)
def test_elements_read_together_are_what_each_is_alone(elements: list[bytes]) -> None:
    good = [raw(id=f"{PRODUCER}-1"), raw(error_occurred=1, error_type="E"), raw(created_at=-1)]
    together = _all(good + elements)

    assert [_told(one) for one in together] == [_told(_alone(one)) for one in good + elements]


ODD_VALUES: list[Any] = [
    *(None, True, False, -1, 0, 1, 2, [], {}),
    *(1e10, 1e300, -0.0, 0.0, 0.5, -1.5, 253_402_300_800.0, 10**400),
    *("", "f", "f\0", "x" * 10_001, "\ud800", "é"),
    *(f"{PRODUCER}-{number}" for number in ("0", "01", "", "-1", "1" * 15, "1" * 16)),
    *(f"{PRODUCER}-{number}" for number in ("\u0661", "1 ", "+1", "1_0", "\u00b2", "1\n")),
    *("0123456789ABCDEF-1", "0123456789abcde-12", f"x{PRODUCER}-1"),
]


@pytest.mark.parametrize("field", [*GOOD, "id", "outcome", "new"])
def test_odd_elements_among_usual_ones_are_what_each_is_alone(field: str) -> None:
    elements = []
    for number, value in enumerate(ODD_VALUES, 1):
        usual = {**GOOD, "id": f"{PRODUCER}-{number}"}
        elements += [json.dumps(usual).encode(), json.dumps({**usual, field: value}).encode()]
    together = _all(elements)
    assert [_told(one) for one in together] == [_told(_alone(one)) for one in elements]
    assert list(map(repr, together)) == [repr(_alone(one)) for one in elements]  # -0.0, too


def test_fields_in_another_order_or_of_another_name_are_read_by_name() -> None:
    usual = {**GOOD, "id": f"{PRODUCER}-1"}
    swapped = {key: usual[key] for key in sorted(usual)}
    renamed = {"at" if key == "created_at" else key: value for key, value in usual.items()}
    elements = [json.dumps(fields).encode() for fields in (usual, swapped, renamed)]
    first, second, third = _all(elements)
    assert first == second == decode(elements[1])
    assert isinstance(third, RejectedEntryError)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["f", "é", '"', "a\\b\n"]) | names,
            st.floats(0, 1e6) | clocks,
            st.none() | st.sampled_from(["", "TimeoutError", 'Odd"Error']) | names,
            st.sampled_from([PRODUCER, "f" * 16]),
            st.booleans(),
        ),
        min_size=1,
        max_size=8,
    )
)
def test_what_producers_write_comes_as_runs(calls: list[Any]) -> None:
    elements = []
    number = 0
    for name, seconds, mark, producer, missed in calls:
        number += 1 + missed
        element, _ = encode(Columns.of([(name, 0.0, seconds, mark)], 1e9), producer, number)
        elements.append(element)

    runs = decode_all(elements)

    assert all(isinstance(run, EntryRun) for run in runs)
    assert _flat(runs) == [decode(element) for element in elements]
    breaks = sum(
        calls[index][3] != calls[index - 1][3] or calls[index][4] for index in range(1, len(calls))
    )
    assert len(runs) == 1 + breaks


@pytest.mark.parametrize(
    ("field", "odd"),
    [
        *(
            ("execution_time", odd)
            for odd in ("01e-9", "-1e-9", "12345678901234567890e-9", "1e-9\n")
        ),
        *(("created_at", odd) for odd in ("99999999999999999999e-6", "\u0661e-6")),
        *(("func_name", odd) for odd in ('""', '"\\u0000"', '"\\ud800"', '"\\x"', '"a\tb"')),
        *(("func_name", f'"{odd}"') for odd in ("x" * 10_001, r"\ud83d\ude00" * 6_000)),
        *(("error_occurred", odd) for odd in ("true", '1,"error_type":"a\\u0000b"')),
        *(("error_occurred", odd) for odd in ('0,"error_type":"E"', '1,"error_type":""')),
        ("error_occurred", '1,"error_type":"E","outcome":"cancelled"'),
        *(("id", f'"{PRODUCER}-{odd}"') for odd in ("01", "0", "1\n")),
        ("id", f'"{PRODUCER}-1"}}\n{{"id":"{PRODUCER}-2"'),
    ],
)
def test_an_odd_field_in_what_a_producer_writes(field: str, odd: str) -> None:
    fields = {"func_name": '"f"', "execution_time": "5e-9", "created_at": "7e-6"}
    fields |= {"error_occurred": "0", "id": f'"{PRODUCER}-1"'}
    lines = [
        "{" + ",".join(f'"{key}":{text}' for key, text in written.items()) + "}"
        for written in (fields, fields | {field: odd})
    ]
    elements = [line.encode() for line in lines]

    assert list(map(_told, _all(elements))) == [_told(_alone(one)) for one in elements]
    (run,) = decode_all(elements[:1])
    assert isinstance(run, EntryRun)  # else nothing is shown


@pytest.mark.parametrize("beside", ["rubbish", '{"id":null}', "{}", "1", '"::::"'])
@pytest.mark.parametrize("more", ['"x" : 1', '"x":{"y":1}', '"func_name":"app.other"', '"x":":"'])
def test_an_unknown_field_and_a_second_one_are_seen(more: str, beside: str) -> None:
    usual = raw(id=f"{PRODUCER}-1")
    elements = [usual, usual[:-1] + f",{more}}}".encode()]

    for some in (elements, [*elements, beside.encode()]):
        assert list(map(_told, _all(some))) == [_told(_alone(one)) for one in some]


def test_a_colon_in_a_name_is_no_field() -> None:
    elements = [raw(func_name="app:f", id=f"{PRODUCER}-{number}") for number in (1, 2)]

    (run,) = decode_all(elements)

    assert isinstance(run, EntryRun)
    assert _flat([run]) == [_alone(one) for one in elements]


def test_a_negative_zero_is_zero() -> None:
    elements = [raw(execution_time=-0.0, created_at=-0.0, id=f"{PRODUCER}-{n}") for n in (1, 2)]

    assert str(_all(elements)) == str(list(map(_alone, elements)))
    assert "-0.0" not in str(_all(elements))


def test_two_entries_in_an_element_are_none_though_another_one_is_missing() -> None:
    element, _ = encode(Columns.of([("f", 0.0, 1.0, None)], 1e9), PRODUCER, 1)
    elements = [element + b"\n" + element, b"{}"]

    assert all(isinstance(one, RejectedEntryError) for one in _all(elements))


def test_where_pydantic_core_reads_otherwise_each_is_read_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(decoding, "_reads_as_python", lambda: False)
    monkeypatch.setattr(decoding, "_bulk_validator", None)
    elements = [raw(), b"rubbish", raw(id=f"{PRODUCER}-1"), raw(x=1, id=f"{PRODUCER}-2")]

    assert list(map(repr, _all(elements))) == [repr(_alone(one)) for one in elements]


def test_good_elements_are_read_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "decode", None)

    (entry, again) = _all([raw(), raw()])

    assert entry == again


def _all(elements: list[bytes]) -> list[Entry | RejectedEntryError]:
    return _flat(decode_all(elements))


def _flat(found: Sequence[EntryRun | RejectedEntryError]) -> list[Any]:
    flat: list[Any] = []
    for one in found:
        if isinstance(one, RejectedEntryError):
            flat.append(one)
            continue
        for number, row in enumerate(one.rows, one.first):
            others = row[4:] or (0, "ok", None, None)
            flat.append(Entry._make((*row[:4], *others, one.producer, number * bool(one.producer))))
    return flat


def _alone(element: bytes) -> Entry | RejectedEntryError:
    try:
        return decode(element)
    except RejectedEntryError as rejection:
        return rejection


def _told(one: Entry | RejectedEntryError) -> tuple[object, ...]:
    return one if isinstance(one, Entry) else (str(one), one.producer, one.number)
