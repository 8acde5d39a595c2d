"""``service.attention.overlay``: layers, canvas, branches, and what is refused."""

from __future__ import annotations

import io
from typing import get_args

import numpy as np
import pytest
from PIL import Image

from service.attention.overlay import (
    LONG_SIDE,
    MEDIA_TYPE,
    MapKind,
    MissingMap,
    OverlayOptions,
    View,
    colour_table,
    encode,
    render,
)
from tests.service.attention.maps import BOX, CAPTION, HEIGHT, SIDE, SKIN, UNIFORM, WIDTH, change, maps


@pytest.mark.parametrize("view", get_args(View))
@pytest.mark.parametrize("kind", get_args(MapKind))
def test_the_map_alone_over_the_picture_alone_is_the_tinted_picture(kind: MapKind, view: View) -> None:
    drawn = maps()
    alone = render(drawn, OverlayOptions(kind=kind, view=view, layer="map", opacity=0.6))
    picture = render(drawn, OverlayOptions(kind=kind, view=view, layer="picture"))
    assert alone.shape == (*picture.shape[:2], 4)
    together = Image.alpha_composite(Image.fromarray(picture).convert("RGBA"), Image.fromarray(alone)).convert("RGB")
    all_in_one = render(drawn, OverlayOptions(kind=kind, view=view, opacity=0.6)).astype(int)
    difference = np.abs(np.asarray(together).astype(int) - all_in_one).max(axis=2)[:-CAPTION]
    # But for the box, which only the layer with everything has.
    assert (difference > 2).mean() < (0.03 if view == "frame" else 1e-9)


@pytest.mark.parametrize("kind", get_args(MapKind))
def test_a_map_without_evidence_is_transparent_all_over(kind: MapKind) -> None:
    weak = maps(
        lesion=np.full((32, 32), 120, dtype=np.uint8),
        spatial=np.stack([UNIFORM, UNIFORM]),
        correlation=np.full((2, SIDE**2, SIDE**2), 1 / SIDE**4, dtype=np.float32),
    )
    assert render(weak, OverlayOptions(kind=kind, layer="map"))[:, :, 3].max() == 0


def test_transparency_is_kept() -> None:
    alone = render(maps(), OverlayOptions(layer="map", opacity=1.0))
    decoded = np.asarray(Image.open(io.BytesIO(encode(alone))))
    assert np.array_equal(decoded[:, :, 3], alone[:, :, 3])


@pytest.mark.parametrize(("width", "height"), [(1536, 1024), (600, 900), (40, 40), (6000, 300)])
def test_the_picture_keeps_its_proportions(width: int, height: int) -> None:
    drawn = render(maps(width=width, height=height), OverlayOptions())
    assert drawn.dtype == np.uint8
    assert max(drawn.shape) == LONG_SIDE
    assert drawn.shape[1] / drawn.shape[0] == pytest.approx(width / height, rel=0.02)


def test_the_crop_view_shows_the_crop_in_its_proportions() -> None:
    frame = np.zeros((64, 64, 3), dtype=np.uint8)
    frame[16:48, 8:24] = (0, 200, 0)
    box = np.array([8 / 64, 16 / 64, 24 / 64, 48 / 64], dtype=np.float32)
    drawn = render(maps(frame=frame, crop_box=box), OverlayOptions(view="crop", opacity=0.0))
    assert drawn.shape[1] / drawn.shape[0] == pytest.approx(0.25 * WIDTH / (0.5 * HEIGHT), rel=0.01)
    margin = 60  # interpolation mixes the outermost two pixels of the frame with their neighbours outside
    assert (drawn[margin : -CAPTION - margin, margin:-margin] == (0, 200, 0)).all()


@pytest.mark.parametrize("colour", [(0, 0, 0), (128, 128, 128), (255, 255, 255), SKIN])
def test_the_box_shows_on_any_skin(colour: tuple[int, int, int]) -> None:
    frame = np.full((64, 64, 3), colour, dtype=np.uint8)
    drawn = render(maps(frame=frame), OverlayOptions(opacity=0.0)).astype(int)
    contrast = np.abs(drawn - colour).sum(axis=2) > 300
    rows, columns = np.nonzero(contrast[: -CAPTION - 1])
    height, width = contrast.shape
    edges = [columns.min() / width, rows.min() / height, (columns.max() + 1) / width, (rows.max() + 1) / height]
    np.testing.assert_allclose(edges, BOX, atol=3 / height)
    assert not contrast[int(0.25 * height) + 6 : int(0.75 * height) - 6, width // 2].any()


def test_the_crop_view_has_no_box() -> None:
    drawn = render(maps(), OverlayOptions(view="crop", opacity=0.0))
    assert (drawn[:-CAPTION] == SKIN).all()


@pytest.mark.parametrize("kind", get_args(MapKind))
def test_opacity_zero_leaves_the_picture_as_it_is(kind: MapKind) -> None:
    drawn = render(maps(), OverlayOptions(kind=kind, view="crop", opacity=0.0))
    assert (drawn[:-CAPTION] == SKIN).all()


def test_opacity_is_the_share_of_the_colour() -> None:
    middle = (LONG_SIDE * HEIGHT // WIDTH // 2, LONG_SIDE // 2)
    shown = [render(maps(), OverlayOptions(opacity=o))[middle].astype(float) for o in (0.5, 1.0)]
    np.testing.assert_array_equal(shown[1], colour_table()[255])
    np.testing.assert_allclose(shown[0], (shown[1] + SKIN) / 2, atol=1)


@pytest.mark.parametrize("kind", ["spatial", "correlation"])
def test_the_branch_chooses_the_map(kind: MapKind) -> None:
    expected = {"1": [(0, 0)], "2": [(3, 3)], "mean": [(0, 0), (3, 3)]}
    for branch, corners in expected.items():
        moved = change(maps(), kind=kind, branch=branch, view="crop")
        for corner in ((0, 0), (3, 3)):
            at = (5, 5) if corner == (0, 0) else (moved.shape[0] - CAPTION - 5, moved.shape[1] - 6)
            assert (moved[at] > 0) == (corner in corners), (branch, corner)


@pytest.mark.parametrize("kind", ["spatial", "correlation"])
def test_a_model_without_the_map(kind: MapKind) -> None:
    with pytest.raises(MissingMap, match=f"no {kind} attention"):
        render(maps(spatial=None, correlation=None), OverlayOptions(kind=kind))


def test_colours_get_lighter_with_the_value() -> None:
    table = colour_table()
    assert table.shape == (256, 3)
    luminance = table @ np.array([0.2126, 0.7152, 0.0722])
    assert (np.diff(luminance) > -0.5).all()
    assert luminance[-1] - luminance[0] > 150


def test_files_hold_the_picture_and_nothing_else() -> None:
    drawn = render(maps(), OverlayOptions())
    with Image.open(io.BytesIO(encode(drawn))) as image:
        assert Image.MIME[image.format or ""] == MEDIA_TYPE
        decoded = np.asarray(image.convert("RGB")).astype(int)
        assert not image.getexif()
        assert not {"exif", "icc_profile", "xmp", "comment"} & set(image.info)
    np.testing.assert_array_equal(decoded, drawn)


@pytest.mark.parametrize("box", [(0.4, 0.0, 0.44, 1.0), (0.0, 0.4, 1.0, 0.42), (0.0, 0.0, 1.0, 1.0)])
@pytest.mark.parametrize("view", ["frame", "crop"])
@pytest.mark.parametrize("kind", get_args(MapKind))
def test_narrow_boxes_are_drawn(kind: MapKind, view: View, box: tuple[float, ...]) -> None:
    drawn = render(maps(crop_box=np.array(box, dtype=np.float32)), OverlayOptions(kind=kind, view=view))
    assert max(drawn.shape) == LONG_SIDE
