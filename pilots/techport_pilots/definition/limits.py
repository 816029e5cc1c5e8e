"""Limit values and guidelines as ready-made KPIs, each with its source.

A limit that may be exceeded on so many days of a year becomes a share of days, so that any phase can be judged: 35 of
365 days are 9.6 %. A pilot of some weeks shows whether a street would keep the limit if the year were like that, no
more; the legal assessment takes a calendar year and prescribed instruments. docs/limits.md says how they were checked.

Values are compared with a limit in its own accuracy, days are those of UTC+1 all year, an hour needs 75 % of its
readings, a day 18 of its hours and eight hours six of them (2008/50/EC annex XI), and the time as a whole 85 %.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from techport_pilots.i18n import Message, in_all_languages
from techport_pilots.model import Comparison, Kpi, Measure, Text

# docs/limits.md says which of its values were compared with what; the table of § 7-9 itself could not be read.
NO_2022 = "Forurensningsforskriften kapittel 7, § 7-9, som endret ved FOR-2022-06-03-989"
EU_2008 = "Directive 2008/50/EC, annex XI, limit values"
EU_2008_PM25 = "Directive 2008/50/EC, annex XIV, section E, limit value of 2015"
EU_2008_O3 = "Directive 2008/50/EC, annex VII, section B, target value (mean of three years)"
EU_2024 = "Directive (EU) 2024/2881, annex I, section 1, limit values to be attained by 1 January 2030"
EU_2024_O3 = "Directive (EU) 2024/2881, annex I, section 2, target value (mean of three years)"
WHO_2021 = "WHO global air quality guidelines 2021 (ISBN 978-92-4-003422-8), recommended AQG levels"
WHO_RETAINED = "WHO global air quality guidelines 2021, table 0.2, guidelines of 2005 and 2010 that remain valid"
T_1442 = "T-1442/2021, Retningslinje for behandling av støy i arealplanlegging, tabell 1, kriterier for soneinndeling"
EN_16798 = "NS-EN 16798-1:2019, annex B (default values), category II; share of the time as in CEN/TR 16798-2:2019"
COUNTS = "Shares of counted travellers; says nothing about who passes where nobody counts"

_YEAR = 365.0
_CAPTURE = 0.85
"""Share of a year that must be measured: 90 % (2008/50/EC annex I), less the 5 % that calibration and maintenance
may take (guidance to Decision 2011/850/EU)."""
BENZENE = {"nb": "Benzen", "en": "Benzene"}


class BuiltIn(msgspec.Struct, frozen=True):
    """A KPI to take over into a definition, where it comes from, and how often a year it may be exceeded."""

    kpi: Kpi
    source: str
    exceedances: int | None = None
    applies_from: str | None = None  # date, ISO 8601, of a limit that is not in force yet


def built_ins() -> dict[str, BuiltIn]:
    """All of them, by the KPI's id."""
    return {limit.kpi.id: limit for limit in (*_air(), *_noise(), *_indoor(), *_travel())}


def _air() -> list[BuiltIn]:
    return [
        _hourly("no2022-no2-hour", "no2", "NO₂", 200, 18, NO_2022),
        _yearly("no2022-no2-year", "no2", "NO₂", 40, NO_2022),
        _daily("no2022-pm10-day", "pm10", "PM10", 50, 25, NO_2022),
        _yearly("no2022-pm10-year", "pm10", "PM10", 20, NO_2022),
        _yearly("no2022-pm25-year", "pm25", "PM2.5", 10, NO_2022),
        _hourly("no2022-so2-hour", "so2", "SO₂", 350, 24, NO_2022),
        _daily("no2022-so2-day", "so2", "SO₂", 125, 3, NO_2022),
        _daily("no2022-co-8h", "co", "CO", 10, 0, NO_2022, eight_hours=True),
        _yearly("no2022-benzene-year", "benzene", BENZENE, 5, NO_2022),
        _yearly("eu2008-no2-year", "no2", "NO₂", 40, EU_2008),
        _yearly("eu2008-pm10-year", "pm10", "PM10", 40, EU_2008),
        _yearly("eu2008-pm25-year", "pm25", "PM2.5", 25, EU_2008_PM25),
        _yearly("eu2008-benzene-year", "benzene", BENZENE, 5, EU_2008),
        _hourly("eu2008-no2-hour", "no2", "NO₂", 200, 18, EU_2008),
        _hourly("eu2008-so2-hour", "so2", "SO₂", 350, 24, EU_2008),
        _daily("eu2008-pm10-day", "pm10", "PM10", 50, 35, EU_2008),
        _daily("eu2008-so2-day", "so2", "SO₂", 125, 3, EU_2008),
        _daily("eu2008-o3-8h", "o3", "O₃", 120, 25, EU_2008_O3, eight_hours=True),
        _daily("eu2008-co-8h", "co", "CO", 10, 0, EU_2008, eight_hours=True),
        _yearly("eu2024-no2-year", "no2", "NO₂", 20, EU_2024),
        _yearly("eu2024-pm10-year", "pm10", "PM10", 20, EU_2024),
        _yearly("eu2024-pm25-year", "pm25", "PM2.5", 10, EU_2024),
        _yearly("eu2024-so2-year", "so2", "SO₂", 20, EU_2024),
        _yearly("eu2024-benzene-year", "benzene", BENZENE, 3.4, EU_2024),
        _hourly("eu2024-no2-hour", "no2", "NO₂", 200, 3, EU_2024),
        _hourly("eu2024-so2-hour", "so2", "SO₂", 350, 3, EU_2024),
        _daily("eu2024-no2-day", "no2", "NO₂", 50, 18, EU_2024),
        _daily("eu2024-pm10-day", "pm10", "PM10", 45, 18, EU_2024),
        _daily("eu2024-pm25-day", "pm25", "PM2.5", 25, 18, EU_2024),
        _daily("eu2024-so2-day", "so2", "SO₂", 50, 18, EU_2024),
        _daily("eu2024-co-day", "co", "CO", 4, 18, EU_2024),
        _daily("eu2024-co-8h", "co", "CO", 10, 0, EU_2024, eight_hours=True),
        _daily("eu2024-o3-8h", "o3", "O₃", 120, 18, EU_2024_O3, eight_hours=True),
        _yearly("who2021-no2-year", "no2", "NO₂", 10, WHO_2021),
        _yearly("who2021-pm10-year", "pm10", "PM10", 15, WHO_2021),
        _yearly("who2021-pm25-year", "pm25", "PM2.5", 5, WHO_2021),
        _guideline("who2021-no2-day", "no2", "NO₂", 25),
        _guideline("who2021-pm10-day", "pm10", "PM10", 45),
        _guideline("who2021-pm25-day", "pm25", "PM2.5", 15),
        _guideline("who2021-so2-day", "so2", "SO₂", 40),
        _guideline("who2021-co-day", "co", "CO", 4),
        _guideline("who2021-o3-8h", "o3", "O₃", 100, eight_hours=True),
        _hourly("who2005-no2-hour", "no2", "NO₂", 200, 0, WHO_RETAINED),
        _hourly("who2010-co-hour", "co", "CO", 35, 0, WHO_RETAINED),
        _daily("who2010-co-8h", "co", "CO", 10, 0, WHO_RETAINED, eight_hours=True),
    ]


def _noise() -> list[BuiltIn]:
    zones = (("yellow", "road", 55), ("red", "road", 65), ("yellow", "rail", 58), ("red", "rail", 68))
    return [
        BuiltIn(
            Kpi(
                id=f"t1442-{source}-{zone}",
                title=_title(f"lden.{source}-{zone}"),
                quantity="laeq",
                interval="P1D",
                slot="lden",
                target=limit,
            ),
            T_1442,
        )
        for zone, source, limit in zones
    ]


def _indoor() -> list[BuiltIn]:
    """During hours of use, taken as weekdays 8-16."""
    return [
        _room("en16798-co2", "indoor_co2", 1200, 0.05),
        _room("en16798-warm", "indoor_temperature", 26, 0.05),
        _room("en16798-cold", "indoor_temperature", 20, 0.95, "higher"),
    ]


def _travel() -> list[BuiltIn]:
    rest = Measure(quantity="vehicle_count", plus=["pedestrian_count"], statistic="sum")
    return [
        BuiltIn(
            Kpi(
                id="modal-share-bicycle",
                title=_title("bicycle-share"),
                quantity="bicycle_count",
                statistic="sum",
                compare=Comparison("share", rest),
                direction="higher",
            ),
            COUNTS,
        )
    ]


def _yearly(code: str, quantity: str, name: str | Mapping[str, str], limit: float, source: str) -> BuiltIn:
    kpi = Kpi(
        id=code,
        title=_title("mean", name=name),
        quantity=quantity,
        target=limit,
        decimals=_decimals(limit),
        minimum_completeness=_CAPTURE,
    )
    return BuiltIn(kpi, source, applies_from=_applies_from(source))


def _decimals(limit: float) -> int:
    """Of a limit value as its source writes it: values are compared with it in its own accuracy."""
    return 0 if limit == round(limit) else 1


def _applies_from(source: str) -> str | None:
    return "2030-01-01" if source in (EU_2024, EU_2024_O3) else None


def _hourly(code: str, quantity: str, name: str, limit: float, times: int, source: str) -> BuiltIn:
    kpi = Kpi(
        id=code,
        title=_title("hours-above", name=name, limit=f"{limit:g}"),
        quantity=quantity,
        statistic="hours_above",
        threshold=limit,
        decimals=_decimals(limit),
        target=times / _YEAR,
        minimum_completeness=_CAPTURE,
    )
    return BuiltIn(kpi, source, times, _applies_from(source))


def _daily(
    code: str, quantity: str, name: str, limit: float, times: int, source: str, *, eight_hours: bool = False
) -> BuiltIn:
    kpi = Kpi(
        id=code,
        title=_title("days-above", name=name, limit=f"{limit:g}"),
        quantity=quantity,
        interval="P1D",
        slot="max_8h" if eight_hours else "auto",
        statistic="share_above",
        threshold=limit,
        decimals=_decimals(limit),
        day="utc+1",
        target=times / _YEAR,
        minimum_completeness=_CAPTURE,
    )
    return BuiltIn(kpi, source, times, _applies_from(source))


def _guideline(code: str, quantity: str, name: str, limit: float, *, eight_hours: bool = False) -> BuiltIn:
    """WHO's short-term guidelines are 99th percentiles of a year's daily values: three or four days may be above."""
    kpi = Kpi(
        id=code,
        title=_title("percentile-99", name=name),
        quantity=quantity,
        interval="P1D",
        slot="max_8h" if eight_hours else "auto",
        statistic="percentile",
        percentile=99,
        by_position=True,
        decimals=_decimals(limit),
        day="utc+1",
        target=limit,
    )
    return BuiltIn(kpi, WHO_2021)


def _room(
    code: str, quantity: str, limit: float, target: float, direction: Literal["lower", "higher"] = "lower"
) -> BuiltIn:
    kpi = Kpi(
        id=code,
        title=_title(f"room.{code}"),
        quantity=quantity,
        statistic="share_above",
        threshold=limit,
        at_least=direction == "higher",  # 20 °C is warm enough
        interval="PT15M",
        hours=(8, 16),
        weekdays=["mon", "tue", "wed", "thu", "fri"],
        direction=direction,
        target=target,
    )
    return BuiltIn(kpi, EN_16798)


def _title(code: str, **params: str | Mapping[str, str]) -> Text:
    return Text(**in_all_languages(Message(f"limit.{code}", params)))
