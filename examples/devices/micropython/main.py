"""Sends a reading a minute at QoS 1 and keeps it in the flash until it is acknowledged.

Put mqtt_client.py and offline_buffer.py beside it. On a board, connect to the network and set the clock first
(network.WLAN, ntptime.settime()).
"""

import json
import time

from mqtt_client import MQTTClient, MQTTException
from offline_buffer import OfflineBuffer

try:
    from settings import CLIENT, FOLDER, HOST, PASSWORD, PORT, SECONDS, TOPIC, USER
except ImportError:
    HOST, PORT = "192.168.1.10", 1883
    USER, PASSWORD = "house/box-1", "..."
    CLIENT, TOPIC = "box-1", "pilots/house/box-1/readings"
    SECONDS, FOLDER = 60, "."

SINCE_1970 = 946_684_800 if time.gmtime(0)[0] == 2000 else 0  # boards whose clock begins in 2000
RETRY = 5  # seconds between two attempts to connect, at most


def measure():
    """The sensor's values."""
    return {"air_temperature": 21.5}


def now():
    """Milliseconds since 1970, UTC."""
    return time.time_ns() // 1_000_000 + SINCE_1970 * 1000


def send_all(client, buffer):
    for line in buffer.lines():
        client.publish(TOPIC, line, qos=1)  # returns when it is acknowledged


def main():
    buffer = OfflineBuffer(FOLDER)
    # With TLS: tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT); tls.load_verify_locations(cafile="ca.pem"); and ssl=tls
    client = MQTTClient(CLIENT, HOST, PORT, USER, PASSWORD, keepalive=4 * int(SECONDS) + 60)
    connected = False
    due = now()
    while True:
        if now() >= due:
            due += int(SECONDS * 1000)
            reading = {"time": now()}
            reading.update(measure())
            line = json.dumps(reading)
            buffer.keep(line)
            print(line)
        try:
            if not connected:
                client.connect()
                connected = True
            send_all(client, buffer)
        except (OSError, MQTTException):
            connected = False
            if client.sock:
                client.sock.close()
        time.sleep(max(0, min(RETRY, (due - now()) / 1000)))


main()
