"""techport account add | list | role | reset | lock | unlock, and techport token create | list | revoke."""

from __future__ import annotations

import datetime as dt
import getpass
from typing import Annotated

import typer
from rich.console import Console

from techport import options
from techport.commands.link import people_sign_in, running_settings
from techport.commands.pilots import open_registry
from techport.errors import CannotRun
from techport.terminal import print_text
from techport_pilots.access.accounts import Accounts, User, checked_role
from techport_storage.clock import now
from techport_storage.microseconds import DAY

app = typer.Typer(no_args_is_help=True, help="Accounts of people. Works while the platform runs.")
tokens = typer.Typer(no_args_is_help=True, help="API tokens of people's programs. Works while the platform runs.")

Email = Annotated[str, typer.Argument(help="e-mail address of the account")]


@app.command("add")
@options.needs("admin", logs="shared")
def add(
    email: Email,
    name: Annotated[str, typer.Option("--name", help="what pages call the person")] = "",
    administrator: Annotated[bool, typer.Option("--administrator", help="let them administer the platform")] = False,
    data: options.Data = None,
    registry: options.RegistryUrl = None,
) -> None:
    """Make an account, and print a link with which the person chooses a password; it is good once, for an hour."""
    from techport_pilots.access.invitations import PasswordResets

    settings = running_settings(data)
    with open_registry(data, registry) as opened:
        first = not people_sign_in(settings, opened)
        if first and not administrator:
            raise CannotRun("the first account has to be an administrator's: add --administrator")
        user = Accounts(opened.database).create(email, name, getpass.getuser(), administrator=administrator)
        typer.echo(f"{settings.web_url}/reset?token={PasswordResets(opened.database).create(user.id)}")


@app.command("list")
@options.needs("admin", logs=None)
def list_(data: options.Data = None, registry: options.RegistryUrl = None) -> None:
    """Everybody with an account, with their roles."""
    console = Console(highlight=False)
    with open_registry(data, registry) as opened:
        accounts = Accounts(opened.database)
        for user in accounts.all():
            roles = ["administrator"] if user.administrator else []
            roles += [f"{role} of {pilot}" for pilot, role in accounts.roles_of(user.id)]
            locked = " (locked)" if user.disabled else ""
            print_text(console, f"{user.email}{locked}  {', '.join(roles) or 'no role'}")


@app.command("role")
@options.needs("share")
def role(
    email: Email,
    pilot: Annotated[str, typer.Argument(help="id of the pilot")],
    role: Annotated[str, typer.Argument(help="viewer, researcher, editor, owner or none")],
    data: options.Data = None,
    registry: options.RegistryUrl = None,
) -> None:
    """Give a person a role in a pilot, or take it back (none)."""
    with open_registry(data, registry) as opened:
        opened.pilot(pilot)
        accounts = Accounts(opened.database)
        user = _user(accounts, email)
        if role == "none":
            accounts.revoke(pilot, "user", user.id)
        else:
            accounts.grant(pilot, "user", user.id, checked_role(role), getpass.getuser())
    print_text(Console(highlight=False), f"{user.email}: {role} of {pilot}")


@app.command("reset")
@options.needs("admin", logs="shared")
def reset(email: Email, data: options.Data = None, registry: options.RegistryUrl = None) -> None:
    """Print a link with which a person chooses a new password; it is good once, for an hour."""
    from techport_pilots.access.invitations import PasswordResets

    settings = running_settings(data)
    with open_registry(data, registry) as opened:
        user = _user(Accounts(opened.database), email)
        typer.echo(f"{settings.web_url}/reset?token={PasswordResets(opened.database).create(user.id)}")


@app.command("lock")
@options.needs("admin", logs="shared")
def lock(email: Email, data: options.Data = None, registry: options.RegistryUrl = None) -> None:
    """Let a person sign in no more; their sessions and tokens end within seconds."""
    with open_registry(data, registry) as opened:
        accounts = Accounts(opened.database)
        accounts.set_disabled(_user(accounts, email).id, True)


@app.command("unlock")
@options.needs("admin", logs="shared")
def unlock(email: Email, data: options.Data = None, registry: options.RegistryUrl = None) -> None:
    """Let a person sign in again."""
    with open_registry(data, registry) as opened:
        accounts = Accounts(opened.database)
        accounts.set_disabled(_user(accounts, email).id, False)


@tokens.command("create")
@options.needs("admin", logs="shared")
def create(
    email: Email,
    name: Annotated[str, typer.Option("--name", help="which program it is for")] = "",
    pilot: Annotated[list[str] | None, typer.Option("--pilot", help="may be repeated; all unless given")] = None,
    action: Annotated[
        list[str] | None, typer.Option("--action", help="may be repeated; see unless given (docs/access.md)")
    ] = None,
    days: Annotated[int, typer.Option("--days", help="days after which it expires", min=1, max=366)] = 90,
    data: options.Data = None,
    registry: options.RegistryUrl = None,
) -> None:
    """Make a token with which a program does what the person may do, within a scope; it is shown this once."""
    from techport_pilots.access.api_tokens import ApiTokens

    with open_registry(data, registry) as opened:
        user = _user(Accounts(opened.database), email)
        _, text = ApiTokens(opened.database).create(user.id, name, pilot or None, action or ["see"], days * DAY)
    typer.echo(text)


@tokens.command("list")
@options.needs("admin", logs=None)
def list_tokens(
    email: Annotated[str | None, typer.Argument(help="of one person; of everybody unless given")] = None,
    data: options.Data = None,
    registry: options.RegistryUrl = None,
) -> None:
    """Tokens that are good, with their scope."""
    from techport_pilots.access.api_tokens import ApiTokens

    console = Console(highlight=False)
    with open_registry(data, registry) as opened:
        accounts = Accounts(opened.database)
        users = accounts.all() if email is None else [_user(accounts, email)]
        for user in users:
            for token in ApiTokens(opened.database).of(user.id):
                if token.revoked is not None or token.expires <= now():
                    continue
                pilots = "all pilots" if token.pilots is None else ", ".join(token.pilots)
                until = dt.datetime.fromtimestamp(token.expires / 1e6, dt.UTC).date()
                scope = f"{', '.join(token.actions)} in {pilots}, until {until}"
                print_text(console, f"{token.id}  {token.prefix}  {user.email}  {token.name}: {scope}")


@tokens.command("revoke")
@options.needs("admin", logs="shared")
def revoke(
    prefix: Annotated[str, typer.Argument(help="beginning of the token, as `token list` shows it")],
    data: options.Data = None,
    registry: options.RegistryUrl = None,
) -> None:
    """Revoke a token: it is refused within seconds."""
    from techport_pilots.access.api_tokens import ApiTokens

    with open_registry(data, registry) as opened:
        api_tokens = ApiTokens(opened.database)
        for user in Accounts(opened.database).all():
            for token in api_tokens.of(user.id):
                if token.prefix == prefix[: len(token.prefix)] and api_tokens.revoke(user.id, token.id):
                    print_text(Console(highlight=False), f"revoked {token.prefix} of {user.email}")
                    return
    raise CannotRun(f"no token that is good begins with {prefix[:11]}: see `techport token list`")


def _user(accounts: Accounts, email: str) -> User:
    user = accounts.by_email(email)
    if user is None:
        raise CannotRun(f"{email} has no account: see `techport account list`")
    return user
