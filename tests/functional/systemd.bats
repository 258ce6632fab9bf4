#!/usr/bin/env bats
# jobbox where systemd is the service manager and cgroups are v2 alone: scopes that it asks for, units that were delegated,
# users' managers with and without the drop-in, limits that are not left behind, and what a logout ends. In a guest: users'
# sessions are begun and ended, and the managers reloaded.

load lib

DROP_IN=/etc/systemd/system/user@.service.d/delegate.conf

setup_file()
{
    file_setup
    [ "${JBT_GUEST:-0}" = 1 ] || return 0
    install -m 755 "$JOBBOX" "$FILE_DIR/jobbox"
    rm -f "$DROP_IN"
    systemctl daemon-reload
}

teardown_file()
{
    [ "${JBT_GUEST:-0}" = 0 ] || end_user
    file_teardown
}

setup()
{
    [ "${JBT_GUEST:-0}" = 1 ] && [ -d /run/systemd/system ] ||
        skip "begins and ends users' sessions: only in a guest of scripts/vm"
    needs_root
    test_setup
    # no parent is named: where boxes go is what is tested
    printf 'paths: { runtime: %s/run, state: %s/state }\nenv: { JBT_MARK: %s }\n' "$T" "$T" "$T" >"$CONF"
    printf 'env: { JBT_MARK: %s }\n' "$T" >site.user
    chmod 644 site.user
    mkdir -p mine
    chown user: mine
    printf 'version: 1\nimage: %s\nresources: { memory: 64MiB, pids: 30 }\nscript: |\n  echo ready; sleep 1\n' "$IMAGE" >job.yaml
    printf 'version: 1\nimage: %s\nresources: { memory: 64MiB }\nscript: |\n  echo ready; sleep 1000\n' "$IMAGE" >long.yaml
    unit=jbt-$$-$BATS_TEST_NUMBER
}

teardown()
{
    systemctl stop "$unit.service" 2>/dev/null || true
    systemctl reset-failed "$unit.service" 2>/dev/null || true
    test_teardown
    [ ! -e /run/systemd/system/jbtcpus.slice ] || {
        systemctl stop jbtcpus.slice
        rm /run/systemd/system/jbtcpus.slice
        systemctl daemon-reload
    }
}

# service PROPERTY... -- COMMAND...: as a service of the system; sets code, output in $T/out.
service()
{
    local properties=()
    while [ "$1" != -- ]; do
        properties+=(-p "$1")
        shift
    done
    shift
    code=0
    systemd-run --quiet --wait --pipe --collect --unit "$unit" "${properties[@]}" env "$MARK" "$@" \
        >"$T/out" 2>"$T/err" </dev/null || code=$?
}

# session COMMAND...: as the user, in a session of his own that ends with it.
session()
{
    code=0
    systemd-run --quiet --wait --pipe --collect --unit "$unit" -p User=user -p PAMName=login \
        --working-directory "$T" env "$MARK" XDG_STATE_HOME="$T/mine" "$@" >"$T/out" 2>"$T/err" </dev/null || code=$?
}

user_record()
{
    "$HERE/record" "$(find "$T/mine/jobbox/journal" -name '*.jsonl' | sort | tail -n 1)" "$@" ||
        fail "the record is not as expected"
}

# All that is the user's, his manager too.
end_user()
{
    loginctl disable-linger user 2>/dev/null || true
    loginctl terminate-user user 2>/dev/null || true
    systemctl stop user@1000.service 2>/dev/null || true
    until_true 20 eval '! systemctl is-active --quiet user@1000.service'
}

drop_in()
{
    mkdir -p "${DROP_IN%/*}"
    cat >"$DROP_IN"
    systemctl daemon-reload
    end_user
}

@test "root in a service that is not delegated: a scope of its own, delegated, in the same slice, gone with the job" {
    service -- "$JOBBOX" run --json --config "$CONF" "$T/job.yaml"
    exits 0
    record 'isolation.limits.memory_max_bytes == 64 << 20' 'isolation.cgroup_version.cpuset == 2' 'isolation.degraded == []'
    service -- "$JOBBOX" run --quiet --config "$CONF" "$T/long.yaml" &
    local waiter=$! scope
    until_true 30 eval 'ls -d /sys/fs/cgroup/system.slice/jobbox-*.scope/jobbox-*'
    scope=$(basename "$(ls -d /sys/fs/cgroup/system.slice/jobbox-*.scope)")
    [ "$(systemctl show -P Delegate "$scope")" = yes ]
    grep -q . "/sys/fs/cgroup/system.slice/$scope/supervisor/cgroup.procs"
    until_true 30 grep -q ready "$T/out"
    # as the administrator would end it
    systemctl stop "$scope"
    wait "$waiter" || true
    record 'end.reason == "cancelled"'
    until_true 10 eval '! ls -d /sys/fs/cgroup/system.slice/jobbox-*'
}

@test "root in a delegated service: the box is in it, and no scope is asked for" {
    # alone in it: it steps down, and the box is beside it
    systemd-run --quiet --collect --unit "$unit" -p Delegate=yes -p StandardOutput="file:$T/out" env "$MARK" \
        "$JOBBOX" run --quiet --config "$CONF" "$T/long.yaml"
    until_true 30 grep -q ready out
    grep -q . "/sys/fs/cgroup/system.slice/$unit.service/supervisor/cgroup.procs" || fail "jobbox is not in a leaf"
    [ -n "$(ls -d "/sys/fs/cgroup/system.slice/$unit.service"/jobbox-*)" ] || fail "the box is elsewhere"
    [ -z "$(systemctl list-units --no-legend 'jobbox-*.scope')" ] || fail "a scope was asked for"
    systemctl stop "$unit.service"
    until_true 20 none_marked
    record 'end.reason == "cancelled"' 'isolation.limits.memory_max_bytes == 64 << 20'
}

@test "a service with a limit and without delegation is not left: refused, naming the limit and what to do" {
    service MemoryMax=500M -- "$JOBBOX" run --quiet --config "$CONF" "$T/job.yaml"
    exits 124
    one_error "a scope of its own would leave memory.max of /system.slice/$unit.service behind; give that unit Delegate=yes"
    [ ! -d run/boxes ] || [ -z "$(ls -A run/boxes)" ]
    service MemoryMax=500M Delegate=yes -- "$JOBBOX" run --quiet --config "$CONF" "$T/job.yaml"
    exits 0
    record 'isolation.limits.memory_max_bytes == 64 << 20'
}

@test "cgroups.systemd never: nothing is asked for and nothing written into what systemd manages" {
    echo 'cgroups: { systemd: never }' >>"$CONF"
    service -- "$JOBBOX" run --quiet --config "$CONF" "$T/job.yaml"
    exits 124
    one_error 'the site config says never to ask'
}

@test "an ordinary user without the drop-in: refused with the file that mends it, and doctor --fix-hints prints it" {
    end_user
    session "$FILE_DIR/jobbox" run --quiet --config "$T/site.user" "$T/job.yaml"
    exits 124
    one_error "cannot pin the job to its CPUs: .*not given the cpuset controller.*$DROP_IN"
    session "$FILE_DIR/jobbox" doctor --fix-hints --config "$T/site.user"
    exits 1
    out_has 'missing +controller cpuset'
    out_has "fix: .*printf '.Service.*Delegate=cpu cpuset io memory pids.*> $DROP_IN"
}

@test "an ordinary user without the drop-in: memory and processes are limited in a scope of his manager, CPUs by affinity" {
    sed -i '1a allow_degraded: [cpuset]' job.yaml
    session "$FILE_DIR/jobbox" run --quiet --config "$T/site.user" "$T/job.yaml"
    exits 0
    user_record 'isolation.limits.memory_max_bytes == 64 << 20' 'isolation.limits.pids_max == 30' \
        'isolation.cpu_pin == "affinity"' '[d.what for d in isolation.degraded] == ["cpuset"]' \
        '"user" in isolation.namespaces' 'isolation.cpus_allowed == granted.cpus'
}

@test "an ordinary user with the drop-in that doctor prints: pinned and limited like root's jobs, in a scope of his own" {
    printf '[Service]\nDelegate=cpu cpuset io memory pids\n' | drop_in
    session "$FILE_DIR/jobbox" run --quiet --config "$T/site.user" "$T/job.yaml"
    exits 0
    user_record 'isolation.limits.memory_max_bytes == 64 << 20' 'isolation.limits.pids_max == 30' \
        'isolation.cpu_pin == "cpuset"' 'isolation.degraded == []' 'isolation.limits.cpuset_cpus == granted.cpus' \
        'isolation.cgroup_version.io == 2'
    session "$FILE_DIR/jobbox" doctor --config "$T/site.user"
    exits 0
    out_has 'jobs with the default guarantees run here'
    out_has 'degraded +linger.*cancelled when he logs out'
}

# A job that is started as `nohup jobbox run &` is started in the scope that jobbox asks for, below the user's manager: it
# lives as long as that.
@test "logout with linger: the session ends, the job does not; without linger it is cancelled, with a record" {
    [ -s "$DROP_IN" ] || printf '[Service]\nDelegate=cpu cpuset io memory pids\n' | drop_in
    loginctl enable-linger user
    session bash -c "nohup setsid $FILE_DIR/jobbox run --quiet --config $T/site.user $T/long.yaml >$T/mine/out 2>&1 </dev/null &
        until grep -q ready $T/mine/out; do sleep 0.2; done"
    exits 0
    until_true 10 eval '[ -z "$(loginctl list-sessions --no-legend | grep -w user)" ]'
    sleep 1
    local scope
    scope=$(ls -d /sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service/*/jobbox-*.scope) || fail "the job is gone"
    grep -q . "$scope"/jobbox-*/job/cgroup.procs || fail "nobody is in the box"
    # the administrator ends all that lingers
    end_user
    until_true 30 none_marked
    until_true 30 eval '[ -n "$(cat "$T"/mine/jobbox/journal/*.jsonl)" ]'
    user_record 'end.reason == "cancelled"'
}

# cpus_of AFFINITY: what plan, doctor and run say for a starter with that affinity.
cpus_of()
{
    service -- taskset -c "$1" "$JOBBOX" plan --config "$CONF" "$T/cpus.yaml"
    sed -n 's/^ *cpus  *//p' out
    service -- taskset -c "$1" "$JOBBOX" doctor --config "$CONF"
    sed -n 's/^ok *topology .* \([0-9]* CPUs\),.*/\1/p' out
    service -- taskset -c "$1" "$JOBBOX" run --quiet --config "$CONF" "$T/cpus.yaml"
    exits 0
    cat out
}

@test "cgroups.slice: its AllowedCPUs are what jobs may have, for plan, doctor, run and update, whatever their starter may use" {
    printf '[Slice]\nAllowedCPUs=2-3\n' >/run/systemd/system/jbtcpus.slice
    systemctl daemon-reload
    systemctl start jbtcpus.slice
    echo 'cgroups: { slice: jbtcpus.slice }' >>"$CONF"
    printf 'version: 1\nimage: %s\nresources: { cpus: 1, cpu_unit: thread }\nscript: |\n  grep Cpus_allowed_list /proc/self/status | cut -f2\n' \
        "$IMAGE" >cpus.yaml
    local affinity
    for affinity in 0-7 5 3-5; do
        [ "$(cpus_of $affinity | tr '\n' ' ')" = "2 2 CPUs 2 " ] || fail "from CPUs $affinity: $(cpus_of $affinity)"
    done
    sed -i 's/cpus: 1/cpus: 3/' cpus.yaml
    service -- "$JOBBOX" run --quiet --wait --config "$CONF" "$T/cpus.yaml"
    exits 124
    one_error 'jobs here may use 2 threads'
    # what run could have had update can have too
    printf 'version: 1\nimage: %s\nresources: { cpus: 1, cpu_unit: thread }\nscript: |\n  echo ready; sleep 1000\n' "$IMAGE" >long.yaml
    systemd-run --quiet --collect --unit "$unit" -p StandardOutput="file:$T/out" env "$MARK" \
        taskset -c 3 "$JOBBOX" run --quiet --config "$CONF" "$T/long.yaml"
    until_true 30 grep -q ready out
    jobbox update --config "$CONF" --cpus 2 "$(ls run/boxes)" >said 2>&1 || fail "$(cat said)"
    systemctl kill --kill-whom=all -s TERM 'jobbox-*.scope'
    until_true 30 none_marked
    record 'granted.cpus == "2-3"'
}

@test "a scope in the starter's slice: plan, doctor and run agree, whatever affinity the starter has" {
    printf 'version: 1\nimage: %s\nresources: { cpus: 1, cpu_unit: thread }\nscript: |\n  grep Cpus_allowed_list /proc/self/status | cut -f2\n' \
        "$IMAGE" >cpus.yaml
    [ "$(cpus_of 5 | tr '\n' ' ')" = "0 8 CPUs 0 " ] || fail "$(cpus_of 5)"
}
