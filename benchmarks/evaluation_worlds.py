"""Are verdicts right where the method's assumptions hold, and where they do not? Simulated and real days, with checks.

    export OPENBLAS_NUM_THREADS=1  # matrices of 100 days are too small for two
    nice .venv/bin/python -m benchmarks.evaluation_worlds [--pilots 500] [--looks 200] [--only WORD] [--shard 0/2]
    nice .venv/bin/python -m benchmarks.evaluation_worlds --real ../shared/data
    nice .venv/bin/python -m benchmarks.evaluation_worlds --table
    nice .venv/bin/python -m benchmarks.evaluation_worlds --bound

A world makes levels of days, where an evaluation's statistics begin; benchmarks/evaluation.py goes the whole way from
readings. Every block of pilots is a line in evaluation_worlds.jsonl, with the sum of the modules that it was judged
by. So a run can be stopped, resumed and divided among processes with --shard, and lines of another version of the
program are neither counted nor taken for done. All worlds advance together: after half of the time each has half of
its pilots. `--table` prints what is there as docs/statistics.md has it, with standard errors.

Thresholds were chosen with pilots of seeds below FIRST_SEED; those from there on tell whether they hold.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.signal import lfilter

from techport_pilots.evaluation import checks, covariates, interval, looking
from techport_pilots.evaluation.checks import (
    ComparedDays,
    alternates,
    chosen_days,
    disagreeing,
    estimate_effect,
    excludes_zero,
    run_checks,
)
from techport_pilots.evaluation.covariates import centred, weekdays
from techport_pilots.evaluation.interval import Floats, NoInterval, fit, interval_of
from techport_pilots.evaluation.looking import Schedule, daily_factor
from techport_pilots.evaluation.model import Check, Interval

RESULTS = Path(__file__).with_name("evaluation_worlds.jsonl")
FIRST_SEED = 80_000
BLOCK = 50
"""Pilots of one world between two lines of the results."""

START = 20_361  # a Monday, days since 1970-01-01
EFFECT = -2.0
Tally = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class World:
    """How days are made. `fits` where the method's assumptions hold."""

    name: str
    fits: bool
    weeks: tuple[int, int] = (4, 4)
    persistence: float = 0.4
    noise: Callable[[int, np.random.Generator, float], Floats] | None = None
    trend: float = 0.0  # in standard deviations of a day, over both phases
    season: float = 0.0  # amplitude of half a wave, in standard deviations
    control: float | None = None  # how strongly the control group reacts
    wind: bool = False
    drift: float = 0.0  # of one of three devices, from the intervention on
    level: float = 20.0
    turns: bool = False
    counts: bool = False
    rare: bool = False  # 0.4 events a day and device
    chosen: bool = False
    adjusted: bool = False  # chosen days, with the level before


def ar(size: int, random: np.random.Generator, persistence: float) -> Floats:
    """Stationary AR(1) with variance one."""
    steps = lfilter([1.0], [1.0, -persistence], random.standard_normal(size + 300))
    return np.asarray(steps[300:] * np.sqrt(1 - persistence**2))


def long_memory(size: int, random: np.random.Generator, persistence: float) -> Floats:
    """Fractional noise, d = 0.4, standardised."""
    length = size + 2000
    weights = np.cumprod(np.concatenate([[1.0], (np.arange(1, length) - 1 + persistence) / np.arange(1, length)]))
    noise = np.convolve(random.standard_normal(length), weights)[:length][-size:]
    return np.asarray(noise / np.sqrt((weights**2).sum()))


def skewed(size: int, random: np.random.Generator, persistence: float) -> Floats:
    return np.asarray((np.exp(0.8 * ar(size, random, persistence)) - np.exp(0.32)) / 1.3)


WORLDS = (
    World("4 + 4 weeks, day AR 0", True, persistence=0.0),
    World("4 + 4 weeks, day AR 0.4", True),
    World("4 + 4 weeks, day AR 0.6", True, persistence=0.6),
    World("8 + 8 weeks, day AR 0.4", True, weeks=(8, 8)),
    World("8 + 8 weeks, day AR 0.6", True, weeks=(8, 8), persistence=0.6),
    World("4 + 12 weeks, day AR 0.4", True, weeks=(4, 12)),
    World("4 + 4 weeks, control group", True, control=1.0),
    World("8 + 8 weeks, control group and season", True, weeks=(8, 8), control=1.0, season=1.0),
    World("4 + 4 weeks, wind", True, wind=True),
    World("4 + 4 weeks, skewed noise", True, noise=skewed),
    World("8 + 8 weeks, counts", True, weeks=(8, 8), counts=True),
    World("8 + 8 weeks, rare events", True, weeks=(8, 8), rare=True, level=2.5),
    World("weeks that take turns, 4 x (1 + 1)", True, turns=True, persistence=0.6),
    World("a straight trend", False, trend=1.5),
    World("a straight trend, 8 + 8 weeks", False, weeks=(8, 8), trend=1.5),
    World("an ordinary spring", False, season=1.5),
    World("an ordinary spring, 8 + 8 weeks", False, weeks=(8, 8), season=1.5),
    World("a control group that reacts half as strongly", False, control=0.5, season=2.0),
    World("one of three devices drifts", False, drift=2.0),
    World("day AR 0.9", False, persistence=0.9),
    World("day AR 0.9, 8 + 8 weeks", False, weeks=(8, 8), persistence=0.9),
    World("long memory", False, noise=long_memory, persistence=0.4),
    World("a clean street, noise below zero", False, level=1.0, persistence=0.6),
    World("days chosen because of their level", False, chosen=True, persistence=0.6),
    World("days chosen, level before adjusted for", False, chosen=True, adjusted=True, persistence=0.6),
)


def days_of(world: World, effect: float, random: np.random.Generator) -> ComparedDays:
    """One simulated pilot: noise of standard deviation 2.5 a day, an effect of `effect`."""
    before, after = (7 * weeks for weeks in world.weeks)
    size = before + after
    position = np.arange(size)
    side = (position // 7) % 2 if world.turns else (position >= before).astype(np.int64)
    noise = world.noise or ar
    shared = noise(size, random, world.persistence)
    season = world.season * np.sin(np.pi * position / size - np.pi / 2) + world.trend * position / size
    wind = ar(size, random, 0.5) if world.wind else np.zeros(size)
    weekday = -1.5 * ((position % 7) >= 5)
    own = np.stack([ar(size, random, world.persistence) for _ in range(3)])
    devices = 2.5 * (0.85 * shared + season)[None, :] + 1.3 * own + weekday - 1.5 * wind
    devices[2] += world.drift * 2.5 * side * (1 + (position - before) / after)
    devices += world.level + effect * side
    if world.counts:
        devices = random.poisson(np.clip(devices * 4, 0.1, None)) / 4.0
    if world.rare:  # 6.25 each, so that a day of three devices has the standard deviation of the other worlds
        rate = (world.level + effect * side) / 6.25 * np.exp(0.4 * shared - 0.08)
        devices = 6.25 * random.poisson(rate, (3, size))
    level = devices.mean(axis=0)
    street = control = None
    if world.control is not None:
        others = 2.5 * world.control * (0.85 * shared + season) + 0.75 * ar(size, random, world.persistence)
        street, control = level, world.level + others + weekday
        level = street - control
    day = START + position
    dates = pd.DatetimeIndex(day.astype("datetime64[D]").astype("datetime64[s]"))
    raw = pd.DataFrame({"wind": wind}, dates) if world.wind else pd.DataFrame(index=dates)
    columns = pd.concat([centred(raw), centred(weekdays(dates))], axis=1).to_numpy(float)
    design = np.column_stack([np.ones(size), side, columns])
    table = pd.DataFrame((devices - devices.mean(axis=1, keepdims=True)).T, dates)
    return ComparedDays(
        level=level,
        side=side,
        day=day,
        design=design,
        group=np.zeros_like(side) if alternates(side) else side,
        raw=raw,
        confidence=0.95,
        street=street,
        control=control,
        devices=table,
        has_zero=True,
    )


def judged(days: ComparedDays, truth: float) -> dict[str, Any]:
    """One pilot: what the plain interval says, what the product says, and whether its interval covers the truth."""
    plain = interval_of(fit(days.level, days.design, days.day, days.group, 1), days.confidence)
    used, estimate, _ = estimate_effect(days)
    answer = interval_of(estimate, days.confidence)
    claims = excludes_zero(answer)
    return outcome(plain, answer, truth, disagreeing(run_checks(used, estimate)) if claims else [])


def outcome(plain: Interval, answer: Interval, truth: float, against: Sequence[Check]) -> dict[str, Any]:
    """What became of one pilot. Checks decide only where the interval would claim an effect."""
    claims = excludes_zero(answer)
    shown = claims and not against
    return {
        "plain": excludes_zero(plain),
        "shown": shown,
        "lower": shown and answer.high < 0,
        "withheld": claims and bool(against),
        "covers": answer.low <= truth <= answer.high,
        "width": (answer.high - answer.low) / 2,
        "against": [check.code for check in against] if claims else [],
    }


def chosen(world: World, effect: float, random: np.random.Generator) -> dict[str, Any]:
    """Days after something that is done on dusty days, over half a year: an event study."""
    size = 200
    level = 20 + 2.5 * ar(size, random, world.persistence)
    done = np.append(False, (level[:-1] + random.normal(0, 1.5, size - 1)) > 22)  # the day after a dusty one
    exposed = np.append(False, done[:-1])
    level = level + effect * exposed
    there = np.arange(size)[~(done & ~exposed)][3:]
    before = np.append([np.nan, np.nan], level[:-2])
    exposed_before = np.append([0.0, 0.0], exposed[:-2])
    columns = [np.ones(len(there)), exposed[there]]
    if world.adjusted:
        columns += [before[there], done[there]]
    estimate = fit(level[there], np.column_stack(columns), there, np.zeros(len(there), np.int64), 1)
    answer = interval_of(estimate, 0.95)
    made = []
    if not world.adjusted:
        made = [chosen_days(before[there], exposed_before[there][:, None], exposed[there], there)]
    return outcome(answer, answer, effect, disagreeing(made))


def looked(world: World, random: np.random.Generator) -> dict[str, bool]:
    """One pilot without effect, looked at on every day: does any look, or the end, show one?"""
    days = days_of(world, 0.0, random)
    turn, size = int(days.day[days.side == 1].min()), len(days.day)
    schedule = Schedule(
        tuple(days.day[days.side == 0].tolist()),
        tuple(days.day[days.side == 1].tolist()),
        0,
        (),
        0,
        int(days.day[-1]) + 1,
    )
    any_plain = any_wide = False
    for end in range(turn - START + 14, size):
        cut = slice(0, end)
        design = days.design[cut]
        design = design[:, [0, 1, *[i for i in range(2, design.shape[1]) if np.ptp(design[:, i]) > 0]]]
        try:
            estimate = fit(days.level[cut], design, days.day[cut], days.group[cut], 1)
        except NoInterval:
            continue
        half = interval_of(estimate, 0.95).high - estimate.value
        any_plain |= abs(estimate.value) > half
        any_wide |= abs(estimate.value) > half * daily_factor(schedule, estimate.autocorrelation)
    final = judged(days, 0.0)
    return {"plain": any_plain or final["plain"], "shown": any_wide or final["shown"], "final": final["shown"]}


def pilots_of(world: World, number: int, first: int, size: int) -> Tally:
    """So many pilots without an effect, and as many with one."""
    make = chosen if world.chosen else lambda w, effect, random: judged(days_of(w, effect, random), effect)
    seeds = range(first, first + size)
    null = [make(world, 0.0, np.random.default_rng([number, 0, seed])) for seed in seeds]
    real = [make(world, EFFECT, np.random.default_rng([number, 1, seed])) for seed in seeds]
    return tally(null) | {f"effect {key}": value for key, value in tally(real).items()}


def looks_of(world: World, number: int, first: int, size: int) -> Tally:
    """So many pilots without an effect that are looked at on every day."""
    rows = [looked(world, np.random.default_rng([number, 2, seed])) for seed in range(first, first + size)]
    return {key: sum(row[key] for row in rows) for key in rows[0]} | {"pilots": size}


def tally(rows: Sequence[dict[str, Any]]) -> Tally:
    """How many of the pilots; `width` is a sum, `against` counts the checks that disagree."""
    counted = ("plain", "shown", "lower", "withheld", "covers", "width")
    against = Counter(code for row in rows for code in row["against"])
    return {key: sum(row[key] for row in rows) for key in counted} | {"pilots": len(rows), "against": against}


# -- Real hours, in which no pilot did anything.


STREETS = ("e6-tiller", "elgeseter", "bakke-kirke", "torvet")
WEATHER = ("precipitation", "wind_speed", "air_temperature", "relative_humidity")


def real_days(shared: Path) -> pd.DataFrame:
    """Daily means of every stream of Trondheim's hours that has 18 of them, a column a stream."""
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from tests.pilots import trondheim

    batch = trondheim.readings(shared)
    hours = pd.DatetimeIndex((batch.time + 3_600_000_000).astype("datetime64[us]"))
    frame = pd.DataFrame({"stream": batch.stream, "day": hours.normalize(), "value": batch.value}).dropna()
    grouped = frame.groupby(["stream", "day"])["value"]
    table = grouped.mean().where(grouped.count() >= 18).unstack("stream")
    streams = batch.streams
    table.columns = pd.Index([f"{streams[int(i)].device} {streams[int(i)].quantity}" for i in table.columns])
    return table.reindex(pd.date_range(table.index[0], table.index[-1]))


@dataclasses.dataclass(frozen=True)
class RealKind:
    """Placebo pilots on real days: every second Monday of every street."""

    name: str
    weeks: int
    streets: tuple[str, ...]
    control: bool = False
    weather: bool = False

    def windows(self, table: pd.DataFrame) -> Tally:
        """All of them."""
        weather = [f"voll {quantity}" for quantity in WEATHER] if self.weather else []
        rows = []
        for street in self.streets:
            others = table[[o for o in self.streets if o != street]].mean(axis=1) if self.control else None
            for start in range(0, len(table) - 14 * self.weeks, 14):
                days = _window(table, street, others, weather, start, self.weeks)
                if days is None:
                    continue
                try:
                    rows.append(judged(days, 0.0))
                except NoInterval:
                    continue
        return tally(rows)


def real_kinds(table: pd.DataFrame) -> list[RealKind]:
    dust = tuple(f"{street} pm10" for street in STREETS)
    traffic = tuple(name for name in table.columns if name.endswith("vehicle_count"))
    return [
        RealKind(f"{name}, {weeks} + {weeks} weeks", weeks, streets, control, weather)
        for weeks in (2, 4, 8)
        for name, streets, control, weather in (
            ("PM10, one station", dust, False, False),
            ("PM10, weather adjusted", dust, False, True),
            ("PM10, control group", dust, True, False),
            ("PM10, control and weather", dust, True, True),
            ("traffic", traffic, False, False),
            ("air temperature", ("voll air_temperature",), False, False),
            ("wind speed", ("voll wind_speed",), False, False),
        )
    ]


def _window(
    table: pd.DataFrame, street: str, others: pd.Series | None, covariates: list[str], start: int, weeks: int
) -> ComparedDays | None:
    part = table.iloc[start : start + 14 * weeks]
    level = part[street] if others is None else part[street] - others.iloc[start : start + 14 * weeks]
    raw = part[covariates]
    there = np.isfinite(level.to_numpy()) & np.isfinite(raw.to_numpy(float)).all(axis=1)
    side = (np.arange(len(part)) >= 7 * weeks).astype(np.int64)[there]
    if min((side == 0).sum(), (side == 1).sum()) < max(10, 0.75 * 7 * weeks):
        return None
    dates = pd.DatetimeIndex(part.index[there]).as_unit("s")
    columns = pd.concat([centred(raw[there].set_axis(dates)), centred(weekdays(dates))], axis=1).to_numpy(float)
    history = table[street] if others is None else table[street] - others
    return ComparedDays(
        level=level.to_numpy()[there],
        side=side,
        day=dates.to_numpy().astype("datetime64[D]").astype(np.int64),
        design=np.column_stack([np.ones(len(side)), side, columns]),
        group=side,
        raw=raw[there],
        confidence=0.95,
        street=part[street].to_numpy()[there] if others is not None else None,
        control=others.iloc[start : start + 14 * weeks].to_numpy()[there] if others is not None else None,
        has_zero=True,
        earlier=history.iloc[:start].dropna(),
    )


# -- What no check can do better.


def best_check(world: World, kept: float = 0.9, pilots: int = 4000) -> tuple[float, float]:
    """False effects without a check, and with the best one there can be that keeps so many of the effects found.

    The check is told the noise, and the trend or season to the last digit: it is the likelihood ratio of an effect of
    the size of EFFECT, the same way, to that very course (Neyman and Pearson). Noise is AR(1); found is what lies
    beyond 2.4 errors, about as far as intervals of few days reach.
    """
    before, after = (7 * weeks for weeks in world.weeks)
    position = np.arange(before + after)
    variance = 2.5**2 * 0.85**2 + 1.3**2 / 3
    distance = np.abs(position[:, None] - position[None, :]).astype(float)
    whiten = np.linalg.inv(np.linalg.cholesky(variance * world.persistence**distance))
    weekday, _ = np.linalg.qr(whiten @ np.eye(7)[position % 7])
    course = world.season * np.sin(np.pi * position / len(position) - np.pi / 2)
    course = np.asarray(2.5 * (course + world.trend * position / len(position)), np.float64)

    def seen(mean: Floats) -> Floats:
        mean = whiten @ mean
        return np.asarray(mean - weekday @ (weekday.T @ mean))

    step, smooth = seen(np.where(position >= before, -EFFECT, 0.0)), seen(course)
    random = np.random.default_rng(1)
    shown, doubt = [], []
    for mean in (step, smooth):
        days = random.standard_normal((pilots, len(position)))
        days += mean - (days @ weekday) @ weekday.T
        shown.append(days @ step > 2.4 * np.linalg.norm(step))
        doubt.append(days @ (smooth - step))
    limit = np.quantile(doubt[0][shown[0]], kept)
    return float(shown[1].mean()), float((shown[1] & (doubt[1] <= limit)).mean())


# -- The tables.


def share(count: float, n: int) -> str:
    """In per cent, with one standard error."""
    if not n:
        return "–"
    part = count / n
    return f"{100 * part:.1f} ±{100 * np.sqrt(max(part * (1 - part), 0.25 / n) / n):.1f} %"


def tables(done: dict[tuple[str, str], Tally]) -> str:
    """What docs/statistics.md prints."""
    worlds = [(world, done["pilots", world.name]) for world in WORLDS if ("pilots", world.name) in done]
    head: tuple[str, ...] = ("world", "pilots", "covers", "false effects, interval alone", "with checks")
    head += ("false “target met”", "withheld", "verdict given", "effect found, interval alone", "with checks")
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for world, row in worlds:
        n = row["pilots"]
        withheld = row["withheld"] + row["effect withheld"]
        figures = [
            share(row["covers"] + row["effect covers"], 2 * n),
            *(share(row[key], n) for key in ("plain", "shown", "lower", "withheld")),
            share(2 * n - withheld, 2 * n),
            *(share(row[f"effect {key}"], n) for key in ("plain", "shown")),
        ]
        lines.append(f"| {world.name} | {n} | {' | '.join(figures)} |")
    real = [(name, row) for (kind, name), row in done.items() if kind == "real"]
    lines += ["", "| real days | windows | interval alone | with checks | withheld |", "|---" * 5 + "|"]
    for name, row in real:
        n = row["pilots"]
        lines.append(f"| {name} | {n} | {' | '.join(share(row[key], n) for key in ('plain', 'shown', 'withheld'))} |")
    fitting = [row for world, row in worlds if world.fits]
    compared = [row for world, row in worlds if world.fits and not world.turns]
    breaking = [row for world, row in worlds if not world.fits]
    windows = [row for _, row in real]
    lines += ["", "| | pilots | interval alone | with checks | false “target met” |", "|---" * 5 + "|"]
    for name, rows in (
        ("false effects, fitting worlds", fitting),
        ("false effects, breaking worlds", breaking),
        ("false effects, real windows", windows),
        ("false effects, breaking worlds and real windows, each pilot once", [*breaking, *windows]),
    ):
        n = sum(row["pilots"] for row in rows)
        sums = " | ".join(share(sum(row[key] for row in rows), n) for key in ("plain", "shown", "lower"))
        lines.append(f"| {name} | {n} | {sums} |")
    each = [row["shown"] / row["pilots"] for row in [*breaking, *windows] if row["pilots"]]
    plain, found = (sum(row[f"effect {key}"] for row in compared) for key in ("plain", "shown"))
    lines.append("")
    if each:
        lines.append(f"breaking worlds and kinds of windows, each once: {100 * np.mean(each):.1f} % of {len(each)}")
    if compared:
        lines.append(f"found in fitting worlds but that which takes turns: {found} of {plain}, {found / plain:.1%}")
    lines += ["", "| world | pilots | plain interval, any look | product, any look | at the end alone |"]
    lines.append("|---" * 5 + "|")
    looks = [(name, row) for (kind, name), row in done.items() if kind == "looks"]
    for name, row in [*looks, ("all", _summed(row for _, row in looks))] if looks else []:
        n = row["pilots"]
        lines.append(f"| {name} | {n} | {' | '.join(share(row[key], n) for key in ('plain', 'shown', 'final'))} |")
    return "\n".join(lines)


def _summed(rows: Iterator[Tally]) -> Tally:
    total: Counter[str] = Counter()
    for row in rows:
        total.update({key: value for key, value in row.items() if not key.endswith("against")})
    return dict(total)


# -- A run that can be stopped.


def program() -> str:
    """A sum of the modules that judge."""
    text = b"".join(Path(str(module.__file__)).read_bytes() for module in (checks, covariates, interval, looking))
    return hashlib.sha256(text).hexdigest()[:12]


@dataclasses.dataclass(frozen=True)
class Task:
    """One line of the results."""

    kind: str  # pilots, looks or real
    name: str
    first: int
    size: int
    run: Callable[[], Tally]

    @property
    def key(self) -> tuple[str, str, int, int]:
        return self.kind, self.name, self.first, self.size


def tasks(asked: argparse.Namespace) -> Iterator[Task]:
    """What is asked for, a block of every world before the second block of any."""
    if asked.real is not None:
        days = real_days(asked.real)
        for kind in real_kinds(days):
            yield Task("real", kind.name, 0, 0, partial(kind.windows, days))
        return
    worlds = [(number, world) for number, world in enumerate(WORLDS) if asked.only in world.name]
    for begin in range(0, max(asked.pilots, asked.looks), BLOCK):
        first = asked.first_seed + begin
        for make, kind, asked_for in ((pilots_of, "pilots", asked.pilots), (looks_of, "looks", asked.looks)):
            size = min(BLOCK, asked_for - begin)
            for number, world in worlds:
                if size > 0 and (kind == "pilots" or (world.fits and not world.turns)):
                    yield Task(kind, world.name, first, size, partial(make, world, number, first, size))


def finished(results: Path, version: str) -> dict[tuple[str, str, int, int], Tally]:
    """Lines that this version of the program made."""
    lines = map(json.loads, results.read_text("utf-8").splitlines()) if results.exists() else iter(())
    of_now = [line for line in lines if line["program"] == version]
    return {(line["kind"], line["name"], line["first"], line["size"]): line["tally"] for line in of_now}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pilots", type=int, default=500, help="with the effect, and as many without, per world")
    parser.add_argument("--looks", type=int, default=200, help="pilots that are looked at every day, per fitting world")
    parser.add_argument("--first-seed", type=int, default=FIRST_SEED, help="of the pilots")
    parser.add_argument("--only", default="", help="worlds whose name holds this")
    parser.add_argument("--shard", default="0/1", help="this part of so many: 0/2 and 1/2 in two processes")
    parser.add_argument("--real", type=Path, help="a folder with datasets/trondheim-ntnu: placebo windows of its days")
    parser.add_argument("--bound", action="store_true", help="what the best check there can be leaves of false effects")
    parser.add_argument("--table", action="store_true", help="print what is finished")
    parser.add_argument("--results", type=Path, default=RESULTS)
    asked = parser.parse_args()
    if asked.bound:
        for world in WORLDS:
            if (world.trend or world.season) and world.control is None:
                without, best = best_check(world)
                print(f"{world.name}: {without:.3f} without a check, {best:.3f} with the best")
        return
    version = program()
    done = finished(asked.results, version)
    if asked.table:
        by_name: dict[tuple[str, str], list[Tally]] = {}
        for (kind, name, _, _), counted in done.items():
            by_name.setdefault((kind, name), []).append(counted)
        print(tables({key: _summed(iter(blocks)) for key, blocks in by_name.items()}))
        return
    part, parts = map(int, asked.shard.split("/"))
    with asked.results.open("a", encoding="utf-8") as file:
        for position, task in enumerate(tasks(asked)):
            if position % parts != part or task.key in done:
                continue
            kind, name, first, size = task.key
            line = {"program": version, "kind": kind, "name": name, "first": first, "size": size}
            file.write(json.dumps(line | {"tally": task.run()}) + "\n")
            file.flush()
            print(kind, name, first, flush=True)


if __name__ == "__main__":
    main()
