# SPDX-License-Identifier: Apache-2.0
"""Turns parts into a photograph: a canvas of surface properties, lit and then taken with an imperfect camera.

Parts are painted back to front. A part is a signed distance (its outline, anti-aliased to the pixel), a height over
its own ground (whose slope becomes the surface normal) and a material. Only when all parts are there is the canvas
lit: diffuse and glossy reflection of one key light, fill light from everywhere, a studio's mirror image in metal,
soft shadows. The camera adds blur, vignetting, noise, white balance and the artefacts of JPEG.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from anomalib_scdae.data.synthetic.scene import Area, Look, Pose, Rng, Silhouette
from anomalib_scdae.data.synthetic.shapes import Array, smoothstep

Color = tuple[float, float, float] | Array

# Planes of the canvas.
_ALBEDO, _SLOPE, _SPECULAR, _GLOSS, _METAL, _LIT, _OPEN = slice(0, 3), slice(3, 5), 5, 6, 7, 8, 9
_PLANES = 10
#: Steeper slopes than this (at outlines) would only alias.
_STEEPEST = 3.5


@dataclass(frozen=True)
class Material:
    """How a surface answers light.

    Attributes:
        specular: Strength of the highlight.
        gloss: Sharpness of the highlight (the exponent of Blinn and Phong).
        metal: 0 for a dielectric, 1 for a mirror of the albedo's colour.
    """

    specular: float = 0.05
    gloss: float = 12.0
    metal: float = 0.0


@dataclass(frozen=True)
class Patch:
    """The window of the canvas around a part, with the part's own coordinates.

    Attributes:
        window: Rows and columns of the canvas.
        u: First coordinate of each pixel in the part's frame, scene units, ``(H, W)``.
        v: Second coordinate, as ``u``.
        unit: Scene units per pixel.
    """

    window: tuple[slice, slice]
    u: Array
    v: Array
    unit: float

    def coverage(self, distance: Array) -> Array:
        """Share of each pixel inside the outline with signed distance ``distance``."""
        return np.clip(0.5 - distance / np.float32(self.unit), 0, 1)

    def slope(self, height: Array) -> Array:
        """Gradient of a height along image columns and rows, ``(2, H, W)``, clipped to what can be shown."""
        slope = np.zeros((2, *height.shape), np.float32)
        slope[0, :, 1:-1] = height[:, 2:] - height[:, :-2]
        slope[1, 1:-1] = height[2:] - height[:-2]
        return np.clip(slope / np.float32(2 * self.unit), -_STEEPEST, _STEEPEST)


class Canvas:
    """The surfaces that the camera sees, before light.

    Args:
        size: Width and height of the picture in pixels.
        scene_size: Width and height of the scene in scene units.
        look: Camera and light.

    Attributes:
        surface: Albedo (linear RGB), slope, specular, gloss, metal, key light's visibility and openness to fill light,
            ``(10, H, W)``.
        glow: Light that is added whatever lies below, such as a reflection on film or glass, ``(3, H, W)``.
        unit: Scene units per pixel.
    """

    def __init__(self, size: tuple[int, int], scene_size: tuple[int, int], look: Look) -> None:
        width, height = size
        self.look = look
        self.surface = np.zeros((_PLANES, height, width), np.float32)
        self.surface[[_LIT, _OPEN]] = 1
        self.glow = np.zeros((3, height, width), np.float32)
        self._owner = np.zeros((height, width), np.int16)
        self._parts: dict[str, int] = {}
        scale = look.zoom * width / scene_size[0]
        self.unit = 1 / scale
        cosine, sine = scale * np.cos(look.turn), scale * np.sin(look.turn)
        self._linear = np.array([[cosine, -sine], [sine, cosine]])
        centre = np.array(scene_size) / 2 + np.array(look.shift)
        self._offset = np.array([width / 2, height / 2]) - self._linear @ centre

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the picture."""
        return self._owner.shape

    def project(self, points: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
        """Map ``(N, 2)`` points from scene units to pixels (pixel centres lie at ``+ 0.5``)."""
        return points @ self._linear.T + self._offset

    def unproject(self, points: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
        """Map ``(N, 2)`` points from pixels to scene units."""
        return (points - self._offset) @ np.linalg.inv(self._linear).T

    def patch(self, pose: Pose, half_u: float, half_v: float, margin: float = 4.0) -> Patch:
        """Open the window around a part of the given half sides, with ``margin`` scene units around it."""
        cosine, sine = np.cos(pose.angle), np.sin(pose.angle)
        frame = np.array([[cosine, -sine], [sine, cosine]])
        reach = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * (half_u + margin, half_v + margin)
        corners = self.project(reach @ frame.T + (pose.x, pose.y))
        rows, columns = self.shape
        left, top = np.floor(corners.min(axis=0)).astype(int)
        right, bottom = np.ceil(corners.max(axis=0)).astype(int)
        # Never empty, even for a part out of view: then it is one row or column of uncovered pixels.
        left, top = int(np.clip(left, 0, columns - 3)), int(np.clip(top, 0, rows - 3))
        right, bottom = int(np.clip(right, left + 3, columns)), int(np.clip(bottom, top + 3, rows))
        inverse = np.linalg.inv(self._linear @ frame)
        origin = inverse @ (self.project(np.array([[pose.x, pose.y]]))[0])
        x = np.arange(left, right, dtype=np.float32) + np.float32(0.5)
        y = (np.arange(top, bottom, dtype=np.float32) + np.float32(0.5))[:, None]
        a = inverse.astype(np.float32)
        u = a[0, 0] * x + a[0, 1] * y - np.float32(origin[0])
        v = a[1, 0] * x + a[1, 1] * y - np.float32(origin[1])
        return Patch((slice(top, bottom), slice(left, right)), u, v, self.unit)

    def everywhere(self) -> Patch:
        """Open the whole picture, in scene coordinates."""
        rows, columns = self.shape
        reach = 2 * max(rows, columns) * self.unit
        return self.patch(Pose(0, 0), reach, reach)

    def paint(
        self,
        patch: Patch,
        coverage: Array | float,
        color: Color,
        material: Material,
        height: Array | None = None,
        part: str | None = None,
        tone: Array | float = 1.0,
    ) -> None:
        """Cover what is there with a surface.

        Args:
            patch: Where.
            coverage: Opacity of each pixel, ``(H, W)`` or one value.
            color: Albedo, linear RGB, one colour or ``(H, W, 3)``.
            material: How it answers light.
            height: Height whose slope tilts the surface; flat if left out.
            part: Name under which the pixels can be found again.
            tone: Factor on the colour, ``(H, W)`` or one value.
        """
        coverage = np.asarray(coverage, np.float32)
        flat = (0.0, 0.0) if height is None else patch.slope(height)
        albedo = [channel * tone for channel in (np.moveaxis(color, -1, 0) if isinstance(color, np.ndarray) else color)]
        layers = (*albedo, *flat, material.specular, material.gloss, material.metal, 1, 1)
        # Plane by plane: whole images at a time are what numpy is quick with.
        surface = self._window(patch)
        for plane, layer in enumerate(layers):
            change = np.asarray(layer, np.float32) - surface[plane]
            change *= coverage
            surface[plane] += change
        if part is not None:
            self.claim(patch, np.broadcast_to(coverage, patch.u.shape), part)

    def _window(self, patch: Patch) -> Array:
        """The surface in the patch's window, ``(10, H, W)``; writing to it changes the canvas."""
        rows, columns = patch.window
        return self.surface[:, rows, columns]

    def claim(self, patch: Patch, coverage: Array, part: str) -> None:
        """Let the pixels that are covered by half count as ``part``, painted or transparent."""
        self._owner[patch.window][coverage > 0.5] = self._parts.setdefault(part, len(self._parts) + 1)

    def tint(self, patch: Patch, coverage: Array, color: Color) -> None:
        """Multiply the albedo by a colour where it is covered, as ink, wet or dirt does."""
        surface = self._window(patch)
        for plane, factor in enumerate(np.moveaxis(np.asarray(color, np.float32), -1, 0)):
            surface[plane] *= 1 + coverage * (factor - 1)

    def dye(self, patch: Patch, coverage: Array, color: tuple[float, float, float]) -> None:
        """Replace the albedo by a colour where it is covered; shape and gloss stay."""
        surface = self._window(patch)
        for plane, channel in enumerate(color):
            surface[plane] += coverage * (np.float32(channel) - surface[plane])

    def emboss(self, patch: Patch, height: Array) -> None:
        """Add a height to what is there, as a dent or a wrinkle does."""
        self._window(patch)[_SLOPE] += patch.slope(height)

    def shade(self, patch: Patch, coverage: Array, height: float, softness: float, strength: float = 0.85) -> None:
        """Throw the shadow of a part on what is there, and darken its closest surroundings.

        Args:
            patch: Window with a margin of about ``height + 2 * softness`` around the part.
            coverage: The part's outline.
            height: Height above the ground of what throws the shadow, scene units.
            softness: Width of the penumbra, scene units.
            strength: Share of the key light that is lost.
        """
        x, y, z = self.look.light
        move = -np.array([x, y]) * height / z / patch.unit
        rows, columns = coverage.shape
        transform = np.array([[1, 0, move[0]], [0, 1, move[1]]], np.float32)
        thrown = np.asarray(cv2.warpAffine(coverage, transform, (columns, rows)), np.float32)
        surface = self._window(patch)
        surface[_LIT] *= 1 - np.float32(strength) * _soften(thrown, softness / patch.unit)
        contact = _soften(coverage, 0.8 * softness / patch.unit)
        surface[_OPEN] *= 1 - np.float32(0.55 * strength) * contact

    def darken(self, patch: Patch, openness: Array) -> None:
        """Reduce the fill light, as in a corner or a hole."""
        self._window(patch)[_OPEN] *= openness

    def block_light(self, patch: Patch, share: Array) -> None:
        """Keep a share of the key light away."""
        self._window(patch)[_LIT] *= 1 - share

    def add_glow(self, patch: Patch, light: Array) -> None:
        """Add light ``(H, W)`` or ``(3, H, W)`` on top."""
        rows, columns = patch.window
        self.glow[:, rows, columns] += light

    def silhouette(self, part: str) -> npt.NDArray[np.bool_]:
        """Pixels at which ``part`` is seen, ``(H, W)``; none if it was not painted."""
        return self._owner == self._parts.get(part, -1)

    def mask(self, regions: tuple[Silhouette | Area, ...]) -> npt.NDArray[np.bool_]:
        """Union of regions, ``(H, W)``."""
        mask = np.zeros(self.shape, np.uint8)
        for region in regions:
            if isinstance(region, Silhouette):
                mask |= self.silhouette(region.part).astype(np.uint8)
            else:
                # The polygon's pixels are numbered by their corners, ours by their centres.
                corners = (self.project(np.array(region.corners)) - 0.5) * 16
                cv2.fillPoly(mask, [np.round(corners).astype(np.int32)], 1, shift=4)
        return mask.astype(bool)


def _soften(mask: Array, deviation: float) -> Array:
    """Blur a coverage; what lies outside the window counts as uncovered."""
    blurred = cv2.GaussianBlur(mask, (0, 0), max(deviation, 0.5), borderType=cv2.BORDER_CONSTANT)
    return np.asarray(blurred, np.float32)


def shine(canvas: Canvas) -> Array:
    """Light the canvas.

    Returns:
        Linear RGB, ``(H, W, 3)``; 1 is white in the full light.
    """
    surface, look = canvas.surface, canvas.look
    slope, lit, open_ = surface[_SLOPE], surface[_LIT], surface[_OPEN]
    light = np.array(look.light, np.float32)
    light /= np.linalg.norm(light)
    half = light + np.array([0, 0, 1], np.float32)
    half /= np.linalg.norm(half)
    upright = 1 / np.sqrt(1 + slope[0] * slope[0] + slope[1] * slope[1])
    sideways = slope[0] * light[0] + slope[1] * light[1]
    key = np.float32(look.key / light[2]) * np.maximum((light[2] - sideways) * upright, 0) * lit
    diffuse = key + np.float32(look.fill) * open_ * (np.float32(0.45) + np.float32(0.55) * upright)
    leaning = sideways * (half[0] / light[0])
    toward = np.clip((half[2] - leaning) * upright, 1e-3, 1)
    # A second, weaker lamp on the other side fills the highlights of round parts.
    toward_rim = np.clip((half[2] + np.float32(0.9) * leaning) * upright, 1e-3, 1)
    gloss = np.maximum(surface[_GLOSS], 1)
    highlight = np.exp(gloss * np.log(toward)) * (np.float32(0.25) + np.float32(0.75) * lit)
    highlight += np.float32(0.3) * np.exp(gloss * np.log(toward_rim))
    glossy = surface[_SPECULAR] * highlight
    metal = surface[_METAL]
    if metal.any():
        dimmed = np.float32(0.35) + np.float32(0.65) * open_ * (np.float32(0.4) + np.float32(0.6) * lit)
        diffuse += metal * (_studio(sideways, upright, light) * dimmed - diffuse)
    image = np.empty((*canvas.shape, 3), np.float32)
    for channel in range(3):
        image[..., channel] = diffuse * surface[channel] + glossy + canvas.glow[channel]
    return image


def _studio(sideways: Array, upright: Array, light: Array) -> Array:
    """Brightness of the surroundings that a mirror shows: soft boxes above a dim room, ``(H, W)``.

    Args:
        sideways: The mirror's slope towards the light.
        upright: Vertical component of its normal.
        light: Direction to the light.
    """
    away = -2 * sideways * upright * upright
    up = 2 * upright * upright - 1
    overhead = np.float32(0.5) * smoothstep(up, -0.3, 0.95)
    soft_box = np.float32(1.15) * smoothstep(away + up * light[2], 0.72, 0.97)
    strip = np.float32(0.5) * smoothstep(np.float32(0.35) * up - away, 0.35, 0.8)
    return np.float32(0.07) + overhead + soft_box + strip


def photograph(canvas: Canvas, rng: Rng) -> npt.NDArray[np.uint8]:
    """Take the picture: light, lens, sensor and compression.

    Args:
        canvas: The painted scene.
        rng: Source of the sensor's noise.

    Returns:
        RGB image ``(H, W, 3)``, 8 bits, sRGB.
    """
    look = canvas.look
    rows, columns = canvas.shape
    image = shine(canvas)
    x = np.linspace(-1, 1, columns, dtype=np.float32)
    y = np.linspace(-1, 1, rows, dtype=np.float32)[:, None]
    falloff = 1 - np.float32(look.vignette / 2) * (x * x + y * y)
    falloff *= np.float32(look.exposure) * (1 + np.float32(look.gradient[0]) * x + np.float32(look.gradient[1]) * y)
    red, blue = look.white_balance
    image *= falloff[..., None] * np.array([red, 1, blue], np.float32)
    blurred = cv2.GaussianBlur(image, (0, 0), max(0.3, look.blur * max(rows, columns) / 512))
    image = _tone(np.asarray(blurred, np.float32))
    # Shot noise: brighter pixels are noisier before the tone curve and about equally noisy after it.
    image += np.float32(look.noise) * _grain(image.shape, rng)
    picture = np.clip(image * 255 + 0.5, 0, 255).astype(np.uint8)
    _, compressed = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, look.jpeg_quality])
    return np.asarray(cv2.imdecode(compressed, cv2.IMREAD_COLOR), np.uint8)


def _tone(image: Array) -> Array:
    """Map linear light to sRGB-like values; highlights roll off instead of clipping hard."""
    image = np.maximum(image, 0)
    bright = image > 0.8
    image[bright] = 0.8 + 0.28 * (1 - np.exp(-(image[bright] - 0.8) / np.float32(0.28)))
    return np.sqrt(image) * (np.float32(0.93) + np.float32(0.07) * image)


def _grain(shape: tuple[int, ...], rng: Rng) -> Array:
    """Noise of the sensor, slightly correlated as demosaicing leaves it; unit deviation."""
    grain = rng.standard_normal(shape, dtype=np.float32)
    return cv2.GaussianBlur(grain, (3, 3), 0.45) * np.float32(1.35)
