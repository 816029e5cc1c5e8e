"""Getting in and out through the pages: passwords, the first administrator, invitations, sessions, tokens."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from techport_dashboards import WebSettings
from techport_pilots.access.accounts import Accounts
from techport_pilots.access.api_tokens import ApiTokens
from techport_pilots.access.invitations import Invitations, PasswordResets
from techport_pilots.access.policy import ACTIONS
from techport_pilots.registry.outbox import Outbox
from tests.dashboards.conftest import AIR, anyio_backend, hourly
from tests.dashboards.web import Caller, City

__all__ = ["anyio_backend"]

pytestmark = pytest.mark.anyio
PASSWORD = "four lamps above Bakklandet"
CLOSED = """
id: hemmelig
title: {en: Secret}
question: {en: "Who?"}
devices:
  - {id: kran, interval: PT1H, streams: [{quantity: pm10}]}
"""


@pytest.fixture
def city(tmp_path: Path) -> Iterator[City]:
    city = City.at(tmp_path)
    city.import_text(AIR)
    city.import_text(CLOSED)
    city.write(*hourly("hemmelig", "kran", "pm10", 10))
    yield city
    city.close()


@asynccontextmanager
async def browser(
    city: City, settings: WebSettings | None = None, caller: Caller | None = None, base: str = "http://127.0.0.1"
) -> AsyncIterator[httpx.AsyncClient]:
    """A browser that keeps cookies; signed in as this caller, with a role in the closed pilot."""
    transport = httpx.ASGITransport(city.app(settings or WebSettings(language="en"), signed_in=False))
    async with httpx.AsyncClient(transport=transport, base_url=base, headers={"Accept": "text/html"}) as client:
        if caller is not None:
            name, _, value = city.cookie(caller, "hemmelig").partition("=")
            client.cookies.set(name, value, domain="127.0.0.1")
        yield client


async def sign_in(client: httpx.AsyncClient, email: str, password: str, destination: str = "/") -> httpx.Response:
    form = {"email": email, "password": password, "next": destination}
    return await client.post("/sign-in", data=form)


async def test_somebody_signs_in_and_out(city: City) -> None:
    Accounts(city.registry.database).create("kari@example.org", "Kari", "test", password=PASSWORD)
    async with browser(city) as client:
        refused = await client.get("/pilots/hemmelig")
        assert refused.status_code == 401
        assert "/sign-in?next=%2Fpilots%2Fhemmelig" in refused.text
        answer = await sign_in(client, "Kari@example.org ", PASSWORD, "/portfolio")
        assert (answer.status_code, answer.headers["location"]) == (303, "/portfolio")
        assert answer.headers["cache-control"] == "no-store"
        cookie = answer.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=lax" in cookie
        assert "secure" not in cookie
        page = await client.get("/portfolio")
        assert page.status_code == 200
        assert ">Kari</a>" in page.text
        assert "hemmelig" not in page.text
        held = dict(client.cookies)
        assert (await client.post("/sign-out")).headers["location"] == "/sign-in"
        assert (await client.get("/portfolio")).status_code == 401
        assert (await client.get("/portfolio", cookies=held)).status_code == 401, (
            "the session is over, not the cookie only"
        )


async def test_with_tls_the_cookie_belongs_to_this_host_alone(city: City) -> None:
    Accounts(city.registry.database).create("kari@example.org", "", "test", password=PASSWORD)
    async with browser(city, base="https://127.0.0.1") as client:
        cookie = (await sign_in(client, "kari@example.org", PASSWORD)).headers["set-cookie"]
        assert cookie.startswith("__Host-techport_session_")
        assert "Path=/" in cookie
        assert "Secure" in cookie
        assert "Domain" not in cookie
        assert (await client.get("/portfolio")).status_code == 200


async def test_a_wrong_password_and_no_account_are_told_alike(city: City) -> None:
    Accounts(city.registry.database).create("kari@example.org", "", "test", password=PASSWORD)
    async with browser(city) as client:
        wrong = await sign_in(client, "kari@example.org", "not the password")
        nobody = await sign_in(client, "nobody@example.org", "not the password")
        assert wrong.status_code == nobody.status_code == 401
        assert wrong.text.replace("kari@", "x@") == nobody.text.replace("nobody@", "x@")
        assert "do not belong together" in wrong.text
        for _ in range(10):
            last = await sign_in(client, "kari@example.org", "not the password")
        assert last.status_code == 429
        assert (await sign_in(client, "kari@example.org", PASSWORD)).status_code == 429, "also the right one waits"
        assert (await sign_in(client, "nobody@example.org", "x")).status_code == 401, "others are not held up"


@pytest.mark.parametrize(
    "elsewhere", ["//evil.example", "https://evil.example", "/\\evil.example", "javascript:x", "", "/a\r\nb"]
)
async def test_signing_in_leads_nowhere_else(city: City, elsewhere: str) -> None:
    Accounts(city.registry.database).create("kari@example.org", "", "test", password=PASSWORD)
    async with browser(city) as client:
        answer = await sign_in(client, "kari@example.org", PASSWORD, elsewhere)
        assert answer.headers["location"] == "/"
        page = (await client.get("/sign-in", params={"next": elsewhere})).text
        assert '<input type="hidden" name="next" value="/">' in page


async def test_another_sites_page_signs_nobody_in_or_out(city: City) -> None:
    async with browser(city, caller="viewer") as client:
        for path in ("/sign-in", "/sign-out", "/invitation", "/reset", "/account/sessions/end"):
            answer = await client.post(path, data={"session": "all"}, headers={"Sec-Fetch-Site": "cross-site"})
            assert answer.status_code == 403, path
        assert (await client.get("/portfolio")).status_code == 200


async def test_the_operator_makes_the_first_administrator(city: City) -> None:
    async with browser(city, caller="operator") as client:
        assert "/setup" in (await client.get("/people")).text
        assert "/setup" in (await client.get("/")).text, "the first page offers it"
        form = {"email": "kari@example.org", "name": "Kari", "password": PASSWORD, "again": PASSWORD}
        for wrong in (
            {"again": "another one than that"},
            {"password": "short", "again": "short"},
            {"email": "no address"},
        ):
            refused = await client.post("/setup", data=form | wrong)
            assert refused.status_code == 422
            assert 'role="alert"' in refused.text
        made = await client.post("/setup", data=form)
        assert (made.status_code, made.headers["location"]) == (303, "/people")
        assert "kari@example.org" in (await client.get("/people")).text
        assert "/setup" not in (await client.get("/")).text
        second = await client.post("/setup", data=form | {"email": "ola@example.org"})
        assert second.status_code == 422
    assert [user.email for user in Accounts(city.registry.database).all()] == ["kari@example.org"]
    async with browser(city) as anybody:
        assert (await anybody.get("/setup")).status_code == 401


async def invite(client: httpx.AsyncClient, **form: str) -> str:
    """The path of the link of a new invitation to the closed pilot."""
    page = await client.post("/pilots/hemmelig/people/invite", data={"role": "viewer", "days": "7", **form})
    assert page.status_code == 200, page.text
    found = re.search(r"<code>http://127\.0\.0\.1(/invitation\?token=[\w-]+)</code>", page.text)
    assert found is not None
    return found[1]


async def test_an_owner_invites_and_somebody_accepts_with_a_new_account(city: City) -> None:
    async with browser(city, caller="owner") as owner, browser(city) as guest:
        link = await invite(owner, role="editor", email="kari@example.org")
        page = await guest.get(link)
        assert "owner@example.org has invited you to “Secret” as editor" in page.text
        assert page.headers["referrer-policy"] == "no-referrer"
        assert page.headers["cache-control"] == "no-store"
        form = {"token": link.partition("=")[2], "name": "Kari", "password": PASSWORD, "again": PASSWORD}
        accepted = await guest.post("/invitation", data=form)
        assert accepted.headers["location"] == "/pilots/hemmelig"
        assert (await guest.get("/pilots/hemmelig")).status_code == 200
        assert (await guest.get("/pilots/hemmelig/onboarding")).status_code == 200
        assert (await guest.get("/pilots/hemmelig/people")).status_code == 403
        again = await guest.get(link)
        assert again.status_code == 410
        people = await owner.get("/pilots/hemmelig/people")
        assert "kari@example.org" in people.text


async def test_who_is_signed_in_accepts_as_they_are(city: City) -> None:
    async with browser(city, caller="owner") as owner, browser(city, caller="outsider") as guest:
        assert (await guest.get("/pilots/hemmelig")).status_code == 404
        link = await invite(owner)
        page = await guest.get(link)
        assert "Accept as outsider@example.org" in page.text
        accepted = await guest.post("/invitation", data={"token": link.partition("=")[2]})
        assert accepted.headers["location"] == "/pilots/hemmelig"
        assert (await guest.get("/pilots/hemmelig")).status_code == 200, "at once"


async def test_a_revoked_invitation_lets_nobody_in(city: City) -> None:
    async with browser(city, caller="owner") as owner, browser(city, caller="outsider") as guest:
        link = await invite(owner)
        number = re.search(r'name="invitation" value="(\d+)"', (await owner.get("/pilots/hemmelig/people")).text)
        assert number is not None
        await owner.post("/pilots/hemmelig/people/uninvite", data={"invitation": number[1]})
        assert (await guest.get(link)).status_code == 410
        assert (await guest.post("/invitation", data={"token": link.partition("=")[2]})).status_code in (410, 422)


async def test_an_owner_changes_and_takes_back_roles_and_it_is_true_at_once(city: City) -> None:
    async with browser(city, caller="owner") as owner, browser(city, caller="viewer") as viewer:
        user = Accounts(city.registry.database).by_email("viewer@example.org")
        assert user is not None
        form = {"kind": "user", "holder": user.id}
        assert (await viewer.get("/pilots/hemmelig/onboarding")).status_code == 403
        await owner.post("/pilots/hemmelig/people/role", data=form | {"role": "editor"})
        viewer_app = city.app(WebSettings(language="en"), signed_in=False)  # another process
        cookies = dict(viewer.cookies)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(viewer_app), base_url="http://127.0.0.1") as other:
            assert (await other.get("/pilots/hemmelig/onboarding", cookies=cookies)).status_code == 200
        await owner.post("/pilots/hemmelig/people/role", data=form | {"role": "none"})
        viewer_app = city.app(WebSettings(language="en"), signed_in=False)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(viewer_app), base_url="http://127.0.0.1") as other:
            assert (await other.get("/pilots/hemmelig", cookies=cookies)).status_code == 404
        wrong = await owner.post("/pilots/hemmelig/people/role", data=form | {"role": "king"})
        assert wrong.status_code == 422


async def test_one_sees_and_ends_ones_sessions(city: City) -> None:
    async with browser(city, caller="viewer") as here, browser(city, caller="viewer") as there:
        page = await here.get("/account")
        numbers = re.findall(r'name="session" value="(\d+)"', page.text)
        assert len(numbers) == 2
        assert page.text.count("this browser") == 1
        await here.post("/account/sessions/end", data={"session": "all"})
        for client in (here, there):
            fresh = city.app(signed_in=False)
            async with httpx.AsyncClient(transport=httpx.ASGITransport(fresh), base_url="http://127.0.0.1") as other:
                assert (await other.get("/portfolio", cookies=dict(client.cookies))).status_code == 401


async def test_a_token_of_the_page_works_within_its_scope_until_it_is_revoked(city: City) -> None:
    async with browser(city, caller="editor") as client:
        form = {"name": "notebook", "days": "7", "pilot": "hemmelig", "action": "see"}
        page = await client.post("/account/tokens", data=form)
        text = re.search(r"Bearer (tp_[\w-]+)", page.text)
        assert text is not None
        assert text[1] not in (await client.get("/account")).text
        bearer = {"Authorization": f"Bearer {text[1]}", "Cookie": ""}
        me = (await client.get("/api/v1/me", headers=bearer)).json()
        assert me["who"] == "editor@example.org (token notebook)"
        assert me["pilots"] == {"hemmelig": ["see"]}
        readings = await client.get("/api/v1/readings?pilot=hemmelig&limit=1", headers=bearer)
        assert readings.status_code == 200
        for path in ("/api/v1/pilots/hemmelig/quarantine", "/account", "/metrics", "/people"):
            assert (await client.get(path, headers=bearer)).status_code == 403, path
        number = re.search(r'name="token" value="(\d+)"', (await client.get("/account")).text)
        assert number is not None
        await client.post("/account/tokens/revoke", data={"token": number[1]})
        assert (await client.get("/api/v1/me", headers=bearer)).status_code == 401


async def test_a_changed_password_ends_the_other_sessions(city: City) -> None:
    accounts = Accounts(city.registry.database)
    accounts.create("kari@example.org", "", "test", password=PASSWORD)
    async with browser(city) as here:
        await sign_in(here, "kari@example.org", PASSWORD)
        new = "another row of four words"
        wrong = await here.post("/account/password", data={"old": "no", "password": new, "again": new})
        assert wrong.status_code == 422
        changed = await here.post("/account/password", data={"old": PASSWORD, "password": new, "again": new})
        assert changed.status_code == 303
        assert (await here.get("/account")).status_code == 200
    assert accounts.authenticate("kari@example.org", new) is not None


async def test_a_forgotten_password_is_asked_for_by_mail(city: City) -> None:
    Accounts(city.registry.database).create("kari@example.org", "", "test", password=PASSWORD)
    outbox = Outbox(city.registry.database)
    async with browser(city, WebSettings(language="en", mail=True, public_url="http://127.0.0.1")) as client:
        known = await client.post("/forgotten", data={"email": "kari@example.org"})
        unknown = await client.post("/forgotten", data={"email": "nobody@example.org"})
        assert known.text == unknown.text
        mail = outbox.take()
        assert mail is not None
        assert mail.recipient == "kari@example.org"
        assert outbox.take() is None
        link = re.search(r"http://127\.0\.0\.1(/reset\?token=[\w-]+)", mail.body)
        assert link is not None
        assert (await client.get(link[1])).status_code == 200
        form = {"token": link[1].partition("=")[2], "password": "another row of four words"}
        assert (await client.post("/reset", data=form | {"again": "x"})).status_code == 422
        done = await client.post("/reset", data=form | {"again": form["password"]})
        assert done.status_code == 303
        assert (await client.get("/portfolio")).status_code == 200
        assert (await client.get(link[1])).status_code == 410


async def test_a_link_to_a_new_password_leads_nowhere_but_here(city: City) -> None:
    """The header Host is chosen by whoever asks, and the mail goes to somebody else."""
    Accounts(city.registry.database).create("kari@example.org", "", "test", password=PASSWORD)
    outbox, form, forged = Outbox(city.registry.database), {"email": "kari@example.org"}, {"Host": "203.0.113.9"}
    everywhere = WebSettings(language="en", mail=True, listens_on="0.0.0.0")
    async with browser(city, everywhere) as client:
        assert (await client.post("/forgotten", data=form, headers=forged)).status_code == 200
        assert outbox.take() is None
        assert "An administrator can make a link" in (await client.get("/forgotten")).text
    known = dataclasses.replace(everywhere, public_url="https://data.example.no")
    async with browser(city, known) as client:
        assert (await client.post("/forgotten", data=form, headers=forged)).status_code == 200
    mail = outbox.take()
    assert mail is not None
    assert "https://data.example.no/reset?token=" in mail.body
    assert "203.0.113.9" not in mail.body


async def test_no_password_leads_around_the_identity_provider(city: City) -> None:
    """Whoever is locked there, or lacks the second factor, may still read their mail."""
    user = Accounts(city.registry.database).create("kari@example.org", "", "test", password=PASSWORD)
    token = PasswordResets(city.registry.database).create(user.id)
    new = "another row of four words"
    async with browser(city, WebSettings(language="en", mail=True, local_passwords=False)) as client:
        for method, path, form in (
            ("GET", "/forgotten", {}),
            ("POST", "/forgotten", {"email": "kari@example.org"}),
            ("GET", f"/reset?token={token}", {}),
            ("POST", "/reset", {"token": token, "password": new, "again": new}),
        ):
            answer = await client.request(method, path, data=form or None)
            assert answer.status_code == 403, (method, path)
            assert "set-cookie" not in answer.headers
    assert Outbox(city.registry.database).take() is None
    assert Accounts(city.registry.database).authenticate("kari@example.org", new) is None


async def test_who_has_no_password_is_sent_no_link_to_one(city: City) -> None:
    Accounts(city.registry.database).create("kari@example.org", "", "identity provider")
    async with browser(city, WebSettings(language="en", mail=True)) as client:
        assert (await client.post("/forgotten", data={"email": "kari@example.org"})).status_code == 200
    assert Outbox(city.registry.database).take() is None


async def test_a_token_for_one_pilot_administers_nothing(city: City) -> None:
    accounts, tokens = Accounts(city.registry.database), ApiTokens(city.registry.database)
    user = accounts.create("kari@example.org", "", "test", administrator=True)
    _, narrow = tokens.create(user.id, "narrow", ["hemmelig"], ACTIONS)
    _, wide = tokens.create(user.id, "wide", None, ACTIONS)
    async with browser(city) as client:
        for token, status in ((narrow, 403), (wide, 200)):
            for path in ("/people", "/metrics"):
                answer = await client.get(path, headers={"Authorization": f"Bearer {token}"})
                assert answer.status_code == status, path


async def test_a_token_accepts_no_invitation(city: City) -> None:
    user = Accounts(city.registry.database).create("kari@example.org", "", "test")
    _, token = ApiTokens(city.registry.database).create(user.id, "reads", None, ["see"])
    _, invitation = Invitations(city.registry.database).create("test", "owner", pilot="hemmelig")
    async with browser(city) as client:
        header = {"Authorization": f"Bearer {token}"}
        answer = await client.post("/invitation", data={"token": invitation}, headers=header)
        assert answer.status_code == 422
    assert Accounts(city.registry.database).roles_of(user.id) == []


async def test_without_mail_the_page_names_the_way(city: City) -> None:
    async with browser(city) as client:
        assert "An administrator can make a link" in (await client.get("/forgotten")).text


async def test_an_administrator_looks_after_people_and_organisations(city: City) -> None:
    accounts = Accounts(city.registry.database)
    async with browser(city, caller="administrator") as client:
        user = accounts.create("kari@example.org", "Kari", "test", password=PASSWORD)
        for what, check in (
            ("administrator", lambda u: u.administrator),
            ("no-administrator", lambda u: not u.administrator),
            ("lock", lambda u: u.disabled),
            ("unlock", lambda u: not u.disabled),
        ):
            assert (await client.post("/people/change", data={"user": user.id, "what": what})).status_code == 303
            found = accounts.find(user.id)
            assert found is not None
            assert check(found), what
        reset = await client.post("/people/change", data={"user": user.id, "what": "reset"})
        assert "/reset?token=" in reset.text
        await client.post("/people/organisations", data={"organisation": "ntnu", "name": "NTNU"})
        taken = await client.post("/people/organisations", data={"organisation": "ntnu", "name": "NTNU"})
        assert taken.status_code == 422
        assert "already" in taken.text
        link = await client.post("/people/invite", data={"organisation": "ntnu", "email": "ola@example.org"})
        assert "/invitation?token=" in link.text
        assert "ola@example.org" in (await client.get("/people")).text
        unticked = await client.post("/people/change", data={"user": user.id, "what": "delete"})
        assert unticked.status_code == 400
        await client.post("/people/change", data={"user": user.id, "what": "delete", "confirmed": "yes"})
        assert accounts.find(user.id) is None
        me = accounts.by_email("administrator@example.org")
        assert me is not None
        last = await client.post("/people/change", data={"user": me.id, "what": "lock"})
        assert last.status_code == 422
        assert "has to be left" in last.text


async def test_pages_show_what_one_may_do_and_nothing_else(city: City) -> None:
    tabs = {
        "viewer": set(),
        "researcher": {"quarantine"},
        "editor": {"quarantine", "onboarding"},
        "owner": {"quarantine", "onboarding", "people"},
    }
    for caller, expected in tabs.items():
        async with browser(city, caller=caller) as client:  # type: ignore[arg-type]
            page = (await client.get("/pilots/hemmelig")).text
            shown = {tab for tab in ("quarantine", "onboarding", "people") if f'href="/pilots/hemmelig/{tab}"' in page}
            assert shown == expected, caller
            assert ('id="event"' in page) == (caller in ("editor", "owner")), caller
            close = (await client.get("/pilots/hemmelig/close")).text
            assert ('action="/pilots/hemmelig/state"' in close) == (caller in ("editor", "owner")), caller
            assert 'name="who"' not in close, "who it is, is known"


async def test_changes_are_recorded_under_who_is_signed_in(city: City) -> None:
    async with browser(city, caller="owner") as client:
        form = {"state": "running", "who": "The Mayor", "why": "Ready."}
        await client.post("/pilots/hemmelig/state", data=form)
        (step,) = (await client.get("/api/v1/pilots/hemmelig/life")).json()["steps"]
        assert (step["who"], step["why"]) == ("owner@example.org", "Ready. (The Mayor)")
