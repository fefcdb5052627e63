# Completes `cargo xtask` of kafka-lab. Other words of cargo are completed as before.
set -g _kafka_lab_program @PROGRAM@

# The place of "xtask" in the line; rustup's +toolchain comes before it.
function _kafka_lab_at
    set -l words (commandline -opc)
    string match -q -- '+*' "$words[2]"; and echo 3; or echo 2
end

function _kafka_lab_here
    set -l words (commandline -opc)
    set -l at (_kafka_lab_at)
    test "$words[$at]" = xtask; and test -x $_kafka_lab_program
end

function _kafka_lab_offer
    set -l words (commandline -opc)
    set -e words[1..(_kafka_lab_at)]
    $_kafka_lab_program complete -- $words (commandline -ct) 2>/dev/null
end
complete -c cargo -n _kafka_lab_here -f -a '(_kafka_lab_offer)'
