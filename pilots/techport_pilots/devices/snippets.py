"""Code to paste into a device: each snippet publishes one reading with the device's own credential."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from techport_pilots.access.credentials import Issued
from techport_pilots.formats import DEFAULT, Format, formats


class Snippet(msgspec.Struct, frozen=True):
    """Text to copy, and what it is for."""

    title: str
    text: str


def snippets(
    issued: Issued, host: str, port: int, format_name: str = DEFAULT, quantity: str = "air_temperature"
) -> list[Snippet]:
    """For the tools that devices are made with; for a format that has one tool, that tool. `host` and `port` are the
    broker's as the device reaches it, `quantity` is what the example measures.
    """
    username = issued.username
    form = formats()[format_name]
    example = (form.example or formats()[DEFAULT].example).replace("<QUANTITY>", quantity)
    values = {
        "HOST": host,
        "PORT": str(port),
        "USER": username,
        "PASSWORD": issued.password,
        "TOPIC": issued.topic,
        "BASE": "/".join(issued.topic.split("/")[:3]),
        "CLIENT": username.replace("/", "-"),
        "EXAMPLE": example,
        "QUOTED": msgspec.json.encode(example).decode(),
    }
    return [Snippet(title, _filled(text.strip("\n"), values)) for title, text in _texts(form).items()]


def _texts(form: Format) -> Mapping[str, str]:
    """What its tool needs; otherwise code that publishes its example, or a file where it has none to copy."""
    return form.snippets or (_FILE if form.own_topic and not form.example else _CODE)


def _filled(text: str, values: Mapping[str, str]) -> str:
    for name, value in values.items():
        text = text.replace(f"<{name}>", value)
    return text


_CODE = {
    "mosquitto_pub": """
mosquitto_pub -h <HOST> -p <PORT> -u '<USER>' -P '<PASSWORD>' -q 1 -t '<TOPIC>' -m '<EXAMPLE>'
""",
    "Python (paho-mqtt)": """
import paho.mqtt.publish as publish

publish.single("<TOPIC>", <QUOTED>, qos=1, hostname="<HOST>", port=<PORT>,
               auth={"username": "<USER>", "password": "<PASSWORD>"})
""",
    "Arduino (PubSubClient)": """
#include <PubSubClient.h>
WiFiClient net;              // after WiFi.begin(...)
PubSubClient mqtt(net);

void setup() {
  mqtt.setServer("<HOST>", <PORT>);
  mqtt.setBufferSize(1024);  // the default of 256 bytes drops longer messages without a word
}

void loop() {
  if (!mqtt.connected()) mqtt.connect("<CLIENT>", "<USER>", "<PASSWORD>");
  mqtt.loop();
  mqtt.publish("<TOPIC>", <QUOTED>);  // QoS 0: this library has no other
  delay(60000);
}
""",
    "MicroPython (umqtt)": """
from umqtt.simple import MQTTClient

client = MQTTClient("<CLIENT>", "<HOST>", port=<PORT>, user="<USER>", password="<PASSWORD>", keepalive=60)
client.connect()
client.publish(b"<TOPIC>", b<QUOTED>, qos=1)
client.disconnect()
""",
}

_FILE = {
    "mosquitto_pub (a file)": """
mosquitto_pub -h <HOST> -p <PORT> -u '<USER>' -P '<PASSWORD>' -q 1 -t '<TOPIC>' -f message
""",
}
