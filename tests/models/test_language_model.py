from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import CONFIG_MAPPING, AutoModelForCausalLM

import ngrpo.models.lora
from ngrpo.config import LoraSettings, ModelSettings
from ngrpo.errors import ConfigError, MissingDependencyError
from ngrpo.models import LanguageModel, load_language_model

TOKENS = torch.tensor([[5, 6, 7, 8, 9], [20, 30, 40, 50, 60]])
TINY = {"vocab_size": 300, "bos_token_id": None, "eos_token_id": 2}
GPT2 = {**TINY, "n_embd": 16, "n_layer": 2, "n_head": 4, "n_positions": 64}
LLAMA = {
    **TINY,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}


def load(folder: Path | str, *, for_training: bool = False, **settings: Any) -> LanguageModel:
    return load_language_model(
        ModelSettings(**{"path": str(folder), "device": "cpu", **settings}), for_training=for_training
    )


def logits(lm: LanguageModel) -> Tensor:
    with torch.no_grad(), lm.autocast():
        return lm.model(input_ids=TOKENS).logits.float()  # type: ignore[no-any-return]


@pytest.fixture
def make_folder(tiny_model_folder: Path, tmp_path: Path) -> Callable[..., Path]:
    """Writes a random model of a family, with the tiny model's tokenizer."""

    def make(family: str, shape: dict[str, Any]) -> Path:
        torch.manual_seed(0)
        folder = tmp_path / family
        AutoModelForCausalLM.from_config(CONFIG_MAPPING[family](**shape)).save_pretrained(folder)
        for name in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(tiny_model_folder / name, folder)
        return folder

    return make


@pytest.fixture
def folder(tiny_model_folder: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model that a test may spoil."""
    return Path(shutil.copytree(tiny_model_folder, tmp_path / "spoilt"))


# ---------------------------------------------------------------- precision


@pytest.mark.parametrize(
    ("dtype", "for_training", "stored", "computing"),
    [
        ("auto", True, torch.float32, torch.float32),
        ("auto", False, torch.float32, torch.float32),
        ("float32", True, torch.float32, torch.float32),
        ("bfloat16", True, torch.float32, torch.bfloat16),
        ("bfloat16", False, torch.bfloat16, torch.bfloat16),
    ],
)
def test_trained_weights_are_float32(
    tiny_model_folder: Path, dtype: str, for_training: bool, stored: torch.dtype, computing: torch.dtype
) -> None:
    lm = load(tiny_model_folder, dtype=dtype, for_training=for_training)
    assert {parameter.dtype for parameter in lm.model.parameters()} == {stored}
    assert lm.dtype == computing
    assert not lm.model.training
    with lm.autocast():
        assert lm.model(input_ids=TOKENS).logits.dtype == computing


def test_half_precision_is_near_the_full_one(tiny_model_folder: Path) -> None:
    full = logits(load(tiny_model_folder))
    for for_training in (True, False):
        half = logits(load(tiny_model_folder, dtype="bfloat16", for_training=for_training))
        assert 0.0 < (half - full).abs().max() < 0.1 * full.abs().max()


def test_all_weights_are_trained_without_adapters(tiny_model_folder: Path) -> None:
    lm = load(tiny_model_folder, for_training=True)
    assert dict(lm.trained_parameters()).keys() == dict(lm.model.named_parameters()).keys()


# ---------------------------------------------------------------- dropout, checkpointing


@pytest.mark.parametrize(
    ("family", "shape"),
    [
        ("gpt2", {**GPT2, "attn_pdrop": 0.5, "resid_pdrop": 0.5, "embd_pdrop": 0.5}),
        ("llama", {**LLAMA, "attention_dropout": 0.5}),
        ("opt", {**LLAMA, "ffn_dim": 24, "word_embed_proj_dim": 16, "dropout": 0.5, "layerdrop": 0.5}),
        ("mixtral", {**LLAMA, "num_local_experts": 4, "router_jitter_noise": 0.5}),
    ],
)
def test_nothing_is_random_in_training_mode(
    make_folder: Callable[..., Path], family: str, shape: dict[str, Any]
) -> None:
    lm = load(make_folder(family, shape), for_training=True)
    plain = logits(lm)
    lm.model.train()
    for _ in range(3):
        assert torch.equal(logits(lm), plain)


@pytest.mark.parametrize("lora", [None, LoraSettings(rank=2)])
def test_gradient_checkpointing_changes_no_gradient(tiny_model_folder: Path, lora: LoraSettings | None) -> None:
    gradients = []
    for checkpointing in (False, True):
        lm = load(tiny_model_folder, for_training=True, gradient_checkpointing=checkpointing, lora=lora)
        assert lm.model.training == checkpointing
        calls = count_calls(lm.plain.model.layers[0].mlp)
        lm.head(lm.hidden_states(TOKENS)).log_softmax(-1)[..., 3].sum().backward()
        assert len(calls) == 1 + checkpointing
        gradients.append({name: parameter.grad for name, parameter in lm.trained_parameters()})
    assert gradients[0].keys() == gradients[1].keys()
    assert any(gradient.abs().max() > 0.1 for gradient in gradients[0].values())
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient)


def count_calls(module: Any) -> list[None]:
    calls: list[None] = []
    module.register_forward_pre_hook(lambda *_: calls.append(None))
    return calls


def test_checkpointing_where_a_family_has_none_is_one_line(
    tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import Qwen2PreTrainedModel

    monkeypatch.setattr(Qwen2PreTrainedModel, "supports_gradient_checkpointing", False)
    with pytest.raises(ConfigError, match=r"^\[model\] gradient_checkpointing: Qwen2.* does not support .*$"):
        load(tiny_model_folder, for_training=True, gradient_checkpointing=True)


# ---------------------------------------------------------------- adapters


def change_adapters(lm: LanguageModel) -> None:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for _, parameter in lm.trained_parameters():
            parameter.normal_(0.0, 0.2, generator=generator)


def test_only_adapters_are_trained_and_they_start_at_nothing(tiny_model_folder: Path) -> None:
    base = load(tiny_model_folder, dtype="bfloat16")
    lm = load(tiny_model_folder, for_training=True, dtype="bfloat16", lora=LoraSettings(rank=2))
    trained = dict(lm.trained_parameters())
    assert len(trained) == 2 * 2 * 7  # A and B, in two layers, for seven linear maps; none for the head
    assert all("lora_" in name for name in trained)
    assert {parameter.dtype for parameter in trained.values()} == {torch.float32}
    assert {p.dtype for n, p in lm.model.named_parameters() if n not in trained} == {torch.bfloat16}
    torch.testing.assert_close(logits(lm), logits(base))


def test_starting_weights_are_those_before_training(tiny_model_folder: Path) -> None:
    lm = load(tiny_model_folder, for_training=True, lora=LoraSettings(rank=2))
    before = logits(lm)
    change_adapters(lm)
    changed = logits(lm)
    assert (changed - before).abs().max() > 0.1
    with lm.starting_weights():
        assert torch.equal(logits(lm), before)
    assert torch.equal(logits(lm), changed)


def test_adapters_start_at_the_same_numbers_in_every_run(tiny_model_folder: Path) -> None:
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = load(tiny_model_folder, for_training=True, lora=LoraSettings(rank=2))
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    second = load(tiny_model_folder, for_training=True, lora=LoraSettings(rank=2))
    for (_, a), (_, b) in zip(first.trained_parameters(), second.trained_parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_saved_adapter_loads_as_its_merged_model(tiny_model_folder: Path, tmp_path: Path) -> None:
    lm = load(tiny_model_folder, for_training=True, lora=LoraSettings(rank=2))
    change_adapters(lm)
    lm.model.save_pretrained(tmp_path / "adapter")
    lm.tokenizer.save_pretrained(tmp_path / "adapter")
    for for_training in (False, True):
        merged = load(tmp_path / "adapter", for_training=for_training)
        assert len(dict(merged.trained_parameters())) == len(list(merged.model.parameters()))
        torch.testing.assert_close(logits(merged), logits(lm), atol=1e-4, rtol=1e-4)
    assert load(tmp_path / "adapter", dtype="bfloat16").model.dtype == torch.bfloat16


@pytest.mark.filterwarnings("ignore:Could not find a config file")  # peft's, when the base is an adapter's folder
def test_an_adapter_on_top_of_an_adapter_keeps_both(tiny_model_folder: Path, tmp_path: Path) -> None:
    source = tiny_model_folder
    for name in ("first", "second"):
        lm = load(source, for_training=True, lora=LoraSettings(rank=2))
        change_adapters(lm)
        source = tmp_path / name
        lm.model.save_pretrained(source)
        lm.tokenizer.save_pretrained(source)
    torch.testing.assert_close(logits(load(source)), logits(lm), atol=1e-4, rtol=1e-4)


def test_adapters_where_there_is_no_such_layer_or_no_peft(
    tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match=r"^\[model.lora\] Target modules .*nope.* not found .*$"):
        load(tiny_model_folder, for_training=True, lora=LoraSettings(target_modules=("nope",)))
    monkeypatch.setattr(ngrpo.models.lora, "find_spec", lambda _: None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'ngrpo\[peft\]'$"):
        load(tiny_model_folder, for_training=True, lora=LoraSettings())
    assert not hasattr(load(tiny_model_folder, lora=LoraSettings()).model, "peft_config")


# ---------------------------------------------------------------- hidden states and head


@pytest.mark.parametrize(
    ("family", "shape"),
    [
        ("gpt2", GPT2),
        ("llama", LLAMA),
        ("gemma2", {**LLAMA, "head_dim": 4, "final_logit_softcapping": 0.1}),
        ("cohere", {**LLAMA, "logit_scale": 0.25}),
        ("granite", {**LLAMA, "logits_scaling": 4.0}),
    ],
)
def test_head_of_hidden_states_is_the_models_own_pass(
    make_folder: Callable[..., Path], family: str, shape: dict[str, Any]
) -> None:
    for for_training, dtype in [(True, "float32"), (True, "bfloat16"), (False, "bfloat16")]:
        lm = load(make_folder(family, shape), for_training=for_training, dtype=dtype)
        with torch.no_grad(), lm.autocast():
            ours = lm.head(lm.hidden_states(TOKENS)).float()
        torch.testing.assert_close(ours, logits(lm), atol=2e-3 if dtype == "bfloat16" else 1e-6, rtol=1e-2)


def test_hidden_states_of_padded_rows_are_those_of_the_rows_alone(tiny_model_folder: Path) -> None:
    lm = load(tiny_model_folder)
    padded = TOKENS.clone()
    padded[0, 3:] = 0
    torch.testing.assert_close(lm.hidden_states(padded)[0, :3], lm.hidden_states(TOKENS[:1, :3])[0])


@pytest.mark.parametrize("change", [lambda out: out * 1.01, lambda out: out + 0.01 * out.abs().mean(), torch.tanh])
def test_logits_processed_in_an_unknown_way_are_refused(
    tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Tensor], Tensor]
) -> None:
    from transformers import Qwen2ForCausalLM

    forward = Qwen2ForCausalLM.forward

    def changed(self: Any, *args: Any, **kwargs: Any) -> Any:
        out = forward(self, *args, **kwargs)
        out.logits = change(out.logits)
        return out

    load(tiny_model_folder)
    monkeypatch.setattr(Qwen2ForCausalLM, "forward", changed)
    with pytest.raises(ConfigError, match=r"^models of type 'qwen2' are not supported: their logits are not those .*$"):
        load(tiny_model_folder)


def test_a_family_of_another_structure_is_refused(make_folder: Callable[..., Path]) -> None:
    shape = {**LLAMA, "intermediate_size_mlp": 24, "num_local_experts": 2, "head_dim": 4}
    with pytest.raises(ConfigError, match=r"^models of type 'llama4_text' are not supported: AttributeError: .*$"):
        load(make_folder("llama4_text", shape))


def test_stop_tokens_come_from_all_three_places(folder: Path) -> None:
    end, stop = 0, 2  # <|endoftext|> and <|im_end|>
    assert load(folder).stop_tokens == {stop}
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [7, end]}))
    edit_config(folder, eos_token_id=9)
    assert load(folder).stop_tokens == {7, end, 9, stop}


def test_positions_end_where_a_table_does(make_folder: Callable[..., Path]) -> None:
    assert load(make_folder("gpt2", GPT2)).max_positions == 64
    assert load(make_folder("llama", {**LLAMA, "max_position_embeddings": 64})).max_positions is None


# ---------------------------------------------------------------- errors


def edit_config(folder: Path, **values: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **values}))


def edit_weights(folder: Path, change: Callable[[dict[str, Tensor]], Any]) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def truncate(folder: Path) -> None:
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[: len(data) // 2])


def remove_tokenizer(folder: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()


NORM = "model.norm.weight"
SPOILT: dict[str, tuple[Callable[[Path], Any], str]] = {
    "truncated weights": (truncate, "cannot be loaded: Error while deserializing"),
    "empty weights": (lambda f: (f / "model.safetensors").write_bytes(b""), "cannot be loaded"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "cannot be loaded: .* no file named"),
    "a weight is missing": (
        lambda f: edit_weights(f, lambda tensors: tensors.pop(NORM)),
        f"1 of its weights are missing or of another shape, such as '{NORM}'",
    ),
    "weights of another shape": (
        lambda f: edit_weights(f, lambda tensors: tensors.update({NORM: torch.ones(31)})),
        f"1 of its weights are missing or of another shape, such as '{NORM}'",
    ),
    "broken weights": (
        lambda f: edit_weights(f, lambda tensors: tensors.update({NORM: torch.full((32,), torch.nan)})),
        "its logits are not finite",
    ),
    "torn config": (lambda f: (f / "config.json").write_text("{oops"), "not a valid JSON file"),
    "config is a list": (lambda f: (f / "config.json").write_text("[1]"), "cannot be loaded: TypeError: "),
    "empty config": (lambda f: (f / "config.json").write_text("{}"), "should have a `model_type`"),
    "unknown family": (lambda f: edit_config(f, model_type="nope"), "model type `nope`"),
    "no language model": (lambda f: edit_config(f, model_type="t5"), "Unrecognized configuration class"),
    "wrong type": (lambda f: edit_config(f, hidden_size="many"), "'hidden_size' expected int, got str"),
    "impossible shape": (lambda f: edit_config(f, num_attention_heads=0), "cannot be loaded"),
    "unknown activation": (lambda f: edit_config(f, hidden_act="nope"), "KeyError: 'nope'"),
    "code of its own": (
        lambda f: edit_config(f, model_type="nope", auto_map={"AutoConfig": "x.Y", "AutoModelForCausalLM": "x.Z"}),
        "contains custom code",
    ),
    "no tokenizer": (remove_tokenizer, "has no usable tokenizer"),
    "torn tokenizer": (lambda f: (f / "tokenizer.json").write_text("{}"), "has no tokenizer that can be loaded"),
    "adapter without base": (lambda f: (f / "adapter_config.json").write_text("{}"), "path '' does not exist"),
    "torn adapter": (lambda f: (f / "adapter_config.json").write_text("oops"), "cannot be loaded"),
}


@pytest.mark.parametrize("case", SPOILT)
def test_a_spoilt_folder_is_one_line(folder: Path, case: str) -> None:
    spoil, message = SPOILT[case]
    spoil(folder)
    with pytest.raises(ConfigError, match=f"(?i){message}") as caught:
        load(folder)
    line = str(caught.value)
    assert "\n" not in line
    assert len(line) < 500


@pytest.mark.parametrize("path", ["nobody/no-such-model", "no-such-model"])
def test_a_hub_that_is_not_reached_is_one_line(path: str) -> None:
    with pytest.raises(ConfigError, match=f"^'{path}' is neither a local folder nor a loadable Hub model: .*$"):
        load(path)


@pytest.mark.parametrize("device", ["nonsense", "", "meta", "cuda:99", "mps"])
def test_a_device_that_is_not_there_is_one_line(tiny_model_folder: Path, device: str) -> None:
    if device == "mps" and torch.backends.mps.is_available():
        pytest.skip("here it is")
    with pytest.raises(ConfigError, match=rf"^\[model\] device '{device}' cannot be used: .+$"):
        load(tiny_model_folder, device=device)


def test_a_gpu_that_is_not_there_is_one_line(tiny_model_folder: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("here is one")
    with pytest.raises(ConfigError, match=r"^\[model\] device 'cuda' cannot be used: .+$"):
        load(tiny_model_folder, device="cuda")


def test_auto_is_the_device_that_is_there(tiny_model_folder: Path) -> None:
    assert load(tiny_model_folder, device="auto").device.type == ("cuda" if torch.cuda.is_available() else "cpu")


def test_checkpoint_weights_are_those_of_a_saved_model(tiny_model_folder: Path, tmp_path: Path) -> None:
    """With adapters: those that peft writes when it merges them; the policy's own weights do not move by a bit."""
    settings = {"path": str(tiny_model_folder), "device": "cpu", "dtype": "float32"}
    plain = load_language_model(ModelSettings.parse(settings), for_training=True)
    for name, weight in plain.checkpoint_weights():
        assert torch.equal(weight, plain.model.get_parameter(name))
    adapted = load_language_model(ModelSettings.parse(settings | {"lora": {"rank": 4}}), for_training=True)
    with torch.no_grad():
        for _, parameter in adapted.trained_parameters():
            parameter.normal_(0.0, 0.1, generator=torch.Generator().manual_seed(0))
    before = {name: parameter.clone() for name, parameter in adapted.model.named_parameters()}
    ours = dict(adapted.checkpoint_weights())
    assert all(torch.equal(before[name], parameter) for name, parameter in adapted.model.named_parameters())
    merged = adapted.model.merge_and_unload()
    theirs = dict(merged.named_parameters())
    assert ours.keys() == theirs.keys()
    assert all(torch.allclose(ours[name], theirs[name], atol=1e-6) for name in ours)
    assert any(not torch.equal(ours[name], plain.model.get_parameter(name)) for name in ours)
