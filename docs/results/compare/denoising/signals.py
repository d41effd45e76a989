"""ECGs of other patients, and signals of one patient or machine: every method on the same noise."""

import time
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from . import beats, filters, nets, records
from .records import Case, level

ECG_LEVELS = (-5, 0, 5, 10, 20, 30)
OLD_LEVELS = (0, 5, 10)
BEATS_AT = (-5, 0)
TAPS = (33, 129, 257)
# Constant and length of the residual guard, as the project's models have it.
GUARDS = {"white": (1.3, 64), "recorded": (3.0, 128)}
CONVOLUTIONAL = (nets.TCN_S, nets.TCN_M, nets.TCN_L)
PERCEPTRONS = {
    "white": (nets.MLP, nets.MLP_WHITE),
    "recorded": (nets.MLP, nets.MLP_RECORDED),
}
# The project's models of the page take about this many times the steps.
LONGER = 5
# What finds most beats in recorded noise, but is not best in dB.
SHALLOW = {"depth": 5, "rule": "sure"}
# Random numbers: a stream for each use.
TUNING, TEST = 2, 3

OLD = {
    "ECG 208": "ecg_mitbih208_360hz_mV",
    "bearing fault": "vibration_cwru_ir007_0_de_12khz",
    "healthy bearing": "vibration_cwru_normal0_de",
}
OLD_ENDS, OLD_VALIDATION, OLD_TEST = 512, 16000, 43200


@dataclass
class Method:
    """A row of a table. `at(sigma)` is what denoises at a level: a function of signal and sigma."""

    name: str
    at: object
    bytes: int | None = None
    products: int | None = None


@dataclass
class Row:
    """Figures of a method: means over recordings and draws."""

    method: Method
    gains: dict = field(default_factory=dict)
    prds: dict = field(default_factory=dict)
    shares: dict = field(default_factory=dict)
    by_record: dict = field(default_factory=dict)


def cases(signals, noise, sigma, seed, use, draws, ends):
    """As many noisy signals of each as there are draws. All levels have the same draws."""
    made = []
    for index, clean in enumerate(signals):
        for draw in range(draws):
            random = np.random.default_rng([seed, use, index, draw])
            snr = 20 * np.log10(clean.std() / sigma)
            made.append(Case.of(clean, noise.whole(random, len(clean)), snr, ends))
    return made


def wiener(signal, noise, count):
    """`signal` and `noise`: autocorrelations of what was learned from."""
    taps = lambda sigma: filters.wiener_taps(signal, sigma**2 * noise, count)
    at = lambda sigma: partial(filters.filtered, taps(sigma))
    return Method(f"FIR Wiener, {count} taps", at, count, count)


def tuned(name, products, search):
    """A method whose settings gain most on signals that are not tested, level by level."""

    def at(sigma):
        method, settings = search(sigma)
        shown = ", ".join(f"{key} {of}" for key, of in settings.items() if key != "shape")
        print(f"{name}, sigma {sigma:.3f}: {shown}", flush=True)
        return method

    return Method(name, at, None, products)


def classical(tuning, noise, signal, random):
    """The methods without a network. `tuning(sigma)`: noisy signals to choose settings by;
    `signal`: autocorrelation of what was learned from."""
    shape = filters.noise_shape(noise.whole(random, 60000))
    own = noise.autocorrelation(max(TAPS))
    wavelet = lambda sigma: filters.best_wavelet(tuning(sigma), shape)
    spun = lambda sigma: filters.best_cycle_spun(tuning(sigma), shape)
    variation = lambda sigma: filters.best_total_variation(tuning(sigma))
    return [
        Method("nothing", lambda sigma: lambda noisy, _: noisy),
        *(wiener(signal, own, count) for count in TAPS),
        tuned("wavelet sym8, SURE", 64, wavelet),
        tuned(f"wavelet sym8, {filters.SHIFTS} shifts", 64 * filters.SHIFTS, spun),
        shallow(shape),
        tuned("total variation", 900, variation),
    ]


def shallow(shape):
    run = partial(filters.cycle_spun, shape=shape, **SHALLOW)
    name = f"wavelet sym8, {filters.SHIFTS} shifts, {SHALLOW['depth']} deep"
    return Method(name, lambda sigma: run, None, 64 * filters.SHIFTS)


def network(net, weights, note=""):
    run = partial(nets.denoised, net, weights)
    return Method(net.name + note, lambda sigma: run, net.bytes, net.products)


def guarded(method, guard):
    """A method that gives back what it takes off beyond the noise."""

    def at(sigma):
        inner = method.at(sigma)

        def run(noisy, sigma):
            return filters.residual_guard(noisy, inner(noisy, sigma), sigma, *guard)

        return run

    return Method(f"{method.name}, guarded", at, method.bytes, method.products)


def ecg_methods(data, kind, seed, steps, cache, is_long):
    """All methods of a kind of noise, fitted on the training records."""
    noise = records.White() if kind == "white" else records.Recorded(data, is_test=False)
    signals = [records.ecg(data, name) for name in records.TRAIN]
    validation = [records.ecg(data, name) for name in records.VALIDATION]
    signal = np.mean([records.autocorrelation(each, max(TAPS)) for each in signals], 0)
    tuning = lambda sigma: cases(validation, noise, sigma, seed, TUNING, 1, records.ENDS)
    methods = classical(tuning, noise, signal, np.random.default_rng([seed, TUNING]))
    longer = PERCEPTRONS[kind] + CONVOLUTIONAL * is_long
    for net in PERCEPTRONS[kind] + CONVOLUTIONAL:
        for times in (1, LONGER) if net in longer else (1,):
            count = steps * times
            weights = nets.trained(net, signals, noise, 1.0, seed, count, cache, "ECG")
            note = f", {times} times the steps" if times > 1 else ""
            method = network(net, weights, note)
            methods += [method, guarded(method, GUARDS[kind])]
    return methods


def ecg(data, kind, names, draws, seed, steps, cache, is_long):
    """Rows of the table of other patients."""
    methods = ecg_methods(data, kind, seed, steps, cache, is_long)
    signals = [records.ecg(data, name) for name in names]
    annotated = [records.annotated(data, name) for name in names for _ in range(draws)]
    noise = records.White() if kind == "white" else records.Recorded(data, is_test=True)
    rows = [Row(method) for method in methods]
    for snr in ECG_LEVELS:
        made = cases(signals, noise, level(snr), seed, TEST, draws, records.ENDS)
        for row in rows:
            denoise = row.method.at(level(snr))
            outputs = [denoise(case.noisy, case.sigma) for case in made]
            gains = [case.gain(output) for case, output in zip(made, outputs)]
            row.gains[snr] = np.mean(gains)
            means = np.reshape(gains, (len(names), draws)).mean(1)
            row.by_record[snr] = dict(zip(names, means))
            row.prds[snr] = np.mean([case.prd(output) for case, output in zip(made, outputs)])
            if snr in BEATS_AT:
                found = map(beats.beats, outputs)
                row.shares[snr] = np.mean([beats.f1(f, a) for f, a in zip(found, annotated)])
    return rows


def clean_f1(data, names):
    """F1 of the detector on the clean records: no method can do much better."""
    found = (beats.beats(records.ecg(data, name)) for name in names)
    return np.mean([beats.f1(f, records.annotated(data, n)) for f, n in zip(found, names)])


def old(data, which, draws, seed, steps, cache):
    """Rows of a signal whose beginning was learned from, white noise."""
    values = np.load(data / "sensor" / f"{OLD[which]}.npy").astype(np.float64).ravel()
    border = len(values) * 3 // 5
    values = (values - values[:border].mean()) / values[:border].std()
    test = values[border : border + OLD_TEST]
    first, last = np.split(values[:border], [border - OLD_VALIDATION])
    noise = records.White()
    signal = records.autocorrelation(values[:border], max(TAPS))
    tuning = lambda sigma: cases([last], noise, sigma, seed, TUNING, 2, OLD_ENDS)
    methods = classical(tuning, noise, signal, np.random.default_rng([seed, TUNING]))
    for net in (nets.MLP, nets.TCN_S):
        weights = nets.trained(net, [first], noise, test.std(), seed, steps, cache, which)
        methods.append(network(net, weights))
    rows = [Row(method) for method in methods]
    for snr in OLD_LEVELS:
        sigma = test.std() * level(snr)
        made = cases([test], noise, sigma, seed, TEST, draws, OLD_ENDS)
        for row in rows:
            denoise = row.method.at(sigma)
            row.gains[snr] = np.mean([c.gain(denoise(c.noisy, c.sigma)) for c in made])
    return rows


def timed(run, *arguments):
    """What a function returns, and how many seconds it takes."""
    begin = time.perf_counter()
    return run(*arguments), time.perf_counter() - begin
