"""Preparing an InfluxDB server for techport: a bucket with its retention, and a token that may use that bucket only.

operator's token ─► init() ─► bucket (made, or its retention brought up to date)
                            └► token: read and write this bucket, nothing else ─► file, mode 0600
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from influxdb_client import Authorization, BucketRetentionRules, Permission, PermissionResource

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

    Parameters
    ----------
    url : str
        Of the store; its own token is not used.
    operator_token : str
        May manage buckets and tokens of the organisation, which has to exist.
    retention_s : int
        Seconds that readings are kept, at least 3600; 0 is for ever. InfluxDB drops whole shards, so a reading stays up
        to `shard_seconds` longer.
    token_file : Path, optional
        Where the new token is written, mode 0600. Must not exist; without it no token is made.
    read_only : bool
        The new token may read this bucket and not write to it, for a web process.

    Returns
    -------
    Prepared

    Raises
    ------
    ValueError
        The URL is wrong, or the retention shorter than an hour.
    FileExistsError
        The token file exists.
    StoreUnavailable
        The server does not answer, or refuses.
    """
    if retention_s and retention_s < _HOUR:
        raise ValueError("InfluxDB keeps readings for at least an hour: give a retention of 3600 seconds or more")
    address = Address.parse(url)
    file = None
    if token_file is not None:  # first of all: a token that cannot be written down would be lost
        file = os.open(token_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    connection = Connection(address, operator_token)
    try:
        org_id = connection.org_id()
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
    """Length of a shard in seconds for a retention in seconds; it is also what a reading can outlive the retention by.

    As InfluxDB's guide has it: https://docs.influxdata.com/influxdb/v2/reference/internals/shards/
    """
    if not retention_s or retention_s > 180 * _DAY:
        return 7 * _DAY
    return _DAY if retention_s > 2 * _DAY else _HOUR


def _bucket(connection: Connection, org_id: str, retention_s: int) -> tuple[str, bool]:
    name = connection.address.bucket
    buckets = connection.client.buckets_api()
    rule = BucketRetentionRules(
        every_seconds=retention_s, shard_group_duration_seconds=shard_seconds(retention_s), type="expire"
    )
    try:
        with connection.errors():
            existing = buckets.find_buckets(name=name, org_id=org_id).buckets
    except Refused as refusal:
        if refusal.status != _NOT_FOUND:
            raise
        existing = []
    with connection.errors():
        if not existing:
            created = buckets.create_bucket(
                bucket_name=name, org=org_id, retention_rules=rule, description="techport: readings"
            )
            return str(created.id), True
        bucket = existing[0]
        if (bucket.retention_rules[0].every_seconds if bucket.retention_rules else 0) != retention_s:
            bucket.retention_rules = [rule]
            buckets.update_bucket(bucket)
    return str(bucket.id), False


def _token(connection: Connection, org_id: str, bucket_id: str, actions: tuple[str, ...]) -> str:
    resource = PermissionResource(type="buckets", id=bucket_id, org_id=org_id)
    asked = Authorization(
        org_id=org_id,
        description=f"techport: {' and '.join(actions)} {connection.address.bucket}",
        permissions=[Permission(action=action, resource=resource) for action in actions],
    )
    with connection.errors():
        made = connection.client.authorizations_api().create_authorization(authorization=asked)
    if not made.token:
        raise StoreUnavailable(f"InfluxDB at {connection.address.url} made no token")
    return str(made.token)
