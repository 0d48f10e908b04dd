"""The C header holds each weight exactly, compiles without a warning and reads back."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from support.nets import input_layer, layer, rnn, spec, word_net

from verify.errors import DataError
from verify.ports.convert.c_header import c_header, identifiers, read_header


def test_every_weight_reads_back_exactly() -> None:
    made = word_net(rnn("LSTM", return_sequences=True), rnn("GRU", "second"))
    extreme = made["dense"].weights["bias"].copy()
    extreme[:] = [1.1754944e-38, -3.4028235e38]
    made = made.with_layer(made["dense"].with_weights(bias=extreme))
    found = read_header(c_header(made))
    names = identifiers(made)
    assert len(found) == len(names)
    for (path, key), name in names.items():
        assert np.array_equal(found[name], made[path].weights[key]), name
        assert found[name].dtype == made[path].weights[key].dtype


def test_the_order_of_the_gates_stands_in_a_comment() -> None:
    text = c_header(word_net(rnn("LSTM")))
    assert "columns: i 0:4, f 4:8, c 8:12, o 12:16" in text
    assert "static const float rnn_kernel[3][16] =" in text


def test_names_are_identifiers_and_differ() -> None:
    made = spec(
        input_layer(None, 3),
        layer("Dense", "a-b", units=3),
        layer("Dense", "a_b", units=3),
        layer("Dense", "1st", units=2),
    )
    names = list(identifiers(made).values())
    assert names == [
        "a_b_kernel",
        "a_b_bias",
        "a_b_kernel_2",
        "a_b_bias_2",
        "w_1st_kernel",
        "w_1st_bias",
    ]


def test_a_name_cannot_end_the_comment() -> None:
    made = spec(input_layer(None, 3), layer("Dense", "x*/ int y; /*", units=2))
    text = c_header(made)
    comments = text.count("/*")
    assert comments == text.count("*/")
    assert "int y" not in text.replace("x* / int y; / *", "")


def test_a_model_without_weights_is_refused() -> None:
    with pytest.raises(DataError, match="without"):
        c_header(
            spec(input_layer(None, 3), layer("Activation", "a", activation="tanh"))
        )


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")
def test_a_program_in_c_reads_the_same_numbers(tmp_path: Path) -> None:
    made = word_net(rnn("GRU"))
    (tmp_path / "weights.h").write_text(c_header(made))
    (tmp_path / "main.c").write_text(
        '#include <stdio.h>\n#include "weights.h"\n'
        "int main(void) {\n"
        "  for (int k = 0; k < 2; k++) for (int j = 0; j < 12; j++)\n"
        '    printf("%.9g\\n", rnn_bias[k][j]);\n'
        "  return (int) (sizeof rnn_kernel + sizeof rnn_recurrent_kernel +\n"
        "    sizeof words_embeddings + sizeof dense_kernel + sizeof dense_bias) * 0;\n"
        "}\n"
    )
    program = tmp_path / "main"
    flags = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic"]
    source = str(tmp_path / "main.c")
    subprocess.run(["gcc", *flags, source, "-o", str(program)], check=True)
    run = subprocess.run([str(program)], capture_output=True, text=True, check=True)
    found = np.array(run.stdout.split(), np.float32).reshape(2, 12)
    assert np.array_equal(found, made["rnn"].weights["bias"])
