"""Lists the lookups of a vLLM server for a model's layers (contracts A5 to A7)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from autotune.contract import Call
from autotune.model.layers import ExpertLayer, Layer
from autotune.model.shape import ModelShape
from autotune.servers.serving import Serving
from autotune.servers.shapes import Shape, merged
from autotune.servers.vllm import aligned, facts, linear
from autotune.servers.vllm.architectures.wrapped import no_module_is_named, wrapped
from autotune.servers.vllm.moe_paths import server_path


def shapes(model: ModelShape, serving: Serving, most_rows: int) -> list[Shape]:
    """Finds every distinct lookup, in the order of the layers."""
    found, wrap = list[Shape](), wrapped(model, serving)
    for layer in wrap.layers:
        found += _dense(layer, serving, most_rows)
    for experts in wrap.experts:
        found += expert_shapes(experts, serving)
    # Where a size is missing, an embedding, which keeps the default, is no plan.
    if not any(shape.kernels or shape.together for shape in found) and (wrap.lacking or not found):
        raise no_module_is_named(model, serving, wrap)
    return merged(found)


def required(shapes: Sequence[Shape], answered: Iterable[int]) -> list[Call]:
    """Lists every lookup that files must answer at these m, measured or not.

    The experts' are only answered if they are tuned, and only where a server reads them: sorted batches take the
    nearest entry, and that must not be one of batches that are not. A server with dual stream has both expand files:
    without the flag, or for a layer that runs alone, it reads the one of added inputs.
    """
    experts_tuned = any(facts.MOE_GROUP in shape.kernels for shape in shapes)
    calls = []
    for shape in shapes:
        of_experts = shape.op in facts.MOE_OPS
        for m in answered:
            if of_experts and not (experts_tuned and shape.occurs(m)):
                continue
            calls.append(call := shape.call(m))
            if call.dims.get("add_inputs") == 0:
                calls.append(Call(call.server, call.op, {**call.dims, "add_inputs": 1}))
    return list({(call.op, tuple(call.dims.items())): call for call in calls}.values())


def one_shot(serving: Serving) -> bool:
    """Tells whether the experts' LoRA runs in one kernel (contracts A6, paths 1 and 2)."""
    return server_path(serving.rank, serving.fully_sharded) == facts.ONE_SHOT


def naive_tokens(experts: ExpertLayer, serving: Serving) -> int:
    """Returns how many tokens at most are routed without sorting, so that no block_m is read (contracts A6)."""
    if serving.fully_sharded or serving.experts_spread:
        return 0
    return experts.experts * serving.max_loras // (facts.NAIVE_SHARE * experts.top_k)


def _dense(layer: Layer, serving: Serving, most_rows: int) -> list[Shape]:
    sharded = serving.fully_sharded and serving.tp > 1
    rows = serving.rank // serving.tp if sharded and layer.kind == "column" else serving.rank
    if sharded and layer.kind == "row":
        layer = replace(layer, widths=tuple(width // serving.tp for width in layer.widths))
    return dense_shapes(layer, rows, serving, most_rows)


def dense_shapes(layer: Layer, rows: int, serving: Serving, most_rows: int) -> list[Shape]:
    """Returns the lookups of a layer whose widths are those of its stacked B.

    Args:
        rows: Of its stacked A.
    """
    expand = _expand(layer, rows, serving)
    shapes = [_shrink(layer, rows, serving), expand] if layer.inputs else [expand]
    return [replace(shape, max_size=most_rows) for shape in shapes] if layer.kind == "lm_head" else shapes


def _shrink(layer: Layer, rows: int, serving: Serving) -> Shape:
    return Shape(
        server=facts.NAME,
        op="shrink",
        dims=_dims(serving.max_loras + 1, layer.slices, layer.inputs, rows),
        size="m",
        kernels=("lora_shrink",),
        flags={
            "num_slices": layer.slices,
            "num_loras": serving.max_loras,
            "hidden_size": layer.inputs,
            "lora_rank": rows,
        },
        layers=(layer.label,),
        count=layer.count,
    )


def _expand(layer: Layer, rows: int, serving: Serving) -> Shape:
    rank, widest = serving.rank, max(layer.widths)
    # Embeddings, lm_head and routers never run beside the base layer.
    add_inputs = not (serving.dual_stream and layer.kind in ("column", "row"))
    return Shape(
        server=facts.NAME,
        op="expand",
        dims={**_dims(serving.max_loras + 1, layer.slices, rank, widest), "add_inputs": int(add_inputs)},
        size="m",
        # An embedding's x is half precision, which another config may suit: alone, it keeps the default.
        kernels=() if layer.kind == "embed" else ("lora_expand",),
        flags={
            "num_slices": layer.slices,
            "num_loras": serving.max_loras,
            "hidden_size": widest,
            "lora_rank": rank,
            "slice_widths": layer.widths,
            "expand_add_inputs": int(add_inputs),
        },
        layers=(layer.label,),
        count=layer.count,
        together=_together(layer, serving, rows) if add_inputs else (),
    )


def _together(layer: Layer, serving: Serving, rows: int) -> tuple[Shape, ...]:
    """Returns what shrink and expand of a layer come to as a pair, where the server asks for both at once
    (contracts A15)."""
    if layer.kind in ("embed", "lm_head") or serving.fully_sharded:
        return ()
    sizes = {"max_loras": serving.max_loras + 1, "num_slices": layer.slices, "k": layer.inputs}
    shape = Shape(
        server=facts.NAME,
        op=facts.LINEAR,
        dims={**sizes, "rank": rows, "n": max(layer.widths)},
        size="m",
        kernels=("lora_linear",),
        flags={
            "num_slices": layer.slices,
            "num_loras": serving.max_loras,
            "hidden_size": layer.inputs,
            "lora_rank": rows,
            "slice_widths": layer.widths,
        },
        layers=(layer.label,),
        count=layer.count,
        max_size=linear.MOST_TOKENS,
    )
    return (shape,)


def expert_shapes(experts: ExpertLayer, serving: Serving) -> list[Shape]:
    """Returns the lookups of all four ops.

    For each of them k is the rank and n the hidden size, and max_loras is not raised by one (contracts A1).
    """
    shards, spread = serving.expert_gpus if serving.fully_sharded else 1, serving.experts_spread
    slices, width = 2 if experts.gated else 1, experts.intermediate
    if experts.fused:
        slices, width = 1, slices * width
    sides = (("w13", serving.rank // shards, slices, width), ("w2", serving.rank, 1, experts.intermediate))
    common = {
        "hidden_size": experts.hidden,
        "lora_rank": serving.rank,
        "num_loras": serving.max_loras,
        "num_experts": experts.experts,
        "top_k_num": experts.top_k,
        "fully_sharded": int(serving.fully_sharded),
        "tp": serving.expert_gpus if spread else shards,
        "ep": int(spread),
        "expand_add_inputs": int(not serving.dual_stream),
    }
    found = [
        Shape(
            server=facts.NAME,
            op=f"fused_moe_lora_{weight}_{op}",
            dims={**_dims(serving.max_loras, parts, rank, experts.hidden), "i": i},
            size="m",
            kernels=_group(weight, op, experts),
            flags={**common, "moe_intermediate_size": i, "num_slices": parts},
            layers=(experts.label,),
            count=experts.count,
            min_size=naive_tokens(experts, serving) + 1 if one_shot(serving) else 1,
        )
        for weight, rank, parts, i in sides
        for op in ("shrink", "expand")
    ]
    return [with_ours(shape, serving, experts.intermediate) for shape in found]


def _group(weight: str, op: str, experts: ExpertLayer) -> tuple[str, ...]:
    """Returns the group, which answers all four lookups, at the first of them; it has one width for all."""
    first = (weight, op) == ("w13", "shrink")
    return (facts.MOE_GROUP,) if first and experts.gated and not experts.fused else ()


def with_ours(shape: Shape, serving: Serving, intermediate: int) -> Shape:
    """Returns a lookup of the experts with what the plug-in launches for it, where it launches anything (contracts
    A17).

    Args:
        intermediate: The base experts', by which the server finds their tiles.
    """
    ours = aligned.OURS.get(shape.op)
    if ours is None or not one_shot(serving) or serving.dual_stream:
        return shape
    flags = {**shape.flags, "base_intermediate_size": intermediate}
    own = replace(shape, op=ours.op, kernels=(ours.kernel,), flags=flags)
    return replace(shape, together=(own,))


def _dims(max_loras: int, num_slices: int, k: int, n: int) -> dict[str, int]:
    return {"max_loras": max_loras, "num_slices": num_slices, "k": k, "n": n}
