"""Code to paste into a device: each snippet publishes one reading with the device's own credential."""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from techport_pilots.access.credentials import Issued
from techport_pilots.formats import DEFAULT, Format, formats


class Snippet(msgspec.Struct, frozen=True):
    """Text to copy, and what it is for."""

    title: str
    text: str


class BrokerAddress(msgspec.Struct, frozen=True):
    """The broker as a device reaches it."""

    host: str
    port: int
    tls: bool = False

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def snippets(
    issued: Issued, broker: BrokerAddress, format_name: str = DEFAULT, quantity: str = "air_temperature"
) -> list[Snippet]:
    """For the tools that devices are made with; for a format that has one tool, that tool. `quantity` is what the
    example measures. With TLS they name a file `ca.pem`, the authority that signed the broker's certificate.
    """
    username = issued.username
    form = formats()[format_name]
    example = (form.example or formats()[DEFAULT].example).replace("<QUANTITY>", quantity)
    values = {
        "HOST": broker.host,
        "PORT": str(broker.port),
        "CAFILE": " --cafile ca.pem" if broker.tls else "",
        "USER": username,
        "PASSWORD": issued.password,
        "TOPIC": issued.topic,
        "BASE": "/".join(issued.topic.split("/")[:3]),
        "CLIENT": username.replace("/", "-"),
        "EXAMPLE": example,
        "QUOTED": msgspec.json.encode(example).decode(),
    }
    texts = _texts(form).items()
    return [Snippet(title, _filled(_of_transport(text, broker.tls).strip("\n"), values)) for title, text in texts]


def _texts(form: Format) -> Mapping[str, str]:
    """What its tool needs; otherwise code that publishes its example, or a file where it has none to copy."""
    return form.snippets or (_FILE if form.own_topic and not form.example else _CODE)


def _of_transport(text: str, tls: bool) -> str:
    """The text with what stands in <TLS>...</TLS> or in <PLAIN>...</PLAIN>, and without the other."""
    keep, drop = ("TLS", "PLAIN") if tls else ("PLAIN", "TLS")
    text = re.sub(f"<{drop}>.*?</{drop}>", "", text, flags=re.DOTALL)
    return text.replace(f"<{keep}>", "").replace(f"</{keep}>", "")


def _filled(text: str, values: Mapping[str, str]) -> str:
    for name, value in values.items():
        text = text.replace(f"<{name}>", value)
    return text


_CODE = {
    "mosquitto_pub": """
mosquitto_pub -h <HOST> -p <PORT><CAFILE> -u '<USER>' -P '<PASSWORD>' -q 1 -t '<TOPIC>' -m '<EXAMPLE>'
""",
    "Python (paho-mqtt)": """
import paho.mqtt.publish as publish

publish.single("<TOPIC>", <QUOTED>, qos=1, hostname="<HOST>", port=<PORT>,
               auth={"username": "<USER>", "password": "<PASSWORD>"}<TLS>, tls={"ca_certs": "ca.pem"}</TLS>)
""",
    "Arduino (MQTT by Joel Gaehwiler)": """
#include <MQTT.h>            // the library "MQTT": unlike PubSubClient it has QoS 1
<PLAIN>WiFiClient net;              // after WiFi.begin(...)
</PLAIN><TLS>#include <WiFiClientSecure.h>
const char* CA = R"(
...)";                       // the text of ca.pem
WiFiClientSecure net;        // after WiFi.begin(...) and configTime(0, 0, "pool.ntp.org"): TLS needs the time
</TLS>MQTTClient mqtt(1024);       // bytes of the longest message; the default of 128 drops longer ones

void setup() {
<TLS>  net.setCACert(CA);
</TLS>  mqtt.begin("<HOST>", <PORT>, net);
  mqtt.setOptions(90, true, 10000);  // keep-alive in s, clean session, ms to wait for the acknowledgement
}

void loop() {
  if (!mqtt.connected()) mqtt.connect("<CLIENT>", "<USER>", "<PASSWORD>");
  mqtt.loop();
  // True once it is acknowledged. examples/devices/arduino keeps a reading in flash until then.
  mqtt.publish("<TOPIC>", <QUOTED>, false, 1);
  delay(60000);
}
""",
    "MicroPython (umqtt)": """
<TLS>import ssl
</TLS>from umqtt.simple import MQTTClient

<TLS>tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
tls.load_verify_locations(cafile="ca.pem")
</TLS>client = MQTTClient("<CLIENT>", "<HOST>", port=<PORT>, user="<USER>", password="<PASSWORD>",
                    keepalive=60<TLS>, ssl=tls</TLS>)
client.connect()
client.publish(b"<TOPIC>", b<QUOTED>, qos=1)
client.disconnect()
""",
}

_FILE = {
    "mosquitto_pub (a file)": """
mosquitto_pub -h <HOST> -p <PORT><CAFILE> -u '<USER>' -P '<PASSWORD>' -q 1 -t '<TOPIC>' -f message
""",
}
