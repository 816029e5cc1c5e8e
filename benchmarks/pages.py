"""What the pages weigh and how fast they are: bytes, first chart, zoom, live latency, many viewers.

    python benchmarks/pages.py [--viewers 300]

Serves the demo's district from a store in a temporary folder and drives the system's Chromium over it. Times are wall
clock: on a busy machine they say little. PAGES.md has figures.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path

import httpx
from playwright.sync_api import Browser, Page, sync_playwright

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from techport_dashboards import WebSettings
from tests.browser import district
from tests.dashboards.web import City, serving
from tests.servers.chromium import ARGUMENTS, find_chromium

PILOT = "/pilots/school-air"
DRAWN = "() => document.querySelector('.scatterlayer .trace path')"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--viewers", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        city = district.build(Path(folder))
        with serving(city.app(WebSettings())) as address:
            look(address, city, options.rounds)
            asyncio.run(watch(address, city, options.viewers))
        city.close()


def look(address: str, city: City, rounds: int) -> None:
    """What one browser sees."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=[*ARGUMENTS, "--no-sandbox"])
        for name, path in (("overview", "/"), ("pilot", PILOT)):
            print(f"{name}: {weigh(browser, address + path) / 1000:.0f} kB on the wire")
        print_times("first chart", [first_chart(browser, address + PILOT) for _ in range(rounds)])
        print_times("zoom, until finer data is drawn", zooms(browser, address + PILOT, rounds))
        print_times("commit to drawn", live(browser, address + PILOT + "?start=-PT1H", city, 4 * rounds))
        browser.close()


def print_times(what: str, seconds: list[float]) -> None:
    ordered = sorted(seconds)
    p95 = ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]
    print(f"{what}: median {1000 * statistics.median(ordered):.0f} ms, p95 {1000 * p95:.0f} ms")


def weigh(browser: Browser, address: str) -> int:
    """Bytes of a first visit as they come over the wire, headers included."""
    page = browser.new_context().new_page()
    session = page.context.new_cdp_session(page)
    session.send("Network.enable")
    sizes: list[float] = []
    session.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
    page.goto(address)
    page.wait_for_timeout(3000)
    page.context.close()
    return int(sum(sizes))


def first_chart(browser: Browser, address: str) -> float:
    """From the request of the page to the first line, nothing cached."""
    page = browser.new_context().new_page()
    page.goto(address, wait_until="commit")
    page.wait_for_function(DRAWN, polling="raf")
    seconds = float(page.evaluate("performance.now()")) / 1000
    page.context.close()
    return seconds


def zooms(browser: Browser, address: str, rounds: int) -> list[float]:
    page = opened(browser, address)
    figure = page.locator("figure.chart").first
    found = []
    for _ in range(rounds):
        page.wait_for_function("() => document.querySelector('figure.chart').dataset.every !== ''")
        start = float(page.evaluate("performance.now()"))
        page.locator('[data-range="-PT1H"]').click()
        page.wait_for_function("() => document.querySelector('figure.chart').dataset.every === ''", polling="raf")
        found.append((float(page.evaluate("performance.now()")) - start) / 1000)
        page.locator('[data-range="-P1D"]').click()
    assert figure.count() == 1
    page.context.close()
    return found


def live(browser: Browser, address: str, city: City, rounds: int) -> list[float]:
    """From the store's commit to the reading on the chart of an open page."""
    page = opened(browser, address)
    pilot = city.registry.pilot("school-air")
    page.wait_for_function("() => document.getElementById('live').dataset.state === 'live'")
    found = []
    for _ in range(rounds):
        before = page.locator("figure.chart").first.get_attribute("data-drawn") or ""
        district.measure_now(city, pilot, "ila-skole")
        start = time.perf_counter()
        page.wait_for_function(
            "before => document.querySelector('figure.chart').dataset.drawn !== before", arg=before, polling="raf"
        )
        found.append(time.perf_counter() - start)
        page.wait_for_timeout(300)
    page.context.close()
    return found


def opened(browser: Browser, address: str) -> Page:
    page = browser.new_context().new_page()
    page.goto(address)
    page.wait_for_function(DRAWN)
    return page


async def watch(address: str, city: City, viewers: int) -> None:
    """So many open event streams: how long until every one of them has a reading that was committed."""
    pilot = city.registry.pilot("school-air")
    arrived: list[list[float]] = []
    ready = asyncio.Event()
    connected = 0

    async def viewer(client: httpx.AsyncClient) -> None:
        nonlocal connected
        async with client.stream("GET", f"{address}/api/v1/live?pilot=school-air") as stream:
            async for line in stream.aiter_lines():
                if line == "event: hello":
                    connected += 1
                    if connected == viewers:
                        ready.set()
                if line == "event: readings":
                    arrived[-1].append(time.perf_counter())
                if line == "event: resync":
                    print("a viewer fell behind")

    async with httpx.AsyncClient(timeout=None, limits=httpx.Limits(max_connections=None)) as client:
        tasks = [asyncio.create_task(viewer(client)) for _ in range(viewers)]
        await asyncio.wait_for(ready.wait(), 60)
        await asyncio.sleep(1)
        last, spread = [], []
        for _ in range(10):
            arrived.append([])
            await asyncio.to_thread(district.measure_now, city, pilot, "ila-skole")
            start = time.perf_counter()
            await asyncio.sleep(1.2)
            assert len(arrived[-1]) == viewers, f"{len(arrived[-1])} of {viewers} viewers heard of it within 1.2 s"
            last.append(max(arrived[-1]) - start)
            spread.append(max(arrived[-1]) - min(arrived[-1]))
        for task in tasks:
            task.cancel()
    print_times(f"{viewers} viewers: commit to the last viewer", last)
    print_times(f"{viewers} viewers: from the first viewer to the last", spread)


if __name__ == "__main__":
    main()
