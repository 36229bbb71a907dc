"""The sections of the configuration. Files, manual and checks are drawn from here; stores and plug-ins beside it."""

from __future__ import annotations

from dataclasses import dataclass

from tornflow.config.about import KIB, MIB, setting


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Where the server listens and how it stops"""

    host: str = setting("127.0.0.1", "address to bind", environ=("TORNFLOW_HOST",))
    port: int = setting(
        8080,
        "port of the Rill Flow family, the Dapr family and the web pages; 0 takes any free one",
        minimum=0,
        maximum=65535,
        environ=("TORNFLOW_PORT", "TORNFLOW_HTTP_PORT"),
    )
    dapr_port: int = setting(
        3500,
        "second port for Dapr clients; 0 closes it",
        minimum=0,
        maximum=65535,
        environ=("TORNFLOW_DAPR_PORT",),
    )
    processes: int = setting(
        1, "server processes that share the ports; more than 1 needs a shared store (MongoDB)", minimum=1, maximum=256
    )
    public_url: str = setting(
        "",
        "how executors reach this server (X-Callback-Url), with the sub path if a proxy serves it below one; empty:"
        " http://<host>:<port>, or 127.0.0.1 for 0.0.0.0",
    )
    drain_timeout_s: float = setting(30.0, "how long SIGTERM waits for steps in hand", unit="s", minimum=0)
    body_limit_bytes: int = setting(4 * MIB, "largest request body", unit="bytes", minimum=1024)
    drain_limit_bytes: int = setting(
        64 * MIB, "how much of a too large body is read and dropped so that its sender sees the answer", unit="bytes"
    )
    json_depth_limit: int = setting(200, "nesting of a JSON body", unit="levels", minimum=1, maximum=900)
    page_limit: int = setting(1000, "largest page of a list", unit="rows", minimum=1)


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """Limits and rhythm of the engine"""

    inline_tasks_per_step: int = setting(
        64, "tasks without I/O that one step carries out before it commits", unit="tasks", minimum=1
    )
    cache_scopes: int = setting(2000, "recent scopes kept in memory", unit="scopes", minimum=1)
    cache_bytes: int = setting(
        64 * MIB, "their stored size together; in memory they take five to seven times that", unit="bytes", minimum=MIB
    )
    cache_flows: int = setting(500, "compiled descriptors kept in memory", unit="descriptors", minimum=1)
    context_limit_bytes: int = setting(MIB, "largest context of one scope as JSON", unit="bytes", minimum=1024)
    head_inline_limit_bytes: int = setting(
        16 * KIB, "a scope up to this size is stored as one piece, a larger one in parts", unit="bytes", minimum=0
    )
    event_buffer: int = setting(
        1000,
        "external events kept per execution until a task waits for them; more are refused",
        unit="events",
        minimum=1,
    )
    max_tasks_per_flow: int = setting(20_000, "tasks that one descriptor may define", unit="tasks", minimum=1)
    flow_depth: int = setting(5, "levels of flows that call flows, the first one included", unit="levels", minimum=1)
    finished_retention_s: int = setting(
        86_400, "how long a succeeded execution can be read; unfinished ones never expire", unit="s", minimum=1
    )
    failed_retention_s: int = setting(
        7 * 86_400, "how long a failed or terminated execution can be read", unit="s", minimum=1
    )
    attempts_kept: int = setting(
        100, "attempts of a task whose start and end are kept: the first one and the latest", unit="attempts", minimum=2
    )
    unknown_outcome_patience_s: float = setting(
        10.0,
        "how long a request waits to hear whether a change was stored, before it is told that this is unknown",
        unit="s",
        minimum=0.1,
    )
    timer_horizon_s: int = setting(
        60, "timers due within this time are held in memory, later ones in the store only", unit="s", minimum=1
    )
    node_heartbeat_s: float = setting(2.0, "how often a node of a shared store says it lives", unit="s", minimum=0.1)
    node_timeout_s: float = setting(
        10.0, "silence after which the others take over its work; at least twice the heartbeat", unit="s", minimum=0.2
    )


@dataclass(frozen=True, slots=True)
class DescriptorSettings:
    """Limits on one descriptor, beside rill.descriptor_limit_bytes and engine.max_tasks_per_flow"""

    depth: int = setting(64, "nesting of the YAML", unit="levels", minimum=8, maximum=200)
    nodes: int = setting(200_000, "values in the YAML", unit="values", minimum=100)
    mappings: int = setting(100_000, "mapping rules after references are replaced", unit="rules", minimum=1)
    problems: int = setting(200, "problems that one answer lists", unit="problems", minimum=1)
    versions: int = setting(300, "versions kept per alias; the oldest goes first", unit="versions", minimum=1)
    unused_texts_kept_s: int = setting(
        86_400, "how long a text stays that no version names and no execution runs", unit="s", minimum=3600
    )


@dataclass(frozen=True, slots=True)
class ExpressionSettings:
    """Budget of one run of a transform, gray rule or progress calculation; beyond it that run fails"""

    steps: int = setting(
        100_000, "calls, loop turns, elements looked at; each takes a microsecond at most", unit="steps", minimum=100
    )
    call_depth: int = setting(64, "nesting of calls", unit="levels", minimum=1, maximum=200)
    value_bytes: int = setting(MIB, "any one built value, and the result (estimated)", unit="bytes", minimum=1024)
    total_bytes: int = setting(8 * MIB, "everything built in one run (estimated)", unit="bytes", minimum=1024)
    source_chars: int = setting(64 * KIB, "length of the text", unit="characters", minimum=64)


@dataclass(frozen=True, slots=True)
class DispatchSettings:
    """How attempts are sent out. A target is a host with its port, or what else a task type says, or its protocol"""

    max_in_flight: int = setting(4096, "attempts carried out at the same time; others wait", unit="attempts", minimum=1)
    per_target: int = setting(256, "of these at most for one target", unit="attempts", minimum=1)
    per_flow: int = setting(1024, "of these at most of one flow", unit="attempts", minimum=1)
    callbacks: int = setting(
        64, "completion callbacks at the same time, beside the attempts; a quarter for one target", minimum=1
    )
    max_waiting: int = setting(
        100_000, "attempts that may wait; beyond it submissions are refused", unit="attempts", minimum=1
    )
    max_waiting_per_flow: int = setting(
        25_000, "attempts of one flow that may wait; beyond it its submissions are refused", unit="attempts", minimum=1
    )


@dataclass(frozen=True, slots=True)
class RillSettings:
    """The Rill Flow family"""

    strict: bool = setting(
        False,
        "restore reference behaviours: HTTP attempts and timeouts, foreach limits, strict names, callbacks of at most"
        " 6144 characters",
    )
    callback_limit_chars: int = setting(
        4 * MIB,
        "largest body of finish, trigger, wakeup and redo as compact JSON; rill.strict: 6144 at most",
        unit="characters",
        minimum=64,
    )
    submit_limit_chars: int = setting(
        MIB, "largest context of a submission as compact JSON", unit="characters", minimum=64
    )
    descriptor_limit_bytes: int = setting(645_120, "largest descriptor text", unit="bytes", minimum=1024)
    trigger_ignores_body_result: bool = setting(
        False, "true: trigger.json without status ignores result_type in its body, as the reference does"
    )
    trigger_uri: str = setting("/flow/trigger.json", "path of the callback URL that executors are given")
    resource_check: str = setting(
        "short_board",
        "submissions without resource_check are refused while an executor of the flow asks to be left alone:"
        " short_board: any; long_board: all of them; skip: never",
        one_of=("short_board", "long_board", "skip"),
    )


RESOURCES_PATH = "conf/components/"


@dataclass(frozen=True, slots=True)
class DaprSettings:
    """The Dapr Workflow family"""

    app_id: str = setting("tornflow", "what GET /v1.0/metadata answers as id")
    business_id: str = setting(
        "", "the business in which bare workflow names are looked up, unless a component file names one; empty: none"
    )
    missing_instance_is_404: bool = setting(
        False, "true: raiseEvent, pause and resume of an unknown instance answer 404 instead of 500"
    )
    api_token: str = setting(
        "",
        "when set, every Dapr request must carry it in the header dapr-api-token",
        environ=("DAPR_API_TOKEN",),
        is_secret=True,
    )
    resources_path: str = setting(
        RESOURCES_PATH, "folder with Dapr component files, which need not exist as long as it is this one; empty: none"
    )


@dataclass(frozen=True, slots=True)
class OutboundSettings:
    """Requests to executors and callbacks"""

    allow: tuple[str, ...] = setting(
        (), "networks (CIDR) that are allowed, before any other rule; against deny the narrower one wins"
    )
    deny: tuple[str, ...] = setting((), "networks (CIDR) that are refused; against allow the narrower one wins")
    allow_loopback: bool | None = setting(
        None, "requests to this machine; null: allowed only when the server is bound to loopback"
    )
    allow_private: bool = setting(
        True, "requests to private networks (10/8, 172.16/12, 192.168/16, 100.64/10, fc00::/7)"
    )
    connect_timeout_s: float = setting(5.0, "time to make a connection", unit="s", minimum=0.01)
    read_timeout_s: float = setting(60.0, "time to wait for the answer", unit="s", minimum=0.01)
    answer_limit_bytes: int = setting(4 * MIB, "largest answer that is read", unit="bytes", minimum=1024)
    answer_header_bytes: int = setting(256 * KIB, "largest headers of an answer", unit="bytes", minimum=1024)
    answer_headers: int = setting(1000, "most headers of an answer", unit="headers", minimum=1)
    connections: int = setting(4096, "calls at the same time, each on a connection", unit="connections", minimum=1)
    connections_per_host: int = setting(
        256, "of these at most to one host and port; further calls wait", unit="connections", minimum=1
    )
    keep_alive_s: float = setting(4.0, "how long an idle connection is kept for the next request", unit="s", minimum=0)
    dns_cache_s: int = setting(10, "how long a resolved name is remembered; 0: not at all", unit="s", minimum=0)
    redirects: int = setting(5, "redirects that are followed, each checked like the first address", minimum=0)


@dataclass(frozen=True, slots=True)
class FlowsSettings:
    """Descriptors that are there from the start"""

    directory: str = setting(
        "",
        "folder whose *.yaml and *.yml, subfolders included, are registered under the alias release at start and on"
        " SIGHUP; empty: none",
    )


@dataclass(frozen=True, slots=True)
class LogSettings:
    """Log lines on standard error"""

    level: str = setting("info", "least urgent level that is written", one_of=("debug", "info", "warning", "error"))
    format: str = setting(
        "auto", "json: one object per line; console: for people; auto: by terminal", one_of=("auto", "json", "console")
    )


@dataclass(frozen=True, slots=True)
class MetricsSettings:
    """How many series GET /metrics may have"""

    flows: int = setting(
        100, "flows with figures of their own; all others share the label (others)", unit="flows", minimum=0
    )
    targets: int = setting(
        100, "the same for targets of attempts, those with the most attempts first", unit="targets", minimum=0
    )
