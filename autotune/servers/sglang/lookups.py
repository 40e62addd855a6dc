"""Lists the lookups of an SGLang server's csgmv backend for a model's layers (contracts B1, B4)."""

from __future__ import annotations

from autotune.errors import InputError, one_of
from autotune.model.fields import LackingFieldsError
from autotune.model.layers import Layer, dense_layers
from autotune.model.shape import ModelShape
from autotune.servers.serving import Serving
from autotune.servers.sglang import facts, fused_experts, hybrid, lacking, latent_attention, registry, stopping
from autotune.servers.sglang.architectures import HEAD_IF_UNTIED, WITHOUT
from autotune.servers.sglang.serving import named, takes_mlps, wrapping
from autotune.servers.shapes import Shape, merged

WORKLOADS = ("prefill", "decode", "mixed")
"""What the kernels take."""


def shapes(model: ModelShape, serving: Serving, workload: str | None = None) -> list[Shape]:
    """Finds every distinct lookup, in the order of the layers; the experts' kernels read no file (contracts B5).

    Args:
        workload: What to time the kernels on; None for their own choice.

    Raises:
        InputError: If the kernels do not know the workload.
    """
    check_workload(workload)
    wrapped = layers(model, serving)
    found = lacking.known(model, wrapped)
    if wrapped and not found:
        raise LackingFieldsError(model.origin, model.lacking)
    if not found and serving.target_modules is None:
        raise InputError(
            f"{model.origin}: {model.architecture}: SGLang's class has no module under the names that it puts LoRA on; "
            "there is nothing to tune for it"
        )
    return merged(shape for layer in found for shape in _dense(layer, serving, workload))


def layers(model: ModelShape, serving: Serving) -> list[Layer]:
    """Returns the layers that are wrapped, with those whose sizes are not known."""
    if latent_attention.applies(model):
        found = latent_attention.layers(model, wrapping(model, serving), named(serving))
    elif hybrid.applies(model):
        found = hybrid.layers(model, wrapping(model, serving), named(serving))
    else:
        found = dense_layers(model, wrapping(model, serving))
    missing = {*WITHOUT.get(model.architecture, ()), *(() if takes_mlps(model) else facts.MLP)}
    if registry.by_transformers(model):
        missing |= set(registry.NOT_MERGED)
    if serving.target_modules is None:
        missing |= stopping.not_planned(model)
    if model.tied and model.architecture in HEAD_IF_UNTIED:
        missing.add("lm_head")
    kept = [layer for layer in found if layer.name not in missing]
    fused = fused_experts.applies(model, serving)
    return [layer for layer in kept if not (fused and layer.part_of == fused_experts.PART)]


def check_workload(workload: str | None) -> None:
    """Makes sure that the kernels know a workload.

    Raises:
        InputError: If they do not.
    """
    if workload not in (None, *WORKLOADS):
        raise InputError(f"--workload: got {workload!r}, allowed: {one_of(WORKLOADS)}; give one of them")


def _dense(layer: Layer, serving: Serving, workload: str | None) -> list[Shape]:
    flags: dict[str, object] = {
        "lora_rank": serving.rank,
        "num_slices": layer.slices,
        "num_loras": serving.max_loras,
        **({"workload": workload} if workload else {}),
    }
    found = []
    if layer.inputs:
        found.append(_shape("shrink", layer, layer.inputs, {**flags, "hidden_size": layer.inputs}))
    found.append(_shape("expand", layer, sum(layer.widths), {**flags, "slice_widths": layer.widths}))
    return found


def _shape(op: str, layer: Layer, k: int, flags: dict[str, object]) -> Shape:
    return Shape(
        server=facts.NAME,
        op=op,
        dims={"K": k, "R": int(str(flags["lora_rank"])), "S": layer.slices},
        size="chunk_size",
        kernels=(f"csgmv_{op}",),
        flags=flags,
        layers=(layer.label,),
        count=layer.count,
    )
