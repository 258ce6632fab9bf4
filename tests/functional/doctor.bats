#!/usr/bin/env bats
# Runs as: root, user
# What doctor says about this host, for root and for an ordinary user, and that its probes leave nothing behind.

load lib

setup_file() { file_setup; }
teardown_file() { file_teardown; }
setup() { test_setup; }
teardown() { test_teardown; }

doctor()
{
    run --separate-stderr "${AS[@]}" "$JOBBOX" doctor --config "$CONF" "$@"
}

# state CHECK: what the last `doctor --json` says of one check.
state()
{
    python3 -c 'import json,sys; print(next(c["state"] for c in json.load(sys.stdin)["checks"] if c["check"] == sys.argv[1]))' \
        "$1" <<<"$output"
}

@test "where jobs run, doctor says so and exits 0; then a job does run" {
    needs_limits # without them doctor has something to tell
    needs_cgroups
    doctor
    [ "$status" -eq 0 ]
    [[ "$output" == *"jobs with the default guarantees run here"* ]]
    [[ "$output" != *"missing "* ]]
    printf 'version: 1\ncommand: ["true"]\n' >job.yaml
    run_job
    exits 0
}

@test "doctor makes nothing: no directory, mount, cgroup or process" {
    local before
    before=$(cat /proc/self/mountinfo)
    doctor --json
    [ ! -e "$T/run" ] && [ ! -e "$T/state" ]
    [ "$before" = "$(cat /proc/self/mountinfo)" ]
}

@test "as JSON, every check has a state, and what is not ok a text" {
    doctor --json
    python3 - "$status" "$output" <<'X'
import json, sys
d = json.loads(sys.argv[2])
assert d["ok"] == (sys.argv[1] == "0"), d
names = [c["check"] for c in d["checks"]]
assert len(set(names)) == len(names) > 20, names
for c in d["checks"]:
    assert c["state"] in ("ok", "degraded", "missing"), c
    assert c["text"] and "\n" not in c["text"], c
    assert (c["fix"] is None) or c["state"] != "ok", c
X
}

@test "an ordinary user without a delegated cgroup is told so, with what to do, and exits 1" {
    needs_root
    own_user_can_write && skip "this cgroup may be written by anybody"
    chown "$ORDINARY" "$T"
    run --separate-stderr setpriv --reuid "$ORDINARY" --regid "$ORDINARY" --clear-groups \
        env -u XDG_RUNTIME_DIR HOME="$T" "$JOBBOX" doctor --config "$CONF" --fix-hints
    [ "$status" -eq 1 ]
    [[ "$output" == *"missing   controller cpuset"* ]]
    [[ "$output" == *"fix: "* ]]
    [[ "$output" == *"do not run here"* ]]
}

own_user_can_write()
{
    local dir
    dir=$(own_cgroup cpuset)
    setpriv --reuid "$ORDINARY" --regid "$ORDINARY" --clear-groups test -w "${dir:-$(own_cgroup unified)}"
}

@test "a fault in the site config is a finding, not the end" {
    printf 'paths: { runtim: /x }\n' >"$CONF"
    doctor --json
    [ "$status" -eq 1 ]
    [ "$(state "site config")" = missing ]
    [ "$(state kernel)" = ok ]
}

@test "too few open files are found" {
    run --separate-stderr bash -c 'ulimit -n 100; exec "$0" doctor --config "$1"' "$JOBBOX" "$CONF"
    [ "$status" -eq 1 ]
    [[ "$output" == *"missing   open files"* ]]
}

@test "a runtime directory that others may write is found" {
    mkdir -m 777 "$T/run"
    doctor --json
    [ "$status" -eq 1 ]
    [ "$(state "runtime directory")" = missing ]
}

@test "arguments and unknown options are usage errors" {
    doctor extra
    [ "$status" -eq 125 ]
    doctor --bogus
    [ "$status" -eq 125 ]
    [[ "$stderr" == *"unknown option --bogus"* ]]
}
