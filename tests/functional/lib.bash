# shellcheck shell=bash
# shellcheck disable=SC2034 # for the tests that load this
# What the functional tests share. Each test gets a folder of its own, $T, with a site config whose runtime and state
# directories are in it; at its end nothing of jobbox may be left: no process, mount, cgroup, box or scratch.
# JOBBOX is the program under test, JOBBOX_BUILD the build directory, SOURCE_DIR the source tree. JBT_SLOWER is how many
# times longer things may take than on a machine of its own: limits on waiting are scaled by it. In a guest of scripts/vm
# JBT_GUEST is 1 and JBT_WHO says who runs the tests: root; delegated: an ordinary user whose manager passes every controller
# on; user: one whose manager passes on what systemd gives it, which is no cpuset and no io. Below a user's manager the tests
# sit in a delegated unit of it. What cannot hold there is in tests/vm/exceptions, with the reason.

bats_require_minimum_version 1.5.0

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
: "${SOURCE_DIR:=$(cd "$HERE/../.." && pwd)}" "${JOBBOX_BUILD:=$SOURCE_DIR/build}"
: "${JOBBOX:=$JOBBOX_BUILD/jobbox}"
PROBE=${JOBBOX_BUILD}/tests/functional/probe
export JBT_SLOWER=${JBT_SLOWER:-1}
ORDINARY=52731 # a uid that no account has

# JBT_AS=user: the tests of a file that says "# Runs as: root, user" at its top, with jobbox run by an ordinary user. What
# a test needs of root is said by needs_root and its like, and skips it there.
: "${JBT_AS:=root}"
export JBT_AS

# --- once for a file ---------------------------------------------------------------------------------------------

# Below /tmp and open to all: an ordinary user must get here too.
file_setup()
{
    FILE_DIR=$(mktemp -d "${TMPDIR:-/tmp}/jbt.XXXXXX")
    export FILE_DIR
    chmod 755 "$FILE_DIR"
    if [ -n "${JBT_IMAGE-}" ]; then # made outside of the guest: the several hundred links take long there
        cp -a "$JBT_IMAGE" "$FILE_DIR/image"
    else
        "$SOURCE_DIR/scripts/mkimage-busybox" "$FILE_DIR/image"
    fi
    [ -x "$PROBE" ] || { echo "$PROBE is missing: build everything first" >&2 && return 1; }
    install -m 755 "$PROBE" "$FILE_DIR/probe"
}

# Layers of an ordinary user who has ranges of ids belong to those ids.
file_teardown()
{
    rm -rf "${FILE_DIR:?}" 2>/dev/null || unshare --user --map-root-user --map-auto rm -rf "$FILE_DIR"
}

# --- what a test needs -------------------------------------------------------------------------------------------

# The directory below which boxes get their group of one v1 controller, or of the v2 tree ("unified"): this process's
# own group, or JBT_CGROUP_PARENT, where these processes sit in a child of what was delegated to them.
own_cgroup()
{
    local id controllers path line
    while IFS=: read -r id controllers path; do
        if [ "$1" = unified ] && [ "$id" = 0 ]; then
            line=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/mounts)
        elif [ "$1" != unified ] && [[ ,$controllers, == *",$1,"* ]]; then
            line=$(awk -v c="$1" '$3 == "cgroup" && ("," $4 ",") ~ ("," c ",") { print $2; exit }' /proc/mounts)
        else
            continue
        fi
        path=${JBT_CGROUP_PARENT:-$path}
        [ -z "$line" ] || echo "${line}${path%/}"
    done </proc/self/cgroup
}

# needs_root [WHY]
# shellcheck disable=SC2120 # tests do
needs_root()
{
    [ "$EUID" -eq 0 ] || skip "needs root"
    [ "$JBT_AS" = root ] || skip "${1:-is about jobs of root}"
}

# needs_own WHY: jobbox is run by whoever runs the tests, root or not, in his environment, and what he makes is his.
needs_own()
{
    [ "$JBT_AS" = root ] || skip "$1"
}

# What the submitter of the test's jobs is to own, as if it had been he who made it.
to_submitter()
{
    [ "$JBT_AS" = root ] || chown -hR "$ORDINARY:$ORDINARY" "$@"
}

# The image as the submitter's own: of others' he can read what they let him, and change little.
own_image()
{
    cp -a "$FILE_DIR/image" "$T/own"
    IMAGE=$T/own
    to_submitter "$IMAGE"
}

# Below a user's manager, in a unit that it has delegated.
below_user_manager()
{
    [[ ${JBT_WHO-} == user || ${JBT_WHO-} == delegated ]]
}

# A cgroup that can be written, by root or by the user whose it is: the ordinary case on a cluster node. Looked at once for
# a file of tests.
needs_cgroups()
{
    [ "$JBT_AS" = root ] || return 0 # he runs without, and the site config of the test says so
    # shellcheck disable=SC2119
    below_user_manager || needs_root
    [ -e "$FILE_DIR/cgroups.why" ] || cgroups_missing >"$FILE_DIR/cgroups.why"
    [ ! -s "$FILE_DIR/cgroups.why" ] || skip "$(<"$FILE_DIR/cgroups.why")"
}

# Limits of groups, which an ordinary user has only where some were delegated to him.
needs_limits()
{
    [ "$JBT_AS" = root ] || skip "is about limits of groups"
}

# What cannot be had of the cgroups that boxes need; nothing when all can.
cgroups_missing()
{
    local dir controller
    for controller in cpuset memory pids; do
        [ "$controller.${JBT_WHO-}" != cpuset.user ] || continue # the site config lets jobs do without
        dir=$(own_cgroup $controller)
        if [ -z "$dir" ]; then
            dir=$(own_cgroup unified)
            grep -qsw $controller "$dir/cgroup.controllers" || { echo "needs the $controller controller" && return; }
        fi
        mkdir "$dir/jbt-probe.$$" 2>/dev/null || { echo "needs a $controller cgroup that can be written: $dir" && return; }
        rmdir "$dir/jbt-probe.$$"
    done
}

needs_v1()
{
    [ -n "$(own_cgroup "$1")" ] || skip "needs the v1 controller $1"
}

needs_cpus()
{
    [ "$(nproc)" -ge "$1" ] || skip "needs $1 CPUs, there are $(nproc)"
}

# How many CPUs a whole core is here: the first one's siblings.
threads_of_core()
{
    local list part n=0
    list=$(cat /sys/devices/system/cpu/cpu0/topology/thread_siblings_list)
    for part in ${list//,/ }; do
        n=$((n + ${part#*-} - ${part%-*} + 1))
    done
    echo "$n"
}

slow()
{
    [ "${JOBBOX_TEST_SLOW:-0}" = 1 ] || skip "takes long; JOBBOX_TEST_SLOW=1 runs it"
}

# --- each test ---------------------------------------------------------------------------------------------------

# site_config [LINE...]: the site config of this test, with further lines.
site_config()
{
    {
        printf 'paths: { runtime: %s/run, state: %s/state, cgroup_parent: %s }\n' "$T" "$T" "${JBT_CGROUP_PARENT:-auto}"
        [ "${JBT_WHO-}" != user ] || echo "allow_degraded: [cpuset, io]"
        [ "$JBT_AS" = root ] || [[ " $* " == *allow_degraded:* ]] ||
            echo 'allow_degraded: [cpuset, cpu, memory, pids, io]' # no group is delegated to him
        printf '%s\n' "$@"
    } >"$CONF"
    chmod 644 "$CONF"
}

# Skips what cannot hold where these tests run: lines "WHO... | FILE | TEST | REASON" of tests/vm/exceptions. TEST is a
# pattern; of WHO one must be JBT_WHO.
exceptions()
{
    local who file name reason
    [ -n "${JBT_WHO-}" ] || return 0
    while IFS='|' read -r who file name reason; do
        [[ $who != \#* && " $who" == *" $JBT_WHO "* && ${BATS_TEST_FILENAME##*/} == "${file// /}.bats" ]] || continue
        name=${name# } reason=${reason# }
        # shellcheck disable=SC2053 # a pattern
        [[ $BATS_TEST_DESCRIPTION != ${name% } ]] || skip "$reason"
    done <"$SOURCE_DIR/tests/vm/exceptions"
}

# The mark in the environment of jobbox and of the job is how processes of this test are told from others.
test_setup()
{
    unset JOBBOX_CONFIG
    exceptions
    T=$FILE_DIR/t$BATS_TEST_NUMBER
    CONF=$T/site.yaml
    IMAGE=$FILE_DIR/image
    MARK="JBT_MARK=$T"
    started=()
    mkdir "$T"
    chmod 755 "$T"
    cd "$T" || return 1
    AS=(env "$MARK")
    SUBMITTER=$EUID
    # what groups tell, and without them nobody
    CPU_IS_COUNTED='used.cpu_user_s + used.cpu_system_s > 0.01' MEMORY_IS_COUNTED='used.memory_peak_bytes > 0'
    PIN_IS_AS_IT_SHOULD='isolation.limits.cpuset_cpus == granted.cpus and isolation.cpu_pin == "cpuset"'
    NOTHING_DEGRADED='isolation.degraded == []' DEGRADED_ANYWAY='set()'
    if [ "${JBT_WHO-}" = user ]; then
        PIN_IS_AS_IT_SHOULD='isolation.cpu_pin == "affinity"'
        DEGRADED_ANYWAY='{"cpuset", "io"}'
        NOTHING_DEGRADED="{d.what for d in isolation.degraded} <= $DEGRADED_ANYWAY"
    fi
    [ "$JBT_AS" = root ] || become_user
    site_config "env: { JBT_MARK: $T }"
    [ -e "$FILE_DIR/cgroups.own" ] || own_cgroups >"$FILE_DIR/cgroups.own"
    mapfile -t CGROUP_DIRS <"$FILE_DIR/cgroups.own"
    test_cgroups >"$T/cgroups.before"
}

# Everything that jobbox is run for from here on is an ordinary user's: his folder, his program, his rights.
# shellcheck disable=SC2034 # what is true for him is asked by the tests
become_user()
{
    [ "$(id -u)" -eq 0 ] || skip "needs root, to become an ordinary user"
    setpriv --reuid $ORDINARY --regid $ORDINARY --clear-groups unshare -Ur true 2>/dev/null ||
        skip "this host does not let ordinary users have a user namespace"
    [ -e "$FILE_DIR/jobbox" ] || install -m 755 "$JOBBOX" "$FILE_DIR/jobbox"
    [ -e "$FILE_DIR/jobboxd" ] || install -m 755 "$JOBBOX_BUILD/jobboxd" "$FILE_DIR/jobboxd" # a submit starts the one beside it
    JOBBOX=$FILE_DIR/jobbox
    chown $ORDINARY:$ORDINARY "$T"
    AS=(env -i PATH="$PATH" HOME="$T" "$MARK" setpriv --reuid "$ORDINARY" --regid "$ORDINARY" --clear-groups)
    SUBMITTER=$ORDINARY
    CPU_IS_COUNTED='used.cpu_user_s is None or used.cpu_user_s >= 0' MEMORY_IS_COUNTED='used.memory_peak_bytes is None'
    PIN_IS_AS_IT_SHOULD='isolation.cpu_pin == "affinity"'
}

test_teardown()
{
    local pid
    for pid in ${started[@]+"${started[@]}"}; do
        kill -9 "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    [ -z "${T-}" ] || [ ! -d "$T" ] || nothing_left
}

# Our own groups in all hierarchies, one a line.
own_cgroups()
{
    local id controllers path controller
    {
        while IFS=: read -r id controllers path; do
            for controller in ${controllers//,/ }; do
                [[ $controller == name=* ]] || own_cgroup "$controller"
            done
        done </proc/self/cgroup
        own_cgroup unified
    } | sort -u
}

# All groups named as jobbox names them below our own ones. One process: forks are what a slow machine is slow at.
test_cgroups()
{
    [ ${#CGROUP_DIRS[@]} -eq 0 ] || find "${CGROUP_DIRS[@]}" -type d -name 'jobbox-*' -prune 2>/dev/null || true
}

# Pids with the mark of this test.
marked_processes()
{
    local file
    grep -lzsxF -- "$MARK" /proc/[0-9]*/environ | while IFS= read -r file; do
        file=${file#/proc/}
        echo "${file%/environ}"
    done
}

none_marked()
{
    [ -z "$(marked_processes)" ]
}

# A group is somebody else's when a process in it does not bear our mark.
foreign_cgroup()
{
    local pid
    while read -r pid; do
        grep -qzsxF -- "$MARK" "/proc/$pid/environ" || return 0
    done < <(cat "$1/cgroup.procs" 2>/dev/null)
    return 1
}

# Groups that were not there before, are not somebody else's and do not vanish by themselves, as those of other runs on
# this machine do. One of ours, known by our journal or boxes, is told at once.
new_cgroups()
{
    local dir id
    for _ in 1 2 3 4 5 6; do
        test_cgroups >"$T/cgroups.now"
        [ -s "$T/cgroups.now" ] || return 0
        grep -vxF -f "$T/cgroups.before" "$T/cgroups.now" | while read -r dir; do
            foreign_cgroup "$dir" || echo "$dir"
        done >"$T/cgroups.new"
        [ -s "$T/cgroups.new" ] || return 0
        while read -r dir; do
            id=${dir##*/jobbox-}
            ! grep -qs "$id" "$T"/state/journal/*.jsonl "$T"/home/state/jobbox/journal/*.jsonl || break 2
        done <"$T/cgroups.new"
        sleep 0.2
    done
    cat "$T/cgroups.new"
}

nothing_left()
{
    local left=() pid dir i
    for ((i = 0; i < 10; i++)); do # what was killed may take a moment to go
        ! none_marked || break
        sleep 0.05
    done
    for pid in $(marked_processes); do
        left+=("process $pid: $(tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null)")
    done
    while read -r dir; do
        left+=("mount $dir")
    done < <(awk -v t="$T/" 'index($5, t) == 1 && index($5, "/hostmounts/") == 0 { print $5 }' /proc/self/mountinfo)
    while read -r dir; do
        left+=("cgroup $dir")
    done < <(new_cgroups)
    for dir in "$T"/run/boxes/* "$T"/run/boxes/.[!.]* "$T"/state/scratch/*; do
        [ ! -e "$dir" ] || left+=("directory $dir")
    done
    [ ${#left[@]} -eq 0 ] && return 0
    echo "left behind:"
    printf '  %s\n' "${left[@]}"
    jobbox sweep --config "$CONF" >/dev/null 2>&1 || true # not to be in the way of others
    return 1
}

fail()
{
    echo "FAILED: $*"
    local file
    for file in job.yaml out err; do
        [ ! -e "$T/$file" ] || { echo "--- $file" && head -c 4000 "$T/$file"; }
    done
    file=$(last_journal)
    [ -z "$file" ] || echo "--- the last record has $(tail -n 1 "$file" | grep -o '"end":{[^}]*}')"
    return 1
}

# --- jobs --------------------------------------------------------------------------------------------------------

# spec <YAML: a job spec; "version: 1" and the busybox image unless it says otherwise.
spec()
{
    local text
    text=$(cat)
    {
        [[ $text == *version:* ]] || echo "version: 1"
        [[ $text == *image:* ]] || echo "image: $IMAGE"
        printf '%s\n' "$text"
    } >"$T/job.yaml"
}

# script TEXT [YAML-LINE...]: a spec that runs TEXT.
script()
{
    local text=$1
    shift
    {
        printf '%s\n' "$@" "script: |"
        printf '%s\n' "$text" | sed 's/^/  /'
    } | spec
}

# jobbox ARGUMENT...: as is, but marked and never longer than a minute.
jobbox()
{
    "${AS[@]}" ${JOBBOX_CONFIG:+env "JOBBOX_CONFIG=$JOBBOX_CONFIG"} timeout --foreground -k 5 "$((${PATIENCE:-60} * JBT_SLOWER))" "$JOBBOX" "$@"
}

# run_job [OPTION...]: runs the spec. Sets `code`; output in $T/out and $T/err.
run_job()
{
    code=0
    jobbox run --quiet --config "$CONF" "$@" "$T/job.yaml" >"$T/out" 2>"$T/err" </dev/null || code=$?
}

# start_job [OPTION...]: the same in the background; `supervisor` is jobbox itself. Ended, at the latest, with the test.
start_job()
{
    : >"$T/out" # now: the background process may be late, and what an earlier job said is not this one's
    "${AS[@]}" "$JOBBOX" run --quiet --config "$CONF" "$@" "$T/job.yaml" >"$T/out" 2>"$T/err" </dev/null 3>&- &
    supervisor=$!
    started+=("$supervisor")
}

# Waits for what start_job started. Sets `code`.
end_job()
{
    code=0
    wait "$supervisor" || code=$?
    started=()
}

# until_true SECONDS COMMAND...: tries until it succeeds.
until_true()
{
    local end=$((SECONDS + $1 * JBT_SLOWER))
    shift
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -le $end ] || fail "did not come true: $*" || return 1
        sleep 0.02
    done
}

# The job has written this line.
says()
{
    grep -q -- "$1" "$T/out"
}

# Finishes what a killed supervisor left.
sweep()
{
    jobbox sweep --config "$CONF"
}

# --- checks ------------------------------------------------------------------------------------------------------

exits()
{
    [ "$code" = "$1" ] || fail "exit code $code, expected $1"
}

# The whole of the job's standard output.
out_is()
{
    [ "$(cat "$T/out")" = "$1" ] || fail "output is not: $1"
}

out_has()
{
    grep -qE -- "$1" "$T/out" || fail "output has no $1"
}

out_lacks()
{
    ! grep -qE -- "$1" "$T/out" || fail "output has $1"
}

err_has()
{
    grep -qE -- "$1" "$T/err" || fail "standard error has no $1"
}

# An error is one line that begins with our name, and leaves nothing.
one_error()
{
    [ "$(wc -l <"$T/err")" = 1 ] || fail "expected one line of error" || return 1
    err_has "$1"
}

last_journal()
{
    find "$T/state/journal" -name '*.jsonl' 2>/dev/null | sort | tail -n 1
}

records()
{
    cat "$T"/state/journal/*.jsonl 2>/dev/null | wc -l
}

# record EXPRESSION...: each one holds for the last record in the journal; see tests/functional/record.
record()
{
    local file
    file=$(last_journal)
    [ -n "$file" ] || fail "there is no journal" || return 1
    "$HERE/record" "$file" "$@" || fail "the record is not as expected"
}

# show EXPRESSION: prints a value of the last record.
show()
{
    "$HERE/record" --print "$(last_journal)" "$1"
}

# as_user COMMAND...: as an ordinary user with folders of his own. "${AS_USER[@]}" is for the background.
# (In a test that is about both; JBT_AS is for whole files.)
as_user()
{
    "${AS_USER[@]}" "$@"
}

user_setup()
{
    needs_root # to become another one
    mkdir -p "$T/home/run" "$T/home/state"
    chown -R $ORDINARY:$ORDINARY "$T/home"
    install -m 755 "$JOBBOX" "$T/jobbox"
    AS_USER=(env -i PATH="$PATH" HOME="$T/home" XDG_RUNTIME_DIR="$T/home/run" XDG_STATE_HOME="$T/home/state" "$MARK"
        setpriv --reuid "$ORDINARY" --regid "$ORDINARY" --clear-groups)
}
