"""What the help shows beside the options: the headings under which verbs are listed, and examples of each verb."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

SECTIONS: Mapping[str, Sequence[str]] = {
    "Cluster on this machine": ("up", "down", "console"),
    "Submit and follow": ("submit", "run", "dispatch", "wait", "logs"),
    "Tasks": ("tasks", "task", "why", "cancel", "retry", "priority", "annotate"),
    "Workflows": ("workflow", "workflows"),
    "Dead letters and operations": ("dead-letters", "discard", "operations", "undo"),
    "Nodes": ("nodes", "node", "cordon", "uncordon", "drain", "remove", "bench", "approvals"),
    "History": ("events", "diff", "double-runs"),
    "Cluster": ("status", "settings", "voters", "leader", "snapshot", "cluster"),
    "Your shell and keys": ("completion", "keymap"),
}
"""Each verb of `cortex` once, those that are needed first at the top."""

EXAMPLES: Mapping[str, Sequence[str]] = {
    "": (
        "cortex up --data demo                     start three voters here, open the console",
        "cortex submit --wait -- echo hello        run a command and get its output",
        "cortex why ID                             why a task waits, or went where it did",
    ),
    "up": ("cortex up", "cortex up --voters 1 --workers 2 --headless --no-sample --data demo"),
    "down": ("cortex down --data demo",),
    "console": (
        "cortex console --demo small",
        "cortex console --record night.rec",
        "cortex console --replay night.rec --speed 10",
    ),
    "submit": (
        "cortex submit --wait -- sh -c 'make test'",
        "cortex submit --priority P0 --timeout 30m --label ssd -- ./backup.sh",
        "cortex submit --type container --set image=alpine -- cat /etc/os-release",
        "cortex submit --file tasks.jsonl",
    ),
    "run": ("cortex run --all -- uname -r", "cortex run --nodes n1,n2 --timeout 30s -- df -h /"),
    "dispatch": ("cortex dispatch --count 3 @prompt.txt",),
    "wait": ("cortex wait ID", "cortex wait --ready ID"),
    "logs": ("cortex logs -f ID", "cortex logs --grep 'error|timeout' -i -C 2 ID"),
    "tasks": (
        "cortex tasks --state running --node n1",
        "cortex tasks --filter 'name~^deploy age<2h' --sort age",
        "cortex tasks --at 10m --json",
    ),
    "task": ("cortex task ID", "cortex task ID --at 10m"),
    "why": ("cortex why ID",),
    "cancel": ("cortex cancel --wait --reason 'wrong branch' ID",),
    "retry": ("cortex retry ID", "cortex retry ID --edit", "cortex retry --cause CAUSE --canary --wait"),
    "priority": ("cortex priority ID P0",),
    "annotate": ("cortex annotate ID 'the disk was full'",),
    "workflow": ("cortex workflow submit --wait release.yaml", "cortex workflow resume ID"),
    "workflow submit": ("cortex workflow submit --dry-run release.yaml", "cortex workflow submit --wait -"),
    "workflow resume": ("cortex workflow resume ID", "cortex workflow resume ID --from deploy --dry-run"),
    "dead-letters": ("cortex dead-letters --group", "cortex dead-letters --cause CAUSE"),
    "discard": ("cortex discard --cause CAUSE --reason 'the disk was replaced'",),
    "operations": ("cortex operations --live", "cortex operations OPERATION"),
    "undo": ("cortex undo OPERATION", "cortex undo OPERATION --stop"),
    "nodes": ("cortex nodes --sort cpu:desc", "cortex nodes --filter 'gpu and state=active' -o csv"),
    "node": ("cortex node n1", "cortex node n1 --history --span 2h"),
    "bench node": ("cortex bench node n1",),
    "cordon": ("cortex cordon n1 --message 'new disk'",),
    "drain": (
        "cortex drain n1 --dry-run --deadline 30m",
        "cortex drain n1 --plan PLAN --wait",
        "cortex drain n1 --max-parallel 2 --message 'new kernel'",
    ),
    "events": (
        "cortex events --since 2h --node n1",
        "cortex events -f --json",
        "cortex events --audit --actor uid:1000",
    ),
    "diff": ("cortex diff --from 1h", "cortex diff --from 2026-01-31T12:00:00Z --to 10m"),
    "settings": ("cortex settings", "cortex settings set lease_ms 60000"),
    "settings set": ("cortex settings set sandbox default", "cortex settings set max_queue_depth 5000"),
    "voters": ("cortex voters", "cortex voters add n4 --wait", "cortex voters remove n2"),
    "leader": ("cortex leader", "cortex leader transfer n2"),
    "snapshot": ("cortex snapshot save cortex.snap", "cortex snapshot inspect cortex.snap"),
    "cluster": ("cortex cluster finalize",),
    "completion": (
        'eval "$(cortex completion bash)"          in ~/.bashrc; zsh likewise',
        "cortex completion fish | source           in config.fish",
    ),
    "keymap": ("cortex keymap > ~/.config/cortex/keymap.toml",),
}
"""Path of a verb -> command lines that it understands; a remark stands behind two spaces or more."""
