#!/usr/bin/env bats
# Networks: none, the host's, and one of the job's own with a way out. What the box is called. The reproducible view.
# Runs as: root, user

load lib

setup_file() { file_setup; }
teardown_file() { file_teardown; }
setup() { test_setup; }
teardown() { test_teardown; }

needs_way_out()
{
    needs_root
    command -v slirp4netns >/dev/null || skip "needs slirp4netns"
    [ -w /dev/net/tun ] || skip "needs /dev/net/tun"
}

# A server on the host's loopback interface; sets `port`.
serve()
{
    echo "from the host" >"$T/page"
    python3 -c '
import http.server, functools, sys
handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=sys.argv[1])
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
print(server.server_address[1], flush=True)
server.serve_forever()' "$T" >"$T/port" 2>/dev/null 3>&- &
    started+=($!)
    until_true 20 test -s "$T/port"
    port=$(<"$T/port")
}

helpers()
{
    grep -lsx slirp4netns /proc/[0-9]*/comm | while IFS= read -r file; do
        file=${file%/comm}
        [ "$(awk '$1 == "PPid:" { print $2 }' "$file/status" 2>/dev/null)" != "${supervisor:-0}" ] || echo "${file#/proc/}"
    done
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

@test "user: out to what is allowed and nowhere else, with the bytes in the record" {
    needs_way_out
    serve
    site_config "env: { JBT_MARK: $T }" 'network: { user: { host_loopback: true, allow: [10.9.0.0/16, 192.0.2.7/32] } }'
    script "cat /etc/resolv.conf; ls /sys/class/net; route -n | tail -n +3
wget -q -O - http://10.0.2.2:$port/page
wget -q -T 3 -O - http://198.51.100.1/ && echo reached || echo refused
ip route add default via 10.0.2.2 2>/dev/null && echo widened; ip link set tap0 down 2>/dev/null && echo widened; true" \
        "network: user" "user: root-in-box"
    run_job
    exits 0
    out_has '^nameserver 10.0.2.3$'
    out_has '^tap0$'
    out_has '^from the host$'
    out_has '^refused$'
    out_lacks '^reached|^widened'
    [ "$(grep -c '^10.9.0.0 \|^192.0.2.7 \|^10.0.2.0 ' out)" = 3 ]
    [ "$(grep -c UG out)" = 2 ]
    record 'isolation.network == "user"' 'isolation.network_allow == ["10.9.0.0/16", "192.0.2.7/32"]' \
        '"network" in isolation.namespaces' 'used.net.rx_bytes > 100' 'used.net.tx_bytes > 100'
    [ -z "$(helpers)" ]
}

@test "user: what listens on the host's loopback is out of reach unless the site opens it" {
    needs_way_out
    serve
    script "for a in 10.0.2.2 127.0.0.1; do wget -q -T 3 -O - http://\$a:$port/page || echo refused \$a; done" "network: user"
    run_job
    exits 0
    out_is "refused 10.0.2.2
refused 127.0.0.1"
    record 'isolation.network_allow == ["0.0.0.0/0"]'
}

@test "user: the helper ends with the box, and with a supervisor that is killed" {
    needs_way_out
    script 'echo ready; sleep 100' "network: user"
    start_job
    until_true 30 says ready
    helper=$(helpers)
    [ -n "$helper" ] || fail "there is no helper"
    kill -TERM "$supervisor"
    end_job
    exits 123
    [ ! -e "/proc/$helper" ]
    start_job
    until_true 30 says ready
    helper=$(helpers)
    [ -n "$helper" ]
    kill -9 "$supervisor"
    end_job
    until_true 20 test ! -e "/proc/$helper"
    sweep
    record 'end.reason == "supervisor_lost"'
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
