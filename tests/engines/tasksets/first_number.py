"""A taskset of verifiers 0.4 for the shipped model: repeat the first number, briefly."""

import verifiers.v1 as vf


class FirstNumberData(vf.TaskData):
    answer: str


class FirstNumberTask(vf.Task[FirstNumberData]):
    @vf.reward(weight=0.75)
    async def begins_with_it(self, trace: vf.Trace) -> float:
        return float(trace.last_reply.split()[:1] == [self.data.answer])

    @vf.reward(weight=0.25)
    async def is_brief(self, trace: vf.Trace, task: FirstNumberData) -> float:
        assert trace.num_turns == 1
        assert trace.messages[0].content == task.prompt
        return float(len(trace.last_reply.split()) <= 5)

    @vf.metric
    async def length(self, trace: vf.Trace) -> float:
        return float(len(trace.last_reply))


class FirstNumberConfig(vf.TasksetConfig):
    numbers: int = 9
    forever: bool = False


class FirstNumberTaskset(vf.Taskset[FirstNumberTask, FirstNumberConfig]):
    INFINITE = True  # a view of the first so many tasks ends

    def load(self):
        i = 0
        while True:
            a, b, c = 1 + i % self.config.numbers, 1 + i // 9 % 9, 1 + i // 81 % 9
            yield FirstNumberTask(FirstNumberData(prompt=f"{a} {b} {c} = {a + b + c} :", answer=str(a)))
            i += 1


__all__ = ["FirstNumberTaskset"]
