# shellcheck shell=bash
# Shell functions for the tests of the queue, loaded after lib.

setup()
{
    needs_cgroups
    test_setup
    cp "$FILE_DIR/probe" probe
}

teardown()
{
    stop_daemon
    test_teardown
    [ -z "${PLACE-}" ] || rmdir "$PLACE"
}

# --- a daemon ----------------------------------------------------------------------------------------------------

# Its pid; nothing when there is none: whoever holds the lock that each daemon takes.
daemon_pid()
{
    local inode
    [ -e run/jobboxd.lock ] || return 0
    inode=$(stat -c %i run/jobboxd.lock)
    awk -v i=":$inode" '$2 == "POSIX" && index($6, i) { print $5; exit }' /proc/locks
}

stop_daemon()
{
    local pid
    pid=$(daemon_pid)
    [ -z "$pid" ] || kill "$pid" 2>/dev/null || true
    [ -z "$pid" ] || until_true 20 gone "$pid" || true
}

gone() { [ ! -d "/proc/$1" ]; }
listens() { "$JOBBOX" stats --config "$CONF"; }

# The system's daemon of this test, in the background.
start_daemon()
{
    env "$MARK" "$JOBBOX_BUILD/jobboxd" --config "$CONF" "$@" >daemon.out 2>&1 </dev/null 3>&- &
    daemon=$!
    disown
    until_true 20 listens || fail "$(cat daemon.out)"
}

no_daemon() { [ -z "$(daemon_pid)" ]; }

# At once, and until its lock is free.
kill_daemon()
{
    kill -9 "$daemon"
    until_true 20 no_daemon
}

q() { jobbox "$1" --config "$CONF" "${@:2}"; }

# job NAME SCRIPT [YAML-LINE...]: NAME.yaml, on one thread.
job()
{
    local name=$1
    script "$2" "name: $name" "resources: { cpus: 1, cpu_unit: thread }" "${@:3}"
    mv job.yaml "$name.yaml"
}

# field JOB KEY: of what show says of it.
field()
{
    q show --json "$1" | /usr/bin/python3 -c "import json,sys; print(json.load(sys.stdin)['jobs'][0]['$2'])"
}

says_started() { [ -d "run/boxes/$(field "$1" id)" ]; }
attempts_are() { [ "$(field "$1" attempts)" = "$2" ]; }
log_has() { log_has_of 1 "$1"; }
log_has_of() { q logs "$1" | grep -q "$2"; }
none_left() { [ -z "$(q ps)" ]; }
state_is() { [ "$(field "$1" state)" = "$2" ]; }

# as NAME COMMAND...: as one of three users that no account has.
as()
{
    local uid=$((ORDINARY + $1))
    shift
    env -i PATH="$PATH" HOME="$T" "$MARK" setpriv --reuid "$uid" --regid "$uid" --clear-groups "$@"
}
