"""Dapr component files: what is read from them, and what is refused with file, line and field (dapr-http-api 9)."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from tornflow.components import Components, ComponentSource, Loaded, installed_kinds, load_components
from tornflow.components.watching import reload_components, signature
from tornflow.errors import ConfigError
from tornflow.spi.component import ComponentSpec, WorkflowBinding

HEAD = "apiVersion: dapr.io/v1alpha1\nkind: Component\n"
BILLING = HEAD + "metadata:\n  name: billing\nspec:\n  type: workflow.rill\n  version: v1\n"
VAULT = HEAD + "metadata: {name: vault}\nspec: {type: secretstores.local.env, version: v1}\n"


class Folder:
    """A folder of component files and what loading it gives."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.environ: dict[str, str] = {}
        self.seen: list[ComponentSpec] = []  # what components of type workflow.spy were given

    def __setitem__(self, name: str, text: str) -> None:
        (self.path / name).write_text(text, "utf-8")

    @property
    def source(self) -> ComponentSource:
        spy = EntryPoint("workflow.spy", f"{__name__}:unused", "tornflow.components")
        kinds = dict(installed_kinds([spy]))

        class Spy:
            @staticmethod
            def load() -> Any:
                return self._spied

        kinds["workflow.spy"] = Spy()  # type: ignore[assignment]
        return ComponentSource(str(self.path), app_id="orders", environ=self.environ, kinds=kinds)

    def load(self) -> Loaded:
        return load_components(self.source)

    def problems(self) -> list[str]:
        with pytest.raises(ConfigError) as caught:
            self.load()
        assert "\n" not in caught.value.message
        return [text.replace(f"{self.path}{os.sep}", "") for text in caught.value.details["problems"]]

    def values(self, metadata: str, more: str = "") -> dict[str, str]:
        """Return the metadata of one component, given as the lines of its list."""
        self["spy.yaml"] = f"{HEAD}metadata: {{name: spy}}\nspec:\n  type: workflow.spy\n  metadata:\n{metadata}{more}"
        self.load()
        return dict(self.seen[-1].metadata)

    def _spied(self, spec: ComponentSpec) -> WorkflowBinding:
        self.seen.append(spec)
        return WorkflowBinding()


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


# --- what is read


def test_a_component_binds_its_name_to_a_business(folder: Folder) -> None:
    folder["b.yaml"] = BILLING + "  metadata:\n  - {name: business, value: shop}\n  - {name: strict, value: true}\n"
    loaded = folder.load()
    (one,) = loaded.components
    assert (one.name, one.type, one.version) == ("billing", "workflow.rill", "v1")
    assert one.binding == WorkflowBinding("shop", is_strict=True)
    assert loaded.warnings == ()
    components = Components(loaded.components)
    assert components.find("billing") is one
    assert components.find("other") is None
    assert components.is_strict


def test_documents_and_files_are_read_in_order_secret_stores_first(folder: Folder) -> None:
    second = BILLING.replace("billing", "second").replace("rill\n  version: v1", "tornflow\n  version: v1.0-alpha1")
    folder["b.yml"] = f"# only a remark\n---\n{BILLING}---\n{VAULT}---\n"
    folder["a.yaml"] = second
    folder["empty.yaml"] = ""
    folder["notes.txt"] = "no component"
    (folder.path / "deeper").mkdir()
    (folder.path / "deeper" / "c.yaml").write_text("{", "utf-8")
    loaded = folder.load()
    assert [one.name for one in loaded.components] == ["vault", "second", "billing"]
    assert [text.rpartition(os.sep)[2] for text in loaded.warnings] == ["notes.txt: not read: no .yaml or .yml file"]


@pytest.mark.parametrize("kind", ["Configuration", "Subscription", "Resiliency", "HTTPEndpoint", "MCPServer"])
def test_other_kinds_of_dapr_are_skipped(folder: Folder, kind: str) -> None:
    folder["a.yaml"] = f"apiVersion: dapr.io/v2alpha1\nkind: {kind}\nspec: [anything]\n---\n{BILLING}"
    assert [one.name for one in folder.load().components] == ["billing"]


def test_unknown_members_are_ignored(folder: Folder) -> None:
    folder["a.yaml"] = BILLING.replace("metadata:", "metadata:\n  labels: {a: b}") + "  initTimeout: soon\nextra: 1\n"
    assert len(folder.load().components) == 1


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("http://localhost:8190", "http://localhost:8190"),
        ("3", "3"),
        ("1.5", "1.5"),
        ("true", "true"),
        ("null", ""),
        ('"007"', "007"),
        ("2024-01-02", "2024-01-02"),
        ("[1, {a: b}]", '[1,{"a":"b"}]'),
        ("{a: {b: null}}", '{"a":{"b":null}}'),
        ("|-\n      two\n      lines", "two\nlines"),
    ],
)
def test_any_json_value_becomes_text(folder: Folder, value: str, text: str) -> None:
    assert folder.values(f"  - name: it\n    value: {value}\n") == {"it": text}


def test_templates_are_filled_in(folder: Folder) -> None:
    folder.environ |= {"NAMESPACE": "prod", "POD_NAME": "pod-1"}
    values = ("{appID}/{namespace}/{podName}/{other}", "{uuid} {uuid}")
    lines = [f"  - {{name: {name}, value: '{text}'}}\n" for name, text in zip("ab", values, strict=True)]
    found = folder.values("".join(lines))
    assert found["a"] == "orders/prod.orders/pod-1/{other}"
    first, second = found["b"].split()
    assert (len(first), first != second) == (36, True)


def test_the_environment_gives_values_where_none_is_written(folder: Folder) -> None:
    folder.environ |= {"REGION": "eu", "DAPR_API_TOKEN": "t", "APP_API_TOKEN": "t", "A B": "blank"}
    names = ("REGION", "DAPR_API_TOKEN", "APP_API_TOKEN", '"A B"', "NOT_SET")
    lines = "".join(f"  - {{name: v{number}, envRef: {name}}}\n" for number, name in enumerate(names))
    found = folder.values(lines + "  - {name: both, value: mine, envRef: REGION}\n")
    assert found == {"v0": "eu", "v1": "", "v2": "", "v3": "", "v4": "", "both": "mine"}
    warnings = folder.load().warnings
    assert len(warnings) == 3
    assert all("component spy: spec.metadata[" in text and "may not be read" in text for text in warnings)


def test_the_environment_may_be_closed_but_for_a_list(folder: Folder) -> None:
    folder.environ |= {"REGION": "eu", "ZONE": "b", "DAPR_ENV_KEYS": "ZONE OTHER"}
    assert folder.values("  - {name: r, envRef: REGION}\n  - {name: z, envRef: ZONE}\n") == {"r": "", "z": "b"}


@pytest.mark.parametrize(("scopes", "count"), [("[]", 1), ("[orders]", 1), ("[a, orders]", 1), ("[a, b]", 0)])
def test_components_of_other_apps_are_skipped(folder: Folder, scopes: str, count: int) -> None:
    folder["a.yaml"] = f"{BILLING}scopes: {scopes}\n"
    assert len(folder.load().components) == count


@pytest.mark.parametrize(
    ("ours", "theirs", "count"), [("", "prod", 1), ("prod", "prod", 1), ("prod", "", 1), ("prod", "test", 0)]
)
def test_components_of_other_namespaces_are_skipped(folder: Folder, ours: str, theirs: str, count: int) -> None:
    folder.environ |= {"NAMESPACE": ours} if ours else {}
    folder["a.yaml"] = BILLING.replace("name: billing", f"name: billing\n  namespace: {theirs}")
    assert len(folder.load().components) == count


def test_the_default_folder_may_be_missing_any_other_not(tmp_path: Path) -> None:
    missing = str(tmp_path / "none")
    assert load_components(ComponentSource(missing, may_be_missing=True)) == Loaded()
    assert load_components(ComponentSource("")) == Loaded()
    with pytest.raises(ConfigError, match="dapr.resources_path: there is no folder"):
        load_components(ComponentSource(missing))


# --- secrets


def with_secret(reference: str) -> str:
    return f"  - {{name: password, secretKeyRef: {reference}}}\n"


def test_secrets_come_from_the_environment(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACME_PW", "s3cret")
    folder["v.yaml"] = VAULT + "---\n" + VAULT.replace("vault", "acme").replace(
        "version: v1}", "version: v1, metadata: [{name: prefix, value: ACME_}]}"
    )
    auth = "auth: {secretStore: %s}\n"
    assert folder.values(with_secret("{name: ACME_PW}"), auth % "vault") == {"password": "s3cret"}
    assert folder.values(with_secret("{name: PW, key: PW}"), auth % "acme") == {"password": "s3cret"}


@pytest.mark.parametrize(
    ("settings", "reference"),
    [
        ("", "{name: plain}"),
        ("", "{name: 'deep:pw'}"),
        ("", "{name: 'list:1'}"),
        (", {name: nestedSeparator, value: /}", "{name: deep/pw}"),
        (", {name: multiValued, value: true}", "{name: deep, key: pw}"),
        (", {name: multiValued, value: true}", "{name: plain}"),
    ],
)
def test_secrets_come_from_a_file(folder: Folder, settings: str, reference: str) -> None:
    secrets = folder.path / "secrets.json"
    secrets.write_text(json.dumps({"plain": "s3cret", "deep": {"pw": "s3cret"}, "list": [1, "s3cret"]}), "utf-8")
    store = f"{{type: secretstores.local.file, metadata: [{{name: secretsFile, value: '{secrets}'}}{settings}]}}"
    folder["v.yaml"] = f"{HEAD}metadata: {{name: file}}\nspec: {store}\n"
    assert folder.values(with_secret(reference), "auth: {secretStore: file}\n") == {"password": "s3cret"}


@pytest.mark.parametrize(
    ("reference", "auth", "reason"),
    [
        ("{name: NOPE}", "vault", "spec.metadata[0].secretKeyRef: the secret store vault has no secret 'NOPE'"),
        ("{name: PATH, key: x}", "vault", "the secret store vault has no key 'x' in the secret 'PATH'"),
        ("{name: DAPR_API_TOKEN}", "vault", "the secret store vault has no secret 'DAPR_API_TOKEN'"),
        ("{key: x}", "vault", "spec.metadata[0].secretKeyRef: needs a name"),
        ("{name: PATH}", "", "needs auth.secretStore"),
        ("{name: PATH}", "kubernetes", "auth.secretStore: no secret store 'kubernetes' is loaded; loaded: vault"),
    ],
)
def test_a_missing_secret_is_an_error(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, reference: str, auth: str, reason: str
) -> None:
    monkeypatch.setenv("DAPR_API_TOKEN", "t")
    folder["v.yaml"] = VAULT
    spec = f"spec:\n  type: workflow.rill\n  metadata:\n  - name: pw\n    secretKeyRef: {reference}\n"
    folder["a.yaml"] = f"{HEAD}metadata: {{name: one}}\n{spec}auth: {{secretStore: {auth}}}\n"
    (problem,) = folder.problems()
    assert problem.startswith("a.yaml:")
    assert ": component one: " in problem
    assert reason in problem


# --- what is refused

BROKEN = [
    # the text, the line that is named, the field, the reason
    ("{", 1, "", "not YAML"),
    ("a: b: c\n", 1, "", "not YAML"),
    ("kind: Component\nkind: Component\n", 2, "", "stands twice"),
    ("? [a]\n: b\n", 1, "", "a key must be a word"),
    ("just text\n", 1, "", "a component must be a mapping"),
    ("a: &a [*a]\n", 1, "", "nested too deeply"),
    ("a: !!python/object:os.system x\n", 1, "", "not YAML"),
    (BILLING.replace("Component", "component"), 2, "kind", "no such kind 'component', did you mean Component?"),
    (BILLING.replace("Component", "Komponent"), 2, "kind", "did you mean Component?"),
    (BILLING.replace("kind: Component\n", ""), 1, "kind", "is required"),
    (BILLING.replace("dapr.io/v1alpha1", "dapr.io/v1"), 1, "apiVersion", "did you mean dapr.io/v1alpha1?"),
    (BILLING.replace("name: billing", "labels: {}"), 3, "metadata.name", "is required"),
    (BILLING.replace("name: billing", "name: a/b"), 4, "metadata.name", "cannot stand in a URL"),
    (BILLING.replace("name: billing", "name: .."), 4, "metadata.name", "cannot stand in a URL"),
    (BILLING.replace("name: billing", "name: 5"), 4, "metadata.name", "must be a text"),
    (BILLING.replace("  name: billing", "  - billing"), 3, "metadata", "must be a mapping"),
    (BILLING.replace("name: billing", "name: dapr"), 6, "spec.type", "cannot be redefined"),
    (BILLING.replace("  type: workflow.rill\n", ""), 5, "spec.type", "is required"),
    (BILLING.replace("workflow.rill", "workflow.ril"), 6, "spec.type", "did you mean workflow.rill?"),
    (BILLING.replace("workflow.rill", "nonsense.thing"), 6, "spec.type", "no such type 'nonsense.thing'"),
    (BILLING.replace("version: v1", "version: v9"), 7, "spec.version", "no such version 'v9'"),
    (BILLING.replace("version: v1", "version: 1"), 7, "spec.version", "must be a text"),
    (BILLING + "  ignoreErrors: maybe\n", 8, "spec.ignoreErrors", "must be true or false"),
    (BILLING + "  metadata: text\n", 8, "spec.metadata", "must be a list"),
    (BILLING + "  metadata:\n  - text\n", 9, "spec.metadata[0]", "must be a mapping"),
    (BILLING + "  metadata:\n  - value: x\n", 9, "spec.metadata[0].name", "is required"),
    (BILLING + "  metadata:\n  - {name: a}\n  - {name: a}\n", 10, "spec.metadata[1].name", "stands twice"),
    (BILLING + "  metadata:\n  - {name: a, secretKeyRef: b}\n", 9, "[0].secretKeyRef", "must be a mapping"),
    (BILLING + "  metadata:\n  - {name: a, envRef: [b]}\n", 9, "spec.metadata[0].envRef", "must be a text"),
    (BILLING + "  metadata:\n  - {name: strict, value: perhaps}\n", 9, "strict", "must be true or false"),
    (BILLING + "  metadata:\n  - {name: business, value: 'a:b'}\n", 9, "business", "cannot be a business"),
    (BILLING + "scopes: orders\n", 8, "scopes", "must be a list"),
    (BILLING + "scopes: [5]\n", 8, "scopes[0]", "must be a text"),
    (BILLING + "auth: vault\n", 8, "auth", "must be a mapping"),
    (BILLING + "auth:\n  secretStore: vault\n", 9, "auth.secretStore", "loaded: none"),
    (VAULT.replace("local.env", "local.file"), 4, "secretsFile", "is required"),
]


@pytest.mark.parametrize(("text", "line", "field", "reason"), BROKEN)
def test_a_broken_file_is_refused_with_line_field_and_reason(
    folder: Folder, text: str, line: int, field: str, reason: str
) -> None:
    folder["a.yaml"] = text
    (problem,) = folder.problems()
    assert problem.startswith(f"a.yaml:{line}: "), problem
    assert (f"{field}: " if field else "") in problem
    assert reason in problem


def test_lines_count_from_the_beginning_of_the_file(folder: Folder) -> None:
    folder["a.yaml"] = BILLING + "---\n" + BILLING.replace("billing", "other").replace("version: v1", "version: v7")
    (problem,) = folder.problems()
    assert problem.startswith("a.yaml:15: component other: spec.version: ")


def test_all_problems_are_told_at_once(folder: Folder) -> None:
    folder["a.yaml"] = "{"
    folder["b.yaml"] = BILLING.replace("name: billing", "name: a/b") + "---\n" + VAULT.replace("v1}", "v8}")
    folder["c.yaml"] = BILLING.replace("billing", "c").replace("workflow.rill", "workflow.none")
    (folder.path / "d.yaml").write_bytes(b"\xff")
    places = [text.partition(":")[0] for text in folder.problems()]
    assert sorted(places) == ["a.yaml", "b.yaml", "b.yaml", "c.yaml", "d.yaml"]


def test_two_components_of_one_name_are_an_error_even_when_one_is_for_another_app(folder: Folder) -> None:
    folder["a.yaml"] = BILLING + "scopes: [other]\n"
    folder["b.yaml"] = VAULT.replace("vault", "billing")
    (problem,) = folder.problems()
    assert problem.startswith(
        "b.yaml:1: component billing: duplicate definition of Component name billing (secretstores.local.env)"
        " with existing billing (workflow.rill) of "
    )


@pytest.mark.parametrize("change", [("workflow.rill", "workflow.none"), ("version: v1", "version: v9")])
def test_a_component_may_ask_for_its_errors_to_be_ignored(folder: Folder, change: tuple[str, str]) -> None:
    folder["a.yaml"] = BILLING.replace(*change) + "  ignoreErrors: true\n"
    folder["b.yaml"] = BILLING.replace("billing", "sound")
    loaded = folder.load()
    assert [one.name for one in loaded.components] == ["sound"]
    (warning,) = loaded.warnings
    assert "component billing: spec." in warning
    assert warning.endswith("(ignoreErrors: the component is not loaded)")


def test_secrets_do_not_show_in_messages(folder: Folder) -> None:
    secrets = folder.path / "secrets.json"
    secrets.write_text('{"pw": "s3cret"', "utf-8")
    store = f"[{{name: secretsFile, value: '{secrets}'}}]"
    folder["v.yaml"] = VAULT.replace("local.env", "local.file").replace("version: v1", f"metadata: {store}")
    (problem,) = folder.problems()
    assert "is not JSON" in problem
    assert "s3cret" not in problem


# --- types of others


class Point:
    """An entry point whose distribution is not installed."""

    def __init__(self, name: str, made: Any) -> None:
        self.name, self.value, self.made, self.dist = name, "acme:x", made, None

    def load(self) -> Any:
        if isinstance(self.made, Exception):
            raise self.made
        return self.made


def raising(spec: ComponentSpec) -> WorkflowBinding:
    raise RuntimeError("acme is down")


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (lambda spec: WorkflowBinding(spec.metadata["tenant"]), ""),
        (lambda spec: "shop", "gave str, no WorkflowBinding"),
        (raising, "workflow.acme: RuntimeError: acme is down"),
        (ImportError("no acme"), "could not be loaded: no acme"),
        (5, "it cannot be called"),
    ],
)
def test_a_type_of_somebody_else_makes_the_component(folder: Folder, made: Any, reason: str) -> None:
    folder["a.yaml"] = BILLING.replace("workflow.rill", "workflow.acme") + "  metadata: [{name: tenant, value: t}]\n"
    kinds = installed_kinds([Point("workflow.acme", made)])  # type: ignore[list-item]
    source = ComponentSource(str(folder.path), kinds=kinds)
    if not reason:
        assert load_components(source).components[0].binding.business == "t"
        return
    with pytest.raises(ConfigError) as caught:
        load_components(source)
    assert f"a.yaml:1: component billing: {reason}" in caught.value.message or reason in caught.value.message


def test_a_secret_store_of_somebody_else_gives_secrets(folder: Folder) -> None:
    class Store:
        def secret(self, name: str) -> dict[str, str] | None:
            return {"pw": "s3cret"} if name == "flow" else None

    folder["a.yaml"] = VAULT.replace("local.env", "acme")
    reference = "  metadata: [{name: business, secretKeyRef: {name: flow, key: pw}}]\nauth: {secretStore: vault}\n"
    folder["b.yaml"] = BILLING + reference
    kinds = installed_kinds([Point("secretstores.acme", lambda spec: Store())])  # type: ignore[list-item]
    loaded = load_components(ComponentSource(str(folder.path), kinds=kinds))
    assert loaded.components[1].binding.business == "s3cret"


@pytest.mark.parametrize("name", ["workflow.rill", "state.redis", "workflow"])
def test_a_type_that_is_taken_or_of_no_use_is_an_error(name: str) -> None:
    with pytest.raises(ConfigError, match=f"component type {name}"):
        installed_kinds([Point(name, raising)])  # type: ignore[list-item]


def test_the_built_in_types_are_those_of_the_distribution() -> None:
    import tomllib

    from tornflow.components import kinds

    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["entry-points"]["tornflow.components"] == kinds._BUILT_IN


# --- changes


async def test_a_change_is_taken_as_a_whole_or_not_at_all(folder: Folder, caplog: pytest.LogCaptureFixture) -> None:
    folder["a.yaml"] = BILLING
    components = Components(folder.load().components)
    folder["b.yaml"] = BILLING.replace("billing", "second")
    folder["c.yaml"] = "{"
    await reload_components(folder.source, components)
    assert [one.name for one in components.loaded] == ["billing"]
    assert "c.yaml:1: not YAML" in components.problem
    assert components.problem.endswith("; the components loaded before stay in force")
    assert "c.yaml:1: not YAML" in caplog.text
    (folder.path / "c.yaml").unlink()
    await reload_components(folder.source, components)
    assert ([one.name for one in components.loaded], components.problem) == (["billing", "second"], "")


def test_every_change_of_the_folder_shows_in_its_signature(folder: Folder) -> None:
    seen = [signature(folder.source)]
    changes: list[Callable[[], Any]] = [
        lambda: folder.__setitem__("a.yaml", BILLING),
        lambda: folder.__setitem__("a.yaml", BILLING + "# remark\n"),
        lambda: folder.__setitem__("b.yml", VAULT),
        lambda: os.utime(folder.path / "b.yml", ns=(1, 1)),
        lambda: (folder.path / "a.yaml").unlink(),
    ]
    for change in changes:
        change()
        seen.append(signature(folder.source))
    assert len(set(seen)) == len(changes) + 1
    folder["notes.txt"] = "not read"
    assert signature(folder.source) == seen[-1]
