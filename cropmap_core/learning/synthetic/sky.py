"""Seeded clouds, their shadows, and the scene classification (SCL) that sees most of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cropmap_core.scenes.scl import SCL_CLASSES

Pixels = NDArray[np.float32]

CLOUD_REFLECTANCE = {
    "B02": 0.52, "B03": 0.51, "B04": 0.52, "B05": 0.54, "B06": 0.56,
    "B07": 0.57, "B08": 0.57, "B8A": 0.58, "B11": 0.40, "B12": 0.29,
}  # fmt: skip
"""Of an opaque cumulus, Sentinel-2 L2A, unitless."""
SHADE = {
    "B02": 0.62, "B03": 0.52, "B04": 0.47, "B05": 0.43, "B06": 0.39,
    "B07": 0.38, "B08": 0.38, "B8A": 0.37, "B11": 0.33, "B12": 0.32,
}  # fmt: skip
"""Share of the reflectance that a full shadow leaves: the sky lights blue more than infrared."""

CLOUDY, DENSE, CIRRUS, SHADED = 0.12, 0.5, 0.045, 0.35
"""Opacities from which a pixel counts as cloud, high-probability cloud, cirrus, or shadow."""
_LATITUDE = 50.8
_HALO = 200  # pixels of 20 m beyond the scene, from which clouds throw their shadows in


@dataclass(frozen=True)
class Sky:
    """What lies between the ground and the sensor in one scene, per 20 m pixel, shape (H, W)."""

    cloud: Pixels
    """Opacity 0-1."""
    cirrus: Pixels
    """Opacity 0-1 of thin high cloud."""
    shadow: Pixels
    """Depth 0-1."""

    @property
    def cloudy(self) -> NDArray[np.bool_]:
        """Where a perfect classification would say cloud."""
        return (self.cloud > CLOUDY) | (self.cirrus > CIRRUS)

    def veil(self, ground: Pixels, band: str) -> Pixels:
        """What the sensor sees of a band.

        Args:
            ground: Surface reflectance, shape (H, W) at 20 m or (2 H, 2 W) at 10 m.
            band: Its name.

        Returns:
            Reflectance under shadow, cirrus and cloud, of the same shape.
        """
        shadow, cloud = self.shadow, self.cloud + (1 - self.cloud) * self.cirrus
        if ground.shape != cloud.shape:
            shadow, cloud = _twice(shadow), _twice(cloud)
        lit = ground * (1 - (1 - SHADE[band]) * shadow)
        brightness = CLOUD_REFLECTANCE[band] * (0.75 + 0.45 * cloud)
        return np.asarray(lit + cloud * (brightness - lit), np.float32)

    def classify(
        self, ground_classes: NDArray[np.uint8], missed: float, random: np.random.Generator
    ) -> NDArray[np.uint8]:
        """The SCL: clouds and shadows over the classes of the ground, with a share of the cloud missed.

        Args:
            ground_classes: SCL classes of the clear ground, shape (H, W).
            missed: Share of the cloudy pixels that keep the class of the ground, 0-1; whole patches, thin ones first.
            random: Decides which.

        Returns:
            uint8, shape (H, W).
        """
        scl = ground_classes.copy()
        scl[self.shadow > SHADED] = SCL_CLASSES["cloud_shadow"]
        scl[self.cirrus > CIRRUS] = SCL_CLASSES["cirrus"]
        scl[self.cloud > CLOUDY] = SCL_CLASSES["cloud_medium"]
        scl[self.cloud > DENSE] = SCL_CLASSES["cloud_high"]
        patches = ndimage.gaussian_filter(random.normal(size=scl.shape), 3)
        score = patches / patches.std() - 1.5 * self.cloud
        overlooked = round(missed * int(self.cloudy.sum()))
        if overlooked:
            order = np.argsort(np.where(self.cloudy, -score, np.inf), axis=None)[:overlooked]
            scl.flat[order] = ground_classes.flat[order]
        return scl


def make_sky(shape: tuple[int, int], sensed: datetime, cover: float, random: np.random.Generator) -> Sky:
    """Draws the clouds of one scene.

    Args:
        shape: Rows and columns of 20 m pixels.
        sensed: Sensing time in UTC; gives the sun, and so where the shadows fall.
        cover: Share of the sky, beyond the scene too, that is cloud; 0 gives a clear sky.
        random: Decides the rest.

    Returns:
        The sky.
    """
    wide = (shape[0] + 2 * _HALO, shape[1] + 2 * _HALO)
    inside = (slice(_HALO, _HALO + shape[0]), slice(_HALO, _HALO + shape[1]))
    clear = np.zeros(shape, np.float32)
    if cover <= 0:
        return Sky(clear, clear, clear)
    billows = _fractal(wide, random.uniform(1.35, 1.7), random)
    edge = float(np.quantile(billows, 1 - cover))
    cloud = np.clip((billows - edge) / random.uniform(0.25, 0.6), 0, 1)
    rows, cols = _shadow_offset(sensed, random.uniform(600, 1500))
    shadow = ndimage.gaussian_filter(ndimage.shift(cloud, (rows, cols), order=1), 0.7)
    cirrus = clear
    if random.random() < 0.3:
        cirrus = np.clip(0.09 * _fractal(wide, 2.2, random)[inside], 0, 0.22)
    return Sky(cloud[inside].astype(np.float32), cirrus.astype(np.float32), shadow[inside].astype(np.float32))


def _shadow_offset(sensed: datetime, cloud_height_m: float) -> tuple[float, float]:
    """How far a shadow lies from its cloud, in 20 m pixels (rows southward, columns eastward)."""
    day = sensed.timetuple().tm_yday
    declination = np.deg2rad(23.44) * np.sin(2 * np.pi * (day - 81) / 365)
    hour = np.deg2rad(15 * (sensed.hour + sensed.minute / 60 + 0.2 - 12))  # 3 degrees east of Greenwich
    latitude = np.deg2rad(_LATITUDE)
    elevation = np.arcsin(
        np.sin(latitude) * np.sin(declination) + np.cos(latitude) * np.cos(declination) * np.cos(hour)
    )
    east = -np.cos(declination) * np.sin(hour)
    north = np.cos(latitude) * np.sin(declination) - np.sin(latitude) * np.cos(declination) * np.cos(hour)
    reach = cloud_height_m / np.tan(max(float(elevation), np.deg2rad(12))) / 20
    away = np.hypot(east, north)
    return float(north / away * reach), float(-east / away * reach)


def _fractal(shape: tuple[int, int], roughness: float, random: np.random.Generator) -> Pixels:
    """Gaussian noise with a power-law spectrum, mean 0, standard deviation 1."""
    spectrum = np.fft.rfft2(random.normal(size=shape))
    frequency = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])[None])
    frequency[0, 0] = np.inf
    noise = np.fft.irfft2(spectrum / frequency**roughness, shape)
    return np.asarray((noise - noise.mean()) / noise.std(), np.float32)


def _twice(pixels: Pixels) -> Pixels:
    """20 m pixels on the 10 m grid, smoothly."""
    return np.asarray(ndimage.zoom(pixels, 2, order=1, grid_mode=True, mode="nearest"))
