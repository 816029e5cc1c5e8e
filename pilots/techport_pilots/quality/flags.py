"""Quality flags from the readings themselves: range, spike, stuck, step after a move. Values never change.

    batch ─► Flagger.flags ─► quality       a few numbers of memory a stream
    store ─► judged ─► store.flag           the same rules over what is stored: minutes after it came (flags_pass.py),
                                            and anew for a window when somebody asks (flag_requests.py)

range   outside the quantity's plausible range, or the narrower one of the stream
spike   a lone value: further from the median of the fifteen readings before than eight robust standard deviations
        (1.4826 x the median absolute deviation, as in Hampel's filter; Pearson 2002, doi:10.1109/87.974338), while its
        two neighbours are within half of that. Without the second half, one real rise of PM10 in twenty would
        be taken for a fault
step    further away than that within fifteen readings after the device was moved: a new place, not a fault
stuck   the same value to the last bit for at least twelve readings and six hours, unless at an end of its range,
        or at zero where the quantity has a detection limit

Ingest itself flags what one reading tells: range and clock. The others need the readings around it, which a worker does
not see that shares the load with others, or has just started: they are found in the store.

Counts, states and directions jump and rest by nature: they are checked for their range only. CLOCK is set at ingest,
where it is known, and kept; EXCLUDED comes from the exclusions of a definition.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from techport_pilots.definition.flag_rules import Rule, Rules, excluded_windows, moves_of
from techport_pilots.model import PilotDefinition
from techport_storage.columns import batch_of
from techport_storage.microseconds import DAY, HOUR
from techport_storage.model import Batch, Micros, Quality, Query, Selection, Stream
from techport_storage.store import ReadingStore

# -- What flagging remembers of each stream, as columns, so that a batch of any shape is judged in one pass.

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

NEVER = np.iinfo(np.int64).min
_LONG_AGO = 1 << 40


@dataclass(frozen=True, slots=True)
class Line:
    """Readings of a batch that come in order, by stream and time. `rows` are their places in what was lined up.

    `before` (n, window) are the values before each, NaN where there were fewer; `same` counts the readings up to this
    one that have its value, `still` is for how long (µs).
    """

    rows: Ints
    id: Ints
    time: Ints
    value: Floats
    previous: Ints  # time of the reading before, NEVER for the first
    before: Floats
    same: Ints
    still: Ints


class State:
    """Memory of all streams seen. Grows with the number of streams only."""

    def __init__(self, window: int) -> None:
        self._window = window
        self._ids: dict[Stream, int] = {}
        self._tail = np.empty((0, window))
        self._time = np.empty(0, np.int64)
        self._same = np.empty(0, np.int64)
        self._since = np.empty(0, np.int64)
        self._after_move = np.empty(0, np.int64)  # readings since the last move

    def id_of(self, stream: Stream) -> int:
        stream_id = self._ids.setdefault(stream, len(self._ids))
        if stream_id >= len(self._time):
            more = max(16, len(self._time))
            self._tail = np.concatenate([self._tail, np.full((more, self._window), np.nan)])
            self._time = np.concatenate([self._time, np.full(more, NEVER)])
            self._same = np.concatenate([self._same, np.zeros(more, np.int64)])
            self._since = np.concatenate([self._since, np.full(more, NEVER)])
            self._after_move = np.concatenate([self._after_move, np.full(more, _LONG_AGO)])
        return stream_id

    def line_up(self, stream_id: Ints, time: Ints, value: Floats) -> Line:
        """Put readings in order behind what is known, leave out those that come too late, and remember all but the last
        of each stream.
        """
        order = np.lexsort((np.arange(len(time)), time, stream_id))
        order = order[time[order] > self._time[stream_id[order]]]
        last_of_its_time = np.ones(len(order), bool)
        last_of_its_time[:-1] = (np.diff(stream_id[order]) != 0) | (np.diff(time[order]) != 0)
        order = order[last_of_its_time]
        stream_id, time, value = stream_id[order], time[order], value[order]
        streams, first, count = np.unique(stream_id, return_index=True, return_counts=True)
        # One long row: each stream's remembered values, then its new ones. Windows into it never cross streams.
        place = np.arange(len(stream_id)) + self._window * (np.repeat(np.arange(len(streams)), count) + 1)
        row = np.full(len(stream_id) + self._window * len(streams), np.nan)
        row[place] = value
        starts = first + self._window * np.arange(len(streams))
        row[starts[:, None] + np.arange(self._window)] = self._tail[streams]
        windows = np.lib.stride_tricks.sliding_window_view(row, self._window) if len(row) else np.empty((0, 1))
        same, since = self._standstill(stream_id, time, value, first, streams)
        previous = np.concatenate([time[:1], time[:-1]])
        previous[first] = self._time[streams]
        line = Line(order, stream_id, time, value, previous, windows[place - self._window], same, time - since)
        longer = count > 1
        if longer.any():
            streams, end = streams[longer], (first + count - 2)[longer]
            self._tail[streams] = windows[place[end] - self._window + 1]
            self._time[streams], self._same[streams], self._since[streams] = time[end], same[end], since[end]
        return line

    def _standstill(self, stream_id: Ints, time: Ints, value: Floats, first: Ints, streams: Ints) -> tuple[Ints, Ints]:
        """How many readings have had each value in a row, and since when."""
        changed = np.ones(len(stream_id), bool)
        changed[1:] = value[1:] != value[:-1]
        goes_on = self._tail[streams, -1] == value[first]
        changed[first] = True
        begin = np.maximum.accumulate(np.where(changed, np.arange(len(stream_id)), 0))
        same, since = np.arange(len(stream_id)) - begin + 1, time[begin]
        carried = np.zeros(len(stream_id), bool)
        carried[first] = goes_on
        carried = carried[begin]
        return np.where(carried, same + self._same[stream_id], same), np.where(carried, self._since[stream_id], since)

    def moved_lately(self, line: Line, moves: Mapping[int, Sequence[Micros]]) -> NDArray[np.bool_]:
        """Which readings are within a window's length after a move of their device. Call once for each line."""
        lately = np.zeros(len(line.id), bool)
        for stream_id, times in moves.items():
            rows = np.flatnonzero(line.id == stream_id)
            if not len(rows):
                continue
            seen = np.searchsorted(times, line.time[rows], "right") > np.searchsorted(
                times, line.previous[rows], "right"
            )
            seen &= line.previous[rows] != NEVER
            place = np.arange(len(rows))
            latest = np.maximum.accumulate(np.where(seen, place, -1))
            since = np.where(latest >= 0, place - latest, self._after_move[stream_id] + 1 + place)
            lately[rows] = since < self._window
            if len(rows) > 1:
                self._after_move[stream_id] = since[-2]  # the last reading is not remembered, nor is its move
        return lately


Flags = NDArray[np.uint8]

WINDOW = 15
FEWEST = 10  # readings before the first that can be a spike
SPIKE_SIZE = 8.0  # robust standard deviations
STILL_READINGS = 12
STILL_TIME: Micros = 6 * HOUR
WARM_UP: Micros = 2 * DAY  # around what is judged: fifteen readings, unless they are rare

COMPUTED = Quality.RANGE | Quality.SPIKE | Quality.STUCK | Quality.STEP
"""What Flagger decides; the others are taken over."""


class Flagger:
    """Flags the readings of streams in order of time. Holds fifteen values and a little more for each stream.

    Whether a stream's last reading is a spike only the next one tells: it is judged as if it were none, and not
    remembered. Give it again, in front of what follows. Not for several threads.
    """

    def __init__(
        self, rules: Callable[[Stream], Rule], moves: Mapping[tuple[str, str], Sequence[Micros]] | None = None
    ) -> None:
        self._rules = rules
        self._moves = moves or {}
        self._state = State(WINDOW)

    def flags(self, batch: Batch) -> Flags:
        """The quality of each row: the batch's own flags and the computed ones."""
        if not len(batch):
            return batch.quality.copy()
        rules = [self._rules(stream) for stream in batch.streams]
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
            int(stream_id): self._moves[stream.pilot, stream.device]
            for stream_id, stream in zip(ids, batch.streams, strict=True)
            if (stream.pilot, stream.device) in self._moves
        }
        line = self._state.line_up(ids[batch.stream[rows]], batch.time[rows], batch.value[rows])
        of_line = rows[line.rows]
        stream = batch.stream[of_line]
        smallest = np.array([r.smallest for r in rules])[stream]
        far, lone = _far(line, smallest)
        moved = self._state.moved_lately(line, moves)
        resting = (line.value == low[stream]) | (line.value == high[stream])
        resting |= np.array([r.rests_at_zero for r in rules])[stream] & (line.value == 0.0)
        stuck = (line.same >= STILL_READINGS) & (line.still >= STILL_TIME) & ~resting
        quality[of_line[lone & ~moved]] |= np.uint8(Quality.SPIKE)
        quality[of_line[far & moved]] |= np.uint8(Quality.STEP)
        quality[of_line[stuck]] |= np.uint8(Quality.STUCK)
        return quality


def _far(line: Line, smallest: Floats) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which values lie far from those before them, and which of these their neighbours do not bear out: for a stream's
    last value there is no next one yet."""
    ordered = np.sort(line.before, axis=1)  # NaN last
    counts = np.isfinite(ordered).sum(axis=1)
    middle = _median(ordered, counts)
    spread = _median(np.sort(np.abs(line.before - middle[:, None]), axis=1), counts)
    limit = SPIKE_SIZE * np.maximum(1.4826 * spread, smallest)
    far = (counts >= FEWEST) & (np.abs(line.value - middle) > limit)
    lone = np.zeros(len(far), bool)
    lone[:-1] = (line.id[1:] == line.id[:-1]) & (np.abs(line.value[1:] - middle[:-1]) <= limit[:-1] / 2)
    lone &= np.abs(line.before[:, -1] - middle) <= limit / 2  # nor is it the end of a rise
    return far, far & lone


def _median(ordered: Floats, counts: NDArray[np.int64]) -> Floats:
    """Medians of rows that are sorted, with `known` numbers each before the NaN."""
    row, last = np.arange(len(ordered)), np.maximum(counts - 1, 0)
    median: Floats = 0.5 * (ordered[row, last // 2] + ordered[row, np.minimum(counts // 2, last)])
    return median


def judged(
    store: ReadingStore, query: Query, flagger: Flagger, windows: Callable[[Stream], Sequence[tuple[Micros, Micros]]]
) -> Iterator[tuple[Batch, Flags]]:
    """The stored rows of a query, each once, and the flags that they should have. Raises what the store raises.

    `windows` gives the exclusions of a stream.
    """
    held: tuple[Batch, Flags] | None = None  # the last row: whether it is a spike the next part of the answer says
    for rows in store.read(query):
        if not rows.num_rows:
            continue
        batch = batch_of(rows) if held is None else _joined(held[0], batch_of(rows))
        quality = flagger.flags(batch) & ~np.uint8(Quality.EXCLUDED)
        for number, stream in enumerate(batch.streams):
            for first, last in windows(stream):
                inside = (batch.stream == number) & (batch.time >= first) & (batch.time < last)
                quality[inside] |= np.uint8(Quality.EXCLUDED)
        held = with_flags(batch, batch.quality, slice(-1, None)), quality[-1:]
        yield with_flags(batch, batch.quality, slice(None, -1)), quality[:-1]
    if held is not None:
        yield held


def reflag(
    store: ReadingStore,
    pilot: PilotDefinition,
    start: Micros | None = None,
    end: Micros | None = None,
    *,
    write: bool = True,
) -> int:
    """Work the flags of a pilot's stored readings in [start, end) out anew; returns how many rows have new ones.

    Only flags change, and only of rows that are still as they were read: a correction that comes meanwhile stays, and
    is judged the next time. `write=False` only counts. Raises what the store raises; then what was done so far is done,
    and the same call again goes on.
    """
    rules, moves, changed = Rules(pilot), moves_of(pilot), 0
    around = (None if start is None else start - WARM_UP, None if end is None else end + WARM_UP)
    for stream in store.streams(Selection(pilots=(pilot.id,))):
        query = Query(select=Selection(streams=(stream,)), start=around[0], end=around[1])
        for batch, quality in judged(
            store, query, Flagger(rules, moves), lambda of_stream: excluded_windows(pilot, of_stream)
        ):
            differs = quality != batch.quality
            if start is not None:
                differs &= batch.time >= start
            if end is not None:
                differs &= batch.time < end
            if differs.any():
                changed += store.flag(with_flags(batch, quality, differs)) if write else int(differs.sum())
    return changed


def with_flags(batch: Batch, quality: Flags, rows: NDArray[np.bool_] | slice) -> Batch:
    """These rows of the batch, with other flags."""
    return Batch(
        batch.streams, batch.stream[rows], batch.time[rows], batch.value[rows], batch.received[rows], quality[rows]
    )


def _joined(first: Batch, second: Batch) -> Batch:
    """The rows of both, in this order."""
    streams = dict.fromkeys((*first.streams, *second.streams))
    numbers = {stream: number for number, stream in enumerate(streams)}
    renumbered = [np.array([numbers[s] for s in batch.streams], np.int32)[batch.stream] for batch in (first, second)]
    return Batch(
        tuple(streams),
        np.concatenate(renumbered),
        np.concatenate([first.time, second.time]),
        np.concatenate([first.value, second.value]),
        np.concatenate([first.received, second.received]),
        np.concatenate([first.quality, second.quality]),
    )
