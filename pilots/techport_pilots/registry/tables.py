"""The tables behind the registry, the ledger and the quarantine. Migrations bring a database to this state.

Times are whole microseconds since the epoch, days are whole days since the epoch (UTC). Names that come from devices
are clipped and cleaned before they get here (database.name).
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.types import TypeEngine

metadata = MetaData()

# SQLite counts up by itself only in a column that is declared INTEGER.
_SERIAL: TypeEngine[int] = BigInteger().with_variant(Integer(), "sqlite")


def _counts() -> list[Column[int]]:
    names = ("messages", "received", "stored", "duplicates", "corrections", "quarantined", "ignored", "erased")
    return [Column(name, BigInteger, nullable=False, server_default="0") for name in names]


# One row: a number that grows with every change of the registry, so that others can ask cheaply whether to look again.
registry_version = Table(
    "registry_version",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("version", BigInteger, nullable=False),
)

# Every state a pilot's definition has had; the highest version is the one that counts.
pilot_versions = Table(
    "pilot_versions",
    metadata,
    Column("pilot", String, primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("definition", Text, nullable=False),  # JSON of PilotDefinition
    Column("source", Text, nullable=False),  # the file as it was written, comments and all
    Column("who", String, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("why", Text, nullable=False, server_default=""),
)

# Pilots that are open because that was the default when they were imported: their definitions have never said so.
assumed_open = Table(
    "assumed_open",
    metadata,
    Column("pilot", String, primary_key=True),
)

# Every state a pilot has been in; the highest number is where it is. Without a row it is a draft.
pilot_states = Table(
    "pilot_states",
    metadata,
    Column("pilot", String, primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("state", String, nullable=False),  # draft, running, ended, closed
    Column("who", String, nullable=False),
    Column("why", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
)

# What happened and what is left out, added while the pilot went on; those of the definition file stand beside them.
pilot_events = Table(
    "pilot_events",
    metadata,
    Column("id", _SERIAL, primary_key=True, autoincrement=True),
    Column("pilot", String, nullable=False),
    Column("kind", String, nullable=False),  # event, or exclusion
    Column("content", Text, nullable=False),  # JSON of Event or Exclusion
    Column("who", String, nullable=False),
    Column("at", BigInteger, nullable=False),
    Index("pilot_events_by_pilot", "pilot", "id"),
    sqlite_autoincrement=True,
)

# The last evaluation of each KPI that a report was written from.
pilot_evaluations = Table(
    "pilot_evaluations",
    metadata,
    Column("pilot", String, primary_key=True),
    Column("kpi", String, primary_key=True),
    Column("content", Text, nullable=False),  # JSON of Evaluation
    Column("at", BigInteger, nullable=False),
)

# Packages that were made, so that retention finds them.
pilot_packages = Table(
    "pilot_packages",
    metadata,
    Column("pilot", String, primary_key=True),
    Column("at", BigInteger, primary_key=True, autoincrement=False),
    Column("path", Text, nullable=False),
    Column("sha256", String, nullable=False),
    Column("rows", BigInteger, nullable=False),
)

# Receipts of what retention erased; `begun` ones are taken up again by the next run.
erasures = Table(
    "erasures",
    metadata,
    Column("id", _SERIAL, primary_key=True, autoincrement=True),
    Column("pilot", String, nullable=False),
    Column("state", String, nullable=False),  # begun, or done
    Column("content", Text, nullable=False),  # JSON of retention.Erasure
    Column("at", BigInteger, nullable=False),
    sqlite_autoincrement=True,
)

# Streams that sent readings, whether or not a definition describes them.
seen_streams = Table(
    "seen_streams",
    metadata,
    Column("pilot", String, primary_key=True),
    Column("device", String, primary_key=True),
    Column("quantity", String, primary_key=True),
    Column("first_seen", BigInteger, nullable=False),
)

# Which part of a device (sensor, probe, address) its streams without a channel belong to, by the stream's key; with the
# key "", which group, application or server the device's name is of.
origins = Table(
    "origins",
    metadata,
    Column("pilot", String, primary_key=True),
    Column("device", String, primary_key=True),
    Column("key", String, primary_key=True),
    Column("origin", String, nullable=False),
    Column("first_seen", BigInteger, nullable=False),
)

# How often streams come of which no definition says it, as their messages show.
learned_intervals = Table(
    "learned_intervals",
    metadata,
    Column("pilot", String, primary_key=True),
    Column("device", String, primary_key=True),
    Column("quantity", String, primary_key=True),
    Column("interval_us", BigInteger, nullable=False),
    Column("at", BigInteger, nullable=False),
)

# What became of every value, added up by device and day.
ledger = Table(
    "ledger",
    metadata,
    Column("pilot", String, primary_key=True),
    Column("device", String, primary_key=True),
    Column("day", Integer, primary_key=True, autoincrement=False),
    *_counts(),
)

# Values that a later message has replaced, for as long as what is quarantined is kept, and at most a year.
corrections = Table(
    "corrections",
    metadata,
    Column("id", _SERIAL, primary_key=True, autoincrement=True),
    Column("pilot", String, nullable=False),
    Column("device", String, nullable=False),
    Column("quantity", String, nullable=False),
    Column("time", BigInteger, nullable=False),
    Column("replaced", Float(53), nullable=False),
    Column("value", Float(53), nullable=False),
    Column("received", BigInteger, nullable=False),
    Column("worker", String),  # that is about to store it, until its batch is booked; null: it is stored
    Index("corrections_by_time", "pilot", "device", "time"),
    Index("corrections_by_arrival", "received"),
    sqlite_autoincrement=True,
)

# Device-days that a worker is about to write to the store. What is left here after a crash has to be counted again.
intents = Table(
    "intents",
    metadata,
    Column("worker", String, primary_key=True),
    Column("pilot", String, primary_key=True),
    Column("device", String, primary_key=True),
    Column("day", Integer, primary_key=True, autoincrement=False),
    Column("state", String, primary_key=True),  # open, or interrupted: found after a crash
    # When it was found interrupted: the sum of the ledger's counts, to notice what others record meanwhile.
    Column("ledger_then", BigInteger, nullable=False),
)

# What writers of the store were about to write, in one order, so that they know of each other. Hashes and times.
announced_writes = Table(
    "announced_writes",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),  # of the last reading in it
    Column("places", LargeBinary, nullable=False),
)

# The last batch that each worker closed, so that closing it twice (an answer lost on the way) counts it once; and the
# process that runs under the worker's name: an earlier one books nothing any more.
workers = Table(
    "workers",
    metadata,
    Column("worker", String, primary_key=True),
    Column("last_closed", String, nullable=False),
    Column("process", String),
)

# The session that the broker keeps for each worker. Its client id cannot be guessed.
worker_sessions = Table(
    "worker_sessions",
    metadata,
    Column("worker", String, primary_key=True),
    Column("client_id", String, nullable=False),
    Column("previous", String),  # client id of an earlier version, whose session is still to be emptied
    Column("broker", String),  # address where the session is known to stand
)

# Moments since which acknowledged messages of a worker may be missing, because its session was lost or taken over.
session_losses = Table(
    "session_losses",
    metadata,
    Column("id", _SERIAL, primary_key=True, autoincrement=True),
    Column("worker", String, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("kind", String, nullable=False),  # lost, or taken-over
    Column("accepted_by", String),  # an operator who has looked into it, and why it is accepted
    Column("accepted_why", Text),
    sqlite_autoincrement=True,
)

# Values and messages that can never be stored, with the reason and what to do about it.
quarantine = Table(
    "quarantine",
    metadata,
    Column("id", _SERIAL, primary_key=True, autoincrement=True),
    Column("pilot", String, nullable=False),
    Column("device", String, nullable=False),
    Column("day", Integer, nullable=False),
    Column("topic", String, nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Column("received", BigInteger, nullable=False),
    Column("format", String, nullable=False),
    Column("reason", String, nullable=False),
    Column("field", String),
    Column("detail", Text, nullable=False),  # this and the hint: English, of entries without a code; else empty
    Column("hint", Text, nullable=False),
    Column("value_count", Integer, nullable=False),
    Column("digest", LargeBinary(16), nullable=False),  # of topic, payload, reason and field
    Column("replay_requested", BigInteger),  # since when it waits to be reprocessed as a new arrival
    Column("replay_worker", String),  # the worker that is at it, and since when
    Column("replay_taken", BigInteger),
    Column("code", String),  # reason and case; none in entries of versions that wrote sentences
    Column("params", Text),  # JSON object
    Index("quarantine_by_device", "pilot", "device", "id"),
    Index("quarantine_by_digest", "digest"),
    Index("quarantine_by_day", "day"),
    Index("quarantine_by_arrival", "received"),
    Index("quarantine_by_replay", "replay_requested"),
    # Holds all that counting needs, so that the messages themselves are not read.
    Index("quarantine_by_reason", "pilot", "reason", "device", "day", "received", "value_count", "replay_requested"),
    sqlite_autoincrement=True,  # an id is never given twice, so a cursor never skips
)

# Requests to take messages out of quarantine again, and what came of them. The id is the time of asking (µs); entries
# that wait bear it as `replay_requested`.
replays = Table(
    "replays",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("who", String, nullable=False),
    Column("entries", BigInteger, nullable=False),
    Column("pilot", String),  # whose messages alone were asked for; null: those of several
    *(
        Column(count, BigInteger, nullable=False, server_default="0")
        for count in ("stored", "duplicates", "corrections", "refused", "ignored")
    ),
)

# Parts of messages that are no reading by a rule of their format, by the rule; their sum is the ledger's `ignored`.
ignored_parts = Table(
    "ignored_parts",
    metadata,
    Column("pilot", String, primary_key=True),
    Column("device", String, primary_key=True),
    Column("day", Integer, primary_key=True, autoincrement=False),
    Column("rule", String, primary_key=True),
    Column("parts", BigInteger, nullable=False),
)

# Units of streams that nobody described, where their messages state one.
stream_units = Table(
    "stream_units",
    metadata,
    Column("pilot", String, primary_key=True),
    Column("device", String, primary_key=True),
    Column("quantity", String, primary_key=True),
    Column("unit", String, nullable=False),  # UCUM where the message's text can be read as such
)

# What devices say that they are: firmware, serial number. The last value of each key.
device_properties = Table(
    "device_properties",
    metadata,
    Column("pilot", String, primary_key=True),
    Column("device", String, primary_key=True),
    Column("key", String, primary_key=True),
    Column("value", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
)

# Parts of messages that were ignored, by key.
ignored_values = Table(
    "ignored_values",
    metadata,
    Column("pilot", String, primary_key=True),
    Column("device", String, primary_key=True),
    Column("rule", String, primary_key=True),
    Column("key", String, primary_key=True),
    Column("parts", BigInteger, nullable=False),
    Column("value", Text),  # the last one, in JSON
    Column("first", BigInteger, nullable=False),
    Column("last", BigInteger, nullable=False),
)

# Messages of which a part was ignored that a mapping could make a reading of.
ignored_messages = Table(
    "ignored_messages",
    metadata,
    Column("id", _SERIAL, primary_key=True, autoincrement=True),
    Column("pilot", String, nullable=False),
    Column("device", String, nullable=False),
    Column("topic", String, nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Column("received", BigInteger, nullable=False),
    Column("parts", Text, nullable=False),  # JSON: rule, key and number of each
    Column("replay_requested", BigInteger),  # as in quarantine
    Column("replay_worker", String),
    Column("replay_taken", BigInteger),
    Index("ignored_messages_by_device", "pilot", "device", "id"),
    Index("ignored_messages_by_arrival", "pilot", "received"),
    Index("ignored_messages_by_replay", "replay_requested"),
    sqlite_autoincrement=True,
)

# What devices that send very much have sent in an hour, over all workers.
device_budgets = Table(
    "device_budgets",
    metadata,
    Column("pilot", String, primary_key=True),
    Column("device", String, primary_key=True),
    Column("hour", BigInteger, primary_key=True, autoincrement=False),
    *(Column(count, BigInteger, nullable=False) for count in ("values", "bytes", "entries", "entry_bytes")),
)

# What devices said that is no reading: joined, offline, a button. The same again is the same event.
device_events = Table(
    "device_events",
    metadata,
    Column("pilot", String, primary_key=True),
    Column("device", String, primary_key=True),
    Column("time", BigInteger, primary_key=True, autoincrement=False),
    Column("kind", String, primary_key=True),
    Column("text", Text, nullable=False),
)

# What devices prove at the broker who they are. The password itself is known to the device alone.
credentials = Table(
    "credentials",
    metadata,
    Column("username", String, primary_key=True),
    Column("pilot", String, nullable=False),
    Column("device", String, nullable=False),
    Column("password", String, nullable=False),  # salted hash, as mosquitto writes them
    Column("bcrypt", String),  # the same for NATS servers; earlier credentials have none
    Column("who", String, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("until", BigInteger),  # when it ends, because another one has taken its place
)

# Who was at a device, when, and what was done there.
device_visits = Table(
    "device_visits",
    metadata,
    Column("id", _SERIAL, primary_key=True, autoincrement=True),
    Column("pilot", String, nullable=False),
    Column("device", String, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("who", String, nullable=False),
    Column("done", String, nullable=False),  # one of visits.Done
    Column("comment", Text, nullable=False),
    Column("photo", String, nullable=False),  # name of a photo, or empty
    Column("event", BigInteger),  # number in pilot_events of what became an event
    Index("device_visits_by_device", "pilot", "device", "at"),
    sqlite_autoincrement=True,
)

# Photos of devices: files of the data folder.
device_photos = Table(
    "device_photos",
    metadata,
    Column("name", String, primary_key=True),
    Column("pilot", String, nullable=False),
    Column("device", String, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("who", String, nullable=False),
    Index("device_photos_by_device", "pilot", "device", "at"),
)

# Devices whose messages somebody watches arrive.
watches = Table(
    "watches",
    metadata,
    Column("pilot", String, primary_key=True),
    Column("device", String, primary_key=True),
    Column("until", BigInteger, nullable=False),
)

# The last messages of watched devices, with what became of them.
watched_messages = Table(
    "watched_messages",
    metadata,
    Column("id", _SERIAL, primary_key=True, autoincrement=True),
    Column("pilot", String, nullable=False),
    Column("device", String, nullable=False),
    Column("topic", String, nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Column("received", BigInteger, nullable=False),
    Column("worker", String, nullable=False),
    Column("committed", BigInteger, nullable=False),  # visible since
    Column("outcome", Text, nullable=False),  # JSON of watching.Outcome
    Index("watched_by_device", "pilot", "device", "id"),
    sqlite_autoincrement=True,
)

# Retained messages that `techport broker-access` is to erase at its broker (handover/broker_messages.py).
retained_requests = Table(
    "retained_requests",
    metadata,
    Column("id", _SERIAL, primary_key=True, autoincrement=True),
    Column("content", Text, nullable=False),  # JSON of broker_messages.Request
    Column("at", BigInteger, nullable=False),
    sqlite_autoincrement=True,
)

# Windows of pilots whose flags are to be worked out anew, and how many rows got other ones.
flag_requests = Table(
    "flag_requests",
    metadata,
    Column("id", _SERIAL, primary_key=True, autoincrement=True),
    Column("pilot", String, nullable=False),
    Column("start", BigInteger),
    Column("end", BigInteger),
    Column("asked", BigInteger, nullable=False),
    Column("done", BigInteger),
    Column("changed", BigInteger),
    sqlite_autoincrement=True,
)

# Work that one process does for all: which one, and until when it is its own.
leases = Table(
    "leases",
    metadata,
    Column("task", String, primary_key=True),
    Column("worker", String, nullable=False),
    Column("until", BigInteger, nullable=False),
)

# Work that outlasts a request: how far it is, which process is at it, and when that was heard of last.
jobs = Table(
    "jobs",
    metadata,
    Column("id", String, primary_key=True),
    Column("kind", String, nullable=False),
    Column("about", String, nullable=False),
    Column("state", String, nullable=False),
    Column("step", String, nullable=False),
    Column("done", BigInteger, nullable=False),
    Column("total", BigInteger, nullable=False),
    Column("begun", BigInteger, nullable=False),
    Column("ended", BigInteger),
    Column("problem", Text),
    Column("result", Text),
    Column("worker", String, nullable=False),
    Column("seen", BigInteger, nullable=False),
    Index(
        "jobs_running",
        "kind",
        "about",
        unique=True,
        sqlite_where=text("state = 'running'"),
        postgresql_where=text("state = 'running'"),
    ),
)

# Clients that ask much, by a hash of their address: until when their share of requests is used up.
request_limits = Table(
    "request_limits",
    metadata,
    Column("subject", String, primary_key=True),
    Column("until", BigInteger, nullable=False),
)

# Through which worker messages came and since when they are visible: a line a second and worker, for two days.
commit_spans = Table(
    "commit_spans",
    metadata,
    Column("id", _SERIAL, primary_key=True, autoincrement=True),
    Column("worker", String, nullable=False),
    Column("first", BigInteger, nullable=False),
    Column("last", BigInteger, nullable=False),
    Column("visible", BigInteger, nullable=False),
    Column("marks", LargeBinary),  # four bytes a device; NULL: any device
    Index("commit_spans_by_arrival", "last"),
    Index("commit_spans_by_age", "visible"),
    sqlite_autoincrement=True,
)

# Secrets that this platform signs with: a package of its own is told apart from others. Says nothing about pilots.
signing_keys = Table(
    "signing_keys",
    metadata,
    Column("name", String, primary_key=True),
    Column("key_id", String, nullable=False),  # public: which key a signature is of
    Column("secret", LargeBinary, nullable=False),
    Column("created", BigInteger, nullable=False),
)

# Numbers of the entities that SensorThings shows. Rows stay for good, so that no number is given twice.
entity_ids = Table(
    "entity_ids",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("kind", String, nullable=False),  # the entity set; (erased) when the names are gone
    Column("pilot", String, nullable=False),  # empty for what pilots share
    Column("device", String, nullable=False),
    Column("name", String, nullable=False),  # of a quantity, or of a kind of device
    UniqueConstraint("kind", "pilot", "device", "name"),
)

# People with an account. Without a password they sign in through the identity provider alone.
users = Table(
    "users",
    metadata,
    Column("id", String, primary_key=True),
    Column("email", String, nullable=False, unique=True),  # lower case; what people sign in with, and what `who` says
    Column("name", String, nullable=False),
    Column("password", String),  # argon2id
    Column("administrator", Integer, nullable=False),
    Column("disabled", Integer, nullable=False, server_default="0"),
    Column("created", BigInteger, nullable=False),
    Column("created_by", String, nullable=False),
    Column("signed_in", BigInteger),  # the last time
)

# Who a person is at an identity provider.
user_identities = Table(
    "user_identities",
    metadata,
    Column("issuer", String, primary_key=True),
    Column("subject", String, primary_key=True),
    Column("user_id", String, nullable=False),
)

organisations = Table(
    "organisations",
    metadata,
    Column("id", String, primary_key=True),
    Column("name", String, nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("created_by", String, nullable=False),
)

organisation_members = Table(
    "organisation_members",
    metadata,
    Column("organisation", String, primary_key=True),
    Column("user_id", String, primary_key=True),
    Column("source", String, primary_key=True),  # granted, or groups: from the identity provider at the last sign-in
)

# Roles in pilots, of people and of organisations.
roles = Table(
    "roles",
    metadata,
    Column("pilot", String, primary_key=True),
    Column("holder_kind", String, primary_key=True),  # user, or organisation
    Column("holder", String, primary_key=True),
    Column("source", String, primary_key=True),  # granted, or groups
    Column("role", String, nullable=False),
    Column("who", String, nullable=False),
    Column("at", BigInteger, nullable=False),
    Index("roles_by_holder", "holder_kind", "holder"),
)

# Pilots that a person has marked with a star.
favourites = Table(
    "favourites",
    metadata,
    Column("user_id", String, primary_key=True),
    Column("pilot", String, primary_key=True),
)

# Invitations to a pilot, an organisation or, without either, to be an administrator. Good once.
invitations = Table(
    "invitations",
    metadata,
    Column("id", _SERIAL, primary_key=True, autoincrement=True),
    Column("token_hash", String, nullable=False, unique=True),
    Column("pilot", String),
    Column("role", String, nullable=False),  # viewer, researcher, editor, owner; member; administrator
    Column("organisation", String),
    Column("email", String, nullable=False, server_default=""),  # empty: whoever has the link
    Column("created", BigInteger, nullable=False),
    Column("expires", BigInteger, nullable=False),
    Column("who", String, nullable=False),
    Column("used", BigInteger),
    Column("used_by", String),
    Column("revoked", BigInteger),
    Index("invitations_by_pilot", "pilot", "id"),
    sqlite_autoincrement=True,
)

# One-time links to choose a new password.
password_resets = Table(
    "password_resets",
    metadata,
    Column("token_hash", String, primary_key=True),
    Column("user_id", String, nullable=False),
    Column("expires", BigInteger, nullable=False),
)

# Attempts to sign in that failed, counted by account and by address: hashes, not the names themselves.
sign_in_failures = Table(
    "sign_in_failures",
    metadata,
    Column("subject", String, primary_key=True),
    Column("count", Integer, nullable=False),
    Column("until", BigInteger, nullable=False),
)

# Browsers that are signed in. The cookie holds the token, the table its hash.
sessions = Table(
    "sessions",
    metadata,
    Column("id", _SERIAL, primary_key=True, autoincrement=True),
    Column("token_hash", String, nullable=False, unique=True),
    Column("user_id", String, nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("expires", BigInteger, nullable=False),
    Column("last_used", BigInteger, nullable=False),
    Column("address", String, nullable=False),
    Column("agent", String, nullable=False),
    Column("provider_token", Text),  # the identity provider's, to sign out there too
    Index("sessions_by_user", "user_id"),
    sqlite_autoincrement=True,
)

# Sign-ins at the identity provider that have begun: what its answer has to match. Each is good once.
provider_sign_ins = Table(
    "provider_sign_ins",
    metadata,
    Column("state_hash", String, primary_key=True),
    Column("nonce", String, nullable=False),
    Column("verifier", String, nullable=False),
    Column("destination", Text, nullable=False),
    Column("invitation", String),  # hash of the token of an invitation that is being accepted
    Column("expires", BigInteger, nullable=False),
)

# Tokens of programs. The text is shown once, the table has its hash.
api_tokens = Table(
    "api_tokens",
    metadata,
    Column("id", _SERIAL, primary_key=True, autoincrement=True),
    Column("prefix", String, nullable=False),  # the beginning of the text, to recognise it by
    Column("token_hash", String, nullable=False, unique=True),
    Column("user_id", String, nullable=False),  # whose rights it has at most
    Column("name", String, nullable=False),
    Column("pilots", Text),  # JSON list; NULL: all
    Column("actions", Text, nullable=False),  # JSON list
    Column("created", BigInteger, nullable=False),
    Column("expires", BigInteger, nullable=False),
    Column("last_used", BigInteger),
    Column("revoked", BigInteger),
    Index("api_tokens_by_user", "user_id"),
    sqlite_autoincrement=True,
)

# E-mails that are to be sent. What was sent loses its text, and goes a week later.
outbox = Table(
    "outbox",
    metadata,
    Column("id", _SERIAL, primary_key=True, autoincrement=True),
    Column("purpose", String, nullable=False),  # what it is about: invitation, password-reset, alert
    Column("recipient", String, nullable=False),
    Column("subject", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("next_try", BigInteger),  # NULL: it was sent, or is given up
    Column("tries", Integer, nullable=False, server_default="0"),
    Column("taken_until", BigInteger),  # by a process that is sending it
    Column("sent", BigInteger),
    Column("error", Text),  # what the server said last
    Column("pilot", String),  # whose devices it may name; NULL: of none
    Index("outbox_by_next_try", "next_try"),
    sqlite_autoincrement=True,
)

# What needs or needed somebody: a rule, what it is about, and the parameters of its sentence as JSON.
alerts = Table(
    "alerts",
    metadata,
    Column("id", _SERIAL, primary_key=True, autoincrement=True),
    Column("pilot", String, nullable=False),
    Column("rule", String, nullable=False),
    Column("subject", String, nullable=False),
    Column("params", Text, nullable=False),
    Column("began", BigInteger, nullable=False),
    Column("seen", BigInteger, nullable=False),  # when it was last so
    Column("recovered", BigInteger),  # NULL: it is so
    Column("acknowledged", BigInteger),
    Column("acknowledged_by", String, nullable=False, server_default=""),
    Column("note", Text, nullable=False, server_default=""),
    Index("alerts_by_pilot", "pilot", "began"),
    Index("alerts_open", "recovered"),
    # Several processes may look at the same moment: one of them begins an alert.
    Index(
        "alerts_open_once",
        "pilot",
        "rule",
        "subject",
        unique=True,
        sqlite_where=text("recovered IS NULL"),
        postgresql_where=text("recovered IS NULL"),
    ),
    sqlite_autoincrement=True,
)

# Who is told of a pilot's alerts, or of all pilots' where `pilot` is empty.
alert_recipients = Table(
    "alert_recipients",
    metadata,
    Column("id", _SERIAL, primary_key=True, autoincrement=True),
    Column("pilot", String, nullable=False),
    Column("address", Text, nullable=False),  # an e-mail address, or the URL of a webhook
    Column("language", String, nullable=False),
    Column("weekly", Integer, nullable=False),  # 1: gets the weekly summary too
    Column("who", String, nullable=False),
    Column("at", BigInteger, nullable=False),
    Index("alert_recipients_once", "pilot", "address", unique=True),
    sqlite_autoincrement=True,
)

# Periods in which nobody is told.
alert_silences = Table(
    "alert_silences",
    metadata,
    Column("id", _SERIAL, primary_key=True, autoincrement=True),
    Column("pilot", String, nullable=False),
    Column("rule", String, nullable=False),  # empty: all
    Column("subject", String, nullable=False),  # empty: all
    Column("start", BigInteger, nullable=False),
    Column("until", BigInteger),  # NULL: until it is taken away
    Column("reason", Text, nullable=False),
    Column("who", String, nullable=False),
    sqlite_autoincrement=True,
)

# Weeks whose summary has been written to the outbox.
alert_weeks = Table(
    "alert_weeks",
    metadata,
    Column("pilot", String, primary_key=True),
    Column("week", String, primary_key=True),  # 2026-W49
)

# When somebody last looked for alerts: one row.
alert_looks = Table(
    "alert_looks",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),  # 1
    Column("at", BigInteger, nullable=False),
)

# What was planned, frozen when the pilot was started: question, KPIs, phases, exclusions. SHA-256 of `content`.
registrations = Table(
    "registrations",
    metadata,
    Column("pilot", String, primary_key=True),
    Column("version", Integer, nullable=False),  # of the definition
    Column("sha256", String, nullable=False),
    Column("content", Text, nullable=False),  # JSON of registry.registration.Plan
    Column("at", BigInteger, nullable=False),
)

# What the pilot's team recommends, in its own words. The last one counts; the earlier ones stay.
recommendations = Table(
    "recommendations",
    metadata,
    Column("pilot", String, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("nb", Text, nullable=False),
    Column("en", Text, nullable=False),
    Column("author", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
)

# What a closed pilot's report is made of, so that it stays when the readings are erased.
closing_figures = Table(
    "closing_figures",
    metadata,
    Column("pilot", String, primary_key=True),
    Column("content", Text, nullable=False),  # JSON of reports.build.Figures
    Column("at", BigInteger, nullable=False),
)

# Who did what: only ever added to, each entry hashed together with the one before (access/audit_log.py). `who` and
# `about` can be erased with their salts: the hash is over their salted digests, which stay.
audit_log = Table(
    "audit_log",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("at", BigInteger, nullable=False),
    Column("until", BigInteger, nullable=False),
    Column("kind", String, nullable=False),
    Column("action", String, nullable=False),
    Column("what", String, nullable=False),
    Column("pilot", String, nullable=False),
    Column("times", BigInteger, nullable=False),
    Column("who", String, nullable=False),
    Column("who_salt", String, nullable=False),
    Column("who_digest", String, nullable=False),
    Column("about", Text, nullable=False),
    Column("about_salt", String, nullable=False),
    Column("about_digest", String, nullable=False),
    Column("hash", String, nullable=False),
)
Index("audit_log_by_pilot", audit_log.c.pilot, audit_log.c.number)
Index("audit_log_by_who", audit_log.c.who)

# One row: the last entry, which the next one goes on from, and the last one that was removed as too old.
audit_head = Table(
    "audit_head",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("number", BigInteger, nullable=False),
    Column("hash", String, nullable=False),
    Column("anchor_number", BigInteger, nullable=False),
    Column("anchor_hash", String, nullable=False),
)

# Keys of pseudonyms, which make nothing out of an identifier that anybody can undo once they are gone.
pseudonym_keys = Table(
    "pseudonym_keys",
    metadata,
    Column("pilot", String, primary_key=True),
    Column("length", BigInteger, primary_key=True, autoincrement=False),  # of a period, µs
    Column("period", BigInteger, primary_key=True, autoincrement=False),
    Column("secret", LargeBinary, nullable=False),
)

# Derived feeds of a pilot's data for others: what is in one never changes.
shares = Table(
    "shares",
    metadata,
    Column("id", String, primary_key=True),
    Column("key", String, nullable=False),  # the last part of its address
    Column("pilot", String, nullable=False),
    Column("content", Text, nullable=False),  # JSON of access.shares._Content
    Column("who", String, nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("expires", BigInteger, nullable=False),
    Column("published", BigInteger),  # NULL: only those see it who may share the pilot
    Column("revoked", BigInteger),
    Column("reads", BigInteger, nullable=False, server_default="0"),
    Column("last_read", BigInteger),
    Index("shares_by_key", "key", unique=True),
    Index("shares_by_pilot", "pilot", "created"),
)
