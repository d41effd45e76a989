#!/usr/bin/env python3
"""Training in PyTorch, operation by operation: an iteration of FISTA and a step, with the paper's hyperparameters for MNIST.

    python3 -m pip install numpy torch
    python3 docs/results/compare/torch_bench.py --data MNIST.npy [--graphs] [--compile] [--json FILE]
    python3 docs/results/compare/torch_bench.py --check FOLDER

Computes what docs/method.md says, in f32 with TF32 off. Gradients of inference are closed forms, with everything that is constant for a
batch computed once; those of the weights are autograd's. Only the test whether all samples have converged waits for the device.
Nothing is logged and no energy is computed.

--data: preprocessed samples, one a row (N x 784, N >= 250); without it they are made up. --graphs adds a loop without stopping captured
as one CUDA graph, --compile an iteration by torch.compile; each must find the codes of the plain loop.

--check: FOLDER holds `inputs.npy` (n x 784), `start.npy` (n x l; the encoder's code, if `encoder_weight` is not 0), `dictionary.npy`
(784 x l), `codes.npy` (n x l), and `settings.json` with `lambda`, `step_size`, `max_iterations`, `tolerance`, `encoder_weight`,
`variance_weight` and `variance_threshold`. For a one-hidden decoder `hidden.npy` (m x l), `hidden_bias.npy` and `output.npy` (784 x m)
take the place of `dictionary.npy`. Ends with status 1 unless FISTA from that start finds these codes within 1e-4 of the largest. A
one-hidden decoder without hinge is ill-conditioned: f32 and f64 are some 1e-3 apart after 200 iterations, 1e-5 after 50.
"""

import argparse
import json
import os
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path

# Before the library starts: no TF32 in any product, whatever PyTorch's own settings are.
os.environ["NVIDIA_TF32_OVERRIDE"] = "0"

import numpy as np  # noqa: E402
import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402

INPUT_DIM, CODE_DIM, HIDDEN_DIM, BATCH_SIZE = 784, 128, 1024, 250
LISTA_ITERATIONS, MAX_ITERATIONS, TOLERANCE = 3, 200, 1e-3
BATCHES_PER_EPOCH = 220
SEED = 31
# Largest difference of codes that count as the same, relative to the largest code.
SAME = 1e-4


@dataclass(frozen=True)
class Variant:
    """A row of the paper's Table 3, and what prevents collapse."""

    lambda_: float
    step_size: float
    decoder_rate: float
    # None: no encoder.
    encoder_rate: float | None
    encoder_weight: float = 0.0
    variance_weight: float = 0.0
    variance_threshold: float = 0.5
    one_hidden: bool = False
    unit_columns: bool = False
    hidden_bias_decay: float = 1e-3


VARIANTS = {
    "vdl": Variant(0.02, 0.5, 3e-4, 1e-4, encoder_weight=5, variance_weight=10),
    "sdl": Variant(0.005, 1.0, 1e-3, 3e-4, encoder_weight=1, unit_columns=True),
    "do": Variant(0.005, 1.0, 1e-3, None, unit_columns=True),
    "vdl-nl": Variant(0.02, 0.5, 3e-4, 1e-4, encoder_weight=100, variance_weight=10, one_hidden=True),
    "sdl-nl": Variant(0.01, 1.0, 1e-3, 1e-4, encoder_weight=1, one_hidden=True, unit_columns=True),
}


class Energy:
    """What FISTA minimises for one batch. `encoder_codes` are the E(y) of the γ term.

    `settings` are a `Variant`, or what else has its λ, η, γ, β and T.
    """

    def __init__(self, decoder, inputs, encoder_codes, settings):
        self.decoder, self.inputs = decoder, inputs
        self.threshold = settings.variance_threshold
        rate = settings.step_size
        self.rate = 2 * rate / inputs.shape[1]
        code_dim = decoder["dictionary" if "dictionary" in decoder else "hidden"].shape[1]
        self.hinge = 2 * rate * settings.variance_weight / (len(inputs) - 1)
        self.pull = 2 * rate * settings.encoder_weight / code_dim
        # What of η (∇f(x) + λ) does not depend on x: all of it, but for x G, is in the terms of a linear decoder.
        self.constant = torch.full((len(inputs), code_dim), rate * settings.lambda_, device=inputs.device)
        if self.pull > 0:
            self.constant.sub_(encoder_codes, alpha=self.pull)
        if "dictionary" in decoder:
            dictionary = decoder["dictionary"]
            self.constant.addmm_(inputs, dictionary, alpha=-self.rate)
            self.gram = self.rate * (dictionary.T @ dictionary)
            self.gram.diagonal().add_(self.pull)

    def step(self, point):
        """η (∇f(x) + λ)."""
        if "dictionary" in self.decoder:
            step = torch.addmm(self.constant, point, self.gram)
        else:
            hidden, output = self.decoder["hidden"], self.decoder["output"]
            units = torch.relu(F.linear(point, hidden, self.decoder["hidden_bias"]))
            error = F.linear(units, output) - self.inputs
            delta = torch.where(units > 0, error @ output, 0)
            step = torch.addmm(torch.add(self.constant, point, alpha=self.pull), delta, hidden, alpha=self.rate)
        if self.hinge > 0:
            variance, mean = torch.var_mean(point, dim=0)
            # (T − sd)_+/sd, 0 where sd = 0.
            factor = torch.relu(self.threshold * torch.rsqrt(variance) - 1).nan_to_num(posinf=0)
            step = torch.addcmul(step, point - mean, factor, value=-self.hinge)
        return step


def iterate(energy, codes, point, weight, moving, tolerance):
    """One iteration: the next codes and momentum point, and the samples still moving; without `moving` all are, and no test is made."""
    step = energy.step(point)
    if moving is not None:
        step = torch.where(moving, step, 0)
    found = torch.relu(point - step)
    if moving is not None:
        norm = lambda rows: torch.linalg.vector_norm(rows, dim=1, keepdim=True)
        moving = norm(found - codes) >= tolerance * norm(codes)
    return found, torch.lerp(codes, found, weight), moving


def momentum_weights(iterations, device):
    """1 + (t_k − 1)/t_{k+1}, how far from z_{k−1} past z_k the next point lies: on the device, one number each."""
    weights, t = [], 1.0
    for _ in range(iterations):
        following = (1 + (1 + 4 * t * t) ** 0.5) / 2
        weights.append(1 + (t - 1) / following)
        t = following
    # Each in its own memory: compiled kernels want their arguments aligned.
    return [torch.tensor(weight, device=device) for weight in weights]


def infer(energy, start, weights, tolerance, iterate=iterate):
    """FISTA from `start`, with the sliding form of stopping, or with a tolerance of 0 to the end: the codes and the iterations made."""
    # Two tensors, as in all other iterations: compiled code would be made again for one.
    codes, point = start, start.clone()
    moving = torch.ones(len(start), 1, dtype=torch.bool, device=start.device) if tolerance > 0 else None
    iterations = 0
    for weight in weights:
        codes, point, moving = iterate(energy, codes, point, weight, moving, tolerance)
        iterations += 1
        # Here the host waits for the device.
        if moving is not None and not moving.any():
            break
    return codes, iterations


class Learner:
    """A model, its optimiser, and the batches that it learns from."""

    def __init__(self, variant, data, iterate):
        self.variant, self.data, self.iterate = variant, data, iterate
        self.device = data.device
        self.generator = torch.Generator().manual_seed(SEED)
        self.weights = momentum_weights(MAX_ITERATIONS, self.device)
        self.encoder = {}
        if variant.encoder_rate is not None:
            self.encoder = {
                "input": self.uniform(CODE_DIM, INPUT_DIM),
                "bias": self.zeros(CODE_DIM),
                "recurrent": self.uniform(CODE_DIM, CODE_DIM),
            }
        if variant.one_hidden:
            self.decoder = {
                "hidden": self.uniform(HIDDEN_DIM, CODE_DIM),
                "hidden_bias": self.zeros(HIDDEN_DIM),
                "output": self.uniform(INPUT_DIM, HIDDEN_DIM),
            }
        else:
            self.decoder = {"dictionary": self.uniform(INPUT_DIM, CODE_DIM)}
        self.normalize_columns()
        matrices = [value for name, value in self.decoder.items() if name != "hidden_bias"]
        groups = [{"params": matrices, "lr": variant.decoder_rate}]
        if variant.one_hidden:
            decay = variant.hidden_bias_decay
            groups.append({"params": [self.decoder["hidden_bias"]], "lr": variant.decoder_rate, "weight_decay": decay})
        if self.encoder:
            groups.append({"params": list(self.encoder.values()), "lr": variant.encoder_rate})
        # Its weight decay is the L2 form. One optimiser: what it does to a parameter depends on that parameter alone.
        self.adam = torch.optim.Adam(groups, fused=True)
        self.batches = self.shuffled()

    def uniform(self, rows, columns):
        """±1/√fan_in."""
        values = torch.rand(rows, columns, generator=self.generator) * 2 - 1
        return (values / columns**0.5).to(self.device).requires_grad_()

    def zeros(self, count):
        return torch.zeros(count, device=self.device, requires_grad=True)

    def shuffled(self):
        """Batches for ever, in a new order each epoch; the last incomplete one is dropped."""
        while True:
            order = torch.randperm(len(self.data), generator=self.generator).to(self.device)
            yield from (self.data[rows] for rows in order.split(BATCH_SIZE) if len(rows) == BATCH_SIZE)

    @torch.no_grad()
    def normalize_columns(self):
        if self.variant.unit_columns:
            for name, value in self.decoder.items():
                if name != "hidden_bias":
                    value.copy_(F.normalize(value, dim=0))

    def encode(self, inputs):
        """E(y), or nothing without an encoder."""
        if not self.encoder:
            return None
        drive = F.linear(inputs, self.encoder["input"], self.encoder["bias"])
        codes = torch.relu(drive)
        for _ in range(LISTA_ITERATIONS):
            codes = torch.relu(torch.addmm(drive, codes, self.encoder["recurrent"].T))
        return codes

    def decode(self, codes):
        if "dictionary" in self.decoder:
            return F.linear(codes, self.decoder["dictionary"])
        units = torch.relu(F.linear(codes, self.decoder["hidden"], self.decoder["hidden_bias"]))
        return F.linear(units, self.decoder["output"])

    @torch.no_grad()
    def problem(self, inputs, encoder_codes):
        """The energy of a batch, and where FISTA starts."""
        start = encoder_codes
        if start is None:
            start = torch.zeros(len(inputs), CODE_DIM, device=self.device)
        return Energy(self.decoder, inputs, start.detach(), self.variant), start.detach()

    def step(self):
        """Learns from the next batch; the iterations that inference took."""
        inputs = next(self.batches)
        encoder_codes = self.encode(inputs)
        with torch.no_grad():
            energy, start = self.problem(inputs, encoder_codes)
            codes, iterations = infer(energy, start, self.weights, TOLERANCE, self.iterate)
        # Decoder and encoder share no parameter: one pass backward for both losses.
        loss = F.mse_loss(self.decode(codes), inputs)
        if encoder_codes is not None:
            loss = loss + F.mse_loss(encoder_codes, codes)
        self.adam.zero_grad()
        loss.backward()
        self.adam.step()
        self.normalize_columns()
        return iterations


def synchronize(device):
    if device.type == "cuda":
        torch.cuda.synchronize()


def measure(run, repetitions, device, warm_up=3):
    """Median and shortest time of `run` in milliseconds, from an idle device to an idle device."""
    for _ in range(warm_up):
        run()
    times = []
    for _ in range(repetitions):
        synchronize(device)
        begin = time.perf_counter()
        run()
        synchronize(device)
        times.append((time.perf_counter() - begin) * 1e3)
    return {"median": statistics.median(times), "best": min(times)}


def captured(run):
    """`run` as a CUDA graph: a function that replays it, and gives the tensor that `run` gave."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        run()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = run()

    def replay():
        graph.replay()
        return result

    return replay


def difference(codes, expected):
    """The largest difference, relative to the largest of `expected`."""
    return ((codes - expected).abs().max() / expected.abs().max().clamp(min=1e-30)).item()


@torch.no_grad()
def measure_inference(learner, form, repetitions):
    """Milliseconds of an iteration, and of what is computed once for a batch, on the learner's next batch."""
    inputs = next(learner.batches)
    encoder_codes = learner.encode(inputs)
    energy, start = learner.problem(inputs, encoder_codes)
    loop = lambda tolerance, iterate: infer(energy, start, learner.weights, tolerance, iterate)
    scaled = lambda times, count: {name: value / count for name, value in times.items()}
    timed = lambda run: measure(run, repetitions, learner.device)

    to_the_end = lambda: loop(0.0, learner.iterate)[0]
    if form == "graph":
        to_the_end = captured(to_the_end)
        found, expected = to_the_end(), loop(0.0, iterate)[0]
    else:
        # Few iterations: a one-hidden decoder makes much of other roundings in many.
        found, expected = (infer(energy, start, learner.weights[:20], 0.0, each)[0] for each in (learner.iterate, iterate))
    error = difference(found, expected)
    if not error <= SAME:
        sys.exit(f"{form}: codes differ from the plain loop's by {error:.1e}")
    row = {"iteration_no_stopping_ms": scaled(timed(to_the_end), MAX_ITERATIONS), "difference": error}
    if form != "graph":
        row["iterations"] = loop(TOLERANCE, learner.iterate)[1]
        row["iteration_stopping_ms"] = scaled(timed(lambda: loop(TOLERANCE, learner.iterate)), row["iterations"])
        row["once_ms"] = timed(lambda: learner.problem(inputs, encoder_codes))
    return row


def measure_variant(name, form, data, batches, repetitions):
    # Variants of an iteration are compiled anew, instead of counting as recompilations.
    torch.compiler.reset()
    compiled = torch.compile(iterate, fullgraph=True, dynamic=False) if form == "compiled" else iterate
    learner = Learner(VARIANTS[name], data, compiled)
    for _ in range(batches):
        learner.step()
    row = {"variant": name, "form": form} | measure_inference(learner, form, repetitions)
    if form != "graph":
        iterations = []
        row["step_ms"] = measure(lambda: iterations.append(learner.step()), repetitions, data.device)
        row["step_iterations"] = statistics.mean(iterations[-repetitions:])
        row["epoch_seconds"] = BATCHES_PER_EPOCH * row["step_ms"]["median"] / 1e3
    return row


def made_up(count):
    """Digits of a sort: a few blurred spots on 28 x 28 pixels, most of which stay dark."""
    generator = torch.Generator().manual_seed(SEED)
    axis = torch.arange(28.0)
    centres = torch.rand(64, 2, generator=generator) * 18 + 5
    along = lambda centre: torch.exp(-(((axis - centre[:, None]) / 2) ** 2))
    spots = (along(centres[:, 0])[:, :, None] * along(centres[:, 1])[:, None, :]).flatten(1)
    amounts = torch.rand(count, 64, generator=generator)
    amounts *= torch.rand(count, 64, generator=generator) < 0.1
    return ((amounts @ spots).clamp(max=1) - 0.1307) / 0.3081


def product_error(device):
    """How far an f32 product on the device is from f64's: 3e-7, with TF32 3e-4."""
    generator = torch.Generator().manual_seed(SEED)
    a, b = (torch.randn(*shape, generator=generator) for shape in ((BATCH_SIZE, INPUT_DIM), (INPUT_DIM, CODE_DIM)))
    exact = a.double() @ b.double()
    return (((a.to(device) @ b.to(device)).cpu() - exact).norm() / exact.norm()).item()


def check(folder, device):
    """Whether FISTA finds the codes in `folder`."""
    read = lambda name: torch.from_numpy(np.load(folder / f"{name}.npy").astype(np.float32)).to(device)
    settings = json.loads((folder / "settings.json").read_text())
    settings["lambda_"] = settings["lambda"]
    one_hidden = ("hidden", "hidden_bias", "output")
    names = one_hidden if (folder / "hidden.npy").exists() else ("dictionary",)
    start = read("start")
    with torch.no_grad():
        energy = Energy({name: read(name) for name in names}, read("inputs"), start, argparse.Namespace(**settings))
        weights = momentum_weights(settings["max_iterations"], device)
        codes, iterations = infer(energy, start, weights, settings["tolerance"])
        expected = read("codes")
    if codes.shape != expected.shape:
        sys.exit(f"{folder}: codes are {tuple(expected.shape)}, expected {tuple(codes.shape)}")
    error = difference(codes, expected)
    print(f"{folder}: {iterations} iterations, codes differ by {error:.1e} of the largest")
    # NaN is not the same.
    return error <= SAME


def print_head():
    print(
        "| model | form | once for a batch, ms | iteration without stopping, ms | with, ms | iterations | step, ms | iterations "
        f"| {BATCHES_PER_EPOCH} steps, s |"
    )
    print("|---|---|---:|---:|---:|---:|---:|---:|---:|", flush=True)


def print_row(row):
    both = lambda name, digits: "/".join(f"{row[name][of]:.{digits}f}" for of in ("median", "best")) if name in row else ""
    number = lambda name, digits: f"{row[name]:.{digits}f}" if name in row else ""
    cells = [row["variant"], row["form"], both("once_ms", 3), both("iteration_no_stopping_ms", 4), both("iteration_stopping_ms", 4)]
    cells += [number("iterations", 0), both("step_ms", 2), number("step_iterations", 1), number("epoch_seconds", 2)]
    print(f"| {' | '.join(cells)} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variant", default=",".join(VARIANTS), help=f"some of {','.join(VARIANTS)}")
    parser.add_argument("--data", type=Path, help="preprocessed samples, .npy")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--batches", type=int, default=60, help="training steps before anything is measured")
    parser.add_argument("--repetitions", type=int, default=20)
    parser.add_argument("--graphs", action="store_true", help="also a loop captured as a CUDA graph")
    parser.add_argument("--compile", action="store_true", help="also an iteration by torch.compile")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--check", type=Path, metavar="FOLDER", help="codes to find again; measures nothing")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    names = arguments.variant.split(",")
    if unknown := set(names) - set(VARIANTS):
        parser.error(f"no variant {', '.join(unknown)}")
    if arguments.graphs and device.type != "cuda":
        parser.error("--graphs needs CUDA")

    torch.set_float32_matmul_precision("highest")
    error = product_error(device)
    if not error < 1e-5:
        sys.exit(f"products are not f32's: {error:.1e}")
    if arguments.check:
        sys.exit(0 if check(arguments.check, device) else 1)

    data = torch.from_numpy(np.load(arguments.data).astype(np.float32)) if arguments.data else made_up(15000)
    if data.ndim != 2 or data.shape[1] != INPUT_DIM or len(data) < BATCH_SIZE:
        parser.error(f"--data: at least {BATCH_SIZE} rows of {INPUT_DIM} numbers")
    data = data.to(device)
    forms = ["plain"] + ["graph"] * arguments.graphs + ["compiled"] * arguments.compile
    on_gpu = device.type == "cuda"
    report = {
        "torch": torch.__version__,
        "cuda": torch.version.cuda if on_gpu else None,
        "device": torch.cuda.get_device_name(device) if on_gpu else f"CPU, {torch.get_num_threads()} threads",
        "matmul_precision": torch.get_float32_matmul_precision(),
        "tf32": False,
        "product_error": error,
        "data": arguments.data.name if arguments.data else "made up",
        "batches": arguments.batches,
        "repetitions": arguments.repetitions,
        "rows": [],
    }
    print(f"PyTorch {report['torch']}, {report['device']}, f32 without TF32, {report['data']}, batches of {BATCH_SIZE}; median/best.\n")
    print_head()
    for name in names:
        for form in forms:
            row = measure_variant(name, form, data, arguments.batches, arguments.repetitions)
            print_row(row)
            report["rows"].append(row)
            if arguments.json:
                arguments.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
