"""Prepares an end-to-end run: model, adapters, phases. What cannot be run is refused before anything starts."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from autotune import paths, servers
from autotune.bench import serve_folder, variants
from autotune.bench.rounds import ServeRun
from autotune.bench.variants import Variant
from autotune.environment import installed_version
from autotune.errors import InputError, one_of
from autotune.model import random_adapter
from autotune.model.expert_layers import expert_layers
from autotune.model.fields import Fields, changed, language_model
from autotune.model.shape import ModelShape, look_up
from autotune.model.sources import Source, find
from autotune.servers import Server, trace_line
from autotune.servers.engine import EngineJob, EnginePhase, LoraJob

DECODE_STEPS = 128
DECODE_PROMPT = 32
REPEATS = 7
ENGINE_TIMEOUT_S = 900.0
_ANSWER_TOKENS = 128
_QUANTISED = "quantization_config"
_NOT_QUANTISED = (
    "the model's config asks for quantised weights, and random ones are bfloat16: the base model takes other times "
    "than when served; what adapters add, above N, is of the same kernels"
)
_NOT_READ = (
    "{folder} is for the built-in kernels, which the server runs by the plug-in alone, and that is not installed here; "
    "install this project where the server is (pip install --no-deps), to time it as variant D"
)
_NOT_TRACED = (
    f"{trace_line.VARIABLE} is set here, and no standard variant is given it, for recording takes time: record with "
    f"--variant T:{trace_line.VARIABLE}=FILE"
)


@dataclass(frozen=True)
class ServeOptions:
    """What `bench serve` was asked for.

    Attributes:
        overrides: Fields of the model's config that go over those found.
        rank: Of the server's pool of adapters.
        adapters: How many adapters of random weights to make; none are made where `lora_paths` are given.
        decode: Requests of each decode batch; empty for none.
        prefill: Requests and tokens of each in the prefill batch; None for none.
    """

    model: str
    folder: Path | None
    rank: int
    max_loras: int
    adapters: int
    lora_paths: tuple[Path, ...] = ()
    overrides: Mapping[str, int] | None = None
    decode: tuple[int, ...] = (1, 16, 64)
    prefill: tuple[int, int] | None = (8, 1024)
    rounds: int = 3
    further: tuple[Variant, ...] = ()
    timeout_s: float = ENGINE_TIMEOUT_S


def prepare(options: ServeOptions, server: Server) -> ServeRun:
    """Makes everything that the processes of a run need, in the tool's cache folder.

    Raises:
        InputError: If the engine is not installed, the folder holds no files, or the model or its adapters cannot be
            made.
    """
    if (engine := server.engine()) is None:
        able = one_of(name for name in servers.names() if servers.get(name).engine())
        raise InputError(
            f"--runtime: got {server.name}, whose engine cannot be run from here yet, allowed: {able}; time the files "
            "with the server's own benchmark"
        )
    if installed_version(engine.package) is None:
        raise InputError(
            f"bench serve: {engine.package} is not installed here; run it in the environment that the server runs in"
        )
    folder = serve_folder.find(options.folder, server)
    plugin_installed = engine.plugin_installed()
    notes: tuple[str, ...] = (
        (_NOT_READ.format(folder=folder.builtin),) if folder.builtin and not plugin_installed else ()
    )
    if notes and not folder.served:
        raise InputError(f"--dir: {notes[0]}")
    _check_further(options.further, plugin_installed)
    if os.environ.get(trace_line.VARIABLE):
        notes += (_NOT_TRACED,)
    flag, count = ("--lora-path", len(options.lora_paths)) if options.lora_paths else ("--adapters", options.adapters)
    if count > options.max_loras:
        raise InputError(f"{flag}: got {count}, allowed: up to --max-loras {options.max_loras}; a batch holds no more")
    source, store = find(options.model), paths.cache_dir() / "serve"
    model_folder, has_weights = _model_folder(source, options.overrides or {}, store)
    if not has_weights and _QUANTISED in source.config:
        notes += (_NOT_QUANTISED,)
    phases = phases_of(options)
    lora = LoraJob(options.rank, options.max_loras, _adapters(options, store), used=True)
    longest = max(phase.prompt_tokens + phase.new_tokens for phase in phases)
    job = EngineJob(str(model_folder), not has_weights, lora, phases, REPEATS, longest + _ANSWER_TOKENS)
    chosen = (*variants.standard(folder, plugin_installed), *options.further)
    return ServeRun(engine, job, folder, chosen, options.rounds, store / "rounds", options.timeout_s, notes)


def _check_further(further: Sequence[Variant], plugin_installed: bool) -> None:
    """Makes sure that variants which are nothing without the plug-in have it.

    Raises:
        InputError: If it is not installed, or the folder of a trace is not there.
    """
    for variant in further:
        if variant.needs_plugin and not plugin_installed:
            raise InputError(
                f"--variant: {variant.name} is of the plug-in, which is not installed here; install this project where "
                "the server is (pip install --no-deps)"
            )
        if variant.trace and not variant.trace.absolute().parent.is_dir():
            raise InputError(f"--variant: {variant.name}: {variant.trace} is in no folder that is there; make it first")


def phases_of(options: ServeOptions) -> tuple[EnginePhase, ...]:
    """Returns the batches to time.

    Raises:
        InputError: If there is none.
    """
    decode = [EnginePhase(f"decode {n}", n, DECODE_PROMPT, DECODE_STEPS) for n in options.decode]
    prefill = []
    if options.prefill is not None:
        requests, tokens = options.prefill
        prefill = [EnginePhase(f"prefill {requests}x{tokens}", requests, tokens, 1)]
    if not decode and not prefill:
        raise InputError("bench serve: got neither --decode nor --prefill; give one of them")
    return (*decode, *prefill)


def _model_folder(source: Source, overrides: Mapping[str, int], store: Path) -> tuple[Path, bool]:
    """Returns the folder that the engine loads, with whether it holds weights; makes one for a config alone."""
    folder = Path(source.origin).parent
    if not overrides and folder.is_dir() and any(folder.glob("*.safetensors")):
        return folder.resolve(), True
    config = changed({name: value for name, value in source.config.items() if name != _QUANTISED}, overrides)
    text = json.dumps(config, sort_keys=True)
    made = store / "models" / f"{source.name}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
    made.mkdir(parents=True, exist_ok=True)
    (made / "config.json").write_text(text)
    return made, False


def _adapters(options: ServeOptions, store: Path) -> tuple[str, ...]:
    """Returns the folders of the adapters, which were given or are made."""
    if options.lora_paths:
        return tuple(str(path.resolve()) for path in options.lora_paths)
    overrides = options.overrides or {}
    source, shape = find(options.model), look_up(options.model, overrides)
    if shape.unknown is not None:
        raise InputError(f"{shape.unknown}; no random adapter can be made for it: give real ones with --lora-path")
    fields = Fields(source.origin, {**language_model(source.config), **overrides})
    with_experts = expert_layers(fields) if shape.experts else []
    return tuple(str(_made(shape, with_experts, options.rank, seed, store)) for seed in range(options.adapters))


def _made(shape: ModelShape, with_experts: Sequence[int], rank: int, seed: int, store: Path) -> Path:
    about = hashlib.sha256(repr((shape, with_experts, rank, seed)).encode()).hexdigest()[:12]
    folder = store / "adapters" / f"{shape.name}-r{rank}-{seed}-{about}"
    # The config is written last: a folder that has one is whole.
    if not (folder / "adapter_config.json").exists():
        random_adapter.write(folder, shape, with_experts, rank, seed)
    return folder


def parse_prefill(text: str) -> tuple[int, int]:
    """Reads requests and tokens of each from ``8x1024``.

    Raises:
        InputError: If it is not spelled so.
    """
    requests, _, tokens = text.partition("x")
    if not (requests.isdecimal() and tokens.isdecimal() and int(requests) and int(tokens)):
        raise InputError(f"--prefill: got {text!r}, allowed: REQUESTSxTOKENS, e.g. 8x1024")
    return int(requests), int(tokens)


def parse_variants(texts: Iterable[str]) -> tuple[Variant, ...]:
    """Reads the further variants of a run.

    Raises:
        InputError: If one is not spelled as such, or two have one name.
    """
    found: Sequence[Variant] = [variants.parse(text) for text in texts]
    if twice := [each.name for i, each in enumerate(found) if each.name in {other.name for other in found[:i]}]:
        raise InputError(f"--variant: got {twice[0]} twice; give each a name of its own")
    return tuple(found)
