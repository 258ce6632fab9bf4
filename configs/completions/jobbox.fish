# fish completion for jobbox
function __jobbox_verbs
    jobbox --help 2>/dev/null | sed -n 's/^  \([a-z]*\) *\(.*\)/\1\t\2/p'
end
function __jobbox_image_verbs
    jobbox image --help 2>/dev/null | sed -n 's/^  \([a-z]*\) .*  \([a-z].*\)/\1\t\2/p'
end
function __jobbox_options
    jobbox (commandline -opc)[2] --help 2>/dev/null | grep -oE -- '--[a-z-]+' | sort -u
end
function __jobbox_jobs
    jobbox ps --state $argv[1] 2>/dev/null | awk '$1 ~ /^[0-9]/ { print $1 }'
end
function __jobbox_boxes
    begin
        jobbox ps --kept
        jobbox ps
    end 2>/dev/null | awk '$1 ~ /^0/ { print $1 }'
end
# whether one of these is the verb, which is the first word: a job's own command may have any of them
function __jobbox_verb_is
    set -l words (commandline -opc)
    test (count $words) -ge 2; and contains -- $words[2] $argv
end
function __jobbox_is_word
    test (count (commandline -opc)) -eq $argv[1]
end
function __jobbox_is_option
    string match -q -- '-*' (commandline -ct)
end
function __jobbox_after
    string match -q -- $argv[1] (commandline -opc)[-1]
end
complete -c jobbox -n '__jobbox_is_word 1' -f -a '(__jobbox_verbs)'
complete -c jobbox -n 'not __jobbox_is_word 1; and __jobbox_is_option' -f -a '(__jobbox_options)'
complete -c jobbox -n '__jobbox_verb_is image; and __jobbox_is_word 2' -f -a '(__jobbox_image_verbs)'
complete -c jobbox -n '__jobbox_verb_is journal; and __jobbox_is_word 2' -f -a 'verify index'
complete -c jobbox -n '__jobbox_verb_is logs show requeue' -f -a '(__jobbox_jobs all)'
complete -c jobbox -n '__jobbox_verb_is wait cancel hold release pause resume signal update exec' -f -a '(__jobbox_jobs active)'
complete -c jobbox -n '__jobbox_verb_is priority; and not __jobbox_is_word 2' -f -a '(__jobbox_jobs active)' # the first is how much
complete -c jobbox -n '__jobbox_verb_is priority; and __jobbox_is_word 2' -f
complete -c jobbox -n '__jobbox_verb_is explain; and __jobbox_after --job' -f -a '(__jobbox_jobs active)'
complete -c jobbox -n '__jobbox_verb_is enter commit discard destroy' -f -a '(__jobbox_boxes)'
