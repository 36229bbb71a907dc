"""The ``callback`` of a submission: what is taken, and what is refused before anything is stored."""

from __future__ import annotations

import pytest

from tornflow.errors import MalformedCallback
from tornflow.runtime.callbacks import read_callback
from tornflow.runtime.starting import parse_callback


def test_a_url_and_a_configuration_are_taken() -> None:
    assert parse_callback(" http://svc/done ") == {"resourceName": "http://svc/done"}
    rule = '{"source": "$.context.a", "target": "$.input.a"}'
    text = f'{{"resourceName": "http://svc", "fullContext": true, "inputMappings": [{rule}]}}'
    config = read_callback(parse_callback(text))
    assert (config.resource_name, config.full_context, len(config.input_mappings)) == ("http://svc", True, 1)
    assert read_callback(parse_callback('{"resourceName": "http://svc", "inputMappings": null}')).input_mappings == ()


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("ftp-ish nonsense", "neither JSON nor"),
        ("[1]", "resourceName"),
        ('{"resourceName": 5}', "resourceName"),
        ('{"resourceName": "http://svc", "inputMappings": {"source": "1"}}', "inputMappings"),
        ('{"resourceName": "http://svc", "inputMappings": [5]}', "inputMappings"),
        ('{"resourceName": "http://svc", "inputMappings": [{"source": {"a": 1}, "target": "a"}]}', "[0].source"),
        ('{"resourceName": "http://svc", "inputMappings": [{"tolerance": "no"}]}', "[0].tolerance"),
    ],
)
def test_anything_else_is_refused_by_the_name_of_the_field(text: str, named: str) -> None:
    with pytest.raises(MalformedCallback) as caught:
        parse_callback(text)
    assert named in str(caught.value)
