"""Quality flags from the readings themselves: range, spike, stuck, step after a move. Values never change.

    batch ─► Flagger.flags ─► quality       at ingest, a few numbers of memory a stream
    store ─► reflag ─────────► store        the same rules over what is stored: after late data, a new range, ...

A spike can only be told from a rise when the next reading is there: at ingest that is within a batch. The rest is made
up for by reflag, and so are readings that come late, which ingest checks for their range alone. Otherwise both agree.

range   outside the quantity's plausible range, or the narrower one of the stream
spike   a lone value: further from the median of the fifteen readings before than eight robust standard deviations
        (1.4826 x the median absolute deviation, as in Hampel's filter; Pearson 2002, doi:10.1109/87.974338), while its
        two neighbours are within half of that. Without the second half, one real rise of PM10 in twenty would
        be taken for a fault
step    further away than that within fifteen readings after the device was moved: a new place, not a fault
stuck   the same value to the last bit for at least twelve readings and six hours, unless at an end of its range

Counts, states and directions jump and rest by nature: they are checked for their range only. CLOCK is set at ingest,
where it is known, and kept; EXCLUDED comes from the exclusions of a definition.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from techport_pilots.flags_state import Line, State
from techport_pilots.kpi_time import micros_of
from techport_pilots.model import PilotDefinition
from techport_pilots.quantities import vocabulary_of
from techport_storage.model import Batch, Micros, Quality, Query, Selection, Stream
from techport_storage.store import ReadingStore

Flags = NDArray[np.uint8]
Floats = NDArray[np.float64]

WINDOW = 15
FEWEST = 10  # readings before the first that can be a spike
SPIKE_SIZE = 8.0  # robust standard deviations
STILL_READINGS = 12
STILL_TIME: Micros = 6 * 3_600_000_000
WARM_UP: Micros = 2 * 24 * 3_600_000_000  # before the start of a reflagging: fifteen readings, unless they are rare

COMPUTED = Quality.RANGE | Quality.SPIKE | Quality.STUCK | Quality.STEP
"""What Flagger decides; the others are taken over."""


@dataclass(frozen=True, slots=True)
class Rule:
    """How a stream's readings are judged. `smallest` is the least deviation that can be a spike, in the unit."""

    low: float = -np.inf
    high: float = np.inf
    moves: bool = False  # whether spikes, steps and standstill mean anything
    smallest: float = 0.0


def rules_of(pilot: PilotDefinition) -> dict[Stream, Rule]:
    """The rules of a pilot's declared streams."""
    words = vocabulary_of(pilot)
    rules = {}
    for device in pilot.devices:
        for stream in device.streams:
            quantity = words.lookup(stream.quantity)
            if quantity is None:
                continue
            low, high = stream.range or quantity.range or (-np.inf, np.inf)
            rules[Stream(pilot.id, device.id, stream.quantity)] = Rule(
                low, high, quantity.kind in ("level", "energy-level"), 10.0**-quantity.decimals
            )
    return rules


def moves_of(pilot: PilotDefinition) -> dict[tuple[str, str], list[Micros]]:
    """When devices were moved, by pilot and device."""
    moves: dict[tuple[str, str], list[Micros]] = {}
    for event in pilot.events:
        if event.kind == "moved" and event.device is not None:
            moves.setdefault((pilot.id, event.device), []).append(micros_of(event.time, pilot.timezone))
    return {device: sorted(times) for device, times in moves.items()}


class Flagger:
    """Flags batches as they arrive. Holds fifteen values and a little more for each stream. One thread at a time."""

    def __init__(
        self, rules: Mapping[Stream, Rule], moves: Mapping[tuple[str, str], Sequence[Micros]] | None = None
    ) -> None:
        self._rules = rules
        self._moves = moves or {}
        self._state = State(WINDOW)

    def flags(self, batch: Batch) -> Flags:
        """The quality of each row: the batch's own flags and the computed ones."""
        if not len(batch):
            return batch.quality.copy()
        rules = [self._rules.get(stream, Rule()) for stream in batch.streams]
        column = batch.stream
        low, high = np.array([r.low for r in rules]), np.array([r.high for r in rules])
        quality = batch.quality & ~np.uint8(COMPUTED)
        outside = (batch.value < low[column]) | (batch.value > high[column])
        quality[outside] |= np.uint8(Quality.RANGE)
        judged = np.array([r.moves for r in rules])[column] & np.isfinite(batch.value)
        if judged.any():
            quality |= self._in_sequence(batch, np.flatnonzero(judged), rules, low, high)
        return quality

    def _in_sequence(
        self,
        batch: Batch,
        rows: NDArray[np.int64],
        rules: Sequence[Rule],
        low: Floats,
        high: Floats,
    ) -> Flags:
        quality = np.zeros(len(batch), np.uint8)
        ids = np.array([self._state.id_of(stream) for stream in batch.streams], np.int64)
        moves = {
            int(id): self._moves[stream.pilot, stream.device]
            for id, stream in zip(ids, batch.streams, strict=True)
            if (stream.pilot, stream.device) in self._moves
        }
        line = self._state.line_up(ids[batch.stream[rows]], batch.time[rows], batch.value[rows])
        here = rows[line.rows]
        stream = batch.stream[here]
        smallest = np.array([r.smallest for r in rules])[stream]
        far, lone = _far(line, smallest)
        moved = self._state.moved_lately(line, moves)
        resting = (line.value == low[stream]) | (line.value == high[stream])
        stuck = (line.same >= STILL_READINGS) & (line.still >= STILL_TIME) & ~resting
        quality[here[lone & ~moved]] |= np.uint8(Quality.SPIKE)
        quality[here[far & moved]] |= np.uint8(Quality.STEP)
        quality[here[stuck]] |= np.uint8(Quality.STUCK)
        return quality


def _far(line: Line, smallest: Floats) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which values lie far from those before them, and which of these their neighbours do not bear out.

    The next reading is known where it is in the same batch: the last one of a batch is nobody's spike yet.
    """
    ordered = np.sort(line.before, axis=1)  # NaN last
    known = np.isfinite(ordered).sum(axis=1)
    middle = _median(ordered, known)
    spread = _median(np.sort(np.abs(line.before - middle[:, None]), axis=1), known)
    limit = SPIKE_SIZE * np.maximum(1.4826 * spread, smallest)
    far = (known >= FEWEST) & (np.abs(line.value - middle) > limit)
    lone = np.zeros(len(far), bool)
    lone[:-1] = (line.id[1:] == line.id[:-1]) & (np.abs(line.value[1:] - middle[:-1]) <= limit[:-1] / 2)
    lone &= np.abs(line.before[:, -1] - middle) <= limit / 2  # nor is it the end of a rise
    return far, far & lone


def _median(ordered: Floats, known: NDArray[np.int64]) -> Floats:
    """Medians of rows that are sorted, with `known` numbers each before the NaN."""
    row, last = np.arange(len(ordered)), np.maximum(known - 1, 0)
    median: Floats = 0.5 * (ordered[row, last // 2] + ordered[row, np.minimum(known // 2, last)])
    return median


def reflag(
    store: ReadingStore,
    pilot: PilotDefinition,
    start: Micros | None = None,
    end: Micros | None = None,
    *,
    write: bool = True,
) -> int:
    """Work the flags of a pilot's stored readings in [start, end) out anew; returns how many rows have new ones.

    A row whose flags change is written again with its time, value and time of arrival as they are: the later arrival
    wins, so only its quality changes, and doing it twice changes nothing. Not for streams that are being corrected by
    late values at the same moment: such a value could be overwritten by the one it replaces. `write=False` only counts.
    Raises what the store raises; then what was done so far is done, and the same call again goes on.
    """
    rules, moves, changed = rules_of(pilot), moves_of(pilot), 0
    for stream in store.streams(Selection(pilots=(pilot.id,))):
        flagger = Flagger(rules, moves)
        _warm_up(store, flagger, stream, start)
        windows = excluded_windows(pilot, stream)
        for batch in _stored(store, stream, start, end):
            quality = flagger.flags(batch) & ~np.uint8(Quality.EXCLUDED)
            for first, last in windows:
                quality[(batch.time >= first) & (batch.time < last)] |= np.uint8(Quality.EXCLUDED)
            rows = np.flatnonzero(quality != batch.quality)
            changed += len(rows)
            if write and len(rows):
                store.write(
                    Batch(
                        batch.streams, batch.stream[rows], batch.time[rows], batch.value[rows], batch.received[rows],
                        quality[rows],
                    )
                )  # fmt: skip
    return changed


def excluded_windows(pilot: PilotDefinition, stream: Stream) -> list[tuple[Micros, Micros]]:
    """The exclusions of a definition that concern a stream, µs."""
    return [
        (micros_of(one.start, pilot.timezone), micros_of(one.end, pilot.timezone))
        for one in pilot.exclusions
        if one.device in (None, stream.device) and one.quantity in (None, stream.quantity)
    ]


def _warm_up(store: ReadingStore, flagger: Flagger, stream: Stream, start: Micros | None) -> None:
    """Let the flagger see what came before, as it would have at ingest: two days, which fifteen readings of all but
    the slowest devices fit in."""
    if start is not None:
        for batch in _stored(store, stream, start - WARM_UP, start):
            flagger.flags(batch)


def _stored(store: ReadingStore, stream: Stream, start: Micros | None, end: Micros | None) -> Iterator[Batch]:
    for found in store.read(Query(select=Selection(streams=(stream,)), start=start, end=end)):
        n = found.num_rows
        yield Batch(
            (stream,),
            np.zeros(n, np.int32),
            found.column("time").cast(pa.int64()).to_numpy(),
            found.column("value").to_numpy(),
            found.column("received").cast(pa.int64()).to_numpy(),
            found.column("quality").to_numpy(),
        )
