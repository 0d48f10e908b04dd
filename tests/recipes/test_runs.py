"""Runs: what they leave on disk; interrupted, resumed, repeated."""

from __future__ import annotations

import functools
import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import verify
from recipes import RECIPES
from recipes.__main__ import main
from recipes.data import tweets
from recipes.run import finish, training
from recipes.run.folder import FILES, RunFolder
from verify import DataError
from verify.checks.inputs import usable_inputs

pytestmark = pytest.mark.keras

SENTIMENT = [name for name in RECIPES if name.startswith("sentiment")]
LAYERS = {
    "sentiment_rnn": {"rnn": 2_920},
    "sentiment_lstm": {"lstm": 11_680},
    "sentiment_stacked_lstm": {"lstm_1": 11_680, "lstm_2": 12_960},
    "sentiment_gru": {"gru": 8_880},
}


def read(folder, name: str) -> dict:
    return json.loads((folder / name).read_text())


@pytest.mark.parametrize("name", SENTIMENT)
def test_every_sentiment_recipe_runs_on_real_tweets(name, tweets_csv, tmp_path, capsys):
    out = tmp_path / "run"
    arguments = ["run", name, "--csv", tweets_csv, "--epochs", "1", "--out", str(out)]
    assert main(arguments) == 0
    captured = capsys.readouterr()
    assert sorted(p.name for p in out.iterdir()) == sorted(FILES)
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
    assert (out / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert "PASS" in captured.out.splitlines()[-2]  # the closing table
    assert "epoch 1/1" in captured.err


@pytest.mark.parametrize("name", SENTIMENT)
def test_the_parameter_counts_of_the_chapter_come_out(name):
    import importlib

    module = importlib.import_module(f"recipes.{name}")
    model = module.build_model(module.Config(), 12_533, 26)
    counts = {layer.name: layer.count_params() for layer in model.layers}
    assert counts == {"embedding": 401_056, **LAYERS[name], "dense": 82}


@pytest.mark.parametrize(
    ("name", "epochs"),
    [("rnn", 10), ("lstm", 50), ("stacked_lstm", 50)],
)
def test_the_default_epochs_are_the_chapters(name, epochs):
    import importlib

    config = importlib.import_module(f"recipes.sentiment_{name}").Config()
    assert (config.epochs, config.batch_size, config.units) == (epochs, 32, 40)


@pytest.mark.parametrize(("name", "count"), [("toy_rnn", 3), ("toy_lstm", 12)])
def test_a_toy_recipe_prints_its_forward_pass_by_hand(name, count, tmp_path, capsys):
    out = tmp_path / "run"
    assert main(["run", name, "--epochs", "60", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert f"= {count}\n" in printed
    assert "1 x 5 + 5 = 10" in printed
    trace = verify.load(out / "model.keras").trace(
        np.array([[[3.0], [1.0]]]), dtype="float64"
    )
    values = trace["lstm" if "lstm" in name else "rnn"].values
    names = {
        "forget gate": "f", "input gate": "i", "candidate": "c_hat", "cell state": "c",
        "output gate": "o", "hidden value": "h",
    }  # fmt: skip
    seen = 0
    for line in printed.splitlines():
        left, colon, rest = line.strip().partition(": ")
        if not (colon and left.startswith("step ")):
            continue
        seen += 1
        quantity = next(q for q in names if rest.startswith(q))
        formula, _, value = rest.removeprefix(quantity).strip().rpartition(" = ")
        step = int(left.removeprefix("step ")) - 1
        assert float(value) == pytest.approx(
            values[names[quantity]][0, step, 0], abs=1e-8
        )
        functions = {
            "tanh": np.tanh, "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
        }  # fmt: skip
        # the formula that is printed gives the value that is printed
        assert eval(formula, functions) == pytest.approx(float(value), abs=1e-6)
    assert seen == (12 if "lstm" in name else 2)
    (difference,) = [
        float(line.split()[-1])
        for line in printed.splitlines()
        if line.strip().startswith("difference")
    ]
    assert difference < 1e-6
    assert "Keras predict" in printed


@pytest.fixture
def unverified(trained, monkeypatch) -> None:
    """Runs of which only the training is looked at end by a report that is given."""
    report = verify.check(f"{trained}/model.keras")

    def given(folder, net, x):
        folder.write_json("verification.json", report.to_dict())
        return report, np.zeros((0, 2))  # of no row: what is missing is predicted

    monkeypatch.setattr(finish, "verify_run", given)


@pytest.fixture(scope="module")
def whole(tweets_csv, tmp_path_factory):
    """``whole(epochs)``: the folder of a run that was not interrupted."""

    @functools.cache
    def made(epochs: int) -> Path:
        out = tmp_path_factory.mktemp("whole") / "run"
        assert train(out, tweets_csv, "--epochs", str(epochs)) == 0
        return out

    return made


def train(out, csv, *more: str) -> int:
    return main(
        ["run", "sentiment_rnn", "--csv", csv, "--units", "5", "--out", str(out), *more]
    )


def weights(out) -> list[np.ndarray]:
    spec = verify.load(out / "model.keras").spec
    return [w for layer in spec for w in layer.weights.values()]


def assert_same_run(a, b) -> None:
    assert (a / "history.csv").read_bytes() == (b / "history.csv").read_bytes()
    for x, y in zip(weights(a), weights(b), strict=True):
        assert np.array_equal(x, y)


def test_what_is_scored_is_what_was_verified(
    trained, tweets_csv, tmp_path, monkeypatch, capsys
):
    report = verify.check(f"{trained}/model.keras")

    def given(folder, net, x):
        return report, np.tile([[0.0, 1.0]], (len(x), 1))  # all of them positive

    monkeypatch.setattr(finish, "verify_run", given)
    assert train(tmp_path / "run", tweets_csv, "--epochs", "1") == 0
    metrics = read(tmp_path / "run", "metrics.json")
    (a, b), (c, d) = metrics["confusion_matrix"]
    assert (a, c) == (0, 0)
    assert b
    assert metrics["accuracy"] == d / (b + d)
    assert f"{metrics['accuracy']:.4f}" in capsys.readouterr().out


def test_a_verification_hands_on_what_predict_returned(trained, tmp_path):
    shutil.copy(f"{trained}/model.keras", tmp_path)
    net = verify.load(tmp_path / "model.keras")
    x = usable_inputs(net, rows=300)[0]
    report, outputs = finish.verify_run(RunFolder(str(tmp_path)), net, x)
    assert report.partial_result.rows == len(outputs) == 300
    difference = np.abs(outputs - net.predict(x)).max()
    assert 0 < difference < 1e-5  # Keras's, not ours
    assert read(tmp_path, "verification.json")["rows_compared"] == 300


def test_the_linear_baseline_has_numpy_work_alone(tweets_csv, monkeypatch):
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_info

    seen = []
    fit = LogisticRegression.fit

    def spied(self, *args):
        seen.extend(
            x["num_threads"] for x in threadpool_info() if x["user_api"] == "blas"
        )
        return fit(self, *args)

    monkeypatch.setattr(LogisticRegression, "fit", spied)
    tweets.baseline_predictions.cache_clear()
    tweets.baseline_predictions(tweets_csv)
    assert seen
    assert set(seen) == {1}


@pytest.mark.usefixtures("unverified")
def test_the_same_seed_gives_the_same_weights_and_another_seed_others(
    whole, tweets_csv, tmp_path
):
    same, other = tmp_path / "same", tmp_path / "other"
    for out, seed in ((same, "42"), (other, "8")):
        assert train(out, tweets_csv, "--epochs", "3", "--seed", seed) == 0
    assert_same_run(whole(3), same)
    assert not np.array_equal(weights(same)[1], weights(other)[1])


@pytest.mark.usefixtures("unverified")
def test_a_resumed_run_ends_like_an_uninterrupted_one(
    whole, tweets_csv, tmp_path, capsys
):
    parts = tmp_path / "parts"
    assert train(parts, tweets_csv, "--epochs", "1") == 0
    assert train(parts, tweets_csv, "--epochs", "2", "--resume") == 0
    assert "resuming after epoch 1" in capsys.readouterr().err
    assert train(parts, tweets_csv, "--epochs", "3", "--resume") == 0
    assert_same_run(whole(3), parts)
    assert read(parts, "metrics.json")["epochs"] == 3
    # nothing left to train: the run is concluded again and stays what it is
    assert train(parts, tweets_csv, "--epochs", "3", "--resume") == 0
    assert_same_run(whole(3), parts)


@pytest.mark.usefixtures("unverified")
def test_a_run_is_resumed_with_the_options_it_was_begun_with(
    tweets_csv, tmp_path, capsys
):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    begun = ["--seed", "9", "--padding", "pre", "--mask-zero"]
    assert train(whole, tweets_csv, "--epochs", "2", *begun) == 0
    assert train(parts, tweets_csv, "--epochs", "1", *begun) == 0
    resume = ["run", "sentiment_rnn", "--out", str(parts), "--resume"]
    assert main([*resume, "--epochs", "2"]) == 0
    assert_same_run(whole, parts)
    assert main(resume) == 0  # to the epochs it was last given: nothing left to do
    assert_same_run(whole, parts)
    capsys.readouterr()
    assert main([*resume, "--epochs", "1"]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "has been trained for 2 epochs. Received: --epochs 1" in error


@pytest.mark.usefixtures("unverified")
def test_ctrl_c_in_the_middle_of_an_epoch_loses_that_epoch_only(
    whole, tweets_csv, tmp_path, capsys
):
    parts = tmp_path / "parts"
    one_epoch = training._one_epoch
    calls = []

    def interrupted(*arguments):
        calls.append(1)
        logs = one_epoch(*arguments)  # the weights have moved when Ctrl-C comes
        if len(calls) == 2:
            raise KeyboardInterrupt
        return logs

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "_one_epoch", interrupted)
        assert train(parts, tweets_csv, "--epochs", "3") == 130
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(
        "rnn-recipe: sentiment_rnn interrupted after epoch 1 of 3. Go on with: "
    )
    assert "--resume" in error
    assert not (parts / "model.keras").exists()
    assert main(error.partition("Go on with: rnn-recipe ")[2].split()) == 0
    assert_same_run(whole(3), parts)


def test_a_resumed_run_forgets_what_was_said_of_the_model_it_replaces(
    tmp_path, monkeypatch, capsys
):
    out = tmp_path / "run"
    command = ["run", "toy_rnn", "--out", str(out)]
    assert main([*command, "--epochs", "2"]) == 0
    before = (out / "model.keras").read_bytes()

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(finish, "check_read", interrupted)
    assert main([*command, "--epochs", "4", "--resume"]) == 130
    assert (out / "model.keras").read_bytes() != before
    assert not (out / "verification.json").exists()
    assert not (out / "metrics.json").exists()
    assert main(["explore", str(out)]) == 2
    monkeypatch.undo()
    assert main([*command, "--epochs", "4", "--resume"]) == 0
    assert main(["explore", str(out)]) == 0
    capsys.readouterr()


def test_a_run_interrupted_before_it_has_a_folder_is_not_told_to_resume(
    tmp_path, monkeypatch, capsys
):
    from recipes import toy_rnn

    def interrupted(*_):
        raise KeyboardInterrupt

    out = tmp_path / "run"
    monkeypatch.setattr(toy_rnn, "run", interrupted)
    assert main(["run", "toy_rnn", "--epochs", "1", "--out", str(out)]) == 130
    again = capsys.readouterr().err.splitlines()[-1].partition("Go on with: ")[2]
    monkeypatch.undo()
    assert main(again.removeprefix("rnn-recipe ").split()) == 0


@pytest.mark.usefixtures("unverified")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_killed_process_can_be_resumed(how, whole, tweets_csv, tmp_path):
    """It has days of work before it, so it cannot end before it is killed."""
    parts = tmp_path / "parts"
    command = [
        sys.executable, "-m", "recipes", "run", "sentiment_rnn", "--csv", tweets_csv,
        "--units", "5", "--epochs", "1000000", "--out", str(parts),
    ]  # fmt: skip
    heard = signal.signal(signal.SIGINT, signal.SIG_DFL)  # a job may be deaf to it
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    signal.signal(signal.SIGINT, heard)
    try:
        said = next(line for line in process.stderr if "epoch       2/" in line)
        process.send_signal(how)  # while the next epoch begins
        said = process.communicate(timeout=120)[1]
    finally:
        process.kill()
    assert process.returncode == (130 if how == signal.SIGINT else -signal.SIGKILL)
    assert not (parts / "model.keras").exists()
    done = len((parts / "history.csv").read_text().splitlines()) - 1
    assert done >= 2
    if how == signal.SIGINT:
        assert f"interrupted after epoch {done} of 1000000. Go on with" in said
    assert train(parts, tweets_csv, "--epochs", str(done + 1), "--resume") == 0
    assert_same_run(whole(done + 1), parts)


def test_what_a_killed_process_leaves_half_written_is_no_obstacle(tmp_path):
    folder = RunFolder(tmp_path)
    for name in (".checkpoint.npz.x1.npz", ".manifest.json.y.json"):
        (tmp_path / name).touch()
    (tmp_path / ".partial.model.keras").touch()
    assert folder.examine("toy_rnn", resume=False) is None
    folder.clear()
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_cannot_begin_leaves_the_earlier_one(
    trained, tweets_csv, monkeypatch
):
    from recipes import sentiment_rnn

    def fails(*_):
        raise MemoryError

    monkeypatch.setattr(sentiment_rnn, "build_model", fails)
    before = {p.name: p.read_bytes() for p in Path(trained).iterdir()}
    with pytest.raises(MemoryError):
        train(trained, tweets_csv, "--epochs", "1")
    assert {p.name: p.read_bytes() for p in Path(trained).iterdir()} == before


def test_a_manifest_edited_by_hand_is_refused(trained, capsys):
    path = Path(trained) / "manifest.json"
    before = path.read_text()
    for key, value in (("units", -3), ("seed", -1), ("padding", "middle")):
        manifest = json.loads(before)
        manifest["config"][key] = value
        path.write_text(json.dumps(manifest))
        arguments = ["run", "sentiment_rnn", "--out", trained, "--resume"]
        assert f"Received: {key}={value}" in refused(capsys, *arguments)
    path.write_text(before)


@pytest.mark.usefixtures("unverified")
def test_a_run_starts_afresh_without_resume(tweets_csv, tmp_path, capsys):
    out = tmp_path / "run"
    assert train(out, tweets_csv, "--epochs", "2") == 0
    capsys.readouterr()
    assert train(out, tweets_csv, "--epochs", "1") == 0
    assert "resuming" not in capsys.readouterr().err
    assert len((out / "history.csv").read_text().splitlines()) == 2


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


def refused(capsys, *arguments: str) -> str:
    """The last line on stderr of a command that ends with exit code 2."""
    capsys.readouterr()
    assert main(list(arguments)) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith("rnn-recipe: ")
    return line


def test_a_value_that_is_refused_is_a_sentence_and_then_where_to_look(capsys):
    line = refused(capsys, "run", "toy_rnn", "--epochs", "0")
    assert line.endswith("greater than or equal to 1. See rnn-recipe --help")


@pytest.fixture(scope="module")
def trained(tweets_csv, tmp_path_factory) -> str:
    out = tmp_path_factory.mktemp("runs") / "run"
    assert train(out, tweets_csv, "--epochs", "1") == 0
    return str(out)


def test_what_a_resumed_run_must_share_with_its_beginning(
    trained, tweets_csv, tmp_path, capsys
):
    base = ["run", "sentiment_rnn", "--units", "5", "--out", trained, "--resume"]
    csv = ["--csv", tweets_csv]
    line = refused(capsys, *base, *csv, "--seed", "9", "--epochs", "2")
    assert "expected to resume with seed=42. Received: seed=9" in line
    other = tmp_path / "other.csv"
    other.write_text(Path(tweets_csv).read_text() + "another flight,negative\n")
    line = refused(capsys, *base, "--epochs", "2", "--csv", str(other))
    assert "data with another checksum" in line
    line = refused(capsys, *base[:-2], str(tmp_path / "none"), "--resume", *csv)
    assert "nothing to resume" in line
    line = refused(capsys, "run", "sentiment_lstm", "--out", trained, *csv)
    assert "expected an empty folder or a run of sentiment_lstm. " in line
    assert "Received: a run of sentiment_rnn" in line
    assert (RunFolder(trained) / "model.keras").exists()


def test_a_damaged_checkpoint_is_said_and_nothing_is_lost(trained, tweets_csv, capsys):
    path = RunFolder(trained) / "checkpoint.npz"
    whole = path.read_bytes()
    more = ["--units", "5", "--csv", tweets_csv, "--epochs", "2", "--resume"]
    for broken in (whole[:1000], b"", b"nothing"):
        path.write_bytes(broken)
        capsys.readouterr()
        assert main(["run", "sentiment_rnn", "--out", trained, *more]) == 2
        error = capsys.readouterr().err.splitlines()[-1]
        assert "checkpoint.npz: expected a checkpoint of this run" in error
    path.write_bytes(whole)
    assert (RunFolder(trained) / "model.keras").exists()


def test_predict_names_what_it_uses_and_what_it_does_not_know(trained, capsys):
    text = "The flight was DELAYED, zzyzx!"
    assert main(["predict", trained, text]) == 0
    out = capsys.readouterr().out
    assert "used: flight, delayed" in out
    assert "stop words: the, was" in out
    assert "not in the vocabulary: zzyzx" in out
    scores = dict(reversed(line.split("  ")) for line in out.splitlines()[-2:])
    assert set(scores) == {"negative", "positive"}
    assert sum(map(float, scores.values())) == pytest.approx(1, abs=2e-4)
    net = verify.load(RunFolder(trained) / "model.keras")
    x = RunFolder(trained).read_pipeline().encode([text])
    assert float(scores["negative"]) == pytest.approx(net.predict(x)[0, 0], abs=1e-4)


def test_predict_cuts_a_long_text_where_keras_would_and_says_so(trained, capsys):
    assert main(["predict", trained, "flight " * 60]) == 0
    out = capsys.readouterr().out
    length = RunFolder(trained).read_pipeline().length
    assert f"before the last {length}, cut: flight" in out


def test_predict_refuses_what_it_cannot_use(trained, tmp_path, capsys):
    line = refused(capsys, "predict", trained, "zzyzx qqq")
    assert "words of the vocabulary. Received: zzyzx, qqq" in line
    line = refused(capsys, "predict", trained, "the !!")
    assert "Received: none but stop words" in line
    assert "Received: no word" in refused(capsys, "predict", trained, "--", "!?")
    line = refused(capsys, "predict", str(tmp_path), "hello")
    assert "expected the folder of a finished run. Received: no vocabulary.json" in line
    (tmp_path / "vocabulary.json").write_text("{}")
    assert "file is damaged" in refused(capsys, "predict", str(tmp_path), "hello")
    (tmp_path / "vocabulary.json").write_text("nothing")
    assert "file is damaged" in refused(capsys, "predict", str(tmp_path), "hello")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "nope"], "expected a recipe: toy_rnn, toy_lstm, sentiment_rnn"),
        (["run", "toy_rnn", "--epochs", "0"], "'--epochs'"),
        (["run", "toy_rnn", "--out", ""], "--out: expected a folder"),
        (["run", "toy_rnn", "--out", "{folder}/" + "a" * 300], "cannot be written"),
        (["run", "sentiment_rnn", "--units", "1000000"], "'--units'"),
        (["run", "sentiment_rnn", "--epochs", "two"], "'--epochs'"),
        (["run", "sentiment_rnn", "--units", "-1"], "'--units'"),
        (["run", "sentiment_rnn", "--batch-size", "0"], "'--batch-size'"),
        (["run", "sentiment_rnn", "--seed", "-1"], "'--seed'"),
        (["run", "sentiment_rnn", "--padding", "both"], "'--padding'"),
        (["run", "toy_rnn", "--csv", "x.csv"], "toy_rnn has no option --csv"),
        (["run", "toy-lstm", "--mask-zero"], "toy_lstm has no option --mask-zero"),
        (["run", "chapter", "--csv", "{folder}/none.csv"], "No such file"),
        (["run", "toy_rnn", "--out", "{folder}/file"], "Received: a file"),
        (["run", "toy_rnn", "--out", "{folder}/file/run"], "file is a file"),
        (["run", "toy_rnn", "--out", "{folder}"], "holds file and no manifest.json"),
        (["run"], "Missing argument 'NAME...'"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(arguments, message, tmp_path, capsys):
    (tmp_path / "file").write_text("mine")
    filled = [argument.format(folder=tmp_path) for argument in arguments]
    assert message in refused(capsys, *filled)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "mine"


def test_a_folder_without_permission(tmp_path, capsys, monkeypatch):
    import recipes.run.folder

    monkeypatch.setattr(recipes.run.folder.os, "access", lambda *_: False)
    line = refused(capsys, "run", "toy_rnn", "--out", str(tmp_path / "run"))
    assert "cannot be written (no permission)" in line


def test_a_manifest_that_is_no_json_is_not_overwritten(tmp_path, capsys):
    (tmp_path / "manifest.json").write_text("mine")
    line = refused(capsys, "run", "toy_rnn", "--out", str(tmp_path))
    assert "manifest.json: expected a JSON object" in line
    assert (tmp_path / "manifest.json").read_text() == "mine"


@pytest.mark.usefixtures("unverified")
def test_several_recipes_share_a_folder_and_close_with_one_table(
    tweets_csv, tmp_path, capsys
):
    arguments = ["run", "sentiment_gru", "sentiment-rnn", "--csv", tweets_csv]
    arguments += ["--epochs", "1", "--units", "3", "--out", str(tmp_path)]
    assert main(arguments) == 0
    table = capsys.readouterr().out.splitlines()[-5:]
    assert [line.split()[0] for line in table if "PASS" in line] == [
        "sentiment_gru", "sentiment_rnn",
    ]  # fmt: skip
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "sentiment_gru", "sentiment_rnn",
    ]  # fmt: skip


@pytest.mark.usefixtures("unverified")
def test_resuming_several_recipes_begins_those_not_begun(tweets_csv, tmp_path, capsys):
    more = ["--csv", tweets_csv, "--units", "3", "--out", str(tmp_path)]
    first = [*more[:-1], str(tmp_path / "sentiment_rnn")]
    assert main(["run", "sentiment_rnn", *first, "--epochs", "1"]) == 0
    capsys.readouterr()
    both = ["run", "sentiment_rnn", "sentiment_gru", *more]
    assert main([*both, "--epochs", "2", "--resume"]) == 0
    errors = capsys.readouterr().err
    assert errors.count("resuming after epoch 1") == 1
    assert errors.count("epoch 1/2") == 1
    assert errors.count("epoch 2/2") == 2


def test_a_model_that_fails_its_verification_ends_with_1(tmp_path, capsys, monkeypatch):
    from models import mutated

    load = verify.load

    def wrong(model, **_):
        return mutated(load(model).spec, "bias missing")

    monkeypatch.setattr(verify, "load", wrong)
    arguments = ["run", "toy_rnn", "--epochs", "30", "--out", str(tmp_path / "run")]
    assert main(arguments) == 1
    out = capsys.readouterr().out
    assert "the NumPy forward pass does not match Keras" in out
    assert out.splitlines()[-2].rstrip().endswith("FAIL")


def test_a_recipe_file_runs_as_a_script(tweets_csv, tmp_path):
    import recipes

    script = Path(recipes.__file__).with_name("sentiment_rnn.py")
    out = tmp_path / "run"
    run = subprocess.run(
        [
            sys.executable, str(script), "--epochs", "1", "--units", "3",
            "--csv", tweets_csv, "--out", str(out),
        ],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "PASS" in run.stdout
    assert (out / "model.keras").exists()
    command = read(out, "manifest.json")["command"]
    assert command.startswith(
        "rnn-recipe run sentiment_rnn --epochs 1 --units 3 --csv "
    )


def test_list_names_every_recipe_with_the_first_line_of_its_file(capsys):
    assert main(["list"]) == 0
    out = capsys.readouterr().out
    for name in RECIPES:
        assert f"\n{name} " in f"\n{out}"
    assert "An LSTM of one unit learns" in out


def test_an_unusable_folder_is_refused_before_anything_is_trained(tmp_path):
    folder = RunFolder(tmp_path)
    (tmp_path / "notes.txt").touch()
    with pytest.raises(DataError, match=r"holds notes\.txt"):
        folder.open_for("toy_rnn", {}, "", resume=False)
