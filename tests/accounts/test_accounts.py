"""Accounts, roles, sessions, tokens, invitations and one-time links, without a server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from techport_pilots.access import accounts as accounts_module
from techport_pilots.access import api_tokens, attempts, invitations, passwords, sessions
from techport_pilots.access.accounts import AccountError, Accounts
from techport_pilots.access.api_tokens import ApiTokens
from techport_pilots.access.attempts import OF_ACCOUNT, Attempts
from techport_pilots.access.invitations import Invitations, InvitedTo, PasswordResets
from techport_pilots.access.passwords import WeakPassword
from techport_pilots.access.policy import ACTIONS, ALL_RIGHTS, OF_ROLE, Rights, rights_of
from techport_pilots.access.sessions import Sessions
from techport_pilots.registry.database import Database
from techport_pilots.registry.registry import Registry
from techport_storage.clock import now
from techport_storage.microseconds import DAY, HOUR, MINUTE
from tests.registries import registry_in

PASSWORD = "four lamps above Bakklandet"


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    registry = Registry.open(registry_in(tmp_path))
    yield registry.database
    registry.close()


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Puts the clock of the access modules ahead by later[0] microseconds."""
    ahead = [0]
    for module in (accounts_module, api_tokens, attempts, invitations, sessions):
        monkeypatch.setattr(module, "now", lambda: now() + ahead[0])
    return iter([ahead])


def test_roles_contain_one_another_and_administrators_may_everything() -> None:
    viewer, researcher, editor, owner = (OF_ROLE[role] for role in ("viewer", "researcher", "editor", "owner"))
    assert viewer < researcher < editor < owner < set(ACTIONS)
    assert all(ALL_RIGHTS.allow(action, "any") and ALL_RIGHTS.allow(action) for action in ACTIONS)
    rights = rights_of([("a", "viewer"), ("a", "editor"), ("b", "viewer")])
    assert rights.allow("edit", "a")
    assert not rights.allow("edit", "b")
    assert not rights.allow("see")
    assert not rights.allow("see", "c")
    assert rights.allow_somewhere("devices")
    assert not rights.allow_somewhere("close")


def test_favourites_belong_to_a_person_and_go_with_the_account(database: Database) -> None:
    accounts = Accounts(database)
    kari = accounts.create("kari@example.org", "Kari", "test")
    ola = accounts.create("ola@example.org", "Ola", "test", administrator=True)
    for pilot in ("quiet", "bins", "quiet"):
        accounts.set_favourite(kari.id, pilot, marked=True)
    assert (accounts.favourites(kari.id), accounts.favourites(ola.id)) == (["bins", "quiet"], [])
    accounts.set_favourite(kari.id, "bins", marked=False)
    assert accounts.favourites(kari.id) == ["quiet"]
    accounts.delete(kari.id)
    assert accounts.favourites(kari.id) == []


def test_a_scope_never_adds_a_right() -> None:
    rights = rights_of([("a", "viewer"), ("b", "owner")])
    limited = rights.limited_to(["a", "c"], ["see", "close"])
    assert limited == Rights(by_pilot={"a": frozenset({"see"}), "c": frozenset()})
    assert ALL_RIGHTS.limited_to(["a"], ["see"]) == Rights(by_pilot={"a": frozenset({"see"})})
    assert not ALL_RIGHTS.limited_to(["a"], ACTIONS).allow("admin")
    assert not ALL_RIGHTS.limited_to(["a"], ACTIONS).allow_somewhere("admin"), "routes without a pilot ask this"
    assert ALL_RIGHTS.limited_to(None, ["see"]).everywhere == {"see"}


def test_passwords_are_argon2id_and_checked(database: Database) -> None:
    accounts = Accounts(database)
    user = accounts.create(" Kari@Example.org ", "Kari", "test", password=PASSWORD)
    assert user.email == "kari@example.org"
    with database.reading() as transaction:
        kept = transaction.execute("SELECT password FROM users").scalar_one()
    assert kept.startswith("$argon2id$v=19$m=65536,t=3,")
    assert accounts.authenticate("KARI@example.org", PASSWORD) == user
    assert accounts.authenticate("kari@example.org", PASSWORD + "!") is None
    assert accounts.authenticate("nobody@example.org", PASSWORD) is None
    assert accounts.authenticate("kari@example.org", "") is None


@pytest.mark.parametrize(
    "weak", ["short", "a" * 40, "kari@example.org1", "passordpassord", "x" * 1_001, "abababababab"]
)
def test_weak_passwords_are_refused_with_what_would_do(weak: str) -> None:
    with pytest.raises(WeakPassword):
        passwords.checked(weak, "kari@example.org")


@pytest.mark.parametrize(
    "email", ["", "kari", "a@b@c", "kari @example.org", "a@b\nBcc: x@y", "x" * 300 + "@example.org", "@x"]
)
def test_what_is_no_address_is_refused(database: Database, email: str) -> None:
    with pytest.raises(AccountError, match="e-mail"):
        Accounts(database).create(email, "", "test")


def test_somebody_is_always_left_who_can_administer(database: Database) -> None:
    accounts = Accounts(database)
    first = accounts.create_first("kari@example.org", "", "test", PASSWORD)
    with pytest.raises(AccountError, match="already"):
        accounts.create_first("ola@example.org", "", "test", PASSWORD)
    changes: list[Callable[[], None]] = [
        lambda: accounts.set_administrator(first.id, False),
        lambda: accounts.set_disabled(first.id, True),
        lambda: accounts.delete(first.id),
    ]
    for change in changes:
        accounts.create(f"x{id(change)}@example.org", "", "test")
        with pytest.raises(AccountError, match="has to be left"):
            change()
        assert accounts.find(first.id) == first


def test_roles_of_people_and_their_organisations_add_up(database: Database) -> None:
    accounts = Accounts(database)
    user = accounts.create("kari@example.org", "Kari", "test")
    accounts.create_organisation("ntnu", "NTNU", "test")
    accounts.add_member("ntnu", user.id)
    accounts.grant("air", "user", user.id, "viewer", "test")
    accounts.grant("air", "organisation", "ntnu", "researcher", "test")
    accounts.grant("noise", "organisation", "ntnu", "viewer", "test")
    assert sorted(accounts.roles_of(user.id)) == [("air", "researcher"), ("air", "viewer"), ("noise", "viewer")]
    assert [(m.holder_kind, m.email or m.name, m.role) for m in accounts.members("air")] == [
        ("user", "kari@example.org", "viewer"),
        ("organisation", "NTNU", "researcher"),
    ]
    accounts.grant("air", "user", user.id, "owner", "test")
    assert ("air", "owner") in accounts.roles_of(user.id)
    assert ("air", "viewer") not in accounts.roles_of(user.id)
    accounts.remove_member("ntnu", user.id)
    assert accounts.roles_of(user.id) == [("air", "owner")]
    assert accounts.revoke("air", "user", user.id)
    assert accounts.roles_of(user.id) == []


def test_nothing_of_a_deleted_account_is_left_but_what_the_person_wrote(database: Database) -> None:
    accounts = Accounts(database)
    accounts.create_first("ola@example.org", "", "test", PASSWORD)
    user = accounts.create("kari@example.org", "Kari", "test", password=PASSWORD)
    accounts.create_organisation("ntnu", "NTNU", "test")
    accounts.add_member("ntnu", user.id)
    accounts.grant("air", "user", user.id, "owner", "test")
    accounts.link_identity(user.id, "https://idp.example", "kari")
    Sessions(database).start(user.id, "", "")
    ApiTokens(database).create(user.id, "x", None, ["see"])
    PasswordResets(database).create(user.id)
    accounts.delete(user.id)
    with database.reading() as transaction:
        for table in (
            "users",
            "user_identities",
            "organisation_members",
            "roles",
            "sessions",
            "api_tokens",
            "password_resets",
        ):
            rows = repr(transaction.execute(f"SELECT * FROM {table}").all())
            assert user.id not in rows, table
            assert "kari" not in rows, table


def test_sessions_have_an_idle_and_an_absolute_limit(database: Database, later: Iterator[list[int]]) -> None:
    (ahead,) = later
    user = Accounts(database).create("kari@example.org", "", "test")
    known = Sessions(database, lasts=5 * DAY, idle=DAY)
    token = known.start(user.id, "192.0.2.1", "Firefox")
    for hours in (20, 40, 60, 80, 100, 119):
        ahead[0] = hours * HOUR
        assert known.find(token) is not None, "it is used"
    ahead[0] = 5 * DAY + MINUTE
    assert known.find(token) is None, "the absolute limit"
    ahead[0] = 0
    unused = known.start(user.id, "", "")
    ahead[0] = DAY + MINUTE
    assert known.find(unused) is None, "the idle limit"
    assert len(known.of(user.id)) == 1, "the other one was used until later"


def test_sessions_are_listed_and_ended(database: Database) -> None:
    accounts, known = Accounts(database), Sessions(database)
    user = accounts.create("kari@example.org", "", "test")
    other = accounts.create("ola@example.org", "", "test")
    tokens = [known.start(user.id, f"192.0.2.{n}", f"browser {n}", f"id token {n}") for n in range(3)]
    foreign = known.start(other.id, "", "")
    first, second, third = (known.find(token) for token in tokens)
    assert first is not None
    assert second is not None
    assert third is not None
    assert {one.agent for one in known.of(user.id)} == {"browser 0", "browser 1", "browser 2"}
    assert known.end(other.id, first.session or 0) is None, "only one's own"
    assert known.find(tokens[0]) is not None
    assert known.end(user.id, first.session or 0) == "id token 0"
    known.end_all(user.id, but=second.session)
    assert [known.find(token) is not None for token in tokens] == [False, True, False]
    accounts.create_first("admin@example.org", "", "test", PASSWORD)
    accounts.set_disabled(user.id, True)
    assert known.find(tokens[1]) is None
    assert known.find(foreign) is not None


def test_rights_of_a_session_are_those_of_the_moment(database: Database) -> None:
    accounts, known = Accounts(database), Sessions(database)
    user = accounts.create("kari@example.org", "", "test")
    token = known.start(user.id, "", "")
    for role in ("viewer", "owner"):
        accounts.grant("air", "user", user.id, role, "test")
        identity = known.find(token)
        assert identity is not None
        assert identity.rights.by_pilot == {"air": OF_ROLE[role]}
    accounts.revoke("air", "user", user.id)
    identity = known.find(token)
    assert identity is not None
    assert identity.rights == Rights()


def test_api_tokens(database: Database, later: Iterator[list[int]]) -> None:
    (ahead,) = later
    accounts, known = Accounts(database), ApiTokens(database)
    user = accounts.create("kari@example.org", "", "test")
    accounts.grant("air", "user", user.id, "editor", "test")
    accounts.grant("noise", "user", user.id, "viewer", "test")
    token, text = known.create(user.id, "notebook", ["air"], ["see", "see-raw", "close"], 7 * DAY)
    assert api_tokens.PATTERN.fullmatch(text)
    assert text.startswith(token.prefix)
    with database.reading() as transaction:
        assert text not in repr(transaction.execute("SELECT * FROM api_tokens").all())
    identity = known.find(text)
    assert identity is not None
    assert identity.rights.by_pilot == {"air": {"see", "see-raw"}}, "never more than the person"
    assert known.of(user.id)[0].last_used is not None
    assert known.find(text[:-1] + "x") is None
    ahead[0] = 7 * DAY
    assert known.find(text) is None
    ahead[0] = 0
    assert not known.revoke("somebody else", token.id)
    assert known.revoke(user.id, token.id)
    assert known.find(text) is None


@pytest.mark.parametrize(
    ("pilots", "actions", "lasts"),
    [([], ["see"], DAY), (None, [], DAY), (None, ["everything"], DAY), (None, ["see"], 0), (None, ["see"], 400 * DAY)],
)
def test_tokens_without_a_scope_or_an_end_are_refused(
    database: Database, pilots: list[str] | None, actions: list[str], lasts: int
) -> None:
    with pytest.raises(AccountError):
        ApiTokens(database).create("kari", "", pilots, actions, lasts)


def test_an_invitation_is_good_once(database: Database) -> None:
    accounts, known = Accounts(database), Invitations(database)
    invitation, token = known.create("ola", "editor", pilot="air", email="Kari@example.org")
    with database.reading() as transaction:
        assert token not in repr(transaction.execute("SELECT * FROM invitations").all())
    assert known.find(token) == invitation
    stranger = accounts.create("stranger@example.org", "", "test")
    with pytest.raises(AccountError, match=r"kari@example\.org"):
        known.accept(token, stranger.id)
    user = known.accept_as_new(token, "ignored@example.org", "Kari", PASSWORD)
    assert user.email == "kari@example.org"
    assert accounts.roles_of(user.id) == [("air", "editor")]
    assert accounts.roles_of(stranger.id) == []
    for again in (
        lambda: known.accept(token, user.id),
        lambda: known.accept_as_new(token, "x@example.org", "", PASSWORD),
    ):
        with pytest.raises(AccountError, match="used or revoked"):
            again()


def test_a_refused_password_uses_no_invitation_up(database: Database) -> None:
    known = Invitations(database)
    _, token = known.create("ola", "viewer", pilot="air")
    with pytest.raises(WeakPassword):
        known.accept_as_new(token, "kari@example.org", "", "short")
    with pytest.raises(AccountError):
        known.accept_as_new(token, "no address", "", PASSWORD)
    assert known.find(token) is not None
    assert Accounts(database).all() == []


def test_invitations_expire_and_are_revoked(database: Database, later: Iterator[list[int]]) -> None:
    (ahead,) = later
    known = Invitations(database)
    _, expiring = known.create("ola", "viewer", pilot="air", lasts=DAY)
    revoked, token = known.create("ola", "viewer", pilot="air")
    assert not known.revoke(revoked.id, "noise"), "owners of another pilot"
    assert not known.revoke(revoked.id, None)
    assert known.revoke(revoked.id, "air")
    assert known.find(token) is None
    assert len(known.of("air")) == 1
    ahead[0] = DAY
    assert known.find(expiring) is None
    assert known.of("air") == []


@pytest.mark.parametrize(
    ("role", "to"),
    [("administrator", {"pilot": "air"}), ("owner", {}), ("member", {}), ("administrator", {"organisation": "ntnu"})],
)
def test_a_role_goes_with_what_the_invitation_is_to(database: Database, role: str, to: dict[str, str]) -> None:
    with pytest.raises(AccountError):
        Invitations(database).create("ola", role, **to)  # type: ignore[arg-type]


def test_invitations_into_an_organisation_and_to_administer(database: Database) -> None:
    accounts, known = Accounts(database), Invitations(database)
    accounts.create_organisation("ntnu", "NTNU", "test")
    _, member = known.create("ola", "member", organisation="ntnu")
    _, administrator = known.create("ola", "administrator")
    user = known.accept_as_new(member, "kari@example.org", "", PASSWORD)
    assert accounts.organisations_of(user.id) == ["ntnu"]
    known.accept(administrator, user.id)
    found = accounts.find(user.id)
    assert found is not None
    assert found.administrator


def test_an_invitation_takes_no_role_away(database: Database) -> None:
    accounts, known = Accounts(database), Invitations(database)
    user = accounts.create("kari@example.org", "", "test")
    steps: list[tuple[InvitedTo, str]] = [("researcher", "researcher"), ("viewer", "researcher"), ("owner", "owner")]
    for role, then in steps:
        _, token = known.create("ola", role, pilot="air")
        known.accept(token, user.id)
        assert accounts.roles_of(user.id) == [("air", then)]
        assert known.find(token) is None


def test_who_took_an_address_loses_the_account_to_whom_it_belongs(database: Database) -> None:
    """Whoever has an open invitation chooses an address; the identity provider says whose it is."""
    accounts, tokens, known = Accounts(database), ApiTokens(database), Sessions(database)
    accounts.create_first("ola@example.org", "", "test", PASSWORD)
    _, invitation = Invitations(database).create("ola", "viewer", pilot="air")
    taken = Invitations(database).accept_as_new(invitation, "boss@example.org", "", PASSWORD)
    session, reset = known.start(taken.id, "", ""), PasswordResets(database).create(taken.id)
    _, token = tokens.create(taken.id, "x", None, ["see"])
    accounts.link_identity(taken.id, "https://idp.example", "boss")
    assert accounts.authenticate("boss@example.org", PASSWORD) is None
    assert (known.find(session), tokens.find(token), PasswordResets(database).find(reset)) == (None, None, None)
    assert accounts.by_identity("https://idp.example", "boss") is not None
    first = accounts.by_email("ola@example.org")
    assert first is not None
    accounts.link_identity(first.id, "https://idp.example", "ola")
    assert accounts.authenticate("ola@example.org", PASSWORD) is not None, "an administrator keeps the password"


def test_a_changed_password_ends_links_to_a_new_one(database: Database) -> None:
    accounts, resets = Accounts(database), PasswordResets(database)
    user = accounts.create("kari@example.org", "", "test", password=PASSWORD)
    token = resets.create(user.id)
    accounts.set_password(user.id, "another row of four words")
    assert resets.find(token) is None


def test_a_reset_is_good_once_and_ends_all_sessions(database: Database, later: Iterator[list[int]]) -> None:
    (ahead,) = later
    accounts, resets, known = Accounts(database), PasswordResets(database), Sessions(database)
    user = accounts.create("kari@example.org", "", "test", password=PASSWORD)
    session = known.start(user.id, "", "")
    replaced, token = resets.create(user.id), resets.create(user.id)
    assert resets.find(replaced) is None
    with pytest.raises(WeakPassword):
        resets.use(token, "short")
    resets.use(token, "another row of four words")
    assert known.find(session) is None
    assert accounts.authenticate("kari@example.org", PASSWORD) is None
    assert accounts.authenticate("kari@example.org", "another row of four words") is not None
    with pytest.raises(AccountError):
        resets.use(token, "a third row of four words")
    expiring = resets.create(user.id)
    ahead[0] = 2 * HOUR
    assert resets.find(expiring) is None


def test_attempts_are_limited_by_account_and_by_address(database: Database, later: Iterator[list[int]]) -> None:
    (ahead,) = later
    known = Attempts(database)
    for _ in range(OF_ACCOUNT):
        assert known.wait_seconds("kari@example.org", "192.0.2.1") == 0
        known.failed("kari@example.org", "192.0.2.1")
    assert 800 < known.wait_seconds("KARI@example.org", "198.51.100.9") <= 900, "whatever the address"
    assert known.wait_seconds("ola@example.org", "192.0.2.1") == 0
    for number in range(attempts.OF_ADDRESS):
        known.failed(f"{number}@example.org", "192.0.2.1")
    assert known.wait_seconds("ola@example.org", "192.0.2.1") > 0, "whatever the account"
    assert known.wait_seconds("ola@example.org", "192.0.2.2") == 0
    known.succeeded("kari@example.org")
    assert known.wait_seconds("kari@example.org", "198.51.100.9") == 0
    ahead[0] = attempts.WINDOW
    assert known.wait_seconds("ola@example.org", "192.0.2.1") == 0
    with database.reading() as transaction:
        assert "kari" not in repr(transaction.execute("SELECT * FROM sign_in_failures").all())
