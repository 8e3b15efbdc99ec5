"""Rules about sampling, lengths and evaluation."""

from __future__ import annotations

from collections.abc import Iterator

from ngrpo.linting.rule import Fault, Rule
from ngrpo.linting.view import ConfigView


def temperatures_differ(view: ConfigView) -> Iterator[Fault]:
    """The sampler's temperature is not the trainer's."""
    sampled, trained = view.number("sampled_temperature"), view.number("temperature")
    if sampled is not None and trained is not None and sampled != trained:
        reason = f"sampled at {sampled:g}, while logprobs are computed at {trained:g}: the ratio is not the policy's"
        yield Fault("sampled_temperature", reason, view.paste("temperature", sampled))


def greedy_training(view: ConfigView) -> Iterator[Fault]:
    """Training samples greedily: all completions of a group are the same."""
    greedy = view.number("temperature") == 0 or view.value("sampled") is False
    if greedy and (view.number("group_size") or 0) > 1:
        name = "sampled" if view.value("sampled") is False else "temperature"
        fix = view.paste("sampled", value=True) if name == "sampled" else view.paste("temperature", 1.0)
        yield Fault(name, "greedy sampling: the completions of a group are the same, and nothing can be compared", fix)


def truncated_sampling(view: ConfigView) -> Iterator[Fault]:
    """top_p, top_k or min_p with a ratio to what the sampler reports."""
    compared = view.value("uses_sampler_logprobs") is True or view.value("importance_correction") is True
    if not compared or (view.value("sampler") == "transformers" and view.tool == "trl"):
        return
    for name, prefix in (("top_p", ""), ("top_k", ""), ("min_p", ""), ("top_p", "sampled_"), ("top_k", "sampled_")):
        value = view.number(prefix + name)
        cut = value is not None and (value < 1.0 if name == "top_p" else value > 0)
        if cut:
            reason = f"{name} {value:g} leaves tokens out: the logprobs of sampler and trainer are of two distributions"
            off = {"top_p": 1.0, "top_k": 0 if view.tool == "trl" else -1, "min_p": 0.0}[name]
            yield Fault(prefix + name, reason, view.paste(name, off))


def uncorrected_sampler(view: ConfigView) -> Iterator[Fault]:
    """Sampled by vLLM, and the gap between its probabilities and the trainer's is not corrected."""
    told = view.given("importance_correction") or view.given("importance") or view.tool == "ngrpo"
    own = view.value("uses_sampler_logprobs") is True  # then the ratio itself is to the sampler
    if view.value("sampler") == "vllm" and view.value("importance_correction") is False and told and not own:
        fix = {
            "ngrpo": view.paste_key("sampling.importance_cap", 2.0),
            "verl": view.paste("importance", "token"),
        }.get(view.tool, view.paste("importance_correction", value=True))
        reason = "vLLM's probabilities differ from the trainer's, and nothing corrects the gap: training is off-policy"
        yield Fault("importance_correction", reason, fix)


def uncorrected_by_default(view: ConfigView) -> Iterator[Fault]:
    """By default verl corrects no gap."""
    unset = not view.given("importance") and view.value("uses_sampler_logprobs") is False
    if unset and view.value("sampler") in {"vllm", "sglang"}:
        reason = "the gap between the sampler's probabilities and the trainer's is not corrected by default"
        yield Fault("importance", reason, view.paste("importance", "token"))


def cap_without_effect(view: ConfigView) -> Iterator[Fault]:
    """A cap on the importance weights of logprobs that are the sampler's own."""
    if (view.number("importance_cap") or 0) > 0 and view.value("old_logprobs") == "sampler":
        reason = "old_logprobs are the sampler's own, so there is no gap to weigh"
        yield Fault("importance_cap", reason, view.paste("old_logprobs", "recompute"))


def greedy_evaluation_of_many(view: ConfigView) -> Iterator[Fault]:
    """Several greedy completions per problem in an evaluation."""
    samples = view.number("eval_samples")
    if samples is not None and samples > 1 and view.number("eval_temperature") == 0:
        reason = f"{samples:g} greedy completions per problem are the same one: Pass@k is Pass@1"
        yield Fault("eval_temperature", reason, _sampled_evaluation(view))


def _sampled_evaluation(view: ConfigView) -> str:
    temperature = view.paste_key("actor_rollout_ref.rollout.val_kwargs.temperature", 0.6)
    if view.tool == "verl":
        return f"{view.paste('eval_sampled', value=True)} {temperature}"
    return view.paste("eval_temperature", 0.6)


def shorter_evaluation(view: ConfigView) -> Iterator[Fault]:
    """Evaluation allows fewer tokens than training."""
    trained, tested = view.number("max_completion_tokens"), view.number("eval_max_completion_tokens")
    if view.number("eval_every") and trained and tested and tested < trained:
        reason = f"completions of up to {trained:g} tokens are trained and cut at {tested:g} in the evaluation"
        yield Fault("eval_max_completion_tokens", reason, view.paste("eval_max_completion_tokens", int(trained)))


def wide_overlong_buffer(view: ConfigView) -> Iterator[Fault]:
    """The overlong penalty begins in the first half of what a completion may be long."""
    buffer, most = view.number("overlong_buffer"), view.number("max_completion_tokens")
    if view.given("overlong_buffer") and buffer and most and buffer > most / 2:
        reason = f"the penalty on length begins at {max(0, most - buffer):g} of {most:g} tokens (DAPO: at four fifths)"
        yield Fault("overlong_buffer", reason, view.paste("overlong_buffer", int(most) // 5))


def context_too_short(view: ConfigView) -> Iterator[Fault]:
    """A completion may be longer than the context that is sampled or trained."""
    longest, prompt = view.number("max_completion_tokens"), view.number("max_prompt_tokens") or 0
    for name in ("context", "vllm_context"):
        context = view.number(name)
        if view.given("max_completion_tokens") and longest and context and longest + prompt > context:
            whole = f"prompts of {prompt:g} and completions of {longest:g}" if prompt else f"completions of {longest:g}"
            yield Fault(
                name, f"{whole} tokens do not fit {context:g}", view.paste(name, int(longest + (prompt or 1024)))
            )


def budget_too_small(view: ConfigView) -> Iterator[Fault]:
    """verl: a micro-batch of dynamic size must hold the longest sequence."""
    prompt, completion = view.number("max_prompt_tokens"), view.number("max_completion_tokens")
    budget, parallel = view.number("token_budget"), view.number("sequence_parallel")
    if view.value("dynamic_batch") and prompt and completion and budget and parallel and parallel >= 1:
        longest = int(prompt + completion)
        if longest > budget * parallel:
            reason = f"a sequence of {longest} tokens does not fit a micro-batch of {budget * parallel:g}"
            yield Fault("token_budget", reason, view.paste("token_budget", -(-longest // int(parallel))))


TRL = "https://huggingface.co/docs/trl/grpo_trainer"
VERL = "https://verl.readthedocs.io/en/latest/algo/rollout_corr.html"
DAPO = "https://arxiv.org/abs/2503.14476"
PASS_AT_K = "https://arxiv.org/abs/2107.03374"
PRIME = "https://github.com/PrimeIntellect-ai/prime-rl/blob/main/docs/configuration.md"

ALL: tuple[Rule, ...] = (
    Rule(
        "temperatures-differ", temperatures_differ, "warning", "https://arxiv.org/abs/1707.06347", ("trl", "prime-rl")
    ),
    Rule(
        "greedy-training", greedy_training, "warning", "https://arxiv.org/abs/2402.03300", ("trl", "verl", "prime-rl")
    ),
    Rule("truncated-sampling", truncated_sampling, "warning", VERL, ("trl", "verl", "prime-rl")),
    Rule("uncorrected-sampler", uncorrected_sampler, "warning", VERL, ("ngrpo", "trl", "verl")),
    Rule("uncorrected-by-default", uncorrected_by_default, "note", VERL, ("verl",)),
    Rule("cap-without-effect", cap_without_effect, "warning", "docs/config.md", ("ngrpo",)),
    Rule("greedy-evaluation-of-many", greedy_evaluation_of_many, "warning", PASS_AT_K, ("ngrpo", "verl", "prime-rl")),
    Rule("shorter-evaluation", shorter_evaluation, "warning", PASS_AT_K, ("ngrpo",)),
    Rule("wide-overlong-buffer", wide_overlong_buffer, "warning", DAPO, ("ngrpo", "verl")),
    Rule("context-too-short", context_too_short, "warning", PRIME, ("trl", "verl", "prime-rl")),
    Rule(
        "budget-too-small",
        budget_too_small,
        "warning",
        "https://verl.readthedocs.io/en/latest/perf/perf_tuning.html",
        ("verl",),
    ),
)
