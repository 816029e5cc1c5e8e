"""How a snapshot is cited: as text in the reader's language, and as BibTeX."""

from __future__ import annotations

import datetime as dt
import re
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from techport_dashboards.services.snapshots import Snapshot
from techport_pilots.i18n import Language

ENGLISH = Language("en")
_SPECIAL = re.compile(r"[\\{}$&#%_^~]")


def described(snapshot: Snapshot, base: str) -> dict[str, Any]:
    """The snapshot as the API gives it, with its addresses for good."""
    address = f"{base}/api/v1/snapshots/{snapshot.id}"
    return {
        **msgspec.to_builtins(snapshot),
        "url": address,
        "page": page_of(snapshot, base),
        "file": f"{address}/readings.parquet",
        "citation": citation(snapshot, base, ENGLISH),
    }


def licence_url(licence: str) -> str:
    """Where the licence is explained, by its SPDX identifier; empty where it is not one."""
    return f"https://spdx.org/licenses/{licence}.html" if licence and licence.isascii() and " " not in licence else ""


def page_of(snapshot: Snapshot, base: str) -> str:
    return f"{base}/snapshots/{snapshot.id}"


def citation(snapshot: Snapshot, base: str, language: Language) -> str:
    """As DataCite recommends it: who (year): what. version. where. `[DOI]` is to be filled where none is registered."""
    doi = f"https://doi.org/{snapshot.doi}" if snapshot.doi else "[DOI]"
    readings = language.gettext("Readings of {titles}", titles=", ".join(snapshot.titles))
    licences = f"{', '.join(snapshot.licences)}. " if snapshot.licences else ""
    return (
        f"{_who(snapshot)} ({snapshot.created[:4]}): {readings}, {span(snapshot, language)}. "
        f"{language.gettext('Snapshot')} {snapshot.id}, SHA-256 {snapshot.sha256}. {licences}"
        f"{page_of(snapshot, base)} {doi}"
    )


def span(snapshot: Snapshot, language: Language) -> str:
    """The days that the question was about, as the calendar of its zone calls them."""
    start = local_date(snapshot.start, snapshot.zone) if snapshot.start else language.gettext("the beginning")
    end = local_date(snapshot.end or snapshot.created, snapshot.zone)
    return language.gettext("{start} to {end}", start=start, end=end)


def local_date(instant: str, zone: str) -> str:
    """The day of an instant in the calendar of a zone."""
    try:
        return dt.datetime.fromisoformat(instant).astimezone(ZoneInfo(zone)).date().isoformat()
    except OverflowError:  # at an end of the calendar
        return instant[:10]


def bibtex(snapshot: Snapshot, base: str) -> str:
    """An entry of the kind `misc`, which every BibTeX knows."""
    fields = {
        "author": f"{{{_escaped(_who(snapshot))}}}",  # an organisation has no first name
        "title": f"{{Readings of {_escaped(', '.join(snapshot.titles))}, {span(snapshot, ENGLISH)}}}",
        "year": snapshot.created[:4],
        "howpublished": f"Data set, snapshot {snapshot.id}",
        "url": page_of(snapshot, base),
        **({"doi": snapshot.doi} if snapshot.doi else {}),
        "note": _escaped(f"SHA-256 {snapshot.sha256}. {', '.join(snapshot.licences)}"),
    }
    lines = [f"  {name} = {{{value}}}" for name, value in fields.items()]
    return f"@misc{{techport-{snapshot.id},\n" + ",\n".join(lines) + "\n}\n"


def creators(snapshot: Snapshot) -> list[str]:
    """Who is to be named: those that the pilots name, else the pilots."""
    return list(dict.fromkeys(filter(None, snapshot.attribution))) or list(snapshot.titles)


def _who(snapshot: Snapshot) -> str:
    named = any(snapshot.attribution)
    return ("; " if named else ", ").join(creators(snapshot))


def _escaped(text: str) -> str:
    """What means something to TeX, without meaning."""
    names = {"\\": r"\textbackslash{}", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}"}
    return _SPECIAL.sub(lambda match: names.get(match[0], f"\\{match[0]}"), text)
