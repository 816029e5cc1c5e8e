"""What a decoder costs: CPU microseconds a message, for one typical message of each format.

    python -m benchmarks.decoders [--seconds 0.5]

The messages are cases of tests/ingest/decoders, so what is timed is what is tested. CPU time of this process, best of
five rounds: another load on the machine lengthens a round, never shortens it. Figures of a run are in DECODERS.md.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import msgspec
import yaml

from benchmarks.processes import cpu_seconds
from techport_ingest.checking.units import Units
from techport_ingest.decoding.decoder import Decoder, make_decoders
from techport_ingest.decoding.formats.tts_v3.decoder import TheThingsStack
from techport_ingest.decoding.javascript import JavaScriptCodec
from techport_ingest.decoding.lorawan import Codecs
from techport_ingest.message import Message, Observed

CASES = Path(__file__).resolve().parent.parent / "tests/ingest/decoders"
TYPICAL = {
    "tts-v3": "decoded",
    "chirpstack-v4": "up",
    "cayenne-lpp": "energy",
    "senml": "base_values_carry_over",
    "senml-cbor": "labels_are_numbers",
    "tasmota": "local_time_and_pressure_in_hpa",
    "zigbee2mqtt": "weather",
    "shelly-gen2": "switch",
    "sparkplug-b": "data_by_alias",
    "line-protocol": "one_line",
    "homie": "version_5",
    "sensor-community": "particles_and_weather",
    "ruuvi-gateway": "measured",
    "sensorthings": "datastream_in_the_topic",
    "ultralight": "groups_with_times",
    "csv": "wide",
}
FIVE_VALUES = (
    b'{"time":"2026-05-04T12:30:00Z","pm10":21.5,"pm25":7.25,"no2":31.5,"air_temperature":9.5,"relative_humidity":61.0}'
)


def read(folder: Path) -> Message:
    binary = folder / "message.hex"
    payload = bytes.fromhex(binary.read_text()) if binary.exists() else (folder / "message").read_bytes()
    return Message((folder / "topic").read_text().strip(), payload, received=1_777_897_900_000_000, id=1)


def heard_by_many(message: Message) -> Message:
    """The same uplink as a dense network delivers it: some 3 kB, most of it about gateways."""
    document = json.loads(message.payload)
    document["uplink_message"]["rx_metadata"] = [
        {
            "gateway_ids": {"gateway_id": f"gateway-{i}", "eui": f"9C5C8E00001A05{i:02X}"},
            "time": "2026-05-04T12:31:38.787Z",
            "timestamp": 2463457000 + i,
            "rssi": -90 - i,
            "channel_rssi": -90 - i,
            "snr": 5.25,
            "location": {"latitude": 63.41, "longitude": 10.4, "altitude": 40, "source": "SOURCE_REGISTRY"},
            "uplink_token": "ChIKEAoEZ3R3MRIInFyOAAAaBcQQ6L3Vlgk=",
        }
        for i in range(8)
    ]
    return msgspec.structs.replace(message, payload=json.dumps(document).encode())


def cost(decode: Decoder, message: Message, seconds: float) -> float:
    """CPU microseconds of one call."""
    calls, best = 1, float("inf")
    while (spent := timed(decode, message, calls)) < seconds / 20:
        calls = max(2 * calls, int(calls * seconds / 10 / max(spent, 1e-6)))
    for _ in range(5):
        best = min(best, timed(decode, message, calls) / calls)
    return best * 1e6


def timed(decode: Decoder, message: Message, calls: int) -> float:
    start = time.process_time()
    for _ in range(calls):
        decode(message, "device")
    return time.process_time() - start


def spent_with(codec: JavaScriptCodec) -> float:
    """CPU seconds of this process and of the codec's."""
    return time.process_time() + cpu_seconds(codec.pid)


def cost_with_codec(decode: TheThingsStack, codec: JavaScriptCodec, message: Message, at_once: int) -> float:
    """CPU microseconds of one message, both processes, when so many come at once."""
    decode(message, "device")  # starts the process
    best = float("inf")
    for _ in range(5):
        start = spent_with(codec)
        for _ in range(5120 // at_once):
            if at_once > 1:
                codec.prepare([radio[:3] for _ in range(at_once) if (radio := decode.radio(message)) is not None])
            for _ in range(at_once):
                decode(message, "device")
            codec.forget()
        best = min(best, (spent_with(codec) - start) / (5120 // at_once * at_once))
    return best * 1e6


def row(name: str, decode: Decoder, message: Message, seconds: float) -> None:
    values = sum(isinstance(one, Observed) for one in decode(message, "device"))
    print(f"| {name} | {len(message.payload)} | {values} | {cost(decode, message, seconds):.1f} |")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--seconds", type=float, default=0.5, help="CPU time of one round")
    seconds = arguments.parse_args().seconds
    decoders = make_decoders()
    print("| format | bytes | values | CPU µs a message |\n|---|---:|---:|---:|")
    row("native", decoders["native"], Message("x", FIVE_VALUES, 1_777_897_900_000_000, 1), seconds)
    for form, name in TYPICAL.items():
        for earlier in sorted((CASES / form / name / "before").glob("*")):
            decoders[form](read(earlier), "device")
        row(form, decoders[form], read(CASES / form / name), seconds)
    row("tts-v3, eight gateways", decoders["tts-v3"], heard_by_many(read(CASES / "tts-v3/decoded")), seconds)
    script = CASES / "tts-v3/codec_javascript"
    codec = JavaScriptCodec(yaml.safe_load((script / "source.yaml").read_text())["codec"])
    for at_once in (1, 256):
        microseconds = cost_with_codec(TheThingsStack(Codecs(codec)), codec, read(script), at_once)
        print(f"| tts-v3 with JavaScript, {at_once} at once | {len(read(script).payload)} | 1 | {microseconds:.1f} |")
    codec.close()
    units = Units()
    units.convert(68.0, "°F", "Cel")  # loads the table of units
    start, calls = time.process_time(), 200_000
    for _ in range(calls):
        units.convert(68.0, "°F", "Cel")
    converted = (time.process_time() - start) / calls * 1e6
    print(f"\nunits.convert: {converted:.2f} µs a value")


if __name__ == "__main__":
    main()
