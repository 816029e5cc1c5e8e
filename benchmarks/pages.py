"""What the pages weigh and how fast they are: bytes, first chart, zoom, publish to drawn, many viewers.

    python -m benchmarks.pages [--viewers 300] [--rounds 20]

Runs `techport up` as its users do, over the demo's district and a stream of a million readings, and drives the system's
Chromium over it; both and this program share the machine. Times are wall clock: on a busy machine they say little.
PAGES.md has figures.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from techport_pilots.access.operator_token import OperatorToken, read_token
from techport_storage.clock import now
from techport_storage.microseconds import SECOND
from techport_storage.model import Batch, Stream
from tests.browser import district
from tests.end_to_end.platforms import Device, Platform
from tests.servers.chromium import ARGUMENTS, find_chromium, sign_in

PILOT = "/pilots/school-air"
LIVE = f"{PILOT}/devices/ila-skole?start=-PT1H"
TOPIC = "pilots/school-air/ila-skole/readings"
MILLION = 1_000_000
LONG = """
id: long-series
title: {en: A long series}
question: {en: "Is it fast?"}
devices: [{id: meter, interval: PT10S, streams: [{quantity: pm10}]}]
"""
WATCH = """() => {
  const drawn = () => document.querySelector('.scatterlayer .trace path');
  new MutationObserver(() => { if (drawn()) window.firstDrawn ??= performance.now(); })
    .observe(document, { subtree: true, childList: true });
  addEventListener('pointerup', () => { window.released = performance.now(); }, true);
  addEventListener('chart-drawn', () => { window.drawnAt = performance.now(); });
}"""
EVERY = "() => document.querySelector('figure.chart').dataset.every"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--viewers", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder) / "data")
        for limit in ("LIVE_PAGES_OF_CLIENT", "CONNECTIONS_OF_CLIENT", "RATE_LIMIT"):  # all viewers are one client here
            os.environ[f"TECHPORT_{limit}"] = "0"
        with Platform(Path(folder), "up", "--broker", "embedded") as platform:
            device = Device(platform.mqtt_port)
            token = OperatorToken.of(Path(folder) / "data")
            look(f"http://{platform.http}", token, device, options.rounds)
            headers = {"Authorization": f"Bearer {read_token(Path(folder) / 'data')}"}
            asyncio.run(watch(f"http://{platform.http}", headers, device, options.viewers))
            device.close()


def prepare(folder: Path) -> None:
    """The demo's pilots with a day of readings, and a million readings of one more."""
    folder.mkdir()
    city = district.build(folder)
    city.import_text(LONG)
    time_of = now() - np.arange(MILLION, 0, -1, dtype=np.int64) * 10 * SECOND
    noise = np.random.default_rng(1)
    value = 20 + np.cumsum(noise.normal(0, 0.05, MILLION)) % 40 + noise.normal(0, 2, MILLION)
    for part in np.array_split(np.arange(MILLION), 20):
        stream, quality = np.zeros(len(part), np.int32), np.zeros(len(part), np.uint8)
        streams = [Stream("long-series", "meter", "pm10")]
        city.store.write(Batch(streams, stream, time_of[part], value[part], time_of[part], quality))
    city.close()


class SignedIn:
    """A browser whose windows are signed in."""

    def __init__(self, browser: Browser, token: OperatorToken, address: str) -> None:
        self._browser, self._token, self._address = browser, token, address

    def new_context(self, **options: Any) -> BrowserContext:
        context = self._browser.new_context(**options)
        sign_in(context, self._token, self._address)
        return context


def look(address: str, token: OperatorToken, device: Device, rounds: int) -> None:
    """What one browser sees."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=find_chromium(), args=[*ARGUMENTS, "--no-sandbox"])
        browser = SignedIn(chromium, token, address)
        for name, path in (("overview", "/"), ("pilot", PILOT)):
            print(f"{name}: {weigh(browser, address + path) / 1000:.0f} kB on the wire")
        print_times("overview: first paint, with its map", [painted(browser, address + "/") for _ in range(rounds)])
        print_times("pilot: first chart", [first_chart(browser, address + PILOT) for _ in range(rounds)])
        print_times("zoom into a million, released to drawn", zooms(browser, address, rounds))
        print_times("publish to drawn", live(browser, address + LIVE, device, 2 * rounds))
        chromium.close()


def print_times(what: str, seconds: list[float]) -> None:
    ordered = sorted(seconds)
    p95 = ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]
    print(f"{what}: median {1000 * statistics.median(ordered):.0f} ms, p95 {1000 * p95:.0f} ms ({len(ordered)} times)")


def weigh(browser: SignedIn, address: str) -> int:
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


def painted(browser: SignedIn, address: str) -> float:
    page = browser.new_context().new_page()
    page.goto(address)
    paints = "() => performance.getEntriesByName('first-contentful-paint')[0]?.startTime"
    seconds = float(page.wait_for_function(paints).json_value()) / 1000
    page.context.close()
    return seconds


def first_chart(browser: SignedIn, address: str) -> float:
    """From the request of the page to the first line, nothing cached."""
    page = watched(browser)
    page.goto(address, wait_until="commit")
    seconds = float(page.wait_for_function("() => window.firstDrawn").json_value()) / 1000
    page.context.close()
    return seconds


def zooms(browser: SignedIn, address: str, rounds: int) -> list[float]:
    """From letting go of the mouse to the finer data on the screen, of all readings and then of ever fewer."""
    page = watched(browser)
    found = []
    for _ in range(-(-rounds // 4)):
        page.goto(f"{address}/pilots/long-series?start=-P115D")
        page.wait_for_function("() => window.firstDrawn")
        page.wait_for_timeout(500)
        for _ in range(4):
            before = page.evaluate(EVERY)
            box = page.locator("figure.chart .nsewdrag").first.bounding_box()
            assert box is not None
            page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + 60)
            page.mouse.down()
            page.mouse.move(box["x"] + 0.6 * box["width"], box["y"] + 60, steps=3)
            page.mouse.up()
            page.wait_for_function(f"before => ({EVERY})() !== before", arg=before, polling=20)
            found.append(float(page.evaluate("window.drawnAt - window.released")) / 1000)
            page.wait_for_timeout(300)
    page.context.close()
    return found[:rounds]


def live(browser: SignedIn, address: str, device: Device, rounds: int) -> list[float]:
    """From the publishing of a message to its reading on the chart: broker, ingest, commit, look, event, drawing."""
    page = watched(browser)
    page.goto(address)
    page.wait_for_function("() => document.getElementById('live').dataset.state === 'live' && window.firstDrawn")
    page.wait_for_timeout(3000)
    found = []
    for turn in range(rounds):
        before = page.evaluate("document.querySelector('figure.chart').dataset.drawn")
        begun = time.time()
        device.publish(TOPIC, {"time": begun, "no2": 20 + turn, "pm10": 12.0})
        page.wait_for_function(
            "before => document.querySelector('figure.chart').dataset.drawn !== before", arg=before, polling=10
        )
        found.append(float(page.evaluate("(performance.timeOrigin + window.drawnAt) / 1000")) - begun)
        page.wait_for_timeout(450 + 37 * (turn % 5))
    page.context.close()
    return found


def watched(browser: SignedIn) -> Page:
    page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
    page.add_init_script(f"({WATCH})()")
    return page


async def watch(address: str, headers: dict[str, str], device: Device, viewers: int) -> None:
    """So many open event streams: how long until every one of them has a reading that was published."""
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
                    arrived[-1].append(time.time())
                if line == "event: resync":
                    print("a viewer fell behind")

    async with httpx.AsyncClient(timeout=None, headers=headers, limits=httpx.Limits(max_connections=None)) as client:
        tasks = [asyncio.create_task(viewer(client)) for _ in range(viewers)]
        await asyncio.wait_for(ready.wait(), 60)
        await asyncio.sleep(1)
        last, spread = [], []
        for turn in range(20):
            arrived.append([])
            begun = time.time()
            device.publish(TOPIC, {"time": begun, "no2": 20 + turn})
            await asyncio.sleep(1.2)
            assert len(arrived[-1]) == viewers, f"{len(arrived[-1])} of {viewers} viewers heard of it within 1.2 s"
            last.append(max(arrived[-1]) - begun)
            spread.append(max(arrived[-1]) - min(arrived[-1]))
        for task in tasks:
            task.cancel()
    print_times(f"{viewers} viewers: publish to the last viewer", last)
    print_times(f"{viewers} viewers: from the first viewer to the last", spread)


if __name__ == "__main__":
    main()
