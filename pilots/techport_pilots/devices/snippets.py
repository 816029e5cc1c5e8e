"""Code to paste into a device: each snippet publishes one reading with the device's own credential."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from techport_pilots.access.credentials import Issued
from techport_pilots.model import MessageFormat


class Snippet(msgspec.Struct, frozen=True):
    """Text to copy, and what it is for."""

    title: str
    text: str


def snippets(
    issued: Issued, host: str, port: int, format: MessageFormat = "native", quantity: str = "air_temperature"
) -> list[Snippet]:
    """For the tools that devices are made with; for a format that has one tool, that tool. `host` and `port` are the
    broker's as the device reaches it, `quantity` is what the example measures.
    """
    username = issued.username
    example = _EXAMPLES.get(format, _EXAMPLES["native"]).replace("<QUANTITY>", quantity)
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
    chosen = _OF_FORMAT.get(format, _CODE)
    return [Snippet(title, _filled(text.strip("\n"), values)) for title, text in chosen.items()]


def _filled(text: str, values: Mapping[str, str]) -> str:
    for name, value in values.items():
        text = text.replace(f"<{name}>", value)
    return text


_EXAMPLES: dict[MessageFormat, str] = {
    "native": '{"<QUANTITY>": 21.5}',
    "senml": '[{"n": "<QUANTITY>", "v": 21.5}]',
    "line-protocol": "box <QUANTITY>=21.5",
    "ultralight": "<QUANTITY>|21.5",
}

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

_TASMOTA = {
    "Tasmota (console)": """
Backlog MqttHost <HOST>; MqttPort <PORT>; MqttUser <USER>; MqttPassword <PASSWORD>; FullTopic <BASE>/%prefix%/
""",
}

_THINGS = {
    "The Things Stack (MQTT)": """
# A bridge reads its MQTT server, with an API key of the application. In the bridge's mosquitto.conf:
connection things-stack
address eu1.cloud.thethings.network:8883
remote_username <application>@ttn
remote_password <API key>
bridge_capath /etc/ssl/certs
topic v3/# in 1
""",
    "The Things Stack (device)": """
# The end device ID of the application is the device's id here; its DevEUI may stand under aliases: in the definition.
# Without a payload formatter, give the source a codec: cayenne-lpp, or the maker's JavaScript.
""",
}

_SHELLY = {
    "Shelly (Gen2, Settings > MQTT)": """
Server:                 <HOST>:<PORT>
Client ID:              <CLIENT>
Username:               <USER>
Password:               <PASSWORD>
MQTT prefix:            <BASE>
RPC status over MQTT:   enabled
""",
}

_OTHERS = {
    "mosquitto_pub (a file)": """
mosquitto_pub -h <HOST> -p <PORT> -u '<USER>' -P '<PASSWORD>' -q 1 -t '<TOPIC>' -f message
""",
}

_OF_FORMAT: dict[MessageFormat, dict[str, str]] = {
    "tasmota": _TASMOTA,
    "tts-v3": _THINGS,
    "shelly-gen2": _SHELLY,
    "senml-cbor": _OTHERS,
    "cayenne-lpp": _OTHERS,
    "csv": _OTHERS,
}
