import numpy as np
import pytest
from support.nets import lstm_spec

from benchmarks.trust.whole_models import (
    KINDS,
    SIX_MODELS,
    TABLE_HEADS,
    Finding,
    measure,
    mistakes_of,
    same_outputs,
    summed,
)
from verify import Network
from verify.mistakes.catalogue import catalogue


@pytest.fixture(scope="module")
def net():
    return Network(lstm_spec())


@pytest.fixture(scope="module")
def x(net):
    ids = np.random.default_rng(0).integers(0, 11, (16, 6))
    return net.prepare(ids.astype(np.int32))


def named(net, name):
    return next(m for m in catalogue(net.spec) if m.name == name)


def test_a_mistake_gives_the_same_outputs_as_itself_but_not_as_another(net, x):
    one, other = named(net, "gate order f,i,c,o"), named(net, "gate order i,f,o,c")
    assert same_outputs(one, one, x)
    assert not same_outputs(one, other, x)


def test_the_kinds_of_mistakes_hold_the_whole_catalogue_and_more(net):
    mistakes = mistakes_of(net)
    assert tuple(mistakes) == KINDS
    one, several, between = mistakes.values()
    assert len(one) + len(between) == len(list(catalogue(net.spec)))
    assert {len(m.changes) for m in one} == {1}
    assert all(len(m.changes) > 1 for m in several)


def finding(causes, true, caught=True):
    return Finding(KINDS[0], "bias missing", "lstm", caught, causes, true, 2.0)


def test_a_cause_that_is_false_counts_even_beside_one_that_is_true():
    itself, other = ("bias missing", "lstm"), ("bias doubled", "lstm")
    findings = [
        finding([itself], [True]),
        finding([other, itself], [False, True]),
        finding([other], [True]),
        finding([], []),
        finding([], [], caught=False),
    ]
    complaints = [f.complaint.partition(" ")[0] for f in findings]
    assert complaints == ["", "false", "", "not", "not"]
    row = summed("a model", 9, 2, findings)
    assert (row.mistakes, row.planted, row.hidden) == (9, 5, 2)
    assert (row.caught, row.named) == (0.8, 0.75)
    assert (row.itself, row.false) == (0.5, 1)


def test_no_row_of_the_inputs_is_padding_alone():
    for whole in SIX_MODELS:
        for array in whole.rows(64, 0):
            flat = array.reshape(*array.shape[:2], -1)
            assert (flat != 0).any(axis=(1, 2)).all()


@pytest.mark.slow
@pytest.mark.keras
def test_mistakes_planted_in_a_whole_model_are_caught_and_named():
    row = measure(SIX_MODELS[0], sample=1)
    assert row.line().count("|") == len(TABLE_HEADS) + 1
    assert row.planted + row.hidden == len(KINDS)
    assert (row.caught, row.named, row.false) == (1, 1, 0)
    assert 0 < row.seconds <= row.seconds_p95
