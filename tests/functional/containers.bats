#!/usr/bin/env bats
# jobbox in a container of crun, as CI runners and clusters start it, of systemd-nspawn, and of podman: with cgroups mounted
# writable and read-only, with the capabilities that mounts need and with those that runtimes give by default, with and
# without a user namespace. Each works, or says on one line what is missing.

load lib

setup_file() { file_setup; }
teardown_file() { file_teardown; }

setup()
{
    needs_cgroups
    [ -n "$(command -v crun)" ] || skip "needs crun"
    test_setup
    mkdir -p rootfs/{usr,etc,tmp,run,var,proc,sys,dev,opt,root} opt
    local name
    for name in bin sbin lib lib64; do
        [ ! -L /$name ] || ln -s usr/$name rootfs/$name
    done
    chmod 755 opt
    install -m 755 "$JOBBOX" opt/jobbox
    job >opt/job.yaml
    job "allow_degraded: [cpuset, memory, pids]" >opt/degraded.yaml
}

teardown() { test_teardown; }

# shellcheck disable=SC2016 # the job's shell's
job()
{
    printf '%s\n' 'version: 1' 'name: inside' 'resources: { memory: 64MiB }' "$@" 'script: |' \
        '  grep Cpus_allowed_list /proc/self/status' '  echo "processes $(ls -d /proc/[0-9]* | wc -l)"'
}

pure_v2()
{
    [ -z "$(own_cgroup memory)" ]
}

# container CGROUPS CAPABILITIES NAMESPACE COMMAND...: sets status and output. crun cannot mount a v2 tree beside v1: it
# is covered then. On v2 the container gets a group of its own, beside this one.
container()
{
    local manager=disabled group=- own
    if pure_v2; then
        own=$(own_cgroup unified)
        manager=cgroupfs
        group=${own#/sys/fs/cgroup}/jbt-container.$$
    fi
    env "$MARK" "$SOURCE_DIR/tests/functional/container_bundle.py" "$T" "$1" "$2" "$3" "$group" -- "${@:4}"
    # shellcheck disable=SC2016 # the inner shell's
    run env "$MARK" unshare -m --propagation private bash -c '
        [ ! -d /sys/fs/cgroup/unified ] || mount -t tmpfs none /sys/fs/cgroup/unified || exit 99
        cd "$1/bundle" && exec timeout -k 5 60 crun --root "$1/crun" --cgroup-manager='$manager' run "jbt-$2"
        ' container "$T" $$ </dev/null
}

runs()
{
    [ "$status" -eq 0 ] || fail "exit code $status: $output"
    [[ "$output" == *"Cpus_allowed_list:"*"processes "* ]] || fail "$output"
}

# refused TEXT...: one line, and it has each of these.
refused()
{
    local text
    [ "$status" -eq 124 ] || fail "exit code $status: $output"
    [ "$(grep -c . <<<"$output")" = 1 ] || fail "not one line: $output"
    for text in "$@" "allow_degraded: "; do
        [[ "$output" == *"$text"* ]] || fail "no \"$text\" in: $output"
    done
}

@test "writable cgroups and the capabilities for mounts: the job is pinned and limited" {
    container rw full none /opt/jobbox run -q /opt/job.yaml
    runs
    container rw full none /opt/jobbox doctor
    [ "$status" -eq 0 ] || fail "$output"
}

@test "writable cgroups and the default capabilities: the same, in a user namespace" {
    container rw few none /opt/jobbox run -q --json /opt/job.yaml
    [ "$status" -eq 0 ] || fail "$output"
    [[ "$output" == *'"user"'* && "$output" != *'"degraded":[{'* ]] || fail "$output"
}

@test "read-only cgroups: refused as such, with all capabilities and with few" {
    local caps
    for caps in full few; do
        container ro $caps none /opt/jobbox run -q /opt/job.yaml
        refused "cannot pin the job to its CPUs" "it is mounted read-only"
    done
    container ro full none /opt/jobbox doctor --fix-hints
    [ "$status" -eq 1 ]
    [[ "$output" == *"missing   controller cpuset"*"read-only"*"fix: have the container's runtime mount cgroups writable"* ]] ||
        fail "$output"
}

@test "read-only cgroups: a job that may do without limits runs, with all capabilities and with few" {
    local caps
    for caps in full few; do
        container ro $caps none /opt/jobbox run -q /opt/degraded.yaml
        runs
    done
}

@test "a user namespace and read-only cgroups: refused; without limits the job runs" {
    local caps
    for caps in full few; do
        container ro $caps userns /opt/jobbox run -q /opt/job.yaml
        refused "no group can be made in /sys/fs/cgroup"
        container ro $caps userns /opt/jobbox run -q /opt/degraded.yaml
        runs
    done
}

@test "a user namespace and writable v1 cgroups that are not its root's: refused as such" {
    pure_v2 && skip "on v2 the runtime gives the group to the container's root"
    container rw full userns /opt/jobbox run -q /opt/job.yaml
    refused "no group can be made in /sys/fs/cgroup" "Permission denied"
}

@test "a user namespace and a writable v2 group: the job is pinned and limited" {
    pure_v2 || skip "needs cgroup v2 alone"
    container rw full userns /opt/jobbox run -q /opt/job.yaml
    runs
    container rw few userns /opt/jobbox run -q /opt/job.yaml
    runs
}

@test "v2, started from a shell of the container: refused with what to do, and that helps" {
    pure_v2 || skip "needs cgroup v2 alone"
    container rw full none sh -c '/opt/jobbox run -q /opt/job.yaml; exit $?'
    refused "while processes sit in it"
    container rw full none sh -c 'mkdir /sys/fs/cgroup/shell && echo $$ >/sys/fs/cgroup/shell/cgroup.procs &&
        /opt/jobbox run -q /opt/job.yaml && /opt/jobbox run -q /opt/job.yaml'
    runs
}

# nspawn OPTION... -- COMMAND...: in a container of systemd's own, which has a scope with cgroups of its own; PID 1 is nspawn's.
nspawn()
{
    local options=()
    while [ "$1" != -- ]; do
        options+=("$1")
        shift
    done
    shift
    run env "$MARK" timeout -k 5 $((60 * JBT_SLOWER)) systemd-nspawn --quiet --register=no --as-pid2 --directory rootfs \
        --machine "jbt-$$" --bind-ro=/usr --bind-ro="$T/opt:/opt" --setenv="$MARK" --pipe "${options[@]}" "$@" </dev/null
}

needs_nspawn()
{
    pure_v2 && [ -d /run/systemd/system ] || skip "needs cgroup v2 alone, and systemd as the service manager"
    command -v systemd-nspawn >/dev/null || skip "needs systemd-nspawn"
    needs_root
}

@test "nspawn: refused beside its PID 1, with what to do, and that helps" {
    needs_nspawn
    nspawn -- /opt/jobbox run -q /opt/job.yaml
    refused "while processes sit in it"
    # shellcheck disable=SC2016 # the inner shell's
    nspawn -- sh -c 'mkdir /sys/fs/cgroup/all && for pid in $(cat /sys/fs/cgroup/cgroup.procs); do
        echo $pid >/sys/fs/cgroup/all/cgroup.procs; done; exec /opt/jobbox run -q /opt/job.yaml'
    runs
}

@test "nspawn with a user namespace: the same" {
    needs_nspawn
    # shellcheck disable=SC2016 # the inner shell's
    nspawn --private-users=524288:65536 --private-users-ownership=map -- sh -c 'mkdir /sys/fs/cgroup/all &&
        for pid in $(cat /sys/fs/cgroup/cgroup.procs); do echo $pid >/sys/fs/cgroup/all/cgroup.procs; done
        exec /opt/jobbox run -q /opt/job.yaml'
    runs
}

@test "nspawn with cgroups that are read-only: refused as such, and what may do without runs" {
    needs_nspawn
    nspawn -- sh -c 'mount -o remount,bind,ro /sys/fs/cgroup && exec /opt/jobbox run -q /opt/job.yaml'
    refused "cannot pin the job to its CPUs" "it is mounted read-only"
    nspawn -- sh -c 'mount -o remount,bind,ro /sys/fs/cgroup && exec /opt/jobbox run -q /opt/degraded.yaml'
    runs
}

# podman OPTION... -- COMMAND...: in a container of podman's, below a scope that systemd has delegated to it.
podman()
{
    local options=()
    while [ "$1" != -- ]; do
        options+=("$1")
        shift
    done
    shift
    run env "$MARK" timeout -k 5 $((60 * JBT_SLOWER)) podman --log-level error --root "$T/podman/store" \
        --runroot "$T/podman/run" --storage-driver vfs run --rm --network none --log-driver none --no-hosts -e "$MARK" \
        -v /usr:/usr:ro -v "$T/opt:/opt:ro" "${options[@]}" --rootfs "$T/rootfs" "$@" </dev/null
}

needs_podman()
{
    pure_v2 && [ -d /run/systemd/system ] || skip "needs cgroup v2 alone, and systemd as the service manager"
    type -P podman >/dev/null || skip "needs podman"
    needs_root
}

MOUNTS=SYS_ADMIN,NET_ADMIN,SYS_PTRACE,MKNOD
# What a job needs to have /proc and /sys of its own in a user namespace: the container's are not masked in part.
WHOLE=(--security-opt unmask=ALL --security-opt seccomp=unconfined)

@test "podman with writable cgroups, privileged and not: the job is pinned and limited" {
    needs_podman
    podman --privileged -- /opt/jobbox run -q /opt/job.yaml
    runs
    podman "${WHOLE[@]}" -- /opt/jobbox run -q --json /opt/job.yaml
    [ "$status" -eq 0 ] || fail "$output"
    [[ "$output" == *'"user"'* && "$output" != *'"degraded":[{'* ]] || fail "$output"
}

@test "podman with a user namespace and writable cgroups: the same" {
    needs_podman
    chown -hR 524288:524288 rootfs
    podman --uidmap 0:524288:65536 "${WHOLE[@]}" -- /opt/jobbox run -q /opt/job.yaml
    runs
}

@test "podman with read-only cgroups: refused as such, and what may do without runs; with a masked /sys refused with what to do" {
    needs_podman
    podman --cap-add "$MOUNTS" --security-opt seccomp=unconfined -- /opt/jobbox run -q /opt/job.yaml
    refused "cannot pin the job to its CPUs" "it is mounted read-only"
    podman --cap-add "$MOUNTS" --security-opt seccomp=unconfined -- /opt/jobbox run -q /opt/degraded.yaml
    runs
    podman --security-opt seccomp=unconfined -- /opt/jobbox run -q /opt/degraded.yaml
    [ "$status" -eq 124 ] || fail "exit code $status: $output"
    [ "$(grep -c . <<<"$output")" = 1 ] || fail "not one line: $output"
    [[ "$output" == *"parts of /"*"are hidden where jobbox was started"*"unmask=ALL"* ]] || fail "$output"
}
