"""The `[endpoint]` table; importing it loads no HTTP client."""

from __future__ import annotations

from typing import Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from ngrpo.settings import Settings

OWN_FIELDS = frozenset(
    ("best_of", "echo", "max_completion_tokens", "max_tokens", "messages", "model", "n", "prompt", "seed", "stream")
) | {"temperature", "top_p"}
"""Fields of a request that follow from the evaluation itself."""


class EndpointSettings(Settings):
    """An OpenAI-compatible server (vLLM, SGLang, llama.cpp), where [sampling] sampler is 'endpoint'."""

    url: str = "http://127.0.0.1:8000/v1"
    """Address of the server, with or without the /v1."""
    api: Literal["auto", "chat", "completions"] = "auto"
    """'chat' sends the messages and the server's chat template makes the prompt of them, 'completions' sends the
    prompt; auto is chat unless the server says that it has no chat template."""
    concurrency: int = Field(64, ge=1, le=4096)
    """Requests that are under way at the same time."""
    patience_seconds: float = Field(600.0, gt=0.0)
    """Give up when all requests have failed for so long; until then each is tried again."""
    timeout_seconds: float = Field(600.0, gt=0.0)
    """A request without a whole answer after so long is tried again."""
    api_key_env: str = ""
    """Name of the environment variable that holds the server's key; empty where the server wants none."""
    body: dict[str, Any] = Field(default_factory=dict)
    """Fields added to every request, such as repetition_penalty or chat_template_kwargs."""

    @field_validator("url")
    @classmethod
    def _is_an_address(cls, url: str) -> str:
        try:
            parts = urlsplit(url)
            usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
        except ValueError:  # a port that is no number, half a bracket
            usable = False
        if not usable or parts.query or parts.fragment or any(c.isspace() or not c.isprintable() for c in url):
            raise ValueError("must be an address such as http://127.0.0.1:8000/v1")
        return url

    @model_validator(mode="after")
    def _holds_no_password(self) -> Self:
        # Of the table, not of the field: a field's complaint shows the value.
        if "@" in urlsplit(self.url).netloc:
            raise ValueError("'url' must hold no user or password: api_key_env names the variable that holds the key")
        return self

    @field_validator("body")
    @classmethod
    def _leaves_our_fields_alone(cls, body: dict[str, Any]) -> dict[str, Any]:
        if ours := sorted(OWN_FIELDS & set(body)):
            raise ValueError(f"must not hold {', '.join(ours)}: the evaluation decides it")
        return body
