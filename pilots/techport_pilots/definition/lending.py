"""Streams of one pilot in the KPIs of another: what a definition borrows, and what its owner lends it.

A definition may name any stream of any pilot, which proves nothing. Only the pilot whose stream it is can say who may
use it, by an entry of `lends` in its own definition. It is looked at when a definition is imported, and again whenever
a KPI is evaluated or a package written, so that an entry that is taken away ends the use.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from techport_pilots.definition.misfit import Misfit, Path, misfit
from techport_pilots.model import Kpi, PilotDefinition
from techport_storage.model import Stream

EVERY_PILOT = "*"


def borrowed(pilot: PilotDefinition) -> list[Stream]:
    """Streams of other pilots that the KPIs are adjusted for, or that say on which days something was done."""
    return sorted({stream for _, stream in _references(pilot)})


def borrowed_by(kpi: Kpi, pilot: str) -> list[Stream]:
    """Streams of pilots other than `pilot` that one KPI needs."""
    return sorted({stream for _, stream in _references_of(kpi, pilot, ())})


def lends(lender: PilotDefinition, stream: Stream, pilot: str) -> bool:
    """Whether the lender's definition gives the stream to that pilot."""
    return any(
        loan.to in (pilot, EVERY_PILOT)
        and loan.device == stream.device
        and loan.quantity in (None, stream.quantity, stream.quantity.partition(".")[0])
        for loan in lender.lends
    )


def lent(pilot: PilotDefinition, pilots: Mapping[str, PilotDefinition]) -> frozenset[Stream]:
    """Of what the pilot borrows, the streams that it may use.

    Parameters
    ----------
    pilot : PilotDefinition
    pilots : mapping of str to PilotDefinition
        Every pilot that is here. A stream of one that is not can only have come with a package of `pilot` itself, and
        may be used.
    """
    return frozenset(
        stream
        for stream in borrowed(pilot)
        if stream.pilot not in pilots or lends(pilots[stream.pilot], stream, pilot.id)
    )


def check_borrowed(
    pilot: PilotDefinition, before: PilotDefinition | None, pilots: Mapping[str, PilotDefinition]
) -> list[Misfit]:
    """References that the version before did not have, and that no pilot lends.

    The answer is the same for a pilot that is not here as for one that does not lend: it tells nobody which there are.
    """
    old: Collection[Stream] = () if before is None else borrowed(before)
    return [
        misfit(path, "not-lent", pilot=stream.pilot, device=stream.device, quantity=stream.quantity, to=pilot.id)
        for path, stream in _references(pilot)
        if stream not in old and not (stream.pilot in pilots and lends(pilots[stream.pilot], stream, pilot.id))
    ]


def _references(pilot: PilotDefinition) -> Iterator[tuple[Path, Stream]]:
    for index, kpi in enumerate(pilot.kpis):
        yield from _references_of(kpi, pilot.id, ("kpis", index))


def _references_of(kpi: Kpi, pilot: str, path: Path) -> Iterator[tuple[Path, Stream]]:
    """Where a KPI names another pilot, and which stream of it."""
    for number, covariate in enumerate(kpi.adjust):
        if covariate.pilot not in (None, pilot):
            stream = Stream(covariate.pilot, covariate.device, covariate.quantity)
            yield (*path, "adjust", number, "pilot"), stream
    after = kpi.after
    if after is not None and after.pilot not in (None, pilot) and after.device and after.quantity:
        yield (*path, "after", "pilot"), Stream(after.pilot, after.device, after.quantity)
