"""Sends a reading a minute at QoS 1 and keeps it in a file until it is acknowledged. Needs paho-mqtt 2."""

import json
import os
import queue
import sqlite3
import time

import paho.mqtt.client as mqtt

HOST, PORT = os.environ.get("MQTT_HOST", "127.0.0.1"), int(os.environ.get("MQTT_PORT", "1883"))
USERNAME, PASSWORD = os.environ.get("MQTT_USERNAME", "house/box-1"), os.environ.get("MQTT_PASSWORD", "")
TOPIC = os.environ.get("MQTT_TOPIC", "pilots/house/box-1/readings")
BUFFER = os.environ.get("BUFFER", "readings.sqlite")
SECONDS = float(os.environ.get("SECONDS", "60"))
MOST = 100_000  # readings that are kept; the oldest are given up
AT_ONCE = 20  # that are under way


def measure() -> dict[str, float]:
    """The sensor's values."""
    return {"air_temperature": 21.5}


class Buffer:
    """Readings that are not acknowledged, in a file."""

    def __init__(self, path: str) -> None:
        self._file = sqlite3.connect(path, isolation_level=None)
        self._file.execute("PRAGMA synchronous = FULL")
        self._file.execute("CREATE TABLE IF NOT EXISTS reading (id INTEGER PRIMARY KEY AUTOINCREMENT, message TEXT)")

    def keep(self, message: str) -> None:
        self._file.execute("INSERT INTO reading (message) VALUES (?)", (message,))
        self._file.execute("DELETE FROM reading WHERE id <= (SELECT max(id) FROM reading) - ?", (MOST,))

    def oldest(self, count: int) -> list[tuple[int, str]]:
        return self._file.execute("SELECT id, message FROM reading ORDER BY id LIMIT ?", (count,)).fetchall()

    def forget(self, number: int) -> None:
        self._file.execute("DELETE FROM reading WHERE id = ?", (number,))


def main() -> None:
    buffer = Buffer(BUFFER)
    under_way: dict[int, int] = {}  # number in the buffer, by paho's number of the message
    acknowledged: queue.SimpleQueue[int] = queue.SimpleQueue()
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=USERNAME, protocol=mqtt.MQTTv5)
    client.username_pw_set(USERNAME, PASSWORD)
    # With TLS: client.tls_set(ca_certs="ca.pem")
    # A reason code that is no success says that the reading is in quarantine: it is not to be sent again.
    client.on_publish = lambda _client, _data, mid, _reason, _properties: acknowledged.put(mid)
    client.reconnect_delay_set(1, 30)
    client.connect_async(HOST, PORT, keepalive=60)
    client.loop_start()
    due = time.monotonic()
    while True:
        if time.monotonic() >= due:
            due += SECONDS
            message = json.dumps({"time": time.time_ns() // 1_000_000, **measure()})
            buffer.keep(message)
            print(message, flush=True)
        while not acknowledged.empty():
            buffer.forget(under_way.pop(acknowledged.get()))
        for number, message in buffer.oldest(AT_ONCE):
            if number not in under_way.values():
                under_way[client.publish(TOPIC, message, qos=1).mid] = number  # paho repeats it after a reconnect
        time.sleep(0.05)


if __name__ == "__main__":
    main()
