"""Specs in files: sections, forms, relative paths, replaced fields, and what is refused."""

from __future__ import annotations

import json

import pytest

from mlport.cli import specfile
from mlport.errors import SpecError
from mlport.specs import BatchSpec, EndpointSpec, JobSpec, ModelSpec

JOB = 'name = "a"\nentrypoint = ["true"]\n'


def write(home, text, name="spec.toml"):
    (home / name).write_text(text)
    return str(home / name)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (JOB, JobSpec),
        (f"[job]\n{JOB}", JobSpec),
        ('name = "a"\nmodel = {name = "m", version = "1"}\ninput = "x.csv"\noutput = "out"\n', BatchSpec),
        ('[endpoint]\nname = "a"\ndeployment = {model = {name = "m", version = "1"}}\n', EndpointSpec),
        ('name = "a"\ndeployment = {model = {name = "m", version = "1"}}\n', EndpointSpec),
        ('name = "a"\npath = "model"\n', ModelSpec),
    ],
)
def test_the_kind_is_told_by_section_or_fields(home, text, kind):
    assert isinstance(specfile.load(write(home, text)), kind)


def test_json_is_read_too(home):
    text = json.dumps({"job": {"name": "a", "entrypoint": ["true"]}})
    assert specfile.load(write(home, text, "spec.json")).name == "a"


def test_paths_are_relative_to_the_file_but_urls_stay(home):
    (home / "deep").mkdir()
    file = write(home / "deep", f'{JOB}source = "src"\n[inputs]\na = "a.csv"\nb = "s3://bucket/b"\nc = "/c.csv"\n')
    spec = specfile.load(file)
    assert spec.source == str(home / "deep" / "src")
    assert spec.inputs == {"a": str(home / "deep" / "a.csv"), "b": "s3://bucket/b", "c": "/c.csv"}


@pytest.mark.parametrize(
    ("text", "sets", "kinds", "message"),
    [
        ("name = ", (), specfile.KINDS, "Invalid value"),
        (JOB, (("name.x", "1"),), specfile.KINDS, "name is not a table"),
        (f"[job]\n{JOB}[model]\nname='m'\npath='p'\n", (), specfile.KINDS, "exactly one of"),
        (JOB, (), ("endpoint",), "describes a job"),
        ('name = "a"\nentrypoynt = ["true"]\n', (), ("job", "batch"), "did you mean 'entrypoint'"),
    ],
)
def test_what_is_wrong_is_named(home, text, sets, kinds, message):
    with pytest.raises(SpecError, match=message):
        specfile.load(write(home, text), sets=sets, kinds=kinds)


def test_a_missing_file(home):
    with pytest.raises(SpecError, match="No such file"):
        specfile.load("nothing.toml")
