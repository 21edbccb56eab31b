import io

import pytest
from rich.console import Console

from skscratch import AutoencoderTransformer
from skscratch.experiments.progress import (
    BarProgress,
    EpochReporter,
    PlainProgress,
    Progress,
    Stage,
)


def play(progress):
    with progress:
        progress.note("begin")
        with progress.stage("Work", 20) as step:
            for k in range(20):
                step(f"[step] {k + 1}")
        with progress.stage("Silent") as step:
            step()


def test_nobody_is_told_by_default(capsys):
    play(Progress())
    assert capsys.readouterr() == ("", "")


def test_plain_lines_are_few_and_whole():
    stream = io.StringIO()
    play(PlainProgress(stream))
    lines = stream.getvalue().splitlines()
    assert lines[:2] == ["begin", "Work ..."]
    assert lines[2:7] == [f"  [step] {k}" for k in (4, 8, 12, 16, 20)]
    assert lines[7].startswith("Work: done in ")
    assert lines[8] == "Silent ..."
    assert len(lines) == 10
    assert all(character.isprintable() for line in lines for character in line)


def test_bars_show_titles_and_texts_as_they_are():
    stream = io.StringIO()
    play(BarProgress(Console(file=stream, force_terminal=True, width=120)))
    written = stream.getvalue()
    assert "begin" in written
    assert "20/20" in written
    assert "[step] 20" in written
    assert "1/1" in written


def test_a_failure_inside_a_stage_comes_out():
    for progress in (PlainProgress(io.StringIO()), BarProgress(Console(file=io.StringIO()))):
        with pytest.raises(KeyError), progress, progress.stage("Work"):
            raise KeyError


@pytest.mark.parametrize("validation", [False, True])
def test_epochs_are_reported_through_scikit_learns_callbacks(validation, images):
    # Not at the top: before scikit-learn 1.9 there are no callbacks.
    from sklearn.callback import ScoringMonitor

    class Recorder(Stage):
        def __init__(self):
            self.texts = []

        def __call__(self, text=""):
            self.texts.append(text)

    stage = Recorder()
    encoder = AutoencoderTransformer(2, (), max_iter=3, random_state=0)
    encoder.set_callbacks(EpochReporter(stage), ScoringMonitor(scoring=None)).fit(
        images.X_train, X_val=images.X_test if validation else None
    )
    assert [text.split(":")[0] for text in stage.texts] == [f"epoch {k} of 3" for k in (1, 2, 3)]
    assert f"loss {encoder.loss_curve_[1]:.5f}" in stage.texts[1]
    assert ("validation" in stage.texts[1]) is validation
