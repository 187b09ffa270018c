"""The page and its JSON API, as an app that Airflow's API server mounts: read-only, behind its login."""

from __future__ import annotations

import threading
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, date, datetime
from hashlib import sha256
from typing import Annotated, Any, Literal

from airflow.api_fastapi.core_api.security import get_user
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import BaseModel, BeforeValidator, StringConstraints
from starlette.exceptions import HTTPException as StarletteHTTPException

from spot_training import settings
from spot_training.compat import keeps_login_in_storage
from spot_training.domain.budget import Budget, budget_from, month_of
from spot_training.domain.errors import InstallationUnknown, InvalidInput, MissingPackage
from spot_training.domain.records import TrainingRecord
from spot_training.sagemaker.console import console_of

from . import assets
from .access import MAY_READ_TASK, Readable, login_url, this_airflow, use_login_of_cookie
from .budgets import budgets_of
from .experience import Experience, experience_of
from .month import month_at
from .now import NOW_ROWS, Now, now_of
from .overview import (
    PAGE_ROWS,
    Choices,
    Filters,
    Order,
    Overview,
    TrainingRow,
    Window,
    choices,
    overview_of,
    trainings,
)
from .rendering import render
from .source import Source
from .stored import names_of_training, with_state
from .tasks import over_tasks
from .timeline import Timeline, timeline_of

URL_PREFIX = "/spot-training"
NAME = "Spot training"

#: The browser runs and loads only this app's files. Only Airflow's pages may frame them.
_DIRECTIVES = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self'",
    "connect-src": "'self'",
    "form-action": "'self'",
    "base-uri": "'none'",
    "frame-ancestors": "'self'",
}
CONTENT_SECURITY_POLICY = "; ".join(f"{name} {sources}" for name, sources in _DIRECTIVES.items())
_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "SAMEORIGIN",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_FOR_EVER = "private, max-age=31536000, immutable"
_FOR_AN_HOUR = "private, max-age=3600"
_NOT_KEPT = "private, no-store"


class Problem(BaseModel):
    """Why a request failed."""

    detail: str


class ThisAirflow(BaseModel):
    """Which Airflow this is: the name in its jobs' tags, earlier names, and where the name comes from."""

    installation: str
    earlier: list[str]
    determined_by: str
    sweeper_stops: bool


def _none_if_empty(value: Any) -> Any:
    """A form sends fields that are left empty as empty text."""
    return None if value == "" else value


Name = Annotated[Annotated[str, StringConstraints(max_length=1000)] | None, BeforeValidator(_none_if_empty)]
Day = Annotated[date | None, BeforeValidator(_none_if_empty)]
Page = Annotated[int, Query(ge=1, le=4000, description=f"The page, from 1, with {PAGE_ROWS} trainings each.")]
NowPage = Annotated[
    int, Query(ge=1, le=4000, description=f"The page, from 1, with {NOW_ROWS} trainings each.")
]
Id = Annotated[str, Query(max_length=250, min_length=1)]
MapIndex = Annotated[int, Query(ge=-1, le=2**31 - 1, description="-1 for a task that is not mapped.")]


def _filters(
    window: Window = Window.MONTH,
    since: Day = None,
    until: Day = None,
    dag_id: Name = None,
    model: Name = None,
    instance_type: Name = None,
    team: Name = None,
) -> Filters:
    return Filters(
        window=window,
        since=since,
        until=until,
        dag_id=dag_id,
        model=model,
        instance_type=instance_type,
        team=team,
    )


ChosenFilters = Annotated[Filters, Depends(_filters)]
_RESPONSES: dict[int | str, dict[str, Any]] = {
    401: {"model": Problem, "description": "Not logged in to Airflow"},
    403: {"model": Problem, "description": "Airflow does not allow this user to read it"},
    503: {
        "model": Problem,
        "description": "A package is not installed, or the identity of this Airflow is not known",
    },
}


def _source(request: Request) -> Source:
    found: Source = request.app.state.source
    return found


Trainings = Annotated[Source, Depends(_source)]

pages = APIRouter(default_response_class=HTMLResponse, include_in_schema=False)
api = APIRouter(prefix="/api")
files = APIRouter(include_in_schema=False)


def create_app(source: Source | None = None) -> FastAPI:
    """Create the app. `source` provides the trainings, by default from the configured ledger."""
    app = FastAPI(
        title=NAME,
        description="What managed spot training saved: the figures of the page as JSON, read-only.",
        version="1",
        dependencies=[Depends(get_user)],
        responses=_RESPONSES,
        lifespan=_lifespan,
        # FastAPI serves these without authentication.
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
    )
    app.state.source = source or Source()
    app.middleware("http")(_add_headers)
    if keeps_login_in_storage():
        app.middleware("http")(_use_login_of_cookie)
    app.add_exception_handler(StarletteHTTPException, _answer_http_problem)
    app.add_exception_handler(RequestValidationError, _answer_bad_request)
    for problem in (MissingPackage, InstallationUnknown):
        app.add_exception_handler(problem, _answer_what_is_missing)
    for router in (pages, api, files):
        app.include_router(router)
    return app


@asynccontextmanager
async def _lifespan(_app: FastAPI) -> AsyncIterator[None]:
    """Create the charts' JavaScript while the server starts, before the first page needs it."""
    if assets.has_charts():
        threading.Thread(target=assets.read, args=(assets.CHARTS,), daemon=True).start()
    yield


@pages.get("/")
def show_overview(
    source: Trainings,
    filters: ChosenFilters,
    readable: Readable,
    order: Order = Order.COST,
    page: Page = 1,
    now_page: NowPage = 1,
) -> str:
    now = _now(source, filters, readable, page=now_page)
    with source.view() as reader:
        selection = filters.selection(readable, now=now.at)
        overview = overview_of(reader, selection, order=order, page=page)
        offered = choices(reader, readable)
    return render(
        "overview.html.j2",
        now=now,
        now_page=now_page,
        now_rows=NOW_ROWS,
        overview=overview,
        choices=offered,
        filters=filters,
        windows=Window,
        orders=Order,
        order=order,
        page=page,
        page_rows=PAGE_ROWS,
        airflow=this_airflow(),
    )


@pages.get("/now")
def show_now(
    source: Trainings, filters: ChosenFilters, readable: Readable, now_page: NowPage = 1, within: str = ""
) -> str:
    return render(
        "now.html.j2",
        now=_now(source, filters, readable, page=now_page),
        now_page=now_page,
        now_rows=NOW_ROWS,
        filters=filters,
        is_within_overview=within == "overview",
        airflow=this_airflow(),
    )


@pages.get("/training", dependencies=[MAY_READ_TASK])
def show_training(
    source: Trainings, dag_id: Id, run_id: Id, task_id: Id, map_index: str = "-1", within: str = ""
) -> str:
    # For a task that is not mapped, Airflow does not replace `{MAP_INDEX}`.
    index = int(map_index) if map_index.isdecimal() and len(map_index) < 10 else -1
    timeline = _find_training(source, dag_id, run_id, task_id, index)
    if timeline is None and within == "task":
        # Airflow 3.1 puts the run id into the tab's address as it is, where + means a space.
        run_id = run_id.replace(" ", "+")
        timeline = _find_training(source, dag_id, run_id, task_id, index)
    return render(
        "training.html.j2",
        timeline=timeline,
        left_out=() if timeline else _left_out(source, dag_id, run_id, task_id, index),
        task={"dag_id": dag_id, "run_id": run_id, "task_id": task_id, "map_index": index},
        is_within_task=within == "task",
        airflow=this_airflow(),
    )


@api.get("/overview", operation_id="get_overview")
def get_overview(source: Trainings, filters: ChosenFilters, readable: Readable) -> Overview:
    """Totals, savings over time, waits and interruptions, and the most expensive trainings."""
    with source.view() as reader:
        return overview_of(reader, filters.selection(readable, now=datetime.now(UTC)))


@api.get("/now", operation_id="get_now")
def get_now(source: Trainings, filters: ChosenFilters, readable: Readable) -> Now:
    """All trainings that wait or run, the most urgent first, what the last sweep left, and the month.

    Dates and windows do not apply.
    """
    return _now(source, filters, readable)


@api.get("/trainings", operation_id="list_trainings")
def list_trainings(
    source: Trainings, filters: ChosenFilters, readable: Readable, order: Order = Order.COST, page: Page = 1
) -> list[TrainingRow]:
    """One page of trainings."""
    with source.view() as reader:
        selection = filters.selection(readable, now=datetime.now(UTC))
        return list(trainings(reader, selection, order=order, page=page))


@api.get("/experience", operation_id="get_experience")
def get_experience(
    source: Trainings,
    readable: Readable,
    region: Annotated[str, Query(min_length=1, max_length=100)],
    instance_type: Annotated[list[str], Query(max_length=20)] = [],  # noqa: B006 - FastAPI copies it
    model: Name = None,
    dag_id: Name = None,
    instance_count: Annotated[int, Query(ge=1, le=1000)] = 1,
) -> Experience:
    """What past trainings tell `spot-training advise`: run times, the spot market, and prices."""
    with source.view() as reader:
        return experience_of(
            reader,
            readable,
            instance_types=instance_type,
            region=region,
            model=model,
            dag_id=dag_id,
            instance_count=instance_count,
            now=datetime.now(UTC),
        )


@api.get("/choices", operation_id="get_choices")
def get_choices(source: Trainings, readable: Readable) -> Choices:
    """The values of the filters."""
    with source.view() as reader:
        return choices(reader, readable)


@api.get(
    "/training",
    operation_id="get_training",
    dependencies=[MAY_READ_TASK],
    responses={404: {"model": Problem, "description": "There is no record of this training"}},
)
def get_training(
    source: Trainings, dag_id: Id, run_id: Id, task_id: Id, map_index: MapIndex = -1
) -> Timeline:
    """The timeline of one training, as far as it is known now."""
    found = _find_training(source, dag_id, run_id, task_id, map_index)
    if found is None:
        left_out = _left_out(source, dag_id, run_id, task_id, map_index)
        raise HTTPException(404, " ".join(["There is no record of a training of this task.", *left_out]))
    return found


def _now(source: Source, filters: Filters, readable: Readable, *, page: int | None = None) -> Now:
    """What runs now; one page of the table, or all rows."""
    now = datetime.now(UTC)
    selection = replace(filters.selection(readable, now=now), since=None, until=None)
    running = source.running(readable.installations or ())
    month = source.answer((month_of(now), selection), lambda reader: month_at(reader, selection, now=now))
    found = now_of(running.records, selection, month=month, now=now, sweep=running.sweep, budget=_budget())
    found = replace(found, budgets=budgets_of(found.spending_dags))
    found = found if page is None else found.on_page(page)
    return found.with_task_states(over_tasks(found.rows))


def _budget() -> Budget | None:
    """`[spot_training] budget`. None if it is not valid: tasks say so."""
    try:
        return budget_from(settings.text("budget"), field=settings.field("budget"))
    except InvalidInput:
        return None


@api.get("/installation", operation_id="get_installation")
def get_installation() -> ThisAirflow:
    """Which Airflow this is, and whether its sweeper may stop orphaned jobs."""
    from spot_training.sweep.command import stops_orphans

    this = this_airflow()
    return ThisAirflow(
        installation=this.name,
        earlier=list(this.names[1:]),
        determined_by=str(this.source),
        sweeper_stops=stops_orphans(),
    )


@api.get("/openapi.json", include_in_schema=False)
def get_openapi(request: Request) -> JSONResponse:
    return JSONResponse(request.app.openapi())


@files.get("/static/{digest}/{name}")
def get_file(digest: str, name: str) -> Response:
    if name not in assets.names() or digest != assets.digest(name):
        raise HTTPException(404, "There is no such file.")
    asset = assets.read(name)
    return Response(asset.content, media_type=asset.media_type, headers={"Cache-Control": _FOR_EVER})


@files.get("/{icon}.svg")
def get_icon(icon: Literal["icon", "icon-dark"]) -> Response:
    """For Airflow's navigation, which does not know the digest."""
    asset = assets.read(f"{icon}.svg")
    return Response(
        asset.content, media_type=asset.media_type, headers={"Cache-Control": "private, max-age=3600"}
    )


def _find_training(source: Source, dag_id: str, run_id: str, task_id: str, map_index: int) -> Timeline | None:
    for named in _records_of(dag_id, run_id, task_id, map_index):
        if (record := with_state(source.training(named.key), named)) is not None:
            console = console_of(
                record.endpoint_url,
                region=record.region,
                local_url=settings.text("local_sagemaker_url"),
            )
            return timeline_of(record, now=datetime.now(UTC), console=console)
    return None


def _left_out(source: Source, dag_id: str, run_id: str, task_id: str, map_index: int) -> tuple[str, ...]:
    """The files of the task's training that cannot be read, and the reasons."""
    records = _records_of(dag_id, run_id, task_id, map_index)
    return tuple(file for named in records for file in source.left_out(named.key))


def _records_of(dag_id: str, run_id: str, task_id: str, map_index: int) -> Iterator[TrainingRecord]:
    """The task, under the installation's name when the training started and under its other names."""
    task = TrainingRecord(dag_id=dag_id, run_id=run_id, task_id=task_id, map_index=map_index)
    for name in names_of_training(task, this_airflow()):
        yield replace(task, installation=name)


async def _add_headers(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    response = await call_next(request)
    for name, value in {"Cache-Control": _NOT_KEPT, **_HEADERS}.items():
        response.headers.setdefault(name, value)
    return response


async def _use_login_of_cookie(
    request: Request, call_next: Callable[[Request], Awaitable[Response]]
) -> Response:
    use_login_of_cookie(request)
    return await call_next(request)


def _is_page(request: Request) -> bool:
    path = request.scope["path"].removeprefix(request.scope.get("root_path", ""))
    return path in {"/", "/now", "/training"}


async def _answer_http_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, StarletteHTTPException)  # noqa: S101 - registered for it alone
    if not _is_page(request):
        return JSONResponse({"detail": error.detail}, error.status_code, headers=error.headers)
    if error.status_code == 401:
        return _ask_for_login(str(request.url), str(error.detail))
    page = render("problem.html.j2", status=error.status_code, detail=str(error.detail), login=None)
    return HTMLResponse(page, error.status_code)


def _ask_for_login(address: str, detail: str) -> Response:
    """Link to the login. Where only a script can read the login, it looks first.

    The script is within the page, because nothing else is served without a login.
    """
    script = assets.read(assets.LOGIN).content.decode() if keeps_login_in_storage() else None
    page = render("problem.html.j2", status=401, detail=detail, login=login_url(address), script=script)
    if script is None:
        return HTMLResponse(page, 401)
    digest = b64encode(sha256(script.encode()).digest()).decode()
    policy = CONTENT_SECURITY_POLICY.replace("script-src 'self'", f"script-src 'sha256-{digest}'")
    return HTMLResponse(page, 401, headers={"Content-Security-Policy": policy})


async def _answer_what_is_missing(request: Request, error: Exception) -> Response:
    """Without an optional package, or without an identity, say what to do."""
    if not _is_page(request):
        return JSONResponse({"detail": str(error)}, 503)
    return HTMLResponse(render("problem.html.j2", status=503, detail=str(error), login=None), 503)


async def _answer_bad_request(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for it alone
    faults = [{key: fault[key] for key in ("loc", "msg", "type")} for fault in error.errors()]
    if not _is_page(request):
        return JSONResponse({"detail": faults}, 422)
    detail = "; ".join(f"{fault['loc'][-1]}: {fault['msg']}" for fault in faults)
    return HTMLResponse(render("problem.html.j2", status=422, detail=detail, login=None), 422)
