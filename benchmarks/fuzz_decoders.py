"""Looks for bytes that make a binary decoder do anything but raise BadMessage or give sound findings.

    uv run --group fuzz python benchmarks/fuzz_decoders.py senml-cbor --seconds 300

Coverage-guided (atheris); the corpus grows in --corpus (default .fuzz/<format>, not in the repository) and starts
with the committed cases. Ends with an error and a file crash-... that holds the bytes when a decoder breaks its
contract.
"""

from __future__ import annotations

import argparse
import sys
from math import isfinite
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["techport_ingest"]):
    from techport_ingest.decoders import Decoder, make_decoders
    from techport_ingest.message import BadMessage, Message, Observed

CASES = Path(__file__).resolve().parent.parent / "tests/ingest/decoders"
TOPICS = {
    "senml-cbor": "pilots/air/lamp-7/readings",
    "cayenne-lpp": "pilots/air/lamp-7/lpp",
    "sparkplug-b": "spBv1.0/group/DBIRTH/edge/pump",
    "line-protocol": "telegraf/roof",
}


def seeds(form: str, corpus: Path) -> None:
    """Put the payloads of the committed cases into the corpus."""
    corpus.mkdir(parents=True, exist_ok=True)
    for case in (CASES / form).iterdir():
        binary = case / "message.hex"
        payload = bytes.fromhex(binary.read_text()) if binary.exists() else (case / "message").read_bytes()
        (corpus / f"case-{case.name}").write_bytes(payload)


def check(decode: Decoder, topic: str, payload: bytes) -> None:
    try:
        found = decode(Message(topic, payload, received=1_777_897_900_000_000, id=1), "lamp-7")
    except BadMessage:
        return
    for one in found:
        if isinstance(one, Observed) and type(one.value) is float and not isfinite(one.value):
            raise RuntimeError(f"{one.key} is {one.value}")
        if isinstance(one, Observed) and type(one.value) not in (int, float, str):
            raise RuntimeError(f"{one.key} is a {type(one.value)}")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("format", choices=sorted(TOPICS))
    arguments.add_argument("--seconds", type=int, default=300)
    arguments.add_argument("--corpus", type=Path)
    chosen = arguments.parse_args()
    corpus = chosen.corpus or Path(".fuzz") / chosen.format
    seeds(chosen.format, corpus)
    decode, topic = make_decoders()[chosen.format], TOPICS[chosen.format]
    limits = [f"-max_total_time={chosen.seconds}", "-timeout=5", "-rss_limit_mb=1024", "-max_len=4096"]
    atheris.Setup([sys.argv[0], *limits, str(corpus)], lambda payload: check(decode, topic, payload))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
