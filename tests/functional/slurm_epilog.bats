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
