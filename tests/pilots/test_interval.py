"""The interval of a difference between days: its size, its degrees of freedom, and what has none."""

from __future__ import annotations

import numpy as np
import pytest

from techport_pilots.evaluation.interval import ErrorPart, NoInterval, fit, half_width, percent_change, welch

DAYS = 56


def two_phases(days=DAYS):
    """A design of two phases of equal length: days, groups and columns."""
    group = (np.arange(days) >= days // 2).astype(np.int64)
    return np.arange(days), group, np.column_stack([np.ones(days), group])


def lasting(seed, persistence, days=DAYS, size=1.0):
    """Days that resemble the day before, long after they began."""
    random = np.random.default_rng([5, seed])
    steps = random.normal(0, size, days + 60)
    noise = np.zeros(days + 60)
    for i in range(1, days + 60):
        noise[i] = persistence * noise[i - 1] + steps[i]
    return noise[60:]


def test_the_estimate_is_that_of_least_squares():
    day, group, design = two_phases()
    values = lasting(1, 0.5) + 3 * group
    estimate = fit(values, design, day, group, 1)
    assert estimate.value == pytest.approx(values[28:].mean() - values[:28].mean())
    assert fit(values, design, day, group, 0).value == pytest.approx(values[:28].mean())
    assert estimate.residuals[:28] == pytest.approx(values[:28] - values[:28].mean())
    assert estimate.residuals[28:] == pytest.approx(values[28:] - values[28:].mean())
    assert estimate.contributions[:28] == pytest.approx(-estimate.residuals[:28] / 28)
    assert estimate.contributions[28:] == pytest.approx(estimate.residuals[28:] / 28)


def test_the_standard_error_is_the_root_of_the_summed_variances():
    day, group, design = two_phases()
    estimate = fit(lasting(2, 0.5), design, day, group, 1)
    assert estimate.variance.shape == (2,)
    assert estimate.error == pytest.approx(np.sqrt(estimate.variance[0] + estimate.variance[1]))
    assert estimate.degrees == pytest.approx(welch(estimate.variance, estimate.freedom))


@pytest.mark.parametrize("persistence", [0.0, 0.5])
def test_on_average_the_error_is_the_true_one_and_the_autocorrelation_is_found(persistence):
    day, group, design = two_phases()
    estimates = [fit(lasting(seed, persistence), design, day, group, 1) for seed in range(200)]
    spread = np.std([estimate.value for estimate in estimates])
    error = np.sqrt(np.mean([estimate.error**2 for estimate in estimates]))
    assert error == pytest.approx(spread, rel=0.25)
    assert np.mean([estimate.autocorrelation for estimate in estimates]) == pytest.approx(persistence, abs=0.1)


@pytest.mark.parametrize("persistence", [-0.2, 0.4, 0.88])
def test_a_year_of_days_shows_how_much_one_resembles_the_next(persistence):
    """Each estimate, not only their mean: nowhere on the scale is there a hole."""
    day, group, design = np.arange(365), np.zeros(365, np.int64), np.ones((365, 1))
    estimates = [fit(lasting(seed, persistence, 365), design, day, group, 0).autocorrelation for seed in range(8)]
    assert estimates == pytest.approx([persistence] * 8, abs=0.17)


def test_intervals_of_days_that_resemble_each_other_cover_the_truth():
    """95 % are promised; one for independent days covers 52 % here. test_evaluation_honest.py tries more."""
    day, group, design = two_phases()
    estimates = [fit(lasting(seed, 0.8), design, day, group, 1) for seed in range(200)]
    covered = np.mean([abs(each.value) <= half_width(each.variance, each.freedom) for each in estimates])
    assert 0.91 <= covered <= 0.985


@pytest.mark.parametrize(("days", "cosines"), [(14, 3), (28, 5), (60, 9), (100, 13), (365, 31)])
def test_there_are_six_tenths_of_n_to_the_two_thirds_cosines(days, cosines):
    """docs/statistics.md: a few slow ones, 0.6 n^(2/3) of n pairs of days; one degree of freedom goes to what was
    estimated on the way. The number is calibrated: more makes intervals too short, fewer makes them too wide."""
    estimate = fit(lasting(3, 0.3, days), np.ones((days, 1)), np.arange(days), np.zeros(days, np.int64), 0)
    assert cosines == round(0.6 * (days - 1) ** (2 / 3))
    assert estimate.freedom.tolist() == [cosines - 1]


def test_a_phase_has_its_own_size_of_noise():
    day, group, design = two_phases()
    ratios = []
    for seed in range(100):
        noise = np.concatenate([lasting(seed, 0.0, 28), lasting(seed + 1000, 0.0, 28, size=3.0)])
        estimate = fit(noise, design, day, group, 1)
        ratios.append(estimate.variance[1] / estimate.variance[0])
    assert np.median(ratios) == pytest.approx(9, rel=0.35)


def test_a_phase_in_which_nothing_varies_takes_the_others_variance():
    """No hour above a threshold for four weeks is luck to some part, not certainty."""
    day, group, design = two_phases()
    for still in (0, 1):
        values = np.where(group == still, 0.0, lasting(4, 0.3))
        estimate = fit(values, design, day, group, 1)
        assert estimate.variance[still] == pytest.approx(estimate.variance[1 - still], rel=1e-6)
        assert estimate.freedom[0] == estimate.freedom[1]


def test_independent_days_are_those_there_are_or_fewer():
    day, group, design = two_phases()
    assert all(fit(lasting(seed, 0.0), design, day, group, 1).independent_days <= DAYS for seed in range(20))
    white, lasting_days = (
        np.mean([fit(lasting(seed, persistence), design, day, group, 1).independent_days for seed in range(40)])
        for persistence in (0.0, 0.8)
    )
    assert white > 45
    assert lasting_days < 15  # (1 - 0.8) / (1 + 0.8) of 56 are 6.2


def test_missing_days_make_neighbours_that_are_none():
    """Every other day is missing: no day has a neighbour, so nothing tells how much one resembles the next."""
    day = 2 * np.arange(30)
    with pytest.raises(NoInterval) as refusal:
        fit(lasting(5, 0.5, 30), np.ones((30, 1)), day, np.zeros(30, np.int64), 0)
    assert refusal.value.message.code == "evaluation.no-interval.no-consecutive-days"
    assert refusal.value.reason.code == "evaluation.no-interval"


@pytest.mark.parametrize(("pairs", "enough"), [(3, False), (4, True)])
def test_four_pairs_of_neighbours_are_needed(pairs, enough):
    day = np.array([0, *(20 + np.arange(pairs)), 19 + pairs + 1, 60, 70, 80])
    values = lasting(6, 0.0, len(day))
    arguments = values, np.ones((len(day), 1)), day, np.zeros(len(day), np.int64), 0
    if enough:
        assert fit(*arguments).error > 0
    else:
        with pytest.raises(NoInterval) as refusal:
            fit(*arguments)
        assert refusal.value.message.code == "evaluation.no-interval.no-consecutive-days"


def test_gaps_make_the_days_beside_them_more_independent():
    """The same number of days over a longer time says more where days resemble each other."""
    close, apart = np.arange(28), np.concatenate([7 * week + np.arange(4) for week in range(7)])
    group, design = np.zeros(28, np.int64), np.ones((28, 1))
    independent = [
        np.mean([fit(lasting(seed, 0.7, 60)[day], design, day, group, 0).independent_days for seed in range(60)])
        for day in (close, apart)
    ]
    assert independent[1] > 1.1 * independent[0]


@pytest.mark.parametrize(
    ("values", "design", "code"),
    [
        (np.arange(30.0) % 7, np.column_stack([np.ones(30), np.ones(30)]), "collinear"),
        (np.full(30, 5.0), np.ones((30, 1)), "constant"),
        (5e9 + 0.1 * (np.arange(30) % 2), np.ones((30, 1)), "constant"),
        (np.zeros(30), np.ones((30, 1)), "constant"),
        (3.0 * np.arange(30), np.column_stack([np.ones(30), np.arange(30)]), "exact-fit"),
    ],
)
def test_what_has_no_interval_says_why(values, design, code):
    with pytest.raises(NoInterval) as refusal:
        fit(values, design, np.arange(30), np.zeros(30, np.int64), 0)
    assert refusal.value.message.code == f"evaluation.no-interval.{code}"


def test_small_numbers_vary_too():
    values = 1e-6 * (1 + 0.01 * lasting(7, 0.2, 30))
    estimate = fit(values, np.ones((30, 1)), np.arange(30), np.zeros(30, np.int64), 0)
    assert estimate.value == pytest.approx(values.mean())


# -- Student's t, Welch and Satterthwaite, and per cent of a level


@pytest.mark.parametrize(
    ("variance", "freedom", "degrees"),
    [
        ([2.0], [4.0], 4.0),
        ([1.0, 1.0], [4.0, 4.0], 8.0),
        ([1.0, 3.0], [4.0, 6.0], 16 / (1 / 4 + 9 / 6)),
        ([1.0, 0.0], [4.0, 9.0], 4.0),
        ([0.0, 0.0], [4.0, 9.0], 0.0),
        ([5.0, 1.0], [0.0, 3.0], 36 / (1 / 3)),
    ],
)
def test_degrees_of_freedom_of_a_sum(variance, freedom, degrees):
    assert welch(np.array(variance), np.array(freedom)) == pytest.approx(degrees)


@pytest.mark.parametrize(
    ("freedom", "confidence", "quantile"), [(4, 0.95, 2.7764), (9, 0.95, 2.2622), (9, 0.9, 1.8331), (30, 0.99, 2.75)]
)
def test_half_the_width_is_students_quantile_of_the_standard_error(freedom, confidence, quantile):
    width = half_width(np.array([4.0]), np.array([float(freedom)]), confidence)
    assert width == pytest.approx(2 * quantile, rel=1e-4)


def test_95_per_cent_are_meant_where_nobody_says_otherwise():
    variance, freedom = np.array([4.0]), np.array([9.0])
    assert half_width(variance, freedom) == half_width(variance, freedom, 0.95)
    parts = [ErrorPart(1.0, 9.0, 1.0, 0.0)]
    assert percent_change(-2.0, 20.0, parts) == percent_change(-2.0, 20.0, parts, 0.95)


def test_a_change_in_per_cent_of_a_level_that_is_known_exactly():
    percent, half = percent_change(-5.0, 20.0, [ErrorPart(4.0, 9.0, 1.0, 0.0)])
    assert percent == -25.0
    assert half == pytest.approx(100 * 2 * 2.2622 / 20, rel=1e-4)


def test_an_uncertain_baseline_makes_per_cent_less_certain():
    """after - before in per cent of before, of independent errors: (after / before)² of the relative variance."""
    before, after = ErrorPart(1.0, 1e9, -1.0, 1.0), ErrorPart(4.0, 1e9, 1.0, 0.0)
    percent, half = percent_change(-5.0, 20.0, [before, after])
    relative = (4.0 + 1.0 * (15 / 20) ** 2) / 20**2
    assert percent == -25.0
    assert half == pytest.approx(100 * 1.95996 * np.sqrt(relative), rel=1e-4)


@pytest.mark.parametrize(
    ("level", "has_percent"),
    [(2.0, True), (2.0 - 1e-9, False), (0.0, False), (-50.0, False), (50.0, True)],
)
def test_a_level_within_two_standard_errors_of_zero_has_no_per_cent(level, has_percent):
    parts = [ErrorPart(1.0, 9.0, -1.0, 1.0), ErrorPart(400.0, 9.0, 1.0, 0.0)]
    assert (percent_change(-1.0, level, parts) is not None) is has_percent


def test_a_level_of_zero_has_no_per_cent_even_if_it_is_certain():
    assert percent_change(-1.0, 0.0, [ErrorPart(1.0, 9.0, 1.0, 0.0)]) is None
