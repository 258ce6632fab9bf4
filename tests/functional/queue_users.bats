#!/usr/bin/env bats
# The queue of several users: nobody sees, ends or overwrites what is another's.

load lib
load queue

setup_file() { file_setup; }
teardown_file() { file_teardown; }

@test "three users: no one sees what another's job wrote, cancels it, or learns that it is there when the site is private" {
    site_config "env: { JBT_MARK: $T }" "queue: { private: true }"
    start_daemon
    mkdir -m 777 a b
    install -m 755 "$JOBBOX" jobbox
    job secret 'echo secret; id -u; sleep 100' "stderr: merge"
    as 1 ./jobbox submit --config "$CONF" secret.yaml >out
    out_is "Submitted job 1 (secret)"
    until_true 20 log_has secret
    [ "$(as 1 ./jobbox logs --config "$CONF" 1)" = "secret
$((ORDINARY + 1))" ]
    local verb
    for verb in logs cancel show hold wait "explain --job" pause; do
        code=0
        # shellcheck disable=SC2086 # a verb and an option
        as 2 ./jobbox $verb 1 --config "$CONF" >out 2>err || code=$?
        exits 124
        [ ! -s out ] || fail "$verb said something"
        cp err one.err
        # shellcheck disable=SC2086
        as 2 ./jobbox $verb 9 --config "$CONF" >out 2>err || true
        [ "$(sed 's/9/1/g' err)" = "$(sed 's/9/1/g' one.err)" ] || fail "$verb tells 1 from 9: $(cat one.err err)"
    done
    as 2 ./jobbox ps --all --config "$CONF" >out 2>err
    [ ! -s out ] || fail "$(cat out)"
    as 3 ./jobbox cancel --all --config "$CONF"
    [ "$(field 1 state)" = running ]
    code=0
    as 2 ./jobbox drain --config "$CONF" 2>err || code=$?
    exits 124
    one_error 'only administrators'
    as 1 ./jobbox cancel --config "$CONF" 1
    until_true 20 state_is 1 done
    record "rec['uid'] == $((ORDINARY + 1))" "rec['end']['reason'] == 'cancelled'"
}

@test "a user's job is his in every way: files, images, places in binds, ids" {
    start_daemon
    install -m 755 "$JOBBOX" jobbox
    mkdir -m 700 roots
    mkdir -m 755 roots/inner open
    echo secret >roots/inner/file
    mkdir -m 777 share
    local mine=$((ORDINARY + 1)) line
    sub() { as 1 ./jobbox submit --config "$CONF" --wait -q job.yaml >out 2>err || code=$?; }
    script 'id -u; id -G; echo x >/share/f' "stdout: $T/share/o" "mounts: [{ source: $T/share, target: /share, mode: rw }]"
    code=0 && sub && [ "$code" = 0 ] || fail "$(cat err)"
    [ "$(cat share/o)" = "$mine
$mine" ]
    [ "$(stat -c %u share/o share/f | sort -u)" = "$mine" ]
    for line in "stdout: $T/roots/o" "stdout: $T/open/o" "stdin: $T/roots/inner/file" "image: $T/roots/inner" \
        "mounts: [{ source: $T/roots/inner, target: /in }]" \
        "mounts: [{ source: $T/open, target: /in, mode: rw }, { tmpfs: 1MiB, target: /in/new }]" \
        "mounts: [{ source: $T/open, target: /run/jobbox, mode: rw }]" \
        "user: 0:0" "user: root-in-box"; do
        script 'cat /in/file /in/inner/file' "$line"
        code=0 && sub
        [ "$code" != 0 ] || fail "$line went well"
        ! grep -q secret out || fail "$line showed it"
    done
    script 'true' "mounts: [{ source: $T/open, target: /in, mode: rw }]" "workdir: /in/made"
    code=0 && sub
    [ "$code" != 0 ] || fail "a working directory was made in a folder that is not his"
    [ "$(find roots open | sort | tr '\n' ' ')" = "open roots roots/inner roots/inner/file " ] || fail "$(find roots open)"
    script 'true' "mounts: [{ source: $T/share, target: /in, mode: rw }, { tmpfs: 1MiB, target: /in/new }]" "workdir: /in/made"
    code=0 && sub && [ "$code" = 0 ] || fail "$(cat err)"
    [ "$(stat -c %u share/new share/made | sort -u)" = "$mine" ]
}
