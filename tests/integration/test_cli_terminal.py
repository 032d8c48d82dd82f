"""The commands as a person sees them: in a real pseudo-terminal, with a terminal's emulator behind it."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from metrics_collector import MetricsCollector, Settings, flush, measure
from tests.helpers.commands import LIMIT, PROGRAM, run
from tests.helpers.processes import Process
from tests.helpers.terminal import Terminal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tests.helpers.redis_server import RedisServer

MEMORY = {"REDIS_URL": "memory://"}
STRANGE = "demo.[red]\x1b[31m\nname"
SHOWN = r"demo.[red]\x1b[31m\nname"
LONG = f"shop.{'very_' * 20}long"
ENDS = ("checkout", "fetch", "name", "long")
CALLS = {"shop.checkout": (6, 2), "shop.cart.fetch": (9, 0), STRANGE: (1, 1), LONG: (3, 0)}
# The colours that each terminal has in its own shades, light or dark; with bold, dim and reverse; and none.
ANSI_STYLES = {"", "0", "1", "2", "7", *map(str, range(30, 38)), *map(str, range(40, 48))}
ANSI_STYLES |= {*map(str, range(90, 98)), *map(str, range(100, 108)), "39", "49"}
# Calls one function for as long as it lives.
BUSY = """\
import asyncio
from metrics_collector import MetricsCollector, measure

async def main():
    async with MetricsCollector():
        while True:
            with measure("busy.work"):
                pass
            await asyncio.sleep(0.01)

asyncio.run(main())
"""


@pytest.fixture
def calls() -> None:
    """Some calls that were made just now, and are saved."""
    record(CALLS)


def record(calls: Mapping[str, tuple[int, int]]) -> None:
    """Make and save calls of functions: so many, of which so many fail."""

    async def service() -> None:
        async with MetricsCollector(Settings(redis_url="memory://")):
            for name, (count, errors) in calls.items():
                for number in range(count):
                    with suppress(KeyError), measure(name):
                        if number < errors:
                            raise KeyError
            await flush()

    asyncio.run(service())


def watch(
    *arguments: str, columns: int = 80, lines: int = 24, environment: Mapping[str, str]
) -> Terminal:
    return Terminal("top", *arguments, columns=columns, lines=lines, environment=environment)


def styles(text: str) -> set[str]:
    return set(";".join(re.findall(r"\x1b\[([\d;]*)m", text)).split(";"))


@pytest.mark.usefixtures("calls")
class TestTop:
    @pytest.mark.parametrize(("columns", "lines"), [(80, 24), (140, 40), (40, 12)])
    def test_it_fits_the_terminal(self, columns: int, lines: int) -> None:
        with watch(columns=columns, lines=lines, environment=MEMORY) as terminal:
            terminal.see("last 15m: 4 functions, by calls", "checkout", "q quit", "waiting 0")
            screen = terminal.screen
            headings = screen[2].split()
            assert headings[0] == "function"
            assert {"calls/s", "errors"} <= set(headings)
            assert ("activity" in headings) is (columns >= 80)
            (checkout,) = [line for line in screen if "checkout " in line]
            cells = dict(zip(headings, checkout.split(), strict=True))
            assert cells["errors"] == "2"
            assert cells.get("calls", "6") == "6"
            assert any(re.match(r"…(very_)?[very_]*long ", line) for line in screen)
            assert any(r"\x1b[31m\nname " in line for line in screen)
            assert terminal.aside
            assert terminal.cursor_hidden
            terminal.press("q")
            assert terminal.wait() == 0
        assert styles(terminal.shown) <= ANSI_STYLES

    def test_it_asks_for_no_colour_where_none_is_wanted(self) -> None:
        with watch(environment=MEMORY | {"NO_COLOR": "1"}) as terminal:
            terminal.see("shop.checkout", "waiting 0")
            terminal.press("q")
            assert terminal.wait() == 0
        assert not styles(terminal.shown) & {*map(str, range(31, 38)), *map(str, range(91, 98))}

    def test_keys(self) -> None:
        def names() -> list[str]:
            begins = (line.partition(" ")[0] for line in terminal.screen[3:])
            return [end for begin in begins for end in ENDS if begin.endswith(end)]

        def wait_for(*expected: str) -> None:
            terminal.until(lambda: names() == list(expected), repr(expected))

        with watch(environment=MEMORY) as terminal:
            wait_for("fetch", "checkout", "long", "name")
            terminal.press("s")  # errors
            terminal.see("by errors")
            wait_for("checkout", "name", "fetch", "long")
            for _ in range(3):  # back over calls and calls/s to the name
                terminal.press("\x1b[D")
            terminal.see("by function")
            wait_for("name", "fetch", "checkout", "long")
            terminal.press("\x1b[C")
            terminal.see("by calls/s")

            terminal.press("/c/s")
            terminal.see("filter 'c/s'")
            terminal.press("\x7f\x7f")
            terminal.see("filter 'c'")
            terminal.press("HECK")
            wait_for("checkout")
            terminal.press("\r")
            terminal.until(lambda: "cHECK" not in terminal.screen, "an end of typing")
            terminal.see("filter 'cHECK'", "q quit")
            terminal.press("\x1b")
            wait_for("name", "fetch", "checkout", "long")

            terminal.press("?")
            terminal.see("scroll, as PgUp")
            terminal.press("x")
            terminal.until(lambda: not any("as PgUp" in s for s in terminal.screen), "no help")

            terminal.press("p")
            terminal.see("paused: figures of")
            terminal.press("p")
            terminal.until(lambda: not any("paused" in s for s in terminal.screen), "going on")
            terminal.press("q")
            assert terminal.wait() == 0

    def test_a_terminal_may_change_its_size(self) -> None:
        def see_view(headings: str) -> None:
            def seen() -> bool:
                lines = terminal.screen
                return lines[-1].startswith("q quit") and bool(re.fullmatch(headings, lines[2]))

            terminal.until(seen, headings)

        # It is laid out anew at once, not only with the next reading.
        with watch("--interval", "3600", environment=MEMORY) as terminal:
            terminal.see("activity", "q quit", "waiting 0")
            terminal.resize(50, 10)
            see_view(" *function +calls/s +errors +p95")
            terminal.resize(120, 30)
            see_view(".* activity")
            terminal.press("q")
            assert terminal.wait() == 0

    @pytest.mark.parametrize(
        ("end", "status"),
        [
            ("q", 0),
            ("\x03", 0),
            (signal.SIGINT, 130),
            (signal.SIGTERM, 143),
            (signal.SIGHUP, 129),
        ],
    )
    def test_the_terminal_is_as_it_was(self, end: str | signal.Signals, status: int) -> None:
        with watch(environment=MEMORY) as terminal:
            terminal.see("shop.checkout", "q quit")
            assert not terminal.as_it_was()
            if isinstance(end, str):
                terminal.press(end)
            else:
                terminal.send(end)
            assert terminal.wait() == status
            assert terminal.as_it_was()
            assert not terminal.aside
            assert not terminal.cursor_hidden
            assert not any(terminal.screen)
            assert "Traceback" not in terminal.shown

    @pytest.mark.parametrize("lacking", ["stdin", "stdout", "stderr"])
    def test_it_needs_a_terminal_for_all(self, lacking: str) -> None:
        redirections = {"stdin": "</dev/null", "stdout": "|cat", "stderr": "2>errors"}
        shell = f"{sys.executable} -m metrics_collector top {redirections[lacking]}; echo $?"
        program = [shutil.which("bash") or "bash", "-o", "pipefail", "-c", shell]
        with Terminal(program=program, columns=200, environment=MEMORY) as terminal:
            terminal.wait()
            errors = Path("errors").read_text() if lacking == "stderr" else ""
            said = "\n".join(terminal.screen) + errors
            assert said.count("metrics-collector: top needs a terminal for all") == 1
            assert "2" in terminal.screen
            assert not terminal.aside

    def test_a_dumb_terminal_hears_of_the_other_commands(self) -> None:
        with watch(environment=MEMORY | {"TERM": "dumb"}) as terminal:
            assert terminal.wait() == 2
        assert terminal.shown.count("\n") == 1
        assert "metrics-collector stats" in terminal.shown
        assert "\x1b" not in terminal.shown


def test_top_scrolls_over_many_functions() -> None:
    record({f"many.function_{number:03}": (1, 0) for number in range(230)})
    with watch("--interval", "0.2", environment=MEMORY) as terminal:
        terminal.see("230 functions", "function_000", "30 functions more: / filters", "q quit")
        assert "activity" in terminal.screen[2]
        terminal.press("\x1b[6~")  # PgDn
        terminal.until(lambda: "function_000" not in "".join(terminal.screen), "a page further")
        first = terminal.screen[3].split()[0]
        age = terminal.screen[0]
        terminal.until(lambda: terminal.screen[0] != age, "another reading")
        terminal.see(first)  # where it was
        terminal.press("\x1b[F")  # End
        terminal.see("function_199")
        terminal.press("/_229")
        terminal.see("function_229")
        terminal.until(lambda: "more: /" not in "".join(terminal.screen), "no more")
        terminal.press("\r")
        terminal.until(lambda: "_229" not in terminal.screen, "an end of typing")
        terminal.press("q")
        assert terminal.wait() == 0


def test_top_tells_rates_and_a_redis_that_goes_away(
    start_redis: Callable[..., RedisServer], tmp_path: Path
) -> None:
    server = start_redis()
    environment = {"REDIS_URL": server.url}
    output = tmp_path / "busy.log"
    with Process(["-c", BUSY], output=output, environment=environment) as service:
        with watch("--interval", "0.2", environment=environment) as terminal:
            # About a hundred calls a second on a machine with nothing else to do.
            terminal.until(
                lambda: any(re.match(r"calls/s [1-9]\d*", line) for line in terminal.screen),
                "a rate",
            )
            terminal.see("busy.work", "workers 0")
            server.stop()
            terminal.see("cannot be used", "figures of")
            terminal.see("busy.work")
            server.start()
            terminal.until(
                lambda: not any("cannot be used" in line for line in terminal.screen), "Redis again"
            )
            terminal.press("q")
            assert terminal.wait() == 0
            assert terminal.as_it_was()
        service.until(lambda: True)


def test_top_without_redis_is_reported_before_the_screen_changes() -> None:
    with watch(environment={"REDIS_URL": "unix:///nowhere/redis.sock"}) as terminal:
        assert terminal.wait() == 1
        assert "\x1b" not in terminal.shown
        assert re.fullmatch(
            r"metrics-collector: Redis at unix:///nowhere/redis.sock cannot be used: .*\r\n",
            terminal.shown,
        )


@pytest.mark.usefixtures("calls")
class TestTables:
    @pytest.mark.parametrize("columns", [60, 80, 140])
    def test_stats_fit(self, columns: int) -> None:
        with Terminal("stats", "--limit", "3", columns=columns, environment=MEMORY) as terminal:
            assert terminal.wait() == 0
        assert styles(terminal.shown) <= ANSI_STYLES
        lines = [line for line in terminal.screen if line]
        assert lines[0].split()[:3] == ["function", "calls", "errors"]
        assert len(lines) == 6
        assert lines[-1] == "1 function more"
        assert all(re.search(r"\d ?(ns|µs|ms|s)$", line) for line in lines[2:5])

    def test_names_are_shown_and_not_obeyed(self) -> None:
        with Terminal("stats", "demo", columns=100, environment=MEMORY) as terminal:
            assert terminal.wait() == 0
        assert any(line.startswith(SHOWN) for line in terminal.screen)

    def test_no_colour_where_none_is_wanted(self) -> None:
        with Terminal("errors", columns=100, environment=MEMORY | {"NO_COLOR": "1"}) as terminal:
            assert terminal.wait() == 0
        assert styles(terminal.shown) <= {"", "0", "1", "2"}

    @pytest.mark.parametrize("columns", [70, 120])
    def test_errors_are_in_local_time(self, columns: int) -> None:
        with Terminal("errors", columns=columns, environment=MEMORY | {"TZ": "XYZ-5"}) as terminal:
            assert terminal.wait() == 0
        lines = [line for line in terminal.screen if line]
        assert "last seen (XYZ)" in lines[0]
        assert ("first seen (XYZ)" in lines[0]) is (columns >= 100)
        in_pipe = run("errors", **MEMORY).stdout
        utc = re.search(r"T(\d\d):(\d\d):[\d.]+Z +2$", in_pipe, re.MULTILINE)
        assert utc is not None
        local = f"{(int(utc[1]) + 5) % 24:02}:{utc[2]}"
        (checkout,) = [line for line in lines if line.startswith("shop.checkout")]
        assert local in checkout

    @pytest.mark.parametrize("what", ["calls", "errors", "average", "p95"])
    @pytest.mark.parametrize(("columns", "lines"), [(80, 24), (140, 40)])
    def test_history_draws(self, what: str, columns: int, lines: int) -> None:
        arguments = ("history", "checkout", "--since", "30m", "--what", what)
        with Terminal(*arguments, columns=columns, lines=lines, environment=MEMORY) as terminal:
            assert terminal.wait() == 0
        screen = terminal.screen
        assert screen[0].startswith(f"shop.checkout  {what}")
        assert any(0x2801 <= ord(c) < 0x2900 for line in screen for c in line)
        axis = [number for number, line in enumerate(screen) if "┤" in line]
        assert len(axis) == 3
        assert len(screen[axis[-1] + 1]) == columns
        assert any(line.startswith("6 calls, 2 errors, average ") for line in screen)
        assert not screen[-1]
        assert styles(terminal.shown) <= ANSI_STYLES


@pytest.mark.usefixtures("calls")
class TestExport:
    def test_a_bar_on_the_terminal_and_the_entries_in_the_file(self) -> None:
        with Terminal("export", "--output", "out.csv", columns=80, environment=MEMORY) as terminal:
            assert terminal.wait() == 0
        assert "19/19" in terminal.shown
        assert [line for line in terminal.screen if line] == ["19 entries in out.csv"]
        assert Path("out.csv").read_text(encoding="utf-8").count("shop.checkout") == 6
        assert styles(terminal.shown) <= ANSI_STYLES

    def test_no_bar_where_the_entries_themselves_are_shown(self) -> None:
        with Terminal("export", "demo*", columns=80, environment=MEMORY) as terminal:
            assert terminal.wait() == 2  # no pattern is taken here
        with Terminal("export", STRANGE, columns=160, environment=MEMORY) as terminal:
            assert terminal.wait() == 0
        assert "\x1b" not in terminal.shown
        lines = [line for line in terminal.screen if line]
        assert len(lines) == 2
        assert lines[1].startswith(f"{SHOWN},")

    @pytest.mark.parametrize(
        "command", ["stats", "export", "errors --json", "history checkout", "health --help"]
    )
    def test_a_reader_that_goes_away_gets_no_traceback(self, command: str) -> None:
        read, write = os.pipe()
        os.close(read)
        with os.fdopen(write, "w") as pipe:
            done = subprocess.run(
                [*PROGRAM, *command.split()],
                env=os.environ | MEMORY,
                stdout=pipe,
                stderr=subprocess.PIPE,
                timeout=LIMIT,
                check=False,
            )
        assert (done.returncode, done.stderr) == (1, b"")


@pytest.mark.usefixtures("calls")
class TestPurge:
    ASKED = ("purge", "--entries-older-than", "0.001s")

    @pytest.mark.parametrize(("answer", "status"), [("y", 0), ("YES", 0), ("n", 1), ("", 1)])
    def test_it_asks(self, answer: str, status: int) -> None:
        with Terminal(*self.ASKED, columns=120, environment=MEMORY | {"TZ": "XYZ-5"}) as terminal:
            terminal.see("Delete? [y/N]")
            assert str(Path("metrics.db").absolute()) in "".join(terminal.screen)
            screen = "\n".join(terminal.screen)
            assert re.search(
                r"entries from before [-0-9]{10} [0-9]{2}:[0-9]{2}(:[0-9]{2})? XYZ", screen
            )
            terminal.press(answer + "\r")
            assert terminal.wait() == status
        left = run("export", "--format", "jsonl", **MEMORY).stdout.count("\n")
        assert left == (0 if status == 0 else 19)

    def test_ctrl_c_deletes_nothing(self) -> None:
        with Terminal(*self.ASKED, columns=120, environment=MEMORY) as terminal:
            terminal.see("Delete? [y/N]")
            terminal.press("\x03")
            assert terminal.wait() == 130
            assert "Traceback" not in terminal.shown
        assert run("export", "--format", "jsonl", **MEMORY).stdout.count("\n") == 19
