"""Lists the layers of a model that vLLM wraps for LoRA, as one worker holds them (contracts A5, A9)."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from autotune.errors import InputError, one_of
from autotune.model.fields import POSITIVE, Fields, LackingFieldsError, without_zeros
from autotune.model.layers import ExpertLayer, Layer
from autotune.model.shape import ModelShape
from autotune.servers.serving import Serving
from autotune.servers.vllm.architectures.decoders import Decoder, Module, Part
from autotune.servers.vllm.architectures.language_model import LanguageModel, read
from autotune.servers.vllm.architectures.layer_kinds import layer_kinds, own_sizes, types_with_sizes, unknown_types
from autotune.servers.vllm.architectures.quantised import Quantised
from autotune.servers.vllm.architectures.refusals import check_experts, check_model
from autotune.servers.vllm.architectures.sharding import check_shares, lora_layer
from autotune.servers.vllm.architectures.sizes import LayerSizes
from autotune.servers.vllm.architectures.targets import Targets

_LAYERS = "num_hidden_layers"
_ENOUGH_LAYERS = 64
"""So many layers have one of each kind that a config places; a period of kinds is shorter."""

_SCORE = Module("score", "classifier", outputs=("labels",))


@dataclass(frozen=True)
class Wrapped:
    """What one worker wraps.

    Attributes:
        experts: The routed experts, by width.
        uncalled: Names of modules that are wrapped and never called through their wrapper.
        unmatched: Targets that name no module.
        names: What targets may name.
        unknown_types: Kinds of layers of which nothing is known but their MLP or experts.
        unplanned: Modules that are wrapped and whose sizes the config does not tell, each with the fields it lacks.
        counted: The config tells how many layers there are; else each stands for one.
    """

    language_model: LanguageModel
    layers: tuple[Layer, ...]
    experts: tuple[ExpertLayer, ...]
    uncalled: tuple[str, ...]
    unmatched: tuple[str, ...]
    names: tuple[str, ...]
    unknown_types: tuple[str, ...] = ()
    unplanned: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    counted: bool = True

    @property
    def lacking(self) -> tuple[str, ...]:
        """The fields for want of which modules are not planned."""
        return tuple(dict.fromkeys(name for names in self.unplanned.values() for name in names))


def _for_a_plan(find: Callable[[ModelShape, Serving], Wrapped]) -> Callable[[ModelShape, Serving], Wrapped]:
    """Keeps what was found last, for as long as the same two objects are asked about: a plan asks five times."""
    last: tuple[ModelShape, Serving, Wrapped] | None = None

    @functools.wraps(find)
    def found(model: ModelShape, serving: Serving) -> Wrapped:
        nonlocal last
        if last is None or last[0] is not model or last[1] is not serving:
            last = model, serving, find(model, serving)
        return last[2]

    return found


@_for_a_plan
def wrapped(model: ModelShape, serving: Serving) -> Wrapped:
    """Finds what is wrapped.

    Raises:
        InputError: If the server refuses the model, it cannot be sharded so, or its layers are not known here.
    """
    found, decoder = _read(model)
    fields = _fields(model, found.fields, decoder)
    check_model(model, found, fields, serving)
    weights = Quantised(model.config, model.origin, serving)
    weights.check_format()
    packed = found.packed(LayerSizes(decoder, fields, _common(found, fields, serving), None).holds)
    targets = Targets(serving.target_modules, packed, embeddings(model, found), found.multimodal)
    layers, experts, uncalled = Counter[Layer](), Counter[ExpertLayer](), dict[str, None]()
    unplanned = dict[str, tuple[str, ...]]()
    for part, module, sizes in _modules(found, fields, serving):
        lacking = _lacking(part, module, sizes, fields)
        there = lacking or (sizes.holds(part.when) and sizes.holds(module.when))
        if not there:
            continue
        if not lacking and module.called:  # what is not called has plain weights
            weights.check_share(module, packed.get(module.name, ()), sizes)
        if not targets.wrap(module, sizes.layer, part.name, part.through):
            if not lacking:
                check_shares(module, sizes, serving.tp)
            continue
        if not module.called or (module.held and targets.experts):
            uncalled[module.name] = None
        elif lacking:
            unplanned[f"{part.name}.{module.name}".lstrip(".")] = lacking
        elif module.kind == "experts":
            experts[_expert_layer(module, sizes, found, weights, fields, serving)] += 1
        elif layer := lora_layer(module, part.name, sizes, packed.get(module.name, ()), serving, model.origin):
            if any(layer.widths):  # shared experts of none: nothing is launched
                layers[layer] += 1
        elif serving.target_modules is not None:
            raise _no_lora_layer(module)
    counted = fields.get(_LAYERS) is not None
    return Wrapped(
        language_model=found,
        layers=tuple(replace(layer, count=count if counted else 1) for layer, count in layers.items()),
        experts=tuple(replace(expert, count=count if counted else 1) for expert, count in experts.items()),
        uncalled=tuple(uncalled),
        unmatched=targets.unmatched,
        names=targets.names,
        unknown_types=tuple(unknown_types(decoder, _counted(fields))),
        unplanned=unplanned,
        counted=counted,
    )


def _read(model: ModelShape) -> tuple[LanguageModel, Decoder]:
    """Returns what the server builds of a model's config.

    Raises:
        InputError: If it serves no such model with LoRA, or its layers are not known here.
    """
    found = read(model.config, model.origin)
    if found.draft:
        raise InputError(
            f"{model.origin}: {found.architecture} is a draft for speculative decoding, which vLLM runs beside the "
            "model that it serves and without LoRA; plan for that model"
        )
    if found.decoder is None:
        raise InputError(
            f"{model.origin}: the layers of {found.architecture} are not known here; plan with a server installed, or "
            "create studies of single shapes (study create --op-type ...) from what the server logs"
        )
    return found, found.decoder


def _no_lora_layer(module: Module) -> InputError:
    return InputError(
        f"--target-modules: {module.name} cannot be wrapped by any of the server's LoRA layers (vLLM: LoRA target "
        "module could not be wrapped by any LoRA layer implementation); leave it out"
    )


def _fields(model: ModelShape, config: Mapping[str, Any], decoder: Decoder) -> Fields:
    """Returns the fields that the decoder reads."""
    all_ones = {**decoder.defaults, **config, **model.overrides}
    read_ones = {name: value for name, value in all_ones.items() if name not in decoder.ignored}
    return Fields(model.origin, without_zeros(read_ones))


def embeddings(model: ModelShape, found: LanguageModel) -> set[str]:
    """Returns the embeddings and heads that take LoRA: what the preset says, or else the classes."""
    if model.embedding_modules is not None:
        return set(model.embedding_modules)
    return found.embedding_modules


def _common(found: LanguageModel, fields: Fields, serving: Serving) -> dict[str, int]:
    """Returns names that are no fields."""
    return {
        "tensor_parallel_size": serving.tp,
        "fully_sharded": int(serving.fully_sharded),
        "labels": found.labels,
        "multimodal": int(found.multimodal),
        "listed_dense_layers": len(fields.integers("mlp_only_layers")),
    }


def _modules(found: LanguageModel, fields: Fields, serving: Serving) -> Iterator[tuple[Part, Module, LayerSizes]]:
    """Yields the modules of all layers, a part at a time, each with the sizes of its layer."""
    decoder = found.decoder
    assert decoder is not None
    common, tp = _common(found, fields, serving), serving.tp
    kinds = layer_kinds(decoder, _counted(fields))
    check_experts(found, fields, serving, any("sparse" in each for each in kinds))
    types = types_with_sizes(decoder, fields, len(kinds))
    by_layer = []
    for layer in range(len(kinds)):
        known: Mapping[str, int] = {**common, "layer": layer, **own_sizes(decoder, fields, layer)}
        by_layer.append(LayerSizes(decoder, fields, known, layer, types[layer] if types else ""))
        if why := _refused(decoder, kinds[layer], by_layer[-1]):
            raise InputError(
                f"{fields.origin}: vLLM refuses it with --tp {tp}: {why}; give another one, or fix the config"
            )
        if decoder.most_gpus and tp > (most := by_layer[-1](decoder.most_gpus)):
            raise InputError(f"--tp: got {tp}, allowed for {found.architecture}: up to its {decoder.most_gpus} {most}")
    for part in decoder.parts:
        for module in part.modules:
            if part.on == "model":
                # A classifier keeps the head that its own replaces.
                if module.kind != "head" or found.has_head or found.scored:
                    seen = module if found.has_head or module.kind != "head" else replace(module, named=True)
                    yield part, seen, LayerSizes(decoder, fields, common, None)
                continue
            for kind, sizes in zip(kinds, by_layer, strict=True):
                if part.on in kind:
                    yield part, module, sizes
    if found.scored:
        yield Part("model", (_SCORE,)), _SCORE, LayerSizes(decoder, fields, common, None)


def _refused(decoder: Decoder, kinds: frozenset[str], sizes: LayerSizes) -> str | None:
    """Returns what the server says as it refuses a layer of these kinds; None where it does not."""
    rules = [decoder.refused, *(part.refused for part in decoder.parts if part.on in kinds and sizes.holds(part.when))]
    return next((said for rule in rules for condition, said in rule.items() if sizes.holds(condition)), None)


def _counted(fields: Fields) -> Fields:
    """Returns fields that tell how many layers there are; where they do not, enough for one of each kind."""
    if fields.get(_LAYERS) is not None:
        return fields
    return Fields(fields.origin, {**fields.config, _LAYERS: _ENOUGH_LAYERS})


def _lacking(part: Part, module: Module, sizes: LayerSizes, fields: Fields) -> tuple[str, ...]:
    """Returns the fields for want of which a module's sizes are not known; those that may be absent count as 0."""
    if not sizes.holds(part.when):
        return ()
    if not sizes.holds(module.when):
        return tuple(name for name in sizes.lacking(module.when) if name in POSITIVE)
    of_experts = [name for name in ("num_experts", "num_experts_per_tok") if not fields.get(name)]
    return (*sizes.lacking(module.inputs, *module.outputs), *(of_experts if module.kind == "experts" else ()))


def _expert_layer(
    module: Module, sizes: LayerSizes, found: LanguageModel, weights: Quantised, fields: Fields, serving: Serving
) -> ExpertLayer:
    width, count, gpus = sizes(module.outputs[0]), fields.expert_count, serving.expert_gpus
    spread = serving.experts_spread
    if not spread and width % gpus:
        raise InputError(f"--tp: got {gpus} GPUs, which do not divide the experts' width {width}; give another one")
    if spread and serving.fully_sharded:
        raise InputError(
            "--fully-sharded: vLLM's fused MoE LoRA has no --enable-expert-parallel together with "
            "--fully-sharded-loras, and the server stops; leave one of them out"
        )
    hidden, share = weights.padded(sizes(module.inputs), width if spread else width // gpus)
    if serving.fully_sharded and hidden % serving.tp:
        raise InputError(
            f"--fully-sharded: --tp {serving.tp} does not divide the experts' hidden size {hidden}, whose outputs are "
            f"shared out, too (vLLM: {hidden} is not divisible by {serving.tp}); leave it out, or give another --tp"
        )
    apart = serving.mixed_moe_format or serving.moe_shared_loras
    return ExpertLayer(
        hidden=hidden,
        intermediate=share,
        experts=-(-count // gpus) if spread else count,
        top_k=fields["num_experts_per_tok"],
        fused=found.model.experts_3d and not apart,
        gated=found.model.gated,
        count=1,
    )


def no_module_is_named(model: ModelShape, serving: Serving, found: Wrapped) -> InputError:
    """Returns the error for targets that name no module, or for a config that tells no module's sizes."""
    if found.lacking:
        return LackingFieldsError(model.origin, found.lacking)
    return InputError(
        f"--target-modules: got {one_of(serving.target_modules or ())}, none of which {model.name} has on this server; "
        f"it wraps by {one_of(found.names)}"
    )
