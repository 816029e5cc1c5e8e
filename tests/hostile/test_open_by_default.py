"""Nobody's readings are public because a file does not say who may read them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import msgspec
import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import NullPool, create_engine, text

from techport_pilots.definition.load import parse_definition
from techport_pilots.devices.remap import update_definition
from techport_pilots.errors import DefinitionError
from techport_pilots.registry.registry import Registry
from tests.dashboards.web import City
from tests.registries import registry_in

pytestmark = pytest.mark.anyio
SILENT = """
id: stum
title: {en: Says nothing}
question: {en: "Who may read this?"}
devices:
  - {id: box, interval: PT1H, streams: [{quantity: pm10}]}
"""
LOUD = SILENT.replace("id: stum", "id: tydelig") + "data_class: open\nlicence: NLOD-2.0\n"


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def city(tmp_path: Path) -> Iterator[City]:
    city = City.at(tmp_path)
    yield city
    city.close()


def test_a_definition_that_does_not_say_is_internal_without_a_licence() -> None:
    pilot = parse_definition(SILENT)
    assert (pilot.data_class, pilot.licence) == ("internal", "")


@pytest.mark.parametrize("licence", ["", "licence: ''", "licence: '  '"])
def test_open_needs_a_licence_in_words(licence: str) -> None:
    with pytest.raises(DefinitionError, match=r"licence: .*data_class is open.*CC-BY-4\.0"):
        parse_definition(f"{SILENT}data_class: open\n{licence}\n")


async def test_what_a_silent_file_brings_is_seen_by_nobody_else(city: City) -> None:
    city.import_text(SILENT)
    city.import_text(LOUD)
    transport = httpx.ASGITransport(city.app(signed_in=False))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        assert [item["id"] for item in (await client.get("/api/v1/pilots")).json()["items"]] == ["tydelig"]


async def test_what_is_imported_already_keeps_what_it_had_and_says_so(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/registry.sqlite"
    engine = create_engine(url, poolclass=NullPool)
    configuration = Config()
    configuration.set_main_option("script_location", "techport_pilots.registry:migrations")
    with engine.begin() as connection:
        configuration.attributes["connection"] = connection
        command.upgrade(configuration, "0010")
        for source in (SILENT, LOUD):
            stored = msgspec.to_builtins(parse_definition(source))
            if source is SILENT:
                del stored["data_class"], stored["licence"]
            row = {"pilot": stored["id"], "definition": msgspec.json.encode(stored).decode(), "source": source}
            connection.execute(
                text(
                    "INSERT INTO pilot_versions (pilot, version, definition, source, who, at, why)"
                    " VALUES (:pilot, 1, :definition, :source, 'test', 0, '')"
                ),
                row,
            )
    engine.dispose()

    city = City.at(tmp_path)
    kept = city.registry.pilot("stum")
    assert (kept.data_class, kept.licence) == ("open", "CC-BY-4.0")
    assert city.registry.pilot("tydelig").licence == "NLOD-2.0"
    assert city.registry.assumed_open() == {"stum"}

    async with httpx.AsyncClient(transport=httpx.ASGITransport(city.app()), base_url="http://127.0.0.1") as client:

        async def told(pilot: str, page: str = "") -> bool:
            return "assumed" in (await client.get(f"/pilots/{pilot}{page}")).text

        assert await told("stum")
        assert await told("stum", "/share")
        assert not await told("tydelig")
        update_definition(
            city.registry, "stum", lambda pilot: msgspec.structs.replace(pilot, attribution="X"), "me", ""
        )
        assert await told("stum"), "the platform's own edits do not answer the question"
        said = SILENT + "data_class: open\nlicence: CC-BY-4.0\nattribution: X\n"
        city.import_text(said)
        assert not await told("stum"), "the same content, from somebody who has written it"
        assert city.registry.pilot("stum").data_class == "open"
    city.import_text(SILENT)
    assert city.registry.pilot("stum").data_class == "internal"
    city.close()


def test_the_registry_knows_none_to_begin_with(tmp_path: Path) -> None:
    registry = Registry.open(registry_in(tmp_path))
    assert registry.assumed_open() == set()
    registry.close()
