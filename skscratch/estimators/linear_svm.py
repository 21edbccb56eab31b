"""A linear support vector machine: `LinearSVC`'s problem, with a certificate of accuracy."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.extmath import row_norms

from skscratch import linear
from skscratch.core.blas import single_threaded_blas
from skscratch.core.functions import Array
from skscratch.core.initializers import Zeros
from skscratch.core.layers import AppendConstant, Dense, Layer
from skscratch.core.losses import Hinge, Loss, MulticlassHinge, SquaredHinge
from skscratch.core.network import Network
from skscratch.core.objective import Objective
from skscratch.core.optimizers import SGD, Averaged, Optimizer, Rate
from skscratch.core.schedules import Adaptive
from skscratch.core.training import Patience, TrainingRun, start, train
from skscratch.core.workers import Workers
from skscratch.estimators._available import (
    UnavailableError,
    available_if,
    check_streamed_weights,
)
from skscratch.estimators._checkpoint import (
    RESUMED,
    RUNNING,
    SAVED,
    SavedFit,
    copy_to_save,
    description,
    fit_to_save,
    saved_state,
    with_data,
)
from skscratch.estimators._data import check_rows, check_weight, with_constant
from skscratch.estimators._kinds import check_numbers
from skscratch.estimators._random import RandomDraws
from skscratch.estimators._sklearn import (
    CallbackSupportMixin,
    FitTasks,
    Interval,
    LinearClassifierMixin,
    SparseCoefMixin,
    StrOptions,
    is_first_partial_fit,
)
from skscratch.estimators._state import (
    ModelReaderMixin,
    all_or_nothing,
    begin_training,
    reads_model,
)
from skscratch.estimators._stream import Stream, StreamProblem, WeightsNotFiniteError
from skscratch.estimators._targets import SignTargets, check_labels, class_weights
from skscratch.estimators._threads import thread_count

SGD_BATCH = 64
ADVICE = "Scale the columns of X (StandardScaler, MaxAbsScaler) or lower C."
ONLY_L2 = "takes subgradient steps, which leave no coefficient exactly zero, and accepts only"
# The curvature that determines the first rate is estimated on about this many rows, with this many
# products.
CURVATURE_ROWS = 1024
POWER_STEPS = 8
SGD_PATIENCE = 5
# The rate is divided by 5 each time; four times are enough.
SGD_LEAST_RATE = 5e-3
# About how much the first step of a stream changes a score, in units of the margin: less for the
# squared hinge, whose slope grows with the error.
STREAM_RATE, STREAM_RATE_SQUARED = 5.0, 3.0
# A stream that begins with assigned weights takes them as the result of this many rows or more.
ASSIGNED_ROWS = 1000


class _ScaledSGD(SGD):
    """`SGD` with a rate for each parameter."""

    n_slots: ClassVar[int] = 2

    def update(
        self, w: Array, g: Array, slots: Sequence[Array], scratch: Array, lr: Rate, t: int
    ) -> None:
        velocity, rate = slots
        g *= rate
        super().update(w, g, (velocity,), scratch, lr, t)


def _check_partial_fit(estimator: Any) -> None:
    if estimator.solver == "newton-cg":
        raise UnavailableError(
            "partial_fit trains batch by batch, which solver='newton-cg' cannot: choose 'sgd' or "
            "'auto'."
        )
    if estimator._is_l1:
        raise UnavailableError(f"partial_fit {ONLY_L2} penalty='l2', got penalty='l1'.")
    check_streamed_weights(estimator)


@dataclass
class _RunningFit:
    """A fit by 'sgd' between two epochs."""

    estimator: LinearSVM
    params: Array
    run: TrainingRun
    saved: SavedFit

    def snapshot(self, every: int) -> LinearSVM:
        """Return the estimator as it is between two epochs, to be written to a file."""
        fitted: LinearSVM = copy_to_save(self.estimator)
        state = saved_state(self.run.state, self.params)
        saved = self.saved.after(self.run, every, params=self.params, state=state)
        fitted.__dict__[SAVED] = saved
        return fitted


class LinearSVM(
    ModelReaderMixin,
    CallbackSupportMixin,
    LinearClassifierMixin,
    SparseCoefMixin,
    BaseEstimator,
):
    """Linear support vector machine for classification, with a proven accuracy.

    It minimises the objective of scikit-learn's `LinearSVC`,
    ``0.5 · ‖w‖² + C · Σ s_i · loss(y_i, x_i·w + b)``, in which the intercept is a weight of the
    constant feature `intercept_scaling`. `dual_gap_` bounds the distance to the optimum. With
    ``penalty='l1'``, ``‖w‖₁`` replaces ``0.5 · ‖w‖²``, and many weights are exactly 0.

    Parameters
    ----------
    penalty : {'l2', 'l1'}, default='l2'
        The penalty on the weights. 'l1' needs the loss 'squared_hinge', and 'newton-cg' or 'auto'
        as the solver. Training aims at a gradient of the losses that is within `tol` / 20 of
        [-1, 1] at weights of 0, and of -1 or 1 at others, before float32 rounds the weights. Only
        used with ``multi_class='ovr'``.
    loss : {'squared_hinge', 'hinge'}, default='squared_hinge'
        ``max(0, 1 - y·score)``, squared or not. Only used with ``multi_class='ovr'``.
    C : float, default=1.0
        Weight of the losses relative to the penalty, above 0.
    solver : {'auto', 'newton-cg', 'sgd'}, default='auto'
        'newton-cg' is Newton's method, which solves large problems of all classes together. 'sgd'
        takes subgradient steps on mini-batches, for data that arrive in pieces. 'auto' is
        'newton-cg' in `fit`, where it reached any accuracy faster at every size tried, and 'sgd' in
        `partial_fit`, which has learning rates of its own (AdaGrad).
    dual : bool or 'auto', default='auto'
        Accepted and checked as in `LinearSVC`, but without effect, because the solver works on the
        primal and the dual problem at once. True rules out ``penalty='l1'``, and False rules out
        ``loss='hinge'``.
    multi_class : {'ovr', 'crammer_singer'}, default='ovr'
        One problem for each class against the rest (a single one for two classes), or one joint
        problem with the loss ``max_k (score_k + [k ≠ y]) - score_y``, as in `LinearSVC`.
    class_weight : dict, 'balanced' or None, default=None
        Weight of each class, multiplied by `C` as in `LinearSVC`: in one-vs-rest, it applies to the
        rows of the class in its own problem. Classes missing from a dict have weight 1, and classes
        without rows are ignored.
    fit_intercept : bool, default=True
        Fit an intercept.
    intercept_scaling : float, default=1.0
        The larger, the less the intercept is penalised.
    tol : float, default=1e-5
        'newton-cg' stops when the duality gap of each problem is below `tol` times its objective;
        'sgd' when the mean objective no longer falls by `tol` in an epoch. LIBLINEAR's `tol`
        instead limits how far the optimality conditions are violated, and gives no bound on the
        distance to the optimum.
    max_iter : int, default=1000
        Largest number of Newton steps, or of epochs of 'sgd'. With ``penalty='l1'``, of rounds of
        up to twelve Newton steps.
    warm_start : bool, default=False
        Start from the previous solution.
    average : bool, default=False
        Keep the mean of the weights over the steps, in which late steps count more, instead of the
        last weights: more stable with noisy labels, slower at the start. Only used by 'sgd'.
    n_jobs : int or None, default=None
        Number of threads; None means as many as BLAS may use, -1 all cores. The result has the same
        bits for any number.
    verbose : int, default=0
        If not 0, `fit` prints a line for each iteration: its number, the objective and the duality
        gap relative to it; or, with 'sgd', the number of the epoch and the mean objective.
    random_state : int, RandomState instance or None, default=None
        Determines the order of the rows. Only used by 'sgd'.

    Attributes
    ----------
    coef_ : ndarray of shape (1, n_features) or (n_classes, n_features)
        Weights; a sparse array after `sparsify`.
    intercept_ : ndarray of shape (1,) or (n_classes,)
        Intercepts.
    classes_ : ndarray of shape (n_classes,)
        Labels.
    n_iter_ : int
        Number of Newton steps, of rounds of them with ``penalty='l1'``, or of epochs.
    objective_ : float
        The objective reached, summed over the problems. Set by `fit`.
    dual_gap_ : float
        The objective is at most this far above the smallest possible one. Set by `fit`.
    n_features_in_ : int
        Number of features.

    Raises
    ------
    ValueError
        If the input is invalid, with what is accepted. The estimator is left unchanged.

    See Also
    --------
    sklearn.svm.LinearSVC : The same problem, solved by LIBLINEAR.
    sklearn.calibration.CalibratedClassifierCV : Adds `predict_proba`.
    sklearn.kernel_approximation.Nystroem : Features that approximate an RBF kernel.

    References
    ----------
    Fan, R.-E. et al. (2008). LIBLINEAR: a library for large linear classification. JMLR 9.

    Keerthi, S. S. and DeCoste, D. (2005). A modified finite Newton method for fast solution of
    large scale linear SVMs. JMLR 6.

    Duchi, J. et al. (2011). Adaptive subgradient methods for online learning and stochastic
    optimization. JMLR 12.

    Crammer, K. and Singer, Y. (2001). On the algorithmic implementation of multiclass kernel-based
    vector machines. JMLR 2.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skscratch import LinearSVM
    >>> X, y = load_iris(return_X_y=True)
    >>> model = make_pipeline(StandardScaler(), LinearSVM()).fit(X, y)
    >>> round(model.score(X, y), 2)
    0.95
    >>> bool(model[-1].dual_gap_ <= 1e-5 * model[-1].objective_)
    True

    Scores are not probabilities; calibration on held-out folds turns them into probabilities.

    >>> from sklearn.calibration import CalibratedClassifierCV
    >>> calibrated = CalibratedClassifierCV(model).fit(X, y)
    >>> calibrated.predict_proba(X[:2]).shape
    (2, 3)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "penalty": [StrOptions({"l1", "l2"})],
        "loss": [StrOptions({"hinge", "squared_hinge"})],
        "C": [Interval(Real, 0, None, closed="neither")],
        "solver": [StrOptions({"auto", "newton-cg", "sgd"})],
        "dual": ["boolean", StrOptions({"auto"})],
        "multi_class": [StrOptions({"ovr", "crammer_singer"})],
        "class_weight": [dict, StrOptions({"balanced"}), None],
        "fit_intercept": ["boolean"],
        "intercept_scaling": [Interval(Real, 0, None, closed="neither")],
        "tol": [Interval(Real, 0, None, closed="neither")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "warm_start": ["boolean"],
        "average": ["boolean"],
        "n_jobs": [Integral, None],
        "verbose": ["verbose"],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        penalty="l2",
        loss="squared_hinge",
        *,
        C=1.0,
        solver="auto",
        dual="auto",
        multi_class="ovr",
        class_weight=None,
        fit_intercept=True,
        intercept_scaling=1.0,
        tol=1e-5,
        max_iter=1000,
        warm_start=False,
        average=False,
        n_jobs=None,
        verbose=0,
        random_state=None,
    ):
        self.penalty = penalty
        self.loss = loss
        self.C = C
        self.solver = solver
        self.dual = dual
        self.multi_class = multi_class
        self.class_weight = class_weight
        self.fit_intercept = fit_intercept
        self.intercept_scaling = intercept_scaling
        self.tol = tol
        self.max_iter = max_iter
        self.warm_start = warm_start
        self.average = average
        self.n_jobs = n_jobs
        self.verbose = verbose
        self.random_state = random_state

    @all_or_nothing
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> LinearSVM:
        """Fit the weights.

        Ctrl-C ends training with a warning and keeps the result of the complete steps or epochs.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Training data; float32 data are processed in float32 as long as its digits suffice, and
            never copied to float64 as a whole. Sparse rows stay sparse. With ``penalty='l1'``, they
            are copied to float64 columns.
        y : array-like of shape (n_samples,)
            Labels of at least two classes.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows, at least 0. Weight 2 is the same as including the row twice.

        Returns
        -------
        LinearSVM
            The fitted estimator.
        """
        resumed: SavedFit | None = self.__dict__.pop(RESUMED, None)
        self.__dict__.pop(SAVED, None)
        X, y, weight = self._check_data(X, y, sample_weight, reset=True)
        targets = SignTargets(y)
        if len(targets.classes) < 2:
            raise ValueError(
                "LinearSVM needs rows of at least two classes, but y has only one class: "
                f"{targets.classes.tolist()}."
            )
        self._check_combination(X.shape)
        self.classes_ = targets.classes
        self._state = None
        before = self._solution_before(X.shape[1]) if self.warm_start else None
        index = targets.index(y)
        cost = self._cost(index, weight, self.C)
        _check_cost(cost, X.dtype)
        tasks = FitTasks(
            self,
            self.max_iter,
            "epoch" if self.solver == "sgd" else "newton-iter",
            {"X": X, "y": y, "metadata": None},
            lambda: {"coef_": self.coef_, "intercept_": self.intercept_},
        )
        fit: Callable[..., None] = self._fit_newton
        if self.solver == "sgd":
            fit = partial(self._fit_sgd, weight=weight, resumed=resumed)
        try:
            fit(X, targets, index, cost, before, tasks)
            tasks.finish()
            # The learning rates of partial_fit go on from here.
            self._state = self._stream_after(X, np.atleast_2d(cost / self.C).T)
        finally:
            tasks.release()
        return self

    @available_if(_check_partial_fit)
    @all_or_nothing
    def partial_fit(
        self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None
    ) -> LinearSVM:
        """Continue training with 'sgd' for one epoch over the given rows.

        It goes on from `fit`, too, and `coef_` and `intercept_` may have been assigned.

        Each feature has a learning rate of its own (AdaGrad), which suits words that are rarely
        seen. Sparse rows stay sparse. The rows of all calls together act as the training data, so
        the penalty counts less with each call.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Training data.
        y : array-like of shape (n_samples,)
            Labels.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows.
        classes : array-like of shape (n_classes,), default=None
            Classes across all calls to partial_fit. Needed in the first call.

        Returns
        -------
        LinearSVM
            The fitted estimator.
        """
        first = is_first_partial_fit(self, classes)
        if len(self.classes_) < 2:
            raise ValueError(
                f"classes must name at least two classes, got {self.classes_.tolist()}."
            )
        X, y, weight = self._check_data(X, y, sample_weight, reset=first)
        self._check_combination(X.shape)
        targets = SignTargets(self.classes_)
        unknown = np.setdiff1d(y, targets.classes)
        if len(unknown):
            raise ValueError(
                f"y has the labels {unknown.tolist()}, which are not among the classes of the "
                f"first call: {targets.classes.tolist()}."
            )
        if first:
            self._state = None
        else:
            self._check_assigned()
        self._learn(X, targets, targets.index(y), weight)
        self.n_iter_ = 1
        # No longer valid after further training.
        for name in ("objective_", "dual_gap_"):
            self.__dict__.pop(name, None)
        return self

    _state: Stream | None

    # Data.

    def _check_data(
        self, X: Any, y: Any, sample_weight: Any, *, reset: bool
    ) -> tuple[Any, Array, Array | None]:
        X, y = check_rows(self, X, y=y, reset=reset, floats_only=True)
        check_labels(y)
        return X, y, check_weight(sample_weight, X)

    def _check_combination(self, shape: tuple[int, int]) -> None:
        """Raise a ValueError if `LinearSVC` rejects the parameters together, or 'sgd' does."""
        if self._is_joint:
            return
        # The values of `dual` that LIBLINEAR has a solver for.
        accepted = {
            ("l2", "squared_hinge"): {True, False},
            ("l2", "hinge"): {True},
            ("l1", "squared_hinge"): {False},
        }.get((self.penalty, self.loss), set())
        dual = self.dual
        if isinstance(dual, str):
            preferred = shape[0] < shape[1]
            dual = preferred if preferred in accepted else not preferred
        if dual not in accepted:
            detail = f"The combination of penalty='{self.penalty}' and loss='{self.loss}'"
            if accepted:
                detail += f" are not supported when dual={dual}"
            else:
                detail += " is not supported"
            raise ValueError(
                f"Unsupported set of arguments: {detail}, Parameters: penalty={self.penalty!r}, "
                f"loss={self.loss!r}, dual={dual!r}"
            )
        if self._is_l1 and self.solver == "sgd":
            raise ValueError(
                f"solver='sgd' {ONLY_L2} penalty='l2', got penalty='l1': choose solver='newton-cg' "
                "or 'auto'."
            )

    def _cost(self, index: Array, weight: Array | None, C: float) -> Array:
        """Return C times the weights: shape (n,), or (n_problems, n) if classes have weights."""
        n_classes = len(self.classes_)
        cost: Array = C * (np.ones(len(index)) if weight is None else weight)
        if self.class_weight is not None:
            of_class = class_weights(self.class_weight, self.classes_, self.classes_[index], weight)
            if n_classes == 2 or self._is_joint:
                cost = cost * of_class[index]
            else:
                own = index == np.arange(n_classes)[:, None]
                cost = cost * np.where(own, of_class[:, None], 1.0)
        return cost

    @property
    def _is_joint(self) -> bool:
        return bool(self.multi_class == "crammer_singer")

    @property
    def _is_l1(self) -> bool:
        # The joint problem has one penalty only, as in LinearSVC.
        return bool(self.penalty == "l1" and not self._is_joint)

    @property
    def _n_scores(self) -> int:
        """Number of scores that the solvers use: one for two classes, unless joint."""
        n_classes = len(self.classes_)
        return 1 if n_classes == 2 and not self._is_joint else n_classes

    def _solution_before(self, n_features: int) -> tuple[Array, Array] | None:
        """Return the current solution in the solvers' form, if it fits the problem."""
        if not hasattr(self, "coef_"):
            return None
        coef, intercept = self._dense_coef(), self.intercept_
        if len(coef) == 1 and self._n_scores == 2:
            # The joint problem of two classes has opposite weight vectors.
            coef, intercept = _opposite(coef), _opposite(intercept)
        return (coef, intercept) if coef.shape == (self._n_scores, n_features) else None

    def _dense_coef(self) -> Array:
        coef: Any = self.coef_
        return coef.toarray() if sparse.issparse(coef) else coef

    def _check_assigned(self) -> None:
        """Make `coef_` and `intercept_` arrays; raise a ValueError if training cannot continue."""
        self.coef_ = self._dense_coef()
        n_rows = 1 if len(self.classes_) == 2 else len(self.classes_)
        expected = {"coef_": (n_rows, self.n_features_in_), "intercept_": (n_rows,)}
        for name, shape in expected.items():
            check_numbers(name, getattr(self, name))
            array = np.asarray(getattr(self, name))
            if array.dtype.kind != "f":
                array = array.astype(np.float64)
            setattr(self, name, array)
            if array.shape != shape:
                raise ValueError(
                    f"{name} must have the shape {shape} to be trained further, but it has the "
                    f"shape {array.shape}."
                )
            # The sum, which needs no memory, may overflow.
            if not (np.isfinite(np.sum(array)) or np.isfinite(array).all()):
                raise ValueError(f"{name} must be finite to be trained further.")

    def _set_solution(self, coef: Array, intercept: Array) -> None:
        self.coef_, self.intercept_ = _merged_if_two(coef, intercept)

    def sparsify(self) -> LinearSVM:
        """Store `coef_` as a sparse array, which saves memory if most weights are 0.

        Prediction, saving and further training work with it. `densify` makes it an array again.

        Returns
        -------
        LinearSVM
            The estimator.
        """
        super().sparsify()
        return self

    # Newton's method.

    def _newton_loss(self, targets: SignTargets, index: Array) -> linear.LinearLoss:
        if self._is_joint:
            return linear.CrammerSinger(index, len(targets.classes))
        kind = linear.DualSquaredHinge if self.loss == "squared_hinge" else linear.DualHinge
        return kind(targets.encode_index(index, np.float64).T)

    def _solve(
        self,
        X: Any,
        targets: SignTargets,
        index: Array,
        cost: Array,
        before: tuple[Array, Array] | None,
        max_iter: int,
        on_iteration: Callable[..., bool] | None = None,
    ) -> linear.LinearSolution:
        options: dict[str, Any] = {
            "fit_intercept": self.fit_intercept,
            "intercept_scaling": self.intercept_scaling,
            "tol": self.tol,
            "max_iter": max_iter,
            "start": before,
            "on_iteration": on_iteration,
        }
        with Workers(thread_count(self.n_jobs)) as workers:
            options["run"] = workers.run
            try:
                if self._is_l1:
                    signs = targets.encode_index(index, np.float64).T
                    return linear.solve_l1(X, signs, cost, **options)
                return linear.solve(X, self._newton_loss(targets, index), cost, **options)
            except linear.NotFiniteError as error:
                raise ValueError(f"{error} {ADVICE}") from None

    def _fit_newton(
        self,
        X: Any,
        targets: SignTargets,
        index: Array,
        cost: Array,
        before: tuple[Array, Array] | None,
        tasks: FitTasks,
    ) -> None:
        stopped = False
        interrupts = begin_training()

        def on_iteration(n_iter: int, solution: Callable[[], linear.LinearSolution]) -> bool:
            nonlocal stopped
            if self.verbose or tasks.active:
                current = solution()
                self._print(f"iteration {n_iter}", current.objective, current.dual_gap)
            if tasks.active:
                self._set_solution(current.coef, current.intercept)
                self.n_iter_ = n_iter
                tasks.begin()
                stopped = tasks.end()
            stopped = stopped or interrupts.requested
            return stopped

        solution = self._solve(X, targets, index, cost, before, self.max_iter, on_iteration)
        self._set_solution(solution.coef, solution.intercept)
        self.n_iter_ = max(1, solution.n_iter)
        self.objective_, self.dual_gap_ = solution.objective, solution.dual_gap
        steps = f"{'round' if self._is_l1 else 'iteration'}{'' if self.n_iter_ == 1 else 's'}"
        self._print(f"LinearSVM ended after {self.n_iter_} {steps}", *self._certificate)
        if not solution.converged and not stopped:
            more_digits = "" if X.dtype == np.float64 else "give float64 rows, "
            self._warn(f"{self.n_iter_} {steps}", more_digits)

    @property
    def _certificate(self) -> tuple[float, float]:
        return self.objective_, self.dual_gap_

    def _print(self, what: str, objective: float, gap: float) -> None:
        if self.verbose:
            print(f"{what}: objective {objective:.6g}, relative gap {_ratio(gap, objective):.2g}")

    def _warn(self, steps: str, advice: str = "") -> None:
        relative_gap = _ratio(self.dual_gap_, self.objective_)
        warnings.warn(
            f"LinearSVM stopped after {steps}, before it reached tol={self.tol:g}, with a duality "
            f"gap of {self.dual_gap_:.3g}: the objective, {self.objective_:.6g}, exceeds its "
            f"minimum by at most {relative_gap:.2g} times its value. For a smaller gap, scale the "
            f"columns (StandardScaler, MaxAbsScaler), lower C, {advice}or raise max_iter.",
            ConvergenceWarning,
            stacklevel=3,
        )

    # Mini-batches: a dense layer and a hinge loss, trained like any network.

    def _check_saves_fits(self) -> None:
        """Raise a ValueError if a fit cannot be saved between two epochs."""
        if self.solver != "sgd":
            raise ValueError(
                f"LinearSVM trains in epochs with solver='sgd' only, got {self.solver!r}. Newton's "
                "method takes few iterations, which are not saved."
            )

    def _descriptions(self, X: Any, index: Array, weight: Array | None) -> dict[str, Any]:
        """Describe the arguments of a fit, by the user's names."""
        return {
            "X": description(X, columns=getattr(self, "feature_names_in_", None)),
            "y": description(index, classes=self.classes_),
            "sample_weight": description(weight),
        }

    def _train(
        self,
        X: Any,
        targets: SignTargets,
        index: Array,
        cost: Array,
        before: tuple[Array, Array] | None,
        tasks: FitTasks,
        rng: RandomDraws,
        resumed: SavedFit | None,
        saved: SavedFit | None,
    ) -> tuple[Network, TrainingRun]:
        interrupts = begin_training()
        total = float(cost.sum()) / self.C
        network, loss = self._network(X, before), self._sgd_loss()
        joint = isinstance(loss, MulticlassHinge)
        # The sum of `LinearSVC`'s objective, divided by C and the total weight.
        objective = Objective(network, loss, l2=1 / (self.C * total), share_l2=False)
        target = targets.one_hot(index, X.dtype) if joint else targets.encode_index(index, X.dtype)
        rate = self._learning_rate(X, objective)
        if not np.isfinite(rate):
            raise ValueError(f"The objective is not finite for {X.dtype}. {ADVICE}")
        optimizer: Optimizer = _ScaledSGD(0.9, nesterov=True)
        if self.average:
            # Late steps count more (Shamir & Zhang, 2013).
            optimizer = Averaged(optimizer, power=3)
        state = start(objective, optimizer, rng)
        network.views_of(state.optimizer.slots[1])[-1].W[:] = _rates_of_sum(cost)
        # If every problem has its own weights, the mean is taken over rows and problems.
        tol = self.tol / (len(cost) if cost.ndim == 2 else 1)

        def after(run: TrainingRun) -> bool:
            if self.verbose:
                print(f"epoch {run.n_epochs}: mean objective {run.losses[-1]:.6g}")
            if not tasks.active:
                return False
            self._store(network)
            self.n_iter_ = run.n_epochs
            if saved is not None:
                self.__dict__[RUNNING] = _RunningFit(self, network.params, run, saved)
            return tasks.end()

        begun = None
        if resumed is not None and resumed.state is not None:
            begun = resumed.run_to_complete(resumed.state)
            network.params[:] = resumed.params
        run = train(
            objective,
            X if self._appends_constant(X) else self._with_constant(X),
            target,
            optimizer=optimizer,
            schedule=Adaptive(rate, least=SGD_LEAST_RATE * rate),
            batch_size=SGD_BATCH,
            max_epochs=self.max_iter,
            weight=(cost.T / self.C),
            patience=Patience(tol, SGD_PATIENCE),
            before_epoch=tasks.begin,
            on_epoch=after,
            n_threads=thread_count(self.n_jobs),
            state=state,
            run=begun,
            interrupts=interrupts,
        )
        self.__dict__.pop(RUNNING, None)
        return network, run

    def _appends_constant(self, X: Any) -> bool:
        """Return whether the network appends the constant feature, which would make rows dense."""
        return self.fit_intercept and not sparse.issparse(X)

    def _with_constant(self, X: Any) -> Any:
        if not self.fit_intercept:
            return X
        return with_constant(X, float(self.intercept_scaling))

    def _network(self, X: Any, before: tuple[Array, Array] | None) -> Network:
        layers: list[Layer] = [Dense(self._n_scores, Zeros(), bias=None)]
        n_in = X.shape[1]
        if self._appends_constant(X):
            layers.insert(0, AppendConstant(float(self.intercept_scaling)))
        elif self.fit_intercept:
            n_in += 1
        network = Network(layers, n_in, X.dtype)
        if before is not None:
            W = network.views[-1].W
            W[: X.shape[1]] = before[0].T
            if self.fit_intercept:
                W[-1] = before[1] / self.intercept_scaling
        return network

    def _sgd_loss(self) -> Loss:
        if self._is_joint:
            return MulticlassHinge()
        return SquaredHinge() if self.loss == "squared_hinge" else Hinge()

    def _learning_rate(self, X: Any, objective: Objective) -> float:
        """Return a rate in proportion to one over the curvature of a batch.

        This is at most the largest curvature of all data plus the contribution of the longest row.
        """
        sample = X[:: max(1, X.shape[0] // CURVATURE_ROWS)]
        direction, largest = np.ones(X.shape[1], X.dtype), 0.0
        for _ in range(POWER_STEPS):
            direction = sample.T @ (sample @ direction)
            largest = float(np.linalg.norm(direction))
            direction /= max(largest, np.finfo(X.dtype).tiny)
        longest = float(row_norms(X, squared=True).max())
        curvature = largest / sample.shape[0] + longest / SGD_BATCH
        curvature += self.fit_intercept * self.intercept_scaling**2
        if self.loss == "squared_hinge" and not self._is_joint:
            curvature *= 2
        return 0.1 / (objective.l2 + max(curvature, np.finfo(np.float32).tiny))

    def _solution(self, W: Array) -> tuple[Array, Array]:
        """Return weights and intercepts, given the weights of a network's dense layer."""
        n_features = len(W) - bool(self.fit_intercept)
        intercept = (
            W[-1] * float(self.intercept_scaling)
            if self.fit_intercept
            else np.zeros(W.shape[1], W.dtype)
        )
        return _merged_if_two(W[:n_features].T, intercept)

    def _store(self, network: Network) -> None:
        coef, intercept = self._solution(network.views[-1].W)
        self.coef_, self.intercept_ = np.array(coef, order="C"), intercept

    # One pass over data that arrive in pieces.

    def _learn(self, X: Any, targets: SignTargets, index: Array, weight: Array | None) -> None:
        """Pass once over some rows, from the state and the solution of the last call."""
        interrupts = begin_training()
        loss = self._sgd_loss()
        joint = isinstance(loss, MulticlassHinge)
        target = targets.one_hot(index, X.dtype) if joint else targets.encode_index(index, X.dtype)
        # Without C, with which small weights could become 0.
        cost = np.atleast_2d(self._cost(index, weight, C=1.0)).T
        if not np.isfinite(cost.max()):
            raise ValueError(
                "sample_weight times class_weight must be finite: choose smaller ones."
            )
        W, intercept = self._by_features(X.shape[1])
        kind = (self.fit_intercept, self.multi_class, self.average)
        stream = self._state
        if stream is not None and stream.kind not in (None, kind):
            raise ValueError(
                "partial_fit cannot continue from another kind of solution: fit_intercept, "
                "multi_class and average must stay the same. Use a clone, or fit."
            )
        if not cost.any():
            # Only rows of classes whose weight is 0.
            self.coef_, self.intercept_ = _merged_if_two(W.T, intercept)
            return
        problem = StreamProblem(
            loss,
            STREAM_RATE_SQUARED if isinstance(loss, SquaredHinge) else STREAM_RATE,
            self.C,
            float(self.intercept_scaling) if self.fit_intercept else 0.0,
            self.average,
            lambda: interrupts.requested,
        )
        with single_threaded_blas, np.errstate(over="ignore", invalid="ignore"):
            if stream is None:
                # The first steps of a stream, which are large, would lose an assigned solution.
                stream = (
                    Stream.after(X, cost, self._slope, ASSIGNED_ROWS)
                    if W.any()
                    else Stream(np.zeros(X.shape[1] + 1))
                )
            stream = replace(stream, kind=kind)
            # The first order advances the caller's generator, as in `fit`.
            begins = stream.rng is None
            rng = RandomDraws(self.random_state) if begins else stream.rng.copy()
            try:
                self._state, (W, intercept) = problem.learn(
                    stream, rng, (W, intercept), X, target, cost
                )
            except WeightsNotFiniteError:
                raise ValueError(f"The objective is not finite for {X.dtype}. {ADVICE}") from None
        # A view, of which a sparse product needs no copy.
        self.coef_, self.intercept_ = _merged_if_two(W.T, intercept)

    @property
    def _slope(self) -> float:
        """Slope of the loss at a score of 0."""
        return 2.0 if isinstance(self._sgd_loss(), SquaredHinge) else 1.0

    def _stream_after(self, X: Any, cost: Array) -> Stream | None:
        """Return a stream that goes on after `fit`, or None if its sums overflow."""
        with single_threaded_blas, np.errstate(over="ignore", invalid="ignore"):
            stream = Stream.after(X, cost, self._slope)
            total = stream.squares.sum() + stream.norms + stream.weight
        return stream if np.isfinite(total) else None

    def _by_features(self, n_features: int) -> tuple[Array, Array]:
        """Return the current weights, shape (n_features, n_scores), and intercepts."""
        before = self._solution_before(n_features)
        if before is None:
            zeros = np.zeros(self._n_scores)
            return np.broadcast_to(zeros, (n_features, self._n_scores)), zeros
        return before[0].T, before[1]

    def _fit_sgd(
        self,
        X: Any,
        targets: SignTargets,
        index: Array,
        cost: Array,
        before: tuple[Array, Array] | None,
        tasks: FitTasks,
        weight: Array | None,
        resumed: SavedFit | None,
    ) -> None:
        rng = RandomDraws(self.random_state) if resumed is None else resumed.rng
        saved = fit_to_save(self, rng, resumed, first=True)
        saved = with_data(saved, resumed, partial(self._descriptions, X, index, weight))
        network, run = self._train(X, targets, index, cost, before, tasks, rng, resumed, saved)
        self._store(network)
        self.n_iter_ = max(1, run.n_epochs)
        reached = self._solution_before(X.shape[1])
        certificate = self._solve(X, targets, index, cost, reached, max_iter=0)
        self.objective_, self.dual_gap_ = certificate.objective, certificate.dual_gap
        self._print(f"LinearSVM ended after {self.n_iter_} epochs", *self._certificate)
        if run.stopped is None:
            self._warn(f"{run.n_epochs} epochs of sgd")

    @reads_model
    def decision_function(self, X: Any) -> Array:
        """Compute the scores of rows, with the same bits for any number of threads.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_classes)
            One score per class; for two classes a single one, above 0 for ``classes_[1]``.
        """
        check_numbers("X", X)
        with single_threaded_blas, np.errstate(over="ignore", invalid="ignore"):
            scores: Array = super().decision_function(X)
        if not np.isfinite(scores).all():
            raise ValueError(
                f"X holds values too large for coefficients of {self.coef_.dtype}: the scores are "
                "not finite. Scale X as in training."
            )
        return scores

    @reads_model
    def predict(self, X: Any) -> Array:
        """Predict labels.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        ndarray of shape (n_samples,)
            The label with the highest score for each row.
        """
        labels: Array = super().predict(X)
        return labels

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


def _ratio(gap: float, objective: float) -> float:
    return gap / max(objective, float(np.finfo(float).tiny))


def _check_cost(cost: Array, dtype: np.dtype[Any]) -> None:
    """Raise a ValueError if all weights are 0, or a dtype cannot hold them."""
    largest, limits = float(cost.max()), np.finfo(dtype)
    most, least = float(limits.max), float(limits.tiny)
    if largest == 0.0:
        raise ValueError(
            "sample_weight times class_weight is 0 in all rows: at least one must be above 0."
        )
    if not largest <= most:
        raise ValueError(
            f"C times sample_weight times class_weight is {largest:g}, more than {dtype} can hold "
            f"({most:.2g}): choose smaller ones."
        )
    if largest < least:
        raise ValueError(
            f"C times sample_weight times class_weight is at most {largest:g}, too small for "
            f"{dtype}: choose larger ones."
        )


def _merged_if_two(coef: Array, intercept: Array) -> tuple[Array, Array]:
    """Return a solution, two opposite weight vectors as their difference, as in `LinearSVC`."""
    if len(coef) == 2:
        return coef[1:] - coef[:1], intercept[1:] - intercept[:1]
    return coef, intercept


def _opposite(difference: Array) -> Array:
    """Return two opposite weight vectors, or intercepts, of this difference."""
    half = difference / 2
    # A sign would turn 0 into -0, which differs from the 0 that was there before.
    return np.concatenate([0 - half, half])


def _rates_of_sum(cost: Array) -> Array:
    """Return a rate for each problem, higher where the weights are small.

    They undo the division of each problem's loss by the total weight of all problems.
    """
    if cost.ndim == 1:
        return np.ones(1)
    total = cost.sum(axis=1)
    return np.where(total > 0, total.sum() / np.maximum(total, np.finfo(float).tiny), 1.0)
