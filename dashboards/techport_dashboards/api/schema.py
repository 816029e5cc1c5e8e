"""What many answers of the API have in common: lists in pages, titles, old names of fields."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from techport_dashboards.query.paging import paged
from techport_dashboards.query.parameters import Page
from techport_dashboards.query.times import iso
from techport_dashboards.settings import WebSettings
from techport_pilots.model import Text
from techport_storage.microseconds import DAY

T = TypeVar("T")


class Listed(BaseModel, Generic[T]):
    items: list[T] = Field(description="One page, in the order of their names or times.")
    next: str | None = Field(description="Cursor of the next page; null on the last.")


class Title(BaseModel):
    nb: str = Field(description="In Norwegian (bokmål); the English text where there is none.")
    en: str = Field(description="In English; the Norwegian text where there is none.")


class Body(BaseModel):
    """A JSON body; keys that are not listed are rejected."""

    model_config = ConfigDict(extra="forbid")


def old_name(new: str) -> Any:
    """A field that is answered under its old name for one release more (CHANGELOG.md, Deprecated)."""
    return Field(description=f"Old name of {new}.", json_schema_extra={"deprecated": True})


def title(text: Text) -> dict[str, str]:
    return {"nb": text.get("nb"), "en": text.get("en")}


def listed(items: list[dict[str, Any]], keys: tuple[str, ...], page: Page, settings: WebSettings) -> dict[str, Any]:
    """A page of items that are sorted by their keys. \\0 sorts before every character of a name."""
    some, following = paged(
        items, lambda item: "\0".join(str(item[key]) for key in keys), page, settings.page_size, settings.max_page_size
    )
    return {"items": some, "next": following}


def day(number: int) -> str:
    """A day as 2026-05-04, from whole days since 1970-01-01."""
    return iso(number * DAY)[:10]
