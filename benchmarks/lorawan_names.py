"""How many of the numbers in public LoRaWAN codec tests get a described quantity, and which do not.

    git clone https://github.com/chirpstack/chirpstack-device-profiles
    python -m benchmarks.lorawan_names chirpstack-device-profiles

Reads the expected results of the codecs' own tests (vendors/*/codecs/test_decode_*.json). Nothing of them is kept here.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path

from techport_ingest.decoding.javascript import CodecShelf
from techport_ingest.decoding.mapping import PilotSource
from techport_ingest.message import Message, Observed, RejectedMessage
from techport_pilots.model import SourceDefinition
from techport_pilots.quantities import builtin


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("profiles", type=Path, help="a checkout of chirpstack-device-profiles")
    topic = "application/+/device/+/event/up"
    source = PilotSource("any", "UTC", SourceDefinition(topic=topic, format="chirpstack-v4"), CodecShelf())
    unknown: Counter[str] = Counter()
    tests = described = 0
    for file in sorted(arguments.parse_args().profiles.glob("vendors/*/codecs/test_decode*.json")):
        try:
            cases = json.loads(file.read_text("utf-8"))
        except ValueError:
            continue  # some are not JSON
        for case in cases:
            data = (case.get("expected") or {}).get("data")
            if not isinstance(data, dict) or not data:
                continue
            tests += 1
            event = {"deviceInfo": {"devEui": "device", "deviceProfileName": file.parts[-3]}, "object": data}
            message = Message("application/1/device/device/event/up", json.dumps(event).encode(), 1, 1)
            try:
                findings = source(message, "")
            except RejectedMessage:
                continue
            for finding in findings:
                if isinstance(finding, Observed) and isinstance(finding.value, int | float):
                    known = finding.key in builtin()
                    described += known
                    unknown.update([] if known else [finding.maker or finding.key])
    numbers = described + sum(unknown.values())
    print(f"{tests} tests, {numbers} numbers, {described} described: {100 * described / max(numbers, 1):.1f} %")
    for key, count in unknown.most_common():
        print(f"{count}\t{key}")


if __name__ == "__main__":
    main()
