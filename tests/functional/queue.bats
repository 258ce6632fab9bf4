#!/usr/bin/env bats
# Runs as: root, user
# The queue: the first submit of somebody without a daemon, arrays, dependencies, retries, and what is done to jobs.

load lib
load queue

setup_file() { file_setup; }
teardown_file() { file_teardown; }

@test "the first time: submit, ps, logs -f just work without a daemon" {
    job hello 'echo hello from the queue; sleep 0.3; echo done'
    q submit hello.yaml >out 2>err
    out_is "Submitted job 1 (hello)"
    [ ! -s err ] || fail "$(cat err)"
    q ps >out
    out_has '^1 +(pending|running) .* hello'
    q logs -f 1 >out
    out_is "hello from the queue
done"
    until_true 10 state_is 1 done
    q show 1 >out
    out_has 'end +completed'
    record "rec['origin']['kind'] == 'queue'" "rec['job'] == '1'" "rec['attempt'] == 1" "rec['end']['reason'] == 'completed'"
    [ "$(stat -c %a run/jobboxd.sock)" = 600 ]
}

@test "the first submit of a script, whose output is read to its end: the daemon that it starts does not hold that open" {
    job hello 'echo hello'
    # in a shell of its own, killed as a whole when it hangs
    export -f q jobbox
    export JOBBOX CONF JBT_SLOWER
    timeout $((30 * JBT_SLOWER)) bash -c 'AS=("${@:2}"); n=$(q submit -q "$1" 2>&1); echo "number $n"' sh hello.yaml "${AS[@]}" >out ||
        fail "it hangs: $(cat out)"
    out_is "number 1"
    until_true 10 state_is 1 done
}

@test "submit --wait has the job's exit code, --watch its output too; - is standard input" {
    job three 'echo three; echo four >&2; exit 3'
    code=0
    q submit --wait three.yaml >out 2>err || code=$?
    exits 3
    code=0
    q submit --watch three.yaml >out 2>err || code=$?
    exits 3
    out_has '^three$'
    err_has '^four$'
    code=0
    q submit three.yaml --wait 2>err || code=$? # options may follow
    exits 3
    code=0
    q submit three.yaml -- true 2>err || code=$?
    exits 125
    one_error 'files or, after --, a command; not both'
    q submit --wait -q - <<<"{ version: 1, image: $IMAGE, command: [/bin/true] }" >out
    out_is 4
}

@test "wait has the exit code that run has, of what ends meanwhile and of what ended before" {
    job much 'while :; do echo 0123456789012345678901234567890123456789; done' "limits: { output: 4KiB }"
    code=0
    q submit --wait -q much.yaml >/dev/null 2>err || code=$?
    exits 122
    code=0
    q wait -q 1 || code=$?
    exits 122
    job polite 'trap "exit 0" TERM; echo up; while :; do sleep 0.05; done'
    q submit -q polite.yaml >/dev/null
    until_true 20 log_has_of 2 up
    q wait -q 2 &
    local waiter=$!
    sleep 0.5
    q cancel 2
    code=0
    wait "$waiter" || code=$?
    exits 123
    code=0
    q wait -q 2 || code=$?
    exits 123
}

@test "a command line, and a script with #JOBBOX lines" {
    q submit --watch --threads 1 --mem 64M --env A=b --name inline --image "$IMAGE" -- sh -c 'echo $A $JOBBOX_NAME' >out
    out_has '^b inline$'
    cat >job.sh <<END
#!/bin/sh
# a comment
#JOBBOX --threads 1 --time 1m --image $IMAGE
#JOBBOX --name "from a script" --env B=c
#JOBBOX --name script
echo \$B \$JOBBOX_NAME
#JOBBOX --name too-late
END
    q submit --watch job.sh >out
    out_has '^c script$'
    q submit --watch --name stronger job.sh >out
    out_has '^c stronger$'
    echo '#JOBBOX --cpux 3' >>job.sh
    sed -i '2i#JOBBOX --cpux 3' job.sh
    code=0
    q submit job.sh >out 2>err || code=$?
    exits 125
    one_error 'job.sh:2: #JOBBOX: .*cpux'
}

# cpus_of JOB: how its spec says CPUs.
cpus_of() { q show --json "$1" | /usr/bin/python3 -c "
import json,sys
r = json.loads(json.load(sys.stdin)['spec'])['resources']
print(r['cpus'], r.get('cpu_unit'))"; }

@test "cores of the command line are no threads, whatever the lines of a script say, and the other way round" {
    printf '#!/bin/sh\n#JOBBOX --threads 4 --image %s\ntrue\n' "$IMAGE" >threads.sh
    printf '#!/bin/sh\n#JOBBOX --cpus 4 --image %s\ntrue\n' "$IMAGE" >cores.sh
    q submit -q --hold --cpus 1 threads.sh
    q submit -q --hold --threads 1 cores.sh
    [ "$(cpus_of 1)" = "1 core" ] || fail "$(cpus_of 1)"
    [ "$(cpus_of 2)" = "1 thread" ] || fail "$(cpus_of 2)"
    q cancel --all >/dev/null
}

@test "a script says --hold and --priority as a command line does, which wins" {
    printf '#!/bin/sh\n#JOBBOX --threads 1 --image %s\n#JOBBOX --hold --priority -5\ntrue\n' "$IMAGE" >low.sh
    q submit -q low.sh
    [ "$(field 1 priority) $(field 1 state)" = "-5 held" ] || fail "$(field 1 priority) $(field 1 state)"
    q submit -q --priority -7 low.sh
    [ "$(field 2 priority)" = -7 ]
    q cancel --all >/dev/null
    code=0
    printf '#!/bin/sh\n#JOBBOX --priority high\ntrue\n' >high.sh
    q submit high.sh >out 2>err || code=$?
    exits 125
    one_error 'high.sh:2: #JOBBOX: --priority takes a whole number, not "high"'
}

@test "what was not meant is refused: no job behind --after, bytes that no spec can hold, an end before the begin" {
    local words
    for words in '--after=' '--after=success:' '--after=,'; do
        code=0
        q submit --threads 1 "$words" -- true >out 2>err || code=$?
        exits 125
        one_error 'names no job'
    done
    printf '#!/bin/sh\necho caf\351\n' >latin.sh
    code=0
    q submit --threads 1 latin.sh >out 2>err || code=$?
    exits 125
    one_error 'latin.sh: it is not UTF-8'
    code=0
    q submit --threads 1 -- echo $'caf\351' >out 2>err || code=$?
    exits 125
    one_error 'not UTF-8'
    code=0
    q submit --threads 1 --begin now+2h --deadline now+1h -- true >out 2>err || code=$?
    exits 125
    err_has 'deadline: it is not later than begin'
    code=0
    q submit --watch latin.sh latin.sh >out 2>err || code=$?
    exits 125
    one_error 'watch shows one job'
    [ -z "$(q ps --state all)" ]
}

@test "--watch waits for what it cannot show; ps says what keeps jobs waiting, and shows no boxes among what is done" {
    job three 'exit 3' "array: 1-2"
    code=0
    q submit --watch three.yaml >out 2>err || code=$?
    exits 3
    err_has 'waiting for its end'
    job long 'echo up; sleep 600'
    q submit -q long.yaml >/dev/null
    until_true 20 log_has_of 2 up
    job after true "depends_on: [{ job: 2 }]"
    job later true "begin: now+1h"
    q submit -q after.yaml later.yaml >/dev/null
    q ps >out
    out_has '^3 .* dependency$'
    out_has '^4 .* begin$'
    q ps --state done >out
    ! grep -q PHASE out || fail "$(cat out)"
    q ps --state done --user nobody-at-all >out
    [ ! -s out ] || fail "$(cat out)"
    q explain --job 3 --own >out
    out_has 'dependency'
    q cancel --all
    until_true 20 none_left
}

@test "--here binds the working directory, and only then is it written" {
    mkdir here
    to_submitter here
    cd here
    q submit --wait -q --threads 1 -- sh -c 'echo no >there' >../out
    [ ! -e there ]
    q submit --wait -q --threads 1 --here -- sh -c 'echo yes >there' >../out
    [ "$(cat there)" = yes ]
    cd ..
}

@test "faults of a spec come at once, with their places, and nothing is queued" {
    printf 'version: 1\nnam: x\nresources: { cpus: none }\n' >bad.yaml
    code=0
    q submit bad.yaml >out 2>err || code=$?
    exits 125
    err_has 'bad.yaml:2:1: nam: unknown key'
    err_has 'bad.yaml:3:20: resources.cpus'
    job huge true
    sed -i 's/cpus: 1/cpus: 1000/' huge.yaml
    code=0
    q submit huge.yaml >out 2>err || code=$?
    exits 124
    err_has 'cpus: 1000 threads wanted'
    [ -z "$(q ps)" ]
}

@test "an array: every index once, %a in names, no more at once than its limit" {
    mkdir -m 777 share
    job array 'echo $JOBBOX_ARRAY_INDEX; set -- /share/live.*; echo $# >/share/n.$JOBBOX_ARRAY_INDEX
        touch /share/live.$JOBBOX_ARRAY_INDEX; sleep 0.2; rm /share/live.$JOBBOX_ARRAY_INDEX' \
        "array: 1-5,10-14:2%1" "stdout: 'res/%a.txt'" "mounts: [{ source: $T/share, target: /share, mode: rw }]"
    q submit --wait -q array.yaml >out
    [ "$(cd res && ls | sort -n | tr '\n' ' ')" = "1.txt 2.txt 3.txt 4.txt 5.txt 10.txt 12.txt 14.txt " ] || fail "$(ls res)"
    [ "$(cat res/12.txt)" = 12 ]
    ! grep -L '^1$' share/n.* | grep . || fail "several at once"
    [ "$(records)" = 8 ]
}

@test "dependencies: success, failure, any, singleton; one that cannot come true is cancelled and says so" {
    mkdir -m 777 share
    local m="mounts: [{ source: $T/share, target: /share, mode: rw }]"
    job bad 'exit 7'
    q submit --hold bad.yaml >/dev/null
    job ok 'echo ok >>/share/log' "$m" "depends_on: [{ job: 1 }]"
    job fail 'echo fail >>/share/log' "$m" "depends_on: [{ job: 1, when: failure }]"
    job any 'echo any >>/share/log' "$m" "depends_on: [{ job: 1, when: any }, { job: 3, when: any }]"
    job one 'echo one >>/share/log' "$m" "depends_on: [{ job: 4 }]"
    q submit ok.yaml fail.yaml any.yaml one.yaml >/dev/null
    job one 'echo two >>/share/log' "$m" "depends_on: [singleton]"
    q submit one.yaml >/dev/null
    q explain --job 2 >out
    out_has 'dependency'
    out_has 'job 1 \(success\)'
    q release 1
    code=0
    q wait -q 1 2 3 4 5 6 || code=$?
    [ "$(cat share/log)" = "fail
any
one
two" ] || fail "$(cat share/log)"
    [ "$(field 2 reason)" = cancelled ]
    q show 2 >out
    out_has 'it waited for the success of job 1'
}

@test "retries: by reason and exit code, with memory that grows after oom, each attempt with its record" {
    job again 'echo try $JOBBOX_ATTEMPT; [ $JOBBOX_ATTEMPT = 3 ] || exit 75' "retry: { max: 5, on: [exit:75], backoff: 100ms }"
    q submit --wait -q again.yaml >/dev/null
    [ "$(records)" = 3 ]
    record "rec['attempt'] == 3" "rec['end']['reason'] == 'completed'"
    [ "$(q logs 1)" = "try 3" ]
    [ "$(q logs --attempt 1 1)" = "try 1" ]
    [ "$JBT_AS" = root ] || return 0 # nothing holds his memory
    script '/probe touch 41943040' "retry: { max: 4, on: [oom], backoff: 100ms, memory_factor: 2 }" \
        "resources: { cpus: 1, cpu_unit: thread, memory: 24MiB }" "mounts: [{ source: $T/probe, target: /probe }]"
    q submit --wait -q job.yaml >/dev/null
    record "rec['attempt'] == 2" "rec['granted']['memory_bytes'] == 48 << 20"
}

@test "what is put back by hand does not use up the retries" {
    job again '[ $JOBBOX_ATTEMPT -gt 2 ] || { echo up; sleep 100; }; exit 75' "retry: { max: 1, on: [exit:75], backoff: 100ms }"
    q submit -q again.yaml >/dev/null
    local n
    for n in 1 2; do
        until_true 20 attempts_are 1 "$n"
        until_true 20 log_has up
        until_true 20 says_started 1
        q requeue 1
    done
    code=0
    q wait -q 1 || code=$?
    exits 75
    [ "$(field 1 attempts)" = 4 ] || fail "$(q show 1)"
    q show --events 1 >out
    [ "$(grep -c 'retry ' out)" = 1 ] || fail "$(cat out)"
    [ "$(grep -c 'requeued ' out)" = 2 ] || fail "$(cat out)"
}

@test "begin, deadline, hold, release, priority, requeue, cancel by name and all" {
    job later 'true' "begin: now+1h"
    job late 'sleep 100' "deadline: now+2s"
    job one 'sleep 100'
    q submit later.yaml late.yaml >/dev/null
    q explain --job 1 >out
    out_has 'begin'
    until_true 20 state_is 2 done
    [ "$(field 2 reason)" = cancelled ]
    q submit --hold one.yaml one.yaml one.yaml >/dev/null
    [ "$(field 3 state)" = held ]
    q release 3
    until_true 20 state_is 3 running
    until_true 20 says_started 3
    q requeue 3
    until_true 20 attempts_are 3 2
    q priority 5 4
    [ "$(field 4 priority)" = 5 ]
    q cancel 3
    until_true 20 state_is 3 done
    q cancel --name one
    [ "$(field 5 reason)" = cancelled ]
    q cancel --all
    [ "$(field 1 reason)" = cancelled ]
    [ -z "$(q ps)" ]
    code=0
    q cancel 1 2>err || code=$?
    exits 124
    one_error '1: it has ended already'
}

@test "requeue of what has ended: each once, of an array the task that is named, or the only one" {
    job array 'echo $JOBBOX_ARRAY_INDEX' "array: 1-3"
    q submit --wait -q array.yaml >/dev/null
    q requeue 1_3 1_3 >out
    q wait -q 2
    q requeue 2 2_3 2 >out # of an array of three, and has one
    q wait -q 2 3
    [ "$(q logs 2_3)$(q logs 3_3)" = 33 ]
    q ps --state all --json >all.json
    /usr/bin/python3 -c '
import json
jobs = sorted((j["job"], j["index"]) for j in json.load(open("all.json")) if "job" in j)
assert jobs == [(1, 1), (1, 2), (1, 3), (2, 3), (3, 3)], jobs'
    q requeue 1_1 1_2 1 1_3 >out
    q wait -q 4
    q ps --state all --json >all.json
    /usr/bin/python3 -c '
import json
jobs = [j["index"] for j in json.load(open("all.json")) if j.get("job", 0) >= 4]
assert sorted(jobs) == [1, 2, 3], jobs'
}

@test "drain: what runs ends, nothing starts, and ps says so" {
    job short 'true'
    q submit --wait -q short.yaml >/dev/null
    q drain 'disk is to be changed' >out
    q submit short.yaml >/dev/null
    q explain --job 2 >out
    out_has 'host_drained'
    out_has 'disk is to be changed'
    q ps >out
    out_has "The host is drained: disk is to be changed \\($([ "$JBT_AS" = root ] && id -un || echo "$SUBMITTER")\\)"
    stop_daemon
    q submit --hold short.yaml >/dev/null # the next daemon knows it too
    [ "$(field 2 state)" = pending ]
    q drain --off
    q wait -q 2
}

@test "pause, signal and update reach a job by its number" {
    job trap 'trap "echo caught; exit 5" USR1; echo ready; while :; do sleep 0.05; done'
    q submit trap.yaml >/dev/null
    until_true 20 log_has ready
    q pause 1
    q resume 1
    q update 1 --wall-time 10m
    q signal 1 USR1
    code=0
    q wait -q 1 || code=$?
    exits 5
    [ "$(q logs 1)" = "ready
caught" ]
}

@test "an account beyond its budget: submit warns, its jobs wait and say why, those of others start" {
    site_config "env: { JBT_MARK: $T }" \
        "budgets: [ { account: astro, of: core_hours, soft: 0.000001, hard: 0.000002 } ]"
    job spend 'sleep 0.2' 'account: astro'
    q submit --wait -q spend.yaml >/dev/null 2>err
    [ ! -s err ]
    stop_daemon # an answer is good for a minute
    q submit -q spend.yaml >out 2>err
    one_error 'astro.*core-hours'
    job other 'true' 'account: bio'
    q submit --wait -q other.yaml >/dev/null 2>err
    [ ! -s err ]
    state_is 2 pending
    q explain --job 2 >out
    out_has 'astro.*core-hours'
}

# A mail program and a program of the submitter's, which write down what they read, and as whom.
tellers()
{
    mkdir -m 1777 told
    cat >mailer <<END
#!/bin/sh
{ echo "\$*"; cat; } >"$T/told/mail.\$\$"
END
    cat >teller <<END
#!/bin/sh
{ id -u; echo "\$1"; cat; } >"$T/told/news.\$\$"
END
    chmod 755 mailer teller
}

# told_has KIND PATTERN: some file of that kind has such a line.
told_has() { grep -qE "$2" told/"$1".* 2>/dev/null; }

@test "notifications: mail by the site's program, a program as the submitter; each kind only when asked for" {
    needs_root "is about the system's daemon"
    tellers
    site_config "env: { JBT_MARK: $T }" "queue: { notify: { mail: [$T/mailer, -t], programs: true } }"
    start_daemon
    install -m 755 "$JOBBOX" jobbox
    job quiet true
    q submit --wait -q quiet.yaml
    job fine 'exit 0' "notify: { mail: ann@example.org, on: [fail] }"
    q submit --wait -q fine.yaml
    job bad 'exit 7' "notify: { mail: ann@example.org, on: [fail] }"
    q submit --wait -q bad.yaml || true
    until_true 20 told_has mail '^Subject: job 3 \(bad\) has failed: failed'
    [ "$(find told -name 'mail.*' | wc -l)" = 1 ] || fail "$(cat told/*)"
    told_has mail '^-t$'
    told_has mail '^To: ann@example.org$'
    told_has mail 'exit code 7'
    rm told/*
    job both 'exit 0' "notify: { program: [$T/teller, it], on: [begin, end] }"
    as 1 ./jobbox submit --config "$CONF" --wait -q both.yaml
    until_true 20 told_has news '"event":"end"'
    told_has news '"event":"begin","job":"4","name":"both"'
    told_has news '"reason":"completed"'
    [ "$(head -qn 1 told/news.* | sort -u)" = $((ORDINARY + 1)) ] || fail "not as the submitter"
    [ "$(find told -name 'news.*' | wc -l)" = 2 ]
}

@test "who finds no place has not begun: no news, no event and no wait of it is counted" {
    needs_root "is about the system's daemon"
    needs_cpus 2
    tellers
    site_config "env: { JBT_MARK: $T }" "queue: { notify: { mail: [$T/mailer, -t], programs: true } }"
    start_daemon
    job first 'echo up; while [ ! -e /work/stop ]; do sleep 0.1; done' "mounts: [{ source: $T/gate, target: /work, mode: rw }]"
    sed -i 's/cpus: 1, cpu_unit: thread/cpu_set: "0", cpu_unit: thread/' first.yaml
    mkdir -m 777 gate
    q submit -q first.yaml >/dev/null
    until_true 20 log_has up
    job second true "notify: { mail: ann@example.org, on: [begin] }"
    sed -i 's/cpus: 1, cpu_unit: thread/cpu_set: "0", cpu_unit: thread/' second.yaml
    q submit -q second.yaml >/dev/null
    sleep 4
    q explain --job 2 >out
    out_has 'placement'
    q stats --json >out
    out_has '"started": 1\b'
    q show --json 2 >out
    ! grep -q '"event": "started"' out || fail "an event of a start that was none"
    ! told_has mail has || fail "$(cat told/*)"
    touch gate/stop
    q wait -q 1 2
    until_true 20 told_has mail 'job 2 .* has begun'
    [ "$(find told -name 'mail.*' | wc -l)" = 1 ] || fail "$(cat told/*)"
}

@test "more jobs wait than a quick look takes: those behind a limited array start, and one that is released comes first" {
    needs_cpus 2
    q submit --hold -q --array 1-600%1 --threads 1 --image "$IMAGE" --name filler -- sleep 1000 >/dev/null
    q submit --hold -q --threads 1 --image "$IMAGE" --name behind -- sleep 1000 >/dev/null
    q submit --hold -q --array 1-600 --threads 1 --image "$IMAGE" --name crowd -- sleep 1000 >/dev/null
    sleep 1 # the order is made, and made again only for what changes
    q release 1 2 3
    until_true 30 state_is 2 running
    q submit --hold -q --priority -5 --threads 1 --image "$IMAGE" --name late -- sleep 1000 >/dev/null
    q priority -- -9 3
    sleep 1
    q release 4
    q cancel 2
    until_true 30 state_is 4 running
    q cancel --all
}

@test "what was used is not forgotten by a daemon that begins anew" {
    needs_root "is about the system's daemon"
    start_daemon
    job busy 'sleep 1.5'
    q submit --wait -q busy.yaml >/dev/null
    kill -HUP "$daemon"
    sleep 0.5
    until_true 20 listens
    q stats --json >out
    /usr/bin/python3 -c '
import json
used = json.load(open("out"))
print(used)
assert sum(one["used"] for one in used["shares"]) > 1.2, used'
}

@test "a job that others' boxes leave no CPUs for is not too large, and nobody passes it for ever" {
    needs_root "starts a box beside the queue"
    needs_cpus 2
    start_daemon
    script 'echo up; sleep 1000' "resources: { cpus: 1, cpu_unit: thread }"
    start_job
    until_true 20 says up
    q submit -q --threads "$(nproc)" --image "$IMAGE" -- true >/dev/null
    q explain --job 1 >out
    out_has 'not enough CPUs are free'
    q submit -q --threads 1 --image "$IMAGE" -- true >/dev/null # for how long is not said: it would be in the way
    sleep 1
    state_is 2 pending || fail "it passed the first one"
    kill "$supervisor"
    end_job
    q wait -q 1 2
}

# Seconds from now until job N starts at the latest; nothing when that is a guess.
starts_in()
{
    q explain --job "$1" --json | /usr/bin/python3 -c '
import json, sys
from datetime import datetime, timezone
one = json.load(sys.stdin)[0]
if not one["guess"]:
    print(int((datetime.fromisoformat(one["start"].replace("Z", "+00:00")) - datetime.now(timezone.utc)).total_seconds()))'
}

starts_within() # N FROM TO
{
    local s
    s=$(starts_in "$1")
    [ -n "$s" ] && [ "$s" -ge "$2" ] && [ "$s" -le "$3" ] || fail "in ${s:-a guess} and not $2 to $3 s"
}

@test "a box beside the queue that has a wall time is known to end: what is short runs beside whoever waits for it" {
    needs_root "starts a box beside the queue"
    needs_cpus 2
    start_daemon
    script 'echo up; sleep 1000' "resources: { cpus: 1, cpu_unit: thread }" "limits: { wall_time: 1h }"
    start_job
    until_true 20 says up
    q submit -q --threads "$(nproc)" --image "$IMAGE" -- true >/dev/null
    starts_within 1 3500 3600
    q submit -q --wait --threads 1 --time 5m --image "$IMAGE" -- true >/dev/null
    q submit -q --threads 1 --time 65m --image "$IMAGE" -- true >/dev/null # would keep the first one waiting
    sleep 0.5
    state_is 3 pending
    kill "$supervisor"
    end_job
    q wait -q 1 3
}

@test "a wall time that was changed counts for those who wait, and so does a pause" {
    job long 'sleep 1000' 'limits: { wall_time: 1h }'
    q submit -q long.yaml >/dev/null
    until_true 20 state_is 1 running
    q submit -q --threads "$(nproc)" --image "$IMAGE" -- true >/dev/null
    starts_within 2 3500 3600
    q update 1 --wall-time 3h
    starts_within 2 10700 10800
    q update 1 --wall-time 30m
    starts_within 2 1700 1800
    q pause 1
    sleep 3
    q resume 1
    starts_within 2 1790 1800
    q cancel 1 >/dev/null
    q wait -q 2
}

told_all() { [ "$(wc -l <told/at_once)" -ge 1008 ]; }

@test "notifications: of an array that ends at once so many people are told at a time, and no more than may wait" {
    needs_root "is about the system's daemon"
    site_config "env: { JBT_MARK: $T }" "queue: { notify: { mail: none, programs: true } }"
    start_daemon
    mkdir -p told/now
    cat >teller <<END
#!/bin/sh
: >$T/told/now/\$\$
ls $T/told/now | wc -l >>$T/told/at_once
sleep 0.02
rm $T/told/now/\$\$
END
    chmod 755 teller
    job many true "array: 1-1200" "notify: { program: [$T/teller], on: [end] }"
    q submit --hold -q many.yaml
    job wordy true "notify: { program: [$T/teller, $(printf '%05000d' 0)], on: [end] }"
    q submit wordy.yaml 2>err && fail "taken"
    grep -q 'notify: program has more than 4096 bytes; put it into a script$' err || fail "$(cat err)"
    q cancel 1 >/dev/null
    until_true 200 told_all || fail "$(wc -l <told/at_once)"
    sleep 1
    [ "$(wc -l <told/at_once)" -lt 1150 ] || fail "$(wc -l <told/at_once)" # some end while the others come
    [ "$(sort -n told/at_once | tail -n 1)" -le 8 ] || fail "$(sort -n told/at_once | uniq -c)"
}

@test "notifications: a site that has none of them runs none" {
    tellers
    job told true "notify: { mail: ann@example.org, program: [$T/teller, it], on: [begin, end, fail] }"
    q submit --wait -q told.yaml 2>err || true
    sleep 0.5
    [ -z "$(ls told)" ] || fail "$(cat told/*)"
}

logs_left() { find state/logs -type f | wc -l; }
is_forgotten() { ! q show "$1" >/dev/null 2>&1; }

@test "jobs that ended longer ago than they are kept are forgotten, with what they wrote; their records stay" {
    needs_root "is about the system's daemon"
    site_config "env: { JBT_MARK: $T }" "queue: { keep: 2s }"
    start_daemon
    job short 'echo here' "array: 1-3"
    job long 'echo here; sleep 600'
    q submit -q long.yaml >/dev/null
    q submit --wait -q short.yaml >/dev/null
    [ "$(logs_left)" -ge 4 ]
    until_true 20 is_forgotten 2
    until_true 10 log_has here
    [ "$(field 1 state)" = running ]
    [ "$(find state/logs -mindepth 1 -maxdepth 1 | wc -l)" = 1 ] || fail "$(find state/logs)"
    [ "$(/usr/bin/python3 -c "import sqlite3; print(*sqlite3.connect('state/queue.db').execute(
        'SELECT (SELECT count(*) FROM jobs), (SELECT count(*) FROM tasks), (SELECT count(*) FROM attempts)').fetchone())")" = "1 1 1" ]
    [ "$(cat state/journal/*.jsonl | wc -l)" = 3 ]
    q submit -q short.yaml >out # numbers are not given twice
    out_is 3
    q cancel 1
    until_true 20 none_left
}

truncated() { /usr/bin/python3 -c "import json,sys; print(json.loads(open(sys.argv[1]).readlines()[-1])['output']['truncated'])" state/journal/*.jsonl; }

@test "log files are made for their first byte; where they cannot be made the record says that output was cut off" {
    needs_root "is about the system's daemon"
    start_daemon
    job quiet true
    job late 'sleep 2; echo lost'
    job err 'echo to err >&2'
    q submit --wait -q quiet.yaml >/dev/null
    [ "$(find state/logs -mindepth 1)" = "" ] || fail "$(find state/logs)"
    [ "$(q logs 1)" = "" ]
    [ "$(truncated)" = False ]
    q submit --wait -q err.yaml >/dev/null
    [ "$(cd state/logs && find . -type f)" = ./2/1.err ] || fail "$(find state/logs)"
    [ "$(q logs 2 2>&1)" = "to err" ]
    q submit -q late.yaml >/dev/null
    until_true 10 says_started 3
    : >state/logs/3 # a file where the folder belongs
    until_true 20 state_is 3 done
    [ "$(truncated)" = True ]
    rm state/logs/3
}

@test "show of a large array says of how many tasks it does not print the attempts" {
    job many true "array: 1-102"
    q submit -q --hold many.yaml
    q show 1 >out
    [ "$(grep -c '^state  *held$' out)" = 102 ]
    [[ $(tail -n 1 out) == "The attempts of the last 2 of these tasks are left out; ask for one task, such as 1_"* ]] || fail "$(tail -n 1 out)"
    q show 1_102 >out
    ! grep -q 'left out' out || fail "$(cat out)"
    q cancel --all >/dev/null
}
