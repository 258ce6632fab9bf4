#!/usr/bin/env bats
# scheduler_hooks/slurm/epilog, called as slurmd calls it: as root, with an environment of its own and no PATH.

load lib

setup_file() { file_setup; }
teardown_file() { file_teardown; }

setup()
{
    needs_root
    needs_cgroups
    test_setup
}

teardown() { test_teardown; }

# epilog NAME=VALUE...: sets code; what it says is in err.
epilog()
{
    code=0
    env -i "$MARK" SLURM_JOB_ID=4711 SLURM_JOB_UID="$ORDINARY" SLURM_SCRIPT_CONTEXT=epilog_slurmd JOBBOX="$JOBBOX" \
        JOBBOX_CONFIG="$CONF" "$@" "$SOURCE_DIR/scheduler_hooks/slurm/epilog" >out 2>err </dev/null || code=$?
}

lose_one()
{
    script 'echo ready; sleep 100' "name: lost"
    start_job
    until_true 10 says ready
    kill -9 "$supervisor"
    end_job
}

@test "a box whose supervisor died with the job is finished, and has its record" {
    lose_one
    epilog
    exits 0
    err_has '.'
    record 'end.reason == "supervisor_lost"' 'rec.name == "lost"'
    until_true 10 none_marked
    epilog
    exits 0
    [ ! -s err ] || fail "$(cat err)"
}

@test "a box that lives, of another job, is not touched" {
    script 'echo ready; sleep 0.5; exit 3' "name: other"
    start_job
    until_true 10 says ready
    epilog
    exits 0
    [ ! -s err ] || fail "$(cat err)"
    end_job
    exits 3
    record 'end.reason == "failed"'
}

@test "a node without jobbox is not drained; one whose site config is faulty is, and it says why" {
    epilog JOBBOX=/nowhere/jobbox
    exits 0
    err_has 'nothing was looked for'
    echo 'pathss: {}' >"$CONF"
    epilog
    [ "$code" -ne 0 ]
    err_has 'pathss'
}

# A group for this process, as slurmstepd makes them: DIR/job_4711/step_0/user/task_0, whose CPUs and memory are the step's.
step_group()
{
    local part dir=${1%/*}
    echo "+cpuset +memory +pids" >"$dir/cgroup.subtree_control" # as systemd does for slurmd's unit
    for part in "/${1##*/}" /job_4711 /step_0 /user; do
        dir+=$part
        mkdir -p "$dir"
        echo "+cpuset +memory +pids" >"$dir/cgroup.subtree_control"
    done
    mkdir "$dir/task_0"
    cat "/sys/devices/system/cpu/cpu0/topology/thread_siblings_list" >"$1/job_4711/step_0/cpuset.cpus"
    echo 256M >"$1/job_4711/step_0/memory.max"
}

@test "in the group of a step, on v2: its CPUs and memory bind the box, and the epilog finishes there what died" {
    [ -z "$(own_cgroup memory)" ] || skip "needs cgroup v2 alone"
    local group task step_cpus part
    group=$(own_cgroup unified)/jbt-slurm.$$ task=$group/job_4711/step_0/user/task_0
    step_group "$group"
    step_cpus=$(cat "$group/job_4711/step_0/cpuset.cpus.effective")
    printf '%s\n' "paths: { runtime: $T/run, state: $T/state }" "env: { JBT_MARK: $T }" >"$CONF"
    # more than the step has
    spec <<<$'command: ["true"]\nresources: { cpu_unit: thread, cpus: '"$(nproc)"' }'
    code=0
    env "$MARK" sh -c 'echo $$ >"$0/cgroup.procs" && exec "$@"' "$task" "$JOBBOX" run -q --config "$CONF" job.yaml >out 2>err || code=$?
    exits 124
    [ "$(records)" = 0 ]
    script 'grep Cpus_allowed_list /proc/self/status | cut -f2; echo ready; sleep 100' "name: lost" 'resources: { memory: 64MiB }'
    env "$MARK" sh -c 'echo $$ >"$0/cgroup.procs" && exec "$@"' "$task" "$JOBBOX" run -q --config "$CONF" job.yaml >out 2>err \
        </dev/null 3>&- &
    supervisor=$!
    started+=("$supervisor")
    until_true 20 says ready
    [ "$(head -n 1 out)" = "$step_cpus" ] || fail "not the step's CPUs, $step_cpus"
    ls -d "$task"/jobbox-* || fail "the box is not in the step's group"
    kill -9 "$supervisor"
    end_job
    epilog
    exits 0
    record 'end.reason == "supervisor_lost"' "granted.cpus == '$step_cpus'"
    until_true 10 none_marked
    # what slurmstepd removes then is empty
    for part in /user/task_0 /user '' ; do
        rmdir "$group/job_4711/step_0$part" || fail "left: $(find "$group" -type d)"
    done
    rmdir "$group/job_4711" "$group"
}
