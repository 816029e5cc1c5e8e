"""Are verdicts right where the method's assumptions hold, and where they do not? Simulated and real days, with checks.

    nice .venv/bin/python benchmarks/evaluation_worlds.py [--pilots 500] [--looks 200] [--only WORD] [--shard 0/2]
    nice .venv/bin/python benchmarks/evaluation_worlds.py --first-seed 10000 --results fresh.jsonl
    nice .venv/bin/python benchmarks/evaluation_worlds.py --real ../shared/data
    nice .venv/bin/python benchmarks/evaluation_worlds.py --table

A world makes levels of days, where an evaluation's statistics begin; benchmarks/evaluation.py goes the whole way from
readings. Every finished world is a line in evaluation_worlds.jsonl, so that a run can be stopped, resumed, and
divided among processes with --shard. `--table` prints what is there, with standard errors; docs/statistics.md has it.
The thresholds of the checks were chosen with the pilots from seed 0 on in sight: others tell whether they hold.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

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

RESULTS = Path(__file__).with_name("evaluation_worlds.jsonl")
START = 20_361  # a Monday, days since 1970-01-01
EFFECT = -2.0


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
    chosen: bool = False
    adjusted: bool = False  # chosen days, with the level before


def ar(size: int, random: np.random.Generator, persistence: float) -> Floats:
    """Stationary AR(1) with variance one."""
    steps = random.standard_normal(size + 300)
    for i in range(1, len(steps)):
        steps[i] += persistence * steps[i - 1]
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
    interval = interval_of(estimate, days.confidence)
    against = disagreeing(run_checks(used, estimate))
    shown = excludes_zero(interval) and not against
    return {
        "plain": excludes_zero(plain),
        "shown": shown,
        "lower": shown and interval.high < 0,
        "withheld": excludes_zero(interval) and bool(against),
        "covers": interval.low <= truth <= interval.high,
        "width": (interval.high - interval.low) / 2,
        "against": [check.code for check in against] if excludes_zero(interval) else [],
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
    interval = interval_of(estimate, 0.95)
    against = []
    if not world.adjusted:
        against = disagreeing([chosen_days(before[there], exposed_before[there][:, None], exposed[there], there)])
    shown = excludes_zero(interval) and not against
    return {
        "plain": excludes_zero(interval),
        "shown": shown,
        "lower": shown and interval.high < 0,
        "withheld": excludes_zero(interval) and bool(against),
        "covers": interval.low <= effect <= interval.high,
        "width": (interval.high - interval.low) / 2,
        "against": [check.code for check in against],
    }


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


def run(world: World, number: int, pilots: int, looks: int, first: int = 0) -> dict[str, Any]:
    """All pilots of one world, with the seeds from `first` on."""
    one = chosen if world.chosen else lambda w, effect, random: judged(days_of(w, effect, random), effect)
    seeds = range(first, first + pilots)
    null = [one(world, 0.0, np.random.default_rng([number, 0, seed])) for seed in seeds]
    real = [one(world, EFFECT, np.random.default_rng([number, 1, seed])) for seed in seeds]
    daily = []
    if world.fits and not world.turns:
        daily = [looked(world, np.random.default_rng([number, 2, seed])) for seed in range(first, first + looks)]
    return summary(world.name, world.fits, null, real, daily)


def summary(
    name: str,
    fits: bool,
    null: list[dict[str, Any]],
    real: list[dict[str, Any]],
    daily: list[dict[str, bool]] | None = None,
) -> dict[str, Any]:
    """The shares of one world as plain numbers."""

    def share(rows: list[Any], key: str) -> float | None:
        return float(np.mean([row[key] for row in rows])) if rows else None

    against: dict[str, int] = {}
    for row in null:
        for code in row["against"]:
            against[code] = against.get(code, 0) + 1
    return {
        "name": name,
        "fits": fits,
        "pilots": len(null),
        "plain": share(null, "plain"),
        "false": share(null, "shown"),
        "lower": share(null, "lower"),
        "withheld": share(null, "withheld"),
        "covers": share([*null, *real], "covers"),
        "width": share([*null, *real], "width"),
        "power plain": share(real, "plain"),
        "power": share(real, "shown"),
        "verdict": None if not real else 1 - float(np.mean([row["withheld"] for row in [*null, *real]])),
        "looks": len(daily or ()),
        "looks plain": share(daily or [], "plain"),
        "looks false": share(daily or [], "shown"),
        "against": against,
    }


# -- Real hours, in which no pilot did anything.


def real_windows(shared: Path) -> list[dict[str, Any]]:
    """Placebo pilots on Trondheim's hours: every second Monday, three lengths, with and without control and weather."""
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from tests.pilots import trondheim

    batch = trondheim.readings(shared)
    hours = pd.DatetimeIndex((batch.time + 3_600_000_000).astype("datetime64[us]"))
    frame = pd.DataFrame({"stream": batch.stream, "day": hours.normalize(), "value": batch.value}).dropna()
    grouped = frame.groupby(["stream", "day"])["value"]
    table = grouped.mean().where(grouped.count() >= 18).unstack("stream")
    streams = batch.streams
    table.columns = pd.Index([f"{streams[int(i)].device} {streams[int(i)].quantity}" for i in table.columns])
    table = table.reindex(pd.date_range(table.index[0], table.index[-1]))
    dust = [f"{place} pm10" for place in ("e6-tiller", "elgeseter", "bakke-kirke", "torvet")]
    weather = [
        f"voll {quantity}" for quantity in ("precipitation", "wind_speed", "air_temperature", "relative_humidity")
    ]
    traffic = [name for name in table.columns if name.endswith("vehicle_count")]
    rows = []
    for weeks in (2, 4, 8):
        for name, streets, control, covariates in (
            ("PM10, one station", dust, False, []),
            ("PM10, weather adjusted", dust, False, weather),
            ("PM10, control group", dust, True, []),
            ("PM10, control and weather", dust, True, weather),
            ("traffic", traffic, False, []),
            ("air temperature", [weather[2]], False, []),
            ("wind speed", [weather[1]], False, []),
        ):
            found = []
            for street in streets:
                others = table[[other for other in streets if other != street]].mean(axis=1) if control else None
                for start in range(0, len(table) - 14 * weeks, 14):
                    days = _window(table, street, others, covariates, start, weeks)
                    if days is None:
                        continue
                    try:
                        found.append(judged(days, 0.0))
                    except NoInterval:
                        continue
            rows.append(summary(f"{name}, {weeks} + {weeks} weeks (real)", False, found, []))
            print(rows[-1]["name"], len(found), rows[-1]["plain"], rows[-1]["false"], rows[-1]["against"], flush=True)
    return rows


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


# -- The table.


def table(rows: list[dict[str, Any]]) -> str:
    """What docs/statistics.md prints. ± is one standard error."""
    head = (
        "| world | pilots | covers | false effects, interval alone | with checks | false “target met” | withheld |"
        " verdict given | effect found, interval alone | with checks | any of all looks |\n" + "|---" * 11 + "|"
    )
    lines = [head]
    for of_kind in (True, False):
        for row in rows:
            if row["fits"] != of_kind:
                continue
            n = row["pilots"]
            lines.append(
                f"| {row['name']} | {n} | {_share(row['covers'], 2 * n if row['power'] is not None else n)} | "
                f"{_share(row['plain'], n)} | {_share(row['false'], n)} | {_share(row['lower'], n)} | "
                f"{_share(row['withheld'], n)} | {_share(row['verdict'], 2 * n)} | {_share(row['power plain'], n)} | "
                f"{_share(row['power'], n)} | {_share(row['looks false'], row['looks'])} |"
            )
    return "\n".join(lines)


def _share(share: float | None, n: int) -> str:
    if share is None or not n:
        return "–"
    return f"{100 * share:.1f} ±{100 * np.sqrt(max(share * (1 - share), 0.25 / n) / n):.1f} %"


def pooled(rows: list[dict[str, Any]]) -> str:
    """The targets in one line each."""
    broken = [row for row in rows if not row["fits"]]
    fitting = [row for row in rows if row["fits"]]
    out = []
    for key in ("plain", "false", "lower", "withheld"):
        total = max(1, sum(row["pilots"] for row in broken))
        out.append(
            f"broken and real, {key}: {100 * sum(r[key] * r['pilots'] for r in broken) / total:.1f} % of {total}"
        )
    if fitting:
        power = sum(row["power"] for row in fitting) / sum(row["power plain"] for row in fitting)
        out.append(f"fitting, power with checks ÷ interval alone: {power:.3f}")
    return "\n".join(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pilots", type=int, default=500, help="with the effect, and as many without, per world")
    parser.add_argument("--looks", type=int, default=200, help="pilots that are looked at every day, per fitting world")
    parser.add_argument("--first-seed", type=int, default=0, help="of the pilots, for others than those of the table")
    parser.add_argument("--only", default="", help="worlds whose name holds this")
    parser.add_argument("--shard", default="0/1", help="this part of so many: 0/2 and 1/2 in two processes")
    parser.add_argument("--real", type=Path, help="a folder with datasets/trondheim-ntnu: placebo windows of its days")
    parser.add_argument("--bound", action="store_true", help="what the best check there can be leaves of false effects")
    parser.add_argument("--table", action="store_true", help="print what is finished")
    parser.add_argument("--results", type=Path, default=RESULTS)
    asked = parser.parse_args()
    lines = asked.results.read_text("utf-8").splitlines() if asked.results.exists() else []
    done = {row["name"]: row for row in map(json.loads, lines)}
    if asked.bound:
        for world in WORLDS:
            if (world.trend or world.season) and world.control is None:
                without, best = best_check(world)
                print(f"{world.name}: {without:.3f} without a check, {best:.3f} with the best")
        return
    if asked.table:
        print(table(list(done.values())))
        print(pooled(list(done.values())))
        return
    rows = []
    with asked.results.open("a", encoding="utf-8") as file:
        if asked.real is not None:
            rows = real_windows(asked.real)
            file.writelines(json.dumps(row) + "\n" for row in rows)
            return
        part, parts = map(int, asked.shard.split("/"))
        for number, world in enumerate(WORLDS):
            finished = done.get(world.name, {}).get("pilots", 0) >= asked.pilots
            if number % parts != part or asked.only not in world.name or finished:
                continue
            row = run(world, number, asked.pilots, asked.looks, asked.first_seed)
            file.write(json.dumps(row) + "\n")
            file.flush()
            print(row, flush=True)


if __name__ == "__main__":
    main()
