"""docs/job.schema.json and the commands' signatures state the same."""

from __future__ import annotations

import inspect
import json
import typing
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator, ValidationError

from cropmap_core import errors
from cropmap_core.commands import COMMANDS
from cropmap_core.errors import CropMapError
from cropmap_core.learning.recipes import TREES, offered_architectures
from cropmap_core.scenes.inventory import DEFAULT_BANDS, NATIVE_RESOLUTION_M
from cropmap_core.scenes.offset import OFFSETS
from cropmap_core.scenes.scl import NEVER_KEPT, SCL_CLASSES
from cropmap_core.timeseries import compositing, filling
from cropmap_core.timeseries.formulas import INDICES
from tests.core.seam import SCHEMA, job_document, validator

DEFINITIONS = SCHEMA["$defs"]
JSON_TYPE = {
    Path: "string",
    date: "string",
    str: "string",
    int: "integer",
    float: "number",
    bool: "boolean",
    tuple: "array",
}


def resolved(definition: Mapping[str, Any]) -> dict[str, Any]:
    """A definition with what it refers to."""
    reference = definition.get("$ref")
    there = resolved(DEFINITIONS[reference.removeprefix("#/$defs/")]) if reference else {}
    return {**there, **definition}


def signature(command: str) -> dict[str, inspect.Parameter]:
    parameters = inspect.signature(COMMANDS[command]).parameters
    return {name: parameter for name, parameter in parameters.items() if name != "job"}


def schema_of(command: str) -> dict[str, dict[str, Any]]:
    return {name: resolved(definition) for name, definition in DEFINITIONS[command]["properties"].items()}


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(SCHEMA)


def test_commands_are_the_same() -> None:
    job = DEFINITIONS["job"]
    assert set(job["properties"]["command"]["enum"]) == set(COMMANDS)
    conditions = {each["if"]["properties"]["command"]["const"]: each["then"] for each in job["allOf"]}
    assert conditions == {name: {"properties": {"parameters": {"$ref": f"#/$defs/{name}"}}} for name in COMMANDS}


@pytest.mark.parametrize("command", COMMANDS)
class TestParametersOf:
    def test_have_the_same_names_and_no_others_are_allowed(self, command: str) -> None:
        assert set(schema_of(command)) == set(signature(command))
        assert DEFINITIONS[command]["additionalProperties"] is False

    def test_are_required_alike(self, command: str) -> None:
        required = {name for name, each in signature(command).items() if each.default is inspect.Parameter.empty}
        assert set(DEFINITIONS[command].get("required", [])) == required

    def test_have_the_same_defaults(self, command: str) -> None:
        """None stands for null, which the schema allows instead of stating it as a default."""
        in_code = {name: each.default for name, each in signature(command).items()}
        stated = {name: each["default"] for name, each in schema_of(command).items() if "default" in each}
        given = {
            name: list(default) if isinstance(default, tuple) else default
            for name, default in in_code.items()
            if default is not None and default is not inspect.Parameter.empty
        }
        assert stated == given

    def test_have_the_same_types(self, command: str) -> None:
        hints = typing.get_type_hints(COMMANDS[command])
        for name, definition in schema_of(command).items():
            alternatives = [resolved(each) for each in definition.get("anyOf", [definition])]
            kinds = {each["type"] if "type" in each else JSON_TYPE[type(each["enum"][0])] for each in alternatives}
            assert kinds == _json_types(hints[name]), name

    def test_are_described_on_the_command_line(self, command: str) -> None:
        documentation = inspect.getdoc(COMMANDS[command]) or ""
        assert [name for name in signature(command) if f"\n    {name}: " not in documentation] == []


def _json_types(annotation: Any) -> set[str]:
    if typing.get_origin(annotation) is tuple:
        return {"array"}
    kinds = typing.get_args(annotation) or (annotation,)
    return {"null" if kind is type(None) else JSON_TYPE[kind] for kind in kinds}


class TestChoices:
    def test_bands(self) -> None:
        assert set(DEFINITIONS["band"]["enum"]) == set(NATIVE_RESOLUTION_M) - {"SCL"}
        assert DEFINITIONS["bands"]["default"] == list(DEFAULT_BANDS)

    def test_scl_classes(self) -> None:
        assert DEFINITIONS["sclClass"]["enum"] == [name for name in SCL_CLASSES if name not in NEVER_KEPT]

    def test_offsets(self) -> None:
        assert DEFINITIONS["offset"]["enum"] == list(OFFSETS)

    def test_ways_to_composite_and_fill(self) -> None:
        for command, methods in (("compositetimeseries", compositing.METHODS), ("fillgaps", filling.METHODS)):
            assert DEFINITIONS[command]["properties"]["method"]["enum"] == list(methods)

    def test_default_indices_exist(self) -> None:
        assert set(DEFINITIONS["computeindices"]["properties"]["indices"]["default"]) <= set(INDICES)

    def test_architectures(self) -> None:
        stated = DEFINITIONS["trainmodel"]["properties"]["architecture"]["items"]["enum"]
        assert set(stated) == {*offered_architectures(), *TREES}

    def test_error_codes(self) -> None:
        """Every error class, and two without: of what nobody foresaw, and of QGIS finding no worker to start."""
        classes = {
            name for name, each in vars(errors).items() if isinstance(each, type) and issubclass(each, CropMapError)
        }
        (stated,) = (
            each["properties"]["code"]["enum"] for each in DEFINITIONS["event"]["oneOf"] if "code" in each["required"]
        )
        assert set(stated) == classes | {"InternalError", "RuntimeMissingError"}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({}, None),
        ({"bands": ["B04", "B08"], "resolution": 20, "offset": "-1000", "start_date": "2018-01-01"}, None),
        ({"start_date": None}, None),
        ({"scenes": []}, "should be non-empty"),
        ({"scenes": "folder"}, "is not of type 'array'"),
        ({"bands": ["SCL"]}, "'SCL' is not one of"),
        ({"resolution": 15}, "15 is not one of"),
        ({"offset": -1000}, "-1000 is not one of"),
        ({"start_date": "1.5.2018"}, "not valid under any"),
        ({"SCENES": []}, "'SCENES' was unexpected"),
    ],
)
def test_the_schema_says_what_a_job_may_be(change: dict[str, Any], reason: str | None) -> None:
    document = job_document("stackscenes", **{"scenes": ["/data"], "output": "/data/stack.tif", **change})
    if reason is None:
        validator("job").validate(document)
    else:
        with pytest.raises(ValidationError, match=reason):
            validator("job").validate(document)


@pytest.mark.parametrize(
    "change", [{"version": 2}, {"id": "short"}, {"id": "0123456789AB"}, {"command": "rm"}, {"more": 1}]
)
def test_the_schema_says_what_surrounds_a_job(change: dict[str, Any]) -> None:
    document = {**job_document("runtimeinfo"), **change}
    assert not validator("job").is_valid(json.loads(json.dumps(document)))
