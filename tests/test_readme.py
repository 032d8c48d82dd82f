"""What README and guide say of code, settings, SQL, messages and files is so."""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
import sqlite3
import sys
from contextlib import closing, suppress
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

import httpx
import psycopg
import pytest
import typer
from fastapi import FastAPI
from redis import Redis
from taskiq import InMemoryBroker
from taskiq.api import run_receiver_task
from taskiq.kicker import AsyncKicker
from typer.testing import CliRunner

from metrics_collector import (
    MetricsCollector,
    Settings,
    cli,
    flush,
    get_metrics,
    history,
    measure,
    metrics_collector,
)
from metrics_collector._recording import registry
from metrics_collector._runtime import assembly
from metrics_collector._runtime.collector import collector
from metrics_collector._saving import taskiq
from metrics_collector._saving.taskiq.shared import TASK_NAME
from metrics_collector._support.rate_limited_log import RateLimitedLog
from metrics_collector.cli import _health

if TYPE_CHECKING:
    from collections.abc import Callable

    from metrics_collector.testing import RecordedMetrics
    from tests.helpers.redis_server import RedisServer

ROOT: Final = Path(__file__).parents[1]
DOCS: Final = ROOT / ".github" / "docs"
PAGES: Final = {
    path.name: path.read_text(encoding="utf-8")
    for path in (ROOT / "README.md", *sorted(DOCS.glob("*.md")))
}
PACKAGE: Final = ROOT / "src" / "metrics_collector"
MOST_LINES: Final = 150  # of the README
CardDeclined: Final = type("CardDeclined", (Exception,), {})


def _blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGES[page], re.MULTILINE | re.DOTALL)


def _numbered(*pages: str) -> list[Any]:
    return [
        pytest.param(page, block, id=f"{page}-{number}")
        for page in pages
        for number, block in enumerate(_blocks(page, "python"))
    ]


@pytest.fixture(autouse=True)
def own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what the blocks decorate be unknown to all other tests."""
    monkeypatch.setattr(registry, "_places", {})
    monkeypatch.setattr(registry, "_contested", {})


@pytest.fixture
def names() -> dict[str, Any]:
    """What stands around the blocks: a service `shop` of the reader's own."""

    @metrics_collector(name="shop.charge_card")
    async def charge_card() -> None:
        raise CardDeclined

    @metrics_collector(name="shop.checkout")
    async def checkout(cart: dict[str, int]) -> int:
        with suppress(CardDeclined):
            await charge_card()
        return sum(cart.values())

    return {
        "__name__": "shop",
        "metrics_collector": metrics_collector,
        "charge_card": charge_card,
        "checkout": checkout,
        "cart": {"apple": 3},
        "app": FastAPI(),
        "broker": InMemoryBroker(),
        "cli": typer.Typer(),
    }


def _run(block: str, names: dict[str, Any]) -> None:
    code = compile(block, "block", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    running = eval(code, names)  # noqa: S307 - our own pages; `exec` would give no coroutine
    if inspect.iscoroutine(running):
        asyncio.run(running)


async def _get(app: Any, path: str) -> Any:
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
        return (await client.get(path)).raise_for_status().json()


def test_the_ten_lines_run_as_they_stand(
    recorded_metrics: RecordedMetrics, capsys: pytest.CaptureFixture[str]
) -> None:
    _run(_blocks("README.md", "python")[0], {"__name__": "shop"})
    assert re.fullmatch(r"1 \{\} [0-9.e-]+\n", capsys.readouterr().out)
    assert recorded_metrics["shop.checkout"].call_count == 1


def test_the_fastapi_recipe_answers_and_measures(recorded_metrics: RecordedMetrics) -> None:
    service: dict[str, Any] = {"__name__": "shop"}
    _run(_blocks("README.md", "python")[1], service)
    app = service["app"]

    async def visit() -> list[dict[str, Any]]:
        async with app.router.lifespan_context(app):
            assert await _get(app, "/orders/3") == {"order": 3}
            figures: list[dict[str, Any]] = await _get(app, "/figures")
            return figures

    (report,) = asyncio.run(visit())
    assert (report["Function"], report["Number of calls"]) == ("shop.get_order", 1)


def test_below_what_registers_it_a_function_is_measured(
    recorded_metrics: RecordedMetrics, names: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "shop", ModuleType("shop"))  # where Taskiq notes its tasks
    _run(_blocks("README.md", "python")[2], names)

    async def use() -> None:
        await _get(names["app"], "/carts/3")
        await (await names["send_mail"].kiq(3)).wait_result(timeout=60)

    asyncio.run(use())
    CliRunner().invoke(names["cli"], ["today"], catch_exceptions=False)
    for name in ("get_cart", "send_mail", "report"):
        assert recorded_metrics[f"shop.{name}"].call_count == 1


def test_above_what_registers_it_a_function_is_not_measured(
    recorded_metrics: RecordedMetrics, names: dict[str, Any]
) -> None:
    async def call() -> None: ...

    metrics_collector(name="shop.call")(names["app"].get("/call")(call))
    asyncio.run(_get(names["app"], "/call"))
    assert recorded_metrics["shop.call"].call_count == 0
    assert not hasattr(metrics_collector(names["broker"].task(call)), "kiq")


@pytest.mark.parametrize(("page", "block"), _numbered("guide.md", "settings.md", "operations.md"))
def test_python_blocks_run(
    page: str, block: str, recorded_metrics: RecordedMetrics, names: dict[str, Any]
) -> None:
    asyncio.run(names["checkout"]({}))  # there is something to read
    _run(block, names)


@pytest.mark.parametrize(("page", "block"), _numbered("testing.md"))
def test_tests_of_a_service_pass(
    page: str, block: str, recorded_metrics: RecordedMetrics, names: dict[str, Any]
) -> None:
    _run(block, names)
    tests = [value for name, value in names.items() if name.startswith("test_")]
    assert tests
    for test in tests:
        asyncio.run(test(recorded_metrics))


def test_the_dashboard_is_mounted(monkeypatch: pytest.MonkeyPatch, names: dict[str, Any]) -> None:
    monkeypatch.setattr(collector, "settings", lambda: Settings(dashboard_token="0123456789abcdef"))
    (block,) = _blocks("dashboard.md", "python")
    _run(block, names)
    assert names["app"].routes[-1].path == "/metrics"


def test_no_python_block_is_left_out() -> None:
    run_here = {"README.md", "guide.md", "settings.md", "operations.md", "testing.md"}
    with_blocks = {page for page in PAGES if _blocks(page, "python")}
    assert with_blocks == run_here | {"dashboard.md"}
    assert len(_blocks("README.md", "python")) == 3


def test_the_settings_table_has_every_setting_with_its_default() -> None:
    rows_found = re.findall(
        r"^\| ((?:`[A-Z_]+`(?:, )?)+) \| (.*?) \|", PAGES["settings.md"], re.MULTILINE
    )
    table = dict(rows_found)
    rows = {name: default for names, default in table.items() for name in re.findall(r"\w+", names)}
    defaults = {name: field.default for name, field in Settings.model_fields.items()}
    assert {name.removeprefix("METRICS_").lower() for name in rows} == defaults.keys()
    for variable, shown in rows.items():
        name = variable.removeprefix("METRICS_").lower()
        if shown == "unset":
            assert defaults[name] is None
        elif shown == "`REDIS_URL`":
            assert (
                getattr(Settings(redis_url="redis://elsewhere:1/2"), name)
                == "redis://elsewhere:1/2"
            )
        else:
            assert str(defaults[name]).lower().removesuffix(".0") == shown.strip("`")


async def test_the_queries_answer() -> None:
    async with MetricsCollector(Settings(redis_url="memory://")):
        for _ in range(12):
            with measure("charge_card"):
                pass
        with pytest.raises(OSError, match="no"), measure("charge_card"):
            raise OSError("no")
        await flush()
    statements = [s for s in "".join(_blocks("sql.md", "sql")).split(";") if s.strip()]
    with closing(sqlite3.connect("metrics.db")) as database:
        slowest, failures, calls = (database.execute(s).fetchall() for s in statements)
    assert [row[:2] for row in slowest] == [("charge_card", 13)]
    assert [row[:3] for row in failures] == [("charge_card", "OSError", 1)]
    assert len(calls) == 10


async def test_the_queries_answer_in_postgres(postgres_url: str) -> None:
    async with MetricsCollector(Settings(redis_url="memory://", database_url=postgres_url)):
        with pytest.raises(OSError, match="no"), measure("charge_card"):
            raise OSError("no")
        await flush()
    queries = "".join(_blocks("sql.md", "sql"))
    for of_sqlite, of_postgres in {
        r"datetime\((.+), 'unixepoch'\)": r"to_timestamp(\1)",
        r"strftime\('%s', 'now'\)": "extract(epoch FROM now())",
        r"error_occurred(?= AND)": "error_occurred = 1",
    }.items():
        assert of_postgres.replace(r"\1", "created_at") in PAGES["sql.md"]
        queries = re.sub(of_sqlite, of_postgres, queries)
    with psycopg.connect(postgres_url) as database:
        database.execute("SET search_path TO metrics_collector")
        for statement in queries.split(";")[:-1]:
            assert len(database.execute(statement.encode()).fetchall()) == 1


async def _record_as_producer(settings: Settings) -> None:
    async with MetricsCollector(settings):
        with measure("charge_card"):
            pass


async def _save_as_worker(settings: Settings) -> None:
    """What worker, scheduler and `health` do."""
    log = RateLimitedLog()
    broker = taskiq.make_broker(settings.redis_url, settings.redis_url, log=log)
    taskiq.register(broker, make_worker=lambda: assembly.worker(settings, log), every=1, log=log)
    receiving = asyncio.create_task(run_receiver_task(broker, run_startup=True))
    request: Any = await AsyncKicker(TASK_NAME, broker, {}).kiq()
    assert not (await request.wait_result(timeout=20)).is_err
    assert (await _health.look("worker", settings)).healthy
    receiving.cancel()
    await asyncio.gather(receiving, return_exceptions=True)
    await broker.shutdown()


async def _read_as_reader(settings: Settings) -> None:
    async with MetricsCollector(settings):
        assert (await get_metrics("charge_card")).call_count == 1
        assert [point.call_count for point in await history(None, since="1h")] == [1]


@pytest.mark.integration
@pytest.mark.parametrize(
    "refused", [(), ("INFO", "HELLO", "CONFIG", "CLIENT", "XINFO", "XPENDING")]
)
def test_the_users_of_redis_can_do_all_that_they_have_to(
    refused: tuple[str, ...],
    start_redis: Callable[..., RedisServer],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    renamed = tmp_path / "renamed.conf"
    renamed.write_text("".join(f'rename-command {name} ""\n' for name in refused))
    server = start_redis(appendonly="yes", include=str(renamed))
    urls: dict[str, str] = {}
    with Redis.from_url(server.url, protocol=2) as admin:
        for line in _blocks("operations.md", "text")[0].splitlines():
            _, user, *rules = line.replace("PASSWORD", "secret").split()
            admin.execute_command("ACL", "SETUSER", user, *rules)
            urls[user] = server.url.replace("//", f"//{user}:secret@")
        for step, user in [
            (_record_as_producer, "metrics-producer"),
            (_save_as_worker, "metrics-worker"),
            (_read_as_reader, "metrics-reader"),
        ]:
            monkeypatch.setenv("REDIS_URL", urls[user])
            collector.reset()  # to be another process
            asyncio.run(step(collector.settings()))
        cli.run(["doctor"])
        collector.reset()
        missing = {entry["object"] for entry in admin.acl_log()}
    found = capsys.readouterr().out
    assert "1 entry saved" in found
    assert ("the server does not tell" in found) is bool(refused)
    assert re.findall("FAIL +([a-z]+)", found) == ["worker"]  # it has ended
    assert not [record for record in caplog.records if record.name == "metrics_collector"]
    assert missing <= {"client|setinfo"}  # which redis-py does without


def test_the_test_command_is_the_one_that_ci_runs() -> None:
    assert ".venv/bin/python -m pytest\n" in PAGES["README.md"]
    assert "-m pytest" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_the_readme_is_short() -> None:
    assert len(PAGES["README.md"].splitlines()) <= MOST_LINES


def _anchors(page: str) -> set[str]:
    """Those that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", page, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    folder = ROOT if page == "README.md" else DOCS
    links = re.findall(r"\]\(([^)\s]+)\)|src(?:set)?=\"([^\"]+)\"", PAGES[page])
    for link in (first or second for first, second in links):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (folder / path).resolve() if path else folder / page
        assert target.is_file(), link
        if anchor:
            assert anchor in _anchors(target.read_text(encoding="utf-8")), link


def test_every_page_is_linked_from_the_readme() -> None:
    for path in DOCS.glob("*.md"):
        assert f"(.github/docs/{path.name})" in PAGES["README.md"]


def test_troubleshooting_quotes_what_the_package_says() -> None:
    source = "".join(path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py"))
    table = PAGES["operations.md"].partition("## Troubleshooting")[2]
    symptoms = re.findall(r"^\| ([^|]*`[^|]*) \|", table, re.MULTILINE)
    quotes = {quote for symptom in symptoms for quote in re.findall(r"`([^`]+)`", symptom)}
    assert len(quotes) > 5
    for quote in quotes - {"taskiq worker", "unable to open database file"}:  # not ours
        for part in quote.split("…"):
            assert part.strip() in source, quote


def test_the_files_that_architecture_names_are_there() -> None:
    named = set(re.findall(r"`([\w/]+(?:\.py|\.js|\.html|/))`", PAGES["architecture.md"]))
    assert len(named) > 30
    for name in named - {"_storage/NAME/"}:
        places = [*PACKAGE.rglob(name.rstrip("/")), ROOT / name]
        assert any(place.exists() for place in places), name
