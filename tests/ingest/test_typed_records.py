"""What is read as typed records gives the same rows, rejections and sums as message by message."""

from __future__ import annotations

import random
from collections.abc import Sequence

import msgspec
import pytest

from techport_ingest.after.booking import BatchAccounting
from techport_ingest.checking.budget import DeviceLimits, HourlyBudgets
from techport_ingest.decoding.decoder import make_decoder
from techport_ingest.decoding.reader import Reader
from techport_ingest.decoding.typed_records import TypedRecords
from techport_ingest.message import Message
from techport_pilots.definition.load import parse_definition
from techport_pilots.registry.view import IngestView
from techport_storage.model import Receipt, Stream

pytestmark = pytest.mark.fast

HOUR = 3_600_000_000
NOW = 1_796_000_000_000_000 // HOUR * HOUR + HOUR // 2
PILOT = parse_definition(
    """
id: kai
title: Kai
question: Kai?
quantities:
  - {name: door, kind: state, unit: "1", title: {en: Door}, states: [{en: closed}, {en: open}]}
devices:
  - {id: a, streams: [{quantity: air_temperature, interval: PT1M}, {quantity: relative_humidity}]}
  - {id: b, aliases: [Bee], streams: [{quantity: air_temperature, range: [-5, 5]}]}
  - {id: c}
""",
    file="kai.yaml",
)
SEEN = [Stream("kai", device, quantity) for device in "abc" for quantity in ("pm25", "odd", "air_temperature", "door")]
VIEW = IngestView.of(1, [PILOT], SEEN)

VALUES = (
    *("21.5", "7", "-3", "0", "-0", "-0.0", "1e3", "99", "-999", "9007199254740993", "18446744073709551616"),
    *("1e400", "null", "true", '"open"', '"12"', '"12 °C"', "[1]", '{"lat": 63.4, "lon": 10.4}', "NaN", "1767225600"),
)
TIMES = (
    *(str(NOW // 1_000_000), str(NOW // 1_000), str(NOW), str(NOW * 1_000), f"{NOW / 1e6}", str(NOW // 10**6 + 301)),
    *('"2026-11-29T20:00:00Z"', '"2026-11-29T20:00:00.25+01:00"', '"2026-11-29T20:00:00"', '"20:00"', '"1795998600"'),
    *("0", "20261129200000", "-1", "1e30", "null", '""', "true", "99999999999999999999999", "[]"),
)
KEYS = ("air_temperature", "relative_humidity", "pm25", "odd", "door", "new", "ts", "a\\u0069r", "T", "")


def message(number: int, topic: str, payload: str, redelivered: bool = False, retained: bool = False) -> Message:
    return Message(topic, payload.encode(), NOW + number, number, redelivered, retained)


LIMITS = DeviceLimits(hourly_values=400, hourly_bytes=20_000)


def outcome(reader: Reader, messages: Sequence[Message], budgets: HourlyBudgets) -> object:
    columns = reader.read(messages, VIEW, budgets)
    accounting = BatchAccounting(columns, budgets)
    rows = []
    for row, reading in enumerate(accounting.batch):
        rows.append((reading, repr(reading.value), row in set(columns.untimed)))
    starts = [0, *columns.row_ends]
    of_message = [sorted(map(repr, rows[start:end])) for start, end in zip(starts, columns.row_ends, strict=False)]
    tallies, quarantined = accounting.close(Receipt(len(accounting.batch)))
    return (
        of_message,
        [message.id for message in columns.messages],
        {day: msgspec.structs.astuple(tally) for day, tally in tallies.items()},
        quarantined,
        columns.ignored,
        columns.undescribed,
        columns.stated_units,
        list(columns.claims),
        columns.names_unknown,
        budgets.to_share(),
    )


def random_payload(dice: random.Random, usual: bool) -> str:
    keys = dice.sample(KEYS[:3], dice.randint(1, 3)) if usual else dice.choices(KEYS, k=dice.randint(0, 4))
    parts = [f'"{key}": {dice.choice(VALUES[: 4 if usual else None])}' for key in keys]
    if dice.random() < 0.8:
        time = dice.choice(TIMES[:6] if usual else TIMES)
        parts.insert(dice.randint(0, len(parts)), f'"time": {time}')
    text = "{" + ", ".join(parts) + "}"
    broken = dice.random() if not usual else 1.0
    if broken < 0.05:
        return f"[{text}, {text}]"
    return text[:-1] if broken < 0.1 else text


@pytest.mark.parametrize(("seed", "size"), [*((seed, 60) for seed in range(40)), (40, 1_500), (41, 1_500)])
def test_both_ways_give_the_same(seed: int, size: int) -> None:
    dice = random.Random(seed)
    topics = [f"pilots/kai/{device}/readings" for device in ("a", "b", "Bee", "c", "unknown")]
    typed, plain = Reader(), Reader({"native": make_decoder("native")})
    typed.use(VIEW)
    plain.use(VIEW)
    of_typed, of_plain = HourlyBudgets(), HourlyBudgets()
    for batch in range(4):
        messages = [
            message(
                batch * size + number,
                dice.choice(topics),
                random_payload(dice, usual=dice.random() < 0.8),
                retained=dice.random() < 0.05,
                redelivered=dice.random() < 0.05,
            )
            for number in range(size)
        ]
        assert outcome(typed, messages, of_typed) == outcome(plain, messages, of_plain), f"seed {seed}"
        of_typed.begin()
        of_plain.begin()


def test_an_hour_that_ends_within_a_batch_begins_budgets_anew() -> None:
    typed, plain = Reader(None, LIMITS), Reader({"native": make_decoder("native")}, LIMITS)
    typed.use(VIEW)
    plain.use(VIEW)
    of_typed, of_plain = HourlyBudgets(LIMITS), HourlyBudgets(LIMITS)
    text = '{"time": 1795998600, "pm25": 1}'
    for first in (0, HOUR // 2 - 250):
        messages = [message(first + number, "pilots/kai/a/readings", text) for number in range(450)]
        assert outcome(typed, messages, of_typed) == outcome(plain, messages, of_plain)


def read_typed(reader: TypedRecords, whole: Reader, messages: Sequence[Message]) -> list[int]:
    """The numbers of the messages that were left to the general way."""
    return list(reader.read(messages, range(len(messages)), whole.read([], VIEW), None))


def test_usual_messages_are_read_as_records() -> None:
    """Or the tests above would compare the general way with itself."""
    reader = Reader()
    reader.use(VIEW)
    usual = '{"time": 1795998600, "air_temperature": 21.5, "relative_humidity": 40}'
    texts = [usual, '{"air_temperature": 20, "time": 1795998660}', '{"time": 1795998600, "air_temperature": true}']
    texts += [
        '{"time": 1795998600, "pm25": 3}',
        '{"time": 1795998600, "pm25": 3, "pm25": 3}',
        usual.replace("21.5", "99e9"),
    ]
    messages = [message(number, "pilots/kai/a/readings", text) for number, text in enumerate(texts)]
    reader.read(messages[:1], VIEW)
    records = reader._typed_records
    assert records is not None
    assert read_typed(records, reader, messages) == [2, 3, 4, 5]
    reader.read(messages[3:4], VIEW)  # one key more from now on
    assert read_typed(records, reader, messages) == [2, 4, 5]
    assert read_typed(records, reader, [message(1, "pilots/kai/b/readings", usual)]) == [0], "another topic"
    newer = IngestView.of(2, [PILOT], SEEN)
    reader.read([], newer)
    assert read_typed(records, reader, messages) == [0, 1, 2, 3, 4, 5], "other definitions"
