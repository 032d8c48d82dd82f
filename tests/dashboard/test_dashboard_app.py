"""The dashboard as an ASGI app: who is answered, with what headers, and what its JSON says."""

from __future__ import annotations

import json
import re
import time
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from metrics_collector import get_metrics, measure, send
from metrics_collector._errors import ConfigurationError
from metrics_collector._runtime.collector import collector
from metrics_collector.dashboard import _wrong_tokens, create_app
from metrics_collector.dashboard._app import _Views
from metrics_collector.dashboard._paths import OWN
from metrics_collector.dashboard._proxy import BehindProxy
from tests.helpers.dashboard import EVIL, TOKEN, Call, save
from tests.helpers.rows import rows

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from starlette.types import ASGIApp

WRONG_PATHS: Final = (  # of no proxy before a dashboard
    "",
    "metrics",
    "//evil.example",
    "/a//b",
    "/a/../b",
    "/..",
    "/.",
    "https://evil.example",
    "/a\r\nX-Evil: 1",
    "/a\n",
    "/a;Domain=example",
    '/"><script>',
    "/a?b",
    "/a%2f..",
    "/a\\b",
    "/ä",
    "/api",
    "/errors/",
)
PAGES = ("/", "/function?name=shop.pay", "/errors", "/pipeline", "/api")
VIEWS = ("/api/overview", "/api/function?name=shop.pay", "/api/errors", "/api/pipeline")


class Tags(HTMLParser):
    """The tags of a page, each with its attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def tags_of(page: httpx.Response) -> list[tuple[str, dict[str, str | None]]]:
    tags = Tags()
    tags.feed(page.text)
    return tags.found


@pytest.fixture(autouse=True)
def own_settings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("REDIS_URL", "memory://")
    collector.reset()
    yield
    collector.reset()


@pytest.fixture
async def calls(tmp_path: Path) -> list[Call]:
    """Some calls of the last minutes, and some of five and fifty hours ago, all saved."""
    now = time.time()
    calls = [
        # Whole 64ths of a second: their sum is exact however the hours divide them.
        Call("shop.pay", now - 120 - n, (1 + n % 5) / 64, None if n % 10 else "CardDeclinedError")
        for n in range(50)
    ]
    calls += [Call(f"shop.cart.f{n}", now - 300 - n, 0.001) for n in range(40)]
    calls += [Call(EVIL, now - 60, 1.0, EVIL)]
    calls += [Call("shop.pay", now - 5 * 3600, 0.5, "TimeoutError")]
    calls += [Call("shop.old", now - 50 * 3600, 0.5)]
    await save(calls, tmp_path / "metrics.db")
    return calls


def client(
    app: ASGIApp, *, ip: str = "127.0.0.1", base: str = "http://127.0.0.1:8765", **headers: str
) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(app, client=(ip, 50000)),
        base_url=base,
        headers={name.replace("_", "-"): value for name, value in headers.items()},
    )


@pytest.fixture
async def local() -> AsyncIterator[httpx.AsyncClient]:
    """A program of this machine, which needs no token."""
    async with client(create_app(token=False)) as one:
        yield one


class TestJson:
    async def test_overview(self, local: httpx.AsyncClient, calls: list[Call]) -> None:
        answer = (await local.get("/api/overview")).json()
        recent = [call for call in calls if call.at > time.time() - 3600]
        totals = answer["totals"]
        assert totals["call_count"] == len(recent)
        assert totals["error_count"] == sum(call.error is not None for call in recent)
        assert totals["error_rate"] == pytest.approx(totals["error_count"] / totals["call_count"])
        per_second = len(recent) / answer["window"]["seconds"]
        assert totals["calls_per_second"] == pytest.approx(per_second)
        assert totals["function_count"] == len({call.func_name for call in recent})
        assert totals["before"]["call_count"] == 0
        assert sum(answer["by_step"]["call_count"]) == len(recent)
        assert sum(answer["by_step"]["error_count"]) == totals["error_count"]
        assert len(answer["by_step"]["call_count"]) == len(answer["window"]["starts"])
        times: dict[str, float] = {}
        for call in recent:
            times[call.func_name] = times.get(call.func_name, 0.0) + call.seconds
        expected = sorted(times, key=lambda name: -times[name])
        assert [one["func_name"] for one in answer["top"][:2]] == expected[:2]
        assert answer["top"][0]["total_execution_time"] == pytest.approx(times[expected[0]])
        first = answer["table"]["rows"][0]
        assert first["func_name"] == expected[0]
        assert first["share"] == pytest.approx(times[expected[0]] / sum(times.values()))
        assert sum(first["by_step"]["call_count"]) == first["call_count"]

    @pytest.mark.usefixtures("calls")
    async def test_the_table_is_sorted_searched_and_paged_by_the_server(
        self, local: httpx.AsyncClient
    ) -> None:
        first = (await local.get("/api/overview?q=CART&sort=func_name")).json()["table"]
        second = (await local.get("/api/overview?q=CART&sort=func_name&page=2")).json()["table"]
        names = [row["func_name"] for row in first["rows"] + second["rows"]]
        assert names == sorted(f"shop.cart.f{n}" for n in range(40))
        assert (first["found"], first["of"], first["pages"]) == (40, 42, 2)
        slowest = (await local.get("/api/overview?sort=-p99")).json()["table"]["rows"]
        assert slowest[0]["func_name"] == EVIL
        p99 = [row["p99"] for row in slowest]
        assert p99 == sorted(p99, reverse=True)

    async def test_a_longer_window_has_the_older_calls(
        self, local: httpx.AsyncClient, calls: list[Call]
    ) -> None:
        answer = (await local.get("/api/overview?window=7d")).json()
        assert answer["totals"]["call_count"] == len(calls)

    @pytest.mark.usefixtures("calls")
    async def test_a_custom_window_and_the_period_before_it(self, local: httpx.AsyncClient) -> None:
        now = datetime.now(UTC)
        middle = now - timedelta(hours=4)
        around = {"since": f"{middle:%Y-%m-%dT%H:%MZ}", "until": f"{now:%Y-%m-%dT%H:%MZ}"}
        answer = (await local.get("/api/function", params={"name": "shop.pay", **around})).json()
        assert answer["totals"]["call_count"] == 50
        assert answer["totals"]["before"]["call_count"] == 1

    async def test_function(
        self, local: httpx.AsyncClient, calls: list[Call], tmp_path: Path
    ) -> None:
        answer = (await local.get("/api/function?name=pay&window=24h")).json()
        own = [call for call in calls if call.func_name == "shop.pay"]
        assert answer["func_name"] == "shop.pay"
        by_point = sum(point["call_count"] for point in answer["points"])
        assert answer["totals"]["call_count"] == len(own) == by_point
        heatmap = answer["heatmap"]
        assert sum(map(sum, heatmap["counts"])) == len(own)
        assert {len(column) + 1 for column in heatmap["counts"]} == {len(heatmap["bounds"])}
        bounds, counts = answer["distribution"]["bounds"], answer["distribution"]["counts"]
        assert sum(counts) == len(own)
        for low, high, count in zip(bounds, bounds[1:], counts, strict=False):
            assert count == sum(low < call.seconds <= high for call in own)
        errors = {row["error_type"]: row["count"] for row in answer["errors"]}
        assert errors == {"CardDeclinedError": 5, "TimeoutError": 1}
        slowest = sorted((call.seconds for call in own), reverse=True)[:20]
        assert [row["execution_time"] for row in answer["slowest"]] == slowest
        assert answer["slowest"][0]["error_type"] == "TimeoutError"
        assert [row[1] for row in rows(tmp_path / "metrics.db", answer["sql"])] == slowest

    async def test_the_sql_is_right_for_any_name(
        self, local: httpx.AsyncClient, tmp_path: Path
    ) -> None:
        name = "it's; DROP TABLE metrics; --"
        await save([Call(name, time.time() - 5)], tmp_path / "metrics.db")
        answer = (await local.get("/api/function", params={"name": name})).json()
        assert len(rows(tmp_path / "metrics.db", answer["sql"])) == 1

    @pytest.mark.usefixtures("calls")
    async def test_errors(self, local: httpx.AsyncClient) -> None:
        answer = (await local.get("/api/errors?window=24h")).json()
        assert answer["totals"] == {"error_count": 7, "type_count": 3, "function_count": 2}
        assert answer["types"][0]["error_type"] == "CardDeclinedError"
        assert answer["types"][0]["count"] == 5
        assert all(sum(one["counts"]) == one["count"] for one in answer["types"])
        types = [row["error_type"] for row in answer["table"]["rows"]]
        assert types == [EVIL, "CardDeclinedError", "TimeoutError"]
        found = (await local.get("/api/errors?window=24h&q=timeout&sort=-count")).json()["table"]
        assert [(row["func_name"], row["count"]) for row in found["rows"]] == [("shop.pay", 1)]

    async def test_of_many_types_the_rarest_are_added_up(
        self, local: httpx.AsyncClient, tmp_path: Path
    ) -> None:
        now = time.time()
        calls = [Call("f", now - 5, error=f"Error{n}") for n in range(9) for _ in range(n + 1)]
        await save(calls, tmp_path / "metrics.db")
        answer = (await local.get("/api/errors")).json()
        types = [one["error_type"] for one in answer["types"]]
        assert types == [f"Error{n}" for n in (8, 7, 6, 5, 4)]
        others = answer["other_types"]
        assert others["type_count"] == 4
        assert others["count"] == sum(others["counts"]) == 1 + 2 + 3 + 4

    async def test_among_equals_the_name_decides_which_types_are_shown(
        self, local: httpx.AsyncClient, tmp_path: Path
    ) -> None:
        last = time.time() - 10
        await save([Call("f", last + n, error=f"E{n}") for n in range(8)], tmp_path / "metrics.db")
        types = (await local.get("/api/errors")).json()["types"]
        assert [one["error_type"] for one in types] == ["E0", "E1", "E2", "E3", "E4"]

    async def test_pipeline(
        self, local: httpx.AsyncClient, calls: list[Call], tmp_path: Path
    ) -> None:
        with measure("waits"):
            pass
        await send()
        answer = (await local.get("/api/pipeline")).json()
        assert answer["waiting"] == 1
        assert answer["database"]["path"] == str(tmp_path / "metrics.db")
        assert answer["database"]["saved"] == len(calls)
        assert answer["database"]["size"] > 0
        assert answer["redis"]["embedded"] is True

    @pytest.mark.usefixtures("calls")
    async def test_figures_are_those_of_the_library(self, local: httpx.AsyncClient) -> None:
        overview = (await local.get("/api/overview?window=24h&q=pay")).json()
        function = (await local.get("/api/function?name=shop.pay&window=24h")).json()
        metrics = (await get_metrics("shop.pay")).as_dict()
        (row,) = overview["table"]["rows"]
        assert {name: row[name] for name in metrics} == metrics
        del metrics["func_name"]
        assert {name: function["totals"][name] for name in metrics} == metrics
        for some in (row, function["totals"], *function["points"], overview["totals"]):
            assert metrics.keys() <= some.keys()
            for side in ("before", "compared"):
                assert metrics.keys() <= some.get(side, metrics).keys()
        text = re.sub(r"<[^>]+>", " ", (await local.get("/api")).text)
        for name in metrics:
            assert re.search(rf"\b{name}\b", text), name

    @pytest.mark.usefixtures("calls")
    async def test_every_field_is_explained(self, local: httpx.AsyncClient) -> None:
        text = re.sub(r"<[^>]+>", " ", (await local.get("/api")).text)
        for view in VIEWS:
            for field in (await local.get(view)).json():
                assert re.search(rf"\b{field}\b", text), (view, field)

    @pytest.mark.parametrize(
        ("view", "status", "said"),
        [
            ("/api/function?name=shop.pya", 404, "shop.pay"),
            ("/api/function", 400, "name is missing"),
            ("/api/overview?window=x", 400, "window is a number"),
            ("/api/overview?sort=size", 400, "no column 'size'"),
            ("/api/overview?since=1960-01-01&until=1961-01-01", 400, "ends before 1970"),
            ("/api/function?name=", 400, "name is missing"),
            ("/api/pipeline/", 404, "no such page"),
            ("/api/overview?since=2999-01-01", 400, "has to begin before it ends"),
            ("/api/nothing", 404, "no such page"),
            ("/api/overview?limit=5", 400, "no parameter 'limit' here; there are window, since, "),
            ("/api/function?name=f&sort=p95", 400, "there are name, window, since, until"),
            ("/api/pipeline?window=24h", 400, "no parameter 'window' here; it takes none"),
            (
                "/api/errors?since=2026-01-02&until=2026-01-01T23:00",
                400,
                "before it ends, but would be from 2026-01-02 00:00:00 UTC to 2026-01-01 23:00:00 UTC: give",
            ),
        ],
    )
    @pytest.mark.usefixtures("calls")
    async def test_an_error_says_what_is_wrong(
        self, view: str, status: int, said: str, local: httpx.AsyncClient
    ) -> None:
        answer = await local.get(view)
        assert answer.status_code == status
        assert said in answer.json()["error"]

    async def test_redis_away_is_reported_without_its_password(
        self, monkeypatch: pytest.MonkeyPatch, local: httpx.AsyncClient
    ) -> None:
        monkeypatch.setenv("REDIS_URL", "redis://:S3CR3T@127.0.0.1:1/0")
        collector.reset()
        for path in ("/api/overview", "/", "/pipeline", "/api/pipeline"):
            answer = await local.get(path)
            assert answer.status_code == (200 if "pipeline" in path else 503)
            assert "127.0.0.1:1" in answer.text
            assert "S3CR3T" not in answer.text
            assert "Traceback" not in answer.text

    @pytest.mark.parametrize(("query", "renewed"), [("?window=24h", True), ("?live=off", False)])
    async def test_with_redis_away_the_page_renews_itself(
        self, query: str, renewed: bool, monkeypatch: pytest.MonkeyPatch, local: httpx.AsyncClient
    ) -> None:
        monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
        collector.reset()
        tags = tags_of(await local.get(f"/{query}"))
        renewals = [one for _, one in tags if one.get("http-equiv") == "refresh"]
        assert bool(renewals) is renewed
        # In the message, and above it.
        assert [one.get("href") for _, one in tags].count("/pipeline") == 2


class TestPages:
    @pytest.mark.parametrize("page", PAGES)
    @pytest.mark.usefixtures("calls")
    async def test_every_name_is_escaped(self, page: str, local: httpx.AsyncClient) -> None:
        text = (await local.get(page)).text
        assert "<img src=x" not in text

    @pytest.mark.parametrize("page", PAGES)
    @pytest.mark.usefixtures("calls")
    async def test_a_link_takes_along_what_the_next_page_takes(
        self, page: str, local: httpx.AsyncClient
    ) -> None:
        for state in ("window=24h&live=off", "since=2026-01-01T00:00Z&until=2026-01-02T00:00Z"):
            answer = await local.get(f"{page}{'&' if '?' in page else '?'}{state}")
            links = {one["href"] or "" for tag, one in tags_of(answer) if tag == "a"}
            for link in links - {"#main", "/api/function?name="}:
                assert (await local.get(link)).status_code == 200, link

    @pytest.mark.parametrize("page", ["/?utm_source=chat", "/pipeline?q=x", "/api?token=old"])
    async def test_a_parameter_of_others_does_no_harm(
        self, page: str, local: httpx.AsyncClient
    ) -> None:
        assert (await local.get(page)).status_code == 200

    @pytest.mark.parametrize("until", ["2026-01-02T00:00Z", "2999-01-01T00:00Z"])
    @pytest.mark.usefixtures("calls")
    async def test_only_a_window_that_goes_on_is_live(
        self, until: str, local: httpx.AsyncClient
    ) -> None:
        query = {"since": "2026-01-01T00:00Z", "until": until}
        ended = until.startswith("2026")
        assert (await local.get("/api/errors", params=query)).json()["window"]["ended"] == ended
        for page in ("/?", "/function?name=shop.pay&", "/errors?"):
            text = (await local.get(page + urlencode(query))).text
            assert ended == ("This window ended at" in text) == ("</span>Live" not in text), page

    @pytest.mark.usefixtures("calls")
    async def test_a_name_stands_as_it_is(self, local: httpx.AsyncClient) -> None:
        for page in ("/", "/errors"):
            assert "&lt;img src=x onerror=alert(1)&gt;" in (await local.get(page)).text

    async def test_the_data_in_a_page_cannot_end_its_element(
        self, local: httpx.AsyncClient, tmp_path: Path
    ) -> None:
        name = "</script><script>alert(1)</script><!--"
        await save([Call(name, time.time() - 5, error=name)], tmp_path / "metrics.db")
        for page in ("/", "/errors"):
            text = (await local.get(page)).text
            assert "<script>alert" not in text
            element = r'<script type="application/json" id="data" data-live>(.*?)</script>'
            data = re.search(element, text, re.DOTALL)
            assert data
            assert name in json.dumps(json.loads(data[1]))

    @pytest.mark.parametrize("page", PAGES)
    @pytest.mark.usefixtures("calls")
    async def test_there_is_neither_script_nor_style_in_a_page(
        self, page: str, local: httpx.AsyncClient
    ) -> None:
        tags = tags_of(await local.get(page))
        assert {"a", "link", "script"} <= {tag for tag, _ in tags}
        for tag, attributes in tags:
            assert tag != "style"
            assert not any(name == "style" or name.startswith("on") for name in attributes)
            assert not (attributes.get("href") or "").startswith("javascript:")
            if tag == "script":
                assert "src" in attributes or attributes["type"] == "application/json"

    async def test_nothing_recorded_says_how_to_begin(self, local: httpx.AsyncClient) -> None:
        for page in ("/", "/errors"):
            assert "@metrics_collector" in (await local.get(page)).text

    async def test_a_first_call_is_seen_at_once(self, local: httpx.AsyncClient) -> None:
        await local.get("/")
        with measure("first"):
            pass
        assert ">first<" in (await local.get("/")).text

    async def test_an_empty_window_is_no_beginning(
        self, local: httpx.AsyncClient, tmp_path: Path
    ) -> None:
        await save([Call("f", time.time() - 7200)], tmp_path / "metrics.db")
        text = (await local.get("/?window=15m")).text
        assert "No calls in this window" in text
        assert "@metrics_collector" not in text

    @pytest.mark.usefixtures("calls")
    async def test_links_keep_the_window(self, local: httpx.AsyncClient) -> None:
        text = (await local.get("/?window=24h&live=off&q=pay")).text
        links = re.findall(r'href="(/(?:errors|pipeline|function)?\?[^"]*)"', text)
        assert links
        kept = [link for link in links if "function" in link or "errors" in link]
        assert all("window=24h" in link and "live=off" in link for link in kept)
        assert "q=pay" not in next(link for link in links if link.startswith("/errors"))

    @pytest.mark.usefixtures("calls")
    async def test_nothing_is_written(self, local: httpx.AsyncClient, tmp_path: Path) -> None:
        def counted() -> list[Any]:
            return rows(
                tmp_path / "metrics.db",
                "SELECT (SELECT count(*) FROM metrics), (SELECT count(*) FROM rollups), "
                "(SELECT total(call_count) FROM totals)",
            )

        before = counted()
        for path in (*PAGES, *VIEWS):
            assert (await local.get(path)).status_code == 200
        assert counted() == before


class TestHeaders:
    @pytest.mark.parametrize("path", [*PAGES, *VIEWS, "/nothing", "/api/nothing"])
    @pytest.mark.usefixtures("calls")
    async def test_of_every_answer(self, path: str, local: httpx.AsyncClient) -> None:
        headers = (await local.get(path)).headers
        parts = headers["content-security-policy"].split(";")
        policy = dict(part.strip().split(" ", 1) for part in parts)
        assert policy["default-src"] == "'none'"
        assert policy["script-src"] == "'self'"
        assert policy["frame-ancestors"] == policy["base-uri"] == "'none'"
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cache-control"] == "no-store"

    async def test_assets_are_compressed_and_kept(self, local: httpx.AsyncClient) -> None:
        page = (await local.get("/pipeline")).text
        style = re.search(r'href="(/static/[^"]*/style.css)"', page)
        assert style
        answer = await local.get(style[1])
        assert answer.headers["content-encoding"] == "gzip"
        assert "immutable" in answer.headers["cache-control"]
        assert answer.headers["content-type"] == "text/css; charset=utf-8"
        plain = await local.get(style[1], headers={"Accept-Encoding": "identity"})
        assert "content-encoding" not in plain.headers
        assert plain.text == answer.text
        others = [style[1].replace("style.css", name) for name in ("..%2f_app.py", "none.css")]
        for gone in ("/static/0000000000000000/style.css", *others):
            assert (await local.get(gone)).status_code == 404

    @pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
    async def test_it_only_reads(self, method: str, local: httpx.AsyncClient) -> None:
        answer = await local.request(method, "/")
        assert answer.status_code == 405
        assert answer.headers["allow"] == "GET, HEAD"

    @pytest.mark.usefixtures("calls")
    async def test_head(self, local: httpx.AsyncClient) -> None:
        answer = await local.head("/")
        assert (answer.status_code, answer.content) == (200, b"")


class TestToken:
    @pytest.fixture
    def app(self, monkeypatch: pytest.MonkeyPatch) -> ASGIApp:
        monkeypatch.setattr(_wrong_tokens, "DELAY", 0.0)
        return create_app(token=TOKEN)

    @pytest.mark.parametrize("path", [*PAGES, *VIEWS, "/nothing"])
    @pytest.mark.usefixtures("calls")
    async def test_nothing_is_answered_without_it(self, path: str, app: ASGIApp) -> None:
        for headers in (
            {},
            {"authorization": "Bearer wrong"},
            {"authorization": f"Basic {TOKEN}"},
            {"cookie": f"metrics_dashboard={TOKEN}"},
        ):
            async with client(app, **headers) as stranger:
                answer = await stranger.get(path)
                assert answer.status_code == 401
                # What was asked for stands in the form for the token.
                assert "shop" not in answer.text.replace('name="name" value="shop.pay"', "")
                assert answer.headers["www-authenticate"] == "Bearer"

    @pytest.mark.usefixtures("calls")
    async def test_in_the_url_it_is_changed_for_a_cookie(self, app: ASGIApp) -> None:
        async with client(app) as browser:
            answer = await browser.get(f"/errors?window=24h&token={TOKEN}&q=a+b")
            assert answer.status_code == 303
            assert answer.headers["location"] == "/errors?window=24h&q=a+b"
            cookie = answer.headers["set-cookie"]
            assert {"HttpOnly", "SameSite=lax", "Path=/"} <= set(cookie.split("; "))
            assert TOKEN not in cookie
            assert answer.headers["referrer-policy"] == "no-referrer"
            assert (await browser.get("/errors?window=24h")).status_code == 200

    async def test_the_form_for_it_leads_to_what_was_asked_for(self, app: ASGIApp) -> None:
        asked = [("name", 'a&"<b>'), ("window", "24h"), ("q", ""), ("window", "7d")]
        async with client(app) as browser:
            page = await browser.get(f"/function?{urlencode([*asked, ('token', 'wrong')])}")
        fields = [attributes for tag, attributes in tags_of(page) if tag == "input"]
        hidden = [(field["name"], field["value"]) for field in fields if field["type"] == "hidden"]
        assert hidden == asked
        assert [field["name"] for field in fields if field["type"] != "hidden"] == ["token"]

    async def test_no_redirect_leads_to_another_host(self, app: ASGIApp) -> None:
        async with client(app) as browser:
            answer = await browser.get(f"http://127.0.0.1:8765//evil.example/?token={TOKEN}")
        assert answer.status_code == 303
        assert not answer.headers["location"].startswith("//")

    @pytest.mark.parametrize("token", [True, 123, TOKEN.encode(), TOKEN + "&", TOKEN + "%", ""])
    def test_one_that_cannot_be_sent_is_refused(self, token: Any) -> None:
        with pytest.raises(ConfigurationError, match="token"):
            create_app(token=token)

    async def test_by_tls_the_cookie_stays_there(self, app: ASGIApp) -> None:
        async with client(app, base="https://127.0.0.1") as browser:
            cookie = (await browser.get(f"/?token={TOKEN}")).headers["set-cookie"]
        assert "Secure" in cookie.split("; ")

    async def test_a_cookie_is_good_for_its_token_only(self, app: ASGIApp) -> None:
        async with client(app) as browser:
            await browser.get(f"/?token={TOKEN}")
            ((name, value),) = browser.cookies.items()
        async with client(create_app(token=TOKEN + "-2"), cookie=f"{name}={value}") as other:
            assert (await other.get("/")).status_code == 401

    @pytest.mark.parametrize(
        "others",
        ['prefs={"theme":"dark"}', "accepted", "list=a b,c", "=", '"', "ä=ö", "{own}=wrong"],
    )
    async def test_cookies_of_other_services_lock_nobody_out(
        self, others: str, app: ASGIApp
    ) -> None:
        async with client(app) as browser:
            await browser.get(f"/?token={TOKEN}")
            ((name, value),) = browser.cookies.items()
        stranger = others.format(own=name) if "own" in others else others
        for sent in (
            [f"{stranger}; {name}={value}"],
            [f"{name}={value};{stranger}"],
            [stranger, f"{name}={value}"],
        ):
            headers = [(b"cookie", line.encode()) for line in sent]
            async with client(app) as browser:
                assert (await browser.get("/pipeline", headers=headers)).status_code == 200
        async with client(app) as browser:
            answer = await browser.get("/pipeline", headers=[(b"cookie", stranger.encode())])
        assert answer.status_code == 401

    async def test_a_wrong_one_in_the_url(self, app: ASGIApp) -> None:
        async with client(app) as browser:
            answer = await browser.get("/?token=wrong-wrong-wrong-wrong")
            assert answer.status_code == 401
            assert "set-cookie" not in answer.headers
            assert "wrong-wrong" not in answer.text

    @pytest.mark.usefixtures("calls")
    async def test_as_a_header(self, app: ASGIApp) -> None:
        elsewhere = {"ip": "203.0.113.9", "base": "https://metrics.example.com"}
        async with client(app, **elsewhere, authorization=f"Bearer {TOKEN}") as program:
            assert (await program.get("/api/overview")).json()["totals"]["call_count"]

    async def test_the_page_that_asks_for_it_has_its_style(self, app: ASGIApp) -> None:
        async with client(app) as browser:
            text = (await browser.get("/")).text
            for asset in re.findall(r'"(/static/[^"]+)"', text):
                assert (await browser.get(asset)).status_code == 200

    def test_it_is_needed_to_mount(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with pytest.raises(ConfigurationError, match="METRICS_DASHBOARD_TOKEN"):
            create_app()
        with pytest.raises(ConfigurationError, match="too short") as caught:
            create_app(token="S3CR3T")
        assert "S3CR3T" not in str(caught.value)
        monkeypatch.setenv("METRICS_DASHBOARD_TOKEN", TOKEN)
        collector.reset()
        create_app()


class TestHosts:
    @pytest.mark.parametrize(
        "host",
        ["127.0.0.1", "127.0.0.1:8765", "localhost", "LOCALHOST:1", "[::1]:8765", "localhost.:80"],
    )
    async def test_this_machine_by_its_own_names(self, host: str, local: httpx.AsyncClient) -> None:
        assert (await local.get("/pipeline", headers={"host": host})).status_code == 200

    @pytest.mark.parametrize(
        "host",
        [
            "evil.example",
            "127.0.0.1.evil.example",
            "localhost@evil.example",
            "192.168.1.5",
            "",
            "a b",
            "127.0.0.1:x",
            "[::1",
            "evil.example:8765",
        ],
    )
    async def test_others_are_refused(self, host: str, local: httpx.AsyncClient) -> None:
        answer = await local.get("/pipeline", headers={"host": host})
        assert answer.status_code == 400
        assert "--allow-host" in answer.text

    @pytest.mark.parametrize("ip", ["203.0.113.9", "192.168.1.5", "testclient"])
    async def test_without_a_token_no_other_machine(self, ip: str) -> None:
        async with client(create_app(token=False), ip=ip) as stranger:
            answer = await stranger.get("/api/pipeline")
        assert answer.status_code == 403
        assert "METRICS_DASHBOARD_TOKEN" in answer.json()["error"]

    @pytest.mark.parametrize(
        "header",
        [
            "forwarded",
            "x-forwarded-for",
            "x-forwarded-proto",
            "X-Forwarded-Whatever",
            "x-real-ip",
            "via",
            "x-client-ip",
            "CF-Connecting-IP",
            "True-Client-IP",
            "X-Original-Forwarded-For",
        ],
    )
    async def test_without_a_token_no_proxy(self, header: str, local: httpx.AsyncClient) -> None:
        assert (await local.get("/", headers={header: "127.0.0.1"})).status_code == 403

    @pytest.mark.parametrize(
        ("hosts", "asked", "status"),
        [
            (["Metrics.Example.com"], "metrics.example.com", 200),
            (["Metrics.Example.com"], "10.1.2.3:80", 200),
            (["Metrics.Example.com"], "evil.example", 400),
            (None, "api.example.com", 200),
        ],
    )
    async def test_with_a_token_any_or_those_named(
        self, hosts: list[str] | None, asked: str, status: int
    ) -> None:
        app = create_app(token=TOKEN, hosts=hosts)
        async with client(app, authorization=f"Bearer {TOKEN}") as program:
            answer = await program.get("/pipeline", headers={"host": asked})
        assert answer.status_code == status

    @pytest.mark.parametrize(
        ("given", "asked"),
        [
            ("metrics.example.com.", "metrics.example.com"),
            ("bücher.example", "xn--bcher-kva.example"),
            ("[2001:DB8::1]", "[2001:db8::1]:80"),
            ("a_b", "A_B"),
        ],
    )
    async def test_names_are_taken_as_a_request_has_them(self, given: str, asked: str) -> None:
        async with client(create_app(token=False, hosts=[given])) as program:
            assert (await program.get("/pipeline", headers={"host": asked})).status_code == 200

    @pytest.mark.parametrize(
        "hosts",
        [
            "example.com",
            ["example.com:80"],
            ["https://example.com"],
            ["*.example.com"],
            ["a..b"],
            [""],
            [b"example.com"],
        ],
    )
    def test_what_is_no_name_is_refused(self, hosts: Any) -> None:
        with pytest.raises(ConfigurationError, match="name"):
            create_app(token=TOKEN, hosts=hosts)


async def every_link_leads_below(browser: httpx.AsyncClient, root: str, asked_below: str) -> None:
    """Whatever a page links to, or has its script ask for, is below `root`, and there when asked for `asked_below`."""
    for page in PAGES:
        answer = await browser.get(f"{asked_below}{page}")
        assert answer.status_code == 200
        links = re.findall(r'(?:href|src|data-function)="([^"#]+)"', answer.text)
        assert all(link.startswith(f"{root}/") for link in links)
        for link in set(links):
            if "name=&" in link or link.endswith("name="):
                continue
            below = link.replace("&amp;", "&").removeprefix(root)
            assert (await browser.get(f"{asked_below}{below}")).status_code == 200, link


class TestMounted:
    @pytest.fixture
    def service(self) -> ASGIApp:
        inner = Mount("/met rics", create_app(token=TOKEN))
        return Starlette(routes=[Mount("/inner", routes=[inner])])

    @pytest.mark.usefixtures("calls")
    async def test_every_link_leads_into_it(self, service: ASGIApp) -> None:
        async with client(service) as browser:
            answer = await browser.get(f"/inner/met%20rics/errors?token={TOKEN}")
            assert answer.headers["location"] == "/inner/met%20rics/errors"
            assert "Path=/inner/met rics" in answer.headers["set-cookie"].replace("%20", " ")
        async with client(service, authorization=f"Bearer {TOKEN}") as browser:
            await every_link_leads_below(browser, "/inner/met%20rics", "/inner/met%20rics")

    async def test_the_cookie_is_for_its_path_alone(self) -> None:
        service = Starlette(routes=[Mount("/a;b,c", create_app(token=TOKEN))])
        async with client(service) as browser:
            answer = await browser.get(f"/a;b,c/pipeline?token={TOKEN}")
        assert answer.headers["location"] == "/a%3Bb%2Cc/pipeline"  # as the cookie has it
        assert "Path=/a%3Bb%2Cc" in answer.headers["set-cookie"].split("; ")

    async def test_json(self, service: ASGIApp) -> None:
        async with client(service) as program:
            assert (await program.get("/inner/met%20rics/api/overview")).json()["error"]
        async with client(service, authorization=f"Bearer {TOKEN}") as program:
            answer = (await program.get("/inner/met%20rics/api/overview")).json()
            assert answer["totals"]["call_count"] == 0


PROXY: Final = "10.0.0.5"
PREFIX: Final = "x-forwarded-prefix"


class TestBehindProxy:
    @pytest.mark.parametrize("wrong", WRONG_PATHS)
    def test_a_path_of_no_sense_is_refused(self, wrong: str) -> None:
        with pytest.raises(ConfigurationError, match="--root-path"):
            BehindProxy(create_app(token=TOKEN), root_path=wrong, forwarded_allow_ips=None)

    @pytest.mark.parametrize(
        ("told", "stripped"),
        [
            ("by the option", True),
            ("by the option", False),
            ("by the header", True),
            ("by both", False),
        ],
    )
    @pytest.mark.usefixtures("calls")
    async def test_every_link_leads_below_its_path(self, told: str, stripped: bool) -> None:
        app = BehindProxy(
            create_app(token=TOKEN),
            root_path={"by the option": "/team/metrics/", "by both": "/other"}.get(told),
            forwarded_allow_ips=None if told == "by the option" else f"192.168.0.0/16, {PROXY}",
        )
        headers = {} if told == "by the option" else {PREFIX: "/team/metrics"}
        asked_below = "" if stripped else "/team/metrics"
        async with client(app, ip=PROXY, **headers, x_forwarded_for="203.0.113.9") as browser:
            answer = await browser.get(f"{asked_below}/errors?window=24h&token={TOKEN}")
            assert answer.headers["location"] == "/team/metrics/errors?window=24h"
            assert "Path=/team/metrics" in answer.headers["set-cookie"].split("; ")
            browser.headers["authorization"] = f"Bearer {TOKEN}"
            await every_link_leads_below(browser, "/team/metrics", asked_below)
            if not stripped:
                assert "<h1>Overview" in (await browser.get("/team/metrics")).text

    @pytest.mark.parametrize(
        ("ip", "forwarded_allow_ips", "prefixes"),
        [
            (PROXY, None, ["/evil"]),
            (PROXY, "10.0.0.6,10.1.0.0/16", ["/evil"]),
            ("127.0.0.1", None, ["/evil"]),
            *((PROXY, "*", [wrong]) for wrong in WRONG_PATHS),
            (PROXY, PROXY, ["/evil", "/evil"]),
            (PROXY, PROXY, ["/evil, /evil"]),
        ],
    )
    async def test_a_header_of_another_or_of_no_sense_is_ignored(
        self, ip: str, forwarded_allow_ips: str | None, prefixes: list[str]
    ) -> None:
        app = BehindProxy(
            create_app(token=TOKEN), root_path="/good", forwarded_allow_ips=forwarded_allow_ips
        )
        async with client(app, ip=ip) as browser:
            headers = [(PREFIX.encode(), prefix.encode()) for prefix in prefixes]
            answer = await browser.get(f"/errors?token={TOKEN}", headers=headers)
        assert answer.headers["location"] == "/good/errors"
        assert "Path=/good" in answer.headers["set-cookie"].split("; ")

    def test_no_path_of_its_own_is_taken_for_that_of_a_proxy(self) -> None:
        routes = {route.path for route in _Views().routes()} - {"/"}
        assert {*routes, "/static"} == OWN
