import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn.datasets import load_digits

from skscratch.images import RandomWarp

DIGITS = load_digits().data / 16
STILL = {"rotation": 0, "shift": 0, "scale": 0, "shear": 0}


class Largest:
    """A generator that always draws the largest value."""

    def uniform(self, low, high, size):
        return np.full(size, float(high))


def test_a_warp_without_changes_is_the_identity():
    warp = RandomWarp((8, 8), **STILL)
    np.testing.assert_allclose(warp(DIGITS, np.random.default_rng(0)), DIGITS, atol=1e-12)


def test_a_shift_moves_pixels_and_fills_with_zeros():
    image = np.arange(1.0, 16).reshape(1, 15)
    moved = RandomWarp((3, 5), **STILL | {"shift": 1})(image, Largest()).reshape(3, 5)
    expected = np.zeros((3, 5))
    expected[:2, :4] = image.reshape(3, 5)[1:, 1:]
    # The frame is just inside the border.
    np.testing.assert_allclose(moved, expected, atol=0.02)


def test_a_rotation_by_90_degrees_turns_the_image():
    image = np.random.default_rng(0).random((4, 4))
    turned = RandomWarp((4, 4), **STILL | {"rotation": 90})(image.reshape(1, 16), Largest())
    np.testing.assert_allclose(turned.reshape(4, 4), np.rot90(image), atol=0.01)


@pytest.mark.parametrize("word", ["rotation", "shift", "scale", "shear"])
def test_each_change_changes_each_image_in_its_own_way(word):
    warp = RandomWarp((8, 8), **STILL | {word: 0.3})
    twice = warp(np.repeat(DIGITS[:1], 2, axis=0), np.random.default_rng(0))
    assert not np.allclose(twice[0], DIGITS[0])
    assert not np.allclose(twice[0], twice[1])


def test_noise_is_added_last():
    black = np.zeros((200, 64), np.float32)
    noisy = RandomWarp((8, 8), noise=0.3)(black, np.random.default_rng(0))
    assert noisy.dtype == np.float32
    np.testing.assert_allclose(noisy.std(), 0.3, rtol=0.05)


def test_the_generator_determines_the_result():
    warp = RandomWarp((8, 8))
    one, two, other = (warp(DIGITS, np.random.default_rng(seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, two)
    assert not np.array_equal(one, other)


@given(
    arrays.arrays(np.float32, (3, 12), elements=st.floats(-1, 1, width=32)),
    st.floats(0, 180),
    st.floats(0, 10),
)
def test_pixels_stay_in_their_range_and_dtype(X, rotation, shift):
    before = X.copy()
    warped = RandomWarp((3, 4), rotation, shift)(X, np.random.default_rng(0))
    assert warped.dtype == np.float32
    assert warped.shape == X.shape
    assert warped.min() >= min(X.min(), 0) - 1e-6
    assert warped.max() <= max(X.max(), 0) + 1e-6
    np.testing.assert_array_equal(X, before)


def test_images_of_another_size_are_refused():
    with pytest.raises(ValueError, match="Images of 8 × 8 have 64 columns, but X has 63"):
        RandomWarp((8, 8))(DIGITS[:, 1:], np.random.default_rng(0))
