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

from service.attention.maps import (
    RGB,
    WHOLE,
    AttentionMaps,
    BranchChoice,
    Map,
    MapKind,
    MissingMap,
    OverlayError,
    Region,
)

View = Literal["frame", "crop"]
Layer = Literal["all", "map", "picture"]

LONG_SIDE = 768  # pixels of the rendered image
# Spatial attention that acts is nearly even: in bundle 2.1.0 its highest spots have 1.1 to 1.5 times the average.
FULL_SCALE: dict[MapKind, float] = {"lesion": 1.0, "spatial": 1.5, "correlation": 4.0}
EVIDENCE_LEVEL: dict[MapKind, float] = {"lesion": 0.5, "spatial": 1.1, "correlation": 1.5}
NO_EVIDENCE: dict[MapKind, str] = {
    "lesion": "no lesion found: attention stays below 0.5 everywhere",
    "spatial": "no spot stands out: attention stays below 1.1x the average",
    "correlation": "no spot stands out: attention stays below 1.5x the average",
}
MEDIA_TYPE = "image/png"

# Ten stops of viridis, a perceptually uniform colour map (CC0), RGB.
_VIRIDIS = "440154 482878 3e4a89 31688e 26828e 1f9e89 35b779 6dcd59 b4de2c fde725"

RGBA = NDArray[np.uint8]


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
    region = WHOLE if options.view == "frame" else maps.box
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
        _outline(draw, _to_canvas(maps.box, region, canvas.size))
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


def map_values(maps: AttentionMaps, options: OverlayOptions) -> tuple[Map, Region]:
    """The map in its own unit (lesion: 0..1; else multiples of the average), and the region it covers, in fractions.

    Raises as :func:`render` does.
    """
    if options.spot is not None and options.kind != "correlation":
        raise OverlayError("x and y pick a spot of the correlation attention only; add map=correlation")
    if options.kind == "lesion":
        return maps.lesion.astype(np.float32) / 255.0, WHOLE
    chosen = maps.spatial if options.kind == "spatial" else maps.correlation
    if chosen is None or maps.spatial is None:
        raise MissingMap(f"this model has no {options.kind} attention; it has map=lesion")
    if options.branch != "mean":
        return _of_branch(maps, options, chosen, int(options.branch) - 1), maps.region(options.branch)
    first, second = (_of_branch(maps, options, chosen, index) for index in (0, 1))
    if maps.second_saw_whole:  # what it says of the crop
        side_y, side_x = first.shape
        x0, y0, x1, y1 = maps.box
        box = (x0 * side_x, y0 * side_y, x1 * side_x, y1 * side_y)
        second = np.asarray(Image.fromarray(second).resize((side_x, side_y), Image.Resampling.BILINEAR, box=box))
    return np.mean([first, second], axis=0, dtype=np.float32), maps.box


def _of_branch(maps: AttentionMaps, options: OverlayOptions, chosen: Map, index: int) -> Map:
    """One branch's map ``[h, w]`` as multiples of its average; ``chosen`` holds the maps of both."""
    assert maps.spatial is not None
    side_y, side_x = maps.spatial.shape[1:]
    values: Map = chosen[index].astype(np.float32)
    if options.kind == "spatial":
        return np.asarray(np.multiply(values, side_y * side_x, dtype=np.float32))
    # Relative to the average of the whole matrix, so that a spot with weak correlations shows nothing.
    pairs: Map = np.divide(values, max(float(values.mean()), float(np.finfo(np.float32).tiny)), dtype=np.float32)
    if options.spot is None:
        return np.asarray(np.mean(pairs, axis=0, dtype=np.float32).reshape(side_y, side_x))
    _position(maps, options.spot, maps.region(options.branch), side_x, side_y)  # must be in what is drawn
    row = _position(maps, options.spot, maps.region("1" if index == 0 else "2"), side_x, side_y)
    return np.asarray(pairs[row].reshape(side_y, side_x))


def at_cell(maps: AttentionMaps, options: OverlayOptions) -> OverlayOptions:
    """The options with the spot moved to the centre of its cell; all spots of a cell give the same overlay.

    Raises as :func:`render` does.
    """
    map_values(maps, options)
    if options.spot is None or maps.spatial is None:
        return options
    side_y, side_x = maps.spatial.shape[1:]
    x0, y0, x1, y1 = region = maps.region(options.branch)
    row, column = divmod(_position(maps, options.spot, region, side_x, side_y), side_x)
    u, v = x0 + (x1 - x0) * (column + 0.5) / side_x, y0 + (y1 - y0) * (row + 0.5) / side_y
    return replace(options, spot=(u * maps.width, v * maps.height))


def _position(maps: AttentionMaps, spot: tuple[float, float], region: Region, side_x: int, side_y: int) -> int:
    """The row of a correlation attention over ``region`` that belongs to a spot of the image."""
    x0, y0, x1, y1 = region
    u = (spot[0] / maps.width - x0) / (x1 - x0)
    v = (spot[1] / maps.height - y0) / (y1 - y0)
    if not (0.0 <= u <= 1.0 and 0.0 <= v <= 1.0):
        across = f"x must be {round(x0 * maps.width)} to {round(x1 * maps.width)}"
        down = f"y {round(y0 * maps.height)} to {round(y1 * maps.height)}"
        what = "picture" if region == WHOLE else "crop box"
        raise OverlayError(f"the spot is outside the {what}: {across}, {down}")
    return min(int(v * side_y), side_y - 1) * side_x + min(int(u * side_x), side_x - 1)


def _strength(values: Map, kind: MapKind) -> Map:
    """Values to 0..1 on the fixed scale of the map."""
    scaled = values if kind == "lesion" else (values - 1.0) / (FULL_SCALE[kind] - 1.0)
    return np.clip(scaled, 0.0, 1.0).astype(np.float32)


def _cut(maps: AttentionMaps, region: Region) -> Image.Image:
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
    reach: Region,
    region: Region,
    size: tuple[int, int],
) -> Map:
    """Resample a map of the region ``reach`` onto a canvas of the region ``region``; zero elsewhere."""
    x0, y0, x1, y1 = (round(edge) for edge in _to_canvas(reach, region, size))
    if reach == WHOLE and region != reach:
        side_y, side_x = values.shape
        box = (region[0] * side_x, region[1] * side_y, region[2] * side_x, region[3] * side_y)
        return np.asarray(Image.fromarray(values).resize(size, Image.Resampling.BILINEAR, box=box))
    placed = np.zeros((size[1], size[0]), dtype=np.float32)
    scaled = Image.fromarray(values).resize((max(1, x1 - x0), max(1, y1 - y0)), Image.Resampling.BILINEAR)
    target = placed[y0:y1, x0:x1]
    target[:] = np.asarray(scaled)[: target.shape[0], : target.shape[1]]
    return placed


def _to_canvas(box: Region, region: Region, size: tuple[int, int]) -> Region:
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


def _outline(draw: ImageDraw.ImageDraw, box: Region) -> None:
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
