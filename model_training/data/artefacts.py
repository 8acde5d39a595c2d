"""Changes of a dermoscopy image that leave the lesion unchanged: orientation, compression, light, objects on the skin.

Every change maps a frame ``[F, F, 3]`` uint8 and a random generator to a frame of the same size. Lengths are shares of
the frame's side, so they do not depend on its resolution.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from model_training.arrays import Frames, Indices

Frame = NDArray[np.uint8]  # [F, F, 3]
Change = Callable[[Frame, np.random.Generator], Frame]

# Lines are drawn on an image this many times larger, then reduced, because Pillow does not antialias.
_OVERSAMPLING = 4

_HAIR_COLOURS = ((24, 18, 16), (52, 36, 26), (96, 70, 48))
_INK_COLOURS = ((86, 60, 140), (40, 60, 150), (60, 130, 90))
_PATCH_COLOURS = ((220, 90, 60), (60, 140, 200), (230, 200, 70), (90, 170, 110))


def turned(quarters: int, *, mirrored: bool) -> Change:
    """Mirror left to right if ``mirrored``, then turn counter-clockwise by quarter turns."""

    def change(frame: Frame, _: np.random.Generator) -> Frame:
        return np.ascontiguousarray(np.rot90(frame[:, ::-1] if mirrored else frame, quarters))

    return change


def compressed(file_format: str, quality: int) -> Change:
    """Encode in that format and quality, and decode again."""

    def change(frame: Frame, _: np.random.Generator) -> Frame:
        stored = io.BytesIO()
        Image.fromarray(frame).save(stored, file_format, quality=quality)
        return np.asarray(Image.open(stored).convert("RGB"))

    return change


def resized(factor: float) -> Change:
    """Resize to ``factor`` times the resolution, and back."""

    def change(frame: Frame, _: np.random.Generator) -> Frame:
        side = round(frame.shape[0] * factor)
        small = Image.fromarray(frame).resize((side, side), Image.Resampling.BILINEAR)
        return np.asarray(small.resize((frame.shape[1], frame.shape[0]), Image.Resampling.BILINEAR))

    return change


def lit(factor: float) -> Change:
    """Multiply the values by ``factor``, clipped at white."""
    return tinted((factor, factor, factor))


def tinted(factors: tuple[float, float, float]) -> Change:
    """Multiply red, green and blue by their factors, clipped at white."""

    def change(frame: Frame, _: np.random.Generator) -> Frame:
        return np.rint(np.clip(frame * np.array(factors), 0, 255)).astype(np.uint8)

    return change


def blurred(radius: float) -> Change:
    """Gaussian blur with that standard deviation, as a share of the side."""

    def change(frame: Frame, _: np.random.Generator) -> Frame:
        return np.asarray(Image.fromarray(frame).filter(ImageFilter.GaussianBlur(radius * frame.shape[0])))

    return change


def moved(*, degrees: float = 0.0, zoom: float = 1.0, shift: tuple[float, float] = (0.0, 0.0)) -> Change:
    """Turn about the centre, counter-clockwise, enlarge and shift (x, y); beyond the border the image is mirrored."""

    def change(frame: Frame, _: np.random.Generator) -> Frame:
        side = frame.shape[0]
        pad = side // 4
        padded = np.pad(frame, ((pad, pad), (pad, pad), (0, 0)), mode="reflect")
        cos, sin = math.cos(math.radians(degrees)) / zoom, -math.sin(math.radians(degrees)) / zoom
        middle = side / 2
        x0 = middle + pad - cos * middle - sin * middle - shift[0] * side
        y0 = middle + pad + sin * middle - cos * middle - shift[1] * side
        moved = Image.fromarray(padded).transform(
            (side, side), Image.Transform.AFFINE, (cos, sin, x0, -sin, cos, y0), Image.Resampling.BICUBIC
        )
        return np.asarray(moved)

    return change


def black_corners(radius: float) -> Change:
    """The round field of a dermatoscope, with that radius in half sides: black outside of it."""
    return lambda frame, _: _shaded(frame, lambda r: (r < radius).astype(np.float64))


def ring(radius: float) -> Change:
    """The dark rim of a dermatoscope's contact plate, with that radius in half sides."""
    return lambda frame, _: _shaded(frame, lambda r: np.where(np.abs(r - radius) < 0.025, 0.25, 1.0))


def soft_vignette(strength: float) -> Change:
    """Darken towards the corners, by that share."""
    return lambda frame, _: _shaded(frame, lambda r: 1 - strength * np.clip((r - 0.5) / 0.9, 0, 1) ** 2)


def ruler(frame: Frame, _: np.random.Generator) -> Frame:
    """A scale along the lower border: a tick every fortieth of the side, each fifth one longer."""

    def draw(pen: ImageDraw.ImageDraw, side: int) -> None:
        for tick in range(1, 40):
            length = 0.06 if tick % 5 == 0 else 0.03
            x = tick / 40 * side
            pen.line([(x, side * (1 - length)), (x, side)], fill=(20, 20, 24, 230), width=max(1, side // 250))

    return _drawn(frame, draw)


def hairs(num: int) -> Change:
    """``num`` dark, curved hairs across the frame."""

    def change(frame: Frame, random: np.random.Generator) -> Frame:
        def draw(pen: ImageDraw.ImageDraw, side: int) -> None:
            for _ in range(num):
                width = max(1, round(side * random.uniform(0.004, 0.008)))
                colour = (*_HAIR_COLOURS[random.integers(len(_HAIR_COLOURS))], 225)
                pen.line(_curve(random, side), fill=colour, width=width, joint="curve")

        return _drawn(frame, draw)

    return change


def ink(frame: Frame, random: np.random.Generator) -> Frame:
    """A surgeon's pen: two strokes near the border."""

    def draw(pen: ImageDraw.ImageDraw, side: int) -> None:
        colour = (*_INK_COLOURS[random.integers(len(_INK_COLOURS))], 190)
        for _ in range(2):
            angle = random.uniform(0, 2 * math.pi)
            x, y = (side * (0.5 + 0.42 * f(angle)) for f in (math.cos, math.sin))
            dx, dy = random.uniform(-0.12, 0.12, 2) * side
            pen.line([(x - dx, y - dy), (x + dx, y + dy)], fill=colour, width=max(1, side // 40))

    return _drawn(frame, draw)


def colour_patch(frame: Frame, random: np.random.Generator) -> Frame:
    """A round coloured sticker that reaches into the frame from its border."""

    def draw(pen: ImageDraw.ImageDraw, side: int) -> None:
        colour = (*_PATCH_COLOURS[random.integers(len(_PATCH_COLOURS))], 255)
        angle, radius = random.uniform(0, 2 * math.pi), 0.2 * side
        x, y = (side * (0.5 + 0.62 * f(angle)) for f in (math.cos, math.sin))
        pen.ellipse([x - radius, y - radius, x + radius, y + radius], fill=colour)

    return _drawn(frame, draw)


# All turns and mirror images of a square, without the identity.
TURNS: Mapping[str, Change] = MappingProxyType(
    {
        f"turned {quarters * 90} degrees{', mirrored' if mirrored else ''}": turned(quarters, mirrored=mirrored)
        for mirrored in (False, True)
        for quarters in range(4)
        if mirrored or quarters
    }
)

# Other changes of the file, not of the scene.
STORAGE: Mapping[str, Change] = MappingProxyType(
    {
        "JPEG 95": compressed("JPEG", 95),
        "JPEG 60": compressed("JPEG", 60),
        "WebP 80": compressed("WEBP", 80),
        "half the resolution": resized(0.5),
        "twice the resolution": resized(2.0),
    }
)

ARTEFACTS: Mapping[str, Change] = MappingProxyType(
    {
        "light -5 %": lit(0.95),
        "light +5 %": lit(1.05),
        "warmer by 4 %": tinted((1.04, 1.0, 0.96)),
        "cooler by 4 %": tinted((0.96, 1.0, 1.04)),
        "shifted by 2 of 256 pixels": moved(shift=(2 / 256, 2 / 256)),
        "enlarged by 5 %": moved(zoom=1.05),
        "turned by 10 degrees": moved(degrees=10),
        "black corners": black_corners(1.04),
        "ring": ring(0.97),
        "soft vignette": soft_vignette(0.55),
        "ruler": ruler,
        "ink": ink,
        "4 hairs": hairs(4),
        "12 hairs": hairs(12),
        "colour patch": colour_patch,
    }
)


def random_artefacts(frame: Frame, random: np.random.Generator) -> Frame:
    """Some of these changes with random strengths, in their natural order; for training."""

    def happens(share: float) -> bool:
        return bool(random.random() < share)

    changes: list[Change] = []
    if happens(0.3):
        changes.append(hairs(int(random.integers(1, 15))))
    changes += [mark for mark in (ruler, ink, colour_patch) if happens(0.08)]
    if happens(0.3):
        views = black_corners, ring, soft_vignette
        kind = int(random.integers(len(views)))
        changes.append(views[kind](random.uniform(0.3, 0.7) if kind == 2 else random.uniform(0.85, 1.2)))
    if happens(0.3):
        changes.append(resized(random.uniform(0.7, 2.0)))
    if happens(0.6):
        changes.append(compressed("WEBP" if happens(0.4) else "JPEG", int(random.integers(50, 96))))
    for change in changes:
        frame = change(frame, random)
    return frame


def with_artefacts(frames: Frames, indices: Indices, share: float, *, seed: tuple[int, ...]) -> Frames:
    """A copy of the chosen frames, ``share`` of which have random artefacts.

    These depend only on the seed and the frame's index, so every process draws the same.
    """
    chosen = frames[indices]
    for place, index in enumerate(indices.tolist() if share else ()):
        random = np.random.default_rng((*seed, index))
        if random.random() < share:
            chosen[place] = random_artefacts(chosen[place], random)
    return chosen


def changed_frames(frames: Frames, change: Change, *, jpeg_quality: int | None) -> Frames:
    """Every frame after ``change``, compressed with ``jpeg_quality``; random numbers depend only on its index."""
    changed = []
    for place, frame in enumerate(frames):
        random = np.random.default_rng(place)
        after = change(np.asarray(frame), random)
        changed.append(after if jpeg_quality is None else compressed("JPEG", jpeg_quality)(after, random))
    return np.stack(changed)


def _shaded(frame: Frame, shade: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> Frame:
    """Multiply by a function of the distance from the centre, in half sides."""
    place = (np.arange(frame.shape[0]) + 0.5) / frame.shape[0] * 2 - 1
    distance = np.hypot(place[:, None], place[None, :])
    return np.rint(frame * shade(distance)[:, :, None]).astype(np.uint8)


def _drawn(frame: Frame, draw: Callable[[ImageDraw.ImageDraw, int], None]) -> Frame:
    side = frame.shape[0] * _OVERSAMPLING
    layer = Image.new("RGBA", (side, side))
    draw(ImageDraw.Draw(layer), side)
    image = Image.fromarray(frame).convert("RGBA")
    # Alpha-weighted, so that the transparent black between the strokes does not darken their edges.
    image.alpha_composite(layer.resize(image.size, Image.Resampling.BOX))
    return np.asarray(image.convert("RGB"))


def _curve(random: np.random.Generator, side: int) -> list[tuple[float, float]]:
    """A quadratic curve through the frame, from one border to another."""
    angle = random.uniform(0, 2 * math.pi)
    middle = np.array([0.5, 0.5]) + random.uniform(-0.35, 0.35, 2)
    along = np.array([math.cos(angle), math.sin(angle)]) * 0.8
    across = np.array([-along[1], along[0]]) * random.uniform(-0.3, 0.3)
    t = np.linspace(-1, 1, 24)[:, None]
    points = (middle + t * along + (t**2) * across) * side
    return [(float(x), float(y)) for x, y in points]
