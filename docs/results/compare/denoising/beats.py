"""Beats of an ECG, found as the project finds them (trainer/src/deploy/qrs.rs), after Pan and
Tompkins, A Real-Time QRS Detection Algorithm, 1985."""

import numpy as np
from scipy.signal import fftconvolve

from .records import RATE, centred_mean

TOLERANCE = int(0.075 * RATE)
REFRACTORY = int(0.2 * RATE)
INTEGRATION = int(0.12 * RATE)
BAND = (5.0, 15.0)
SHARE = 0.25


def band_pass(signal):
    """A windowed sinc of a quarter of a second either way."""
    half = int(0.25 * RATE)
    places = np.arange(-half, half + 1)
    low_pass = lambda f: 2 * f / RATE * np.sinc(2 * f / RATE * places)
    taps = (low_pass(BAND[1]) - low_pass(BAND[0])) * np.hamming(2 * half + 1)
    return fftconvolve(signal - signal.mean(), taps, "same")


def largest(values, distance):
    """Places of the largest values within `distance`."""
    inner = values[1:-1]
    places: list[int] = []
    for n in np.flatnonzero((inner > values[:-2]) & (inner >= values[2:])) + 1:
        if places and n - places[-1] < distance:
            if values[n] > values[places[-1]]:
                places[-1] = n
        else:
            places.append(n)
    return places


def beats(signal):
    """Places of beats in a signal of 360 samples a second."""
    filtered = band_pass(signal)
    padded = np.concatenate([filtered[:1], filtered, [0.0]])
    energy = centred_mean(((padded[2:] - padded[:-2]) / 2) ** 2, INTEGRATION // 2)
    peaks = largest(energy, REFRACTORY)
    if not peaks:
        return np.array([], np.int64)
    heights = np.sort(energy[peaks])
    at = lambda share: heights[min(int(len(heights) * share), len(heights) - 1)]
    latest, noise = [at(0.75)] * 8, at(0.1)
    noise = 0.0 if noise > 0.5 * at(0.75) else noise
    found = []
    for place in peaks:
        height = energy[place]
        beat = sum(sorted(latest)[3:5]) / 2
        if height > noise + SHARE * (beat - noise):
            latest = [*latest[1:], height]
            first = max(place - REFRACTORY // 3, 0)
            around = np.abs(filtered[first : place + REFRACTORY // 3 + 1])
            found.append(first + int(around.argmax()))
        else:
            noise += 0.125 * (height - noise)
    return np.array(found)


def f1(found, expected):
    """Harmonic mean of sensitivity and precision; every beat counts once."""
    hits = following = 0
    for beat in expected:
        while following < len(found) and found[following] + TOLERANCE < beat:
            following += 1
        if following < len(found) and found[following] <= beat + TOLERANCE:
            hits += 1
            following += 1
    return 2 * hits / max(len(found) + len(expected), 1)


assert abs(f1([100, 110, 300, 500, 900], [105, 310, 700, 890]) - 2 / 3) < 1e-12
