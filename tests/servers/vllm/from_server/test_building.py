"""The stand-in for the configuration class of a model's own repository."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

from autotune.servers.vllm.from_server.answer import Job
from autotune.servers.vllm.from_server.building import _remote_config, _switched_on


class Base:
    model_type = ""

    def __init__(self, **fields: Any) -> None:
        self.__dict__.update(fields)


class Qwen2(Base):
    model_type = "qwen2"


def test_parts_of_a_model_type_are_objects_of_its_class_or_of_a_plain_one() -> None:
    config = {
        "llm_config": {"model_type": "qwen2", "width": 1},
        "vision_config": {"model_type": "own"},
        "rope": {"a": 1},
    }
    made = _remote_config(Base, {"qwen2": Qwen2}, "internvl_chat", config)(**config)
    assert made.llm_config.width == 1
    assert type(made.llm_config) is Qwen2
    assert type(made.vision_config) is Base
    assert made.rope == {"a": 1}


def test_parts_without_a_model_type_are_looked_into_either_way() -> None:
    config = {"block_configs": [{"attention": {"no_op": True}}], "vision_config": {"depth": 2}}
    made = _remote_config(Base, {}, "own", config)(**config)
    assert made.block_configs[0].attention.no_op is made.block_configs[0]["attention"]["no_op"] is True
    assert made.vision_config.depth == 2
    assert getattr(made.vision_config, "width", None) is None


def test_a_part_is_of_the_class_that_its_types_class_has_for_it() -> None:
    class Vision(Base):
        model_type = "siglip_vision_model"

    class Siglip(Base):
        sub_configs: ClassVar = {"vision_config": Vision}

    config = {"vision_config": {"model_type": "siglip"}, "other_config": {"model_type": "siglip"}}
    made = _remote_config(Base, {"siglip": Siglip}, "own", config)(**config)
    assert (type(made.vision_config), type(made.other_config)) == (Vision, Siglip)


def test_what_configuration_classes_have_beside_the_file_is_there() -> None:
    made = _remote_config(Base, {}, "own", {})
    assert made().tie_word_embeddings is False
    assert made(tie_word_embeddings=True).tie_word_embeddings is True
    assert _remote_config(Base, {}, "own", {"num_layers": 3}).attribute_map == {"num_hidden_layers": "num_layers"}


def test_a_release_is_asked_for_no_switch_that_is_off() -> None:
    job = Job({}, 1, 16, False, False, None)
    assert _switched_on(job) == {}
    assert _switched_on(replace(job, moe_shared_loras=True)) == {"enable_moe_shared_loras": True}
