"""Tells the sender of a message with its acknowledgement what went to quarantine, where the source can.

    stored, or ignored by a rule        success
    stored in part                      success, and what was wrong with the rest
    all of it in quarantine             0x99 payload format invalid
    of another device                   0x87 not authorized
    beyond the device's hourly budget   0x97 quota exceeded

A device does not send a message again that it got such a code for (MQTT 5.0, section 4.4), and need not: it is kept.
"""

from __future__ import annotations

from techport_ingest.after.follow_ups import CommittedBatch
from techport_ingest.checking.budget import RULE as OVER_BUDGET
from techport_ingest.checking.check import RejectedPart
from techport_ingest.source import Answer, AnswersSenders

SUCCESS = 0x00
NOT_AUTHORIZED = 0x87
QUOTA_EXCEEDED = 0x97
PAYLOAD_FORMAT_INVALID = 0x99
"""Reason codes of PUBACK (MQTT 5.0, section 3.4.2.1)."""

_CODES = {OVER_BUDGET: QUOTA_EXCEEDED, "other-device": NOT_AUTHORIZED}
_LONGEST = 1_000  # characters of a reason
_UNCOUNTED = "This device has sent too much within one hour: the message was not kept."


class AnswerSenders:
    """A follow-up of commits."""

    def __init__(self, source: AnswersSenders) -> None:
        self._source = source

    def committed(self, batch: CommittedBatch) -> None:
        if batch.reprocessed:
            return
        for number, answer in answers(batch, self._source).items():
            self._source.tell(number, answer)

    def refresh(self) -> None:
        pass


def answers(batch: CommittedBatch, source: AnswersSenders) -> dict[int, Answer]:
    """What to say to whom, by message, of those that the source can tell anything."""
    rejected: dict[int, list[RejectedPart]] = {}
    for part in batch.accounting.rejected:
        if part.message.id in rejected or source.can_tell(part.message.id):
            rejected.setdefault(part.message.id, []).append(part)
    uncounted = {
        passed.message.id
        for passed in batch.accounting.columns.ignored
        if passed.rule == OVER_BUDGET and source.can_tell(passed.message.id)
    }
    if not rejected and not uncounted:
        return {}
    stored = _stored(batch)
    told = dict.fromkeys(uncounted - stored, Answer(QUOTA_EXCEEDED, _UNCOUNTED))
    for number, parts in rejected.items():
        first = parts[0].rejection.kept()
        others = f" ({len(parts) - 1} more)" if len(parts) > 1 else ""
        text = f"{first.detail()} {first.hint()}{others}"[:_LONGEST]
        code = SUCCESS if number in stored else _CODES.get(first.reason, PAYLOAD_FORMAT_INVALID)
        told[number] = Answer(code, text)
    return told


def _stored(batch: CommittedBatch) -> set[int]:
    """The messages of which at least one value is in the store."""
    columns = batch.accounting.columns
    rows_rejected = {row for row, _ in batch.receipt.rejected}
    stored: set[int] = set()
    begin = 0
    for message, end in zip(columns.messages, columns.row_ends, strict=True):
        if end > begin and not rows_rejected.issuperset(range(begin, end)):
            stored.add(message.id)
        begin = end
    return stored
