#!/usr/bin/python3
"""Checks files as their consumers would read them: report_forms.py FORM FILE [EXPECTED RECORDS].

The rules are those of the programs that load these files, written down again from what they do with a line.
"""
import datetime
import re
import struct
import sys


def fail(text):
    print(text, file=sys.stderr)
    sys.exit(1)


def seconds(text):
    match = re.fullmatch(r"(?:(?:(\d+)-)?(\d+):)?(\d+):(\d+)(?:\.\d+)?", text)
    if not match:
        fail(f"no time span: {text!r}")
    days, hours, minutes, rest = (int(part or 0) for part in match.groups())
    return days * 86400 + hours * 3600 + minutes * 60 + rest


def moment(text):
    return datetime.datetime.strptime(text, "%Y-%m-%dT%H:%M:%S")


def xdmod(lines):
    """The shredder splits at the first 25 bars; a line with fewer stops it."""
    ended = {"BOOT_FAIL", "CANCELLED", "COMPLETED", "FAILED", "NODE_FAIL", "PREEMPTED", "TIMEOUT", "OUT_OF_MEMORY",
             "DEADLINE", "REVOKED"}
    taken = 0
    for line in lines:
        fields = line.split("|", 25)
        if len(fields) != 26:
            fail(f"{len(fields)} fields: {line!r}")
        if "|" in fields[25]:
            fail(f"a bar in the name: {line!r}")
        job, raw = fields[0], fields[1]
        if "." in job:
            fail(f"it would be taken for a step: {job}")
        if fields[13] == "Unknown" or fields[24] == "None assigned":
            continue
        if fields[16].split(" ")[0].upper() not in ended:
            fail(f"an unknown state: {fields[16]}")
        if not re.fullmatch(r"\d+(_\d+)?", job) or not raw.isdigit() or int(raw) >= 2**31:
            fail(f"no number: {job} {raw}")
        submit, eligible, start, end = (moment(fields[i]) for i in (10, 11, 12, 13))
        if not submit <= eligible <= start <= end:
            fail(f"times out of order: {line!r}")
        if seconds(fields[14]) > (end - start).total_seconds() + 1:
            fail(f"it ran for longer than there was time: {line!r}")
        if fields[23] != "UNLIMITED":
            seconds(fields[23])
        for number in (7, 9, 17, 18, 19):
            if fields[number] and not fields[number].isdigit():
                fail(f"field {number + 1} is no number: {line!r}")
        if not re.fullmatch(r"\d+:\d+", fields[15]):
            fail(f"no exit code: {fields[15]}")
        if not re.fullmatch(r"(\d+[KMGT])?", fields[20]):
            fail(f"no memory: {fields[20]}")
        for tres in (fields[21], fields[22]):
            if not all(re.fullmatch(r"[a-z/]+=\d+[KMGT]?", part) for part in tres.split(",")):
                fail(f"no TRES: {tres}")
        taken += 1
    return taken


def apel(lines):
    """APEL's parser of Slurm: strips and splits at every bar."""
    states = {"CANCELLED", "COMPLETED", "FAILED", "NODE_FAIL", "PREEMPTED", "TIMEOUT"}
    for line in lines:
        values = line.strip().split("|")
        if len(values) != 15:
            fail(f"{len(values)} fields: {line!r}")
        if values[14] not in states:
            fail(f"a state that it does not know: {values[14]}")
        if not all(values[i] for i in (0, 2, 3, 4, 5, 6, 7, 9, 10)):
            fail(f"an empty field: {line!r}")
        if moment(values[5]) < moment(values[4]):
            fail(f"the end is before the start: {line!r}")
        seconds(values[6])
        if int(values[7]) < 0 or int(values[9]) < 1 or int(values[10]) < 1:
            fail(f"numbers that make no sense: {line!r}")
        for size in values[12:14]:
            if size and (not re.fullmatch(r"\d+[KMGTP]", size) or int(size[:-1]) == 0):
                fail(f"no memory: {size}")
    return len(lines)


def sacct(lines):
    header = lines[0].split("|")
    for line in lines[1:]:
        if len(line.split("|")) != len(header):
            fail(f"not as many fields as names: {line!r}")
    return len(lines) - 1


def prometheus(lines):
    """The text format: TYPE before samples, no sample twice, names and labels as they must be."""
    types, seen = {}, set()
    label = r'[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*"'
    sample = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(\{(?:%s(?:,%s)*)?\})? (\S+)" % (label, label))
    for line in lines:
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            if name in types or kind not in ("counter", "gauge"):
                fail(f"a type twice, or none: {line!r}")
            if kind == "counter" and not name.endswith("_total"):
                fail(f"a counter without _total: {name}")
            types[name] = kind
        elif not line.startswith("# HELP "):
            match = sample.fullmatch(line)
            if not match:
                fail(f"no sample: {line!r}")
            if match[1] not in types:
                fail(f"a sample without its type: {line!r}")
            if (match[1], match[2]) in seen:
                fail(f"a sample twice: {line!r}")
            seen.add((match[1], match[2]))
            float(match[3])
    return len(seen)


def csv_sheet(lines):
    import csv
    rows = list(csv.reader(lines, strict=True))
    for row in rows:
        if len(row) != len(rows[0]):
            fail(f"not as many fields as names: {row!r}")
        for field in row:
            if field.lstrip(" ")[:1] in tuple("=+-@\t\r|%") and not re.fullmatch(r"-?[0-9.]+", field) and field:
                fail(f"a spreadsheet would take it for a formula: {field!r}")
            if re.search(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", field):
                fail(f"control characters: {field!r}")
    return len(rows) - 1


def acct(data):
    """struct acct_v3 as acct(5) has it."""
    if len(data) % 64:
        fail(f"{len(data)} bytes are no records of 64")
    for at in range(0, len(data), 64):
        flag, version, _, _, _, _, _, _, begun, elapsed = struct.unpack_from("<BBHIIIIIIf", data, at)
        if version != 3 or flag & ~0x1F or begun == 0 or elapsed < 0:
            fail(f"record {at // 64} is none of version 3")
        if data[at + 63] != 0:
            fail(f"record {at // 64}: the name has no end")
    return len(data) // 64


def main():
    form, path = sys.argv[1:3]
    with open(path, "rb") as file:
        data = file.read()
    if form == "acct":
        n = acct(data)
    else:
        text = data.decode("utf-8")
        if text and not text.endswith("\n"):
            fail("the last line has no end")
        n = {"xdmod": xdmod, "apel": apel, "sacct": sacct, "prometheus": prometheus, "csv": csv_sheet}[form](
            text.split("\n")[:-1])
    if len(sys.argv) > 3 and n != int(sys.argv[3]):
        fail(f"{n} records instead of {sys.argv[3]}")


main()
