#!/usr/bin/env bats
# Networks: none, the host's, and one of the job's own with a way out. What the box is called. The reproducible view.
# Runs as: root, user

load lib

setup_file() { file_setup; }
teardown_file() { file_teardown; }
setup() { test_setup; }
teardown() { test_teardown; }

# A world of this test's own: jobbox is run on a "host" of one interface with a default route of both kinds, on whose other
# side is a server at 198.51.100.1, 203.0.113.1, 10.0.2.7 (port 8080), 2001:db8::1 and 2001:db9::1. The host's own name
# service, at its 127.0.0.1, knows every name as 198.51.100.1, and something listens on its loopback at port 9090.
world()
{
    local program
    [ "$(id -u)" -eq 0 ] || skip "needs root, to make networks"
    for program in "$@" ip nsenter; do command -v "$program" >/dev/null || skip "needs $program"; done
    [ -w /dev/net/tun ] || skip "needs /dev/net/tun"
    unshare -n sleep 1000 3>&- &
    local outside=$!
    unshare -n -m --propagation private sleep 1000 3>&- &
    local inside=$!
    started+=("$outside" "$inside")
    until_true 10 eval "[ \"\$(readlink /proc/$outside/ns/net)\" != \"\$(readlink /proc/self/ns/net)\" ]"
    until_true 10 eval "[ \"\$(readlink /proc/$inside/ns/mnt)\" != \"\$(readlink /proc/self/ns/mnt)\" ]"
    nsenter -t $inside -n ip link add v0 type veth peer name v1 netns $outside 2>/dev/null || skip "needs veth interfaces"
    nsenter -t $inside -n sh -ec 'ip link set lo up; ip addr add 192.0.2.1/24 dev v0; ip addr add fd77::1/64 dev v0 nodad
ip link set v0 up; ip route add default via 192.0.2.254; ip -6 route add default via fd77::2'
    nsenter -t $outside -n sh -ec 'ip link set lo up; ip addr add 192.0.2.254/24 dev v1; ip addr add fd77::2/64 dev v1 nodad
ip link set v1 up; for a in 198.51.100.1 203.0.113.1 10.0.2.7 10.0.2.2 10.0.2.3; do ip addr add $a/32 dev lo; done
for a in 2001:db8::1 2001:db9::1; do ip addr add $a/128 dev lo nodad; done'
    mknod tun c 10 200
    chmod 666 tun
    echo 'nameserver 127.0.0.1' >resolv
    nsenter -t $inside -m mount --bind "$T/tun" /dev/net/tun
    nsenter -t $inside -m mount --bind "$T/resolv" /etc/resolv.conf
    nsenter -t $outside -n python3 "$HERE/net_server.py" http :: 8080 outside >ready.1 3>&- &
    started+=($!)
    nsenter -t $inside -n python3 "$HERE/net_server.py" http 127.0.0.1 9090 loopback >ready.2 3>&- &
    started+=($!)
    nsenter -t $inside -n python3 "$HERE/net_server.py" dns 127.0.0.1 53 198.51.100.1 >ready.3 3>&- &
    started+=($!)
    until_true 20 test -s ready.1 -a -s ready.2 -a -s ready.3
    INSIDE=$inside
    AS=(nsenter -t $inside -m -n env -C "$T" "${AS[@]}")
}

# Children of the supervisor that carry packets, and what is below them.
helpers()
{
    local file pid
    grep -lsxE 'slirp4netns|jobbox-net' /proc/[0-9]*/comm | while IFS= read -r file; do
        file=${file%/comm}
        [ "$(awk '$1 == "PPid:" { print $2 }' "$file/status" 2>/dev/null)" = "${supervisor:-0}" ] || continue
        echo "${file#/proc/}"
        pgrep -P "${file#/proc/}" || true
    done
}

none_of()
{
    local pid
    for pid in "$@"; do [ ! -e "/proc/$pid" ] || return 1; done
}

@test "none: nothing but lo; the box is called after its job, and knows its own name" {
    script 'hostname; cat /etc/hosts; ls /sys/class/net; ping -c 1 -W 5 "$(hostname)" >/dev/null && echo knows itself' \
        "name: my_job.x" "user: root-in-box"
    before=$(hostname)
    run_job
    out_is "my-job-x
127.0.0.1	localhost
::1	localhost
127.0.0.1	my-job-x
lo" || { out_has '^my-job-x$' && out_has '^127.0.0.1.my-job-x$' && out_has '^lo$'; }
    [ "$(hostname)" = "$before" ]
    record 'isolation.network == "none"' 'isolation.hostname == "my-job-x"' 'used.net.rx_bytes == 0'
}

@test "host: the host's files, and the box's name beside them; a symlink in the image leads nowhere" {
    cp -a "$IMAGE" image
    mkdir -p image/etc
    rm -f image/etc/resolv.conf image/etc/hosts
    ln -s /work/trap image/etc/resolv.conf
    script 'hostname; cat /etc/hosts; cat /etc/resolv.conf; test ! -e /work/trap && test -L /etc/resolv.conf || echo no link' \
        "image: $T/image" "hostname: n7" "network: host"
    run_job
    exits 0
    out_has '^n7$'
    out_has '^127.0.1.1.n7$'
    while read -r line; do
        grep -qF -- "$line" out || fail "missing: $line"
    done < <(grep -hv '^ *$' /etc/hosts /etc/resolv.conf)
    [ -L image/etc/resolv.conf ]
    record 'isolation.network == "host"' 'used.net is None'
}

# What the server at an address says, in a job.
GET='get() { case $1 in *:*) set -- "[$1]" "$2" ;; esac; echo "$1 $(timeout 5 wget -q -O - "http://$1:$2/page" 2>/dev/null || echo refused)"; }'

# out_and_nowhere_else HELPER IPV6
out_and_nowhere_else()
{
    world "$1"
    site_config "env: { JBT_MARK: $T }" "network: { user: { helper: $1, allow: [198.51.100.0/24, '2001:db8::/32'] } }"
    # a line each; the job may widen nothing
    script "cat /etc/hosts /etc/resolv.conf; ls /sys/class/net
$GET
get 198.51.100.1 8080; timeout 10 nslookup name.example 2>&1 || true; get 2001:db8::1 8080
ip route add default dev tap0 2>/dev/null && echo widened; ip link set tap0 down 2>/dev/null && echo widened
ip route add 203.0.113.0/24 via 10.0.2.2 2>/dev/null && echo widened
for a in 203.0.113.1 10.0.2.7 10.0.2.2 10.0.2.3 2001:db9::1; do get \$a 8080; done
get 10.0.2.2 9090; get 127.0.0.1 9090" "network: user" "user: root-in-box"
    run_job
    exits 0
    out_has '^10.0.2.100.job$'
    out_has '^nameserver (10.0.2.3|169.254.2.3)$'
    out_has '^tap0$'
    out_has '^198.51.100.1 from outside$'
    out_has '^Address.*198.51.100.1$'
    out_lacks 'widened|loopback'
    [ "$(grep -c 'from outside$' out)" = $((1 + $2)) ] || fail "reached what it may not, or not what it may"
    [ "$(grep -c 'refused$' out)" = $((8 - $2)) ] || fail "refused more or less than it should"
    local all='"198.51.100.0/24"'
    [ "$2" = 0 ] || all+=', "2001:db8::/32"'
    record 'isolation.network == "user"' "isolation.network_allow == [$all]" "isolation.network_helper == '$1'" \
        '"network" in isolation.namespaces' 'used.net.rx_bytes > 100' 'used.net.tx_bytes > 100'
    [ -z "$(helpers)" ]
}

@test "user, by pasta: out to what is allowed and nowhere else, IPv4 and IPv6, with the bytes in the record" {
    out_and_nowhere_else pasta 1
}

@test "user, by slirp4netns: out to what is allowed and nowhere else, with the bytes in the record" {
    out_and_nowhere_else slirp4netns 0
}

# How many the host has sent.
datagrams()
{
    nsenter -t "$INSIDE" -n awk '$1 == "Udp:" && $5 ~ /^[0-9]/ { print $5 } $1 == "Udp6OutDatagrams" { print $2 }' \
        /proc/net/snmp /proc/net/snmp6 | paste -sd ' '
}

# bound_nowhere_else HELPER: a job that names the interface goes where the routes lead, and to no neighbour.
bound_nowhere_else()
{
    command -v python3 >/dev/null || skip "needs python3"
    world "$1"
    site_config "env: { JBT_MARK: $T }" "network: { user: { helper: $1, allow: [198.51.100.0/24, '2001:db8::/32'] } }"
    script "cat >bound.py <<'END'
$(cat "$HERE/net_bound.py")
END
python3 bound.py; sleep 1" "network: user" "image: host"
    local before
    before=$(datagrams)
    run_job
    exits 0
    out_has '^198.51.100.1 from outside$'
    [ "$(grep -c 'from outside$' out)" = 1 ] || fail "reached what it may not"
    [ "$(grep -c 'refused$' out)" = 5 ] || fail "refused more or less than it should"
    [ "$(datagrams)" = "$before" ] || fail "a datagram went out: $before before, $(datagrams) now"
}

@test "user, by pasta: a job that names the interface itself gets nowhere else" {
    bound_nowhere_else pasta
}

@test "user, by slirp4netns: a job that names the interface itself gets nowhere else" {
    bound_nowhere_else slirp4netns
}

@test "user: what listens on the host's loopback can be reached where the site opens it" {
    world pasta slirp4netns
    local helper
    for helper in pasta slirp4netns; do
        site_config "env: { JBT_MARK: $T }" "network: { user: { helper: $helper, host_loopback: true, dns: false, allow: [192.0.2.7/32] } }"
        script "$GET
get 10.0.2.2 9090; grep nameserver /etc/resolv.conf || echo no names" "network: user"
        run_job
        exits 0
        out_is "10.0.2.2 from loopback
no names" || fail "$helper"
    done
}

@test "user: pasta where it can serve, slirp4netns on a host without a default route" {
    world pasta slirp4netns
    script "$GET
get 203.0.113.1 8080" "network: user"
    run_job
    out_is "203.0.113.1 from outside"
    record 'isolation.network_helper == "pasta"' 'isolation.network_allow == ["0.0.0.0/0", "::/0"]'
    nsenter -t "$INSIDE" -n sh -c 'ip route del default; ip -6 route del default; ip route add 203.0.113.0/24 via 192.0.2.254'
    run_job
    out_is "203.0.113.1 from outside"
    record 'isolation.network_helper == "slirp4netns"' 'isolation.network_allow == ["0.0.0.0/0"]'
}

@test "user: on a host with a way out by IPv6 alone the box still knows its own name" {
    world pasta
    nsenter -t "$INSIDE" -n ip route del default
    site_config "env: { JBT_MARK: $T }" "network: { user: { helper: pasta } }"
    script "$GET
get 2001:db8::1 8080; a=\$(awk '\$2 == \"job\" { print \$1 }' /etc/hosts); ip addr | grep -qF \" \$a/\" && echo knows itself" "network: user"
    run_job
    exits 0
    out_is "[2001:db8::1] from outside
knows itself"
}

@test "user: the helper ends with the box, and with a supervisor that is killed" {
    world pasta slirp4netns
    local helper all
    for helper in pasta slirp4netns; do
        site_config "env: { JBT_MARK: $T }" "network: { user: { helper: $helper } }"
        script 'echo ready; sleep 100' "network: user"
        start_job
        until_true 30 says ready
        mapfile -t all < <(helpers)
        [ ${#all[@]} -ge 1 ] || fail "there is no helper"
        kill -TERM "$supervisor"
        wait "$supervisor" || code=$?
        exits 123
        until_true 10 none_of "${all[@]}"
        : >out
        start_job
        until_true 30 says ready
        mapfile -t all < <(helpers)
        [ $helper != pasta ] || [ ${#all[@]} -ge 2 ] || fail "pasta is not below its keeper"
        kill -9 "$supervisor"
        wait "$supervisor" || true
        until_true 20 none_of "${all[@]}"
        sweep
        record 'end.reason == "supervisor_lost"'
    done
}

@test "user: refused before anything is made where the site does not allow it" {
    site_config "env: { JBT_MARK: $T }" 'policy: { user_network: false }'
    script 'true' "network: user"
    run_job
    exits 125
    one_error 'not allowed on this site'
    [ "$(records)" = 0 ]
}

@test "reproducible: two runs see the same, and another user too" {
    needs_root
    local see='hostname; id -u; id -g; umask; date +%Z; env; pwd; cat /etc/hosts; grep -E "stack|heap" /proc/self/maps'
    script "$see" "reproducible: true"
    run_job
    exits 0
    cp out first
    record 'isolation.reproducible.address_randomisation is False' 'isolation.reproducible.lxcfs in (True, False)'
    run_job
    cmp out first
    out_has '^jobbox$'
    out_has '^UTC$'
    out_has '^LC_ALL=C.UTF-8$'
    out_lacks JOBBOX_ID
    # the same job of somebody without privilege
    user_setup
    printf 'env: { JBT_MARK: %s }\n' "$T" >site.user
    echo 'allow_degraded: [cpuset, memory, pids]' >>job.yaml
    as_user ./jobbox run -q --config site.user job.yaml >out 2>err </dev/null || fail "as user: $(cat err)"
    diff out first
    spec <<END
command: [env]
reproducible: true
env: { ZZ: 1, AA: 2 }
END
    run_job
    LC_ALL=C sort -c out || fail "the environment is not sorted"
    script 'cat /proc/self/personality' "user: root-in-box"
    run_job
    out_is 00000000
    record 'isolation.reproducible is None'
}
