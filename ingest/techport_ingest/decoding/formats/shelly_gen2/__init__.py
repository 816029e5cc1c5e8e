"""Shelly devices of generation 2 and later."""

from __future__ import annotations

from techport_ingest.decoding.decoder import stateless
from techport_ingest.decoding.formats.shelly_gen2.decoder import decode, sender
from techport_pilots.formats import Format

SNIPPETS = {
    "Shelly (Gen2, Settings > MQTT)": """
Server:                 <HOST>:<PORT>
<TLS>Connection type:        User TLS, with ca.pem as the user CA bundle
</TLS>Client ID:              <CLIENT>
Username:               <USER>
Password:               <PASSWORD>
MQTT prefix:            <BASE>
RPC status over MQTT:   enabled
"""
}

FORMAT = Format(
    name="shelly-gen2",
    label="Shelly (Gen2)",
    decoder=stateless(decode),
    own_topic="events/rpc",
    topic="+/events/rpc",
    device_from="message",
    snippets=SNIPPETS,
    sender=sender,
)
