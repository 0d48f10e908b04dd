"""Say where a version of Keras computes a model otherwise, and which was not tested."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import dropwhile

from verify.errors import VerifyError, join_and
from verify.forward.evaluable import Inputs
from verify.forward.layers import REGISTRY
from verify.forward.network import Network
from verify.forward.trace import Trace
from verify.mistakes.catalogue.mask_flow import MaskFlow, Use
from verify.model.graph import flatten
from verify.model.spec import ModelSpec
from verify.model.versions import (
    REFERENCE,
    TESTED,
    VERSIONS,
    VersionRule,
    is_later,
    untested,
)


def rule_notes(
    spec: ModelSpec, effects: Mapping[str, float], version: str = ""
) -> list[str]:
    """Return a sentence for each rule of a version that changes the outputs.

    Parameters
    ----------
    spec : ModelSpec
        The model, by the rules that were followed.
    effects : mapping of str to float
        A rule, as text -> how far it moves the outputs.
    version : str
        The version of the Keras that ran; without one, the rules are named by theirs.
    """
    rules = {str(rule): rule for rule in VersionRule}
    name = version or _version_of(spec)
    notes = []
    for text, far in effects.items():
        if text not in rules:
            continue
        ends = rules[text] is VersionRule.LOOP_ENDS_MASK
        said = _where_it_ends(ended_masks(spec)) if ends else text
        notes.append(f"Keras {name}: {said} (here up to {far:.2g} apart)")
    saved = spec.keras_version
    if notes and version and saved != "unknown" and not is_later(saved):
        notes.append(
            f"the model was saved by Keras {saved}, where its outputs were others: "
            f"Keras {version} has changed what it computes"
        )
    return notes


def changes_to_come(spec: ModelSpec) -> list[str]:
    """Return, for each later version, which layers will see no mask of padding.

    It is found without computing the model: `changes_on` says how much that is.
    """
    notes = []
    for version, later in _later_versions(spec):
        if said := _what_loses_its_mask(spec, later):
            notes.append(f"{_named(version)} will compute this model otherwise: {said}")
    return notes


def changes_on(net: Network, x: Inputs, trace: Trace | None = None) -> list[str]:
    """Return, for each later version, what it computes otherwise on these inputs.

    Parameters
    ----------
    net : Network
    x : Inputs
    trace : Trace, optional
        Of `x` in float64 by the rules of `net`, if it is known.
    """
    by_reference = net.spec.root.version_rules == REFERENCE
    known = flatten(trace.output) if trace is not None and by_reference else None
    notes = []
    for version, later in _later_versions(net.spec):
        met = _rules_met(net.spec, later)
        if not met:
            continue
        own = net.spec.root.version_rules
        later = net.spec.by_version(VERSIONS[version] & (own | met))
        try:
            effects = Network(later, net.floatx).rule_effects(x, known)
        except VerifyError as error:
            notes.append(f"{_named(version)} will not compute this model: {error}")
            continue
        for rule, far in effects.items():
            if rule not in later.root.version_rules:
                continue
            said = str(rule)
            if rule is VersionRule.LOOP_ENDS_MASK:
                said = _what_loses_its_mask(net.spec, later) or said
            notes.append(
                f"{_named(version)} will compute this model otherwise: {said} (here "
                f"up to {far:.2g} apart)"
            )
    return notes


def _rules_met(spec: ModelSpec, later: ModelSpec) -> frozenset[VersionRule]:
    """Return the rules of a later version that could change the outputs.

    It spares the evaluation of the models that no rule is about, which are most.
    """
    layers = [layer for _, layer in spec.walk()]
    graphs = [x.graph for x in (spec.root, *layers) if x.graph is not None]
    nodes = [node for graph in graphs for node in graph.nodes]
    classes = {layer.class_name for layer in layers}
    averages = any("GlobalAverage" in name for name in classes)
    about = {
        VersionRule.TRAINING_ARGUMENT_HOLDS: any(
            node.kwargs.get("training") is True for node in nodes
        ),
        VersionRule.MASKED_ROW_ATTENDS_TO_NOTHING: bool(
            classes & {"Attention", "AdditiveAttention"}
        ),
        VersionRule.EXACT_FLOOR_DIVIDE: "ops.FloorDivide" in classes,
        VersionRule.WHOLE_NUMBERS_AVERAGED_IN_FLOATX: averages or "ops.Mean" in classes,
        VersionRule.SPARSEMAX_OF_THE_PAPER: any(
            "sparsemax" in layer.options.values() for layer in layers
        ),
        VersionRule.LOOP_ENDS_MASK: bool(_what_loses_its_mask(spec, later)),
    }
    return frozenset(rule for rule in VersionRule if about.get(rule, True))


def _later_versions(spec: ModelSpec) -> Iterator[tuple[str, ModelSpec]]:
    """Yield the versions after the one that a model follows, and the model by each."""
    own = _version_of(spec)
    for version in list(dropwhile(lambda name: name != own, VERSIONS))[1:]:
        yield version, spec.by_version(VERSIONS[version])


def _named(version: str) -> str:
    """Name a version, and the nightly build if nothing else of it was tested."""
    builds = [build for build in TESTED if build.startswith(f"{version}.")]
    return f"Keras {version}" + (f" (as {builds[0]})" if builds else "")


def _what_loses_its_mask(spec: ModelSpec, later: ModelSpec) -> str:
    """Say where masks end in a later version, and who uses none then; empty if none."""
    before, after = (MaskFlow.of(model.root) for model in (spec, later))
    lost = [f"{spec[outer_path(use)]}" for use in before.uses if use not in after.uses]
    unmasked = list(dict.fromkeys(lost))
    if not unmasked:
        return ""
    # the masks of the model itself are those of Keras 3.15 if it follows that version
    known = None if spec.root.version_rules else before
    ends, users = join_and(_ended_masks(later, after, known)), join_and(unmasked)
    return f"the mask ends at {ends}, so no mask reaches {users}"


def outer_path(use: Use) -> str:
    """Return the path of the layer that uses a mask; of a half, the Bidirectional."""
    return use.path.removesuffix("/forward_layer").removesuffix("/backward_layer")


def version_notes(spec: ModelSpec) -> list[str]:
    """Return what is to be said of a model's version without computing the model."""
    notes = file_note(spec)
    if ends := ended_masks(spec):
        notes.append(f"Keras {_version_of(spec)}: {_where_it_ends(ends)}")
    return notes


def _version_of(spec: ModelSpec) -> str:
    """Return the version whose rules a model follows."""
    rules = spec.root.version_rules
    return next((name for name, has in VERSIONS.items() if has == rules), "")


def _where_it_ends(layers: list[str]) -> str:
    return (
        f"the mask ends at {join_and(layers)}, and the layers behind are computed "
        "without one; up to 3.15 it goes on"
    )


def ended_masks(spec: ModelSpec) -> list[str]:
    """Return the layers at which a mask ends that would go on in Keras 3.15."""
    return _ended_masks(spec, MaskFlow.of(spec.root))


def _ended_masks(
    spec: ModelSpec, now: MaskFlow, before: MaskFlow | None = None
) -> list[str]:
    """Return `ended_masks` of a model whose masks are known, and those of Keras 3.15.

    Parameters
    ----------
    spec : ModelSpec
    now, before : MaskFlow
        The masks of the model, and by Keras 3.15; found if not given.
    """
    if before is None:
        before = MaskFlow.of(spec.by_version(REFERENCE).root)
    went_on = {
        (call.path, call.node.index)
        for call in before.calls
        if any(mask is not None for mask in call.outgoing)
    }
    return list(
        dict.fromkeys(
            f"{call.layer}"
            for call in now.calls
            if not REGISTRY[call.layer.class_name].passes_masks(call.layer)
            and (call.path, call.node.index) in went_on
            and any(mask is not None for mask in call.incoming)
        )
    )


def file_note(spec: ModelSpec) -> list[str]:
    """Return a sentence if a file was saved by a version that is too new."""
    saved = spec.keras_version
    if not is_later(saved) or not (said := untested(saved)):
        return []
    last = list(VERSIONS)[-1]
    return [f"the model was saved by a later Keras; it is read as {last} does. {said}"]
