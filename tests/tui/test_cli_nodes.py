"""`cortex node`, `cortex bench node` and the use of a task: text, documents, what is said of what is not known."""

from __future__ import annotations

import math

from cortex.v1 import cluster_pb2 as pb
from cortex.v1 import types_pb2 as types
from tests.tui.command_line import CommandLine
from tests.tui.fake_cluster import FakeCluster, Refusal
from tui.documents import resources_view
from tui.documents.node_text import gpu_process_text, gpu_text, history_lines, node_lines

GIB = 1 << 30
AT_US = 1_769_860_800_000_001
USE = types.TaskUse(
    task="t1",
    fence=7,
    processes=3,
    cpu_percent=150,
    memory_bytes=200_000_000,
    read_bytes_per_s=0,
    written_bytes_per_s=1000,
    peak_memory_bytes=300_000_000,
    peak_cpu_percent=190,
)
BENCHMARK = types.Benchmark(
    at_us=AT_US,
    cores=8,
    core_flops=2e9,
    node_flops=1.5e10,
    memory_bytes_per_s=4e10,
    write_bytes_per_s=2e9,
    read_iops=50_000,
    note="others used 30 % of its CPU time meanwhile",
)


def full_sample() -> types.Resources:
    return types.Resources(
        cpu_percent=50,
        cores=8,
        link_bits_per_s=10**9,
        tx_bytes_per_s=62_500_000,
        disk_queue=2.5,
        net_drops_per_s=3,
        temperature_celsius=61,
        battery_percent=80,
        on_battery=True,
        memory_pressure_percent=0,
        io_pressure_percent=12,
        swap_total_bytes=8 * GIB,
        swap_used_bytes=0,
        benchmark=BENCHMARK,
        gpus=[
            types.Gpu(
                name="A100 MIG 1g",
                uuid="MIG-1",
                parent="GPU-x",
                memory_total_bytes=10 * GIB,
                slowed_by=["heat"],
                processes=[types.GpuProcess(pid=7, name="train", memory_bytes=GIB, task="t1")],
            )
        ],
    )


def full_view() -> pb.NodeView:
    node = types.Node(
        id="n1",
        slots=[types.Slots(type=types.TASK_TYPE_SHELL, count=4)],
        executors=[
            types.ExecutorOffer(type=types.TASK_TYPE_CONTAINER, detail="docker", reason="It is off. Start it."),
            types.ExecutorOffer(type=types.TASK_TYPE_SHELL, available=True),
        ],
        sandboxes=[
            types.SandboxOffer(level=types.SANDBOX_LEVEL_DEFAULT, available=True, detail="bubblewrap 0.8.0"),
            types.SandboxOffer(level=types.SANDBOX_LEVEL_STRICT, reason="No user namespaces."),
        ],
    )
    return pb.NodeView(node=node, resources=full_sample())


def test_a_document_tells_what_is_measured_and_null_for_what_is_not() -> None:
    document = resources_view.resources(full_sample())
    assert document["network_percent"] == 50
    assert (document["disk_queue"], document["memory_pressure_percent"], document["on_battery"]) == (2.5, 0, True)
    assert document["disk_read_bytes_per_s"] is None
    assert document["cpu_pressure_percent"] is None
    assert document["swap_used_bytes"] == 0
    [gpu] = document["gpus"]
    assert (gpu["utilisation_percent"], gpu["power_watts"], gpu["ecc_errors"]) == (None, None, None)
    assert gpu["parent"] == "GPU-x"
    assert gpu["processes"] == [{"pid": 7, "name": "train", "memory_bytes": GIB, "task": "t1"}]
    bare = resources_view.resources(types.Resources())
    assert [bare[name] for name in ("link_bits_per_s", "network_percent", "temperature_celsius")] == [None] * 3


def test_offers_say_with_what_or_why_not() -> None:
    node = full_view().node
    container, shell = resources_view.executors(node)
    assert shell == {"type": "shell", "available": True, "slots": 4, "detail": None, "reason": None}
    assert (container["available"], container["slots"], container["detail"]) == (False, 0, "docker")
    assert [one["level"] for one in resources_view.sandboxes(node)] == ["default", "strict"]


def test_a_node_in_text_leaves_out_what_is_not_measured() -> None:
    lines = list(node_lines(full_view(), [USE]))
    text = "\n".join(lines)
    assert "cpu:      50 % of 8 cores, load 0.00, 61 °C" in lines
    assert "0 B of 8.59 GB swap used" in text
    assert "62.5 MB/s out, 50 % of its links, 3 packets/s dropped" in text
    assert "pressure: something waited for memory 0 %, disk 12 % of the last 10 s" in lines
    assert "battery:  80 %, no mains power" in lines
    offers = lines.index("runs:     shell, 4 at once")
    assert lines[offers + 1] == "runs not: container: It is off. Start it."
    assert "sandbox:  strict, not here: No user namespaces." in lines
    assert "uses:     t1  1.50 cores, 200 MB, 0 B/s read, 1.00 kB/s written, 3 processes" in text
    assert "bench:    2.00 GFLOPS a core, 15.00 on 8, memory 40.0 GB/s" in text
    assert "doubtful: others used 30 %" in text
    assert "power" not in text.replace("mains power", "")
    bare = "\n".join(node_lines(pb.NodeView(node=types.Node(id="n1"))))
    assert not any(word in bare for word in ("cpu:", "pressure:", "bench:", "gpu:", "runs"))


def test_a_gpu_in_text() -> None:
    [gpu] = full_sample().gpus
    said = gpu_text(gpu)
    assert said == "A100 MIG 1g (a part of GPU-x), 0 B of 10.7 GB used, slowed down by heat"
    assert gpu_process_text(gpu.processes[0]) == "train (7) 1.07 GB, task t1"
    assert gpu_text(types.Gpu(name="T4", utilisation_percent=0)) == "T4, 0 % busy"


def history() -> pb.InspectNodeReply:
    return pb.InspectNodeReply(
        node="n1",
        step_us=10_000_000,
        until_us=AT_US,
        history=[
            types.Series(name="cpu", values=[0, math.nan, 100, 50]),
            types.Series(name="rx", values=[0, 0, 2000, 1000]),
            types.Series(name="gpu", values=[math.nan] * 4),
        ],
    )


def test_curves_have_gaps_and_leave_out_what_was_never_measured() -> None:
    head, cpu, rx = history_lines(history(), unicode=False)
    assert head == "the last 40s, each step 10s, until 2026-01-31T12:00:00Z"
    assert cpu == "cpu         _ #=  least 0 %, mean 50 %, most 100 %"
    assert rx == "rx          __#=  least 0 B/s, mean 750 B/s, most 2.00 kB/s"
    assert list(history_lines(pb.InspectNodeReply(), unicode=True)) == []


async def test_a_node_shows_what_its_tasks_use_and_its_history(cortex: CommandLine, cluster: FakeCluster) -> None:
    cluster.inspected["n1"] = history()
    cluster.inspected["n1"].tasks.append(USE)
    assert "uses:     t1  1.50 cores" in (await cortex("node", "n1")).text
    document = (await cortex("node", "n1", "--json")).document
    assert document["tasks"][0]["cpu_percent"] == 150
    assert "history" not in document
    shown = (await cortex("node", "n1", "--history", "--json")).document["history"]
    assert (shown["step_s"], shown["series"]["cpu"]) == (10, [0, None, 100, 50])
    text = (await cortex("node", "n1", "--history", "--span", "2h")).text
    assert text.splitlines()[1].startswith("cpu ")
    spans = [request.span_us for method, request in cluster.calls if method == "InspectNode"]
    assert spans == [0, 0, 600_000_000, 7_200_000_000]


async def test_a_node_that_does_not_answer_is_still_shown(cortex: CommandLine, cluster: FakeCluster) -> None:
    cluster.refuse["InspectNode"] = Refusal("not_found", "It is away.", "Look.")
    ran = await cortex("node", "n1")
    assert (ran.code, ran.text.startswith("id:       n1\n")) == (0, True)
    assert "what its tasks use is not known: It is away." in ran.err
    assert (await cortex("node", "n1", "--history")).code == 3
    assert (await cortex("node", "n1", "--history", "--at", "10m")).code == 2


async def test_a_running_task_shows_what_it_uses(cortex: CommandLine, cluster: FakeCluster) -> None:
    cluster.add_task("t1", state=types.TASK_STATE_RUNNING, node="n1", fence=7)
    cluster.inspected["n1"] = pb.InspectNodeReply(node="n1", tasks=[USE])
    assert "uses:          1.50 cores, 200 MB" in (await cortex("task", "t1")).text
    assert (await cortex("task", "t1", "--json")).document["use"]["memory_bytes"] == 200_000_000
    cluster.inspected["n1"].tasks[0].fence = 6  # of an assignment before
    assert (await cortex("task", "t1", "--json")).document["use"] is None


async def test_a_benchmark_is_shown_and_one_that_fails_is_said(cortex: CommandLine, cluster: FakeCluster) -> None:
    cluster.benchmarks["n1"] = BENCHMARK
    ran = await cortex("bench", "node", "n1")
    assert "  all 8 cores" in ran.text
    assert "50000/s" in ran.text
    assert "to be doubted, since others used 30 %" in ran.err
    cluster.add_node("n9")
    ran = await cortex("bench", "node", "n1", "n9", "--json")
    assert ran.code == 1
    assert [one["node"] for one in ran.document["nodes"]] == ["n1"]
    assert "n9: The node n9 does not answer" in ran.err
    assert (await cortex("bench", "node", "none")).code == 3


async def test_a_task_of_another_type_says_which_and_what_it_was_given(cortex: CommandLine) -> None:
    given = ("--set", "image=app:1", "--set", "memory=512MB")
    task = (await cortex("submit", "--type", "container", *given, "--", "serve")).text.strip()
    text = (await cortex("task", task)).text
    assert "type:          container\ncommand:       serve\npayload:       image app:1, memory 512MB\n" in text
    shell = (await cortex("submit", "--", "true")).text.strip()
    text = (await cortex("task", shell)).text
    assert "type:" not in text
    assert "payload:" not in text
