"""``python -m bench FIGURE``: measure one figure, or all of them."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvloop

from bench import against, chain, cluster, crash, flows, groups, latency, layers, mappings, profiling, waiting
from bench.failures import run as failures
from bench.failures.scenarios import SCENARIOS
from bench.lab import STORES, Lab, open_lab
from bench.processes import LOAD_CPU, REPO, NotRunning, pin, stop_on_signals
from bench.report import Figure, publish, say
from bench.rill import Refused
from bench.wire import Broken

Measure = Callable[[Lab, argparse.Namespace], Awaitable[Figure]]


def main() -> int:
    """Return 0 when every goal of the measured figures was met, 1 when not, 2 when it could not be measured."""
    options = _parser().parse_args()
    names = [name for name in _FIGURES if name not in _LONG] if options.figure == "all" else [options.figure]
    pin(LOAD_CPU)
    stop_on_signals()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            met = [runner.run(_measure(name, options)) for name in names]
    except KeyboardInterrupt:
        say("stopped")
        return 130
    except (NotRunning, Refused, Broken, TimeoutError) as error:
        say(f"could not measure: {type(error).__name__}: {error}")
        return 2
    return 0 if all(met) else 1


async def _measure(name: str, options: argparse.Namespace) -> bool:
    with open_lab(
        python=options.python, bare_home=options.bare, disk=options.disk, patience_s=options.patience,
        settings=options.set, repo=options.repo,
    ) as lab:  # fmt: skip
        figure = await _FIGURES[name](lab, options)
        publish(figure, options.results)
    return figure.is_met


def _rhythm(options: argparse.Namespace) -> flows.Rhythm:
    return flows.Rhythm(options.in_flight, options.warm, options.seconds, options.rounds)


_LONG = ("failures", "cluster")
"""Not part of ``all``: they let go of the cores that the others are measured on, and take hours."""


async def _flows(lab: Lab, options: argparse.Namespace) -> Figure:
    stores = options.stores or STORES
    if options.against is not None:
        return await against.measure(lab, options.against.resolve(), stores, _rhythm(options))
    return await flows.measure(lab, stores, _rhythm(options))


_FIGURES: dict[str, Measure] = {
    "ceiling": lambda lab, options: flows.ceiling(lab, _rhythm(options)),
    "cluster": lambda lab, options: cluster.measure(lab, _rhythm(options)),
    "flows": lambda lab, options: _flows(lab, options),
    "latency": lambda lab, options: latency.measure(lab, options.stores or ["sqlite"], options.flows),
    "chain": lambda lab, options: chain.measure(lab, options.stores or ["memory", "sqlite"], options.repeats),
    "waiting": lambda lab, options: waiting.measure(lab, options.stores or ["sqlite"], options.executions),
    "crash": lambda lab, options: crash.measure(
        lab, options.stores or ["sqlite", "mongodb"], crash.Plan(options.kills, seed=options.seed)
    ),
    "failures": lambda lab, options: failures.measure(
        lab, failures.Plan(options.minutes, options.only, options.seed, options.rate)
    ),
    "groups": lambda lab, options: groups.measure(lab, options.stores or ["sqlite"], options.items),
    "layers": lambda lab, options: layers.measure(lab, options.stores or ["sqlite"], options.repeats),
    "mappings": lambda lab, options: mappings.measure(lab, options.evaluations),
    "profile": lambda lab, options: profiling.measure(lab, options.stores or STORES, _rhythm(options)),
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m bench", description="Measure one figure of the server, or all.")
    parser.add_argument("figure", choices=[*_FIGURES, "all"])
    parser.add_argument(
        "--stores",
        type=_stores,
        default=[],
        help=f"of {', '.join(STORES)}, with commas; default: what the figure asks for",
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0, help="length of one measurement")
    parser.add_argument("--warm", type=float, default=2.0, help="seconds of load before it")
    parser.add_argument("--in-flight", type=int, default=256)
    parser.add_argument("--flows", type=int, default=200, help="latency: how many")
    parser.add_argument("--repeats", type=int, default=5, help="chain, layers: runs of each kind, the fastest counts")
    parser.add_argument("--executions", type=int, default=20_000, help="waiting: how many")
    parser.add_argument(
        "--items", type=_lengths, default=groups.ITEMS, help="groups: lengths of the loops, with commas"
    )
    parser.add_argument("--evaluations", type=int, default=1_000_000, help="mappings: of each kind")
    parser.add_argument("--kills", type=int, default=50, help="crash: how often")
    parser.add_argument("--seed", type=int, default=1, help="crash, failures: of the moments")
    parser.add_argument("--minutes", type=float, default=10.0, help="failures: of each scenario")
    parser.add_argument("--only", type=_scenarios, default=[], help="failures: scenarios, with commas")
    parser.add_argument("--rate", type=float, default=15.0, help="failures: flows begun per second")
    parser.add_argument("--set", action="append", default=[], metavar="a.b=VALUE", help="a setting of the server")
    parser.add_argument("--patience", type=float, default=5.0, help="seconds to wait for an idle machine")
    parser.add_argument("--bare", type=Path, default=REPO.parent / "shared" / "bench", help="folder of bare_flow.py")
    parser.add_argument("--repo", type=Path, default=REPO, help="checkout whose server is measured; default: this one")
    parser.add_argument(
        "--against", type=Path, help="flows: in turn with this other checkout, not with the bare program"
    )
    parser.add_argument("--disk", type=Path, default=None, help="folder on the disk to test")
    parser.add_argument("--results", type=Path, default=REPO / "bench" / "results")
    parser.add_argument("--python", default=sys.executable, help="interpreter of the processes under test")
    return parser


def _lengths(text: str) -> list[int]:
    lengths = [int(one.replace("_", "")) for one in text.split(",")]
    if min(lengths) < 1:
        raise argparse.ArgumentTypeError(f"a loop has at least 1 item: {min(lengths)}")
    return lengths


def _scenarios(text: str) -> list[str]:
    known, names = [scenario.name for scenario in SCENARIOS], text.split(",")
    if unknown := [name for name in names if name not in known]:
        raise argparse.ArgumentTypeError(f"no such scenario: {unknown[0]!r}; there are {', '.join(known)}")
    return names


def _stores(text: str) -> list[str]:
    names = text.split(",")
    if unknown := [name for name in names if name not in STORES]:
        raise argparse.ArgumentTypeError(f"no such store: {unknown[0]!r}")
    return names


if __name__ == "__main__":
    sys.exit(main())
