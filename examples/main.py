"""The main job: decorate, call, read the live figures, save, and look at the rows.

Runs as it stands, with Redis inside the process. With REDIS_URL set (or named in `.env`) it runs on that Redis.
"""

import asyncio
import random
import sqlite3
from contextlib import closing, suppress

from metrics_collector import (
    MetricsCollector,
    Settings,
    flush,
    get_metrics,
    list_metrics,
    measure,
    metrics_collector,
)


@metrics_collector
async def fetch_price(item: int) -> float:
    """Wait, as for a remote service."""
    await asyncio.sleep(random.uniform(0.001, 0.01))
    return item * 9.99


@metrics_collector
async def charge_card(amount: float) -> str:
    """Fail now and then."""
    await asyncio.sleep(0.002)
    if random.random() < 0.25:
        raise ConnectionError("the bank does not answer")
    return f"paid {amount:.2f}"


@metrics_collector
def render_receipt(text: str) -> str:
    """Compute, without waiting for anything."""
    return "\n".join(f"{line:>40}" for line in [text] * 100)


@metrics_collector(name="shop.parse_coupon")
def parse_coupon(code: str) -> int:
    """Fail always."""
    return int(code)


async def order(item: int) -> None:
    """Serve one order."""
    async with measure("order"):
        amount = await fetch_price(item)
        with suppress(ValueError):
            parse_coupon("SPRING")
        with suppress(ConnectionError):
            render_receipt(await charge_card(amount))


async def main() -> None:
    """Serve a hundred orders and look at what they took."""
    settings = Settings()
    if "redis_url" not in settings.model_fields_set:
        settings = Settings(redis_url="memory://")

    async with MetricsCollector(settings):
        await asyncio.gather(*(order(item) for item in range(100)))

        # One report a function: live, from Redis, over all processes.
        for metrics in await list_metrics():
            for name, value in metrics.as_report().items():
                print(f"{name}: {value}")
            print(f"Percentiles: p50 {metrics.p50:.6f} s, p99 {metrics.p99:.6f} s\n")

        charge = await get_metrics(charge_card)
        print(f"charge_card failed with {dict(charge.error_types)}\n")

        # A worker does this by itself; see .github/docs/operations.md. Here it is done at once, in this process.
        print(f"Saved {await flush()} more entries to {settings.database_name}, which has now:\n")

    with closing(sqlite3.connect(settings.database_name)) as database:
        rows = database.execute(
            "SELECT func_name, count(*), round(avg(execution_time), 6), sum(error_occurred) "
            "FROM metrics GROUP BY func_name"
        )
        print(f"{'func_name':<20}{'rows':>8}{'average':>12}{'errors':>8}")
        for func_name, count, average, errors in rows:
            print(f"{func_name:<20}{count:>8}{average:>12}{errors:>8}")


if __name__ == "__main__":
    asyncio.run(main())
