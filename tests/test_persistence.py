import io
import json
import os
import pickle
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn import config_context
from sklearn.base import BaseEstimator, clone
from sklearn.datasets import load_iris
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.utils.validation import check_is_fitted

from skscratch import AutoencoderTransformer, LinearSVM, MLPClassifier, MLPRegressor, persistence
from skscratch.images import RandomWarp
from skscratch.persistence import load, save

X, y = load_iris(return_X_y=True)
X = X / X.max(axis=0)
NAMES = np.array(["setosa", "versicolor", "virginica"], dtype=object)[y]
LABELS = np.column_stack([y == 0, y != 1]).astype(int)
# An epoch never improves by so much, so that all networks stop early.
EPOCHS = {"max_iter": 9, "tol": 1e9, "n_iter_no_change": 1, "random_state": 0}
SGD = {"max_iter": 500, "tol": 1e-2, "random_state": 0}

CASES = {
    "classifier": (MLPClassifier(4, solver="lbfgs", tol=1.0, random_state=0), y),
    "classifier, two classes": (MLPClassifier(4, **EPOCHS), y == 1),
    "classifier, texts": (MLPClassifier((4, 3), early_stopping=True, **EPOCHS), NAMES),
    "classifier, fixed texts": (MLPClassifier([4], **EPOCHS), NAMES.astype(str)),
    "classifier, multilabel": (MLPClassifier(np.array([4, 3]), **EPOCHS), LABELS),
    "classifier, sparse": (MLPClassifier(4, **EPOCHS), sparse.csr_matrix(LABELS)),
    "regressor": (MLPRegressor(hidden_layer_sizes=4, solver="sgd", **EPOCHS), X[:, 0]),
    "regressor, two outputs": (MLPRegressor("poisson", 4, **EPOCHS), X[:, :2]),
    "autoencoder": (AutoencoderTransformer(2, 5, max_iter=3, random_state=0), None),
    "autoencoder, all options": (
        AutoencoderTransformer(
            2,
            (5, 4),
            activation="silu",
            loss="binary_log_loss",
            noise="gaussian",
            sparsity=1e-3,
            tied_weights=True,
            solver="adamw",
            n_iter_no_change=np.inf,
            max_iter=3,
            random_state=0,
        ),
        None,
    ),
    "autoencoder, variational": (
        AutoencoderTransformer(2, 5, beta=0.5, dropout=0.1, max_iter=1, random_state=0),
        None,
    ),
    "autoencoder, contractive and sparse": (
        AutoencoderTransformer(
            2,
            5,
            contraction=0.1,
            latent_activation="logistic",
            sparsity=0.1,
            sparsity_target=0.2,
            loss="auto",
            max_iter=1,
            random_state=0,
        ),
        None,
    ),
    "autoencoder, warped images": (
        AutoencoderTransformer(2, 5, noise=RandomWarp((2, 2)), max_iter=1, random_state=0),
        None,
    ),
    "autoencoder, no hidden layer": (AutoencoderTransformer(2, (), max_iter=1), None),
    "svm": (LinearSVM(), y),
    "svm, two classes": (LinearSVM("l2", "hinge", class_weight={True: 2.0}), y == 1),
    "svm, texts": (LinearSVM(multi_class="crammer_singer", class_weight="balanced"), NAMES),
    "svm, sgd": (LinearSVM(solver="sgd", **SGD), y),
}
METHODS = (
    "predict",
    "predict_proba",
    "decision_function",
    "transform",
    "reconstruct",
    "score_samples",
)


def fitted(case, rows=X):
    estimator, target = CASES[case]
    return clone(estimator).fit(rows, target)


def assert_same(one, other):
    """Everything that can be asked of the two has the same bits."""
    if sparse.issparse(one):
        one, other = one.toarray(), other.toarray()
    np.testing.assert_array_equal(one, other)
    assert np.asarray(one).dtype == np.asarray(other).dtype


def assert_predicts_the_same(estimator, loaded, rows=X):
    asked = [name for name in METHODS if hasattr(estimator, name)]
    assert asked
    for name in asked:
        assert_same(getattr(estimator, name)(rows), getattr(loaded, name)(rows))


@pytest.fixture
def file(tmp_path):
    return tmp_path / "model.npz"


def round_trip(estimator, file):
    save(estimator, file)
    return load(file)


# What comes back.


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("case", CASES)
def test_predictions_have_the_same_bits(case, dtype, file):
    rows = X.astype(dtype)
    estimator = fitted(case, rows)
    assert_predicts_the_same(estimator, round_trip(estimator, file), rows)


@pytest.mark.parametrize("case", CASES)
def test_parameters_come_back_with_their_types(case, file):
    estimator = CASES[case][0]
    before, after = estimator.get_params(), round_trip(estimator, file).get_params()
    assert before.keys() == after.keys()
    for name, value in before.items():
        assert type(after[name]) is type(value), name
        np.testing.assert_array_equal(after[name], value)


@pytest.mark.parametrize("case", CASES)
def test_an_estimator_that_is_not_fitted_stays_so(case, file):
    loaded = round_trip(clone(CASES[case][0]), file)
    with pytest.raises(NotFittedError):
        check_is_fitted(loaded)


@pytest.mark.parametrize("case", CASES)
def test_fitted_attributes_come_back(case, file):
    estimator = fitted(case)
    loaded = round_trip(estimator, file)
    assert vars(estimator).keys() == vars(loaded).keys()
    for name in vars(estimator):
        before, after = getattr(estimator, name), getattr(loaded, name)
        assert name in persistence.STATE or type(before) is type(after), name
        if name.endswith("_") and name != "network_":
            np.testing.assert_array_equal(after, before)


@pytest.mark.parametrize("case", CASES)
def test_a_loaded_estimator_can_be_fitted_again(case, file):
    estimator, target = CASES[case]
    loaded = round_trip(fitted(case), file)
    if estimator.random_state is not None or isinstance(estimator, LinearSVM):
        assert_predicts_the_same(clone(estimator).fit(X, target), loaded.fit(X, target))


@pytest.mark.parametrize("case", CASES)
def test_a_loaded_estimator_can_be_saved_again(case, file):
    estimator = fitted(case)
    assert_predicts_the_same(estimator, round_trip(round_trip(estimator, file), file))


@pytest.mark.parametrize("case", CASES)
def test_a_loaded_estimator_can_be_trained_further(case, file):
    target = CASES[case][1]
    estimator = fitted(case)
    if hasattr(estimator, "partial_fit") and not getattr(estimator, "early_stopping", False):
        loaded = round_trip(estimator, file)
        extra = {"classes": np.unique(target)} if case == "svm, sgd" else {}
        loaded.partial_fit(X, *([] if target is None else [target]), **extra)
    loaded = round_trip(estimator.set_params(warm_start=True), file)
    assert loaded.fit(X, target) is loaded


def test_an_svm_goes_on_learning_piece_by_piece(file):
    svm = LinearSVM(solver="sgd", random_state=0).partial_fit(X[::2], y[::2], classes=[0, 1, 2])
    loaded = round_trip(svm, file).partial_fit(X[1::2], y[1::2])
    assert loaded._weight_seen == len(X)


def test_a_saved_autoencoder_still_has_two_halves_of_one_network(file):
    loaded = round_trip(fitted("autoencoder"), file)
    loaded.network_.params[:] = 0
    assert not loaded.transform(X).any()
    assert np.shares_memory(loaded.encoder_.views[0].W, loaded.network_.params)


def test_column_names_output_container_and_routing_come_back(file):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=["a", "b", "c", "d"])
    with config_context(enable_metadata_routing=True):
        encoder = AutoencoderTransformer(2, (), max_iter=1, random_state=0)
        encoder.set_fit_request(X_val=True, sample_weight="weight").set_output(transform="pandas")
        encoder.fit(frame)
        loaded = round_trip(encoder, file)
        request = loaded.get_metadata_routing().fit.requests
    assert request["X_val"] is True
    assert request["sample_weight"] == "weight"
    assert loaded.feature_names_in_.tolist() == ["a", "b", "c", "d"]
    pandas.testing.assert_frame_equal(loaded.transform(frame), encoder.transform(frame))


def test_an_output_container_does_not_make_an_estimator_fitted(file):
    pytest.importorskip("pandas")
    loaded = round_trip(AutoencoderTransformer().set_output(transform="pandas"), file)
    with pytest.raises(NotFittedError):
        check_is_fitted(loaded)
    assert hasattr(loaded.fit_transform(X), "columns")


def test_callbacks_are_left_out(file):
    class Nothing:
        def setup(self, estimator, context): ...
        def on_fit_task_begin(self, estimator, context): ...
        def on_fit_task_end(self, estimator, context): ...
        def teardown(self, estimator, context): ...

    estimator = clone(CASES["autoencoder"][0]).set_callbacks(Nothing()).fit(X)
    assert not hasattr(round_trip(estimator, file), "_skl_callbacks")


def test_the_name_of_the_file_is_kept(tmp_path):
    save(LinearSVM(), tmp_path / "model")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    save(LinearSVM(C=2.0), str(tmp_path / "model"))
    assert load(str(tmp_path / "model")).C == 2.0


# What cannot be written.


class Stranger(BaseEstimator):
    pass


class Heir(LinearSVM):
    pass


@pytest.mark.parametrize("estimator", [Stranger(), Heir(), make_pipeline(LinearSVM()), 3])
def test_other_classes_are_refused(estimator, file):
    with pytest.raises(ValueError, match=f"Cannot save a {type(estimator).__name__}"):
        save(estimator, file)
    assert not file.exists()


@pytest.mark.parametrize(
    "parameters",
    [
        {"random_state": np.random.RandomState(0)},
        {"hidden_layer_sizes": len},
        {"hidden_layer_sizes": (4, len)},
        {"hidden_layer_sizes": [{"deep": len}]},
        {"hidden_layer_sizes": np.array([len])},
        {"hidden_layer_sizes": np.zeros(1, dtype=[("x", object)])},
        {"alpha": 1j},
    ],
)
def test_what_is_not_plain_data_is_refused_before_anything_is_written(parameters, tmp_path):
    (name,) = parameters
    with pytest.raises(ValueError, match=f"parameter of MLPClassifier '{name}': .* not plain data"):
        save(MLPClassifier().set_params(**parameters), tmp_path / "model.npz")
    assert not list(tmp_path.iterdir())


def test_attributes_that_are_not_plain_data_are_refused(file):
    estimator = fitted("svm")
    estimator.extra_ = len
    with pytest.raises(ValueError, match="attribute of LinearSVM 'extra_'"):
        save(estimator, file)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    file = tmp_path / "model.npz"
    save(LinearSVM(C=3.0), file)

    def savez(stream, **arrays):
        stream.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(np, "savez", savez)
    with pytest.raises(OSError, match="disk full"):
        save(LinearSVM(C=4.0), file)
    assert list(tmp_path.iterdir()) == [file]
    assert load(file).C == 3.0


def test_a_folder_that_does_not_exist_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        save(LinearSVM(), tmp_path / "nowhere" / "model.npz")
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "model.npz")


# What cannot be read. All of it is a ValueError that names the file.


def refused(file):
    return pytest.raises(ValueError, match=r"model\.npz' is not an estimator saved by")


class Bomb:
    def __reduce__(self):
        return os.mkdir, ("a-folder-that-unpickling-would-make",)


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"PK\x03\x04", pickle.dumps(Bomb()), b"\x93NUMPY\x01\x00"]
)
def test_foreign_files_are_refused(content, file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file.write_bytes(content)
    with refused(file):
        load(file)
    assert list(tmp_path.iterdir()) == [file]


def test_pickles_inside_are_not_opened(file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save(fitted("svm"), file)
    for victim in list(contents(file)):
        arrays = {**contents(file), victim: np.array([Bomb()], dtype=object)}
        np.savez(file, allow_pickle=True, **arrays)
        with refused(file):
            load(file)
        save(fitted("svm"), file)
    assert list(tmp_path.iterdir()) == [file]


def test_other_archives_are_refused(file):
    np.savez(file, params=np.zeros(3))
    with refused(file):
        load(file)
    fitted("autoencoder").network_.save(file)
    with refused(file):
        load(file)


def test_compressed_archives_are_refused_before_they_are_unpacked(file):
    np.savez_compressed(file, skscratch=np.zeros(10**6, dtype=np.uint8))
    with refused(file) as caught:
        load(file)
    assert "compressed" in str(caught.value)


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    folder = tmp_path_factory.mktemp("archives")
    saved = {}
    for case in ("classifier, texts", "regressor", "autoencoder, all options", "svm"):
        save(fitted(case), folder / "model.npz")
        saved[case] = (folder / "model.npz").read_bytes()
    return saved


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.99, 0.999])
def test_truncated_files_are_refused(share, archives, file):
    for whole in archives.values():
        file.write_bytes(whole[: int(share * len(whole))])
        with refused(file):
            load(file)


def contents(file):
    with np.load(file) as arrays:
        return dict(arrays)


def description(file):
    return json.loads(contents(file)["skscratch"].tobytes())


def rewrite(file, described, **changed):
    arrays = {**contents(file), **changed}
    arrays["skscratch"] = np.frombuffer(json.dumps(described).encode(), dtype=np.uint8)
    np.savez(file, **arrays)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("format",), "skscratch estimator 0"),
        (("class",), "Pipeline"),
        (("class",), "__import__"),
        (("class",), ["LinearSVM"]),
        (("parameters", "unknown"), 1),
        (("attributes", "predict"), 1),
        (("attributes", "__class__"), 1),
        (("attributes", "__dict__"), 1),
        (("attributes", "_validate_params"), 1),
        (("attributes", "_parameter_constraints"), 1),
        (("attributes", "coef_"), {"eval": "1"}),
        (("attributes", "coef_"), {"array": "array 99"}),
        (("attributes", "coef_"), {"array": "skscratch"}),
        (("attributes", "coef_"), {"array": None, "tuple": []}),
        (("attributes", "coef_"), {}),
        (("attributes", "coef_"), "text"),
        (("attributes", "n_features_in_"), 5),
        (("attributes", "n_features_in_"), -1),
        (("attributes", "n_features_in_"), None),
        (("attributes", "_sklearn_output_config"), {"dict": [["transform", "nonsense"]]}),
        (("attributes", "_metadata_request"), {"dict": [["fit", {"dict": [["nonsense", True]]}]]}),
        (("attributes", "_metadata_request"), {"dict": [["nonsense", {"dict": []}]]}),
        (("attributes",), []),
        (("parameters",), None),
    ],
)
def test_tampered_descriptions_are_refused(path, value, file):
    save(fitted("svm"), file)
    described = description(file)
    place = described
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    rewrite(file, described)
    with refused(file):
        load(file)


@pytest.mark.parametrize("value", ["not json", "[]", "3", "[" * 100_000, '{"format": 1}'])
def test_a_description_that_is_none_is_refused(value, file):
    save(fitted("svm"), file)
    arrays = {**contents(file), "skscratch": np.frombuffer(value.encode(), dtype=np.uint8)}
    np.savez(file, **arrays)
    with refused(file):
        load(file)


@pytest.mark.parametrize("case", ["classifier", "regressor", "autoencoder"])
def test_parameters_of_another_network_are_refused(case, file):
    save(fitted(case), file)
    described = description(file)
    _, name = described["attributes"]["network_"]["network"]
    short = contents(file)[name][:-1]
    rewrite(file, described, **{name: short})
    with refused(file):
        load(file)
    rewrite(file, described, **{name: np.append(short, 0.0).astype(np.float16)})
    with refused(file):
        load(file)


def test_a_noise_of_ones_own_is_refused_and_not_needed(file):
    encoder = AutoencoderTransformer(2, 5, noise=lambda rows, rng: rows, max_iter=1).fit(X)
    with pytest.raises(ValueError, match="'noise'"):
        save(encoder, file)
    assert not file.exists()
    save(encoder.set_params(noise=None), file)
    np.testing.assert_array_equal(load(file).transform(X), encoder.transform(X))


def test_recipes_that_nobody_knows_are_refused(file):
    save(fitted("autoencoder"), file)
    described = description(file)
    described["attributes"]["network_"]["network"][0]["layers"][0]["name"] = "os.system"
    rewrite(file, described)
    with refused(file):
        load(file)


def test_an_array_that_claims_to_be_enormous_is_refused(file):
    save(fitted("svm"), file)
    with zipfile.ZipFile(file) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f8", "fortran_order": False, "shape": (2**40, 2**10)}
    )
    members["array 0.npy"] = header.getvalue()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    with refused(file):
        load(file)


def test_a_damaged_directory_is_refused_or_changes_nothing(file):
    save(fitted("svm"), file)
    whole = file.read_bytes()
    for place in range(whole.index(b"PK\x01\x02"), len(whole)):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        try:
            loaded = load(file)
        except ValueError as error:
            assert "model.npz" in str(error)
        else:
            assert_plain(loaded)


@settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_tampered_bytes_are_refused_or_change_nothing_that_runs(data, archives, file, monkeypatch):
    def forbidden(*args, **kwargs):
        raise AssertionError("a pickle was opened")

    monkeypatch.setattr(pickle, "loads", forbidden)
    monkeypatch.setattr(pickle, "load", forbidden)
    monkeypatch.setattr(pickle, "Unpickler", forbidden)
    whole = bytearray(archives[data.draw(st.sampled_from(sorted(archives)))])
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(whole) - 1))
        whole[place] = data.draw(st.integers(0, 255))
    file.write_bytes(bytes(whole))
    try:
        loaded = load(file)
    except ValueError as error:
        message = str(error)
        assert "model.npz" in message
    else:
        assert type(loaded) in persistence.CLASSES
        assert_plain(loaded)


def assert_plain(loaded):
    """No attribute of a loaded estimator can be called, other than a network."""
    for name, value in vars(loaded).items():
        assert name == "network_" or not callable(value)


TEXTS = st.text(max_size=5)
PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | TEXTS
    | st.sampled_from([np.float32(0.1), np.int8(3), np.str_("x"), np.bool_(True)]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(TEXTS | st.integers(), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=PLAIN)
def test_any_plain_value_comes_back_as_it_was(value, file):
    loaded = round_trip(LinearSVM(class_weight=value), file).class_weight
    assert same(loaded, value)


def same(one, other):
    if type(one) is not type(other):
        return False
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return same(list(one.items()), list(other.items()))
    return one == other
