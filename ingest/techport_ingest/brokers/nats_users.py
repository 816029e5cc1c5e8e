"""The users of NATS servers and what each may do, as a part of the servers' configuration.

    accounts { TECHPORT { jetstream: enabled, users: [ ... ] } }

All are in one account, so that workers see what devices publish. A device may connect by MQTT alone, and publish and
subscribe to the subjects of its topics. Passwords stand there as bcrypt has them, because NATS knows no other hash: a
credential that is older than that has none, and its device is left out until it is given a new one.

What a device publishes elsewhere is dropped, and acknowledged all the same: MQTT 3.1.1 has no other answer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from techport_ingest.brokers.nats_subjects import (
    CONSUMER,
    RETAINED,
    RETAINED_STREAM,
    STORED,
    STREAM,
    inbox_prefix,
    subject_of,
    subjects_of,
)
from techport_pilots.access.credentials import Credential

if TYPE_CHECKING:
    from techport_ingest.brokers.auth import Access

ACCOUNT = "TECHPORT"


def nats_users(platform: Mapping[str, str], devices: Mapping[Credential, Access]) -> str:
    """The file. `platform` are the hashes of the platform's own users: parts of it, the rights of which are below, or
    one that may do everything.
    """
    users = [_user(name, hash_, SERVICE_PERMISSIONS.get(name)) for name, hash_ in platform.items()]
    for credential, access in devices.items():
        if credential.bcrypt is not None:
            permissions = _permissions(
                [subject_of(topic) for topic in access.publish], [subject_of(topic) for topic in access.receive]
            )
            users.append({**_user(credential.username, credential.bcrypt, permissions), **_BY_MQTT})
    lines = ",\n".join(f"    {json.dumps(user)}" for user in users)  # which the servers' language includes
    return f"accounts {{\n  {ACCOUNT} {{\n    jetstream: enabled\n    users: [\n{lines}\n    ]\n  }}\n}}\n"


_BY_MQTT = {"allowed_connection_types": ["MQTT"]}


def _user(name: str, hash_: str, permissions: dict[str, Any] | None) -> dict[str, Any]:
    return {"user": name, "password": hash_, **({} if permissions is None else {"permissions": permissions})}


def _permissions(publish: Sequence[str], subscribe: Sequence[str]) -> dict[str, Any]:
    """Where nothing is allowed, everything is denied: an empty list would allow it."""
    return {
        what: {"allow": list(subjects)} if subjects else {"deny": [">"]}
        for what, subjects in (("publish", publish), ("subscribe", subscribe))
    }


def _published(*topics: str) -> list[str]:
    """What a part of the platform needs to publish to these topics as the gateway for MQTT does."""
    subjects = [subject for topic in topics for subject in subjects_of(topic)]
    return [*subjects, *(STORED + subject for subject in subjects)]


SERVICE_PERMISSIONS: dict[str, dict[str, Any]] = {
    # Definitions may name any topic as a source, and what is not stored there is listened to.
    "ingest": {
        "publish": {
            "allow": [
                *_published("pilots/+/+/problems", "spBv1.0/+/NCMD/+", "v1.1/+/Observations"),
                *(f"$JS.API.STREAM.{action}.{STREAM}" for action in ("INFO", "CREATE")),
                *(f"$JS.API.CONSUMER.{action}.{STREAM}.{CONSUMER}" for action in ("INFO", "CREATE", "MSG.NEXT")),
                f"$JS.API.CONSUMER.CREATE.{STREAM}.{CONSUMER}.>",
                f"$JS.API.CONSUMER.DURABLE.CREATE.{STREAM}.{CONSUMER}",
                f"$JS.ACK.{STREAM}.{CONSUMER}.>",
                f"$JS.ACK.*.*.{STREAM}.{CONSUMER}.>",
            ]
        },
        "subscribe": {"allow": [">"], "deny": [f"{inbox_prefix('web')}.>", f"{inbox_prefix('erasure')}.>"]},
    },
    # What devices send over HTTP.
    "web": _permissions(_published("pilots/+/+/push/#"), [f"{inbox_prefix('web')}.>"]),
    "simulator": _permissions(["pilots.>"], []),
    # Only there while retained messages are erased (techport/retained_erasure.py).
    "erasure": _permissions(
        [
            f"{RETAINED}>",
            *(f"$JS.API.STREAM.{action}.{RETAINED_STREAM}" for action in ("INFO", "MSG.GET", "MSG.DELETE")),
        ],
        [f"{inbox_prefix('erasure')}.>"],
    ),
}
"""What each part of the platform may do where the parts are separate processes: no more than it needs."""
