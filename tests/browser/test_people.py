"""The pages about people in a real browser: how they look, and the way from an invitation to a pilot."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from techport_pilots.access.accounts import Accounts, User
from techport_pilots.access.api_tokens import ApiTokens
from techport_pilots.access.invitations import Invitations, PasswordResets
from techport_pilots.access.sessions import Sessions
from tests.browser.conftest import Visit, address, city, visit
from tests.browser.test_pages import LOOKS, PILOT, barriers
from tests.dashboards.web import City
from tests.servers.chromium import chromium

__all__ = ["address", "chromium", "city", "visit"]

Visitor = Callable[..., Visit]
PASSWORD = "fire lykter over Bakklandet"


def person(city: City, email: str, **more: Any) -> User:
    accounts = Accounts(city.registry.database)
    return accounts.by_email(email) or accounts.create(email, email.partition("@")[0].title(), "test", **more)


def as_person(here: Visit, city: City, user: User | None) -> Page:
    """The window signed in as this person instead of the operator; None: as nobody."""
    context: BrowserContext = here.page.context
    context.clear_cookies()
    if user is not None:
        token = Sessions(city.registry.database).start(user.id, "127.0.0.1", "Firefox på et bord")
        name = f"techport_session_{city.token.instance[:8]}"
        context.add_cookies([{"name": name, "value": token, "url": here.address, "httpOnly": True, "sameSite": "Lax"}])
    return here.page


@pytest.mark.parametrize("look", LOOKS)
def test_pages_of_people_look(visit: Visitor, city: City, look: str) -> None:
    """Nothing is wider than the screen, axe finds nothing, in Norwegian and English; as who sees most."""
    accounts, database = Accounts(city.registry.database), city.registry.database
    user = person(city, "kari@example.org", administrator=True, password=PASSWORD)
    other = person(city, "ola.nordmann.med.et.langt.navn@kommunen.example.org")
    accounts.grant("school-air", "user", other.id, "editor", "kari@example.org")
    if not accounts.organisations():
        accounts.create_organisation("kommunen", "Kommunen", "test")
        accounts.add_member("kommunen", other.id)
        ApiTokens(database).create(user.id, "Notatbok", ["school-air"], ["see", "see-raw"])
        Invitations(database).create("kari@example.org", "viewer", pilot="school-air", email="eva@example.org")
    _, invitation = Invitations(database).create("kari@example.org", "member", organisation="kommunen")
    reset = PasswordResets(database).create(other.id)
    here = visit(**LOOKS[look])
    signed_in = {"account": "/account", "people": "/people", "pilot-people": f"{PILOT}/people"}
    signed_in |= {"audit": "/audit-log", "pilot-audit": f"{PILOT}/audit-log"}
    signed_out = {
        "sign-in": "/sign-in?next=/portfolio",
        "forgotten": "/forgotten",
        "reset": f"/reset?token={reset}",
        "invitation": f"/invitation?token={invitation}",
    }
    for who, pages in ((user, signed_in), (None, signed_out)):
        page = as_person(here, city, who)
        for name, path in pages.items():
            for language in ("nb", "en"):
                page.goto(f"{here.address}{path}{'&' if '?' in path else '?'}lang={language}")
                page.evaluate("document.querySelectorAll('main details').forEach(one => { one.open = true; })")
                here.shoot(f"{name}-{look}")
                assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (name, language)
                assert barriers(page) == [], (name, language)


def test_from_an_invitation_to_the_pilot_and_out_again(visit: Visitor, city: City) -> None:
    owner = person(city, "owner@example.org")
    Accounts(city.registry.database).grant("school-air", "user", owner.id, "owner", "test")
    here = visit()
    page = as_person(here, city, owner)
    page.goto(f"{here.address}{PILOT}")
    expect(page.locator(".me")).to_contain_text("Owner")
    page.locator(".tabs summary", has_text="Mer").click()
    page.locator(".tabs a", has_text="Personer og roller").click()
    page.locator('form[action$="/invite"] select[name="role"]').select_option("researcher")
    page.get_by_role("button", name="Opprett invitasjon").click()
    link = page.locator(".credential code").inner_text()

    guest = as_person(visit(), city, None)
    guest.goto(link)
    expect(guest.locator("main")).to_contain_text("owner@example.org har invitert deg til")
    guest.get_by_label("E-postadresse").fill("gjest@example.org")
    guest.get_by_label("Navn").fill("Gjest")
    guest.get_by_label("Nytt passord", exact=False).first.fill(PASSWORD)
    guest.get_by_label("Gjenta det nye passordet").fill(PASSWORD)
    guest.get_by_role("button", name="Opprett konto og godta").click()
    expect(guest.locator(".me")).to_contain_text("Gjest")
    expect(guest.locator(".tabs")).to_contain_text("Karantene")
    expect(guest.locator(".tabs")).not_to_contain_text("Personer")
    guest.get_by_role("button", name="Logg av").click()
    guest.get_by_label("E-postadresse").fill("gjest@example.org")
    guest.get_by_label("Passord").fill(PASSWORD)
    guest.get_by_role("button", name="Logg på").click()
    expect(guest.locator(".me")).to_contain_text("Gjest")
