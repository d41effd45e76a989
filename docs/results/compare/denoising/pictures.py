"""Pictures with white noise that is not clipped."""

import time
import warnings
from dataclasses import dataclass, field
from functools import partial

import bm3d
import numpy as np
from PIL import Image
from skimage.restoration import denoise_nl_means
from sklearn.decomposition import MiniBatchDictionaryLearning
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction.image import extract_patches_2d, reconstruct_from_patches_2d
from sklearn.linear_model import orthogonal_mp_gram
from threadpoolctl import threadpool_limits

COUNT, SIDE, SIGMAS = 8, 256, (15, 25, 50)
# Pictures to choose settings by, and those that the dictionary learns from.
TUNING, LEARNED = 4, 200
PATCH, ATOMS, LEARNED_PATCHES = 8, 256, 40000


def read(path):
    """The middle of a grey picture, levels of 0 to 255."""
    with Image.open(path) as file:
        levels = np.asarray(file.convert("L"), np.float64)
    top, left = (levels.shape[0] - SIDE) // 2, (levels.shape[1] - SIDE) // 2
    assert min(top, left) >= 0, f"{path} is smaller than {SIDE}"
    return levels[top : top + SIDE, left : left + SIDE]


def split(data):
    """The last ones by name are tested; others, spread evenly, tune, and others teach."""
    paths = sorted((data / "natural").glob("*.jpg"))
    others = paths[:-COUNT]
    tuning = others[:: len(others) // TUNING][:TUNING]
    rest = [path for path in others if path not in tuning]
    learned = rest[:: len(rest) // LEARNED][:LEARNED]
    return [list(map(read, part)) for part in (paths[-COUNT:], tuning, learned)]


def noisy(pictures, sigma, seed):
    return [
        picture + sigma * np.random.default_rng([seed, index]).standard_normal(picture.shape)
        for index, picture in enumerate(pictures)
    ]


def psnr(output, clean):
    return 10 * np.log10(255**2 / np.mean((output - clean) ** 2))


def nothing(picture, sigma):
    del sigma
    return picture


def non_local_means(picture, sigma, share, size, distance):
    """Buades, Coll and Morel, A Non-Local Algorithm for Image Denoising, 2005; scikit-image's fast
    form: Darbon et al., Fast Nonlocal Filtering Applied to Electron Cryomicroscopy, 2008."""
    return denoise_nl_means(
        picture,
        patch_size=size,
        patch_distance=distance,
        h=share * sigma,
        sigma=sigma,
        fast_mode=True,
    )


def block_matching(picture, sigma):
    """Dabov et al., Image Denoising by Sparse 3-D Transform-Domain Collaborative Filtering, 2007;
    the authors' package, as it comes."""
    return bm3d.bm3d(picture, sigma_psd=sigma)


def learned_dictionary(pictures, seed):
    """Mairal et al., Online Dictionary Learning for Sparse Coding, 2009: atoms of patches less
    their mean."""
    each = LEARNED_PATCHES // len(pictures)
    patches = np.concatenate(
        [
            extract_patches_2d(picture, (PATCH, PATCH), max_patches=each, random_state=seed + index)
            for index, picture in enumerate(pictures)
        ]
    ).reshape(-1, PATCH**2)
    patches -= patches.mean(1, keepdims=True)
    learner = MiniBatchDictionaryLearning(
        ATOMS,
        alpha=1.0,
        fit_algorithm="cd",
        batch_size=256,
        max_iter=4,
        random_state=seed,
    )
    with warnings.catch_warnings():
        # Codes of single batches need not be exact.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return learner.fit(patches / patches.std()).components_


def pursuit(picture, sigma, dictionary, excess, step=1):
    """Orthogonal matching pursuit of every patch down to its noise, and the mean of all patches:
    Elad and Aharon, Image Denoising via Sparse and Redundant Representations over Learned
    Dictionaries, 2006."""
    patches = extract_patches_2d(picture, (PATCH, PATCH))
    across = SIDE - PATCH + 1
    chosen = np.zeros((across, across), bool)
    chosen[::step, ::step] = chosen[-1, ::step] = chosen[::step, -1] = chosen[-1, -1] = True
    chosen = chosen.ravel()
    rows = patches[chosen].reshape(-1, PATCH**2)
    means = rows.mean(1, keepdims=True)
    centred = rows - means
    with warnings.catch_warnings():
        # Atoms that depend on each other end a pursuit.
        warnings.simplefilter("ignore")
        codes = orthogonal_mp_gram(
            dictionary @ dictionary.T,
            dictionary @ centred.T,
            tol=PATCH**2 * (excess * sigma) ** 2,
            norms_squared=(centred**2).sum(1),
        )
    cleaned = np.zeros_like(patches)
    cleaned[chosen] = (codes.T @ dictionary + means).reshape(-1, PATCH, PATCH)
    weights = np.broadcast_to(chosen[:, None, None], patches.shape).astype(np.float64)
    shape = picture.shape
    return reconstruct_from_patches_2d(cleaned, shape) / reconstruct_from_patches_2d(weights, shape)


def best(method, settings, pictures, sigma, seed):
    """The settings that are best in the mean over other pictures."""
    made = noisy(pictures, sigma, seed + 1)
    means = []
    for each in settings:
        outputs = [method(picture, sigma, **each) for picture in made]
        means.append(np.mean([psnr(o, c) for o, c in zip(outputs, pictures)]))
    chosen = settings[int(np.argmax(means))]
    print(f"{method.__name__}, sigma {sigma}: {chosen}", flush=True)
    return chosen


@dataclass
class Row:
    """Means over pictures."""

    name: str
    psnr: dict = field(default_factory=dict)
    seconds: dict = field(default_factory=dict)


def methods(dictionary, tuning, sigma, seed):
    shares = (0.4, 0.5, 0.6, 0.7, 0.8)
    means = [
        {"share": share, "size": size, "distance": distance}
        for share in shares
        for size in (5, 7)
        for distance in (6, 10)
    ]
    own = best(non_local_means, means, tuning, sigma, seed)
    rough = partial(pursuit, dictionary=dictionary, step=4)
    rough.__name__ = "pursuit"
    excesses = [{"excess": excess} for excess in (1.0, 1.05, 1.1, 1.15)]
    excess = best(rough, excesses, tuning, sigma, seed)
    return {
        "nothing": nothing,
        "non-local means": partial(non_local_means, **own),
        f"dictionary, {ATOMS} atoms of {PATCH} x {PATCH}, OMP": partial(
            pursuit, dictionary=dictionary, **excess
        ),
        "BM3D": block_matching,
    }


def measure(data, seed):
    """A row for each method."""
    test, tuning, learned = split(data)
    rows: dict[str, Row] = {}
    with threadpool_limits(1):
        dictionary = learned_dictionary(learned, seed)
        print("dictionary learned", flush=True)
        for sigma in SIGMAS:
            made = noisy(test, sigma, seed)
            found = np.sqrt(np.mean([(m - c) ** 2 for m, c in zip(made, test)]))
            assert abs(found / sigma - 1) < 0.01, f"noise of {found}, not {sigma}"
            for name, method in methods(dictionary, tuning, sigma, seed).items():
                row = rows.setdefault(name, Row(name))
                begin = time.process_time()
                outputs = [method(picture, sigma) for picture in made]
                row.seconds[sigma] = (time.process_time() - begin) / len(made)
                row.psnr[sigma] = np.mean([psnr(o, c) for o, c in zip(outputs, test)])
                print(f"{name}, sigma {sigma}: {row.psnr[sigma]:.2f} dB", flush=True)
    return list(rows.values())
