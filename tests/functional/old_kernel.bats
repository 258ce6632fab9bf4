#!/usr/bin/env bats
# Kernels that lack a call, and containers whose filter hides one: each is done in another way, with the same guarantees,
# or the refusal says what is missing and nothing is left behind. See without.c.

load lib

setup_file()
{
    file_setup
    install -m 755 "$JOBBOX_BUILD/tests/functional/without" "$FILE_DIR/without"
}
teardown_file() { file_teardown; }

setup()
{
    needs_cgroups
    test_setup
}

teardown() { test_teardown; }

# runs_without CALL...: a job is pinned, limited, inhabited and dead at the end as ever.
runs_without()
{
    script 'grep Cpus_allowed_list /proc/self/status | cut -f2; (setsid sleep 1000 &); echo done' \
        "resources: { cpus: 1, cpu_unit: thread, memory: 64MiB, pids: 30 }"
    code=0
    env "$MARK" timeout --foreground -k 5 $((60 * JBT_SLOWER)) "$FILE_DIR/without" "$@" -- "$JOBBOX" run --quiet \
        --config "$CONF" "$T/job.yaml" >"$T/out" 2>"$T/err" </dev/null || code=$?
    exits 0
    out_has '^done$'
    none_marked || fail "alive: $(marked_processes)"
    record 'end.reason == "completed"' 'isolation.limits.memory_max_bytes == 64 << 20' 'isolation.limits.pids_max == 30' \
        'isolation.cpus_allowed == granted.cpus' 'isolation.cgroup_version.unified in (None, 2)' \
        'isolation.degraded == []'
    [ "$(head -n 1 out)" = "$(show granted.cpus)" ]
}

# refused_without CALL...: one line that says so.
refused_without()
{
    script 'echo ran'
    code=0
    env "$MARK" "$FILE_DIR/without" "$@" -- "$JOBBOX" run --quiet --config "$CONF" "$T/job.yaml" \
        >"$T/out" 2>"$T/err" </dev/null || code=$?
    exits 124
    out_lacks ran
    one_error 'Function not implemented: a call of Linux 5.12 is missing, or a system call filter hides it.*jobbox doctor'
    code=0
    env "$MARK" "$FILE_DIR/without" "$@" -- "$JOBBOX" doctor --config "$CONF" >"$T/out" 2>"$T/err" || code=$?
    exits 1
    out_has 'missing   system calls'
}

@test "without clone3 the box is born outside of its v2 group and joins it before anything of the job exists" {
    runs_without clone3
    runs_without clone3=EPERM
}

@test "without openat2 paths are walked by hand" {
    runs_without openat2
    runs_without openat2=EPERM
}

@test "without close_range descriptors are closed one by one: the job has no other" {
    runs_without close_range
    cp "$FILE_DIR/probe" probe
    script '/p/probe fds' "mounts: [{ source: $T, target: /p }]"
    code=0
    env "$MARK" "$FILE_DIR/without" close_range -- "$JOBBOX" run -q --config "$CONF" job.yaml >out 2>err 7</dev/null || code=$?
    exits 0
    out_lacks '^[3-9]'
}

@test "without pidfds whoever is to die is looked up twice and killed by number" {
    runs_without pidfd_open pidfd_send_signal pidfd_getfd
    runs_without pidfd_send_signal
}

@test "without faccessat2 and with all of these hidden at once" {
    runs_without faccessat2 clone3 openat2 close_range pidfd_open pidfd_send_signal pidfd_getfd
}

@test "without the calls for mounts: refused on one line, and doctor names them" {
    refused_without fsopen
    refused_without open_tree
    refused_without move_mount
    refused_without mount_setattr
}

@test "an ordinary user without clone3 and openat2: as with them" {
    needs_root
    setpriv --reuid $ORDINARY --regid $ORDINARY --clear-groups unshare -Ur true 2>/dev/null ||
        skip "this host does not let ordinary users have a user namespace"
    user_setup
    printf 'env: { JBT_MARK: %s }\n' "$T" >site.user
    script 'id -u; echo done' "allow_degraded: [cpuset, memory, pids]"
    code=0
    as_user "$FILE_DIR/without" clone3 openat2 close_range -- ./jobbox run -q --config site.user job.yaml >out 2>err \
        </dev/null || code=$?
    exits 0
    out_is "$ORDINARY"$'\ndone'
}
