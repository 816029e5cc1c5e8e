"""Receipts of erasures that can be shown later: signed by the platform, as its packages are.

A receipt is a JSON object; `signature` is over everything else in it. Only a platform with the same registry can tell
whether it is genuine (docs/decisions/0015).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from techport_pilots.handover import signature
from techport_pilots.handover.signature import Origin
from techport_pilots.registry.database import Database

SIGNATURE = "signature"


def signed(database: Database, receipt: Mapping[str, Any]) -> dict[str, Any]:
    """The receipt with its signature. May raise RegistryUnavailable."""
    return {**receipt, SIGNATURE: signature.sign(database, _content(receipt)).decode()}


def origin(database: Database, receipt: Mapping[str, Any]) -> Origin:
    """Who signed the receipt. Raises BadPackage where it was changed since this platform did, and
    RegistryUnavailable."""
    comment = receipt.get(SIGNATURE)
    return signature.origin(database, _content(receipt), comment.encode() if isinstance(comment, str) else b"")


def _content(receipt: Mapping[str, Any]) -> bytes:
    return msgspec.json.encode({key: value for key, value in receipt.items() if key != SIGNATURE}, order="sorted")
