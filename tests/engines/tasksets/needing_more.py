"""Tasksets that need more than one message of text: a factory makes each into a module."""

from types import ModuleType

import verifiers.v1 as vf


class Plain(vf.Task[vf.TaskData]):
    @vf.reward
    async def right(self, trace: vf.Trace) -> float:
        return 1.0


class Tools(vf.Toolset[vf.ToolsetConfig]):
    TOOL_PREFIX = "t"

    @vf.tool
    def echo(self, text: str) -> str:
        """Return the text."""
        return text


class WithTools(Plain):
    @classmethod
    def toolsets(cls, config):
        return [Tools(vf.ToolsetConfig())]


class WithSetup(Plain):
    async def setup(self, trace, runtime):
        return None


class WithContainer(Plain):
    NEEDS_CONTAINER = True


class WithRuntime(vf.Task[vf.TaskData]):
    @vf.reward
    async def tests_pass(self, trace: vf.Trace, runtime: vf.Runtime) -> float:
        return 1.0


class WithoutRewards(vf.Task[vf.TaskData]):
    pass


def module_of(kind, *, environment=None, **data) -> ModuleType:
    """A module with a taskset of one task of this kind."""

    class OneTask(vf.Taskset[kind, vf.TasksetConfig]):
        def load(self):
            yield kind(vf.TaskData(**{"prompt": "1 + 1", **data}))

    module = ModuleType(f"one_{kind.__name__.lower()}")
    module.OneTask, module.__all__ = OneTask, ["OneTask"]
    if environment is not None:
        module.Two, module.__all__ = environment, ["OneTask", "Two"]
    return module


class Two(vf.SingleAgentEnv):
    """An environment of several turns."""
