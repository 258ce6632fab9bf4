# bash completion for jobbox
_jobbox_words() # SED-SCRIPT WORD: what `jobbox --help`, read from standard input, has of them
{
    mapfile -t COMPREPLY < <(compgen -W "$(sed -n "$1")" -- "$2")
}

_jobbox_jobs() # STATE WORD
{
    mapfile -t COMPREPLY < <(compgen -W "$(jobbox ps --state "$1" 2>/dev/null | awk '$1 ~ /^[0-9]/ { print $1 }')" -- "$2")
}

_jobbox()
{
    local cur=${COMP_WORDS[COMP_CWORD]} verb=${COMP_WORDS[1]-}
    if [ "$COMP_CWORD" -eq 1 ]; then
        _jobbox_words 's/^  \([a-z]*\) .*/\1/p' "$cur" < <(jobbox --help 2>/dev/null)
        return
    fi
    if [[ $cur == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$(jobbox "$verb" --help 2>/dev/null | grep -oE -- '--[a-z-]+' | sort -u)" -- "$cur")
        return
    fi
    case $verb:$COMP_CWORD in
    image:2)
        _jobbox_words 's/^  \([a-z]*\) .*/\1/p' "$cur" < <(jobbox image --help 2>/dev/null)
        return
        ;;
    journal:2)
        mapfile -t COMPREPLY < <(compgen -W "verify index" -- "$cur")
        return
        ;;
    esac
    case $verb in
    logs | show | requeue)
        _jobbox_jobs all "$cur"
        ;;
    priority)
        if [ "$COMP_CWORD" -gt 2 ]; then # the first word is how much
            _jobbox_jobs active "$cur"
        fi
        ;;
    wait | cancel | hold | release | pause | resume | signal | update | exec)
        _jobbox_jobs active "$cur"
        ;;
    explain)
        if [[ ${COMP_WORDS[COMP_CWORD - 1]} == --job ]]; then
            _jobbox_jobs active "$cur"
        else
            compopt -o default
        fi
        ;;
    enter | commit | discard | destroy)
        mapfile -t COMPREPLY < <(compgen -W "$({ jobbox ps --kept; jobbox ps; } 2>/dev/null | awk '$1 ~ /^0/ { print $1 }')" -- "$cur")
        ;;
    *)
        compopt -o default
        ;;
    esac
}
complete -F _jobbox jobbox
