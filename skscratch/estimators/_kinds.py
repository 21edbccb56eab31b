"""Reject dates, durations and text if numbers are expected.

NumPy turns a date into nanoseconds or days, depending on how it is stored, and text that looks like
a number into that number. Either is usually a mistake.
"""

from __future__ import annotations

import datetime
from typing import Any

import numpy as np

# Kind of NumPy dtype -> what it is called, and what to do about it.
ADVICE = {
    "M": ("dates", "Give numbers instead, such as the days since a date, the weekday or the hour."),
    "m": ("durations", "Give numbers of one unit instead: durations / np.timedelta64(1, 's')."),
    "U": ("text", "Convert it first: astype(float) if the text consists of numbers."),
}
POLARS = {"Date": "M", "Datetime": "M", "Duration": "m", "Time": "m", "String": "U"}
POLARS |= dict.fromkeys(["Categorical", "Enum", "Binary"], "U")
OBJECTS = {
    "M": (datetime.date, np.datetime64),
    "m": (datetime.timedelta, datetime.time, np.timedelta64),
    "U": (str, bytes),
}


def check_numbers(name: str, data: Any) -> None:
    """Raise a ValueError that names the argument if `data` are dates, durations or text.

    Arrays, data frames, series and lists are checked; an array of objects is accepted if all of
    them are numbers.
    """
    kinds = {_kind(dtype) for dtype in _dtypes(data)}
    if "O" in kinds:
        types = set(map(type, np.asarray(data, dtype=object).flat))
        kinds |= {k for k, of_kind in OBJECTS.items() for t in types if issubclass(t, of_kind)}
    for kind, (what, advice) in ADVICE.items():
        if kind in kinds:
            raise ValueError(f"{name} must hold numbers, but it holds {what}. {advice}")


def _dtypes(data: Any) -> list[Any]:
    if isinstance(data, list | tuple):
        try:
            return [np.asarray(data).dtype]
        except ValueError:
            # Rows of different lengths: scikit-learn has a message for them.
            return []
    # A data frame has one for each column.
    return [data.dtype] if hasattr(data, "dtype") else list(getattr(data, "dtypes", ()))


def _kind(dtype: Any) -> str:
    kind = getattr(dtype, "kind", None) or POLARS.get(str(dtype).partition("(")[0], "")
    return "U" if kind == "S" else str(kind)
