"""The commands as a person sees them: in a real pseudo-terminal, with a terminal's emulator behind it."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from metrics_collector import MetricsCollector, Settings, flush, measure
from tests.support.commands import LIMIT, PROGRAM, run
from tests.support.terminal import Terminal

MEMORY = {"REDIS_URL": "memory://"}
STRANGE = "demo.[red]\x1b[31m\nname"
SHOWN = r"demo.[red]\x1b[31m\nname"
LONG = f"shop.{'very_' * 20}long"
CALLS = {"shop.checkout": (6, 2), "shop.cart.fetch": (9, 0), STRANGE: (1, 1), LONG: (3, 0)}
# The colours that each terminal has in its own shades, light or dark; with bold, dim and reverse; and none.
ANSI_STYLES = {"", "0", "1", "2", "7", *map(str, range(30, 38)), *map(str, range(40, 48))}
ANSI_STYLES |= {*map(str, range(90, 98)), *map(str, range(100, 108)), "39", "49"}


@pytest.fixture
def calls() -> None:
    """Some calls that were made just now, and are saved."""

    async def service() -> None:
        async with MetricsCollector(Settings(redis_url="memory://")):
            for name, (calls, errors) in CALLS.items():
                for number in range(calls):
                    with suppress(KeyError), measure(name):
                        if number < errors:
                            raise KeyError
            await flush()

    asyncio.run(service())


def styles(text: str) -> set[str]:
    return set(";".join(re.findall(r"\x1b\[([\d;]*)m", text)).split(";"))


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
        utc = re.search(r"T(\d\d):(\d\d):00Z +2$", in_pipe, re.MULTILINE)
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

    @pytest.mark.parametrize("command", ["stats", "export", "errors --json", "history checkout"])
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
    ASKED = ("purge", "--entries-older-than", "2099-01-01T00:00")

    @pytest.mark.parametrize(("answer", "status"), [("y", 0), ("YES", 0), ("n", 1), ("", 1)])
    def test_it_asks(self, answer: str, status: int) -> None:
        with Terminal(*self.ASKED, columns=120, environment=MEMORY | {"TZ": "XYZ-5"}) as terminal:
            terminal.see("Delete? [y/N]")
            assert str(Path("metrics.db").absolute()) in "".join(terminal.screen)
            assert "entries from before 2099-01-01 00:00 XYZ" in "\n".join(terminal.screen)
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
