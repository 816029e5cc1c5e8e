"""Shares: who may read one, until when, how often it is read, and what its page and the list of shares say."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from fastapi import FastAPI

from techport_dashboards.query.registry_cache import RegistryCache
from techport_dashboards.query.shared_view import rounded, shared_view
from techport_dashboards.services import shares as services_shares
from techport_pilots.access import audit_log
from techport_pilots.access.accounts import AccountError, Accounts
from techport_pilots.access.api_tokens import ApiTokens
from techport_pilots.access.invitations import Invitations
from techport_pilots.access.sessions import Sessions
from techport_pilots.access.shares import AUDIENCES, PERSONAL, Audience, Share, Shares, ShareTerms, check_names
from techport_pilots.model import Position
from techport_storage import clock
from techport_storage.clock import now
from techport_storage.microseconds import DAY, MINUTE
from tests.dashboards.conftest import AIR, START, anyio_backend, hourly
from tests.dashboards.web import City

__all__ = ["anyio_backend"]

pytestmark = pytest.mark.anyio
SECRET = AIR.replace("data_class: open", "data_class: internal")
READS = ("/", "/api/v1/readings", "/sta/v1.1/Things", "/edr/collections", "/features/collections", "/api/v1/latest")


@pytest.fixture
def city(tmp_path: Path) -> Iterator[City]:
    city = City.at(tmp_path)
    city.import_text(SECRET)
    city.write(*hourly("kai-luft", "kran", "pm10", 10), *hourly("kai-luft", "port", "pm10", 20))
    accounts = Accounts(city.registry.database)
    accounts.create_organisation("kommunen", "The municipality", "test")
    yield city
    city.close()


@pytest.fixture
def app(city: City) -> FastAPI:
    return city.app(signed_in=False)


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client:
        yield client


def share(city: City, *, publish: bool = True, lasts: int = DAY, **terms: Any) -> Share:
    audience: Audience = terms.pop("audience", "public")
    return Shares(city.registry.database).create(
        city.registry.pilot("kai-luft"),
        ShareTerms(**{"title": "Quay", "audience": audience, "quantities": ["pm10"], **terms}),
        "test",
        lasts=lasts,
        publish=publish,
    )


def member_cookie(city: City) -> str:
    accounts = Accounts(city.registry.database)
    user = accounts.by_email("member@example.org") or accounts.create("member@example.org", "Member", "test")
    accounts.add_member("kommunen", user.id)
    session = Sessions(city.registry.database).start(user.id, "127.0.0.1", "test")
    return f"techport_session_{city.token.instance[:8]}={session}"


async def test_who_may_read_which_share(city: City, client: httpx.AsyncClient) -> None:
    feeds = {
        "public": share(city),
        "link": share(city, audience="link"),
        "organisation": share(city, audience="organisation", organisation="kommunen"),
        "draft": share(city, publish=False),
    }
    cookies = {
        "nobody": None,
        "outsider": city.cookie("outsider"),
        "member": member_cookie(city),
        "viewer": city.cookie("viewer"),
        "editor": city.cookie("editor"),
        "owner": city.cookie("owner"),
        "administrator": city.cookie("administrator"),
    }
    everybody = set(cookies)
    sharers = {"owner", "administrator"}
    may = {"public": everybody, "link": everybody, "organisation": {"member", *sharers}, "draft": sharers}
    wrong: list[object] = []
    for kind, feed in feeds.items():
        for caller, cookie in cookies.items():
            for path in READS:
                headers = {} if cookie is None else {"cookie": cookie}
                answer = await client.get(f"/shared/{feed.key}{path}", headers=headers)
                refused = 401 if kind == "organisation" and caller == "nobody" else 404
                if answer.status_code != (200 if caller in may[kind] else refused):
                    wrong.append((kind, caller, path, answer.status_code))
                if caller not in may[kind] and "Quay" in answer.text:
                    wrong.append((kind, caller, path, "says the title"))
    assert wrong == []


async def test_an_organisation_under_the_id_of_a_deleted_one_inherits_nothing(
    city: City, client: httpx.AsyncClient
) -> None:
    feed, public = share(city, audience="organisation", organisation="kommunen"), share(city)
    member = {"cookie": member_cookie(city)}
    assert (await client.get(f"/shared/{feed.key}/", headers=member)).status_code == 200
    accounts = Accounts(city.registry.database)
    invitations = Invitations(city.registry.database)
    _, token = invitations.create("test", "member", organisation="kommunen")
    form = {"what": "delete", "organisation": "kommunen", "confirmed": "yes"}
    deleted = await client.post(
        "/people/organisations", data=form, headers={"cookie": city.cookie("administrator")}, follow_redirects=False
    )
    assert deleted.status_code == 303, deleted.text
    accounts.create_organisation("kommunen", "Another municipality", "test")
    assert (await client.get(f"/shared/{feed.key}/", headers={"cookie": member_cookie(city)})).status_code == 404
    assert (await client.get(f"/shared/{public.key}/")).status_code == 200
    assert invitations.find(token) is None


async def test_a_share_that_is_not_yours_answers_like_none_at_all(city: City, client: httpx.AsyncClient) -> None:
    headers = {"cookie": city.cookie("outsider")}
    draft, members = share(city, publish=False), share(city, audience="organisation", organisation="kommunen")
    none = await client.get("/shared/share-aaaaaaaa/api/v1/readings", headers=headers)
    for feed in (draft, members):
        answer = await client.get(f"/shared/{feed.key}/api/v1/readings", headers=headers)
        assert (answer.status_code, answer.text) == (none.status_code, none.text)


async def test_groups_are_of_what_the_share_says(city: City, client: httpx.AsyncClient) -> None:
    city.import_text(SECRET.replace("  - id: kran\n", "  - id: kran\n    tags: {street: Kjopmannsgata}\n"))
    feed = share(city, names=True, resolution="PT1H")
    readings = f"/shared/{feed.key}/api/v1/readings"
    assert (await client.get(readings, params={"group": "street"})).status_code == 400
    assert "Kjopmannsgata" not in (await client.get(f"/shared/{feed.key}/api/v1/devices")).text
    (together,) = (await client.get(readings, params={"group": "pilot"})).json()["items"]
    each = (await client.get(readings, params={"group": "device"})).json()["items"]
    assert together["pilot"] == feed.id
    assert together["count"] == sum(row["count"] for row in each)
    total = sum(row["mean"] * row["count"] for row in each)
    assert together["mean"] == pytest.approx(total / together["count"])


async def test_a_link_cannot_be_told_from_the_id(city: City, client: httpx.AsyncClient) -> None:
    feed = share(city, audience="link")
    assert len(feed.key) == 32
    assert feed.id not in feed.key
    assert (await client.get(f"/shared/{feed.id}/")).status_code == 404
    page = await client.get(f"/shared/{feed.key}/")
    assert page.headers["referrer-policy"] == "same-origin"
    assert page.headers["x-robots-tag"] == "noindex"


async def test_tokens_read_shares_of_an_organisation_within_their_scope(city: City, client: httpx.AsyncClient) -> None:
    member_cookie(city)
    user = Accounts(city.registry.database).by_email("member@example.org")
    assert user is not None
    feed = share(city, audience="organisation", organisation="kommunen")
    tokens = ApiTokens(city.registry.database)
    address = f"/shared/{feed.key}/api/v1/readings"
    for pilots, actions, status in ((None, ["see"], 200), (["kai-luft"], ["see"], 404), (None, ["edit"], 404)):
        _, text = tokens.create(user.id, "notebook", pilots, actions)
        answer = await client.get(address, headers={"authorization": f"Bearer {text}"})
        assert answer.status_code == status, (pilots, actions)
    assert (await client.get(address, headers={"authorization": "Bearer wrong"})).status_code == 401


async def test_it_ends_when_it_expires_and_when_it_is_revoked(city: City, client: httpx.AsyncClient) -> None:
    owner = {"cookie": city.cookie("owner")}
    feed = share(city)
    address = f"/shared/{feed.key}/api/v1/readings"
    assert (await client.get(address)).status_code == 200
    ended = await client.delete(f"/api/v1/pilots/kai-luft/shares/{feed.id}", headers=owner)
    assert ended.json()["revoked"] is not None
    assert (await client.get(address)).status_code == 404
    assert (await client.get(address, headers=owner)).status_code == 404
    short = share(city, lasts=DAY)
    assert (await client.get(f"/shared/{short.key}/")).status_code == 200
    with city.registry.database.writing() as transaction:
        transaction.execute("UPDATE shares SET expires = :at WHERE id = :id", {"at": now() - 1, "id": short.id})
    services = client._transport.app.state.services  # type: ignore[attr-defined]
    services.shares.forget()  # another process would ask again after FRESH_S
    assert services_shares.FRESH_S < 30
    assert (await client.get(f"/shared/{short.key}/")).status_code == 404


async def test_what_the_registry_said_expires_by_itself(
    city: City, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed = share(city, lasts=10 * MINUTE)
    assert (await client.get(f"/shared/{feed.key}/")).status_code == 200
    monkeypatch.setattr(services_shares, "FRESH_S", 1e9)
    monkeypatch.setattr(clock, "now", lambda: feed.expires)
    assert (await client.get(f"/shared/{feed.key}/")).status_code == 404


async def test_reads_are_counted_but_for_those_of_who_shares(city: City, client: httpx.AsyncClient) -> None:
    feed = share(city)
    owner = {"cookie": city.cookie("owner")}
    for path in READS:
        assert (await client.get(f"/shared/{feed.key}{path}")).status_code == 200
        assert (await client.get(f"/shared/{feed.key}{path}", headers=owner)).status_code == 200
    assert (await client.get(f"/shared/{feed.key}/api/v1/quarantine")).status_code == 404
    (item,) = (await client.get("/api/v1/pilots/kai-luft/shares", headers=owner)).json()["items"]
    assert item["reads"] == len(READS)
    assert item["last_read"] is not None


async def test_the_audit_log_says_once_an_hour_that_a_share_is_read(
    city: City, app: FastAPI, client: httpx.AsyncClient
) -> None:
    public, members = share(city), share(city, audience="organisation", organisation="kommunen")
    reader = {"cookie": member_cookie(city)}
    user = Accounts(city.registry.database).by_email("member@example.org")
    assert user is not None
    for path in READS:
        assert (await client.get(f"/shared/{public.key}{path}")).status_code == 200
        assert (await client.get(f"/shared/{members.key}{path}", headers=reader)).status_code == 200
        assert (await client.get(f"/shared/{members.key}{path}")).status_code == 401
    app.state.services.audit.flush()
    assert [one.times for one in audit_log.export(city.registry.database)] == [1, 1]
    app.state.services.audit.flush(all_of_it=True)
    entries = list(audit_log.export(city.registry.database))
    times: dict[tuple[str, str, str, str], int] = {}
    for one in entries:
        key = (one.kind, one.who, one.pilot, one.about)
        times[key] = times.get(key, 0) + one.times
    assert times == {
        ("read-share", "", "kai-luft", f"share={public.id}"): len(READS),
        ("read-share", user.id, "kai-luft", f"share={members.id}"): len(READS),
    }
    assert len(entries) == 4


async def test_one_looks_at_it_before_it_is_published(city: City, client: httpx.AsyncClient) -> None:
    owner = {"cookie": city.cookie("owner")}
    asked = {"title": "Quay", "quantities": ["pm10"], "audience": "public"}
    made = await client.post("/api/v1/pilots/kai-luft/shares", json=asked, headers=owner)
    assert made.status_code == 201
    item = made.json()
    assert item["published"] is None
    assert (item["resolution"], item["precision"], item["names"]) == ("PT1H", 100, False)
    page = f"{item['address']}?lang=en"
    assert "This is what others will see" in (await client.get(page, headers=owner)).text
    assert (await client.get(page)).status_code == 404
    await client.post(f"/api/v1/pilots/kai-luft/shares/{item['id']}/publish", headers=owner)
    seen = await client.get(page)
    assert seen.status_code == 200
    assert "what others" not in seen.text
    as_owner = (await client.get(page, headers=owner)).text
    assert "Sign out" not in as_owner, "the page is made for a reader, not for who is signed in"


async def test_who_may_read_shares_finds_them(city: City, client: httpx.AsyncClient) -> None:
    public, _, members = (
        share(city),
        share(city, audience="link"),
        share(city, audience="organisation", organisation="kommunen"),
    )
    share(city, publish=False)

    async def found(cookie: str | None) -> set[str]:
        headers = {} if cookie is None else {"cookie": cookie}
        return {item["id"] for item in (await client.get("/api/v1/shares", headers=headers)).json()["items"]}

    assert f"/shared/{public.key}" in (await client.get("/catalogue")).text
    assert f"/shared/{members.key}" not in (await client.get("/catalogue")).text
    cookie = {"cookie": member_cookie(city)}
    assert f"/shared/{members.key}" in (await client.get("/catalogue", headers=cookie)).text
    assert await found(None) == {public.id}
    assert await found(city.cookie("outsider")) == {public.id}
    assert await found(member_cookie(city)) == {public.id, members.id}


async def test_the_page_lists_makes_and_ends_shares(city: City, client: httpx.AsyncClient) -> None:
    owner, page = {"cookie": city.cookie("owner")}, "/pilots/kai-luft/shares?lang=en"
    fields = {
        "title": "Quay for all",
        "quantity": ["pm10"],
        "devices": "some",
        "device": ["kran"],
        "resolution": "P1D",
        "precision": "none",
        "start": "2025-10-22",
        "end": "2025-10-24",
        "audience": "link",
        "days": "30",
        "what": "publish",
    }
    made = await client.post(page, data=fields, headers=owner)
    assert made.status_code == 303
    (feed,) = Shares(city.registry.database).of("kai-luft")
    assert feed.terms.devices == ["kran"]
    assert feed.terms.precision is None
    shown = (await client.get(f"/shared/{feed.key}/api/v1/readings")).json()["items"]
    assert [row["time"] for row in shown] == [f"2025-10-{day}T22:00:00.000000Z" for day in (21, 22, 23)]
    listing = (await client.get(page, headers=owner)).text
    assert f"http://127.0.0.1/shared/{feed.key}" in listing
    assert "read 1 time" in listing
    chart = f"/shared/{feed.key}/pilots/{feed.id}/chart?quantity=pm10&start=2025-10-22&end=2025-10-25&lang=en"
    assert (await client.get(chart)).json()["shown"] == "mean per 1 day", "a reading of a share is a bucket"
    unconfirmed = await client.post("/pilots/kai-luft/shares/revoke?lang=en", data={"share": feed.id}, headers=owner)
    assert unconfirmed.status_code == 400
    ended = {"share": feed.id, "confirmed": "yes"}
    assert (await client.post("/pilots/kai-luft/shares/revoke?lang=en", data=ended, headers=owner)).status_code == 303
    assert "Not shared any more" in (await client.get(page, headers=owner)).text
    again = await client.post(page, data={**fields, "quantity": []}, headers=owner)
    assert again.status_code == 422
    assert "Choose at least one device and one quantity" in again.text
    assert 'value="Quay for all"' in again.text


@pytest.mark.parametrize(
    ("terms", "code"),
    [
        ({"title": " "}, "share.no-title"),
        ({"quantities": []}, "share.nothing-chosen"),
        ({"devices": []}, "share.nothing-chosen"),
        ({"quantities": ["no2"]}, "share.unknown-quantity"),
        ({"quantities": ["air_temperature"], "devices": ["port"]}, "share.unknown-quantity"),
        ({"devices": ["krane"]}, "share.unknown-device"),
        ({"resolution": "PT1S"}, "share.bad-resolution"),
        ({"resolution": "soon"}, "share.bad-resolution"),
        ({"precision": -1}, "share.bad-precision"),
        ({"audience": "organisation"}, "share.bad-audience"),
        ({"audience": "public", "organisation": "kommunen"}, "share.bad-audience"),
        ({"audience": "organisation", "organisation": "nobody"}, "share.unknown-organisation"),
        ({"start": START, "end": START}, "share.empty-period"),
    ],
)
def test_terms_that_cannot_be(city: City, terms: dict[str, Any], code: str) -> None:
    with pytest.raises(AccountError) as refused:
        share(city, **terms)
    assert refused.value.message.code == code


def test_values_of_people_are_shared_as_sums_of_a_while(city: City) -> None:
    personal = msgspec.structs.replace(city.registry.pilot("kai-luft"), personal_data=True)
    terms = ShareTerms(title="People", audience="public", quantities=["pm10"])
    for resolution in (None, "PT5M"):
        with pytest.raises(AccountError) as refused:
            check_names(personal, msgspec.structs.replace(terms, resolution=resolution))
        assert refused.value.message.code == "share.personal"
    check_names(personal, msgspec.structs.replace(terms, resolution="PT15M"))
    check_names(personal, msgspec.structs.replace(terms, resolution="P1D"))
    assert PERSONAL == 15 * MINUTE


@pytest.mark.parametrize(("resolution", "shown"), [(None, 0), ("PT5M", 0), ("PT15M", 2)])
def test_a_pilot_that_comes_to_have_personal_data_is_no_longer_shared_finely(
    city: City, resolution: str | None, shown: int
) -> None:
    feed = share(city, resolution=resolution)
    view = RegistryCache(city.registry).current()
    assert len(shared_view(view, feed).streams) == 2
    personal = msgspec.structs.replace(view.pilots["kai-luft"], personal_data=True)
    now_personal = dataclasses.replace(view, pilots={"kai-luft": personal})
    assert len(shared_view(now_personal, feed).streams) == shown


def test_names_of_devices_are_stable_and_tell_nothing(city: City) -> None:
    first, second = share(city), share(city)
    assert first.device_name("kran") == first.device_name("kran")
    assert first.device_name("kran") != first.device_name("port")
    assert first.device_name("kran") != second.device_name("kran")
    assert share(city, names=True).device_name("kran") == "kran"


def test_positions_are_those_of_a_grid() -> None:
    exact = Position(63.4385123, 10.4001234, 3.5)
    for metres in (100, 500, 5_000):
        shown = rounded(exact, metres)
        assert shown.height is None
        assert abs(shown.lat - exact.lat) * 111_320 <= metres / 2 + 0.1
        near = Position(exact.lat + 1e-7, exact.lon + 1e-7)
        assert rounded(near, metres) == shown, "close neighbours cannot be told apart"
        assert rounded(shown, metres) == shown


async def test_entities_keep_their_numbers(city: City, client: httpx.AsyncClient) -> None:
    feed = share(city)
    address = f"/shared/{feed.key}/sta/v1.1/Datastreams"
    before = (await client.get(address)).json()["value"]
    city.import_text(SECRET.replace("id: port", "id: a-new-one\n    streams: [{quantity: pm10}]\n  - id: port"))
    after = {item["name"]: item["@iot.id"] for item in (await client.get(address)).json()["value"]}
    assert len(after) == len(before) + 1
    assert all(after[item["name"]] == item["@iot.id"] for item in before)


def test_audiences_are_those_of_the_page() -> None:
    from techport_dashboards.pages.shares import AUDIENCES as SHOWN

    assert set(SHOWN) == set(AUDIENCES)


def test_shares_have_one_description_of_their_routes(city: City, app: FastAPI) -> None:
    """Making it takes a second of processor time, and an answer to a wrong parameter looks into it."""
    first, second = (app.state.opened_shares.app(share(city)) for _ in range(2))
    assert first is not second
    assert first.openapi() is second.openapi()
    assert "/api/v1/pilots/{pilot}/shares" not in first.openapi()["paths"]
