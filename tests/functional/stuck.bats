#!/usr/bin/env bats
# Processes that SIGKILL does not end, and what a job does to itself and to its groups.
#
# A process in the kernel's own hands (state D) is played by one in a frozen v1 freezer group, which does not die either; on
# v2, where what is frozen can be killed, by one that writes to a file system while nobody may.
# Runs as: root, user

load lib

setup_file() { file_setup; }
teardown_file() { file_teardown; }

setup()
{
    needs_cgroups
    test_setup
    ICE='' MOUNTED=''
}

teardown()
{
    [ -z "${ICE-}" ] || [ ! -d "$ICE" ] || { thaw; until_true 10 rmdir "$ICE"; }
    [ -z "${MOUNTED-}" ] || { thaw; until_true 10 umount "$MOUNTED"; }
    test_teardown
}

# The pid of the job's process whose last argument is $1.
pid_of()
{
    local pid
    for pid in $(marked_processes); do
        [ "$(tr '\0' '\n' <"/proc/$pid/cmdline" 2>/dev/null | tail -n 1)" != "$1" ] || { echo "$pid" && return; }
    done
    return 1
}

# Something to hold a process with. Sets STUCK: lines for a job's script that leave one behind whose last argument is 1003,
# and mount, which the job needs for it.
needs_ice()
{
    STUCK='sleep 1003 &' mount=()
    [ -z "$(own_cgroup freezer)" ] || return 0
    [ "$EUID" -eq 0 ] && [ -w /dev/loop-control ] || skip "needs the v1 freezer, or root and loop devices"
    truncate -s 8M disk
    mkfs.ext4 -q disk
    mkdir ice
    mount -o loop disk ice
    MOUNTED=$T/ice
    STUCK="sh -c 'while :; do echo >/ice/f; sleep 0.1; done' 1003 &"
    mount=("mounts: [{ source: $MOUNTED, target: /ice, mode: rw }]")
}

# freeze PID: nothing ends it until thaw.
freeze()
{
    if [ -n "$MOUNTED" ]; then
        fsfreeze -f "$MOUNTED"
        until_true 5 grep -q '^State:.D' "/proc/$1/status"
        return
    fi
    needs_v1 freezer
    ICE=$(own_cgroup freezer)/jbt-ice.$$
    mkdir "$ICE"
    echo "$1" >"$ICE/cgroup.procs"
    echo FROZEN >"$ICE/freezer.state"
    until_true 5 grep -q FROZEN "$ICE/freezer.state"
}

thaw()
{
    if [ -n "$MOUNTED" ]; then
        fsfreeze -u "$MOUNTED" 2>/dev/null || true # it may be thawed already
        return
    fi
    echo THAWED >"$ICE/freezer.state"
}

@test "without cgroups, too, a process that hangs in the kernel holds nobody up, and the record tells of it" {
    [ "$JBT_AS" = user ] || skip "is about users without groups"
    script 'echo ready; sleep 1013 & sleep 1014' 'limits: { grace: 100ms }' "resources: { cpus: 1, cpu_unit: thread }"
    start_job
    until_true 10 says ready
    until_true 10 pid_of 1013
    freeze "$(pid_of 1013)"
    SECONDS=0
    kill -TERM "$supervisor"
    end_job
    [ $SECONDS -lt $((40 * JBT_SLOWER)) ] || fail "took $SECONDS s"
    [ "$(records)" = 1 ]
    record 'end.reason == "cancelled"' 'len(rec.warnings) == 1' '"the first of the box" in rec.warnings[0]' \
        '"did not end after SIGKILL" in rec.warnings[0]'
    thaw
    until_true 10 none_marked
}

# bats test_tags=slow
@test "a process that hangs in the kernel: the supervisor goes on without it, says which, and it is finished when it can be" {
    needs_limits # without a group nobody knows of it
    needs_ice
    script "echo ready; $STUCK sleep 1004" 'limits: { grace: 100ms }' "resources: { cpus: 1, cpu_unit: thread }" "${mount[@]}"
    start_job
    until_true 10 says ready
    until_true 10 pid_of 1003
    local stuck id
    stuck=$(pid_of 1003)
    id=$(ls run/boxes)
    freeze "$stuck"
    SECONDS=0
    kill -TERM "$supervisor"
    until_true 5 grep -qs '"to":"killed"' "run/boxes/$id/events.jsonl"
    end_job
    exits 124
    [ $SECONDS -lt $((25 * JBT_SLOWER)) ] || fail "took $SECONDS s"
    one_error "process $stuck and .*did not end after SIGKILL"
    [ "$(records)" = 1 ]
    record "rec.id == '$id'" 'end.reason == "cancelled"' 'len(rec.warnings) == 1' \
        '"did not end after SIGKILL" in rec.warnings[0]' "$MEMORY_IS_COUNTED"
    # whoever comes next is told, is not held up, and makes no second record
    SECONDS=0
    code=0
    sweep >out 2>err || code=$?
    exits 124
    one_error "recovering box $id: .*process $stuck"
    [ $SECONDS -lt $((5 * JBT_SLOWER)) ] || fail "sweep took $SECONDS s"
    [ "$(records)" = 1 ]
    thaw
    until_true 10 none_marked
    sweep >out
    [ "$(cat out)" = "1 box recovered" ]
    [ "$(records)" = 1 ]
    [ -z "$(ls -A run/boxes)" ]
}

# bats test_tags=slow
@test "the same when its supervisor is killed: sweep waits once, and each later one only looks" {
    needs_limits
    needs_ice
    script "echo ready; $STUCK sleep 1004" "${mount[@]}"
    start_job
    until_true 10 says ready
    until_true 10 pid_of 1003
    freeze "$(pid_of 1003)"
    kill -9 "$supervisor"
    end_job
    code=0
    sweep >out 2>err || code=$?
    exits 124
    err_has 'did not end after SIGKILL'
    SECONDS=0
    code=0
    sweep >out 2>err || code=$?
    exits 124
    [ $SECONDS -lt $((5 * JBT_SLOWER)) ] || fail "the second sweep took $SECONDS s"
    thaw
    until_true 10 none_marked
    sweep >out
    [ "$(records)" = 1 ]
    record 'end.reason == "supervisor_lost"'
}

@test "what was frozen from outside for a while is counted and ended as any other" {
    needs_ice
    script "echo ready; $STUCK wait; echo on" "${mount[@]}"
    start_job
    until_true 10 says ready
    until_true 10 pid_of 1003
    freeze "$(pid_of 1003)"
    kill -TERM "$supervisor"
    until_true 5 grep -qs '"to":"killed"\|"to":"grace"' run/boxes/*/events.jsonl
    thaw
    end_job
    exits 123
    record 'end.reason == "cancelled"' 'rec.warnings == []'
}

@test "a job cannot reach its own freezer, groups or limits" {
    script 'mkdir /tmp/cg
for kind in cgroup2 cgroup; do mount -t $kind none /tmp/cg 2>/dev/null && echo "mounted $kind"; done
for file in $(find / -xdev -name "cgroup.freeze" -o -name "freezer.state" -o -name "cgroup.procs" 2>/dev/null); do
    (echo 1 >"$file") 2>/dev/null && echo "wrote $file"
done
echo done' 'user: root-in-box'
    run_job
    exits 0
    out_is done
}

@test "groups that somebody made below a box, shut and full, are emptied, counted and removed" {
    needs_limits
    local pids memory id
    script 'echo ready; sleep 1003 & /bin/sleep 1004' 'resources: { memory: 64MiB }'
    start_job
    until_true 10 says ready
    until_true 10 pid_of 1003
    id=$(ls run/boxes)
    if [ -n "$(own_cgroup memory)" ]; then
        pids=$(own_cgroup pids)/jobbox-$id memory=$(own_cgroup memory)/jobbox-$id
    else
        pids=$(own_cgroup unified)/jobbox-$id/job memory=$pids/also
    fi
    mkdir -p "$pids/a/b/c" "$memory/a/b"
    pid_of 1003 >"$pids/a/b/c/cgroup.procs"
    pid_of 1003 >"$memory/a/b/cgroup.procs"
    chmod 000 "$pids/a/b/c" "$pids/a/b" "$pids/a" "$memory/a/b" "$memory/a"
    kill -TERM "$supervisor"
    end_job
    exits 123
    [ ! -e "$pids" ] && [ ! -e "$memory" ]
    record 'end.reason == "cancelled"' 'rec.warnings == []'
}

@test "a kill for memory in a group below the box's is one of the box, and ends all of it" {
    needs_limits
    needs_v1 memory
    mkdir bin
    cp "$FILE_DIR/probe" bin/
    script 'echo ready; read -r line; /probe/probe touch 268435456; sleep 50; echo survived' \
        'resources: { memory: 64MiB }' "mounts: [{ source: $T/bin, target: /probe }]" "stdin: $T/fifo"
    mkfifo fifo
    exec 7<>fifo
    start_job 7>&-
    until_true 10 says ready
    local below pid
    below=$(own_cgroup memory)/jobbox-$(ls run/boxes)/below
    mkdir "$below"
    for pid in $(marked_processes); do
        [ "$(cat "/proc/$pid/comm")" != sh ] || echo "$pid" >"$below/cgroup.procs"
    done
    echo go >&7
    exec 7>&-
    end_job
    exits 121
    out_lacks survived
    record 'end.reason == "oom"' 'end.killed_by == "kernel"' 'used.oom_kills >= 1'
}

@test "SIGKILL from elsewhere is no memory limit: signaled, although the memory was nearly used up" {
    mkdir bin
    cp "$FILE_DIR/probe" bin/
    script 'exec /probe/probe hold 50000000' 'resources: { memory: 64MiB }' "mounts: [{ source: $T/bin, target: /probe }]"
    start_job
    until_true 10 pid_of 50000000
    sleep 0.5
    kill -9 "$(pid_of 50000000)"
    end_job
    exits 137
    record 'end.reason == "signaled"' 'end.signal == 9' 'end.limit is None' 'used.oom_kills in (0, None)'
}
