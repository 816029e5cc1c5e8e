"""The first step with a new cluster: another password than the one that every cluster begins with."""

from __future__ import annotations

from techport_storage.iotdb.connection import Address, Connection, Refused
from techport_storage.iotdb.sql import quoted

_FIRST = "root"


def set_password(url: str) -> bool:
    """Give the user `root` of a new cluster the password that the URL names; whether it had to be set.

    Raises ValueError for another user, and StoreUnavailable where neither password is right.
    """
    address = Address.parse(url)
    if address.user != "root":
        raise ValueError(f"{address.user} is not the user that a new cluster has: leave user= out")
    password = address.secret.read()
    connection = Connection(address)
    try:
        connection.settings()
        return False
    except Refused:  # another password: that of a new cluster?
        pass
    finally:
        connection.close()
    first = Connection(address, _FIRST)
    try:
        first.execute(f"ALTER USER root SET PASSWORD {quoted(password)}")
    finally:
        first.close()
    return True
