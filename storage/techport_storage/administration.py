"""Administration of a store by its URL, whatever engine it is: prepare, back up, restore, copy.

`backup` saves a store as its engine keeps it, to be restored into the same kind of store; export.py writes Parquet
files, for any store and any program.

This module and `open_store` are the only ones outside an engine's folder that import from it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from techport_storage.copy import Copied, copy_readings
from techport_storage.errors import StoreError
from techport_storage.store import open_store

Progress = Callable[[int, int], None]
"""Called with what is done and with all there is."""


class CannotAdminister(StoreError):
    """The operation does not apply to this store, or lacks something. Says what to do instead."""


def set_first_password(url: str) -> bool:
    """Give the administrator of a new IoTDB cluster the password that the URL names, in place of the one that every
    cluster begins with; whether it had to be set.

    Raises CannotAdminister for another store, ValueError, and StoreUnavailable.
    """
    if _engine(url) != "iotdb":
        raise CannotAdminister("only an IoTDB cluster begins with a password that everybody knows")
    from techport_storage.iotdb.setup import set_password

    return set_password(url)


@dataclass(frozen=True, slots=True)
class Prepared:
    """What `prepare` found or made."""

    bucket_created: bool
    token_created: bool
    token_file: Path


def prepare(url: str, operator_token: str, *, retention_s: int = 0, read_only: bool = False) -> Prepared:
    """Make the bucket of an InfluxDB store, or bring its retention up to date, and write a token where there is none.

    Parameters
    ----------
    url : str
        Its `token_file=` says where the token goes. A file that exists is left as it is.
    operator_token : str
        May manage buckets and tokens of the organisation, which has to exist.
    retention_s : int
        Seconds that readings are kept, at least an hour; 0 is for ever.
    read_only : bool
        The new token may read and not write.

    Raises
    ------
    CannotAdminister
        The store needs no preparation, or its URL names no token file.
    StoreUnavailable
        The server does not answer, or refuses.
    """
    if _engine(url) != "influxdb":
        raise CannotAdminister(
            "only an InfluxDB store has to be prepared: --store influxdb://host:8086/org/bucket?token_file=FILE"
        )
    from techport_storage.influxdb.connection import Address
    from techport_storage.influxdb.setup import init

    token_file = Address.parse(url).secret.file
    if token_file is None:
        raise CannotAdminister(f"{url} names no token_file= to write the new token to")
    token_exists = token_file.exists()
    prepared = init(
        url,
        operator_token,
        retention_s=retention_s,
        token_file=None if token_exists else token_file,
        read_only=read_only,
    )
    return Prepared(prepared.created, not token_exists, token_file)


def backup(url: str, folder: Path, *, operator_token: str | None = None) -> int:
    """Save a store as its engine keeps it.

    Parameters
    ----------
    url : str
        A DuckDB file must not be open anywhere; an InfluxDB bucket may be written to meanwhile.
    folder : Path
        Must not exist yet, and appears only once everything is in it.
    operator_token : str, optional
        Needed for InfluxDB.

    Returns
    -------
    int
        The number of files: the database with its log, or shards.

    Raises
    ------
    CannotAdminister
        The store is in memory, of an engine that is saved otherwise, or the operator token is missing.
    FileExistsError
        The folder exists.
    StoreUnavailable
        The server does not answer.
    """
    if _engine(url) == "influxdb":
        from techport_storage.influxdb.backup import backup as save_bucket

        return save_bucket(url, _needed(operator_token), folder)
    from techport_storage.duckdb.backup import backup as save_file

    return save_file(_database_file(url), folder)


def restore(folder: Path, url: str, *, operator_token: str | None = None) -> int:
    """Make the store of a URL, which must not exist yet, from what `backup` saved of one of the same engine.

    Parameters
    ----------
    folder : Path
        What `backup` made.
    url : str
        A file or bucket that does not exist.
    operator_token : str, optional
        Needed for InfluxDB.

    Returns
    -------
    int
        The number of files restored: the database with its log, or shards.

    Raises
    ------
    CannotAdminister
        The database file exists already, or the operator token is missing.
    FileNotFoundError
        The folder is not such a backup.
    StoreUnavailable
        The server does not answer, or the bucket exists.
    """
    if _engine(url) == "influxdb":
        from techport_storage.influxdb.backup import restore as restore_bucket

        return restore_bucket(folder, url, _needed(operator_token))
    from techport_storage.duckdb.backup import restore as restore_file

    file = _database_file(url)
    if file.exists():
        raise CannotAdminister(f"{file} exists already: restore into an empty --data folder")
    return restore_file(folder, file)


def copy(source: str, target: str, *, again: bool = False, progress: Progress = lambda streams, of: None) -> Copied:
    """Copy all readings from one store to another and compare both; see `copy_readings`."""
    with closing(open_store(source)) as source_store, closing(open_store(target)) as target_store:
        return copy_readings(source_store, target_store, again=again, progress=progress)


def _engine(url: str) -> str:
    return url.partition(":")[0]


def _database_file(url: str) -> Path:
    if _engine(url) != "duckdb":
        raise CannotAdminister(
            f"a backup in the form of its engine is made of DuckDB and InfluxDB only, not of {_engine(url)}: "
            "techport store export makes a folder of Parquet files that any store imports"
        )
    from techport_storage.duckdb.file import parse_url

    file, _ = parse_url(url)
    if file is None:
        raise CannotAdminister(f"{url} is in memory: only a store in a file can be backed up and restored")
    return file


def _needed(operator_token: str | None) -> str:
    if operator_token is None:
        raise CannotAdminister("this needs InfluxDB's operator token: give --operator-token-file FILE")
    return operator_token
