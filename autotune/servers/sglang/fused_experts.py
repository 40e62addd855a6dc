"""Which shared experts SGLang runs within the experts' kernel, so that it looks nothing up for them (contracts B4)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from autotune.model.fields import language_model
from autotune.model.shape import ModelShape
from autotune.model.weights_format import weights_format
from autotune.servers.serving import Serving

PART: Final = "shared_experts"
_APART: Final = frozenset({"w4afp8"})
"""Formats whose shared experts are not of the routed experts' kind."""


@dataclass(frozen=True)
class Fusing:
    """When a class fuses its shared experts.

    Attributes:
        one: Only a single one.
        routed: Only beside so many routed experts; None for any number.
        alike: Only as wide as a routed one.
        spread: Also where the experts are spread over GPUs.
    """

    one: bool = False
    routed: int | None = None
    alike: bool = False
    spread: bool = False


FUSING: Final[Mapping[str, Fusing]] = {
    **dict.fromkeys(
        (
            "Glm4MoeForCausalLM",
            "Glm4vMoeForConditionalGeneration",
            "MiniMaxM3SparseForCausalLM",
            "MiniMaxM3SparseForConditionalGeneration",
        ),
        Fusing(),
    ),
    **dict.fromkeys(("Glm4MoeLiteForCausalLM", "Glm5NextForConditionalGeneration"), Fusing(one=True)),
    **dict.fromkeys(
        ("DeepseekV3ForCausalLM", "Dots3NoteForCausalLM", "GlmMoeDsaForCausalLM"), Fusing(one=True, routed=256)
    ),
    "Qwen3NextForCausalLM": Fusing(alike=True, spread=True),
}
"""The classes that do so on NVIDIA GPUs, unless `--disable-shared-experts-fusion` is given (contracts B4)."""


def applies(model: ModelShape, serving: Serving) -> bool:
    """Tells whether a server fuses the shared experts of a model."""
    rule, experts = FUSING.get(model.architecture), model.experts
    if rule is None or experts is None or not experts.shared or serving.shared_experts_apart:
        return False
    found = weights_format(model.config, model.origin)
    return (
        (rule.spread or not serving.experts_spread)
        and not (rule.one and language_model(model.config).get("n_shared_experts") != 1)
        and rule.routed in (None, experts.count)
        and not (rule.alike and experts.shared != experts.intermediate)
        and not (found is not None and found.method in _APART)
    )


def notes(model: ModelShape, serving: Serving) -> Iterator[str]:
    """Tells what is not planned, and with which flag it would be; one line each."""
    if applies(model, serving):
        yield (
            "shared experts: not planned: SGLang fuses them into the experts' kernel, which reads no file; give "
            "--disable-shared-experts-fusion where the server has it"
        )
