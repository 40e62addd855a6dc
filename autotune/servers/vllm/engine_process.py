"""Runs vLLM's offline engine once: ``python -m autotune.servers.vllm.engine_process JOB RESULT``.

The engine runs in this very process (no front end, no HTTP), with CUDA graphs captured for the decode batches of the
job, so that their token counts are what the kernels see. Random weights come from the config alone; their norms are set
to one, since random norms make every answer the same. All that a phase needs is compiled in its warm-up.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from cattrs.preconf.json import make_converter

from autotune.environment import installed_version
from autotune.model.fields import language_model
from autotune.servers import profile
from autotune.servers.engine import Answer, EngineJob, EnginePhase, EngineResult, KernelTime, PhaseResult
from autotune.servers.plugin import tracer as tracers
from autotune.servers.vllm import facts

_WARM_UPS = 2
_TOKENS_PROFILED = 17
_ANSWERS = EnginePhase("answers", requests=64, prompt_tokens=64, new_tokens=24)
_LIKELIEST = 5
_FIRST_TOKEN_ID = 1000
"""Below it tokens are often special."""

_ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    # The profile and the count of compilations are of this process.
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
}


class Generate(Protocol):
    """Generates so many tokens for each request of a batch; greedy."""

    def __call__(self, new: int, logprobs: int | None = None) -> list[Any]: ...


class Requests:
    """Sends batches to an engine, each request with its adapter, ragged as `ragged` has it."""

    def __init__(self, engine: Any, job: EngineJob, vocabulary: int) -> None:
        import torch
        from vllm.lora.request import LoRARequest

        self._engine = engine
        self._vocabulary = vocabulary
        self._seed = job.seed
        self._random = torch.Generator()
        self.restart()
        lora = job.lora
        folders = lora.adapters if lora and lora.used else ()
        self._adapters = [LoRARequest(f"adapter{i}", i + 1, folder) for i, folder in enumerate(folders)]

    def restart(self) -> None:
        """Starts over: the same prompts are drawn again."""
        self._random.manual_seed(self._seed)

    def batch(self, phase: EnginePhase) -> Generate:
        """Draws one random batch of the phase."""
        import torch

        low, high = min(_FIRST_TOKEN_ID, self._vocabulary // 2), self._vocabulary - 1
        shape = (phase.requests, phase.prompt_tokens)
        prompts = [
            {"prompt_token_ids": ids} for ids in torch.randint(low, high, shape, generator=self._random).tolist()
        ]
        order = torch.randperm(phase.requests, generator=self._random).tolist()
        slots = ragged(phase.requests, len(self._adapters)) if self._adapters else []
        adapters = [self._adapters[slots[i]] for i in order] if slots else None

        def generate(new: int, logprobs: int | None = None) -> list[Any]:
            from vllm import SamplingParams

            how = SamplingParams(temperature=0.0, max_tokens=new, ignore_eos=True, detokenize=False, logprobs=logprobs)
            outputs: list[Any] = self._engine.generate(prompts, how, lora_request=adapters, use_tqdm=False)
            return outputs

        return generate


def ragged(requests: int, adapters: int) -> list[int]:
    """Deals adapters to requests: the first has half of them, the next half of the rest, and so on, the last the rest.

    While there are requests enough, each adapter has one at least.
    """
    slots, left = list[int](), requests
    for adapter in range(adapters - 1):
        others = adapters - 1 - adapter
        count = max(min(1, left), min(-(-left // 2), left - others))
        slots += [adapter] * count
        left -= count
    return slots + [adapters - 1] * left


class Compilations:
    """Names of the Triton kernels that were compiled while it counted."""

    def __init__(self) -> None:
        from triton import knobs

        self.names: list[str] = []
        self._counting = False
        self._before = knobs.runtime.jit_post_compile_hook
        knobs.runtime.jit_post_compile_hook = self._on_compiled

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Counts what is compiled within."""
        self._counting = True
        try:
            yield
        finally:
            self._counting = False

    def _on_compiled(self, **what: Any) -> bool | None:
        if self._counting:
            self.names.append(str(getattr(what.get("fn"), "name", what.get("key"))))
        # The server has a hook of its own, which warns.
        return None if self._before is None else self._before(**what)


def run(job: EngineJob) -> EngineResult:
    """Starts the engine and measures every phase of the job."""
    start_s = time.monotonic()
    import torch
    from vllm import LLM

    engine = LLM(**_arguments(job))
    if job.dummy_weights:
        engine.apply_model(_unit_norms)
    requests = Requests(engine, job, _vocabulary(job))
    ready_s = time.monotonic() - start_s
    compilations = Compilations()
    phases = tuple(_measure(requests, phase, job.repeats, compilations) for phase in job.phases)
    return EngineResult(
        gpu=torch.cuda.get_device_name(0) if torch.cuda.is_available() else "none",
        versions={name: installed_version(name) or "unknown" for name in ("vllm", "torch", "triton")},
        start_s=round(ready_s, 1),
        phases=phases,
        jit_compiles=tuple(compilations.names),
        answers=_answers(requests),
    )


def _arguments(job: EngineJob) -> dict[str, Any]:
    most = max(phase.requests for phase in job.phases)
    decodes = sorted({phase.requests for phase in job.phases if phase.is_decode} | {1, _ANSWERS.requests})
    tokens = max(8192, *(phase.requests * phase.prompt_tokens for phase in job.phases if not phase.is_decode), 1)
    lora = job.lora
    return {
        "model": job.model,
        "load_format": "dummy" if job.dummy_weights else "auto",
        "skip_tokenizer_init": True,
        "dtype": "bfloat16",
        "max_model_len": job.max_model_len,
        "max_num_seqs": max(most, *decodes),
        "max_num_batched_tokens": tokens,
        "enable_prefix_caching": False,
        "seed": job.seed,
        "generation_config": "vllm",
        "gpu_memory_utilization": 0.8,
        "compilation_config": {"cudagraph_capture_sizes": decodes},
        **({"enable_lora": True, "max_loras": lora.max_loras, "max_lora_rank": lora.rank} if lora else {}),
    }


def _vocabulary(job: EngineJob) -> int:
    config = json.loads((Path(job.model) / "config.json").read_text())
    return int(language_model(config)["vocab_size"])


def _unit_norms(model: Any) -> int:
    norms = [parameter for name, parameter in model.named_parameters() if "norm" in name]
    for parameter in norms:
        parameter.data.fill_(1.0)
    return len(norms)


def _measure(requests: Requests, phase: EnginePhase, repeats: int, compilations: Compilations) -> PhaseResult:
    generate = requests.batch(phase)
    for _ in range(_WARM_UPS):
        generate(min(phase.new_tokens, _TOKENS_PROFILED))
    first_s, whole_s = list[float](), list[float]()
    with compilations.counted():
        for _ in range(repeats):
            if phase.is_decode:
                first_s.append(_seconds(generate, 1))
            whole_s.append(_seconds(generate, phase.new_tokens))
    if phase.is_decode:
        steps, prefill_s = phase.new_tokens - 1, statistics.median(first_s)
        ms = tuple((whole - prefill_s) / steps * 1e3 for whole in whole_s)
        tokens = phase.requests * phase.new_tokens
    else:
        ms = tuple(whole * 1e3 for whole in whole_s)
        tokens = phase.requests * phase.prompt_tokens
    rates = tuple(tokens / whole for whole in whole_s)
    return PhaseResult(phase.name, ms, rates, *_profile(generate, phase))


def _seconds(generate: Generate, tokens: int) -> float:
    """Times a run until all outputs are there: the engine hands them over as numbers, so the GPU is done."""
    start_s = time.perf_counter()
    generate(tokens)
    return time.perf_counter() - start_s


def _profile(generate: Generate, phase: EnginePhase) -> tuple[tuple[KernelTime, ...], int, float | None]:
    """Returns the LoRA kernels of a few steps of a phase, how many these are, and how many milliseconds of one the
    GPU was busy; a decode's prefill is profiled apart and left out."""
    prefill = profile.of(lambda: generate(1))
    if phase.is_decode:
        tokens = min(phase.new_tokens, _TOKENS_PROFILED)
        runs, steps = profile.without(profile.of(lambda: generate(tokens)), prefill), tokens - 1
    else:
        runs, steps = prefill, 1
    return profile.lora_kernels(runs, facts.NAME), steps, runs.busy_us / steps / 1e3 if runs.kernels else None


def _answers(requests: Requests) -> tuple[Answer, ...]:
    """Returns greedy answers to prompts that are the same in every process of a job's seed."""
    requests.restart()
    outputs = requests.batch(_ANSWERS)(_ANSWERS.new_tokens, logprobs=_LIKELIEST)
    completions = [output.outputs[0] for output in outputs]
    return tuple(
        Answer(
            tuple(completion.token_ids),
            tuple({int(token): float(each.logprob) for token, each in step.items()} for step in completion.logprobs),
        )
        for completion in completions
    )


def main(arguments: Sequence[str]) -> None:
    """Reads the job, runs it, writes the result; the process then ends at once, whatever the engine still holds."""
    job_file, result_file = map(Path, arguments)
    os.environ.update({name: value for name, value in _ENVIRONMENT.items() if name not in os.environ})
    converter = make_converter()
    result = run(converter.loads(job_file.read_text(), EngineJob))
    unfinished = result_file.with_suffix(".unfinished")
    unfinished.write_text(converter.dumps(result))
    unfinished.replace(result_file)
    if (tracer := tracers.of(facts.NAME)) is not None:
        tracer.quietly(tracer.save)()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
