"""The rewards of a taskset of the package `verifiers`, for conversations of one turn.

Imported by grading processes alone; the tasks are read by `ngrpo.tasks.verifiers_taskset`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from ngrpo.grading.graders import OPTIONS, TASK_DATA


def rewards_of(taskset: str) -> Callable[[str, str, Mapping[str, Any]], float]:
    """Returns the custom grader of a taskset: the weighted sum of a task's rewards for a completion.

    Args:
        taskset: its id; it is imported now, so that grading does not wait for it.

    Raises:
        ModuleNotFoundError: when there is no such taskset.
    """
    from verifiers.v1.utils.loaders import task_type, taskset_config_type

    kind, config_type = task_type(taskset), taskset_config_type(taskset)
    data_type = kind.data_type()

    def grade(completion: str, _reference: str, metadata: Mapping[str, Any]) -> float:
        config = config_type.model_validate({**metadata[OPTIONS], "id": taskset})
        task = kind(data_type.model_validate(metadata[TASK_DATA]), config.task)
        trace = trace_of(task, completion)
        asyncio.run(task.score(trace))
        return float(trace.reward)

    return grade


def trace_of(task: Any, completion: str) -> Any:
    """Returns the trace of a conversation in which the model answered a task's prompt with one message."""
    import verifiers.v1 as vf
    from verifiers.v1.state import state_cls
    from verifiers.v1.types import AssistantMessage, SystemMessage, UserMessage

    data = task.data
    messages: list[Any] = [SystemMessage(content=data.system_prompt)] if data.system_prompt else []
    messages += [UserMessage(content=data.prompt)] if isinstance(data.prompt, str) else list(data.prompt)
    messages.append(AssistantMessage(content=completion))
    last = len(messages) - 1
    return vf.Trace(
        task=vf.TraceTask(type=type(task).__name__, data=data, key=task.key, hash=task.hash),
        agent=vf.AgentInfo(config=vf.AgentConfig()),
        state=state_cls(type(task))(),
        nodes=[
            vf.MessageNode(parent=i - 1 if i else None, message=message, sampled=i == last)
            for i, message in enumerate(messages)
        ],
        is_completed=True,
        ok=True,
    )
