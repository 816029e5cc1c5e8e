"""What an evaluation says, as codes with parameters; the sentences are in locale/<language>.po: `evaluation.*`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from techport_pilots.i18n import Language, Message
from techport_pilots.model import Exposure, Kpi, Phase, Text
from techport_pilots.quantities import Vocabulary
from techport_pilots.time import WEEKDAYS

_MONTH = re.compile(r"\d{4}-\d{2}")


def message(code: str, **params: Any) -> Message:
    """A message of the evaluation; texts in several languages and messages become plain data."""
    return Message(f"evaluation.{code}", {name: _plain(value) for name, value in params.items()})


_REMEDIES = {
    "evaluation.no-data": message("no-data.remedy"),
    "evaluation.incomplete": message("incomplete.remedy"),
    "evaluation.too-short": message("too-short.remedy"),
    "evaluation.no-paired-device": message("no-paired-device.remedy"),
    "evaluation.few-exposed": message("few-exposed.remedy"),
    "evaluation.no-interval.constant": message("constant.remedy"),
    "evaluation.no-interval.exact-fit": message("constant.remedy"),
    "evaluation.no-interval.no-control-data": message("no-control-data.remedy"),
    "evaluation.no-interval.too-few-days": message("too-few-days.remedy"),
    "evaluation.no-interval.collinear": message("collinear.remedy"),
}


def remedies(obstacles: Sequence[Message]) -> list[Message]:
    """What to do about reasons for which there is no verdict, each once."""
    return list({why.code: _REMEDIES[why.code] for why in obstacles if why.code in _REMEDIES}.values())


def phase_titles(phases: Sequence[Phase]) -> Text:
    """The phases as people call them."""
    titles = [phase.title or Text(phase.name, phase.name) for phase in phases]
    return Text(nb=", ".join(title.get("nb") for title in titles), en=", ".join(title.get("en") for title in titles))


def caveats(kpi: Kpi, devices: int, controls: int = 0) -> list[Message]:
    """What the reader must know beside the verdict: of so many devices, and so many in the control group."""
    if kpi.after is not None:
        return [message("caveat.not-randomised"), *([message("caveat.one-place")] if devices == 1 else [])]
    return [
        *([message("caveat.one-device")] if devices == 1 else []),
        *([message("caveat.no-control")] if not kpi.control else []),
        *([message("caveat.one-control")] if controls == 1 else []),
    ]


def method(kpi: Kpi) -> Message:
    """One paragraph for the report; docs/method.md says more."""
    if kpi.after is not None:
        return message("method", parts=_event_study(kpi, kpi.after))
    return message(
        "method",
        parts=[
            message("method.regression"),
            *([message("method.control")] if kpi.control else []),
            *([message("method.adjusted")] if kpi.adjust else []),
            message("method.autocorrelation"),
        ],
    )


def _event_study(kpi: Kpi, after: Exposure) -> list[Message]:
    if after.lag > 1:
        exposure = message("method.event-study.days-after", n=after.lag)
    else:
        exposure = message(f"method.event-study.{('same-day', 'next-day')[after.lag]}")
    return [
        exposure,
        *([message("method.event-study.adjusted")] if kpi.adjust else []),
        *([message("method.event-study.level-before")] if after.level_before else []),
        message("method.autocorrelation"),
    ]


def adjusted_for(columns: Sequence[str], vocabulary: Vocabulary, language: Language) -> list[str]:
    """What an evaluation's columns are, for people: the days of the week as one, a quantity's columns as one.

    Parameters
    ----------
    columns : sequence of str
        Evaluation.adjusted_for.
    vocabulary : Vocabulary
        Of the pilot.
    language : Language
        Of the reader.

    Returns
    -------
    list of str
        Without capitals, each once, in the order of the columns.
    """
    return list(dict.fromkeys(_column(column, vocabulary, language).lower() for column in columns))


def _column(column: str, vocabulary: Vocabulary, language: Language) -> str:
    if column in WEEKDAYS:
        return language.message(message("column.weekday"))
    if _MONTH.fullmatch(column):
        return language.message(message("column.month"))
    column = column.removesuffix(", day before")
    if column == "level before":
        return language.message(message("column.level-before"))
    if column == "event again":
        return language.message(message("column.event-again"))
    if column == "control group":
        return language.message(message("column.control"))
    if column == "trend":
        return language.message(message("column.trend"))
    if column == "season":
        return language.message(message("column.season"))
    name = column.split(" (")[0]
    quantity = vocabulary.lookup(name)
    return language.text(quantity.title, name) if quantity else name


def _plain(value: Any) -> Any:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(part) for part in value]
    return msgspec.to_builtins(value) if isinstance(value, Text | Message | Mapping) else value
