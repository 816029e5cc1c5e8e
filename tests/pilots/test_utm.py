"""UTM in degrees and back: against published coordinates, and against itself over Norway."""

from __future__ import annotations

import pytest

from techport_pilots.utm import Ellipsoid, Grid, Projection, from_utm, to_degrees, to_grid, utm

BRITISH_GRID = Projection(Ellipsoid(6_377_563.396, 299.32496), 49.0, -2.0, 0.9996013, 400_000.0, -100_000.0)
"""With the numbers that the worked example of IOGP 373-7-2, method 9807, prints."""


def test_the_worked_example_of_the_guidance_note() -> None:
    easting, northing = to_grid(BRITISH_GRID, 50.5, 0.5)
    assert (round(easting, 2), round(northing, 2)) == (577_274.99, 69_740.50)
    lat, lon = to_degrees(BRITISH_GRID, Grid(577_274.99, 69_740.50))
    assert lat == pytest.approx(50.5, abs=1e-7)
    assert lon == pytest.approx(0.5, abs=1e-7)


def test_what_the_definition_of_a_zone_says() -> None:
    """On the central meridian the easting is 500 km; a quarter of the meridian of GRS 80 is 10,001,965.729 m long
    (H. Moritz, Geodetic Reference System 1980)."""
    assert to_grid(utm(32), 0.0, 9.0) == pytest.approx((500_000.0, 0.0), abs=1e-6)
    assert to_grid(utm(33), 89.9999999, 15.0).northing == pytest.approx(0.9996 * 10_001_965.729, abs=0.02)
    assert from_utm(33, 500_000, 0).lon == 15.0


@pytest.mark.parametrize("zone", [31, 32, 33, 34, 35, 36])
def test_there_and_back_over_norway(zone: int) -> None:
    """Zone 33 is used for the whole country, from 4° to 32° east."""
    for lat in (57.9, 63.43, 71.2):
        for lon in (4.5, 10.4, 18.0, 31.2):
            place = to_grid(utm(zone), lat, lon)
            assert to_degrees(utm(zone), place) == pytest.approx((lat, lon), abs=1e-7), (zone, lat, lon)


def test_the_same_place_in_two_zones() -> None:
    """Trondheim lies between them: what maps of either print leads to the same point."""
    in_32, in_33 = to_grid(utm(32), 63.4305, 10.3951), to_grid(utm(33), 63.4305, 10.3951)
    assert in_32.easting - in_33.easting > 290_000
    assert from_utm(32, *in_32) == from_utm(33, *in_33)


@pytest.mark.parametrize("place", [(7_034_000, 569_000), (-5, 7_000_000), (500_000, 1e9), (float("nan"), 7e6)])
def test_what_is_no_place_in_a_zone(place: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="easting"):
        from_utm(32, *place)
