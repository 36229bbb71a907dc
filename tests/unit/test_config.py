"""Settings: sources, precedence, and what a wrong one is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tornflow.config import Settings, load_settings
from tornflow.config.retired import RETIRED
from tornflow.config.schema import SETTINGS
from tornflow.errors import ConfigError


def problems(*sets: str, environ: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_settings(None, environ or {}, {}, sets)
    assert caught.value.message == "; ".join(caught.value.details["problems"])
    found: list[str] = caught.value.details["problems"]
    return found


def file_problems(folder: Path, text: str) -> list[str]:
    path = folder / "t.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_settings(path)
    assert "\n" not in caught.value.message
    return [line.replace(str(path), "t.yaml") for line in caught.value.details["problems"]]


def file_settings(folder: Path, text: str, **others: Any) -> Settings:
    path = folder / "t.yaml"
    path.write_text(text, encoding="utf-8")
    return load_settings(path, **others)


def test_nothing_given_means_the_defaults() -> None:
    settings = load_settings()
    assert settings == Settings()
    assert (settings.server.host, settings.server.port, settings.server.dapr_port) == ("127.0.0.1", 8080, 3500)
    assert settings.storage.url == "sqlite:///var/tornflow.db"


def test_each_source_wins_over_the_ones_below(tmp_path: Path) -> None:
    text = "server: {port: 1001}\n"
    environ = {"TORNFLOW_SERVER_PORT": "1002"}
    assert file_settings(tmp_path, text).server.port == 1001
    assert file_settings(tmp_path, text, environ=environ).server.port == 1002
    flags = {"server.port": 1003, "server.host": None}
    assert file_settings(tmp_path, text, environ=environ, flags=flags).server.port == 1003
    sets = ["server.port=1004", "server.port=1005"]
    assert file_settings(tmp_path, text, environ=environ, flags=flags, sets=sets).server.port == 1005


def test_a_section_may_be_empty_and_a_part_may_be_deep(tmp_path: Path) -> None:
    settings = file_settings(tmp_path, "server:\nstorage:\n  mongodb: {driver: pymongo}\n")
    assert settings.storage.mongodb.driver == "pymongo"
    assert settings.server == Settings().server


def test_unknown_keys_name_their_line_and_the_nearest_known_one(tmp_path: Path) -> None:
    assert file_problems(tmp_path, "server:\n  prot: 1\nenigne: {}\nhttp:\n  port: 2\n") == [
        "t.yaml:2: server.prot: no such setting, did you mean server.port?",
        "t.yaml:3: enigne: no such setting, did you mean engine?",
        "t.yaml:4: http: no such setting, did you mean plugins.http?",
    ]
    assert problems(environ={"TORNFLOW_SERVER_PRT": "1"}) == [
        "TORNFLOW_SERVER_PRT: no such setting, did you mean TORNFLOW_SERVER_PORT?"
    ]
    assert problems("http.port=1") == [
        "--set: http.port: no such setting, did you mean server.port?"
    ]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("server: {port: true}", "t.yaml:1: server.port: must be a whole number, not True"),
        ("server: {port: '80'}", "t.yaml:1: server.port: must be a whole number, not '80'"),
        ("server: {port: 65536}", "t.yaml:1: server.port: must be at most 65535, not 65536"),
        ("server: {host: 5}", "t.yaml:1: server.host: must be a text, not 5"),
        ("server: {host: null}", "t.yaml:1: server.host: must be a text, not None"),
        ("server: {drain_timeout_s: .inf}", "t.yaml:1: server.drain_timeout_s: must be a finite number, not inf"),
        ("server: 5", "t.yaml:1: server: is a section, it needs settings below it"),
        ("rill: {strict: 1}", "t.yaml:1: rill.strict: must be true or false, not 1"),
        ("outbound: {allow: 10.0.0.0/8}", "t.yaml:1: outbound.allow: must be a list of texts, not '10.0.0.0/8'"),
        ("outbound: {deny: [x]}", "t.yaml:1: outbound.deny: 'x' is not a network such as 10.0.0.0/8"),
        ("log: {level: loud}", "t.yaml:1: log.level: must be one of debug, info, warning, error, not 'loud'"),
        ("dapr: {api_token: 12345}", "t.yaml:1: dapr.api_token: must be a text"),
        ("server: {port: 1}\nserver: {port: 2}", "t.yaml:2: server: given twice"),
        ("server:\n  port: 1\n  port: 2", "t.yaml:3: server.port: given twice"),
        ("[1]: 2", "t.yaml:1: a key must be a word"),
        ("- 1", "t.yaml: must be a mapping of sections, such as `server:`"),
        ("plugins: {shout: 5}", "t.yaml:1: plugins.shout: must be a mapping of settings of the plugin shout"),
        (
            "plugins: {python: {callables: {a: os}}}",
            "t.yaml:1: plugins.python.callables: a must be a text 'module:attribute'",
        ),
        (
            "engine: {node_timeout_s: 3}",
            "t.yaml:1: engine.node_timeout_s: must be at least twice engine.node_heartbeat_s",
        ),
        ("server: {dapr_port: 8080}", "t.yaml:1: server.dapr_port: must differ from server.port; 0 closes it"),
        ("server: {public_url: localhost}", "t.yaml:1: server.public_url: must be http://host[:port] or https://..."),
    ],
)
def test_a_wrong_value_is_refused_with_place_field_and_reason(tmp_path: Path, text: str, reason: str) -> None:
    (found,) = file_problems(tmp_path, text)
    assert found == reason or (reason.endswith("...") and found.startswith(reason[:-3]))


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    assert len(file_problems(tmp_path, "server: {prt: 1, port: x, host: 1}\nrill: {strict: maybe}\n")) == 4


@pytest.mark.parametrize("text", ["a: [", "a: !!python/object/apply:os.getcwd []", "a: &a [*a]", "\x00", "a: b: c"])
def test_broken_yaml_is_one_clear_line(tmp_path: Path, text: str) -> None:
    (found,) = file_problems(tmp_path, text)
    assert found.startswith("t.yaml")


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml: cannot be read: No such file"):
        load_settings(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load_settings(tmp_path)


def test_texts_become_the_kind_of_their_setting() -> None:
    environ = {
        "TORNFLOW_RILL_STRICT": "true",
        "TORNFLOW_SERVER_DRAIN_TIMEOUT_S": "5",
        "TORNFLOW_OUTBOUND_ALLOW": "10.0.0.0/8, ::1/128",
        "TORNFLOW_OUTBOUND_ALLOW_LOOPBACK": "null",
        "TORNFLOW_DAPR_APP_ID": "0123",
        "TORNFLOW_PLUGINS_PYTHON_CALLABLES": '{"twice": "lib:twice"}',
    }
    settings = load_settings(None, environ, {}, ["outbound.deny=[192.168.0.0/16]"])
    assert settings.rill.strict is True
    assert settings.server.drain_timeout_s == 5.0
    assert settings.outbound.allow == ("10.0.0.0/8", "::1/128")
    assert settings.outbound.deny == ("192.168.0.0/16",)
    assert settings.outbound.allow_loopback is None
    assert settings.dapr.app_id == "0123"
    assert settings.plugin("python")["callables"] == {"twice": "lib:twice"}


def test_second_names_in_the_environment_work_and_may_not_disagree() -> None:
    environ = {"TORNFLOW_PORT": "9000", "TORNFLOW_STORAGE": "memory://", "DAPR_API_TOKEN": "s3cret"}
    settings = load_settings(None, environ)
    assert (settings.server.port, settings.storage.url, settings.dapr.api_token) == (9000, "memory://", "s3cret")
    assert problems(environ={"TORNFLOW_PORT": "1", "TORNFLOW_SERVER_PORT": "2"}) == [
        "TORNFLOW_SERVER_PORT: differs from TORNFLOW_PORT, which sets server.port too"
    ]


def test_what_kubernetes_and_the_tests_put_into_the_environment_is_left_alone() -> None:
    environ = {
        "TORNFLOW_PORT": "tcp://10.0.0.1:8080",
        "TORNFLOW_PORT_8080_TCP_ADDR": "10.0.0.1",
        "TORNFLOW_SERVICE_HOST": "10.0.0.1",
        "TORNFLOW_TEST_MONGODB_URI": "mongodb://x",
        "TORNFLOW_CONFIG": "x.yaml",
        "PATH": "/bin",
    }
    assert load_settings(None, environ) == Settings()


def test_settings_of_foreign_plugins_are_passed_as_they_are(tmp_path: Path) -> None:
    text = "plugins:\n  shout: {volume: 11, words: [a]}\n"
    settings = file_settings(tmp_path, text, sets=["plugins.shout.volume=12"])
    assert settings.plugin("shout") == {"volume": 12, "words": ["a"]}
    assert settings.plugin("quiet") == {}


def test_settings_of_built_in_plugins_are_checked_here() -> None:
    assert problems("plugins.python.treads=3") == [
        "--set: plugins.python.treads: no such setting, did you mean plugins.python.threads?"
    ]


def test_a_set_without_a_value_or_for_a_section_is_refused() -> None:
    assert problems("server.port") == ["--set server.port: must be section.key=value"]
    assert problems("server=5") == ["--set: server: is a section, give section.key"]


def test_secrets_do_not_show_in_messages(tmp_path: Path) -> None:
    found = file_problems(tmp_path, "dapr: {api_token: [hunter2]}\nplugins: {http: {secret: 77123}}\n")
    assert not any("hunter2" in line or "77123" in line for line in found)


@pytest.mark.parametrize(
    ("flags", "url"),
    [
        ({}, "http://127.0.0.1:8080"),
        ({"server.host": "0.0.0.0", "server.port": 9}, "http://127.0.0.1:9"),
        ({"server.host": "::1"}, "http://[::1]:8080"),
        ({"server.host": "flows.local"}, "http://flows.local:8080"),
        ({"server.public_url": "https://x.example/"}, "https://x.example"),
    ],
)
def test_the_callback_address_follows_the_bound_one_unless_it_is_given(flags: dict[str, Any], url: str) -> None:
    assert load_settings(flags=flags).server_url() == url


def test_the_callback_address_of_port_0_is_the_port_really_bound() -> None:
    assert load_settings(flags={"server.port": 0}).server_url(4711) == "http://127.0.0.1:4711"


@pytest.mark.parametrize(
    ("host", "given", "allowed"),
    [
        ("127.0.0.1", "null", True),
        ("::1", "null", True),
        ("localhost", "null", True),
        ("0.0.0.0", "null", False),
        ("flows.local", "null", False),
        ("0.0.0.0", "true", True),
        ("127.0.0.1", "false", False),
    ],
)
def test_loopback_is_allowed_when_bound_to_loopback_unless_decided(host: str, given: str, allowed: bool) -> None:
    settings = load_settings(flags={"server.host": host}, sets=[f"outbound.allow_loopback={given}"])
    assert settings.allows_loopback is allowed
    assert settings.outbound_values()["allow_loopback"] is allowed


def test_only_the_named_store_gets_its_settings() -> None:
    assert load_settings(flags={"storage.url": "memory://"}).storage_values() == {}
    assert load_settings().storage_values()["batch_limit"] == 256
    mongodb = load_settings(flags={"storage.url": "mongodb+srv://x"}).storage_values()
    assert mongodb["driver"] == "motor"


@given(st.text(max_size=40))
def test_any_set_text_gives_settings_or_a_config_error(text: str) -> None:
    try:
        assert isinstance(load_settings(sets=[text]), Settings)
    except ConfigError as error:
        assert error.message


@given(st.sampled_from(sorted(SETTINGS)), st.text(max_size=30))
def test_any_value_gives_settings_or_a_config_error(path: str, text: str) -> None:
    try:
        settings = load_settings(sets=[f"{path}={text}"])
    except ConfigError as error:
        assert path in error.message
    else:
        assert isinstance(settings, Settings)


@given(st.text(max_size=60))
def test_any_file_gives_settings_or_a_config_error(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        assert isinstance(load_settings(path), Settings)
    except ConfigError as error:
        assert "any.yaml" in error.message


def test_a_retired_setting_still_starts_and_names_its_replacement(tmp_path: Path) -> None:
    file = tmp_path / "t.yaml"
    file.write_text("expressions:\n  wall_ms: 50\n  steps: 2000\n")
    environ = {"TORNFLOW_EXPRESSIONS_WALL_MS": "50"}
    settings = load_settings(file, environ, sets=["expressions.wall_ms=50"])
    assert settings.expressions.steps == 2000
    assert [warning.split(": ")[:3] for warning in settings.warnings] == [
        [f"{file}:2", "expressions.wall_ms", "has no effect any more"],
        ["TORNFLOW_EXPRESSIONS_WALL_MS", "expressions.wall_ms", "has no effect any more"],
        ["--set", "expressions.wall_ms", "has no effect any more"],
    ]
    assert all("expressions.steps" in warning for warning in settings.warnings)


def test_no_retired_setting_is_in_force() -> None:
    assert not RETIRED.keys() & SETTINGS.keys()
