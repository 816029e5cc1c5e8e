"""What a definition says about personal data: a record that goes with the readings, and the licence that does not.

A pilot is asked for its licence through `licence_of` wherever readings leave the platform.
"""

from __future__ import annotations

import datetime as dt
import re

import msgspec

from techport_pilots.model import PilotDefinition, Text

_OPEN_LICENCES = re.compile(
    r"(cc[-_ ]?(by|0|pd)|creative ?commons|nlod|odbl|odc|pddl|ogl|open|public domain|etalab|dl-de|cdla|mit\b|apache)",
    re.IGNORECASE,
)
"""How the names of licences begin that let everybody use and pass on what they are given."""


class PrivacyRecord(msgspec.Struct, frozen=True):
    """Of readings that can be about people: why they may be there. GDPR articles 5, 6, 30 and 35."""

    purpose: Text
    legal_basis: str
    controller: str
    dpia: str  # reference to the impact assessment
    dpia_date: dt.date | None
    data_classes: tuple[str, ...] = ()  # kinds of personal data


def privacy_record(pilot: PilotDefinition) -> PrivacyRecord | None:
    """The record of a pilot with personal data; None for others."""
    if not pilot.personal_data:
        return None
    owners = [organisation.name for organisation in pilot.organisations if organisation.role == "owner"]
    named = [organisation.name for organisation in pilot.organisations[:1]]
    return PrivacyRecord(
        purpose=pilot.purpose,
        legal_basis=pilot.legal_basis or "",
        controller=pilot.controller or ", ".join(owners or named),
        dpia=pilot.dpia or "",
        dpia_date=pilot.dpia_date,
        data_classes=tuple(text.strip() for text in pilot.personal_data_classes if text.strip()),
    )


def is_open_licence(licence: str) -> bool:
    """Whether everybody may use and pass on what is under this licence, by its SPDX identifier or name."""
    return _OPEN_LICENCES.match(licence.strip()) is not None


def licence_of(pilot: PilotDefinition) -> str:
    """The licence under which readings may be handed on; "" for none. Personal data is never under an open one."""
    licence = pilot.licence.strip()
    return "" if pilot.personal_data and is_open_licence(licence) else licence
