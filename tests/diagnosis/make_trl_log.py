"""Makes the log of a real run of TRL's GRPOTrainer with the shipped model: completions and trainer_state.json.

In an environment that has TRL:

    python tests/diagnosis/make_trl_log.py FOLDER

writes FOLDER/completions/completions_00002.parquet and FOLDER/checkpoint-3/trainer_state.json, which are the tests'
data/trl_completions.parquet and data/trl_trainer_state.json.
"""

import sys

from ngrpo.models.paths import resolve_model_path
from ngrpo.tasks import load_task

TASK = load_task({"name": "countdown"})
PROBLEMS = TASK.problems("train")[:48]


def countdown(completions, problem, **_):
    """Returns the rewards of our grader."""
    return [g.reward for g in TASK.grade_many([(PROBLEMS[i], c) for c, i in zip(completions, problem, strict=True)])]


def main(folder: str) -> None:
    """Trains for three steps of 8 groups of 4."""
    from datasets import Dataset
    from transformers import AutoTokenizer
    from trl import GRPOConfig, GRPOTrainer

    model = str(resolve_model_path("builtin:countdown-base"))
    rows = [{"prompt": TASK.prompt.format(question=p.question), "problem": i} for i, p in enumerate(PROBLEMS)]
    settings = GRPOConfig(
        output_dir=folder,
        num_generations=4,
        per_device_train_batch_size=32,
        max_completion_length=8,
        max_steps=3,
        logging_steps=1,
        save_steps=3,
        log_completions=True,
        use_cpu=True,
        bf16=False,
        seed=0,
        report_to="none",
    )
    tokenizer = AutoTokenizer.from_pretrained(model, padding_side="left")
    GRPOTrainer(
        model, reward_funcs=countdown, args=settings, train_dataset=Dataset.from_list(rows), processing_class=tokenizer
    ).train()


if __name__ == "__main__":
    main(sys.argv[1])
