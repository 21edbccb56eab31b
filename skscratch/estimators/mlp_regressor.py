"""A multi-layer perceptron regressor with scikit-learn's interface."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from numbers import Real
from typing import Any, ClassVar

import numpy as np
from sklearn.base import (
    ClassNamePrefixFeaturesOutMixin,
    RegressorMixin,
)
from sklearn.metrics import d2_pinball_score, r2_score
from sklearn.utils.validation import check_is_fitted, column_or_1d

from skscratch.core.activations import Activation
from skscratch.core.functions import Array
from skscratch.core.losses import Loss, Pinball
from skscratch.core.network import Network
from skscratch.estimators._available import available_if
from skscratch.estimators._base import (
    TRAINING,
    VALIDATION,
    FitData,
    has_partial_fit,
)
from skscratch.estimators._data import check_rows, check_weight, network_dtype
from skscratch.estimators._from_network import check_stack
from skscratch.estimators._parameters import RegisteredNames, recipe_of
from skscratch.estimators._perceptron import MultilayerPerceptron
from skscratch.estimators._sklearn import Interval
from skscratch.estimators._state import all_or_nothing, reads_model

# Losses for class targets, which do not apply to regression.
OF_CLASSES = frozenset({"log_loss", "hinge", "squared_hinge", "multiclass_hinge"})


@dataclass(eq=False, repr=False, kw_only=True)
class MLPRegressor(RegressorMixin, ClassNamePrefixFeaturesOutMixin, MultilayerPerceptron):
    """Multi-layer perceptron regressor.

    It has the parameters, attributes and methods of scikit-learn's class of the same name, with
    the same meaning, and for the same `random_state` the same network. Further parameters are
    `noise`, `noise_level`, `n_jobs` and those from `dropout` on. It minimises the mean loss, summed
    over the outputs, plus ``alpha / 2 · ‖weights‖² / n`` over each batch of n rows.

    Parameters
    ----------
    loss : {'squared_error', 'poisson', 'absolute_error', 'huber', 'pinball'}, str or Loss, \
default='squared_error'
        Half the squared error; half the Poisson deviance of targets that are at least 0, where the
        outputs are logarithms; the absolute error, for the median; Huber's mixture of both; the
        pinball loss, for quantiles; the name of a custom loss, or an instance.
    hidden_layer_sizes : array-like of int, default=(100,)
        Width of each hidden layer.
    activation : str, Activation or list, default='relu'
        Activation of the hidden layers: scikit-learn's 'identity', 'logistic', 'tanh' and 'relu',
        any other member of `skscratch.core.Activation`, or a list with one for each layer.
    solver : {'lbfgs', 'sgd', 'adam', 'adamw', 'rmsprop'}, str or Optimizer, default='adam'
        'lbfgs' is SciPy's L-BFGS-B on all rows at once; the others take mini-batches. A custom
        optimizer is given by its name or as an instance.
    alpha : float, default=0.0001
        Strength of the L2 penalty on the weights; with 'adamw' the decoupled weight decay.
    batch_size : int or 'auto', default='auto'
        Rows in a mini-batch; 'auto' is ``min(200, n_samples)``.
    learning_rate : {'constant', 'invscaling', 'adaptive', 'cosine', 'one_cycle'} or Schedule, \
default='constant'
        How the learning rate changes. 'invscaling' and 'adaptive' are only used by 'sgd'; 'cosine'
        and 'one_cycle' end at 0 after `max_iter` epochs.
    learning_rate_init : float, default=0.001
        Initial learning rate. Not used by 'lbfgs'. Only used when `learning_rate` is a name.
    power_t : float, default=0.5
        Exponent of 'invscaling'. Only used when `learning_rate='invscaling'`.
    max_iter : int, default=200
        Largest number of epochs, or of iterations of 'lbfgs'.
    shuffle : bool, default=True
        Draw a new order of the rows in each epoch. Not used by 'lbfgs'.
    random_state : int, RandomState instance or None, default=None
        Determines the initial weights, the order of the rows and the split of early stopping. The
        same int gives the same bits for any `n_jobs`.
    tol : float, default=1e-4
        Smallest improvement that counts as one; for 'lbfgs', the gradient norm to stop at.
    verbose : bool, default=False
        Print the loss of each epoch, and why training ended.
    warm_start : bool, default=False
        Continue from the weights of the previous fit.
    momentum : float, default=0.9
        Momentum, in [0, 1]. Only used by 'sgd'.
    nesterovs_momentum : bool, default=True
        Use Nesterov's momentum. Only used by 'sgd'.
    early_stopping : bool, default=False
        Hold out a part of the rows, stop when their score (see `scoring`) no longer improves, and
        keep the best weights. Not used by 'lbfgs'.
    validation_fraction : float, default=0.1
        Fraction of rows to hold out, above 0. Only used with `early_stopping` and without `X_val`.
    beta_1, beta_2 : float, default=0.9 and 0.999
        Decay rates of the moments, in [0, 1). Only used by 'adam' and 'adamw'.
    epsilon : float, default=1e-8
        Keeps 'adam', 'adamw' and 'rmsprop' from dividing by zero. Only used by these.
    n_iter_no_change : int, default=10
        Epochs without improvement before training stops. Not used by 'lbfgs'.
    noise : {'gaussian', 'masking', 'salt_and_pepper'}, Noise, callable or None, default=None
        Noise on the input in training. A function is called with a block of rows and a
        `numpy.random.Generator`, and returns an array of the same shape, such as warped images. Not
        for 'lbfgs'.
    noise_level : float, default=0.3
        Standard deviation of 'gaussian' noise; or the fraction of the entries that 'masking' sets
        to 0, and 'salt_and_pepper' to 0 or 1, at most 1. Only used when `noise` is a name.
    n_jobs : int or None, default=None
        Number of threads; None means as many as BLAS may use, -1 all cores.
    max_fun : int, default=15000
        Largest number of evaluations. Only used by 'lbfgs'.
    dropout : float or list of float, default=0.0
        Fraction of a hidden layer's outputs dropped in training; one for all layers, or a list.
    layer_norm : bool, default=False
        Normalise each row of a hidden layer before its activation. Unlike batch normalisation, this
        does not depend on the other rows, or on how a batch is cut into shards.
    max_gradient_norm : float or None, default=None
        Clip gradients to this norm. Not used by 'lbfgs'.
    scoring : str, callable or None, default=None
        Score of the validation rows: 'loss', one of scikit-learn's scorers, or None for the method
        `score`. Only used with `early_stopping` or `X_val`.
    pretrained : Network, Part or None, default=None
        Trained layers to start from, such as an autoencoder's `encoder_`. They come before the
        layers of `hidden_layer_sizes` and are trained further.
    quantile : float or list of float, default=0.5
        Which quantiles to predict; those of a list never cross. Only used by 'pinball'.
    huber_delta : float, default=1.0
        Errors above this count linearly. Only used by 'huber'.

    Attributes
    ----------
    network_ : skscratch.core.Network
        The trained network.
    coefs_, intercepts_ : list of ndarray
        Weight matrices, shape (n_in, n_out), and bias vectors: views into the network. Values that
        are assigned, to an entry or to all, are copied into the network.
    loss_ : float
        Loss of the last epoch.
    best_loss_ : float or None
        Lowest loss of an epoch; None if there are validation rows.
    stop_reason_ : str
        Why training ended: 'max_iter', 'n_iter_no_change' (no improvement), 'callback',
        'interrupted' (Ctrl-C) or 'diverged' (the best earlier epoch is kept); with 'lbfgs' also
        'converged', 'max_fun' or 'line_search' (no step reduces the loss).
    history_ : list of dict
        A record for each epoch (iteration, with 'lbfgs'): `epoch`, `loss`, `validation_loss`,
        `validation_score`, `learning_rate` and `gradient_norm` (of its last step; the norm only
        with `max_gradient_norm`). Values that do not apply are None.
    loss_curve_ : list of float
        Loss of each epoch. Not set by 'lbfgs'.
    validation_loss_curve_ : list of float or None
        Loss on the validation rows after each epoch, if there are any.
    validation_scores_ : list of float or None
        Score of the validation rows after each epoch (see `scoring`), if there are any.
    best_validation_score_ : float or None
        The best of these scores.
    t_ : int
        Number of rows seen in training.
    n_iter_ : int
        Number of epochs or iterations of the last fit.
    n_layers_ : int
        Number of layers, input and output included.
    n_outputs_ : int
        Number of targets.
    out_activation_ : str
        Function applied to the output layer: 'identity', 'exp', or 'cumulative_softplus' for
        several quantiles.
    n_features_in_ : int
        Number of features.

    Raises
    ------
    ValueError
        If the input is invalid, with what is accepted; or if training diverges, with the epoch. The
        estimator is left unchanged.

    References
    ----------
    Kingma, D. P. and Ba, J. (2015). Adam: a method for stochastic optimization. ICLR.

    Examples
    --------
    >>> import numpy as np
    >>> from skscratch import MLPRegressor
    >>> X = np.linspace(-1, 1, 200).reshape(-1, 1)
    >>> model = MLPRegressor(
    ...     hidden_layer_sizes=20, activation="tanh", solver="lbfgs", random_state=0
    ... )
    >>> bool(model.fit(X, np.sin(3 * X.ravel())).score(X, np.sin(3 * X.ravel())) > 0.999)
    True

    A loss that is robust to outliers:

    >>> model = MLPRegressor("huber", 20, huber_delta=0.1, learning_rate="cosine",
    ...                      learning_rate_init=0.01, random_state=0)
    >>> line = X.ravel() + np.where(np.arange(200) % 10, 0, 5)
    >>> bool(abs(model.fit(X, line).predict(X) - X.ravel()).mean() < 0.1)
    True

    Several quantiles of noisy data, which never cross:

    >>> noisy = X.ravel() + np.random.default_rng(0).normal(size=200)
    >>> model = MLPRegressor("pinball", 20, quantile=[0.1, 0.5, 0.9], solver="adamw",
    ...                      learning_rate_init=0.01, max_iter=500, random_state=0)
    >>> low, middle, high = model.fit(X, noisy).predict(X).T
    >>> bool((low < middle).all() and (middle < high).all())
    True
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **MultilayerPerceptron._parameter_constraints,
        "loss": [RegisteredNames(Loss, without=OF_CLASSES)],
        "quantile": [Interval(Real, 0, 1, closed="neither"), list, tuple],
        "huber_delta": [Interval(Real, 0, None, closed="neither")],
    }

    loss: Any = field(default="squared_error", kw_only=False)
    hidden_layer_sizes: Any = field(default=(100,), kw_only=False)
    activation: Any = field(default="relu", kw_only=False)
    quantile: Any = 0.5
    huber_delta: Any = 1.0

    def _loss(self) -> Loss:
        if self.loss == "pinball":
            return Pinball(self._quantiles())
        loss: Loss = recipe_of(self, Loss, "loss")
        if loss.name in OF_CLASSES:
            raise ValueError(
                f"loss={loss!r} is for classes, which MLPClassifier predicts. Choose a loss for "
                "numbers."
            )
        return loss

    def _quantiles(self) -> tuple[float, ...]:
        values = self.quantile if isinstance(self.quantile, list | tuple) else [self.quantile]
        quantiles = tuple(float(value) for value in values)
        increasing = all(low < high for low, high in pairwise(quantiles))
        if not quantiles or not increasing or quantiles[0] <= 0 or quantiles[-1] >= 1:
            raise ValueError(
                "quantile must be a number between 0 and 1, or an increasing list of such numbers; "
                f"got {self.quantile!r}."
            )
        return quantiles

    def _check_data(
        self, X: Any, y: Any, sample_weight: Any, *, reset: bool, training: bool
    ) -> FitData:
        names = TRAINING if training else VALIDATION
        X, y = check_rows(self, X, y=y, reset=reset, names=names, multi_output=True, y_numeric=True)
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        target = np.ascontiguousarray(y, dtype=network_dtype(X)).reshape(len(y), -1)
        if not np.isfinite(target).all():
            raise ValueError(f"{names.y} contains NaN, None or infinity.")
        loss = self._loss()
        try:
            loss.check_targets(target)
        except ValueError as error:
            raise ValueError(f"{names.y}: {error}") from None
        if isinstance(loss, Pinball) and len(loss.quantiles) > 1:
            if target.shape[1] > 1:
                raise ValueError(
                    "Several quantiles are predicted for one target only, but y has "
                    f"{target.shape[1]} columns."
                )
            target = np.repeat(target, len(loss.quantiles), axis=1)
        if not reset and target.shape[1] != self.n_outputs_:
            raise ValueError(
                f"{names.y} has {target.shape[1]} outputs, but the network has {self.n_outputs_}."
            )
        self.n_outputs_ = target.shape[1]
        weight = check_weight(sample_weight, X, names.weight)
        return FitData(X, y, weight, target)

    def _default_score(self, data: FitData, network: Network) -> float:
        predicted = self._outputs(network, data.selected_rows(), self._fitted_loss.predict)
        if not np.isfinite(predicted).all():
            return float("nan")
        return self._score_of(data.y, predicted, data.weight)

    def _score_of(self, y: Any, predicted: Array, weight: Any) -> float:
        loss = self._fitted_loss
        if isinstance(loss, Pinball) and len(loss.quantiles) > 1:
            scores = [
                d2_pinball_score(y, column, sample_weight=weight, alpha=quantile)
                for column, quantile in zip(predicted.T, loss.quantiles, strict=True)
            ]
            return float(np.mean(scores))
        return float(r2_score(y, predicted, sample_weight=weight))

    @reads_model
    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Score predictions, higher is better and 1 is best.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows to predict for.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows.

        Returns
        -------
        float
            R²; for several quantiles the mean of their D² (the fraction of the pinball loss that is
            explained).
        """
        predicted = self.predict(X)
        return self._score_of(y, predicted.reshape(len(predicted), -1), sample_weight)

    @classmethod
    def from_network(cls, network: Any, **parameters: Any) -> MLPRegressor:
        """Build a fitted estimator that computes the same as a network.

        Parameters
        ----------
        network : Network or Part
            A network that returns predictions, one column for each target.
        **parameters : dict
            Other parameters of the estimator, such as its loss and how it is trained. Those that
            describe the network, such as `hidden_layer_sizes`, are taken from it.

        Returns
        -------
        MLPRegressor
            An estimator with a copy of the network's parameters. It predicts, and can be trained
            further with ``warm_start=True`` or ``partial_fit``. Attributes that describe training
            are missing.

        Raises
        ------
        ValueError
            If the estimator cannot have such a network: the message shows its layers and the
            nearest ones.
        TypeError
            If `network` is of another class.

        Examples
        --------
        >>> import numpy as np
        >>> from skscratch import MLPRegressor
        >>> from skscratch.core import Dense, Network, Tanh
        >>> network = Network([Dense(8), Tanh(), Dense(1)], n_in=4)
        >>> model = MLPRegressor.from_network(network, loss="huber")
        >>> bool((model.predict(np.eye(4)) == network(np.eye(4)).ravel()).all())
        True
        """
        check_stack(network)
        link = cls(**parameters)._loss().link
        if link not in ("identity", *Activation.members()):
            raise ValueError(
                f"loss={parameters['loss']!r} turns outputs into predictions by {link!r}, which is "
                "not a layer that a network could end with. Accepted are losses whose link is "
                "'identity' or an activation."
            )
        y = np.zeros(2 if network.n_out == 1 else (2, network.n_out), network.dtype)
        return cls._from_network(network, parameters, y)

    @all_or_nothing
    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
    ) -> MLPRegressor:
        """Fit the network.

        Ctrl-C ends training with a warning and keeps the result of the complete epochs.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Training data; float32 data are processed in float32. Sparse rows stay
            sparse up to the first dense layer, unless a layer before it, such as noise, needs dense
            rows.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows, at least 0. Weight 2 is the same as including the row twice.
        X_val : {array-like, sparse matrix} of shape (n_validation_samples, n_features), \
default=None
            Validation data, evaluated after each epoch (`validation_loss_curve_` and
            `validation_scores_`). The parameters of the best epoch are kept. Training ends early
            only if `early_stopping` is True.
        y_val : array-like of shape (n_validation_samples,) or (n_validation_samples, n_outputs), \
default=None
            Targets of `X_val`.
        sample_weight_val : array-like of shape (n_validation_samples,), default=None
            Weights of the validation rows.

        Returns
        -------
        MLPRegressor
            The fitted estimator.
        """
        return self._fit(X, y, sample_weight, (X_val, y_val, sample_weight_val))

    @available_if(has_partial_fit)
    @all_or_nothing
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> MLPRegressor:
        """Continue training for one epoch over the given rows.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Training data.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows.

        Returns
        -------
        MLPRegressor
            The fitted estimator.
        """
        return self._fit(X, y, sample_weight, incremental=True)

    @reads_model
    def predict(self, X: Any) -> Array:
        """Predict targets.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows to predict for.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_outputs)
            Predicted targets; for several quantiles one column each.
        """
        check_is_fitted(self)
        predicted = self._predicted(self.network_, self._check_new(X), self._fitted_loss.predict)
        return predicted.ravel() if predicted.shape[1] == 1 else predicted
