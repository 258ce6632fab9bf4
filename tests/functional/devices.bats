#!/usr/bin/env bats
# Devices: CDI files and plain nodes; what a job can open, what it cannot, who holds what, hooks.
# The "gpus" are nodes with the numbers of null, zero and full, in a folder of the test.
# Runs as: root, user

load lib

setup_file() { file_setup; }
teardown_file() { file_teardown; }

setup()
{
    needs_cgroups
    test_setup
    mkdir cdi dev
    chmod 755 cdi
    mknod dev/gpu0 c 1 3 2>/dev/null || skip "device nodes cannot be made here"
    mknod dev/gpu1 c 1 5
    mknod dev/gpu2 c 1 7
    chmod 600 dev/gpu*
    to_submitter dev # as udev gives them to who sits at the machine
    cdi gpu0 gpu1 gpu2
    devices_config
}

teardown() { test_teardown; }

# devices_config [LINE...]: the site config, with lines of its `devices`.
devices_config()
{
    site_config "env: { JBT_MARK: $T }" "devices:" "  cdi_dirs: [$T/cdi]" "$@" \
        "allow_degraded: [$([ "$JBT_AS" = root ] || echo cpuset, cpu, memory, pids, io, devices)]" # which only root can limit
}

# cdi NAME...: a CDI file of vendor.com/gpu with these.
cdi()
{
    local name
    {
        printf '%s\n' 'cdiVersion: "0.6.0"' 'kind: vendor.com/gpu' 'containerEdits: { env: [VENDOR=yes] }' 'devices:'
        for name in "$@"; do
            printf '  - name: %s\n    containerEdits:\n      deviceNodes: [ { path: /dev/%s, hostPath: %s } ]\n' \
                "$name" "$name" "$T/dev/$name"
        done
    } >cdi/vendor.yaml
}

# The devices cgroup of the running box, or nothing where a program on v2 does it.
box_devices_group()
{
    local dir
    dir=$(own_cgroup devices)
    [ -z "$dir" ] || echo "$dir"/jobbox-"$(ls run/boxes)"
}

@test "a job opens the devices it was granted, and sees no others" {
    script 'ls /dev | grep -E "gpu|fuse"; head -c 3 /dev/gpu1 | od -An -tx1; echo x >/dev/gpu1; echo "$VENDOR $JOBBOX_DEVICES"' \
        "resources: { devices: [vendor.com/gpu=gpu1] }"
    run_job
    exits 0
    out_is $'gpu1\n 00 00 00\nyes vendor.com/gpu=gpu1'
    record 'requested["resources"]["devices"] == ["vendor.com/gpu=gpu1"]' \
        '[d["name"] for d in granted.devices] == ["vendor.com/gpu=gpu1"]' 'granted.devices[0]["exclusive"] is True' \
        'granted.devices[0]["source"].endswith("/cdi/vendor.yaml")'
    [ "$JBT_AS" = root ] || {
        record 'isolation.devices is None' '"devices" in [d["what"] for d in isolation.degraded]'
        return
    }
    record 'isolation.devices["version"] in (1, 2)' \
        '"c 1:5 rw" in isolation.devices["allowed"]' '"c 136:* rw" in isolation.devices["allowed"]' \
        'len(isolation.devices["allowed"]) == 8' 'isolation.degraded == []'
}

@test "limits of a box with devices change, and it has its devices all the while" {
    needs_limits
    script 'echo ready; while [ ! -e /tmp/stop ]; do : </dev/gpu1 || echo lost; done' \
        "resources: { devices: [vendor.com/gpu=gpu1], memory: 64MiB, pids: 50 }"
    start_job
    until_true 10 says ready
    local id i
    id=$(ls run/boxes)
    until_true 10 jobbox update --config "$CONF" "$id" --memory 128MiB
    for ((i = 60; i < 90; i++)); do
        jobbox update --config "$CONF" "$id" --pids "$i" >/dev/null
    done
    kill -TERM "$supervisor"
    end_job
    out_lacks lost
    record 'granted.memory_bytes == 128 << 20' 'granted.pids == 89'
}

@test "without devices there is no devices cgroup and nothing to read" {
    script 'ls /dev | grep -c gpu || true'
    run_job
    exits 0
    out_is 0
    record 'granted.devices == []' 'isolation.devices is None' '"cgroup_version" not in isolation or isolation.cgroup_version["devices"] is None'
}

@test "nothing but the granted devices can be opened from the box's cgroup, not even by root with a node in hand" {
    needs_limits
    needs_v1 devices
    mknod dev/kmsg c 1 11
    script 'echo go; sleep 30' "resources: { devices: [vendor.com/gpu=gpu0] }"
    start_job
    until_true 10 says go
    group=$(box_devices_group)
    [ -d "$group" ]
    # no access to what was not granted
    ! sh -c 'echo $$ >"$1/tasks"; exec <"$2"' sh "$group" "$T/dev/kmsg" 2>err
    grep -qi "not permitted" err
    # what was granted, and what every box has
    sh -c 'echo $$ >"$1/tasks"; exec <"$2"; exec </dev/urandom; exec >/dev/null' sh "$group" "$T/dev/gpu0"
    grep -qx 'c 1:3 rw' "$group/devices.list"
    [ -z "$(grep '^a ' "$group/devices.list")" ] || fail "the group still has all devices"
    kill "$supervisor"
    end_job
    exits 123
}

@test "on cgroup v2 a program does it: attached, told by the kernel, and in force" {
    needs_limits
    command -v unshare >/dev/null || skip "needs unshare"
    v2=$(own_cgroup unified)
    [ -n "$v2" ] || skip "no cgroup v2 tree is mounted"
    # a mount namespace without the v1 controller is a host without it
    script 'head -c 1 /dev/gpu0 | wc -c; echo go; sleep 30' "resources: { devices: [vendor.com/gpu=gpu0] }"
    [ -z "$(own_cgroup devices)" ] || hide="umount -l $(awk '$3 == "cgroup" && $4 ~ /(^|,)devices(,|$)/ { print $2; exit }' /proc/mounts) &&"
    mknod dev/kmsg c 1 11
    # shellcheck disable=SC2016
    unshare -m sh -c "${hide-} "'exec "$@"' sh env "$MARK" "$JOBBOX" run --quiet --config "$CONF" job.yaml >out 2>err </dev/null 3>&- &
    supervisor=$!
    started+=("$supervisor")
    until_true 10 says go
    group=$v2/jobbox-$(ls run/boxes)
    [ -d "$group" ]
    ! sh -c 'echo $$ >"$1/cgroup.procs"; exec <"$2"' sh "$group" "$T/dev/kmsg" 2>err2
    grep -qi "not permitted" err2
    sh -c 'echo $$ >"$1/cgroup.procs"; exec <"$2"; exec </dev/urandom; exec >/dev/null' sh "$group" "$T/dev/gpu0"
    kill "$supervisor"
    end_job
    record 'isolation.devices["version"] == 2' '"c 1:3 rw" in isolation.devices["allowed"]'
}

@test "permissions of a CDI file are those of the cgroup; mode and owner those of the node" {
    needs_root "makes jobs that are somebody else"
    needs_v1 devices
    cat >cdi/vendor.yaml <<END
cdiVersion: 0.6.0
kind: vendor.com/gpu
devices:
  - name: ro
    containerEdits:
      deviceNodes: [ { path: /dev/sub/ro, type: c, major: 1, minor: 8, fileMode: 0o440, uid: 5, gid: 7, permissions: r } ]
  - name: mine
    containerEdits:
      deviceNodes: [ { path: /dev/mine, hostPath: $T/dev/gpu1 } ]
END
    script 'stat -c "%a %u:%g %F" /dev/sub/ro /dev/mine; id -G; head -c 1 /dev/mine | wc -c' "user: 1234:1235" \
        "resources: { devices: [vendor.com/gpu=ro, vendor.com/gpu=mine] }"
    run_job
    exits 0
    out_is $'440 5:7 character special file\n600 1234:1235 character special file\n1235\n1'
    record '"c 1:8 rw" in isolation.devices["allowed"]' # every box has that one, wholly
}

@test "mounts, variables and groups of a device" {
    needs_root "makes jobs that are somebody else"
    mkdir lib
    echo library >lib/file
    cat >cdi/vendor.json <<END
{ "cdiVersion": "0.7.0", "kind": "vendor.com/lib",
  "containerEdits": { "additionalGids": [4711], "env": ["A=1", "B=2"] },
  "devices": [ { "name": "x", "containerEdits": { "env": ["B=3"], "mounts": [
    { "hostPath": "$T/lib", "containerPath": "/opt/lib", "options": ["ro", "nosuid", "nodev", "bind"] } ] } } ] }
END
    script 'cat /opt/lib/file; id -G; echo $A$B$C; touch /opt/lib/new 2>/dev/null || echo read-only' "env: { A: mine }" \
        "user: 1234:1235" "resources: { devices: [vendor.com/lib=x] }"
    run_job
    exits 0
    out_is $'library\n1235 4711\nmine3\nread-only'
    [ ! -e lib/new ]
}

@test "counted devices: two jobs at once share none, a third waits for nobody and is told who has them" {
    script 'echo "$JOBBOX_DEVICES"; sleep 30' "resources: { cpus: 1, exclusive: false, devices: [vendor.com/gpu=1] }"
    start_job
    until_true 10 says gpu0
    first=$supervisor
    script 'echo "$JOBBOX_DEVICES"' "name: second" \
        "resources: { cpus: 1, exclusive: false, devices: [ { class: vendor.com/gpu, count: 2 } ] }"
    run_job
    exits 0
    out_is vendor.com/gpu=gpu1,vendor.com/gpu=gpu2
    record 'requested["resources"]["devices"] == [{"class": "vendor.com/gpu", "count": 2}]'
    script true "resources: { cpus: 1, exclusive: false, devices: [vendor.com/gpu=3] }"
    run_job
    exits 124
    one_error 'job.yaml:[0-9:]+ resources.devices: vendor.com/gpu=3: 2 of vendor.com/gpu are free, 3 are wanted; held are vendor.com/gpu=gpu0 by [0-9A-Z]+ \(job, uid '"$SUBMITTER"'\)'
    script true "resources: { cpus: 1, exclusive: false, devices: [vendor.com/gpu=gpu0] }"
    run_job
    exits 124
    one_error 'vendor.com/gpu=gpu0 is taken: held by'
    kill -9 "$first" # nobody has to repair anything
    wait "$first" || true
    started=()
    run_job
    exits 0
    [ "$(records)" = 3 ] || fail "expected the records of three jobs"
}

@test "plain nodes: those the site names, shared unless it says otherwise" {
    [ -c /dev/fuse ] || skip "there is no /dev/fuse"
    "${AS[@]}" sh -c ': <>/dev/fuse' 2>/dev/null || skip "/dev/fuse is not for everybody here"
    script 'test -c /dev/fuse; exec 3<>/dev/fuse; echo opened' "resources: { devices: [/dev/fuse] }"
    run_job
    exits 125
    one_error '/dev/fuse may not be asked for on this site; .* devices.allow'
    devices_config '  allow: [/dev/f*]'
    run_job
    exits 0
    out_is opened
    record 'granted.devices[0]["exclusive"] is False' 'granted.devices[0]["source"] is None'
    script 'echo go; sleep 30' "resources: { exclusive: false, devices: [/dev/fuse] }"
    start_job
    until_true 10 says go
    first=$supervisor
    script 'true' "resources: { exclusive: false, devices: [/dev/fuse] }"
    run_job
    exits 0
    devices_config '  allow: [/dev/f*]' '  exclusive: [/dev/fuse]'
    run_job
    exits 124
    one_error '/dev/fuse is taken: held by'
    kill "$first"
    wait "$first" || true
    started=()
    run_job
    exits 0
}

@test "hooks are refused unless the site allows them; allowed, createContainer runs and the others are named" {
    needs_root "runs hooks, which jobbox does for root alone"
    cat >hook <<END
#!/bin/sh
cat >"$T/state.json"
bundle=\$(sed 's/.*"bundle": *"\([^"]*\)".*/\1/' "$T/state.json")
root=\$(sed 's/.*"path": *"\([^"]*\)".*/\1/' "\$bundle/config.json")
echo "\$0 \$1 \$FROM" >"\$root/hooked"
(trap '' HUP; sleep 300) &
[ "\$1" != fail ] || { echo no such luck >&2; exit 3; }
[ "\$1" != slow ] || sleep 60
END
    chmod 755 hook
    hooks()
    {
        printf '{"cdiVersion":"0.6.0","kind":"vendor.com/gpu","devices":[{"name":"a","containerEdits":{"hooks":[%s]}}]}\n' \
            "{\"hookName\":\"$1\",\"path\":\"$T/hook\",\"args\":[\"hook\",\"$2\"],\"env\":[\"FROM=cdi\",\"PATH=$PATH\"],\"timeout\":2}" >cdi/vendor.yaml
    }
    hooks createContainer ok
    script 'cat /hooked; ls /proc | grep -cE "^[0-9]+$"' "resources: { devices: [vendor.com/gpu=a] }"
    run_job
    exits 125
    one_error 'cdi/vendor.yaml:1:[0-9]+: this device needs a hook.*devices: \{ hooks: allow \}'
    [ ! -e state.json ]
    devices_config '  hooks: allow'
    run_job
    exits 0
    head -n 1 out | grep -qx "$T/hook ok cdi"
    # jobbox-init, sh, ls and grep, and nothing that the hook left behind
    [ "$(tail -n 1 out)" -le 4 ] || fail "something of the hook lives on"
    grep -q '"status": *"creating"' state.json
    hooks createContainer fail
    run_job
    exits 124
    one_error "$T/hook, a device's hook, failed with exit code 3: no such luck"
    hooks createContainer slow
    run_job
    exits 124
    one_error "$T/hook, a device's hook, took longer than 2 s and was killed"
    hooks poststop ok
    run_job
    exits 125
    one_error 'needs a poststop hook, and createContainer is the only kind'
}

@test "broken, foreign and missing CDI files: one error with its place, and nothing is left" {
    script true "resources: { devices: [vendor.com/gpu=gpu0] }"
    echo '  - { name: gpu9, containerEdits: { deviceNodes: [ { path: gpu9 } ] } }' >>cdi/vendor.yaml
    run_job
    exits 124
    one_error 'cdi/vendor.yaml:[0-9]+:[0-9]+: devices\[3\].containerEdits.deviceNodes\[0\].path: "gpu9" is not an absolute path'
    cdi gpu0
    chmod 666 cdi/vendor.yaml
    run_job
    exits 125
    one_error 'can be written by others than its owner'
    chmod 644 cdi/vendor.yaml
    chown $((ORDINARY + 1)) cdi/vendor.yaml
    run_job
    exits 125
    one_error "belongs to uid $((ORDINARY + 1))"
    rm cdi/vendor.yaml
    run_job
    exits 124
    one_error 'is not on this host: no file of .*/cdi defines a device of vendor.com/gpu'
    rmdir cdi
    run_job
    exits 124
    one_error 'is not on this host'
    [ "$(records)" = 0 ]
}

@test "plan and explain tell which devices, from where, and why not" {
    script true "resources: { cpus: 1, devices: [vendor.com/gpu=2] }"
    jobbox plan --config "$CONF" job.yaml >out
    out_has '^  vendor.com/gpu=gpu0, from .*/cdi/vendor.yaml$'
    [ "$JBT_AS" = user ] || out_has 'may open .*c 1:5 rw'
    out_has "^  device .*$T/dev/gpu0 -> /dev/gpu0"
    jobbox plan --json --config "$CONF" job.yaml >out
    python3 -c 'import json, sys
d = json.load(sys.stdin)["devices"]
assert [x["name"] for x in d["granted"]] == ["vendor.com/gpu=gpu0", "vendor.com/gpu=gpu1"], d
assert not d["limit"] if sys.argv[1] == "user" else d["limit"]["version"] in (1, 2) and "c 1:3 rw" in d["limit"]["allowed"], d' "$JBT_AS" <out
    jobbox explain --config "$CONF" job.yaml >out
    out_has '^would start now'
    out_has 'devices +vendor.com/gpu=gpu0, vendor.com/gpu=gpu1 \(close to no CPU in particular\)'
    jobbox explain --json --config "$CONF" job.yaml >out
    python3 -c 'import json, sys
assert [x["name"] for x in json.load(sys.stdin)["devices"]] == ["vendor.com/gpu=gpu0", "vendor.com/gpu=gpu1"]' <out
    script true "resources: { cpus: 1, devices: [vendor.com/gpu=4] }"
    code=0
    jobbox explain --config "$CONF" job.yaml >out || code=$?
    exits 124
    out_has 'would never start here'
    out_has 'this host has 3 of vendor.com/gpu, 4 are wanted'
}

@test "without privilege: refused unless degraded is allowed, then the host's own nodes" {
    setpriv --reuid $ORDINARY --regid $ORDINARY --clear-groups unshare -Ur true 2>/dev/null ||
        skip "this host does not let ordinary users have a user namespace"
    user_setup
    chmod 666 dev/gpu1
    printf 'env: { JBT_MARK: %s }\ndevices: { cdi_dirs: [%s/cdi] }\n' "$T" "$T" >site.user
    for more in "" devices; do
        script 'head -c 2 /dev/gpu1 | wc -c; ls /dev | grep -c gpu' "resources: { devices: [vendor.com/gpu=gpu1] }" \
            "allow_degraded: [cpuset, memory, pids${more:+, $more}]"
        code=0
        as_user timeout --foreground -k 5 60 ./jobbox run -q --config site.user job.yaml >out 2>err </dev/null || code=$?
        if [ -z "$more" ]; then
            exits 124
            one_error 'resources.devices: cannot keep the job from all other devices: only root .*allow_degraded: \[devices\]'
        else
            exits 0
            out_is $'2\n1'
        fi
    done
    file=$(find home/state/jobbox/journal -name '*.jsonl')
    "$HERE/record" "$file" 'isolation.devices is None' '"devices" in [d["what"] for d in isolation.degraded]'
}
