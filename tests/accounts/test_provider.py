"""Signing in through a real identity provider: groups, accounts, signing out, and tokens that must not be taken."""

from __future__ import annotations

import base64
import hmac
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from authlib.common.errors import AuthlibBaseError
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey

from techport_dashboards import WebSettings
from techport_dashboards.problems import Problem
from techport_dashboards.services.identity_provider import IdentityProvider, Profile
from techport_dashboards.settings import ProviderSettings
from techport_pilots.access import audit_log
from techport_pilots.access.accounts import Accounts
from techport_pilots.access.invitations import Invitations, PasswordResets
from techport_pilots.access.policy import OF_ROLE
from techport_pilots.access.sessions import Sessions
from tests.dashboards.conftest import AIR
from tests.dashboards.web import City, serving
from tests.servers.identity_provider import CLIENT, SECRET, NanoIdp, nanoidp
from tests.servers.mosquitto import free_port

GROUPS = {
    "air-team": ["editor:kai-luft", "viewer:kai-luft"],
    "staff": ["member:kommunen"],
    "admins": ["administrator"],
}


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NanoIdp]:
    with nanoidp(tmp_path_factory.mktemp("provider") / "idp", free_port()) as running:
        yield running


def settings_of(provider: NanoIdp, **changes: Any) -> ProviderSettings:
    return ProviderSettings(
        **{"issuer": provider.issuer, "client_id": CLIENT, "client_secret": SECRET, "groups": GROUPS, **changes}
    )


@pytest.fixture
def city(tmp_path: Path) -> Iterator[City]:
    city = City.at(tmp_path)
    city.import_text(AIR)
    yield city
    city.close()


@pytest.fixture
def address(city: City, provider: NanoIdp) -> Iterator[str]:
    settings = WebSettings(language="en", provider=settings_of(provider), local_passwords=False)
    with serving(city.app(settings, signed_in=False)) as address:
        yield address


def sign_in(client: httpx.Client, provider: NanoIdp, name: str, path: str = "/sign-in/provider?next=/portfolio") -> str:
    """Go to the provider and back, as a browser; where the platform sends the browser on to."""
    away = client.get(path)
    assert away.status_code == 303
    back = provider.sign_in(away.headers["location"], name)
    arrived = client.get(back.headers["location"])
    assert arrived.status_code == 303, arrived.text
    return str(arrived.headers["location"])


def test_somebody_signs_in_with_groups_and_out_again(city: City, provider: NanoIdp, address: str) -> None:
    accounts = Accounts(city.registry.database)
    accounts.create_organisation("kommunen", "Kommunen", "test")
    with httpx.Client(base_url=address) as client:
        asked = urlsplit(client.get("/sign-in/provider").headers["location"])
        query = {name: values[0] for name, values in parse_qs(asked.query).items()}
        assert query["code_challenge_method"] == "S256"
        assert {"state", "nonce", "code_challenge"} <= set(query)
        assert sign_in(client, provider, "kari") == "/portfolio"
        user = accounts.by_email("kari@example.org")
        assert user is not None
        assert not user.administrator
        assert not user.has_password
        assert accounts.roles_of(user.id) == [("kai-luft", "editor")]
        assert accounts.organisations_of(user.id) == ["kommunen"]
        me = client.get("/api/v1/me").json()
        assert me["who"] == "kari@example.org"
        assert set(me["pilots"]["kai-luft"]) == OF_ROLE["editor"]
        away = client.post("/sign-out").headers["location"]
        assert away.startswith(f"{provider.issuer}/logout?id_token_hint=")
        assert client.get("/portfolio").status_code == 401
        assert client.get(away).status_code < 400


def test_the_same_person_again_is_the_same_account_with_the_groups_of_now(
    city: City, provider: NanoIdp, address: str
) -> None:
    accounts = Accounts(city.registry.database)
    for _ in range(2):
        with httpx.Client(base_url=address) as client:
            sign_in(client, provider, "ola")
    (user,) = accounts.all()
    assert user.administrator
    accounts.create("other@example.org", "", "test", administrator=True)
    profile: dict[str, Any] = {"issuer": provider.issuer, "email": user.email, "email_verified": True}
    profile |= {"name": "", "id_token": ""}
    known = IdentityProvider(settings_of(provider), city.registry.database)
    with city.registry.database.reading() as transaction:
        subject = transaction.execute("SELECT subject FROM user_identities").scalar_one()
    again = known.admit(accounts, Profile(subject=subject, groups=["air-team"], **profile))
    assert again.id == user.id
    assert not again.administrator, "the group is gone, and so is what it gave"
    accounts.grant("kai-luft", "user", user.id, "viewer", "somebody")
    known.admit(accounts, Profile(subject=subject, groups=[], **profile))
    assert accounts.roles_of(user.id) == [("kai-luft", "viewer")], "what somebody gave stays"
    accounts.set_disabled(user.id, True)
    with pytest.raises(Problem, match="locked"):
        known.admit(accounts, Profile(subject=subject, groups=[], **profile))


def test_an_address_that_the_provider_does_not_vouch_for_takes_over_no_account(city: City, provider: NanoIdp) -> None:
    accounts = Accounts(city.registry.database)
    old = accounts.create("kari@example.org", "", "test", administrator=True)
    claimed = Profile(
        issuer=provider.issuer,
        subject="mallory",
        email="kari@example.org",
        email_verified=False,
        name="",
        groups=[],
        id_token="",
    )
    with pytest.raises(Problem, match="does not say that the address is yours"):
        IdentityProvider(settings_of(provider), city.registry.database).admit(accounts, claimed)
    trusting = IdentityProvider(settings_of(provider, trust_email=True), city.registry.database)
    assert trusting.admit(accounts, claimed).id == old.id


def test_an_invitation_is_accepted_on_the_way(city: City, provider: NanoIdp, address: str) -> None:
    _, token = Invitations(city.registry.database).create("ola", "owner", pilot="kai-luft", email="eva@example.org")
    with httpx.Client(base_url=address) as client:
        assert f"/sign-in/provider?invitation={token}" in client.get(f"/invitation?token={token}").text
        assert sign_in(client, provider, "eva", f"/sign-in/provider?invitation={token}") == "/pilots/kai-luft"
        assert client.get("/pilots/kai-luft/people").status_code == 200


def test_passwords_can_be_switched_off(city: City, address: str) -> None:
    Accounts(city.registry.database).create("kari@example.org", "", "test", password="four lamps above Bakklandet")
    form = {"email": "kari@example.org", "password": "four lamps above Bakklandet"}
    assert httpx.post(f"{address}/sign-in", data=form).status_code == 401
    assert 'name="password"' not in httpx.get(f"{address}/sign-in").text


def test_no_link_to_a_new_password_signs_in_where_passwords_are_switched_off(city: City, address: str) -> None:
    user = Accounts(city.registry.database).create("kari@example.org", "", "test")
    token = PasswordResets(city.registry.database).create(user.id)
    new = "another row of four words"
    for answer in (
        httpx.get(f"{address}/forgotten"),
        httpx.post(f"{address}/forgotten", data={"email": "kari@example.org"}),
        httpx.get(f"{address}/reset", params={"token": token}),
        httpx.post(f"{address}/reset", data={"token": token, "password": new, "again": new}),
    ):
        assert answer.status_code == 403
        assert "set-cookie" not in answer.headers
    assert PasswordResets(city.registry.database).find(token) is not None


def test_an_answer_is_good_once_and_for_the_browser_that_asked(city: City, provider: NanoIdp, address: str) -> None:
    with httpx.Client(base_url=address) as client, httpx.Client(base_url=address) as other:
        away = client.get("/sign-in/provider").headers["location"]
        other.get("/sign-in/provider")
        back = provider.sign_in(away, "kari").headers["location"]
        stolen = other.get(back)
        assert stolen.status_code == 401
        assert "not begun in this browser" in stolen.text
        before = dict(client.cookies)
        assert client.get(back).status_code == 303
        client.cookies = httpx.Cookies(before)
        replayed = client.get(back)
        assert replayed.status_code == 401
        assert "set-cookie" not in replayed.headers
        # The code again, within a sign-in that has begun anew: the provider refuses it.
        fresh = parse_qs(urlsplit(client.get("/sign-in/provider").headers["location"]).query)["state"][0]
        code = parse_qs(urlsplit(back).query)["code"][0]
        again = client.get("/sign-in/callback", params={"code": code, "state": fresh})
        assert again.status_code == 401
        assert client.get("/sign-in/callback", params={"error": "access_denied", "state": fresh}).status_code == 401
    assert len(Accounts(city.registry.database).all()) == 1
    user = Accounts(city.registry.database).all()[0]
    assert len(Sessions(city.registry.database).of(user.id)) == 1


FORGED: dict[str, dict[str, Any]] = {
    "expired": {"exp": -3_600, "iat": -7_200},
    "from the future": {"iat": 3_600},
    "for somebody else": {"aud": "another-client"},
    "for several, of which another asked": {"aud": [CLIENT, "another-client"], "azp": "another-client"},
    "of another issuer": {"iss": "https://evil.example"},
    "of another sign-in": {"nonce": "that one"},
    "without a nonce": {"nonce": None},
    "without a subject": {"sub": None},
    "without an end": {"exp": None},
}


def id_token(provider: NanoIdp, key: Any, algorithm: str = "RS256", **changes: Any) -> dict[str, Any]:
    """A token as the provider makes it, signed with its own key unless told, but for the changes."""
    now = int(time.time())
    claims: dict[str, Any] = {
        "iss": provider.issuer,
        "sub": "kari",
        "aud": CLIENT,
        "nonce": "this one",
        "iat": now,
        "exp": now + 600,
    }
    for name, value in changes.items():
        claims[name] = now + value if name in ("exp", "iat") and value is not None else value
    claims = {name: value for name, value in claims.items() if value is not None}
    header = {"alg": algorithm}
    return {"id_token": jwt.encode(header, claims, key, algorithms=[algorithm])}


def test_a_good_token_is_taken(city: City, provider: NanoIdp) -> None:
    known = IdentityProvider(settings_of(provider), city.registry.database)
    claims = known.check_id_token(id_token(provider, RSAKey.import_key(provider.private_key)), "this one")
    assert claims["sub"] == "kari"


@pytest.mark.parametrize("changes", FORGED.values(), ids=FORGED.keys())
def test_no_other_token_is_taken(city: City, provider: NanoIdp, changes: dict[str, Any]) -> None:
    """Each is signed with the provider's real key."""
    known = IdentityProvider(settings_of(provider), city.registry.database)
    token = id_token(provider, RSAKey.import_key(provider.private_key), **changes)
    with pytest.raises((JoseError, AuthlibBaseError)):
        known.check_id_token(token, "this one")


def test_a_token_with_another_signature_is_refused(city: City, provider: NanoIdp) -> None:
    known = IdentityProvider(settings_of(provider), city.registry.database)
    public = RSAKey.import_key(provider.private_key).as_pem(private=False)
    own = id_token(provider, RSAKey.generate_key(2048))
    _, body, _ = own["id_token"].split(".")
    head = _encoded(b'{"alg":"HS256"}')
    keyed = {"id_token": f"{head}.{body}.{_encoded(hmac.digest(public, f'{head}.{body}'.encode(), 'sha256'))}"}
    unsigned = {"id_token": f"eyJhbGciOiJub25lIn0.{body}."}
    for token in (own, keyed, unsigned, {"id_token": f"{head}.{body}."}):
        with pytest.raises((JoseError, AuthlibBaseError, ValueError)):
            known.check_id_token(token, "this one")


def _encoded(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).decode().rstrip("=")


LOGOUT = {"http://schemas.openid.net/event/backchannel-logout": {}}


def logout_token(provider: NanoIdp, key: Any, **changes: Any) -> str:
    changes = {"nonce": None, "exp": 120, "events": LOGOUT, "jti": "1", **changes}
    return str(id_token(provider, key, **changes)["id_token"])


def test_who_signs_out_at_the_provider_is_signed_out_here(city: City, provider: NanoIdp, address: str) -> None:
    key = RSAKey.import_key(provider.private_key)
    with httpx.Client(base_url=address) as kari, httpx.Client(base_url=address) as ola:
        for client, name in ((kari, "kari"), (ola, "ola")):
            sign_in(client, provider, name)
            assert client.get("/api/v1/me").status_code == 200
        with city.registry.database.reading() as transaction:
            subject = transaction.execute(
                "SELECT subject FROM user_identities JOIN users ON users.id = user_id WHERE email = 'kari@example.org'"
            ).scalar_one()

        def tell(token: str) -> int:
            return httpx.post(f"{address}/sign-out/provider", data={"logout_token": token}).status_code

        own = {"sub": subject}
        for wrong in (
            {**own, "events": None},
            {**own, "events": {"http://schemas.openid.net/event/other": {}}},
            {**own, "nonce": "an ID token has one"},
            {**own, "aud": "another-client"},
            {**own, "iss": "https://evil.example"},
            {**own, "iat": -7_200, "exp": 600},
            {**own, "iat": -600, "exp": -300},
            {**own, "iat": 3_600, "exp": 7_200},
            {"sub": None},
        ):
            assert tell(logout_token(provider, key, **wrong)) == 400, wrong
        assert tell(logout_token(provider, RSAKey.generate_key(2048), **own)) == 400
        assert tell("x") == tell("") == 400
        assert tell(logout_token(provider, key, **own, iat=-500, exp=600)) == 200, "before this session began"
        assert tell(logout_token(provider, key, sub=None, sid="of nobody")) == 200
        assert kari.get("/api/v1/me").status_code == 200
        assert tell(logout_token(provider, key, **own)) == 200
        assert kari.get("/api/v1/me").status_code == 401
        assert ola.get("/api/v1/me").status_code == 200
    user = Accounts(city.registry.database).by_email("kari@example.org")
    assert user is not None
    logged = [one for one in audit_log.export(city.registry.database) if one.kind == "signed-out"]
    assert [(one.who, one.what) for one in logged] == [(user.id, "POST /sign-out/provider")]


def test_one_session_of_a_person_can_end(city: City, provider: NanoIdp) -> None:
    known = IdentityProvider(settings_of(provider), city.registry.database)
    key = RSAKey.import_key(provider.private_key)
    signed_out = known.signed_out(logout_token(provider, key, sid="first"))
    first, second = (id_token(provider, key, sid=session)["id_token"] for session in ("first", "second"))
    assert signed_out.concerns(first)
    assert not signed_out.concerns(second)
    assert not any(signed_out.concerns(text) for text in ("", "a.b.c", "..", "a.W10.c"))


def test_a_provider_that_does_not_answer_is_told_and_others_sign_in(city: City) -> None:
    settings = WebSettings(language="en", provider=ProviderSettings(f"http://127.0.0.1:{free_port()}", CLIENT, SECRET))
    Accounts(city.registry.database).create("kari@example.org", "", "test", password="four lamps above Bakklandet")
    with serving(city.app(settings, signed_in=False)) as address:
        assert httpx.get(f"{address}/sign-in/provider").status_code == 503
        form = {"email": "kari@example.org", "password": "four lamps above Bakklandet"}
        assert httpx.post(f"{address}/sign-in", data=form).status_code == 303


def test_a_provider_that_calls_itself_otherwise_is_refused(city: City, provider: NanoIdp) -> None:
    other = provider.issuer.replace("127.0.0.1", "localhost")
    known = IdentityProvider(settings_of(provider, issuer=other), city.registry.database)
    with pytest.raises(Problem, match="calls itself"):
        known.begin("http://127.0.0.1/sign-in/callback", "/")
