"""The order service that `demo` measures: pretend work, real calls.

Waiting stands for networks and databases, and errors come at random; pricing and rendering really compute.
"""

from __future__ import annotations

import asyncio
import json
import random
from contextlib import suppress
from decimal import Decimal
from html import escape
from typing import TYPE_CHECKING, Final

from metrics_collector._recording.decorator import metrics_collector
from metrics_collector._recording.measure import measure

if TYPE_CHECKING:
    from collections.abc import Callable

    Item = dict[str, str | int]

PREFIX: Final = "demo."  # of the names of all functions here

_random: Final = random.Random()  # noqa: S311 - pretend customers guard no secret
_CUSTOMERS: Final = 24
_PATIENCE: Final = 0.06  # seconds that an order waits for the warehouse
_GOODS: Final = ("Lamp", "Desk & Chair", "Shelf", 'Mirror 30"', "Rug", "Plant <small>")


class CardDeclinedError(Exception):
    """The bank says no."""


class OutOfStockError(Exception):
    """The warehouse has too few of something."""


def trade(closing: Callable[[], bool]) -> None:
    """Let customers order, each one order after the other, until it is `closing` time; orders under way are finished.

    Each has ordered once then, so that there is something to show where a busy machine comes to it late. Runs a loop of
    its own.
    """
    asyncio.run(_trade(closing))


async def _trade(closing: Callable[[], bool]) -> None:

    async def customer() -> None:
        while True:
            # A TimeoutError is an OSError, too; whatever went wrong, the customer tries again.
            with suppress(CardDeclinedError, OutOfStockError, OSError):
                await place_order()
            if closing():
                return
            await asyncio.sleep(_random.expovariate(1 / 0.02))

    async with asyncio.TaskGroup() as group:
        for _ in range(_CUSTOMERS):
            group.create_task(customer())


@metrics_collector(name="demo.place_order")
async def place_order() -> None:
    """One order, from the cart to the mail."""
    body = await fetch_cart()
    with measure("demo.parse_cart"):
        cart: list[Item] = json.loads(body)
    async with asyncio.timeout(_PATIENCE):
        await check_stock(cart)
    total = price_cart(cart)
    await charge_card(total)
    mail = await asyncio.to_thread(render_mail, cart, total)
    await send_mail(mail)


@metrics_collector(name="demo.fetch_cart")
async def fetch_cart() -> str:
    """A cart, as the session store has it."""
    await _wait(0.004, 0.4)
    goods = _random.choices(_GOODS, k=_random.randint(1, 12))
    return json.dumps([{"name": name, "count": 1, "cents": 1990} for name in goods])


@metrics_collector(name="demo.check_stock")
async def check_stock(cart: list[Item]) -> None:
    """Ask the warehouse, which is slow at times."""
    await _wait(0.012, 0.6)
    if _happens(len(cart) / 600):
        raise OutOfStockError


@metrics_collector(name="demo.price_cart")
def price_cart(cart: list[Item]) -> Decimal:
    """The price with tax."""
    net = sum((Decimal(item["cents"]) * Decimal(item["count"]) for item in cart), Decimal(0))
    return (net * Decimal("1.19") / 100).quantize(Decimal("0.01"))


@metrics_collector(name="demo.charge_card")
async def charge_card(total: Decimal) -> None:
    """Ask the bank, which declines some and is not always there."""
    await _wait(0.035, 0.3)
    if _happens(0.04):
        raise CardDeclinedError(str(total))
    if _happens(0.01):
        raise ConnectionResetError


@metrics_collector(name="demo.render_mail")
def render_mail(cart: list[Item], total: Decimal) -> str:
    """The receipt as HTML."""
    rows = "".join(
        f"<tr><td>{line}</td><td>{escape(str(item['name']))}</td><td>{item['cents']}</td></tr>"
        for line in range(20)
        for item in cart
    )
    return f"<table>{rows}</table><p>{total}</p>"


@metrics_collector(name="demo.send_mail")
async def send_mail(mail: str) -> None:
    """Hand the mail over; a long one takes longer."""
    await _wait(0.006 + len(mail) / 2e6, 0.5)
    if _happens(0.006):
        raise ConnectionRefusedError


async def _wait(median: float, spread: float) -> None:
    """Wait some seconds, in the distribution that waiting for others usually has."""
    await asyncio.sleep(median * _random.lognormvariate(0, spread))


def _happens(chance: float) -> bool:
    return _random.random() < chance
