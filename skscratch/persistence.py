"""Save estimators and whole pipelines to files that cannot run code when they are loaded.

A pickle can run any code when it is opened. `skops.io` writes a zip archive instead: the arrays,
and a description of the classes to build from them. This module adds what skops leaves to its
users: an explicit list of the classes that a file may name; checks of the objects built, because
skops sets attributes and calls no constructor; the versions that wrote a file; and one kind of
error for any invalid file.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import glob
import io
import json
import os
import secrets
import sys
import warnings
import zipfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, Self

import numpy as np
import sklearn
from scipy import sparse
from sklearn import model_selection
from sklearn.base import BaseEstimator
from sklearn.dummy import DummyClassifier
from sklearn.metrics import check_scoring, get_scorer, get_scorer_names
from sklearn.utils import Bunch
from sklearn.utils.metadata_routing import MetadataRequest

from skscratch._version import __version__
from skscratch.core import Corruption, Network, OptimizerState, Part, TrainingState
from skscratch.core.named import Named
from skscratch.core.network import Stack
from skscratch.core.schedules import Clock
from skscratch.estimators._checkpoint import SAVED, SavedFit
from skscratch.estimators._random import RandomDraws
from skscratch.estimators._sklearn import CALLBACKS, OUTPUT_CONFIG
from skscratch.estimators._stream import Stream
from skscratch.estimators._targets import ClassTargets, SignTargets
from skscratch.estimators.autoencoder import AutoencoderTransformer
from skscratch.estimators.linear_svm import LinearSVM, _ScaledSGD
from skscratch.estimators.mlp_classifier import MLPClassifier
from skscratch.estimators.mlp_regressor import MLPRegressor
from skscratch.images import RandomWarp

__all__ = ["load", "save"]

ESTIMATORS = (MLPClassifier, MLPRegressor, AutoencoderTransformer, LinearSVM)
# Classes inside the estimators, besides the registered parts.
HELPERS = (
    Network,
    TrainingState,
    OptimizerState,
    Clock,
    RandomDraws,
    ClassTargets,
    SignTargets,
    RandomWarp,
    _ScaledSGD,
    Stream,
    SavedFit,
)
SPARSE = [
    getattr(sparse, f"{form}_{kind}")
    for form in ("bsr", "coo", "csc", "csr", "dia")
    for kind in ("array", "matrix")
]
VERSIONS = {"skscratch": __version__, "scikit-learn": sklearn.__version__}

# Members of the archive.
SCHEMA, VERSIONS_FILE = "schema.json", "skscratch.json"
# A description must be smaller than this, or less than this many times its compressed size.
LARGEST_SCHEMA, LARGEST_RATIO = 1 << 26, 100
# Methods that pass rows through an estimator.
METHODS = (
    "predict",
    "predict_proba",
    "decision_function",
    "transform",
    "reconstruct",
    "score_samples",
)


def save(estimator: Any, file: str | os.PathLike[str]) -> None:
    """Write an estimator or a pipeline to a file, fitted or not.

    The file is written completely or not at all: it is written under another name and then renamed.
    Before that it is read back, so that anything `load` would reject is rejected here.

    Parameters
    ----------
    estimator : estimator
        An estimator of skscratch, or one of scikit-learn's, such as a pipeline or a search that
        holds estimators of skscratch.
    file : str or path-like
        Where to write; ``.skops`` is the usual extension, and none is added. An existing file is
        replaced.

    Raises
    ------
    ValueError
        If something in the estimator cannot be saved: the message names the parameter or the
        attribute, and nothing is written.
    OSError
        If the file cannot be written.
    ImportError
        If skops is not installed.

    See Also
    --------
    load : Read an estimator.
    skscratch.core.Network : Its method `save` does not need skops.

    Notes
    -----
    The state of training is also saved: an estimator that is loaded and trained further, with
    ``warm_start=True`` or ``partial_fit``, takes the same steps to the bit. Callbacks are left out.

    Functions are not saved, because a file must not be able to name one. This applies to a custom
    `noise` function (a `RandomWarp` is saved), scorers made by `make_scorer` (name one of
    scikit-learn's instead), and the functions that some of scikit-learn's estimators take or store;
    NumPy's and SciPy's ufuncs are the exception. If `noise` is a function, set it to None before
    saving: predictions do not need it. Trees, and anything else that skops does not trust, are not
    saved either.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skscratch import MLPClassifier
    >>> from skscratch.persistence import load, save
    >>> X, y = load_iris(return_X_y=True)
    >>> model = make_pipeline(StandardScaler(), MLPClassifier(solver="lbfgs", random_state=0))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(model.fit(X, y), Path(folder) / "model.skops")
    ...     loaded = load(Path(folder) / "model.skops")
    >>> bool((loaded.predict_proba(X) == model.predict_proba(X)).all())
    True
    """
    import_skops()
    if not isinstance(estimator, BaseEstimator):
        raise ValueError(f"Cannot save {estimator!r:.80}, which is not an estimator.")
    # A consistent set of attributes, in case another thread fits the estimator.
    estimator = copy.copy(estimator)
    # Its parameters may have been changed since.
    vars(estimator).pop(SAVED, None)
    save_with_fit(estimator, file)


def save_with_fit(estimator: Any, file: str | os.PathLike[str]) -> None:
    """Do as `save`, for an estimator that may contain an unfinished fit."""
    content, error = _try_to_write(estimator)
    if content is None:
        raise ValueError(
            f"Cannot save {_culprit(estimator)}: {_text(error)} Accepted are numbers, strings, "
            "arrays, lists and dicts of these, the parts of skscratch, and scikit-learn's "
            "estimators, splitters and named scorers; functions and other classes are not."
        ) from error
    put(file, content)


def load(file: str | os.PathLike[str]) -> Any:
    """Read an estimator or a pipeline that `save` wrote.

    Parameters
    ----------
    file : str or path-like
        The file.

    Returns
    -------
    estimator
        An estimator with the same parameters and fitted attributes, predicting the same bits.

    Raises
    ------
    ValueError
        If the file contains anything else, is damaged, or names an unknown class. The message names
        the file.
    OSError
        If the file cannot be read; FileNotFoundError if there is none.
    ImportError
        If skops is not installed.

    Warns
    -----
    UserWarning
        If the file was written by another version of skscratch or scikit-learn.

    See Also
    --------
    save : Write an estimator.

    Notes
    -----
    A file may name the classes of skscratch, parts that are registered in this process, and
    scikit-learn's estimators, splitters and named scorers. Nothing else is imported, called or
    unpickled. A custom activation, layer, loss or optimizer is registered by importing the module
    that defines it.

    This does not mean that the numbers in the file can be trusted: its author determines what the
    estimator predicts.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from skscratch import MLPRegressor
    >>> from skscratch.persistence import load, save
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(MLPRegressor(hidden_layer_sizes=(5, 3)), Path(folder) / "model.skops")
    ...     load(Path(folder) / "model.skops")
    MLPRegressor(hidden_layer_sizes=(5, 3))
    """
    import_skops()
    path = Path(file)
    # Read in full first, so that an OSError always comes from the disk: zipfile also raises one if
    # a damaged offset points before the beginning of a file.
    content = path.read_bytes()
    with _naming(path):
        versions = _versions(content)
    if versions != VERSIONS:
        saved, current = (" and ".join(map(" ".join, v.items())) for v in (versions, VERSIONS))
        warnings.warn(
            f"{str(path)!r} was saved by {saved}; these are {current}. Predictions may differ.",
            stacklevel=2,
        )
    with _naming(path):
        estimator = _read(content)
        if not isinstance(estimator, BaseEstimator):
            raise ValueError(f"It contains a {type(estimator).__name__}.")
    return estimator


def import_skops() -> Any:
    """Return the module `skops.io`, or raise an ImportError with the command that installs it."""
    try:
        from skops import io as skops_io
    except ImportError as error:
        raise ImportError(
            "Saving and loading estimators needs skops, which is not installed: "
            "pip install 'skscratch[io]'"
        ) from error
    return skops_io


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Turn any error raised by a damaged or hostile file into a ValueError that names the file."""
    try:
        yield
    # Reading goes through skops, scikit-learn, NumPy, SciPy and zipfile.
    except Exception as error:
        raise ValueError(
            f"{str(path)!r} is not an estimator saved by skscratch.persistence.save, or it is "
            f"damaged, or a custom class is not imported: {_text(error)}"
        ) from error


def _text(error: BaseException | None) -> str:
    return str(error).strip() or type(error).__name__


def check_can_write(file: str | os.PathLike[str]) -> None:
    """Raise an OSError if a file cannot be written; remove what killed processes left of it."""
    path = _target(file)
    if path.is_dir():
        raise IsADirectoryError(f"{str(path)!r} is a folder, not a file.")
    for unfinished in path.parent.glob(f".{glob.escape(path.name)}.*.part"):
        if not _is_being_written(unfinished):
            unfinished.unlink(missing_ok=True)
    trial = _unfinished(path)
    trial.touch()
    trial.unlink()


def put(file: str | os.PathLike[str], content: bytes) -> None:
    """Write a file next to its destination, then move it there in one step."""
    path = _target(file)
    unfinished = _unfinished(path)
    try:
        with unfinished.open("xb") as stream:
            stream.write(content)
            stream.flush()
            # Else a crash of the machine could leave an empty file under the new name.
            os.fsync(stream.fileno())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def _target(file: str | os.PathLike[str]) -> Path:
    """Return the path to write to, behind a symbolic link; its folder must exist."""
    path = Path(os.path.realpath(file))
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"There is no folder {str(Path(file).parent)!r} to save {path.name!r} in."
        )
    return path


def _unfinished(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.part")


def _is_being_written(unfinished: Path) -> bool:
    """Return whether the process that began a file may still run."""
    number = unfinished.name.split(".")[-2].partition("-")[0]
    # On Windows, the signal 0 would end the process.
    if os.name != "posix" or not number.isdigit():
        return True
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass
    return True


# Writing.


def _try_to_write(value: Any) -> tuple[bytes | None, Exception | None]:
    """Return the content of a file, or the error that writing or reading it raises."""
    try:
        content = _write(value)
        _read(content)
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001  the value may hold any class, and raise anything
        return None, error
    return content, None


def _write(value: Any) -> bytes:
    """Write a value as skops does, with a compressed description and the versions."""
    written = import_skops().dumps(_for_skops(value))
    content = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(written)) as source, zipfile.ZipFile(content, "w") as archive:
        for member in source.infolist():
            if member.filename != SCHEMA:
                archive.writestr(member.filename, source.read(member))
        schema = json.dumps(json.loads(source.read(SCHEMA)), separators=(",", ":"))
        archive.writestr(SCHEMA, schema, zipfile.ZIP_DEFLATED)
        archive.writestr(VERSIONS_FILE, json.dumps(VERSIONS))
    return content.getvalue()


def _for_skops(value: Any) -> Any:
    """Return a copy without callbacks, with stand-ins for objects that skops cannot write.

    The copy shares its arrays with the original.
    """
    replaced: dict[int, Any] = {}
    parts = list(_parts(value))
    for part in parts:
        if isinstance(part, np.ndarray):
            replaced[id(part)] = part
        elif isinstance(part, BaseEstimator) and CALLBACKS in vars(part):
            replaced[id(vars(part)[CALLBACKS])] = None
        elif isinstance(part, Corruption) and not isinstance(part.function, RandomWarp):
            # The layer does nothing in prediction. If its function is still a parameter, saving
            # fails because of the parameter.
            replaced[id(part)] = Corruption()
        elif (stand_in := _stand_in(part)) is not None:
            replaced[id(part)] = stand_in
    # `parts` keeps the originals alive, so that no other object gets one of their ids.
    for stand_in in [new for new in replaced.values() if isinstance(new, _StandIn)]:
        stand_in.data = copy.deepcopy(stand_in.data, replaced)
    copied = copy.deepcopy(value, replaced)
    for part in _parts(copied):
        if isinstance(part, BaseEstimator):
            vars(part).pop(CALLBACKS, None)
    return copied


class _StandIn:
    """An object that skops cannot write, as plain data; calling the class with them rebuilds it."""

    make: Callable[..., Any]
    data: Any

    def __new__(cls, data: Any) -> Any:
        return cls.make(data)

    @classmethod
    def of(cls, data: Any) -> Self:
        """Return the stand-in itself."""
        stand_in = object.__new__(cls)
        stand_in.data = data
        return stand_in

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.data,)


class _Floats(_StandIn):
    """A list of floats, as an array: a curve takes a twentieth of the space."""

    make = staticmethod(np.ndarray.tolist)


class _Pairs(_StandIn):
    """A dict, as pairs: skops turns keys into strings, and the string 'False' is true."""

    make = staticmethod(dict[Any, Any])


class _NamedScorer(_StandIn):
    """One of scikit-learn's scorers, by name, because it holds a function."""

    make = staticmethod(get_scorer)


class _Requests(_StandIn):
    """Metadata requests, such as those of ``set_fit_request``: the original refers to its owner."""

    @staticmethod
    def make(data: Any) -> MetadataRequest:
        owner, requests = data
        result = MetadataRequest(owner)
        for method, request in requests.items():
            for parameter, alias in request.items():
                getattr(result, method).add_request(param=parameter, alias=alias)
        return result


def _stand_in(part: Any) -> _StandIn | None:
    if type(part) is list and part and all(type(item) is float for item in part):
        return _Floats.of(np.array(part))
    if type(part) is dict and part and set(map(type, part)) not in ({str}, {int}):
        return _Pairs.of(list(part.items()))
    if isinstance(part, MetadataRequest):
        methods = {k: v.requests for k, v in vars(part).items() if hasattr(v, "requests")}
        requests = {method: dict(request) for method, request in methods.items() if request}
        owner = part.owner if isinstance(part.owner, str) else type(part.owner).__name__
        return _Requests.of((owner, requests))
    if type(part) is type(_scorers()["accuracy"]):
        for name, scorer in _scorers().items():
            if vars(scorer) == vars(part):
                return _NamedScorer.of(name)
    return None


@cache
def _scorers() -> dict[str, Any]:
    return {name: get_scorer(name) for name in get_scorer_names()}


def _culprit(estimator: BaseEstimator) -> str:
    """Name the object that cannot be saved: an attribute of the innermost estimator with it."""
    estimators = [part for part in _parts(estimator) if isinstance(part, BaseEstimator)]
    for part in reversed(estimators):
        for name, value in vars(part).items():
            if name != CALLBACKS and _try_to_write(value)[0] is None:
                return f"{name!r} of {type(part).__name__}"
        if _try_to_write(part)[0] is None:
            return f"a {type(part).__name__}"
    return f"a {type(estimator).__name__}"


# Reading.


def _text_of(content: bytes, member: str) -> Any:
    """Parse one of the JSON members of a file, unless a member is larger than it seems."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for info in archive.infolist():
            limit = info.compress_size
            if info.filename == SCHEMA:
                limit = max(LARGEST_SCHEMA, LARGEST_RATIO * limit)
            if info.file_size > limit:
                raise ValueError(f"{info.filename!r} is compressed, which `save` does not do.")
        return json.loads(archive.read(member))


def _versions(content: bytes) -> dict[str, str]:
    """Return the versions that wrote a file."""
    versions = _text_of(content, VERSIONS_FILE)
    if versions.keys() != VERSIONS.keys() or not all(isinstance(v, str) for v in versions.values()):
        raise ValueError(f"{VERSIONS_FILE!r} does not name the versions.")
    return dict(versions)


def _read(content: bytes) -> Any:
    """Build the object that a file describes, and check it."""
    trusted = _trusted()
    _check_roles(_text_of(content, SCHEMA), trusted)
    # Inconsistent data may cause warnings before an error. `load` itself warns about versions.
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        value = import_skops().loads(content, trusted=list(trusted))
        parts = list(_parts(value))
        for part in parts:
            _check_part(part)
        for part in parts:
            if isinstance(part, BaseEstimator):
                _check_estimator(part)
    return value


def _trusted() -> dict[str, str]:
    """Return the classes that a file may name, each with skops' name of the way it is built.

    Besides these, skops trusts scikit-learn's estimators, plain data and ufuncs.
    """
    # A part is trusted only if its name leads to it: skops finds only classes in modules.
    registered = [
        member
        for family in Named.__subclasses__()
        for member in family.members().values()
        if getattr(sys.modules.get(member.__module__), member.__name__, None) is member
    ]
    roles = {
        "ObjectNode": [*ESTIMATORS, *HELPERS, *registered, *_splitters_and_scorers()],
        "ConstructorFromReduceNode": [Part, _Floats, _Pairs, _NamedScorer, _Requests],
        "SparseMatrixNode": SPARSE,
        "DictNode": [Bunch],
        "DTypeNode": [np.dtype],
    }
    return {_name(kind): role for role, kinds in roles.items() for kind in kinds}


@cache
def _splitters_and_scorers() -> list[type]:
    """Return scikit-learn's splitters, and its scorers without a function."""
    # Public names that are experimental may be missing.
    public = [vars(model_selection).get(name) for name in model_selection.__all__]
    splitters = [kind for kind in public if isinstance(kind, type) and hasattr(kind, "split")]
    model = DummyClassifier()
    scorers = [check_scoring(model), check_scoring(model, scoring=["accuracy"])]
    return [*splitters, *map(type, scorers)]


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__name__}"


def _check_roles(schema: Any, trusted: dict[str, str]) -> None:
    """Reject a trusted class where skops would call it with arguments from the file."""
    waiting = [schema]
    while waiting:
        node = waiting.pop()
        if isinstance(node, list):
            waiting += node
        elif isinstance(node, dict):
            waiting += node.values()
            # The second names are those of skops' first protocol, which it still reads.
            module = node.get("__module__", node.get("module_path"))
            name = f"{module}.{node.get('__class__', node.get('function'))}"
            if name in trusted and trusted[name] != node.get("__loader__"):
                raise ValueError(f"{name} is not built by a {node.get('__loader__')}.")


def _parts(value: Any) -> Iterator[Any]:
    """Yield a value and its parts, each object once, outer ones before inner ones.

    The parts of objects of unknown classes are left out.
    """
    trusted = _trusted()
    seen: dict[int, Any] = {}
    waiting = [value]
    while waiting:
        part = waiting.pop()
        if id(part) in seen:
            continue
        seen[id(part)] = part
        yield part
        if isinstance(part, dict):
            waiting += part.values()
        elif isinstance(part, list | tuple | set):
            waiting += part
        elif isinstance(part, np.ndarray):
            waiting += part.ravel().tolist() if part.dtype == object else []
        elif isinstance(part, BaseEstimator) or _name(type(part)) in trusted:
            waiting += [v for k, v in getattr(part, "__dict__", {}).items() if k != CALLBACKS]


def _check_part(part: Any) -> None:
    """Raise an error if a part is not as its constructor would have made it."""
    if isinstance(part, Stack):
        _check_stack(part)
    elif isinstance(part, Named):
        fields = {field.name for field in dataclasses.fields(part)}  # type: ignore[arg-type]
        if vars(part).keys() != fields or type(part)(**vars(part)) != part:
            raise ValueError(f"{type(part).__name__} has other fields: {sorted(vars(part))}.")
    elif sparse.issparse(part) and hasattr(part, "check_format"):
        # SciPy's loops trust the indices.
        part.check_format(full_check=True)
    elif isinstance(part, np.random.RandomState | np.random.Generator):
        _check_random(part)
    elif isinstance(part, SavedFit):
        part.check()


def _check_stack(stack: Stack) -> None:
    """Rebuild a network from its description, and pass a row through it."""
    if isinstance(stack, Network):
        # This checks every recipe and every shape again.
        Network.from_dict(stack.to_dict(), stack.params)
    elif isinstance(stack, Part):
        n_layers = len(stack.network.layers)
        if not 0 <= stack.start <= stack.stop <= n_layers:
            raise ValueError(
                f"A part cannot be layers {stack.start} to {stack.stop} of {n_layers}."
            )
    stack(np.zeros((1, stack.n_in)))


def _check_random(random: np.random.RandomState | np.random.Generator) -> None:
    """Raise a ValueError if a generator would read beyond its memory: NumPy does not check."""
    if isinstance(random, np.random.RandomState):
        state: Any = random.get_state(legacy=False)
    else:
        state = random.bit_generator.state
    position, limit = state.get("buffer_pos", 0), 4
    if state["bit_generator"] == "MT19937":
        position, limit = state["state"]["pos"], 624
    if not 0 <= position <= limit:
        raise ValueError(f"{state['bit_generator']} cannot be at position {position}.")


def _check_estimator(estimator: Any) -> None:
    """Raise an error if parameters are invalid or fitted attributes are inconsistent."""
    kind = type(estimator)
    for name in vars(estimator):
        if callable(getattr(kind, name, None)):
            raise ValueError(f"{kind.__name__}.{name} is a method, not an attribute.")
    estimator.get_params(deep=False)
    # Not among scikit-learn's public names, but part of all of its estimators and of ours.
    if hasattr(estimator, "_parameter_constraints"):
        estimator._validate_params()
    if isinstance(estimator, ESTIMATORS) and hasattr(estimator, "n_features_in_"):
        _try_out(estimator)


def _try_out(estimator: Any) -> None:
    """Pass a row through a fitted estimator whose parameters are replaced by 0.

    The actual ones may lead to infinite outputs for a row that is unlike the data.
    """
    if hasattr(estimator, "coef_"):
        shapes = np.shape(estimator.coef_), np.shape(estimator.intercept_)
        if shapes != ((*shapes[0][:1], estimator.n_features_in_), shapes[0][:1]):
            raise ValueError(f"coef_ and intercept_ have the shapes {shapes}.")
    blank = copy.copy(estimator)
    # Data frames need a library that may not be installed here.
    vars(blank).pop(OUTPUT_CONFIG, None)
    for name in ("coef_", "intercept_"):
        if name in vars(blank):
            value = getattr(blank, name)
            # A sparse array after `sparsify`.
            zeros = np.zeros(value.shape, value.dtype) if sparse.issparse(value) else None
            setattr(blank, name, np.zeros_like(value) if zeros is None else zeros)
    if "network_" in vars(blank):
        blank.network_ = blank.network_.copy()
        blank.network_.params[:] = 0
    row = np.zeros((1, blank.n_features_in_))
    outputs = {name: getattr(blank, name)(row) for name in METHODS if hasattr(blank, name)}
    for name in ("predict_proba", "decision_function"):
        if name in outputs:
            # Two classes may share a column, and a single class has a column for the other.
            n_scores = outputs[name].shape[1] if outputs[name].ndim == 2 else 2
            if n_scores != max(2, len(blank.classes_)):
                raise ValueError(f"{n_scores} scores do not fit {len(blank.classes_)} classes.")
