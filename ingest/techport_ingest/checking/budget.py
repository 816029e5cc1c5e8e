"""How much one device may send in an hour, so that what it sends too much costs nobody else anything.

Within its budget everything is stored or goes to quarantine. Beyond it, the first message is quarantined as
`over-budget`, which tells the device and its owner, and everything else is counted as ignored by the rule
`over-budget` until the hour is over: not stored, and not recoverable. Devices that nobody knows share the budget of
one device, those of each pilot for themselves, and so do all topics of unknown pilots.

Workers share what they have counted of owners that send very much (`DeviceBudgets`), so that neither another worker nor
a restart gives a device its budget anew. Hours are hours of arrival.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

from techport_pilots.accounting.device_budgets import SHARED_PARTS, DeviceLimits, Owner, Used
from techport_pilots.accounting.rejection import Rejection
from techport_storage.microseconds import HOUR
from techport_storage.model import Micros

RULE = "over-budget"

HOURLY_UNREAD = 12
"""Whole messages that are kept of one device and rule in an hour: all of one that comes every five minutes."""

__all__ = ["RULE", "Budget", "DeviceLimits", "Exceeded", "HourlyBudgets", "Owner", "Used"]

Budget = Literal["values", "bytes", "quarantine", "quarantine-bytes"]


class Exceeded(NamedTuple):
    """A budget that is used up."""

    budget: Budget
    limit: int
    first: bool  # the first time in this hour: to be told

    def rejection(self) -> Rejection:
        if self.budget == "values":
            return Rejection("over-budget.values", {"limit": self.limit})
        if self.budget == "bytes":
            return Rejection("over-budget.bytes", {"limit": self.limit})
        if self.budget == "quarantine":
            return Rejection("over-budget.quarantine", {"limit": self.limit})
        return Rejection("over-budget.quarantine-bytes", {"limit": self.limit})


class _Spent:
    """What one owner has used in this hour, as far as this worker knows; `shared` is what others know of that."""

    __slots__ = ("bytes", "entries", "entry_bytes", "shared", "told", "unread", "values")

    def __init__(self, used: Used = Used()) -> None:  # noqa: B008 - it cannot be changed
        self.values, self.bytes, self.entries, self.entry_bytes = used
        self.shared = used
        self.told: set[Budget] = set()
        self.unread: dict[str, int] = {}  # whole messages that were kept, by rule

    @property
    def unshared(self) -> Used:
        return Used(*(now - before for now, before in zip(self.used, self.shared, strict=True)))

    @property
    def used(self) -> Used:
        return Used(self.values, self.bytes, self.entries, self.entry_bytes)

    def agree(self, total: Used) -> None:
        """Take over what all workers have used together, in which this one's part is."""
        self.values, self.bytes, self.entries, self.entry_bytes = total
        self.shared = total


class HourlyBudgets:
    """One worker's account of what each owner has sent in this hour. Not thread-safe."""

    def __init__(self, limits: DeviceLimits | None = None) -> None:
        self.limits = limits or DeviceLimits()
        self._spent: dict[Owner, _Spent] = {}
        self._hour = -1
        self._before: dict[Owner, tuple[Used, frozenset[Budget]]] = {}  # what owners had used when the batch began
        limits_of = self.limits
        whole = (
            limits_of.hourly_values,
            limits_of.hourly_bytes,
            limits_of.hourly_quarantine_entries,
            limits_of.hourly_quarantine_bytes,
        )
        self._shares = Used(*(limit // SHARED_PARTS for limit in whole))

    def to_share(self) -> tuple[int, dict[Owner, Used]]:
        """The hour, and of which owners so much was used since the last time that other workers have to know it."""
        heavy = {owner: spent.unshared for owner, spent in self._spent.items()}
        return self._hour, {
            owner: used
            for owner, used in heavy.items()
            if any(part > share for part, share in zip(used, self._shares, strict=True))
        }

    def agree(self, hour: int, totals: Mapping[Owner, Used], shared: Mapping[Owner, Used]) -> None:
        """Take over what all workers have used together; `shared` is what `to_share` gave, which is in it."""
        if hour != self._hour:
            return
        for owner, total in totals.items():
            spent = self._spent.setdefault(owner, _Spent())
            own = spent.unshared
            since = Used(*(now - then for now, then in zip(own, shared.get(owner, Used()), strict=True)))
            spent.agree(total)
            # What was used and not told yet stays known to this worker alone.
            spent.values += since.values
            spent.bytes += since.bytes
            spent.entries += since.entries
            spent.entry_bytes += since.entry_bytes

    def begin(self) -> None:
        """A batch is kept, and the next one begins."""
        self._before.clear()

    def undo(self) -> None:
        """Give back what was taken since `begin`: the batch is read once more."""
        for owner, (used, reported) in self._before.items():
            spent = self._spent[owner]
            spent.values, spent.bytes, spent.entries, spent.entry_bytes = used
            spent.told = set(reported)
        self._before.clear()

    def take(self, owner: Owner, arrived: Micros, values: int, size: int) -> Exceeded | None:
        """Take a message's values and bytes from the owner's budget; None when there was enough."""
        spent = self._of(owner, arrived)
        if spent.values + values > self.limits.hourly_values:
            return self._exceeded(spent, "values", self.limits.hourly_values)
        if spent.bytes + size > self.limits.hourly_bytes:
            return self._exceeded(spent, "bytes", self.limits.hourly_bytes)
        spent.values += values
        spent.bytes += size
        return None

    def take_all(self, owner: Owner, arrived: Micros, values: int, size: int) -> bool:
        """Take the values and bytes of several messages of one hour together, if there is room for all of them."""
        spent = self._of(owner, arrived)
        if spent.values + values > self.limits.hourly_values or spent.bytes + size > self.limits.hourly_bytes:
            return False
        spent.values += values
        spent.bytes += size
        return True

    def take_entry(self, owner: Owner, arrived: Micros, size: int, tell: bool = True) -> Exceeded | None:
        """Take one row of the registry with `size` bytes of payload; None when there was enough.

        Without `tell` the caller will not report that it was the first.
        """
        spent = self._of(owner, arrived)
        limits = self.limits
        if spent.entries >= limits.hourly_quarantine_entries:
            return self._exceeded(spent, "quarantine", limits.hourly_quarantine_entries, tell)
        if spent.entry_bytes + size > limits.hourly_quarantine_bytes:
            return self._exceeded(spent, "quarantine-bytes", limits.hourly_quarantine_bytes, tell)
        spent.entries += 1
        spent.entry_bytes += size
        return None

    def take_unread(self, owner: Owner, arrived: Micros, rule: str) -> bool:
        """Whether one more whole message that is ignored by the rule is kept in this hour.

        It is asked when a batch has been written, so `undo` has nothing to give back.
        """
        unread = self._of(owner, arrived).unread
        count = unread.get(rule, 0)
        if count >= HOURLY_UNREAD:
            return False
        unread[rule] = count + 1
        return True

    def _of(self, owner: Owner, arrived: Micros) -> _Spent:
        hour = arrived // HOUR
        if hour != self._hour:
            self._hour = hour
            self._spent.clear()
            self._before.clear()
        spent = self._spent.get(owner)
        if spent is None:
            spent = self._spent[owner] = _Spent()
        if owner not in self._before:
            self._before[owner] = spent.used, frozenset(spent.told)
        return spent

    @staticmethod
    def _exceeded(spent: _Spent, budget: Budget, limit: int, tell: bool = True) -> Exceeded:
        first = budget not in spent.told
        if tell:
            spent.told.add(budget)
        return Exceeded(budget, limit, first)
