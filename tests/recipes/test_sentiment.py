"""The sentiment recipes: the models of the chapter, trained on real tweets."""

from __future__ import annotations

import importlib

import pytest
from support.runs import read, train

import verify
from recipes import RECIPES
from recipes.__main__ import main
from recipes.run.folder import RUN_FILES, RunFolder

pytestmark = pytest.mark.keras


SENTIMENT = [name for name in RECIPES if name.startswith("sentiment")]


LAYERS = {
    "sentiment_rnn": {"rnn": 2_920},
    "sentiment_lstm": {"lstm": 11_680},
    "sentiment_stacked_lstm": {"lstm_1": 11_680, "lstm_2": 12_960},
    "sentiment_gru": {"gru": 8_880},
}


TRAINED_ELSEWHERE = ("sentiment_rnn", "sentiment_gru")
"""By the tests of whole runs, and by those of seeds and of the sweep."""


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.thorough)
        if name in TRAINED_ELSEWHERE
        else name
        for name in SENTIMENT
    ],
)
def test_every_sentiment_recipe_runs_on_real_tweets(name, tweets_csv, tmp_path, capsys):
    out = tmp_path / "run"
    arguments = ["run", name, "--csv", tweets_csv, "--epochs", "1", "--out", str(out)]
    assert main(arguments) == 0
    captured = capsys.readouterr()
    assert sorted(p.name for p in out.iterdir()) == sorted(RUN_FILES)
    spec = verify.load(out / "model.keras").spec
    counts = {x.name: x.parameters for x in spec}
    assert counts | LAYERS[name] == counts
    assert counts["dense"] == 82
    assert counts["embedding"] == spec["embedding"].options["input_dim"] * 32
    for layer, count in LAYERS[name].items():
        assert f"= {count:,}" in captured.out, layer
    metrics = read(out, "metrics.json")
    assert set(metrics["baselines"]) == {"majority_class", "tfidf_logistic_regression"}
    assert metrics["best_epoch"] == 1
    assert f"{metrics['accuracy']:.4f}" in captured.out
    assert "baseline: always the larger class" in captured.out
    report = read(out, "verification.json")
    assert report["verdict"] == "PASS"
    assert report["float64_max_diff"] < 1e-12
    assert report["predict_max_diff"] < 5e-6
    assert "PASS" in captured.out.splitlines()[-2]  # the closing table
    assert "epoch 1/1" in captured.err


@pytest.mark.parametrize("name", SENTIMENT)
def test_the_parameter_counts_of_the_chapter_come_out(name):
    module = importlib.import_module(f"recipes.{name}")
    model = module.build_model(module.Config(), 12_533, 26)
    counts = {layer.name: layer.count_params() for layer in model.layers}
    assert counts == {"embedding": 401_056, **LAYERS[name], "dense": 82}


@pytest.mark.parametrize(
    ("name", "epochs"),
    [("rnn", 10), ("lstm", 50), ("stacked_lstm", 50)],
)
def test_the_default_epochs_are_the_chapters(name, epochs):
    config = importlib.import_module(f"recipes.sentiment_{name}").Config()
    assert (config.epochs, config.batch_size, config.units) == (epochs, 32, 40)


def test_masking_padding_and_sizes_reach_the_model(tweets_csv, tmp_path):
    out = tmp_path / "run"
    more = ["--epochs", "1", "--mask-zero", "--padding", "pre", "--batch-size", "50"]
    assert train(out, tweets_csv, *more) == 0
    spec = verify.load(out / "model.keras").spec
    assert spec["embedding"].options["mask_zero"]
    assert spec["rnn"].options["units"] == 5
    assert RunFolder(out).read_pipeline().padding == "pre"
    config = read(out, "manifest.json")["config"]
    assert config["batch_size"] == 50
    assert read(out, "verification.json")["verdict"] == "PASS"
