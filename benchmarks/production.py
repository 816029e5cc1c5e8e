"""The production form under a steady load: mosquitto, one ingest worker with paho, InfluxDB, each its own process.

    python -m benchmarks.production --seconds 600 --rate 500

Prints processor time and memory of each, and messages for each CPU-second of the worker.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import paho.mqtt.client as mqtt
import psutil
from paho.mqtt.enums import CallbackAPIVersion

from techport_ingest.brokers.mosquitto import Mosquitto, MosquittoSettings, find_mosquitto
from techport_storage.model import BucketWidth, Query
from techport_storage.store import ReadingStore, open_store
from tests.servers.influxd import start_influxd
from tests.servers.mosquitto import free_port

DEVICES = 100
QUANTITIES = ("pm10", "pm25", "no2", "air_temperature", "relative_humidity")
SETTLE = 10  # seconds before the first look, for imports and first allocations


def definition() -> str:
    devices = [
        {"id": f"d{n}", "interval": "PT1S", "streams": [{"quantity": q} for q in QUANTITIES]} for n in range(DEVICES)
    ]
    return json.dumps({"id": "load", "title": {"en": "Load"}, "question": {"en": "How much?"}, "devices": devices})


def publish(port: int, rate: int, seconds: float) -> int:
    """Messages at an even pace, five values each; returns how many were acknowledged."""
    client = mqtt.Client(CallbackAPIVersion.VERSION2)
    client.max_inflight_messages_set(1000)
    client.connect("127.0.0.1", port)
    client.loop_start()
    started, sent = time.monotonic(), 0
    while (elapsed := time.monotonic() - started) < seconds:
        while sent < elapsed * rate:
            reading = {
                "time": time.time_ns() // 1000,
                **{name: 10 + (sent + i) % 97 / 7 for i, name in enumerate(QUANTITIES)},
            }
            info = client.publish(f"pilots/load/d{sent % DEVICES}/readings", json.dumps(reading), qos=1)
            sent += 1
        time.sleep(0.01)
    info.wait_for_publish(60)
    client.disconnect()
    client.loop_stop()
    return sent


def wait_until_all_is_there(store: ReadingStore) -> int:
    """The number of values in the store, once it has not grown for three seconds: the queue is empty."""
    counted = Query(every=BucketWidth(1, "y"), aggregates=("count",))
    stored = -1
    while (now := sum(store.read(counted).read_all()["count"].to_pylist())) > stored:
        stored = now
        time.sleep(3)
    return stored


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seconds", type=float, default=600)
    options.add_argument("--rate", type=int, default=500)
    chosen = options.parse_args()
    executable = find_mosquitto()
    assert executable is not None, "install mosquitto first"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "load.yaml").write_text(definition())
        broker = Mosquitto(MosquittoSettings(folder=folder / "broker", executable=executable, port=free_port()))
        broker.start()
        server = start_influxd(folder / "influxd")
        url = server.url(server.new_bucket())
        command = [sys.executable, "-m", "techport", "ingest", "--data", str(folder / "data"), "--store", url]
        command += ["--mqtt", f"127.0.0.1:{broker.settings.port}", "--pilot", str(folder / "load.yaml")]
        worker = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        try:
            publish(broker.settings.port, 50, SETTLE)
            watched = {"mosquitto": broker.pid, "ingest": worker.pid, "influxd": server.pid}
            processes = {name: psutil.Process(pid) for name, pid in watched.items()}
            before = {name: sum(p.cpu_times()[:2]) for name, p in processes.items()}
            first = {name: p.memory_info().rss for name, p in processes.items()}
            sent = publish(broker.settings.port, chosen.rate, chosen.seconds)
            store = open_store(url)
            stored = wait_until_all_is_there(store)
            used = {name: sum(p.cpu_times()[:2]) - before[name] for name, p in processes.items()}
            print(
                "| process | CPU s | share | memory at the start, MiB | at the end |\n| --- | --- | --- | --- | --- |"
            )
            for name, process in processes.items():
                sizes = (first[name] >> 20, process.memory_info().rss >> 20)
                print(
                    f"| {name} | {used[name]:.1f} | {used[name] / sum(used.values()):.0%} | {sizes[0]} | {sizes[1]} |"
                )
            print(
                f"\n{sent} messages, {stored} values stored; {sent / used['ingest']:.0f} messages a worker CPU-second"
            )
            store.close()
        finally:
            worker.terminate()
            worker.wait()
            server.stop()
            broker.stop()


if __name__ == "__main__":
    main()
