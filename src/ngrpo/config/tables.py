"""The tables of a config, one frozen class each; a field's docstring is its line in docs/config.md."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from ngrpo.choices import SAMPLERS, SamplerKind, Split
from ngrpo.config.cluster_settings import ClusterSettings
from ngrpo.config.endpoint_settings import EndpointSettings
from ngrpo.config.optimizer_settings import OptimizerSettings
from ngrpo.config.run_settings import RunSettings
from ngrpo.config.vllm_settings import VLLMSettings
from ngrpo.errors import ConfigError, DataError
from ngrpo.methods import Method
from ngrpo.settings import Settings
from ngrpo.tasks import Task, load_task


class LoraSettings(Settings):
    """Low-rank adapters through peft; only they are trained."""

    rank: int = Field(16, ge=1)
    """Rank of the adapters."""
    alpha: float = Field(32.0, gt=0.0)
    """Scale: the adapter's output is multiplied by alpha / rank."""
    target_modules: tuple[str, ...] = ()
    """Names of the layers that get an adapter; empty for all linear layers of attention and MLP (docs/models.md)."""


class ModelSettings(Settings):
    """The model that is trained."""

    path: str = Field(min_length=1)
    """'builtin:countdown-base', a folder in Hugging Face format, or a hub id."""
    revision: str = ""
    """Branch, tag or commit of a hub model; empty for its newest. The commit that a run has loaded is written into its
    config.json, so that a resumed or repeated run has the same weights. Local engine only."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Precision of the computation; auto is bfloat16 on a GPU and float32 on a CPU. Trained weights are kept in
    float32 either way."""
    device: str = "auto"
    """'auto' (a GPU where there is one), 'cpu', 'cuda', 'cuda:1', ..."""
    attention: Literal["", "sdpa", "eager", "flex_attention", "flash_attention_2", "flash_attention_3"] = ""
    """Attention kernel by its name in transformers; empty for its default, usually sdpa. With any but sdpa, updates
    read padded rows with this kernel; otherwise prompts are read once per group, by torch's sdpa."""
    router_aux_loss_coef: Annotated[float, Field(ge=0.0)] | Literal["config"] = 0.0
    """Mixtures of experts: weight of the router's load-balancing loss, over the tokens of each micro-batch; 'config'
    for the value in the model's config.json, 0 for none. Local engine only."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, about a third more time."""
    lora: LoraSettings | None = None
    """Train low-rank adapters instead of all weights: a [model.lora] table."""


def checked_stop(stop: tuple[str, ...]) -> tuple[str, ...]:
    """Returns the stop strings, if each is a text that a completion can contain."""
    if any(not text or "\ufffd" in text for text in stop):
        raise ValueError("each must be a text of at least one character, without U+FFFD")
    return stop


class SamplingSettings(Settings):
    """How groups of completions are sampled."""

    sampler: str = "transformers"
    """What samples the completions: the model itself, vLLM in this process, or a server (evaluation only)."""
    problems_per_step: int = Field(1024, ge=1)
    """Groups in the batch of a step."""
    group_size: int = Field(8, ge=1)
    """Completions per problem, G."""
    temperature: float = Field(1.0, gt=0.0)
    """The logits are divided by it, in sampling and in training alike."""
    top_p: float = Field(1.0, gt=0.0, le=1.0)
    """Sample only from the smallest set of tokens with this much probability; 1 samples from all. With top_p, top_k or
    min_p, the policy that is trained is the truncated distribution too (docs/algorithm.md)."""
    top_k: int = Field(0, ge=0)
    """Sample only from the so many likeliest tokens; 0 samples from all."""
    min_p: float = Field(0.0, ge=0.0, lt=1.0)
    """Sample only tokens with at least this share of the likeliest one's probability; 0 samples from all."""
    stop: tuple[str, ...] = ()
    """Texts that end a completion: with the first token with which its text contains one, which is trained as well."""
    include_stop: bool = False
    """Keep the stop string in the text that is graded and written down; otherwise the text ends before it. In
    evaluations too."""
    max_prompt_tokens: int = Field(1024, ge=1)
    """Problems with a longer prompt are left out, and counted."""
    solve_rates: str = ""
    """Samples file of the starting model on the training problems (`ngrpo eval --split train`): train on those whose
    share of correct completions lies within solve_rate; empty: on all."""
    solve_rate: tuple[float, float] = (0.0, 1.0)
    """Lowest and highest share of correct completions in solve_rates, both included."""
    max_completion_tokens: int = Field(3072, ge=1)
    """Completions are cut at this many tokens."""
    truncated: Literal["graded", "masked", "ungraded"] = "graded"
    """What a completion is that was cut: graded like others; masked, which is graded and counts in its group but is not
    trained on; or ungraded, which leaves its group."""
    max_sequences: int = Field(512, ge=1)
    """Completions that are sampled at the same time; bounds the memory of the key-value cache."""
    keep_special_tokens: tuple[str, ...] = ()
    """Special tokens that stay in a completion's text, such as "<answer>"; a grader sees no others."""
    old_logprobs: Literal["auto", "sampler", "recompute"] = "auto"
    """Where old_logprobs come from: the sampler's own, or a pass of the trainer before the updates; auto takes the
    sampler's where they are exact (sampler transformers, float32)."""
    importance_cap: float = Field(0.0, ge=0.0)
    """Truncated importance sampling where old_logprobs are recomputed: each token's advantage is multiplied by
    min(exp(old_logprobs - the sampler's), this); 0 for none, 2 is usual."""

    @field_validator("stop")
    @classmethod
    def _stop_is_text(cls, stop: tuple[str, ...]) -> tuple[str, ...]:
        return checked_stop(stop)

    @field_validator("sampler")
    @classmethod
    def _is_known(cls, sampler: str) -> str:
        if sampler not in SAMPLERS:
            raise ValueError(f"must be one of {', '.join(map(repr, SAMPLERS))}")
        return sampler

    @field_validator("solve_rate")
    @classmethod
    def _is_a_range(cls, solve_rate: tuple[float, float]) -> tuple[float, float]:
        if not 0.0 <= solve_rate[0] <= solve_rate[1] <= 1.0:
            raise ValueError("must be [lowest, highest] with 0 <= lowest <= highest <= 1")
        return solve_rate

    @model_validator(mode="after")
    def _rates_are_known(self) -> Self:
        if self.solve_rate != (0.0, 1.0) and not self.solve_rates:
            raise ValueError("solve_rate is given without solve_rates, the samples file of the starting model")
        return self

    @property
    def kind(self) -> SamplerKind:
        """What this sampler is: whether it can train, has exact logprobs, or is a server."""
        return SAMPLERS[self.sampler]


class EvaluationSettings(Settings):
    """What is measured during training."""

    tasks: tuple[str, ...] = ()
    """Task specs, NAME or NAME:PATH; empty for the test split of the training task."""
    samples: int = Field(16, ge=1)
    """Completions per problem, n."""
    problems: int = Field(0, ge=0)
    """Only the first so many problems of each task; 0 for all."""
    split: Split = "test"
    """Held-out problems (test), or those that are trained on (train), such as for solve rates."""
    every: int = Field(0, ge=0)
    """Evaluate every so many steps, before the first and after the last; 0 never."""
    count: int = Field(0, ge=0)
    """In place of `every`: evaluate so many times, each after an equal part of the run. Local engine only."""
    at_start: bool = True
    """Evaluate before the first step; false saves it where many runs start from one model."""
    temperature: float = Field(0.6, ge=0.0)
    """Sampling temperature; 0 is greedy."""
    top_p: float = Field(0.95, gt=0.0, le=1.0)
    """Sample only from the smallest set of tokens with this much probability."""
    top_k: int = Field(0, ge=0)
    """Sample only from the so many likeliest tokens; 0 samples from all."""
    min_p: float = Field(0.0, ge=0.0, lt=1.0)
    """Sample only tokens with at least this share of the likeliest one's probability; 0 samples from all."""
    stop: tuple[str, ...] | None = None
    """Texts that end a completion; by default those of [sampling]."""
    max_completion_tokens: int = Field(4096, ge=1)
    """Completions are cut at this many tokens."""

    @field_validator("stop")
    @classmethod
    def _stop_is_text(cls, stop: tuple[str, ...] | None) -> tuple[str, ...] | None:
        return stop if stop is None else checked_stop(stop)

    @model_validator(mode="after")
    def _one_schedule(self) -> Self:
        if self.every and self.count:
            raise ValueError(f"every is {self.every} and count is {self.count}: choose one")
        return self

    @property
    def in_run(self) -> bool:
        """Whether a training run evaluates."""
        return self.every > 0 or self.count > 0


class Config(Settings):
    """Everything that decides a run."""

    model: ModelSettings
    task: Task
    method: Method
    sampling: SamplingSettings
    optimizer: OptimizerSettings
    evaluation: EvaluationSettings
    run: RunSettings
    vllm: VLLMSettings
    endpoint: EndpointSettings
    cluster: ClusterSettings

    def evaluation_tasks(self, *, where: str = "") -> list[Task]:
        """Returns the tasks to evaluate on: those named, else the training task.

        Those named get the training task's `chat`, `chat_template_kwargs` and `prefill`, which belong to the model.

        Args:
            where: what an error message begins with, such as the file's name.

        Raises:
            ConfigError: for a name that is no task.
        """
        if not self.evaluation.tasks:
            return [self.task]
        shared = self.task.model_dump(include={"chat", "chat_template_kwargs", "prefill"})
        return [
            load_task({"name": spec, **shared}, where=f"{where}[evaluation] tasks: ") for spec in self.evaluation.tasks
        ]

    def check_trainable(self) -> None:
        """Checks what training needs beyond an evaluation.

        Raises:
            ConfigError: for a sampler that cannot train, or a step that wants more problems than there are.
            DataError: for a task without training problems.
        """
        if not self.sampling.kind.can_train:
            raise ConfigError(
                f"[sampling] sampler '{self.sampling.sampler}' is for evaluation only: it takes no weights"
            )
        available = len(self.task.problems("train"))
        if available == 0:
            raise DataError(f"task '{self.task.name}' has no training problems")
        if available < self.sampling.problems_per_step:
            raise ConfigError(
                f"[sampling] problems_per_step is {self.sampling.problems_per_step}, but task '{self.task.name}' has "
                f"only {available} training problems: a step uses each at most once"
            )

    def to_json(self, *, given_only: bool = False) -> dict[str, Any]:
        """Returns the resolved config as plain JSON values that `config_of` reads back.

        Args:
            given_only: leave out what was not given; otherwise every default is filled in.
        """
        tables = {name: getattr(self, name) for name in type(self).model_fields}
        return {name: table.model_dump(mode="json", exclude_unset=given_only) for name, table in tables.items()}
