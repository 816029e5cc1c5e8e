"""A pilot's life: which steps can be taken, what they need, and what happens along the way."""

from __future__ import annotations

import datetime as dt

import msgspec
import pytest

from techport_pilots.errors import DefinitionError, WrongState
from techport_pilots.model import DeviceDefinition, Event, Exclusion, PilotDefinition, Position, StreamDefinition, Text
from techport_pilots.registry import events, lifecycle
from techport_pilots.registry.deployments import deployments
from techport_pilots.registry.registry import Registry

NOON = dt.datetime(2026, 3, 10, 12, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)


def definition(**changes: object) -> PilotDefinition:
    device = DeviceDefinition("kirka", position=Position(63.42, 10.39), streams=[StreamDefinition("pm10")])
    pilot = PilotDefinition("elgeseter", Text(en="A cleaner street"), Text(en="Does sweeping help?"), [device])
    return msgspec.structs.replace(pilot, **changes)


@pytest.fixture
def pilot(registry: Registry) -> PilotDefinition:
    registry.import_pilot(definition(), "", "test")
    return registry.pilot("elgeseter")


def test_every_step_is_kept_with_who_when_and_why(registry: Registry, pilot: PilotDefinition) -> None:
    assert registry.state("elgeseter") == "draft"
    for to, who, why in [("running", "kari", ""), ("ended", "ola", "the winter is over"), ("closed", "kari", "")]:
        lifecycle.transition(registry.database, pilot, to, who, why)  # type: ignore[arg-type]
        assert registry.state("elgeseter") == to
    taken = lifecycle.changes(registry.database, "elgeseter")
    assert [(c.number, c.state, c.who, c.why) for c in taken] == [
        (1, "running", "kari", ""),
        (2, "ended", "ola", "the winter is over"),
        (3, "closed", "kari", ""),
    ]
    assert taken[0].at <= taken[1].at <= taken[2].at


@pytest.mark.parametrize(
    ("taken", "to", "said"),
    [
        ([], "ended", "must be started first"),
        ([], "closed", "must be started first"),
        (["running"], "running", "is already running"),
        (["running"], "closed", "must be ended first"),
        (["running", "ended"], "running", "say why"),
        (["running", "ended", "closed"], "running", "for good"),
    ],
)
def test_a_step_that_cannot_be_taken_says_which_can(
    registry: Registry, pilot: PilotDefinition, taken: list[lifecycle.State], to: lifecycle.State, said: str
) -> None:
    for step in taken:
        lifecycle.transition(registry.database, pilot, step, "test")
    with pytest.raises(WrongState, match=said):
        lifecycle.transition(registry.database, pilot, to, "test")
    assert len(lifecycle.changes(registry.database, "elgeseter")) == len(taken)


def test_an_ended_pilot_runs_again_with_a_reason(registry: Registry, pilot: PilotDefinition) -> None:
    lifecycle.transition(registry.database, pilot, "running", "test")
    lifecycle.transition(registry.database, pilot, "ended", "test")
    lifecycle.transition(registry.database, pilot, "running", "test", "one month more")
    assert registry.state("elgeseter") == "running"


def test_personal_data_does_not_start_without_its_papers(registry: Registry) -> None:
    bare = definition(personal_data=True, data_class="personal")
    with pytest.raises(WrongState) as refusal:
        lifecycle.transition(registry.database, bare, "running", "test")
    for what in ("purpose", "legal basis", "impact assessment", "erasure"):
        assert what in str(refusal.value)
    full = msgspec.structs.replace(
        bare, purpose=Text(en="To count"), legal_basis="6(1)(e)", dpia="2026/17", retention="P1Y"
    )
    assert lifecycle.transition(registry.database, full, "running", "test").state == "running"


def test_a_pilot_without_devices_does_not_start(registry: Registry) -> None:
    with pytest.raises(WrongState, match="No devices"):
        lifecycle.transition(registry.database, definition(devices=[]), "running", "test")


def test_events_survive_importing_the_file_again(registry: Registry, pilot: PilotDefinition) -> None:
    outage = Event(NOON, "outage", Text(en="No power"), "kirka", NOON + DAY)
    window = Exclusion(NOON, NOON + DAY, Text(en="Road works"), "kirka")
    before = registry.version()
    events.add_event(registry.database, pilot, outage, "kari")
    events.add_exclusion(registry.database, pilot, window, "ola")
    assert registry.version() > before
    registry.import_pilot(definition(description=Text(en="New words")), "", "test", "a better text")
    now = registry.pilot("elgeseter")
    assert (now.events, now.exclusions) == ([outage], [window])
    assert [(one.what, one.who) for one in events.added(registry.database, "elgeseter")] == [
        (outage, "kari"),
        (window, "ola"),
    ]
    assert registry.history("elgeseter")[0].why == "a better text"


@pytest.mark.parametrize(
    "event",
    [
        Event(NOON, "moved", Text(en="To the bridge"), "kirken"),
        Event(NOON, "outage", Text(en="No power"), "kirka", NOON - DAY),
    ],
)
def test_an_event_that_cannot_be_is_refused(registry: Registry, pilot: PilotDefinition, event: Event) -> None:
    with pytest.raises(DefinitionError):
        events.add_event(registry.database, pilot, event, "test")
    assert registry.pilot("elgeseter").events == []


def test_an_exclusion_needs_a_reason_and_a_length(registry: Registry, pilot: PilotDefinition) -> None:
    for window in (Exclusion(NOON, NOON + DAY, Text()), Exclusion(NOON, NOON, Text(en="Nothing"))):
        with pytest.raises(DefinitionError):
            events.add_exclusion(registry.database, pilot, window, "test")


def test_what_was_added_by_mistake_is_taken_back(registry: Registry, pilot: PilotDefinition) -> None:
    number = events.add_event(registry.database, pilot, Event(NOON, "other", Text(en="Oops")), "kari")
    with_it = registry.pilot("elgeseter")
    assert [event.text.en for event in with_it.events] == ["Oops"]
    assert events.take_back(registry.database, with_it, number + 1) is None
    assert events.take_back(registry.database, with_it, number) == with_it.events[0]
    assert registry.pilot("elgeseter").events == []
    assert events.take_back(registry.database, with_it, number) is None


def test_a_moved_device_has_a_deployment_at_each_place(registry: Registry, pilot: PilotDefinition) -> None:
    bridge = Position(63.41, 10.40)
    events.add_event(registry.database, pilot, Event(NOON, "moved", Text(en="Away"), "kirka", position=bridge), "kari")
    now = registry.pilot("elgeseter")
    first, second = deployments(now, now.devices[0])
    moved = int(NOON.timestamp()) * 1_000_000
    assert (first.number, first.start, first.end, first.position) == (1, None, moved, Position(63.42, 10.39))
    assert (second.number, second.start, second.end, second.position) == (2, moved, None, bridge)
    assert registry.devices("elgeseter")[0].position == bridge


def test_a_closed_pilot_does_not_change(registry: Registry, pilot: PilotDefinition) -> None:
    for step in ("running", "ended", "closed"):
        lifecycle.transition(registry.database, pilot, step, "test")  # type: ignore[arg-type]
    with pytest.raises(WrongState, match="closed"):
        registry.import_pilot(definition(licence="CC0-1.0"), "", "test")
    with pytest.raises(WrongState, match="closed"):
        events.add_event(registry.database, pilot, Event(NOON, "other", Text(en="Late")), "test")
    registry.import_pilot(definition(), "", "test")  # the same content changes nothing, and `up --pilot` may say it
    view = registry.snapshot().pilot("elgeseter")
    assert view is not None
    assert view.closed
