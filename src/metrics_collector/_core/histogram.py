"""Histograms of execution times, in exponential buckets with base 2**(1/32).

Bucket `i` holds the times `t` with 2**(i/32) < t <= 2**((i+1)/32) seconds; zero has a bucket of its
own. A histogram maps a bucket's field (`"h:-310"`, `"h:zero"`) to its count, so histograms of
several processes, machines or hours merge by adding their counts, in any order.

- Error: a quantile is within (2**(1/32) - 1) / (2**(1/32) + 1) = 1.083 % of the value at its rank.
- Memory: at most 32 buckets for each doubling of the time, so at most 320 for times that differ by
  a factor of 1,000, however many calls there are.

The buckets are those of OpenTelemetry's data model for exponential histograms at scale 5 (index
`i`) and of Prometheus's native histograms with schema 5 (index `i + 1`: it names the upper bound).
"""

from __future__ import annotations

import sys
from bisect import bisect_left, bisect_right
from functools import lru_cache
from itertools import chain, count
from math import ceil, floor, frexp, inf, ldexp
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_PREFIX: Final = "h:"
_ZERO: Final = "h:zero"

_PER_DOUBLING: Final = 32
_HIGHEST: Final = 32767  # the bucket of the largest float
_LOWEST: Final = -34369  # the bucket of 2**-1074, the smallest float above zero
_ZERO_INDEX: Final = _LOWEST - 1  # sorts below all others, and as floats its bounds are 0 and 0

# Element k is the largest float that is not above 2**(k/32) / 2. Rounded down, not to the nearest:
# so a float is above the element exactly if it is above the true edge, which is irrational. Written
# out and searched, because logarithms and powers differ between C libraries in the last digits.
_EDGES: Final = (
    0.5,
    0.5109485743270583,
    0.5221368912137069,
    0.5335702003384117,
    0.5452538663326287,
    0.5571933712979462,
    0.5693943173783458,
    0.5818624293887887,
    0.5946035575013605,
    0.6076236799902344,
    0.620928906036742,
    0.6345254785958666,
    0.6484197773255048,
    0.6626183215798706,
    0.6771277734684463,
    0.6919549409819159,
    0.7071067811865475,
    0.7225904034885232,
    0.7384130729697496,
    0.7545822137967113,
    0.7711054127039704,
    0.7879904225539431,
    0.8052451659746271,
    0.8228777390769824,
    0.8408964152537145,
    0.8593096490612389,
    0.8781260801866497,
    0.8973545375015536,
    0.9170040432046712,
    0.9370838170551499,
    0.9576032806985736,
    0.9785720620877001,
)

# 2 / (1 + 2**(1/32)): takes a bucket's upper bound to its representative, 2*low*high / (low+high).
_CENTRE: Final = 0.9891699987466264

# `q * n` may come out just above the whole number that is meant, as 0.55 * 100 does. Not with this.
_ROUNDED_DOWN: Final = 1 - 2**-51

# For each binary exponent that occurs, the fields of the 33 buckets that its times fall into: 32,
# and the one before, which its power of two ends. About 2 kB each; 10 ns to 1,000 s are 37 of them.
_fields_by_exponent: Final[dict[int, tuple[str, ...]]] = {}


def bucket(execution_time: float) -> str:
    """The field of the bucket that a time in seconds falls into: "h:-310", or "h:zero" for 0.

    Exact for every float, at the bounds and below the normal floats too, and the same on every machine.

    Raises:
        ValueError: a negative time, NaN or infinity.
    """
    if not 0.0 < execution_time < inf:
        if execution_time == 0.0:
            return _ZERO
        raise ValueError(f"{execution_time!r} is not a finite number of seconds, 0 or more")
    fraction, exponent = frexp(execution_time)
    try:
        return _fields_by_exponent[exponent][bisect_left(_EDGES, fraction)]
    except KeyError:
        return _fields(exponent)[bisect_left(_EDGES, fraction)]


def counted(times: Sequence[float], unit: float) -> dict[str, int]:
    """How many of the times fall into each bucket: as `bucket` for each, many times as fast.

    Args:
        times: sorted; seconds if `unit` is 1, else whole numbers of which a second has `unit`.
    """
    edges, fields = _usual_buckets(unit)
    counts: dict[str, int] = {}
    usual = bisect_right(times, edges[-1])
    start = bisect_right(times, edges[0], 0, usual)
    for time in chain(times[:start], times[usual:]):
        field = bucket(time / unit)
        counts[field] = counts.get(field, 0) + 1
    index = 0
    while start < usual:  # once for each bucket, as the times in it follow one another
        index = bisect_left(edges, times[start], index)
        end = bisect_right(times, edges[index], start, usual)
        counts[fields[index]] = end - start
        start = end
    return counts


@lru_cache(maxsize=2)
def _usual_buckets(unit: float) -> tuple[list[float], list[str]]:
    """The edges of all buckets from 4 ns to 4,096 s, and the field of the bucket that each edge ends."""
    indexes = range(-28 * _PER_DOUBLING, 12 * _PER_DOUBLING + 1)
    edges = list(map(_edge, indexes))
    if unit != 1.0:
        edges = [_largest_whole(edge, unit) for edge in edges]
    return edges, [f"{_PREFIX}{index - 1}" for index in indexes]


def _largest_whole(edge: float, unit: float) -> float:
    """The largest whole number that is not above the edge once it is divided by the unit."""
    return float(next(number for number in count(ceil(edge * unit), -1) if number / unit <= edge))


def bounds(field: str) -> tuple[float, float]:
    """The bounds of a bucket in seconds: it holds the floats above the first, up to the second.

    Each is the largest float that is not above the true bound; the zero bucket has 0 and 0.

    Raises:
        ValueError: a text that `bucket` never gives.
    """
    index = _index(field)
    if index is None:
        raise ValueError(f"{field!r} is not the field of a bucket")
    return _edge(index), _edge(index + 1)


def quantile(
    counts: Mapping[str, int], q: float, minimum: float | None, maximum: float | None
) -> float | None:
    """The `q`-quantile (0 to 1) of the counted times, in seconds; None if there are none.

    The nearest rank, ceil(q * n) and at least 1, lies in a bucket (low, high]. The result is that
    bucket's 2 * low * high / (low + high), which has the least relative error, clipped to the
    smallest and the largest time where these are known: within 1.083 % of the time at that rank
    (below 2**-1022 s, where floats are evenly spaced, plus the space between two).

    Fields that name no bucket are ignored, as are counts below 1.

    Raises:
        ValueError: `q` is not from 0 to 1.
    """
    if not 0.0 <= q <= 1.0:
        raise ValueError(f"{q!r} is not a quantile: allowed are numbers from 0 to 1")
    by_index = {
        index: count
        for field, count in counts.items()
        if (index := _index(field)) is not None and count > 0
    }
    rank = max(1, ceil(q * sum(by_index.values()) * _ROUNDED_DOWN))
    for index in sorted(by_index):
        rank -= by_index[index]
        if rank <= 0:
            return _clipped(_edge(index + 1) * _CENTRE, minimum, maximum)
    return None


def _fields(exponent: int) -> tuple[str, ...]:
    first = _PER_DOUBLING * (exponent - 1) - 1
    fields = tuple(f"{_PREFIX}{index}" for index in range(first, first + _PER_DOUBLING + 1))
    _fields_by_exponent[exponent] = fields
    return fields


@lru_cache(maxsize=4096)
def _index(field: str) -> int | None:
    if field == _ZERO:
        return _ZERO_INDEX
    try:
        index = int(field.removeprefix(_PREFIX))
    except ValueError:
        return None
    # `int` also reads "+5", " 5" and "05".
    return index if field == f"{_PREFIX}{index}" and _LOWEST <= index <= _HIGHEST else None


def _clipped(value: float, minimum: float | None, maximum: float | None) -> float:
    if minimum is not None:
        value = max(value, minimum)
    if maximum is not None:
        value = min(value, maximum)
    return value


def _edge(index: int) -> float:
    """The largest float that is not above 2**(index/32)."""
    power, step = divmod(index, _PER_DOUBLING)
    if power >= sys.float_info.max_exp:
        return sys.float_info.max
    if power < sys.float_info.min_exp - 1:
        # Floats this small are multiples of 2**-1074; `ldexp` alone would round to the nearest one.
        return ldexp(floor(ldexp(_EDGES[step], power + 1 + 1074)), -1074)
    return ldexp(_EDGES[step], power + 1)
