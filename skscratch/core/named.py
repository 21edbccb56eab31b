"""Families whose members are found by name.

``activation="silu"`` and ``activation=SiLU()`` mean the same recipe. Classes register themselves by
their name, ``class SiLU(Activation, name="silu")``; there is no central table. The tests are
parametrized over these families, so every new member is tested.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
from numbers import Real
from typing import Any, ClassVar, Self, dataclass_transform

_FAMILIES: dict[str, type[Named]] = {}


@dataclass_transform(frozen_default=True)
class Named:
    """A frozen recipe that belongs to a family and can be found there by its name.

    Every subclass becomes a frozen dataclass: it compares, hashes, prints and pickles by the values
    of its fields, which are plain data, tuples or other recipes.
    """

    family: ClassVar[str] = ""
    name: ClassVar[str] = ""
    _members: ClassVar[dict[str, type[Any]]] = {}

    def __init_subclass__(cls, *, family: str = "", name: str = "", **unknown: Any) -> None:
        if unknown:
            raise TypeError(
                f"{cls.__name__}: unknown class keyword {', '.join(map(repr, unknown))}."
            )
        dataclasses.dataclass(frozen=True)(cls)
        _check_fields(cls)
        if family:
            cls.family, cls._members = family, {}
            _FAMILIES[family] = cls
        if name:
            cls.name = name
            for family_base in cls._families():
                _register(family_base, cls)

    def __post_init__(self) -> None:
        self.check_init()

    def check_init(self) -> None:
        """Raise a ValueError if a field has an invalid value."""

    def check_range(
        self, field: str, low: float, high: float = math.inf, *, closed: str = "both"
    ) -> None:
        """Raise a ValueError unless a field is a number from `low` to `high`.

        `closed` names the ends that belong to the range: "both", "left", "right" or "neither".
        """
        value = getattr(self, field)
        left, right = closed in ("both", "left"), closed in ("both", "right")
        real = isinstance(value, Real) and not isinstance(value, bool)
        if (
            real
            and (low <= value if left else low < value)
            and (value <= high if right and high < math.inf else value < high)
        ):
            return
        if high == math.inf:
            accepted = f"at least {low:g}" if left else f"above {low:g}"
        else:
            accepted = f"in {'[' if left else '('}{low:g}, {high:g}{']' if right else ')'}"
        kind = "a finite number " if not real else ""
        raise ValueError(f"{field} of {self.name!r} must be {kind}{accepted}, got {value!r}.")

    @classmethod
    def members(cls) -> dict[str, type[Self]]:
        """All members of the family, name -> class."""
        return dict(cls._members)

    @classmethod
    def named(cls, name: str, **hyperparameters: Any) -> Self:
        """Build the member called `name`; a ValueError for an unknown name lists the known ones."""
        if name not in cls._members:
            close = difflib.get_close_matches(str(name), cls._members, n=1)
            guess = f" Did you mean {close[0]!r}?" if close else ""
            raise ValueError(
                f"Unknown {cls.family} {name!r}.{guess} Known: {', '.join(sorted(cls._members))}."
            )
        member: type[Self] = cls._members[name]
        return member(**hyperparameters)

    @classmethod
    def resolve(cls, recipe: str | Self) -> Self:
        """Return `recipe` itself, or the member it names."""
        if isinstance(recipe, str):
            return cls.named(recipe)
        if isinstance(recipe, cls):
            return recipe
        article = "an" if cls.family[0] in "aeiou" else "a"
        raise TypeError(
            f"Expected the name of {article} {cls.family} or an instance of {cls.__name__}, "
            f"got {recipe!r}."
        )

    def to_dict(self) -> dict[str, Any]:
        """Describe the recipe as plain data that JSON can hold; `from_dict` rebuilds it."""
        names = [field.name for field in dataclasses.fields(self)]  # type: ignore[arg-type]
        fields = {name: getattr(self, name) for name in names}
        return {
            "family": self._families()[-1].family,
            "name": self.name,
            **{k: v.to_dict() if isinstance(v, Named) else v for k, v in fields.items()},
        }

    @staticmethod
    def from_dict(data: dict[str, Any]) -> Any:
        """Build a recipe from what `to_dict` returned; anything else raises a ValueError."""
        try:
            fields = {
                # JSON turns tuples into lists; turn them back.
                k: Named.from_dict(v) if isinstance(v, dict) else _frozen(v)
                for k, v in data.items()
                if k not in ("family", "name")
            }
            return _FAMILIES[data["family"]].named(data["name"], **fields)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(
                f"Not a valid description: {json.dumps(data, default=repr)}."
            ) from error

    @classmethod
    def _families(cls) -> list[type[Named]]:
        """Return the families the class belongs to, the widest last: an activation is a layer."""
        bases = [base for base in cls.__mro__ if issubclass(base, Named) and base is not Named]
        return [base for base in bases if "_members" in vars(base)]


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _full_name(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _check_fields(cls: type) -> None:
    """Raise a TypeError if a default could not be hashed, or written as JSON and read back."""
    for field in dataclasses.fields(cls):
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        elif field.default is not dataclasses.MISSING:
            default = field.default
        else:
            continue
        if not _is_plain(default):
            raise TypeError(
                f"{cls.__name__}: the default of {field.name!r} must be None, a number, a string, "
                f"a recipe, or a tuple of these, got {default!r}."
            )


def _is_plain(value: Any) -> bool:
    if isinstance(value, tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, bool | int | float | str | Named)


def _register(family_base: type[Named], cls: type[Named]) -> None:
    members = family_base._members
    registered = members.get(cls.name)
    # Re-running a module defines the same class again.
    if registered is not None and _full_name(registered) != _full_name(cls):
        raise ValueError(
            f"The {family_base.family} name {cls.name!r} is taken by {_full_name(registered)}."
        )
    members[cls.name] = cls
