#!/usr/bin/env bats
# What a job is given and how it ends: images, command and script, environment, working directory, streams, verbs.
# Runs as: root, user

load lib

setup_file() { file_setup; }
teardown_file() { file_teardown; }

setup()
{
    needs_cgroups
    test_setup
}

teardown() { test_teardown; }

@test "a script in the busybox image says hello" {
    script 'echo "hello from $(cat /etc/jobbox-image | cut -d" " -f1)"'
    run_job
    exits 0
    out_is "hello from busybox"
    record 'end.reason == "completed"' 'end.exit_code == 0' 'rec.image.kind == "directory"'
}

@test "a script over the host says hello with the host's own programs" {
    script 'bash -c "echo hello from bash \${BASH_VERSINFO[0]}"' "image: host"
    run_job
    exits 0
    out_is "hello from bash ${BASH_VERSINFO[0]}"
    record 'end.reason == "completed"' 'rec.image.kind == "host"'
}

@test "without an image: key the image is the host" {
    printf 'version: 1\ncommand: [test, -e, %s]\n' "$(command -v bats)" >job.yaml
    run_job
    exits 0
    record 'rec.image.ref == "host"'
}

@test "the job's exit code is jobbox's: 0, 3, 119" {
    local want
    for want in 0 3 119; do
        script "exit $want"
        run_job
        exits $want
        record "end.exit_code == $want" "end.reason == ('failed' if $want else 'completed')" 'end.signal is None'
    done
}

@test "a command that is not there is 127, one that cannot be executed 126" {
    spec <<<'command: [no-such-program]'
    run_job
    exits 127
    record 'end.reason == "failed"' 'end.exit_code == 127' '"not found" in end.error'
    spec <<<'command: [/etc/passwd]'
    run_job
    exits 126
    record 'end.reason == "failed"' 'end.exit_code == 126' 'end.error'
    spec <<<'command: [/etc]'
    run_job
    exits 126
}

@test "a job that dies of signal 9 ends with 137, of 15 with 143" {
    local sig
    for sig in 9 15; do
        script "kill -$sig \$\$"
        run_job
        exits $((128 + sig))
        record 'end.reason == "signaled"' "end.signal == $sig" 'end.exit_code is None' 'end.killed_by is None'
    done
}

@test "a script without #! stops at the first line that fails" {
    script 'echo one
false
echo two'
    run_job
    exits 1
    out_is "one"
}

@test "a script with #! is run by what it names" {
    script '#!/bin/awk -f
BEGIN { print "awk", 6 * 7; exit 5 }'
    run_job
    exits 5
    out_is "awk 42"
}

@test "arguments of a command arrive as they are" {
    spec <<'EOF'
command: [printf, "<%s>", "a b", "", "*", "$HOME", 'quo"te', "new\nline", "ünï"]
EOF
    run_job
    exits 0
    out_is $'<a b><><*><$HOME><quo"te><new\nline><ünï>'
}

@test "the environment is exactly what is documented" {
    site_config
    spec <<<$'name: clean\ncommand: [env]\nresources: { memory: 64MiB }'
    SECRET=1 LD_PRELOAD='' LANG=C run_job
    exits 0
    [ "$(cut -d= -f1 out | sort | tr '\n' ' ')" = "HOME JOBBOX_CPUS JOBBOX_CPU_LIST JOBBOX_ID JOBBOX_MEMORY_BYTES \
JOBBOX_NAME LOGNAME OMP_NUM_THREADS OMP_PLACES PATH SHELL TMPDIR USER " ] || fail "other variables"
    out_has "^JOBBOX_CPUS=$(threads_of_core)\$"
    out_has '^JOBBOX_NAME=clean$'
    out_has '^JOBBOX_MEMORY_BYTES=67108864$'
    out_has '^TMPDIR=/tmp$'
    out_has "^JOBBOX_ID=$(show rec.id)\$"
    out_has "^JOBBOX_CPU_LIST=$(show granted.cpus)\$"
}

@test "env sets, pass_env passes names and prefixes, and env wins over both" {
    needs_own "the tests' environment is not his"
    site_config "env: { SITE: site, BOTH: site }"
    spec <<'EOF'
command: [env]
env: { MINE: "a b=c", BOTH: spec, CI_B: spec, EMPTY: "" }
pass_env: [TESTVAR, "CI_*", NOT_SET]
EOF
    TESTVAR=t CI_A=a CI_B=b CIX=x TESTVAR2=no run_job
    exits 0
    out_has '^MINE=a b=c$'
    out_has '^BOTH=spec$'
    out_has '^SITE=site$'
    out_has '^TESTVAR=t$'
    out_has '^CI_A=a$'
    out_has '^CI_B=spec$'
    out_has '^EMPTY=$'
    out_lacks '^(CIX|TESTVAR2|NOT_SET)='
}

@test "the working directory is /work, fresh, empty, writable and gone afterwards" {
    needs_own "the owner of what he makes is another"
    local i
    script 'pwd; ls -A; stat -c "%u %a" .; echo x >left; df -h . >/dev/null; ls'
    for i in 1 2; do
        run_job
        exits 0
        out_is "/work
$EUID 755
left"
    done
    script 'pwd; ls -A; echo x >left' "image: host"
    run_job
    exits 0
    out_is "/work"
    [ ! -e /work/left ]
}

@test "a workdir: is used as it is, or made when it is absent" {
    script 'pwd; ls passwd' "workdir: /etc"
    run_job
    exits 0
    out_is $'/etc\npasswd'
    script 'pwd; touch x; ls -A' "workdir: /new/deep/folder"
    run_job
    exits 0
    out_is $'/new/deep/folder\nx'
}

@test "standard input is empty unless a file is named" {
    script 'cat; echo end'
    echo "not for the job" | jobbox run -q --config "$CONF" job.yaml >out
    out_is "end"
    printf 'line %s\n' 1 2 3 >input.txt
    script 'wc -l' "stdin: input.txt"
    run_job
    exits 0
    out_is "3"
}

@test "output files: %j, %n and %u are filled in, missing folders made, standard error apart" {
    needs_own "no account has his name"
    script 'echo to out; echo to err >&2' "name: files" "stdout: logs/deep/%n-%u-%j.out" "stderr: logs/%%.err"
    run_job
    exits 0
    out_is ""
    [ "$(cat "logs/deep/files-$(id -un)-$(show rec.id).out")" = "to out" ]
    [ "$(cat logs/%.err)" = "to err" ]
    record 'output.stdout_bytes == 7' 'output.stderr_bytes == 7' 'output.truncated is False'
}

@test "stderr: merge keeps the order of what was written" {
    script 'for i in 1 2 3; do echo out $i; echo err $i >&2; done' "stdout: all.txt" "stderr: merge"
    run_job
    exits 0
    [ "$(cat all.txt)" = $'out 1\nerr 1\nout 2\nerr 2\nout 3\nerr 3' ] || fail "$(cat all.txt)"
}

@test "a relative output path starts where jobbox was started, and an old file is replaced" {
    needs_own "the folder is not his"
    mkdir elsewhere
    cd elsewhere
    echo "a longer line from before" >o.txt
    script 'echo new' "stdout: o.txt"
    run_job
    exits 0
    [ "$(cat "$T/elsewhere/o.txt")" = new ]
    [ ! -e "$T/o.txt" ]
}

@test "the job's output and error arrive on jobbox's own, byte by byte" {
    script 'printf "a\0b\377"; printf err >&2'
    run_job
    exits 0
    [ "$(od -An -tx1 out)" = " 61 00 62 ff" ]
    [ "$(cat err)" = err ]
}

@test "--json prints one JSON object on standard output and the job's output on standard error" {
    script 'echo the job says; echo and errs >&2'
    run_job --json
    exits 0
    /usr/bin/python3 -c 'import json, sys; r = json.load(open("out")); assert r["end"]["reason"] == "completed", r'
    [ "$(wc -l <out)" = 1 ]
    cmp out <(tail -n 1 "$(last_journal)")
    err_has '^the job says$'
    err_has '^and errs$'
}

@test "the summary tells reason, times, memory, CPUs and the record's id; --quiet tells nothing" {
    script 'echo only this' "name: sum" "resources: { memory: 64MiB }"
    jobbox run --config "$CONF" job.yaml >out 2>err
    out_is "only this"
    err_has "sum: completed"
    err_has "wall .*CPU .*peak memory .*of 64(\.0)? MiB.*CPUs $(show granted.cpus)"
    err_has "$(show rec.id)"
    run_job
    [ ! -s err ] || fail "not quiet"
}

@test "a spec can come from standard input" {
    code=0
    echo "{ version: 1, image: $IMAGE, command: [echo, piped] }" | jobbox run -q --config "$CONF" - >out 2>err || code=$?
    exits 0
    out_is piped
}

@test "JOBBOX_CONFIG names the site config" {
    needs_own "the tests' environment is not his"
    script 'true'
    JOBBOX_CONFIG=$CONF jobbox run -q job.yaml
    [ "$(records)" = 1 ]
}

@test "validate accepts every example and names file, line and column of each fault" {
    local file
    for file in "$SOURCE_DIR"/configs/examples/*.yaml; do
        jobbox validate "$file"
    done
    printf 'version: 1\nscript: x\nresources:\n  memroy: 1GiB\n  cpus: -1\n' >bad.yaml
    code=0
    jobbox validate bad.yaml >out 2>err || code=$?
    exits 125
    cat out err >all
    grep -qE '^bad.yaml:4:3: .*memroy.*did you mean "?memory' all || fail "$(cat all)"
    grep -qE '^bad.yaml:5:[0-9]+: resources.cpus' all || fail "$(cat all)"
}

@test "plan prints CPUs, cgroups, mounts, identity, environment, argv and limits" {
    needs_limits
    script 'echo x' "name: p" "resources: { memory: 64MiB, pids: 33 }" "limits: { wall_time: 1m }"
    jobbox plan --config "$CONF" job.yaml >out
    local word
    [ "${JBT_WHO-}" = user ] || out_has cpuset.cpus
    for word in '^grant' 67108864 'root-overlay' pivot '^identity' '^environment' '/bin/sh' wall_time; do
        out_has "$word"
    done
    jobbox plan --json --config "$CONF" job.yaml >out
    /usr/bin/python3 - <<'EOF'
import json
plan = json.load(open("out"))
for key in ("grant", "cgroups", "namespaces", "operations", "identity", "environment", "argv", "limits", "workdir"):
    assert plan[key], key
assert plan["operations"][-1]["op"] == "pivot"
assert plan["limits"]["wall_time_s"] == 60
assert {"pids": ["33"]} == {k: [f["value"] for f in v["files"]] for k, v in plan["cgroups"].items() if k == "pids"}
EOF
}

@test "plan needs no privilege and touches nothing" {
    needs_root # to become an ordinary user
    install -m 755 "$JOBBOX" jobbox-copy
    script 'echo x' "allow_degraded: [cpuset, memory, pids]"
    find "$T" ! -name out ! -name before | sort >before
    setpriv --reuid $ORDINARY --regid $ORDINARY --clear-groups ./jobbox-copy plan --config "$CONF" job.yaml >out
    out_has "^environment"
    find "$T" -newer before ! -name out ! -name "t$BATS_TEST_NUMBER" | grep . && fail "something was made"
    find "$T" ! -name out ! -name before | sort | diff before - || fail "something was made"
    [ ! -e run ] && [ ! -e state ]
}

@test "plan as root leaves the state directories unmade too" {
    script 'echo x'
    jobbox plan --config "$CONF" job.yaml >out
    [ ! -e run ] && [ ! -e state ]
}

@test "a verb that is not one, an option that is not one, no file: 125 and one line" {
    local arguments
    for arguments in rnu "run" "run --nope x" "run a b" "plan" "sweep now"; do
        code=0
        # shellcheck disable=SC2086
        jobbox $arguments >out 2>err || code=$?
        exits 125
        out_is ""
    done
    jobbox rnu 2>err || true
    one_error 'did you mean "run"'
    jobbox --version | grep -q '^jobbox [0-9]'
    jobbox --help | grep -q validate
}
