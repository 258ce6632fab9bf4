# shellcheck shell=bash
# What the scripts here share. Sourced; sets `repo`, and `build` (JOBBOX_BUILD, or build/ in the tree).

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck disable=SC2034 # used by those who source this
build=${JOBBOX_BUILD:-$repo/build}

say()
{
    printf '==> %s\n' "$*" >&2
}

die()
{
    printf '%s: %s\n' "$(basename "$0")" "$*" >&2
    exit 1
}

# build_in DIR TARGETS [CMAKE_OPTION...]: configures DIR once and builds (TARGETS: "all", or a list in one word).
# What the build prints is shown only when it fails; it stays in DIR/build.log.
build_in()
{
    local dir=$1 targets=$2
    shift 2
    mkdir -p "$dir"
    say "building $targets in $dir"
    if [ ! -e "$dir/build.ninja" ]; then
        cmake -S "$repo" -B "$dir" -G Ninja "$@" >"$dir/build.log" 2>&1 || {
            cat "$dir/build.log" >&2
            die "the configuration failed; the whole log is $dir/build.log"
        }
    fi
    # shellcheck disable=SC2086 # several targets
    ninja -C "$dir" $targets >"$dir/build.log" 2>&1 || {
        tail -n 60 "$dir/build.log" >&2
        die "the build failed; the whole log is $dir/build.log"
    }
}
