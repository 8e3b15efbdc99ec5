"""The whole method without our trainer: sample groups, grade, NGRPO's advantages, clipped loss, step.

python examples/minimal_loop.py            # the shipped model on Countdown: a CPU, half a minute
"""

import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from ngrpo import clipped_policy_loss, load_task, ngrpo_advantages
from ngrpo.models.paths import resolve_model_path

GROUPS, GROUP_SIZE, TOKENS, UPDATES = 32, 8, 8, 2


def logprobs_of(model, tokens, attention, length):
    """Returns the logprobs [B, T] of the last `length` tokens."""
    logits = model(tokens, attention_mask=attention).logits[:, -length - 1 : -1]
    return logits.log_softmax(dim=-1).gather(2, tokens[:, -length:, None]).squeeze(2)


def main(steps):
    torch.manual_seed(0)
    path = resolve_model_path("builtin:countdown-base")
    model, tokenizer = AutoModelForCausalLM.from_pretrained(path), AutoTokenizer.from_pretrained(path)
    tokenizer.padding_side, tokenizer.pad_token = "left", tokenizer.eos_token
    task = load_task({"name": "countdown"})
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4)
    for step in range(steps):
        problems = [task.problems("train")[step * GROUPS + i] for i in range(GROUPS)]
        prompts = [task.messages(problem)[-1].content for problem in problems for _ in range(GROUP_SIZE)]
        batch = tokenizer(prompts, return_tensors="pt", padding=True)
        with torch.no_grad():
            tokens = model.generate(
                input_ids=batch.input_ids, attention_mask=batch.attention_mask, do_sample=True, top_k=0,
                max_new_tokens=TOKENS, pad_token_id=tokenizer.pad_token_id,
            )  # fmt: skip
        length = tokens.shape[1] - batch.input_ids.shape[1]
        ended = (tokens[:, -length:] == tokenizer.eos_token_id).int()
        mask = ended.cumsum(dim=1) - ended == 0  # up to the first end token, it included
        attention = torch.cat([batch.attention_mask, mask.int()], dim=1)

        texts = tokenizer.batch_decode(tokens[:, -length:], skip_special_tokens=True)
        repeated = [problem for problem in problems for _ in range(GROUP_SIZE)]
        grades = task.grade_many(list(zip(repeated, texts, strict=True)))
        rewards = torch.tensor([grade.reward for grade in grades]).view(GROUPS, GROUP_SIZE)
        valid = torch.tensor([grade.graded for grade in grades]).view(GROUPS, GROUP_SIZE)
        advantages = ngrpo_advantages(rewards, valid=valid).flatten()  # all-wrong groups: -1/3 each

        with torch.no_grad():
            old = logprobs_of(model, tokens, attention, length)
        for _ in range(UPDATES):
            new = logprobs_of(model, tokens, attention, length)
            clipped_policy_loss(new, old, advantages, mask, clip_low=0.16, clip_high=0.24).loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
        all_wrong = (rewards == 0).all(dim=1).float().mean()
        print(f"step {step + 1}: reward {rewards.mean():.3f}, all-wrong groups {all_wrong:.2f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10)
