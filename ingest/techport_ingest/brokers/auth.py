"""Who may use the broker, and which topics: devices with a credential their own, everybody else by where the broker
listens.

`Authenticator` decides for the embedded broker. For mosquitto, `AccessFiles` writes its password and access files out
of the same credentials whenever they change, and has it read them again: no restart, and the password is known to the
device alone. `SERVICE_RIGHTS` are the users of a platform whose parts run as processes of their own.
"""

from __future__ import annotations

import hmac
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

import msgspec
import structlog

from techport_ingest.brokers.nats_users import nats_users
from techport_pilots.access.credentials import Credential, Credentials, bcrypt_hash, hashed
from techport_pilots.errors import RegistryUnavailable
from techport_pilots.formats import formats
from techport_pilots.topics import topic_matches

log = structlog.get_logger(__name__)


def device_may_publish() -> tuple[str, ...]:
    """Topics below pilots/<pilot>/<device>/, each by its whole name: with a wildcard a device could make up as many as
    it likes, and leave a retained message of any size in each.
    """
    own = [form.own_topic for form in formats().values() if form.own_topic]
    return ("status", *own, *(f"push/{name}" for name in formats()))


DEVICE_MAY_RECEIVE = ("problems",)


class Access(msgspec.Struct, frozen=True):
    """Topic filters that a client may publish to and receive."""

    publish: tuple[str, ...]
    receive: tuple[str, ...]
    below: str = ""  # the device's own part of the topics
    _parents: frozenset[str] = frozenset()  # of what may be received, each without its last level
    _receivable: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        # Looked up in constant time: a device may ask for thousands of filters at once.
        msgspec.structs.force_setattr(self, "_receivable", frozenset(self.receive))
        parents = frozenset(allowed.rpartition("/")[0] for allowed in self.receive)
        msgspec.structs.force_setattr(self, "_parents", parents)

    def may_publish(self, topic: str) -> bool:
        return topic in self.publish or any(
            topic_matches(allowed, topic) for allowed in self.publish if "#" in allowed or "+" in allowed
        )

    def is_own(self, topic: str) -> bool:
        """Whether the topic is the device's, though nobody may read or write it: what its firmware says of itself."""
        return bool(self.below) and topic.startswith(self.below)

    def may_receive(self, topic: str) -> bool:
        return self is EVERYTHING or any(topic_matches(allowed, topic) for allowed in self.receive)

    def may_subscribe(self, topic_filter: str) -> bool:
        """Also to all beside what it may receive (`pilots/air/lamp-1/#`), of which it gets that and nothing else."""
        if self is EVERYTHING:
            return True
        bare = topic_filter.removesuffix("/#")
        return (
            bare in self._receivable
            or (bare != topic_filter and bare in self._parents)
            or (bare.endswith("/+") and bare[:-2] in self._parents)
        )

    def lines(self) -> list[str]:
        """As mosquitto's `acl_file` has them, below the user."""
        if self is EVERYTHING:
            return ["topic readwrite #\n"]
        return [
            *[f"topic write {allowed}\n" for allowed in self.publish],
            *[f"topic read {allowed}\n" for allowed in self.receive],
        ]


EVERYTHING = Access(("#",), ("#",))
NOTHING = Access((), ())


Observed = Callable[[str, str], Sequence[str]]
"""The topics on which readings of a pilot's device are published. May raise RegistryUnavailable."""


def nothing_observed(pilot: str, device: str) -> Sequence[str]:
    """For a broker at which nobody publishes them."""
    return ()


def device_access(credential: Credential, observed: Observed = nothing_observed) -> Access:
    """What a device may do: send, read what is wrong with it, and what of its readings is published."""
    return Access(
        tuple(f"{credential.topics}{end}" for end in device_may_publish()),
        (
            *(f"{credential.topics}{end}" for end in DEVICE_MAY_RECEIVE),
            *observed(credential.pilot, credential.device),
        ),
        credential.topics,
    )


LOOK = 0.5
"""Seconds between two looks at the credentials."""

Known = Callable[[], Sequence[Credential]]
"""All credentials as they are now. May raise RegistryUnavailable."""


class PlatformUser(msgspec.Struct, frozen=True):
    """A user of the platform itself at its broker. Its rights are lines of an access file without the word `topic`."""

    username: str
    password: str
    rights: tuple[str, ...] = ("readwrite #",)


SERVICE_RIGHTS: dict[str, tuple[str, ...]] = {
    # Definitions may name any topic as a source. Notices go to devices, Sparkplug nodes are asked for their births.
    # What was stored is published for who subscribes, as SensorThings has it.
    "ingest": (
        *("read #", "read $SYS/#", "write pilots/+/+/problems", "write spBv1.0/+/NCMD/+"),
        "write v1.1/+/Observations",
    ),
    # What devices send over HTTP.
    "web": ("write pilots/+/+/push/#",),
    "simulator": ("write pilots/#", "read $SYS/broker/uptime"),
}
"""What each part of the platform may do at the broker where the parts are separate processes: no more than it needs."""


Users = Callable[[], Sequence[PlatformUser]]
"""The platform's users as they are now. May raise OSError."""


class Admission(NamedTuple):
    """A client that may come in."""

    access: Access
    proof: str | None = None  # the hash that its password has; None for those that need none
    pilot: str | None = None  # that its credential is of


class CredentialAuthenticator(Protocol):
    def admit(self, username: str | None, password: str | None) -> Admission | None:
        """What this client may do, or None to refuse it. May raise RegistryUnavailable."""

    def proofs(self) -> Mapping[str, str] | None:
        """The hash that proves each device's user name now. None where it cannot be read, or nobody has one."""


class AllowAll:
    """Lets everybody in, for a broker that listens on the loopback."""

    def admit(self, username: str | None, password: str | None) -> Admission | None:
        return Admission(EVERYTHING)

    def proofs(self) -> Mapping[str, str] | None:
        return None


class Authenticator:
    """Devices by their credentials, the platform by its own; those without a user name where `anonymous` says so."""

    def __init__(
        self,
        credentials: Credentials,
        anonymous: bool,
        own: PlatformUser | None = None,
        observed: Observed = nothing_observed,
    ) -> None:
        self._credentials = credentials
        self._observed = observed
        self._anonymous = anonymous
        self._own = own

    def admit(self, username: str | None, password: str | None) -> Admission | None:
        if not username:
            return Admission(EVERYTHING) if self._anonymous else None
        if self._own is not None and username == self._own.username:
            is_right = hmac.compare_digest((password or "").encode(), self._own.password.encode())
            return Admission(EVERYTHING) if is_right else None
        credential = None if password is None else self._credentials.check(username, password)
        if credential is None:
            return None
        return Admission(device_access(credential, self._observed), credential.password, credential.pilot)

    def proofs(self) -> Mapping[str, str] | None:
        try:
            return self._credentials.hashes()
        except RegistryUnavailable as error:
            log.warning("connections stay as they are: the credentials cannot be read now", problem=str(error))
            return None


class AccessFiles:
    """What a broker reads of who may do what, kept up to date until `stop`: mosquitto's `password_file` and `acl_file`,
    or the users of NATS servers (nats_users.py).
    """

    def __init__(
        self,
        folder: Path,
        credentials: Known,
        anonymous: bool,
        users: Users,
        observed: Observed = nothing_observed,
        broker: Literal["mosquitto", "nats"] = "mosquitto",
    ) -> None:
        self._folder = folder
        self._broker = broker
        self._known = credentials
        self._anonymous = anonymous
        self._users = users
        self._observed = observed
        self._hashes: dict[PlatformUser, str] = {}  # with a random salt each: made once, or the files always differ
        self._written: dict[str, str] | None = None
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def configuration(self) -> tuple[str, ...]:
        """Lines for mosquitto.conf."""
        return (f"password_file {self._folder / 'passwords'}", f"acl_file {self._folder / 'access'}")

    def write(self) -> bool:
        """Write both files if they would say something else; whether they were written."""
        credentials, users = list(self._known()), list(self._users())
        texts = self._texts(credentials, users)
        if texts == self._written:
            return False
        self._folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            _replace(self._folder / name, text)
        self._written = texts
        return True

    def follow(self, reload: Callable[[], None]) -> None:
        """Look at the credentials in a thread, and call `reload` after each change."""
        self._thread = threading.Thread(target=self._run, args=(reload,), name="broker-access", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self, reload: Callable[[], None]) -> None:
        while not self._stopping.wait(LOOK):
            try:
                if self.write():
                    reload()
            except (RegistryUnavailable, OSError) as error:
                log.warning("the broker's access files are as they were", problem=str(error))

    def _texts(self, credentials: Sequence[Credential], users: Sequence[PlatformUser]) -> dict[str, str]:
        """The files, in the order in which to write them."""
        if self._broker == "nats":
            self._hashes = {user: self._hashes.get(user) or bcrypt_hash(user.password) for user in users}
            hashes = {user.username: hash_ for user, hash_ in self._hashes.items()}
            access = {credential: device_access(credential, self._observed) for credential in credentials}
            return {"users.conf": nats_users(hashes, access)}
        # Rights first: of a device that is let in without them, mosquitto acknowledges what it drops.
        return {"access": self._access(credentials, users), "passwords": self._passwords(credentials, users)}

    def _passwords(self, credentials: Sequence[Credential], users: Sequence[PlatformUser]) -> str:
        self._hashes = {user: self._hashes.get(user) or hashed(user.password) for user in users}
        lines = [f"{user.username}:{password}\n" for user, password in self._hashes.items()]
        return "".join([*lines, *(f"{credential.username}:{credential.password}\n" for credential in credentials)])

    def _access(self, credentials: Sequence[Credential], users: Sequence[PlatformUser]) -> str:
        """Lines in front of the first user are about clients without a name."""
        lines = ["topic readwrite #\n"] if self._anonymous else []
        for user in users:
            lines += [f"user {user.username}\n", *(f"topic {right}\n" for right in user.rights)]
        for credential in credentials:
            lines += [f"user {credential.username}\n", *device_access(credential, self._observed).lines()]
        return "".join(lines)


def _replace(file: Path, text: str) -> None:
    """Write the file whole or not at all, for its owner's eyes only."""
    fresh = file.with_suffix(".new")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as out:
        out.write(text)
    fresh.replace(file)
