"""Describes how commands that start SGLang are spelled (contracts B7)."""

from __future__ import annotations

from collections.abc import Mapping

from autotune.errors import one_of
from autotune.servers.serve_command import ServeFlag, ServeSyntax, count, dtype, sizes_of_config
from autotune.servers.serve_words import Spelling
from autotune.servers.sglang import facts, lora_paths


def _csgmv(text: str) -> None:
    if text != facts.BACKEND:
        raise ValueError(f"{facts.BACKEND}, the one backend that reads the files")


def _one_attention(text: str) -> None:
    if count(text) > 1:
        raise ValueError("1, as csgmv does no DP attention")


def _whole_context(text: str) -> None:
    if count(text) > 1:
        raise ValueError("1, as a plan knows no context parallelism, which shares attention out over fewer GPUs")


def _one_replica(text: str) -> None:
    if count(text) > 1:
        raise ValueError("1, as SGLang takes more with as large an --attn-cp-size alone, which a plan does not know")


def _dense_as_all(text: str) -> None:
    raise ValueError("none, as a plan shares dense layers out over all of --tp-size")


def _targets(text: str) -> str:
    names = text.split(",")
    if facts.ALL in names and len(names) > 1:
        raise ValueError(f"{facts.ALL} alone, or names without it")
    if unknown := [name for name in names if name != facts.ALL and name not in facts.SERVE_TARGETS]:
        raise ValueError(f"no {one_of(unknown)}, but {facts.ALL}, or of {one_of(sorted(facts.SERVE_TARGETS))}")
    return text


def _own_classes(text: str) -> None:
    if text not in ("auto", "sglang"):
        raise ValueError("auto or sglang, as a plan goes by SGLang's own classes")


def _spread(text: str) -> bool | None:
    return count(text) > 1 or None


def _heard(text: str) -> None:
    """Takes a flag that says something together with others alone."""


def _contradiction(words: Mapping[str, str]) -> str | None:
    """Tells which flags the server does not take together (contracts B7)."""
    return _few_loaded(words) or _uneven_experts(words) or lora_paths.unread(words)


def _few_loaded(words: Mapping[str, str]) -> str | None:
    loaded = words.get("--max-loaded-loras")
    batch = count(words.get("--max-loras-per-batch", str(facts.DEFAULT_MAX_LORAS)))
    named = len(lora_paths.paths(words[lora_paths.FLAG])) if lora_paths.FLAG in words else 0
    if loaded is None or count(loaded) >= max(batch, named):
        return None
    least = f"--max-loras-per-batch ({batch})" if named <= batch else f"the adapters of {lora_paths.FLAG} ({named})"
    return f"got --max-loaded-loras {loaded}, allowed: at least {least}, or SGLang stops"


def _uneven_experts(words: Mapping[str, str]) -> str | None:
    """Tells why experts cannot be spread so (contracts B7); a backend of its own for that spreads them over all."""
    if words.get("--moe-a2a-backend", "none") != "none":
        return None
    tp, ep = (count(words.get(name, "1")) for name in ("--tp-size", "--ep-size"))
    if tp % ep == 0:
        return None
    return (
        f"got --ep-size {ep} and --tp-size {tp}, allowed: an --ep-size that divides --tp-size, or SGLang stops ("
        "parallel topology is inconsistent: tp_size == moe_ep_size * moe_dp_size * moe_tp_size)"
    )


SERVE_SYNTAX = ServeSyntax(
    spelling=Spelling((("-m", "sglang.launch_server"), ("sglang", "serve"))),
    flags=(
        ServeFlag(("--model-path", "--model"), "model", str),
        ServeFlag(("--json-model-override-args",), "overrides", sizes_of_config),
        ServeFlag(("--tp-size", "--tensor-parallel-size", "--tp"), "tp", count),
        ServeFlag(("--ep-size", "--expert-parallel-size", "--ep"), "ep", _spread),
        ServeFlag(("--moe-dp-size", "--moe-data-parallel-size"), "server", _one_replica),
        ServeFlag(("--moe-a2a-backend",), "server", _heard),
        ServeFlag(("--attn-dp-size", "--attention-data-parallel-size"), "server", _one_attention),
        ServeFlag(("--attn-cp-size", "--attention-context-parallel-size"), "server", _whole_context),
        ServeFlag(("--moe-dense-tp-size",), "server", _dense_as_all),
        ServeFlag(("--disable-shared-experts-fusion",), "disable_shared_experts_fusion"),
        ServeFlag(("--max-lora-rank",), "lora_rank", count),
        ServeFlag(("--max-loras-per-batch",), "max_loras", count),
        ServeFlag(("--lora-target-modules",), "target_modules", _targets, several=True, whole=True),
        ServeFlag((lora_paths.FLAG,), "lora_paths", lora_paths.folders, several=True),
        ServeFlag(("--max-loaded-loras",), "server", _heard),
        ServeFlag(("--model-impl",), "server", _own_classes),
        ServeFlag(("--max-lora-chunk-size",), "max_lora_chunk_size", count),
        ServeFlag(("--lora-backend",), "server", _csgmv),
        ServeFlag(("--dtype",), "dtype", dtype),
    ),
    switches=facts.SERVE_SWITCHES,
    defaults={"max_loras": facts.DEFAULT_MAX_LORAS},
    contradiction=_contradiction,
    refused={"--enable-dp-attention": "the csgmv backend, whose kernels read the files, does no DP attention"},
)
