"""Reading the quarantine, on SQLite and on PostgreSQL."""

from __future__ import annotations

import pytest

from techport_pilots.accounting.ledger import Ledger, QuarantineEntry
from techport_pilots.accounting.quarantine import Count, Quarantine, QuarantineFilter
from techport_pilots.accounting.rejection import Rejection
from techport_pilots.registry.registry import Registry
from techport_storage.microseconds import DAY


@pytest.fixture
def quarantine(registry: Registry, ledger: Ledger) -> Quarantine:
    """Ten entries: two devices of pilot a, one of pilot b; two reasons; five days."""
    entries = [
        QuarantineEntry(
            pilot="b" if n >= 8 else "a",
            device="even" if n % 2 == 0 else "odd",
            topic=f"t/{n}",
            payload=b"x",
            received=(20_000 + n // 2) * DAY,
            rejection=Rejection("not-json" if n % 3 else "bad-time"),
            values=n + 1,
        )
        for n in range(10)
    ]
    ledger.close_batch("w", {}, entries)
    return Quarantine(registry.database)


def topics(quarantine: Quarantine, where: QuarantineFilter) -> list[str]:
    return [entry.topic for entry in quarantine.entries(where).items]


def test_the_newest_come_first(quarantine: Quarantine) -> None:
    assert topics(quarantine, QuarantineFilter()) == [f"t/{n}" for n in range(9, -1, -1)]


def test_entries_are_found_by_what_is_known_about_them(quarantine: Quarantine) -> None:
    assert topics(quarantine, QuarantineFilter(pilot="b")) == ["t/9", "t/8"]
    assert topics(quarantine, QuarantineFilter(pilot="a", device="odd")) == ["t/7", "t/5", "t/3", "t/1"]
    assert topics(quarantine, QuarantineFilter(reason="bad-time")) == ["t/9", "t/6", "t/3", "t/0"]
    assert topics(quarantine, QuarantineFilter(start=20_001 * DAY, end=20_002 * DAY)) == ["t/3", "t/2"]
    assert topics(quarantine, QuarantineFilter(pilot="nobody")) == []


def test_pages_follow_each_other_without_gap_or_overlap_though_entries_come_and_go(
    quarantine: Quarantine, ledger: Ledger
) -> None:
    first = quarantine.entries(limit=4)
    quarantine.remove([first.items[0].id, first.items[-1].id])
    ledger.close_batch(
        "w",
        {},
        [
            QuarantineEntry(
                pilot="a",
                device="d",
                topic="late",
                payload=b"",
                received=0,
                rejection=Rejection("r"),
            )
        ],
    )
    second = quarantine.entries(limit=4, after=first.next)
    third = quarantine.entries(limit=4, after=second.next)

    assert [e.topic for page in (first, second, third) for e in page.items] == [f"t/{n}" for n in range(9, -1, -1)]
    assert third.next is None
    assert quarantine.entries(limit=9).next is None


def test_counts_say_where_to_look(quarantine: Quarantine) -> None:
    counts = quarantine.counts(QuarantineFilter(pilot="a", device="even"))

    assert counts == [
        Count("a", "even", "bad-time", 20_000, 1, 1),
        Count("a", "even", "bad-time", 20_003, 1, 7),
        Count("a", "even", "not-json", 20_001, 1, 3),
        Count("a", "even", "not-json", 20_002, 1, 5),
    ]
    assert sum(count.values for count in quarantine.counts()) == sum(range(1, 11))


def test_an_entry_is_gone_when_it_was_removed(quarantine: Quarantine) -> None:
    entry = quarantine.entries().items[3]
    assert quarantine.get(entry.id) == entry
    assert quarantine.remove([entry.id, entry.id, 10_000]) == 1
    assert quarantine.get(entry.id) is None
    assert len(quarantine.entries().items) == 9


def test_groups_hold_what_needs_the_same_fix(quarantine: Quarantine, ledger: Ledger) -> None:
    about = {"pilot": "a", "device": "odd", "rejection": Rejection("not-json"), "payload": b""}
    ledger.close_batch("w", {}, [QuarantineEntry(**about, topic="t/10", received=20_009 * DAY, field="pm10", values=3)])
    groups = quarantine.groups(QuarantineFilter(pilot="a"))
    assert [(g.device, g.reason, g.field, g.entries, g.values, g.newest.topic) for g in groups] == [
        ("odd", "not-json", "pm10", 1, 3, "t/10"),
        ("odd", "not-json", None, 3, 6 + 8 + 2, "t/7"),
        ("even", "bad-time", None, 2, 7 + 1, "t/6"),
        ("even", "not-json", None, 2, 5 + 3, "t/4"),
        ("odd", "bad-time", None, 1, 4, "t/3"),
    ]
    assert groups[1].first == 20_000 * DAY
    assert topics(quarantine, QuarantineFilter(pilot="a", device="odd", reason="not-json", field="")) == [
        "t/7",
        "t/5",
        "t/1",
    ]
    assert topics(quarantine, QuarantineFilter(field="pm10")) == ["t/10"]
    assert topics(quarantine, QuarantineFilter(day=20_001)) == ["t/3", "t/2"]


def test_what_is_discarded_is_gone_and_nothing_else(quarantine: Quarantine) -> None:
    assert quarantine.count(QuarantineFilter(pilot="a", device="odd")) == 4
    assert quarantine.discard(QuarantineFilter(pilot="a", device="odd")) == 4
    assert topics(quarantine, QuarantineFilter()) == ["t/9", "t/8", "t/6", "t/4", "t/2", "t/0"]
    assert quarantine.discard(QuarantineFilter(ids=(999,))) == 0


def test_a_replay_knows_how_much_of_it_waits(quarantine: Quarantine) -> None:
    first = quarantine.request_replay(QuarantineFilter(pilot="b"), "somebody")
    second = quarantine.request_replay(QuarantineFilter(pilot="a", device="odd"), "somebody")
    assert second.id > first.id
    assert (first.entries, first.waiting) == (2, 2)
    assert [entry.topic for entry in quarantine.take_replays("w")] == ["t/8", "t/9"], "one request at a time"
    quarantine.discard(QuarantineFilter(pilot="b", device="odd"))
    now = quarantine.outcome(first.id)
    assert now is not None
    assert (now.entries, now.waiting, now.done) == (2, 1, False)
    assert quarantine.outcome(7) is None
