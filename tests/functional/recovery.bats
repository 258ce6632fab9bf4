#!/usr/bin/env bats
# Recovery: after a restart of the host, of what is damaged, and never of what is not ours.
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

# A job that runs, and whose supervisor is then killed. Sets `id`.
lose_one()
{
    script 'echo ready; sleep 100' "name: lost" "labels: { ticket: \"7\" }" "resources: { cpus: 1, cpu_unit: thread, memory: 64MiB }"
    : >out
    start_job
    until_true 10 says ready
    sleep 0.1 # the isolation has been noted
    id=$(find run/boxes -mindepth 1 -maxdepth 1 -type d -name '01*' -newer job.yaml -printf '%f\n' | sort | tail -n 1)
    kill -9 "$supervisor"
    end_job
    exits 137
    until_true 5 none_marked
}

# What sweep_as does; looked at before there is anything to sweep.
needs_boots()
{
    [ "$EUID" -eq 0 ] || skip "needs root, to give the host another boot id"
}

# sweep_as BOOT_ID: in a mount namespace in which the host's boot id is another.
sweep_as()
{
    echo "$1" >boot_id
    unshare -m --propagation private bash -c '
        mount --bind "$1" /proc/sys/kernel/random/boot_id && shift && exec "$@"' bash "$T/boot_id" \
        "${AS[@]}" "$JOBBOX" sweep --config "$CONF" >out 2>err
}

all_records()
{
    cat "$T"/state/journal/*.jsonl 2>/dev/null | wc -l
}

# --- a restart ---------------------------------------------------------------------------------------------------

@test "after a restart an attempt whose box was in memory has its record: host_restarted, with what is known" {
    needs_boots
    lose_one
    rm -r run
    sweep_as 00000000-0000-0000-0000-000000000001
    [ "$(cat out)" = "1 box recovered" ] || fail "$(cat out err)"
    [ "$(all_records)" = 1 ]
    record 'end.reason == "host_restarted"' "rec.id == '$id'" 'rec.name == "lost"' "rec.uid == $SUBMITTER" \
        "rec.user == '$(id -un "$SUBMITTER" 2>/dev/null || echo "$SUBMITTER")'" 'rec.labels == {"ticket": "7"}' 'rec.requested.resources.memory == 64 << 20' \
        'granted.cpu_count == 1' 'times.setup_started' 'times.wall_s is None' 'end.exit_code is None' \
        'isolation.root in ("overlay", "tmpfs", "fuse")' "rec.boot_id == '$(cat /proc/sys/kernel/random/boot_id)'"
    sweep_as 00000000-0000-0000-0000-000000000001
    sweep_as 00000000-0000-0000-0000-000000000002
    [ ! -s out ] && [ ! -s err ] && [ "$(all_records)" = 1 ]
}

@test "after a restart with a runtime directory that stayed there is one record, not two" {
    needs_boots
    lose_one
    sweep_as 00000000-0000-0000-0000-000000000001
    [ "$(all_records)" = 1 ]
    record 'end.reason == "host_restarted"' "rec.id == '$id'"
    rm -r run
    sweep_as 00000000-0000-0000-0000-000000000002
    [ "$(all_records)" = 1 ]
}

@test "an attempt whose record is in the journal is not recorded again, although its note is still there" {
    needs_boots
    lose_one
    cp state/attempts saved
    sweep >/dev/null
    [ "$(all_records)" = 1 ]
    cp saved state/attempts
    rm -r run
    sweep_as 00000000-0000-0000-0000-000000000001
    [ "$(all_records)" = 1 ] || fail "$(all_records) records"
    [ "$(head -c 1 state/attempts | tr '\0' 0)" = 0 ]
}

@test "a runtime directory that is taken away: whoever lives writes his record, whoever died gets one" {
    lose_one
    script 'echo ready; sleep 1.5; exit 4' "name: alive"
    : >out
    start_job
    until_true 10 says ready
    rm -r run
    sweep >swept
    [ "$(cat swept)" = "" ] || fail "$(cat swept)" # the one that died was finished when the second started
    end_job
    exits 4
    [ "$(all_records)" = 2 ]
    record 'rec.name == "alive"' 'end.exit_code == 4'
    sweep >swept
    [ ! -s swept ] && [ "$(all_records)" = 2 ]
}

@test "scratch on disk is gone after a restart" {
    needs_boots
    site_config "env: { JBT_MARK: $T }" 'scratch: { backend: disk }' \
        'resources: { scratch: { default: none }, scratch_inodes: { default: none } }'
    lose_one
    [ -d "state/scratch/$id" ]
    rm -r run
    sweep_as 00000000-0000-0000-0000-000000000001
    record 'end.reason == "host_restarted"'
    [ ! -e "state/scratch/$id" ]
}

@test "a note that is torn is told once, and no record is made of it" {
    needs_boots
    lose_one
    printf 'X' | dd of=state/attempts bs=1 seek=300 conv=notrunc status=none
    local groups
    groups=$(new_cgroups)
    rm -r run
    ! sweep_as 00000000-0000-0000-0000-000000000001
    [ "$(wc -l <err)" = 1 ]
    err_has 'attempts: slot 0 of the state directory is damaged'
    sweep_as 00000000-0000-0000-0000-000000000001
    [ ! -s err ] && [ "$(all_records)" = 0 ]
    for group in $groups; do find "$group" -depth -type d -exec rmdir {} +; done
}

# --- damage ------------------------------------------------------------------------------------------------------

@test "a line of box.jsonl that makes no sense: the record is made of the rest, and says so" {
    lose_one
    echo '{"record": nonsense}' >>"run/boxes/$id/box.jsonl"
    sweep
    record "rec.id == '$id'" 'end.reason == "supervisor_lost"' "$MEMORY_IS_COUNTED" \
        'len(rec.warnings) == 1' '"line 4 of box.jsonl" in rec.warnings[0]'
}

@test "a box.jsonl of which nothing makes sense: the record comes from the note in the state directory" {
    lose_one
    echo nonsense >"run/boxes/$id/box.jsonl"
    sweep
    record "rec.id == '$id'" 'rec.name == "lost"' 'end.reason == "supervisor_lost"' "$MEMORY_IS_COUNTED" \
        '"line 1 of box.jsonl" in rec.warnings[0]'
}

@test "nonsense without a note: every sweep says which file it is and how to mend it, and others are finished" {
    lose_one
    local bad=$id groups group
    groups=$(new_cgroups)
    cp "run/boxes/$bad/box.jsonl" good
    echo nonsense >"run/boxes/$bad/box.jsonl"
    rm state/attempts
    lose_one 2>/dev/null
    for _ in 1 2; do
        code=0
        sweep >out 2>err || code=$?
        exits 124
        one_error "recovering box $bad: line 1 of box.jsonl: .*cgroups named jobbox-$bad.*remove the folder $T/run/boxes/$bad"
    done
    [ "$(all_records)" = 1 ]
    record "rec.id == '$id'"
    script 'true'
    jobbox run -q --config "$CONF" job.yaml 2>err
    err_has "$bad"
    for group in $groups; do [ -d "$group" ] || fail "$group was removed"; done
    # mended by hand, it is finished
    cat good >"run/boxes/$bad/box.jsonl"
    sweep
    [ "$(all_records)" = 3 ]
    record "rec.id == '$bad'"
}

# --- what only looks like ours -----------------------------------------------------------------------------------

@test "a process of the same name, a group named like ours and folders named like boxes are not touched" {
    needs_root "plants a group beside those of boxes"
    local dir group planted=() other=01ARZ3NDEKTSV4RRFFQ69G5FAV
    dir=$(own_cgroup pids)
    [ -n "$dir" ] || dir=$(own_cgroup unified)
    group=$dir/jobbox-$other
    mkdir "$group"
    cp "$(command -v sleep)" jobbox-init
    env -i ./jobbox-init 60 &
    planted+=($!)
    env -i bash -c 'echo $$ >"$1/cgroup.procs"; exec ./jobbox-init 60' bash "$group" &
    planted+=($!)
    mkdir -p state/scratch/$other elsewhere/$other
    chmod 700 state
    echo mine | tee state/scratch/$other/file >elsewhere/$other/file
    lose_one
    started=("${planted[@]}")
    ln -s "$T/elsewhere/$other" "run/boxes/$other"
    mkdir run/boxes/not-an-id
    code=0
    sweep >out 2>err || code=$?
    exits 124 # the symlink is told
    one_error "recovering box $other: .*Not a directory"
    record "rec.id == '$id'" 'end.reason == "supervisor_lost"'
    kill -0 "${planted[0]}" && kill -0 "${planted[1]}"
    [ "$(cat "$group/cgroup.procs")" = "${planted[1]}" ]
    [ "$(cat state/scratch/$other/file)" = mine ] && [ "$(cat elsewhere/$other/file)" = mine ]
    [ -L "run/boxes/$other" ] && [ -d run/boxes/not-an-id ]
    kill -9 "${planted[@]}"
    wait "${planted[@]}" || true
    started=()
    until_true 5 rmdir "$group"
    rm -r "run/boxes/$other" run/boxes/not-an-id state/scratch/$other
}

# A job of another runtime directory, that lives through the test. Sets `victim`, `victim_supervisor`.
start_victim()
{
    script 'echo ready; sleep 100'
    mkdir apart
    printf 'paths: { runtime: %s/apart/run, state: %s/apart/state }\n' "$T" "$T" >apart.yaml
    env -i PATH="$PATH" "$JOBBOX" run -q --config "$T/apart.yaml" job.yaml >victim.out 2>&1 </dev/null 3>&- &
    victim_supervisor=$!
    until_true 10 grep -q ready victim.out
    victim=$(ls apart/run/boxes)
}

@test "a folder or box.jsonl that somebody else made, or that is about another box, is not believed" {
    needs_root "is about boxes of root"
    local other=01ARZ3NDEKTSV4RRFFQ69G5FAV how
    start_victim
    lose_one
    started+=("$victim_supervisor")
    cp "run/boxes/$id/box.jsonl" real
    sweep
    for how in owner mode link other victim; do
        mkdir -m 700 "run/boxes/$other"
        sed "s/$id/$other/g" real >"run/boxes/$other/box.jsonl"
        chmod 600 "run/boxes/$other/box.jsonl"
        case $how in
        owner) chown $ORDINARY "run/boxes/$other/box.jsonl" ;;
        mode) chmod 777 "run/boxes/$other" ;;
        link) mv "run/boxes/$other/box.jsonl" planted && ln -s "$T/planted" "run/boxes/$other/box.jsonl" ;;
        other) cat real >"run/boxes/$other/box.jsonl" ;;
        # a plan that names the groups of a box that lives
        victim) sed "s/jobbox-$other/jobbox-$victim/" -i "run/boxes/$other/box.jsonl" ;;
        esac
        code=0
        sweep >out 2>err || code=$?
        exits 124
        one_error "recovering box $other: "
        [ -d "run/boxes/$other" ] || fail "$how: it was removed"
        rm -r "run/boxes/$other"
    done
    [ "$(all_records)" = 1 ]
    kill -0 "$victim_supervisor"
    kill -TERM "$victim_supervisor"
    wait "$victim_supervisor" || true
    started=()
    grep -q '"id":"'"$victim"'".*"reason":"cancelled"' apart/state/journal/*.jsonl
}

# bats test_tags=slow
@test "a forged box in an ordinary user's directory cannot make jobbox do what he could not do himself" {
    user_setup
    local group other=01ARZ3NDEKTSV4RRFFQ69G5FAV
    lose_one
    mkdir -p "home/run/jobbox/boxes/$other"
    sed "s/$id/$other/g" "run/boxes/$id/box.jsonl" >"home/run/jobbox/boxes/$other/box.jsonl"
    chmod -R go-w home/run/jobbox
    chmod 700 "home/run/jobbox/boxes/$other" "home/run/jobbox/boxes"
    chmod 600 "home/run/jobbox/boxes/$other/box.jsonl"
    group=$(own_cgroup pids)
    [ -n "$group" ] || group=$(own_cgroup unified)
    group=$group/jobbox-$other
    mkdir "$group"
    bash -c 'echo $$ >"$1/cgroup.procs"; exec sleep 60' bash "$group" &
    started+=($!)
    chown -R $ORDINARY:$ORDINARY home
    until_true 5 grep -q . "$group/cgroup.procs"
    code=0
    as_user ./jobbox sweep >out 2>err || code=$?
    kill -0 "${started[0]}" || fail "a process of root was killed"
    [ -d "$group" ]
    # and root does not look into the user's directory
    sweep
    kill -0 "${started[0]}"
    kill -9 "${started[@]}"
    wait "${started[@]}" || true
    started=()
    until_true 5 rmdir "$group"
    rm -r home
}
