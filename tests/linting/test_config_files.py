"""Every rule finds its planted fault in each kind of config to which it applies, and is silent elsewhere."""

from __future__ import annotations

import json
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ngrpo.errors import ConfigError
from ngrpo.linting import lint_file
from ngrpo.linting.config_files import READERS, RULES
from ngrpo.linting.rules_groups import LEARN_FROM_ALL_WRONG, RELATIVE
from ngrpo.linting.view_prime import DEFAULTS as PRIME_KEYS
from ngrpo.linting.view_trl import DEFAULTS as TRL_KEYS
from ngrpo.linting.view_verl import DEFAULTS as VERL_KEYS
from ngrpo.methods import METHODS, GroupMethod
from ngrpo.storage import write_json

CONFIGS = Path(__file__).parents[2] / "configs"

OURS = {"model.path": "builtin:countdown-base", "task.name": "countdown", "sampling.problems_per_step": 64}
TRL = {"num_generations": 8, "learning_rate": 1e-6}
VERL = {
    "algorithm.adv_estimator": "grpo",
    "actor_rollout_ref.rollout.n": 8,
    "actor_rollout_ref.rollout.name": "vllm",
    "data.train_batch_size": 1024,
}
PRIME = {"orchestrator.train.source.0": {"name": "math"}, "orchestrator.group_size": 8, "orchestrator.batch_size": 128}
A, R, V = "actor_rollout_ref.actor", "actor_rollout_ref.rollout", "actor_rollout_ref"

FAULTS = [
    ("filter-drops-needed-groups", "ngrpo", {"method.filter": "all"}),
    ("filter-drops-needed-groups", "ngrpo", {"method.name": "psr_nsr", "method.filter": "all_incorrect"}),
    ("filter-drops-needed-groups", "ours-in-trl", {"method": "ngrpo", "method_args": {"filter": "all"}}),
    (
        "filter-drops-needed-groups",
        "verl",
        {"algorithm.adv_estimator": "ngrpo", "algorithm.filter_groups.enable": True},
    ),
    (
        "gate-drops-mixed-groups",
        "prime-rl",
        {
            "orchestrator.train.source.0": {
                "name": "math",
                "curriculum": {"gates": {"a": {"type": "advantage_range", "reject_min": -0.3, "reject_max": 0.3}}},
            }
        },
    ),
    ("group-of-one", "trl", {"num_generations": 1}),
    ("group-of-one", "verl", {f"{R}.n": 1}),
    ("group-of-one", "prime-rl", {"orchestrator.group_size": 1}),
    ("group-of-two", "ngrpo", {"method.name": "grpo", "sampling.group_size": 2}),
    ("group-of-two", "trl", {"num_generations": 2}),
    ("group-of-two", "verl", {f"{R}.n": 2}),
    ("max-reward-too-low", "ours-in-trl", {"reward_weights": [1.0, 0.5], "method_args": {"max_reward": 1.0}}),
    ("does-not-load", "ngrpo", {"method.max_reward": 0.5}),
    ("does-not-load", "ngrpo", {"method.name": "grpo", "sampling.group_size": 1}),
    ("no-virtual-completion", "ngrpo", {"method.num_virtual": 0}),
    ("no-virtual-completion", "ours-in-trl", {"method_args": {"num_virtual": 0}}),
    ("no-virtual-completion", "verl", {"algorithm.adv_estimator": "ngrpo", "algorithm.ngrpo.num_virtual": 0}),
    ("endless-refill", "verl", {"algorithm.filter_groups.enable": True}),
    ("refill-cannot-refill", "ngrpo", {"method.max_refill_factor": 1.0}),
    ("dead-groups-in-denominator", "ngrpo", {"method.name": "grpo"}),
    ("dead-groups-in-denominator", "trl", {"loss_type": "bnpo"}),
    ("dead-groups-in-denominator", "verl", {f"{A}.loss_agg_mode": "token-mean"}),
    ("kl-on-dead-groups", "ngrpo", {"method.name": "grpo"}),
    ("kl-on-dead-groups", "trl", {"beta": 0.04}),
    ("kl-on-dead-groups", "verl", {f"{A}.use_kl_loss": True}),
    ("kl-on-zero-advantages", "prime-rl", {"orchestrator.train.filter_zero_advantages": False}),
    ("zero-std-metric-is-blind", "trl", {"scale_rewards": "batch"}),
    ("one-update-and-a-clip", "ngrpo", {"optimizer.updates_per_step": 1, "method.clip_high": 0.3}),
    ("one-update-and-a-clip", "trl", {"epsilon_high": 0.28}),
    ("one-update-and-a-clip", "verl", {f"{A}.ppo_mini_batch_size": 1024, f"{A}.clip_ratio_high": 0.28}),
    ("clip-cannot-bind", "ngrpo", {"method.clip_low": 1.0}),
    ("clip-cannot-bind", "trl", {"epsilon": 1.5}),
    ("clip-cannot-bind", "verl", {f"{A}.clip_ratio_low": 1.0}),
    ("clip-cannot-bind", "prime-rl", {"trainer.loss.dppo_mask_high": 4.0}),
    ("clip-of-unused-side", "ngrpo", {"method.name": "nsr", "method.clip_high": 0.28}),
    ("clip-of-unused-side", "verl", {"algorithm.adv_estimator": "psr", f"{A}.clip_ratio_low": 0.1}),
    ("inverted-clip", "ngrpo", {"method.clip_low": 0.3}),
    ("inverted-clip", "ours-in-trl", {"epsilon": 0.3}),
    ("inverted-clip", "verl", {"algorithm.adv_estimator": "ngrpo", f"{A}.clip_ratio_low": 0.3}),
    ("clip-ratio-ignored", "verl", {f"{A}.clip_ratio": 0.28}),
    ("dual-clip", "trl", {"delta": 1.5}),
    ("dual-clip", "verl", {f"{A}.clip_ratio_c": 3.0}),
    ("dual-clip-by-default", "verl", {}),
    ("wide-sequence-clip", "ngrpo", {"method.name": "gspo", "method.clip_high": 0.28}),
    ("wide-sequence-clip", "trl", {"importance_sampling_level": "sequence"}),
    ("wide-sequence-clip", "verl", {f"{A}.policy_loss.loss_mode": "gspo"}),
    ("narrow-cispo-cap", "trl", {"loss_type": "cispo"}),
    ("kl-weight-without-kl", "verl", {f"{A}.kl_loss_coef": 0.01}),
    ("kl-weight-without-kl", "verl", {"algorithm.kl_ctrl.kl_coef": 0.01}),
    ("estimator-without-kl", "ngrpo", {"method.kl_estimator": "k1"}),
    ("estimator-without-kl", "trl", {"sync_ref_model": True}),
    ("two-kl-terms", "ngrpo", {"method.name": "ppo", "method.kl_coefficient": 0.01}),
    ("two-kl-terms", "verl", {f"{A}.use_kl_loss": True, "algorithm.use_kl_in_reward": True}),
    ("batch-not-divisible", "ngrpo", {"sampling.problems_per_step": 63}),
    ("batch-not-divisible", "trl", {"generation_batch_size": 60}),
    ("batch-not-divisible", "verl", {f"{A}.ppo_mini_batch_size": 300}),
    ("batch-not-divisible", "prime-rl", {"orchestrator.batch_size": 100}),
    ("completions-over-gpus", "verl", {"data.train_batch_size": 100, f"{R}.n": 5, "trainer.n_gpus_per_node": 8}),
    ("mini-batch-too-large", "verl", {"data.train_batch_size": 128}),
    ("half-a-dr-grpo", "ngrpo", {"method.name": "grpo", "method.aggregate": "constant"}),
    ("half-a-dr-grpo", "trl", {"loss_type": "dr_grpo"}),
    ("half-a-dr-grpo", "verl", {f"{A}.loss_agg_mode": "seq-mean-token-sum-norm"}),
    ("length-bias", "ngrpo", {"method.aggregate": "sequence_mean"}),
    ("length-bias", "trl", {"loss_type": "grpo"}),
    ("length-bias", "verl", {f"{A}.loss_agg_mode": "seq-mean-token-mean"}),
    ("bfloat16-weights", "trl", {"model_init_kwargs": {"dtype": "bfloat16"}}),
    ("bfloat16-weights", "verl", {f"{A}.fsdp_config.model_dtype": "bf16"}),
    ("bfloat16-weights", "prime-rl", {"trainer.model.optimization_dtype": "bfloat16"}),
    ("lora-at-full-lr", "ngrpo", {"model.lora.rank": 8}),
    ("lora-at-full-lr", "trl", {"use_peft": True}),
    ("lora-at-full-lr", "verl", {f"{V}.model.lora_rank": 32}),
    ("lora-at-full-lr", "prime-rl", {"trainer.model.lora.rank": 32}),
    ("reward-columns-removed", "trl", {"remove_unused_columns": True}),
    ("former-key", "trl", {"max_prompt_length": 512}),
    ("former-key", "verl", {f"{A}.ppo_micro_batch_size": 8}),
    ("former-key", "prime-rl", {"orchestrator.rollouts_per_example": 8}),
    ("temperatures-differ", "trl", {"generation_kwargs": {"temperature": 0.6}}),
    ("temperatures-differ", "prime-rl", {"orchestrator.train.sampling.extra_body": {"temperature": 0.6}}),
    ("greedy-training", "trl", {"temperature": 0.0}),
    ("greedy-training", "verl", {f"{R}.do_sample": False}),
    ("greedy-training", "prime-rl", {"orchestrator.train.sampling.temperature": 0.0}),
    ("truncated-sampling", "trl", {"use_vllm": True, "top_p": 0.95}),
    ("truncated-sampling", "verl", {f"{R}.top_p": 0.9, "algorithm.rollout_correction.rollout_is": "token"}),
    ("truncated-sampling", "prime-rl", {"orchestrator.train.sampling.extra_body": {"top_k": 20}}),
    ("uncorrected-sampler", "ngrpo", {"sampling.sampler": "vllm"}),
    ("uncorrected-sampler", "trl", {"use_vllm": True, "vllm_importance_sampling_correction": False}),
    ("uncorrected-sampler", "verl", {"algorithm.rollout_correction.rollout_is": None}),
    ("uncorrected-by-default", "verl", {}),
    ("cap-without-effect", "ngrpo", {"sampling.importance_cap": 2.0, "sampling.old_logprobs": "sampler"}),
    ("greedy-evaluation-of-many", "ngrpo", {"evaluation.temperature": 0.0}),
    ("greedy-evaluation-of-many", "verl", {f"{R}.val_kwargs.n": 16}),
    (
        "greedy-evaluation-of-many",
        "prime-rl",
        {"orchestrator.eval.group_size": 8, "orchestrator.eval.sampling.temperature": 0.0},
    ),
    ("shorter-evaluation", "ngrpo", {"evaluation.every": 5, "evaluation.max_completion_tokens": 100}),
    ("wide-overlong-buffer", "ngrpo", {"method.name": "dapo", "method.overlong_buffer_tokens": 2000}),
    ("wide-overlong-buffer", "verl", {"reward_model.reward_kwargs.overlong_buffer_cfg.len": 400}),
    ("context-too-short", "trl", {"max_completion_length": 4096, "vllm_max_model_length": 2048}),
    ("context-too-short", "verl", {"data.max_response_length": 4096, f"{R}.max_model_len": 4096}),
    ("context-too-short", "prime-rl", {"orchestrator.train.sampling.max_completion_tokens": 4096}),
    ("budget-too-small", "verl", {f"{A}.use_dynamic_bsz": True, "data.max_response_length": 20000}),
]


def nested(flat):
    """Returns dotted keys as tables; a part `0` makes a list of one table."""
    tables = {}
    for key, value in flat.items():
        table, parts = tables, key.split(".")
        for part, following in pairwise(parts):
            if following == "0":
                tables_of = table.setdefault(part, [{}])
                table = tables_of[0]
                break
            table = table.setdefault(part, {})
        else:
            table[parts[-1]] = value
            continue
        table.update(value)
    return tables


def toml(tables, before=""):
    lines, inner = [], []
    for key, value in tables.items():
        if isinstance(value, dict):
            inner += [f"[{before}{key}]", *toml(value, f"{before}{key}.")]
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            inner += [f"[[{before}{key}]]", *toml(value[0], f"{before}{key}.")]
        else:
            lines.append(f"{key} = {json.dumps(value)}")
    return lines + inner


def planted(folder, kind, faults):
    """Yields files that hold the faults, in every form that the kind of config has."""
    if kind in {"ngrpo", "prime-rl"}:
        base = OURS if kind == "ngrpo" else PRIME
        path = folder / "c.toml"
        path.write_text("\n".join(toml(nested({**base, **faults}))))
        yield path
    elif kind in {"trl", "ours-in-trl"}:
        settings = {**TRL, **faults}
        name = "NGRPOConfig" if kind == "ours-in-trl" else "GRPOConfig"
        if kind == "trl":
            (folder / "c.yaml").write_text("".join(f"{key}: {json.dumps(value)}\n" for key, value in settings.items()))
            (folder / "c.json").write_text(json.dumps(settings, indent=2))
            yield folder / "c.yaml"
            yield folder / "c.json"
        arguments = "".join(f"    {key}={value!r},\n" for key, value in settings.items())
        (folder / "c.py").write_text(f"from trl import *\nraise SystemExit\nargs = {name}(\n{arguments})\n")
        yield folder / "c.py"
    else:
        settings = {**VERL, **faults}
        (folder / "c.yaml").write_text(json.dumps(nested(settings), indent=1))
        words = " \\\n".join(f"    {key}={'null' if v is None else v}" for key, v in settings.items())
        (folder / "c.sh").write_text(f"set -x\npython3 -m verl.trainer.main_ppo \\\n{words}\n")
        yield folder / "c.yaml"
        yield folder / "c.sh"


@pytest.mark.parametrize(("rule", "kind", "faults"), FAULTS, ids=lambda part: part if isinstance(part, str) else "")
def test_a_planted_fault_is_found(tmp_path, rule, kind, faults):
    for path in planted(tmp_path, kind, faults):
        found = [finding for finding in lint_file(path).findings if finding.rule == rule]
        assert found, path.name
        finding = found[0]
        assert finding.reason
        assert finding.source
        assert finding.fix or rule == "does-not-load"
        if finding.line:  # the line is that of the key, or of the table that holds it
            line = path.read_text().splitlines()[finding.line - 1]
            assert any(part in line for part in finding.key.split(".")), (line, finding.key)


# The fix of these replaces a line, or there is none.
REPLACED = {"does-not-load", "former-key", "clip-of-unused-side"}
REPAIRED = [part for part in FAULTS if part[1] in {"ngrpo", "verl"} and part[0] not in REPLACED]


@pytest.mark.parametrize(("rule", "kind", "faults"), REPAIRED, ids=lambda part: part if isinstance(part, str) else "")
def test_the_line_to_paste_ends_the_fault(tmp_path, rule, kind, faults):
    *_, path = planted(tmp_path, kind, faults)
    (fix, *_) = (finding.fix for finding in lint_file(path).findings if finding.rule == rule)
    if kind == "ngrpo":
        found = lint_file(path, [word for word in fix.split() if word != "--set"]).findings
    else:
        path.write_text(path.read_text().rstrip("\n") + f" \\\n    {fix}\n")
        found = lint_file(path).findings
    assert rule not in [finding.rule for finding in found], fix


@pytest.mark.parametrize(("base", "kind"), [(OURS, "ngrpo"), (TRL, "trl"), (VERL, "verl"), (PRIME, "prime-rl")])
def test_nothing_is_found_where_nothing_is_wrong(tmp_path, base, kind):
    for path in planted(tmp_path, kind, base):
        assert [f for f in lint_file(path).findings if f.level != "note"] == []


def test_every_rule_has_a_planted_fault_for_each_of_its_tools():
    planted_for = {(rule, "trl" if kind == "ours-in-trl" else kind) for rule, kind, _ in FAULTS}
    wanted = {(rule.name, tool) for rule in RULES for tool in rule.tools} - {
        ("key-twice", "trl"),
        ("key-twice", "verl"),
    }
    assert wanted - planted_for == set()
    assert len(RULES) >= 25
    assert len({rule.name for rule in RULES}) == len(RULES)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("c.sh", "algorithm.adv_estimator=gae data.seed=1 \\\n data.seed=2\n"),
        ("c.yaml", "num_generations: 8\nlearning_rate: 1e-6\nlearning_rate: 2e-6\n"),
    ],
)
def test_a_key_with_two_values(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    assert [f.rule for f in lint_file(tmp_path / name).findings if f.level != "note"] == ["key-twice"]


@pytest.mark.parametrize("path", sorted(CONFIGS.rglob("*.toml")), ids=lambda path: path.stem)
def test_the_shipped_configs_have_no_fault_but_the_one_that_is_meant(path):
    faults = [f.rule for f in lint_file(path).findings if f.level != "note"]
    # An ablation: what NGRPO loses when only mixed groups are trained on.
    assert faults == (["filter-drops-needed-groups"] if path.stem == "calibration_and_clip_mixed_only" else [])


@pytest.mark.parametrize("name", METHODS)
def test_the_tables_of_methods_are_what_the_methods_compute(name):
    kind = METHODS[name]
    if not issubclass(kind, GroupMethod):
        return
    assert (name in RELATIVE) == kind.relative
    method = kind.parse({"name": name})
    wrong = torch.zeros(1, 8)
    if kind.needs_entropies:
        advantages = method.token_advantages(wrong, torch.rand(1, 8, 3) + 0.1, torch.ones(1, 8, 3))
    else:
        advantages = method.advantages(wrong)
    assert (name in LEARN_FROM_ALL_WRONG) == bool((advantages != 0).any())


def test_a_python_file_is_not_executed(tmp_path):
    path = tmp_path / "c.py"
    path.write_text(f"open({str(tmp_path / 'made')!r}, 'w')\nG = 2\nargs = trl.GRPOConfig(num_generations=G)\n")
    assert [f.rule for f in lint_file(path).findings if f.level != "note"] == ["group-of-two"]
    assert not (tmp_path / "made").exists()


def test_what_a_file_does_not_show_is_not_judged(tmp_path):
    (tmp_path / "c.py").write_text("args = GRPOConfig(num_generations=size(), epsilon=eps, **more)\n")
    assert lint_file(tmp_path / "c.py").findings == []
    (tmp_path / "c.sh").write_text(
        "n=$(compute)\npython -m x algorithm.adv_estimator=grpo actor_rollout_ref.rollout.n=$n\n"
    )
    assert [f.rule for f in lint_file(tmp_path / "c.sh").findings if f.level != "note"] == []


def test_variables_of_a_script_count(tmp_path):
    text = (
        "n=1\nkind=${kind:-grpo}\npython \\\n  algorithm.adv_estimator=${kind} \\\n  actor_rollout_ref.rollout.n=${n}\n"
    )
    (tmp_path / "c.sh").write_text(text)
    (finding,) = (f for f in lint_file(tmp_path / "c.sh").findings if f.level != "note")
    assert (finding.rule, finding.line) == ("group-of-one", 5)


def test_the_config_of_a_run(tmp_path):
    tables = nested({**OURS, "method.name": "ngrpo", "method.filter": "all"})
    write_json(tmp_path / "config.json", {"config": tables, "seed": 0})
    (finding,) = (f for f in lint_file(tmp_path / "config.json").findings if f.level != "note")
    assert finding.key == "method.filter"
    assert finding.line > 0


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("c.toml", b"[method\n", "not valid TOML"),
        ("c.yaml", b"a: [1\n", "not valid YAML"),
        ("c.yaml", b"- 1\n", "expected a table"),
        ("c.yaml", b"name: x\n", "no setting of TRL"),
        ("c.json", b"[1]", "a config is a table"),
        ("c.json", b"{", "not valid JSON"),
        ("c.py", b"x = 1\n", "no call of GRPOConfig"),
        ("c.py", b"def\n", "not valid Python"),
        ("c.sh", b"echo hello\n", "no overrides of verl"),
        ("c.ini", b"", "unknown ending"),
        ("c.toml", b"\xff\xfe", "not UTF-8"),
    ],
)
def test_what_is_no_config_is_one_line(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError, match=said):
        lint_file(tmp_path / name)


KEYS = [key for table in (TRL_KEYS, VERL_KEYS, PRIME_KEYS) for key, _ in table.values()]
VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 2000), st.floats(), st.text(max_size=4), st.just([1]), st.just({"a": 1})
)


@settings(max_examples=60)
@given(st.dictionaries(st.sampled_from([*KEYS, "method_args", "generation_kwargs"]), VALUES, max_size=8))
@example({"trainer.n_gpus_per_node": 0.5})
def test_any_value_is_checked_or_refused(tmp_path_factory, values):
    folder = tmp_path_factory.mktemp("any")
    (folder / "c.json").write_text(json.dumps(nested({key: value for key, value in values.items() if value != {}})))
    (folder / "c.py").write_text(f"GRPOConfig(**{{}}, num_generations={values.get('num_generations')!r})\n")
    words = " ".join(f"{key}={value}" for key, value in values.items() if "." in key)
    (folder / "c.sh").write_text(f"algorithm.adv_estimator=grpo {words}\n")
    for path in folder.iterdir():
        with suppress(ConfigError):
            lint_file(path)


@settings(max_examples=60)
@given(st.text(alphabet="ab.=:[]{}()'\"&*$ \n\t-#1", max_size=40), st.sampled_from(sorted(READERS)))
def test_any_text_is_a_config_or_refused(tmp_path_factory, text, suffix):
    path = tmp_path_factory.mktemp("text") / f"c{suffix}"
    path.write_text(text)
    with suppress(ConfigError):
        lint_file(path)


BOMB = "x0: &x0 {a: 1}\n" + "".join(f"x{i}: &x{i} {{a: *x{i - 1}, b: *x{i - 1}}}\n" for i in range(1, 60))


@pytest.mark.parametrize(
    ("text", "said"), [("a: &a\n  b: *a\n", "refers to itself"), (BOMB, "more than 20,000 settings")]
)
def test_yaml_that_refers_to_itself_ends(tmp_path, text, said):
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(ConfigError, match=said):
        lint_file(tmp_path / "c.yaml")
