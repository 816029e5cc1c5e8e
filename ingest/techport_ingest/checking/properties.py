"""Text that says what a device is: firmware, serial number, model. Kept as a property of the device, not as a reading.

A text of one of these names is a property also where it looks like a number ("1.2"), and a source's `fields` can still
say otherwise.
"""

from __future__ import annotations

import re

from techport_ingest.checking.key_cache import remembered

RULE = "property"
"""The rule under which properties are counted."""

_WORDS = frozenset(
    f"{thing}{word}"
    for thing in ("", "firmware", "fw", "software", "sw", "hardware", "hw", "protocol", "ipso", "tsl", "lora", "codec")
    for word in ("version", "ver", "rev", "revision", "build")
) | frozenset(
    (
        *("firmware", "fw", "software", "sw", "hardware", "hw", "fastvare"),
        *("serial", "serialnumber", "serialno", "sn", "serienummer", "imei", "imsi", "iccid", "eui", "deveui", "id"),
        *("mac", "macaddress", "ip", "ipaddress", "ssid", "bssid", "hostname"),
        *("model", "modelid", "modelnumber", "product", "productid", "devicetype", "devicemodel", "modell"),
        *("manufacturer", "vendor", "brand", "produsent", "name", "navn", "devicename", "friendlyname", "label"),
        *("lorawanclass", "region", "freqband", "frequencyband", "description", "location"),
    )
)
_PARTS = frozenset(("firmware", "version", "serial", "fwver", "fw", "hw"))


@remembered(8192)
def is_property(key: str) -> bool:
    """Whether a key, of whatever depth, names what a device is: "info.fw_version"."""
    last = key.rpartition(".")[2]
    words = re.sub(r"([a-z])([A-Z])", r"\1_\2", last).lower().replace("-", "_").replace(" ", "_").split("_")
    return "".join(words) in _WORDS or not _PARTS.isdisjoint(words)
