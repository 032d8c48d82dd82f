"""Names that somebody has typed, and which functions are meant."""

from __future__ import annotations

import pytest

from metrics_collector._reading.names import near

# As of a large service, each of which has much in common with all others.
MANY = [
    f"company.{('orders', 'mail', 'carts')[n % 3]}.handlers.Service{n // 200}.handle_request_{n}"
    for n in range(3000)
]


@pytest.mark.parametrize("asked", ["chekout", "SHOP.CHEKOUT", "shop.Checkout.", "Checkotu"])
def test_what_is_near_is_named_whatever_the_case(asked: str) -> None:
    assert near(asked, ["shop.Checkout", "shop.cart"]).startswith("; close: 'shop.Checkout'")


def test_nothing_is_near() -> None:
    assert near("zzz", ["shop.Checkout", "shop.cart"]) == ""
    assert near("", ["shop.Checkout", "shop.cart"]) == ""


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        ("handel_request_2999", "company.carts.handlers.Service14.handle_request_2999"),
        ("company.mail.handler.Servcie1.handle_request_301", MANY[301]),
        ("shop.chekout", "shop.checkout"),
    ],
)
def test_of_thousands_the_nearest_comes_first(asked: str, meant: str) -> None:
    assert near(asked, [*MANY, "shop.checkout"]).startswith(f"; close: {meant!r}")


def test_to_look_at_thousands_takes_no_more_than_to_read_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import difflib

    compared: list[str] = []
    usual = difflib.get_close_matches

    def noting(word: str, possibilities: list[str], n: int) -> list[str]:
        compared.extend(possibilities)
        return usual(word, possibilities, n)

    monkeypatch.setattr(difflib, "get_close_matches", noting)
    assert near("handel_request_2999", MANY)
    assert len(compared) == 100
