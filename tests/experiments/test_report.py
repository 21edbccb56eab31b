import copy
import re

import jinja2
import pytest

from skscratch.experiments import render_report


@pytest.fixture(scope="module")
def page(run):
    return render_report(run.metrics)


def test_the_figures_stand_in_the_report(page, run):
    metrics = run.metrics
    reconstruction, xor = metrics["reconstruction"], metrics["xor"]
    for figure in (
        f"{metrics['data']['n_train']:,} training images",
        f"The seed is {metrics['seed']}",
        f"{metrics['gradients']['largest']:.2e}",
        f"Epochs: {xor['n_epochs']:,}",
        f"{xor['n_solved']} of {xor['n_seeds']}",
        *(f"{output:.3f}" for output in xor["outputs"]),
        f"{metrics['autoencoder']['test_mse']:.5f}",
        f"{metrics['autoencoder']['pca_test_mse']:.5f}",
        f"{reconstruction['test_mse']:.5f}",
        *(f"{100 * score['test_accuracy']:.2f} %" for score in reconstruction["scores"]),
        *(f"{100 * score['test_accuracy']:.2f} %" for score in metrics["latent"]["scores"]),
        *(f"{100 * score['train_accuracy']:.2f} %" for score in metrics["latent"]["scores"]),
        *(
            f"| {row['precision']:.3f} | {row['recall']:.3f} |"
            for row in metrics["latent"]["classes"]
        ),
        *(f"{100 * row['accuracy']:.2f} %" for row in metrics["search"]["candidates"]),
        f"{100 * metrics['search']['test_accuracy']:.2f} %",
        f"| numpy | {metrics['environment']['packages']['numpy']} |",
    ):
        assert figure in page, figure


def test_other_figures_give_another_report(page, run):
    metrics = copy.deepcopy(run.metrics)
    metrics["autoencoder"]["test_mse"] = 0.12345
    assert "0.12345" in render_report(metrics)
    assert "0.12345" not in page


def test_every_part_of_the_figures_is_needed(run):
    for part in ("data", "gradients", "xor", "autoencoder", "latent", "search", "environment"):
        with pytest.raises(jinja2.UndefinedError):
            render_report({k: v for k, v in run.metrics.items() if k != part})


def test_it_says_so_where_a_classifier_saw_fewer_images_or_did_not_converge(page, run):
    assert "SVC, RBF (scikit-learn) was trained on 200 of the 300 images" in page
    assert "stopped before it had converged" not in page
    metrics = copy.deepcopy(run.metrics)
    metrics["latent"]["scores"][1]["converged"] = False
    assert "LinearSVC (scikit-learn) stopped before it had converged" in render_report(metrics)


def test_it_says_so_where_something_failed(page, run):
    assert "**no**" not in page
    metrics = copy.deepcopy(run.metrics)
    metrics["gradients"]["passed"] = metrics["xor"]["solved"] = False
    assert render_report(metrics).count("**no**") == 2


def test_it_says_so_where_models_were_used_again(page, run):
    assert "earlier run" not in page
    metrics = {**run.metrics, "reused": ["autoencoder", "linear svm"]}
    assert "autoencoder, linear svm. Their training times" in render_report(metrics)


def test_without_a_second_autoencoder_nothing_is_said_of_it(page, run):
    assert "## A second autoencoder" in page
    assert "A second" not in render_report({**run.metrics, "reconstruction": None})


def test_tables_are_whole(page):
    for table in re.findall(r"(?:^\|.*\n)+", page, flags=re.MULTILINE):
        widths = {row.count("|") for row in table.splitlines()}
        assert len(widths) == 1, table


def test_times_are_readable(run):
    metrics = copy.deepcopy(run.metrics)
    for seconds, text in ((0.0123, "12 ms"), (59.9, "59.9 s"), (61.2, "1 min 1 s")):
        metrics["total_seconds"] = seconds
        assert f"took {text} on" in render_report(metrics)
