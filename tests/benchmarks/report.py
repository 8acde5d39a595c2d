"""Targets and tables of a benchmark's figures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

Figures = Mapping[str, Any]


class Target(NamedTuple):
    """What a ratio is to be: at least, or at most, ``limit``."""

    least: bool
    limit: float

    def met(self, value: float) -> bool:
        """Whether the value is on the right side."""
        return value >= self.limit if self.least else value <= self.limit

    def __str__(self) -> str:
        return f"at {'least' if self.least else 'most'} {self.limit:g}"


def at_least(limit: float) -> Target:
    """The more the better."""
    return Target(True, limit)


def at_most(limit: float) -> Target:
    """The less the better."""
    return Target(False, limit)


# By the beginning of a ratio's name; `:` and the workload follow where there are several.
TARGETS = {
    "cpu": {
        "throughput to the limit": at_least(0.95),
        "throughput to the best server of the same network": at_least(1.0),
        "p99 to the best server's at equal load": at_most(1.0),
        "throughput to eager PyTorch": at_least(5.0),
        "int8 to float32": at_least(2.5),
        "p99 at 70 % load to the median of single requests": at_most(2.5),
        "seconds to ready": at_most(3.0),
        "resident MB": at_most(700.0),
        "resident MB grown in the soak": at_most(20.0),
        "goodput at 3 times the capacity to the peak": at_least(0.9),
        "p99 of a refusal in ms at 3 times the capacity": at_most(50.0),
        "p99 of /healthz in ms at 3 times the capacity": at_most(50.0),
    },
}
# A GPU moves what the host can follow with.
TARGETS["cuda"] = {
    name: target for name, target in TARGETS["cpu"].items() if name not in ("int8 to float32", "resident MB")
} | {"throughput to the limit": at_least(0.8), "throughput to eager PyTorch": at_least(3.0)}


def ratios(result: Figures) -> dict[str, dict[str, Any]]:
    """Every ratio that the figures allow, with its target and whether it is met."""
    targets = TARGETS[result["provider"]]
    found: dict[str, dict[str, Any]] = {}
    for name, value in _ratios(result):
        target = targets.get(name.partition(":")[0])
        if target is not None:
            found[name] = {"value": round(value, 3), "target": str(target), "met": target.met(value)}
    return found


def _ratios(result: Figures) -> Iterator[tuple[str, float]]:
    systems, ours = result["systems"], result["systems"].get("ours")
    if ours is not None:
        yield from _throughputs(result, ours)
        yield "seconds to ready", ours["start_seconds"]
    yield from _equal_load(result["equal_load"])
    fp32, int8 = (result["limit"].get(variant) for variant in ("fp32", "int8"))
    if fp32 and int8:
        name = next(iter(fp32))
        yield "int8 to float32", int8[name] / fp32[name]
    own = result["ours"]
    if own:
        over = own["at_300_percent"]
        peak = systems["ours"]["workloads"][next(iter(systems["ours"]["workloads"]))]["many"]["per_second"]
        yield (
            "p99 at 70 % load to the median of single requests",
            own["at_70_percent"]["p99_ms"] / own["single"]["p50_ms"],
        )
        yield "resident MB", own["rss_mb"]
        yield "goodput at 3 times the capacity to the peak", over["goodput_per_second"] / peak
        if "p99_ms" in over["refused"]:
            yield "p99 of a refusal in ms at 3 times the capacity", over["refused"]["p99_ms"]
        yield "p99 of /healthz in ms at 3 times the capacity", over["healthz"]["p99_ms"]
    if "soak" in own:
        yield "resident MB grown in the soak", own["soak"]["growth_mb"]


def _throughputs(result: Figures, ours: Figures) -> Iterator[tuple[str, float]]:
    kinds = {
        "throughput to the best server of the same network": "-onnx",
        "throughput to eager PyTorch": "-eager",
    }
    for workload, figures in ours["workloads"].items():
        own = figures["many"]["per_second"]
        default = max(
            s["workloads"][workload]["many"]["per_second"] for n, s in result["systems"].items() if _is_ours(n)
        )
        if result["limit"]:
            yield f"throughput to the limit: {workload}", own / result["limit"]["fp32"][workload]
        for name, kind in kinds.items():
            others = _of_kind(result["systems"], kind)
            if others:
                best = max(other["workloads"][workload]["many"]["per_second"] for other in others)
                # Other servers run the float32 network; eager PyTorch is compared with the service's default variant.
                yield f"{name}: {workload}", (default if kind == "-eager" else own) / best


def _equal_load(equal_load: Figures) -> Iterator[tuple[str, float]]:
    others = _of_kind(equal_load, "-onnx")
    if "ours" not in equal_load or not others:
        return
    for workload, shares in equal_load["ours"].items():
        for share, figures in shares.items():
            best = min(other[workload][share].get("p99_ms", float("inf")) for other in others)
            name = f"p99 to the best server's at equal load: {workload}, {float(share):.0%}"
            yield name, figures["p99_ms"] / best


def _is_ours(name: str) -> bool:
    return name.partition("-")[0] == "ours"


def _of_kind(systems: Figures, kind: str) -> list[Figures]:
    return [figures for name, figures in systems.items() if name.endswith(kind)]


def tables(result: Figures) -> str:
    """The figures as Markdown."""
    provider = "CPU" if result["provider"] == "cpu" else "CUDA"
    rivals = result["rivals"]
    parts = [
        f"# Benchmark, {provider}",
        f"{result['machine']}; {result['bundle']['name']} {result['bundle']['version']}; {result['measured_at']}. "
        f"Made by `{result['command']}`. Other servers run {rivals['processes']} processes of {rivals['threads_each']} "
        f"threads; {result['clients']} clients in the closed loop.",
        "## Targets",
        _table(
            ["", "Measured", "Target", ""],
            [
                [n, f"{r['value']:g}", r["target"], "met" if r["met"] else "**missed**"]
                for n, r in result["ratios"].items()
            ],
        ),
        "## Closed loops",
        _table(
            ["System", "Picture", "Alone, p50 ms", "A second", "p50 ms", "p99 ms", "CPUs busy", "RSS MB"],
            [*_limit_rows(result["limit"]), *_system_rows(result["systems"])],
        ),
    ]
    tail = result["ours"].get("at_70_percent", {})
    if "queue_p99_ms" in tail:
        parts.append(
            f"At 70 % load the p99 is {tail['p99_ms']:g} ms. A queue that waits for nothing but cores, each busy "
            f"with one picture for {tail['one_core_ms']:g} ms, has {tail['queue_p99_ms']:g} ms with random arrivals."
        )
    if result["equal_load"]:
        rows = [
            [system, workload, f"{f['offered']:.1f}", *(_shown(f, p) for p in ("p50_ms", "p95_ms", "p99_ms", "errors"))]
            for system, workloads in result["equal_load"].items()
            for workload, shares in workloads.items()
            for f in shares.values()
        ]
        heads = ["System", "Picture", "Offered a second", "p50 ms", "p95 ms", "p99 ms", "Errors"]
        parts += ["## Equal load, open loop", _table(heads, rows)]
    return "\n\n".join(parts) + "\n"


def _limit_rows(limits: Figures) -> list[list[str]]:
    return [
        [f"limit, {variant}", workload, "", f"{per_second:.1f}", "", "", "", ""]
        for variant, workloads in limits.items()
        for workload, per_second in workloads.items()
    ]


def _system_rows(systems: Figures) -> list[list[str]]:
    return [
        [
            name,
            workload,
            _shown(figures["single"], "p50_ms"),
            *(_shown(figures["many"], figure) for figure in ("per_second", "p50_ms", "p99_ms", "cpus_busy")),
            f"{system['rss_mb']:.0f}",
        ]
        for name, system in systems.items()
        for workload, figures in system["workloads"].items()
    ]


def _shown(figures: Figures, name: str) -> str:
    return f"{figures[name]:g}" if name in figures else "-"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
