"""Signing in through an identity provider with OpenID Connect: the code flow with PKCE, state and nonce.

    begin ─► the provider asks the person ─► back with a code ─► finish: code for tokens, ID token checked ─► Profile

What has begun stands in the registry and is good once, for ten minutes, for the browser that began it. Groups become
roles at each sign-in, by the setting `oidc_groups`.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
import threading
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode, urlsplit

import msgspec

from techport_dashboards.problems import Problem
from techport_dashboards.settings import ProviderSettings
from techport_pilots.access.accounts import AccountError, Accounts, User
from techport_pilots.access.policy import ROLES, Role
from techport_pilots.access.sessions import hashed_token
from techport_pilots.registry.database import Database
from techport_storage.clock import now
from techport_storage.microseconds import MINUTE, SECOND
from techport_storage.model import Micros

BEGUN_LASTS: Micros = 10 * MINUTE
LEEWAY_S = 60
"""Between the provider's clock and ours."""
METADATA_S = 3_600.0
TIMEOUT_S = 10.0
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519")
"""Signatures with a public key: with a shared one, whoever knows the client's secret could sign for anybody."""

_LOGOUT = "http://schemas.openid.net/event/backchannel-logout"
_ADD = (
    "INSERT INTO provider_sign_ins (state_hash, nonce, verifier, destination, invitation, expires)"
    " VALUES (:state, :nonce, :verifier, :destination, :invitation, :expires)"
)
_TAKE = (
    "DELETE FROM provider_sign_ins WHERE state_hash = :state AND expires > :at"
    " RETURNING nonce, verifier, destination, invitation"
)


class Begun(msgspec.Struct, frozen=True):
    """A sign-in that has begun: where to send the browser, and what it must bring back."""

    address: str
    state: str


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """Who the provider says somebody is."""

    issuer: str
    subject: str
    email: str
    email_verified: bool
    name: str
    groups: list[str]
    id_token: str


class Finished(msgspec.Struct, frozen=True):
    profile: Profile
    destination: str
    invitation: str
    """Token of an invitation that is to be accepted; empty: none."""


class SignedOut(msgspec.Struct, frozen=True):
    """Whom the provider has signed out: a person, one of their sessions, or both."""

    issuer: str
    subject: str | None
    session: str | None
    before: Micros
    """Sessions that began later are not meant: who signs in again meanwhile stays, and a replay ends nothing new."""

    def concerns(self, id_token: str) -> bool:
        """Whether the session that began with this ID token, which was checked then, is over."""
        claims = _claims(id_token)
        return (
            claims.get("iss") == self.issuer
            and (self.subject is None or claims.get("sub") == self.subject)
            and (self.session is None or claims.get("sid") == self.session)
        )


class IdentityProvider:
    """One provider. Safe to use from several threads."""

    def __init__(self, settings: ProviderSettings, database: Database) -> None:
        self._settings = settings
        self._database = database
        self._lock = threading.Lock()
        self._read: tuple[float, dict[str, Any], Any] | None = None

    @property
    def name(self) -> str:
        return self._settings.name

    def begin(self, callback: str, destination: str, invitation: str = "") -> Begun:
        """Where to send the browser. Raises Problem when the provider does not answer, RegistryUnavailable."""
        metadata, _ = self._metadata()
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        row = {
            "state": hashed_token(state),
            "nonce": nonce,
            "verifier": verifier,
            "destination": destination,
            "invitation": invitation,
            "expires": now() + BEGUN_LASTS,
        }
        with self._database.writing() as transaction:
            transaction.execute("DELETE FROM provider_sign_ins WHERE expires <= :at", {"at": now()})
            transaction.execute(_ADD, row)
        more = {"acr_values": self._settings.acr_values} if self._settings.acr_values else {}
        with self._client(callback) as client:
            address, _ = client.create_authorization_url(
                metadata["authorization_endpoint"], state=state, nonce=nonce, code_verifier=verifier, **more
            )
        return Begun(address, state)

    def finish(self, callback: str, code: str, state: str) -> Finished:
        """Who came back. Raises Problem for an answer that does not belong to a sign-in that has begun, and for an ID
        token that is not for us, is expired, replayed or not signed by the provider."""
        with self._database.writing() as transaction:
            row = transaction.execute(_TAKE, {"state": hashed_token(state), "at": now()}).first()
        if row is None:
            raise Problem("sign-in-failed", "This sign-in was not begun here, or took too long. Begin again.")
        import httpx2
        from authlib.common.errors import AuthlibBaseError
        from joserfc.errors import JoseError

        metadata, _ = self._metadata()
        try:
            with self._client(callback) as client:
                tokens = client.fetch_token(
                    metadata["token_endpoint"],
                    grant_type="authorization_code",
                    code=code,
                    code_verifier=row.verifier,
                    redirect_uri=callback,
                )
                claims = self.check_id_token(tokens, row.nonce)
                userinfo = self._userinfo(client, metadata, claims)
        except (AuthlibBaseError, JoseError, httpx2.HTTPError, ValueError, KeyError, TypeError) as error:
            raise _failed(error) from error
        return Finished(
            self._profile(claims | userinfo, str(tokens["id_token"])), row.destination, row.invitation or ""
        )

    def sign_out_address(self, id_token: str, back: str) -> str | None:
        """Where the person also signs out at the provider; None where it has no such address, or does not answer."""
        try:
            endpoint = self._metadata()[0].get("end_session_endpoint")
        except Problem:
            return None
        if not endpoint:
            return None
        query = {"id_token_hint": id_token, "post_logout_redirect_uri": back, "client_id": self._settings.client_id}
        return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(query)}"

    def admit(self, accounts: Accounts, profile: Profile) -> User:
        """The person's account, made at the first sign-in, with the roles of their groups. Raises Problem for one that
        is locked, and where somebody else has the address."""
        user = accounts.by_identity(profile.issuer, profile.subject)
        if user is None:
            user = self._first_time(accounts, profile)
        if user.disabled:
            raise Problem("sign-in-failed", "This account is locked. An administrator can unlock it.")
        roles, organisations, administrator = self._granted(profile.groups)
        keeps = None if user.has_password and not administrator else administrator
        manages = any("administrator" in granted for granted in self._settings.groups.values())
        accounts.apply_groups(user.id, roles, organisations, keeps if manages else None)
        return accounts.find(user.id) or user

    def _first_time(self, accounts: Accounts, profile: Profile) -> User:
        host = urlsplit(profile.issuer).hostname or "provider"
        subject = hashlib.sha256(profile.subject.encode()).hexdigest()[:16]
        email = profile.email or f"{subject}@{host}"
        user = accounts.by_email(email)
        if user is not None and not (profile.email_verified or self._settings.trust_email):
            raise Problem(
                "sign-in-failed",
                "There is an account with your address already, and the identity provider does not say that the "
                "address is yours. Ask an administrator to delete the old account.",
            )
        if user is None:
            try:
                user = accounts.create(email, profile.name, "identity provider")
            except AccountError as error:
                raise Problem("sign-in-failed", error.message) from error
        accounts.link_identity(user.id, profile.issuer, profile.subject)
        return user

    def _granted(self, groups: list[str]) -> tuple[dict[str, Role], set[str], bool]:
        """Roles by pilot, organisations, and whether the groups make an administrator. The strongest role wins."""
        roles: dict[str, Role] = {}
        organisations: set[str] = set()
        administrator = False
        for group in groups:
            for granted in self._settings.groups.get(group, ()):
                kind, _, name = granted.partition(":")
                if kind == "administrator":
                    administrator = True
                elif kind == "member":
                    organisations.add(name)
                elif kind in ROLES and (name not in roles or ROLES.index(kind) > ROLES.index(roles[name])):
                    roles[name] = kind
        return roles, organisations, administrator

    def _profile(self, claims: Mapping[str, Any], id_token: str) -> Profile:
        groups = claims.get(self._settings.groups_claim, [])
        names = [claims.get("given_name"), claims.get("family_name")]
        return Profile(
            issuer=str(claims["iss"]),
            subject=str(claims["sub"]),
            email=str(claims.get("email") or ""),
            email_verified=claims.get("email_verified") is True,
            name=str(claims.get("name") or " ".join(str(part) for part in names if part)),
            groups=[str(group) for group in groups] if isinstance(groups, list) else [str(groups)],
            id_token=id_token,
        )

    def check_id_token(self, tokens: Mapping[str, Any], nonce: str) -> dict[str, Any]:
        """The claims of an ID token that is from this provider, for us, for this sign-in, and good now.

        Raises JoseError or AuthlibBaseError for another one, ValueError for what is none; Problem when the provider
        does not answer.
        """
        from authlib.oidc.core import CodeIDToken

        metadata, _ = self._metadata()
        token = self._signed(tokens["id_token"])
        client = self._settings.client_id
        options: Any = {
            "iss": {"essential": True, "value": metadata["issuer"]},
            "aud": {"essential": True, "value": client},
        }
        asked = {"nonce": nonce, "client_id": client, "access_token": tokens.get("access_token")}
        claims: Any = CodeIDToken(token.claims, token.header, options, asked)
        claims.validate(leeway=LEEWAY_S)
        return dict(claims)

    def signed_out(self, logout_token: str) -> SignedOut:
        """Whose sessions the provider says are over (OpenID Connect Back-Channel Logout 1.0, 2.6).

        Raises Problem for a token that is not the provider's, not for us, not of now, or not one that signs out.
        """
        from joserfc.errors import JoseError

        metadata, _ = self._metadata()
        try:
            claims = dict(self._signed(logout_token).claims)
            issued, expires = int(claims["iat"]), int(claims.get("exp") or claims["iat"])
            audience = claims["aud"] if isinstance(claims["aud"], list) else [claims["aud"]]
            subject, session = claims.get("sub"), claims.get("sid")
            moment = now() // SECOND
            good = (
                claims["iss"] == metadata["issuer"]
                and self._settings.client_id in audience
                and moment - BEGUN_LASTS // SECOND <= issued <= moment + LEEWAY_S
                and expires >= issued
                and moment <= max(expires, issued + LEEWAY_S) + LEEWAY_S
                and isinstance(claims["events"].get(_LOGOUT), dict)
                and "nonce" not in claims  # an ID token has one
                and (isinstance(subject, str) or isinstance(session, str))
            )
        except (JoseError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise _bad_logout() from error
        if not good:
            raise _bad_logout()
        return SignedOut(str(claims["iss"]), subject, session, (issued + LEEWAY_S) * SECOND)

    def _signed(self, text: str) -> Any:
        """The token, if the provider signed it. Raises JoseError, ValueError; Problem when it does not answer."""
        from joserfc import jwt
        from joserfc.errors import BadSignatureError, InvalidKeyIdError
        from joserfc.jws import JWSRegistry

        _, keys = self._metadata()
        registry = JWSRegistry(algorithms=list(ALGORITHMS), strict_check_header=False)
        try:
            return jwt.decode(text, keys, registry=registry)
        except (InvalidKeyIdError, BadSignatureError):  # the provider may have new keys
            _, keys = self._metadata(anew=True)
            return jwt.decode(text, keys, registry=registry)

    def _userinfo(self, client: Any, metadata: Mapping[str, Any], claims: Mapping[str, Any]) -> dict[str, Any]:
        """What the provider tells beside the ID token, if it is about the same person."""
        endpoint = metadata.get("userinfo_endpoint")
        if not endpoint or ("email" in claims and self._settings.groups_claim in claims):
            return {}
        userinfo = client.get(endpoint).raise_for_status().json()
        return (
            {name: userinfo[name] for name in userinfo if name not in claims}
            if userinfo.get("sub") == claims["sub"]
            else {}
        )

    def _metadata(self, *, anew: bool = False) -> tuple[dict[str, Any], Any]:
        """What the provider says of itself, and its keys; read once an hour. Raises Problem."""
        import httpx2
        from joserfc.jwk import KeySet

        with self._lock:
            if self._read is not None and not anew and time.monotonic() - self._read[0] < METADATA_S:
                return self._read[1], self._read[2]
        issuer = self._settings.issuer.rstrip("/")
        try:
            with httpx2.Client(timeout=TIMEOUT_S) as client:
                metadata = client.get(f"{issuer}/.well-known/openid-configuration").raise_for_status().json()
                if str(metadata["issuer"]).rstrip("/") != issuer:
                    raise ValueError(f"it calls itself {metadata['issuer']}")
                keys = KeySet.import_key_set(client.get(metadata["jwks_uri"]).raise_for_status().json())
        except (httpx2.HTTPError, ValueError, KeyError, TypeError) as error:
            raise Problem(
                "provider-unavailable", "The identity provider does not answer as it should: {what}.", what=error
            ) from error
        with self._lock:
            self._read = (time.monotonic(), metadata, keys)
        return metadata, keys

    def _client(self, callback: str) -> Any:
        from authlib.integrations.httpx_client import OAuth2Client

        client: Any = OAuth2Client
        return client(
            client_id=self._settings.client_id,
            client_secret=self._settings.client_secret,
            scope=self._settings.scopes,
            redirect_uri=callback,
            code_challenge_method="S256",
            timeout=TIMEOUT_S,
        )


def _claims(id_token: str) -> dict[str, Any]:
    body = id_token.split(".")[1] if id_token.count(".") == 2 else ""
    try:
        claims = msgspec.json.decode(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    except (ValueError, msgspec.MsgspecError):
        return {}
    return claims if isinstance(claims, dict) else {}


def _bad_logout() -> Problem:
    return Problem(
        "bad-parameter",
        "This is not a logout token of the identity provider, or it is too old.",
        parameter="logout_token",
    )


def _failed(error: Exception) -> Problem:
    """What went wrong, without what the provider's answer held."""
    return Problem(
        "sign-in-failed", "The identity provider's answer was refused ({what}). Begin again.", what=_what(error)
    )


def _what(error: Exception) -> str:
    return str(getattr(error, "error", "") or type(error).__name__)
