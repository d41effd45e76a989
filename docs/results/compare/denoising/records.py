"""Recordings, what is added to them, and how the result counts: the protocol of
`sparsecode evaluate --task denoise`."""

from dataclasses import dataclass

import numpy as np

TRAIN = ("100", "106", "109", "118", "122", "200", "219", "230")
VALIDATION = ("115", "228")
TEST = ("103", "119", "214", "223")
NOISES = ("em", "ma", "bw")
RATE = 360
# Samples of the mean that is drift.
DRIFT = 361
# Samples at either end that do not count.
ENDS = 720
# How far gains of recorded noise are from 1 in training, as a natural logarithm.
GAINS = 0.7


def level(snr):
    """Deviation of the noise, for a signal of deviation 1."""
    return 10 ** (-snr / 20)


def centred_mean(values, half):
    """Means of `half` samples before and after each, or of as many as there are."""
    sums = np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])
    places = np.arange(len(values))
    first = np.maximum(places - half, 0)
    end = np.minimum(places + half + 1, len(values))
    return (sums[end] - sums[first]) / (end - first)


def without_drift(values):
    """`x - B(B(x))`."""
    half = DRIFT // 2
    return values - centred_mean(centred_mean(values, half), half)


def standardised(values):
    return (values - values.mean()) / values.std()


def ecg(data, name):
    """A record less its drift, of mean 0 and deviation 1."""
    values = np.load(data / "sensor2" / f"ecg_{name}.npy").astype(np.float64)
    return standardised(without_drift(values))


def annotated(data, name):
    return np.load(data / "sensor2" / f"beats_{name}.npy").astype(np.int64)


class White:
    """White noise of deviation 1."""

    name = "white"

    def whole(self, random, count):
        """Noise for a whole recording."""
        return random.standard_normal(count)

    def stretches(self, random, rows, length):
        """Noise to learn from."""
        return random.standard_normal((rows, length))

    def autocorrelation(self, count):
        return np.eye(1, count)[0]


class Recorded:
    """Electrode motion, muscle and wander: of the same power as recorded, then without drift.
    Training takes the first 60 %, the test the others."""

    name = "recorded"

    def __init__(self, data, is_test):
        self.parts = []
        for name in NOISES:
            values = np.load(data / "sensor2" / f"noise_{name}.npy").astype(np.float64)
            border = len(values) * 3 // 5
            part = values[border:] if is_test else values[:border]
            self.parts.append(without_drift(standardised(part)))
        self.powers = np.array([np.mean(part**2) for part in self.parts])

    def whole(self, random, count):
        """All three from random places, from the beginning where they end; of power 1."""
        total = np.zeros(count)
        for part in self.parts:
            total += part[(random.integers(len(part)) + np.arange(count)) % len(part)]
        total /= np.sqrt(np.mean(total**2))
        assert abs(10 * np.log10(np.mean(total**2))) < 1e-9, "noise of another power"
        return total

    def stretches(self, random, rows, length):
        """From random places, with random signs and gains; of power 1 in the long run."""
        gains = np.exp(random.uniform(-GAINS, GAINS, (rows, len(self.parts))))
        gains /= np.sqrt((gains**2 * self.powers).sum(1, keepdims=True))
        gains *= random.choice((-1, 1), gains.shape)
        total = np.zeros((rows, length))
        for part, own in zip(self.parts, gains.T):
            places = random.integers(len(part) - length + 1, size=(rows, 1))
            total += own[:, None] * part[places + np.arange(length)]
        return total

    def autocorrelation(self, count):
        """Of the sum: what the recordings have in common is chance."""
        sums = sum(autocorrelation(part, count) for part in self.parts)
        return sums / sums[0]


def autocorrelation(values, count):
    """Means of `x[n] x[n + k]` for k = 0, ..., count - 1."""
    size = 1 << (len(values) + count - 1).bit_length()
    power = np.abs(np.fft.rfft(values, size)) ** 2
    return np.fft.irfft(power, size)[:count] / len(values)


@dataclass
class Case:
    """A noisy recording."""

    clean: np.ndarray
    noisy: np.ndarray
    sigma: float
    ends: int

    @classmethod
    def of(cls, clean, noise, snr, ends=ENDS):
        """`noise` has power 1."""
        sigma = clean.std() * level(snr)
        noisy = clean + sigma * noise
        found = 10 * np.log10(clean.var() / np.mean((noisy - clean) ** 2))
        assert abs(found - snr) < 0.15, f"{found} dB, not {snr}"
        return cls(clean, noisy, sigma, ends)

    def _squares(self, output):
        inner = slice(self.ends, len(self.clean) - self.ends)
        return np.mean((output[inner] - self.clean[inner]) ** 2)

    def gain(self, output):
        """By how many dB less noise there is."""
        return 10 * np.log10(self._squares(self.noisy) / self._squares(output))

    def prd(self, output):
        """Root mean square of the error beside that of the signal, in percent."""
        return 100 * np.sqrt(self._squares(output)) / self.clean.std()
