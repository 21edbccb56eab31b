"""The data that the examples, the experiments and the command line share.

Every experiment needs its images in the same form: float32 in [0, 1], one flat row per image, a
fixed split into training and test images. Only this module creates that form. MNIST is not shipped.
It is read from a folder that the user names, or downloaded from OpenML. Both can go wrong in many
ways, so every error here names the file, the fault and the remedy.
"""

from __future__ import annotations

import gzip
import http.client
import math
import operator
import os
import struct
import zipfile
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import sklearn.datasets
from sklearn.model_selection import train_test_split

__all__ = ["Images", "load_digits", "load_mnist", "load_xor", "read_idx", "subsample"]

MNIST_VARIABLE = "SKSCRATCH_MNIST"
MNIST_N_TRAIN, MNIST_N_TEST, MNIST_IMAGE_SHAPE = 60_000, 10_000, (28, 28)

# Names of the four files, without the extension of a compressed one.
IDX_NAMES = {
    "x_train": ("train-images", "idx3-ubyte"),
    "y_train": ("train-labels", "idx1-ubyte"),
    "x_test": ("t10k-images", "idx3-ubyte"),
    "y_test": ("t10k-labels", "idx1-ubyte"),
}
IDX_UNSIGNED_BYTE = 0x08
IDX_TYPES = {
    0x08: "unsigned byte",
    0x09: "signed byte",
    0x0B: "short",
    0x0C: "int",
    0x0D: "float",
    0x0E: "double",
}
GZIP_MAGIC = b"\x1f\x8b"

NAME_A_FOLDER = (
    "Name the folder with the argument `folder`, with --mnist-dir on the command line, or with the "
    f"environment variable {MNIST_VARIABLE}."
)
EXPECTED_FILES = (
    "Expected: the four IDX files "
    + ", ".join("-".join(name) for name in IDX_NAMES.values())
    + ", each gzipped (.gz) or not; or mnist.npz in the form that Keras uses. The files and their "
    "format come from http://yann.lecun.com/exdb/mnist and are mirrored at "
    "https://ossci-datasets.s3.amazonaws.com/mnist."
)
DOWNLOAD_INSTEAD = "Without a folder, MNIST is downloaded from OpenML."
FETCH_AGAIN = "Download or copy the file again."


@dataclass(frozen=True, eq=False)
class Images:
    """Labelled images, split into a training part and a test part.

    A frozen dataclass, not a tuple, so that fields cannot be confused by their position. It
    compares by identity, because arrays have no single truth value.

    Parameters
    ----------
    X_train : ndarray of shape (n_train, n_pixels), dtype float32
        Training images, one flat row each, scaled to [0, 1].
    y_train : ndarray of shape (n_train,), dtype int64
        Labels of the training images.
    X_test : ndarray of shape (n_test, n_pixels), dtype float32
        Test images, one flat row each, scaled to [0, 1].
    y_test : ndarray of shape (n_test,), dtype int64
        Labels of the test images.
    image_shape : tuple of (int, int)
        Rows and columns of one image. ``X_train[0].reshape(image_shape)`` is a picture.
    name : str
        Name of the images in reports.

    See Also
    --------
    load_digits : Small images that need no download.
    load_mnist : MNIST from a folder or from OpenML.

    Examples
    --------
    >>> from skscratch.datasets import load_digits
    >>> images = load_digits()
    >>> images
    Images(name='digits', image_shape=(8, 8), n_train=1437, n_test=360)
    >>> images.X_train[0].reshape(images.image_shape).shape
    (8, 8)
    """

    X_train: npt.NDArray[np.float32]
    y_train: npt.NDArray[np.int64]
    X_test: npt.NDArray[np.float32]
    y_test: npt.NDArray[np.int64]
    image_shape: tuple[int, int]
    name: str

    def __repr__(self) -> str:
        """Return name, shape and counts; the pixels would fill the screen."""
        return (
            f"{type(self).__name__}(name={self.name!r}, image_shape={self.image_shape}, "
            f"n_train={len(self.X_train)}, n_test={len(self.X_test)})"
        )


def load_xor() -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the four points of the exclusive or.

    No line separates the two classes, so a network needs a hidden layer to learn them.

    Returns
    -------
    X : ndarray of shape (4, 2), dtype float64
        The corners of the unit square.
    y : ndarray of shape (4, 1), dtype float64
        1 where exactly one coordinate is 1, else 0.

    See Also
    --------
    load_digits : Images to classify.

    Examples
    --------
    >>> from skscratch.datasets import load_xor
    >>> X, y = load_xor()
    >>> X.tolist()
    [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]
    >>> y.ravel().tolist()
    [0.0, 1.0, 1.0, 0.0]
    """
    points = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], dtype=np.float64)
    targets = np.array([[0], [1], [1], [0]], dtype=np.float64)
    return points, targets


def load_digits(*, test_fraction: float = 0.2, seed: int = 0) -> Images:
    """Load scikit-learn's handwritten digits; they need no download.

    These are 1,797 images of 8 by 8 pixels. The split is stratified: both parts have the classes in
    the same proportions.

    Parameters
    ----------
    test_fraction : float, default=0.2
        Fraction of the images in the test part, more than 0 and less than 1.
    seed : int, default=0
        Seed of the split. The same seed gives the same split.

    Returns
    -------
    Images
        The digits, float32 in [0, 1], with 64 pixels each.

    Raises
    ------
    ValueError
        If `test_fraction` is not between 0 and 1, or leaves a part with fewer images than classes.

    See Also
    --------
    load_mnist : More and larger images.
    subsample : Keep fewer images.

    Examples
    --------
    >>> from skscratch.datasets import load_digits
    >>> images = load_digits(test_fraction=0.5)
    >>> images.X_train.shape, images.X_train.dtype
    ((898, 64), dtype('float32'))
    >>> float(images.X_train.min()), float(images.X_train.max())
    (0.0, 1.0)
    """
    if not 0 < test_fraction < 1:
        raise ValueError(
            f"test_fraction must be more than 0 and less than 1, got {test_fraction!r}."
        )
    digits = sklearn.datasets.load_digits()
    pixels_train, pixels_test, labels_train, labels_test = train_test_split(
        _scaled(digits.data, 16),
        digits.target.astype(np.int64),
        test_size=float(test_fraction),
        stratify=digits.target,
        random_state=seed,
    )
    return Images(pixels_train, labels_train, pixels_test, labels_test, (8, 8), "digits")


def load_mnist(folder: str | os.PathLike[str] | None = None) -> Images:
    """Load the MNIST digits from a folder, or download them from OpenML.

    The source is `folder`, else the environment variable ``SKSCRATCH_MNIST``, else the download
    (:func:`sklearn.datasets.fetch_openml`, which caches it).

    Parameters
    ----------
    folder : str or path-like, default=None
        One of

        - a folder with the four IDX files, each gzipped or not. Both spellings are accepted:
          ``train-images-idx3-ubyte`` and ``train-images.idx3-ubyte``;
        - a folder with ``mnist.npz`` in the form that Keras uses (``x_train``, ``y_train``,
          ``x_test``, ``y_test``), which is read if an IDX file is missing;
        - the path of such an ``.npz`` file.

    Returns
    -------
    Images
        The digits, float32 in [0, 1], with 784 pixels each: 60,000 for training and 10,000 for
        testing. From a folder, all images in the files, of any size.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist or lacks a file. The message names what is missing.
    ValueError
        If a file is damaged, or its content does not match its name. The message names the file.
    OSError
        If no folder is named and the download fails.
    ImportError
        If no folder is named and pandas, which scikit-learn needs for the download, is missing.

    See Also
    --------
    load_digits : Small images that need no download.
    subsample : Keep fewer images.

    Notes
    -----
    Nothing is ever unpickled, so an untrusted file may be wrong but cannot run code.

    Examples
    --------
    Any files of the right form will do. Here are three images of four pixels:

    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from skscratch.datasets import load_mnist
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.savez(
    ...         Path(folder) / "mnist.npz",
    ...         x_train=np.full((2, 2, 2), 255, dtype=np.uint8),
    ...         y_train=np.array([3, 7], dtype=np.uint8),
    ...         x_test=np.zeros((1, 2, 2), dtype=np.uint8),
    ...         y_test=np.array([9], dtype=np.uint8),
    ...     )
    ...     images = load_mnist(folder)
    >>> images
    Images(name='mnist', image_shape=(2, 2), n_train=2, n_test=1)
    >>> images.X_train[0].tolist()
    [1.0, 1.0, 1.0, 1.0]
    """
    origin = "the argument `folder`"
    if folder is None:
        # Shell scripts unset a variable by setting it to an empty string.
        folder = os.environ.get(MNIST_VARIABLE) or None
        origin = f"the environment variable {MNIST_VARIABLE}"
    if folder is None:
        return _download_mnist()

    path = Path(folder).expanduser()
    if not path.exists():
        raise FileNotFoundError(
            f"There is no MNIST folder {path} (named by {origin}). "
            f"{NAME_A_FOLDER} {EXPECTED_FILES} {DOWNLOAD_INSTEAD}"
        )
    return _read_mnist_folder(path) if path.is_dir() else _read_mnist_npz(path)


def read_idx(path: str | os.PathLike[str]) -> npt.NDArray[np.uint8]:
    """Read one IDX file of unsigned bytes, the format in which MNIST is published.

    Gzip is recognised by its first two bytes, not by the name, because programs often unpack a
    downloaded file without renaming it.

    Parameters
    ----------
    path : str or path-like
        The file, gzipped or not.

    Returns
    -------
    ndarray of dtype uint8
        The array, in the shape that the file states, writable.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is not IDX, does not hold unsigned bytes, is damaged, or is shorter or longer
        than its header states.

    See Also
    --------
    load_mnist : Read all four files of MNIST.

    Notes
    -----
    The format [1]_ is two zero bytes, one byte for the type, one byte for the number of dimensions,
    the dimensions as big-endian 32-bit integers, then the numbers in C order.

    References
    ----------
    .. [1] Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits",
       http://yann.lecun.com/exdb/mnist

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from skscratch.datasets import read_idx
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "labels-idx1-ubyte"
    ...     n_bytes = path.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3, 5, 0, 4]))
    ...     read_idx(path)
    array([5, 0, 4], dtype=uint8)
    """
    path = Path(path)
    content = path.read_bytes()
    if content.startswith(GZIP_MAGIC):
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(
                f"{path} is damaged: it starts as a gzip file but cannot be unpacked ({error}). "
                f"{FETCH_AGAIN}"
            ) from error
    if content[:2] != b"\0\0"[: len(content)]:
        raise ValueError(
            f"{path} is not an IDX file, nor a gzipped one: it starts with the bytes "
            f"{content[:4].hex(' ')}, not with 00 00. Perhaps a web page was saved under this "
            f"name. {FETCH_AGAIN}"
        )
    if len(content) < 4:
        raise ValueError(
            f"{path} is truncated: it ends within its header, after {len(content)} bytes. "
            f"{FETCH_AGAIN}"
        )

    kind, n_dimensions = content[2], content[3]
    if kind != IDX_UNSIGNED_BYTE:
        raise ValueError(
            f"{path} has the IDX type 0x{kind:02x} ({IDX_TYPES.get(kind, 'unknown')}). Only 0x08 "
            "(unsigned byte) is read here, which is what MNIST uses. Check that this is the right "
            "file."
        )
    if n_dimensions == 0:
        raise ValueError(f"{path} states an array of no dimensions. {FETCH_AGAIN}")
    start = 4 + 4 * n_dimensions
    if len(content) < start:
        raise ValueError(
            f"{path} is truncated: it ends within its header, after {len(content)} of {start} "
            f"bytes. {FETCH_AGAIN}"
        )
    shape = struct.unpack(f">{n_dimensions}I", content[4:start])
    n_stated, n_found = math.prod(shape), len(content) - start
    if n_found != n_stated:
        wrong = "is truncated" if n_found < n_stated else "is too long"
        raise ValueError(
            f"{path} {wrong}: its header states the shape {shape}, that is {n_stated} bytes, but "
            f"{n_found} bytes follow. {FETCH_AGAIN}"
        )
    try:
        return np.frombuffer(content, dtype=np.uint8, offset=start).reshape(shape).copy()
    except ValueError as error:  # more dimensions than NumPy allows, or one 0 and others too large
        raise ValueError(
            f"{path} states a shape that NumPy rejects: {error}. {FETCH_AGAIN}"
        ) from error


def subsample(
    images: Images, n_train: int | None = None, n_test: int | None = None, *, seed: int = 0
) -> Images:
    """Keep fewer images, with the classes in the same proportions.

    Each class keeps its exact proportion, rounded down or up. The order of the images is kept.

    Parameters
    ----------
    images : Images
        The images to choose from, which are not changed.
    n_train : int, default=None
        Number of training images to keep; None means all.
    n_test : int, default=None
        Number of test images to keep; None means all.
    seed : int, default=0
        Seed of the choice. The same seed gives the same images. The choice of test images does not
        depend on `n_train`, nor vice versa.

    Returns
    -------
    Images
        The smaller set. A part that is kept in full shares its memory with `images`.

    Raises
    ------
    ValueError
        If a number is less than 1 or more than the number of images.
    TypeError
        If a number of images is not an integer.

    See Also
    --------
    load_digits : Small images that need no download.
    load_mnist : MNIST from a folder or from OpenML.

    Examples
    --------
    >>> from skscratch.datasets import load_digits, subsample
    >>> subsample(load_digits(), n_train=500, n_test=100)
    Images(name='digits', image_shape=(8, 8), n_train=500, n_test=100)
    """
    seed_train, seed_test = np.random.SeedSequence(seed).spawn(2)
    rows_train = _stratified_rows(images.y_train, n_train, seed_train, "n_train", "training")
    rows_test = _stratified_rows(images.y_test, n_test, seed_test, "n_test", "test")
    return replace(
        images,
        X_train=images.X_train[rows_train],
        y_train=images.y_train[rows_train],
        X_test=images.X_test[rows_test],
        y_test=images.y_test[rows_test],
    )


def _stratified_rows(
    labels: npt.NDArray[np.int64],
    n_rows: int | None,
    seed: np.random.SeedSequence,
    parameter: str,
    part: str,
) -> npt.NDArray[np.intp] | slice:
    """Choose rows: the share of each class rounded down, the rest by the largest remainders.

    scikit-learn's splitters reject fewer rows than classes and classes of one member; small trial
    runs need both.
    """
    n_available = len(labels)
    if n_rows is None:
        return slice(None)
    n_rows = operator.index(n_rows)
    if not 1 <= n_rows <= n_available:
        raise ValueError(
            f"{parameter} must be between 1 and {n_available}, because there are {n_available} "
            f"{part} images; got {n_rows}."
        )
    if n_rows == n_available:
        return slice(None)
    classes, counts = np.unique(labels, return_counts=True)
    # Integers throughout: a rounding error could give a class one row too many.
    shares, remainders = np.divmod(n_rows * counts, n_available)
    shares[np.argsort(-remainders, kind="stable")[: n_rows - shares.sum()]] += 1
    rng = np.random.default_rng(seed)
    chosen = [
        rng.choice(np.flatnonzero(labels == label), size=share, replace=False)
        for label, share in zip(classes, shares, strict=True)
    ]
    return np.sort(np.concatenate(chosen))


def _scaled(pixels: npt.NDArray[Any], largest: int) -> npt.NDArray[np.float32]:
    """Return pixels / largest as float32."""
    # With `dtype`, NumPy converts block by block, without a float64 copy of the images.
    scaled: npt.NDArray[np.float32] = np.divide(pixels, largest, dtype=np.float32)
    return scaled


def _read_mnist_folder(folder: Path) -> Images:
    """Read the four IDX files or, if one is missing, mnist.npz."""
    paths: dict[str, Path] = {}
    for key, (stem, kind) in IDX_NAMES.items():
        spellings = [f"{stem}{mark}{kind}{ending}" for ending in ("", ".gz") for mark in "-."]
        # `is_file`, because some archives unpack into folders that have the files' names.
        found = next((folder / name for name in spellings if (folder / name).is_file()), None)
        if found is not None:
            paths[key] = found
    if len(paths) == len(IDX_NAMES):
        arrays = {key: read_idx(path) for key, path in paths.items()}
        return _mnist_images(arrays, {key: str(path) for key, path in paths.items()})
    if (folder / "mnist.npz").is_file():
        return _read_mnist_npz(folder / "mnist.npz")
    missing = ["-".join(name) for key, name in IDX_NAMES.items() if key not in paths]
    raise FileNotFoundError(
        f"The MNIST folder {folder} lacks {', '.join(missing)} (and has no mnist.npz). "
        f"{EXPECTED_FILES} {NAME_A_FOLDER} {DOWNLOAD_INSTEAD}"
    )


def _read_mnist_npz(path: Path) -> Images:
    """Read MNIST from one file in the form that Keras uses."""
    with path.open("rb") as stream:
        if not zipfile.is_zipfile(stream):
            raise ValueError(
                f"{path} is not an .npz archive, or is truncated. Name an .npz file as Keras saves "
                f"it, or the folder that holds the files. {EXPECTED_FILES}"
            )
        stream.seek(0)
        try:
            with np.load(stream, allow_pickle=False) as archive:
                missing = [key for key in IDX_NAMES if key not in archive]
                arrays = {key: archive[key] for key in IDX_NAMES if key not in missing}
        # RuntimeError: the archive is encrypted or packed by an unknown method.
        except (
            ValueError,
            OSError,
            EOFError,
            RuntimeError,
            struct.error,
            zlib.error,
            zipfile.BadZipFile,
        ) as error:
            raise ValueError(
                f"{path} is damaged, or contains more than plain arrays: {error}. {FETCH_AGAIN}"
            ) from error
    if missing:
        raise ValueError(
            f"{path} lacks the arrays {', '.join(missing)}. Expected are x_train, y_train, x_test "
            "and y_test, as Keras saves them. Check that this is the right file."
        )
    return _mnist_images(arrays, {key: f"{key} in {path}" for key in IDX_NAMES})


def _download_mnist() -> Images:
    """Fetch MNIST through scikit-learn; the first 60,000 images are the training part."""
    name_a_folder = f"{NAME_A_FOLDER} {EXPECTED_FILES}"
    try:
        data, target = sklearn.datasets.fetch_openml(
            "mnist_784", version=1, as_frame=False, parser="auto", return_X_y=True
        )
    except ImportError as error:
        raise ImportError(
            f"To download MNIST, scikit-learn needs another package: {error} Install it, or use "
            f"files in a folder. {name_a_folder}"
        ) from error
    # Besides a network error (OSError), the response may be truncated or have a wrong checksum.
    except (OSError, ValueError, EOFError, http.client.HTTPException, zlib.error) as error:
        raise OSError(
            f"MNIST could not be downloaded from OpenML ({type(error).__name__}: {error}). Check "
            f"the network connection and try again, or use files in a folder. {name_a_folder}"
        ) from error
    expected = (MNIST_N_TRAIN + MNIST_N_TEST, math.prod(MNIST_IMAGE_SHAPE))
    if data.shape != expected:
        raise ValueError(
            f"OpenML's mnist_784 has the shape {data.shape}, not {expected}. Use files in a "
            f"folder. {name_a_folder}"
        )
    labels = target.astype(np.int64)
    return Images(
        _scaled(data[:MNIST_N_TRAIN], 255),
        labels[:MNIST_N_TRAIN],
        _scaled(data[MNIST_N_TRAIN:], 255),
        labels[MNIST_N_TRAIN:],
        MNIST_IMAGE_SHAPE,
        "mnist",
    )


def _mnist_images(arrays: dict[str, npt.NDArray[Any]], sources: dict[str, str]) -> Images:
    """Check the four arrays and scale them; `sources` names the origin of each in errors."""
    for part in ("train", "test"):
        _check_pixels(arrays[f"x_{part}"], sources[f"x_{part}"])
        _check_labels(arrays[f"y_{part}"], sources[f"y_{part}"])
        n_images, n_labels = len(arrays[f"x_{part}"]), len(arrays[f"y_{part}"])
        if n_images != n_labels:
            raise ValueError(
                f"{sources[f'x_{part}']} holds {n_images} images but {sources[f'y_{part}']} holds "
                f"{n_labels} labels. Check that both belong together, and that training and test "
                "files are not mixed up."
            )
    shape_train, shape_test = arrays["x_train"].shape[1:], arrays["x_test"].shape[1:]
    if shape_train != shape_test:
        raise ValueError(
            f"{sources['x_train']} holds images of the shape {shape_train} but {sources['x_test']} "
            f"holds images of the shape {shape_test}. Check that both belong together."
        )
    return Images(
        _scaled(arrays["x_train"].reshape(len(arrays["x_train"]), -1), 255),
        arrays["y_train"].astype(np.int64),
        _scaled(arrays["x_test"].reshape(len(arrays["x_test"]), -1), 255),
        arrays["y_test"].astype(np.int64),
        shape_train,
        "mnist",
    )


def _check_pixels(pixels: npt.NDArray[Any], source: str) -> None:
    """Raise ValueError unless these are images: unsigned bytes, three dimensions, not empty."""
    if pixels.ndim != 3:
        raise ValueError(
            f"{source} holds an array of the shape {pixels.shape}, but images have the shape "
            "(n_images, rows, columns). Check that images and labels are not swapped."
        )
    if pixels.dtype != np.uint8:
        # Pixels that are already scaled would be divided by 255 again without an error.
        raise ValueError(
            f"{source} holds pixels of the type {pixels.dtype}, not uint8. Save them unscaled, as "
            "integers from 0 to 255."
        )
    if pixels.size == 0:
        raise ValueError(f"{source} is empty: it has the shape {pixels.shape}. {FETCH_AGAIN}")


def _check_labels(labels: npt.NDArray[Any], source: str) -> None:
    """Raise ValueError unless these are labels: integers from 0 to 9, one dimension."""
    if labels.ndim != 1:
        raise ValueError(
            f"{source} holds an array of the shape {labels.shape}, but labels have the shape "
            "(n_images,). Check that images and labels are not swapped."
        )
    if not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(
            f"{source} holds labels of the type {labels.dtype}, not integers. Save them as uint8."
        )
    outside = labels[(labels < 0) | (labels > 9)]
    if outside.size:
        raise ValueError(
            f"{source} holds labels outside 0 to 9, for example {outside[0]}. Check that this is "
            "the right file."
        )
