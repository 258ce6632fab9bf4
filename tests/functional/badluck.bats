#!/usr/bin/env bats
# Bad input and bad luck: one clear line and the right exit code, or recovery at the next start; nothing left, ever.
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

# needs_to_be_root WHY: whoever it is that runs jobbox.
needs_to_be_root()
{
    [ "$EUID" -eq 0 ] || skip "needs root, $1"
}

# in_own_mounts <SCRIPT: runs it with a mount namespace of its own and this library at hand. Sets `code`.
in_own_mounts()
{
    {
        echo "set -e; mount --make-rprivate /; load() { :; }; BATS_VERSION=1; bats_require_minimum_version() { :; }"
        declare -p T CONF MARK FILE_DIR IMAGE JOBBOX
        declare -f jobbox run_job
        cat
    } >"$T/inner"
    code=0
    unshare -m bash "$T/inner" >"$T/inner.out" 2>&1 || code=$?
    cat "$T/inner.out"
}

# --- specs -------------------------------------------------------------------------------------------------------

@test "a misspelt spec: 125, every fault with its place, nothing made" {
    cat >job.yaml <<EOF
version: 1
scirpt: true
resources:
  memory: lots
  cpus: 0
limits: { wall_time: soon }
network: internet
EOF
    run_job
    exits 125
    err_has '^/.*job.yaml:2:1: .*scirpt.*did you mean "?script'
    err_has 'job.yaml:4:[0-9]+: resources.memory'
    err_has 'job.yaml:5:[0-9]+: resources.cpus'
    err_has 'job.yaml:6:[0-9]+: limits.wall_time'
    err_has 'job.yaml:7:[0-9]+: network'
    [ ! -e run ] && [ ! -e state ]
}

@test "no YAML, an empty file, a folder, no file: 125 and one line" {
    printf 'a: [b\n' >no.yaml
    : >empty.yaml
    head -c 2000000 /dev/zero >zeros.yaml
    mkdir folder
    local file
    for file in no.yaml empty.yaml zeros.yaml folder absent.yaml; do
        code=0
        jobbox run --config "$CONF" "$file" >out 2>err || code=$?
        exits 125
        one_error "$file"
    done
}

@test "a spec that one may not read: 125 and one line" {
    user_setup
    script true
    chmod 600 job.yaml
    code=0
    as_user ./jobbox run job.yaml >out 2>err || code=$?
    exits 125
    one_error 'job.yaml.*Permission denied'
}

@test "keys that only a queue can carry out are named, not ignored" {
    local line
    for line in "array: 1-3" "retry: { max: 2, on: [oom] }" "depends_on: [{ job: 1, when: success }]" \
        "begin: 18:00" "deadline: now+1h" "notify: { mail: me@here }"; do
        script true "$line"
        run_job
        exits 125
        one_error 'job.yaml:[0-9]+:[0-9]+: .*for the queue; use jobbox submit'
    done
}

@test "more CPUs than there are, more memory than there is: 124, what there is, and no box" {
    script true "resources: { cpus: $(($(nproc) + 1)), cpu_unit: thread }"
    run_job
    exits 124
    one_error "cpus: $(($(nproc) + 1)) threads wanted.*ask for cpus: $(nproc)"
    script true "resources: { memory: 900TiB }"
    run_job
    exits 124
    one_error 'memory: .*wanted'
    script true "resources: { cpu_set: \"1000\" }"
    run_job
    [ "$code" = 124 ] || [ "$code" = 125 ] || fail "exit code $code"
    one_error '1000'
    [ "$(records)" = 0 ]
}

@test "relative and escaping paths are refused: 125" {
    local line
    for line in "workdir: relative" "workdir: /a/../../etc" "stdout: ../o" "stdin: a/../../i" \
        "mounts: [{ source: ../x, target: /x }]" "mounts: [{ source: /etc, target: x }]" \
        "mounts: [{ source: /etc, target: /a/../x }]" "artifacts: [{ path: ../../etc/passwd, to: here/ }]" \
        "artifacts: [{ path: x, to: ../there/ }]" "name: ../../x" "name: a/b" 'name: "-rf"'; do
        script true "$line"
        run_job
        exits 125
        err_has 'job.yaml:[0-9]+:[0-9]+: '
    done
    [ "$(records)" = 0 ]
}

@test "a workdir that leads to a descriptor of jobbox gets nowhere" {
    local n
    for n in 3 4 5 6 7 8 9 10 16 17 18; do
        script 'pwd; ls -A; cat /etc/hostname' "workdir: /proc/self/fd/$n"
        run_job
        [ "$code" = 124 ] || [ "$code" = 125 ] || fail "exit code $code for $n"
        out_is ""
    done
}

@test "users that are none: 125" {
    local user
    for user in 0x0 -1 4294967295:0 4294967296:0 '" 1000:1000"' '"1000: 1000"' '"root:"' 1e3:1e3 1000 nobody; do
        script 'id -u' "user: $user"
        run_job
        exits 125
        err_has 'job.yaml:[0-9]+:[0-9]+: user'
    done
}

# --- images and files --------------------------------------------------------------------------------------------

@test "an image that is not there, is a file, or cannot be entered: one line that names it" {
    : >file.img
    local image
    for image in "$T/nowhere" "$T/file.img" no-such-name "$T/file.img/x"; do
        script true "image: $image"
        run_job
        [ "$code" = 124 ] || [ "$code" = 125 ] || fail "exit code $code"
        one_error "image.*$(basename "$image")"
    done
    [ "$(records)" = 0 ]
}

@test "an image whose /proc, /sys, /dev, /tmp or /run is a symlink, a file or a loop is refused" {
    local dir kind
    mkdir outside
    for dir in proc sys dev tmp run; do
        for kind in / .. "$T/outside" "$dir" file; do
            rm -rf mine
            cp -a "$IMAGE" mine
            rm -rf "mine/$dir"
            if [ "$kind" = file ]; then echo x >"mine/$dir"; else ln -s "$kind" "mine/$dir"; fi
            script 'echo RAN' "image: $T/mine"
            run_job
            [ "$code" = 124 ] || [ "$code" = 125 ] || fail "exit code $code for /$dir as $kind"
            one_error "/$dir.*ordinary directory"
            out_is ""
        done
    done
    [ -z "$(ls -A outside)" ]
}

@test "an image whose other folders are hostile symlinks never leads out of the box" {
    local dir kind
    mkdir outside
    for dir in work etc var root; do
        for kind in / ../../.. "$T/outside" "$dir"; do
            rm -rf mine
            cp -a "$IMAGE" mine
            rm -rf "mine/$dir"
            ln -s "$kind" "mine/$dir"
            script 'echo RAN; echo x >/work/x || true' "image: $T/mine" "network: host"
            run_job
            case $code in
            0) out_has RAN ;;
            124) out_is "" ;;
            *) fail "exit code $code for /$dir -> $kind" ;;
            esac
            [ -z "$(ls -A outside)" ] || fail "made outside: $(ls outside)"
        done
    done
}

@test "an image that brings devices and its own /dev/null cannot make jobbox use them" {
    needs_to_be_root "to make a device"
    cp -a "$IMAGE" mine
    ln -s /proc/sys/kernel/core_pattern mine/dev/null
    mkdir mine/dev/pts
    ln -s /etc/passwd mine/dev/pts/0
    mknod mine/disk b 254 0
    script 'ls -l /dev/null | cut -c1; cat /disk 2>&1 | grep -o "Permission denied\|not permitted" | head -n 1
test -L /dev/pts/0 || echo own' "image: $T/mine" "user: root-in-box"
    run_job
    exits 0
    [ "$(head -n 1 out)" = c ]
    out_has '^(Permission denied|not permitted)$'
    out_has '^own$'
}

@test "a stdin that is not there and an output that cannot be written: 124, the path, and no trace" {
    script 'true' "stdin: absent.txt"
    run_job
    exits 124
    one_error "$T/absent.txt"
    : >plain
    script 'true' "stdout: plain/below/o.txt"
    run_job
    exits 124
    one_error "$T/plain/below/o.txt"
    script 'true' "stdout: ."
    run_job
    exits 124
}

@test "a stdin that is a FIFO nobody writes to does not hang the start" {
    mkfifo pipe
    script 'echo ran' "stdin: pipe"
    SECONDS=0
    run_job
    [ $SECONDS -lt $((10 * JBT_SLOWER)) ]
    [ "$code" = 0 ] || [ "$code" = 124 ]
}

# --- the host ----------------------------------------------------------------------------------------------------

@test "all CPUs taken: 124 at once, and the holder is named" {
    script 'echo ready; sleep 30' "name: holder" "resources: { cpus: $(nproc), cpu_unit: thread }"
    start_job
    until_true 10 says ready
    cp out out.holder
    script 'true' "name: other"
    code=0
    SECONDS=0
    jobbox run -q --config "$CONF" job.yaml >out 2>err || code=$?
    exits 124
    [ $SECONDS -lt $((5 * JBT_SLOWER)) ]
    one_error "held by $(ls run/boxes | cut -c1-12).*holder"
    kill -TERM "$supervisor"
    end_job
    exits 123
    run_job
    exits 0
}

@test "jobs that are not exclusive share the CPUs with each other, not with one that is" {
    script 'echo ready; sleep 30' "name: sharer" "resources: { cpus: $(nproc), cpu_unit: thread, exclusive: false }"
    start_job
    until_true 10 says ready
    code=0
    sed 's/echo ready.*/true/' job.yaml >second.yaml
    jobbox run -q --config "$CONF" second.yaml >second.out 2>second.err || code=$?
    [ "$code" = 0 ] || { cat second.err; fail "no second sharer: $code"; }
    sed 's/, exclusive: false//' second.yaml >third.yaml
    jobbox run -q --config "$CONF" third.yaml >third.out 2>third.err || code=$?
    kill -TERM "$supervisor"
    [ "$code" = 124 ] || fail "an exclusive one beside them: $code"
    grep -q sharer third.err || fail "$(cat third.err)"
    end_job
    exits 123
}

@test "a controller that is read-only: 124 with the word that would do without, and with it a record that says so" {
    needs_limits
    needs_v1 memory
    script 'true' "resources: { memory: 64MiB }"
    in_own_mounts <<'EOF'
dir=$(awk '$3 == "cgroup" && ("," $4 ",") ~ ",memory," { print $2; exit }' /proc/mounts)
mount --bind "$dir" "$dir"
mount -o remount,bind,ro "$dir"
run_job
exit $code
EOF
    exits 124
    one_error 'memory.*allow_degraded: \[memory\]'
    script 'true' "resources: { memory: 64MiB }" "allow_degraded: [memory]"
    in_own_mounts <<'EOF'
dir=$(awk '$3 == "cgroup" && ("," $4 ",") ~ ",memory," { print $2; exit }' /proc/mounts)
mount --bind "$dir" "$dir"
mount -o remount,bind,ro "$dir"
run_job
exit $code
EOF
    exits 0
    record '[d.what for d in isolation.degraded] == ["memory"]' 'isolation.limits.memory_max_bytes is None' \
        'isolation.cgroup_version.memory is None' 'used.memory_peak_bytes is None'
}

@test "a controller that is missing, or covered by something else: the same" {
    needs_limits
    needs_v1 pids
    local how
    for how in 'umount "$dir"' 'mount -t tmpfs cover "$dir"'; do
        script 'true'
        in_own_mounts <<EOF
dir=\$(awk '\$3 == "cgroup" && ("," \$4 ",") ~ ",pids," { print \$2; exit }' /proc/mounts)
$how
run_job
exit \$code
EOF
        exits 124
        one_error 'processes.*allow_degraded: \[pids\]'
    done
    [ "$(records)" = 0 ]
}

@test "a full disk below the state directory: said in one line, and the record is written at the next start, once" {
    needs_to_be_root "to mount"
    script 'echo ran; exit 3'
    in_own_mounts <<'EOF'
mkdir -p "$T/state"
chmod 700 "$T/state"
mount -t tmpfs -o size=64k,mode=700 small "$T/state"
mkdir "$T/state/journal"
: >"$T/state/journal/$(date -u +%Y-%m).jsonl"
dd if=/dev/zero of="$T/state/fill" bs=4k 2>/dev/null || true
run_job
echo "first $code $(wc -l <"$T/err")"
cp "$T/err" "$T/err.first"
find "$T/run/boxes" -mindepth 1 -maxdepth 1 -printf '%f\n' >"$T/ids"
rm "$T/state/fill"
run_job
echo "second $code"
cp -r "$T/state/journal" "$T/saved"
find "$T/run/boxes" -mindepth 1 -maxdepth 1
EOF
    [ "$(cat inner.out)" = $'first 124 1\nsecond 3' ] || fail "$(cat inner.out)"
    grep -q 'No space left on device' err.first || fail "$(cat err.first)"
    [ "$(wc -l <ids)" = 1 ]
    [ "$(cat saved/*.jsonl | wc -l)" = 2 ]
    [ "$(grep -c "\"id\":\"$(cat ids)\"" saved/*.jsonl)" = 1 ]
    head -n 1 saved/*.jsonl | grep -q '"reason":"failed","exit_code":3' || fail "the first record is not the true one"
}

@test "no space in the runtime directory: 124, one line, nothing left" {
    needs_to_be_root "to mount"
    script 'echo ran'
    in_own_mounts <<'EOF'
mkdir "$T/run"
mount -t tmpfs -o size=256k,mode=755 small "$T/run"
run_job
[ "$code" = 0 ] || { echo "not even with space: $code"; cat "$T/err"; }
dd if=/dev/zero of="$T/run/fill" bs=4k 2>/dev/null || true
run_job
echo "full $code $(wc -l <"$T/err")"
rm "$T/run/fill"
run_job
echo "again $code"
find "$T/run/boxes" -mindepth 1
EOF
    [ "$(cat inner.out)" = $'full 124 1\nagain 0' ] || fail "$(cat inner.out)"
}

@test "a runtime or state directory that is a symlink, somebody else's, or open to all: 124, one line, untouched" {
    local which how
    for which in run state; do
        for how in symlink foreign open file; do
            [ "$how" != foreign ] || [ "$EUID" -eq 0 ] || continue # only root can give it away
            rm -rf run state real
            mkdir real
            to_submitter real
            case $how in
            symlink) ln -s "$T/real" $which ;;
            foreign) mkdir $which && chown $((ORDINARY + 1)) $which ;;
            open) mkdir $which && to_submitter $which && chmod 777 $which ;;
            file) : >$which ;;
            esac
            script 'echo RAN'
            run_job
            exits 124
            one_error "$T/$which"
            out_is ""
            [ -z "$(ls -A real)" ] || fail "something was made behind the symlink"
        done
    done
    rm -rf run state
}

@test "boxes/, alloc.lock and journal/ that are symlinks are refused" {
    local what
    script true
    run_job
    exits 0
    for what in run/boxes run/alloc.lock state/journal; do
        rm -rf moved
        mv $what moved
        ln -s "$T/moved" $what
        run_job
        exits 124
        err_has "$(basename $what)"
        rm $what
        mv moved $what
    done
    sweep >/dev/null
}

@test "a state directory that cannot be made for want of permission: 124 and one line" {
    user_setup
    mkdir locked
    chmod 755 locked
    printf 'paths: { runtime: %s/home/run/j, state: %s/locked/state }\n' "$T" "$T" >site.user
    script true "allow_degraded: [cpuset, memory, pids]"
    code=0
    as_user ./jobbox run -q --config site.user job.yaml >out 2>err || code=$?
    exits 124
    one_error "$T/locked/state.*Permission denied"
    # nor in the home of an account that has none: there is another place to name
    rm site.user
    code=0
    as_user env -u XDG_STATE_HOME ./jobbox run -q job.yaml >out 2>err || code=$?
    exits 124
    one_error "/.local/state/jobbox: Permission denied; XDG_STATE_HOME can name another place"
}

@test "a site config that is wrong, or that others could write: 125 and one line" {
    needs_root "is about a config of root's"
    script true
    site_config "resuorces: {}"
    run_job
    exits 125
    one_error 'site.yaml:2:1: .*resuorces.*did you mean'
    site_config
    chmod 666 "$CONF"
    run_job
    exits 125
    one_error 'site.yaml'
    chmod 644 "$CONF"
    chown $ORDINARY "$CONF"
    run_job
    exits 125
    code=0
    jobbox run --config "$T/absent.yaml" job.yaml >out 2>err || code=$?
    exits 125
    one_error 'absent.yaml'
}

@test "fewer descriptors than a box takes: 124 and one line before anything is made" {
    script 'echo RAN'
    code=0
    (ulimit -n 100 && exec env "$MARK" "$JOBBOX" run --quiet --config "$CONF" "$T/job.yaml") >out 2>err </dev/null || code=$?
    exits 124
    one_error 'needs 128 open files here and the limit is 100; raise it'
    out_is ""
    [ "$(records)" = 0 ] && [ -z "$(ls -A run/boxes)" ]
    (ulimit -n 128 && exec env "$MARK" "$JOBBOX" run --quiet --config "$CONF" "$T/job.yaml") >out 2>err </dev/null
    out_is RAN
}

@test "a runtime directory that becomes full while the job runs: its record is in the journal all the same" {
    needs_to_be_root "to mount"
    script 'echo ready; until [ -e /here/full ]; do sleep 0.05; done; exit 3' "mounts: [{ source: $T/here, target: /here }]"
    mkdir here
    in_own_mounts <<'EOF'
mkdir "$T/run"
mount -t tmpfs -o size=256k,mode=755 small "$T/run"
(until grep -qs ready "$T/out"; do sleep 0.05; done
dd if=/dev/zero of="$T/run/fill" bs=4k 2>/dev/null || true
dd if=/dev/zero of="$T/run/fill2" bs=1 2>/dev/null || true
touch "$T/here/full") &
run_job
echo "run $code"
rm "$T"/run/fill*
jobbox sweep --config "$CONF"
find "$T/run/boxes" -mindepth 1
wc -l <"$(echo "$T"/state/journal/*.jsonl)"
EOF
    [ "$(grep -v recovered inner.out)" = $'run 3\n1' ] || [ "$(grep -v recovered inner.out)" = $'run 124\n1' ] || fail "$(cat inner.out)"
    record 'end.reason == "failed"' 'end.exit_code == 3'
}

@test "a runtime directory that becomes full as the job begins: the job ends, and what it wrote until then is counted" {
    needs_to_be_root "to mount"
    script 'echo ready; sleep 1; echo not this'
    # full after the draft of its record, and before the one that is written when it runs
    in_own_mounts <<'EOF'
mkdir "$T/run"
mount -t tmpfs -o size=256k,mode=755 small "$T/run"
for try in 1 2 3 4 5 6 7 8; do
    rm -f "$T/run/fill"
    "$JOBBOX" run -q --config "$CONF" "$T/job.yaml" >"$T/out" 2>"$T/err" </dev/null &
    until grep -qs '"record"' "$T"/run/boxes/*/box.jsonl; do kill -0 $!; done
    kill -STOP $!
    dd if=/dev/zero of="$T/run/fill" bs=4k 2>/dev/null || true
    sleep 0.1
    kill -CONT $!
    wait $! || { echo "run $?"; break; }
done
EOF
    [ "$(cat inner.out)" = "run 124" ] || fail "$(cat inner.out)"
    record 'end.reason == "box_error"' '"No space left" in end.error' 'output.truncated is True' \
        'output.stdout_bytes in (0, 6)'
    [ "$(wc -c <out)" = "$(show rec.output.stdout_bytes)" ] || fail "$(wc -c <out) bytes came"
}

@test "a folder of PATH that may not be searched does not turn a command that is not there into one that may not run" {
    cp -a "$IMAGE" mine
    mkdir mine/shut
    printf 'not a program' >mine/shut/hidden
    printf 'not a program' >mine/bin/plain
    chmod 000 mine/shut
    chmod 644 mine/bin/plain
    spec <<<"image: $T/mine
command: [nosuchcommand]
env: { PATH: '/shut:/bin' }"
    run_job
    exits 127
    spec <<<"image: $T/mine
command: [plain]
env: { PATH: '/shut:/bin' }"
    run_job
    exits 126
    chmod 755 mine/shut
}

# --- kill -9 -----------------------------------------------------------------------------------------------------

@test "kill -9 of the supervisor ends the job, and the next start writes the one record" {
    script 'echo ready; (setsid sleep 100 &); i=0; while [ $i -lt 200000 ]; do i=$((i + 1)); done; sleep 100' \
        "resources: { cpus: $(nproc), cpu_unit: thread, memory: 64MiB }"
    start_job
    until_true 10 says ready
    sleep 0.4
    local id
    id=$(ls run/boxes)
    kill -9 "$supervisor"
    end_job
    exits 137
    until_true 5 none_marked
    [ "$(records)" = 0 ]
    # all CPUs are free again for the very next job, which does the recovery
    script 'echo next' "resources: { cpus: $(nproc), cpu_unit: thread }"
    run_job
    exits 0
    out_is next
    [ "$(records)" = 2 ]
    record 'len(lines) == 2' "__import__('json').loads(lines[0])['id'] == '$id'"
    head -n 1 "$(last_journal)" >first.jsonl
    "$HERE/record" first.jsonl 'end.reason == "supervisor_lost"' 'end.exit_code is None' \
        "$CPU_IS_COUNTED" "$MEMORY_IS_COUNTED" 'times.wall_s is None' \
        'times.destroyed' 'isolation.root in ("overlay", "tmpfs", "fuse")' || fail "the record of the lost one"
}

@test "kill -9 while the box is being built: nothing of the job ran, and the next start leaves nothing" {
    local i
    mkdir out-of-box
    to_submitter out-of-box
    script 'echo RAN >>/out/ran; sleep 30' "mounts: [{ source: $T/out-of-box, target: /out, mode: rw }]"
    for i in $(seq 1 30); do
        start_job
        sleep "0.0$(printf '%02d' "$i")"
        kill -9 "$supervisor"
        end_job
        exits 137
    done
    sweep >/dev/null
    [ -z "$(ls -A run/boxes)" ]
    [ "$(records)" -le 30 ]
    [ "$(cut -d'"' -f6 state/journal/*.jsonl | sort | uniq -d | wc -l)" = 0 ]
    [ "$(cat out-of-box/ran 2>/dev/null | wc -l)" -le "$(records)" ] || fail "a job ran that has no record"
}

@test "two that recover at once write one record" {
    local i
    for i in 1 2 3; do
        script 'echo ready; sleep 100'
        : >out
        start_job
        until_true 10 says ready
        kill -9 "$supervisor"
        end_job
        for _ in 1 2 3 4; do sweep >/dev/null & done
        wait
        [ "$(records)" = "$i" ] || fail "$(records) records after $i"
    done
}

@test "a supervisor that was killed after its record was written gets that record, not another" {
    needs_to_be_root "to mount"
    script 'exit 6'
    in_own_mounts <<'EOF'
mkdir -p "$T/state"
chmod 700 "$T/state"
mount -t tmpfs -o size=64k,mode=700 small "$T/state"
mkdir "$T/state/journal"
dd if=/dev/zero of="$T/state/fill" bs=4k 2>/dev/null || true
run_job
rm "$T/state/fill"
jobbox sweep --config "$CONF"
cat "$T"/state/journal/*.jsonl >"$T/lines"
EOF
    [ "$(wc -l <lines)" = 1 ]
    grep -q '"reason":"failed","exit_code":6' lines || fail "$(cat lines)"
}

@test "a box folder with a torn or absent plan is removed without a record" {
    script true
    run_job
    mkdir run/boxes/01J00000000000000000000000 run/boxes/01J00000000000000000000001
    chmod 700 run/boxes/*
    to_submitter run/boxes
    printf '{"record":{"id":"01J0' >run/boxes/01J00000000000000000000000/plan.json
    run_job
    exits 0
    [ -z "$(ls -A run/boxes)" ]
    [ "$(records)" = 2 ]
}

@test "jobbox-init killed from outside is a box_error with a record, at once" {
    script 'echo ready; sleep 100'
    start_job
    until_true 10 says ready
    local pid
    for pid in $(cat "/proc/$supervisor/task/$supervisor/children"); do # what serves the root is one too
        [ "$(cat "/proc/$pid/comm")" != jobbox-init ] || kill -9 "$pid"
    done
    end_job
    exits 124
    record 'end.reason == "box_error"' '"init" in end.error' 'times.wall_s < 10 * slower'
}

@test "a starter that ignores SIGCHLD does not keep the job's end from being seen" {
    script 'exit 7' 'limits: { wall_time: 10s, grace: 1s }'
    code=0
    env "$MARK" --ignore-signal=CHLD "$JOBBOX" run --quiet --config "$CONF" "$T/job.yaml" </dev/null || code=$?
    exits 7
}

@test "closed standard descriptors are not taken by files that output then goes into" {
    script 'echo out; exit 3'
    code=0
    env "$MARK" "$JOBBOX" run --quiet --config "$CONF" "$T/job.yaml" <&- >&- 2>&- || code=$?
    exits 3
    ! grep -rqsx out "$T/run" "$T/state" || fail "output went into a file of jobbox"
    record 'end.reason == "failed"' 'not output.truncated'
}

@test "an output FIFO that nobody reads is an error, not a wait without end" {
    mkfifo "$T/fifo"
    to_submitter "$T/fifo"
    script 'echo out' "stdout: $T/fifo"
    PATIENCE=10 run_job
    exits 124
    one_error "nobody reads it"
}

@test "a limit on the size of files is an error, not the death of jobbox" {
    script 'true'
    code=0
    (ulimit -f 0 && exec env "$MARK" "$JOBBOX" run --quiet --config "$CONF" "$T/job.yaml") </dev/null >/dev/null 2>&1 || code=$?
    exits 124
}

@test "a terminal that nobody reads does not hold up limits" {
    command -v python3 >/dev/null || skip "needs python3"
    script 'while :; do echo aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa; done' \
        'limits: { wall_time: 1s, grace: 1s }'
    code=0
    env "$MARK" timeout -s KILL $((30 * JBT_SLOWER)) python3 -c '
import os, subprocess, sys
master, slave = os.openpty()
sys.exit(subprocess.run(sys.argv[1:], stdin=subprocess.DEVNULL, stdout=slave).returncode)
' "$JOBBOX" run --quiet --config "$CONF" "$T/job.yaml" || code=$?
    exits 120
    record 'end.reason == "timeout"' 'output.truncated'
}

# bats test_tags=slow
@test "artifacts: escapes in patterns, names for the terminal, more names than a record takes" {
    script 'mkdir abcd s; echo x >abcd/f; echo x >"$(printf "abcd/e\\033[31m\\nz")"
n=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
i=0; while [ $i -lt 12000 ]; do ln -s x s/$n$i; i=$((i+1)); done' \
        "artifacts: [ { path: 'a\\b\\c\\d/f', to: $T/got/ }, { path: 'abcd/e*', to: $T/got/ }, { path: 's/*', to: $T/got/ } ]"
    code=0
    jobbox run --config "$CONF" "$T/job.yaml" >"$T/out" 2>"$T/err" </dev/null || code=$?
    exits 0
    [ "$(cat "$T/got/abcd/f")" = x ] || fail "the escaped name came out elsewhere"
    ! grep -q $'\033' "$T/err" || fail "an escape reached the terminal"
    err_has 'e.\[31m.z'
    err_has "too many names"
    [ "$(tail -n 1 "$(last_journal)" | wc -c)" -lt 4000000 ] || fail "the record has no bound"
}

@test "the scratch of a job on disk is not the whole disk" {
    site_config "env: { JBT_MARK: $T }" 'scratch: { backend: disk }' \
        'resources: { scratch: { default: none }, scratch_inodes: { default: none } }'
    script 'true'
    run_job
    exits 0
    record 'used.scratch_end_bytes is None'
}
