"""Take the README's pictures from the running programs: a day of an online shop, in the dashboard and in a terminal.

    pip install -e '.[test]'
    python examples/pictures.py

Needs redis-server and Chromium. Writes .github/pictures.
"""

import asyncio
import io
import json
import math
import os
import pty
import random
import re
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import pyte
import redis
from playwright.sync_api import sync_playwright
from rich.console import Console
from rich.style import Style
from rich.terminal_theme import SVG_EXPORT_THEME
from rich.text import Text

from metrics_collector import MetricsCollector, flush, measure

PICTURES = Path(__file__).parents[1] / ".github" / "pictures"
HOURS = 24
LIMIT = 60.0  # seconds that a program may take to answer
PYTHON = [sys.executable, "-m"]


class Function(NamedTuple):
    """How a function of the shop behaves."""

    name: str
    calls_an_hour: int  # on average
    seconds: float  # the median
    spread: float  # of the logarithm
    errors: dict[str, float]  # type → share of the calls


SHOP = (
    Function(
        "checkout.charge_card", 260, 0.24, 0.45, {"CardDeclined": 0.03, "TimeoutError": 0.004}
    ),
    Function("checkout.reserve_stock", 300, 0.018, 0.5, {"OutOfStock": 0.02}),
    Function("checkout.send_receipt", 250, 0.09, 0.6, {"SMTPServerDisconnected": 0.006}),
    Function("catalogue.search", 900, 0.034, 0.7, {}),
    Function("catalogue.load_product", 1500, 0.006, 0.5, {"LookupError": 0.004}),
    Function("catalogue.resize_image", 120, 0.31, 0.35, {}),
    Function("basket.add_item", 420, 0.009, 0.4, {}),
    Function("basket.merge", 60, 0.022, 0.4, {"KeyError": 0.01}),
    Function("accounts.log_in", 180, 0.12, 0.2, {"PermissionError": 0.06}),
    Function("accounts.verify_token", 1800, 0.0004, 0.4, {}),
    Function("recommend.similar_items", 320, 0.065, 0.8, {"TimeoutError": 0.01}),
    Function("orders.export_csv", 4, 6.5, 0.3, {}),
)


def entries(now: float) -> Iterator[str]:
    """A day and the one before, with more calls at noon than at night; some hours ago the bank was slow for an hour."""
    chance = random.Random(7)
    for one in SHOP:
        at = now - 2 * HOURS * 3600
        while True:
            busy = 1 - 0.7 * math.cos(2 * math.pi * (at % 86400) / 86400)
            at += chance.expovariate(one.calls_an_hour * busy / 3600)
            if at > now:
                break
            slow = one.name.endswith("charge_card") and 3.0 < (now - at) / 3600 < 4.2
            seconds = chance.lognormvariate(math.log(one.seconds), one.spread)
            kinds = [*one.errors, None]
            shares = [share * (6 if slow else 1) for share in one.errors.values()]
            (error,) = chance.choices(kinds, [*shares, 1 - sum(shares)])
            yield json.dumps(
                {
                    "func_name": f"shop.{one.name}",
                    "execution_time": seconds * (3 if slow else 1),
                    "error_occurred": int(error is not None),
                    "created_at": at,
                    **({"outcome": "error", "error_type": error} if error else {}),
                }
            )


async def save(url: str) -> None:
    """Put the entries where any program may put some, and save them."""
    with redis.Redis.from_url(url) as client:
        some: list[str] = []
        for entry in entries(time.time()):
            some.append(entry)
            if len(some) == 5000:
                client.rpush("metrics_list", *some)
                some.clear()
        client.rpush("metrics_list", *some)
    await flush()


@contextmanager
def running(*command: str) -> Iterator[None]:
    """A program, ended at the end."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait(LIMIT)


def until_it_answers(port: int) -> None:
    """Wait for a program that listens."""
    deadline = time.monotonic() + LIMIT
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), LIMIT).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def shoot_dashboard(url: str) -> None:
    """The overview and a function, in both themes."""
    function = "function?name=shop.checkout.charge_card&window=24h&live=off"
    overview = "?window=24h&live=off"
    with sync_playwright() as playwright:
        chromium = shutil.which("chromium") or shutil.which("google-chrome")
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for name, path, theme, width, height in (
            ("overview-light", overview, "light", 1280, 900),
            ("overview-dark", overview, "dark", 1280, 900),
            ("function-light", function, "light", 1280, 1000),
            ("function-dark", function, "dark", 1280, 1000),
        ):
            page = browser.new_page(viewport={"width": width, "height": height})
            page.emulate_media(color_scheme="dark" if theme == "dark" else "light")
            page.goto(f"{url}/{path}")
            page.wait_for_load_state("networkidle")
            page.wait_for_selector(".js-plotly-plot .main-svg")
            page.screenshot(path=PICTURES / f"{name}.png")
        browser.close()


def shoot_terminal(name: str, *arguments: str, columns: int, lines: int) -> None:
    """What a command shows in a terminal at its end, or after some seconds."""
    screen = pyte.Screen(columns, lines)
    stream = pyte.ByteStream(screen)
    master, slave = pty.openpty()
    termios.tcsetwinsize(slave, (lines, columns))
    environment = os.environ | {"TERM": "xterm-256color", "COLORTERM": "truecolor"}
    process = subprocess.Popen(
        [*PYTHON, "metrics_collector", *arguments],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env=environment,
        start_new_session=True,
    )
    os.close(slave)
    end = time.monotonic() + 12
    while time.monotonic() < end:
        if select.select([master], [], [], 0.2)[0]:
            try:
                stream.feed(os.read(master, 65536))
            except OSError:  # it has ended
                break
    console = Console(width=columns, record=True, file=io.StringIO(), force_terminal=True)
    shown = lines
    while shown > 1 and not screen.display[shown - 1].strip():
        shown -= 1
    for row in range(shown):
        console.print(text_of(screen, row), soft_wrap=True)
    title = " ".join(["metrics-collector", *arguments])
    console.save_svg(str(PICTURES / f"{name}.svg"), title=title, theme=SVG_EXPORT_THEME)
    process.kill()
    process.wait(LIMIT)
    os.close(master)


def text_of(screen: pyte.Screen, row: int) -> Text:
    """A line of the screen with its colours."""
    text = Text()
    for column in range(screen.columns):
        cell = screen.buffer[row][column]
        style = Style(
            color=colour(cell.fg),
            bgcolor=colour(cell.bg),
            bold=cell.bold,
            reverse=cell.reverse,
            underline=cell.underscore,
        )
        text.append(cell.data, style)
    return text


def colour(name: str) -> str | None:
    """The emulator's name of a colour as rich has it."""
    if name == "default":
        return None
    if re.fullmatch("[0-9a-f]{6}", name):
        return f"#{name}"
    return name.replace("brown", "yellow").replace("bright", "bright_")


async def traffic() -> None:
    """The shop's functions once more, ten times as often, until the program is ended."""

    async def call(one: Function) -> None:
        while True:
            await asyncio.sleep(random.expovariate(one.calls_an_hour / 360))
            kinds = [*one.errors, None]
            shares = list(one.errors.values())
            (error,) = random.choices(kinds, [*shares, 1 - sum(shares)])
            with suppress(LookupError), measure(f"shop.{one.name}"):
                await asyncio.sleep(random.lognormvariate(math.log(one.seconds), one.spread))
                if error:
                    raise type(error, (LookupError,), {})

    async with MetricsCollector():
        await asyncio.gather(*map(call, SHOP))


def main() -> None:
    """Start all that there is to see, and take the pictures."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        redis_port, port = free_port(), free_port()
        os.environ["REDIS_URL"] = f"redis://127.0.0.1:{redis_port}/0"
        os.environ["DATABASE_NAME"] = str(Path(folder, "metrics.db"))
        os.environ["MAX_WAITING_TIME"] = "1"
        server = ("redis-server", "--port", str(redis_port), "--dir", folder, "--appendonly", "yes")
        stack.enter_context(running(*server))
        until_it_answers(redis_port)
        asyncio.run(save(os.environ["REDIS_URL"]))
        for part in ("worker", "scheduler"):
            entry = "broker" if part == "worker" else part
            stack.enter_context(
                running(*PYTHON, "taskiq", part, f"metrics_collector.tasks:{entry}")
            )
        stack.enter_context(running(sys.executable, __file__, "traffic"))
        stack.enter_context(running(*PYTHON, "metrics_collector", "dashboard", "--port", str(port)))
        until_it_answers(port)
        time.sleep(15)  # for figures of the shop as it runs now
        shoot_dashboard(f"http://127.0.0.1:{port}")
        shoot_terminal("top", "top", columns=110, lines=20)
        shoot_terminal("history", "history", "charge_card", "--what", "p95", columns=110, lines=22)


if __name__ == "__main__":
    if sys.argv[1:] == ["traffic"]:
        asyncio.run(traffic())
    else:
        main()
