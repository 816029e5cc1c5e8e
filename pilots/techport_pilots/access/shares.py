"""Shares: derived feeds of a pilot's data for others. What is in one is said when it is made, and never changes.

A share is first open to those alone who may share the pilot, who look at it as others will see it. Then it is published
to its audience, and it ends when it expires or is revoked. Every method may raise RegistryUnavailable.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from techport_pilots.access.accounts import AccountError
from techport_pilots.i18n import Message
from techport_pilots.model import PilotDefinition
from techport_pilots.registry.database import Database, Transaction, clean_text
from techport_storage.buckets import fixed_width, format_width, parse_width
from techport_storage.clock import now
from techport_storage.errors import BadQuery
from techport_storage.microseconds import DAY, MINUTE
from techport_storage.model import BucketWidth, Micros

Audience = Literal["public", "organisation", "link"]
AUDIENCES: tuple[Audience, ...] = ("public", "organisation", "link")

RESOLUTION = "PT1H"
PRECISION = 100
LASTS: Micros = 365 * DAY
LONGEST: Micros = 10 * 366 * DAY
FINEST: Micros = MINUTE
COARSEST_PRECISION = 50_000
PERSONAL: Micros = 15 * MINUTE
"""The shortest bucket of a pilot with personal data."""
MOST = 100
"""Shares of one pilot that are open at a time."""
TITLE_LENGTH = 200
_ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"  # without letters that look alike
KEY = re.compile(r"[a-z0-9-]{6,64}")
"""What the last part of a share's address looks like."""

_COLUMNS = "id, key, pilot, content, who, created, expires, published, revoked, reads, last_read"
_ADD = (
    "INSERT INTO shares (id, key, pilot, content, who, created, expires, published, reads)"
    " VALUES (:id, :key, :pilot, :content, :who, :at, :expires, :published, 0)"
)
_OPEN = "revoked IS NULL AND expires > :at"


class ShareTerms(msgspec.Struct, frozen=True, kw_only=True):
    """What a share shows of its pilot, and to whom."""

    title: str
    audience: Audience
    organisation: str | None = None  # whose members may read it
    devices: list[str] | None = None  # None: every device that the pilot's definition names, also later ones
    quantities: list[str] = []  # with their channel
    resolution: str | None = RESOLUTION  # width of a bucket; None: as measured
    precision: int | None = PRECISION  # metres to which positions are rounded, 0: exact; None: no positions
    names: bool = False  # whether devices keep their ids and titles
    start: Micros | None = None
    end: Micros | None = None
    licence: str = ""
    attribution: str = ""

    @property
    def width(self) -> BucketWidth | None:
        """Of the buckets; None where each reading is shown."""
        return None if self.resolution is None else parse_width(self.resolution)


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """A share as it was made, and what has become of it."""

    id: str
    """What it is called as a pilot."""
    key: str
    """The last part of its address: for everybody who has the link one that nobody guesses, else the id."""
    pilot: str
    terms: ShareTerms
    salt: str
    who: str
    created: Micros
    expires: Micros
    published: Micros | None
    revoked: Micros | None
    reads: int
    last_read: Micros | None

    def is_open(self, at: Micros) -> bool:
        """Whether it has neither expired nor been revoked."""
        return self.revoked is None and self.expires > at

    def device_name(self, device: str) -> str:
        """What the device is called in this share: always the same, and nothing by which to tell which it is."""
        if self.terms.names:
            return device
        digest = hashlib.blake2b(device.encode(), key=bytes.fromhex(self.salt), digest_size=8).digest()
        number = int.from_bytes(digest, "big")
        letters = []
        for _ in range(8):
            number, place = divmod(number, len(_ALPHABET))
            letters.append(_ALPHABET[place])
        return f"device-{''.join(letters)}"


class Shares:
    """The shares of all pilots."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(
        self, pilot: PilotDefinition, terms: ShareTerms, who: str, *, lasts: Micros = LASTS, publish: bool = False
    ) -> Share:
        """A new share; its audience may read it once it is published.

        Parameters
        ----------
        pilot : PilotDefinition
            Whose data it shows.
        terms : ShareTerms
            What is shown; devices and quantities that the pilot's definition names.
        who : str
            Who makes it.
        lasts : Micros
            How long it is good, µs.
        publish : bool
            Whether its audience may read it at once.

        Raises
        ------
        AccountError
            The terms cannot be, or the pilot has as many open shares as it may have.
        RegistryUnavailable
        """
        terms = checked_terms(terms)
        check_names(pilot, terms)
        if not 0 < lasts <= LONGEST:
            raise AccountError(Message("share.bad-lifetime", {"days": LONGEST // DAY}))
        at = now()
        identifier = f"share-{_letters(8)}"
        content = _Content(terms=terms, salt=secrets.token_hex(16))
        row = {
            "id": identifier,
            "key": _letters(32) if terms.audience == "link" else identifier,
            "pilot": pilot.id,
            "content": msgspec.json.encode(content).decode(),
            "who": who,
            "at": at,
            "expires": at + lasts,
            "published": at if publish else None,
        }
        with self._database.writing() as transaction:
            number = transaction.execute(
                f"SELECT count(*) FROM shares WHERE pilot = :pilot AND {_OPEN}",  # noqa: S608
                {"pilot": pilot.id, "at": at},
            ).scalar_one()
            if number >= MOST:
                raise AccountError(Message("share.too-many", {"most": MOST}))
            if (
                terms.organisation is not None
                and not transaction.execute(
                    "SELECT 1 FROM organisations WHERE id = :id", {"id": terms.organisation}
                ).first()
            ):
                raise AccountError(Message("share.unknown-organisation", {"organisation": terms.organisation[:80]}))
            transaction.execute(_ADD, row)
        share = self.find_by_id(pilot.id, identifier)
        assert share is not None
        return share

    def find(self, key: str) -> Share | None:
        """The open share with this address; None for one that has ended or never was."""
        if not KEY.fullmatch(key):
            return None
        with self._database.reading() as transaction:
            row = transaction.execute(
                f"SELECT {_COLUMNS} FROM shares WHERE key = :key AND {_OPEN}",  # noqa: S608
                {"key": key, "at": now()},
            ).first()
        return None if row is None else _share(row._mapping)

    def find_by_id(self, pilot: str, share: str) -> Share | None:
        """A share of the pilot, whether or not it is still open."""
        with self._database.reading() as transaction:
            row = transaction.execute(
                f"SELECT {_COLUMNS} FROM shares WHERE pilot = :pilot AND id = :id",  # noqa: S608
                {"pilot": pilot, "id": share},
            ).first()
        return None if row is None else _share(row._mapping)

    def of(self, pilot: str) -> list[Share]:
        """All shares of the pilot, the newest first; also those that have ended."""
        return self._some("pilot = :pilot", {"pilot": pilot})

    def readable(self, organisations: Sequence[str]) -> list[Share]:
        """Published shares that are open to everybody or to members of these organisations, the newest first. Those
        behind a link are known to whoever has it."""
        shares = self._some(f"published IS NOT NULL AND {_OPEN}", {"at": now()})
        return [
            share
            for share in shares
            if share.terms.audience == "public"
            or (share.terms.audience == "organisation" and share.terms.organisation in organisations)
        ]

    def publish(self, pilot: str, share: str) -> bool:
        """Let its audience read it. Whether there was an open share of the pilot that was not published yet."""
        return self._change("published", pilot, share, "AND published IS NULL")

    def revoke(self, pilot: str, share: str) -> bool:
        """End it for good. Whether the pilot had such a share, still open."""
        return self._change("revoked", pilot, share, "")

    def note_reads(self, reads: Mapping[str, tuple[int, Micros]]) -> None:
        """Add to how often shares were read, by id, and when last."""
        rows = [{"id": share, "n": number, "at": last} for share, (number, last) in sorted(reads.items())]
        if rows:
            with self._database.writing() as transaction:
                transaction.execute(
                    "UPDATE shares SET reads = reads + :n,"
                    " last_read = CASE WHEN last_read > :at THEN last_read ELSE :at END WHERE id = :id",
                    rows,
                )

    def _some(self, condition: str, parameters: Mapping[str, object]) -> list[Share]:
        with self._database.reading() as transaction:
            rows = transaction.execute(
                f"SELECT {_COLUMNS} FROM shares WHERE {condition} ORDER BY created DESC, id",  # noqa: S608
                parameters,
            )
            return [_share(row._mapping) for row in rows]

    def _change(self, column: str, pilot: str, share: str, further: str) -> bool:
        with self._database.writing() as transaction:
            changed = transaction.execute(
                f"UPDATE shares SET {column} = :at WHERE pilot = :pilot AND id = :id AND {_OPEN} {further}",  # noqa: S608
                {"at": now(), "pilot": pilot, "id": share},
            )
            return changed.rowcount > 0


def revoke_of_organisation(transaction: Transaction, organisation: str) -> None:
    """End the shares for members of an organisation that will be no more."""
    at = now()
    rows = transaction.execute(f"SELECT id, content FROM shares WHERE {_OPEN}", {"at": at}).all()  # noqa: S608
    ended = [
        {"id": row.id, "at": at}
        for row in rows
        if msgspec.json.decode(row.content, type=_Content).terms.organisation == organisation
    ]
    if ended:
        transaction.execute("UPDATE shares SET revoked = :at WHERE id = :id", ended)


def checked_terms(terms: ShareTerms) -> ShareTerms:
    """The terms as they are kept. Raises AccountError for an empty choice, a width or a precision that cannot be, and
    an audience that is not complete."""
    title = " ".join(clean_text(terms.title).split())[:TITLE_LENGTH]
    if not title:
        raise AccountError(Message("share.no-title"))
    if not terms.quantities or terms.devices == []:
        raise AccountError(Message("share.nothing-chosen"))
    if terms.audience not in AUDIENCES or (terms.audience == "organisation") != bool(terms.organisation):
        raise AccountError(Message("share.bad-audience", {"audiences": ", ".join(AUDIENCES)}))
    if terms.precision is not None and not 0 <= terms.precision <= COARSEST_PRECISION:
        raise AccountError(Message("share.bad-precision", {"most": COARSEST_PRECISION}))
    if terms.start is not None and terms.end is not None and terms.start >= terms.end:
        raise AccountError(Message("share.empty-period"))
    return msgspec.structs.replace(
        terms,
        title=title,
        organisation=terms.organisation or None,
        devices=None if terms.devices is None else sorted(set(terms.devices)),
        quantities=sorted(set(terms.quantities)),
        resolution=_checked_resolution(terms.resolution),
        licence=clean_text(terms.licence).strip()[:TITLE_LENGTH],
        attribution=clean_text(terms.attribution).strip()[:TITLE_LENGTH],
    )


def check_names(pilot: PilotDefinition, terms: ShareTerms) -> None:
    """Raises AccountError for devices and quantities that the definition does not name, and for values of people that
    are finer than a quarter of an hour."""
    device_ids = {device.id for device in pilot.devices}
    for device in terms.devices or ():
        if device not in device_ids:
            raise AccountError(Message("share.unknown-device", {"name": device[:80]}))
    measured = {
        stream.quantity
        for device in pilot.devices
        for stream in device.streams
        if terms.devices is None or device.id in terms.devices
    }
    for quantity in terms.quantities:
        if quantity not in measured:
            raise AccountError(Message("share.unknown-quantity", {"name": quantity[:80]}))
    if is_too_fine(pilot, terms):
        raise AccountError(Message("share.personal"))


def is_too_fine(pilot: PilotDefinition, terms: ShareTerms) -> bool:
    """Whether the pilot has personal data, and buckets of the share are shorter than PERSONAL."""
    return pilot.personal_data and (terms.width is None or (fixed_width(terms.width) or DAY) < PERSONAL)


class _Content(msgspec.Struct, frozen=True):
    """What the column `content` holds."""

    terms: ShareTerms
    salt: str


def _checked_resolution(text: str | None) -> str | None:
    if text is None:
        return None
    wrong = AccountError(Message("share.bad-resolution", {"text": text[:40]}))
    try:
        width = parse_width(text)
    except BadQuery:
        raise wrong from None
    if width.unit == "us" or (width.unit == "s" and width.count < 60) or width.count > 1_000:
        raise wrong
    return format_width(width)


def _letters(number: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(number))


def _share(row: Mapping[Any, Any]) -> Share:
    fields = {**row}
    content = msgspec.json.decode(fields.pop("content"), type=_Content)
    return Share(**fields, terms=content.terms, salt=content.salt)
