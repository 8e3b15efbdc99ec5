"""The platform 'cpu' of verl, by its public registry; chosen by VERL_PLATFORM=cpu alone."""

from __future__ import annotations

import os
import tempfile
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from verl.plugin.platform import PlatformBase, PlatformRegistry


def _nothing(*_: Any, **__: Any) -> None:
    return None


class _Device(types.ModuleType):
    """`torch.cpu`, and what verl asks of `torch.cuda` without looking whether there is one."""

    empty_cache = ipc_collect = set_device = synchronize = staticmethod(_nothing)
    manual_seed = manual_seed_all = staticmethod(_nothing)
    memory_allocated = memory_reserved = staticmethod(lambda *_, **__: 0)
    max_memory_allocated = max_memory_reserved = staticmethod(lambda *_, **__: 0)
    mem_get_info = staticmethod(lambda *_: (2**30, 2**30))
    is_available = staticmethod(lambda: False)  # there is no accelerator to clean up after
    get_rng_state = staticmethod(torch.get_rng_state)
    set_rng_state = staticmethod(torch.set_rng_state)
    current_device = staticmethod(lambda: "cpu")
    get_device_name = staticmethod(lambda *_: "CPU")

    def __getattr__(self, name: str) -> Any:
        return getattr(torch.cpu, name)


@PlatformRegistry.register(platform="cpu")  # type: ignore[untyped-decorator, unused-ignore]
class CPUPlatform(PlatformBase):  # type: ignore[misc, unused-ignore]
    """What verl asks of a device, answered for a CPU."""

    device_name = "cpu"
    vendor_name = "cpu"
    device_module = _Device("ngrpo_cpu_device")

    set_device = synchronize = manual_seed = manual_seed_all = _nothing
    set_allocator_settings = empty_cache = profiler_start = profiler_stop = cudart = _nothing

    def is_available(self) -> bool:
        """There is always a CPU."""
        return True

    def is_platform_available(self, use_smi_check: bool = False) -> bool:  # noqa: ARG002
        """Never chosen by itself."""
        return False

    def current_device(self) -> str:
        """A name, for torch knows no numbered CPU."""
        return "cpu"

    def device_count(self) -> int:
        """One per worker."""
        return 1

    def get_device_capability(self, device_index: int = 0) -> tuple[None, None]:  # noqa: ARG002
        """None, as it has no CUDA."""
        return None, None

    def communication_backend_name(self) -> str:
        """`gloo`; the worker's process group is started here.

        verl would ask torch for "cpu:gloo,cpu:gloo", which names a device twice, where no group exists yet. The group
        meets in a file, so that nothing listens on the network for it.
        """
        named = os.environ
        if "RANK" in named and "MASTER_PORT" in named and not dist.is_initialized():
            meeting = f"ngrpo_verl_{named.get('WG_PREFIX', '')}_{named['MASTER_PORT']}"
            world = int(named["WORLD_SIZE"])
            store = dist.FileStore(str(Path(tempfile.gettempdir()) / meeting), world)  # type: ignore[attr-defined]
            dist.init_process_group("gloo", store=store, rank=int(named["RANK"]), world_size=world)
            # Not at the top: this module is imported while `verl/__init__` still runs. Every worker comes by here.
            from ngrpo.engines.verl.cpu import models

            models.replace()
        return "gloo"

    def visible_devices_envvar(self) -> str:
        """The variable that Ray hides GPUs with; there are none to hide."""
        return "CUDA_VISIBLE_DEVICES"

    @contextmanager
    def nvtx_range(self, msg: str) -> Iterator[None]:  # noqa: ARG002
        """Marks nothing."""
        yield

    def ray_resource_name(self) -> str:
        """Ray's counter of GPUs, which `ray.init(num_gpus=N)` sets on a machine without any."""
        return "GPU"

    def ray_noset_envvars(self) -> list[str]:
        """The variables that keep Ray from touching visible devices."""
        return ["RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES"]

    def is_ipc_supported(self) -> bool:
        """False: weights travel through shared memory."""
        return False
