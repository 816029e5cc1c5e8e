"""Looks for messages that make a decoder do anything but raise RejectedMessage or give sound findings.

    uv run --group fuzz python -m benchmarks.fuzz_decoders sparkplug-b --seconds 300
    uv run --group fuzz python -m benchmarks.fuzz_decoders --seconds 300      # all, one after the other, and a table

Coverage-guided (atheris). What is fuzzed is a short conversation, topics and payloads, because some decoders remember;
it begins with the committed cases and their own earlier messages. Where a payload is JSON, two changes in three are
made to the document (a value, a key, an element), so that most of them get past the parser. The corpus is kept in
--corpus (default .fuzz/<format>, not in the repository). A broken contract ends the run with an error and a file
crash-..., which `--replay FILE` runs alone.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import subprocess
import sys
from math import isfinite
from pathlib import Path
from typing import Any

import atheris

with atheris.instrument_imports(include=["techport_ingest"]):
    from techport_ingest.decoding.decoder import make_decoder, make_decoders
    from techport_ingest.message import DeviceEvent, Found, Ignored, Message, Observed, RejectedMessage

CASES = Path(__file__).resolve().parent.parent / "tests/ingest/decoders"
BETWEEN = b"\n\x1e\n"  # the messages of a conversation; a topic ends at the first line feed
ODD: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 2**31, 2**53 + 1, 2**63, -(2**64), 10**400, 0.1, -0.0, 1e308, 5e-324),
    *("", "0", "-", "1e999", "nan", "Infinity", "1,5", "a" * 300, "\u0000", "\ud800", "🜨", "../..", "__proto__"),
    *("2026-05-04T12:00:00Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999999+14:00", "2026-13-45", 1777897898),
    *([], {}, [[]], [None], {"": {}}, {"value": 1, "unit": "W"}, {"a": {"a": {"a": {"a": 1}}}}),
)


def messages_of(case: Path) -> bytes:
    """A committed case as a conversation."""
    parts = []
    for folder in (*sorted((case / "before").glob("*")), case):
        binary = folder / "message.hex"
        payload = bytes.fromhex(binary.read_text()) if binary.exists() else (folder / "message").read_bytes()
        parts.append((folder / "topic").read_bytes().strip() + b"\n" + payload)
    return BETWEEN.join(parts)


def check(form: str, conversation: bytes) -> None:
    """Raises what breaks the contract. Decoders start fresh: the same bytes always do the same."""
    decode = make_decoder(form)
    for number, part in enumerate(conversation.split(BETWEEN)[:8]):
        topic, _, payload = part.partition(b"\n")
        message = Message(topic.decode(errors="replace"), payload, received=1_777_897_900_000_000, id=number)
        try:
            found = decode(message, "lamp-7")
        except RejectedMessage as problem:
            if not (problem.reason and problem.detail and problem.hint and len(str(problem)) < 2_000):
                raise RuntimeError(f"says too little or too much: {problem!r}") from problem
            continue
        if not found and form != "native":
            raise RuntimeError("nothing was found, and nobody would know of the message")
        for one in found:
            check_finding(one)
        if list(decode(message, "lamp-7")) != list(found):
            raise RuntimeError("decoded anew, it is something else")


def check_finding(one: Found) -> None:
    sound = type(one.device) is str
    if isinstance(one, Observed):
        whole = type(one.value) is not float or isfinite(one.value)
        sound = sound and type(one.key) is str and whole
    elif isinstance(one, DeviceEvent):
        sound = sound and bool(one.kind) and len(one.text) <= 500
    elif isinstance(one, Ignored):
        sound = sound and bool(one.rule) and type(one.key) is str
    if not isinstance(one, Ignored) and one.time is not None:
        sound = sound and type(one.time) is int and abs(one.time) < 2**63
    if not sound:
        raise RuntimeError(f"not sound: {one!r:.300}")


def mutate(data: bytes, most: int, seed: int) -> bytes:
    """libFuzzer's own changes to the bytes, or a change to one of the JSON documents in them."""
    chance = random.Random(seed)
    parts = data.split(BETWEEN)
    at = chance.randrange(len(parts))
    topic, _, payload = parts[at].partition(b"\n")
    if chance.random() < 2 / 3:
        try:
            parts[at] = topic + b"\n" + json.dumps(changed(json.loads(payload), chance)).encode()
            return BETWEEN.join(parts)[:most]
        except (ValueError, RecursionError):
            pass  # no JSON
    return bytes(atheris.Mutate(data, most))


def changed(document: Any, chance: random.Random) -> Any:
    """The document with one of its places changed."""
    place = document
    while isinstance(place, dict | list) and place:
        keys: list[Any] = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = chance.choice(keys)
        if not isinstance(place[key], dict | list) or not place[key] or chance.random() < 0.3:
            alter(place, key, chance)
            return document
        place = place[key]
    return chance.choice(ODD)


def alter(place: Any, key: Any, chance: random.Random) -> None:
    action = chance.random()
    if action < 0.6:
        place[key] = chance.choice(ODD)
    elif action < 0.75:
        del place[key]
    elif isinstance(place, list):
        place.insert(key, place[chance.randrange(len(place))])
    elif action < 0.9:
        place[chance.choice(("", "time", "value", "x" * 90, "ø"))] = place[key]
    else:
        place[key] = [place[key]] * chance.choice((2, 50))


def fuzz(form: str, seconds: int, corpus: Path) -> None:
    corpus.mkdir(parents=True, exist_ok=True)
    for case in sorted((CASES / form).iterdir()):
        if (case / "topic").exists():
            (corpus / f"case-{case.name}").write_bytes(messages_of(case))
    limits = [
        f"-max_total_time={seconds}",
        "-timeout=20",
        "-rss_limit_mb=1024",
        "-max_len=4096",
        "-print_final_stats=1",
    ]
    atheris.Setup(
        [sys.argv[0], *limits, f"-artifact_prefix={corpus.parent}/crash-{form}-", str(corpus)],
        lambda data: check(form, data),
        custom_mutator=mutate,
    )
    atheris.Fuzz()


def campaign(formats: list[str], seconds: int, folder: Path) -> None:
    """Each format in a process of its own; prints a table."""
    print("| format | messages | s | CPU s | edges | found |\n|---|---:|---:|---:|---:|---|", flush=True)
    for form in formats:
        log = folder / f"{form}.log"
        folder.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as out:
            command = [
                sys.executable,
                "-m",
                "benchmarks.fuzz_decoders",
                form,
                "--seconds",
                str(seconds),
                "--corpus",
                str(folder / form),
            ]
            child = subprocess.Popen(command, stdout=out, stderr=out)
            _, status, usage = os.wait4(child.pid, 0)
        said = log.read_text(errors="replace")
        runs = re.findall(r"(?:Done (\d+) runs|number_of_executed_units: (\d+))", said)
        edges = re.findall(r"cov: (\d+)", said)
        took = re.findall(r"runs in (\d+) second", said)
        outcome = "nothing" if status == 0 else f"see {log}"
        count = "".join(runs[-1]) if runs else "?"
        print(
            f"| {form} | {count} | {took[-1] if took else '?'} | {usage.ru_utime + usage.ru_stime:.0f} "
            f"| {edges[-1] if edges else '?'} | {outcome} |",
            flush=True,
        )


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("formats", nargs="*", help="default: all")
    arguments.add_argument("--seconds", type=int, default=300, help="for each format")
    arguments.add_argument("--corpus", type=Path, help="folder of the corpus; for several formats, of all of them")
    arguments.add_argument("--replay", type=Path, help="run this one file of the format and end")
    chosen = arguments.parse_args()
    known = sorted(make_decoders())
    if unknown := set(chosen.formats) - set(known):
        arguments.error(f"there is no format {', '.join(unknown)}; there are {', '.join(known)}")
    if len(chosen.formats) != 1:
        campaign(chosen.formats or known, chosen.seconds, chosen.corpus or Path(".fuzz"))
    elif chosen.replay:
        check(chosen.formats[0], chosen.replay.read_bytes())
    else:
        fuzz(chosen.formats[0], chosen.seconds, chosen.corpus or Path(".fuzz") / chosen.formats[0])


if __name__ == "__main__":
    main()
