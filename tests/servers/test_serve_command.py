"""The commands that start a server: what is read of them, what is ignored, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune import servers
from autotune.cli.flags.table import FLAGS
from autotune.errors import InputError


def said(text: str) -> dict[str, object]:
    return {name: value for name, (value, _) in servers.read_serve_command(text).said.items()}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("vllm serve M", {"model": "M"}),
        ("/opt/bin/vllm serve --model=M -tp 2", {"model": "M", "tp": 2}),
        ("A=1 nice vllm serve M --max_lora_rank 32", {"model": "M", "lora_rank": 32}),
        ("python3 -m vllm.entrypoints.openai.api_server --model M", {"model": "M"}),
        ("vllm serve --enable-lora M", {"model": "M"}),
        (
            "vllm serve M --enable-expert-parallel --no-fully-sharded-loras",
            {"model": "M", "ep": True, "fully_sharded": False},
        ),
        ("vllm serve M \\\n --max-loras 2 --max-loras 4", {"model": "M", "max_loras": 4}),
        ("vllm serve M --max-num-batched-tokens 8K", {"model": "M", "max_num_batched_tokens": 8192}),
        ("vllm serve M --max-num-batched-tokens 2.5k", {"model": "M", "max_num_batched_tokens": 2500}),
        (
            "vllm serve M --lora-target-modules o_proj q_proj --port 1",
            {"model": "M", "target_modules": "o_proj,q_proj"},
        ),
        ("vllm serve M --dtype half --lora-dtype auto", {"model": "M", "dtype": "float16"}),
        ("vllm serve M --dtype half --lora-dtype bfloat16", {"model": "M", "dtype": "bfloat16"}),
        (
            'vllm serve M -cc \'{"cudagraph_mode": "none", "max_cudagraph_capture_size": 64}\'',
            {"model": "M", "enforce_eager": True, "max_cudagraph_capture_size": 64},
        ),
        ('vllm serve M -cc \'{"cudagraph_mode": "PIECEWISE"}\'', {"model": "M"}),
        ("vllm serve -cc.cudagraph_capture_sizes 1,8 M", {"model": "M", "cudagraph_capture_sizes": (1, 8)}),
        ("vllm serve --enforce-eager M", {"model": "M", "enforce_eager": True}),
        ("vllm serve M --tensor-parallel 2 --max-lora-r=32", {"model": "M", "tp": 2, "lora_rank": 32}),
        ("vllm serve M --max-num 2", {"model": "M"}),
        (
            "vllm serve M --hf-overrides "
            '\'{"num_hidden_layers": 4, "n_routed_experts": 8, "intermediate_size": 64, "rope_theta": 1e6}\'',
            {"model": "M", "overrides": ("num_hidden_layers=4", "num_experts=8", "intermediate_size=64")},
        ),
        ("vllm serve M --hf-overrides '{}'", {"model": "M"}),
        (
            "sglang serve --model M --json-model-override-args '{\"num_hidden_layers\": 4}'",
            {"model": "M", "overrides": ("num_hidden_layers=4",)},
        ),
        (
            'vllm serve M --speculative-config \'{"method": "ngram", "num_speculative_tokens": 3}\'',
            {"model": "M", "num_speculative_tokens": 3},
        ),
        ("vllm serve M --speculative-config.num_speculative_tokens 2", {"model": "M", "num_speculative_tokens": 2}),
        ("vllm serve M --speculative_config.num_speculative_tokens=1k", {"model": "M", "num_speculative_tokens": 1000}),
        ("vllm serve M --hf-overrides.num_hidden_layers 4", {"model": "M", "overrides": ("num_hidden_layers=4",)}),
        (
            "vllm serve M -cc.cudagraph_capture_sizes+=1 -cc.cudagraph_capture_sizes+ 8,4",
            {"model": "M", "cudagraph_capture_sizes": (1, 4, 8)},
        ),
        (
            "vllm serve M -cc.max_cudagraph_capture_size 8 -cc '{\"cudagraph_capture_sizes\": [4]}'",
            {"model": "M", "max_cudagraph_capture_size": 8},
        ),
        ("vllm serve M --limit-mm-per-prompt.image 2 -cc.a.b 1", {"model": "M"}),
        ("vllm serve M -ep", {"model": "M", "ep": True}),
        ("vllm serve M -ep --disable-expert-parallel", {"model": "M", "ep": False}),
        (
            "vllm serve M --performance-mode throughput --max-num-seqs 7",
            {"model": "M", "max_num_seqs": 7, "max_num_batched_tokens": 16384},
        ),
        ("vllm serve M --performance-mode balanced --model-impl auto", {"model": "M"}),
        ("VLLM_LORA_ENABLE_DUAL_STREAM=1 vllm serve M", {"model": "M", "dual_stream": True}),
        ("vllm serve M > log 2>&1", {"model": "M"}),
        ("""vllm serve M --compilation-config '{"a": [1, 2]}' -tp 4""", {"model": "M", "tp": 4}),
        ("python -m sglang.launch_server --model-path M --tp 2", {"model": "M", "tp": 2}),
        (
            "python -m sglang.launch_server --disable-shared-experts-fusion --model-path M",
            {"model": "M", "disable_shared_experts_fusion": True},
        ),
        ("sglang serve --model-path M --max-loras-per-batch 4", {"model": "M", "max_loras": 4}),
        ("sglang serve --model M --lora-target-modules all", {"model": "M", "target_modules": "all"}),
        (
            "sglang serve --model M --max-lora-chunk-size 64",
            {"model": "M", "max_lora_chunk_size": 64},
        ),
    ],
)
def test_what_a_command_says(text: str, expected: dict[str, object]) -> None:
    assert said(text) == expected


def test_what_it_does_not_say_is_the_servers_default_and_the_rest_is_named() -> None:
    read = servers.read_serve_command("vllm serve M --max-loras 4 --port 8000 --api-key=x --enable-lora")
    assert read.server == "vllm"
    assert read.defaults == {"lora_rank": 16}
    assert read.ignored == ("--port", "--api-key", "--enable-lora")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", ["starts no server", "vllm serve"]),
        ("trtllm-serve M", ["starts no server"]),
        ("vllm serve 'M", ["cannot be read", "quote"]),
        ("vllm serve M -tp", ["-tp", "no value"]),
        ("vllm serve M --max-loras --port 1", ["--max-loras", "no value"]),
        ("vllm serve M --max-loras=", ["--max-loras", "no value"]),
        ("vllm serve M --max-lora-rank sixteen", ["--max-lora-rank", "sixteen", "positive integer"]),
        ("vllm serve M --max-num-seqs 0", ["--max-num-seqs", "'0'", "positive integer"]),
        ("vllm serve M --fully-sharded-loras=yes", ["--fully-sharded-loras", "'yes'", "none"]),
        ("vllm serve M N", ["'N'", "no flag"]),
        ("vllm serve M --cudagraph-capture-sizes 1 x", ["--cudagraph-capture-sizes", "1,x", "positive integers"]),
        ("vllm serve M -cc '[1]'", ["-cc", "[1]", "JSON"]),
        ("vllm serve M -cc '{\"cudagraph_capture_sizes\": 3}'", ["-cc", "JSON"]),
        ("sglang serve --model M --lora-backend triton", ["--lora-backend", "triton", "csgmv"]),
        ("vllm serve M --tp 2", ["--tp", "--tensor-parallel-size in its place"]),
        ("vllm serve M --max-loras-per-batch 2", ["--max-loras in its place"]),
        ("sglang serve --model M --enable-expert-parallel", ["--ep-size in its place"]),
        ("vllm serve M --disable-lora", ["--disable-lora", "no LoRA"]),
        ("vllm serve M --no-enable-lora", ["--no-enable-lora", "no LoRA"]),
        ("vllm serve M --lora-target-modules q_proj,v_proj", ["'q_proj,v_proj'", "one name", "blanks"]),
        ("sglang serve --model M --lora-target-modules o_proj q_proj,v_proj", ["'q_proj,v_proj'", "one name"]),
        ("vllm serve M --model-impl transformers", ["--model-impl", "'transformers'", "auto or vllm"]),
        (f"vllm serve M -cc '{'[' * 100_000}'", ["-cc", "JSON"]),
        (f"vllm serve M -cc '{'{0}' * 3000}1{'}' * 3000}'".replace("{0}", '{"a":'), ["-cc", "JSON"]),
        (f"vllm serve M --max-loras {'9' * 5000}", ["--max-loras", "999...", "positive integer"]),
        (f"vllm serve M --max-num-seqs {'9' * 400}k", ["--max-num-seqs", "positive integer"]),
        ("vllm serve M --max-num-seqs 0.0001k", ["--max-num-seqs", "positive integer"]),
        (f"vllm serve M -cc.cudagraph_capture_sizes {'9' * 5000}", ["-cc", "JSON"]),
    ],
)
def test_what_no_server_would_take_is_one_line(text: str, parts: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        servers.read_serve_command(text)
    assert str(caught.value).startswith("--serve-command: ")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300
    assert all(part in str(caught.value) for part in parts), str(caught.value)


@pytest.mark.parametrize(
    ("words", "sizes"),
    [
        ("--cudagraph-capture-sizes 1 16 8 --port 1", (1, 8, 16)),
        ("--cuda-graph-sizes=4", (4,)),
        ("""--compilation-config '{"level": 3, "cudagraph_capture_sizes": [2, 1]}'""", (1, 2)),
        ("""-cc '{"level": 3}'""", None),
    ],
)
def test_captured_sizes_are_read_wherever_they_stand(words: str, sizes: tuple[int, ...] | None) -> None:
    said = servers.read_serve_command(f"vllm serve M {words}").said
    assert said.get("cudagraph_capture_sizes", (None, ""))[0] == sizes


@given(st.text() | st.text("-c.+=ab1 ,[]{}\"'"))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        servers.read_serve_command(f"vllm serve M {text}")
    except InputError as error:
        assert str(error).startswith("--serve-command: ")


def test_every_field_is_a_flag_of_the_tool() -> None:
    for name in servers.names():
        syntax = servers.get(name).command_line.serve_syntax
        fields = {flag.field for flag in syntax.flags} | set(syntax.variables.values()) | set(syntax.defaults)
        assert fields <= set(FLAGS)


@pytest.mark.parametrize(
    "changes", ['{"architectures": ["M"]}', '{"num_hidden_layers": "4"}', "[]", "rope", '{"x": {}}']
)
def test_changes_of_the_config_that_a_plan_cannot_take_are_refused(changes: str) -> None:
    with pytest.raises(InputError, match=r"--hf-overrides: got .*num_hidden_layers.* into a copy of its config\.json"):
        servers.read_serve_command(f"vllm serve M --hf-overrides '{changes}'")
