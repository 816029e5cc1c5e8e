"""Preparing an InfluxDB server for techport: a bucket with its retention, and a token that may use that bucket only.

operator's token ─► init() ─► bucket (made, or its retention brought up to date)
                            └► token: read and write this bucket, nothing else ─► file, mode 0600
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from techport_storage.errors import StoreUnavailable
from techport_storage.influxdb.connection import Address, Connection, Refused

_HOUR = 3600
_DAY = 24 * _HOUR
_NOT_FOUND = 404


@dataclass(frozen=True, slots=True)
class Prepared:
    """What init() found or made. The token itself is only in the file."""

    bucket_id: str
    created: bool
    retention_s: int  # 0: for ever
    token_file: Path | None


def init(
    url: str, operator_token: str, *, retention_s: int = 0, token_file: Path | None = None, read_only: bool = False
) -> Prepared:
    """Make the bucket of a store URL, or bring its retention up to date, and write a new token into `token_file`.

    `operator_token` must be allowed to manage buckets and tokens of the organisation, which has to exist. `retention_s`
    is in seconds, at least an hour, 0 for ever; InfluxDB drops whole shards, so data stays up to a shard longer. The
    token reads and writes this one bucket (`read_only`: reads it, for a web process); `token_file` must not exist yet.
    Raises ValueError, FileExistsError, StoreUnavailable.
    """
    if retention_s and retention_s < _HOUR:
        raise ValueError("InfluxDB keeps readings for at least an hour: give a retention of 3600 seconds or more")
    address = Address.parse(url)
    file = None
    if token_file is not None:  # first of all: a token that cannot be written down would be lost
        file = os.open(token_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    connection = Connection(address, operator_token)
    try:
        org_id = _org(connection)
        bucket_id, created = _bucket(connection, org_id, retention_s)
        if file is not None:
            token = _token(connection, org_id, bucket_id, ("read",) if read_only else ("read", "write"))
            os.write(file, f"{token}\n".encode())
    except BaseException:
        if token_file is not None:
            token_file.unlink()
        raise
    finally:
        if file is not None:
            os.close(file)
        connection.close()
    return Prepared(bucket_id, created, retention_s, token_file)


def shard_seconds(retention_s: int) -> int:
    """Length of a shard, as InfluxDB's guide has it for a retention; it is also what a reading can outlive it by."""
    if not retention_s or retention_s > 180 * _DAY:
        return 7 * _DAY
    return _DAY if retention_s > 2 * _DAY else _HOUR


def _org(connection: Connection) -> str:
    found = connection.json("GET", "/api/v2/orgs", {"org": connection.address.org})
    return str(found["orgs"][0]["id"])


def _bucket(connection: Connection, org_id: str, retention_s: int) -> tuple[str, bool]:
    name = connection.address.bucket
    rule = {"type": "expire", "everySeconds": retention_s, "shardGroupDurationSeconds": shard_seconds(retention_s)}
    try:
        found = connection.json("GET", "/api/v2/buckets", {"name": name, "orgID": org_id})["buckets"]
    except Refused as refusal:
        if refusal.status != _NOT_FOUND:
            raise
        found = []
    if not found:
        body = {"name": name, "orgID": org_id, "retentionRules": [rule], "description": "techport: readings"}
        return str(connection.json("POST", "/api/v2/buckets", {}, body)["id"]), True
    bucket_id = str(found[0]["id"])
    kept = found[0]["retentionRules"]
    if (kept[0]["everySeconds"] if kept else 0) != retention_s:
        connection.json("PATCH", f"/api/v2/buckets/{bucket_id}", {}, {"retentionRules": [rule]})
    return bucket_id, False


def _token(connection: Connection, org_id: str, bucket_id: str, actions: tuple[str, ...]) -> str:
    resource = {"type": "buckets", "id": bucket_id, "orgID": org_id}
    body = {
        "orgID": org_id,
        "description": f"techport: {' and '.join(actions)} {connection.address.bucket}",
        "permissions": [{"action": action, "resource": resource} for action in actions],
    }
    made = connection.json("POST", "/api/v2/authorizations", {}, body)
    if not made or "token" not in made:
        raise StoreUnavailable(f"InfluxDB at {connection.address.url} made no token")
    return str(made["token"])
