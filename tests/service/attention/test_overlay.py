"""``service.attention.overlay``: what is drawn, where, and when nothing is."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any, get_args

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from service.attention.overlay import (
    EVIDENCE_LEVEL,
    FULL_SCALE,
    LONG_SIDE,
    MEDIA_TYPE,
    NO_EVIDENCE,
    AttentionMaps,
    MapKind,
    MissingMap,
    OverlayError,
    OverlayOptions,
    View,
    colour_table,
    encode,
    render,
)

SKIN = (205, 160, 140)
SIDE = 4
WIDTH, HEIGHT = 1536, 1024  # twice the size at which the picture is drawn
BOX = (0.25, 0.25, 0.75, 0.75)
CAPTION = 60  # rows at the bottom that the caption may take


def spots(*bright: tuple[int, int], share: float = 1.0) -> NDArray[np.float32]:
    """A map ``[SIDE, SIDE]`` that sums to 1, of which ``bright`` (row, column) hold ``share``."""
    values = np.full((SIDE, SIDE), (1 - share) / (SIDE * SIDE - len(bright)), dtype=np.float32)
    for spot in bright:
        values[spot] = share / len(bright)
    return values


UNIFORM = np.full((SIDE, SIDE), 1 / SIDE**2, dtype=np.float32)


def maps(**changes: Any) -> AttentionMaps:
    """Plain skin with a lesion in the middle; each branch attends to one corner of the crop."""
    lesion = np.zeros((32, 32), dtype=np.uint8)
    lesion[8:24, 8:24] = 255
    pairs = np.stack([np.outer(UNIFORM, spots((0, 0))), np.outer(UNIFORM, spots((3, 3)))])
    plain = AttentionMaps(
        frame=np.full((64, 64, 3), SKIN, dtype=np.uint8),
        width=WIDTH,
        height=HEIGHT,
        crop_box=np.array(BOX, dtype=np.float32),
        lesion=lesion,
        spatial=np.stack([spots((0, 0)), spots((3, 3))]),
        correlation=pairs.astype(np.float32),
    )
    return replace(plain, **changes)


def change(drawn: AttentionMaps, **options: Any) -> NDArray[np.int_]:
    """How far the tint moves each pixel ``[height, width]``: the picture against itself with opacity 0."""
    tinted, plain = (render(drawn, OverlayOptions(**{**options, "opacity": o})).astype(int) for o in (1.0, 0.0))
    return np.abs(tinted - plain).sum(axis=2)


def cells(values: NDArray[np.int_], view: View = "crop") -> NDArray[np.float64]:
    """Mean of the middle of each spot ``[SIDE, SIDE]``."""
    height, width = values.shape
    x0, y0, x1, y1 = (0.0, 0.0, 1.0, 1.0) if view == "crop" else BOX
    means = np.zeros((SIDE, SIDE))
    for row, column in np.ndindex(SIDE, SIDE):
        y = int(height * (y0 + (y1 - y0) * (row + 0.5) / SIDE))
        x = int(width * (x0 + (x1 - x0) * (column + 0.5) / SIDE))
        means[row, column] = values[y - 3 : y + 3, x - 3 : x + 3].mean()
    return means


# The layers


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


# The canvas


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


# Where the tint lies


@pytest.mark.parametrize("kind", ["spatial", "correlation"])
def test_a_map_of_the_crop_lands_in_the_box(kind: MapKind) -> None:
    moved = change(maps(), kind=kind, branch="1")
    tinted = cells(moved, "frame") > 0
    assert tinted[0, 0]
    assert not tinted[2:, 2:].any()
    height, width = moved.shape
    inside = np.zeros_like(moved, dtype=bool)
    inside[height // 4 : height * 3 // 4, width // 4 : width * 3 // 4] = True
    assert moved[inside].max() > 100
    assert moved[:-CAPTION][~inside[:-CAPTION]].max() == 0


def test_the_lesion_map_covers_the_whole_picture() -> None:
    lesion = np.zeros((32, 32), dtype=np.uint8)
    lesion[:, :4] = 255  # left of the box
    moved = change(maps(lesion=lesion))
    assert moved[:-CAPTION, : moved.shape[1] // 10].min() > 100
    assert moved[:-CAPTION, moved.shape[1] // 5 :].max() == 0


def test_the_lesion_map_is_cut_with_the_crop() -> None:
    lesion = np.zeros((32, 32), dtype=np.uint8)
    lesion[8:16, 8:24] = 255  # the upper half of the box
    tinted = cells(change(maps(lesion=lesion), view="crop")) > 0
    np.testing.assert_array_equal(tinted, np.repeat([[True], [True], [False], [False]], SIDE, axis=1))


@pytest.mark.parametrize("kind", get_args(MapKind))
def test_opacity_zero_leaves_the_picture_as_it_is(kind: MapKind) -> None:
    drawn = render(maps(), OverlayOptions(kind=kind, view="crop", opacity=0.0))
    assert (drawn[:-CAPTION] == SKIN).all()


def test_opacity_is_the_share_of_the_colour() -> None:
    middle = (LONG_SIDE * HEIGHT // WIDTH // 2, LONG_SIDE // 2)
    shown = [render(maps(), OverlayOptions(opacity=o))[middle].astype(float) for o in (0.5, 1.0)]
    np.testing.assert_array_equal(shown[1], colour_table()[255])
    np.testing.assert_allclose(shown[0], (shown[1] + SKIN) / 2, atol=1)


# What the colours mean


def corner_colour(*, corner: float, highest: float) -> NDArray[np.uint8]:
    """The colour of a spot with ``corner`` times the average, in a map with ``highest`` times the average elsewhere."""
    spatial = np.zeros((2, SIDE, SIDE), dtype=np.float32)
    spatial[:, 0, 0], spatial[:, 3, 3] = corner / SIDE**2, highest / SIDE**2
    return render(maps(spatial=spatial), OverlayOptions(kind="spatial", view="crop", opacity=1.0))[5, 5]


@pytest.mark.parametrize("corner", [1.2, 2.0, 3.0])
def test_the_colour_depends_on_the_value_alone(corner: float) -> None:
    strength = (corner - 1) / (FULL_SCALE - 1)
    mixed = np.array(SKIN) + np.sqrt(strength) * (colour_table()[round(strength * 255)] - np.array(SKIN))
    for highest in (3.0, 9.0):
        np.testing.assert_allclose(corner_colour(corner=corner, highest=highest), mixed, atol=1)


def test_the_ends_of_the_scale() -> None:
    for at_most_average in (0.0, 0.5, 1.0):
        np.testing.assert_array_equal(corner_colour(corner=at_most_average, highest=4.0), SKIN)
    for beyond in (FULL_SCALE, 2 * FULL_SCALE):
        np.testing.assert_array_equal(corner_colour(corner=beyond, highest=4.0), colour_table()[255])


@pytest.mark.parametrize("kind", get_args(MapKind))
def test_below_the_evidence_level_there_are_no_colours(kind: MapKind) -> None:
    level = EVIDENCE_LEVEL[kind]

    def with_highest(value: float) -> AttentionMaps:
        if kind == "lesion":
            return maps(lesion=np.full((32, 32), value * 255, dtype=np.uint8))
        values = spots((1, 1), share=value / SIDE**2)
        chosen = np.outer(UNIFORM, values) if kind == "correlation" else values
        return maps(**{kind: np.stack([chosen, chosen]).astype(np.float32)})

    assert change(with_highest(level * 1.02), kind=kind, view="crop").max() > 0
    assert change(with_highest(level * 0.98), kind=kind, view="crop").max() == 0


@pytest.mark.parametrize("kind", get_args(MapKind))
@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_an_empty_map_is_said_to_be_empty(kind: MapKind, monkeypatch: pytest.MonkeyPatch) -> None:
    empty = maps(lesion=np.zeros((32, 32), np.uint8), spatial=np.zeros((2, 4, 4), np.float32))
    empty = replace(empty, correlation=np.zeros((2, 16, 16), np.float16))
    said = render(empty, OverlayOptions(kind=kind))
    monkeypatch.setitem(NO_EVIDENCE, kind, "other words")
    assert (said[-CAPTION:] != render(empty, OverlayOptions(kind=kind))[-CAPTION:]).any()
    full = render(maps(), OverlayOptions(kind=kind))
    monkeypatch.setitem(NO_EVIDENCE, kind, "still other words")
    np.testing.assert_array_equal(full, render(maps(), OverlayOptions(kind=kind)))


# Branches and spots


@pytest.mark.parametrize("kind", ["spatial", "correlation"])
def test_the_branch_chooses_the_map(kind: MapKind) -> None:
    expected = {"1": [(0, 0)], "2": [(3, 3)], "mean": [(0, 0), (3, 3)]}
    for branch, corners in expected.items():
        moved = change(maps(), kind=kind, branch=branch, view="crop")
        for corner in ((0, 0), (3, 3)):
            at = (5, 5) if corner == (0, 0) else (moved.shape[0] - CAPTION - 5, moved.shape[1] - 6)
            assert (moved[at] > 0) == (corner in corners), (branch, corner)


def related(partners: dict[tuple[int, int], tuple[int, int]]) -> AttentionMaps:
    """Correlation attention in which each spot relates to its partner, and no other spot to any."""
    matrix = np.zeros((SIDE, SIDE, SIDE, SIDE), dtype=np.float32)
    for spot, partner in partners.items():
        matrix[spot][partner] = 1 / len(partners)
    flat = matrix.reshape(SIDE**2, SIDE**2)
    return maps(correlation=np.stack([flat, flat]))


@pytest.mark.parametrize("view", ["frame", "crop"])
@pytest.mark.parametrize(("spot", "partner"), [((0, 1), (2, 2)), ((1, 3), (0, 0)), ((2, 0), (1, 1))])
def test_a_spot_shows_what_it_relates_to(view: View, spot: tuple[int, int], partner: tuple[int, int]) -> None:
    drawn = related({(0, 1): (2, 2), (1, 3): (0, 0), (2, 0): (1, 1)})
    x = WIDTH * (BOX[0] + (BOX[2] - BOX[0]) * (spot[1] + 0.5) / SIDE)
    y = HEIGHT * (BOX[1] + (BOX[3] - BOX[1]) * (spot[0] + 0.5) / SIDE)
    moved = cells(change(drawn, kind="correlation", view=view, spot=(x, y)), view)
    assert divmod(int(moved.argmax()), moved.shape[1]) == partner
    assert moved[spot] < moved[partner]


def test_a_spot_that_relates_to_nothing_shows_nothing() -> None:
    drawn = related({(0, 0): (3, 3)})
    matrix = drawn.correlation
    assert matrix is not None
    matrix[:, 5] = 1e-7 * spots((0, 3)).ravel()  # its largest partner is still next to nothing
    spot = (WIDTH * (BOX[0] + 0.5 * 1.5 / SIDE), HEIGHT * (BOX[1] + 0.5 * 1.5 / SIDE))
    assert change(drawn, kind="correlation", spot=spot).max() == 0


def test_without_a_spot_the_columns_are_summed() -> None:
    drawn = related({(0, 1): (2, 2), (1, 3): (2, 2), (2, 0): (1, 1)})
    moved = cells(change(drawn, kind="correlation", view="crop"))
    assert set(zip(*np.nonzero(moved > 50), strict=True)) == {(2, 2), (1, 1)}


@pytest.mark.parametrize(("rows_sum_to_one", "dtype"), [(False, np.float16), (True, np.float32)])
def test_half_precision_and_softmax_by_row_look_the_same(rows_sum_to_one: bool, dtype: type) -> None:
    matrix = np.random.default_rng(0).gamma(0.2, size=(16, 16))
    matrix[:, 4] += 1
    matrix /= matrix.sum(axis=1, keepdims=True)
    pairs = np.stack([matrix, matrix])
    expected = render(maps(correlation=pairs / 16), OverlayOptions(kind="correlation")).astype(int)
    other: NDArray[Any] = (pairs if rows_sum_to_one else pairs / 16).astype(dtype)
    shown = render(maps(correlation=other), OverlayOptions(kind="correlation")).astype(int)
    assert np.abs(shown - expected).max() <= 2


def test_the_spot_is_marked() -> None:
    options = OverlayOptions(kind="correlation", view="crop", opacity=0.0)
    plain = render(maps(), options)
    marked = render(maps(), replace(options, spot=(WIDTH * 0.5, HEIGHT * 0.375)))
    rows, columns = np.nonzero((plain != marked).any(axis=2))
    height, width = plain.shape[:2]
    assert (rows.min() + rows.max()) / 2 == pytest.approx(height * 0.25, abs=2)
    assert (columns.min() + columns.max()) / 2 == pytest.approx(width * 0.5, abs=2)
    assert {(0, 0, 0), (255, 255, 255)} <= {tuple(c) for c in marked[rows, columns].tolist()}


# Refusals


@pytest.mark.parametrize(
    "spot", [(383.0, 500.0), (1153.0, 500.0), (700.0, 255.0), (700.0, 769.0), (5000.0, 5000.0), (-1.0, 500.0)]
)
def test_a_spot_outside_the_crop_box(spot: tuple[float, float]) -> None:
    with pytest.raises(OverlayError, match="x must be 384 to 1152, y 256 to 768"):
        render(maps(), OverlayOptions(kind="correlation", spot=spot))


@pytest.mark.parametrize("spot", [(384.0, 256.0), (1152.0, 768.0)])
def test_the_edges_of_the_crop_box_belong_to_it(spot: tuple[float, float]) -> None:
    assert render(maps(), OverlayOptions(kind="correlation", spot=spot)).any()


@pytest.mark.parametrize("kind", ["lesion", "spatial"])
def test_only_correlation_attention_has_spots(kind: MapKind) -> None:
    with pytest.raises(OverlayError, match="map=correlation"):
        render(maps(), OverlayOptions(kind=kind, spot=(700.0, 500.0)))


@pytest.mark.parametrize("kind", ["spatial", "correlation"])
def test_a_model_without_the_map(kind: MapKind) -> None:
    with pytest.raises(MissingMap, match=f"no {kind} attention"):
        render(maps(spatial=None, correlation=None), OverlayOptions(kind=kind))


# Colours and files


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
