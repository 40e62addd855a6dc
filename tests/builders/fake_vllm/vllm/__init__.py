"""What the engine's process uses of vLLM's offline interface, without a model: answers depend on prompts alone."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class SamplingParams:
    temperature: float
    max_tokens: int
    ignore_eos: bool
    detokenize: bool
    logprobs: int | None = None


@dataclass
class _Logprob:
    logprob: float


@dataclass
class _Completion:
    token_ids: list[int]
    logprobs: list[dict[int, _Logprob]] = field(default_factory=list)


@dataclass
class _Output:
    outputs: list[_Completion]


class LLM:
    """Notes what it was made with and asked for in the file that ``FAKE_VLLM_NOTES`` names."""

    def __init__(self, **arguments: Any) -> None:
        self._note("made", sorted(arguments), arguments.get("enable_lora", False))
        if folder := os.environ.get("VLLM_TUNED_CONFIG_FOLDER"):
            print(f"INFO Using tuned LoRA kernel configs from {folder}/NVIDIA_H200_SHRINK.json.")

    def apply_model(self, function: Any) -> list[Any]:
        return []

    def generate(
        self, prompts: list[Any], params: SamplingParams, lora_request: list[Any] | None, use_tqdm: bool
    ) -> list[_Output]:
        adapters = None if lora_request is None else sorted(request.lora_int_id for request in lora_request)
        self._note("asked", len(prompts), params.max_tokens, adapters)
        return [_Output([self._completion(prompt["prompt_token_ids"], params)]) for prompt in prompts]

    def _completion(self, prompt: list[int], params: SamplingParams) -> _Completion:
        tokens = [(sum(prompt) + step) % 97 for step in range(params.max_tokens)]
        logprobs = [{token: _Logprob(-0.5)} for token in tokens] if params.logprobs else []
        return _Completion(tokens, logprobs)

    def _note(self, *what: object) -> None:
        with Path(os.environ["FAKE_VLLM_NOTES"]).open("a") as file:
            file.write(f"{what}\n")
