"""What became of the messages of the devices that somebody watches."""

from __future__ import annotations

from collections.abc import Collection

from techport_ingest.after.booking import BatchAccounting
from techport_ingest.checking.check import Columns
from techport_ingest.message import Message
from techport_pilots.accounting.message_tap import Outcome, TappedMessage, Value
from techport_pilots.accounting.rejection import Rejected
from techport_pilots.registry.lifecycle import NOT_COLLECTED
from techport_storage.model import Micros, Receipt

Key = tuple[int, str, str]  # (id of the message object, pilot, device)


def tapped_messages(
    account: BatchAccounting, receipt: Receipt, devices: Collection[tuple[str, str]], worker: str, committed: Micros
) -> list[TappedMessage]:
    """The batch's messages of these (pilot, device), each with its outcome. `receipt` is what the store said."""
    columns = account.columns
    messages: dict[Key, Message] = {}
    values: dict[Key, list[Value]] = {}
    rejected: dict[Key, list[Rejected]] = {}
    ignored: dict[Key, list[str]] = {}

    def key(message: Message, pilot: str, device: str) -> Key:
        owner = (id(message), pilot, device)
        messages.setdefault(owner, message)
        return owner

    for message, pilot, device, value in _values(columns, account, receipt):
        if (pilot, device) in devices:
            values.setdefault(key(message, pilot, device), []).append(value)
    for part in columns.rejected:
        if (part.pilot, part.device) in devices:
            parts = rejected.setdefault(key(part.message, part.pilot, part.device), [])
            parts.append(Rejected(part.rejection, part.field, part.values))
    for passed in columns.ignored:
        if (passed.pilot, passed.device) in devices and passed.rule != NOT_COLLECTED:
            ignored.setdefault(key(passed.message, passed.pilot, passed.device), []).append(passed.rule)
    return [
        TappedMessage(
            pilot=key_of_message[1],
            device=key_of_message[2],
            topic=message.topic,
            payload=message.payload,
            received=message.received,
            worker=worker,
            committed=committed,
            outcome=Outcome(
                values.get(key_of_message, []), rejected.get(key_of_message, []), ignored.get(key_of_message, [])
            ),
        )
        for key_of_message, message in messages.items()
    ]


def _values(columns: Columns, account: BatchAccounting, receipt: Receipt) -> list[tuple[Message, str, str, Value]]:
    """(message, pilot, device, value) of each row of the batch."""
    batch = account.batch
    outcomes = dict.fromkeys(receipt.duplicate_rows.tolist(), "duplicate")
    outcomes |= dict.fromkeys(receipt.correction_rows.tolist(), "correction")
    values: list[tuple[Message, str, str, Value]] = []
    start = 0
    for message, end in zip(columns.messages, columns.row_ends, strict=True):
        for row in range(start, end):
            pilot, device, quantity = batch.streams[batch.stream[row]]
            outcome = outcomes.get(row, "stored")
            value = Value(quantity, int(batch.time[row]), float(batch.value[row]), outcome, int(batch.quality[row]))
            values.append((message, pilot, device, value))
        start = end
    return values
