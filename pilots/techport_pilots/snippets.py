"""Code to paste into a device: each snippet publishes one reading with the device's own credential."""

from __future__ import annotations

import msgspec

from techport_pilots.credentials import Issued


class Snippet(msgspec.Struct, frozen=True):
    """Text to copy, and what it is for."""

    title: str
    text: str


def snippets(issued: Issued, host: str, port: int) -> list[Snippet]:
    """For the tools that devices are made with. `host` and `port` are the broker's as the device reaches it."""
    values = {
        "HOST": host,
        "PORT": str(port),
        "USER": issued.username,
        "PASSWORD": issued.password,
        "TOPIC": issued.topic,
        "BASE": issued.topic.removesuffix("/readings"),
        "CLIENT": issued.username.replace("/", "-"),
    }
    return [Snippet(title, _filled(text.strip("\n"), values)) for title, text in _TEMPLATES.items()]


def _filled(text: str, values: dict[str, str]) -> str:
    for name, value in values.items():
        text = text.replace(f"<{name}>", value)
    return text


_TEMPLATES = {
    "mosquitto_pub": """
mosquitto_pub -h <HOST> -p <PORT> -u '<USER>' -P '<PASSWORD>' -q 1 -t '<TOPIC>' -m '{"air_temperature": 21.5}'
""",
    "Python (paho-mqtt)": """
import json
import paho.mqtt.publish as publish

publish.single("<TOPIC>", json.dumps({"air_temperature": 21.5}), qos=1, hostname="<HOST>", port=<PORT>,
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
  mqtt.publish("<TOPIC>", "{\\"air_temperature\\": 21.5}");  // QoS 0: this library has no other
  delay(60000);
}
""",
    "MicroPython (umqtt)": """
from umqtt.simple import MQTTClient

client = MQTTClient("<CLIENT>", "<HOST>", port=<PORT>, user="<USER>", password="<PASSWORD>", keepalive=60)
client.connect()
client.publish(b"<TOPIC>", b'{"air_temperature": 21.5}', qos=1)
client.disconnect()
""",
    "Tasmota (console)": """
Backlog MqttHost <HOST>; MqttPort <PORT>; MqttUser <USER>; MqttPassword <PASSWORD>; FullTopic <BASE>/%prefix%/
# and in the pilot's definition:
# sources:
#   - {topic: <BASE>/tele/SENSOR, format: tasmota, device: {level: 3}}
""",
    "The Things Stack": """
# Its MQTT server is read by a bridge, with an API key of the application (see docs/devices.md). In the definition:
# sources:
#   - {topic: v3/+/devices/+/up, format: tts-v3}
# mosquitto.conf of the bridge:
connection things-stack
address eu1.cloud.thethings.network:8883
remote_username <application>@ttn
remote_password <API key>
bridge_capath /etc/ssl/certs
topic v3/# in 1
""",
}
