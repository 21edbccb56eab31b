"""An autoencoder as a transformer, for use like PCA in a pipeline."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field, replace
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from scipy.sparse import issparse
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_array, check_random_state
from sklearn.utils.validation import check_is_fitted

from skscratch.core.activations import Activation, Identity, Sigmoid, Softmax
from skscratch.core.functions import Array
from skscratch.core.initializers import Initializer
from skscratch.core.layers import (
    ActivityPenalty,
    Contraction,
    Dense,
    Dropout,
    KLPenalty,
    Layer,
    PerturbedCopies,
    Variational,
)
from skscratch.core.losses import BinaryLogLoss, Loss
from skscratch.core.network import Part, Stack
from skscratch.core.optimizers import Optimizer
from skscratch.core.rows import Rows, as_rows, is_sparse, value_range
from skscratch.core.schedules import Adaptive
from skscratch.core.training import TrainingRun
from skscratch.estimators._available import UnavailableError, available_if
from skscratch.estimators._base import (
    TRAINING,
    VALIDATION,
    FitData,
    NetworkEstimator,
    has_partial_fit,
    layer_sizes,
)
from skscratch.estimators._data import check_rows, check_weight
from skscratch.estimators._from_network import autoencoder_parameters
from skscratch.estimators._kinds import check_numbers
from skscratch.estimators._parameters import RegisteredNames, is_sgd, recipe_of
from skscratch.estimators._plan import Architecture, Training
from skscratch.estimators._sklearn import Interval, StrOptions
from skscratch.estimators._state import (
    ModelReaderMixin,
    all_or_nothing,
    copy_of,
    fitted_property,
    reads_model,
)

# Length of training if `max_iter` is None.
MIN_STEPS, MIN_EPOCHS, MAX_EPOCHS = 3000, 20, 250
# Distance to the copies of a row by which a contractive penalty estimates the encoder's Jacobian.
PERTURBATION = 1e-2
# Columns whose mean square is more than this times the typical one dominate the error.
SCALES_APART = 1e4
# Columns further from 0 than the root of this times their standard deviation hardly vary.
OFFSETS_APART = 1e6
FEW_ROWS = 10


def _is_variational(estimator: Any) -> None:
    network = vars(estimator).get("network_")
    fitted = network is not None and any(isinstance(la, Variational) for la in network.layers)
    # The fitted network counts, not the current parameters.
    if not (fitted if network is not None else estimator.beta):
        raise UnavailableError(
            "Only a variational autoencoder has latent features of known distribution: choose "
            "beta > 0 to sample."
        )


@dataclass(eq=False, repr=False, kw_only=True)
class AutoencoderParameters:
    """Parameters of the architecture. The last base class, so that its parameters come first."""

    n_components: Any = field(default=32, kw_only=False)
    hidden_layer_sizes: Any = field(default=(256, 128), kw_only=False)
    decoder_layer_sizes: Any = None
    activation: Any = "relu"
    latent_activation: Any = "identity"
    output_activation: Any = "auto"
    loss: Any = "squared_error"
    sparsity: Any = 0.0
    sparsity_target: Any = None
    contraction: Any = 0.0
    dropout: Any = 0.0
    beta: Any = 0.0
    tied_weights: Any = "auto"
    initializer: Any = "fan_in_uniform"


@dataclass(eq=False, repr=False, kw_only=True)
class AutoencoderTransformer(
    ModelReaderMixin,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    NetworkEstimator,
    AutoencoderParameters,
):
    """Autoencoder: a network that learns a few features from which its input can be reconstructed.

    The encoder maps the features through `hidden_layer_sizes` to `n_components` latent features,
    the decoder back through the same widths. `transform` encodes, `inverse_transform` decodes.

    Parameters
    ----------
    n_components : int, default=32
        Number of latent features.
    hidden_layer_sizes : int or array-like of int, default=(256, 128)
        Widths of the encoder's hidden layers. An empty tuple is allowed.
    decoder_layer_sizes : array-like of int or None, default=None
        Widths of the decoder's hidden layers; None mirrors the encoder's.
    activation : str or Activation, default='relu'
        Activation of the hidden layers: 'relu', 'tanh', 'logistic', 'elu', 'gelu', 'silu',
        'softplus', 'leaky_relu', 'softmax', 'identity', a custom one's name, or an instance.
    latent_activation : str or Activation, default='identity'
        Activation of the latent features.
    output_activation : str or Activation, default='auto'
        Activation of the reconstruction. 'auto' is 'logistic' if all training data lie in [0, 1],
        up to a few units of rounding, else 'identity'; see `output_activation_`.
    loss : {'squared_error', 'binary_log_loss', 'absolute_error', 'huber', 'auto'} or Loss, \
default='squared_error'
        Reconstruction error, averaged over the features. 'binary_log_loss' needs data in [0, 1]
        and a logistic output. 'auto' is 'binary_log_loss' if all training data lie in [0, 1] and
        the output may be logistic, else 'squared_error'; see `reconstruction_loss_`.
    sparsity : float, default=0.0
        Weight of a penalty on the activity of the latent features: the sum of their sizes, or with
        `sparsity_target` a divergence from that target.
    sparsity_target : float or None, default=None
        Mean activity, in (0, 1), towards which `sparsity` drives each latent feature. It needs
        ``latent_activation='logistic'`` or 'softmax'. None penalises the size of each value (L1).
    contraction : float, default=0.0
        Weight of a penalty, the squared norm of the encoder's Jacobian: small changes of a row then
        change its latent features little (a contractive autoencoder). It costs a second pass
        through the encoder. Combine it with tied weights or `alpha`, or the encoder may just shrink
        its outputs while the decoder enlarges them.
    dropout : float, default=0.0
        Fraction of each hidden layer's outputs dropped in training, in [0, 1).
    beta : float, default=0.0
        If above 0, the autoencoder is variational: the encoder outputs mean and variance of the
        latent features, training samples from them, and beta is the weight of a penalty, their
        divergence from a standard normal distribution. `transform` returns the means, and `sample`
        generates new rows. With 'binary_log_loss', 1 gives the usual lower bound.
    tied_weights : bool or 'auto', default='auto'
        Let each decoder layer use the transposed weights of its encoder layer. 'auto' does so if
        the decoder mirrors the encoder and there is neither `noise` nor `beta`; `tied_weights_` is
        True if the weights are tied.
    initializer : str or Initializer, default='fan_in_uniform'
        Initial weights: 'fan_in_uniform', 'he_normal', 'he_uniform', 'glorot_normal',
        'glorot_uniform', 'lecun_normal', 'lecun_uniform', 'zeros', or an instance.
    solver : {'adam', 'adamw', 'rmsprop', 'sgd'}, str or Optimizer, default='adam'
        How gradients become steps. A custom optimizer is given by its name or as an instance.
    alpha : float, default=0.0
        Strength of the L2 penalty on the weights, divided by the rows of a batch; with 'adamw'
        the decoupled weight decay instead.
    batch_size : int or 'auto', default=128
        Rows in a mini-batch, at most all; 'auto' is ``min(200, n_samples)``.
    learning_rate : {'one_cycle', 'cosine', 'constant', 'invscaling', 'adaptive'} or Schedule, \
default='one_cycle'
        How the learning rate changes over `max_iter` epochs. 'one_cycle' and 'cosine' end at 0; in
        `partial_fit`, where the end is unknown, both stay constant. 'invscaling' and 'adaptive'
        need ``solver='sgd'``.
    learning_rate_init : float, default=2e-3
        Initial learning rate; with 'one_cycle' the highest. Only used when `learning_rate` is a
        name.
    power_t : float, default=0.5
        Exponent of 'invscaling'. Only used when `learning_rate='invscaling'`.
    max_iter : int or None, default=None
        Number of epochs; fewer only with `early_stopping` or 'adaptive'. None means enough for
        3,000 steps (weight updates, one per batch), but at least 20 and at most 250.
    shuffle : bool, default=True
        Draw a new order of the rows in each epoch.
    random_state : int, RandomState instance or None, default=None
        Determines the initial weights, the order of the rows, the noise and the split of early
        stopping. The same int gives the same bits for any `n_jobs`.
    tol : float, default=1e-5
        Smallest improvement that counts as one. Only used with `early_stopping` or 'adaptive'.
    verbose : bool, default=False
        Print the loss of each epoch, and why training ended.
    warm_start : bool, default=False
        Continue from the weights of the previous fit.
    momentum : float, default=0.9
        Momentum, in [0, 1]. Only used when `solver='sgd'`.
    nesterovs_momentum : bool, default=True
        Use Nesterov's momentum. Only used when `solver='sgd'`.
    early_stopping : bool, default=False
        Stop when the loss on the validation rows no longer improves. Without `X_val`, a part of
        the training rows is held out.
    validation_fraction : float, default=0.1
        Fraction of rows to hold out, above 0. Only used with `early_stopping` and without `X_val`.
    beta_1, beta_2 : float, default=0.9 and 0.999
        Decay rates of the moments, in [0, 1). Only used when `solver` is 'adam' or 'adamw'.
    epsilon : float, default=1e-8
        Keeps the solver from dividing by zero. Only used by 'adam', 'adamw' and 'rmsprop'.
    n_iter_no_change : int, default=10
        Epochs without improvement before training stops. Only used with `early_stopping` or
        'adaptive'.
    noise : {'gaussian', 'masking', 'salt_and_pepper'}, Noise, callable or None, default=None
        Noise on the input in training; the target stays clean (a denoising autoencoder). A function
        is called with a block of rows and a `numpy.random.Generator`, and returns an array of the
        same shape: noise specific to your data, such as warped images.
    noise_level : float, default=0.3
        Standard deviation of 'gaussian' noise; or the fraction of the entries that 'masking' sets
        to 0, and 'salt_and_pepper' to 0 or 1, at most 1. Only used when `noise` is a name.
    n_jobs : int or None, default=None
        Number of threads; None means as many as BLAS may use, -1 all cores.

    Attributes
    ----------
    network_ : skscratch.core.Network
        The trained network, encoder and decoder in one.
    encoder_, decoder_ : skscratch.core.Part
        Its two halves, sharing the trained parameters. Call them with rows.
    output_activation_ : str
        Activation used for the reconstruction.
    reconstruction_loss_ : str
        Loss used in training.
    tied_weights_ : bool
        Whether the decoder uses the transposed weights of the encoder.
    loss_ : float
        Loss of the last epoch.
    stop_reason_ : str
        Why training ended: 'max_iter', 'n_iter_no_change' (no improvement), 'callback',
        'interrupted' (Ctrl-C) or 'diverged' (the best earlier epoch is kept).
    history_ : list of dict
        A record for each epoch: `epoch`, `loss`, `validation_loss`, `validation_score`,
        `learning_rate` (of its last step) and `gradient_norm`. Values that do not apply are None.
    loss_curve_ : list of float
        Loss of each epoch.
    validation_loss_curve_ : list of float or None
        Loss on the validation rows after each epoch. The parameters of the best epoch are kept.
    reconstruction_error_ : float
        Mean squared error of the reconstruction of the training data, without noise and penalties,
        for any loss.
    coefs_, intercepts_ : list of ndarray
        Weight matrices, shape (n_in, n_out), and bias vectors: views into the network. Values that
        are assigned, to an entry or to all, are copied into the network.
    n_iter_ : int
        Number of epochs of the last fit.
    t_ : int
        Number of rows seen in training.
    n_features_in_ : int
        Number of features.

    Raises
    ------
    ValueError
        If the input is invalid, with what is accepted; or if training diverges, with the epoch. The
        estimator is left unchanged.

    See Also
    --------
    sklearn.decomposition.PCA : The best linear encoder.

    Notes
    -----
    The defaults, tied weights, small initial weights and a moderate learning rate, favour features
    that a linear classifier can separate. On small data sets, noise improves them further
    ('gaussian', or for images `skscratch.images.RandomWarp`), at the cost of the reconstruction.
    'he_normal' with a higher `learning_rate_init` (3e-3 or more), without tied weights, favours
    reconstruction.

    The loss is the mean of the error over the features. The penalties (`sparsity`, `contraction`,
    `beta`) are also divided by the number of features, so their weights are those of the
    literature, which uses sums.

    All features have the same weight in the error, so scale them alike first: images to [0, 1],
    mixed columns with `StandardScaler`.

    References
    ----------
    Hinton, G. E. and Salakhutdinov, R. R. (2006). Reducing the dimensionality of data with neural
    networks. Science 313.

    Vincent, P. et al. (2010). Stacked denoising autoencoders. JMLR 11.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skscratch import AutoencoderTransformer
    >>> X = load_digits().data / 16
    >>> encoder = AutoencoderTransformer(n_components=8, max_iter=30, random_state=0).fit(X)
    >>> encoder.transform(X).shape
    (1797, 8)
    >>> encoder.inverse_transform(encoder.transform(X)).shape
    (1797, 64)
    >>> encoder.output_activation_
    'logistic'

    Latent features differ in scale: put a scaler between them and a classifier.

    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skscratch import LinearSVM
    >>> y = load_digits().target
    >>> model = make_pipeline(encoder, StandardScaler(), LinearSVM()).fit(X, y)

    A variational autoencoder generates new rows:

    >>> generator = AutoencoderTransformer(8, loss="auto", beta=1.0, max_iter=30, random_state=0)
    >>> generator = generator.fit(X)
    >>> generator.sample(3, random_state=0).shape
    (3, 64)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **NetworkEstimator._parameter_constraints,
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "decoder_layer_sizes": [
            "array-like",
            Interval(Integral, 1, None, closed="left"),
            None,
        ],
        "activation": [RegisteredNames(Activation)],
        "latent_activation": [RegisteredNames(Activation)],
        "output_activation": [RegisteredNames(Activation, "auto")],
        "loss": [RegisteredNames(Loss, "auto")],
        "sparsity": [Interval(Real, 0, None, closed="left")],
        "sparsity_target": [Interval(Real, 0, 1, closed="neither"), None],
        "contraction": [Interval(Real, 0, None, closed="left")],
        "dropout": [Interval(Real, 0, 1, closed="left")],
        "beta": [Interval(Real, 0, None, closed="left")],
        "tied_weights": ["boolean", StrOptions({"auto"})],
        "initializer": [RegisteredNames(Initializer)],
        "max_iter": [Interval(Integral, 1, None, closed="left"), None],
    }

    # Defaults that differ from those of scikit-learn's MLPs.
    alpha: Any = 0.0
    batch_size: Any = 128
    learning_rate: Any = "one_cycle"
    learning_rate_init: Any = 2e-3
    max_iter: Any = None
    tol: Any = 1e-5

    # Hooks of the base.

    @classmethod
    def _parameters_of(cls, network: Stack) -> dict[str, Any]:
        return autoencoder_parameters(network)

    def _check_data(
        self, X: Any, y: Any, sample_weight: Any, *, reset: bool, training: bool
    ) -> FitData:
        name, _, weight_name = TRAINING if training else VALIDATION
        X = check_rows(self, X, reset=reset, names=(name,))
        weight = check_weight(sample_weight, X, weight_name)
        low, high = value_range(X)
        in_unit_interval = BinaryLogLoss().allows(low, high, X.dtype)
        if reset:
            # The choices of 'auto' hold when training continues, with other data or noise.
            self._first_in_unit_interval = in_unit_interval
            self.tied_weights_ = self.noise is None
            _warn_of_scales(X)
        if training:
            self._choose_loss_and_output(self._first_in_unit_interval)
        self._check_targets(name, low, high, X.dtype)
        if not in_unit_interval:
            self._check_output_range(name)
        return FitData(X, None, weight, encoded=None)

    def _check_output_range(self, name: str) -> None:
        """Warn if the chosen output activation cannot reconstruct data outside [0, 1]."""
        if self.output_activation_ == "logistic" and self.output_activation == "auto":
            warnings.warn(
                "output_activation='auto' has chosen 'logistic', because the first data lay in "
                f"[0, 1], but {name} leaves that interval: values outside cannot be reconstructed. "
                "Choose output_activation='identity', or scale the data.",
                UserWarning,
                stacklevel=6,
            )

    def _check_targets(self, name: str, low: float, high: float, dtype: Any) -> None:
        loss = self._loss()
        if not loss.allows(low, high, dtype):
            raise ValueError(
                f"The loss {loss.name or loss!r} needs data in [{loss.interval[0]:g}, "
                f"{loss.interval[1]:g}], but {name} ranges from {low:g} to {high:g}. Scale it "
                "(MinMaxScaler with clip=True), or choose loss='squared_error'."
            )

    def _choose_loss_and_output(self, in_unit_interval: bool) -> None:
        loss, output = self.loss, self.output_activation
        if loss == "auto":
            binary = in_unit_interval and output in ("auto", "logistic")
            loss = "binary_log_loss" if binary else "squared_error"
        if loss == "binary_log_loss":
            if output not in ("auto", "logistic"):
                raise ValueError(
                    "loss='binary_log_loss' needs output_activation='logistic' or 'auto', "
                    f"got {output!r}."
                )
            output = "logistic"
        recipe = Loss.resolve(loss)
        link = recipe.link
        if link not in ("identity", *Activation.members()):
            raise ValueError(
                f"loss={loss!r} turns outputs into reconstructions by {link!r}, which is not an "
                "activation. Accepted are losses whose link is 'identity' or an activation."
            )
        if link != "identity" and output not in ("auto", link):
            raise ValueError(f"loss={loss!r} needs output_activation='auto', got {output!r}.")
        if output == "auto" and link != "identity":
            output = link
        elif output == "auto":
            output = "logistic" if in_unit_interval else "identity"
        self.reconstruction_loss_, self.output_activation_ = loss, output

    def _architecture(self, data: FitData) -> Architecture:
        self._check_combination()
        n_in = data.rows.shape[1]
        encoder_sizes = layer_sizes(self.hidden_layer_sizes)
        decoder_sizes = (
            encoder_sizes[::-1]
            if self.decoder_layer_sizes is None
            else layer_sizes(self.decoder_layer_sizes, "decoder_layer_sizes")
        )
        # Penalties refer to the sum of the error over the features; the loss is their mean.
        contraction, beta = self.contraction / n_in, self.beta / n_in
        encoder = [
            *self._noise_layers(),
            *([PerturbedCopies(PERTURBATION)] if contraction else []),
            *self._hidden_layers(encoder_sizes),
            *self._dense(self.n_components * (2 if beta else 1), self.latent_activation),
            *([Contraction(contraction, PERTURBATION)] if contraction else []),
            *([Variational(beta)] if beta else []),
            *self._sparsity_layers(self.sparsity / n_in),
        ]
        self._n_encoder_layers = len(encoder_sizes) + 1
        loss = self._loss()
        # A loss on raw outputs applies the activation itself.
        raw = loss.link != "identity"
        last = self._dense(n_in, "identity" if raw else self.output_activation_)
        layers = [*encoder, *self._hidden_layers(decoder_sizes), *last]
        ties = self._ties(layers, encoder_sizes, decoder_sizes)
        return Architecture(layers, loss, 1 / n_in, ties)

    def _training(self, data: FitData, architecture: Architecture) -> Training:
        training = super()._training(data, architecture)
        if self.max_iter is None:
            steps_per_epoch = -(-data.rows.shape[0] // training.batch_size)
            n_epochs = max(MIN_EPOCHS, -(-MIN_STEPS // steps_per_epoch))
            training = replace(training, max_epochs=min(MAX_EPOCHS, n_epochs))
        if not (self.early_stopping or isinstance(training.schedule, Adaptive)):
            training = replace(training, patience=None)
        return training

    def _check_combination(self) -> None:
        """Raise a ValueError if parameters contradict each other."""
        target, latent = self.sparsity_target, self.latent_activation
        if self.learning_rate in ("adaptive", "invscaling") and not is_sgd(
            recipe_of(self, Optimizer, "solver")
        ):
            raise ValueError(
                f"learning_rate={self.learning_rate!r} needs solver='sgd', got "
                f"{self.solver!r}. Choose 'one_cycle', 'cosine' or 'constant'."
            )
        layer = Activation.resolve(latent)
        if self.beta and not isinstance(layer, Identity):
            raise ValueError(
                f"beta > 0 needs latent_activation='identity', got {latent!r}: the means of a "
                "normal distribution are unbounded."
            )
        if self.beta and self.tied_weights is True:
            raise ValueError(
                "beta > 0 cannot be combined with tied_weights=True: a variational encoder outputs "
                "means and variances, twice as many values as the decoder takes."
            )
        if self.contraction and self.dropout:
            raise ValueError(
                "contraction cannot be combined with dropout: it compares rows with perturbed "
                "copies, for which other outputs would be dropped."
            )
        if target is not None and not self.sparsity:
            raise ValueError("sparsity_target needs sparsity > 0, the weight of its penalty.")
        if target is not None and not isinstance(layer, Sigmoid | Softmax):
            raise ValueError(
                "sparsity_target needs activities in (0, 1): choose latent_activation='logistic' "
                f"or 'softmax', got {latent!r}."
            )

    def _sparsity_layers(self, sparsity: float) -> list[Layer]:
        if not sparsity:
            return []
        if self.sparsity_target is None:
            return [ActivityPenalty(sparsity)]
        return [KLPenalty(sparsity, float(self.sparsity_target))]

    def _hidden_layers(self, sizes: list[int]) -> list[Layer]:
        dropout: list[Layer] = [Dropout(float(self.dropout))] if self.dropout else []
        return [
            layer for size in sizes for layer in [*self._dense(size, self.activation), *dropout]
        ]

    def _dense(self, width: int, activation: str | Activation) -> list[Layer]:
        dense = Dense(int(width), Initializer.resolve(self.initializer))
        layer = Activation.resolve(activation)
        return [dense] if isinstance(layer, Identity) else [dense, layer]

    def _ties(
        self, layers: list[Layer], encoder_sizes: list[int], decoder_sizes: list[int]
    ) -> dict[int, int]:
        mirrored = decoder_sizes == encoder_sizes[::-1]
        if self.tied_weights == "auto":
            # The first choice stays if training continues with different noise.
            self.tied_weights_ &= mirrored and not self.beta
        else:
            self.tied_weights_ = bool(self.tied_weights)
        if not self.tied_weights_:
            return {}
        if not mirrored:
            raise ValueError(
                "tied_weights=True needs a decoder that mirrors the encoder: leave "
                f"decoder_layer_sizes=None, got {decoder_sizes} for {encoder_sizes}."
            )
        dense = [i for i, layer in enumerate(layers) if isinstance(layer, Dense)]
        half = len(dense) // 2
        return dict(zip(dense[half:], reversed(dense[:half]), strict=True))

    def _loss(self) -> Loss:
        return Loss.resolve(self.reconstruction_loss_)

    def _after_training(self, run: TrainingRun, data: FitData) -> None:
        errors = self._squared_errors(data.rows)
        self.reconstruction_error_ = float(np.average(errors, weights=data.weight))

    def _squared_errors(self, rows: Rows) -> Array:
        """Return the squared error of each row's reconstruction, averaged over the features."""
        network, link = self.network_, self._fitted_loss.predict
        errors = np.empty(rows.shape[0])

        def write(block: slice, raw: Array) -> None:
            # In float64, so that squared float32 errors cannot overflow.
            error = link(raw).astype(np.float64)
            if is_sparse(rows):
                entries = rows.take_sparse(block, raw.dtype).tocoo()
                error[entries.coords] -= entries.data
            else:
                error -= rows.take(block, np.empty_like(raw))
            np.einsum("ij,ij->i", error, error, out=errors[block])

        self._pass_through(network, rows, write)
        errors /= network.n_out
        return errors

    # The two halves.

    @property
    def _middle(self) -> int:
        """Number of layers of the encoder."""
        dense = [i for i, layer in enumerate(self.network_.layers) if isinstance(layer, Dense)]
        return dense[self._n_encoder_layers]

    @fitted_property
    def encoder_(self) -> Part:
        """The layers from the features to the latent features."""
        return self.network_.part(0, self._middle)

    @fitted_property
    def decoder_(self) -> Part:
        """The layers from the latent features to the reconstruction."""
        link = self._fitted_loss.link
        extra = [] if link == "identity" else [Activation.named(link)]
        return self.network_.part(self._middle, extra_layers=extra)

    @property
    def _n_features_out(self) -> int:
        return self.encoder_.n_out

    # Public methods.

    @classmethod
    def from_network(cls, network: Any, **parameters: Any) -> AutoencoderTransformer:
        """Build a fitted estimator that computes the same as a network.

        Parameters
        ----------
        network : Network or Part
            Encoder and decoder, one after the other. The narrowest layer has the latent features.
            Weights are tied if each layer of the decoder is tied to its mirror image; other ties
            become copies.
        **parameters : dict
            Other parameters of the estimator, such as its loss and how it is trained. Those that
            describe the network, such as `hidden_layer_sizes`, are taken from it.

        Returns
        -------
        AutoencoderTransformer
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
        >>> from skscratch import AutoencoderTransformer
        >>> from skscratch.core import Dense, Network, Tanh
        >>> network = Network([Dense(5), Tanh(), Dense(2), Dense(5), Tanh(), Dense(8)], n_in=8)
        >>> model = AutoencoderTransformer.from_network(network, loss="squared_error")
        >>> model.n_components, model.transform(np.eye(8)).shape
        (2, (8, 2))
        """
        if parameters.get("tied_weights") is True and not network.ties:
            raise ValueError("tied_weights=True does not fit a network whose weights are not tied.")
        return cls._from_network(network, parameters)

    @all_or_nothing
    def fit(
        self,
        X: Any,
        y: Any = None,
        sample_weight: Any = None,
        *,
        X_val: Any = None,
        sample_weight_val: Any = None,
    ) -> AutoencoderTransformer:
        """Fit encoder and decoder.

        Ctrl-C ends training with a warning and keeps the result of the complete epochs.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Training data; float32 data are processed in float32. Sparse rows stay
            sparse up to the first dense layer, unless a layer before it, such as noise, needs dense
            rows.
        y : None
            Ignored.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows, at least 0. Weight 2 is the same as including the row twice.
        X_val : {array-like, sparse matrix} of shape (n_validation_samples, n_features), \
default=None
            Validation data, evaluated after each epoch (`validation_loss_curve_`). The parameters
            of the best epoch are kept. Training ends early only if `early_stopping` is True.
        sample_weight_val : array-like of shape (n_validation_samples,), default=None
            Weights of the validation rows.

        Returns
        -------
        AutoencoderTransformer
            The fitted estimator.
        """
        return self._fit(X, None, sample_weight, (X_val, None, sample_weight_val))

    @available_if(has_partial_fit)
    @all_or_nothing
    def partial_fit(
        self, X: Any, y: Any = None, sample_weight: Any = None
    ) -> AutoencoderTransformer:
        """Continue training for one epoch over the given rows.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Training data. The first call also determines an 'auto' output activation.
        y : None
            Ignored.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows.

        Returns
        -------
        AutoencoderTransformer
            The fitted estimator.
        """
        return self._fit(X, None, sample_weight, incremental=True)

    @reads_model
    def transform(self, X: Any) -> Array:
        """Encode rows.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        ndarray of shape (n_samples, n_components)
            Latent features.
        """
        check_is_fitted(self)
        return self._predicted(self.encoder_, self._check_new(X))

    @reads_model
    def inverse_transform(self, X: Any) -> Array:
        """Decode latent features.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_components)
            Latent features.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            Reconstructed rows.
        """
        check_is_fitted(self)
        decoder = self.decoder_
        latent = check_latent(X, decoder.n_in)
        return self._predicted(decoder, latent)

    @reads_model
    def reconstruct(self, X: Any) -> Array:
        """Encode and decode rows.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            Reconstructed rows.
        """
        return self.inverse_transform(self.transform(X))

    @available_if(_is_variational)
    def sample(self, n_samples: int = 1, random_state: Any = None) -> Array:
        """Generate new rows by decoding latent features from a standard normal distribution.

        Only available if `beta` is above 0.

        Parameters
        ----------
        n_samples : int, default=1
            Number of rows.
        random_state : int, RandomState instance or None, default=None
            Determines the random draws.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            Rows that resemble the training data.
        """
        model = copy_of(self)
        check_is_fitted(model)
        if isinstance(n_samples, bool) or not isinstance(n_samples, Integral) or n_samples < 1:
            raise ValueError(f"n_samples must be an integer of at least 1, got {n_samples!r}.")
        shape = (int(n_samples), model.decoder_.n_in)
        drawn = check_random_state(random_state).standard_normal(shape)
        return model.inverse_transform(drawn.astype(model.network_.dtype))

    @reads_model
    def score_samples(self, X: Any) -> Array:
        """Compute the negative reconstruction error of each row, which is low for outliers.

        It is the squared error, for any loss used in training.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        ndarray of shape (n_samples,)
            Minus the squared error of each row's reconstruction, averaged over the features.
        """
        check_is_fitted(self)
        errors = self._squared_errors(as_rows(self._check_new(X)))
        self._check_outputs(errors)
        return -errors

    @reads_model
    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """Compute minus the mean squared error of the reconstruction, so that higher is better.

        It does not depend on the loss used in training, so that a search can compare losses.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.
        y : None
            Ignored.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows.

        Returns
        -------
        float
            Minus the squared error, averaged over rows and features.
        """
        scores = self.score_samples(X)
        weight = check_weight(sample_weight, scores.reshape(-1, 1))
        return float(np.average(scores, weights=weight))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def check_latent(X: Any, width: int) -> Array:
    """Validate latent features to decode."""
    check_numbers("X", X)
    latent = check_array(X, dtype=(np.float64, np.float32), order="C", input_name="X")
    if latent.shape[1] != width:
        raise ValueError(
            f"X has {latent.shape[1]} columns, but there are {width} latent features to decode."
        )
    return np.asarray(latent)


def _warn_of_scales(X: Any) -> None:
    """Warn if a few columns will dominate the error, judging by a sample of the rows."""
    n_rows, n_columns = X.shape
    step = -(-n_rows // max(10, min(1000, 10**6 // n_columns)))
    sample = X[::step].toarray() if issparse(X) else X[::step]
    # Values too large to be squared raise an error in training.
    with np.errstate(over="ignore", invalid="ignore"):
        mean, variance = sample.mean(axis=0, dtype=np.float64), sample.var(axis=0, dtype=np.float64)
    if not np.isfinite(variance).all():
        return
    varies = variance > 0
    if not varies.any():
        return
    # A column far from 0 counts as large, though it may vary little.
    size = variance + np.where(varies, mean**2, 0)
    largest = int(size.argmax())
    ratio = float(size[largest] / np.median(size[varies]))
    # Few rows do not show how much a column varies.
    offset = mean[varies] ** 2 / variance[varies] * (n_rows >= FEW_ROWS)
    if ratio > SCALES_APART:
        problem = (
            f"The columns of X have very different scales: column {largest} is "
            f"{np.sqrt(ratio):.0f} times as large as the typical one, so that column dominates the "
            "reconstruction error."
        )
    elif offset.max() > OFFSETS_APART:
        problem = (
            "The offset of X hides its variation: column "
            f"{np.flatnonzero(varies)[offset.argmax()]} lies {np.sqrt(offset.max()):.0f} standard "
            "deviations from 0, so that its variation hardly counts."
        )
    else:
        return
    warnings.warn(
        f"{problem} Scale X first: StandardScaler, or MaxAbsScaler for sparse X.",
        UserWarning,
        stacklevel=6,
    )
