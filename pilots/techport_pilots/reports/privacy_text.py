"""The record of personal data in words: for the report, the README of a package, and its descriptions for machines."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

from techport_pilots.definition.privacy import PrivacyRecord, privacy_record
from techport_pilots.reports.build import Report
from techport_pilots.reports.text import Words


def privacy_lines(report: Report, words: Words) -> list[tuple[str, str]]:
    """What must be known of readings about people, each with its heading; nothing where there are none.

    What the definition does not say is said to be missing: whoever receives the data has to ask.
    """
    record = privacy_record(report.pilot)
    if record is None:
        return []
    missing = words("not stated")
    return [
        (words("Purpose"), words.text(record.purpose) or missing),
        (words("Kinds of personal data"), ", ".join(record.data_classes) or missing),
        (words("Legal basis"), record.legal_basis or missing),
        (words("Controller"), record.controller or missing),
        (words("Impact assessment (DPIA)"), _assessment(record, words) or missing),
        (words("To be erased by"), missing if report.erase_at is None else words.date(report.erase_at)),
    ]


def privacy_description(report: Report) -> dict[str, str | list[str] | None]:
    """The same for programs; dates as ISO 8601, in the pilot's time zone."""
    record = privacy_record(report.pilot)
    if record is None:
        return {}
    erase_by = None
    if report.erase_at is not None:
        erase_by = dt.datetime.fromtimestamp(report.erase_at / 1e6, ZoneInfo(report.pilot.timezone)).date().isoformat()
    return {
        "purpose": record.purpose.get("en"),
        "data_classes": list(record.data_classes),
        "legal_basis": record.legal_basis,
        "controller": record.controller,
        "dpia": record.dpia,
        "dpia_date": None if record.dpia_date is None else record.dpia_date.isoformat(),
        "erase_by": erase_by,
    }


def _assessment(record: PrivacyRecord, words: Words) -> str:
    if record.dpia_date is None or not record.dpia:
        return record.dpia
    return f"{record.dpia} ({words.day(record.dpia_date)})"
