"""Any OpenAI-compatible server as the sampler of an evaluation."""
