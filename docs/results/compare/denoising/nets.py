"""Networks, in JAX: one for a range of levels. Each sees the signal in units of its noise."""

import hashlib
import json
import time
from dataclasses import asdict, dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from .records import level

# Each step of training sees this many noisy samples, those of windows that overlap counted again.
SAMPLES = 16384
STRETCH = 2048
TAPS = 7
WINDOWS = 16
# One cycle: the rate rises from a share of the highest, and falls to 0.
FIRST_RATE, WARM_UP = 0.04, 0.3
LEVELS = (0.0, 10.0)


@dataclass(frozen=True)
class Convolutional:
    """A temporal ConvNet: Bai, Kolter and Koltun, An Empirical Evaluation of Generic Convolutional
    and Recurrent Networks for Sequence Modeling, 2018, of separable convolutions (Chollet, 2017)
    that look ahead, too. A stem of 7 taps; blocks of 7 taps for each channel, a product with all
    channels, ReLU, and what went in; a head that is added to the input."""

    name: str
    channels: int
    dilations: tuple[int, ...]

    def start(self, random):
        c = self.channels
        normal = lambda *shape: random.standard_normal(shape)
        blocks = [
            {"taps": normal(c, TAPS) / TAPS**0.5, "mix": normal(c, c) / c**0.5, "bias": np.zeros(c)}
            for _ in self.dilations
        ]
        stem = {"taps": normal(c, TAPS) / TAPS**0.5, "bias": np.zeros(c)}
        head = {"mix": 0.1 * normal(c) / c**0.5, "bias": np.zeros(())}
        return {"stem": stem, "blocks": blocks, "head": head}

    def apply(self, weights, noisy):
        """`noisy`: signals, one a row."""
        stem, head = weights["stem"], weights["head"]
        product = lambda mix, hidden: mix @ hidden.reshape(self.channels, -1)
        hidden = convolved(noisy[None], stem["taps"], 1) + stem["bias"][:, None, None]
        for block, dilation in zip(weights["blocks"], self.dilations):
            own = convolved(hidden, block["taps"], dilation)
            mixed = product(block["mix"], own) + block["bias"][:, None]
            hidden = hidden + jax.nn.relu(mixed).reshape(hidden.shape)
        taken = product(head["mix"][None], hidden) + head["bias"]
        return noisy + taken.reshape(noisy.shape)

    @property
    def edge(self):
        """Samples before and after one that its output depends on."""
        return (TAPS // 2) * (1 + sum(self.dilations))

    @property
    def stretches(self):
        return SAMPLES // STRETCH, STRETCH

    @property
    def bytes(self):
        c = self.channels
        return c * TAPS + len(self.dilations) * c * (TAPS + c) + c

    @property
    def products(self):
        return self.bytes


def convolved(signals, taps, dilation):
    """Channels x rows x samples, of 7 taps a channel."""
    reach = TAPS // 2 * dilation
    padded = jnp.pad(signals, ((0, 0), (0, 0), (reach, reach)))
    length = signals.shape[-1]
    pieces = (
        taps[:, k, None, None] * padded[..., k * dilation : k * dilation + length]
        for k in range(TAPS)
    )
    return sum(pieces)


@dataclass(frozen=True)
class Perceptron:
    """Windows that overlap, each through a hidden layer of ReLUs: Rumelhart, Hinton and Williams,
    Learning Representations by Back-Propagating Errors, 1986. Trained through the mean of the
    windows, which has weights, as the project's models are."""

    name: str
    window: int
    hidden: int
    hop: int

    def start(self, random):
        scaled = lambda *shape: random.standard_normal(shape) / shape[1] ** 0.5
        return {
            "first": 2**0.5 * scaled(self.hidden, self.window),
            "first_bias": np.zeros(self.hidden),
            "second": scaled(self.window, self.hidden),
            "second_bias": np.zeros(self.window),
            "log_weights": np.zeros(self.window),
        }

    def apply(self, weights, noisy):
        count = (noisy.shape[1] - self.window) // self.hop + 1
        places = self.hop * np.arange(count)[:, None] + np.arange(self.window)
        hidden = jax.nn.relu(noisy[:, places] @ weights["first"].T + weights["first_bias"])
        output = hidden @ weights["second"].T + weights["second_bias"]
        share = jnp.exp(weights["log_weights"])
        sums = self.added(output * share, noisy.shape[1])
        return sums / self.added(jnp.broadcast_to(share, (1, count, self.window)), noisy.shape[1])

    def added(self, windows, length):
        """Windows added up. What no window holds counts 0 of 1."""
        rows, count, _ = windows.shape
        sums = 0
        for part in range(self.window // self.hop):
            pieces = windows[:, :, part * self.hop : (part + 1) * self.hop]
            pieces = pieces.reshape(rows, count * self.hop)
            before = part * self.hop
            sums += jnp.pad(pieces, ((0, 0), (before, length - before - count * self.hop)))
        return sums

    @property
    def edge(self):
        return self.window - self.hop

    @property
    def stretches(self):
        return SAMPLES // self.window // WINDOWS, self.window + (WINDOWS - 1) * self.hop

    @property
    def bytes(self):
        return 2 * self.window * self.hidden

    @property
    def products(self):
        return self.bytes // self.hop


TCN_S = Convolutional("TCN-S", 20, (1, 2, 4, 8, 16))
TCN_M = Convolutional("TCN-M", 20, (1, 2, 4, 8, 16, 32))
TCN_L = Convolutional("TCN-L", 28, (1, 2, 4, 8, 16, 4))
MLP = Perceptron("MLP 64-128-64", 64, 128, 16)
# As many weights as the dictionary of the project's model with 64 atoms: the windows are its own.
MLP_WHITE = Perceptron("MLP 64-32-64", 64, 32, 16)
MLP_RECORDED = Perceptron("MLP 128-32-128", 128, 32, 32)
assert [net.bytes for net in (TCN_S, TCN_M, TCN_L)] == [2860, 3400, 6104]
assert [2 * net.edge + 1 for net in (TCN_S, TCN_M, TCN_L)] == [193, 385, 217]


def rate(step, steps):
    """The share of the highest learning rate."""
    done = step / steps
    if done < WARM_UP:
        return FIRST_RATE + (1 - FIRST_RATE) * 0.5 * (1 - np.cos(np.pi * done / WARM_UP))
    return 0.5 * (1 + np.cos(np.pi * (done - WARM_UP) / (1 - WARM_UP)))


@partial(jax.jit, static_argnums=0, donate_argnums=(1, 2))
def adam(net, weights, moments, clean, noisy, importance, speed, step):
    """A step of Adam: Kingma and Ba, Adam: A Method for Stochastic Optimization, 2015."""

    def loss(weights):
        error = net.apply(weights, noisy) - clean
        inner = error[:, net.edge : error.shape[1] - net.edge]
        return jnp.mean(importance[:, None] * inner**2)

    value, gradient = jax.value_and_grad(loss)(weights)
    tree = jax.tree_util.tree_map
    first = tree(lambda m, g: 0.9 * m + 0.1 * g, moments[0], gradient)
    second = tree(lambda v, g: 0.999 * v + 0.001 * g * g, moments[1], gradient)
    speed = speed * jnp.sqrt(1 - 0.999**step) / (1 - 0.9**step)
    move = lambda w, m, v: w - speed * m / (jnp.sqrt(v) + 1e-8)
    return tree(move, weights, first, second), (first, second), value


def batch(net, signals, noise, unit, random):
    """Clean stretches and noisy ones in units of their noise, and what each counts: the square
    error in units of the noise, times sigma, as for the project's models."""
    rows, length = net.stretches
    clean = np.empty((rows, length))
    counts = np.array([len(signal) - length + 1 for signal in signals])
    for row, which in enumerate(random.choice(len(signals), rows, p=counts / counts.sum())):
        first = random.integers(counts[which])
        clean[row] = signals[which][first : first + length]
    sigmas = unit * level(random.uniform(*LEVELS, rows))
    clean /= sigmas[:, None]
    noisy = clean + noise.stretches(random, rows, length)
    single = lambda values: values.astype(np.float32)
    return single(clean), single(noisy), single(sigmas)


def train(net, signals, noise, unit, seed, steps, highest=1e-2):
    """`unit`: the deviation against which levels are stated."""
    random = np.random.default_rng([seed, 1])
    weights = jax.tree_util.tree_map(jnp.float32, net.start(random))
    zeros = lambda: jax.tree_util.tree_map(jnp.zeros_like, weights)
    moments = (zeros(), zeros())
    for step in range(steps):
        clean, noisy, importance = batch(net, signals, noise, unit, random)
        speed = np.float32(highest * rate(step, steps))
        weights, moments, value = adam(
            net, weights, moments, clean, noisy, importance, speed, np.float32(step + 1)
        )
    assert np.isfinite(value), f"{net.name} diverges"
    return jax.tree_util.tree_map(np.asarray, weights)


def trained(net, signals, noise, unit, seed, steps, cache, place):
    """Weights, from the cache where they are there."""
    settings = [asdict(net), noise.name, seed, steps, place, float(unit)]
    settings += [hashlib.sha256(np.ascontiguousarray(s)).hexdigest() for s in signals]
    name = hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:16]
    structure = jax.tree_util.tree_structure(net.start(np.random.default_rng(0)))
    path = cache / f"{net.name.replace(' ', '-')}-{noise.name}-{name}.npz" if cache else None
    if path and path.exists():
        with np.load(path) as file:
            return structure.unflatten([file[f"arr_{i}"] for i in range(len(file.files))])
    begin = time.perf_counter()
    weights = train(net, signals, noise, unit, seed, steps)
    seconds = time.perf_counter() - begin
    print(f"{place}, {noise.name}: {net.name} trained in {seconds:.0f} s", flush=True)
    if path:
        cache.mkdir(parents=True, exist_ok=True)
        np.savez(path, *jax.tree_util.tree_leaves(weights))
    return weights


@partial(jax.jit, static_argnums=0)
def applied(net, weights, noisy):
    return net.apply(weights, noisy)


def denoised(net, weights, noisy, sigma):
    """A whole signal. What the last window does not reach is left as it is."""
    scaled = np.asarray(noisy / sigma, np.float32)
    rest = 0 if isinstance(net, Convolutional) else (len(noisy) - net.window) % net.hop
    output = noisy.copy()
    end = len(noisy) - rest
    output[:end] = sigma * np.asarray(applied(net, weights, scaled[None, :end]))[0]
    return output
