"""What devices have sent in this hour, over all workers: the part of it that matters.

A worker counts in memory and shares what an owner has used when that is a hundredth of a budget, so that a device that
sends as it should costs the registry nothing. What one worker knows alone is less than that hundredth, also after it
was killed: a budget is exceeded by a hundredth for each worker and restart at most.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from techport_pilots.registry.database import Database, name

SHARED_PARTS = 100
"""A hundredth of a budget is shared; less stays with the worker that counted it."""

_EXPIRE = "DELETE FROM device_budgets WHERE hour < :hour"
_ADD = (
    'INSERT INTO device_budgets (pilot, device, hour, "values", bytes, entries, entry_bytes)'
    " VALUES (:pilot, :device, :hour, :values, :bytes, :entries, :entry_bytes)"
    " ON CONFLICT (pilot, device, hour) DO UPDATE SET"
    ' "values" = device_budgets."values" + excluded."values", bytes = device_budgets.bytes + excluded.bytes,'
    " entries = device_budgets.entries + excluded.entries,"
    " entry_bytes = device_budgets.entry_bytes + excluded.entry_bytes"
)
_OF_OWNER = (
    'SELECT "values", bytes, entries, entry_bytes FROM device_budgets'
    " WHERE pilot = :pilot AND device = :device AND hour = :hour"
)
_OF_HOUR = 'SELECT pilot, device, "values", bytes, entries, entry_bytes FROM device_budgets WHERE hour = :hour'


class DeviceLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What one device may send. The defaults are far beyond what a working device sends."""

    undescribed_streams: int = 200  # names that no definition describes; more are quarantined
    hourly_values: int = 5_000_000
    hourly_bytes: int = 1_000_000_000
    hourly_quarantine_entries: int = 10_000  # events count too: both are rows of the registry
    hourly_quarantine_bytes: int = 20_000_000


class Owner(NamedTuple):
    """Whose budget it is: a known device's; with device "" that of a pilot's unknown ones; ("", "") of the rest."""

    pilot: str
    device: str


class Used(NamedTuple):
    """What an owner has used in an hour: of messages, and of rows in the registry."""

    values: int = 0
    bytes: int = 0
    entries: int = 0
    entry_bytes: int = 0


class DeviceBudgets:
    """What is shared by workers. Every method may raise RegistryUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def share(self, hour: int, used: Mapping[Owner, Used]) -> dict[Owner, Used]:
        """Add what these owners have used.

        Parameters
        ----------
        hour : int
            Hours since the epoch, of arrival. Earlier ones are forgotten.
        used : mapping of Owner to Used
            Since the last time.

        Returns
        -------
        dict of Owner to Used
            What every owner that anybody shared has used in the hour, over all workers.
        """
        # In one order for everybody: two workers would otherwise wait for each other for ever.
        rows = [
            {"pilot": name(owner.pilot), "device": name(owner.device), "hour": hour, **used[owner]._asdict()}
            for owner in sorted(used)
        ]
        with self._database.writing() as transaction:
            transaction.execute(_EXPIRE, {"hour": hour})
            if rows:
                transaction.execute(_ADD, rows)
            return {
                Owner(pilot, device): Used(*sums)
                for pilot, device, *sums in transaction.execute(_OF_HOUR, {"hour": hour})
            }

    def used(self, owner: Owner, hour: int) -> Used | None:
        """What an owner has used.

        Parameters
        ----------
        owner : Owner
            Whose budget.
        hour : int
            Hours since the epoch, of arrival.

        Returns
        -------
        Used or None
            What workers have shared; up to a hundredth of a budget for each worker is missing in it. None: nobody has
            shared anything, so that it is less than that.
        """
        row = {"pilot": name(owner.pilot), "device": name(owner.device), "hour": hour}
        with self._database.reading() as transaction:
            sums = transaction.execute(_OF_OWNER, row).first()
        return None if sums is None else Used(*sums)
