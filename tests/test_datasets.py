"""The data sets: files are read correctly, and every invalid file is named in an error."""

# Names of tests describe them; docstrings would repeat the names.

from __future__ import annotations

import gzip
import hashlib
import http.client
import os
import pickle
import re
import struct
import tempfile
import tracemalloc
import urllib.error
from dataclasses import FrozenInstanceError
from pathlib import Path

import numpy as np
import pytest
import sklearn.datasets
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from skscratch.datasets import Images, load_digits, load_mnist, load_xor, read_idx, subsample

REAL_MNIST = os.environ.get("SKSCRATCH_MNIST")
STEMS = {
    "x_train": ("train-images", "idx3-ubyte"),
    "y_train": ("train-labels", "idx1-ubyte"),
    "x_test": ("t10k-images", "idx3-ubyte"),
    "y_test": ("t10k-labels", "idx1-ubyte"),
}


@pytest.fixture(autouse=True)
def no_outside(monkeypatch):
    """Isolate every test from the environment and the network."""

    def refuse(*args, **kwargs):
        raise AssertionError("a test must not download")

    monkeypatch.delenv("SKSCRATCH_MNIST", raising=False)
    monkeypatch.setattr(sklearn.datasets, "fetch_openml", refuse)


def idx_bytes(array, kind=0x08):
    """Write an array of bytes in the IDX format."""
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, kind, array.ndim, *array.shape)
    return header + array.tobytes()


def tiny_arrays():
    """Make seven training and three test images of 3 by 4 pixels."""
    rng = np.random.default_rng(0)
    return {
        "x_train": rng.integers(0, 256, size=(7, 3, 4), dtype=np.uint8),
        "y_train": np.array([0, 1, 2, 3, 9, 9, 0], dtype=np.uint8),
        "x_test": rng.integers(0, 256, size=(3, 3, 4), dtype=np.uint8),
        "y_test": np.array([5, 6, 7], dtype=np.uint8),
    }


def write_folder(folder, arrays, form="plain"):
    """Write the four arrays, or fewer, in one of the forms that `load_mnist` knows."""
    if form == "npz":
        np.savez_compressed(folder / "mnist.npz", **arrays)
        return folder
    mark = "." if "dotted" in form else "-"
    for key, array in arrays.items():
        content = idx_bytes(array)
        name = mark.join(STEMS[key])
        if "gz" in form:
            name, content = f"{name}.gz", gzip.compress(content, mtime=0)
        (folder / name).write_bytes(content)
    return folder


def check_tiny(images):
    """Check images that came from `tiny_arrays`."""
    arrays = tiny_arrays()
    assert images.image_shape == (3, 4)
    assert images.name == "mnist"
    for part in ("train", "test"):
        pixels, labels = getattr(images, f"X_{part}"), getattr(images, f"y_{part}")
        raw = arrays[f"x_{part}"].reshape(len(labels), 12)
        assert pixels.dtype == np.float32
        assert labels.dtype == np.int64
        np.testing.assert_array_equal(pixels, raw.astype(np.float32) / np.float32(255))
        np.testing.assert_array_equal(labels, arrays[f"y_{part}"])


# Data without files


def test_xor():
    points, targets = load_xor()
    assert points.shape == (4, 2)
    assert points.dtype == np.float64
    assert targets.shape == (4, 1)
    assert targets.dtype == np.float64
    np.testing.assert_array_equal(targets[:, 0], np.logical_xor(points[:, 0], points[:, 1]))
    assert len(np.unique(points, axis=0)) == 4


def test_digits():
    images = load_digits()
    assert images.X_train.shape == (1437, 64)
    assert images.X_test.shape == (360, 64)
    assert images.X_train.dtype == images.X_test.dtype == np.float32
    assert images.y_train.dtype == images.y_test.dtype == np.int64
    assert images.image_shape == (8, 8)
    assert images.name == "digits"
    assert images.X_train.min() == 0
    assert images.X_train.max() == 1
    # Every original image occurs once, with its label.
    digits = sklearn.datasets.load_digits()
    original = np.column_stack([digits.data, digits.target])
    pixels = np.concatenate([images.X_train, images.X_test]) * 16
    ours = np.column_stack([pixels, np.concatenate([images.y_train, images.y_test])])
    np.testing.assert_array_equal(ours[np.lexsort(ours.T)], original[np.lexsort(original.T)])


def test_digits_split_is_stratified_and_seeded():
    images = load_digits(test_fraction=0.3, seed=1)
    again = load_digits(test_fraction=0.3, seed=1)
    other = load_digits(test_fraction=0.3, seed=2)
    np.testing.assert_array_equal(images.X_train, again.X_train)
    assert not np.array_equal(images.X_train, other.X_train)
    counts, counts_test = (
        np.bincount(sklearn.datasets.load_digits().target),
        np.bincount(images.y_test),
    )
    np.testing.assert_allclose(counts_test, counts * len(images.y_test) / counts.sum(), atol=1)


@pytest.mark.parametrize("test_fraction", [0, 1, -0.1, 1.5, 300, float("nan")])
def test_digits_refuses_an_invalid_fraction(test_fraction):
    with pytest.raises(ValueError, match="test_fraction must be more than 0 and less than 1"):
        load_digits(test_fraction=test_fraction)


def test_images_is_frozen_picklable_and_has_a_short_repr():
    images = load_digits()
    with pytest.raises(FrozenInstanceError):
        images.name = "other"
    assert repr(images) == "Images(name='digits', image_shape=(8, 8), n_train=1437, n_test=360)"
    copy = pickle.loads(pickle.dumps(images))
    assert isinstance(copy, Images)
    np.testing.assert_array_equal(copy.X_test, images.X_test)
    assert images == images
    assert copy != images


# IDX


bytes_arrays = hnp.arrays(
    np.uint8, hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=6)
)


@given(array=bytes_arrays, zipped=st.booleans())
def test_idx_round_trip(array, zipped):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "some-file"
        path.write_bytes(gzip.compress(idx_bytes(array)) if zipped else idx_bytes(array))
        back = read_idx(path)
    assert back.dtype == np.uint8
    assert back.flags.writeable
    assert back.shape == array.shape
    np.testing.assert_array_equal(back, array)


@given(array=bytes_arrays, zipped=st.booleans(), data=st.data())
def test_idx_names_a_truncated_file(array, zipped, data):
    content = gzip.compress(idx_bytes(array)) if zipped else idx_bytes(array)
    n_kept = data.draw(st.integers(0, len(content) - 1))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "short-file"
        path.write_bytes(content[:n_kept])
        with pytest.raises(ValueError, match="short-file.*again"):
            read_idx(path)


def test_idx_reads_plain_content_under_a_gzip_name(tmp_path):
    path = tmp_path / "labels.gz"
    path.write_bytes(idx_bytes(np.arange(5, dtype=np.uint8)))
    np.testing.assert_array_equal(read_idx(str(path)), np.arange(5))


def test_idx_gzip_with_any_byte_changed_is_refused_or_harmless(tmp_path):
    array = np.arange(30, dtype=np.uint8).reshape(2, 3, 5)
    content = gzip.compress(idx_bytes(array), mtime=0)
    path = tmp_path / "flipped.gz"
    n_refused = 0
    for position in range(len(content)):
        for flip in (0x01, 0x10, 0xFF):
            changed = bytearray(content)
            changed[position] ^= flip
            path.write_bytes(changed)
            try:
                np.testing.assert_array_equal(read_idx(path), array)
            except ValueError as error:
                n_refused += 1
                assert "flipped.gz" in str(error)
                assert "again" in str(error)
    assert n_refused > 2 * len(content)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is truncated.*after 0 bytes"),
        (b"\0", "is truncated.*after 1 bytes"),
        (b"\0\0\x08", "is truncated.*after 3 bytes"),
        (b"\0\0\x08\x02\0\0\0\x01", "is truncated.*after 8 of 12 bytes"),
        (b"\0\0\x08\x01\0\0\0\x03ab", "is truncated.*3 bytes, but 2 bytes follow"),
        (b"\0\0\x08\x01\0\0\0\x03abcd", "is too long.*3 bytes, but 4 bytes follow"),
        (b"<!DOCTYPE html>", "not an IDX file.*3c 21 44 4f.*web page"),
        (b"<", "not an IDX file.*web page"),
        (b"\0\0\x0d\x01\0\0\0\0", r"type 0x0d \(float\).*Only 0x08.*right file"),
        (b"\0\0\x07\x01\0\0\0\0", r"type 0x07 \(unknown\).*Only 0x08.*right file"),
        (b"\0\0\x08\0a", "no dimensions"),
        (b"\0\0\x08\x41" + 65 * b"\0\0\0\x01" + b"a", "NumPy rejects"),
        (b"\x1f\x8bnot gzip after all", "cannot be unpacked.*again"),
        # Without the time stamp, so that tests have the same names in each process.
        (
            gzip.compress(idx_bytes(np.zeros(9, np.uint8)), mtime=0)[:-9],
            "cannot be unpacked.*again",
        ),
        (
            gzip.compress(idx_bytes(np.zeros(9, np.uint8)), mtime=0) + b"rest",
            "cannot be unpacked.*again",
        ),
        (gzip.compress(b"hello, world", mtime=0), "not an IDX file"),
    ],
)
def test_idx_errors_state_the_problem(tmp_path, content, message):
    path = tmp_path / "bad-file"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"bad-file.*{message}"):
        read_idx(path)


def test_idx_shape_too_large_for_numpy(tmp_path):
    path = tmp_path / "bad-file"
    path.write_bytes(b"\0\0\x08\x03" + b"\0\0\0\0" + 8 * b"\xff")
    with pytest.raises(ValueError, match="bad-file.*NumPy rejects"):
        read_idx(path)


def test_idx_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        read_idx(tmp_path / "nowhere")


# MNIST from a folder


@pytest.mark.parametrize("form", ["plain", "gz", "dotted", "dotted gz", "npz"])
@pytest.mark.parametrize("convert", [str, Path])
def test_mnist_folder(tmp_path, form, convert):
    check_tiny(load_mnist(convert(write_folder(tmp_path, tiny_arrays(), form))))


def test_mnist_formats_may_be_mixed_and_folders_of_those_names_are_ignored(tmp_path):
    arrays = tiny_arrays()
    write_folder(tmp_path, {key: arrays[key] for key in ("x_train", "y_test")}, "gz")
    write_folder(tmp_path, {key: arrays[key] for key in ("y_train", "x_test")}, "dotted")
    (tmp_path / "train-images-idx3-ubyte").mkdir()
    check_tiny(load_mnist(tmp_path))


def test_mnist_npz_by_its_own_path(tmp_path):
    write_folder(tmp_path, tiny_arrays(), "npz")
    check_tiny(load_mnist(tmp_path / "mnist.npz"))
    (tmp_path / "mnist.npz").rename(tmp_path / "other name")
    check_tiny(load_mnist(tmp_path / "other name"))


def test_mnist_npz_is_used_if_idx_files_are_missing(tmp_path):
    arrays = tiny_arrays()
    write_folder(tmp_path, arrays, "npz")
    (tmp_path / "train-images-idx3-ubyte").write_bytes(b"unfinished")
    check_tiny(load_mnist(tmp_path))


def test_mnist_environment_variable(tmp_path, monkeypatch):
    monkeypatch.setenv("SKSCRATCH_MNIST", str(write_folder(tmp_path, tiny_arrays())))
    check_tiny(load_mnist())


def test_mnist_argument_overrides_the_environment_variable(tmp_path, monkeypatch):
    monkeypatch.setenv("SKSCRATCH_MNIST", str(tmp_path / "elsewhere"))
    check_tiny(load_mnist(write_folder(tmp_path, tiny_arrays())))


def test_mnist_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    write_folder(tmp_path, tiny_arrays())
    check_tiny(load_mnist("~"))


def test_mnist_makes_no_float64_copy(tmp_path):
    pixels = np.zeros((500, 28, 28), dtype=np.uint8)
    labels = np.zeros(500, dtype=np.uint8)
    write_folder(
        tmp_path,
        {"x_train": pixels, "y_train": labels, "x_test": pixels, "y_test": labels},
        "plain",
    )
    load_mnist(tmp_path)
    tracemalloc.start()
    try:
        load_mnist(tmp_path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # One byte a pixel as read and four scaled, for both parts; a float64 copy of one adds 8 more.
    assert peak < (2 * 5 + 2) * pixels.size


# Invalid MNIST folders


@pytest.mark.parametrize("named_by", ["argument", "environment variable SKSCRATCH_MNIST"])
def test_mnist_folder_missing(tmp_path, monkeypatch, named_by):
    folder = tmp_path / "nowhere"
    if named_by == "argument":
        argument = folder
    else:
        argument = None
        monkeypatch.setenv("SKSCRATCH_MNIST", str(folder))
    with pytest.raises(FileNotFoundError, match=re.escape(str(folder))) as caught:
        load_mnist(argument)
    message = str(caught.value)
    assert f"named by the {named_by}" in message
    hints = ("train-images-idx3-ubyte", "t10k-labels-idx1-ubyte", "mnist.npz", ".gz", "--mnist-dir")
    for hint in (*hints, "SKSCRATCH_MNIST", "http://yann.lecun.com", "OpenML"):
        assert hint in message


@pytest.mark.parametrize("form", ["plain", "gz", "dotted"])
@pytest.mark.parametrize("key", STEMS)
def test_mnist_file_missing(tmp_path, form, key):
    arrays = tiny_arrays()
    del arrays[key]
    write_folder(tmp_path, arrays, form)
    with pytest.raises(FileNotFoundError, match=f"lacks {'-'.join(STEMS[key])} .*SKSCRATCH_MNIST"):
        load_mnist(tmp_path)


def test_mnist_folder_empty(tmp_path):
    names = ", ".join("-".join(name) for name in STEMS.values())
    with pytest.raises(FileNotFoundError, match=f"lacks {names} .*no mnist.npz.*--mnist-dir"):
        load_mnist(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y_train": np.zeros(6)}, "train-images.* 7 images .*train-labels.* 6 labels.*together"),
        ({"y_test": np.zeros(7)}, "t10k-images.* 3 images .*t10k-labels.* 7 labels.*mixed up"),
        ({"y_train": [0, 1, 2, 3, 4, 5, 10]}, "train-labels.*outside 0 to 9.*10.*right file"),
        ({"y_test": [0, 255, 1]}, "t10k-labels.*outside 0 to 9.*255.*right file"),
        ({"x_train": np.zeros(7)}, r"train-images.*shape \(7,\).*but images.*swapped"),
        ({"y_train": np.zeros((7, 3, 4))}, r"train-labels.*shape \(7, 3, 4\).*but labels.*swapped"),
        (
            {"x_test": np.zeros((3, 4, 4))},
            r"train-images.*\(3, 4\).*t10k-images.*\(4, 4\).*together",
        ),
        ({"x_train": np.zeros((0, 3, 4)), "y_train": np.zeros(0)}, "train-images.*empty.*again"),
    ],
)
def test_mnist_arrays_of_inconsistent_shapes(tmp_path, change, message):
    changed = {key: np.asarray(value, dtype=np.uint8) for key, value in change.items()}
    write_folder(tmp_path, tiny_arrays() | changed)
    with pytest.raises(ValueError, match=message):
        load_mnist(tmp_path)


def test_mnist_images_and_labels_swapped(tmp_path):
    arrays = tiny_arrays()
    arrays["x_test"], arrays["y_test"] = arrays["y_test"], arrays["x_test"]
    write_folder(tmp_path, arrays, "gz")
    with pytest.raises(ValueError, match=r"t10k-images-idx3-ubyte\.gz.*swapped"):
        load_mnist(tmp_path)


@pytest.mark.parametrize("key", STEMS)
def test_mnist_broken_file_is_named(tmp_path, key):
    write_folder(tmp_path, tiny_arrays(), "gz")
    path = tmp_path / f"{'-'.join(STEMS[key])}.gz"
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(ValueError, match=f"{path.name}.*again"):
        load_mnist(tmp_path)


# Invalid MNIST archives


def test_npz_with_keys_missing(tmp_path):
    np.savez(tmp_path / "mnist.npz", x_train=np.zeros(3), y_test=np.zeros(3))
    with pytest.raises(ValueError, match="mnist.npz lacks the arrays y_train, x_test.*Keras"):
        load_mnist(tmp_path)


@pytest.mark.parametrize("content", [b"", b"not an archive", idx_bytes(np.zeros(3, np.uint8))])
def test_npz_that_is_not_an_archive(tmp_path, content):
    path = tmp_path / "some.npz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="some.npz is not an .npz archive.*Name an .npz file"):
        load_mnist(path)


def test_npz_truncated(tmp_path):
    write_folder(tmp_path, tiny_arrays(), "npz")
    path = tmp_path / "mnist.npz"
    content = path.read_bytes()
    for n_kept in range(0, len(content), 7):
        path.write_bytes(content[:n_kept])
        with pytest.raises(ValueError, match="mnist.npz is not an .npz archive, or is truncated"):
            load_mnist(path)


def test_npz_with_any_byte_changed_is_refused_or_harmless(tmp_path):
    arrays = {key: array[:2, ...] for key, array in tiny_arrays().items()}
    arrays = {key: array[:, :1, :1] if array.ndim == 3 else array for key, array in arrays.items()}
    path = tmp_path / "mnist.npz"
    np.savez_compressed(path, **arrays)
    content = path.read_bytes()
    expected = load_mnist(path)
    n_refused = 0
    n_tried = 0
    for position in range(0, len(content), 3):  # every third, to save time
        n_tried += 1
        changed = bytearray(content)
        changed[position] ^= 0xFF
        path.write_bytes(changed)
        try:
            images = load_mnist(path)
        except ValueError as error:
            n_refused += 1
            assert "mnist.npz" in str(error)
        else:
            np.testing.assert_array_equal(images.X_train, expected.X_train)
            np.testing.assert_array_equal(images.y_test, expected.y_test)
    assert n_refused > n_tried // 2


class Trap:
    """Records when it is unpickled."""

    sprung = False

    def __reduce__(self):
        """Make unpickling set `sprung`."""
        return setattr, (Trap, "sprung", True)


def test_npz_is_never_unpickled(tmp_path):
    trap = np.array([Trap()], dtype=object)
    path = tmp_path / "mnist.npz"
    np.savez(path, **(tiny_arrays() | {"y_train": trap}))
    with pytest.raises(
        ValueError, match="mnist.npz is damaged, or contains more than plain arrays"
    ):
        load_mnist(path)
    path.write_bytes(pickle.dumps(Trap()))
    with pytest.raises(ValueError, match="mnist.npz is not an .npz archive"):
        load_mnist(path)
    assert not Trap.sprung


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("x_train", np.zeros((7, 3, 4)), "x_train in .*mnist.npz.*float64, not uint8.*unscaled"),
        ("x_train", np.zeros((7, 12), np.uint8), "x_train in .*mnist.npz.*but images"),
        ("y_test", np.zeros(3), "y_test in .*mnist.npz.*float64, not integers"),
        ("y_test", np.array([1, -1, 2]), "y_test in .*mnist.npz.*outside 0 to 9.*-1"),
        ("y_test", np.zeros(4, int), "x_test in .*3 images but y_test in .*mnist.npz.*4 labels"),
    ],
)
def test_npz_arrays_of_inconsistent_shapes(tmp_path, key, value, message):
    write_folder(tmp_path, tiny_arrays() | {key: value}, "npz")
    with pytest.raises(ValueError, match=message):
        load_mnist(tmp_path)


# MNIST from OpenML


def test_openml_first_60000_are_for_training(monkeypatch):
    pixels = np.zeros((70_000, 784), dtype=np.uint8)
    pixels[59_999, 5], pixels[60_000, 6] = 255, 51
    target = (np.arange(70_000) % 10).astype(str).astype(object)
    calls = []

    def fetch(*args, **kwargs):
        calls.append((args, kwargs))
        return pixels, target

    monkeypatch.setattr(sklearn.datasets, "fetch_openml", fetch)
    monkeypatch.setenv("SKSCRATCH_MNIST", "")
    images = load_mnist()
    options = {"version": 1, "as_frame": False, "parser": "auto", "return_X_y": True}
    assert calls == [(("mnist_784",), options)]
    assert images.X_train.shape == (60_000, 784)
    assert images.X_test.shape == (10_000, 784)
    assert images.X_train.dtype == images.X_test.dtype == np.float32
    assert images.y_train.dtype == images.y_test.dtype == np.int64
    assert images.X_train[-1, 5] == 1
    assert images.X_test[0, 6] == np.float32(0.2)
    np.testing.assert_array_equal(images.y_train, np.arange(60_000) % 10)
    np.testing.assert_array_equal(images.y_test, np.arange(10_000) % 10)
    assert images.image_shape == (28, 28)
    assert images.name == "mnist"


@pytest.mark.parametrize(
    "error",
    [
        urllib.error.URLError("no route to host"),
        TimeoutError("no route to host"),
        http.client.IncompleteRead(b"", 5),
        ValueError("md5 checksum does not match"),
        EOFError("ended before the end"),
    ],
)
def test_openml_failure_names_both_alternatives(monkeypatch, error):
    def fetch(*args, **kwargs):
        raise error

    monkeypatch.setattr(sklearn.datasets, "fetch_openml", fetch)
    with pytest.raises(OSError, match="could not be downloaded from OpenML") as caught:
        load_mnist()
    assert caught.value.__cause__ is error
    message = str(caught.value)
    for hint in (type(error).__name__, "try again", "--mnist-dir", "SKSCRATCH_MNIST", "mnist.npz"):
        assert hint in message


def test_openml_without_pandas(monkeypatch):
    def fetch(*args, **kwargs):
        raise ImportError("requires pandas to be installed.")

    monkeypatch.setattr(sklearn.datasets, "fetch_openml", fetch)
    with pytest.raises(ImportError, match="requires pandas.*Install it.*SKSCRATCH_MNIST"):
        load_mnist()


def test_openml_of_another_shape(monkeypatch):
    def fetch(*args, **kwargs):
        return np.zeros((5, 784)), np.zeros(5)

    monkeypatch.setattr(sklearn.datasets, "fetch_openml", fetch)
    with pytest.raises(ValueError, match=r"mnist_784 has the shape \(5, 784\).*--mnist-dir"):
        load_mnist()


# Subsampling


def numbered_images(y_train, y_test=(0, 1)):
    """Return images with the row number as first pixel."""

    def part(labels):
        labels = np.asarray(labels, dtype=np.int64)
        pixels = np.zeros((len(labels), 4), dtype=np.float32)
        pixels[:, 0] = np.arange(len(labels))
        return pixels, labels

    return Images(*part(y_train), *part(y_test), (2, 2), "numbered")


@given(
    labels=st.lists(st.sampled_from([0, 0, 0, 0, 1, 1, 5, 9]), min_size=1, max_size=60),
    seed=st.integers(0, 2**32),
    data=st.data(),
)
def test_subsample_is_stratified_and_keeps_rows_whole(labels, seed, data):
    n_train = data.draw(st.integers(1, len(labels)))
    images = numbered_images(labels)
    before = images.X_train.copy(), images.y_train.copy()
    small = subsample(images, n_train, seed=seed)
    again = subsample(images, n_train, seed=seed)

    assert len(small.X_train) == len(small.y_train) == n_train
    rows = small.X_train[:, 0].astype(int)
    assert (np.diff(rows) > 0).all()
    np.testing.assert_array_equal(rows, again.X_train[:, 0])
    np.testing.assert_array_equal(small.y_train, images.y_train[rows])
    share = np.bincount(labels, minlength=10) * n_train / len(labels)
    assert (np.abs(np.bincount(small.y_train, minlength=10) - share) < 1).all()
    np.testing.assert_array_equal(images.X_train, before[0])
    np.testing.assert_array_equal(images.y_train, before[1])


def test_subsample_other_seed_other_rows():
    images = load_digits()
    small, other = subsample(images, 300, 50, seed=0), subsample(images, 300, 50, seed=1)
    assert not np.array_equal(small.X_train, other.X_train)
    assert not np.array_equal(small.X_test, other.X_test)
    assert small.X_train.shape == (300, 64)
    assert small.X_test.shape == (50, 64)
    assert small.X_train.dtype == np.float32
    assert small.y_train.dtype == np.int64
    assert small.image_shape == (8, 8)
    assert small.name == "digits"
    assert images.X_train.shape == (1437, 64)


def test_subsample_draws_training_and_test_images_independently():
    images = load_digits()
    expected = subsample(images, n_test=50).X_test
    np.testing.assert_array_equal(subsample(images, 100, 50).X_test, expected)
    alike = subsample(numbered_images(np.zeros(50), np.zeros(50)), 10, 10)
    assert not np.array_equal(alike.X_train, alike.X_test)


@pytest.mark.parametrize(("n_train", "n_test"), [(None, None), (6, 2), (None, 2), (6, None)])
def test_subsample_all_keeps_the_order(n_train, n_test):
    images = numbered_images([3, 1, 2, 3, 1, 1])
    same = subsample(images, n_train, n_test, seed=5)
    for key in ("X_train", "y_train", "X_test", "y_test"):
        np.testing.assert_array_equal(getattr(same, key), getattr(images, key))


@pytest.mark.parametrize("n_images", [0, -1, 7])
def test_subsample_error_gives_the_number_of_images(n_images):
    images = numbered_images([3, 1, 2, 3, 1, 1], [0, 1, 0, 1, 0, 1])
    with pytest.raises(ValueError, match=f"n_train .*there are 6 training images; got {n_images}"):
        subsample(images, n_train=n_images)
    with pytest.raises(ValueError, match=f"n_test .*there are 6 test images; got {n_images}"):
        subsample(images, n_test=n_images)


def test_subsample_refuses_a_fraction():
    with pytest.raises(TypeError, match="float"):
        subsample(numbered_images([0, 1]), n_train=0.5)


# The real files


@pytest.mark.skipif(not REAL_MNIST, reason="SKSCRATCH_MNIST names no folder with MNIST")
def test_real_mnist():
    images = load_mnist(REAL_MNIST)
    assert images.X_train.shape == (60_000, 784)
    assert images.X_test.shape == (10_000, 784)
    assert images.X_train.dtype == images.X_test.dtype == np.float32
    assert images.image_shape == (28, 28)
    # MD5 of the four published files, unzipped. The pixels are scaled back to bytes and get their
    # header again, so the test is independent of the file format.
    published = {
        "X_train": "6bbc9ace898e44ae57da46a324031adb",
        "y_train": "a25bea736e30d166cdddb491f175f624",
        "X_test": "2646ac647ad5339dbf082846283269ea",
        "y_test": "27ae3e4e09519cfbb04c329615203637",
    }
    for key, expected in published.items():
        array = getattr(images, key)
        if array.ndim == 2:
            array = np.rint(array * 255).reshape(-1, *images.image_shape)
        content = idx_bytes(array.astype(np.uint8))
        assert hashlib.md5(content, usedforsecurity=False).hexdigest() == expected, key
