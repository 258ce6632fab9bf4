#!/usr/bin/env bats
# The same program for an ordinary user, without any privilege: user namespace, own folders, own records.

load lib

setup_file() { file_setup; }
teardown_file() { file_teardown; }

setup()
{
    needs_root # to become an ordinary user; jobbox itself gets nothing of it
    command -v setpriv >/dev/null || skip "needs setpriv"
    setpriv --reuid $ORDINARY --regid $ORDINARY --clear-groups unshare -Ur true 2>/dev/null ||
        skip "this host does not let ordinary users have a user namespace"
    test_setup
    user_setup
    printf 'env: { JBT_MARK: %s }\n' "$T" >site.user
    ALLOW="allow_degraded: [cpuset, memory, pids]"
}

teardown()
{
    [ ! -d "${T-}/home/run/jobbox/boxes" ] || [ -z "$(ls -A "$T/home/run/jobbox/boxes")" ] || {
        echo "left behind: $(ls -A "$T/home/run/jobbox/boxes")"
        as_user "$T/jobbox" sweep || true
        false
    }
    test_teardown
}

# Runs the spec as the ordinary user. Sets `code`.
run_as_user()
{
    code=0
    as_user timeout --foreground -k 5 $((60 * JBT_SLOWER)) ./jobbox run -q --config site.user "$@" job.yaml >out 2>err </dev/null || code=$?
}

user_record()
{
    local file
    file=$(find home/state/jobbox/journal -name '*.jsonl' | sort | tail -n 1)
    [ -n "$file" ] || fail "there is no journal" || return 1
    "$HERE/record" "$file" "$@" || fail "the record is not as expected"
}

@test "the busybox image" {
    script 'id -u; ps -o comm; ls /sys/class/net; touch /work/y; echo done' "$ALLOW"
    run_as_user
    exits 0
    out_is "$ORDINARY
COMMAND
jobbox-init
sh
ps
lo
done"
    user_record 'end.reason == "completed"' "rec.uid == $ORDINARY" 'isolation.root in ("overlay", "tmpfs")' \
        'set(isolation.namespaces) == {"user", "mount", "pid", "ipc", "uts", "network", "cgroup"}' \
        'isolation.no_new_privs is True' 'isolation.seccomp == "filter"' 'isolation.caps == []' \
        "isolation.host_uid == $ORDINARY" 'isolation.cpu_pin == "affinity"'
}

@test "the host's software, with every write thrown away" {
    local mark=jbt-user-$$
    script "bash -c 'echo from bash'
for d in /usr /etc /opt; do test -e \$d; done
echo x >/tmp/$mark; echo x >/work/$mark
ls /proc | grep -c '^[0-9]'
cat /etc/hostname >/dev/null" "image: host" "$ALLOW"
    run_as_user
    exits 0
    out_has '^from bash$'
    [ ! -e /tmp/$mark ] && [ ! -e /work/$mark ]
    user_record 'rec.image.kind == "host"' 'end.reason == "completed"'
}

@test "records are in the user's own state folder, private to him" {
    script 'exit 3' "$ALLOW"
    run_as_user
    exits 3
    [ "$(cat home/state/jobbox/journal/*.jsonl | wc -l)" = 1 ]
    [ "$(stat -c '%u %a' home/state/jobbox)" = "$ORDINARY 700" ]
    [ "$(stat -c %u home/run/jobbox)" = $ORDINARY ]
    [ ! -e run ] && [ ! -e state ]
}

@test "what is degraded is in the record, each with its reason" {
    script 'true' "$ALLOW" "resources: { memory: 64MiB }"
    run_as_user
    exits 0
    user_record '{d.what for d in isolation.degraded} == {"cpuset", "memory", "pids"}' \
        'all(d.why for d in isolation.degraded)' 'isolation.limits.memory_max_bytes is None if "limits" in isolation else True'
}

@test "without a group that counts processes a job still cannot make as many as it likes" {
    # a bounded number, so that a host without the limit is not taken down by the test
    script 'i=0
while [ $i -lt 90 ]; do sleep 2 & i=$((i + 1)); echo $i; done' "$ALLOW" "resources: { pids: 40 }"
    run_as_user
    exits 2
    grep -q fork err
    [ "$(tail -n 1 out)" -ge 30 ] && [ "$(tail -n 1 out)" -le 40 ]
    script 'i=0
while [ $i -lt 20 ]; do sleep 1 & i=$((i + 1)); done
ls -d /proc/[0-9]* | wc -l' "$ALLOW" "resources: { pids: 40 }"
    run_as_user
    exits 0
    [ "$(tail -n 1 out)" -ge 20 ]
}

@test "the CPUs are bound by affinity, and CPU time is in the record" {
    cp "$FILE_DIR/probe" probe
    script 'nproc; /p/probe burn 0.4' "$ALLOW" "mounts: [{ source: $T, target: /p }]"
    run_as_user
    exits 0
    out_is "$(threads_of_core)"
    user_record 'isolation.cpus_allowed == granted.cpus' 'close(used.cpu_user_s + used.cpu_system_s, 0.4, 0.2, 0.05 * slower)'
}

@test "root-in-box is the user outside" {
    mkdir home/data
    chown $ORDINARY:$ORDINARY home/data
    script 'id -u; touch /d/made; stat -c %u /d/made; mount -t tmpfs n /mnt 2>/dev/null || echo no mount' \
        "user: root-in-box" "$ALLOW" "mounts: [{ source: $T/home/data, target: /d, mode: rw }]"
    run_as_user
    exits 0
    out_is $'0\n0\nno mount'
    [ "$(stat -c %u home/data/made)" = $ORDINARY ]
    user_record "isolation.host_uid == $ORDINARY" '"sys_admin" not in isolation.caps'
}

@test "only what the user may read himself can be bound, and written only what he may write" {
    mkdir secret home/mine
    echo x >secret/file
    chmod 700 secret
    chown $ORDINARY:$ORDINARY home/mine
    script 'cat /d/file' "$ALLOW" "mounts: [{ source: $T/secret/file, target: /d/file }]"
    run_as_user
    exits 124
    err_has "$T/secret/file.*Permission denied"
    script 'echo y >/d/y; touch /e/z 2>/dev/null || echo refused' "$ALLOW" \
        "mounts: [{ source: $T/home/mine, target: /d, mode: rw }, { source: /etc, target: /e, mode: rw }]"
    run_as_user
    exits 0
    [ "$(cat home/mine/y)" = y ]
    out_is refused
}

@test "another user's id is refused" {
    script 'id' "user: 0:0" "$ALLOW"
    run_as_user
    exits 125
    one_error 'only root may'
}

@test "output files are the user's, and not where he may not write" {
    mkdir home/logs
    chown $ORDINARY:$ORDINARY home/logs
    script 'echo x' "stdout: $T/home/logs/deep/o.txt" "$ALLOW"
    run_as_user
    exits 0
    [ "$(stat -c %u home/logs/deep/o.txt)" = $ORDINARY ]
    script 'echo x' "stdout: $T/not-his.txt" "$ALLOW"
    run_as_user
    exits 124
    one_error "$T/not-his.txt.*Permission denied"
    [ ! -e not-his.txt ]
}

@test "wall_time, output cap and daemons are held without cgroups" {
    cp "$FILE_DIR/probe" probe
    script '/p/probe daemon /p/probe hold 1000; sleep 30' "$ALLOW" "limits: { wall_time: 500ms, grace: 1s }" \
        "mounts: [{ source: $T, target: /p }]"
    run_as_user
    exits 120
    [ -z "$(marked_processes)" ]
    script 'yes' "$ALLOW" "limits: { output: 5000 }"
    run_as_user
    exits 122
    [ "$(stat -c %s out)" = 5000 ]
}

@test "kill -9 of the supervisor: all dead, and one record at the next start" {
    script 'echo ready; (setsid sleep 100 &) ; sleep 100' "$ALLOW"
    "${AS_USER[@]}" ./jobbox run -q --config site.user job.yaml >out 2>err </dev/null 3>&- &
    supervisor=$!
    started+=("$supervisor")
    until_true 10 says ready
    kill -9 "$supervisor"
    end_job
    until_true 5 none_marked
    as_user ./jobbox sweep --config site.user >out
    out_is "1 box recovered"
    user_record 'len(lines) == 1' 'end.reason == "supervisor_lost"'
}

# This host's files of users, with one more user in them, seen by nobody else: a namespace of mounts of the test's own.
with_ranges()
{
    cp /etc/passwd passwd
    echo "jbtranges:x:$ORDINARY:$ORDINARY::/:/bin/sh" >>passwd
    echo "jbtranges:700000:5000" >subid
    [ -e /etc/subuid ] && [ -e /etc/subgid ] || skip "needs /etc/subuid and /etc/subgid"
    unshare -m --propagation private bash -c '
        mount --bind passwd /etc/passwd && mount --bind subid /etc/subuid && mount --bind subid /etc/subgid && exec "$@"' \
        bash "$@"
}

@test "root in the box has the ids that the administrator gave the user, and files of them" {
    command -v newuidmap >/dev/null || skip "needs newuidmap"
    script 'cat /proc/self/uid_map; touch /work/f; chown 1000:1001 /work/f && stat -c "%u %g" /work/f
chown 6000 /work/f 2>/dev/null || echo beyond; id -G' "user: root-in-box" "$ALLOW"
    code=0
    with_ranges "${AS_USER[@]}" ./jobbox run -q --config site.user job.yaml >out 2>err </dev/null || code=$?
    exits 0
    [ "$(head -n 2 out | tr -s ' ')" = " 0 $ORDINARY 1
 1 700000 5000" ] || fail "the map is not as given"
    out_has '^1000 1001$'
    out_has '^beyond$'
    out_has '^0$'
    user_record "isolation.uid_map == '0 $ORDINARY 1, 1 700000 5000'" "isolation.host_uid == $ORDINARY"
}

@test "without such ranges root in the box has one id, and the record says so" {
    script 'touch /work/f; chown 1000 /work/f 2>/dev/null || echo one' "user: root-in-box" "$ALLOW"
    run_as_user
    exits 0
    out_is one
    user_record "isolation.uid_map == '0 $ORDINARY 1'"
}

@test "an image with a mount in it: no overlay takes it whole, so the root is put together, and plan and record say so" {
    cp -a "$IMAGE" image
    mkdir -p image/opt/data
    mount -t tmpfs -o size=1m jbt image/opt/data
    echo inside >image/opt/data/file
    chmod 777 image/opt image/opt/data
    script 'cat /opt/data/file; ls -d /bin; echo x >/work/y; id -u' "image: $T/image" "$ALLOW"
    run_as_user
    as_user ./jobbox plan --json --config site.user job.yaml >plan.json || true
    umount image/opt/data
    exits 0
    out_is "inside
/bin
$ORDINARY"
    user_record 'isolation.root == "tmpfs"' '"overlay" in isolation.root_why'
    script 'true' "image: host" "$ALLOW"
    run_as_user
    exits 0
    user_record 'isolation.root == "tmpfs"' '"no overlay over / as a whole" in isolation.root_why'
    grep -q '"root_why": *"[^"]' plan.json || fail "the plan does not say why"
}

@test "an image that no overlay can be had over is refused before anything is made, with the reason" {
    [ -e /dev/fuse ] || skip "needs a file system that overlay refuses"
    mkdir -p lower upper work merged lower2 upper2 work2 merged2 deep
    cp -a "$IMAGE"/. lower/
    mount -t tmpfs jbt deep
    mkdir deep/u1 deep/w1 deep/u2 deep/w2
    mount -t overlay -o lowerdir=lower,upperdir=deep/u1,workdir=deep/w1 jbt merged
    mount -t overlay -o lowerdir=merged,upperdir=deep/u2,workdir=deep/w2 jbt merged2 || { umount merged deep; skip "no nested overlay here"; }
    chmod 755 merged merged2
    script 'true' "image: $T/merged2"
    run_job
    umount merged2 merged deep
    exits 124
    one_error 'no throwaway layer can be had over it'
    [ "$(records)" = 0 ]
}

@test "an image of somebody else's: read, not changed, and plan and record say so; imported, it is the user's" {
    cp -a "$IMAGE" image
    echo his >image/file
    chmod 666 image/file
    chmod -R a+rX image # for him to import
    script 'cat /file; { echo more >>/file; } 2>&1; cat /file' "image: $T/image" "$ALLOW"
    run_as_user
    as_user ./jobbox plan --json --config site.user job.yaml >plan.json
    [ "$code" != 0 ] || fail "it was changed, or nobody was told"
    out_has 'Value too large'
    user_record 'isolation.root == "overlay"' '"user 0, who has no id in the box" in isolation.root_why'
    grep -q '"root_why": *"the image belongs' plan.json || fail "the plan does not say why"
    as_user ./jobbox image import image --name his:1
    script 'cat /file; echo more >>/file; cat /file' "image: his:1" "$ALLOW"
    run_as_user
    exits 0
    out_is "his
his
more"
    user_record 'isolation.root_why is None'
    [ "$(cat image/file)" = his ]
}

@test "an image on an overlay over an overlay: its folders are read-only for a user, and the record says why" {
    mkdir lower merged merged2 deep
    cp -a "$IMAGE"/. lower/
    mount -t tmpfs jbt deep
    mkdir deep/u1 deep/w1 deep/u2 deep/w2
    mount -t overlay -o lowerdir=lower,upperdir=deep/u1,workdir=deep/w1 jbt merged
    mount -t overlay -o lowerdir=merged,upperdir=deep/u2,workdir=deep/w2 jbt merged2 || { umount merged deep; skip "no nested overlay here"; }
    chmod 755 merged merged2
    script 'touch /usr/x 2>&1 || true; echo y >/work/y; cat /work/y' "image: $T/merged2" "$ALLOW"
    echo "overlay: kernel" >>site.user
    run_as_user
    umount merged2 merged deep
    exits 0
    out_is "touch: /usr/x: Read-only file system
y"
    user_record 'isolation.root == "tmpfs"' '"overlay" in isolation.root_why'
}
