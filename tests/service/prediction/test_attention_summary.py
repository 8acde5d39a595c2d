"""Attention maps in figures: against shapes worked out by hand, winding numbers, and over HTTP."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from service.attention.outline import contours, signed_area
from service.attention.overlay import EVIDENCE_LEVEL, AttentionMaps, MissingMap, OverlayOptions
from service.prediction.attention_summary import summarise
from tests.service.tiny_bundle import dark_square, picture_bytes
from tests.service.wire import check_problem


def blob(size: int = 48) -> NDArray[np.float32]:
    y, x = np.mgrid[:size, :size] / size
    ring = np.exp(-(((np.hypot(x - 0.45, y - 0.5) - 0.25) / 0.08) ** 2))
    speck = np.exp(-(((x - 0.9) ** 2 + (y - 0.1) ** 2) / 0.004))
    return np.maximum(ring, speck).astype(np.float32)


def test_a_ring_and_a_speck_have_two_outlines_and_a_hole() -> None:
    values = blob()
    rings = sorted(contours(values, 0.5), key=signed_area)
    assert [signed_area(ring) < 0 for ring in rings] == [True, False, False], "only the hole runs the other way round"
    assert sum(signed_area(ring) for ring in rings) == pytest.approx((values >= 0.5).mean(), rel=0.02)
    for ring in rings:
        distance = np.hypot(*(ring - (0.45, 0.5) - 0.5 / len(values)).T)
        # exp(-((distance - 0.25) / 0.08)^2) is 0.5 at both radii.
        assert signed_area(ring) < 0.05 or np.abs(np.abs(distance - 0.25) - 0.08 * np.sqrt(np.log(2))).max() < 0.005


def test_what_reaches_the_edge_is_closed_along_it() -> None:
    (ring,) = contours(np.ones((4, 5), dtype=np.float32), 0.5)
    assert ring.min() == 0.0
    assert ring.max() == 1.0
    assert signed_area(ring) == pytest.approx(1.0, abs=0.03)
    assert contours(np.zeros((4, 5), dtype=np.float32), 0.5) == []


def test_noise_has_no_outline() -> None:
    """A million crossings would take a gigabyte to follow; as many lesions as fit are still outlined."""
    y, x = np.mgrid[:1000, :1000]
    assert contours(((x + y) % 2).astype(np.float32), 0.5) == []
    spots = ((x // 50 % 2) * (y // 50 % 2)).astype(np.float32)
    assert len(contours(spots, 0.5)) == 100


@settings(max_examples=60)
@given(arrays(np.float32, (7, 6), elements=st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0])))
def test_any_map_gives_closed_rings_around_all_that_is_above(values: NDArray[np.float32]) -> None:
    rings = contours(values, 0.4)
    height, width = values.shape
    # The winding number of the middle of each cell, counted by crossings of a line to the right.
    for row in range(height):
        for column in range(width):
            x, y = (column + 0.5) / width, (row + 0.5 + 1e-7) / height
            winding = 0
            for ring in rings:
                for (x0, y0), (x1, y1) in zip(ring, np.roll(ring, -1, axis=0), strict=True):
                    if (y0 <= y) != (y1 <= y) and x0 + (y - y0) / (y1 - y0) * (x1 - x0) > x:
                        winding += 1 if y1 > y0 else -1
            assert winding == (1 if values[row, column] >= 0.4 else 0)


def maps(**changed: Any) -> AttentionMaps:
    """A crop of the right half of a 200 x 100 image; attention in its lower right corner."""
    spatial = np.full((2, 4, 4), 0.5 / 15, dtype=np.float32)
    spatial[:, 3, 3] = 0.5
    lesion = np.zeros((10, 10), dtype=np.uint8)
    lesion[2:6, 5:9] = 255
    fields: dict[str, Any] = {
        "frame": np.zeros((16, 16, 3), dtype=np.uint8),
        "width": 200,
        "height": 100,
        "crop_box": np.array([0.5, 0.0, 1.0, 1.0], dtype=np.float32),
        "lesion": lesion,
        "spatial": spatial,
        "correlation": np.full((2, 16, 16), 1 / 256, dtype=np.float32),
    }
    return AttentionMaps(**fields | changed)


def test_the_lesion_in_pixels_of_the_picture() -> None:
    summary = summarise(maps(), OverlayOptions())
    assert (summary.region, summary.evident, summary.peak) == ("picture", True, 1.0)
    assert summary.share == 0.16
    assert summary.centre is not None
    assert (summary.centre.x, summary.centre.y) == (140.0, 40.0)
    (outline,) = summary.outline
    ring = np.array([(point.x, point.y) for point in outline])
    assert (ring.min(axis=0).tolist(), ring.max(axis=0).tolist()) == ([100.0, 20.0], [180.0, 60.0])


def test_spatial_attention_in_its_corner() -> None:
    summary = summarise(maps(), OverlayOptions(kind="spatial", branch="1"))
    assert (summary.region, summary.evident, summary.peak, summary.share) == ("crop", True, 8.0, 0.0625)
    assert summary.centre is not None
    assert (summary.centre.x, summary.centre.y) == (187.5, 87.5), "the middle of the last of 4 x 4 spots"
    assert summary.outline == []


def test_peaks_are_named_by_the_lesion() -> None:
    spatial = np.full((2, 4, 4), 0.5 / 15, dtype=np.float32)
    spatial[:, 3, 3], spatial[:, 0, 0], spatial[:, 0, 1], spatial[:, 1, 3] = 0.5, 0.4, 0.39, 0.2
    average = float(spatial[0].mean())
    peaks = summarise(maps(spatial=spatial), OverlayOptions(kind="spatial")).peaks
    # The lesion is at x 100 to 180 and y 20 to 60; the third peak is below half of the first.
    assert [(peak.x, peak.y, peak.lesion, peak.place) for peak in peaks] == [
        (187.5, 87.5, "outside", "lower_right"),
        (112.5, 12.5, "edge", "upper_left"),
    ]
    assert [peak.value for peak in peaks] == pytest.approx([0.5 / average, 0.4 / average], abs=0.001)
    spatial[:, 2, 1] = 1.2
    (inside,) = summarise(maps(spatial=spatial, lesion=np.full((10, 10), 255)), OverlayOptions(kind="spatial")).peaks
    assert (inside.lesion, inside.place) == ("inside", "right")
    (alone,) = summarise(maps(spatial=spatial, lesion=np.zeros((10, 10))), OverlayOptions(kind="spatial")).peaks
    assert (alone.lesion, alone.place) == (None, "middle"), "in the crop, where no lesion was found"
    assert summarise(maps(), OverlayOptions()).peaks == []


@given(arrays(np.float32, (2, 5, 4), elements=st.sampled_from([0.0, 0.25, 0.5, 1.0])))
def test_the_first_peak_is_the_highest_spot(spatial: NDArray[np.float32]) -> None:
    summary = summarise(maps(spatial=spatial), OverlayOptions(kind="spatial"))
    assert bool(summary.peaks) is summary.evident
    values = [peak.value for peak in summary.peaks]
    assert values == sorted(values, reverse=True)
    least = max(EVIDENCE_LEVEL["spatial"], summary.peak / 2) - 0.001
    assert not values or (values[0] == summary.peak and min(values) >= least)
    assert len(values) <= 3


def test_what_does_not_stand_out_has_no_centre() -> None:
    summary = summarise(maps(), OverlayOptions(kind="correlation", spot=(150.0, 50.0)))
    assert (summary.evident, summary.peak, summary.share, summary.centre) == (False, 1.0, 0.0, None)
    with pytest.raises(MissingMap):
        summarise(maps(spatial=None, correlation=None), OverlayOptions(kind="spatial"))


def test_over_http(client: TestClient) -> None:
    posted = client.post("/predict", content=picture_bytes(dark_square()), headers={"content-type": "image/png"})
    prediction = posted.json()
    address = f"/attention/{prediction['id']}/summary"
    lesion = client.get(address).json()
    assert lesion["map"] == "lesion"
    assert lesion["share"] == pytest.approx(prediction["lesion"]["fraction"], abs=0.02)
    assert lesion["centre"] == {"x": pytest.approx(128, abs=8), "y": pytest.approx(128, abs=8)}
    related = client.get(address, params={"map": "correlation", "branch": "2", "x": 128, "y": 128})
    assert related.json()["branch"] == "2"
    check_problem(client.get(address, params={"map": "correlation", "x": 128}), 400, "x and y")
    check_problem(client.get(address, params={"map": "spatial", "x": 1, "y": 1}), 400)
    check_problem(client.get(f"/attention/{'0' * 32}/summary"), 404)
