"""Sampling: prompts in, completions out, each with the logprobs its tokens were sampled with."""

from __future__ import annotations

from ngrpo.sampling.sampler import Decoding, Prompt, Request, Sampler

__all__ = ["Decoding", "Prompt", "Request", "Sampler"]
