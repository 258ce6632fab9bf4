#!/usr/bin/env bats
# The queue of several users: nobody sees, ends or overwrites what is another's.

load lib
load queue

setup_file() { file_setup; }
teardown_file() { file_teardown; }

@test "three users: no one sees what another's job wrote, cancels it, or learns that it is there when the site is private" {
    site_config "env: { JBT_MARK: $T }" "queue: { private: true }"
    start_daemon
    mkdir -m 777 a b
    install -m 755 "$JOBBOX" jobbox
    job secret 'echo secret; id -u; sleep 100' "stderr: merge"
    as 1 ./jobbox submit --config "$CONF" secret.yaml >out
    out_is "Submitted job 1 (secret)"
    until_true 20 log_has secret
    [ "$(as 1 ./jobbox logs --config "$CONF" 1)" = "secret
$((ORDINARY + 1))" ]
    local verb
    for verb in logs cancel show hold wait "explain --job" pause; do
        code=0
        # shellcheck disable=SC2086 # a verb and an option
        as 2 ./jobbox $verb 1 --config "$CONF" >out 2>err || code=$?
        exits 124
        [ ! -s out ] || fail "$verb said something"
        cp err one.err
        # shellcheck disable=SC2086
        as 2 ./jobbox $verb 9 --config "$CONF" >out 2>err || true
        [ "$(sed 's/9/1/g' err)" = "$(sed 's/9/1/g' one.err)" ] || fail "$verb tells 1 from 9: $(cat one.err err)"
    done
    as 2 ./jobbox ps --all --config "$CONF" >out 2>err
    [ ! -s out ] || fail "$(cat out)"
    as 3 ./jobbox cancel --all --config "$CONF"
    [ "$(field 1 state)" = running ]
    code=0
    as 2 ./jobbox drain --config "$CONF" 2>err || code=$?
    exits 124
    one_error 'only administrators'
    as 1 ./jobbox cancel --config "$CONF" 1
    until_true 20 state_is 1 done
    record "rec['uid'] == $((ORDINARY + 1))" "rec['end']['reason'] == 'cancelled'"
}

# Verbs that act on a job, N.
ACTING=("requeue N" "hold N" "release N" "cancel N" "pause N" "resume N" "signal N USR1" "update --wall-time 10m N"
    "priority -- -3 N")

# act USER COMMAND JOB: sets `code`; output in out and err.
act()
{
    local words
    read -ra words <<<"${2//N/$3}"
    code=0
    as "$1" ./jobbox "${words[0]}" --config "$CONF" "${words[@]:1}" >out 2>err || code=$?
}

# What bob did not change of ann's two jobs.
untouched()
{
    state_is 1 running && attempts_are 1 1 && [ "$(field 1 priority)" = 0 ] && state_is 2 held && [ "$(field 2 priority)" = 0 ]
}

# ann's jobs: 1 runs, 2 is held.
begin_anns()
{
    start_daemon
    install -m 755 "$JOBBOX" jobbox
    job anns 'trap "echo caught" USR1; echo begun; while :; do sleep 0.05; done' "limits: { wall_time: 1h }"
    as 1 ./jobbox submit --config "$CONF" -q anns.yaml >/dev/null
    as 1 ./jobbox submit --config "$CONF" --hold -q anns.yaml >/dev/null
    until_true 20 log_has begun
}

@test "a priority above 0 is the operators' to give: a user's submit says that it has none, an operator's does not" {
    site_config "env: { JBT_MARK: $T }" "queue: { operators: ['$((ORDINARY + 2))'] }"
    start_daemon
    job one true "image: $IMAGE"
    as 1 "$JOBBOX" submit --hold --priority 10 --config "$CONF" one.yaml >out 2>err
    grep -q '^jobbox: only operators of this queue give priorities above 0: the job has 0$' err || fail "said nothing"
    [ "$(field 1 priority)" = 0 ]
    as 1 "$JOBBOX" submit --hold --priority -10 --config "$CONF" one.yaml >out 2>err
    as 2 "$JOBBOX" submit --hold --priority 10 --config "$CONF" one.yaml >>out 2>>err
    [ ! -s err ] || fail "there is nothing to say"
    [ "$(field 2 priority)" = -10 ] && [ "$(field 3 priority)" = 10 ]
    q cancel --all >/dev/null
}

# bats test_tags=slow
@test "no verb of another user reaches a job: private ones are as absent, others are refused; its owner's do" {
    local private verb number
    for private in true false; do
        site_config "env: { JBT_MARK: $T }" "queue: { private: $private }"
        rm -rf state run
        begin_anns
        for verb in "${ACTING[@]}"; do
            for number in 1 2; do
                act 2 "$verb" "$number"
                [ "$code" = 124 ] || fail "$verb of another's job: exit code $code, $(cat err)"
                [ ! -s out ] || fail "$verb said something"
                cp err one.err
                act 2 "$verb" 9
                if [ "$private" = true ]; then
                    [ "$(sed 's/9/1/g' err)" = "$(sed "s/$number/1/g" one.err)" ] || fail "$verb tells $number from 9: $(cat one.err err)"
                else
                    grep -q "$((ORDINARY + 1))" one.err || fail "$verb does not say whose it is: $(cat one.err)"
                fi
            done
            untouched || fail "$verb changed something"
        done
        ! log_has caught
        act 1 "signal N USR1" 1 && until_true 20 log_has caught
        act 1 "priority -- -3 N" 2 && [ "$(field 2 priority)" = -3 ]
        act 1 "release N" 2 && ! state_is 2 held
        act 1 "cancel N" 1 && act 1 "cancel N" 2
        until_true 20 state_is 1 done
        until_true 20 state_is 2 done
        stop_daemon
    done
}

@test "the owner of a job executes commands in its box and enters it; nobody else does" {
    start_daemon
    install -m 755 "$JOBBOX" jobbox
    job long "echo ready; sleep 100"
    as 1 ./jobbox submit --config "$CONF" -q long.yaml
    until_true 20 log_has ready
    local id mine
    id=$(field 1 id)
    for mine in 1 "$id" "${id:0:12}"; do
        as 1 ./jobbox exec --config "$CONF" "$mine" -- id -u >out 2>err </dev/null || fail "$mine: $(cat err)"
        [ "$(cat out)" = $((ORDINARY + 1)) ] || fail "$(cat out)"
    done
    as 1 ./jobbox enter --config "$CONF" 1 -- sh -c 'echo in $$; exit 7' >out 2>err </dev/null || [ $? = 7 ] || fail "$(cat err)"
    grep -q '^in ' out
    as 1 ./jobbox exec --config "$CONF" --user 0 1 -- true >out 2>err </dev/null && fail "as root"
    grep -q "only root may execute commands as somebody else" err || fail "$(cat err)"
    # another one has it refused, by every name and around the daemon
    for mine in 1 "$id"; do
        as 2 ./jobbox exec --config "$CONF" "$mine" -- true >out 2>err </dev/null && fail "another one is let in"
        grep -q "it is the job of" err || fail "$(cat err)"
    done
    ! as 2 /usr/bin/python3 - "run/boxes/$id/control" 2>err <<'PY' || fail "another one connects"
import socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
s.connect(sys.argv[1])
PY
    grep -q "PermissionError" err || fail "$(cat err)"
    # and the owner sees nothing there but the socket
    local name
    ! as 1 ls run/boxes >/dev/null 2>&1 || fail "he lists boxes"
    ! as 1 ls "run/boxes/$id" >/dev/null 2>&1 || fail "he lists his box"
    for name in "run/boxes/$id"/*; do
        [ "${name##*/}" = control ] || ! as 1 cat "$name" >/dev/null 2>&1 || fail "he reads $name"
        [ "${name##*/}" = control ] || ! as 1 sh -c ": >>$name" 2>/dev/null || fail "he writes $name"
    done
    q exec 1 -- true </dev/null
    as 1 ./jobbox cancel --config "$CONF" 1
    q wait -q 1 || true
    ! as 1 ./jobbox exec --config "$CONF" 1 -- true 2>err </dev/null
    grep -q "1: it does not run" err || fail "$(cat err)"
    record 'len(execs) == 5'
}

@test "exec takes nothing but pipes of a job's owner: what could block root's supervisor, or be opened with its rights, is refused" {
    start_daemon
    job long 'echo ready; sleep 100'
    as 1 "$JOBBOX" submit --config "$CONF" -q long.yaml
    until_true 20 log_has ready
    mkfifo -m 600 fifo.in fifo.out
    exec 8<>fifo.in 9<>fifo.out
    echo secret >&8
    mkfifo -m 666 his
    : >file
    chmod 666 file
    cat >exec.py <<'PY'
import array, fcntl, json, os, socket, sys
request = os.memfd_create("request", os.MFD_ALLOW_SEALING)
argv = ["/bin/sh", "-c", "echo written; head -n 1 >&2"]
words = [json.dumps({"args": len(argv), "vars": 0}), "/"] + argv
os.write(request, "".join(w + "\0" for w in words).encode())
fcntl.fcntl(request, 1033, 0xf)

def ask(given_in, out, err):
    os.lseek(request, 0, os.SEEK_SET)
    s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    s.settimeout(20)
    s.connect(sys.argv[1])
    s.sendmsg([b'{"verb": "exec"}'], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [request, given_in, out, err]))])
    first = json.loads(s.recv(8192))
    if "error" in first:
        return first["error"]
    return json.loads(s.recv(8192))["reason"]

null = os.open("/dev/null", os.O_RDWR)
def pipes():
    (a, b), (c, d) = os.pipe(), os.pipe()
    os.write(b, b"said\n")
    return a, d, c
odd = {
    "without rights": lambda: os.open("fifo.out", os.O_PATH),
    "a named pipe": lambda: os.open("his", os.O_RDWR),
    "a file": lambda: os.open("file", os.O_RDWR),
    "a socket": lambda: socket.socketpair()[0].detach(),
    "a folder": lambda: os.open(".", os.O_RDONLY),
    "a device": lambda: null,
    "a pipe that cannot be opened": lambda: os.fchmod((p := os.pipe())[1], 0) or p[1],
}
for name, make in odd.items():
    for at in range(3):
        a, d, c = pipes()
        fds = [a, d, d]
        fds[at] = os.open("fifo.in", os.O_PATH) if name == "without rights" and at == 0 else make()
        print(at, name + ":", ask(*fds))
a, d, c = pipes()
print("pipes:", ask(a, d, d), os.read(c, 100).decode().split())
PY
    as 1 /usr/bin/python3 exec.py "run/boxes/$(field 1 id)/control" >got 2>err || fail "$(cat err)"
    grep -q "^pipes: completed \['written', 'said'\]" got || fail "$(cat got)"
    [ "$(grep -v '^pipes:' got | grep -vc 'have to be pipes with somebody')" = 0 ] || fail "$(cat got)"
    [ "$(wc -l <got)" = 22 ]
    ! grep -q secret got || fail "he reads it: $(cat got)"
    ! read -r -t 0.2 <&9 || fail "he writes it"
    exec 8>&- 9>&-
    q exec 1 -- true >file </dev/null
    q cancel 1
}

@test "exec of a job's owner from and to files, long, cut short, and without a reader" {
    start_daemon
    install -m 755 "$JOBBOX" jobbox
    mkdir -m 777 his
    job long 'echo ready; sleep 100'
    as 1 ./jobbox submit --config "$CONF" -q long.yaml
    until_true 20 log_has ready
    head -c 3000000 /dev/urandom >his/in
    chmod 644 his/in
    as 1 sh -c "./jobbox exec --config '$CONF' 1 -- cat <his/in >his/out 2>his/err" || fail "$(cat his/err)"
    cmp his/in his/out
    as 1 sh -c "cat his/in | ./jobbox exec --config '$CONF' 1 -- sh -c 'cat; echo last >&2' 2>his/err | cmp - his/in && grep -qx last his/err" || fail "$(cat his/err)"
    as 1 sh -c "./jobbox exec --config '$CONF' 1 -- sh -c 'yes | head -n 1000000' 2>his/err | head -n 2" >out
    out_is "y
y"
    as 1 sh -c "./jobbox exec --config '$CONF' 1 -- head -c 5 <his/in" >out
    cmp -n 5 out his/in
    as 1 sh -c "yes | ./jobbox exec --config '$CONF' 1 -- true" || fail "input that nobody reads"
    as 1 sh -c "./jobbox exec --config '$CONF' 1 -- sh -c 'exit 9' </dev/null" || [ $? = 9 ]
    code=0
    as 1 sh -c "./jobbox exec --config '$CONF' 1 -- sh -c 'echo here; sleep 100' </dev/null >his/here & p=\$!
        until grep -q here his/here; do sleep 0.05; done; kill -TERM \$p; wait \$p" || code=$?
    [ "$code" = 143 ] || fail "a signal does not arrive: $code"
    q cancel 1
}

# as_installed NAME COMMAND...: as one of three users, with folders of his own, where this test's site config is the host's.
as_installed()
{
    local uid=$((ORDINARY + $1)) home="$T/home.$1"
    shift
    # shellcheck disable=SC2016 # for the inner shell
    env -i PATH="$PATH" T="$T" unshare -m sh -ec 'mount --bind "$T/etc" /etc; exec "$@"' sh \
        env -i PATH="$PATH" HOME="$home" XDG_RUNTIME_DIR="$home/run" XDG_STATE_HOME="$home/state" "$MARK" \
        setpriv --reuid "$uid" --regid "$uid" --clear-groups "$@"
}

# What as_installed needs.
install_config()
{
    local user
    mkdir etc
    cp -a /etc/. etc/
    mkdir -p etc/jobbox
    cp "$CONF" etc/jobbox/jobbox.conf.yaml
    install -m 755 "$JOBBOX" jobbox
    for user in 1 2; do
        mkdir -m 700 "home.$user" "home.$user/run" "home.$user/state"
        chown -R "$((ORDINARY + user)):$((ORDINARY + user))" "home.$user"
    done
}

tmpfs_keeps_attributes()
{
    /usr/bin/python3 -c 'import os, tempfile
file = tempfile.NamedTemporaryFile(dir="/dev/shm")
os.setxattr(file.name, "user.a", b"")' 2>/dev/null
}

@test "what the queue kept of a job is its owner's: he lists it, takes it over to enter and commit it, or has it removed" {
    local user id other
    install_config
    mkdir -p image/opt/sub image/opt/whole
    cp -a "$IMAGE/." image/
    touch image/opt/gone image/opt/sub/old image/opt/whole/old
    chown -R "$((ORDINARY + 1)):$((ORDINARY + 1))" image
    start_daemon
    # shellcheck disable=SC2016
    script 'cd /work; echo kept >a; echo s >secret; chmod 0 secret; mkfifo pipe; ln -s a link; ln a b; chmod 4755 b
        rm /opt/gone; rm -r /opt/whole; mkdir /opt/whole; echo new >/opt/whole/new; chmod 555 /opt/whole; echo x >/opt/sub/x; exit 3' \
        "name: keeper" "image: $T/image" "keep: on_failure" "allow_degraded: [cpuset, memory, pids, scratch]"
    as_installed 1 ./jobbox submit --wait -q job.yaml 2>err && fail "it completed"
    as_installed 1 ./jobbox submit --wait -q job.yaml 2>err || true
    id=$(show rec.id)
    other=$(ls state/kept | grep -v "$id")
    as_installed 1 ./jobbox ps --kept >out 2>err
    grep -q "^$id .* failed .* keeper$" out || fail "$(cat out err)"
    [ "$(grep -c keeper out)" = 2 ]
    # nobody else's
    as_installed 2 ./jobbox ps --kept >out 2>err
    [ ! -s out ] || fail "$(cat out)"
    for user in "enter $id true" "discard $id" "commit $id --image a:1"; do
        # shellcheck disable=SC2086
        as_installed 2 ./jobbox $user >out 2>err </dev/null && fail "$user by another one"
        grep -q "$id: n" err || fail "$(cat err)"
    done
    as_installed 1 ./jobbox discard "$other" 2>err || fail "$(cat err)"
    [ "$(ls state/kept)" = "$id" ]
    # he takes it over
    if ! tmpfs_keeps_attributes; then # nor can he have them read again
        as_installed 1 ./jobbox enter -q "$id" -- true >out 2>err </dev/null && fail "entered without what hides files"
        err_has 'copying /opt/whole: Operation not supported: .*from Linux 6.6 on'
        return
    fi
    as_installed 1 ./jobbox enter -q "${id:0:20}" -- sh -c 'cd /work; cat a; stat -c "%a %h %F" secret b pipe; readlink link
        ls /opt /opt/whole /opt/sub; id -u; echo more >>a' >out 2>err </dev/null || fail "$(cat err)"
    grep -q "$id was kept by the system's queue; it is in .*/home.1/state/jobbox/kept now" err || fail "$(cat err)"
    out_is "kept
0 1 regular file
4755 2 regular file
644 1 fifo
a
/opt:
sub
whole

/opt/sub:
old
x

/opt/whole:
new
$((ORDINARY + 1))"
    [ -z "$(ls state/kept)" ] || fail "it is still in root's store"
    [ -z "$(find home.1/state/jobbox/kept -name '.new-*' -o -name '.gone-*')" ]
    [ -z "$(find home.1/state ! -uid "$((ORDINARY + 1))" -print -quit)" ] || fail "some of it is not his"
    as_installed 1 ./jobbox ps --kept >out 2>err
    [ "$(grep -c "^$id " out)" = 1 ]
    as_installed 1 ./jobbox commit -q "$id" --image mine:1 2>err || fail "$(cat err)"
    script 'cat /work/a 2>&1 || true; ls /opt/whole /opt/sub' "image: mine:1" "allow_degraded: [cpuset, memory, pids, scratch]" "workdir: /opt"
    as_installed 1 ./jobbox run -q job.yaml >out 2>err </dev/null || fail "$(cat err)"
    grep -q "^new$" out && grep -q "^x$" out || fail "$(cat out)"
    as_installed 1 ./jobbox discard "$id" 2>err || fail "$(cat err)"
    as_installed 1 ./jobbox ps --kept >out 2>err
    [ ! -s out ] || fail "$(cat out)"
    as_installed 1 ./jobbox enter "$id" true >out 2>err </dev/null && fail "it is gone"
    one_error "no kept box has an id that begins so"
}

@test "top: a user sees what the system's queue runs for him, and nothing of another one's" {
    install_config
    start_daemon
    script '/probe/probe burn 60' "name: busy" "mounts: [{ source: $T, target: /probe }]" "resources: { cpus: 1, cpu_unit: thread, memory: 64MiB }"
    as_installed 1 ./jobbox submit -q job.yaml 2>err || fail "$(cat err)"
    script 'sleep 60' "name: idle" "resources: { cpus: 1, cpu_unit: thread, memory: 32MiB }"
    as_installed 2 ./jobbox submit -q job.yaml 2>err || fail "$(cat err)"
    until_true 20 says_started 1
    until_true 20 says_started 2
    sleep 0.1
    as_installed 1 ./jobbox top --once --json >out 2>err || fail "$(cat err)"
    /usr/bin/python3 - <<'PY' || fail "$(cat out)"
import json
boxes = json.load(open("out"))
assert [b["name"] for b in boxes] == ["busy"], boxes
b = boxes[0]
assert b["phase"] == "running" and 0 < b["cpus_used"] < 1.2, b
assert 0 < b["memory_bytes"] < 64 << 20 and b["memory_max_bytes"] == 64 << 20, b
assert b["pids"] >= 2 and len(b["cpus"]) >= 1, b
PY
    as_installed 2 ./jobbox top --once >out 2>err || fail "$(cat err)"
    grep -q idle out && ! grep -q busy out || fail "$(cat out)"
    # a daemon that is stopped does not hold it up for long
    kill -STOP "$daemon"
    as_installed 1 timeout 10 ./jobbox top --once >out 2>err || { kill -CONT "$daemon"; fail "it hangs: $(cat err)"; }
    kill -CONT "$daemon"
    q cancel 1 2
}

@test "a box is handed over to nobody else, nor to any place but one that its owner may write to" {
    start_daemon
    mkdir -m 700 mine theirs
    chown "$((ORDINARY + 1))" mine
    ln -s mine link
    # shellcheck disable=SC2016
    job keeper 'echo kept >/work/a; mkfifo /work/pipe; exit 3' "keep: on_failure"
    as 1 "$JOBBOX" submit --config "$CONF" -q keeper.yaml
    q wait -q 1 || true
    local id
    id=$(ls state/kept)
    cat >take.py <<'PY'
import json, socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
s.sendall(json.dumps({"v": 1, "op": "take", "id": sys.argv[2], "dir": sys.argv[3]}).encode() + b"\n")
answer = json.loads(s.makefile().readline())
print(answer["error"]["text"] if "error" in answer else "taken")
PY
    take() { as "$1" /usr/bin/python3 take.py run/jobboxd.sock "$2" "$3"; }
    [[ "$(take 2 "$id" "$T/mine")" = *"no kept box has an id that begins so"* ]]
    [[ "$(take 2 "" "$T/mine")" = *"no kept box has an id that begins so"* ]]
    [[ "$(take 1 "$id" "$T/theirs")" = "$T/theirs: Permission denied" ]]
    [[ "$(take 1 "$id" "$T/link")" = "$T/link: "* ]]
    [[ "$(take 1 "$id" mine)" = *"an absolute path"* ]]
    [[ "$(take 1 ../../.. "$T/mine")" = *"no kept box"* ]]
    local fd
    for fd in {0..40}; do # root's store by the descriptors of whoever writes: /work in it is his
        [[ "$(take 1 "$id" "/proc/self/fd/$fd/work")" = "/proc/self/fd/$fd/work: "* ]] || fail "descriptor $fd"
    done
    [ -z "$(find state/kept -path '*/work/fs')" ] || fail "he writes in root's store"
    [ -z "$(ls -A mine theirs | grep -v : || true)" ] || fail "something was written: $(ls -AR mine theirs)"
    [ "$(take 1 "$id" "$T/mine")" = taken ]
    [[ "$(take 1 "$id" "$T/mine")" = "$T/mine: File exists" ]]
    [ "$(cat mine/fs/work/a)" = kept ]
    [ -z "$(find mine ! -uid "$((ORDINARY + 1))")" ] || fail "$(ls -lR mine)"
    [ "$(ls state/kept)" = "$id" ]
}

@test "one user has only so many kept boxes copied or removed at a time, and another one is answered meanwhile" {
    start_daemon
    job keeper 'exit 3' "keep: on_failure"
    as 1 "$JOBBOX" submit --config "$CONF" -q keeper.yaml
    q wait -q 1 || true
    cat >many.py <<'PY'
import fcntl, json, os, socket, sys
def ask(uid, id):
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(20)
    os.seteuid(uid)
    s.connect("run/jobboxd.sock")
    os.seteuid(0)
    s.sendall(json.dumps({"v": 1, "op": "discard", "id": id}).encode() + b"\n")
    return s
def answer(s):
    return json.loads(s.makefile().readline()).get("error", {}).get("text", "gone")
user, (id,) = int(sys.argv[1]), [n for n in os.listdir("state/kept") if n[0] != "."]
lock = open("state/kept/.lock", "r+")
fcntl.lockf(lock, fcntl.LOCK_EX)
waiting = [ask(user, id) for _ in range(4)]
text = answer(ask(user, id))
assert "try again when it is done" in text, text
text = answer(ask(user + 1, id))
assert "no kept box" in text, text
lists = socket.socket(socket.AF_UNIX)
lists.settimeout(20)
lists.connect("run/jobboxd.sock")
lists.sendall(b'{"v": 1, "op": "kept", "all": true}\n' * 3)
lines = [json.loads(line) for _, line in zip(range(3), lists.makefile())]
assert len(lines[0]["kept"]) == 1 and "one list" in lines[1]["error"]["text"], lines
fcntl.lockf(lock, fcntl.LOCK_UN)
texts = [answer(s) for s in waiting]
assert texts.count("gone") == 1, texts
PY
    /usr/bin/python3 many.py "$((ORDINARY + 1))" || fail "no such limit"
    [ -z "$(ls state/kept)" ]
}

@test "of all that the queue kept a user is told what is his, the newest first where he asks for so many" {
    start_daemon
    job keeper 'exit 3' "keep: on_failure"
    as 1 "$JOBBOX" submit --config "$CONF" -q keeper.yaml
    q wait -q 1 || true
    cat >list.py <<'PY'
import json, os, socket, sys
user = int(sys.argv[1])
def ask(uid, **more):
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(60)
    os.seteuid(uid)
    s.connect("run/jobboxd.sock")
    os.seteuid(0)
    s.sendall(json.dumps({"v": 1, "op": "kept", **more}).encode() + b"\n")
    answer = json.loads(s.makefile().readline())
    return [one["name"] for one in answer["kept"]], answer["more"]
(real,) = [n for n in os.listdir("state/kept") if n[0] != "."]
about = "state/kept/%s/about.json"
assert os.stat(about % real).st_uid == user and os.stat("state/kept/" + real).st_mode & 0o777 == 0o700
def add(i, name, uid, owner):
    id = "0" * 24 + "%02d" % i
    os.mkdir("state/kept/" + id, 0o700)
    json.dump({**json.load(open(about % real)), "id": id, "name": name, "uid": uid}, open(about % id, "w"))
    os.chown(about % id, owner, -1)
add(1, "unmarked", user, 0)
add(2, "marked", user, user)
add(3, "not his, says the text", user + 1, user)
add(4, "not read", user, user + 1) # it bears the mark of another one
add(5, "not his", user + 1, 0)
assert ask(user) == (["unmarked", "marked", "keeper"], False), ask(user)
assert ask(user, limit=2) == (["marked", "keeper"], True), ask(user, limit=2)
assert ask(user, limit=3) == (["unmarked", "marked", "keeper"], False)
assert ask(user, id=real[:20].lower()) == (["keeper"], False)
assert ask(user, id="0" * 24) == (["unmarked", "marked"], False)
assert ask(user + 2) == ([], False)
assert len(ask(0, all=True)[0]) == 6 and len(ask(user, all=True)[0]) == 3
PY
    /usr/bin/python3 list.py "$((ORDINARY + 1))" 2>&1 || fail "not so"
}

@test "boxes that do not answer: one user has only so many questions to them, all have, and root asks on" {
    start_daemon
    job deaf 'sleep 1000'
    job other 'sleep 1000'
    as 1 "$JOBBOX" submit --config "$CONF" -q deaf.yaml
    as 2 "$JOBBOX" submit --config "$CONF" -q other.yaml
    until_true 20 says_started 1
    until_true 20 says_started 2
    cat >many.py <<'PY'
import json, os, socket, sys
user = int(sys.argv[1])
def ask(uid, id, **request):
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(60)
    os.seteuid(uid)
    s.connect("run/jobboxd.sock")
    os.seteuid(0)
    request = request or {"op": "control", "request": {"verb": "status"}}
    s.sendall(json.dumps({"v": 1, "id": id, **request}).encode() + b"\n")
    return s
def said(s):
    return json.loads(s.makefile().readline())
def answer(s):
    what = said(s)
    return what.get("error", {}).get("text") or ("answered" if "answer" in what else what)
assert answer(ask(user, "1")) == "answered"
# in the place of a supervisor that listens and says nothing
place = "run/boxes/%s/control" % said(ask(0, "1", op="box"))["id"]
os.rename(place, place + ".real")
deaf = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
deaf.bind(place)
deaf.listen(1000)
his = [ask(user, "1") for _ in range(32)]
text = answer(ask(user, "1"))
assert "32 questions of yours" in text, text
assert answer(ask(user + 1, "2")) == "answered"
roots = [ask(0, "1") for _ in range(224 - 32)]
text = answer(ask(user + 1, "2"))
assert "too many boxes" in text, text
assert answer(ask(0, "2")) == "answered"
deaf.close()
os.rename(place + ".real", place)
assert not [text for text in map(answer, his + roots) if "just now" in text]
assert answer(ask(user, "1")) == "answered"
PY
    /usr/bin/python3 many.py "$((ORDINARY + 1))" 2>&1 || fail "no such limits"
    q cancel 1 2
}

@test "a job writes only what its submitter may: no output, artifact or list of changes goes over another's file" {
    start_daemon
    install -m 755 "$JOBBOX" jobbox
    mkdir -m 755 anns
    mkdir -m 1777 sticky
    echo precious | tee anns/file sticky/file >/dev/null
    chmod 644 anns/file sticky/file
    chown -R $((ORDINARY + 1)):$((ORDINARY + 1)) anns sticky/file
    as 2 ln -s "$T/anns/file" sticky/link
    as 2 ln -s "$T/anns" sticky/dir
    local to line
    for to in anns/file sticky/file sticky/link sticky/dir/file anns/new sticky/dir/new; do
        for line in "stdout: $T/$to" "stderr: $T/$to" "artifacts: [{ path: made, to: $T/$to }]" "changes: $T/$to"; do
            script 'echo mine; echo mine >&2; echo mine >made' "$line" "workdir: /tmp"
            as 2 ./jobbox submit --config "$CONF" --wait -q job.yaml >out 2>err || true
            [ "$(cat anns/file sticky/file)" = "precious
precious" ] || fail "$line overwrote it"
            [ ! -e anns/new ] || fail "$line made a file in another's folder"
            [ "$(stat -c %u anns/file sticky/file | sort -u)" = $((ORDINARY + 1)) ] || fail "$line took it"
        done
    done
    mkdir -m 700 bobs # and all of it is possible where it is his
    chown $((ORDINARY + 2)):$((ORDINARY + 2)) bobs
    script 'echo mine; echo mine >made' "stdout: $T/bobs/o" "artifacts: [{ path: made, to: $T/bobs/made }]" "changes: $T/bobs/changes" \
        "workdir: /tmp"
    as 2 ./jobbox submit --config "$CONF" --wait -q job.yaml >out 2>err || fail "$(cat err)"
    [ "$(cat bobs/o bobs/made)" = "mine
mine" ]
    [ "$(stat -c %u bobs/* | sort -u)" = $((ORDINARY + 2)) ]
}

@test "three users at once: each has his own output, sees his own jobs, and may read nobody else's" {
    site_config "env: { JBT_MARK: $T }" "queue: { private: true }"
    start_daemon
    install -m 755 "$JOBBOX" jobbox
    local user other pids=() jobs id
    for user in 1 2 3; do
        mkdir -m 700 "home.$user"
        chown "$((ORDINARY + user)):$((ORDINARY + user))" "home.$user"
        job "for.$user" "echo of $user; id -u; sleep 0.1" "stderr: merge"
        (for i in 1 2 3 4 5; do
            as "$user" ./jobbox submit --config "$CONF" -q "for.$user.yaml" || exit 1
        done >"ids.$user") 3>&- &
        pids+=($!)
    done
    for id in "${pids[@]}"; do
        wait "$id" || fail "a submission was refused"
    done
    [ "$(cat ids.? | sort -n | tr '\n' ' ')" = "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 " ] || fail "$(cat ids.?)"
    for user in 1 2 3; do
        # shellcheck disable=SC2046 # numbers
        as "$user" ./jobbox wait --config "$CONF" -q $(cat "ids.$user")
    done
    for user in 1 2 3; do
        as "$user" ./jobbox ps --config "$CONF" --all --state all --json >out
        jobs=$(/usr/bin/python3 -c 'import json,sys; print(*sorted(j["job"] for j in json.load(open("out"))), sep="\n")')
        [ "$jobs" = "$(sort -n "ids.$user")" ] || fail "$user sees $jobs"
        for id in $(cat "ids.$user"); do
            [ "$(as "$user" ./jobbox logs --config "$CONF" "$id")" = "of $user
$((ORDINARY + user))" ] || fail "job $id wrote something else"
            for other in 1 2 3; do
                [ "$other" != "$user" ] || continue
                ! as "$other" ./jobbox logs --config "$CONF" "$id" >out 2>err || fail "$other reads what $user wrote"
                [ ! -s out ]
            done
        done
    done
    # nor by going around the daemon
    for other in state/queue.db state/logs state/journal run/jobboxd.lock; do
        ! as 1 cat "$other" >/dev/null 2>&1 || fail "anybody reads $other"
        ! as 1 ls "$other/" >/dev/null 2>&1 || fail "anybody lists $other"
    done
}

@test "a user's job is his in every way: files, images, places in binds, ids" {
    start_daemon
    install -m 755 "$JOBBOX" jobbox
    mkdir -m 700 roots
    mkdir -m 755 roots/inner open
    echo secret >roots/inner/file
    mkdir -m 777 share
    local mine=$((ORDINARY + 1)) line
    sub() { as 1 ./jobbox submit --config "$CONF" --wait -q job.yaml >out 2>err || code=$?; }
    script 'id -u; id -G; echo x >/share/f' "stdout: $T/share/o" "mounts: [{ source: $T/share, target: /share, mode: rw }]"
    code=0 && sub && [ "$code" = 0 ] || fail "$(cat err)"
    [ "$(cat share/o)" = "$mine
$mine" ]
    [ "$(stat -c %u share/o share/f | sort -u)" = "$mine" ]
    for line in "stdout: $T/roots/o" "stdout: $T/open/o" "stdin: $T/roots/inner/file" "image: $T/roots/inner" \
        "mounts: [{ source: $T/roots/inner, target: /in }]" \
        "mounts: [{ source: $T/open, target: /in, mode: rw }, { tmpfs: 1MiB, target: /in/new }]" \
        "mounts: [{ source: $T/open, target: /run/jobbox, mode: rw }]" \
        "user: 0:0" "user: root-in-box"; do
        script 'cat /in/file /in/inner/file' "$line"
        code=0 && sub
        [ "$code" != 0 ] || fail "$line went well"
        ! grep -q secret out || fail "$line showed it"
    done
    script 'true' "mounts: [{ source: $T/open, target: /in, mode: rw }]" "workdir: /in/made"
    code=0 && sub
    [ "$code" != 0 ] || fail "a working directory was made in a folder that is not his"
    [ "$(find roots open | sort | tr '\n' ' ')" = "open roots roots/inner roots/inner/file " ] || fail "$(find roots open)"
    script 'true' "mounts: [{ source: $T/share, target: /in, mode: rw }, { tmpfs: 1MiB, target: /in/new }]" "workdir: /in/made"
    code=0 && sub && [ "$code" = 0 ] || fail "$(cat err)"
    [ "$(stat -c %u share/new share/made | sort -u)" = "$mine" ]
}

@test "an account that the site lists is its members' alone: others are told where it stands in the spec, and which are theirs" {
    site_config "env: { JBT_MARK: $T }" \
        "queue: { accounts: { course: ['$((ORDINARY + 1))'], bio: ['@$((ORDINARY + 2))'] } }"
    start_daemon
    job one true "account: course"
    as 1 "$JOBBOX" submit --hold --config "$CONF" one.yaml >out
    [ "$(field 1 account)" = course ]
    code=0
    as 2 "$JOBBOX" submit --hold --config "$CONF" one.yaml >out 2>err || code=$?
    exits 125
    one_error '^jobbox: one.yaml:[0-9]+:1: account: you are not in account course; yours: bio$'
    code=0
    as 2 "$JOBBOX" submit --hold --config "$CONF" --account fresh -- true >out 2>err || code=$?
    exits 125
    one_error 'account: this site has no account fresh; yours: bio$'
    as 2 "$JOBBOX" submit --hold --config "$CONF" --account bio -- true >out
    as 3 "$JOBBOX" submit --hold --config "$CONF" -- true >out
    [ "$(field 2 account)" = bio ] && [ "$(field 3 account)" = None ]
    q cancel --all --user "$((ORDINARY + 1))" --user "$((ORDINARY + 2))" --user "$((ORDINARY + 3))" >/dev/null
}

@test "who waits for the job of another learns how it ended, and not more of why" {
    start_daemon
    install -m 755 "$JOBBOX" jobbox
    printf 'version: 1\nimage: %s\ncommand: [/no/such/program]\nresources: { cpus: 1, cpu_unit: thread }\n' "$IMAGE" >none.yaml
    as 1 ./jobbox submit --hold --config "$CONF" -q none.yaml
    as 1 ./jobbox wait --config "$CONF" 1 >own 2>own.err 3>&- &
    local one=$!
    as 2 ./jobbox wait --config "$CONF" 1 >others 2>others.err 3>&- &
    local two=$!
    sleep 0.5
    q release 1
    wait $one || true
    wait $two || true
    grep -q '^jobbox: job 1: command not found' own.err || fail "$(cat own own.err)"
    [ "$(cat others)" = "$(cat own)" ] || fail "$(cat others)"
    [ ! -s others.err ] || fail "$(cat others.err)"
    as 2 ./jobbox show --config "$CONF" --json 1 >out
    ! grep -q 'no/such\|not found' out || fail "$(cat out)"
}

# As an ordinary user of a host whose daemon was killed: its socket is there, and nobody behind it.
on_a_host_whose_daemon_is_down()
{
    env -i PATH="$PATH" "$MARK" HOME="$T/home" XDG_RUNTIME_DIR="$T/home" unshare -m sh -c '
        mount -t tmpfs none /run && mkdir -m 755 /run/jobbox || exit 99
        [ ! -d /etc/jobbox ] || mount -t tmpfs none /etc/jobbox || exit 99
        /usr/bin/python3 -c "import socket; socket.socket(socket.AF_UNIX).bind(\"/run/jobbox/jobboxd.sock\")" || exit 99
        chmod 666 /run/jobbox/jobboxd.sock
        id=$1; shift
        exec setpriv --reuid "$id" --regid "$id" --clear-groups "$@"' sh $((ORDINARY + 1)) "$@"
}

@test "in a private queue the ids of others' attempts are in nobody's way, and say nothing of them" {
    site_config "env: { JBT_MARK: $T }" "queue: { private: true }"
    start_daemon
    install -m 755 "$JOBBOX" jobbox
    job short true "array: 1-3"
    as 1 ./jobbox submit --config "$CONF" --wait -q short.yaml
    local one two three n=26
    one=$(field 1_1 id) two=$(field 1_2 id) three=$(field 1_3 id)
    while [ "${one:0:n}" != "${two:0:n}" ] && [ "${one:0:n}" != "${three:0:n}" ]; do n=$((n - 1)); done
    [ "$n" -ge 8 ] || skip "they began too far apart"
    q logs "${one:0:n}" 2>err && fail "it is of several"
    grep -q 'several attempts' err
    as 2 ./jobbox logs --config "$CONF" "${one:0:n}" 2>err && fail "it is of another user"
    grep -q 'no such job' err || fail "$(cat err)"
    script 'sleep 60' "name: long" "resources: { cpus: 1, cpu_unit: thread, exclusive: false }"
    mv job.yaml long.yaml
    as 1 ./jobbox submit --config "$CONF" -q long.yaml
    as 2 ./jobbox submit --config "$CONF" -q long.yaml
    as 1 ./jobbox submit --config "$CONF" -q long.yaml
    until_true 20 state_is 2 running
    until_true 20 state_is 3 running
    until_true 20 state_is 4 running
    one=$(field 3 id)
    as 2 ./jobbox hold --config "$CONF" "${one:0:3}" >out 2>err && fail "it runs"
    grep -q '^jobbox: 3: it runs; only what waits' err || fail "$(cat err)" # the only one that he may know of
    q cancel 2 3 4 >/dev/null
}

@test "one user who asks for more than can be told at once keeps nobody else waiting, and takes no more memory than is his" {
    ! nm -D "$JOBBOX_BUILD/jobboxd" | grep -q __asan_init || skip "a program with sanitizers keeps what it gives back"
    site_config "env: { JBT_MARK: $T }"
    start_daemon
    /usr/bin/python3 "$HERE/queue_crowd.py" "$T/run/jobboxd.sock" "$(daemon_pid)" "$((ORDINARY + 1))" "$((ORDINARY + 2))" ||
        fail "see above"
}

@test "while the system's daemon does not answer, no verb turns to a queue of one's own" {
    mkdir -m 700 home
    chown $((ORDINARY + 1)):$((ORDINARY + 1)) home
    install -m 755 "$JOBBOX" jobbox
    local words
    for words in "submit -- true" "cancel 5" "show 5" "wait 5" "hold 5" "logs 5" "pause 5" ps; do
        code=0
        # shellcheck disable=SC2086 # a verb and what it is for
        on_a_host_whose_daemon_is_down ./jobbox $words >out 2>err || code=$?
        exits 124
        [ ! -s out ] || fail "$words: $(cat out)"
        one_error "^jobbox: the system's jobboxd does not answer at /run/jobbox/jobboxd.sock: .*--own"
    done
    [ -z "$(find home -name 'jobboxd*')" ] || fail "it started one: $(find home)"
    on_a_host_whose_daemon_is_down ./jobbox ps --own >out 2>err || fail "$(cat err)"
    for words in "pause --own 5" "resume --own 5" "signal --own 5 USR1" "update --own --pids 9 5" "exec --own 5 -- true" \
        "enter --own 5 -- true" "commit --own 5 --image a:1" "discard --own 5"; do # what that message says is to be had of each of them
        code=0
        # shellcheck disable=SC2086
        on_a_host_whose_daemon_is_down ./jobbox $words >out 2>err || code=$?
        exits 124
        ! grep -q 'does not answer' err || fail "$words: $(cat err)"
    done
}
