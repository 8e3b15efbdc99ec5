"""Choices of config keys, command-line options and functions, each list once; importing them loads nothing."""

from typing import Literal, NamedTuple

Engine = Literal["local", "verl"]
"""What trains."""

SamplerName = Literal["transformers", "vllm", "endpoint"]
"""What samples completions: the model itself, vLLM in this process, or a server (evaluation only)."""


class SamplerKind(NamedTuple):
    """What a sampler is, whichever model it samples."""

    exact_logprobs: bool
    """Its logprobs in float32 are those of the trainer's own forward pass; and its batches decide their last bits."""
    can_train: bool
    """It takes the policy's weights after every step."""
    remote: bool = False
    """A server that has model and tokenizer of its own."""
    package: str | None = None
    """What has to be installed for it: an extra of the same name."""


SAMPLERS: dict[str, SamplerKind] = {
    "transformers": SamplerKind(exact_logprobs=True, can_train=True),
    "vllm": SamplerKind(exact_logprobs=False, can_train=True, package="vllm"),
    "endpoint": SamplerKind(exact_logprobs=False, can_train=False, remote=True),
}
"""A new sampler has a name above, a line here and one in `ngrpo.sampling.samplers`; see examples/custom_sampler.py."""

Split = Literal["train", "test"]

GroupFilter = Literal["none", "all", "all_correct", "all_incorrect"]
"""Which kinds of group are dropped: none, both homogeneous ones, the all-correct or the all-wrong ones."""

Deviation = Literal["sample", "population"]
"""Standard deviation with n - 1 or with n in its denominator."""

Calibration = Literal["all", "all_wrong"]
"""Which groups get the virtual completions."""

Aggregate = Literal["token_mean", "sequence_mean", "constant"]
"""What token values are averaged over: all tokens, sequences after their tokens, a constant (Dr.GRPO)."""

KLEstimator = Literal["k1", "k2", "k3"]

UngradedAs = Literal["excluded", "wrong"]
"""What ungraded completions count as in Pass@k."""

TableStyle = Literal["table", "markdown", "latex"]
"""How tables are printed: for a terminal, a page or a paper."""

Tripwire = Literal["not_finite", "no_groups", "reward_collapse", "entropy_collapse", "entropy_explosion"]
"""What stops a run that teaches nothing any more."""

TRIPWIRES: tuple[Tripwire, ...] = (
    "not_finite",
    "no_groups",
    "reward_collapse",
    "entropy_collapse",
    "entropy_explosion",
)
