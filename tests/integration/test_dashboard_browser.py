"""The dashboard in a real browser: the command as a process, over a database, looked at by Chromium."""

from __future__ import annotations

import asyncio
import random
import re
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import pytest
import pytest_asyncio
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import async_playwright, expect

from tests.helpers import dashboard as dashboards
from tests.helpers.dashboard import EVIL, TOKEN, Call
from tests.helpers.processes import LIMIT
from tests.helpers.reverse_proxy import reverse_proxy
from tests.helpers.rows import rows

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from playwright.async_api import Browser, Page, Route

    from tests.helpers.dashboard import Dashboard
    from tests.helpers.redis_server import RedisServer

    Open = Callable[..., AbstractAsyncContextManager[Page]]

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(180)]

PHONE: Final = 360  # pixels
DESK: Final = 1440
PAGES: Final = {
    "overview": {"path": "", "window": "24h"},
    "function": {"path": "function", "name": "shop.pay", "window": "24h"},
    "errors": {"path": "errors", "window": "24h"},
    "pipeline": {"path": "pipeline"},
    "api": {"path": "api"},
}
CHARTS: Final = {"overview": 2, "function": 2, "errors": 1, "pipeline": 0, "api": 0}
FUNCTIONS: Final = 43
WAITING: Final = {
    "bypass_csp": True
}  # for tests that wait for a function, which playwright evaluates
RENEWALS: Final = 20_000  # milliseconds in which a page renews itself several times

expect.set_options(timeout=LIMIT * 1000)


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Calls of the last minutes and some of ten hours ago, of 43 functions, one of which has a wicked name."""
    path = tmp_path_factory.mktemp("dashboard") / "metrics.db"
    now, some = time.time(), random.Random(1)
    calls = [
        Call("shop.pay", now - 60 * some.randrange(2, 55), some.lognormvariate(-4, 0.6), error)
        for error in some.choices([None, "CardDeclinedError"], [9, 1], k=300)
    ]
    calls += [Call(f"shop.cart.f{n:02}", now - 300, 0.001 * (n + 1)) for n in range(FUNCTIONS - 3)]
    calls += [Call(EVIL, now - 200 - n, 0.3, EVIL) for n in range(3)]
    calls += [Call("shop.nightly", now - 36_000, 0.2, "TimeoutError") for _ in range(5)]
    asyncio.run(dashboards.save(calls, path))
    return path


@pytest.fixture(scope="module")
def shop(database: Path) -> Iterator[Dashboard]:
    """The dashboard of these."""
    with dashboards.dashboard(database, database.with_name("output.txt")) as one:
        yield one


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    program = dashboards.chromium()
    if program is None:
        pytest.skip("Chromium is not installed, and this test looks at pages")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=program, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield browser
        await browser.close()


@pytest.fixture
def tab(browser: Browser) -> Open:
    """Open pages in which nothing may go wrong: no error in the console, no dialog, no request to elsewhere."""

    @asynccontextmanager
    async def open_tab(
        url: str, *, width: int = DESK, theme: Any = "light", allowed: str = "", **options: Any
    ) -> AsyncIterator[Page]:
        wrong: list[str] = []
        context = await browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=theme, **options
        )
        page = await context.new_page()
        page.set_default_timeout(LIMIT * 1000)
        page.on("pageerror", lambda error: wrong.append(f"error: {error}"))
        page.on("dialog", lambda dialog: wrong.append(f"dialog: {dialog.message}"))
        page.on("console", lambda message: wrong.append(f"{message.type}: {message.text}"))
        origin = "/".join(url.split("/")[:3])
        page.on("request", lambda request: wrong.append(f"request: {request.url}"))
        try:
            await page.goto(url)
            yield page
        finally:
            await context.close()
        # The last are a browser's hints.
        usual = (f"request: {origin}/", "request: data:", "verbose: ")
        unusual = [one for one in wrong if not one.startswith(usual)]
        assert [one for one in unusual if not allowed or allowed not in one] == []

    return open_tab


def address(shop: Dashboard, page: str, **more: str) -> str:
    query = {**PAGES[page], **more}
    return shop.url(query.pop("path"), **query)


async def drawn(page: Page, charts: int) -> None:
    """Wait for the charts."""
    await expect(page.locator(".chart .main-svg:first-child")).to_have_count(charts)


def query_of(page: Page) -> str:
    return page.url.partition("?")[2]


async def names(page: Page) -> list[str]:
    """The functions in the table, in order."""
    titles = await page.locator("#table .fn").evaluate_all("all => all.map(one => one.title)")
    return [title or "" for title in titles]


class TestEachPage:
    @pytest.mark.parametrize("theme", ["light", "dark"])
    @pytest.mark.parametrize("name", PAGES)
    async def test_at_both_widths(self, name: str, theme: str, shop: Dashboard, tab: Open) -> None:
        for width in (PHONE, DESK):
            async with tab(address(shop, name), width=width, theme=theme) as page:
                await drawn(page, CHARTS[name])
                assert await page.evaluate("document.documentElement.scrollWidth") <= width
                ground = await page.evaluate("getComputedStyle(document.body).backgroundColor")
                lightness = sum(map(int, re.findall(r"\d+", ground)[:3])) / 3
                assert (lightness > 128) == (theme == "light")
                found = await Axe().run(page)
                assert found.violations_count == 0, found.generate_report()

    @pytest.mark.parametrize("name", ["overview", "function", "errors"])
    async def test_a_wicked_name_is_only_a_name(
        self, name: str, shop: Dashboard, tab: Open
    ) -> None:
        more = {"name": EVIL} if name == "function" else {}
        async with tab(address(shop, name, **more)) as page:
            await drawn(page, CHARTS[name])
            assert await page.locator("img:not(.brand img)").count() == 0
            assert EVIL in await page.locator("body").inner_text()
        if name != "function":
            return
        async with tab(address(shop, "overview")) as page:
            await page.get_by_role("link", name=EVIL).click()
            await expect(page.locator("h1")).to_have_text(EVIL)

    async def test_without_script_tables_links_and_search_still_work(
        self, shop: Dashboard, tab: Open
    ) -> None:
        async with tab(address(shop, "overview"), java_script_enabled=False) as page:
            await page.get_by_role("link", name="p99").click()
            assert (await page.locator("#table .fn").first.get_attribute("title")) == EVIL
            await page.locator("#search").fill("f07")
            await page.locator("#search").press("Enter")
            assert await page.locator("#table .fn").count() == 1


class TestTable:
    async def test_sorting_stands_in_the_url_and_can_be_undone(
        self, shop: Dashboard, tab: Open
    ) -> None:
        async with tab(address(shop, "overview")) as page:
            before = await names(page)
            await page.get_by_role("link", name="Function", exact=True).click()
            header = page.locator("th", has=page.locator("#sort-func_name"))
            await expect(header).to_have_attribute("aria-sort", "ascending")
            assert await names(page) == sorted(await names(page), key=str.casefold)
            assert "sort=func_name" in query_of(page)
            await page.locator("#sort-func_name").click()
            await expect(header).to_have_attribute("aria-sort", "descending")
            assert "sort=-func_name" in query_of(page)
            await page.go_back()
            await page.go_back()
            await expect(header).not_to_have_attribute("aria-sort", re.compile(".*"))
            assert await names(page) == before

    async def test_search_by_the_keyboard(self, shop: Dashboard, tab: Open) -> None:
        async with tab(address(shop, "overview")) as page:
            await page.keyboard.press("/")
            await expect(page.locator("#search")).to_be_focused()
            await page.keyboard.type("CART.F0")
            await expect(page.locator("#table .fn")).to_have_count(10)
            assert set(await names(page)) == {f"shop.cart.f0{n}" for n in range(10)}
            assert "q=CART.F0" in query_of(page)
            await expect(page.locator("#search")).to_be_focused()
            await page.reload()
            await expect(page.locator("#table .fn")).to_have_count(10)
            await expect(page.locator("#search")).to_have_value("CART.F0")
            await page.locator("#search").fill("no such thing")
            await expect(page.locator("#table")).to_contain_text("No function matches")

    async def test_pages(self, shop: Dashboard, tab: Open) -> None:
        async with tab(address(shop, "overview")) as page:
            first = await names(page)
            await page.get_by_role("link", name="Next").click()
            shown = f"26\N{EN DASH}{FUNCTIONS} of {FUNCTIONS}"
            await expect(page.locator("#pager")).to_contain_text(shown)
            second = await names(page)
            assert len(first + second) == len({*first, *second}) == FUNCTIONS
            assert "page=2" in query_of(page)
            await page.get_by_role("link", name="Previous").click()
            await expect(page.locator("#pager")).to_contain_text("1\N{EN DASH}25")
            assert await names(page) == first

    async def test_sparklines_lie_in_their_rows(self, shop: Dashboard, tab: Open) -> None:
        async with tab(address(shop, "overview")) as page:
            await expect(page.locator(".sparklines .main-svg").first).to_be_attached()
            area = await page.locator(".sparklines").bounding_box()
            cells = [await one.bounding_box() for one in await page.locator("td.trend").all()]
            assert area
            assert cells[0]
            assert cells[-1]
            assert area["y"] == pytest.approx(cells[0]["y"], abs=2)
            bottom = cells[-1]["y"] + cells[-1]["height"]
            assert area["y"] + area["height"] == pytest.approx(bottom, abs=2)
            assert cells[0]["x"] <= area["x"] <= cells[0]["x"] + cells[0]["width"]

    async def test_on_a_phone_the_other_columns_are_reached_by_scrolling(
        self, shop: Dashboard, tab: Open
    ) -> None:
        async with tab(address(shop, "overview"), width=PHONE) as page:
            await page.locator(".scroll").focus()
            await page.locator(".scroll").evaluate("all => { all.scrollLeft = all.scrollWidth; }")
            last = await page.locator("#sort-total_execution_time").bounding_box()
            name = await page.locator("#table .fn").first.bounding_box()
            assert last
            assert name
            assert last["x"] + last["width"] <= PHONE
            assert name["x"] >= 0  # the names stay in sight

    async def test_on_a_phone_the_count_of_errors_is_in_sight(
        self, shop: Dashboard, tab: Open
    ) -> None:
        async with tab(address(shop, "errors"), width=390) as page:
            for cell in (page.locator("#sort-count"), page.locator("#table td.failing").first):
                box = await cell.bounding_box()
                assert box
                assert box["x"] + box["width"] <= 390 - 14  # what a page leaves at its sides

    async def test_errors_are_sorted_and_searched_too(self, shop: Dashboard, tab: Open) -> None:
        async with tab(address(shop, "errors")) as page:
            types = page.locator("#table tbody th code")
            await expect(types).to_have_count(3)
            await page.get_by_role("link", name="Count").click()
            await expect(types.first).to_have_text("CardDeclinedError")
            await page.locator("#search").fill("nightly")
            await expect(types).to_have_text(["TimeoutError"])


class TestWindow:
    async def test_the_usual_ones(self, shop: Dashboard, tab: Open) -> None:
        async with tab(shop.url()) as page:
            await expect(page.locator("#table")).not_to_contain_text("nightly")
            await page.locator("#search").fill("nightly")
            for window in ("15 m", "1 h", "24 h", "7 d", "30 d"):
                await page.get_by_role("link", name=window, exact=True).click()
                current = page.locator("#windows [aria-current]")
                await expect(current).to_have_text(window)
                rows_of_it = page.locator("#table .fn")
                await expect(rows_of_it).to_have_count(0 if window in {"15 m", "1 h"} else 1)
            await page.get_by_label("Views").get_by_role("link", name="Errors").click()
            await expect(page.locator("#windows [aria-current]")).to_have_text("30 d")

    async def test_what_was_typed_before_counts_though_it_is_not_answered_yet(
        self, shop: Dashboard, tab: Open
    ) -> None:
        async with tab(shop.url()) as page:
            answered = asyncio.Event()

            async def answer_late(route: Route) -> None:
                await answered.wait()
                await route.continue_()

            await page.route("**/?q=nightly", answer_late)
            async with page.expect_request("**/?q=nightly"):
                await page.locator("#search").fill("nightly")
            await page.get_by_role("link", name="24 h", exact=True).click()
            assert "q=nightly" in query_of(page)
            answered.set()
            await expect(page.locator("#windows [aria-current]")).to_have_text("24 h")
            assert await names(page) == ["shop.nightly"]

    async def test_a_custom_one(self, shop: Dashboard, tab: Open) -> None:
        def field(hours_ago: float) -> str:
            return time.strftime("%Y-%m-%dT%H:%M", time.gmtime(time.time() - hours_ago * 3600))

        async with tab(shop.url()) as page:
            await page.locator("#custom").click()
            await page.get_by_label("From (UTC)").fill(field(11))
            await page.get_by_label("To (UTC)").fill(field(9))
            await page.get_by_role("button", name="Show").click()
            await expect(page.locator("#table .fn")).to_have_count(1)
            assert await names(page) == ["shop.nightly"]
            assert "since=" in query_of(page)
            await expect(page.locator("#windows [aria-current]")).to_have_count(0)
            await page.go_back()
            await expect(page.locator("#table .fn")).to_have_count(25)

    @pytest.mark.parametrize(
        ("since", "until", "said"),
        [
            ("2999-01-01T00:00", "2999-01-02T00:00", "which is yet to come"),
            ("2026-01-02T00:00", "2026-01-01T00:00", "The window has to begin before it ends"),
        ],
    )
    async def test_a_wrong_one_is_said_and_the_figures_stay(
        self, since: str, until: str, said: str, shop: Dashboard, tab: Open
    ) -> None:
        async with tab(shop.url(), allowed="status of 400") as page:
            await page.locator("#custom").click()
            await page.get_by_label("From (UTC)").fill(since)
            await page.get_by_label("To (UTC)").fill(until)
            await page.get_by_role("button", name="Show").click()
            await expect(page.locator("#trouble")).to_contain_text(said)
            await expect(page.locator("#table .fn")).to_have_count(25)

    @pytest.mark.parametrize("name", ["overview", "function", "errors"])
    async def test_dragging_over_a_chart_zooms_into_it(
        self, name: str, shop: Dashboard, tab: Open
    ) -> None:
        async with tab(address(shop, name, window="1h")) as page:
            await drawn(page, CHARTS[name])
            chart = {"overview": "calls"}.get(name, name)
            plot = await page.locator(f"[data-chart={chart}] .nsewdrag").first.bounding_box()
            assert plot
            height = plot["y"] + plot["height"] / 2
            await page.mouse.move(plot["x"] + plot["width"] * 0.25, height)
            await page.mouse.down()
            await page.mouse.move(plot["x"] + plot["width"] * 0.5, height, steps=5)
            await page.mouse.up()
            await page.wait_for_url(re.compile("since="))
            await expect(page.locator("#custom")).to_contain_text("\N{EN DASH}")
            data = "JSON.parse(document.getElementById('data').textContent)"
            shown = await page.evaluate(f"{data}.window")
            assert 600 <= shown["seconds"] <= 1200  # a quarter of an hour, in whole minutes
            await page.go_back()
            await expect(page.locator("#windows [aria-current]")).to_have_text("1 h")

    async def test_one_that_begins_within_a_step_has_its_ticks_at_round_times(
        self, tab: Open, tmp_path: Path
    ) -> None:
        begin = time.time() // 3600 * 3600 - 13 * 3600 + 540
        calls = [Call("f", begin + 7200, error=error) for error in ("KeyError", "OSError")]
        await dashboards.save(calls, tmp_path / "own.db")
        ends = [time.strftime("%Y-%m-%dT%H:%MZ", time.gmtime(begin + n)) for n in (0, 21_600)]
        with dashboards.dashboard(tmp_path / "own.db", tmp_path / "output.txt") as own:
            async with tab(own.url("errors", since=ends[0], until=ends[1])) as page:
                await drawn(page, 1)
                ticks = await page.locator("[data-chart=errors] .xtick text").all_text_contents()
        assert [re.match(r"[0-9]{2}:00", one) is not None for one in ticks] == [True] * 6

    async def test_the_charts_of_a_function_share_their_time_axis(
        self, shop: Dashboard, tab: Open
    ) -> None:
        async with tab(address(shop, "function", window="1h")) as page:
            await drawn(page, 2)
            axes = await page.evaluate(
                "(chart => [...new Set(chart._fullData.map(one => one.xaxis))].concat("
                "[...new Set(chart._fullData.map(one => one.yaxis))].sort()))"
                "(document.querySelector('[data-chart=function]'))"
            )
            assert axes == ["x", "y", "y2", "y3", "y4"]


class TestLegend:
    @pytest.mark.parametrize("name", ["errors", "function"])
    async def test_what_is_switched_off_stays_so(
        self, name: str, shop: Dashboard, tab: Open
    ) -> None:
        chart = f"document.querySelector('[data-chart={name}]')"
        shown = f"{chart}._fullData.filter(one => one.visible === true).map(one => one.name)"
        async with tab(address(shop, name), **WAITING) as page:
            await drawn(page, CHARTS[name])
            before = await page.evaluate(shown)
            await page.locator(f"[data-chart={name}] .legendtoggle").first.click()
            await page.wait_for_function(f"{shown}.length < {len(before)}")
            fewer = await page.evaluate(shown)
            await page.evaluate(f"window.drawn = {chart}.data")
            await page.keyboard.press("p")  # which renews it, too
            await page.wait_for_function(f"{chart}.data !== window.drawn")
            assert await page.evaluate(shown) == fewer

    @pytest.mark.parametrize("width", [PHONE, DESK])
    async def test_it_covers_nothing(self, width: int, shop: Dashboard, tab: Open) -> None:
        async with tab(address(shop, "errors"), width=width) as page:
            await drawn(page, 1)
            chart = page.locator("[data-chart=errors]")
            legend = await chart.locator(".legend").bounding_box()
            assert legend
            for other in (".nsewdrag", ".annotation", ".xtick"):
                box = await chart.locator(other).first.bounding_box()
                assert box
                above, below = sorted((legend, box), key=lambda one: one["y"])
                assert above["y"] + above["height"] <= below["y"] + 1, other

    @pytest.mark.parametrize("theme", ["light", "dark"])
    async def test_each_type_of_error_has_a_colour_of_its_own_that_stays(
        self, theme: str, tab: Open, tmp_path: Path
    ) -> None:
        now = time.time()
        new = [Call("f", now - 60, error=f"Error{n}") for n in range(8) for _ in range(n + 1)]
        old = [
            Call("f", now - 36_000, error=f"Error{n}") for n in range(8) for _ in range(40 - 2 * n)
        ]
        await dashboards.save(new + old[::-1], tmp_path / "own.db")
        data = "document.querySelector('[data-chart=errors]').data"

        async def colours(window: str) -> dict[str, str]:
            await expect(page.locator("#windows [aria-current]")).to_have_text(window)
            await drawn(page, 1)
            await page.wait_for_function(f"{data}.length === 6")
            found = await page.evaluate(f"{data}.map(one => [one.name, one.marker.color])")
            assert len({colour for _, colour in found}) == 6
            return {name: colour for name, colour in found if name.startswith("Error")}

        with dashboards.dashboard(tmp_path / "own.db", tmp_path / "output.txt") as own:
            url = own.url("errors", window="24h")
            async with tab(url, theme=theme, **WAITING) as page:
                first = await colours("24 h")
                await page.reload()
                assert await colours("24 h") == first
                await page.evaluate(f"window.drawn = {data}")
                await page.get_by_role("link", name="1 h", exact=True).click()
                await page.wait_for_function(f"{data} !== window.drawn")
                second = await colours("1 h")
        both = first.keys() & second.keys()
        assert first != second
        assert both
        assert {name: first[name] for name in both} == {name: second[name] for name in both}


class TestFunction:
    async def test_a_bar_leads_to_its_function(self, shop: Dashboard, tab: Open) -> None:
        async with tab(address(shop, "overview")) as page:
            await drawn(page, 2)
            first = (await names(page))[0]
            bars = page.locator("[data-chart=top] .point path")
            await expect(bars).to_have_count(10)
            box = await bars.last.bounding_box()
            assert box
            await page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
            await page.wait_for_url(re.compile("/function"))
            await expect(page.locator("h1 b")).to_have_text(first.rpartition(".")[2])
            assert "window=24h" in query_of(page)

    async def test_its_sql_is_copied_and_answers(
        self, shop: Dashboard, tab: Open, database: Path
    ) -> None:
        permissions = ["clipboard-read", "clipboard-write"]
        async with tab(address(shop, "function"), permissions=permissions) as page:
            await page.get_by_role("button", name="Copy").click()
            await expect(page.get_by_role("button", name="Copied")).to_be_visible()
            query = await page.evaluate("navigator.clipboard.readText()")
            assert len(rows(database, query)) == 20
            slowest = page.locator("#slowest tbody tr")
            await expect(slowest).to_have_count(20)

    async def test_its_errors_are_reported(
        self, shop: Dashboard, tab: Open, database: Path
    ) -> None:
        query = "SELECT count(*) FROM metrics WHERE func_name = 'shop.pay' AND error_occurred"
        ((count,),) = rows(database, query)
        async with tab(address(shop, "function")) as page:
            row = page.locator("#errors tbody tr")
            await expect(row.locator("code")).to_have_text("CardDeclinedError")
            await expect(row.locator("td").first).to_have_text(str(count))

    async def test_an_unknown_one_is_said(self, shop: Dashboard, tab: Open) -> None:
        url = address(shop, "function", name="shop.pya")
        async with tab(url, allowed="status of 404") as page:
            await expect(page.locator("h1")).to_have_text("Not Found")
            await expect(page.locator("main")).to_contain_text("shop.pay")


class TestLive:
    async def test_what_is_saved_appears_by_itself(self, tab: Open, tmp_path: Path) -> None:
        database = tmp_path / "own.db"
        await dashboards.save([Call("early", time.time() - 5)], database)
        with dashboards.dashboard(database, tmp_path / "output.txt") as own:
            async with tab(own.url()) as page:
                await page.evaluate("window.same = true")
                await expect(page.locator("#table .fn")).to_have_count(1)
                await page.locator("#sort-call_count").focus()
                await dashboards.save([Call("late", time.time() - 1)], database)
                await expect(page.locator("#table .fn")).to_have_count(2)
                assert await page.evaluate("window.same")  # it was not loaded anew
                await expect(page.locator("#sort-call_count")).to_be_focused()

    async def test_it_can_be_paused(self, shop: Dashboard, tab: Open) -> None:
        async with tab(shop.url("api")) as page:  # a page that does not renew itself
            await page.clock.install()
            await page.goto(shop.url(window="24h"))
            asked: list[str] = []
            page.on("request", lambda request: asked.append(request.url))
            await page.keyboard.press("p")
            await expect(page.locator("#live")).to_contain_text("Paused")
            assert "live=off" in query_of(page)
            asked.clear()
            await page.clock.run_for(RENEWALS)
            assert asked == []
            await page.locator("#live").click()
            await expect(page.locator("#live")).to_contain_text("Live")
            assert query_of(page) == "window=24h"
            asked.clear()
            async with page.expect_response(page.url):
                await page.clock.run_for(RENEWALS)

    async def test_a_window_that_has_ended_is_not_renewed(self, shop: Dashboard, tab: Open) -> None:
        hours = [time.strftime("%Y-%m-%dT%H:%MZ", time.gmtime(time.time() - n)) for n in (9e4, 3e3)]
        async with tab(shop.url("api")) as page:  # a page that does not renew itself
            await page.clock.install()
            await page.goto(shop.url(since=hours[0], until=hours[1]))
            await expect(page.locator("#live")).to_have_text("Ended")
            asked: list[str] = []
            page.on("request", lambda request: asked.append(request.url))
            await page.keyboard.press("p")
            await page.clock.run_for(RENEWALS)
            assert asked == []
            await page.get_by_role("link", name="24 h", exact=True).click()
            await expect(page.locator("#live")).to_contain_text("Live")
            async with page.expect_response(page.url):
                await page.clock.run_for(RENEWALS)

    async def test_a_pause_outlives_a_reload(self, shop: Dashboard, tab: Open) -> None:
        async with tab(shop.url(live="off")) as page:
            await expect(page.locator("#live")).to_contain_text("Paused")
            await page.get_by_role("link", name="Pipeline").click()
            await expect(page.locator("#live")).to_contain_text("Paused")

    async def test_a_dashboard_that_is_gone_is_said(
        self, tab: Open, database: Path, tmp_path: Path
    ) -> None:
        with dashboards.dashboard(database, tmp_path / "output.txt") as own:
            async with tab(own.url(), allowed="ERR_CONNECTION_REFUSED") as page:
                await expect(page.locator("#trouble")).to_be_hidden()
                own.process.close()
                await page.locator("#sort-func_name").click()
                await expect(page.locator("#trouble")).to_contain_text("Not refreshed since")
                await expect(page.locator("#table .fn")).to_have_count(25)

    async def test_nothing_recorded_says_how_to_begin_until_something_is(
        self, tab: Open, tmp_path: Path
    ) -> None:
        database = tmp_path / "new.db"
        with dashboards.dashboard(database, tmp_path / "output.txt") as own:
            async with tab(own.url(), width=PHONE) as page:
                await expect(page.locator("main")).to_contain_text("@metrics_collector")
                found = await Axe().run(page)
                assert found.violations_count == 0, found.generate_report()
                await dashboards.save([Call("first", time.time() - 1)], database)
                await expect(page.locator("#table .fn")).to_have_count(1)

    async def test_what_is_not_well_is_said_on_every_page(self, tab: Open, tmp_path: Path) -> None:
        database = tmp_path / "rejected.db"
        await dashboards.save([Call("f", time.time() - 1)], database)
        await dashboards.save([Call("f", -1.0)], database)  # before 1970: rejected
        with dashboards.dashboard(database, tmp_path / "output.txt") as own:
            async with tab(own.url()) as page:
                await expect(page.locator("#notices")).to_contain_text("rejected_entries")
                await page.locator("#notices").get_by_role("link").click()
                await expect(page.locator("#todo li")).to_contain_text("rejected_entries")

    @pytest.mark.parametrize("theme", ["light", "dark"])
    async def test_redis_away_and_back(
        self, theme: str, redis_server: RedisServer, tab: Open, tmp_path: Path
    ) -> None:
        database = tmp_path / "metrics.db"
        await dashboards.save([Call("f", time.time() - 5)], database)
        with dashboards.dashboard(
            database, tmp_path / "output.txt", REDIS_URL=redis_server.url
        ) as own:
            async with tab(own.url(), width=PHONE, theme=theme) as page:
                await page.evaluate("window.same = true")
                banner = page.locator("#missing")
                await expect(page.locator("#table .fn")).to_have_count(1)
                await expect(banner).to_have_text("")
                await asyncio.to_thread(redis_server.stop)
                await expect(banner).to_contain_text("Partial figures")
                await expect(page.locator("#table .fn")).to_have_count(1)
                await expect(page.locator("#trouble")).to_be_hidden()
                assert await page.evaluate("document.documentElement.scrollWidth") == PHONE
                found = await Axe().run(page)
                assert found.violations_count == 0, found.generate_report()
                await asyncio.to_thread(redis_server.start)
                await expect(banner).to_have_text("")
                assert await page.evaluate("window.same")  # it was not loaded anew


class TestTheme:
    async def test_it_can_be_chosen_and_the_charts_follow(self, shop: Dashboard, tab: Open) -> None:
        async def look() -> tuple[str, str]:
            seen = await page.evaluate(
                "[getComputedStyle(document.body).backgroundColor,"
                " getComputedStyle(document.querySelector('[data-chart=calls] .xtick text')).fill]"
            )
            return seen[0], seen[1]

        async with tab(shop.url(window="24h")) as page:
            await drawn(page, 2)
            by_system = await look()
            switch = page.get_by_role("button", name="Theme")
            await expect(switch).to_have_accessible_name("Theme: System")
            await switch.click()
            assert await look() == by_system
            await switch.click()
            await expect(switch).to_have_accessible_name("Theme: Dark")
            tick = page.locator("[data-chart=calls] .xtick text").first
            await expect(tick).not_to_have_css("fill", by_system[1])
            dark = await look()
            assert dark[0] != by_system[0]
            await page.reload()
            await drawn(page, 2)
            assert await look() == dark
            await page.get_by_role("button", name="Theme").click()
            await expect(page.locator("body")).to_have_css("background-color", by_system[0])


class TestToken:
    async def test_it_is_asked_for_once(self, tab: Open, database: Path, tmp_path: Path) -> None:
        output = tmp_path / "output.txt"
        with dashboards.dashboard(database, output, METRICS_DASHBOARD_TOKEN=TOKEN) as own:
            async with tab(own.url("errors"), width=PHONE, allowed="status of 401") as page:
                found = await Axe().run(page)
                assert found.violations_count == 0, found.generate_report()
                await page.get_by_label("Token").fill("wrong")
                await page.get_by_role("button", name="Open").click()
                await expect(page.locator("main")).to_contain_text("not the right one")
                await page.get_by_label("Token").fill(TOKEN)
                await page.get_by_role("button", name="Open").click()
                await page.wait_for_url(own.url("errors"))
                await expect(page.locator("h1")).to_have_text("Errors")
                assert TOKEN not in await page.evaluate("document.cookie")
                await page.get_by_role("link", name="Overview").click()
                await expect(page.locator("h1")).to_have_text("Overview")
            assert TOKEN not in own.process.output


class TestBehindProxy:
    @pytest.mark.parametrize("strips", [True, False])
    async def test_all_of_it_is_below_its_path(
        self, strips: bool, tab: Open, database: Path, tmp_path: Path
    ) -> None:
        output, path = tmp_path / "output.txt", "/team/metrics"
        arguments = ("--forwarded-allow-ips", "127.0.0.1") if strips else ("--root-path", path)
        headers = f"X-Forwarded-Prefix: {path}" if strips else ""
        with dashboards.dashboard(
            database, output, *arguments, METRICS_DASHBOARD_TOKEN=TOKEN
        ) as own:
            async with (
                # It has nothing else, so that a request for anything elsewhere is an error in the tab.
                reverse_proxy(own.address, path, strips=strips, headers=headers) as url,
                tab(f"{url}/?window=24h", allowed="status of 401") as page,
            ):
                await page.get_by_label("Token").fill(TOKEN)
                await page.get_by_role("button", name="Open").click()
                await drawn(page, CHARTS["overview"])
                (cookie,) = await page.context.cookies()
                assert cookie["path"] == path
                await page.locator("#sort-p95").click()
                await expect(page.locator("#sort-p95 .arrow")).to_have_text("↓")
                async with page.expect_response(page.url):  # it renews itself
                    pass
                await page.locator("#table .fn", has_text="pay").click()
                await drawn(page, CHARTS["function"])
                for name in ("Errors", "Pipeline", "JSON"):
                    await page.get_by_role("link", name=name, exact=name == "JSON").click()
                    await expect(page.locator("h1")).to_have_text(name)
                    assert page.url.startswith(f"{url}/")
                api = page.locator("h2 a").first
                await expect(api).to_have_attribute("href", f"{path}/api/overview")
