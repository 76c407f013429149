"""One simulated step: model, plan and machine sizes from a node pod to 98,304 accelerators."""

from __future__ import annotations

from typing import Any

from rackmodel.engine.options import EngineOptions
from rackmodel.engine.step import simulate_step
from rackmodel.hardware import load_catalog
from rackmodel.kernels.contention import Contention
from rackmodel.kernels.kernel_time import KernelTimes, graphs_by_default
from rackmodel.topology import load_topology
from rackmodel.workload import Job, Plan, load_model


class _Step:
    """A job on a machine, ready to be simulated."""

    options = EngineOptions()

    def prepare(self, machine: str, job: Job) -> None:
        self.machine, self.job = load_topology(machine), job
        part = load_catalog().accelerators[self.machine.accelerator]
        graphs = graphs_by_default(job, part)
        self.kernels = KernelTimes(part, job.stack, cuda_graphs=graphs)
        self.share = Contention(part).share

    def prepare_dense(self, accelerators: int, micro_batches: int) -> None:
        """Prepare GPT-3 175B, tp 8 x pp 8, on nodes of H100."""
        dp = accelerators // 64
        plan = Plan(tp=8, pp=8, dp=dp)
        self.prepare(
            "dgx-h100",
            Job(
                model=load_model("gpt3-175b"),
                plan=plan,
                seq_len=2048,
                global_batch=dp * micro_batches,
            ),
        )

    def run(self) -> Any:
        return simulate_step(self.machine, self.job, self.kernels, self.options, taken=self.share)


class DenseStep(_Step):
    """GPT-3 175B, tp 8 x pp 8, micro-batches of one sequence."""

    params = ([64, 4096, 98304], [64, 1024])
    param_names = ("accelerators", "micro_batches")
    timeout = 300

    def setup(self, accelerators: int, micro_batches: int) -> None:
        self.prepare_dense(accelerators, micro_batches)

    def time_simulate(self, accelerators: int, micro_batches: int) -> None:
        self.run()


class HashedStep(_Step):
    """GPT-3 175B on hashed paths, where nothing folds, by SimPy and by compiled code."""

    params = ([64, 512], ["simpy", "compiled"])
    param_names = ("accelerators", "engine")
    timeout = 300

    def setup(self, accelerators: int, engine: str) -> None:
        self.prepare_dense(accelerators, 64)
        self.options = EngineOptions(routing="ecmp", engine=engine)
        self.run()  # compiles

    def time_simulate(self, accelerators: int, engine: str) -> None:
        self.run()


class RackStep(_Step):
    """Llama 3.1 405B, tp 8 x pp 24 on NVL72 racks: stages that cross racks at every offset."""

    params = ([768, 98304],)
    param_names = ("accelerators",)
    timeout = 300

    def setup(self, accelerators: int) -> None:
        from rackmodel.engine import networks

        networks._kept.clear()  # what is timed includes compiling the machine
        dp = accelerators // 192
        plan = Plan(tp=8, pp=24, dp=dp)
        self.prepare(
            "gb200-nvl72",
            Job(model=load_model("llama3.1-405b"), plan=plan, seq_len=4096, global_batch=dp * 32),
        )

    def time_simulate(self, accelerators: int) -> None:
        self.run()


class ExpertStep(_Step):
    """DeepSeek-V3, pp 4 x vpp 4 with experts over 64 accelerators of NVL72 racks."""

    params = ([256, 2048], [64, 1024])
    param_names = ("accelerators", "micro_batches")
    timeout = 300

    def setup(self, accelerators: int, micro_batches: int) -> None:
        dp = accelerators // 4
        plan = Plan(pp=4, vpp=4, ep=64, dp=dp)
        self.prepare(
            "gb200-nvl72",
            Job(
                model=load_model("deepseek-v3"),
                plan=plan,
                seq_len=4096,
                global_batch=dp * micro_batches,
            ),
        )

    def time_simulate(self, accelerators: int, micro_batches: int) -> None:
        self.run()


class GiantStep(_Step):
    """A mixture of 67T parameters, tp 8 x pp 16, experts over 64 accelerators of NVL72 racks."""

    params = ([983_040],)
    param_names = ("accelerators",)
    timeout = 300

    def setup(self, accelerators: int) -> None:
        dp = accelerators // 128
        plan = Plan(tp=8, pp=16, ep=64, dp=dp)
        self.prepare(
            "gb200-nvl72",
            Job(model=load_model("moe-67t"), plan=plan, seq_len=8192, global_batch=dp * 64),
        )

    def time_simulate(self, accelerators: int) -> None:
        self.run()


class WholeResult:
    """From names to figures: the front door with its assessment, as `rackmodel simulate` does."""

    params = ("dgx-h100", "gb200-nvl72")
    param_names = ("machine",)

    def setup(self, machine: str) -> None:
        self.job = Job(
            model=load_model("gpt3-13b"), plan=Plan(tp=2, dp=32), seq_len=2048, global_batch=512
        )

    def time_simulate_and_assess(self, machine: str) -> None:
        from rackmodel.api import simulate

        simulate(machine, self.job).to_dict()
