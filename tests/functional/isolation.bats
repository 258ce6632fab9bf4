#!/usr/bin/env bats
# What a job can see and do: processes, file systems, devices, network, CPUs, privileges, descriptors.
# Runs as: root, user

load lib

setup_file() { file_setup; }
teardown_file() { file_teardown; }

setup()
{
    needs_cgroups
    test_setup
    mkdir bin
    cp "$FILE_DIR/probe" bin/probe
    PROBE_MOUNT="{ source: $T/bin, target: /probe }"
}

teardown()
{
    # mounts made by a test itself, in its own words
    [ ! -d "${T-}/hostmounts" ] || awk -v t="$T/hostmounts" 'index($5, t) == 1 { print $5 }' /proc/self/mountinfo |
        sort -r | while read -r dir; do umount -l "$(printf '%b' "$dir")"; done
    test_teardown
}

@test "ps shows only the job's processes, beginning at PID 1, which is jobbox-init" {
    # a child just forked has still its parent's name
    script 'sleep 5 & while ! grep -q sleep /proc/$!/comm; do :; done; ps -o pid,comm; kill %1'
    run_job
    exits 0
    [ "$(awk 'NR > 1 { print $1 }' out | head -n 1)" = 1 ]
    out_has '^ *1 jobbox-init$'
    [ "$(awk 'NR > 1 { print $2 }' out | sort | tr '\n' ' ')" = "jobbox-init ps sh sleep " ] || fail "other processes"
    script 'ps -e -o pid,comm --no-headers; ls -d /proc/[0-9]* | wc -l' "image: host"
    run_job
    exits 0
    [ "$(awk 'NF == 2 { print $2 }' out | sort | tr '\n' ' ')" = "jobbox-init ps sh " ] || fail "other processes"
    [ "$(tail -n 1 out)" -le 4 ]
}

@test "the root is an overlay, and the record says so" {
    local image
    for image in host "$IMAGE"; do
        [ "$JBT_AS.$image" != user.host ] || continue # his is put together from parts
        script 'awk "\$5 == \"/\" { print \$(NF-2) }" /proc/self/mountinfo' "image: $image"
        run_job
        exits 0
        out_is overlay
        record 'isolation.root == "overlay"'
    done
}

@test "the namespaces are the box's own, and the record lists them as read from the kernel" {
    script 'for n in mnt pid ipc uts net cgroup user; do readlink /proc/self/ns/$n; done'
    run_job
    exits 0
    local name
    for name in mnt pid ipc uts net cgroup; do
        ! grep -qxF "$(readlink /proc/self/ns/$name)" out || fail "$name is the host's"
    done
    local all='"mount", "pid", "ipc", "uts", "network", "cgroup"'
    if [ "$JBT_AS" = root ]; then
        grep -qxF "$(readlink /proc/self/ns/user)" out || fail "a user namespace for root"
    else
        ! grep -qxF "$(readlink /proc/self/ns/user)" out || fail "no user namespace"
        all+=', "user"'
    fi
    record "set(isolation.namespaces) == {$all}"
}

@test "what a job over the host writes into /usr, /etc, /root and /var vanishes" {
    needs_root "changes what is root's"
    local mark=jbt-vanish-$$
    script "for d in /usr /usr/bin /etc /root /var/lib /opt /; do echo x >\$d/$mark && cat \$d/$mark; done
echo changed >>/etc/hostname
rm -f /etc/passwd
ls /etc/passwd 2>&1 | grep -c 'No such'" "image: host"
    local before
    before=$(sha256sum /etc/hostname /etc/passwd)
    run_job
    exits 0
    out_is $'x\nx\nx\nx\nx\nx\nx\n1'
    [ -z "$(ls -d /usr/$mark /usr/bin/$mark /etc/$mark /root/$mark /var/lib/$mark /opt/$mark /$mark 2>/dev/null)" ]
    [ "$(sha256sum /etc/hostname /etc/passwd)" = "$before" ]
}

tree_hash()
{
    (cd "$1" && find . -printf '%P %y %m %U %G %s %T@ %l\n' | sort && find . -type f -print0 | sort -z |
        xargs -0 sha256sum) | sha256sum
}

@test "a host tree that the job deletes and changes has the same hash afterwards" {
    needs_root "changes what is root's"
    local tree=/usr/share/doc/bats before
    [ -d $tree ] || tree=/usr/share/doc/bash
    before=$(tree_hash $tree)
    script "ls -A $tree | grep -q .
chmod -R 777 $tree
find $tree -type f -exec sh -c 'echo changed >\"\$1\"' _ {} \;
rm -rf $tree /usr/share/man
test ! -e $tree && echo gone" "image: host"
    run_job
    exits 0
    out_is gone
    [ "$(tree_hash $tree)" = "$before" ] || fail "the host's $tree has changed"
}

@test "an image is the same after a job has deleted everything in it" {
    cp -a "$IMAGE" mine
    to_submitter mine
    local before
    before=$(tree_hash mine)
    # /var/tmp and /etc/hosts are mounts of the box and stay
    script 'rm -rf /etc /root /usr /bin /var 2>/dev/null || true; [ "$(echo /etc/*)" = /etc/hosts ] && [ ! -e /bin ] && echo all gone' \
        "image: $T/mine"
    run_job
    exits 0
    out_is "all gone"
    [ "$(tree_hash mine)" = "$before" ] || fail "the image has changed"
}

@test "the network has only lo, lo is up and carries data" {
    spec <<<"command: [/probe/probe, loopback]
mounts: [$PROBE_MOUNT]"
    run_job
    exits 0
    out_is hi
    script 'ls /sys/class/net; ip -o link | wc -l; ip link show lo | grep -c "LOOPBACK,UP"; ip route | wc -l
nc -w 1 192.0.2.1 9 2>&1 | grep -c "Network is unreachable"'
    run_job
    out_is $'lo\n1\n1\n0\n1'
    record 'isolation.network == "none"' 'used.net == {"rx_bytes": 0, "tx_bytes": 0}'
}

@test "network: host is the host's, and the record says so" {
    script 'readlink /proc/self/ns/net' "network: host"
    run_job
    exits 0
    out_is "$(readlink /proc/self/ns/net)"
    record 'isolation.network == "host"' '"network" not in isolation.namespaces' 'used.net is None'
}

@test "nproc, the affinity and the cpuset are the granted CPUs, and the record was read back" {
    local n
    for n in 1 2; do
        [ "$(nproc)" -ge "$n" ] || skip "needs $n CPUs"
        script 'nproc; grep Cpus_allowed_list /proc/self/status | cut -f2; echo $JOBBOX_CPU_LIST' \
            "resources: { cpus: $n, cpu_unit: thread }"
        run_job
        exits 0
        out_is "$n
$(show granted.cpus)
$(show granted.cpus)"
        record "granted.cpu_count == $n" "len(cpus(granted.cpus)) == $n" 'isolation.cpus_allowed == granted.cpus' \
            "$PIN_IS_AS_IT_SHOULD"
    done
}

@test "the box lies below the cgroup of whoever starts it, whose limits hold" {
    needs_v1 cpuset
    needs_v1 memory
    needs_cpus 2
    local cpuset memory
    cpuset=$(own_cgroup cpuset)/jbt-outer.$$ memory=$(own_cgroup memory)/jbt-outer.$$
    mkdir "$cpuset" "$memory"
    echo 1 >"$cpuset/cpuset.cpus"
    cat "$(own_cgroup cpuset)/cpuset.mems" >"$cpuset/cpuset.mems"
    echo 67108864 >"$memory/memory.limit_in_bytes"
    script 'echo ready; nproc; sleep 0.5; /probe/probe touch 200000000' "resources: { cpus: 1 }" "mounts: [$PROBE_MOUNT]"
    bash -c 'echo $$ >"$1/cgroup.procs"; echo $$ >"$2/cgroup.procs"; shift 2; exec "$@"' _ "$cpuset" "$memory" \
        env "$MARK" "$JOBBOX" run -q --config "$CONF" job.yaml >out 2>err </dev/null 3>&- &
    supervisor=$!
    started+=("$supervisor")
    until_true 10 says ready
    local below
    below=$(ls -d "$cpuset"/jobbox-* "$memory"/jobbox-* | wc -l)
    end_job
    rmdir "$cpuset" "$memory" || fail "groups are left below"
    [ "$below" = 2 ] || fail "the box is elsewhere"
    out_is $'ready\n1'
    exits 121
    record 'granted.cpus == "1"' 'isolation.limits.cpuset_cpus == "1"' 'end.reason == "oom"' \
        '"outer" in end.limit'
}

@test "a job cannot leave its CPUs" {
    needs_limits
    needs_cpus 2
    script 'taskset -p 3 $$ >/dev/null 2>&1 || true; grep Cpus_allowed_list /proc/self/status | cut -f2' \
        "resources: { cpu_set: \"1\", cpu_unit: thread }"
    run_job
    out_is 1
    record 'granted.cpus == "1"'
}

@test "no_new_privs, a seccomp filter and no capability at all, even for root" {
    script 'grep -E "^(NoNewPrivs|Seccomp|Cap[A-Z][a-z]+):" /proc/self/status | tr -d "\t" | tr "\n" " "'
    run_job
    exits 0
    out_is "CapInh:0000000000000000 CapPrm:0000000000000000 CapEff:0000000000000000 CapBnd:0000000000000000 \
CapAmb:0000000000000000 NoNewPrivs:1 Seccomp:2 "
    record 'isolation.no_new_privs is True' 'isolation.seccomp == "filter"' 'isolation.caps == []' \
        'isolation.caps_bounding == []'
}

@test "mounts, namespaces, devices, keys, bpf, perf and what else reaches the kernel are refused" {
    local user
    for user in submitter root-in-box; do
        spec <<<"command: [/probe/probe, calls]
user: $user
mounts: [$PROBE_MOUNT]"
        run_job
        ! grep -v ' refused$' out || fail "not refused"
        exits 0
        [ "$(wc -l <out)" -ge 45 ]
    done
}

@test "/proc/sys and /sys are read-only and what is masked is empty" {
    script 'if echo x >/proc/sys/kernel/core_pattern; then echo WRITTEN; fi
if echo x >/proc/sys/vm/drop_caches; then echo WRITTEN; fi
if echo h >/proc/sysrq-trigger; then echo WRITTEN; fi
if mkdir /sys/x; then echo WRITTEN; fi
if echo 1 >/sys/kernel/profiling; then echo WRITTEN; fi
for f in /proc/kcore /proc/keys /proc/timer_list /proc/kpagecount; do [ ! -e $f ] || head -c 1 $f | wc -c; done
for d in /proc/acpi /proc/scsi /sys/firmware; do [ ! -e $d ] || ls -A $d; done
awk "\$5 == \"/sys\" || \$5 == \"/proc/sys\" { print \$5, \$6 }" /proc/self/mountinfo | cut -d, -f1 | sort
ls -A /sys/fs/cgroup | wc -l' "user: root-in-box"
    run_job
    exits 0
    out_lacks 'WRITTEN|^[1-9]$'
    out_has '^/sys ro$'
    [ "$JBT_AS" = user ] || out_has '^/proc/sys ro$' # nothing of it is his to write
    [ "$(tail -n 1 out)" = 0 ]
}

@test "nothing beyond descriptors 0, 1 and 2, though jobbox inherited fifty" {
    spec <<<"command: [/probe/probe, fds]
mounts: [$PROBE_MOUNT]"
    (
        for fd in $(seq 10 59); do eval "exec $fd</etc/passwd"; done
        run_job
        exits 0
    )
    out_is $'0\n1\n2'
    # PID 1 may not be looked into; what of it can be seen is not more
    script 'ls /proc/1/fd 2>/dev/null | wc -l; for d in 3 4 5 7 9 10; do cd /proc/self/fd/$d 2>/dev/null && echo IN; done; true'
    run_job
    out_lacks IN
}

@test "/dev holds what the box made and nothing else" {
    script 'ls /dev; ls /dev/pts; ls -A /dev/shm; stat -c "%n %t:%T %a" /dev/null /dev/zero /dev/full /dev/random /dev/urandom
echo x >/dev/null; head -c 3 /dev/zero | od -An -tx1; readlink /dev/fd; touch /dev/shm/x; [ ! -b /dev/vda ]'
    run_job
    exits 0
    out_is "fd
full
null
ptmx
pts
random
shm
stderr
stdin
stdout
tty
urandom
zero
ptmx
/dev/null 1:3 666
/dev/zero 1:5 666
/dev/full 1:7 666
/dev/random 1:8 666
/dev/urandom 1:9 666
 00 00 00
/proc/self/fd"
}

@test "shared memory, System V and POSIX, is the box's own and gone with it" {
    local key=1296389
    echo secret >/dev/shm/jbt-shm-$$
    local id
    id=$(ipcmk -M 4096 | grep -o '[0-9]*$')
    local hostkey
    hostkey=$(ipcs -m | awk -v id="$id" '$2 == id { print strtonum($1) }' 2>/dev/null || true)
    [ -n "$hostkey" ] || hostkey=$(printf '%d' "$(ipcs -m | awk -v id="$id" '$2 == id { print $1 }')")
    script "/probe/probe sysv see $hostkey; /probe/probe sysv make $key; ls /dev/shm; echo x >/dev/shm/left-$$
cat /proc/sysvipc/shm | wc -l" "mounts: [$PROBE_MOUNT]"
    run_job
    ipcrm -m "$id"
    rm -f /dev/shm/jbt-shm-$$
    exits 0
    out_is $'absent\nthere\n2'
    [ ! -e /dev/shm/left-$$ ]
    [ "$("$PROBE" sysv see $key)" = absent ]
}

@test "a job cannot change the host's name" {
    local before
    before=$(hostname)
    script 'hostname jbt-other || echo refused; hostname' "user: root-in-box"
    run_job
    [ "$(hostname)" = "$before" ]
    out_is "refused
job" # the job's, not the host's
}

@test "user: uid:gid is that and nothing more" {
    needs_root "only root may"
    echo mine >private
    chmod 600 private
    script 'id -u; id -g; id -G; cat /in/private 2>&1 | grep -o "Permission denied"; touch /work/x && stat -c "%u:%g" /work/x
touch /etc/x 2>/dev/null || echo no' "user: 1234:2345" "mounts: [{ source: $T/private, target: /in/private }]"
    run_job
    exits 0
    out_is $'1234\n2345\n2345\nPermission denied\n1234:2345\nno'
    record 'rec.uid == 0' 'isolation.host_uid == 1234' 'isolation.host_gid == 2345'
}

@test "root-in-box owns the box: it may chown and override, and has exactly the recorded capabilities" {
    needs_root "is about more ids than one"
    script 'touch f; chown 1000:1000 f; stat -c "%u:%g" f; chmod 0 f; cat f && echo read
setpriv --reuid 1000 id -u 2>/dev/null || su -s /bin/sh nobody -c "id -u"
mount -t tmpfs none /mnt 2>/dev/null || echo no mount
grep -E "^Cap(Eff|Bnd)" /proc/self/status | cut -f2' "user: root-in-box"
    run_job
    exits 0
    [ "$(sed -n 1,2p out)" = $'1000:1000\nread' ]
    out_has '^no mount$'
    record 'len(isolation.caps) > 0' '"sys_admin" not in isolation.caps' '"mknod" not in isolation.caps' \
        '"dac_read_search" not in isolation.caps' '"sys_ptrace" not in isolation.caps' \
        'isolation.caps == isolation.caps_bounding'
    /usr/bin/python3 - "$(tail -n 1 out)" "$(show 'len(isolation.caps)')" <<'EOF'
import sys
mask, count = int(sys.argv[1], 16), int(sys.argv[2])
assert bin(mask).count("1") == count, (hex(mask), count)
EOF
}

@test "policy: a site may forbid root-in-box, uid:gid and the host's network; that is 125 and one line" {
    site_config "policy: { root_in_box: false, any_ids: false, host_network: false }"
    local line
    for line in "user: root-in-box" "user: 12:12" "network: host"; do
        script true "$line"
        run_job
        exits 125
        one_error "job.yaml:[0-9]+:[0-9]+: (user|network): .* not allowed on this site"
    done
    [ "$(records)" = 0 ]
}

# --- mounts ------------------------------------------------------------------------------------------------------

@test "a bind is read-only unless mode: rw, and rw writes reach the host" {
    mkdir data
    echo in >data/file
    to_submitter data
    script 'cat /d/file; if touch /d/new 2>/dev/null; then echo WRITTEN; fi; if rm /d/file 2>/dev/null; then echo GONE; fi' \
        "mounts: [{ source: $T/data, target: /d }]"
    run_job
    exits 0
    out_is in
    script 'echo out >/d/new' "mounts: [{ source: $T/data, target: /d, mode: rw }]"
    run_job
    exits 0
    [ "$(cat data/new)" = out ]
}

@test "a read-only bind is read-only in what is mounted below it too" {
    mkdir -p hostmounts/a/b
    mount -t tmpfs jbt-below hostmounts/a/b
    echo deep >hostmounts/a/b/file
    script 'cat /d/b/file; if touch /d/b/new 2>/dev/null; then echo WRITTEN; fi
awk "\$5 ~ \"^/d(/|$)\" { print \$5, substr(\$6, 1, 2) }" /proc/self/mountinfo | sort' \
        "mounts: [{ source: $T/hostmounts/a, target: /d }]"
    run_job
    umount hostmounts/a/b
    exits 0
    out_is $'deep\n/d ro\n/d/b ro'
}

@test "set-user-id files and devices of a bind are without effect" {
    needs_root "is about the host's ids"
    mkdir data
    cp "$FILE_DIR/probe" data/suid
    chmod 4755 data/suid
    mknod data/null c 1 3
    chmod 666 data/null
    script 'if echo x >/d/null; then echo OPENED; fi; awk "\$5 == \"/d\" { print \$6 }" /proc/self/mountinfo' \
        "user: 1234:1234" "mounts: [{ source: $T/data, target: /d, mode: rw }]"
    run_job
    out_lacks OPENED
    out_has 'nosuid'
    out_has 'nodev'
}

@test "a mount target that leads through a symlink of the image stays inside the box" {
    cp -a "$IMAGE" mine
    mkdir data outside
    echo yes >data/file
    mkdir -p "mine/opt/outside"
    mv outside /opt/jbt-outside-$$
    ln -s /opt/jbt-outside-$$ mine/dangling
    ln -s /opt/outside mine/absolute
    ln -s ../../../../../../../../../opt/outside mine/relative
    to_submitter mine
    script "cat /absolute/sub/file; cat /relative/sub2/file; ls /opt/outside" "image: $T/mine" \
        "mounts: [{ source: $T/data, target: /absolute/sub }, { source: $T/data, target: /relative/sub2 }]"
    run_job
    exits 0
    out_is $'yes\nyes\nsub\nsub2'
    # a place that only the host has is not one
    script "cat /dangling/sub/file" "image: $T/mine" "mounts: [{ source: $T/data, target: /dangling/sub }]"
    run_job
    local made
    made=$(ls -A /opt/jbt-outside-$$)
    rmdir /opt/jbt-outside-$$ || true
    [ -z "$made" ] || fail "made on the host: $made"
    [ "$code" = 124 ] || { exits 0 && out_is yes; }
}

@test "binds of /proc, /sys, /dev, of jobbox's own folders and of what the site denies are refused" {
    mkdir -p secret/deep secret2
    site_config "binds: { deny: [$T/secret] }"
    local source
    for source in /proc /proc/1/root /sys/fs/cgroup /dev /dev/shm "$T/run" "$T/state" "$T/state/journal" "$T/secret/deep"; do
        script 'ls -A /d' "mounts: [{ source: $source, target: /d }]"
        run_job
        exits 125
        one_error "job.yaml:[0-9]+:[0-9]+: mounts.*$source may not be bound"
    done
    [ "$(records)" = 0 ]
    script 'ls -A /d' "mounts: [{ source: $T/secret2, target: /d }]"
    run_job
    exits 0
}

@test "a denied folder cannot be bound through a symlink" {
    mkdir secret
    echo hidden >secret/file
    ln -s "$T/secret" way
    ln -s /proc procway
    site_config "binds: { deny: [$T/secret] }"
    local source
    for source in way procway; do
        script 'ls -A /d; cat /d/file /d/version' "mounts: [{ source: $T/$source, target: /d }]"
        run_job
        [ "$code" = 125 ] || [ "$code" = 124 ] || fail "exit code $code"
        out_is ""
    done
}

@test "mounts over /, /proc, /sys and /dev are refused by the spec, also when cleverly written" {
    local target
    for target in / // /proc /proc/self /sys/fs /dev/shm /./proc /dev//null; do
        script 'true' "mounts: [{ source: /etc, target: $target }]"
        run_job
        exits 125
        err_has "mounts.*target"
    done
    script 'true' "mounts: [{ source: /etc, target: /a/../../proc }]"
    run_job
    exits 125
}

@test "a tmpfs mount has its size and is empty" {
    script 'ls -A /t; df -k /t | awk "END { print \$2 }"; if head -c 3m /dev/zero >/t/big 2>/dev/null; then echo FITS; fi
wc -c </t/big' "mounts: [{ tmpfs: 2MiB, target: /t }]"
    run_job
    exits 0
    out_is $'2048\n2097152'
}

@test "a single file can be bound" {
    echo content >one.txt
    script 'cat /etc/one.txt /etc/passwd | head -n 1' "mounts: [{ source: one.txt, target: /etc/one.txt }]"
    run_job
    exits 0
    out_is content
}

@test "a bind source that is not there, and a device, are refused in one line and leave nothing" {
    script 'true' "mounts: [{ source: $T/nowhere, target: /d }]"
    run_job
    exits 124
    one_error "$T/nowhere"
    script 'true' "mounts: [{ source: $T/disk, target: /d }]"
    mknod disk b 254 0
    run_job
    exits 124
    one_error "neither a directory nor a file"
}

# What host mounts look like is tried in a mount namespace of the test's own.
@test "several mounts below / are seen by a job over the host, and writes to them vanish" {
    local base=/opt/jbt-$$
    cat >inner <<EOF
set -e
mount --make-rprivate /
mount -t tmpfs t /opt
mkdir -p $base/tmpfs $base/bind "$base/with space" "$base/co:lon" "$base/com,ma" "$base/back\\\\slash" $base/nested
for d in tmpfs "with space" "co:lon" "com,ma" "back\\\\slash" nested; do
    mount -t tmpfs t "$base/\$d"
    echo "in \$d" >"$base/\$d/file"
done
mkdir $base/nested/deeper
mount -t tmpfs t $base/nested/deeper
echo "in deeper" >$base/nested/deeper/file
mkdir $T/source
echo "in bind" >$T/source/file
mount --bind $T/source $base/bind
code=0
env "$MARK" "$JOBBOX" run -q --config "$CONF" "$T/job.yaml" >"$T/out" 2>"$T/err" || code=\$?
find $base -name file -exec cat {} + | sort >"$T/after"
find $base -name new >>"$T/after"
exit \$code
EOF
    script "cd $base
find . -name file -exec cat {} + | sort
find . -name file | while read -r f; do echo changed >\"\$f\"; echo new >\"\${f%file}new\"; done
find . -name file -exec cat {} + | sort -u
find . -name new | wc -l" "image: host"
    code=0
    unshare -m bash inner || code=$?
    exits 0
    out_is $'in back\\slash\nin bind\nin co:lon\nin com,ma\nin deeper\nin nested\nin tmpfs\nin with space\nchanged\n8'
    [ "$(cat after)" = $'in back\\slash\nin bind\nin co:lon\nin com,ma\nin deeper\nin nested\nin tmpfs\nin with space' ] ||
        fail "written through: $(cat after)"
}

@test "what the site hides of the host, and jobbox's own folders, look empty" {
    local dir=/opt/jbt-hide-$$
    cat >inner <<EOF
set -e
mount --make-rprivate /
mount -t tmpfs t /opt
mkdir -p $dir/secret $dir/open
echo x >$dir/secret/file; echo x >$dir/open/file
printf 'paths: { runtime: $dir/run, state: $dir/state, cgroup_parent: ${JBT_CGROUP_PARENT:-auto} }\nhost_image: { hide: [$dir/secret] }\n' >$dir/site.yaml
env "$MARK" "$JOBBOX" run -q --config $dir/site.yaml "$T/job.yaml" >"$T/out" 2>"$T/err"
EOF
    script "ls -A $dir/secret $dir/state $dir/run 2>/dev/null | grep -v : | grep -v '^$' || true; ls $dir/open" "image: host"
    code=0
    unshare -m bash inner || code=$?
    exits 0
    out_is file
}

@test "the host's temporary files and mounts in /run and /tmp are not seen" {
    echo secret >"/tmp/jbt-secret-$$"
    script "ls -A /tmp /var/tmp; ls -A /run; test ! -e $T; touch /tmp/x /var/tmp/y; stat -c %a /tmp" "image: host"
    run_job
    rm "/tmp/jbt-secret-$$"
    exits 0
    out_lacks "jbt"
    out_has '^1777$'
}

# --- an ordinary user --------------------------------------------------------------------------------------------

@test "an ordinary user is told everything that cannot be enforced, and with which words to go without" {
    user_setup
    script 'true' "resources: { memory: 64MiB, pids: 50 }"
    code=0
    as_user ./jobbox run -q job.yaml >out 2>err || code=$?
    # privilege is missing, nothing is wrong with the spec: the box could not be made
    exits 124
    one_error "pin.*memory.*processes.*allow_degraded: \[cpuset, memory, pids\]"
    [ -z "$(find home -name '*.jsonl')" ]
    [ -z "$(ls -A home/run/jobbox/boxes)" ]
}
