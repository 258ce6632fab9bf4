#!/usr/bin/python3
"""Holds the JSON Schema of job specs against the parser.

Usage: schema_agrees.py JOBBOX SOURCE_DIR

Every spec that is right must be right to both: tests/data/spec/good, configs/examples, and the blocks marked as whole
specs in docs/jobspec.md. Every wrong one in tests/data/spec/bad must be wrong to both, but for those whose first line
says "# schema: cannot express: WHY", which the schema must let pass (or never get to see, being no YAML): a mark that
is not needed is a fault too. Exit code 0 when all hold, 1 when not, 2 when the test cannot be made.

Needs python3-jsonschema and python3-yaml; without them it fails, since a test that skips itself proves nothing.
"""
import json
import pathlib
import re
import subprocess
import sys
import tempfile

import jsonschema
import yaml

MARK = re.compile(rb"# schema: cannot express: \S")
DOC_BLOCK = re.compile(r"^<!-- whole spec -->\n```yaml\n(.*?)^```$", re.S | re.M)


class Loader(yaml.SafeLoader):
    """YAML 1.2's core schema, as editors read it: yes and on are words, 010 is ten, tags are not looked at."""

    yaml_implicit_resolvers = {}

    def construct_object(self, node, deep=False):
        if isinstance(node, yaml.MappingNode):
            if not all(isinstance(key, yaml.ScalarNode) for key, _ in node.value):
                raise yaml.YAMLError("a key is no text")
            return {key.value: self.construct_object(value) for key, value in node.value}
        if isinstance(node, yaml.SequenceNode):
            return [self.construct_object(item) for item in node.value]
        return scalar(node.value) if node.style is None else node.value


def scalar(text):
    if text in ("", "~", "null", "Null", "NULL"):
        return None
    if text in ("true", "True", "TRUE", "false", "False", "FALSE"):
        return text.lower() == "true"
    if re.fullmatch(r"[-+]?[0-9]+", text):
        return int(text)
    if re.fullmatch(r"0o[0-7]+|0x[0-9a-fA-F]+", text):
        return int(text, 0)
    if re.fullmatch(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", text):
        return float(text.replace(".inf", "inf").replace(".nan", "nan"))
    return text


def schema_says(validator, data):
    """None when right; else what is wrong. A file that is no YAML counts as "unread"."""
    try:
        value = yaml.load(data.removeprefix(b"\xef\xbb\xbf").decode(), Loader)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as fault:
        return "unread: " + str(fault).splitlines()[0]
    # mappings have text as keys only, so this is JSON
    return next((e.message[:200] for e in validator.iter_errors(value)), None)


def parser_says(jobbox, path):
    done = subprocess.run([jobbox, "validate", str(path)], capture_output=True, timeout=60, check=False)
    if done.returncode not in (0, 125):
        sys.exit(f"{path}: jobbox validate ended with {done.returncode}: {done.stderr.decode()}")
    return done.returncode == 0, done.stderr.decode()


def documented(source, folder):
    blocks = DOC_BLOCK.findall((source / "docs/jobspec.md").read_text())
    for i, block in enumerate(blocks):
        path = folder / f"jobspec.md-{i + 1}.yaml"
        path.write_text(block)
        yield path


def check_key_coverage(schema, source):
    """Every key of the schema has a section in the reference and the other way round."""
    keys = set()
    for name, value in schema["properties"].items():
        keys.add(name)
        if name in ("resources", "limits"):
            keys.update(f"{name}.{inner}" for inner in value["properties"])
    sections = set(re.findall(r"^#{2,3} `([a-z_.]+)`", (source / "docs/jobspec.md").read_text(), re.M))
    return [f"docs/jobspec.md: no section for {k}" for k in sorted(keys - sections)] + \
           [f"docs/jobspec.md: section for {k}, which the schema does not know" for k in sorted(sections - keys)]


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    jobbox, source = sys.argv[1], pathlib.Path(sys.argv[2])
    schema = json.loads((source / "configs/jobspec.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    faults = check_key_coverage(schema, source)
    counts = {"right": 0, "wrong": 0, "marked": 0}
    with tempfile.TemporaryDirectory() as folder:
        right = sorted((source / "tests/data/spec/good").glob("*.yaml")) + \
            sorted((source / "configs/examples").glob("*.yaml")) + list(documented(source, pathlib.Path(folder)))
        for path in right:
            counts["right"] += 1
            fault = schema_says(validator, path.read_bytes())
            ok, text = parser_says(jobbox, path)
            if fault:
                faults.append(f"{path}: should be right, but the schema says: {fault}")
            if not ok:
                faults.append(f"{path}: should be right, but the parser says: {text}")
    for path in sorted((source / "tests/data/spec/bad").glob("*.yaml")):
        data = path.read_bytes()
        marked = MARK.match(data) is not None
        counts["marked" if marked else "wrong"] += 1
        fault = schema_says(validator, data)
        if parser_says(jobbox, path)[0]:
            faults.append(f"{path}: should be wrong, but the parser finds no fault")
        if marked and fault and not fault.startswith("unread"):
            faults.append(f"{path}: marked as beyond the schema, which says: {fault}")
        if not marked and (fault is None or fault.startswith("unread")):
            faults.append(f"{path}: should be wrong to the schema ({fault or 'no fault found'})")
    print(f"{counts['right']} right specs, {counts['wrong']} wrong ones, "
          f"{counts['marked']} wrong in ways that no schema can say")
    if counts["right"] < 25 or counts["wrong"] < 60 or counts["marked"] < 20:
        faults.append("fewer cases than there should be: is the data there?")
    for fault in faults:
        print(fault, file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
