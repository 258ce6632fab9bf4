#!/usr/bin/env bats
# fuse-overlayfs as an ordinary user's root: when it is chosen, that nobody can tell the difference, and that it ends.

# shellcheck disable=SC2016,SC2030,SC2031,SC2034,SC2154 # the shells in the boxes expand those; lib.bash sets and reads others
load lib

setup_file() { file_setup; }
teardown_file() { file_teardown; }

setup()
{
    needs_root # to become an ordinary user
    command -v fuse-overlayfs >/dev/null || skip "needs fuse-overlayfs"
    grep -qw fuse /proc/filesystems || skip "needs a kernel with FUSE"
    JBT_AS=user
    test_setup
    fuse_device
    own_image
    site_config "overlay: fuse"
}

teardown()
{
    test_teardown
}

# /dev/fuse for everybody, as udev makes it: where it is root's alone, in a namespace of mounts of jobbox's own.
fuse_device()
{
    AS_PLAIN=("${AS[@]}")
    [ ! -r /dev/fuse ] || "${AS[@]}" sh -c ': <>/dev/fuse' 2>/dev/null || {
        [ -e "$FILE_DIR/fuse" ] || mknod -m 666 "$FILE_DIR/fuse" c 10 229
        AS=(unshare -m sh -c "mount --bind '$FILE_DIR/fuse' /dev/fuse; exec \"\$@\"" jbt "${AS[@]}")
    }
    "${AS[@]}" sh -c ': <>/dev/fuse' 2>/dev/null || skip "needs /dev/fuse"
}

# A tmpfs does since Linux 6.6. Looked at once for a file of tests.
tmpfs_keeps_attributes()
{
    # shellcheck disable=SC2016
    [ -e "$FILE_DIR/attributes" ] || unshare -m sh -c 'mount -t tmpfs jbt "$0" && exec python3 -c "
import os, sys
try:
    os.setxattr(sys.argv[1], \"user.jbt\", b\"y\")
    print(\"kept\")
except OSError as error:
    print(error)" "$0"' "$T" >"$FILE_DIR/attributes"
    grep -qx kept "$FILE_DIR/attributes"
}

# site KIND: the site config that says "overlay: KIND", with a scratch that the kernel's overlay can write to for him.
site()
{
    local lines=("overlay: $1")
    tmpfs_keeps_attributes ||
        lines+=("scratch: { backend: disk }" "allow_degraded: [cpuset, cpu, memory, pids, io, scratch]")
    site_config "${lines[@]}"
}

# Pids of those that serve this test's boxes: they bear no mark. The keeper stands in the box's folder; the program is its child.
servers()
{
    local pid
    for pid in /proc/[0-9]*; do
        case $(readlink "$pid/cwd" 2>/dev/null) in
        "$T"/run/boxes/*)
            echo "${pid#/proc/}"
            tr ' ' '\n' <"$pid/task/${pid#/proc/}/children" 2>/dev/null || true
            ;;
        esac
    done
}

# The program itself.
server()
{
    local pid
    for pid in $(servers); do
        [ "$(cat "/proc/$pid/comm" 2>/dev/null)" != fuse-overlayfs ] || echo "$pid"
    done
}

no_servers()
{
    [ -z "$(servers)" ]
}

CHANGES='echo new >/etc/new; rm -r /usr; mkdir /usr; echo in >/usr/file; mv /etc/passwd /etc/moved
rm /etc/group; ln /etc/new /etc/link; ln -s new /etc/sym; chmod 751 /var; mkdir -p /deep/er; mkfifo /deep/er/fifo
echo more >>/etc/moved; [ ! -e /etc/group ]; echo artifact >/deep/a.txt; echo w >/work/w'
LOOK='find /etc /usr /var /deep /bin/sh -exec stat -c "%n %F %a %u %g %h" {} + | sort; cat /etc/new /etc/moved /usr/file'

@test "what a job does to its root is the same through fuse-overlayfs as through the kernel's overlay" {
    script "$CHANGES
$LOOK" "user: root-in-box"
    run_job
    exits 0
    mv out out.fuse
    record 'isolation.root == "fuse"' 'isolation.root_why == "served by fuse-overlayfs: the site says overlay: fuse"' \
        'end.reason == "completed"'
    site kernel
    run_job
    exits 0
    record 'isolation.root == "overlay"' 'isolation.root_why is None'
    # of a directory with others in it only one of the two counts what is below
    diff <(sed '/ directory /s/ [0-9]*$//' out) <(sed '/ directory /s/ [0-9]*$//' out.fuse)
    [ -e "$T/own/etc/group" ] && [ ! -e "$T/own/etc/new" ] || fail "the image was changed"
}

@test "it is in the plan, and nothing of it is on the host when the job has ended" {
    script 'grep " / " /proc/mounts; id -u; ls /proc | grep -c "^[0-9]"'
    jobbox plan --config "$CONF" job.yaml >plan.txt
    grep -q 'root-overlay.*\[fuse-overlayfs\]' plan.txt || fail "$(cat plan.txt)"
    jobbox plan --json --config "$CONF" job.yaml >plan.json
    python3 -c "
import json
plan = json.load(open('plan.json'))
assert any('fuse-overlayfs' in op['flags'] for op in plan['operations']), plan['operations']
assert 'fuse-overlayfs' in plan['root_why']"
    run_job
    exits 0
    out_has '^fuse-overlayfs / fuse rw,nosuid,nodev'
    no_servers
}

@test "where the kernel's overlay can serve it does; where the image is somebody else's, root in the box gets the other one" {
    site auto
    script 'echo x >/etc/new; cat /etc/new' "user: root-in-box"
    run_job
    exits 0
    record 'isolation.root == "overlay"' 'isolation.root_why is None'
    cp -a "$FILE_DIR/image" his
    script 'stat -c %u /etc /etc/passwd; echo x >>/etc/passwd; rm -r /usr; mkdir /usr; ls /usr; echo done' \
        "user: root-in-box" "image: $T/his"
    run_job
    exits 0
    out_is $'0\n0\ndone'
    record 'isolation.root == "fuse"' '"user 0, who has no id in the box, and is shown as the job" in isolation.root_why'
    # anybody else could not change them on the host either
    script 'echo x 2>/dev/null >>/etc/passwd || echo refused' "image: $T/his"
    run_job
    exits 0
    out_is refused
    record 'isolation.root == "overlay"' '"user 0, who has no id" in isolation.root_why'
    site kernel
    script 'rm -r /usr 2>/dev/null || echo refused' "user: root-in-box" "image: $T/his"
    run_job
    out_is refused
    record 'isolation.root == "overlay"' '"import it" in isolation.root_why'
}

@test "a scratch in memory that keeps no user attributes: fuse-overlayfs, and without it the record says what fails" {
    ! tmpfs_keeps_attributes || skip "a tmpfs of this kernel keeps them"
    site_config "overlay: auto"
    script 'rm -r /usr; mkdir /usr; ls /usr; echo made' "user: root-in-box"
    run_job
    exits 0
    out_is made
    record 'isolation.root == "fuse"' '"the scratch keeps no user attributes" in isolation.root_why'
    site_config "overlay: kernel"
    run_job
    err_has 'Input/output error'
    record 'isolation.root == "overlay"' '"user attributes" in isolation.root_why'
}

@test "the host as image: its folders and what is mounted below them can be written, and are not" {
    script "touch /etc/jbt-$$ /usr/bin/jbt-$$ /opt/jbt-$$; ls /etc/jbt-$$; cat /proc/self/comm; ls /run; ls $T/state 2>&1 | wc -l" \
        "image: host" "user: root-in-box"
    run_job
    exits 0
    [ ! -e /etc/jbt-$$ ] && [ ! -e /usr/bin/jbt-$$ ] && [ ! -e /opt/jbt-$$ ] || fail "the host was written"
    out_has "^/etc/jbt-$$"
    out_has '^cat$'
    record 'isolation.root == "fuse"'
}

@test "an image with a mount in it is shown with it" {
    mkdir own/opt
    AS=(unshare -m sh -c "mount -t tmpfs -o mode=777 jbt '$T/own/opt' && echo inside >'$T/own/opt/file' && exec \"\$@\"" jbt "${AS[@]}")
    script 'cat /opt/file; echo x >/opt/new; ls /opt'
    run_job
    exits 0
    out_is $'inside\nfile\nnew'
    record 'isolation.root == "fuse"'
}

@test "an image on an overlay over an overlay, which takes no third one: fuse-overlayfs does" {
    mkdir lower merged merged2 deep
    mount -t tmpfs jbt deep
    cp -a own/. lower/
    mkdir deep/u1 deep/w1 deep/u2 deep/w2
    mount -t overlay -o lowerdir=lower,upperdir=deep/u1,workdir=deep/w1 jbt merged
    mount -t overlay -o lowerdir=merged,upperdir=deep/u2,workdir=deep/w2 jbt merged2 || { umount merged deep; skip "no nested overlay here"; }
    site_config "overlay: auto"
    script 'touch /usr/x && ls /usr' "image: $T/merged2"
    run_job
    umount merged2 merged deep
    exits 0
    out_has '^x$'
    record 'isolation.root == "fuse"' '"no overlay of the kernel" in isolation.root_why'
}

@test "changes, artifacts and what is kept are read from it, and entered, and committed, as from the kernel's" {
    script "$CHANGES" "user: root-in-box" "keep: always" "artifacts: [{ path: /deep/a.txt, to: $T/got/ }, { path: w, to: $T/got/ }]"
    for kind in kernel fuse; do
        site "$kind"
        rm -rf got
        code=0
        jobbox run -q --config "$CONF" --changes job.yaml >out 2>err || code=$?
        exits 0
        grep -E '^[AMDR] ' err | sort >"changes.$kind"
        [ "$(cat got/a.txt got/w)" = $'artifact\nw' ] || fail "no artifacts"
        id=$(show rec.id)
        (cd "state/kept/$id/fs" && find . -printf '%p %y %m\n' | sort) >"kept.$kind"
        jobbox enter -q --config "$CONF" "$id" sh -c "$LOOK" >"entered.$kind" </dev/null
        jobbox commit --config "$CONF" "$id" --image "made-$kind:1" >/dev/null
        ! grep -q '\.wh\.' "kept.$kind" || fail "marks were kept"
    done
    [ -s changes.fuse ] && diff changes.kernel changes.fuse
    diff <(grep -v ' d ' kept.kernel) <(grep -v ' d ' kept.fuse)
    diff <(sed '/ directory /s/ [0-9]*$//' entered.kernel) <(sed '/ directory /s/ [0-9]*$//' entered.fuse)
    for image in made-kernel made-fuse; do
        for kind in kernel fuse; do # layers with whiteouts and with what is opaque
            site "$kind"
            script "$LOOK" "user: root-in-box" "image: $image:1"
            run_job
            exits 0
            sed '/ directory /s/ [0-9]*$//' out >"look.$image.$kind"
        done
    done
    diff look.made-kernel.kernel look.made-kernel.fuse
    diff look.made-kernel.kernel look.made-fuse.kernel
    diff look.made-kernel.kernel look.made-fuse.fuse
    for id in state/kept/*/; do
        jobbox discard --config "$CONF" "$(basename "$id")"
    done
}

@test "the scratch has its cap through it too" {
    script 'i=0; while head -c 100000 /dev/zero >>/etc/big; do i=$((i + 1)); [ $i -lt 100 ] || break; done; echo $i' \
        "resources: { scratch: 4MiB }"
    run_job
    [ "$(tail -n 1 out)" -lt 50 ] || [ "$code" != 0 ] || fail "it could write $(tail -n 1 out) times"
    record '4e6 < isolation.scratch.bytes < 5e6'
}

# Root of a user namespace is nobody special, and may write to the cgroups here.
@test "what is written through it counts as the job's memory, and a job that stands still can be asked to" {
    JBT_AS=root
    needs_cgroups
    chown -R 0:0 "$T"
    AS=(env "$MARK" unshare -r)
    site_config "overlay: fuse"
    script 'dd if=/dev/zero of=/etc/big bs=1M count=100 2>/dev/null' "resources: { memory: 32MiB, scratch: 300MiB }"
    run_job
    exits 121
    record 'end.reason == "oom"' 'isolation.root == "fuse"' 'isolation.degraded == []'
    script 'echo up; while [ ! -e /work/go ]; do cat /etc/passwd >/dev/null; echo x >>/etc/new; done'
    start_job
    until_true 10 says up
    id=$(ls run/boxes)
    until_true 10 jobbox pause --config "$CONF" "$id"
    jobbox ps --config "$CONF" | grep -q paused || fail "it is not paused"
    jobbox resume --config "$CONF" "$id"
    jobbox cancel --config "$CONF" "$id"
    end_job
    exits 123
    no_servers
}

@test "a supervisor that is killed takes it along, and the box's record is written" {
    script 'echo up; sleep 100'
    start_job
    until_true 10 says up
    [ -n "$(servers)" ] || fail "nobody serves the root"
    kill -9 "$supervisor"
    until_true 10 none_marked
    until_true 10 no_servers
    sweep
    started=()
    record 'end.reason == "supervisor_lost"' 'isolation.root == "fuse"'
    [ "$(records)" = 1 ]
}

@test "when it is killed the job's root is gone: the job fails, its record says why, nothing is left" {
    script 'echo up; while cat /etc/jobbox-image /etc/passwd >/dev/null; do sleep 0.05; done; exit 3'
    start_job
    until_true 10 says up
    kill -9 "$(server)"
    end_job
    [ "$code" != 0 ] # its shell may end before it can say so: programs are pages of that root
    no_servers
    record 'end.reason in ("failed", "signaled")' '"ended before the job did" in " ".join(rec["warnings"])'
}

@test "the job cannot see, signal or trace it, and it is behind a filter, without privilege and without our descriptors" {
    script 'ls /proc | grep "^[0-9]" | while read pid; do cat /proc/$pid/comm || true; done; kill -9 -1 2>/dev/null || true; echo up; sleep 100' \
        "user: root-in-box"
    start_job
    until_true 10 says up
    out_lacks 'fuse'
    pid=$(server)
    [ -n "$pid" ] || fail "it has been killed"
    grep -q '^NoNewPrivs:.1' "/proc/$pid/status"
    grep -q '^Seccomp:.2' "/proc/$pid/status"
    # chown, dac_override, dac_read_search, fowner, fsetid, setfcap
    grep -q '^CapEff:.000000008000001f' "/proc/$pid/status" || fail "$(grep Cap "/proc/$pid/status")"
    grep -q '^CapBnd:.000000008000001f' "/proc/$pid/status" || fail "$(grep Cap "/proc/$pid/status")"
    [ "$(readlink "/proc/$pid/ns/pid")" != "$(readlink /proc/self/ns/pid)" ]
    # what it may write is the scratch and the little place where it began
    [ "$(awk '$6 ~ /^rw/ { print $5 }' "/proc/$pid/mountinfo" | grep -cv '/run/boxes/')" = 0 ] ||
        fail "$(grep ' rw' "/proc/$pid/mountinfo")"
    for fd in "/proc/$pid/fd"/*; do
        case $(readlink "$fd") in # a /dev that it does not see is not named
        /dev/null | /null | /dev/fuse | /fuse | /memfd:said* | "$T"/run/boxes/* | /*/s/* | /) ;;
        pipe:*) # libfuse has some of its own
            ! find "/proc/$supervisor/fd" -printf '%l\n' | grep -qxF "$(readlink "$fd")" || fail "it has a pipe of ours" ;;
        *) [ -d "$fd" ] || fail "it has $(readlink "$fd")" ;;
        esac
    done
    kill -TERM "$supervisor"
    end_job
    no_servers
}

@test "commands in a box that stands" {
    spec <<'EOF'
user: root-in-box
EOF
    id=$(jobbox create --config "$CONF" job.yaml)
    jobbox exec --config "$CONF" "$id" -- sh -c 'echo x >/etc/new; rm -r /usr' </dev/null
    [ "$(jobbox exec --config "$CONF" "$id" -- cat /etc/new </dev/null)" = x ]
    ! jobbox exec --config "$CONF" "$id" -- ls /usr </dev/null 2>/dev/null || fail "it is there again"
    jobbox destroy --config "$CONF" "$id" >/dev/null
    no_servers
    record 'isolation.root == "fuse"'
}

@test "without the program, or without the device, it is refused before anything is made, and told what to install" {
    AS=("${AS_PLAIN[@]}")
    script true
    if ! "${AS[@]}" sh -c ': <>/dev/fuse' 2>/dev/null; then
        run_job
        exits 124
        one_error 'overlay: fuse, and fuse-overlayfs cannot be used: /dev/fuse cannot be opened: Permission denied'
    fi
    AS=(unshare -m sh -c "mount --bind /dev/null \"\$(command -v fuse-overlayfs)\"; exec \"\$@\"" jbt "${AS[@]}")
    run_job
    exits 124
    one_error 'it is not installed \(the package fuse-overlayfs has it\)'
    [ "$(records)" = 0 ]
    # and where it is only better to have it, the job runs without, and is told
    cp -a "$FILE_DIR/image" his
    site_config "overlay: auto"
    script 'rm -r /usr 2>/dev/null || echo refused' "user: root-in-box" "image: $T/his"
    run_job
    exits 0
    out_is refused
    record 'isolation.root == "overlay"' '"fuse-overlayfs could serve it: it is not installed" in isolation.root_why'
}

@test "where a container's filter hides close_range and openat2 it serves all the same" {
    install -m 755 "$JOBBOX_BUILD/tests/functional/without" without
    script 'echo x >/etc/new; rm -r /usr; mkdir /usr; ls /usr; cat /etc/new'
    local calls
    for calls in 'close_range openat2' 'close_range=EPERM openat2=EPERM'; do
        code=0
        # shellcheck disable=SC2086 # a list
        "${AS[@]}" timeout --foreground -k 5 $((60 * JBT_SLOWER)) ./without $calls -- "$JOBBOX" run -q --config "$CONF" \
            job.yaml >out 2>err </dev/null || code=$?
        exits 0
        out_is x
        record 'isolation.root == "fuse"'
    done
}

@test "an image with many layers" {
    mkdir -p l/etc
    cp -a own l0
    (cd l0 && tar -cf ../0.tar .)
    files=(0.tar)
    for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
        echo "$i" >l/etc/layer
        [ "$i" != 20 ] || : >l/etc/.wh.group
        (cd l && tar -cf "../$i.tar" etc)
        files+=("$i.tar")
    done
    python3 "$HERE/layout.py" plain layout "${files[@]}"
    to_submitter layout
    jobbox image pull --config "$CONF" oci:layout --name many:1 >/dev/null
    script 'cat /etc/layer; ls /etc/group 2>/dev/null || echo gone; echo x >/etc/layer; cat /etc/layer' "image: many:1"
    run_job
    exits 0
    out_is $'20\ngone\nx'
    record 'isolation.root == "fuse"'
}

# with_bindfs FROM TO: from here on, and for the submitter alone, FROM is shown at TO by a FUSE file system of root's.
with_bindfs()
{
    command -v bindfs >/dev/null || skip "needs bindfs"
    AS=(unshare -m sh -c "bindfs '$1' '$2' && exec \"\$@\"" jbt "${AS[@]}")
}

@test "an image on a file system that has no local inodes, as NFS and FUSE: the kernel's overlay takes it" {
    mkdir shown
    with_bindfs "$T/own" "$T/shown"
    site_config "overlay: auto"
    script 'echo x >/etc/new; rm -r /usr; mkdir /usr; ls /usr; cat /etc/new' "user: root-in-box" "image: $T/shown"
    run_job
    exits 0
    out_is x
    record 'isolation.root == "overlay"' 'isolation.root_why is None'
}

@test "a scratch on a file system that the kernel's overlay cannot write to: fuse-overlayfs, or refused with what to do" {
    mkdir real
    to_submitter real
    mkdir state
    with_bindfs "$T/real" "$T/state"
    scratch=("scratch: { backend: disk }" "allow_degraded: [cpuset, cpu, memory, pids, io, scratch]")
    site_config "overlay: kernel" "${scratch[@]}"
    script 'echo x >/etc/new; rm -r /usr; mkdir /usr; ls /usr; cat /etc/new' "user: root-in-box"
    run_job
    exits 124
    one_error 'the scratch is on FUSE, where an overlay cannot write; let paths.state be on a local file system'
    site_config "overlay: auto" "${scratch[@]}"
    run_job
    exits 0
    out_is x
    [ -z "$(ls real/scratch)" ] || fail "left behind: $(ls real/scratch)"
    mv real/journal state/
    record 'isolation.root == "fuse"' '"the scratch is on FUSE" in isolation.root_why'
}
