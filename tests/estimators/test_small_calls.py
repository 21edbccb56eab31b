"""What makes calls with few rows fast: copies made late, shared columns, labels without a library.

No time is measured here; the tests state that the short ways give what the long ones do.
"""

import copy
import pickle
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.datasets import load_iris
from sklearn.preprocessing import LabelBinarizer

from skscratch import MLPClassifier
from skscratch.estimators._random import CopiedGenerators, RandomDraws
from skscratch.estimators._targets import ClassTargets

X, y = load_iris(return_X_y=True)
# Numbers of rows to shuffle.
DRAWS = (1, 5, 5, 3)


def draws(rng):
    return [rng.permutation(n).tolist() for n in DRAWS], rng.uniform(size=3).tolist()


@pytest.mark.parametrize(
    "random_state",
    [0, np.random.RandomState(4), np.random.RandomState(np.random.PCG64(2))],
    ids=["int", "RandomState", "another kind of bits"],
)
@pytest.mark.parametrize("n_copies", [1, 3])
@pytest.mark.parametrize("drawn", [False, True])
def test_a_copy_draws_what_the_original_would(random_state, n_copies, drawn):
    original = RandomDraws(copy.deepcopy(random_state))
    if drawn:
        original.permutation(4)
    copied = original
    for _ in range(n_copies):
        copied = copied.copy()
    read_back = pickle.loads(pickle.dumps(copied))
    expected = draws(copied)
    assert draws(read_back) == expected
    # Nothing was drawn from the original.
    assert draws(original) == expected


def test_a_copy_does_not_depend_on_what_else_the_caller_draws():
    state = np.random.RandomState(0)
    copied = RandomDraws(state).copy()
    expected = draws(RandomDraws(np.random.RandomState(0)))
    state.rand(10)
    assert draws(copied) == expected


def test_generators_that_are_spawned_from_copies_are_independent_of_each_other():
    originals = np.random.default_rng(0).spawn(1)
    first, second = (CopiedGenerators(originals)[0].spawn(1)[0].random() for _ in range(2))
    assert first == second


def test_one_row_draws_nothing():
    state = np.random.RandomState(0)
    RandomDraws(state).permutation(1)
    assert state.randint(1000) == np.random.RandomState(0).randint(1000)


@pytest.mark.parametrize("bits", [np.random.PCG64, np.random.Philox])
def test_generators_are_copied_when_they_are_used(bits):
    originals = [np.random.Generator(bits(k)) for k in range(3)]
    copies = CopiedGenerators(originals)
    drawn = copies[1].random(4)
    assert copies[1] is copies[1]
    assert [mine is its for mine, its in zip(copies, originals, strict=True)] == [True, False, True]
    np.testing.assert_array_equal(originals[1].random(4), drawn)
    assert len(copies) == 3


LABELS = st.one_of(
    arrays(np.int64, st.integers(1, 30), elements=st.integers(-3, 3)),
    arrays("U3", st.integers(1, 30), elements=st.sampled_from(["ash", "elm", "oak", "yew"])),
    arrays(bool, st.integers(1, 30)),
)


@given(LABELS, st.sampled_from([np.float32, np.float64]))
def test_labels_are_encoded_and_decoded_as_by_scikit_learn(labels, dtype):
    targets, binarizer = ClassTargets(labels), LabelBinarizer().fit(labels)
    encoded = targets.encode(labels, dtype)
    assert encoded.dtype == dtype
    np.testing.assert_array_equal(encoded, binarizer.transform(labels))
    np.testing.assert_array_equal(targets.decode(encoded), labels)
    rng = np.random.default_rng(len(labels))
    scores = rng.random(encoded.shape)
    expected = binarizer.inverse_transform(scores[:, 0] if scores.shape[1] == 1 else scores)
    np.testing.assert_array_equal(targets.decode(scores), expected)


def test_objects_are_labels_too():
    labels = np.array(["b", "a", "c", "a"], dtype=object)
    targets = ClassTargets(labels)
    np.testing.assert_array_equal(targets.encode(labels, float).argmax(axis=1), [1, 0, 2, 0])
    assert targets.decode(np.eye(3)).tolist() == ["a", "b", "c"]


def test_columns_of_labels_are_refused_where_one_column_was_known():
    model = MLPClassifier(max_iter=2, random_state=0).partial_fit(X, y, classes=[0, 1, 2])
    with pytest.raises(ValueError, match="multilabel"):
        model.partial_fit(X[:3], np.eye(3, dtype=int))


def test_a_million_calls_do_not_copy_their_history():
    model = MLPClassifier((3,), random_state=0).partial_fit(X, y, classes=[0, 1, 2])
    column = model._history["loss"]
    for _ in range(3):
        model.partial_fit(X[:5], y[:5])
    assert model._history["loss"] is column
    assert len(model.loss_curve_) == len(column) == 4


def test_copies_that_go_on_have_histories_of_their_own():
    model = MLPClassifier((3,), random_state=0).partial_fit(X, y, classes=[0, 1, 2])
    twin = copy.copy(model)
    model.partial_fit(X[:50], y[:50])
    first = model.loss_curve_
    assert len(twin.loss_curve_) == 1
    twin.partial_fit(X[50:], y[50:]).partial_fit(X[50:], y[50:])
    assert model.loss_curve_ == first
    assert len(twin.loss_curve_) == 3
    assert twin.loss_curve_[0] == first[0]
    assert twin.loss_curve_[1] != first[1]


def test_a_call_that_fails_leaves_the_history():
    model = MLPClassifier((3,), random_state=0).partial_fit(X, y, classes=[0, 1, 2])
    before = model.history_
    with pytest.raises(ValueError, match="non-finite"):
        model.partial_fit(X * 2e307, y)
    assert model.history_ == before
    model.partial_fit(X, y)
    assert len(model.history_) == 2


def test_copies_that_go_on_in_threads_have_histories_of_their_own():
    model = MLPClassifier((3,), random_state=0).partial_fit(X, y, classes=[0, 1, 2])
    copies = [copy.copy(model) for _ in range(4)]

    def go_on(k):
        for _ in range(20):
            copies[k].partial_fit(X[k::4], y[k::4])

    threads = [threading.Thread(target=go_on, args=(k,)) for k in range(len(copies))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for k, copied in enumerate(copies):
        alone = copy.copy(model)
        for _ in range(20):
            alone.partial_fit(X[k::4], y[k::4])
        assert copied.loss_curve_ == alone.loss_curve_
