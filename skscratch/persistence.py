"""Saving fitted estimators as plain data, so that a file from a stranger cannot run code.

A pickle can do anything when it is opened, and breaks when a class moves. Here a file is an
``.npz`` archive of arrays and one JSON text: constructor parameters and fitted attributes as they
are, networks and recipes by their own descriptions, label encodings rebuilt from their classes.
Reading builds only what is listed in this module.

The state of training (the optimizer's moments, the random generators) and callbacks are left out.
A loaded estimator predicts the same bits, and can be trained further with ``warm_start`` or
``partial_fit``, but not bit for bit as if it had never been saved.
"""

from __future__ import annotations

import io
import json
import math
import os
import secrets
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse
from sklearn import config_context
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from skscratch._version import __version__
from skscratch.core.named import Named
from skscratch.core.network import Network
from skscratch.estimators._targets import ClassTargets, SignTargets
from skscratch.estimators.autoencoder import AutoencoderTransformer
from skscratch.estimators.linear_svm import LinearSVM
from skscratch.estimators.mlp import MLPClassifier, MLPRegressor
from skscratch.images import RandomWarp

__all__ = ["load", "save"]

FILE_FORMAT = "skscratch estimator 1"
DESCRIPTION = "skscratch"
CLASSES = (MLPClassifier, MLPRegressor, AutoencoderTransformer, LinearSVM)

# What training carries from step to step. It is written as None, so that training starts afresh.
STATE = {"_training_state", "_state", "_monitored"}
# Live objects that belong to one process.
LEFT_OUT = {"_skl_callbacks"}
# Attributes that scikit-learn keeps outside the constructor and the fit.
ROUTING = "_metadata_request"
OUTPUT = "_sklearn_output_config"
PRIVATE = {
    *STATE,
    "_fitted_loss",
    "_n_encoder_layers",
    "_stopped",
    "_targets",
    "_trained_by",
    "_weight_of_class",
    "_weight_seen",
    OUTPUT,
    ROUTING,
}

# All that reading a damaged archive was seen to raise, in NumPy, in zipfile and in our decoders.
DAMAGE = (
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    AssertionError,
    IndexError,
    EOFError,
    OverflowError,
    MemoryError,
    RecursionError,
    RuntimeError,
    SyntaxError,
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
)

Array = npt.NDArray[Any]


def save(estimator: Any, file: str | os.PathLike[str]) -> None:
    """Write an estimator to a file, fitted or not.

    The file appears whole or not at all: it is written under another name and renamed.

    Parameters
    ----------
    estimator : MLPClassifier, MLPRegressor, AutoencoderTransformer or LinearSVM
        What to save.
    file : str or path-like
        Where to write; ``.npz`` is the usual ending, and none is added. An existing file is
        replaced.

    Raises
    ------
    ValueError
        If the estimator is of another class, or has a parameter or an attribute that is not plain
        data, such as a function or a RandomState. Nothing is written then.
    OSError
        If the file cannot be written.

    See Also
    --------
    load : Read it again.

    Notes
    -----
    The state of training (optimizer, random generators) and callbacks are left out. The loaded
    estimator predicts the same bits. It can be trained further, with ``warm_start=True`` or
    ``partial_fit``, but it starts with a fresh optimizer, so it does not take the same steps.

    A function is no plain data. Where `noise` is one, set it to None before saving: predictions do
    not need it.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from sklearn.datasets import load_iris
    >>> from skscratch import MLPClassifier
    >>> from skscratch.persistence import load, save
    >>> X, y = load_iris(return_X_y=True)
    >>> model = MLPClassifier(solver="lbfgs", max_iter=1000, random_state=0).fit(X, y)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(model, Path(folder) / "model.npz")
    ...     loaded = load(Path(folder) / "model.npz")
    >>> bool((loaded.predict_proba(X) == model.predict_proba(X)).all())
    True
    """
    kind = type(estimator)
    if kind not in CLASSES:
        raise ValueError(
            f"Cannot save a {kind.__name__}. Known are {_names(CLASSES)}; save the steps of a "
            "pipeline one by one."
        )
    writer = _Writer()
    parameters = estimator.get_params(deep=False)
    attributes = {
        name: None if name in STATE else value
        for name, value in vars(estimator).items()
        if name not in parameters and name not in LEFT_OUT
    }
    if ROUTING in attributes:
        attributes[ROUTING] = _requests(estimator)
    description = {
        "format": FILE_FORMAT,
        "version": __version__,
        "class": kind.__name__,
        "parameters": writer.encode_all(parameters, f"parameter of {kind.__name__}"),
        "attributes": writer.encode_all(attributes, f"attribute of {kind.__name__}"),
    }
    text = json.dumps(description, allow_nan=False).encode()
    arrays = {DESCRIPTION: np.frombuffer(text, dtype=np.uint8), **writer.arrays}
    _write(Path(file), arrays)


def load(file: str | os.PathLike[str]) -> Any:
    """Read an estimator that `save` wrote.

    Parameters
    ----------
    file : str or path-like
        The file.

    Returns
    -------
    MLPClassifier, MLPRegressor, AutoencoderTransformer or LinearSVM
        An estimator with the same parameters and fitted attributes, predicting the same bits.

    Raises
    ------
    ValueError
        If the file holds anything else, or is damaged. The message names the file.
    OSError
        If the file cannot be read; FileNotFoundError if there is none.

    See Also
    --------
    save : Write an estimator.

    Notes
    -----
    Nothing in the file is ever executed or unpickled. That says nothing about whether its numbers
    are good: whoever made the file decides what the estimator predicts.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from skscratch import MLPRegressor
    >>> from skscratch.persistence import load, save
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(MLPRegressor(hidden_layer_sizes=(5, 3)), Path(folder) / "model.npz")
    ...     load(Path(folder) / "model.npz")
    MLPRegressor(hidden_layer_sizes=(5, 3))
    """
    path = Path(file)
    # Read whole, so that an OSError is always the disk's: zipfile also raises one when damaged
    # offsets send it before the beginning of a file.
    content = io.BytesIO(path.read_bytes())
    try:
        return _read(content)
    except DAMAGE as error:
        raise ValueError(
            f"{str(path)!r} is not an estimator saved by skscratch.persistence.save, or it is "
            f"damaged: {error or type(error).__name__}"
        ) from error


def _write(path: Path, arrays: dict[str, Array]) -> None:
    """Write an archive next to its destination, then put it there in one step."""
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with unfinished.open("xb") as stream:
            np.savez(stream, allow_pickle=False, **arrays)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def _read(stream: Any) -> Any:
    with zipfile.ZipFile(stream) as archive:
        # NumPy's savez stores without compression, so an archive is never larger inside than out.
        if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
            raise ValueError("its contents are compressed")
        # Before anything is made of it, so that chance damage is told from bad numbers.
        if (damaged := archive.testzip()) is not None:
            raise ValueError(f"the checksum of {damaged!r} is wrong")
    stream.seek(0)
    with np.load(stream, allow_pickle=False) as arrays:
        description = json.loads(arrays[DESCRIPTION].tobytes())
        if not isinstance(description, dict) or description.get("format") != FILE_FORMAT:
            raise ValueError(f"its format is not {FILE_FORMAT!r}")
        return _build(description, _Reader(arrays))


def _build(description: dict[str, Any], reader: _Reader) -> Any:
    known = {kind.__name__: kind for kind in CLASSES}
    if description["class"] not in known:
        raise ValueError(f"unknown class {description['class']!r}, known are {_names(CLASSES)}")
    estimator = known[description["class"]](**reader.decode_all(description["parameters"]))
    attributes = reader.decode_all(description["attributes"])
    if not attributes:
        return estimator
    _check_names(estimator, attributes)
    requests = attributes.pop(ROUTING, {})
    config = attributes.pop(OUTPUT, None)
    for name, value in attributes.items():
        setattr(estimator, name, value)
    _try_out(estimator)
    with config_context(enable_metadata_routing=True):
        for method, request in requests.items():
            getattr(estimator, f"set_{method}_request")(**request)
    if config is not None:
        estimator.set_output(**config)
    return estimator


def _check_names(estimator: Any, attributes: Iterable[str]) -> None:
    """Refuse attributes that `save` never writes, such as one that hides a method."""
    for name in attributes:
        fitted = name.endswith("_") and not name.startswith("_")
        if name not in PRIVATE and (not fitted or hasattr(type(estimator), name)):
            raise ValueError(f"{type(estimator).__name__} has no attribute {name!r}")


def _try_out(estimator: Any) -> None:
    """Pass one row through the estimator, which fails where its parts do not fit together."""
    try:
        check_is_fitted(estimator)
    except NotFittedError:
        return
    row = np.zeros((1, estimator.n_features_in_))
    use = estimator.reconstruct if hasattr(estimator, "reconstruct") else estimator.predict
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        # The row has no column names, which is no mistake here.
        warnings.simplefilter("ignore")
        use(row)


def _requests(estimator: Any) -> dict[str, dict[str, Any]]:
    """Return what was requested with ``set_fit_request`` and its like, by method."""
    routing = estimator.get_metadata_routing()
    methods = [
        name.removeprefix("set_").removesuffix("_request")
        for name in dir(estimator)
        if name.startswith("set_") and name.endswith("_request")
    ]
    requests = {method: dict(getattr(routing, method).requests) for method in methods}
    return {method: request for method, request in requests.items() if request}


def _names(classes: Iterable[type]) -> str:
    return ", ".join(kind.__name__ for kind in classes)


class _Writer:
    """Turns values into what JSON can hold, and puts their arrays aside.

    None, truth values, finite numbers, texts and lists stay what they are. Anything else becomes
    an object with one key that says what it is, so that a tuple comes back as a tuple.
    """

    def __init__(self) -> None:
        self.arrays: dict[str, Array] = {}

    def encode_all(self, values: dict[str, Any], what: str) -> dict[str, Any]:
        encoded = {}
        for name, value in values.items():
            try:
                encoded[name] = self.encode(value)
            except _NotPlainError as error:
                raise ValueError(
                    f"Cannot save the {what} {name!r}: {error} is not plain data. Accepted are "
                    "None, numbers, texts, arrays, and lists, tuples and dicts of these."
                ) from None
        return encoded

    def encode(self, value: Any) -> Any:
        plain = value is None or type(value) in (bool, int, str)
        if plain or (type(value) is float and math.isfinite(value)):
            return value
        if type(value) is list:
            return [self.encode(item) for item in value]
        for kind, (tag, describe) in self._encoders().items():
            if isinstance(value, kind):
                return {tag: describe(value)}
        raise _NotPlainError(value)

    def _encoders(self) -> dict[type, tuple[str, Callable[[Any], Any]]]:
        return {
            np.generic: ("scalar", lambda value: self._put(np.asarray(value))),
            float: ("float", repr),
            tuple: ("tuple", lambda value: [self.encode(item) for item in value]),
            dict: ("dict", lambda value: [[self.encode(k), self.encode(value[k])] for k in value]),
            np.ndarray: ("array", self._array),
            Network: ("network", lambda net: [net.to_dict(), self._put(net.params)]),
            Named: ("recipe", lambda recipe: recipe.to_dict()),
            RandomWarp: ("warp", lambda warp: self.encode(asdict(warp))),
            ClassTargets: ("class targets", self._class_targets),
            SignTargets: ("sign targets", lambda targets: self._array(targets.classes)),
        }

    def _put(self, array: Array) -> str:
        if array.dtype.hasobject:
            raise _NotPlainError(array)
        name = f"array {len(self.arrays)}"
        self.arrays[name] = array
        return name

    def _array(self, array: Array) -> Any:
        # Texts often come as arrays of objects (feature names, labels), which would need a pickle.
        if array.dtype == object:
            return {"shape": list(array.shape), "items": [self.encode(x) for x in array.flat]}
        return self._put(array)

    def _class_targets(self, targets: ClassTargets) -> Any:
        binarizer = targets.binarizer
        multilabel = binarizer.y_type_.startswith("multilabel")
        return [self._array(targets.classes), multilabel, bool(binarizer.sparse_input_)]


class _NotPlainError(TypeError):
    """A value that cannot be written as plain data."""

    def __init__(self, value: Any) -> None:
        super().__init__(f"{value!r} ({type(value).__name__})")


class _Reader:
    """The way back; it builds nothing but what `_Writer` describes."""

    def __init__(self, arrays: Any) -> None:
        self.arrays = arrays
        self._decoders: dict[str, Callable[[Any], Any]] = {
            "scalar": lambda name: arrays[name][()],
            "float": float,
            "tuple": lambda items: tuple(self.decode(item) for item in items),
            "dict": lambda pairs: {self.decode(k): self.decode(v) for k, v in pairs},
            "array": self._array,
            "network": lambda pair: Network.from_dict(pair[0], arrays[pair[1]]),
            "recipe": Named.from_dict,
            "warp": lambda fields: RandomWarp(**self.decode(fields)),
            "class targets": self._class_targets,
            "sign targets": lambda classes: SignTargets(self._array(classes)),
        }

    def decode_all(self, values: dict[str, Any]) -> dict[str, Any]:
        return {name: self.decode(value) for name, value in values.items()}

    def decode(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self.decode(item) for item in value]
        if isinstance(value, dict):
            ((tag, described),) = value.items()
            return self._decoders[tag](described)
        return value

    def _array(self, described: Any) -> Array:
        if isinstance(described, str):
            array: Array = self.arrays[described]
            return array
        items = np.empty(len(described["items"]), dtype=object)
        items[:] = [self.decode(item) for item in described["items"]]
        return items.reshape(described["shape"])

    def _class_targets(self, described: Any) -> ClassTargets:
        classes, multilabel, of_sparse = described
        known = self._array(classes)
        if not multilabel:
            return ClassTargets(known)
        indicator = np.eye(len(known), dtype=int)
        return ClassTargets(sparse.csr_matrix(indicator) if of_sparse else indicator)
