#!/usr/bin/env bats
# CPUs, siblings and memory nodes as a job finds them from inside: what runs where, and where memory lands that it
# touches. On machines of several nodes; CPUs are taken offline and huge pages made in a guest of the tests only.

load lib

setup_file() { file_setup; }
teardown_file() { file_teardown; }

SYS=/sys/devices/system
TOUCH=65536 # bytes, 16 pages

setup()
{
    needs_cgroups
    test_setup
    offline=()
    huge=
}

teardown()
{
    local cpu
    for cpu in ${offline[@]+"${offline[@]}"}; do
        echo 1 >"$SYS/cpu/cpu$cpu/online"
    done
    [ -z "$huge" ] || echo 0 >"$huge"
    test_teardown
}

# needs_nodes N: memory nodes, with CPUs or without.
needs_nodes()
{
    local nodes=("$SYS"/node/node[0-9]*)
    [ ${#nodes[@]} -ge "$1" ] || skip "needs $1 memory nodes, there are ${#nodes[@]}"
}

# A machine whose CPUs may be taken away and whose memory may be set apart: never one that somebody else uses.
needs_guest()
{
    [ "${JBT_GUEST:-0}" = 1 ] || skip "changes the machine: only in a guest of scripts/vm"
}

# What the first core of the machine is not: its CPUs cannot all be taken offline. Prints a list of siblings.
last_core()
{
    cat "$SYS/cpu/cpu$(($(nproc --all) - 1))/topology/thread_siblings_list"
}

cores()
{
    cat "$SYS"/cpu/cpu[0-9]*/topology/thread_siblings_list | sort -u | wc -l
}

# where RESOURCES: a job that says for each of its CPUs where it runs and where memory lands; see probe.c.
where()
{
    script "/probe/probe where $TOUCH" "resources: { $1 }" "mounts: [{ source: $FILE_DIR, target: /probe }]"
    run_job
    exits 0
}

# The lines of the last job as the record's test sees them, as words.
LINES='[line.split() for line in open("out")]'

# What must hold for every job that said where it runs.
is_where_it_should_be()
{
    record "cpus(granted.cpus) == {int(w[1]) for w in $LINES}" \
        "all(w[1] == w[3] for w in $LINES)" \
        "all(int(w[7]) in cpus(granted.memory_nodes) for w in $LINES)" \
        "all(w[9:] == ['N%s=16' % w[7]] for w in $LINES)" \
        'isolation.cpus_allowed == granted.cpus' "$PIN_IS_AS_IT_SHOULD"
    # by affinity memory is bound to nothing: it is near because it is touched near
    [ "${JBT_WHO-}" = user ] || record 'isolation.mems_allowed == granted.memory_nodes'
}

@test "one core: the job has its threads and no other core's, and its memory is near" {
    where "cpus: 1"
    is_where_it_should_be
    record "all(cpus(w[5]) == cpus(granted.cpus) for w in $LINES)"
}

@test "half of the cores: whole ones, on as few nodes as they fit" {
    [ "$(cores)" -ge 2 ] || skip "needs 2 cores, there are $(cores)"
    where "cpus: $(($(cores) / 2))"
    is_where_it_should_be
    record "all(cpus(w[5]) <= cpus(granted.cpus) for w in $LINES)" 'granted.straddles.numa is False'
}

@test "all cores: every CPU of the machine, and each touches memory of its own node" {
    where "cpus: $(cores)"
    is_where_it_should_be
    record "len(cpus(granted.cpus)) == $(nproc)"
}

@test "single threads: two jobs of a thread each may have one core between them, and neither the other's CPU" {
    [ "$(threads_of_core)" -ge 2 ] || skip "needs cores of several threads"
    local one
    where "cpus: 1, cpu_unit: thread"
    is_where_it_should_be
    one=$(show granted.cpus)
    script 'echo ready; sleep 1000' "resources: { cpu_set: \"$one\", cpu_unit: thread }"
    start_job
    until_true 20 says ready
    local pid=$supervisor
    where "cpus: 1, cpu_unit: thread"
    is_where_it_should_be
    record "cpus(granted.cpus).isdisjoint(cpus('$one'))"
    kill "$pid"
    end_job
}

@test "two jobs that each fill a node are on nodes of their own, in CPUs and in memory" {
    needs_nodes 2
    local per_node=$(($(cores) / $(grep -lE '[0-9]' "$SYS"/node/node*/cpulist | wc -l)))
    script 'grep Mems_allowed_list /proc/self/status | cut -f2; echo ready; sleep 1000' \
        "resources: { cpus: $per_node, locality: numa, strict: true }"
    start_job
    until_true 20 says ready
    local first
    first=$(head -n 1 out)
    local pid=$supervisor
    where "cpus: $per_node, locality: numa, strict: true"
    is_where_it_should_be
    record 'granted.straddles.numa is False' "cpus(granted.memory_nodes).isdisjoint(cpus('$first'))"
    kill "$pid"
    end_job
}

@test "a node without CPUs is granted to nobody whose own nodes have enough" {
    needs_nodes 2
    local node list=
    for node in "$SYS"/node/node[0-9]*; do
        grep -q '[0-9]' "$node/cpulist" || list+=" ${node##*node}"
    done
    [ -n "$list" ] || skip "needs a node without CPUs"
    where "cpus: $(cores), memory: 64MiB"
    is_where_it_should_be
    record "cpus(granted.memory_nodes).isdisjoint({int(n) for n in '$list'.split()})"
}

@test "a job that asks for more memory than its node has gets another node's too, and may use it" {
    needs_guest
    needs_nodes 2
    local total
    total=$(awk '$3 == "MemTotal:" { print int($4 / 1024) }' "$SYS/node/node0/meminfo")
    script "/probe/probe touch $(((total + 64) * 1048576)) && grep Mems_allowed_list /proc/self/status | cut -f2" \
        "resources: { cpus: 1, memory: $((total + 128))MiB }" "mounts: [{ source: $FILE_DIR, target: /probe }]"
    run_job
    exits 0
    record 'len(cpus(granted.memory_nodes)) >= 2' 'isolation.mems_allowed == granted.memory_nodes' \
        "used.memory_peak_bytes is None or used.memory_peak_bytes > $((total * 1048576))"
    out_is "$(show granted.memory_nodes)"
}

@test "a CPU that is offline is granted to nobody, and is again when it is back" {
    needs_guest
    local cpu all
    cpu=$(($(nproc --all) - 1))
    all=$(nproc)
    echo 0 >"$SYS/cpu/cpu$cpu/online"
    offline=("$cpu")
    spec <<<$'command: ["true"]\nresources: { cpu_set: "'"$cpu"$'", cpu_unit: thread }'
    run_job
    exits 124
    one_error "$cpu"
    where "cpus: $((all - 1)), cpu_unit: thread"
    is_where_it_should_be
    record "$cpu not in cpus(granted.cpus)"
    echo 1 >"$SYS/cpu/cpu$cpu/online"
    offline=()
    where "cpu_set: \"$cpu\", cpu_unit: thread"
    is_where_it_should_be
}

@test "CPUs that go offline under a job: it goes on with the rest, then elsewhere, and ends as it would have" {
    needs_guest
    [ "$(threads_of_core)" -ge 2 ] || skip "needs cores of several threads"
    local list first second
    list=$(last_core)
    first=${list%%[-,]*} second=${list##*[-,]}
    # the signal goes to all of the job, to the sleep too
    script 'n=0; trap "n=\$((n + 1)); grep Cpus_allowed_list /proc/self/status | cut -f2" USR1
echo ready; while [ $n -lt 3 ]; do sleep 0.05 || true; done' "resources: { cpu_set: \"$list\" }"
    start_job
    until_true 20 says ready
    offline=("$second")
    echo 0 >"$SYS/cpu/cpu$second/online"
    kill -USR1 "$supervisor" || fail "the supervisor is gone: $(tail -n 1 "$(last_journal)")"
    until_true 20 says "^$first\$"
    offline=("$second" "$first")
    echo 0 >"$SYS/cpu/cpu$first/online"
    kill -USR1 "$supervisor" || fail "the supervisor is gone: $(tail -n 1 "$(last_journal)")"
    until_true 20 eval '[ $(wc -l <out) = 3 ]'
    echo 1 >"$SYS/cpu/cpu$first/online"
    echo 1 >"$SYS/cpu/cpu$second/online"
    offline=()
    kill -USR1 "$supervisor" || fail "the supervisor is gone: $(tail -n 1 "$(last_journal)")"
    end_job
    exits 0
    record 'end.reason == "completed"' "cpus(granted.cpus) == cpus('$list')"
    [ "$(sed -n 4p out)" = "$list" ] || fail "the job did not get its CPUs back"
}

@test "huge pages of one node: a job there has them, a job elsewhere does not" {
    needs_guest
    needs_nodes 2
    local node=1 here there
    huge=$SYS/node/node$node/hugepages/hugepages-2048kB/nr_hugepages
    echo 8 >"$huge"
    [ "$(cat "$huge")" -ge 2 ] || skip "the kernel found no huge pages on node $node"
    here=$(cut -d- -f1 "$SYS/node/node$node/cpulist") there=$(cut -d- -f1 "$SYS/node/node0/cpulist")
    script '/probe/probe huge 4194304' "resources: { cpu_set: \"$here\", cpu_unit: thread }" \
        "mounts: [{ source: $FILE_DIR, target: /probe }]"
    run_job
    exits 0
    out_is "N$node=2"
    script '/probe/probe huge 4194304' "resources: { cpu_set: \"$there\", cpu_unit: thread }" \
        "mounts: [{ source: $FILE_DIR, target: /probe }]"
    run_job
    exits 1
    out_is ENOMEM
}
