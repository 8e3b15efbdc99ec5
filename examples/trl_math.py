"""TRL trains with NGRPO: our problems, our grader as its reward function, `NGRPOTrainer` in GRPOTrainer's place.

    pip install 'ngrpo[trl]'
    python examples/trl_math.py                                    # the shipped model on Countdown: a CPU, a minute
    accelerate launch --num_processes 8 examples/trl_math.py --model Qwen/Qwen2.5-Math-7B --task math \
        --steps 400 --generations 8 --batch 8 --tokens 3072 --lr 1e-6 --vllm

Whatever else GRPOConfig and GRPOTrainer take (peft_config, use_vllm, deepspeed, report_to) is taken here as well.
"""

import argparse
import tempfile
from pathlib import Path

from datasets import Dataset
from transformers import AutoTokenizer

from ngrpo.adapters.trl import NGRPOConfig, NGRPOTrainer
from ngrpo.models.paths import resolve_model_path
from ngrpo.tasks import load_task


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="builtin:countdown-base")
    parser.add_argument("--task", default="countdown")
    parser.add_argument("--method", default="ngrpo")
    parser.add_argument("--steps", type=int, default=40, help="generations, each of four updates")
    parser.add_argument("--problems", type=int, default=1000)
    parser.add_argument("--generations", type=int, default=8)
    parser.add_argument("--batch", type=int, default=128, help="completions of an update, per process")
    parser.add_argument("--tokens", type=int, default=12)
    parser.add_argument("--lr", type=float, default=1e-4)
    parser.add_argument("--vllm", action="store_true")
    parser.add_argument("--out", default=str(Path(tempfile.gettempdir()) / "ngrpo-trl"))
    return parser.parse_args()


def main():
    given = arguments()
    task = load_task({"name": given.task})
    train = task.problems("train")
    problems = [train[i] for i in range(min(given.problems, len(train)))]
    model = resolve_model_path(given.model)
    tokenizer = AutoTokenizer.from_pretrained(model)

    def prompt(problem):
        turns = [{"role": turn.role, "content": turn.content} for turn in task.messages(problem)]
        # A model without a chat template, as the shipped one, reads plain text.
        return turns if tokenizer.chat_template else "\n\n".join(turn["content"] for turn in turns)

    def correct(completions, problem, **_):
        texts = [c if isinstance(c, str) else c[0]["content"] for c in completions]
        grades = task.grade_many([(problems[i], text) for i, text in zip(problem, texts, strict=True)])
        # None is "could not be graded": it is neither right nor wrong, and stays out of the statistics and the loss.
        return [None if grade.status == "ungraded" else grade.reward for grade in grades]

    small = given.model.startswith("builtin:")
    config = NGRPOConfig(
        output_dir=given.out,
        method=given.method,
        method_args={},  # its settings, for example {"num_virtual": 2}
        max_steps=4 * given.steps,
        per_device_train_batch_size=given.batch,
        num_generations=given.generations,
        max_completion_length=given.tokens,
        learning_rate=given.lr,
        lr_scheduler_type="constant_with_warmup",
        warmup_steps=20,
        use_vllm=given.vllm,
        use_cpu=small,
        bf16=not small,
        gradient_checkpointing=not small,
        logging_steps=4,
        save_strategy="no",
        report_to="none",
    )
    data = Dataset.from_list([{"prompt": prompt(problem), "problem": i} for i, problem in enumerate(problems)])
    trainer = NGRPOTrainer(model, correct, config, train_dataset=data, processing_class=tokenizer)
    trainer.train()
    trainer.save_model(given.out)
    if trainer.accelerator.is_main_process:
        for line in [line for line in trainer.state.log_history if "group/mixed" in line][:: max(given.steps // 10, 1)]:
            print(
                f"update {line['step']:4d}   correct {line['reward/correct']:.3f}   "
                f"all-wrong groups {line['group/all_wrong']:.2f}   "
                f"clipped low {line['clip_ratio/low_mean']:.3f}   high {line['clip_ratio/high_mean']:.3f}"
            )
        print(f"the trained model is in {given.out}")


if __name__ == "__main__":
    main()
