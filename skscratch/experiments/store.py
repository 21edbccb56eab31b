"""Finished parts of a run on disk, and whether they are the ones that a run would make.

A part is a file: trained weights, or figures in JSON. A file called ``trained.json`` holds what the
parts of its folder were made with, which is a fingerprint of data, seed and settings, and the
checksum of each file. It is written after each part, so a run that was interrupted can go on where
it stopped.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np

from skscratch import __version__
from skscratch.datasets import Images

LEDGER = "trained.json"

Model = TypeVar("Model")


def fingerprint(images: Images, settings: object, seed: int) -> str:
    """Return a checksum of everything that decides what the trained models are.

    Parameters
    ----------
    images : Images
        The data, pixels and labels included.
    settings : object
        The choices of the run; its text holds them all.
    seed : int
        The seed.

    Returns
    -------
    str
        A SHA-256 sum in hexadecimal digits.
    """
    digest = hashlib.sha256()
    for part in (images.X_train, images.y_train, images.X_test, images.y_test):
        digest.update(f"{part.dtype.str} {part.shape}".encode())
        digest.update(np.ascontiguousarray(part).data)
    digest.update(f"{__version__} {seed} {images.image_shape} {settings}".encode())
    return digest.hexdigest()


class Store:
    """The finished parts of one folder.

    Parameters
    ----------
    folder : pathlib.Path
        Where the files are.
    mark : str
        The fingerprint of this run.
    reuse : bool
        Whether parts of earlier runs may be used.
    note : callable
        Called with a line if a part cannot be used again.
    """

    def __init__(
        self, folder: Path, mark: str, *, reuse: bool, note: Callable[[str], None]
    ) -> None:
        self.folder, self.mark, self.note = folder, mark, note
        self.models: dict[str, dict[str, Any]] = {}
        if reuse:
            self._read()

    @classmethod
    def resume(cls, folder: Path, mark: str, *, note: Callable[[str], None]) -> Self:
        """Open the store of a run that always goes on where it stopped.

        Parameters
        ----------
        folder : pathlib.Path
            Where the files are; it is made if need be.
        mark : str
            The fingerprint of this run.
        note : callable
            Called with a line about each part that is used again or cannot be.

        Returns
        -------
        Store
            The store.
        """
        folder.mkdir(parents=True, exist_ok=True)
        return cls(folder, mark, reuse=(folder / LEDGER).exists(), note=note)

    def part(
        self,
        name: str,
        compute: Callable[[], Any],
        settings: Any = None,
        *,
        title: str | None = None,
    ) -> Any:
        """Return the figures of a part, computed now unless they are there.

        Parameters
        ----------
        name : str
            Name of the part; its file is this with ".json" behind it.
        compute : callable
            Returns the figures, as JSON can hold them.
        settings : object, default=None
            What else than the fingerprint decides about the figures, as JSON can hold it.
        title : str or None, default=None
            What the part is called in a note; None takes its name.

        Returns
        -------
        object
            The figures, as JSON returns them: kept ones and fresh ones alike.
        """
        file, settings = f"{name}.json", json.loads(json.dumps(settings))
        known = self.get(file, _read_json)
        if known is not None and known[1].get("settings") == settings:
            self.note(f"{title or name}: finished earlier")
            return known[0]
        text = json.dumps(compute(), indent=1)
        self.put(file, lambda path: _write_text(path, text), {"settings": settings})
        return json.loads(text)

    def _read(self) -> None:
        ledger = self.folder / LEDGER
        try:
            known = json.loads(ledger.read_text(encoding="utf-8"))
            if known["fingerprint"] == self.mark:
                self.models = dict(known["models"])
            else:
                self.note(
                    f"The models in {self.folder} were trained with other data, settings or seed: "
                    "training again."
                )
        except FileNotFoundError:
            self.note(f"There are no trained models in {self.folder}: training.")
        except (ValueError, KeyError, TypeError) as error:
            self.note(f"{ledger} cannot be read ({error}): training again.")

    def get(self, name: str, read: Callable[[Path], Model]) -> tuple[Model, dict[str, Any]] | None:
        """Return a model and what was noted about it, or None where it has to be trained.

        Parameters
        ----------
        name : str
            Name of the file.
        read : callable
            Reads the model from a path, and raises ValueError where it cannot.

        Returns
        -------
        tuple of (model, dict) or None
            The model and its facts.
        """
        if name not in self.models:
            return None
        path = self.folder / name
        try:
            if _checksum(path) != self.models[name]["sha256"]:
                raise ValueError("it was changed since")
            model = read(path)
            return model, dict(self.models[name]["facts"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            self.note(f"{path} cannot be used again ({error}): training again.")
            return None

    def put(self, name: str, write: Callable[[Path], None], facts: dict[str, Any]) -> None:
        """Write a model and note facts about it.

        Parameters
        ----------
        name : str
            Name of the file.
        write : callable
            Writes the model to a path.
        facts : dict
            What to remember, as JSON can hold it.
        """
        path = self.folder / name
        write(path)
        self.models[name] = {"sha256": _checksum(path), "facts": facts}
        self._write()

    def forget(self, name: str) -> None:
        """Let a model be trained again.

        Parameters
        ----------
        name : str
            Name of the file.
        """
        if self.models.pop(name, None) is not None:
            self._write()

    def _write(self) -> None:
        ledger = {"fingerprint": self.mark, "models": self.models}
        # A run may be killed at any moment: the old ledger stays until the new one is complete.
        fresh = self.folder / f"{LEDGER}.new"
        fresh.write_text(json.dumps(ledger, indent=1) + "\n", encoding="utf-8")
        fresh.replace(self.folder / LEDGER)


def _read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _write_text(path: Path, text: str) -> None:
    path.write_text(text + "\n", encoding="utf-8")


def _checksum(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
