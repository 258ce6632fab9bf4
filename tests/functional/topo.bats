#!/usr/bin/env bats
# jobbox explain and jobbox topo: this host and others, what-if, bad input, JSON; without privilege, leaving nothing.

load lib

TOPOLOGIES=$SOURCE_DIR/../shared/topologies
PYTHON=/usr/bin/python3

setup_file() { file_setup; }
teardown_file() { file_teardown; }

setup()
{
    test_setup
    unset COLUMNS NO_COLOR LC_ALL LC_CTYPE
    export LANG=C
    cat >eight.xml <<'END'
<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE topology SYSTEM "hwloc2.dtd">
<topology version="2.0">
 <object type="Machine" os_index="0" cpuset="0x000000ff" complete_cpuset="0x000000ff" allowed_cpuset="0x0000007f" nodeset="0x00000001" complete_nodeset="0x00000001" allowed_nodeset="0x00000001">
  <object type="NUMANode" os_index="0" cpuset="0x000000ff" complete_cpuset="0x000000ff" nodeset="0x00000001" complete_nodeset="0x00000001" local_memory="8589934592"/>
END
    local package core pu
    for package in 0 1; do
        echo "<object type=\"Package\" os_index=\"$package\" $(sets $((0xf << (4 * package))))>"
        echo "<object type=\"L3Cache\" $(sets $((0xf << (4 * package)))) cache_size=\"8388608\" depth=\"3\" cache_linesize=\"64\" cache_associativity=\"8\" cache_type=\"0\">"
        for core in 0 1; do
            echo "<object type=\"Core\" os_index=\"$core\" $(sets $((3 << (4 * package + 2 * core))))>"
            for pu in 0 1; do
                echo "<object type=\"PU\" os_index=\"$((4 * package + 2 * core + pu))\" $(sets $((1 << (4 * package + 2 * core + pu))))/>"
            done
            echo "</object>"
        done
        echo "</object></object>"
    done >>eight.xml
    echo "</object></topology>" >>eight.xml
}

sets()
{
    printf 'cpuset="0x%08x" complete_cpuset="0x%08x" nodeset="0x00000001" complete_nodeset="0x00000001"' "$1" "$1"
}

teardown() { test_teardown; }

# try ARGUMENT...: sets `code`; output in out and err.
try()
{
    code=0
    jobbox "$@" >out 2>err </dev/null || code=$?
}

# wants YAML: a job with these resources.
wants()
{
    printf 'version: 1\ncommand: ["true"]\nresources: { %s }\n' "$1" >job.yaml
}

# of_json EXPRESSION: holds for the JSON in out, as j.
of_json()
{
    "$PYTHON" -c 'import json, sys
def online():
    ends = [r.split("-") for r in open("/sys/devices/system/cpu/online").read().split(",")]
    return [c for e in ends for c in range(int(e[0]), int(e[-1]) + 1)]
j = json.load(open("out"))
sys.exit(0 if eval(sys.argv[1]) else "not so: " + sys.argv[1])' "$1" || fail "$1"
}

nothing_made()
{
    if [ -e run ] || [ -e state ]; then
        fail "state directories were made"
    fi
}

@test "topo draws this host, every CPU of it" {
    try topo --config "$CONF"
    exits 0
    out_has "^this host: "
    [ ! -s err ]
    try topo --config "$CONF" --json
    exits 0
    of_json 'sorted(c["cpu"] for c in j["cpus"]) == online()'
    nothing_made
}

@test "topo of a file: packages, what is taken, what is not allowed, exactly" {
    try topo --topology eight.xml --taken build=0-1,5 --taken 2
    exits 0
    diff - out <<END
eight.xml: 2 packages, 1 NUMA node, 2 L3 groups, 4 cores, 8 CPUs; 2 boxes, 1
  core free
+ node 0 (8.00 GiB) --------------------------+
| + package 0, L3 0 --+ + package 1, L3 1 --+ |
| | 0A 2B             | | 4. 6.             | |
| | 1A 3.             | | 5A 7-             | |
| +-------------------+ +-------------------+ |
+---------------------------------------------+
A  taken-000001  build  $(id -un)  CPUs 0-1,5
B  taken-000002  taken  $(id -un)  CPUs 2
.  free: CPUs 3-4,6
-  not allowed here: CPUs 7
END
}

@test "explain says what a job would get here, and the plan gets the same" {
    wants "cpus: 1"
    try explain --config "$CONF" job.yaml
    exits 0
    out_has "^would start now"
    local cpus
    cpus=$(sed -n '/^would/,$s/^  cpus  *//p' out)
    needs_cgroups
    try plan --config "$CONF" job.yaml
    exits 0
    [ "$(sed -n '/^grant/,$s/^  cpus  *//p' out | head -n 1)" = "$cpus" ]
    nothing_made
}

@test "explain on another machine: the grant, straddling, memory, exit code 0" {
    wants "cpus: 2, memory: 2GiB"
    try explain --topology eight.xml --json job.yaml
    exits 0
    of_json 'j["starts"] == "now" and j["grant"]["cpus"] == "0-3" and j["grant"]["memory_nodes"] == "0"'
    of_json 'j["grant"]["straddles"] == {"l3": False, "numa": False, "package": False}'
    try explain --topology eight.xml --taken 0-1 --json job.yaml
    exits 0 # 7 may not be used by us, so nobody else may have it meanwhile
    of_json 'j["grant"]["cpus"] == "4-6" and j["grant"]["held"] == "4-7" and j["groups"][0]["free"] == 1'
    wants "cpus: 2, cpu_unit: thread, locality: l3"
    try explain --topology eight.xml --taken 1-3 --taken 5-7 --json job.yaml
    exits 0
    of_json 'j["grant"]["cpus"] == "0,4" and j["grant"]["straddles"]["l3"] and "fewer" in j["grant"]["why"]'
}

@test "explain when it does not fit: now or never, the nearest that fits, who is in the way, exit code 124" {
    wants "cpus: 3"
    try explain --topology eight.xml --taken build=0-3 job.yaml
    exits 124
    out_has "^would not start now"
    out_has "3 cores wanted, 2 cores free now; held by .*build"
    out_has "fits now  *cpus: 2"
    out_has "or when ends .*build"
    wants "cpus: 9"
    try explain --topology eight.xml job.yaml
    exits 124
    out_has "^would never start here"
    out_has "ask for cpus: 4"
    try explain --topology eight.xml --json job.yaml
    exits 124
    of_json 'j["starts"] == "never" and j["grant"] is None and "9 cores wanted" in j["reason"]'
}

@test "a running job is in the drawing and in the way, and afterwards it is not" {
    needs_cgroups
    script 'echo up; sleep 30' "resources: { cpus: 1 }" "name: in-the-way"
    start_job
    until_true 10 says up
    jobbox topo --config "$CONF" >drawn
    grep -q "^A .* in-the-way .* CPUs " drawn || fail "not in the drawing: $(cat drawn)"
    wants "cpus: $(nproc), cpu_unit: thread"
    ! jobbox explain --config "$CONF" job.yaml >explained || fail "it would start beside the other"
    grep -q "in-the-way" explained
    jobbox topo --config "$CONF" --taken 0 >drawn # what if: the real ledger is not looked at
    ! grep -q in-the-way drawn || fail "--taken still shows real boxes"
    kill "${supervisor:?}"
    end_job
    jobbox topo --config "$CONF" >drawn
    ! grep -q in-the-way drawn || fail "still in the drawing"
}

@test "neither needs privilege and neither makes anything" {
    needs_root
    command -v setpriv >/dev/null || skip "needs setpriv"
    user_setup
    wants "cpus: 1"
    chmod 644 job.yaml eight.xml
    as_user find "$T" 2>/dev/null | sort >"$FILE_DIR/before"
    as_user "$T/jobbox" topo >/dev/null
    as_user "$T/jobbox" topo --topology eight.xml --json >/dev/null
    as_user "$T/jobbox" explain job.yaml >/dev/null
    as_user "$T/jobbox" explain --topology eight.xml --taken 0 job.yaml >/dev/null
    as_user find "$T" 2>/dev/null | sort | diff "$FILE_DIR/before" - || fail "something was made"
}

@test "a topology file is read by a process without privilege, also when root asks" {
    needs_root
    local children uids=
    wants "cpus: 1"
    # much to read, so that the process can be seen doing it
    sed 4q eight.xml >long.xml
    yes '<info name="a" value="b"/>' | head -15000 >>long.xml
    sed 1,4d eight.xml >>long.xml
    chmod 600 long.xml # root may read it, nobody may not: it is opened before
    local want="Uid:65534655346553465534 Gid:65534655346553465534 CapPrm:0000000000000000 CapEff:0000000000000000" tries
    for ((tries = 0; tries < 10; tries++)); do # a process that lives for milliseconds may not be met where much runs
        env "$MARK" "$JOBBOX" explain --topology long.xml job.yaml >out 2>err </dev/null 3>&- &
        started+=($!)
        [ -e "/proc/$!/task/$!/children" ] || skip "the kernel does not tell children (CONFIG_PROC_CHILDREN)"
        while kill -0 $! 2>/dev/null; do
            read -r children <"/proc/$!/task/$!/children" || true
            for child in $children; do
                uids+=" $(awk '/^(Uid|Gid|CapPrm|CapEff)/ { print $1 $2 $3 $4 $5 }' "/proc/$child/status" 2>/dev/null | tr '\n' ' ')"
            done
        done
        wait $! || fail "$(cat err)"
        grep -q 'would start now' out || fail "$(cat out)"
        [[ $uids != *"$want"* ]] || return 0
    done
    fail "seen:$uids"
}

@test "a ledger that cannot be read is said to be, and counts as empty" {
    needs_root
    command -v setpriv >/dev/null || skip "needs setpriv"
    user_setup
    mkdir -p run/boxes
    touch run/alloc.lock run/ledger.{0,1,2,3}
    chmod 700 run
    wants "cpus: 1"
    as_user "$T/jobbox" explain --config "$CONF" job.yaml >out 2>err
    one_error "ledger in .*/run cannot be read: Permission denied; taking all CPUs as free"
    as_user "$T/jobbox" topo --config "$CONF" --json >out 2>err
    of_json 'j["ledger"] == "unreadable"'
}

@test "reserved CPUs: of this host always, of another machine when --config says so" {
    site_config 'reserved_cpus: "0"'
    try topo --config "$CONF" --topology eight.xml --json
    of_json 'j["cpus"][0]["state"] == "reserved" and j["machine"]["reserved"] == "0"'
    try topo --config "$CONF"
    out_has "#  reserved by the site: CPUs 0"
    JOBBOX_CONFIG=$CONF try topo --topology eight.xml --json
    of_json 'j["cpus"][0]["state"] == "free"'
}

@test "JSON has every CPU with its place and its boxes" {
    try topo --topology eight.xml --taken 'a"b=2-3' --json
    exits 0
    of_json 'len(j["cpus"]) == 8 and [c["cpu"] for c in j["cpus"]] == list(range(8))'
    of_json '[c["package"] for c in j["cpus"]] == [0] * 4 + [1] * 4'
    of_json '[c["state"] for c in j["cpus"]] == ["free"] * 2 + ["held"] * 2 + ["free"] * 3 + ["not_allowed"]'
    of_json 'j["boxes"][0]["name"] == "a\"b" and j["boxes"][0]["cpus"] == "2-3" and j["ledger"] == "taken"'
    of_json 'j["nodes"][0]["memory_bytes"] == 8 << 30'
}

# eight.xml with dies, two CPUs offline and three devices.
eight_with_devices()
{
    sed -e 's/complete_cpuset="0x000000ff" allowed/complete_cpuset="0x000003ff" allowed/' \
        -e 's|</object></topology>||' eight.xml >devices.xml
    cat >>devices.xml <<'END'
<object type="Bridge" gp_index="20" bridge_type="0-1" depth="0" bridge_pci="0000:[40-42]">
 <object type="PCIDev" gp_index="21" pci_busid="0000:41:00.0" pci_type="0302 [10de:2330] [10de:1] a1" pci_link_speed="0.0">
  <info name="PCIDevice" value="Fast &lt;card&gt;"/>
  <object type="OSDev" gp_index="22" name="card0" osdev_type="1"/>
 </object>
 <object type="PCIDev" gp_index="24" pci_busid="0000:42:00.1" pci_type="0200 [8086:1] [8086:1] 00" pci_link_speed="0.0"/>
</object>
<object type="OSDev" gp_index="30" name="pmem0" osdev_type="0"/>
</object></topology>
END
}

@test "devices and CPUs that are offline: in the text, in JSON, in the SVG, and in refusals" {
    eight_with_devices
    try topo --topology devices.xml
    exits 0
    out_has '^offline: CPUs 8-9'
    out_has '^gpu +card0 +0000:41:00.0 +near all CPUs'
    out_has '^network +- +0000:42:00.1'
    out_has '^block +pmem0 '
    try topo --topology devices.xml --json --svg drawing.svg
    exits 0
    of_json 'j["machine"]["offline"] == "8-9" and j["machine"]["not_allowed"] == "7"'
    of_json '[d["class"] for d in j["devices"]] == ["gpu", "network", "block"]'
    of_json 'j["devices"][0]["model"] == "Fast <card>" and j["devices"][1]["name"] is None'
    "$PYTHON" -c 'import xml.dom.minidom as x; assert "Fast <card>" in "".join(
        t.firstChild.data for t in x.parse("drawing.svg").getElementsByTagName("title"))'
    wants 'cpus: 9, cpu_unit: thread'
    try explain --topology devices.xml job.yaml
    exits 124
    out_has '^offline +8-9'
    out_has '^not allowed +7, to this process'
    out_has '9 threads wanted, and jobs here may use 7 threads \(2 CPUs are offline, 1 CPU is not allowed here\)'
    wants 'cpus: 11, cpu_unit: thread' # too many for all of them: they are not the reason
    try explain --topology devices.xml job.yaml
    out_lacks 'CPUs are offline'
    wants 'cpu_set: "6-8,40"'
    try explain --topology devices.xml job.yaml
    exits 124
    out_has 'cpu_set: CPU 8 is offline, CPU 7 is not allowed here, CPU 40 is not of this machine'
}

@test "SVG is well-formed XML, with tooltips, and goes where it is told" {
    try topo --topology eight.xml --taken '<&"=0-1' --svg drawing.svg
    exits 0
    out_is ""
    "$PYTHON" -c 'import sys, xml.dom.minidom as x
d = x.parse("drawing.svg")
titles = [t.firstChild.data for t in d.getElementsByTagName("title")]
assert sum(t.startswith("CPU ") for t in titles) == 8, titles
assert any("<&\"" in t for t in titles), titles'
    try topo --topology eight.xml --svg -
    exits 0
    out_has '^<svg '
    try topo --topology eight.xml --svg no/such/folder.svg
    exits 124
    one_error 'no/such/folder.svg: No such file'
}

@test "colours only where asked for, frames as the locale allows" {
    local escape=$'\033'
    try topo --topology eight.xml --taken 0
    out_lacks "$escape"
    try topo --topology eight.xml --taken 0 --color=always
    out_has "$escape\[1;32m"
    LANG=C.UTF-8 try topo --topology eight.xml
    out_has '┌ package 0'
    LC_ALL=C LANG=C.UTF-8 try topo --topology eight.xml
    out_has '^\+ '
    type -P script >/dev/null || skip "needs script(1) to be a terminal"
    TERM=xterm command script -qec "$JOBBOX topo --topology eight.xml --taken 0" /dev/null >out </dev/null
    out_has "$escape\[1;32m"
    NO_COLOR=1 TERM=xterm command script -qec "$JOBBOX topo --topology eight.xml --taken 0" /dev/null >out </dev/null
    out_lacks "$escape"
}

@test "bad input: 125, one line, and it says what" {
    local arguments words
    wants "cpus: 1"
    head -c 300 eight.xml >cut.xml
    sed 's/version="2.0"/version="3.0"/' eight.xml >three.xml
    echo '<topology>' >empty.xml
    {
        echo '<topology version="2.0">'
        yes '<object type="Group">' | head -n 100000
    } >deep.xml
    while IFS='|' read -r arguments words; do
        # shellcheck disable=SC2086
        try $arguments
        exits 125
        out_is ""
        one_error "$words"
    done <<'END'
topo --taken 0-|is not a list of CPUs
topo --taken|needs a value
topo --taken =0|name before = is empty
topo --taken 0-9 --topology eight.xml|has no CPUs 8-9
topo --taken a=1 --taken b=0-1 --topology eight.xml|earlier --taken
topo --taken 99999|is not a list of CPUs
topo --topology none.xml|none.xml: No such file
topo --topology /dev/zero|not a regular file
topo --topology cut.xml|cut.xml: 
topo --topology three.xml|format 3
topo --topology empty.xml|empty.xml: 
topo --topology deep.xml|nested deeper
topo --topology job.yaml|no <topology> element
topo --color=red|auto, always or never
topo --colour=never|unknown option --colour=never
topo --json=yes|takes no value
topo --json -x|unknown option -x
plan --nope job.yaml|unknown option --nope
run --json -qx job.yaml|unknown option -x
run -c|-c needs a value
validate --nope|unknown option --nope
sweep -z|unknown option -z
topo --json --svg -|cannot share standard output
topo eight.xml|takes no arguments
topo --config none.yaml|none.yaml
explain|Name a YAML file
explain a b|one job at a time
explain --nope job.yaml|unknown option --nope
explain --topology three.xml job.yaml|format 3
explain none.yaml|none.yaml
END
    printf 'version: 1\ncommand: [x]\nresources: { cpus: none }\n' >job.yaml
    try explain job.yaml
    exits 125
    err_has 'job.yaml:3:.*resources.cpus'
}

# bats test_tags=slow
@test "every machine of the collection is drawn within the width, as JSON and as SVG" {
    [ -d "$TOPOLOGIES" ] || skip "there is no collection of topologies beside the source tree"
    local file width seen=0
    wants "cpus: 2"
    for file in "$TOPOLOGIES"/*.xml; do
        seen=$((seen + 1))
        for width in 24 80 200; do
            COLUMNS=$width try topo --topology "$file"
            exits 0
            [ "$(awk '{ if (length($0) > m) m = length($0) } END { print m }' out)" -le "$width" ] ||
                fail "$file is wider than $width"
        done
        try topo --topology "$file" --json --svg drawing.svg
        exits 0
        of_json 'len(j["cpus"]) == j["machine"]["cpus"]'
        "$PYTHON" -c 'import xml.dom.minidom as x; x.parse("drawing.svg")'
        try explain --topology "$file" --json job.yaml
        of_json "(j['starts'] == 'now') == ($code == 0)"
    done
    [ "$seen" -ge 40 ]
}
