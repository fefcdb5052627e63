#!/usr/bin/env bash
# Completes `cargo xtask` of kafka-lab. Other words of cargo are completed as before.
_kafka_lab_program=@PROGRAM@

# The function that completed cargo's words before, if there is one already.
_kafka_lab_other() {
  local words
  read -ra words < <(complete -p cargo 2>/dev/null)
  local at
  for at in "${!words[@]}"; do
    [[ ${words[at]} == -F && ${words[at + 1]} != _kafka_lab_cargo ]] && echo "${words[at + 1]}"
  done
}
_kafka_lab_before=$(_kafka_lab_other)

_kafka_lab_cargo() {
  local first=1 at word words=()
  # rustup's +toolchain comes before the command.
  [[ ${COMP_WORDS[1]} == +* ]] && first=2
  if [[ ${COMP_WORDS[first]} != xtask ]] || ((COMP_CWORD <= first)) || [[ ! -x $_kafka_lab_program ]]; then
    if [[ -z $_kafka_lab_before ]] && declare -F _completion_loader >/dev/null; then
      # bash-completion loads cargo's at first use, and then it takes our place.
      _completion_loader cargo
      _kafka_lab_before=$(_kafka_lab_other)
      complete -o default -F _kafka_lab_cargo cargo
    fi
    [[ -z $_kafka_lab_before ]] || "$_kafka_lab_before" "$@"
    return
  fi
  # bash takes --flag=value apart.
  for ((at = first + 1; at <= COMP_CWORD; at++)); do
    word=${COMP_WORDS[at]}
    if ((${#words[@]})) && [[ $word == "=" || ${words[-1]} == --*= ]]; then
      words[-1]+=$word
    else
      words+=("$word")
    fi
  done
  local value prefix=""
  [[ ${words[-1]} == --*=* ]] && prefix=${words[-1]%%=*}=
  COMPREPLY=()
  while IFS=$'\t' read -r value _; do
    COMPREPLY+=("${value#"$prefix"}")
  done < <("$_kafka_lab_program" complete -- "${words[@]}" 2>/dev/null)
}
complete -o default -F _kafka_lab_cargo cargo
