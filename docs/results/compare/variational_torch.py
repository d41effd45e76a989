#!/usr/bin/env python3
"""An iteration of variational sparse coding in PyTorch, operation by operation, on one thread.

    python3 -m pip install numpy torch
    python3 docs/results/compare/variational_torch.py [--size P] [--iterations N] [--released]

Computes what docs/method.md says of thresholded Laplacian codes, as the released code orders it:
all samples have a graph, losses choose the best of each input, autograd goes back from them, and
the dictionary takes its step. P inputs and atoms, a trunk of 2P, 4P, 2P and P, 100 inputs, 20
samples of each. The dictionary's step is one product; --released forms all outer products before
they are summed, as the released code does. Prints the shortest and the median time of an iteration
for fixed and for learned thresholds.
"""

import argparse
import statistics
import time

import numpy as np
import torch
import torch.nn.functional as F

BATCH, SAMPLES, SPREAD, LEVEL, WEIGHT, GAMMA_WEIGHT = 100, 20, 0.1, 0.25, 0.01, 0.1


class Encoder(torch.nn.Module):
    def __init__(self, size, is_learned):
        super().__init__()
        widths = [size, 2 * size, 4 * size, 2 * size, size]
        layers = []
        for inputs, outputs in zip(widths, widths[1:]):
            layers += [torch.nn.Linear(inputs, outputs), torch.nn.ReLU()]
        self.trunk = torch.nn.Sequential(*layers)
        names = ("shift", "scale") + ("shape", "rate") * is_learned
        self.heads = torch.nn.ModuleDict({name: torch.nn.Linear(size, size) for name in names})

    def forward(self, x):
        feature = self.trunk(x)
        return {name: head(feature) for name, head in self.heads.items()}


def loss(heads, x, dictionary, is_learned):
    """The mean loss of the best samples, their codes, and their residuals."""
    shift, scale = (heads[name][:, None].expand(-1, SAMPLES, -1) for name in ("shift", "scale"))
    u = torch.rand_like(scale) - 0.5
    noise = -torch.exp(scale) * torch.sign(u) * torch.log((1 - 2 * u.abs()).clamp(min=1e-6))
    b = torch.exp(heads["scale"])
    kl = heads["shift"].abs() / SPREAD + np.log(SPREAD) - heads["scale"] - 1
    kl = kl + b / SPREAD * torch.exp(-heads["shift"].abs() / b)
    threshold = torch.tensor(LEVEL)
    if is_learned:
        shape, rate = (heads[name].exp().clamp(1e-6, 1e6) for name in ("shape", "rate"))
        posterior = torch.distributions.Gamma(shape, rate)
        prior = torch.distributions.Gamma(torch.tensor(3.0), torch.tensor(3.0 / LEVEL))
        threshold = posterior.rsample((SAMPLES,)).transpose(0, 1)
        kl = kl + GAMMA_WEIGHT * torch.distributions.kl_divergence(posterior, prior)
    dense = shift + noise
    kept = noise.detach()
    beyond = kept.sign() * F.relu(kept.abs() - threshold)
    sparse = torch.where(beyond != 0, shift + beyond, torch.zeros_like(beyond))
    code = dense + sparse - dense.detach()
    error = ((x[:, None] - code @ dictionary.T) ** 2).mean(2)
    losses = error + WEIGHT * kl.sum(1)[:, None]
    best = losses.argmin(1)
    rows = torch.arange(len(x))
    codes = code[rows, best].detach()
    return losses[rows, best].mean(), codes, x - codes @ dictionary.T


def iterations(size, count, is_learned, is_released):
    torch.manual_seed(31)
    encoder = Encoder(size, is_learned)
    optimizer = torch.optim.SGD(encoder.parameters(), lr=1e-3, momentum=0.9, nesterov=True)
    dictionary = F.normalize(torch.randn(size, size, dtype=torch.float64), dim=0)
    data = torch.randn(8000, size)
    times = []
    for step in range(count):
        x = data[(step * BATCH) % len(data) :][:BATCH]
        begin = time.perf_counter()
        optimizer.zero_grad()
        matrix = dictionary.float()
        value, codes, residual = loss(encoder(x), x, matrix, is_learned)
        value.backward()
        optimizer.step()
        if is_released:
            # Of every sample, with weights that are 0 but for the best.
            codes = torch.zeros(SAMPLES, *codes.shape).index_copy(0, torch.tensor([0]), codes[None])
            residual = residual.expand(SAMPLES, -1, -1)
            step_ = torch.stack([r.T[:, None] * c.T[None] for r, c in zip(residual, codes)])
            step_ = step_.sum(0).mean(2)
        else:
            step_ = residual.T @ codes / BATCH
        dictionary += 0.05 * (step_.double() - 2e-4 * dictionary)
        times.append(1e3 * (time.perf_counter() - begin))
    assert torch.isfinite(value), "diverges"
    return times


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--iterations", type=int, default=100)
    parser.add_argument("--released", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for is_learned in (False, True):
        times = iterations(
            arguments.size, arguments.iterations, is_learned, arguments.released
        )
        name = "learned" if is_learned else "fixed"
        print(
            f"{name}: {min(times):.1f} ms at least, median {statistics.median(times):.1f} ms"
            f" (PyTorch {torch.__version__})",
            flush=True,
        )


if __name__ == "__main__":
    main()
