import dataclasses
import json

import numpy as np
import pytest

from skscratch import LinearSVM
from skscratch.experiments.store import LEDGER, Store, fingerprint
from skscratch.persistence import load, save


@pytest.fixture
def notes():
    return []


@pytest.fixture
def folder(tmp_path, notes):
    store = Store(tmp_path, "mark", reuse=False, note=notes.append)
    store.put("svm.skops", lambda path: save(LinearSVM(C=7.0), path), {"seconds": 1.5})
    assert notes == []
    return tmp_path


def reopen(folder, notes, mark="mark", *, reuse=True):
    return Store(folder, mark, reuse=reuse, note=notes.append)


def test_a_model_comes_back_with_its_facts(folder, notes):
    model, facts = reopen(folder, notes).get("svm.skops", load)
    assert model.C == 7.0
    assert facts == {"seconds": 1.5}
    assert notes == []


def test_a_forgotten_model_does_not_come_back(folder, notes):
    store = reopen(folder, notes)
    store.forget("svm.skops")
    store.forget("never.npz")
    for known in (store, reopen(folder, notes)):
        assert known.get("svm.skops", load) is None
    assert not (folder / f"{LEDGER}.new").exists()


def test_nothing_comes_back_unless_asked_for(folder, notes):
    assert reopen(folder, notes, reuse=False).get("svm.skops", load) is None
    assert notes == []


def test_models_of_another_run_are_trained_again(folder, notes):
    assert reopen(folder, notes, "other").get("svm.skops", load) is None
    assert "other data, settings or seed: training again" in notes[0]


def test_an_empty_folder_is_told(tmp_path, notes):
    assert reopen(tmp_path, notes).get("svm.skops", load) is None
    assert "There are no trained models" in notes[0]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"fingerprint": "mark", "models": 3}'])
def test_a_broken_ledger_is_told(text, folder, notes):
    (folder / LEDGER).write_text(text)
    assert reopen(folder, notes).get("svm.skops", load) is None
    assert f"{LEDGER} cannot be read" in notes[0]


@pytest.mark.parametrize("entry", [None, 3, {}, {"sha256": 1}])
def test_a_broken_entry_is_told(entry, folder, notes):
    ledger = json.loads((folder / LEDGER).read_text())
    ledger["models"]["svm.skops"] = entry
    (folder / LEDGER).write_text(json.dumps(ledger))
    assert reopen(folder, notes).get("svm.skops", load) is None
    assert "svm.skops cannot be used again" in notes[0]


def test_a_changed_file_is_not_used(folder, notes):
    save(LinearSVM(C=8.0), folder / "svm.skops")
    assert reopen(folder, notes).get("svm.skops", load) is None
    assert "it was changed since" in notes[0]


def test_a_missing_file_is_not_used(folder, notes):
    (folder / "svm.skops").unlink()
    assert reopen(folder, notes).get("svm.skops", load) is None
    assert "svm.skops cannot be used again" in notes[0]


def test_figures_are_computed_once_and_the_same_when_they_come_back(tmp_path, notes):
    calls = []

    def compute():
        calls.append(len(calls))
        return {"widths": (1, 2), "share": 0.1}

    for _ in range(2):
        store = Store.resume(tmp_path / "new", "mark", note=notes.append)
        assert store.part("one", compute, title="Part one") == {"widths": [1, 2], "share": 0.1}
    assert calls == [0]
    assert notes == ["Part one: finished earlier"]


@pytest.mark.parametrize(
    ("mark", "settings", "note"),
    [("mark", {"rows": (1, 3)}, None), ("other", {"rows": (1, 2)}, "other data, settings or seed")],
)
def test_figures_of_other_settings_are_computed_again(mark, settings, note, tmp_path, notes):
    Store.resume(tmp_path, "mark", note=notes.append).part("one", lambda: 1, {"rows": (1, 2)})
    store = Store.resume(tmp_path, "mark", note=notes.append)
    assert store.part("one", lambda: 2, {"rows": (1, 2)}) == 1
    assert notes == ["one: finished earlier"]
    store = Store.resume(tmp_path, mark, note=notes.append)
    assert store.part("one", lambda: 3, settings) == 3
    assert len(notes) == 1 if note is None else note in notes[1]


def test_changed_figures_are_not_used(tmp_path, notes):
    Store.resume(tmp_path, "mark", note=notes.append).part("one", lambda: 1)
    (tmp_path / "one.json").write_text("2")
    assert Store.resume(tmp_path, "mark", note=notes.append).part("one", lambda: 3) == 3
    assert "one.json cannot be used again" in notes[0]


def test_the_fingerprint_knows_data_settings_and_seed(images, tiny):
    mark = fingerprint(images, tiny, 0)
    assert mark == fingerprint(dataclasses.replace(images), tiny, 0)
    pixels = images.X_train.copy()
    pixels[3, 3] += 0.5
    others = [
        fingerprint(images, tiny, 1),
        fingerprint(images, dataclasses.replace(tiny, n_validation=41), 0),
        fingerprint(images, dataclasses.replace(tiny, svm={"C": 0.6}), 0),
        fingerprint(dataclasses.replace(images, X_train=pixels), tiny, 0),
        fingerprint(dataclasses.replace(images, y_test=images.y_test[::-1]), tiny, 0),
        fingerprint(dataclasses.replace(images, image_shape=(4, 16)), tiny, 0),
    ]
    assert len({mark, *others}) == 7


def test_the_fingerprint_does_not_depend_on_memory_order(images, tiny):
    other = dataclasses.replace(images, X_train=np.asfortranarray(images.X_train))
    assert fingerprint(other, tiny, 0) == fingerprint(images, tiny, 0)
