"""Draw attention maps, alone or over the image; pure functions on arrays, and a PNG encoder.

The colour scales are fixed. Lesion area attention: 0 to 1. Spatial attention is a multiple of the average spot,
correlation attention a multiple of the average pair of spots; both from 1x to their full scale. The tint's opacity
grows with the value, so skin with little attention stays visible. A map that stays below its evidence level is not
drawn; the overlay says so instead.
"""

from __future__ import annotations

import io
import textwrap
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

MapKind = Literal["lesion", "spatial", "correlation"]
BranchChoice = Literal["1", "2", "mean"]
View = Literal["frame", "crop"]
Layer = Literal["all", "map", "picture"]

LONG_SIDE = 768  # pixels of the rendered image
# Attention that influences the answer is nearly uniform over the image: in bundle 2.1.0, nine of ten images have a
# highest spot of 1.13 to 1.48 times the average in the spatial attention of both branches, 1.31 to 1.97 times in the
# correlation attention.
FULL_SCALE: dict[MapKind, float] = {"spatial": 1.5, "correlation": 2.5}
EVIDENCE_LEVEL: dict[MapKind, float] = {"lesion": 0.5, "spatial": 1.1, "correlation": 1.2}
NO_EVIDENCE: dict[MapKind, str] = {
    "lesion": "no lesion found: attention stays below 0.5 everywhere",
    "spatial": "no spot stands out: attention stays below 1.1x the average",
    "correlation": "no spot stands out: attention stays below 1.2x the average",
}
MEDIA_TYPE = "image/png"

# Ten stops of viridis, a perceptually uniform colour map (CC0), RGB.
_VIRIDIS = "440154 482878 3e4a89 31688e 26828e 1f9e89 35b779 6dcd59 b4de2c fde725"

RGB = NDArray[np.uint8]
RGBA = NDArray[np.uint8]
Map = NDArray[np.float32]


class OverlayError(ValueError):
    """The request cannot be drawn; the text says what to change."""


class MissingMap(OverlayError):  # noqa: N818 - named for what is missing
    """The model has no such map."""


@dataclass(frozen=True)
class AttentionMaps:
    """The arrays that a prediction's overlays are drawn from; shapes as in the bundle's outputs."""

    frame: RGB  # [F, F, 3]
    width: int  # of the upright image, pixels
    height: int
    crop_box: NDArray[np.float32]  # [4], fractions
    lesion: NDArray[np.uint8]  # [S, S], over the whole image
    spatial: Map | None  # [2, h, w], over the crop
    correlation: Map | None  # [2, h*w, h*w], over the crop


@dataclass(frozen=True)
class OverlayOptions:
    """How to draw; ``spot`` is in pixels of the upright image and picks a row of the correlation attention."""

    kind: MapKind = "lesion"
    branch: BranchChoice = "mean"
    view: View = "frame"
    layer: Layer = "all"
    opacity: float = 0.6
    spot: tuple[float, float] | None = None


def render(maps: AttentionMaps, options: OverlayOptions) -> RGB | RGBA:
    """Draw one map over the image, ``[height, width, 3]`` with a long side of ``LONG_SIDE`` pixels.

    Layer ``map`` is the tint alone, ``[height, width, 4]``, transparent elsewhere; layer ``picture`` is the network's
    input without a map.

    Raises :class:`MissingMap` when the model has no such map, :class:`OverlayError` for a spot outside the crop box.
    """
    values, reach = map_values(maps, options)
    region = (0.0, 0.0, 1.0, 1.0) if options.view == "frame" else _box(maps)
    canvas = _cut(maps, region)
    if options.layer == "picture":
        return np.asarray(canvas)
    evident = is_evident(values, options.kind)
    # Interpolate before clipping to the scale: interpolating clipped plateaus gives them stepped edges.
    strength = _strength(_place(values, reach, region, canvas.size), options.kind)
    colours, alpha = _tint(strength if evident else np.zeros_like(strength), options)
    if options.layer == "map":
        return np.dstack([colours, (alpha * 255).round()]).astype(np.uint8)
    mixed = np.asarray(canvas).astype(np.float32) * (1 - alpha[:, :, None]) + colours * alpha[:, :, None]
    canvas = Image.fromarray(mixed.round().astype(np.uint8))
    draw = ImageDraw.Draw(canvas)
    if options.view == "frame":
        _outline(draw, _to_canvas(_box(maps), region, canvas.size))
    if options.spot is not None:
        fraction = (options.spot[0] / maps.width, options.spot[1] / maps.height)
        _mark(draw, _to_canvas((*fraction, *fraction), region, canvas.size)[:2])
    _caption(canvas, options, evident=evident)
    return np.asarray(canvas)


def is_evident(values: Map, kind: MapKind) -> bool:
    """Whether a map in its own unit reaches its evidence level anywhere; otherwise it is not drawn."""
    return bool(values.max() >= EVIDENCE_LEVEL[kind])


def encode(picture: RGB | RGBA, comment: str | None = None) -> bytes:
    """Encode a rendered overlay as PNG: pixels, and no metadata but ``comment``."""
    buffer, metadata = io.BytesIO(), PngInfo()
    if comment is not None:
        metadata.add_text("Comment", comment)
    Image.fromarray(picture).save(buffer, "PNG", compress_level=6, pnginfo=metadata)
    return buffer.getvalue()


@cache
def colour_table() -> RGB:
    """256 colours ``[256, 3]``, from low to high."""
    stops = np.array([list(bytes.fromhex(stop)) for stop in _VIRIDIS.split()], dtype=np.float64)
    positions = np.linspace(0, len(stops) - 1, 256)
    channels = [np.interp(positions, np.arange(len(stops)), stops[:, c]) for c in range(3)]
    return np.stack(channels, axis=1).round().astype(np.uint8)


def _box(maps: AttentionMaps) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = (float(edge) for edge in maps.crop_box)
    return x0, y0, x1, y1


def map_values(maps: AttentionMaps, options: OverlayOptions) -> tuple[Map, tuple[float, float, float, float]]:
    """The map in its own unit (lesion: 0..1; else multiples of the average), and the region it covers, in fractions.

    Raises as :func:`render` does.
    """
    if options.spot is not None and options.kind != "correlation":
        raise OverlayError("x and y pick a spot of the correlation attention only; add map=correlation")
    if options.kind == "lesion":
        return maps.lesion.astype(np.float32) / 255.0, (0.0, 0.0, 1.0, 1.0)
    chosen = maps.spatial if options.kind == "spatial" else maps.correlation
    if chosen is None or maps.spatial is None:
        raise MissingMap(f"this model has no {options.kind} attention; it has map=lesion")
    # Only the crop's values are here, also of a branch that saw more, so each branch is divided by their own mean.
    # Correlations are divided by the mean of the whole matrix, so that a spot with weak ones stays blank.
    means_2 = chosen.astype(np.float32).mean(axis=(1, 2), keepdims=True)
    branches = chosen.astype(np.float32) / np.maximum(means_2, np.finfo(np.float32).tiny)
    pairs = branches.mean(axis=0) if options.branch == "mean" else branches[int(options.branch) - 1]
    if options.kind == "spatial":
        return pairs, _box(maps)
    side_y, side_x = maps.spatial.shape[1:]
    attended = pairs.mean(axis=0) if options.spot is None else pairs[_position(maps, options.spot, side_x, side_y)]
    return attended.reshape(side_y, side_x), _box(maps)


def at_cell(maps: AttentionMaps, options: OverlayOptions) -> OverlayOptions:
    """The options with the spot moved to the centre of its cell; all spots of a cell give the same overlay.

    Raises as :func:`render` does.
    """
    map_values(maps, options)
    if options.spot is None or maps.spatial is None:
        return options
    side_y, side_x = maps.spatial.shape[1:]
    row, column = divmod(_position(maps, options.spot, side_x, side_y), side_x)
    x0, y0, x1, y1 = _box(maps)
    u, v = x0 + (x1 - x0) * (column + 0.5) / side_x, y0 + (y1 - y0) * (row + 0.5) / side_y
    return replace(options, spot=(u * maps.width, v * maps.height))


def _position(maps: AttentionMaps, spot: tuple[float, float], side_x: int, side_y: int) -> int:
    """The row of the correlation attention that belongs to a spot of the image."""
    x0, y0, x1, y1 = _box(maps)
    u = (spot[0] / maps.width - x0) / (x1 - x0)
    v = (spot[1] / maps.height - y0) / (y1 - y0)
    if not (0.0 <= u <= 1.0 and 0.0 <= v <= 1.0):
        across = f"x must be {round(x0 * maps.width)} to {round(x1 * maps.width)}"
        down = f"y {round(y0 * maps.height)} to {round(y1 * maps.height)}"
        raise OverlayError(f"the spot is outside the crop box: {across}, {down}")
    return min(int(v * side_y), side_y - 1) * side_x + min(int(u * side_x), side_x - 1)


def _strength(values: Map, kind: MapKind) -> Map:
    """Values to 0..1 on the fixed scale of the map."""
    scaled = values if kind == "lesion" else (values - 1.0) / (FULL_SCALE[kind] - 1.0)
    return np.clip(scaled, 0.0, 1.0).astype(np.float32)


def _cut(maps: AttentionMaps, region: tuple[float, float, float, float]) -> Image.Image:
    """The region of the frame, with the aspect ratio of the upright image."""
    x0, y0, x1, y1 = region
    width, height = max((x1 - x0) * maps.width, 1.0), max((y1 - y0) * maps.height, 1.0)
    scale = LONG_SIDE / max(width, height)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    side = maps.frame.shape[0]
    box = (x0 * side, y0 * side, x1 * side, y1 * side)
    return Image.fromarray(maps.frame).resize(size, Image.Resampling.BICUBIC, box=box)


def _place(
    values: Map,
    reach: tuple[float, float, float, float],
    region: tuple[float, float, float, float],
    size: tuple[int, int],
) -> Map:
    """Resample a map of the region ``reach`` onto a canvas of the region ``region``; zero elsewhere."""
    x0, y0, x1, y1 = (round(edge) for edge in _to_canvas(reach, region, size))
    if reach == (0.0, 0.0, 1.0, 1.0) and region != reach:
        side_y, side_x = values.shape
        box = (region[0] * side_x, region[1] * side_y, region[2] * side_x, region[3] * side_y)
        return np.asarray(Image.fromarray(values).resize(size, Image.Resampling.BILINEAR, box=box))
    placed = np.zeros((size[1], size[0]), dtype=np.float32)
    scaled = Image.fromarray(values).resize((max(1, x1 - x0), max(1, y1 - y0)), Image.Resampling.BILINEAR)
    target = placed[y0:y1, x0:x1]
    target[:] = np.asarray(scaled)[: target.shape[0], : target.shape[1]]
    return placed


def _to_canvas(
    box: tuple[float, float, float, float], region: tuple[float, float, float, float], size: tuple[int, int]
) -> tuple[float, float, float, float]:
    """Fractions of the image to pixels of a canvas of the region ``region``."""
    scale_x, scale_y = size[0] / (region[2] - region[0]), size[1] / (region[3] - region[1])
    return (
        (box[0] - region[0]) * scale_x,
        (box[1] - region[1]) * scale_y,
        (box[2] - region[0]) * scale_x,
        (box[3] - region[1]) * scale_y,
    )


def _tint(strength: Map, options: OverlayOptions) -> tuple[Map, Map]:
    """Colours ``[height, width, 3]``, 0 to 255, and opacities ``[height, width]``, 0 to 1."""
    colours = colour_table()[(strength * 255).round().astype(np.uint8)].astype(np.float32)
    # The square root makes weak attention visible; zero stays transparent.
    return colours, np.sqrt(strength) * np.float32(options.opacity)


def _outline(draw: ImageDraw.ImageDraw, box: tuple[float, float, float, float]) -> None:
    """Two tones, visible on light and dark skin."""
    x0, y0, x1, y1 = (round(edge) for edge in box)
    for inset, colour, width in ((0, "black", 4), (1, "white", 2)):
        left, top = x0 + inset, y0 + inset
        # A box too small for both lines shows one.
        corners = (left, top, max(left, x1 - 1 - inset), max(top, y1 - 1 - inset))
        draw.rectangle(corners, outline=colour, width=width)


def _mark(draw: ImageDraw.ImageDraw, centre: tuple[float, float]) -> None:
    x, y = centre
    for radius, colour, width in ((9, "black", 4), (8, "white", 2)):
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), outline=colour, width=width)


def _caption(canvas: Image.Image, options: OverlayOptions, *, evident: bool) -> None:
    """Write the map's name, and its colour scale or why nothing is drawn."""
    draw = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(15)
    name = "lesion area attention" if options.kind == "lesion" else f"{options.kind} attention"
    if options.kind != "lesion":
        name += ", both branches" if options.branch == "mean" else f", branch {options.branch}"
        name += ", times the average"
    columns = max(8, (canvas.width - 20) // 8)
    lines = textwrap.wrap(name, columns) + ([] if evident else textwrap.wrap(NO_EVIDENCE[options.kind], columns))
    bottom = canvas.height - (28 if evident else 10)

    def write(left: float, lowest: float, text: str) -> None:
        at = (left, lowest)
        draw.multiline_text(at, text, "white", font, "ld", 4, stroke_width=2, stroke_fill="black")

    write(10, bottom, "\n".join(lines))
    if evident:
        low, high = ("0", "1") if options.kind == "lesion" else ("1x", f"{FULL_SCALE[options.kind]:g}x")
        left = 16 + int(draw.textlength(low, font))
        length = max(1, min(128, canvas.width - 2 * left))
        bar = Image.fromarray(colour_table()[None]).resize((length, 10))
        canvas.paste(bar, (left, canvas.height - 20))
        write(10, canvas.height - 6, low)
        write(left + length + 6, canvas.height - 6, high)
