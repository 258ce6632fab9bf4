# fish completion for jobbox
function __jobbox_verbs
    jobbox --help 2>/dev/null | sed -n 's/^  \([a-z]*\) *\(.*\)/\1\t\2/p'
end
function __jobbox_ids
    jobbox ps --state all 2>/dev/null | awk '$1 ~ /^[0-9]/ { print $1 }'
end
complete -c jobbox -n __fish_use_subcommand -f -a '(__jobbox_verbs)'
complete -c jobbox -n '__fish_seen_subcommand_from logs wait cancel hold release requeue priority show pause resume signal update explain' -f -a '(__jobbox_ids)'
function __jobbox_boxes
    begin
        jobbox ps --kept
        jobbox ps
    end 2>/dev/null | awk '$1 ~ /^0/ { print $1 }'
end
complete -c jobbox -n '__fish_seen_subcommand_from enter commit discard exec destroy' -f -a '(__jobbox_boxes)'
