#!/usr/bin/env bats
# jobboxd as a unit of systemd, from the files of configs/systemd: started by the first who connects, told when it is ready,
# stopped, replaced and killed under running jobs, which it adopts; and what a user submitted to a daemon of his own, after
# his logout. In a guest: units are installed and users' sessions end.

load lib

UNITS=/run/systemd/system

setup_file()
{
    file_setup
    [ "${JBT_GUEST:-0}" = 1 ] || return 0
    install -m 755 "$JOBBOX" "$JOBBOX_BUILD/jobboxd" "$FILE_DIR/"
}

teardown_file()
{
    if [ "${JBT_GUEST:-0}" = 1 ]; then
        end_user
        rm -rf "$UNITS"/jobboxd.service* "$UNITS"/jobboxd.socket*
        systemctl daemon-reload
    fi
    file_teardown
}

setup()
{
    [ "${JBT_GUEST:-0}" = 1 ] && [ -d /run/systemd/system ] || skip "installs units: only in a guest of scripts/vm"
    needs_root
    test_setup
    printf 'env: { JBT_MARK: %s }\npaths: { runtime: %s/run, state: %s/state }\n' "$T" "$T" "$T" >"$CONF"
    job long 'echo ready; n=0; while [ $n -lt 400 ] && [ ! -e /t/end ]; do n=$((n + 1)); sleep 0.2; done; echo over'
    install_units
}

teardown()
{
    systemctl stop jobboxd.socket jobboxd.service 2>/dev/null || true
    systemctl reset-failed jobboxd.service 2>/dev/null || true
    test_teardown
    [ ! -e "$UNITS/jbtcpus.slice" ] || {
        systemctl stop jbtcpus.slice
        rm "$UNITS/jbtcpus.slice"
        systemctl daemon-reload
    }
}

# The project's own files, with this test's program, config and socket.
install_units()
{
    local unit
    for unit in jobboxd.service jobboxd.socket; do
        cp "$SOURCE_DIR/configs/systemd/$unit" "$UNITS/$unit"
        mkdir -p "$UNITS/$unit.d"
    done
    printf '[Service]\nExecStart=\nExecStart=%s --config %s\nEnvironment=%s\n' "$FILE_DIR/jobboxd" "$CONF" "$MARK" \
        >"$UNITS/jobboxd.service.d/test.conf"
    printf '[Socket]\nListenStream=\nListenStream=%s/run/jobboxd.sock\n' "$T" >"$UNITS/jobboxd.socket.d/test.conf"
    systemctl daemon-reload
    systemctl start jobboxd.socket
}

# job NAME SCRIPT: NAME.yaml; /t is the test's folder.
job()
{
    printf 'version: 1\nname: %s\nimage: %s\nresources: { memory: 64MiB, cpus: 1, cpu_unit: thread }\n' "$1" "$IMAGE" >"$1.yaml"
    printf 'mounts: [{ source: %s, target: /t, mode: ro }]\nscript: |\n  %s\n' "$T" "$2" >>"$1.yaml"
}

q() { jobbox "$1" --config "$CONF" "${@:2}"; }
main_pid() { systemctl show -P MainPID jobboxd.service; }
is_up() { [ "$(main_pid)" != 0 ] && [ "$(systemctl is-active jobboxd.service)" = active ]; }
says() { q logs "$1" | grep -qx "$2"; }
state_is() { q show --json "$1" | grep -q "\"state\": *\"$2\""; }

# All that is the user's, his manager too.
end_user()
{
    loginctl disable-linger user 2>/dev/null || true
    loginctl terminate-user user 2>/dev/null || true
    systemctl stop user@1000.service 2>/dev/null || true
    until_true 20 eval '! systemctl is-active --quiet user@1000.service'
}

records_of() { cat "$T"/state/journal/*.jsonl 2>/dev/null | grep -c "\"job\": *\"$1\""; }

@test "the first to connect starts it, it says when it is ready, and all boxes are in one delegated scope" {
    ! is_up || fail "it was started without anybody asking"
    q submit long.yaml >out 2>err || fail "$(cat err)"
    out_is "Submitted job 1 (long)"
    is_up || fail "$(systemctl status jobboxd.service)"
    [ "$(systemctl show -P Type jobboxd.service)" = notify ]
    until_true 60 says 1 ready
    q submit long.yaml >out 2>err || fail "$(cat err)"
    until_true 60 says 2 ready
    [ "$(ls -d /sys/fs/cgroup/system.slice/jobbox-queue-*.scope/jobbox-* | wc -l)" = 2 ] || fail "the boxes are elsewhere"
    local scope
    scope=$(systemctl list-units --no-legend --plain 'jobbox-*.scope' | awk '{ print $1 }')
    [ "$(wc -l <<<"$scope")" = 1 ] || fail "more than one scope: $scope"
    [ "$(systemctl show -P Delegate -P TasksMax "$scope" | tr '\n' ' ')" = "yes infinity " ]
    touch end
    until_true 60 state_is 1 done
    until_true 60 state_is 2 done
    record 'end.reason == "completed"' 'isolation.limits.memory_max_bytes == 64 << 20' 'isolation.degraded == []'
}

@test "restarted, stopped and killed under a job: the job goes on, is adopted, and has one record" {
    local before job=1 how
    for how in "systemctl restart jobboxd.service" "systemctl stop jobboxd.service" \
        "kill -KILL \$(main_pid)" "systemctl reload jobboxd.service"; do
        rm -f end
        q submit long.yaml >out 2>err || fail "$(cat err)"
        until_true 60 says $job ready
        before=$(main_pid)
        eval "$how"
        state_is $job running || fail "after $how: $(q show $job)"
        until_true 60 is_up
        case $how in
        *reload*) [ "$(main_pid)" = "$before" ] || fail "reload is another process" ;;
        *) [ "$(main_pid)" != "$before" ] || fail "the same process after $how" ;;
        esac
        touch end
        until_true 60 state_is $job done
        [ "$(records_of $job)" = 1 ] || fail "after $how: $(records_of $job) records"
        job=$((job + 1))
    done
}

@test "what a user submitted to a daemon of his own outlives his logout, with linger" {
    mkdir mine
    printf 'env: { JBT_MARK: %s }\n' "$T" >site.user
    chmod 644 site.user long.yaml
    chown user: mine
    sed -i '1a allow_degraded: [cpuset]' long.yaml
    loginctl enable-linger user
    local code=0
    session "$FILE_DIR/jobbox" submit --own --config "$T/site.user" "$T/long.yaml" || code=$?
    [ $code = 0 ] || fail "$(cat err)"
    until_true 60 eval 'session "$FILE_DIR/jobbox" logs --own --config "$T/site.user" 1 && grep -qx ready out'
    until_true 10 eval '[ -z "$(loginctl list-sessions --no-legend | grep -w user)" ]'
    sleep 1
    touch end
    until_true 60 eval 'session "$FILE_DIR/jobbox" logs --own --config "$T/site.user" 1 && grep -qx over out'
    until_true 30 eval 'grep -q "\"reason\": *\"completed\"" mine/jobbox/journal/*.jsonl'
    end_user
    until_true 30 none_marked
}

# session COMMAND...: as the user, in a session of his own that ends with it.
session()
{
    systemd-run --quiet --wait --pipe --collect -p User=user -p PAMName=login --working-directory "$T" \
        env "$MARK" XDG_STATE_HOME="$T/mine" "$@" >"$T/out" 2>"$T/err" </dev/null
}

@test "the CPUs of the slice are what its jobs get, whatever CPUs the daemon itself is kept to" {
    printf '[Slice]\nAllowedCPUs=2-3\n' >"$UNITS/jbtcpus.slice"
    printf '[Service]\nCPUAffinity=5\n' >"$UNITS/jobboxd.service.d/cpus.conf"
    echo 'cgroups: { slice: jbtcpus.slice }' >>"$CONF"
    systemctl daemon-reload
    systemctl start jbtcpus.slice
    job two 'grep Cpus_allowed_list /proc/self/status | cut -f2'
    sed -i 's/cpus: 1/cpus: 2/' two.yaml
    q submit two.yaml >out 2>err || fail "$(cat err)"
    until_true 60 state_is 1 done
    says 1 2-3 || fail "$(q logs 1)"
}

@test "a daemon kept to one CPU: its jobs, in a scope of the same slice, get what the slice has" {
    printf '[Service]\nCPUAffinity=5\n' >"$UNITS/jobboxd.service.d/cpus.conf"
    systemctl daemon-reload
    job two 'grep Cpus_allowed_list /proc/self/status | cut -f2'
    sed -i 's/cpus: 1/cpus: 2/' two.yaml
    q submit two.yaml >out 2>err || fail "$(cat err)"
    until_true 60 state_is 1 done
    says 1 0-1 || fail "$(q show 1; q logs 1)"
}
