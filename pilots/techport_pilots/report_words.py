"""The report's language: its fixed texts, numbers and dates, in Norwegian and English. English texts are the keys."""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from babel import Locale
from babel.dates import format_date, format_datetime
from babel.numbers import format_decimal

from techport_pilots.model import Text
from techport_storage.model import Micros

_LOCALES = {"nb": "nb_NO", "en": "en_GB"}
_DATE = {"nb": "d. MMM y", "en": "d MMM y"}

NB = {
    "Report": "Rapport",
    "In short": "Kort fortalt",
    "The question": "Spørsmålet",
    "Hypothesis": "Hypotese",
    "Purpose": "Formål",
    "Where": "Hvor",
    "When": "Når",
    "Results": "Resultater",
    "What happened": "Hva som skjedde",
    "Left out of the evaluation": "Utelatt fra evalueringen",
    "Data quality": "Datakvalitet",
    "Method, and what it cannot show": "Metode, og hva den ikke kan vise",
    "How to cite": "Slik siterer du",
    "Licence": "Lisens",
    "Source": "Kilde",
    "Contact": "Kontakt",
    "Organisations": "Organisasjoner",
    "draft": "utkast",
    "running": "pågår",
    "ended": "avsluttet",
    "closed": "lukket",
    "Made": "Laget",
    "Measured": "Målt",
    "State": "Status",
    "target met": "Målet er nådd",
    "target not met": "Målet er ikke nådd",
    "inconclusive": "Kan ikke avgjøres",
    "insufficient data": "For lite data",
    "effect shown": "Virkning påvist",
    "no wanted effect": "Ikke den ønskede virkningen",
    "Verdict": "Dom",
    "Before": "Før",
    "During": "Under tiltaket",
    "Change": "Endring",
    "interval": "intervall",
    "Target": "Mål",
    "Complete before / during": "Komplett før / under",
    "baseline": "uten tiltak",
    "intervention": "med tiltak",
    "control": "kontroll",
    "other": "annet",
    "mean of the days": "snitt av døgnene",
    "excluded": "utelatt",
    "target": "mål",
    "Each dot is a day.": "Hver prikk er et døgn.",
    "Nr": "Nr.",
    "Device": "Enhet",
    "Kind": "Type",
    "Group": "Gruppe",
    "Complete": "Komplett",
    "Longest gap": "Lengste hull",
    "Flagged": "Merket",
    "Readings": "Målinger",
    "Phase": "Fase",
    "From": "Fra",
    "To": "Til",
    "What": "Hva",
    "Reason": "Grunn",
    "the whole pilot": "hele piloten",
    "installed": "montert",
    "moved": "flyttet",
    "calibrated": "kalibrert",
    "outage": "utfall",
    "change": "endring",
    "{n} devices": "{n} enheter",
    "{n} days": "{n} døgn",
    "{n} hours": "{n} timer",
    "{n} min": "{n} min",
    "none": "ingen",
    "Page": "Side",
    "There is nothing to evaluate: the pilot has no KPI.": "Det er ikke noe å evaluere: piloten har ingen KPI.",
    "{value} under the intervention, {before} without it.": "{value} med tiltaket, {before} uten.",
    "{value} under the intervention.": "{value} med tiltaket.",
    "The change is estimated at {effect}{percent}, with 95 % confidence between {low} and {high}.": (
        "Endringen er anslått til {effect}{percent}, med 95 % sikkerhet mellom {low} og {high}."
    ),
    "{share} of the expected readings arrived; {flagged} of those are flagged as doubtful.": (
        "{share} av de ventede målingene kom fram; {flagged} av dem er merket som tvilsomme."
    ),
    "{n} values were set aside because they could not be read or belonged nowhere.": (
        "{n} verdier ble satt til side fordi de ikke kunne leses eller ikke hørte hjemme noe sted."
    ),
    "Shown are the {n} devices that the KPIs are about, and those with the longest gaps.": (
        "Viser de {n} enhetene som KPI-ene handler om, og dem med de lengste hullene."
    ),
    "No change is shown: the interval holds zero.": "Det er ikke vist noen endring: intervallet dekker null.",
    "That is a change the wanted way.": "Det er en endring i ønsket retning.",
    "That is a change the wrong way.": "Det er en endring i feil retning.",
    "pp": "prosentpoeng",
    "day of the week": "ukedag",
    "adjusted for": "Justert for",
    "days that tell as much, were they independent": "døgn som ville sagt like mye om de var uavhengige",
    "left out": "Utelatt",
    "Data": "Data",
    "data set": "datasett",
    "version": "versjon",
}


METHOD = Text(
    nb="Et konfidensintervall på 95 % inneholder den sanne endringen i 19 av 20 slike evalueringer. Døgn "
    "ligner på døgnene før dem, og det tar intervallene hensyn til. De tar bare hensyn til "
    "tilfeldigheter: det som ellers endret seg samtidig, årstid, veiarbeid, nye vaner, ser ut som en "
    "virkning av tiltaket hvis ikke en kontrollgruppe eller en justering skiller det ut.",
    en="A confidence interval of 95 % holds the true change in 19 of 20 such evaluations. Days resemble the "
    "days before them, and the intervals allow for that. They allow for chance only: whatever else "
    "changed at the same time, the season, road works, a new habit, looks like an effect of the "
    "intervention unless a control group or an adjustment tells it apart.",
)
QUALITY = Text(
    nb="Komplett er andelen av de ventede målingene, én for hvert intervall som enheten lover, som kom fram. "
    "Merkene gjelder verdier utenfor det rimelige, enslige topper, verdier som står stille og målinger "
    "uten tidspunkt. De endrer aldri en verdi; merkede målinger er ikke med i KPI-ene.",
    en="Complete is the share of the expected readings, one each interval that the device promises, that "
    "arrived. Flags mark values outside their plausible range, lone spikes, values that stand still and "
    "readings without a time. They never change a value; flagged readings are left out of the KPIs.",
)


@dataclass(frozen=True, slots=True)
class Words:
    """Everything in the report that depends on the reader. `code` is nb or en; times are those of `zone`."""

    code: str
    zone: str

    def __call__(self, message: str, **values: object) -> str:
        text = NB.get(message, message) if self.code == "nb" else message
        return text.format(**values) if values else text

    def text(self, text: Text | None, default: str = "") -> str:
        return (text.get(self.code) if text else "") or default

    def number(self, value: float, digits: int = 3) -> str:
        """With so many significant digits, no more than four decimals, and a true minus sign."""
        if not math.isfinite(value):
            return "–"
        size = math.floor(math.log10(abs(value))) if value else 0
        decimals = min(max(digits - 1 - size, 0), 4)
        pattern = "#,##0" + ("." + "0" * decimals if decimals else "")
        return format_decimal(value, format=pattern, locale=self._locale).replace("-", "−")

    def count(self, n: float) -> str:
        """A whole number."""
        return str(format_decimal(round(n), format="#,##0", locale=self._locale)).replace("-", "−")

    def plain(self, value: float) -> str:
        """As it was written down: 20, not 20.0."""
        return str(format_decimal(value, format="#,##0.######", locale=self._locale)).replace("-", "−")

    def signed(self, value: float) -> str:
        return ("+" if value > 0 else "") + self.number(value)

    def share(self, share: float | None) -> str:
        """0..1 as per cent; 100 % only when nothing is missing."""
        if share is None:
            return "–"
        percent = min(round(100 * share, 1), 99.9) if share < 1 else 100
        return self.plain(percent if percent or not share else 0.1) + " %"

    def date(self, time: Micros) -> str:
        return str(format_date(self._at(time).date(), _DATE[self.code], locale=self._locale))

    def last_day(self, end: Micros) -> str:
        """The last day of a range that `end` is no longer in."""
        return self.date(end - 1)

    def date_time(self, time: Micros) -> str:
        return str(format_datetime(self._at(time), _DATE[self.code] + " HH:mm", locale=self._locale))

    def month(self, time: Micros) -> str:
        return str(format_date(self._at(time).date(), "MMM", locale=self._locale)).rstrip(".")

    def span(self, length: Micros) -> str:
        minutes = length / 60e6
        if minutes < 120:
            return self("{n} min", n=self.count(minutes))
        if minutes < 48 * 60:
            return self("{n} hours", n=self.count(minutes / 60))
        return self("{n} days", n=self.count(minutes / 1440))

    @property
    def _locale(self) -> Locale:
        return Locale.parse(_LOCALES[self.code])

    def _at(self, time: Micros) -> dt.datetime:
        return dt.datetime.fromtimestamp(time // 1_000_000, ZoneInfo(self.zone))
