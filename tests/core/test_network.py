import copy
import pickle
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skscratch.core import (
    Activation,
    AppendConstant,
    Contraction,
    Corruption,
    Dense,
    Dropout,
    Initializer,
    KLPenalty,
    Layer,
    Network,
    PerturbedCopies,
    Sigmoid,
    Tanh,
    Variational,
)
from skscratch.core.network import PREDICT_ROWS
from tests.core.common import AT_THE_START, KEEPS_WIDTH, N_IN, PLACED, dense, network, rows


def deep(dtype=np.float64, **options):
    return network(dense(4), Tanh(), Dropout(0.5), dense(3), Sigmoid(), dtype=dtype, **options)


def test_weights_precede_biases_in_one_vector():
    net = network(Dense(4), Tanh(), Dense(3))
    assert net.params.flags.c_contiguous
    assert net.n_weights == N_IN * 4 + 4 * 3
    assert net.n_params == net.n_weights + 4 + 3
    for view in (net.views[0].W, net.views[2].W):
        assert np.shares_memory(view, net.weights)
    for view in (net.views[0].b, net.views[2].b):
        assert np.shares_memory(view, net.params)
        assert not np.shares_memory(view, net.weights)


@pytest.mark.parametrize(
    "twin_of",
    [lambda n: pickle.loads(pickle.dumps(n)), copy.deepcopy, lambda n: n.copy(), copy.copy],
    ids=["pickle", "deepcopy", "copy()", "copy"],
)
def test_a_copys_views_refer_to_its_own_vector(twin_of):
    net = deep()
    twin = twin_of(net)
    np.testing.assert_array_equal(twin(rows()), net(rows()))
    twin.params[:] = 0
    np.testing.assert_array_equal(twin(rows()), np.full((7, 3), 0.5))
    assert all(np.shares_memory(twin.views[i].W, twin.params) for i in (0, 3))


@pytest.mark.parametrize("name", [*PLACED, *KEEPS_WIDTH])
def test_only_weight_matrices_are_penalised(name):
    for layer in PLACED.get(name) or [Layer.named(name)]:
        for param in layer.params(5):
            assert param.role.penalised is (len(param.shape) == 2)


@pytest.mark.parametrize("name", [*PLACED, *KEEPS_WIDTH, *AT_THE_START])
def test_layers_for_inference_predict_like_all_layers(name):
    layers = (PLACED | AT_THE_START).get(name) or [Layer.named(name)]
    net = network(*layers, dense(3))
    settled = [layer.for_inference(n) for layer, n in zip(net.layers, net.widths, strict=False)]
    kept = network(*(layer for layer in settled if layer is not None))
    kept.params[:] = net.params
    np.testing.assert_array_equal(kept(rows()), net(rows()))


def test_tied_weights_stay_tied_in_a_copy():
    net = network(Dense(4), Tanh(), Dense(5), ties={2: 0})
    twin = pickle.loads(pickle.dumps(net))
    twin.views[0].W[:] = 7
    assert (twin.views[2].W == 7).all()


def test_tied_layers_must_have_matching_shapes():
    with pytest.raises(ValueError, match="Layer 2 cannot share the weights of layer 0"):
        network(Dense(4), Tanh(), Dense(6), ties={2: 0})


def test_parts_share_parameters_and_compose():
    net = deep()
    first, second = net.part(0, 2), net.part(2)
    np.testing.assert_array_equal(second(first(rows())), net(rows()))
    net.views[0].W[:] = 0
    np.testing.assert_array_equal(first(rows()), np.tile(np.tanh(net.views[0].b), (7, 1)))


def test_a_part_pickled_with_its_network_still_shares():
    net = deep()
    twin, part = pickle.loads(pickle.dumps((net, net.part(0, 2))))
    twin.params[:] = 0
    assert (part(rows()) == 0).all()


def test_a_part_can_have_extra_layers():
    net = network(Dense(4), Tanh(), Dense(3))
    np.testing.assert_allclose(
        net.part(0, extra_layers=[Sigmoid()])(rows()), 1 / (1 + np.exp(-net(rows())))
    )


@pytest.mark.parametrize("name", [*PLACED, *AT_THE_START, *KEEPS_WIDTH])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_any_layer_keeps_the_dtype_and_the_input(name, dtype):
    layers = (PLACED | AT_THE_START).get(name) or [Layer.named(name)]
    X = rows(dtype=dtype)
    before = X.copy()
    X.flags.writeable = False
    for train in (False, True):
        net = network(*layers, dense(2), dtype=dtype)
        ws = net.workspace(len(X), train=train, rng=np.random.default_rng(0))
        assert net.forward(X, ws).dtype == dtype
        if train:
            ws.frames(len(X))[-1].dy[:] = 1
            net.backward(ws)
            assert ws.grad.dtype == dtype
            assert np.isfinite(ws.grad).all()
    np.testing.assert_array_equal(X, before)


@pytest.mark.parametrize(
    "name",
    [n for n in KEEPS_WIDTH if n not in Activation.members() and not Layer.named(n).params(3)],
)
def test_noise_and_penalties_do_not_act_in_prediction(name):
    np.testing.assert_array_equal(network(Layer.named(name))(rows()), rows())


def test_a_variational_layer_predicts_the_mean_and_samples_around_it():
    net = network(Variational(), n_in=4)
    assert net.n_out == 2
    X = rows(10_000, 4) * 0 + [3.0, -1.0, 0.0, np.log(4)]
    np.testing.assert_array_equal(net(X), X[:, :2])
    drawn = net.forward(X, net.workspace(len(X), train=True, rng=np.random.default_rng(0)))
    np.testing.assert_allclose(drawn.mean(axis=0), [3, -1], atol=0.1)
    np.testing.assert_allclose(drawn.std(axis=0), [1, 2], rtol=0.05)
    with pytest.raises(ValueError, match="needs an even input width, got 3"):
        network(Variational(), n_in=3)


def test_the_contraction_is_the_squared_norm_of_the_jacobian():
    # The Jacobian of a linear layer is its weight matrix, for any rows.
    n = 20_000
    net = network(PerturbedCopies(), Dense(3), Contraction(strength=0.5))
    X = rows(n)
    ws = net.workspace(n, train=True, rng=np.random.default_rng(0))
    assert len(net.forward(X, ws)) == n
    frame = ws.frames(n)[-1]
    frame.scale = 1 / n
    expected = 0.5 * (net.views[1].W ** 2).sum()
    np.testing.assert_allclose(net.layers[-1].penalty(frame), expected, rtol=0.02)


def test_the_kl_penalty_is_smallest_at_the_target():
    layer, X = KLPenalty(target=0.2), np.full((4, 3), 0.2)
    net = network(layer, n_in=3)

    def penalty(X):
        ws = net.workspace(len(X), train=True)
        net.forward(X, ws)
        ws.frames(len(X))[-1].scale = 1 / len(X)
        return layer.penalty(ws.frames(len(X))[-1])

    assert abs(penalty(X)) < 1e-15
    # Only the mean over the rows matters.
    assert abs(penalty(np.array([[0.1], [0.3]]) * np.ones(3))) < 1e-15
    assert penalty(X + 0.1) > 0
    assert penalty(X - 0.1) > 0


def test_a_loaded_corruption_raises_in_training(tmp_path):
    net = network(*AT_THE_START["corruption"], dense(3))
    net.save(tmp_path / "net.npz")
    loaded = Network.load(tmp_path / "net.npz")
    np.testing.assert_array_equal(loaded(rows()), net(rows()))
    with pytest.raises(ValueError, match="function of a corruption layer is not saved"):
        loaded.forward(rows(), loaded.workspace(7, train=True, rng=np.random.default_rng(0)))
    wrong = network(Corruption(lambda x, rng: x[:, 1:]), dense(3))
    with pytest.raises(ValueError, match=r"the shape it is given, \(7, 5\); it returned \(7, 4\)"):
        wrong.forward(rows(), wrong.workspace(7, train=True, rng=np.random.default_rng(0)))


def test_append_constant():
    y = network(AppendConstant(3.0))(rows())
    np.testing.assert_array_equal(y[:, :-1], rows())
    assert (y[:, -1] == 3).all()


def test_a_row_has_the_same_output_alone_and_in_a_block():
    net, X = deep(), rows(PREDICT_ROWS + 3)
    np.testing.assert_allclose(net(X)[-2:], net(X[-2:]), rtol=1e-12)


def test_predicting_from_many_threads():
    net, X = deep(), rows(200)
    expected, wrong = net(X), []

    def predict():
        for _ in range(30):
            if not np.array_equal(net(X), expected):
                wrong.append(1)

    threads = [threading.Thread(target=predict) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_the_same_seed_gives_the_same_parameters():
    np.testing.assert_array_equal(deep(seed=3).params, deep(seed=3).params)
    assert not np.array_equal(deep(seed=3).params, deep(seed=4).params)
    assert not network(Dense(3, Initializer.named("zeros"))).params.any()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_saving_and_loading(tmp_path, dtype):
    net = deep(dtype=dtype)
    net.save(tmp_path / "weights")
    twin = Network.load(tmp_path / "weights")
    assert twin.layers == net.layers
    assert twin.dtype == dtype
    np.testing.assert_array_equal(twin.params, net.params)
    tied = network(Dense(4), Dense(5), ties={1: 0})
    tied.save(tmp_path / "tied.npz")
    assert Network.load(tmp_path / "tied.npz").ties == {1: 0}


def test_invalid_files_are_refused(tmp_path):
    path = tmp_path / "wrong.npz"
    for content in (b"", b"hello", pickle.dumps({"a": 1})):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"wrong\.npz' is not a network"):
            Network.load(path)
    np.savez(path, params=np.zeros(3))
    with pytest.raises(ValueError, match=r"wrong\.npz' is not a network"):
        Network.load(path)
    np.savez(path, network=np.array('{"format": "something else"}'), params=np.zeros(3))
    with pytest.raises(ValueError, match="does not describe a network"):
        Network.load(path)
    net = deep()
    net.save(path)
    with np.load(path) as arrays:
        np.savez(path, network=arrays["network"], params=arrays["params"][:-1])
    with pytest.raises(ValueError, match="The network has 39 parameters"):
        Network.load(path)
    with pytest.raises(FileNotFoundError):
        Network.load(tmp_path / "missing.npz")


class Trap:
    sprung = False

    def __reduce__(self):
        return Trap.spring, ()

    @staticmethod
    def spring():
        Trap.sprung = True


def test_loading_never_executes_code_from_a_file(tmp_path):
    path = tmp_path / "trap.npz"
    np.savez(path, network=np.array([Trap()], dtype=object), params=np.zeros(3))
    with pytest.raises(ValueError, match="is not a network"):
        Network.load(path)
    assert not Trap.sprung


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_damaged_file_is_refused_or_harmless(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("damaged") / "net.npz"
    net = deep()
    net.save(path)
    content = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content[: data.draw(st.integers(place, len(content)))])
    try:
        twin = Network.load(path)
    except ValueError as error:
        assert "net.npz" in str(error)
    else:
        np.testing.assert_array_equal(twin.params, net.params)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Network([], 3), "at least one layer"),
        (lambda: Network([Dense(3)], 3, np.int64), "dtype must be float32 or float64"),
        (lambda: Network([Dense(3)], 3)(np.ones((2, 4))), r"Expected an array of shape \(n, 3\)"),
    ],
)
def test_bad_input(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_anything_but_layers_is_refused():
    with pytest.raises(TypeError, match="Expected layers, got 'relu'"):
        Network([Dense(3), "relu"], 3)


def test_more_rows_than_the_workspace_holds_are_refused():
    with pytest.raises(ValueError, match="holds 3 rows, not 7"):
        deep().forward(rows(), deep().workspace(3))
