"""The fast forward pass computes what the equations of `verify.forward.cells` say."""

from __future__ import annotations

import os
import threading
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import graphs
from support.nets import (
    features,
    ids,
    input_layer,
    layer,
    mutated,
    random_weights,
    spec,
)
from support.thoroughness import many

from verify import DataError, Network
from verify.forward import network
from verify.forward.evaluate import Evaluation
from verify.forward.fast import (
    RowBlocks,
    chain,
    compiled,
    in_row_blocks,
    limit_threads,
    memory,
    one_row,
    row_blocks,
    thread_count,
)
from verify.forward.fast import compile as compile_module
from verify.forward.fast.loops import FastLoop
from verify.forward.fast.steps import Steps
from verify.forward.fast.weights import FastWeights
from verify.forward.layers.base import Tensor
from verify.tolerance.compare import PROOF_TOLERANCE, compare

RECURRENT = ("SimpleRNN", "LSTM", "GRU")
ACTIVATIONS = ("tanh", "sigmoid", "linear", "relu", "softsign", "softmax")
ROWS = 37


@st.composite
def loops(draw: Any, name: str = "loop") -> dict[str, Any]:
    """The config of a recurrent layer with any options."""
    kind = draw(st.sampled_from(RECURRENT))
    flags = ("use_bias", "return_sequences", "go_backwards", "zero_output_for_mask")
    options: dict[str, Any] = {flag: draw(st.booleans()) for flag in flags}
    options["activation"] = draw(st.sampled_from(("tanh", *ACTIVATIONS)))
    if kind != "SimpleRNN":
        gate = st.sampled_from(("sigmoid", "sigmoid", "hard_sigmoid", *ACTIVATIONS))
        options["recurrent_activation"] = draw(gate)
    if kind == "GRU":
        options["reset_after"] = draw(st.booleans())
    return layer(kind, name, units=4, unroll=draw(st.booleans()), **options)


@st.composite
def networks(draw: Any) -> tuple[Network, np.ndarray]:
    """A model that begins with ids or with numbers, masked or not, and its inputs."""
    seed = draw(st.integers(0, 10**6))
    rows = draw(st.sampled_from([slice(None), slice(4, 5), slice(1)]))  # or one alone
    if draw(st.booleans()):
        x = ids(seed, batch=ROWS)
        masked = draw(st.booleans())
        layers = [
            input_layer(None, 6, dtype="int32"),
            layer("Embedding", "e", input_dim=11, output_dim=3, mask_zero=masked),
        ]
        x[4] = -x[4]  # counted from the end
        x[4][x[4] == 0] = -1
    else:
        x = features(seed, batch=ROWS)
        x[0, 3:], x[1, :2] = 0, 0
        layers = [input_layer(None, 6, 3)]
        if draw(st.booleans()):
            layers.append(layer("Masking", "m", mask_value=0.0))
    if draw(st.booleans()):
        layers.append(layer(draw(st.sampled_from(chain.PASS_THROUGH)), "d"))
    first = draw(loops())
    layers.append(first)
    if first["config"]["return_sequences"] and draw(st.booleans()):
        layers.append(draw(loops("second")))
    layers.append(layer("Dense", "dense", units=2))
    return Network(spec(*layers, seed=seed, dtype=np.float64)), x[rows]


def fast(net: Network, x: Any, **options: Any) -> np.ndarray:
    (y,) = net.flat(net.prepare(x), dtype="float64", fast=True, **options)
    return y


def plain(net: Network, x: Any) -> np.ndarray:
    (y,) = net.flat(net.prepare(x), dtype="float64", threads=1)
    return y


def same(a: np.ndarray, b: np.ndarray) -> bool:
    finite = np.isfinite(b)  # linear gates may grow without bound
    assert np.array_equal(np.isfinite(a), finite)
    scale = max(1.0, float(np.abs(np.where(finite, b, 0)).max()))
    where = np.where(finite, a, 0), np.where(finite, b, 0)
    return compare(*where, allowed=PROOF_TOLERANCE * scale).matches


@pytest.mark.slow
@given(networks(), st.integers(1, 3))
@settings(max_examples=many(150, 50), deadline=None)
def test_any_recurrent_model_is_the_same_on_the_fast_path(made, threads):
    net, x = made
    assert same(fast(net, x, threads=threads), plain(net, x))


def small_lstm(**options: Any) -> Network:
    return Network(
        spec(
            input_layer(None, 6, dtype="int32"),
            layer("Embedding", "e", input_dim=11, output_dim=3),
            layer("LSTM", "lstm", units=4, **options),
            layer("Dense", "dense", units=2),
            dtype=np.float64,
        )
    )


def masked_lstm() -> Network:
    return Network(
        spec(
            input_layer(None, 6, dtype="int32"),
            layer("Embedding", "e", input_dim=11, output_dim=3, mask_zero=True),
            layer("LSTM", "lstm", units=4),
            layer("Dense", "dense", units=2),
            dtype=np.float64,
        )
    )


def loop_of(net: Network, ids: int) -> FastLoop:
    """The fast loop of the layer "lstm", once so many ids have been looked up."""
    root = net.cast_to("float64")
    found = compiled(root, ids).loops[root.sublayers["lstm"]]
    assert isinstance(found, FastLoop)
    return found


def compiled_loop(net: Network, *, looks_up: bool) -> FastLoop:
    found = loop_of(net, 10**9 if looks_up else 0)
    assert found.weights.looks_up == looks_up
    return found


@pytest.mark.parametrize("looks_up", [False, True])
@pytest.mark.parametrize("block", range(4))
def test_a_block_of_sums_that_is_wrong_shows(looks_up, block, monkeypatch):
    if not looks_up:
        monkeypatch.setattr(compile_module, "MAX_PROJECTED_BYTES", 0)
    net, x = small_lstm(), ids(batch=ROWS)
    right = plain(net, x)
    assert same(fast(net, x), right)
    own = compiled_loop(net, looks_up=looks_up).weights
    columns = own.recurrent if looks_up else own.fused
    np.split(columns.flat, 4, axis=1)[block][...] *= -1
    assert not same(fast(net, x), right)


@pytest.mark.parametrize("rows", [1, ROWS])
def test_a_table_that_is_wrong_shows(rows):
    net, x = small_lstm(), ids(batch=rows)
    right = plain(net, x)
    table = compiled_loop(net, looks_up=True).weights.table
    table[x[0, 2]] += 0.1
    assert not same(fast(net, x), right)


def test_what_one_row_is_multiplied_by_shows_where_it_is_wrong(monkeypatch):
    monkeypatch.setattr(compile_module, "MAX_PROJECTED_BYTES", 0)
    net, x = small_lstm(), ids(batch=1)
    right = plain(net, x)
    assert same(fast(net, x), right)
    own = compiled_loop(net, looks_up=False).weights
    for weight in (own.recurrent.flat, *own.inputs):  # the loop over one row has these
        weight[...] *= -1
        assert not same(fast(net, x), right)
        weight[...] *= -1
    assert same(fast(net, x), right)


@pytest.mark.parametrize("kind", RECURRENT)
def test_a_long_row_is_evaluated_window_by_window(kind, monkeypatch):
    def make() -> Network:
        return one_layer(kind, return_sequences=True, go_backwards=True)

    x = features(batch=1)
    asked, computed = [], FastWeights.input_part
    monkeypatch.setattr(
        FastWeights,
        "input_part",
        lambda own, x: asked.append(len(x)) or computed(own, x),
    )
    known = fast(make(), x)
    assert asked == [6]
    monkeypatch.setattr(one_row, "MAX_AHEAD_NUMBERS", 16)
    assert same(fast(make(), x), known)
    assert len(asked) > 2
    assert same(known, plain(make(), x))


def one_layer(kind: str, **options: Any) -> Network:
    """A model of one recurrent layer, whose input is numbers."""
    return Network(
        spec(
            input_layer(None, 6, 3),
            layer(kind, "loop", units=4, **options),
            dtype=np.float64,
        )
    )


def row_loop_of(net: Network) -> one_row.RowLoop:
    """The loop over one row that the last call has left."""
    root = net.cast_to("float64")
    (found,) = compiled(root, 0).loops.values()
    assert isinstance(found, FastLoop)
    (loop,) = found._row_loops
    return loop


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        *(("LSTM", name) for name in ("one", "halves")),
        *(("GRU", name) for name in ("kernel", "bias", "factors")),
    ],
)
def test_what_a_loop_over_one_row_holds_shows_where_it_is_wrong(kind, name):
    net, x = one_layer(kind), features(batch=1)
    right = plain(net, x)
    assert same(fast(net, x), right)
    held = getattr(row_loop_of(net), name)
    held *= 1.5
    assert not same(fast(net, x), right)
    held /= 1.5
    assert same(fast(net, x), right)


def test_one_row_and_several_threads_share_no_buffer():
    net, found = one_layer("LSTM", return_sequences=True), {}
    inputs = {seed: features(seed, batch=1) for seed in range(8)}

    def predict(seed: int) -> None:
        found[seed] = [net.predict(inputs[seed], dtype="float64") for _ in range(30)]

    callers = [threading.Thread(target=predict, args=(seed,)) for seed in inputs]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    for seed, x in inputs.items():
        assert all(same(y, plain(net, x)) for y in found[seed])


@pytest.mark.parametrize("rows", [1, ROWS])
def test_a_chain_is_evaluated_without_evaluation_and_an_error_by_it(rows, monkeypatch):
    net, x = small_lstm(), ids(batch=rows)
    right = plain(net, x)
    monkeypatch.setattr(network.Evaluation, "__call__", None)  # what is not a chain
    assert same(fast(net, x), right)
    x[0, 2] = 11
    with pytest.raises(TypeError):
        fast(net, x)
    monkeypatch.undo()
    with pytest.raises(DataError, match="expected token ids from 0 to 10"):
        fast(net, x)


@pytest.mark.parametrize(
    "change",
    [
        {"stateful": True},
        {"return_state": True},
        {"dtype": "mixed_float16"},
    ],
    ids=str,
)
def test_a_layer_that_a_chain_cannot_hold_is_left_to_evaluation(change):
    root = one_layer("LSTM").cast_to("float64")
    assert compiled(root, 0).chain is not None
    (name,) = [name for name, x in root.sublayers.items() if x.class_name == "LSTM"]
    inner = root.sublayers[name]
    if "dtype" in change:
        changed = replace(inner, policy=change["dtype"])
    else:
        changed = replace(inner, options={**inner.options, **change})
    other = replace(root, sublayers={**root.sublayers, name: changed})
    assert compiled(other, 0).chain is None


@pytest.mark.parametrize("rows", [1, ROWS])
@pytest.mark.parametrize("sequences", [False, True])
@pytest.mark.parametrize("kind", RECURRENT)
def test_both_directions_are_the_same_on_the_fast_path(kind, sequences, rows):
    layers = [
        graphs.given("x", 6, dtype="int32"),
        graphs.made("Embedding", "e", (11, 3), input_dim=11, output_dim=3,
                    mask_zero=True),
        graphs.both_ways(kind, "b", 3, 4, return_sequences=sequences),
        graphs.made("Dense", "d", (8, 2), (2,), units=2),
    ]  # fmt: skip
    net = Network(graphs.net(layers, {"e": "x", "b": "e", "d": "b"}, "d"))
    assert compiled(net.cast_to("float64"), 0).chain is not None
    x = ids(batch=rows)
    x[0, 2:4], x[0, 5] = 0, 0
    for _ in range(3):  # before and after the table is made
        assert same(fast(net, x), plain(net, x))


@pytest.mark.parametrize("rows", [1, ROWS])
def test_features_that_are_not_the_kernels_are_refused_not_repeated(rows):
    net = small_lstm()
    root = net.cast_to("float64")
    run = Evaluation(fast=compiled(root))
    with pytest.raises(DataError, match="3 features expected"):
        run(root.sublayers["lstm"], Tensor(features(batch=rows)[:, :, :1]), at="lstm")


def test_the_table_is_made_once_it_pays_and_not_before():
    net = small_lstm()
    assert not loop_of(net, 10).weights.looks_up
    assert loop_of(net, 1).weights.looks_up
    root = net.cast_to("float64")
    assert compiled(root, 0) is compiled(root, 0)


def test_a_table_too_large_is_not_made(monkeypatch):
    monkeypatch.setattr(compile_module, "MAX_PROJECTED_BYTES", 11 * 16 * 8 - 1)
    assert not loop_of(small_lstm(), 10**9).weights.looks_up


def test_a_layer_that_is_in_two_places_is_given_no_ids():
    net, x = small_lstm(), ids(batch=ROWS)
    twice = {**net.spec.root.sublayers, "again": net.spec["lstm"]}
    shared = Network(replace(net.spec, root=replace(net.spec.root, sublayers=twice)))
    assert loop_of(net, 10**9).weights.looks_up
    assert not loop_of(shared, 10**9).weights.looks_up
    assert same(fast(shared, x), plain(net, x))


def test_a_fast_loop_records_nothing_and_says_so():
    net = small_lstm()
    root = net.cast_to("float64")
    run = Evaluation(recording=True, fast=compiled(root))
    with pytest.raises(DataError, match="a fast loop records nothing"):
        run(root.sublayers["lstm"], Tensor(features(batch=2)), at="lstm")


@pytest.mark.keras
@pytest.mark.parametrize(
    ("build", "looked_up"),
    [
        ("loop(e)", ["loop"]),
        ("loop(drop(drop(e)))", ["loop"]),
        ("both(e)", ["both"]),
        ("add([loop(e), e])", []),
        ("[loop(e), e]", []),
        ("add([loop(e), other(e)])", []),
        ("loop(loop(e))", []),
        ("loop(e, initial_state=state)", ["loop"]),
        ("loop(scale(e))", []),
    ],
)
def test_an_embedding_is_projected_only_where_one_layer_takes_all_of_it(
    build, looked_up
):
    import keras
    from keras import layers

    tokens = keras.Input((6,), dtype="int32")
    state = keras.Input((3,))
    loop = layers.GRU(3, return_sequences=True, name="loop")
    places = {
        "e": layers.Embedding(11, 3, mask_zero=True)(tokens),
        "state": state,
        "loop": loop,
        "other": layers.GRU(3, return_sequences=True, name="other"),
        "both": layers.Bidirectional(layers.LSTM(3), name="both"),
        "add": layers.Add(),
        "drop": lambda x: layers.SpatialDropout1D(0.2)(x),
        "scale": layers.Rescaling(2.0),
    }
    outputs = eval(build, places)  # the table above, nobody else's text
    model = keras.Model([tokens, state], outputs)
    model.set_weights(random_weights([w.shape for w in model.get_weights()], 3))
    import verify

    net = verify.load(model)
    x = net.prepare([ids(batch=ROWS), features(batch=ROWS)[:, 0]])
    root = net.cast_to("float64")
    path = compiled(root, 10**9)
    found = [
        name.partition("/")[0]
        for name, inner in root.walk()
        if inner in path.loops and path.loops[inner].weights.looks_up
    ]
    embeddings = {x for x in root.sublayers.values() if x.class_name == "Embedding"}
    assert path.id_embeddings == (embeddings if looked_up else set())
    assert sorted(set(found)) == looked_up
    slow = net.flat(x, dtype="float64")
    for a, b in zip(net.flat(x, dtype="float64", fast=True), slow, strict=True):
        assert same(a, b)


@pytest.mark.parametrize(
    "name",
    ["gate order i,o,f,c", "forget gate missing", "inputs shifted to the step after"],
)
def test_a_planted_mistake_stays_planted_on_the_fast_path(name):
    model, x = small_lstm().spec, ids(batch=ROWS)
    wrong = mutated(model, name)
    assert same(fast(wrong, x), plain(wrong, x))
    assert not same(fast(wrong, x), plain(Network(model), x))


def test_states_go_from_batch_to_batch_on_the_fast_path():
    net = Network(
        spec(
            {**input_layer(5, 6, 3)},
            layer("LSTM", "lstm", units=4, stateful=True),
            layer("Dense", "dense", units=2),
            dtype=np.float64,
        )
    )
    x = features(batch=20)
    assert same(fast(net, x, threads=3), plain(net, x))
    half, states = net.predict(x[:10], dtype="float64", return_state=True)
    rest = net.predict(x[10:], dtype="float64", initial_state=states)
    assert same(np.concatenate([half, rest]), plain(net, x))


@pytest.mark.parametrize("kind", RECURRENT)
@pytest.mark.parametrize("sequences", [False, True])
def test_masked_steps_hold_states_and_show_what_was_shown(kind, sequences):
    net = Network(
        spec(
            {**input_layer(5, 6, 3)},
            layer("Masking", "m"),
            layer(kind, "loop", units=4, stateful=True, return_sequences=sequences),
            layer("Dense", "dense", units=2),
            dtype=np.float64,
        )
    )
    x = features(batch=20)
    x[1::5, 3:], x[2::5, :2], x[3::5] = 0, 0, 0  # later batches begin with states
    assert same(fast(net, x), plain(net, x))


@pytest.mark.parametrize("rows", [1, ROWS])
def test_a_masked_step_that_is_not_held_shows(rows, monkeypatch):
    net, x = masked_lstm(), ids(batch=rows)
    x[0, 2], x[0, 1] = 0, 3
    right = plain(net, x)
    assert same(fast(net, x), right)
    if rows == 1:  # a masked step of one row is left out
        over = FastLoop._over_row
        monkeypatch.setattr(
            FastLoop, "_over_row", lambda own, x, _, *rest: over(own, x, None, *rest)
        )
    else:
        monkeypatch.setattr(Steps, "advance_but", lambda steps, _, x: steps.advance(x))
    assert not same(fast(net, x), right)


def test_memory_is_used_again_once_no_view_of_it_is_left():
    def address(array: np.ndarray) -> int:
        return array.__array_interface__["data"][0]

    shape, kind = (3, memory.MIN_POOLED_BYTES // 8), np.dtype(np.float64)
    memory._IDLE.clear()
    first = memory.empty_from_pool(shape, kind)
    where, part = address(first), first.T[5:, ::2]
    del first
    assert address(memory.empty_from_pool(shape, kind)) != where  # `part` is in it
    assert memory._IDLE
    del part
    assert where in {address(memory.empty_from_pool(shape, kind)) for _ in range(2)}
    many = [memory.empty_from_pool(shape, kind) for _ in range(9)]
    assert len({address(array) for array in many}) == 9
    del many
    assert len(memory._IDLE) == memory._IDLE.maxlen


def test_small_and_large_arrays_are_not_kept():
    memory._IDLE.clear()
    for size in (memory.MIN_POOLED_BYTES - 1, memory.MAX_POOLED_BYTES + 1):
        memory.empty_from_pool((size,), np.dtype(np.uint8))
    assert not memory._IDLE


@pytest.mark.parametrize("rows", [1, 2, 63, 64, 1025])
def test_every_row_is_evaluated_once_whatever_the_blocks(rows):
    for most, split, unit, threads in ((7, 3, 1, 2), (1000, 1, 4, 3), (64, 64, 8, 1)):
        asked = []
        lock = threading.Lock()

        def work(part: slice, lock=lock, asked=asked) -> list[int]:
            with lock:
                asked.append(part)
            return list(range(rows)[part])

        blocks = RowBlocks(most, split, unit)
        found = [
            row
            for _, part in in_row_blocks(work, rows, blocks, threads)
            for row in part
        ]
        assert found == list(range(rows))
        assert all(part.start % unit == 0 for part in asked)
        units = [-(-(part.stop - part.start) // unit) for part in asked]
        assert max(units) - min(units) <= 1
        pays = rows > most or rows >= 2 * split
        assert (len(asked) > 1) == (pays and rows > unit)


def test_results_are_the_same_to_the_last_digit_whatever_the_threads():
    net = small_lstm()
    x = ids(batch=3000)
    (alone,) = net.flat(net.prepare(x), dtype="float32", fast=True, threads=1)
    for threads in (2, 3, 8):
        (y,) = net.flat(net.prepare(x), dtype="float32", fast=True, threads=threads)
        assert np.array_equal(y, alone)


def test_an_error_in_a_thread_arrives_and_ends_the_others():
    done = []

    def work(part: slice) -> int:
        if part.start == 20:
            raise DataError("row 20")
        done.append(part.start)
        return part.start

    with pytest.raises(DataError, match="row 20"):
        list(in_row_blocks(work, 10_000, RowBlocks(10, 1, 1), 2))
    assert len(done) < 20  # and not all thousand


def test_ids_outside_the_vocabulary_are_refused_quickly_too():
    net, x = small_lstm(), ids(batch=ROWS)
    fast(net, x)
    x[30, 2] = 11
    with pytest.raises(DataError, match="expected token ids from 0 to 10"):
        fast(net, x, threads=2)


def test_several_threads_may_predict_at_once(monkeypatch):
    monkeypatch.setattr(row_blocks, "MIN_THREAD_BYTES", 1)
    monkeypatch.setattr(row_blocks, "MAX_BLOCK_ROWS", 3)
    net, found = small_lstm(), {}
    inputs = {seed: ids(seed, batch=ROWS) for seed in range(8)}

    def predict(seed: int) -> None:
        found[seed] = net.predict(inputs[seed], dtype="float64", threads=2)

    callers = [threading.Thread(target=predict, args=(seed,)) for seed in inputs]
    before = blas_threads()
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert blas_threads() == before
    for seed, x in inputs.items():
        assert same(found[seed], plain(net, x))


def blas_threads() -> list[int]:
    """Of NumPy's library; SciPy, which comes with Keras, has one of its own."""
    from threadpoolctl import threadpool_info

    found = [x for x in threadpool_info() if x["user_api"] == "blas"]
    own = [x for x in found if "numpy" in x["filepath"]]
    return [x["num_threads"] for x in own or found]


def test_one_thread_is_one_thread_of_numpy_too():
    if not any(count > 1 for count in blas_threads()):
        pytest.skip("NumPy has one thread on this machine")
    seen = []

    def work(part: slice) -> None:
        seen.append(max(blas_threads()))

    for rows, threads in ((5, 1), (5, 2), (50, 1), (50, 2)):
        list(in_row_blocks(work, rows, RowBlocks(10, 10, 1), threads))
    one, several = seen[0], seen[1]
    assert one == 1
    assert several > 1  # a single block: the product is shared
    assert set(seen[2:]) == {1}


def test_threads_are_as_told_or_as_the_environment_says(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3,2")
    assert thread_count() == 3
    assert thread_count(5) == 5
    with limit_threads(2):
        assert (thread_count(), thread_count(5), thread_count(1)) == (2, 2, 1)
    assert thread_count() == 3
    for nothing in ("", "0", "many"):
        monkeypatch.setenv("OMP_NUM_THREADS", nothing)
        assert thread_count() == len(os.sched_getaffinity(0))
    for wrong in (0, -1, 2.0, True, "2"):
        with pytest.raises(DataError, match=r"threads: expected a (whole )?number"):
            small_lstm().predict(ids(), threads=wrong)


def test_layers_in_16_bits_stay_as_they_are():
    net = Network(
        spec(
            input_layer(None, 6, 3),
            layer("LSTM", "lstm", units=4, dtype="mixed_float16"),
            layer("Dense", "dense", units=2),
        )
    )
    assert not compiled(net.cast_to(None)).loops
    x = features()
    assert np.array_equal(net.predict(x), net.flat(net.prepare(x))[0])
