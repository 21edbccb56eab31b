"""How the benchmarks compile Keras models, and return them to an earlier state.

Keras is imported inside the functions, because a contestant times that import.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any


def import_keras() -> Any:
    """Import Keras with TensorFlow behind it."""
    try:
        import tensorflow  # noqa: F401
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"A comparison with Keras needs {error.name}, which is missing. To install it: "
            'pip install ".[keras]"',
            name=error.name,
        ) from error
    import keras

    if keras.backend.backend() != "tensorflow":
        raise ValueError(
            "The comparison is with Keras on TensorFlow. Set the environment variable "
            f"KERAS_BACKEND to tensorflow, not {keras.backend.backend()}."
        )
    return keras


def compile_model(
    model: Any, solver: str, rate: float, loss: str, *, epsilon: float = 1e-8, **options: Any
) -> None:
    """Compile a model with Adam or plain gradient descent, and create the optimizer's variables."""
    import keras

    optimizers = {
        "adam": lambda: keras.optimizers.Adam(rate, epsilon=epsilon),
        "sgd": lambda: keras.optimizers.SGD(rate),
    }
    model.compile(optimizers[solver](), loss, **options)
    model.optimizer.build(model.trainable_variables)


def snapshot(variables: Iterable[Any]) -> Callable[[], None]:
    """Return a function that sets Keras variables back to the values that they have now."""
    values = [(variable, variable.numpy()) for variable in variables]

    def restore() -> None:
        for variable, value in values:
            variable.assign(value)

    return restore
