"""A bucket of a running InfluxDB as files, and back: the server's backup API, which needs no tool beside techport.

    backup()   manifest.json (the bucket as the server describes it) and shards/NUMBER.tar, one for each stretch of time
    restore()  a new bucket with the same readings; an existing one is never written over

For a copy that any store can read, at the price of time, use copy.py. Users, tokens and dashboards of the server are
not in it; `influx backup` of InfluxData's own command line saves those too.
"""

from __future__ import annotations

import email.parser
import email.policy
import json
import shutil
from pathlib import Path
from typing import Any

from influxdb_client import BackupService, RestoreService

from techport_storage.errors import StoreUnavailable
from techport_storage.influxdb.connection import Address, Connection, stream_bytes


def backup(url: str, operator_token: str, folder: Path) -> int:
    """Save the bucket of a store URL into `folder`, which must not exist; the number of shards.

    Parameters
    ----------
    url : str
        Of the store. The bucket may be written meanwhile: of each shard, what it held when its turn came is saved.
    operator_token : str
        The operator's token of the server; a bucket's own does not suffice.
    folder : Path
        Must not exist, and appears only when everything is in it.

    Returns
    -------
    int
        Shards saved, one file each.

    Raises
    ------
    FileExistsError
        The folder exists.
    StoreUnavailable
        The server does not answer, or refuses.
    """
    if folder.exists():
        raise FileExistsError(f"{folder} is there already")
    unfinished = folder.with_name(folder.name + ".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    (unfinished / "shards").mkdir(parents=True)
    connection = Connection(Address.parse(url), operator_token)
    try:
        manifest = _manifest(connection)
        (unfinished / "manifest.json").write_text(json.dumps(manifest, indent=1))
        shards = _shards(manifest)
        for shard in shards:
            _download(connection, shard, unfinished / "shards" / f"{shard}.tar")
    finally:
        connection.close()
    unfinished.rename(folder)
    return len(shards)


def restore(folder: Path, url: str, operator_token: str) -> int:
    """Make the bucket of a store URL, which must not exist yet, from a backup; the number of shards.

    Parameters
    ----------
    folder : Path
        What `backup` made.
    url : str
        Of the store to make. Its bucket must not exist; the organisation must.
    operator_token : str
        The operator's token of the server.

    Returns
    -------
    int
        Shards restored.

    Raises
    ------
    FileNotFoundError
        The folder is not a backup.
    StoreUnavailable
        The server does not answer, or refuses: also where the bucket exists.
    """
    manifest = json.loads((folder / "manifest.json").read_text())
    connection = Connection(Address.parse(url), operator_token)
    address = connection.address
    try:
        manifest |= {
            "organizationID": connection.org_id(),
            "organizationName": address.org,
            "bucketName": address.bucket,
        }
        with connection.errors():
            made = RestoreService(connection.client.api_client).post_restore_bucket_metadata(manifest)
        for mapping in made.shard_mappings:
            with (folder / "shards" / f"{mapping.old_id}.tar").open("rb") as shard:
                connection.upload(f"/api/v2/restore/shards/{mapping.new_id}", shard)
    finally:
        connection.close()
    return len(made.shard_mappings)


def _manifest(connection: Connection) -> dict[str, Any]:
    """The bucket's entry in the server's description of all its buckets, which comes as one part of several."""
    with connection.errors():
        answer = BackupService(connection.client.api_client).get_backup_metadata(_preload_content=False)
    head = f"Content-Type: {answer.headers['Content-Type']}\r\n\r\n".encode()
    body = b"".join(stream_bytes(connection.address, answer))
    document = email.parser.BytesParser(policy=email.policy.default).parsebytes(head + body)
    for part in document.iter_parts():
        if "buckets" in part.get("Content-Disposition", ""):
            payload = part.get_payload(decode=True)
            assert isinstance(payload, bytes)
            for bucket in json.loads(payload):
                if (bucket["organizationName"], bucket["bucketName"]) == (
                    connection.address.org,
                    connection.address.bucket,
                ):
                    return dict(bucket)
    raise StoreUnavailable(f"InfluxDB at {connection.address.url} has no bucket {connection.address.bucket!r}")


def _shards(manifest: dict[str, Any]) -> list[int]:
    groups = [group for policy in manifest["retentionPolicies"] for group in policy["shardGroups"]]
    return [shard["id"] for group in groups if not group.get("deletedAt") for shard in group["shards"]]


def _download(connection: Connection, shard: int, file: Path) -> None:
    with connection.errors():
        answer = BackupService(connection.client.api_client).get_backup_shard_id(shard, _preload_content=False)
    with file.open("wb") as target:
        target.writelines(stream_bytes(connection.address, answer))
