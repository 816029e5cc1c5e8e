"""techport deposit: a snapshot as a draft at Zenodo or DataverseNO, after a look and a yes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, cast

from rich.console import Console
from typer import Argument, BadParameter, Exit, Option, confirm

from techport import options
from techport.errors import CannotRun
from techport.settings import load_settings
from techport.terminal import print_text


@options.needs("share")
def deposit(
    snapshot: Annotated[str, Argument(help="id of the snapshot")],
    to: Annotated[str, Option("--to", help="zenodo or dataverseno")],
    token_file: Annotated[Path, Option("--token-file", help="file with your API token at the repository")],
    server: Annotated[str | None, Option("--server", help="another server, such as https://sandbox.zenodo.org")] = None,
    collection: Annotated[str, Option("--collection", help="collection of Dataverse to put it in")] = "root",
    contact: Annotated[str | None, Option("--contact", help="e-mail address for questions; Dataverse needs it")] = None,
    yes: Annotated[bool, Option("--yes", help="send without asking")] = False,
    data: options.Data = None,
    registry: options.RegistryUrl = None,
) -> None:
    """Send a snapshot to a repository that registers DOIs, as a draft that a person publishes there."""
    from techport.deposits import SERVERS, Deposit, Repository, check, send
    from techport_dashboards.services.datacite import datacite
    from techport_dashboards.services.snapshots import SnapshotStore
    from techport_pilots.handover.dcat.build import shareable
    from techport_pilots.registry.registry import Registry

    if to not in SERVERS:
        raise BadParameter(f"use one of {', '.join(SERVERS)}", param_hint="--to")
    repository = cast(Repository, to)
    settings = load_settings({"data": data, "registry": registry})
    store = SnapshotStore(settings.snapshots_folder)
    frozen = store.get(snapshot)
    if frozen is None:
        raise CannotRun(f"there is no snapshot {snapshot} in {settings.snapshots_folder}")
    opened = Registry.open(settings.registry_url, settings.registry_seconds)
    try:
        closed = [pilot for pilot in frozen.pilots if not shareable(opened.pilot(pilot))]
    finally:
        opened.close()
    if closed:
        raise CannotRun(f"{', '.join(closed)} is not open data, so its readings are not given to a repository")
    planned = Deposit(
        repository,
        (server or SERVERS[repository]).rstrip("/"),
        datacite(frozen, settings.web_url, settings.publisher),
        tuple(frozen.licences),
        store.path(snapshot),
        contact,
        collection,
    )
    check(planned)
    token = token_file.read_text("utf-8").strip()
    if not token:
        raise CannotRun(f"{token_file} is empty: make a token at {planned.server} and put it there")
    console = Console(highlight=False)
    for line in (
        planned.about["titles"][0]["title"],
        f"by {'; '.join(creator['name'] for creator in planned.about['creators'])}, {', '.join(planned.licences)}",
        f"{frozen.rows} rows, {frozen.bytes} bytes, SHA-256 {frozen.sha256}",
        f"as a draft at {planned.server}",
    ):
        print_text(console, line)
    if not yes and not confirm("Send it?"):
        raise Exit(1)
    draft = send(planned, token)
    print_text(console, f"The draft is at {draft.page}")
    if draft.doi:
        print_text(
            console,
            f'When it is published, its DOI is {draft.doi}: write "doi": "{draft.doi}" into '
            f"{settings.snapshots_folder / snapshot}.json",
        )
