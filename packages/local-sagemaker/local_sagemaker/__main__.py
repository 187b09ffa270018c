"""`local-sagemaker`, or `python -m local_sagemaker`: serves until SIGTERM or SIGINT.

`local-sagemaker conformance` asks a SageMaker questions instead.
"""

from __future__ import annotations

import argparse
import logging
import math
import os
import re
import signal
import sys
import threading
from datetime import timedelta

from local_sagemaker.containers.images import ImagesFileError, load_images
from local_sagemaker.http.access import HostNameError, parse_host_name
from local_sagemaker.market import MarketFileError, load_market, scenario_names
from local_sagemaker.services.stand_ins import STORED_ONLY

from .account import REGION, forget_account
from .clock import MAX_SPEED, Clock, JumpingClock, SimulatedClock
from .memory import settle_memory
from .server import LocalSageMaker, is_loopback

_MAX_PORT = 65_535
_MAX_OFFSET = timedelta(days=3650)
_REGION_NAME = re.compile(r"[a-z]{2,4}(-[a-z]+)+-\d")


def main(arguments: list[str] | None = None) -> int:
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] == ["conformance"]:
        from .conformance.command import main as ask_questions

        return ask_questions(arguments[1:])
    parser = _parser()
    options = parser.parse_args(arguments)
    logging.basicConfig(
        level=options.log_level.upper(),
        stream=sys.stderr,
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
    )
    # moto and botocore log every request.
    for name in ("moto", "botocore", "urllib3", "werkzeug"):
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        market = load_market(options.market, price_ratio=options.price_ratio)
        images = load_images(options.images)
    except (MarketFileError, ImagesFileError) as exc:
        parser.error(str(exc))
    settle_memory()
    forget_account(os.environ)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    _warn_of(options.host)
    try:
        server = LocalSageMaker(
            host=options.host,
            port=options.port,
            allowed_hosts=options.allow_host,
            clock=_clock(options.speed, options.clock_offset),
            market=market,
            images=images,
            other_regions=tuple(dict.fromkeys(options.region)),
            refuses_missing_inputs=options.missing_inputs == "refuse",
            allows_stand_ins=options.stand_ins == "allow",
        )
    except OSError as exc:
        parser.error(
            f"cannot serve on {options.host}:{options.port}: {exc.strerror}. Give --port 0 for a free port."
        )
    server.start()
    print(f"ready: {server.url}", flush=True)
    try:
        stop.wait()
    finally:
        server.close()
    return 0


def _warn_of(host: str) -> None:
    if not is_loopback(host):
        print(
            f"WARNING: with --host {host}, other machines can run programs here through training jobs.",
            file=sys.stderr,
        )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="local-sagemaker",
        description="A local SageMaker that models managed spot training, with the rest of AWS from moto on "
        "the same port. Point any AWS client at it with AWS_ENDPOINT_URL; any credentials work; region "
        "us-east-1, account 123456789012.",
        epilog=f"Stored only: {', '.join(STORED_ONLY)}. All other operations of SageMaker that are not about "
        "training jobs are refused, or answer from what is stored. GET /_local/ is a page that lists the "
        "training jobs. Market files: python -m pydoc local_sagemaker.market. To test a training script: "
        "spot-drill --help. To compare a SageMaker with what is known of AWS: local-sagemaker conformance "
        "--help.",
    )
    _add_address(parser)
    _add_clock(parser)
    parser.add_argument(
        "--market",
        metavar="FILE",
        help="a market file, or the name of a shipped scenario: "
        f"{', '.join(scenario_names())} (default: there is always capacity)",
    )
    parser.add_argument(
        "--price-ratio",
        type=_ratio,
        default=0.3,
        metavar="R",
        help="spot price / on-demand price, if the market file gives none (default: %(default)s)",
    )
    parser.add_argument(
        "--region",
        action="append",
        default=[],
        type=_other_region,
        metavar="NAME",
        help="another region of any partition, with its own training jobs, market and services; can be "
        "repeated (default: a request for any region is answered as us-east-1)",
    )
    parser.add_argument(
        "--missing-inputs",
        choices=["refuse", "fail"],
        default="refuse",
        help="what becomes of a job with a channel that has no objects: CreateTrainingJob refuses it, or it "
        "fails while it downloads (default: %(default)s)",
    )
    parser.add_argument(
        "--stand-ins",
        choices=["refuse", "allow"],
        default="refuse",
        help="operations that only claim that work was done (tuning, processing, transform, endpoints, "
        "AutoML, pipelines, ...): refuse them, or let moto pretend (default: %(default)s)",
    )
    parser.add_argument(
        "--images",
        metavar="FILE",
        help="a file that says which interpreter runs scripts for which image (default: shipped)",
    )
    parser.add_argument(
        "--log-level",
        default="info",
        choices=["debug", "info", "warning", "error"],
        help="(default: %(default)s)",
    )
    return parser


def _add_address(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", default="127.0.0.1", help="address to serve on (default: %(default)s)")
    parser.add_argument(
        "--port", type=_port, default=4566, help="port to serve on, 0 for a free port (default: %(default)s)"
    )
    parser.add_argument(
        "--allow-host",
        action="append",
        default=[],
        type=_host_name,
        metavar="NAME",
        help="another name of this server, in addition to --host, loopback addresses, localhost and "
        "*.localhost; *.NAME for every name below it; can be repeated",
    )


def _add_clock(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--speed",
        type=_speed,
        default=60.0,
        metavar="N",
        help="simulated seconds per real second (default: 60); or max, to jump from one event to the next, "
        f"and run at {JumpingClock.SPEED_WITH_PROGRAMS:g} while a script runs",
    )
    parser.add_argument(
        "--clock-offset",
        type=_offset,
        default=timedelta(),
        metavar="SECONDS",
        help="how far the clock starts ahead of the machine's; a negative number for behind (default: 0)",
    )


def _port(text: str) -> int:
    if not (text.isdecimal() and int(text) <= _MAX_PORT):
        raise argparse.ArgumentTypeError(f"{text}: give a port from 0 to {_MAX_PORT}")
    return int(text)


def _host_name(text: str) -> str:
    try:
        return parse_host_name(text)
    except HostNameError as exc:
        raise argparse.ArgumentTypeError(str(exc)) from exc


def _other_region(text: str) -> str:
    if not _REGION_NAME.fullmatch(text) or text == REGION:
        raise argparse.ArgumentTypeError(f"{text}: give a region other than {REGION}, such as eu-west-1")
    return text


def _number(text: str) -> float:
    """Text that is no number becomes NaN, which is in no range, so the error message names the range."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def _speed(text: str) -> float | None:
    """None is `max`."""
    if text == "max":
        return None
    value = _number(text)
    if not 0 < value <= MAX_SPEED:
        raise argparse.ArgumentTypeError(f"{text}: give a number above 0, at most {MAX_SPEED:g}, or max")
    return value


def _offset(text: str) -> timedelta:
    seconds = _number(text)
    if not abs(seconds) <= _MAX_OFFSET.total_seconds():
        raise argparse.ArgumentTypeError(f"{text}: give seconds, {_MAX_OFFSET.days} days at most either way")
    return timedelta(seconds=seconds)


def _clock(speed: float | None, offset: timedelta) -> Clock:
    return JumpingClock(offset=offset) if speed is None else SimulatedClock(speed=speed, offset=offset)


def _ratio(text: str) -> float:
    value = _number(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"{text}: give a number above 0, at most 1")
    return value


if __name__ == "__main__":
    sys.exit(main())
