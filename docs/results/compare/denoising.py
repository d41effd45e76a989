#!/usr/bin/env python3
"""Rivals of the models that denoise, on their protocol, run together: tables in Markdown.

    python3 -m venv VENV
    VENV/bin/python -m pip install -r docs/results/compare/requirements.txt
    VENV/bin/python docs/results/compare/denoising.py --data DIR [--only ecg|old|pictures]
        [--records A,B,C] [--draws N] [--seed N] [--steps N] [--long]
        [--cache FOLDER] [--markdown FILE]

DIR holds `sensor2` (records, beats and noise), `sensor` (three signals) and `natural` (pictures).
All of it runs on one thread of a processor. A network that is in the cache is not trained again.

ECG: the records of `cargo xtask bench denoise`, and what `sparsecode evaluate --task denoise` does.
A record less its drift (two means of 361 samples) counts as clean. Noise is white, or recorded: em,
ma and bw, each of the same power as recorded, less their drift, summed and scaled. The first 60 %
of a recording of noise train, the others test. 720 samples at either end do not count. Every method
is told sigma. Filters and wavelets are fitted at each level, on the records of training and
validation. A network learns levels of 0 to 10 dB and is used at all: 1500 steps of Adam, one cycle,
16,384 noisy samples a step. "guarded": its output passes the residual guard of the project's
models. Bytes: weights, one byte each, without biases. MAC: multiply-accumulates a sample.

Old signals: the beginning of a recording trains, a later part tests, at 512 samples from the ends.

Pictures: the last eight of the folder by name, their middle 256 x 256, levels of 0 to 255. Noise is
added and not clipped, nor is what comes out. Settings are those that are best on four others.
"""

import argparse
import os
import sys
from importlib.metadata import version
from pathlib import Path

# Before the libraries start their threads.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NPROC"):
    os.environ[variable] = "1"
os.environ["JAX_PLATFORMS"] = "cpu"
# No folders of compiled modules beside these.
sys.dont_write_bytecode = True
os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false"

from denoising import tables  # noqa: E402

PACKAGES = ("numpy", "scipy", "PyWavelets", "jax", "scikit-image", "scikit-learn", "bm3d", "pillow")


def sections(arguments):
    """Titles and texts, one after the other."""
    names = arguments.records.split(",")
    only = arguments.only
    if only in (None, "ecg"):
        yield from tables.ecg(arguments, names)
    if only in (None, "old"):
        yield from tables.old(arguments)
    if only in (None, "pictures"):
        yield from tables.pictures(arguments)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, metavar="DIR")
    parser.add_argument("--records", default="103,119,214,223", help="test records of sensor2")
    parser.add_argument("--only", choices=("ecg", "old", "pictures"))
    parser.add_argument("--draws", type=int, default=4, help="of noise, for each test record")
    parser.add_argument("--seed", type=int, default=31)
    parser.add_argument("--steps", type=int, default=1500, help="of training")
    parser.add_argument(
        "--long", action="store_true", help="also ConvNets of ECGs trained five times as long"
    )
    parser.add_argument("--cache", type=Path, metavar="FOLDER", help="for trained networks")
    parser.add_argument("--markdown", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    if known := tables.learned_from() & set(arguments.records.split(",")):
        parser.error(f"--records: {', '.join(sorted(known))} are for training or validation")
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    page = f"Python {sys.version.split()[0]}, {packages}; seed {arguments.seed}, "
    page += f"{arguments.steps} steps, one thread.\n"
    for section in sections(arguments):
        print(section, flush=True)
        page += "\n" + section
        if arguments.markdown:
            arguments.markdown.write_text(page)


if __name__ == "__main__":
    main()
