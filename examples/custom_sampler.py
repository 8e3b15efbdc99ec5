"""A sampler of your own in one class and two lines, training the shipped model.

    python examples/custom_sampler.py          # a CPU, some seconds per step

Half of each group is sampled at a higher temperature. Its logprobs are then not the policy's, so the sampler does not
claim exact ones: the trainer recomputes them, and `importance_cap` weighs each token by the ratio of the two.
"""

import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from ngrpo import train
from ngrpo.choices import SAMPLERS, SamplerKind
from ngrpo.sampling.sampler import Sampler
from ngrpo.sampling.samplers import TRAINING_SAMPLERS
from ngrpo.sampling.transformers_sampler import TransformersSampler

CONFIG = Path(__file__).parents[1] / "configs" / "countdown" / "ngrpo.toml"


class TwoTemperatures(Sampler):
    """Samples odd completions of a group at `high` times the temperature."""

    def __init__(self, plain, high=1.3):
        self.plain, self.high = plain, high

    def stream(self, requests, decoding, *, seed, round_name):
        hot = replace(decoding, temperature=self.high * decoding.temperature)
        for odd, chosen in ((False, decoding), (True, hot)):
            indices = [i for i, request in enumerate(requests) if request.sample % 2 == odd]
            part = [requests[i] for i in indices]
            for place, completion in self.plain.stream(part, chosen, seed=seed, round_name=round_name):
                yield indices[place], completion


SAMPLERS["two_temperatures"] = SamplerKind(exact_logprobs=False, can_train=True)
TRAINING_SAMPLERS["two_temperatures"] = lambda config, policy: TwoTemperatures(
    TransformersSampler(policy, max_sequences=config.sampling.max_sequences)
)


def main(overrides):
    settings = ["sampling.sampler=two_temperatures", "sampling.importance_cap=2.0", "evaluation.every=0", "run.steps=3"]
    with tempfile.TemporaryDirectory() as folder:
        run = train(CONFIG, Path(folder) / "run", overrides=[*settings, *overrides], progress=False)
        for step in run.read_metrics():
            print(f"step {step['step']}: reward {step['reward/mean']:.3f}, weight {step['policy/importance_mean']:.3f}")


if __name__ == "__main__":
    main(sys.argv[1:])
