"""Accounts: people, organisations, roles, invitations, sessions, API tokens, and e-mails that wait to be sent.

Revision: 0015
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    serial = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "users",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("email", sa.String, nullable=False, unique=True),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("password", sa.String),
        sa.Column("administrator", sa.Integer, nullable=False),
        sa.Column("disabled", sa.Integer, nullable=False, server_default="0"),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("created_by", sa.String, nullable=False),
        sa.Column("signed_in", sa.BigInteger),
    )
    op.create_table(
        "user_identities",
        sa.Column("issuer", sa.String, primary_key=True),
        sa.Column("subject", sa.String, primary_key=True),
        sa.Column("user_id", sa.String, nullable=False),
    )
    op.create_table(
        "organisations",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("created_by", sa.String, nullable=False),
    )
    op.create_table(
        "organisation_members",
        sa.Column("organisation", sa.String, primary_key=True),
        sa.Column("user_id", sa.String, primary_key=True),
        sa.Column("source", sa.String, primary_key=True),
    )
    op.create_table(
        "roles",
        sa.Column("pilot", sa.String, primary_key=True),
        sa.Column("holder_kind", sa.String, primary_key=True),
        sa.Column("holder", sa.String, primary_key=True),
        sa.Column("source", sa.String, primary_key=True),
        sa.Column("role", sa.String, nullable=False),
        sa.Column("who", sa.String, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
    )
    op.create_index("roles_by_holder", "roles", ["holder_kind", "holder"])
    op.create_table(
        "invitations",
        sa.Column("id", serial, primary_key=True, autoincrement=True),
        sa.Column("token_hash", sa.String, nullable=False, unique=True),
        sa.Column("pilot", sa.String),
        sa.Column("role", sa.String, nullable=False),
        sa.Column("organisation", sa.String),
        sa.Column("email", sa.String, nullable=False, server_default=""),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("expires", sa.BigInteger, nullable=False),
        sa.Column("who", sa.String, nullable=False),
        sa.Column("used", sa.BigInteger),
        sa.Column("used_by", sa.String),
        sa.Column("revoked", sa.BigInteger),
        sqlite_autoincrement=True,
    )
    op.create_index("invitations_by_pilot", "invitations", ["pilot", "id"])
    op.create_table(
        "password_resets",
        sa.Column("token_hash", sa.String, primary_key=True),
        sa.Column("user_id", sa.String, nullable=False),
        sa.Column("expires", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "sign_in_failures",
        sa.Column("subject", sa.String, primary_key=True),
        sa.Column("count", sa.Integer, nullable=False),
        sa.Column("until", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "sessions",
        sa.Column("id", serial, primary_key=True, autoincrement=True),
        sa.Column("token_hash", sa.String, nullable=False, unique=True),
        sa.Column("user_id", sa.String, nullable=False),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("expires", sa.BigInteger, nullable=False),
        sa.Column("last_used", sa.BigInteger, nullable=False),
        sa.Column("address", sa.String, nullable=False),
        sa.Column("agent", sa.String, nullable=False),
        sa.Column("provider_token", sa.Text),
        sqlite_autoincrement=True,
    )
    op.create_index("sessions_by_user", "sessions", ["user_id"])
    op.create_table(
        "provider_sign_ins",
        sa.Column("state_hash", sa.String, primary_key=True),
        sa.Column("nonce", sa.String, nullable=False),
        sa.Column("verifier", sa.String, nullable=False),
        sa.Column("destination", sa.Text, nullable=False),
        sa.Column("invitation", sa.String),
        sa.Column("expires", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "api_tokens",
        sa.Column("id", serial, primary_key=True, autoincrement=True),
        sa.Column("prefix", sa.String, nullable=False),
        sa.Column("token_hash", sa.String, nullable=False, unique=True),
        sa.Column("user_id", sa.String, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("pilots", sa.Text),
        sa.Column("actions", sa.Text, nullable=False),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("expires", sa.BigInteger, nullable=False),
        sa.Column("last_used", sa.BigInteger),
        sa.Column("revoked", sa.BigInteger),
        sqlite_autoincrement=True,
    )
    op.create_index("api_tokens_by_user", "api_tokens", ["user_id"])
    op.create_table(
        "outbox",
        sa.Column("id", serial, primary_key=True, autoincrement=True),
        sa.Column("purpose", sa.String, nullable=False),
        sa.Column("recipient", sa.String, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("next_try", sa.BigInteger),
        sa.Column("tries", sa.Integer, nullable=False, server_default="0"),
        sa.Column("taken_until", sa.BigInteger),
        sa.Column("sent", sa.BigInteger),
        sa.Column("error", sa.Text),
        sqlite_autoincrement=True,
    )
    op.create_index("outbox_by_next_try", "outbox", ["next_try"])
