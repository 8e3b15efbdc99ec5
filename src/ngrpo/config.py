"""The config of a run: TOML (or a run's own config.json) in, one frozen `Config` out, everything checked beforehand.

    [model]       what is trained            [optimizer]   how the updates are taken
    [task]        problems and grader        [evaluation]  what is measured, and how often
    [method]      the estimator and its loss [run]         name, length, seed, checkpoints, trackers
    [sampling]    how groups are drawn       [vllm], [endpoint], [cluster]   the engines that need settings

Defaults are the published setting of NGRPO (see `ngrpo.methods` for the method's own). Importing this module loads no
torch, so a wrong config is reported in a fraction of a second.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

from ngrpo.engines.cluster_settings import ClusterSettings
from ngrpo.errors import ConfigError, DataError
from ngrpo.files import is_file_name
from ngrpo.methods import DAPO, Method, load_method
from ngrpo.sampling.endpoint_settings import EndpointSettings
from ngrpo.sampling.vllm_settings import VLLMSettings
from ngrpo.settings import Settings, unknown_key
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
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Precision of the computation; auto is bfloat16 on a GPU and float32 on a CPU. Trained weights are kept in
    float32 either way."""
    device: str = "auto"
    """'auto' (a GPU where there is one), 'cpu', 'cuda', 'cuda:1', ..."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, about a third more time."""
    lora: LoraSettings | None = None
    """Train low-rank adapters instead of all weights: a [model.lora] table."""


class SamplingSettings(Settings):
    """How groups of completions are drawn."""

    engine: Literal["transformers", "vllm", "endpoint"] = "transformers"
    """What draws the completions: the model itself, vLLM in this process, or a server (evaluation only)."""
    problems_per_step: int = Field(1024, ge=1)
    """Groups in the batch of a step."""
    group_size: int = Field(8, ge=1)
    """Completions per problem, G."""
    temperature: float = Field(1.0, gt=0.0)
    """The logits are divided by it, in sampling and in training alike."""
    top_p: float = Field(1.0, gt=0.0, le=1.0)
    """Draw only from the smallest set of tokens with this much probability; 1 draws from all."""
    max_prompt_tokens: int = Field(1024, ge=1)
    """Problems with a longer prompt are left out, and counted."""
    max_completion_tokens: int = Field(3072, ge=1)
    """Completions are cut at this many tokens."""
    max_sequences: int = Field(512, ge=1)
    """Completions that are drawn at the same time; bounds the memory of the key-value cache."""
    keep_special_tokens: tuple[str, ...] = ()
    """Special tokens that stay in a completion's text, such as "<answer>"; a verifier sees no other special token."""
    old_logprobs: Literal["auto", "sampler", "recompute"] = "auto"
    """Where old_logprobs come from: the sampler's own, or a pass of the trainer before the updates; auto takes the
    sampler's where they are exact (engine transformers, float32, top_p 1)."""
    importance_cap: float = Field(0.0, ge=0.0)
    """Truncated importance sampling where old_logprobs are recomputed: each token's advantage is multiplied by
    min(exp(old_logprobs - the sampler's), this); 0 for none, 2 is usual."""


class OptimizerSettings(Settings):
    """How the updates are taken: AdamW."""

    lr: float = Field(1e-6, gt=0.0)
    """Learning rate."""
    schedule: Literal["constant", "warmup"] = "constant"
    """'constant', or 'warmup': linear from 0 over warmup_steps, then constant."""
    warmup_steps: int = Field(0, ge=0)
    """Steps of the warm-up."""
    betas: tuple[float, float] = (0.9, 0.999)
    """AdamW's decay rates."""
    weight_decay: float = Field(0.01, ge=0.0)
    """AdamW's weight decay."""
    max_grad_norm: float = Field(1.0, gt=0.0)
    """The gradient of an update is scaled down to this norm."""
    updates_per_step: int = Field(4, ge=1)
    """Optimiser updates per step; the groups of a step are divided evenly among them."""
    passes_per_step: int = Field(1, ge=1)
    """How often each group is trained on in a step; divides updates_per_step."""
    tokens_per_micro_batch: int = Field(16384, ge=1)
    """Tokens, padding included, in one forward pass; changes memory, not the result."""

    def scheduled(self, lr: float, step: int) -> float:
        """Returns what the schedule makes of a learning rate in a step, counted from 1."""
        if self.schedule == "warmup" and step <= self.warmup_steps:
            return lr * step / self.warmup_steps
        return lr

    @field_validator("betas")
    @classmethod
    def _betas_in_range(cls, betas: tuple[float, float]) -> tuple[float, float]:
        if not all(0.0 <= beta < 1.0 for beta in betas):
            raise ValueError("each must be at least 0 and below 1")
        return betas


class EvaluationSettings(Settings):
    """What is measured during training."""

    tasks: tuple[str, ...] = ()
    """Task specs, NAME or NAME:PATH; empty for the test split of the training task."""
    samples: int = Field(16, ge=1)
    """Completions per problem, n."""
    problems: int = Field(0, ge=0)
    """Only the first so many problems of each task; 0 for all."""
    every: int = Field(0, ge=0)
    """Evaluate every so many steps, before the first and after the last; 0 never."""
    temperature: float = Field(0.6, ge=0.0)
    """Sampling temperature; 0 takes the likeliest token."""
    top_p: float = Field(0.95, gt=0.0, le=1.0)
    """Draw only from the smallest set of tokens with this much probability."""
    max_completion_tokens: int = Field(4096, ge=1)
    """Completions are cut at this many tokens."""


class RunSettings(Settings):
    """The run itself."""

    name: str = "run"
    """Name of the run, and of its folder under runs/ unless --out is given."""
    steps: int = Field(140, ge=1)
    """Steps: rounds of sampling and updates."""
    seed: int = Field(0, ge=0, lt=2**63)
    """Decides the order of the problems and every random draw."""
    save_every: int = Field(0, ge=0)
    """Save a checkpoint every so many steps; the last step is always saved."""
    keep_rollouts: bool = True
    """Write every completion to rollouts.jsonl."""
    max_ungraded_share: float = Field(0.5, ge=0.0, le=1.0)
    """Stop when more of a step's completions than this could not be graded: then the grader is broken."""
    trackers: tuple[Literal["tensorboard", "wandb", "trackio"], ...] = ()
    """Where metrics go besides the run folder."""

    @field_validator("name")
    @classmethod
    def _is_a_file_name(cls, name: str) -> str:
        if not is_file_name(name):
            raise ValueError("must be 1 to 128 letters, digits, dots, dashes or underscores")
        return name

    def check_steps_left(self, folder: Path, taken: int) -> None:
        """Raises ConfigError when a run folder that is to be resumed has taken all steps."""
        if taken >= self.steps:
            raise ConfigError(
                f"{folder} has already taken {taken} of {self.steps} steps; "
                "to go on, raise the number with --set run.steps=N"
            )


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

        Args:
            where: what an error message begins with, such as the file's name.

        Raises:
            ConfigError: for a name that is no task.
        """
        if not self.evaluation.tasks:
            return [self.task]
        return [load_task({"name": spec}, where=f"{where}[evaluation] tasks: ") for spec in self.evaluation.tasks]

    def check_trainable(self) -> None:
        """Checks what training needs beyond an evaluation.

        Raises:
            ConfigError: for an engine that cannot train, or a step that wants more problems than there are.
            DataError: for a task without training problems.
        """
        if self.sampling.engine == "endpoint":
            raise ConfigError("[sampling] engine 'endpoint' evaluates alone: a server's weights cannot be changed")
        available = len(self.task.problems("train"))
        if available == 0:
            raise DataError(f"task '{self.task.name}' has no training problems")
        if available < self.sampling.problems_per_step:
            raise ConfigError(
                f"[sampling] problems_per_step is {self.sampling.problems_per_step}, but task '{self.task.name}' has "
                f"only {available} training problems: a step uses each at most once"
            )

    def to_json(self) -> dict[str, Any]:
        """Returns the resolved config, every default filled in, as plain JSON values that `config_of` reads back."""
        return {name: getattr(self, name).model_dump(mode="json") for name in type(self).model_fields}


_TABLES: Mapping[str, type[Settings]] = {
    "model": ModelSettings,
    "sampling": SamplingSettings,
    "optimizer": OptimizerSettings,
    "evaluation": EvaluationSettings,
    "run": RunSettings,
    "vllm": VLLMSettings,
    "endpoint": EndpointSettings,
    "cluster": ClusterSettings,
}


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Returns the checked config of a file.

    Args:
        path: a .toml file, or a .json file such as the config.json of a run.
        overrides: see `apply_overrides`.

    Raises:
        ConfigError: for a missing or malformed file, an unknown key, a wrong value or settings that contradict.
    """
    path = Path(path)
    tables = _read_tables(path)
    apply_overrides(tables, overrides)
    return config_of(tables, where=f"{path}: ")


def config_of(tables: Mapping[str, Any], *, where: str = "") -> Config:
    """Returns the config of plain tables, checked as a whole.

    Args:
        tables: table name -> settings, as TOML or JSON gave them.
        where: what an error message begins with, such as the file's name.

    Raises:
        ConfigError: as `load_config`.
    """
    for name, table in tables.items():
        if name not in Config.model_fields:
            raise ConfigError(where + unknown_key(name, Config.model_fields))
        if not isinstance(table, Mapping):
            raise ConfigError(f"{where}'{name}' must be a table, [{name}], got {table!r}")
    if "task" not in tables:
        raise ConfigError(f"{where}the table [task] is missing; it needs at least 'name'")
    parts: dict[str, Any] = {
        name: model.parse(tables.get(name, {}), where=f"{where}[{name}] ") for name, model in _TABLES.items()
    }
    config = Config.model_construct(
        task=load_task(tables["task"], where=f"{where}[task] "),
        method=load_method(tables.get("method", {}), where=f"{where}[method] "),
        **parts,
    )
    _check_together(config, where)
    return config


def _check_together(config: Config, where: str) -> None:
    """Raises ConfigError where settings that are each valid do not work together."""
    method, sampling, optimizer = config.method, config.sampling, config.optimizer
    if sampling.group_size < method.least_group_size():
        raise ConfigError(
            f"{where}[sampling] group_size is {sampling.group_size}, but {method.name} compares the completions of a "
            f"group: at least {method.least_group_size()}"
        )
    if method.max_reward < config.task.max_reward:
        raise ConfigError(
            f"{where}[method] max_reward is {method.max_reward:g}, below the reward of a correct completion of task "
            f"'{config.task.name}', {config.task.max_reward:g}: a virtual completion must not be worse than a real one"
        )
    if optimizer.updates_per_step % optimizer.passes_per_step:
        raise ConfigError(
            f"{where}[optimizer] passes_per_step is {optimizer.passes_per_step}, which does not divide "
            f"updates_per_step, {optimizer.updates_per_step}"
        )
    if optimizer.updates_per_step // optimizer.passes_per_step > sampling.problems_per_step:
        raise ConfigError(
            f"{where}[optimizer] updates_per_step is {optimizer.updates_per_step}, but a pass has only "
            f"{sampling.problems_per_step} groups ([sampling] problems_per_step) for "
            f"{optimizer.updates_per_step // optimizer.passes_per_step} updates"
        )
    if optimizer.schedule == "constant" and optimizer.warmup_steps:
        raise ConfigError(
            f"{where}[optimizer] warmup_steps is {optimizer.warmup_steps}, but schedule is 'constant': use 'warmup'"
        )
    if isinstance(method, DAPO) and method.overlong_buffer_tokens >= sampling.max_completion_tokens:
        raise ConfigError(
            f"{where}[method] overlong_buffer_tokens is {method.overlong_buffer_tokens}, but completions have at most "
            f"{sampling.max_completion_tokens} tokens: give a smaller buffer, or 0 for no overlong penalty"
        )
    slugs = [task.slug for task in config.evaluation_tasks(where=where)]
    if len(set(slugs)) < len(slugs):
        raise ConfigError(f"{where}[evaluation] tasks must differ from each other, got {', '.join(slugs)}")


def _read_tables(path: Path) -> dict[str, Any]:
    if path.suffix not in {".toml", ".json"}:
        raise ConfigError(f"{path}: a config is a .toml file or a run's config.json")
    try:
        text = path.read_text(encoding="utf-8")
        tables = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:  # TOML's, JSON's and UTF-8's decoding errors alike
        raise ConfigError(f"{path}: not valid {path.suffix[1:].upper()}: {error}") from None
    if isinstance(tables, dict) and path.suffix == ".json" and isinstance(tables.get("config"), dict):
        tables = tables["config"]
    if not isinstance(tables, dict):
        raise ConfigError(f"{path}: a config is a table of tables, got {type(tables).__name__}")
    return tables


def apply_overrides(tables: dict[str, Any], overrides: Sequence[str]) -> None:
    """Changes plain tables by settings such as `"method.name=grpo"`; the value is read as TOML, else as a plain string.

    Raises:
        ConfigError: for an override of another form.
    """
    for override in overrides:
        key, separator, text = override.partition("=")
        parts = key.strip().split(".")
        if not separator or len(parts) < 2 or not all(parts):
            raise ConfigError(f"--set takes TABLE.KEY=VALUE, got '{override}'")
        try:
            parsed = tomllib.loads(f"value = {text}")
        except tomllib.TOMLDecodeError:
            parsed = {}
        # A bare word such as `grpo` needs no quotes on a command line; a text of several lines is no TOML value.
        value: Any = parsed["value"] if parsed.keys() == {"value"} else text.strip()
        table = tables
        for part in parts[:-1]:
            if table.get(part) is None:  # absent, or null in a run's config.json
                table[part] = {}
            table = table[part]
            if not isinstance(table, dict):
                raise ConfigError(f"--set {override}: '{part}' is not a table")
        table[parts[-1]] = value
