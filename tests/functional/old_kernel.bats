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
    env "$MARK" WITHOUT_REFUSED="$T/refused" timeout --foreground -k 5 $((60 * JBT_SLOWER)) "$FILE_DIR/without" "$@" -- \
        "$JOBBOX" run --quiet --config "$CONF" "$T/job.yaml" >"$T/out" 2>"$T/err" </dev/null || code=$?
    exits 0
    out_has '^done$'
    none_marked || fail "alive: $(marked_processes)"
    record 'end.reason == "completed"' 'isolation.limits.memory_max_bytes == 64 << 20' 'isolation.limits.pids_max == 30' \
        'isolation.cpus_allowed == granted.cpus' 'isolation.cgroup_version.unified in (None, 2)' \
        "$NOTHING_DEGRADED"
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

# What a dead supervisor left in the box's group, somebody from outside too, is ended by who comes next.
@test "without cgroup.kill the box's group is held still and each process in it killed" {
    local dir what
    for what in 'file:cgroup.kill' 'file:cgroup.kill file:cgroup.freeze pidfd_open pidfd_send_signal'; do
        script 'echo ready; sleep 1000'
        start_job
        until_true 10 says ready
        dir=$(own_cgroup unified)/jobbox-$(ls run/boxes)
        [ ! -d "$dir/job" ] || dir+=/job
        env "$MARK" sleep 1000 3>&- &
        started+=($!)
        echo $! >"$dir/cgroup.procs"
        kill -9 "$supervisor"
        wait "$supervisor" || true
        rm -f refused
        # shellcheck disable=SC2086 # a list
        env "$MARK" WITHOUT_REFUSED="$T/refused" "$FILE_DIR/without" $what -- "$JOBBOX" sweep --config "$CONF" >out
        out_is "1 box recovered"
        grep -qx file:cgroup.kill refused || fail "cgroup.kill was not tried"
        none_marked || fail "alive: $(marked_processes)"
        [ ! -e "$dir" ]
        record 'end.reason == "supervisor_lost"'
    done
}

# In place of what the kernel cannot say there is null, and everything else is as ever.
@test "without memory.peak, memory.swap.peak and pids.peak the record has null for them, and the rest" {
    runs_without file:memory.peak file:memory.swap.peak file:pids.peak
    grep -qx file:pids.peak refused || fail "pids.peak was not looked for"
    record 'used.pids_peak is None' 'used.swap_peak_bytes is None' 'used.cpu_user_s + used.cpu_system_s > 0'
    [ -n "$(own_cgroup memory)" ] || record 'used.memory_peak_bytes is None' # v1 has another file for it
}

@test "without memory.oom.group the supervisor ends what the kernel left of a job" {
    cp "$FILE_DIR/probe" probe
    script 'sleep 1000 & /p/probe touch 268435456; sleep 1000' 'resources: { memory: 64MiB }' \
        "mounts: [{ source: $T, target: /p }]"
    code=0
    env "$MARK" timeout --foreground -k 5 $((60 * JBT_SLOWER)) "$FILE_DIR/without" file:memory.oom.group -- "$JOBBOX" run \
        --quiet --config "$CONF" job.yaml >out 2>err </dev/null || code=$?
    exits 121
    none_marked || fail "alive: $(marked_processes)"
    record 'end.reason == "oom"' 'used.oom_kills >= 1'
}

@test "without lowerdir+ the layers of an image are named in one string of options" {
    python3 "$HERE/layout.py" many layers 12
    jobbox image pull --config "$CONF" --name layers:1 oci:layers >out 2>err || fail "$(cat err)"
    mkdir bin
    cp -a "$FILE_DIR/image/bin/busybox" bin/
    local how
    for how in option:none option:lowerdir+; do
        spec <<<"image: layers:1
command: [/b/busybox, sh, -c, 'for f in /own*; do read -r line <\$f; echo \$f \$line; done; /b/busybox cat /all; echo new >/own3; /b/busybox cat /own3']
mounts: [{ source: $T/bin, target: /b }]"
        code=0
        env "$MARK" WITHOUT_REFUSED="$T/refused" timeout --foreground -k 5 $((60 * JBT_SLOWER)) "$FILE_DIR/without" $how -- \
            "$JOBBOX" run --quiet --config "$CONF" job.yaml >"$how" 2>err </dev/null || code=$?
        exits 0
    done
    [ "$(wc -l <option:none)" = 14 ] && grep -qx 11 option:none
    cmp option:none option:lowerdir+
    # an ordinary user's root may be served by fuse-overlayfs, which names no layers to the kernel
    if [ -s refused ]; then
        [ "$(sort -u refused)" = option:lowerdir+ ]
    else
        record '"fuse-overlayfs" in isolation.root_why'
    fi
}

# jobbox uses no Landlock, so that there is nothing to fall back from; a job that does finds what the kernel has.
@test "a job finds the Landlock that the kernel has, or none, as outside of the box" {
    local ask='import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
abi = libc.syscall(444, None, ctypes.c_size_t(0), 1)
print(abi if abi >= 0 else os.strerror(ctypes.get_errno()))'
    command -v python3 >/dev/null || skip "needs python3"
    printf '%s\n' 'version: 1' 'image: host' 'command: [python3, -c, "exec(open(0).read())"]' "stdin: $T/ask" >job.yaml
    echo "$ask" >ask
    run_job
    exits 0
    out_is "$(python3 -c "$ask")"
    [ "$(wc -l <out)" = 1 ]
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
