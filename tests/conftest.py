"""Models that many tests use, each made once; and no test reaches the model hub."""

from __future__ import annotations

import importlib.util
import os
import signal
from pathlib import Path
from types import ModuleType

os.environ["HF_HUB_OFFLINE"] = "1"  # before anything imports the hub's client, which reads it then

import hypothesis
import pytest
import torch

# A shell's background job ignores Ctrl-C, and one under nohup hang-ups: so would every command that the tests start and
# interrupt.
for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, handler)
# A deadline in wall-clock time fails on a busy machine.
hypothesis.settings.register_profile("any machine", deadline=None)
hypothesis.settings.load_profile("any machine")

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"


def script(name: str) -> ModuleType:
    """Returns a module of the scripts folder, which is no package."""
    spec = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def tiny_model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Qwen2 of two layers with a byte-level tokenizer and a chat template, in a Hugging Face folder.

    Its weights are larger than an initialisation's, so that its distributions are far from uniform.
    """
    maker = script("make_random_qwen2")
    texts = ["What is 12 plus 30?", "Find all x such that x^2 = 9. Answer in \\boxed{}."]
    tokenizer = maker.byte_level_tokenizer(texts, 300)
    model = maker.random_model(tokenizer, hidden=32, intermediate=48, layers=2, heads=4, kv_heads=2, vocabulary=300)
    with torch.no_grad():
        generator = torch.Generator().manual_seed(0)
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.normal_(0.0, 0.25, generator=generator)
    folder = tmp_path_factory.mktemp("tiny-model")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def countdown_model() -> object:
    """The shipped model, on the CPU in float32; tests must not change its weights."""
    from ngrpo.config import ModelSettings
    from ngrpo.models import load_language_model

    settings = ModelSettings(path="builtin:countdown-base", device="cpu", dtype="float32")
    return load_language_model(settings, for_training=False)
