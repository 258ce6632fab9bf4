#!/usr/bin/env bats
# What the shells make of `jobbox ...<TAB>`: configs/completions, each in its own shell, against a queue with jobs of known
# numbers.

load lib
load queue

setup_file() { file_setup; }
teardown_file() { file_teardown; }

# Job 1 has ended, job 2 waits for a person. The shells find jobbox, and it this test's config.
a_queue()
{
    job ended 'echo it'
    job waits 'true'
    q submit ended.yaml >/dev/null
    until_true 20 state_is 1 done
    q submit --hold waits.yaml >/dev/null
    mkdir path
    ln -s "$JOBBOX" path/jobbox
    export PATH=$T/path:$PATH JOBBOX_CONFIG=$CONF
}

# bash LINE, fish LINE, zsh LINE: prints the line after <TAB> at its end.

in_bash()
{
    # shellcheck disable=SC2016 # the inner shell's
    bash --norc -c '. "$1"/configs/completions/jobbox.bash
        compopt() { :; } # may only be called while a line is edited
        read -ra COMP_WORDS <<<"$2"
        [[ $2 != *" " ]] || COMP_WORDS+=("")
        COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
        _jobbox
        unset "COMP_WORDS[COMP_CWORD]"
        echo "${COMP_WORDS[*]}" "${COMPREPLY[@]}"' - "$SOURCE_DIR" "$1"
}

in_fish()
{
    # shellcheck disable=SC2016 # the inner shell's
    HOME=$T fish --no-config -c 'source $argv[1]/configs/completions/jobbox.fish; complete -C $argv[2]' "$SOURCE_DIR" "$1" |
        cut -f 1 | paste -sd ' ' | sed "s|^|${1% *} |"
}

# In a terminal: it completes nowhere else. ^X has the line written down.
in_zsh()
{
    rm -f line
    cat >setup.zsh <<END
fpath=("$SOURCE_DIR/configs/completions" \$fpath)
autoload -U compinit && compinit -u -d "$T/zcompdump"
write() { print -r -- "\${BUFFER% }" >"$T/line.new" && mv "$T/line.new" "$T/line"; BUFFER= }
zle -N write
bindkey '^X' write
touch "$T/ready"
END
    # shellcheck disable=SC2016 # zsh's
    zsh -f -c 'zmodload zsh/zpty
        until_there() { # reads what the terminal says, or it stands still
            local i out
            for ((i = 0; i < 600; i++)); do
                [[ ! -e $1 ]] || return 0
                zpty -rt shell out
                sleep 0.05
            done
            return 1
        }
        zpty shell "zsh -f -i"
        zpty -w shell "source ./setup.zsh"
        until_there ready && zpty -wn shell "$1"$'"'\\t\\x18'"' && until_there line
        zpty -d shell' - "$1" || fail "zsh writes nothing"
    rm -f ready
    cat line
}

# becomes SHELL LINE AFTER
becomes()
{
    local is
    is=$("in_$1" "$2") || fail "$is"
    is=${is% }
    [ "$is" = "$3" ] || fail "in $1 '$2' becomes '$is', not '$3'"
}

completes()
{
    command -v "$1" >/dev/null || skip "needs $1"
    a_queue
    becomes "$1" "jobbox effi" "jobbox efficiency"
    becomes "$1" "jobbox logs --foll" "jobbox logs --follow"
    becomes "$1" "jobbox image exp" "jobbox image export"
    becomes "$1" "jobbox journal ver" "jobbox journal verify"
    becomes "$1" "jobbox cancel " "jobbox cancel 2" # the only one that is not over
    becomes "$1" "jobbox priority " "jobbox priority"
    becomes "$1" "jobbox priority 5 " "jobbox priority 5 2"
    becomes "$1" "jobbox explain --job " "jobbox explain --job 2"
    q cancel 2
    until_true 20 state_is 2 done
    becomes "$1" "jobbox hold " "jobbox hold"
    case $1 in
    bash) becomes bash "jobbox logs " "jobbox logs 2 1" ;;
    fish) becomes fish "jobbox logs " "jobbox logs 1 2" ;;
    *) ;; # writes what all of them begin with: nothing
    esac
}

@test "bash completes verbs, options, and the jobs that a verb is for" {
    completes bash
}

@test "fish completes verbs, options, and the jobs that a verb is for" {
    completes fish
}

@test "zsh completes verbs, options, and the jobs that a verb is for" {
    completes zsh
}
