#!/usr/bin/env python3
"""Codes by scikit-learn, for the test that refinement to convergence equals them (`tests/tests/suite/refine.rs`).

    python3 -m pip install numpy scikit-learn
    python3 docs/results/compare/sklearn_codes.py tests/data/sklearn.safetensors

Learns a dictionary of pictures of half planes (8x8, values of ours), and encodes other pictures by
`sparse_encode(algorithm="lasso_cd", positive=True)`, in f64 from numbers that are f32. The file holds `dictionary` (an atom a row),
`samples`, and for each alpha `codes.ALPHA`, a code a row; its metadata has the versions. scikit-learn minimises
`1/2 |y - z D|^2 + alpha |z|_1`, this project `1/d |y - W z|^2 + lambda |z|_1`: the same for `lambda = 2 alpha / d`.
"""

import json
import struct
import sys

import numpy as np
import scipy
import sklearn
from sklearn.decomposition import MiniBatchDictionaryLearning, sparse_encode

SIDE, ATOMS, SAMPLES, ALPHAS = 8, 96, 20, ("0.2", "1", "3")


def pictures(random, count):
    """Half planes of random levels, one over the other."""
    axis = np.arange(SIDE) - (SIDE - 1) / 2
    x, y = np.meshgrid(axis, axis)
    made = np.empty((count, SIDE, SIDE))
    for picture in made:
        picture[:] = random.uniform()
        for _ in range(random.integers(1, 5)):
            angle, distance = random.uniform(0, 2 * np.pi), random.uniform(-3, 3)
            picture[np.cos(angle) * x + np.sin(angle) * y > distance] = random.uniform()
    return made.reshape(count, -1)


def main():
    random = np.random.default_rng(7)
    training = pictures(random, 4000)
    mean, deviation = training.mean(), training.std()
    learner = MiniBatchDictionaryLearning(
        ATOMS,
        alpha=1.0,
        fit_algorithm="cd",
        positive_code=True,
        batch_size=64,
        max_iter=20,
        random_state=0,
    )
    dictionary = learner.fit((training - mean) / deviation).components_.astype("<f4")
    samples = ((pictures(random, SAMPLES) - mean) / deviation).astype("<f4")
    tensors = {"dictionary": dictionary, "samples": samples}
    for alpha in ALPHAS:
        codes = sparse_encode(
            samples.astype("f8"),
            dictionary.astype("f8"),
            algorithm="lasso_cd",
            alpha=float(alpha),
            positive=True,
            max_iter=100_000,
        )
        tensors[f"codes.{alpha}"] = codes.astype("<f4")

    versions = {"scikit-learn": sklearn.__version__, "numpy": np.__version__, "scipy": scipy.__version__}
    header, data = {"__metadata__": {**versions, "python": sys.version.split()[0]}}, b""
    for name, tensor in sorted(tensors.items()):
        begin, data = len(data), data + tensor.tobytes()
        header[name] = {"dtype": "F32", "shape": tensor.shape, "data_offsets": [begin, len(data)]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(sys.argv[1], "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)


main()
