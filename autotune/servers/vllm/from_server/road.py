"""Plans by the installed server: its answer becomes lookups, and what to say of it."""

from __future__ import annotations

from collections.abc import Iterator

from autotune.errors import one_of
from autotune.model.layers import ExpertLayer, Layer
from autotune.model.shape import ModelShape
from autotune.servers.batches import Batches
from autotune.servers.planning import ReadOff
from autotune.servers.serving import Serving
from autotune.servers.shapes import Shape, merged
from autotune.servers.vllm.from_server import asking
from autotune.servers.vllm.from_server.answer import ExpertAnswer, WrappedAnswer
from autotune.servers.vllm.lookups import dense_shapes, expert_shapes


def read_off(model: ModelShape, serving: Serving, batches: Batches) -> ReadOff:
    """Reads all lookups off the installed server's classes; without one, says so.

    Raises:
        InputError: If the server refuses to serve the model so.
    """
    if (installed := asking.version()) is None:
        return ReadOff((), (), "vLLM is not installed beside the tool")
    if serving.data_parallel > 1:
        return ReadOff((), (), "the classes are not asked about --data-parallel-size")
    answer = asking.ask(model, serving, installed)
    if answer.failed is not None:
        why = f"the classes of vLLM {installed} could not be built here: {answer.failed}"
        return ReadOff((), (why,), why)
    return ReadOff(tuple(shapes(answer, serving, batches)), tuple(_notes(answer, installed)), None)


def shapes(answer: WrappedAnswer, serving: Serving, batches: Batches) -> list[Shape]:
    """Returns the lookups of what the classes answered."""
    found = list[Shape]()
    for each, count in answer.dense:
        if not max(each.widths):  # shared experts of none: nothing is launched
            continue
        layer = Layer(each.name, each.kind, each.inputs, each.widths, count, each.part_of)
        found += dense_shapes(layer, each.rows, serving, batches.most_sampled_rows)
    for experts, count in answer.experts:
        found += expert_shapes(_expert_layer(experts, count), serving)
    return merged(found)


def _expert_layer(experts: ExpertAnswer, count: int) -> ExpertLayer:
    fused = experts.slices == 1 and experts.width == 2 * experts.intermediate
    return ExpertLayer(
        hidden=experts.hidden,
        intermediate=experts.intermediate,
        experts=experts.experts,
        top_k=experts.top_k,
        fused=fused,
        gated=fused or experts.slices > 1,
        count=count,
    )


def _notes(answer: WrappedAnswer, installed: str) -> Iterator[str]:
    yield f"the lookups are read off the classes of the installed vLLM {installed}"
    if answer.plain is not None:
        yield f"its quantised weights could not be made here ({answer.plain}): the classes were built with plain ones"
    if answer.uncalled:
        yield f"{one_of(answer.uncalled)}: the server wraps it and never calls the wrapper; it is not planned"
