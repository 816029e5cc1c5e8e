"""Reading the quarantine, on SQLite and on PostgreSQL."""

from __future__ import annotations

import pytest

from techport_pilots.books import Books, SetAside
from techport_pilots.quarantine import Count, Quarantine, Where
from techport_pilots.registry import Registry

DAY = 86_400_000_000


@pytest.fixture
def quarantine(registry: Registry, books: Books) -> Quarantine:
    """Ten entries: two devices of pilot a, one of pilot b; two reasons; five days."""
    entries = [
        SetAside(
            pilot="b" if n >= 8 else "a",
            device="even" if n % 2 == 0 else "odd",
            topic=f"t/{n}",
            payload=b"x",
            received=(20_000 + n // 2) * DAY,
            reason="not-json" if n % 3 else "bad-time",
            detail="",
            hint="",
            values=n + 1,
        )
        for n in range(10)
    ]
    books.close_batch("w", {}, entries)
    return Quarantine(registry.engine)


def topics(quarantine: Quarantine, where: Where) -> list[str]:
    return [entry.topic for entry in quarantine.entries(where).items]


def test_the_newest_come_first(quarantine: Quarantine) -> None:
    assert topics(quarantine, Where()) == [f"t/{n}" for n in range(9, -1, -1)]


def test_entries_are_found_by_what_is_known_about_them(quarantine: Quarantine) -> None:
    assert topics(quarantine, Where(pilot="b")) == ["t/9", "t/8"]
    assert topics(quarantine, Where(pilot="a", device="odd")) == ["t/7", "t/5", "t/3", "t/1"]
    assert topics(quarantine, Where(reason="bad-time")) == ["t/9", "t/6", "t/3", "t/0"]
    assert topics(quarantine, Where(start=20_001 * DAY, end=20_002 * DAY)) == ["t/3", "t/2"]
    assert topics(quarantine, Where(pilot="nobody")) == []


def test_pages_follow_each_other_without_gap_or_overlap_though_entries_come_and_go(
    quarantine: Quarantine, books: Books
) -> None:
    first = quarantine.entries(limit=4)
    quarantine.remove([first.items[0].id, first.items[-1].id])
    books.close_batch(
        "w",
        {},
        [SetAside(pilot="a", device="d", topic="late", payload=b"", received=0, reason="r", detail="", hint="")],
    )
    second = quarantine.entries(limit=4, after=first.next)
    third = quarantine.entries(limit=4, after=second.next)

    assert [e.topic for page in (first, second, third) for e in page.items] == [f"t/{n}" for n in range(9, -1, -1)]
    assert third.next is None
    assert quarantine.entries(limit=9).next is None


def test_counts_say_where_to_look(quarantine: Quarantine) -> None:
    counts = quarantine.counts(Where(pilot="a", device="even"))

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
