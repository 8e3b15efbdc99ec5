"""What to paste for each finding, in the key of the tool that wrote the log, and the source of the advice."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from ngrpo.diagnosis.log_rows import Kind


class Cure(NamedTuple):
    """Lines to paste by tool, and a source; a table of unknown origin gets ours."""

    ngrpo: str
    trl: str
    verl: str
    prime: str
    source: str

    def of(self, kind: Kind) -> str:
        """Returns the line for a tool."""
        return {"trl": self.trl, "verl": self.verl, "prime-rl": self.prime}.get(kind, self.ngrpo)


NGRPO, DAPO, PPO = (
    "https://arxiv.org/abs/2509.18851",
    "https://arxiv.org/abs/2503.14476",
    "https://arxiv.org/abs/1707.06347",
)
_METHOD = Cure(
    "--set method.name=ngrpo",
    "from ngrpo.adapters.trl import NGRPOConfig, NGRPOTrainer",
    "algorithm.adv_estimator=ngrpo",
    "--orchestrator.train.source.0.curriculum.sampler.type difficulty_pool",
    NGRPO,
)
_TEMPERATURE = Cure(
    "--set sampling.temperature=1.0",
    "temperature: 1.0",
    "actor_rollout_ref.rollout.temperature=1.0",
    "--orchestrator.train.sampling.temperature 1.0",
    "https://arxiv.org/abs/2505.22617",
)
_LONGER = Cure(
    "--set sampling.max_completion_tokens=N",
    "max_completion_length: N",
    "data.max_response_length=N",
    "--orchestrator.train.sampling.max-completion-tokens N",
    DAPO,
)
_GRADE = "ngrpo regrade RUN --grader strict"
_TABLE = "ngrpo grade FILE --compare math-verify"
_GRADER = Cure(_GRADE, _TABLE, _TABLE, _TABLE, "docs/grading.md")

CURES: Mapping[str, Cure] = {
    "groups": _METHOD,
    "no-signal": _METHOD,
    "wrong-answers": _METHOD,
    "methods": _METHOD._replace(source="docs/methods.md"),
    "wasted-tokens": Cure(
        "--set method.name=ngrpo",
        "from ngrpo.adapters.trl import NGRPOConfig, NGRPOTrainer",
        "algorithm.filter_groups.enable=true",
        "--orchestrator.train.filter-zero-advantages",
        DAPO,
    ),
    "collapse": _TEMPERATURE,
    "entropy-collapse": Cure(
        "--set method.clip_high=0.28",
        "epsilon_high: 0.28",
        "actor_rollout_ref.actor.clip_ratio_high=0.28",
        "--trainer.loss.dppo-mask-high 0.28",
        DAPO,
    ),
    "advantages-out-of-order": Cure(
        "ngrpo train RUN/config.json --out OTHER",
        "pip install 'trl>=1.16'  # and no sampler of your own: _get_train_sampler keeps groups together",
        "trainer.balance_batch=false",
        "--orchestrator.algo.type grpo",
        "https://arxiv.org/abs/2402.03300",
    ),
    "ungraded": _GRADER,
    "box-without-answer": _GRADER,
    "graded-both-ways": _GRADER,
    "references-never-reached": _GRADER,
    "truncation": _LONGER,
    "no-end-token": _LONGER._replace(source="docs/models.md"),
    "identical-prompts": Cure(
        "--set 'task.prompt={question}'",
        'dataset.map(lambda row: {"prompt": row["question"]})',
        "data.prompt_key=prompt",
        "--orchestrator.renderer.name default",
        "docs/models.md",
    ),
    "doubled-start-token": Cure(
        "--set 'task.prompt={question}'",
        "tokenizer.add_bos_token = False",
        "actor_rollout_ref.model.custom_chat_template=TEMPLATE  # without the start token",
        "--orchestrator.renderer.name default",
        "https://huggingface.co/docs/transformers/chat_templating",
    ),
    "ratio-never-leaves-one": Cure(
        "--set optimizer.updates_per_step=4",
        "steps_per_generation: 4  # times gradient_accumulation_steps",
        "actor_rollout_ref.actor.ppo_mini_batch_size=N  # a quarter of data.train_batch_size",
        "--orchestrator.max-off-policy-steps 8",
        PPO,
    ),
    "length-drift": Cure(
        "--set method.aggregate=token_mean",
        "loss_type: dr_grpo",
        "actor_rollout_ref.actor.loss_agg_mode=seq-mean-token-sum-norm",
        "--orchestrator.algo.length-penalty.type linear",
        "https://arxiv.org/abs/2503.20783",
    ),
    "reward-without-verdict": Cure(
        _GRADE, "beta: 0.001", "actor_rollout_ref.actor.use_kl_loss=true", _TABLE, "https://arxiv.org/abs/2210.10760"
    ),
}
"""Name of a finding -> its cure."""
