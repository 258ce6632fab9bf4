#!/usr/bin/env bats
# What comes out of a box, after which end, and what does not.
# Runs as: root, user

load lib

setup_file() { file_setup; }
teardown_file() { file_teardown; }
setup() { test_setup; }
teardown() { test_teardown; }

@test "when: by the way the job ended; a limit is a failure, and its artifacts come out too" {
    local three="artifacts: [ { path: a, to: got/yes }, { path: a, to: got/no, when: on_failure }, { path: a, to: got/any, when: always } ]"
    script 'echo x >a' "$three"
    run_job
    exits 0
    [ "$(ls got)" = "$(printf 'any\nyes')" ] || fail "after success: $(ls got)"
    record 'len(artifacts) == 2'
    rm -r got
    script 'echo x >a; exit 3' "$three"
    run_job
    exits 3
    [ "$(ls got)" = "$(printf 'any\nno')" ] || fail "after failure: $(ls got)"
    rm -r got
    script 'echo x >a; sleep 100' "$three" "limits: { wall_time: 1s, grace: 0 }"
    run_job
    exits 120
    [ "$(ls got)" = "$(printf 'any\nno')" ] || fail "after a timeout: $(ls got)"
    record 'end.reason == "timeout"' 'all(len(a.sha256) == 64 for a in artifacts)'
}

@test "** at any place finds each file once; folders before the first wildcard are left off" {
    script 'mkdir -p p/a/x p/b/x/c p/.h; for f in p/1.o p/a/2.o p/a/x/3.o p/b/x/c/4.o p/.h/5.o p/a/no.c; do echo $f >$f; done' \
        "artifacts: [ { path: 'p/**/*.o', to: all/ }, { path: 'p/**/x/**/*.o', to: below/ }, { path: 'p/**/**/x', to: x/ } ]"
    run_job
    exits 0
    [ "$(cd all && find . -type f | sort | tr '\n' ' ')" = "./.h/5.o ./1.o ./a/2.o ./a/x/3.o ./b/x/c/4.o " ]
    [ "$(cd below && find . -type f | sort | tr '\n' ' ')" = "./a/x/3.o ./b/x/c/4.o " ]
    [ "$(cd x && find . -type f | sort | tr '\n' ' ')" = "./a/x/3.o ./b/x/c/4.o " ]
    record 'len(artifacts) == 9' 'not [a for a in artifacts if "error" in a]'
}

@test "folders that cannot be looked into are said, once for a pattern" {
    script 'for i in 1 2 3; do mkdir -p p/$i; echo $i >p/$i/x; done; chmod 0 p/2; chmod 111 p/3' \
        "artifacts: [ { path: 'p/*/x', to: got/ }, { path: p/2/x, to: one/ } ]"
    run_job
    exits 0
    if [ "$JBT_AS" = root ]; then # whom no mode keeps out
        record 'len(artifacts) == 4' 'not [a for a in artifacts if "error" in a]'
        return
    fi
    record 'len(artifacts) == 3' 'artifacts[1].path == artifacts[2].path == "work/p/2"' \
        'artifacts[1].error == "the folder, and 1 more, could not be looked into: Permission denied"' \
        'artifacts[2].error == "the folder could not be looked into: Permission denied"'
}

@test "a pattern made to take for ever takes a moment" {
    local stars
    stars=$(printf '**/%.0s' $(seq 25))
    script 'd=.; i=0; while [ $i -lt 25 ]; do d=$d/aaaaaaaaaaaaaaaaaaaa; mkdir $d; i=$((i+1)); done' \
        "artifacts: [ { path: '${stars//\*\*\//**/*a*a*a*a*/}b', to: got/ } ]"
    PATIENCE=30 run_job
    exits 0
    record '"nothing matches" in artifacts[0].error'
}

@test "caps of spec and site: files and bytes beyond them are left, each with the reason" {
    site_config "env: { JBT_MARK: $T }" 'artifacts: { max_bytes: 20KiB, max_files: 4 }'
    script 'mkdir d e; for i in 1 2 3; do head -c 1000 /dev/zero >d/$i; done; head -c 30000 /dev/zero >e/0big
for i in 1 2 3 4; do echo x >e/$i; done' \
        "artifacts: [ { path: d, to: d/, max_files: 2, max_bytes: 1500 }, { path: e, to: e/, max_bytes: 1GiB } ]"
    run_job
    exits 0
    [ "$(find d -type f | wc -l)" = 1 ] # the second would pass max_bytes
    [ "$(find e -type f | wc -l)" = 3 ]
    record 'sum("more than this artifact" in a.get("error", "") for a in artifacts) == 2' \
        'sum("more than the site allows" in a.get("error", "") for a in artifacts) == 1' \
        'sum("as many as the site allows" in a.get("error", "") for a in artifacts) == 1'
}

@test "set-id bits, capabilities, owners, links, devices and FIFOs stay behind; holes stay holes" {
    script 'cp /bin/busybox s; chmod 6755 s; ln s hard; echo x >solo; chmod 4755 solo; ln -s /etc/passwd link; mkfifo pipe
dd if=/dev/zero of=sparse bs=1 count=1 seek=67108863 2>/dev/null' \
        "user: root-in-box" "artifacts: [ { path: '*', to: got/ } ]"
    umask 022
    run_job
    exits 0
    [ "$(ls got | tr '\n' ' ')" = "solo sparse " ] || fail "came out: $(ls got)"
    [ "$(stat -c '%a %u' got/solo)" = "755 $(stat -c %u "$T")" ]
    [ "$(stat -c %s got/sparse)" = 67108864 ]
    [ "$(stat -c %b got/sparse)" -lt 1000 ] || fail "the hole was filled"
    record 'sum("several links" in a.get("error", "") for a in artifacts) == 2' \
        'any("symlink" in a.get("error", "") for a in artifacts)' \
        "any(a.get('sha256') == '$(sha256sum <got/sparse | cut -d' ' -f1)' for a in artifacts)"
}

@test "a symlinked folder of the job leads nowhere" {
    script 'ln -s /etc etc; ln -s / root; mkdir real; echo x >real/f' \
        "artifacts: [ { path: 'etc/passwd', to: got/ }, { path: '*/passwd', to: got/ }, { path: '**', to: all/ } ]"
    run_job
    exits 0
    [ ! -e got ]
    [ "$(find all -type f)" = all/real/f ]
}

# Starts a job that brings out much, and stops its supervisor while it writes.
stop_while_writing()
{
    script 'head -c 100000000 /dev/urandom >f' "artifacts: [ { path: f, to: got/f } ]"
    start_job
    local end=$((SECONDS + 30 * JBT_SLOWER))
    until compgen -G 'got/.*jobbox*' >/dev/null; do
        [ $SECONDS -le $end ] && kill -0 "$supervisor" || fail "it was never seen writing" || return 1
    done
    kill -STOP "$supervisor"
}

@test "two jobs that bring out the same name at the same time: a whole file of one of them, and both records are right" {
    stop_while_writing
    [ ! -e got/f ] || fail "it was done before it was stopped"
    script 'echo small >f' "artifacts: [ { path: f, to: got/f } ]"
    run_job
    exits 0
    [ "$(cat got/f)" = small ]
    record "artifacts[0].sha256 == '$(sha256sum <got/f | cut -d' ' -f1)'"
    kill -CONT "$supervisor"
    end_job
    exits 0
    record "artifacts[0].sha256 == '$(sha256sum <got/f | cut -d' ' -f1)'" 'artifacts[0].bytes == 100000000'
    [ "$(ls -A got)" = f ] || fail "there is more: $(ls -A got)"
}

@test "what a supervisor that was killed had half written goes with the next artifact of that folder" {
    stop_while_writing
    kill -9 "$supervisor"
    wait "$supervisor" || true
    sweep
    script 'echo small >f' "artifacts: [ { path: f, to: got/other } ]"
    run_job
    exits 0
    [ "$(ls -A got)" = other ] || fail "there is more: $(ls -A got)"
}

@test "a full disk is the reason that is given, and no half file is left" {
    needs_root "mounts a small file system"
    mkdir got
    script 'head -c 100000 /dev/urandom >f' "artifacts: [ { path: f, to: got/f } ]"
    code=0
    AS=(unshare -m sh -c 'mount -t tmpfs -o size=80k small got && "$@"; code=$?; ls -A got >left; exit $code' jbt "${AS[@]}")
    run_job
    exits 0
    record '"No space left on device" in artifacts[0].error'
    [ ! -s left ] || fail "left: $(<left)"
}

@test "a name of 255 bytes comes out" {
    local name
    name=$(printf 'n%.0s' $(seq 255))
    script "echo x >$name" "artifacts: [ { path: '*', to: got/ } ]"
    run_job
    exits 0
    [ "$(cat "got/$name")" = x ]
    record 'len(artifacts) == 1' '"error" not in artifacts[0]'
}
