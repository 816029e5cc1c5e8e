"""What an evaluation tells people, in Norwegian and English."""

from __future__ import annotations

import re
from collections.abc import Sequence

from techport_pilots.model import Kpi, Phase, Text
from techport_pilots.quantities import Vocabulary
from techport_pilots.time import WEEKDAYS

_MONTH = re.compile(r"\d{4}-\d{2}")


def overlap(first: Phase, second: Phase) -> Text:
    return Text(
        nb=f"Fasene «{first.name}» og «{second.name}» overlapper; da er det ikke noe å sammenligne.",
        en=f"The phases “{first.name}” and “{second.name}” overlap, so there is nothing to compare.",
    )


def named(phases: Sequence[Phase]) -> Text:
    """The phases as people call them."""
    titles = [phase.title or Text(phase.name, phase.name) for phase in phases]
    return Text(nb=", ".join(title.get("nb") for title in titles), en=", ".join(title.get("en") for title in titles))


def no_device(quantity: str) -> Text:
    return Text(
        nb=f"Ingen av enhetene som er valgt, måler {quantity}.", en=f"None of the chosen devices measures {quantity}."
    )


def no_phase(kind: str) -> Text:
    nb = {"baseline": "førperiode", "intervention": "tiltaksperiode", "any": "fase"}[kind]
    en = "phase" if kind == "any" else f"{kind} phase"
    return Text(nb=f"Piloten har ingen {nb}.", en=f"The pilot has no {en}.")


def no_data(phase: Text) -> Text:
    return Text(nb=f"Ingen brukbare målinger i «{phase.nb}».", en=f"No usable readings in “{phase.en}”.")


def no_value(phase: Text) -> Text:
    return Text(
        nb=f"Målingene i «{phase.nb}» gir ingen meningsfull verdi (motstridende retninger, eller deling på null).",
        en=f"The readings in “{phase.en}” give no meaningful value (directions that cancel, or a division by zero).",
    )


def incomplete(phase: Text, share: float, needed: float) -> Text:
    return Text(
        nb=f"«{phase.nb}» er {100 * share:.0f} % komplett; KPI-en krever {100 * needed:.0f} %.",
        en=f"“{phase.en}” is {share:.0%} complete; the KPI asks for {needed:.0%}.",
    )


def too_short(phase: Text, days: int, needed: int) -> Text:
    return Text(
        nb=f"«{phase.nb}» har {days} brukbare døgn; det trengs minst {needed}.",
        en=f"“{phase.en}” has {days} usable days; at least {needed} are needed.",
    )


def no_common_device() -> Text:
    return Text(
        nb="Ingen enhet målte på samme sted både før og under tiltaket.",
        en="No device measured at the same place both before and during the intervention.",
    )


def one_sided_device() -> Text:
    return Text(
        nb="Har målinger bare på én side av sammenligningen.", en="Has readings on one side of the comparison only."
    )


def days_without_covariates() -> Text:
    return Text(
        nb="Døgn uten verdi for kontrollgruppen eller for det som det justeres for.",
        en="Days without a value of the control group or of what is adjusted for.",
    )


_NO_INTERVAL_NB = {
    "all values are equal": "alle verdier er like",
    "the adjustment cannot be told apart from the comparison itself": "justeringen kan ikke skilles fra tiltaket",
    "the control group has no data to compare with": "kontrollgruppen har ingen data å sammenligne med",
    "hardly two days in a row have data": "knapt to døgn på rad har data",
}


def no_interval(problem: str) -> Text:
    nb = _NO_INTERVAL_NB.get(problem, f"for få døgn ({problem})")
    return Text(nb=f"Usikkerheten kan ikke beregnes: {nb}.", en=f"The uncertainty cannot be worked out: {problem}.")


def caveats(kpi: Kpi, devices: int) -> list[Text]:
    """What the reader must know beside the verdict."""
    found = []
    if devices == 1:
        found.append(
            Text(
                nb="Bare én enhet: en annen endring på samme sted kan ikke skilles fra tiltaket.",
                en="One device only: another change at the same place cannot be told from the intervention.",
            )
        )
    if not kpi.control:
        found.append(
            Text(
                nb="Ingen kontrollgruppe: årstid og annet som endret seg samtidig, kan ikke skilles fra tiltaket.",
                en="No control group: the season and whatever else changed then cannot be told from the intervention.",
            )
        )
    return found


def value_only() -> Text:
    return Text(
        nb="Verdien i tiltaksperioden er holdt opp mot målet; ingen endring er beregnet.",
        en="The value under the intervention is held against the target; no change was estimated.",
    )


def method(kpi: Kpi, adjusted: bool, controlled: bool) -> Text:
    """One paragraph for the report; docs/method.md says more."""
    nb, en = [], []
    nb.append("Døgnverdier før og under tiltaket er sammenlignet med regresjon, ukedag mot ukedag og time mot time")
    en.append("Days before and during the intervention were compared by regression, like weekdays and hours with like")
    if controlled:
        nb.append("endringen i kontrollgruppen er trukket fra")
        en.append("the change of the control group was taken off")
    if adjusted:
        nb.append("det er justert for det som er nevnt under")
        en.append("adjusted for what is named below")
    nb.append("usikkerheten tar hensyn til at et døgn ligner på det forrige")
    en.append("the uncertainty allows for days that resemble the day before")
    return Text(nb="; ".join(nb) + ".", en="; ".join(en) + ".")


def no_scattered_days() -> Text:
    return Text(
        nb="Det er ingen døgn å sammenligne: tiltaket ble aldri gjort, eller det mangler målinger.",
        en="There are no days to compare: it was never done, or there are no readings.",
    )


def few_exposed(exposed: int, other: int, needed: int) -> Text:
    return Text(
        nb=f"{exposed} døgn følger tiltaket, og {other} andre kan sammenlignes; det trengs minst {needed} av hvert.",
        en=f"{exposed} days follow it, and {other} others can be compared; at least {needed} of each are needed.",
    )


def days_that_cannot_be_compared() -> Text:
    return Text(
        nb="Døgn mens tiltaket pågikk, i måneder uten tiltak, eller uten verdi for det som det justeres for.",
        en="Days while it went on, in months in which it was never done, or without a value of what is adjusted for.",
    )


def caveats_of_scattered_days(devices: int) -> list[Text]:
    """What the reader must know of days that nobody drew lots for."""
    found = [
        Text(
            nb="Dagene ble ikke trukket ut tilfeldig: det som får folk til å gjøre tiltaket, kan også endre tallet.",
            en="The days were not drawn by lot: what makes people do it may change the number too.",
        )
    ]
    if devices == 1:
        found.append(Text(nb="Bare én enhet: tallet gjelder det ene stedet.", en="One device only: this is one place."))
    return found


def method_of_scattered_days(kpi: Kpi) -> Text:
    """One paragraph for the report; docs/method.md says more."""
    assert kpi.after is not None
    lag = kpi.after.lag
    nb_when = {0: "samme døgn", 1: "døgnet etter"}.get(lag, f"{lag} døgn etter")
    en_when = {0: "the same day", 1: "the day after"}.get(lag, f"{lag} days after")
    nb = [f"Hvert døgns verdi er forklart med om tiltaket ble gjort ({nb_when}), ukedag og måned"]
    en = [f"Each day's value is explained by whether it was done ({en_when}), weekday and month"]
    if kpi.adjust:
        nb.append("det er justert for det som er nevnt under, samme døgn og døgnet før")
        en.append("adjusted for what is named below, on the day and the day before")
    if kpi.after.level_before:
        nb.append("det er justert for nivået før tiltaket")
        en.append("adjusted for the level before it was done")
    nb.append("usikkerheten tar hensyn til at et døgn ligner på det forrige")
    en.append("the uncertainty allows for days that resemble the day before")
    return Text(nb="; ".join(nb) + ".", en="; ".join(en) + ".")


def adjusted_for(columns: list[str], vocabulary: Vocabulary) -> list[Text]:
    """What an evaluation's columns are, for people: the days of the week as one, a quantity's columns as one."""

    def said(column: str) -> Text:
        if column in WEEKDAYS:
            return Text(nb="ukedag", en="day of the week")
        if _MONTH.fullmatch(column):
            return Text(nb="måned", en="month")
        name = column.removesuffix(", day before").split(" (")[0]
        quantity = vocabulary.lookup(name)
        return quantity.title if quantity else Text(nb=name, en=name)

    return list(dict.fromkeys(map(said, columns)))
