"""The made-up nodes, and what is sampled of them. Pure: all follows from the number of the node and the tick."""

from __future__ import annotations

import math
import random

from cortex.v1 import cluster_pb2, types_pb2

START_US = 1_790_000_000_000_000
SECOND_US = 1_000_000
GIB = 2**30
CORES = 16
SLOTS = 8
CYCLE = 16
"""Ticks after which the samples come again: made once, they weigh little where the console is measured."""
_ROOMS = ("rack-a", "rack-b", "rack-c", "lab", "attic")


def node_id(number: int) -> str:
    return f"n{number + 1:04d}"


def node(number: int, voters: int) -> types_pb2.Node:
    row = types_pb2.Node(
        id=node_id(number),
        hostname=f"{node_id(number)}.{_ROOMS[number % len(_ROOMS)]}",
        address=f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}:7400",
        state=types_pb2.NODE_STATE_ACTIVE,
        role=types_pb2.NODE_ROLE_VOTER if number < voters else types_pb2.NODE_ROLE_WORKER,
        online=number < voters or number % 211 != 210,
        slots=[types_pb2.Slots(type=types_pb2.TASK_TYPE_SHELL, count=SLOTS)],
        joined_at_us=START_US - (number + 1) * 3600 * SECOND_US,
        changed_at_us=START_US - (number % 90 + 1) * 60 * SECOND_US,
        modified_index=number + 1,
        version="1.0.0",
    )
    row.labels.add(key="room", value=_ROOMS[number % len(_ROOMS)])
    if number % 97 == 5:
        row.state, row.message = types_pb2.NODE_STATE_CORDONED, "disk is being replaced"
    return row


def sample(
    row: types_pb2.Node, number: int, tick: int, busy: int, assigned: int, leader: bool
) -> cluster_pb2.NodeView:
    """What the leader would tell of the node at a tick, with `busy` tasks running there."""
    chance = random.Random(number * CYCLE + tick % CYCLE)
    wave = math.sin(2 * math.pi * (tick % CYCLE) / CYCLE + number)
    cpu = _percent(12 + busy * 9 + 6 * wave + chance.uniform(-3, 3))
    memory = _percent(22 + busy * 6 + number % 23)
    disk = _percent(35 + number % 50)
    network = _percent(3 + busy * 2 + chance.uniform(0, 4))
    view = cluster_pb2.NodeView(node=row, running=busy, assigned=assigned, leader=leader, age_us=300_000)
    if not row.online:
        view.age_us = -1
        return view
    view.resources.cpu_percent = cpu
    resources = view.resources
    resources.sampled_at_us = START_US + tick * SECOND_US
    resources.cores, resources.load_1m = CORES, cpu * CORES / 100
    resources.memory_total_bytes = 64 * GIB
    resources.memory_available_bytes = int(64 * GIB * (1 - memory / 100))
    resources.disk_total_bytes = 2000 * GIB
    resources.disk_free_bytes = int(2000 * GIB * (1 - disk / 100))
    resources.disk_io_percent = network / 2
    resources.link_bits_per_s = 10_000_000_000
    resources.rx_bytes_per_s = network * 12_500_000
    resources.tx_bytes_per_s = network * 4_000_000
    gpu = _gpus(view, number, busy, chance)
    terms = view.terms
    terms.cpu, terms.memory = 0.3 * (100 - cpu), 0.3 * (100 - memory)
    terms.disk, terms.network = 0.15 * (100 - disk), 0.1 * (100 - network)
    terms.gpu, terms.tasks = 0.15 * (100 - gpu), -5.0 * (busy + assigned)
    view.score = terms.cpu + terms.memory + terms.disk + terms.network + terms.gpu + terms.tasks
    view.scored = True
    return view


def _gpus(view: cluster_pb2.NodeView, number: int, busy: int, chance: random.Random) -> float:
    """Adds the cards of every eighth node; returns their mean utilisation."""
    if number % 8 != 3:
        return 0.0
    used = _percent(busy * 11 + chance.uniform(0, 20))
    for card in range(2):
        view.resources.gpus.add(
            name="RTX 6000 Ada",
            memory_total_bytes=48 * GIB,
            memory_used_bytes=int(48 * GIB * used / 110),
            utilisation_percent=used,
            temperature_celsius=round(32 + used / 2),
            power_watts=round(25 + 2.7 * used),
            uuid=f"GPU-{number:08x}-{card}",
        )
    return used


def _percent(value: float) -> float:
    return round(max(0.0, min(100.0, value)), 1)
