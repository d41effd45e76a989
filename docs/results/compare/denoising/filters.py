"""Methods without a network. Each takes a noisy signal and the deviation of its noise."""

from functools import partial

import numpy as np
import pywt
from scipy.linalg import solve_toeplitz
from scipy.signal import fftconvolve

SHIFTS = 8
DEPTHS = range(3, 11)
WAVELET = "sym8"


def wiener_taps(signal, noise, count):
    """The linear-phase filter of least mean square error: N. Wiener, Extrapolation, Interpolation
    and Smoothing of Stationary Time Series, 1949. `signal` and `noise` are autocorrelations."""
    places = np.abs(np.arange(count) - count // 2)
    return solve_toeplitz(signal[:count] + noise[:count], signal[places])


def filtered(taps, noisy, sigma):
    del sigma
    return fftconvolve(noisy, taps, "same")


def sure_threshold(details):
    """The threshold, in units of the noise, of the least unbiased estimate of the risk: Donoho and
    Johnstone, Adapting to Unknown Smoothness via Wavelet Shrinkage, 1995."""
    squares = np.sort(details**2)
    count = len(squares)
    kept = np.arange(count - 1, -1, -1)
    risk = count - 2 * np.arange(1, count + 1) + np.cumsum(squares) + kept * squares
    return min(np.sqrt(squares[risk.argmin()]), np.sqrt(2 * np.log(count)))


def shrunk(details, rule):
    """Details in units of the noise, soft by SURE, or hard by a share of the universal threshold:
    Donoho and Johnstone, Ideal Spatial Adaptation by Wavelet Shrinkage, 1994."""
    if rule == "sure":
        return pywt.threshold(details, sure_threshold(details), "soft")
    return pywt.threshold(details, rule * np.sqrt(2 * np.log(len(details))), "hard")


def wavelet(noisy, sigma, shape, depth, rule):
    """`shape`: deviation of the noise at each depth, beside that of the samples."""
    approximation, *bands = pywt.wavedec(noisy, WAVELET, level=depth)
    for index, details in enumerate(bands):
        unit = sigma * shape[depth - index - 1]
        bands[index] = unit * shrunk(details / unit, rule)
    return pywt.waverec([approximation, *bands], WAVELET)[: len(noisy)]


def cycle_spun(noisy, sigma, **settings):
    """The mean over shifts: Coifman and Donoho, Translation-Invariant De-Noising, 1995."""
    outputs = (
        np.roll(wavelet(np.roll(noisy, shift), sigma, **settings), -shift)
        for shift in range(SHIFTS)
    )
    return sum(outputs) / SHIFTS


def noise_shape(noise, deepest=max(DEPTHS)):
    """The deviation of noise of power 1 at each depth."""
    return [band.std() for band in pywt.wavedec(noise, WAVELET, level=deepest)[:0:-1]]


def total_variation(noisy, sigma, weight, iterations=150):
    """min 1/2 |x - y|^2 + weight sigma |Dx|_1 by a fast gradient on its dual: Rudin, Osher and
    Fatemi, Nonlinear Total Variation Based Noise Removal Algorithms, 1992; Beck and Teboulle, Fast
    Gradient-Based Algorithms for Constrained Total Variation Image Denoising, 2009."""
    bound = weight * sigma
    dual = ahead = np.zeros(len(noisy) - 1)
    momentum = 1.0
    for _ in range(iterations):
        signal = noisy + np.diff(ahead, prepend=0, append=0)
        following = np.clip(ahead + 0.25 * np.diff(signal), -bound, bound)
        next_momentum = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        ahead = following + (momentum - 1) / next_momentum * (following - dual)
        dual, momentum = following, next_momentum
    return noisy + np.diff(dual, prepend=0, append=0)


def residual_guard(noisy, output, sigma, constant, length):
    """Gives back what was taken off beyond the noise, so that clean input passes; as the project's
    models do, by the mean of `length` samples around each."""
    taken = noisy - output
    power = np.convolve(taken**2, np.full(length, 1 / length), "same")
    return output + np.maximum(0, 1 - constant * sigma**2 / np.maximum(power, 1e-30)) * taken


def best(method, settings, cases):
    """The settings of a method that gain most, in the mean over cases."""
    means = []
    for each in settings:
        run = partial(method, **each)
        means.append(np.mean([case.gain(run(case.noisy, case.sigma)) for case in cases]))
    return partial(method, **settings[int(np.argmax(means))]), settings[int(np.argmax(means))]


def best_wavelet(cases, shape):
    """The depth of SURE."""
    return best(wavelet, [{"shape": shape, "depth": d, "rule": "sure"} for d in DEPTHS], cases)


def best_cycle_spun(cases, shape):
    """The depth, and soft by SURE or hard."""
    _, found = best_wavelet(cases, shape)
    depths = {4, 6, found["depth"], max(DEPTHS)}
    rules = ("sure", 0.6, 0.8, 1.0)
    settings = [{"shape": shape, "depth": d, "rule": rule} for d in depths for rule in rules]
    return best(cycle_spun, settings, cases)


def best_total_variation(cases):
    weights = np.geomspace(0.02, 60.0, 20).tolist()
    found, settings = best(total_variation, [{"weight": w} for w in weights], cases)
    near = [settings["weight"] * factor for factor in (0.75, 0.87, 1.0, 1.15, 1.33)]
    return best(total_variation, [{"weight": w} for w in near], cases)
