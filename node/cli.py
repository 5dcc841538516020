"""`cortexd`: run one daemon in the foreground, or show its configuration."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click
import structlog

from node import __version__
from node.config import Config, load, quiet_grpc
from node.core.faults import Code, Fault
from node.env import RealClock
from node.libraries import missing
from node.lock import only_one
from node.log_throttle import Throttle
from node.recovery.commands import migrate, recover, repair, snapshot
from node.secret import read_secret

if TYPE_CHECKING:
    from collections.abc import Awaitable

    RunDaemon = Callable[[Config, str, asyncio.Event], Awaitable[Exception | None]]


_STOP_LIMIT_S = 60
_EXIT_LIMIT_S = 5


def options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The flags that `run` and `config` share; each is also CORTEX_<NAME> and a key of the file."""
    flags = [
        click.option("--id", help="Id of this node, unique in the cluster."),
        click.option("--data", help="Data folder of this node; made if it is not there."),
        click.option(
            "--listen", metavar="HOST:PORT", help="Address for the other daemons and for clients; loopback only."
        ),
        click.option(
            "--voters", metavar="ID=ADDR,…", help="Voters that start the cluster; the same on each of them."
        ),
        click.option(
            "--join",
            multiple=True,
            metavar="ADDR",
            help="HOST:PORT of a running daemon to join; repeatable.",
        ),
        click.option("--worker", is_flag=True, help="Only run tasks: keep no log, never vote."),
        click.option(
            "--slots",
            multiple=True,
            metavar="[TYPE=]N",
            help="Tasks of a type that run at once; default: cores for shell, 64 for noop, else 5.",
        ),
        click.option(
            "--label",
            "labels",
            multiple=True,
            metavar="K[=V]",
            help="Label of this node for placement; repeatable.",
        ),
        click.option(
            "--capability",
            "capabilities",
            multiple=True,
            metavar="NAME",
            help="Capability that tasks may ask for; repeatable.",
        ),
        click.option(
            "--consensus",
            metavar="ENGINE",
            help="Where the log is kept: raftos (default), or etcd://host:2379,…[?prefix=…].",
        ),
        click.option("--secret-file", help="File with the cluster's secret; default: DATA/secret."),
        click.option("--log-level", metavar="LEVEL", help="debug, info (default), warning or error."),
        click.option("--config", metavar="FILE", help="TOML file with the same settings; flags win over it."),
    ]
    for flag in reversed(flags):
        command = flag(command)
    return command


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="cortexd")
def cli() -> None:
    """The daemon of a Cortex cluster.

    Exit codes: 0 clean stop, 1 cannot go on, 2 usage or configuration.
    """


@cli.command()
@options
def run(**flags: object) -> None:
    """Run this node until TERM or Ctrl-C."""
    config = load(flags)
    run_daemon = _daemon(config)
    with only_one(config.data):
        secret = read_secret(config.secret_path)
        _log_as_json(config)
        error = asyncio.run(_run(run_daemon, config, secret))
    if error is not None:
        raise Fault(Code.INTERNAL, str(error), "See the log above; the data folder is unharmed.")


cli.add_command(snapshot)
cli.add_command(migrate)
cli.add_command(recover)
cli.add_command(repair)


@cli.command(name="config")
@options
def show_config(**flags: object) -> None:
    """Check the configuration that `run` would use.

    Prints it as JSON. Settings of executors are checked, too.
    """
    from node.host import setups
    from node.worker.executors import registry

    config = load(flags)
    registry.check(config.executors, setups(config), config.executor)
    click.echo(config.document())


def main() -> None:
    """Entry point: every Fault is one sentence of cause and one of remedy, and exit status 1 (2: usage)."""
    try:
        cli.main(prog_name="cortexd", standalone_mode=False)
    except click.exceptions.Abort:
        sys.exit(130)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(error.exit_code)
    except click.UsageError as error:
        where = error.ctx.command_path if error.ctx is not None else "cortexd"
        click.echo(f"cortexd: {error.format_message()}\nSee `{where} --help`.", err=True)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except Fault as fault:
        click.echo(f"cortexd: {fault.message}\n{fault.remedy}", err=True)
        sys.exit(2 if fault.code == Code.INVALID else 1)


async def _run(run_daemon: RunDaemon, config: Config, secret: str) -> Exception | None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, stop.set)
    bound = loop.create_task(_bound_stop(stop))
    try:
        return await run_daemon(config, secret, stop)
    finally:
        bound.cancel()
        if stop.is_set():
            # What is left are threads, which end at once but where a disk does not answer.
            signal.alarm(_EXIT_LIMIT_S)


async def _bound_stop(stop: asyncio.Event) -> None:
    """A disk that hangs must not keep the process: the kernel ends it, as a kill would, which loses nothing."""
    await stop.wait()
    signal.alarm(_STOP_LIMIT_S)
    await asyncio.sleep(_STOP_LIMIT_S - _EXIT_LIMIT_S)
    structlog.get_logger().error(
        "the daemon does not stop and is ended: what is acknowledged is kept",
        waited_s=_STOP_LIMIT_S - _EXIT_LIMIT_S,
        remedy="Look at the disk of the data folder, then start again.",
    )


def _daemon(config: Config) -> RunDaemon:
    """What runs a daemon, imported only here: without an engine flags and help still work. Raises Fault."""
    quiet_grpc()
    try:
        from node import engines
        from node.host import run_daemon

        engines.load(config.consensus)
    except ImportError as error:
        raise missing(error) from None
    return run_daemon


def _log_as_json(config: Config) -> None:
    levels = logging.getLevelNamesMapping()
    level = levels.get(config.log_level.upper())
    if level is None:
        message = f"Setting log_level {config.log_level!r} cannot be used: it is not a log level."
        raise Fault(Code.INVALID, message, "Choose debug, info, warning or error.")
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            Throttle(RealClock()),
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.dict_tracebacks,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
    )


if __name__ == "__main__":
    main()
