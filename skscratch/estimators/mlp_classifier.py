"""A multi-layer perceptron classifier with scikit-learn's interface."""

from __future__ import annotations

from dataclasses import dataclass, field
from numbers import Real
from typing import Any, ClassVar

import numpy as np
from sklearn.base import (
    ClassifierMixin,
    ClassNamePrefixFeaturesOutMixin,
)
from sklearn.metrics import accuracy_score
from sklearn.utils.multiclass import type_of_target
from sklearn.utils.validation import check_is_fitted

from skscratch.core.functions import Array
from skscratch.core.losses import Loss
from skscratch.core.network import Network
from skscratch.estimators._available import available_if
from skscratch.estimators._base import (
    TRAINING,
    VALIDATION,
    FitData,
    has_partial_fit,
)
from skscratch.estimators._data import check_rows, check_weight, network_dtype
from skscratch.estimators._from_network import check_stack, classifier_outputs
from skscratch.estimators._perceptron import MultilayerPerceptron
from skscratch.estimators._sklearn import Interval, StrOptions, is_first_partial_fit
from skscratch.estimators._state import all_or_nothing, reads_model
from skscratch.estimators._targets import ClassTargetsMixin


@dataclass(eq=False, repr=False, kw_only=True)
class MLPClassifier(
    ClassTargetsMixin, ClassifierMixin, ClassNamePrefixFeaturesOutMixin, MultilayerPerceptron
):
    """Multi-layer perceptron classifier.

    It has the parameters, attributes and methods of scikit-learn's class of the same name, with
    the same meaning, and for the same `random_state` the same network. Further parameters are
    `noise`, `noise_level`, `n_jobs` and those from `dropout` on. It minimises the mean log loss
    plus ``alpha / 2 · ‖weights‖² / n`` over each batch of n rows (of total weight n, if rows have
    weights).

    Parameters
    ----------
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
        keep the best weights. Without `X_val`, the split is stratified by class; a class with a
        single row stays in training. Not used by 'lbfgs'.
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
    class_weight : dict, 'balanced' or None, default=None
        Weight of each class, multiplied by the weights of its rows. Classes missing from a dict
        have weight 1, and classes without rows are ignored.
    label_smoothing : float, default=0.0
        Fraction by which targets move towards equal probabilities, in [0, 1).

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Labels.
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
        Width of the output layer.
    out_activation_ : str
        Function applied to the output layer: 'softmax' or 'logistic'.
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

    Glorot, X. and Bengio, Y. (2010). Understanding the difficulty of training deep feedforward
    neural networks. AISTATS.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skscratch import MLPClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> model = make_pipeline(StandardScaler(), MLPClassifier(solver="lbfgs", random_state=0))
    >>> model.fit(X, y).score(X, y)
    1.0

    Not in scikit-learn's class: class weights, dropout, layer normalisation, label smoothing, a
    separate validation set, and the features of a hidden layer.

    >>> model = MLPClassifier((20, 8), activation=["silu", "tanh"], dropout=[0.2, 0.0],
    ...                       layer_norm=True, class_weight="balanced", label_smoothing=0.1,
    ...                       solver="adamw", learning_rate="cosine", max_gradient_norm=1.0,
    ...                       learning_rate_init=0.02, max_iter=50, n_iter_no_change=50,
    ...                       scoring="loss", random_state=0)
    >>> model.fit(X[::2], y[::2], X_val=X[1::2], y_val=y[1::2]).transform(X).shape
    (150, 8)
    >>> len(model.validation_loss_curve_)
    50

    A network that starts from an autoencoder's encoder:

    >>> from skscratch import AutoencoderTransformer
    >>> encoder = AutoencoderTransformer(2, hidden_layer_sizes=(8,), random_state=0).fit(X)
    >>> model = MLPClassifier((), pretrained=encoder.encoder_, solver="lbfgs", alpha=1.0,
    ...                       max_iter=2000, random_state=0)
    >>> bool(model.fit(X, y).score(X, y) > 0.9)
    True
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **MultilayerPerceptron._parameter_constraints,
        "class_weight": [dict, StrOptions({"balanced"}), None],
        "label_smoothing": [Interval(Real, 0, 1, closed="left")],
    }

    hidden_layer_sizes: Any = field(default=(100,), kw_only=False)
    activation: Any = field(default="relu", kw_only=False)
    class_weight: Any = None
    label_smoothing: Any = 0.0

    def _loss(self) -> Loss:
        return self._label_targets().loss

    def _check_data(
        self, X: Any, y: Any, sample_weight: Any, *, reset: bool, training: bool
    ) -> FitData:
        names = TRAINING if training else VALIDATION
        X, y = check_rows(self, X, y=y, reset=reset, names=names, multi_output=True)
        y = self._check_labels(y, names.y, training=training)
        weight = check_weight(sample_weight, X, names.weight)
        weight = self._weigh_classes(y, weight, X, training=training)
        target = self._label_targets().encode(y, network_dtype(X))
        self.n_outputs_ = target.shape[1]
        return FitData(X, y, weight, self._smooth(target))

    def _smooth(self, target: Array) -> Array:
        """Move the targets towards equal probabilities by the fraction `label_smoothing`."""
        if not self.label_smoothing:
            return target
        n_choices = target.shape[1] if self._label_targets().exclusive else 2
        smooth: Array = target * (1 - self.label_smoothing) + self.label_smoothing / n_choices
        return smooth

    def _stratify(self, data: FitData) -> Any:
        return self._strata(data.y)

    def _default_score(self, data: FitData, network: Network) -> float:
        predicted = self._label_targets().decode(
            self._outputs(network, data.selected_rows(), self._fitted_loss.predict)
        )
        return float(accuracy_score(data.y, predicted, sample_weight=data.weight))

    @classmethod
    def from_network(cls, network: Any, *, classes: Any = None, **parameters: Any) -> MLPClassifier:
        """Build a fitted estimator that computes the same as a network.

        Parameters
        ----------
        network : Network or Part
            A network that returns probabilities: its last layers are Dense and Softmax, or Dense
            and Sigmoid for two classes or for labels that may occur together.
        classes : array-like of shape (n_classes,), default=None
            Labels in the order of the network's outputs; None counts from 0. Labels that may occur
            together have no `classes`.
        **parameters : dict
            Other parameters of the estimator, such as its loss and how it is trained. Those that
            describe the network, such as `hidden_layer_sizes`, are taken from it.

        Returns
        -------
        MLPClassifier
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
        >>> from skscratch import MLPClassifier
        >>> from skscratch.core import Dense, Network, ReLU, Softmax
        >>> network = Network([Dense(8), ReLU(), Dense(3), Softmax()], n_in=4)
        >>> model = MLPClassifier.from_network(network, classes=["ash", "elm", "oak"], alpha=0.01)
        >>> model.hidden_layer_sizes, model.activation
        ((8,), 'relu')
        >>> bool((model.predict_proba(np.eye(4)) == network(np.eye(4))).all())
        True
        """
        check_stack(network)
        network, labels = classifier_outputs(network, classes)
        return cls._from_network(network, parameters, labels)

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
    ) -> MLPClassifier:
        """Fit the network.

        Ctrl-C ends training with a warning and keeps the result of the complete epochs.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Training data; float32 data are processed in float32. Sparse rows stay
            sparse up to the first dense layer, unless a layer before it, such as noise, needs dense
            rows.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Labels, or a label indicator matrix of 0 and 1.
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
        MLPClassifier
            The fitted estimator.
        """
        if not (self.warm_start and hasattr(self, "network_")):
            self._reset_labels()
        return self._fit(X, y, sample_weight, (X_val, y_val, sample_weight_val))

    @available_if(has_partial_fit)
    @all_or_nothing
    def partial_fit(
        self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None
    ) -> MLPClassifier:
        """Continue training for one epoch over the given rows.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Training data.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Labels.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows.
        classes : array-like of shape (n_classes,), default=None
            Classes across all calls to partial_fit. Needed in the first call.

        Returns
        -------
        MLPClassifier
            The fitted estimator.
        """
        if is_first_partial_fit(self, classes):
            multilabel = type_of_target(y).startswith("multilabel")
            self._set_labels(y if multilabel else classes)
        return self._fit(X, y, sample_weight, incremental=True)

    @reads_model
    def predict(self, X: Any) -> Array:
        """Predict labels.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows to classify.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_outputs)
            Labels.
        """
        check_is_fitted(self)
        return self._label_targets().decode(
            self._predicted(self.network_, self._check_new(X), self._fitted_loss.predict)
        )

    @reads_model
    def predict_proba(self, X: Any) -> Array:
        """Predict the probability of each class.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows to classify.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Probabilities, classes in the order of `classes_`.
        """
        check_is_fitted(self)
        return self._label_targets().complete(
            self._predicted(self.network_, self._check_new(X), self._fitted_loss.predict)
        )

    @reads_model
    def predict_log_proba(self, X: Any) -> Array:
        """Predict the logarithm of the probability of each class.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows to classify.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            ``log(predict_proba(X))``.
        """
        probabilities = self.predict_proba(X)
        # The logarithm of a probability that rounds to 0 is -inf, which is not an error.
        with np.errstate(divide="ignore"):
            return np.log(probabilities, out=probabilities)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags
