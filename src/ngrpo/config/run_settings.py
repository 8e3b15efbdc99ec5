"""The `[run]` table."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from ngrpo.choices import TRIPWIRES, Tripwire
from ngrpo.errors import ConfigError
from ngrpo.settings import Settings
from ngrpo.storage import is_file_name


class RunSettings(Settings):
    """The run itself."""

    name: str = "run"
    """Name of the run, and of its folder under runs/ unless --out is given."""
    steps: int = Field(140, ge=1)
    """Steps: rounds of sampling and updates."""
    max_rollouts: int = Field(0, ge=0)
    """End after the step that reaches so many sampled completions, before `steps` are taken; 0 for no such limit. Local
    engine only."""
    max_tokens: int = Field(0, ge=0)
    """End after the step that reaches so many sampled tokens; 0 for no such limit. Local engine only."""
    seed: int = Field(0, ge=0, lt=2**63)
    """Decides the order of the problems and every random number."""
    save_every: int = Field(50, ge=0)
    """Save a checkpoint every so many steps, 0 never; the last step is always saved."""
    save_minutes: float = Field(10.0, ge=0.0)
    """Also save when the newest checkpoint is so many minutes old, 0 never; such a checkpoint is removed when a newer
    one is there. Local engine only."""
    keep_checkpoints: int = Field(0, ge=0)
    """Keep only so many of the newest checkpoints, and the best by its evaluation's AUC; 0 keeps all. Local engine
    only."""
    journal: bool = True
    """Write completions to disk as they are sampled, so that a step that was interrupted continues with them. Local
    engine only."""
    keep_rollouts: bool = True
    """Write every completion to rollouts.jsonl."""
    max_ungraded_share: float = Field(0.5, ge=0.0, le=1.0)
    """Stop when more of a step's completions than this could not be graded: then the grader is broken."""
    tripwires: tuple[Tripwire, ...] = TRIPWIRES
    """What stops a run that teaches nothing any more (docs/reliability.md): no finite gradient, no group to train on,
    no reward after there was some, entropy near zero, entropy near that of random tokens. Leave one out to switch it
    off; [] for none. Local engine only."""
    trackers: tuple[Literal["tensorboard", "wandb", "trackio"], ...] = ()
    """Where metrics go besides the run folder."""

    @field_validator("name")
    @classmethod
    def _is_a_file_name(cls, name: str) -> str:
        if not is_file_name(name):
            raise ValueError("must be 1 to 128 letters, digits, dots, dashes or underscores")
        return name

    def parts_over(self, count: int, step: int, rollouts: int, tokens: int) -> int:
        """Returns how many of `count` equal parts of the run are over, by its steps or by a limit that is nearer.

        Args:
            count: the parts.
            step: the steps taken.
            rollouts: the completions sampled in them.
            tokens: the tokens of these.
        """
        limits = ((step, self.steps), (rollouts, self.max_rollouts), (tokens, self.max_tokens))
        return min(count, max(done * count // limit for done, limit in limits if limit))

    def check_steps_left(self, folder: Path, taken: int) -> None:
        """Raises ConfigError when a run folder that is to be resumed has taken all steps."""
        if taken >= self.steps:
            raise ConfigError(
                f"{folder} has already taken {taken} of {self.steps} steps; "
                "to go on, raise the number with --set run.steps=N"
            )
