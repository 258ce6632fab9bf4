# bash completion for jobbox
_jobbox()
{
    local cur=${COMP_WORDS[COMP_CWORD]} verb=${COMP_WORDS[1]-}
    if [ "$COMP_CWORD" -eq 1 ]; then
        mapfile -t COMPREPLY < <(compgen -W "$(jobbox --help 2>/dev/null | sed -n 's/^  \([a-z]*\) .*/\1/p')" -- "$cur")
        return
    fi
    if [[ $cur == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$(jobbox "$verb" --help 2>/dev/null | grep -oE -- '--[a-z-]+' | sort -u)" -- "$cur")
        return
    fi
    case $verb in
    logs | wait | cancel | hold | release | requeue | priority | show | pause | resume | signal | update | explain)
        mapfile -t COMPREPLY < <(compgen -W "$(jobbox ps --state all 2>/dev/null | awk '$1 ~ /^[0-9]/ { print $1 }')" -- "$cur")
        ;;
    enter | commit | discard | exec | destroy)
        mapfile -t COMPREPLY < <(compgen -W "$({ jobbox ps --kept; jobbox ps; } 2>/dev/null | awk '$1 ~ /^0/ { print $1 }')" -- "$cur")
        ;;
    *)
        compopt -o default
        ;;
    esac
}
complete -F _jobbox jobbox
