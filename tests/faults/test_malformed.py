"""Files of anybody's, nearly sound: no traceback, no hang, and nothing written outside the folder in hand."""

from __future__ import annotations

import gzip
import json
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings

from autotune.measure.recording import RECORDED_DIR
from autotune.model.sources import PRESETS_DIR
from autotune.servers import provenance
from tests.builders.exports import KEY, SHRINK, entry
from tests.builders.malformed import json_files, safetensors, texts
from tests.builders.samples import RECORDED_MODEL
from tests.builders.time_limit import at_most

if TYPE_CHECKING:
    from tests.conftest import Cli

SHORT, LONG = 5, 60
CLOCK_S, PROCESSOR_S = 300, 10
RECORDING = "vllm_shrink_M16_K5120_N16_L4_S1.csv.gz"
PLAN = "plan small --runtime vllm --lora-rank 16 --max-loras 4 --from-tables"
EXPERTS = (
    "study create --backend replay --op-type fused_moe_lora --m-values 16 --hidden-size 512 --lora-rank 16 "
    "--num-loras 2 --moe-intermediate-size 256 --topk-ids {}"
)


@dataclass(frozen=True)
class Kind:
    """A kind of file that users hand over.

    Attributes:
        path: Where it stands.
        content: Draws what it holds.
        commands: What reads it.
    """

    path: str
    content: st.SearchStrategy[bytes]
    commands: tuple[str, ...]


def nested(*levels: str) -> dict[str, Any]:
    found: dict[str, Any] = dict(entry())
    for level in reversed(levels):
        found = {level: found}
    return found


SIDE_CAR = {
    "schema_version": provenance.SCHEMA_VERSION,
    "entries": [
        {
            "file": SHRINK,
            "key": list(KEY),
            "kind": kind,
            "study": "s",
            "config": dict(entry()),
            "replaced": None,
            "provenance": {
                "source": "builtin",
                "shards": [1],
                "dropped": {"kind": "own", "taken": list(KEY), "config": dict(entry())},
            },
        }
        for kind in ("own", "dropped")
    ],
}
SGLANG = {"16": {"BLOCK_N": 64, "BLOCK_K": 64, "num_warps": 4, "num_stages": 2}}
SGLANG_FILE = "tuned/csgmv_configs/triton_3_6_0/csgmv_shrink_K=1024,R=64,S=3,device=NVIDIA_H200.json"
WEIGHTS = {
    name: {"dtype": "F16", "shape": shape, "data_offsets": [index * 2048, index * 2048 + 2048]}
    for index, (name, shape) in enumerate({"q_proj.lora_A.weight": [16, 64], "q_proj.lora_B.weight": [64, 16]}.items())
}
LOOKUP = "config lookup tuned --runtime vllm --op shrink --max-loras 4 --num-slices 1 --m 16 --k 5120 --n 16"
READERS = ("config check tuned --runtime vllm", "study export --dir tuned", "config diff tuned other")
REPLAYS = (
    "study create --backend replay --recorded recorded --tag x --skip-if-exists {shrink}",
    "study run --recorded recorded --trials 3 --sampler random *",
)
KINDS = {
    "vLLM's file": Kind(f"tuned/{SHRINK}", json_files(nested(*KEY)), (*READERS, LOOKUP)),
    "vLLM's MoE file": Kind(
        "tuned/NVIDIA_H200_FUSED_MOE_LORA_W13_SHRINK.json",
        json_files(nested("4", "2", "16", "5120", "16", "768")),
        READERS,
    ),
    "SGLang's file": Kind(SGLANG_FILE, json_files(SGLANG), ("config check tuned --runtime sglang",)),
    "side-car": Kind(f"tuned/{provenance.FILE_NAME}", json_files(SIDE_CAR), READERS),
    "model": Kind("small/config.json", json_files(RECORDED_MODEL), (PLAN,)),
    "adapter": Kind(
        "adapter/adapter_config.json",
        json_files({"peft_type": "LORA", "r": 16, "lora_alpha": 16, "target_modules": ["q_proj"], "bias": "none"}),
        (f"{PLAN.replace('--lora-rank 16 ', '')} --lora-path adapter",),
    ),
    "adapter's weights": Kind(
        "adapter/adapter_model.safetensors",
        safetensors(WEIGHTS, 2 * 2 * 16 * 64),
        (f"{PLAN.replace('--lora-rank 16 ', '')} --lora-path adapter/adapter_model.safetensors",),
    ),
    "model as a preset": Kind(
        "small/preset.toml",
        texts((PRESETS_DIR / "Qwen3-8B.toml").read_text()),
        ("plan small/preset.toml --runtime vllm --lora-rank 16 --max-loras 4 --from-tables",),
    ),
    "plug-in's file": Kind(
        f"tuned/autotune/{SHRINK}", json_files(nested(*KEY)), ("config check tuned --runtime vllm", LOOKUP)
    ),
    "traffic": Kind("traffic.json", json_files({"16": 0.7, "512": 0.3}), (f"{PLAN} --traffic traffic.json",)),
    "traffic as CSV": Kind("traffic.csv", texts("m,weight\n16,0.7\n512,0.3\n"), (f"{PLAN} --traffic traffic.csv",)),
    "routing": Kind("ids.json", json_files([[0, 1], [2, 3]]), (EXPERTS.format("ids.json"),)),
    "routing as text": Kind("ids.txt", texts("0,1\n2 3\n# note\n"), (EXPERTS.format("ids.txt"),)),
    "machine of recordings": Kind(
        "recorded/machine.toml",
        texts((RECORDED_DIR / "machine.toml").read_text()),
        REPLAYS,
    ),
    "recording": Kind(
        f"recorded/{RECORDING}",
        texts(gzip.decompress((RECORDED_DIR / RECORDING).read_bytes()).decode()).map(gzip.compress),
        REPLAYS,
    ),
}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("count", [SHORT, pytest.param(LONG, marks=pytest.mark.long)])
def test_a_file_of_anybodys_is_read_or_refused(finished: Cli, kind: Kind, count: int) -> None:
    outside = before(finished)

    @settings(
        max_examples=count, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
    )
    @given(kind.content)
    def handed_over(content: bytes) -> None:
        for command in kind.commands:
            lay_out(finished, kind.path, content)
            with at_most(CLOCK_S, PROCESSOR_S):
                # It lets through what nobody has caught.
                done = finished(command.format(shrink=finished.SHRINK))
            assert done.exit_code in (0, 1, 2)
            assert not any(escape in done.output for escape in ("\x1b[2J", "\x1b]0;"))
            if done.exit_code == 2:
                assert done.stderr.splitlines()[-1].startswith("Error: ")
        assert before(finished) == outside

    handed_over()


def before(cli: Cli) -> set[str]:
    """Returns what stands beside the folders that commands may write into."""
    mine = {"tuned", "other", "small", "adapter", "recorded", "cache"}
    beside = {path.name for path in cli.folder.parent.iterdir()}
    return beside | {path.name for path in cli.folder.iterdir() if path.is_dir()} - mine


def lay_out(cli: Cli, path: str, content: bytes) -> None:
    """Makes every folder anew, with sound files, and the one in hand."""
    for folder in ("tuned", "other", "small", "adapter", "recorded"):
        shutil.rmtree(cli.folder / folder, ignore_errors=True)
        (cli.folder / folder).mkdir()
    (cli.folder / "other" / SHRINK).write_text(json.dumps(nested(*KEY)))
    (cli.folder / "small/config.json").write_text(json.dumps(RECORDED_MODEL))
    for name in ("machine.toml", RECORDING):
        shutil.copy(RECORDED_DIR / name, cli.folder / "recorded")
    (cli.folder / path).parent.mkdir(parents=True, exist_ok=True)
    (cli.folder / path).write_bytes(content)
